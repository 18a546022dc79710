"""Grouping of runs, and assignment of workers to GPUs."""

import ctypes
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from joblib import cpu_count

from src.sweep import crew, gpus, grouping, scheduler
from src.sweep.crew import Crew
from src.sweep.grouping import groups
from src.sweep.job import Job
from src.sweep.scheduler import SweepScheduler
from src.sweep.workers import Worker, start_method
from tests.helpers.groups import Configs


def jobs(tmp_path: Path, configs: Configs, *each: str) -> list[Job]:
    return [Job(config) for config in configs(tmp_path, [], [one.split() for one in each])]


def names(found: list[list[Job]]) -> list[list[str]]:
    return sorted([" ".join(job.config.hydra.overrides.task[4:]) for job in group] for group in found)


def test_runs_that_differ_in_optimizer_lr_schedule_and_seed_are_one_group(tmp_path: Path, configs: Configs) -> None:
    one = ["lr=0.1", "lr=0.2", "optimizer=sgd", "schedule=cosine", "optimizer.weight_decay=0.1", "seed=1"]
    others = ["batch_size=32", "epochs=3", "model=mlp", "data.validation=10", "data=digits", "threads=2"]
    others.append("data.normalize=none")
    found = groups(jobs(tmp_path, configs, *one, *others, "model=mlp model.hidden=[8,8,8]", "model=mlp lr=2"), 1)
    assert sorted(map(len, found)) == [1] * 7 + [2, 6]
    assert sorted(one) in [sorted(group) for group in names(found)]
    assert ["model=mlp", "model=mlp lr=2"] in names(found)


def test_large_groups_are_split(tmp_path: Path, configs: Configs, monkeypatch: pytest.MonkeyPatch) -> None:
    nine = [f"lr={lr} seed={seed}" for lr in (0.1, 0.2, 0.3) for seed in (2, 0, 1)]
    all_of_them = jobs(tmp_path, configs, *nine, "epochs=3")
    sizes = {parts: sorted(map(len, groups(all_of_them, parts))) for parts in (1, 2, 3, 4, 9)}
    assert sizes == {1: [1, 9], 2: [1, 9], 3: [1, 4, 5], 4: [1, 2, 3, 4], 9: [1, 2, 2, 2, 3]}
    monkeypatch.setattr(grouping, "LARGEST", 4)
    assert sorted(map(len, groups(all_of_them, 1))) == [1, 2, 3, 4]
    for group in groups(all_of_them, 3):  # few seeds per group, since runs of one seed share minibatches
        assert len({job.config.seed for job in group}) <= 2


def test_workers_are_spread_over_gpus(
    tmp_path: Path, configs: Configs, monkeypatch: pytest.MonkeyPatch, small_mnist: Path
) -> None:
    monkeypatch.setattr(scheduler, "gpus", lambda: ["2", "5"])
    hired: list[Any] = []
    monkeypatch.setattr(crew, "Worker", lambda start, gpu: hired.append(gpu))
    config = configs(tmp_path, [], [[f"lr={lr}"] for lr in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)])
    for each in config:
        each.device = "auto"
    two = SweepScheduler([Job(each) for each in config], None, Crew())
    assert two.vectorize
    assert two.workers == 2
    assert sorted(map(len, groups(two.jobs, two.workers))) == [3, 3]
    assert two._places(groups=False) == cpu_count()  # single runs share a GPU
    Crew().hire(None, 2, waiting=2, gpus=two.gpus)  # type: ignore[arg-type]
    assert hired == ["2", "5"]
    Crew().hire(None, 3, waiting=6, gpus=two.gpus)  # type: ignore[arg-type]
    assert hired == ["2", "5", "2", "5", "2"]
    Crew().hire(None, 3, waiting=1, gpus=[])  # type: ignore[arg-type]
    assert hired == ["2", "5", "2", "5", "2", None]
    for each in config:
        each.device = "cpu"
    assert not SweepScheduler([Job(each) for each in config], None, Crew()).vectorize


def test_a_worker_sees_only_its_gpu() -> None:
    worker = Worker(start_method(imports=()), gpu="5")
    try:
        assert worker._pool.submit(os.getenv, "CUDA_VISIBLE_DEVICES").result() == "5"
    finally:
        worker.close()


@pytest.mark.parametrize(
    ("visible", "count", "found"),
    [(None, 3, ["0", "1", "2"]), ("4,GPU-8a", 2, ["4", "GPU-8a"]), ("1,7", 1, ["1"]), ("", 0, [])],
)
def test_gpus_are_named_as_in_the_environment(
    visible: str | None, count: int, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.gpus() == found


def test_without_a_driver_there_are_no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", missing)
    assert gpus.gpus() == []
