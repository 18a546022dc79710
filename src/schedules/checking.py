"""Checks of a schedule's values for a whole run, before it is trained."""

import math

from src.errors import UserError, flat, one_line
from src.schedules.schedule import Schedule, check_whole, updates_of


def check_schedule(schedule: Schedule, lr: float, batch_size: int, images: int) -> None:
    """Raise UserError if a schedule has no valid lr, momentum and batch size for each update of a run."""
    try:
        if type(schedule) is not Schedule and {"decay", "decay_by_update"} <= vars(type(schedule)).keys():
            raise ValueError("defines both decay and decay_by_update; keep one")
        for epoch in range(schedule.epochs):
            check_whole(f"batch_factor({epoch})", schedule.batch_factor(epoch), 1)
        updates = updates_of(schedule, batch_size, images)
        sets_momentum = bool(schedule.momenta(lr, 0, updates))
        for epoch in range(schedule.epochs):
            lrs, momenta = schedule.lrs(lr, epoch, updates), schedule.momenta(lr, epoch, updates)
            for each in lrs:
                if not 0 <= each < math.inf:
                    raise ValueError(f"gives lr={each} in epoch {epoch}; must be a finite number, 0 or more")
            for each in momenta:
                if not 0 <= each < 1:
                    raise ValueError(f"gives momentum={each} in epoch {epoch}; must be 0 or more and below 1")
            if len(lrs) not in (1, updates[epoch]) or len(momenta) != len(lrs) * sets_momentum:
                raise ValueError(
                    f"gives {len(lrs)} lrs and {len(momenta)} momenta in epoch {epoch}; must be one of each for the "
                    f"epoch or for each of its {updates[epoch]} updates, or no momentum in any"
                )
    except UserError:
        raise
    except Exception as error:  # the user's class may raise anything
        reason = flat(error) if isinstance(error, ValueError) else one_line(error)
        raise UserError(f"schedule: {type(schedule).__name__}: {reason}") from error
