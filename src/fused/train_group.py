"""Train the runs of several jobs as one vectorized model where possible."""

import gc
import os
import sys
import traceback
import warnings
from collections.abc import Hashable, Sequence
from contextlib import ExitStack
from itertools import groupby

import torch
from omegaconf import DictConfig, OmegaConf

from src.errors import UserError, one_line, traceback_wanted
from src.fused.callback import GroupRecorder
from src.fused.checkpoint import GroupCheckpointIO
from src.fused.classifier import GroupClassifier
from src.fused.compatibility import out_of_memory, why_incompatible, why_not_vmappable
from src.fused.datamodule import GroupData
from src.fused.member import Member
from src.fused.result import GroupResult
from src.fused.seed_group import SeedGroup
from src.fused.verification import NotReproduced
from src.training.datamodule import DataModule
from src.training.evaluation import initial_loss
from src.training.lightning import fit
from src.training.trainer import Training, set_up_process

FULL = "not enough memory"
NO_OTHER = "no other run was at the same epoch with the same batch sizes"


def train_group(configs: Sequence[DictConfig]) -> GroupResult:
    """Train the runs of these jobs, which differ only in optimizer, lr, schedule and seed.

    A group that does not fit into the device's memory is split into halves.
    """
    result = GroupResult()
    verify = bool(OmegaConf.select(configs[0], "hydra.launcher.verify", default=True))
    set_up_process(configs[0].threads, configs[0].threads)
    members = _able(configs, result)
    if result.failed and configs[0].fail_fast:
        result.alone |= {member.number: "another run failed" for member in members}
        return result
    with ExitStack() as locks:
        groups = _in_step(_locked(members, locks, result), result)
        while groups:
            group = groups.pop(0)
            try:
                reason = _failure(group, verify)
            except NotReproduced as error:
                for number, difference in error.differences.items():
                    why = f"its group does not reproduce its gradients, which differ by {difference:.0%}"
                    result.alone[group[number].number] = why
                    print(f"{group[number].resolved.directory} is trained alone: {why}", file=sys.stderr)
                others = [member for number, member in enumerate(group) if number not in error.differences]
                groups += _regrouped(others, result)
                continue
            if reason:
                left = [member for member in group if not member.done]
                if reason == FULL and len(group) > 3:
                    groups += _halves(left, result)
                else:
                    result.alone |= {member.number: f"its group failed: {reason}" for member in left}
        result.begun = {member.number for member in members if member.begun and not member.run.staged}
        for member in members:
            member.run.abandon()
    return result


def _able(configs: Sequence[DictConfig], result: GroupResult) -> list[Member]:
    """Return the members that can be trained in a group; record the others in `result`."""
    able: list[Member] = []
    shared: dict[Hashable, DataModule] = {}
    for number, config in enumerate(configs):
        try:
            member = Member(number, config, shared)
        except UserError as error:
            result.failed[number] = one_line(error)
            continue
        if reason := why_incompatible(member.training):
            result.alone[number] = reason
        else:
            able.append(member)
    of_each_seed = {member.seed: member.training.model for member in able}
    if len(able) > 1 and (
        reason := why_not_vmappable([*of_each_seed.values(), able[0].training.model], able[0].images)
    ):
        result.alone |= {member.number: reason for member in able}
        return []
    return able


def _locked(members: Sequence[Member], locks: ExitStack, result: GroupResult) -> list[Member]:
    """Lock the runs, and prepare and return those that have not ended and that no other process trains."""
    ours = []
    for member in members:
        try:
            locks.enter_context(member.run.locked())
        except UserError:
            result.alone[member.number] = "another process was training it"
            continue
        if not member.done:
            member.begin()
            ours.append(member)
    return ours


def _in_step(members: Sequence[Member], result: GroupResult) -> list[list[Member]]:
    """Return groups of members at the same epoch with the same batch sizes, each sorted by seed."""
    at = {member: member.epochs_done() for member in members}
    result.alone |= {member.number: "its training had already ended" for member in members if at[member] is None}

    def step(member: Member) -> tuple[int, ...]:
        return at[member] or 0, *member.batch_sizes

    left = sorted((member for member in members if at[member] is not None), key=lambda each: (step(each), each.seed))
    groups = [list(in_step) for _, in_step in groupby(left, key=step)]
    result.alone |= {group[0].number: NO_OTHER for group in groups if len(group) == 1}
    return [group for group in groups if len(group) > 1]


def _halves(members: Sequence[Member], result: GroupResult) -> list[list[Member]]:
    """Return smaller groups of the members of a group that did not fit into memory."""
    halves = []
    for group in _regrouped(members, result):
        middle = len(group) // 2
        halves += [group[:middle], group[middle:]] if len(group) > 3 else [group]
    return halves


def _regrouped(members: Sequence[Member], result: GroupResult) -> list[list[Member]]:
    """Build the members anew and group them by epoch, since a diverged member has an older checkpoint than others."""
    shared: dict[Hashable, DataModule] = {}
    for member in members:
        member.build(shared)
    return _in_step(members, result)


def _failure(members: Sequence[Member], verify: bool) -> str:
    """Train a group and free its device memory; return the reason why it failed, or an empty string.

    Raises NotReproduced.
    """
    failure = ""
    try:
        _train(members, verify)
    except NotReproduced:
        raise
    except Exception as error:
        if traceback_wanted():
            traceback.print_exc()
        failure = FULL if out_of_memory(error) else one_line(error)
        if isinstance(error, torch.AcceleratorError) and failure != FULL:
            print(f"the group's process exits: {failure}", file=sys.__stderr__, flush=True)
            os._exit(1)  # the process cannot use its GPU after such an error
    finally:
        gc.collect()  # Lightning's trainer is in a reference cycle
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
    return failure


def _train(members: Sequence[Member], verify: bool) -> None:
    """Train members, sorted by seed, as one model, and record how each ended."""
    runs = [member.run for member in members]
    resumed = [member.training.begin(member.run, member.names, len(members)) for member in members]
    boards = [member.training.board(member.run, member.names) for member in members]
    by_seed = [list(of_a_seed) for _, of_a_seed in groupby(members, key=lambda member: member.seed)]
    first = members[0].training
    try:
        seed_groups = [
            SeedGroup([member.training.classifier for member in of_a_seed], of_a_seed[0].training.data)
            for of_a_seed in by_seed
        ]
        fit(
            GroupClassifier(seed_groups, verify),
            GroupData([seed_group.data for seed_group in seed_groups]),
            first.device,
            first.settings.epochs,
            [GroupRecorder(runs, boards)],
            GroupCheckpointIO(
                runs,
                [member.training.identity for member in members],
                made_capturable([member.training for member in members]),
            ),
            runs[0].checkpoint if any(resumed) else None,
        )
        for of_a_seed in by_seed:
            one = of_a_seed[0].training
            loss_at_first = initial_loss(one.data, one.settings, one.images)
            for member in of_a_seed:
                member.training.end(member.run, boards[members.index(member)], member.names, loss_at_first)
    except BaseException:
        for run in runs:
            if not run.ended:
                run.update(status="interrupted")
        raise
    finally:
        for board in boards:
            board.close()


def made_capturable(trainings: Sequence[Training]) -> dict[tuple[int, int], bool]:
    """Set `capturable`, which CUDA graphs need, on GPU optimizers; return the values that the settings had."""
    settings = {}
    warnings.filterwarnings("ignore", "This instance was constructed with capturable=True")  # in uncaptured steps
    for number, training in enumerate(trainings):
        for place, group in enumerate(training.classifier.optimizer.param_groups):
            if training.device == "cuda" and "capturable" in group:
                settings[number, place], group["capturable"] = bool(group["capturable"]), True
    return settings
