"""The learning rates of an optimizer's parameter groups, which keep their ratios to the run's own lr."""

from collections.abc import Iterator, Sequence
from typing import Any

from torch.optim import Optimizer


def optimizers_in(value: Any, depth: int = 3) -> Iterator[Optimizer]:
    """Yield an optimizer and those that are its attributes, such as the one that a Lookahead or a SAM wraps."""
    if isinstance(value, Optimizer):
        yield value
        value = [each for key, each in vars(value).items() if key not in ("state", "param_groups", "defaults")]
    elif isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple) and depth:
        for each in value:
            if isinstance(each, Optimizer | list | tuple | dict):
                yield from optimizers_in(each, depth - 1)


def _momentum_key(group: dict[str, Any]) -> str:
    return next((key for key in ("betas", "momentum") if key in group), "")


class LearningRates:
    """Sets the lr of all groups. A group that the optimizer was built with at a tenth of `lr` stays at a tenth."""

    def __init__(self, optimizer: Optimizer, lr: float) -> None:
        self.optimizer, self.lr, self.now = optimizer, lr, lr
        self.momentum: float | None = None  # if it is scheduled
        self.bases: dict[tuple[int, int], float] = {}  # the lr of the constructor, by optimizer and group
        self._groups()

    def _groups(self) -> list[tuple[dict[str, Any], float]]:
        """Return each group and its base. One that was added while training has an lr that has been scaled."""
        found = []
        for optimizer in optimizers_in(self.optimizer):
            for place, group in enumerate(optimizer.param_groups):
                key = id(optimizer), place
                if group.get("lr") is None:
                    continue
                if key not in self.bases:
                    scale = self.lr / self.now if self.now and self.now != self.lr else 1.0
                    self.bases[key] = float(group["lr"]) * scale
                found.append((group, self.bases[key]))
        return found

    def set(self, lr: float, momentum: float | None = None) -> None:
        """Set the lr of groups built with the run's own lr, and scale those of the others likewise.

        A `momentum` is set in each group that has one, in Adam and its like as the first of `betas`.
        """
        for group, base in self._groups():
            group["lr"] = self._scaled(lr, base)
            if momentum is not None and (key := _momentum_key(group)):
                group[key] = momentum if key == "momentum" else (momentum, *group["betas"][1:])
        self.now, self.momentum = lr, momentum

    def of_first_group(self, lrs: Sequence[float]) -> list[float]:
        """Return what `set` would give the first group."""
        _, base = self._groups()[0]
        return [self._scaled(lr, base) for lr in lrs]

    def _scaled(self, lr: float, base: float) -> float:
        # Without a rounding error where there is nothing to compute.
        return lr if base == self.lr else base if lr == self.lr else lr * (base / self.lr)

    @property
    def has_lr(self) -> bool:
        """True if a group has an lr that can be set."""
        return bool(self._groups())

    @property
    def has_momentum(self) -> bool:
        """True if a group has a momentum that can be set."""
        return any(_momentum_key(group) for group, _ in self._groups())

    @property
    def columns(self) -> dict[str, float]:
        """The lr of the first group, those of others that differ, `lr_group2` and so on, and a scheduled `momentum`."""
        self._groups()  # notes the bases of groups that were added meanwhile
        lrs = [float(self.now if group.get("lr") is None else group["lr"]) for group in self.optimizer.param_groups]
        bases = [self.bases.get((id(self.optimizer), place)) for place in range(len(lrs))]
        # All lrs may be 0 for a while, in which the columns of groups must not be missing.
        differing = {
            f"lr_group{place + 1}": lr for place, lr in enumerate(lrs) if bases[place] != bases[0] or lr != lrs[0]
        }
        return {"lr": lrs[0]} | differing | ({} if self.momentum is None else {"momentum": self.momentum})
