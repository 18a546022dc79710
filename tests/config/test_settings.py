from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hypothesis import given
from hypothesis import strategies as st

from src.config.settings import ConfigChoices, Settings, check, directory, plain
from src.errors import UserError
from tests.helpers.commands import ROOT

BASE = Settings(
    "mnist", 0, "half", {"_target_": "m"}, {"_target_": "o", "momentum": 0.9}, {"_target_": "s"}, 0.05, 64, 20, 0
)


def composed(*overrides: str) -> Settings:
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return check(plain(compose("config", overrides=list(overrides))), "auto")


def test_the_directory_is_named_by_what_is_swept() -> None:
    path = directory(BASE, ConfigChoices("lenet", "sgd", "constant"))
    assert path == Path(f"mnist/lenet/sgd-bs64-lr0.05-seed0-{BASE.digest}")
    assert len(BASE.digest) == 8
    assert int(BASE.digest, 16) >= 0


CHANGES: dict[str, Any] = {
    "data": "digits", "validation": 1, "normalize": "none", "model": {"_target_": "n"},
    "optimizer": {"_target_": "o", "momentum": 0.8},
    "schedule": {"_target_": "s", "warmup": 1}, "lr": 0.06, "batch_size": 65, "epochs": 21, "seed": 1,
    "augment": "flip", "test_share": 0.2, "source": {"_target_": "d"},
}  # fmt: skip


@pytest.mark.parametrize("key", CHANGES)
def test_every_setting_makes_another_run(key: str) -> None:
    assert set(CHANGES) == set(asdict(BASE))
    assert replace(BASE, **{key: CHANGES[key]}).digest != BASE.digest


def test_later_settings_at_their_defaults_change_no_digest() -> None:
    assert composed("data=mnist").digest == "13a414d2"  # as before there was data.augment
    assert composed("data=mnist", "data.augment=flip").digest != "13a414d2"


def test_the_order_and_the_kind_of_numbers_do_not() -> None:
    other = replace(BASE, optimizer={"momentum": 0.9, "_target_": "o"}, schedule={"_target_": "s"})
    assert other.digest == BASE.digest
    assert composed("optimizer=sgd", "optimizer.weight_decay=0").digest == composed("optimizer=sgd").digest


@pytest.mark.parametrize(
    "same", ["device=cpu", "threads=2", "output_dir=elsewhere", "data_root=elsewhere", "force=true"]
)
def test_what_changes_no_number_changes_no_name(same: str) -> None:
    assert composed(same) == composed()


@given(st.floats(min_value=1e-300, max_value=1e300), st.integers(0, 2**63 - 1))
def test_names_of_different_runs_differ(lr: float, seed: int) -> None:
    other = replace(BASE, lr=lr, seed=seed)
    names = ConfigChoices("m", "o", "s")
    assert (directory(other, names) == directory(BASE, names)) == (other == BASE)


def test_each_optimizer_brings_its_lr_and_the_command_line_wins() -> None:
    lrs = {name: composed(f"optimizer={name}").lr for name in ("sgd", "adagrad", "adam", "adamw", "rmsprop", "nadam")}
    assert lrs == {"sgd": 0.05, "adagrad": 0.05, "adam": 5e-4, "adamw": 5e-4, "rmsprop": 5e-4, "nadam": 5e-4}
    assert composed("lr=1", "optimizer=sgd").lr == composed("optimizer=sgd", "lr=1").lr == 1.0
    assert composed("seed=0").seed == 0


def test_an_optimizer_without_an_lr_is_told() -> None:
    with pytest.raises(UserError, match="lr: is missing"):
        composed("lr=???")
