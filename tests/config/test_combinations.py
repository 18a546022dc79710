"""Settings whose values a sweep takes in step."""

import itertools
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from src.config.combinations import combinations
from src.errors import UserError
from tests.helpers.commands import Command

KEYS = ["epochs", "lr", "++optimizer.weight_decay", "seed", "batch_size"]


def jobs(overrides: list[str], together: Any = None) -> list[list[str]]:
    return combinations(OverridesParser.create().parse_overrides(overrides), together)


@given(st.permutations(KEYS), st.integers(2, 4), st.integers(1, 3), st.sets(st.sampled_from(KEYS), min_size=2))
def test_values_in_step_are_a_product_with_the_others(
    order: list[str], several: int, few: int, pairs: set[str]
) -> None:
    numbers = {key: several if key in pairs else few for key in order}
    values = {key: [f"{key}={number + 1}" for number in range(numbers[key])] for key in order}
    overrides = [f"{key}={','.join(str(number + 1) for number in range(numbers[key]))}" for key in order]
    found = jobs(overrides, OmegaConf.create([key.lstrip("+") for key in sorted(pairs)]))
    others = [values[key] for key in order if key not in pairs]
    expected = {
        frozenset([*rest, *(values[key][place] for key in pairs)])
        for rest in itertools.product(*others)
        for place in range(several)
    }
    assert len(found) == len(expected)
    assert set(map(frozenset, found)) == expected


def test_two_lists() -> None:
    found = jobs(["lr=1,2", "seed=3,4", "batch_size=5,6", "epochs=7,8"], [["batch_size", "lr"], ["seed", "epochs"]])
    assert found == [
        ["batch_size=5", "lr=1", "seed=3", "epochs=7"],
        ["batch_size=5", "lr=1", "seed=4", "epochs=8"],
        ["batch_size=6", "lr=2", "seed=3", "epochs=7"],
        ["batch_size=6", "lr=2", "seed=4", "epochs=8"],
    ]


def test_only_values_in_step_count_towards_the_maximum() -> None:
    many = ",".join(map(str, range(200)))
    assert len(jobs([f"lr={many}", f"seed={many}"], ["lr", "seed"])) == 200
    with pytest.raises(UserError, match="makes 40,000 runs"):
        jobs([f"lr={many}", f"seed={many}"])


@pytest.mark.parametrize(
    ("together", "complaint"),
    [
        ("lr", "together=lr: must be a list of two settings or more"),
        ([], r"together=\[\]: must be a list"),
        (["lr"], r"together=\[lr\]: must be a list of two"),
        (["lr", "lr"], "must be a list of two"),
        (["lr", 3], "must be a list of two"),
        ([["lr", "seed"], ["lr", "epochs"]], r"together=\[lr,epochs\]: lr is in another list, too"),
        (["lr", "seeds"], "seeds has one value; give several, as seeds=VALUE,VALUE"),
        (["lr", "model"], "model has one value"),
        (["lr", "batch_size"], "lr has 2, batch_size has 3 values; give equally many"),
    ],
)
def test_what_cannot_be_taken_in_step_is_one_line(together: Any, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        jobs(["lr=1,2", "seed=1,2", "epochs=1,2", "batch_size=1,2,3", "model=mlp"], together)


def test_as_typed(train: Command) -> None:
    pairs = "-m", "data=digits", "model=mlp", "together=[optimizer,lr]", "optimizer=sgd,adam", "lr=0.05,1e-3"
    ended = train(*pairs, "seed=0,1", "dry_run=true")
    assert ended.returncode == 0
    shown = [line.split(None, 2)[2] for line in ended.stdout.splitlines() if line.startswith("to do")]
    assert shown == [
        f"digits mlp {optimizer} batch 64 seed {seed}"
        for optimizer in ("sgd lr 0.05", "adam lr 0.001")
        for seed in (0, 1)
    ]
