"""The last runs of a sweep share the cores that no other run needs."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from joblib import cpu_count
from torch import Tensor

from src.models import MLP
from src.native.threads import THREADS
from src.sweep.scheduler import _lend_idle_cores
from src.sweep.workers import Worker, start_method
from tests.helpers.commands import Command


def threads() -> int:
    return THREADS.total


def test_a_worker_uses_the_cores_that_it_is_lent() -> None:
    worker = Worker(start_method(imports=()))
    try:
        for lent in (0, 3, 0):
            _lend_idle_cores([worker], lent)
            assert worker.returned(worker.start(threads)) == 1 + lent
    finally:
        worker.close()


@pytest.mark.parametrize(("idle", "shares"), [(0, [0, 0, 0]), (1, [1, 0, 0]), (7, [3, 2, 2])])
def test_idle_cores_are_shared_equally(idle: int, shares: list[int]) -> None:
    busy: list[Any] = [SimpleNamespace(lent=SimpleNamespace(value=9)) for _ in shares]
    _lend_idle_cores(busy, idle)
    assert [worker.lent.value for worker in busy] == shares


class Noting(MLP):
    """Appends to `threads.txt` how many threads it may use."""

    def __init__(self) -> None:
        super().__init__([5])

    def forward(self, images: Tensor) -> Tensor:
        with Path(os.environ["NOTES"]).open("a") as file:
            file.write(f"{THREADS.total}\n")
        return super().forward(images)


@pytest.mark.skipif(cpu_count() < 2, reason="there is one core")
def test_the_last_of_three_runs_on_two_cores_is_lent_the_other_core(train: Command, tmp_path: Path) -> None:
    notes = tmp_path / "threads.txt"
    network = f"model._target_={Noting.__module__}.Noting", "~model.hidden", "~model.init"
    ended = train("-m", "model=mlp", *network, "seed=0,1,2", "epochs=30", "hydra.launcher.workers=2", NOTES=str(notes))
    assert ended.returncode == 0, ended.stderr
    threads = notes.read_text().split()
    assert (threads[0], set(threads)) == ("1", {"1", "2"})
