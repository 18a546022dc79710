"""Shares of variance, against effects that were put in and against sums of squares computed by hand."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from src.reporting.variance import variance
from tests.reporting.synthetic import cell, only

OPTIMIZERS, BATCHES, LRS = ("sgd", "adagrad", "adam"), (64, 256), (0.05, 0.0005)


def accuracy(logit: float) -> float:
    """The share of 10,000 images right, whose logit with half an image added on both sides is this."""
    right = 10_001 / (1 + math.exp(-logit)) - 0.5
    return right / 10_000


def test_shares_are_those_of_the_effects_that_were_put_in(tmp_path: Path) -> None:
    """Effects that sum to 0 over each factor are orthogonal, so their squares add up."""
    optimizer, batch = dict(zip(OPTIMIZERS, (-0.3, 0.1, 0.2), strict=True)), {64: 0.2, 256: -0.2}
    lr, both = {0.05: 0.5, 0.0005: -0.5}, {(64, 0.05): 0.1, (64, 0.0005): -0.1, (256, 0.05): -0.1, (256, 0.0005): 0.1}
    noise = (-0.05, 0.0, 0.05)
    for o, b, x in product(OPTIMIZERS, BATCHES, LRS):
        cell(tmp_path, o, b, x, [accuracy(3 + optimizer[o] + batch[b] + lr[x] + both[b, x] + each) for each in noise])
    squares = {
        "optimizer": float(np.mean(np.square(list(optimizer.values())))),
        "batch size": 0.04,
        "learning rate": 0.25,
        "learning rate \N{MULTIPLICATION SIGN} batch size": 0.01,
        "seed": float(np.mean(np.square(noise))),
    }
    total = sum(squares.values())
    found = variance(only(tmp_path))
    assert found
    assert found.runs == 36
    assert found.left_out == 0
    assert sum(found.shares.values()) == pytest.approx(1)
    for name, share in found.shares.items():
        assert share == pytest.approx(squares.get(name, 0) / total, abs=1e-9), name
    assert list(found.shares)[:2] == ["learning rate", "optimizer"]


def test_a_diverged_run_counts_as_guessing(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [None, None])
    cell(tmp_path, "sgd", 64, 0.0005, [0.1, 0.1])
    cell(tmp_path, "adam", 64, 0.05, [0.9, 0.9])
    cell(tmp_path, "adam", 64, 0.0005, [0.9, 0.9])
    found = variance(only(tmp_path))
    assert found
    assert found.shares["optimizer"] == pytest.approx(1)


def test_a_diverged_run_counts_as_the_largest_class(tmp_path: Path) -> None:
    """With two classes, the larger of 70 %, a diverged run equals one that is right about 70 %."""
    two = {"classes": ["a", "b"], "largest_class": {"test": 0.7}}
    cell(tmp_path, "sgd", 64, 0.05, [None, None], of_data=two)
    cell(tmp_path, "sgd", 64, 0.0005, [0.7, 0.7], of_data=two)
    cell(tmp_path, "adam", 64, 0.05, [0.9, 0.9], of_data=two)
    cell(tmp_path, "adam", 64, 0.0005, [0.9, 0.9], of_data=two)
    found = variance(only(tmp_path))
    assert found
    assert found.shares["optimizer"] == pytest.approx(1)


def test_only_a_balanced_part_is_decomposed(tmp_path: Path) -> None:
    for optimizer, lr in product(("sgd", "adam"), LRS):
        cell(tmp_path, optimizer, 64, lr, [0.98, 0.97 + 0.01 * (optimizer == "sgd")])
    cell(tmp_path, "sgd", 64, 0.5, [0.99, 0.9])  # an lr that adam lacks
    cell(tmp_path, "sgd", 256, 0.05, [0.9])  # a batch size that all others lack
    found = variance(only(tmp_path))
    assert found
    assert (found.runs, found.left_out) == (8, 3)  # 2 optimizers, 2 lrs, 2 seeds
    assert "batch size" not in found.shares


def test_with_one_seed_the_last_interaction_cannot_be_told_from_the_seed(tmp_path: Path) -> None:
    for optimizer, lr in product(("sgd", "adam"), LRS):
        cell(tmp_path, optimizer, 64, lr, [0.9 + 0.05 * (optimizer == "sgd") + lr])
    found = variance(only(tmp_path))
    assert found
    assert set(found.shares) == {"optimizer", "learning rate", "the rest, seed included"}


def test_one_setting_and_one_seed_give_no_shares(tmp_path: Path) -> None:
    cell(tmp_path, "sgd", 64, 0.05, [0.98])
    cell(tmp_path, "sgd", 64, 0.5, [0.9])
    assert variance(only(tmp_path)) is None


def test_equal_accuracies_give_no_shares(tmp_path: Path) -> None:
    for optimizer, lr in product(("sgd", "adam"), LRS):
        cell(tmp_path, optimizer, 64, lr, [None, None])
    assert variance(only(tmp_path)) is None
