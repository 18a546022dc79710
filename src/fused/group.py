"""The runs of several jobs, trained as one model where that can be."""

import gc
import traceback
import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from itertools import groupby

import torch
from omegaconf import DictConfig

from src import images
from src.errors import UserError, one_line, traceback_wanted
from src.fused.checkpoint import GroupCheckpointIO
from src.fused.classifier import GroupClassifier
from src.fused.cohort import Cohort
from src.fused.data import GroupData
from src.fused.obstacles import obstacle, refusal
from src.fused.recorder import GroupRecorder
from src.fused.together import Together
from src.job import Job, write_hydra_files
from src.lightning import fit
from src.outcome import initial_loss
from src.runs.checkpoint import curve_in
from src.training import Training


class Member:
    """A job whose run's lock is held."""

    def __init__(self, number: int, job: Job) -> None:
        assert job.run
        assert job.state
        self.number, self.job, self.run, self.names = number, job, job.run, job.state.names

    @property
    def done(self) -> bool:
        return self.run.ended and not self.job.forced

    def build(self) -> None:
        """Build what it trains. Raises UserError."""
        assert self.job.state
        config, settings = self.job.config, self.job.state.settings
        loaded = images.load(settings.data, str(config.data_root))
        self.training = Training(settings, loaded, config.device, config.threads, config.threads)

    def begin(self) -> None:
        """Make its directory ready."""
        if self.job.forced:
            self.run.clear()
            self.job.forced = False
        write_hydra_files(self.run, self.job.own_config, self.job.config.hydra)

    @property
    def step(self) -> tuple[int, ...]:
        """Equal in runs that can go on in step: the epoch they are at, and all batch sizes."""
        settings, data = self.training.settings, self.training.data
        return len(curve_in(self.run.checkpoint)), *(data.batch_size_in(epoch) for epoch in range(settings.epochs))


def train_together(configs: Sequence[DictConfig]) -> Together:
    """Train what these jobs describe, which are alike in all but optimizer, lr, schedule and seed.

    A group that does not fit into the device's memory is cut in halves.
    """
    together = Together()
    with ExitStack() as locks:
        members = []
        for number, job in enumerate(map(Job, configs)):
            if job.run is None:
                together.failed[number] = job.reason
                continue
            try:
                locks.enter_context(job.run.locked())
                members.append(Member(number, job))
            except UserError:
                together.alone[number] = "another process is training it"
        parts = [members]
        while parts:
            part = [member for member in parts.pop() if not member.done]
            try:
                _train(part, together)
                continue
            except torch.OutOfMemoryError as error:
                reason = "" if len(part) > 2 else one_line(error)
            except Exception as error:
                reason = f"its group failed: {one_line(error)}"
                if traceback_wanted():
                    traceback.print_exc()
            gc.collect()  # Lightning's trainer is a cycle, which holds the device's memory
            if reason:
                together.alone |= {member.number: reason for member in part if not member.done}
            else:
                parts += [part[len(part) // 2 :], part[: len(part) // 2]]
    return together


def _train(members: Sequence[Member], together: Together) -> None:
    """Train members as one group for all that are in step."""
    able: list[Member] = []
    for member in members:
        try:
            member.build()
        except UserError as error:
            together.failed[member.number] = one_line(error)
            continue
        if reason := obstacle(member.training):
            together.alone[member.number] = reason
        else:
            able.append(member)
    if len(able) > 1 and (reason := refusal([member.training.model for member in able])):
        together.alone |= {member.number: reason for member in able}
        return
    for member in able:
        member.begin()
        together.begun.add(member.number)
    steps = {member: member.step for member in able}
    able.sort(key=lambda member: (steps[member], member.training.settings.seed))
    for (epoch, *_), in_step in groupby(able, key=steps.__getitem__):
        group = list(in_step)
        if len(group) > 1 and epoch < group[0].training.settings.epochs:
            _train_in_step(group)
        else:
            reason = "no other run is in step with it" if len(group) == 1 else "all its epochs were trained before"
            together.alone |= {member.number: reason for member in group}


def _train_in_step(members: Sequence[Member]) -> None:
    """Train members, in the order of their seeds, as one model, until their records say how they ended."""
    runs = [member.run for member in members]
    resumed = [member.training.begin(member.run, member.names, len(members)) for member in members]
    boards = [member.training.board(member.run, member.names) for member in members]
    seeds = groupby(members, key=lambda member: member.training.settings.seed)
    by_seed = [list(of_a_seed) for _, of_a_seed in seeds]
    try:
        cohorts = [
            Cohort([member.training.classifier for member in of_a_seed], of_a_seed[0].training.data)
            for of_a_seed in by_seed
        ]
        first = members[0].training
        fit(
            GroupClassifier(cohorts),
            GroupData([cohort.data for cohort in cohorts]),
            first.device,
            first.settings.epochs,
            [GroupRecorder(runs, boards)],
            GroupCheckpointIO(runs, _made_capturable(members)),
            runs[0].checkpoint if resumed[0] else None,
        )
        for of_a_seed, cohort in zip(by_seed, cohorts, strict=True):
            loss_at_first = initial_loss(cohort.data, of_a_seed[0].training.settings)
            for member in of_a_seed:
                member.training.data = cohort.data
                classes = list(member.job.config.data.classes)
                member.training.end(member.run, boards[members.index(member)], member.names, classes, loss_at_first)
    except BaseException:
        for run in runs:
            if not run.ended:
                run.update(status="interrupted")
        raise
    finally:
        for board in boards:
            board.writer.close()


def _made_capturable(members: Sequence[Member]) -> dict[tuple[int, int], bool]:
    """Have the optimizers keep all they count on the GPU, as CUDA graphs want it; what their settings have of that."""
    settings = {}
    warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")  # of steps before a capture
    for number, member in enumerate(members):
        for place, group in enumerate(member.training.classifier.optimizer.param_groups):
            if member.training.device == "cuda" and "capturable" in group:
                settings[number, place], group["capturable"] = bool(group["capturable"]), True
    return settings
