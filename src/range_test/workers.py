"""Worker processes of range tests: each trains one network at a time, on one core or one GPU."""

from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace

import numpy as np
from joblib import cpu_count

from src.config.settings import Settings
from src.data.images import Images
from src.errors import exit_code, one_line
from src.range_test.plan import Test
from src.range_test.points import Numbers
from src.sweep.gpus import gpus
from src.sweep.workers import Died, Worker, end_all, start_method

IMPORTS = ["src.range_test.workers", "src.range_test.losses"]


@dataclass(frozen=True)
class Failure:
    """Why a test failed, on one line, and the exit code."""

    reason: str
    code: int


def run(tests: Sequence[Test], device: str, threads: int) -> Generator[tuple[Test, Numbers | Failure], None, None]:
    """Yield each test with its losses or failure once it has ended.

    After a failure, the row's other seeds are skipped unless they have begun.
    """
    cards = gpus() if device != "cpu" else []
    places = min(len(tests), len(cards) or max(1, int(cpu_count()) // threads))
    context = start_method(IMPORTS)
    workers = [Worker(context, cards[place] if cards else None) for place in range(places)]
    idle, waiting = list(workers), list(tests)
    busy: dict[Future[list[float] | Failure], tuple[Worker, Test]] = {}
    try:
        while waiting or busy:
            while waiting and idle:
                worker, test = idle.pop(), waiting.pop(0)
                settings = replace(test.row.settings, seed=test.seed)
                busy[worker.start(_losses, settings, test.images, test.lrs, device, threads)] = worker, test
            for future in wait(busy, return_when=FIRST_COMPLETED).done:
                worker, test = busy.pop(future)
                try:
                    outcome = worker.returned(future)
                except Died as death:
                    outcome = Failure(str(death), 1)
                idle.append(worker)
                if isinstance(outcome, Failure):
                    waiting = [each for each in waiting if each.row is not test.row]
                yield test, outcome if isinstance(outcome, Failure) else np.array(outcome)
    except BaseException:
        end_all(workers)
        raise
    for worker in workers:
        worker.close()


def _losses(settings: Settings, images: Images, lrs: Numbers, device: str, threads: int) -> list[float] | Failure:
    # These imports take seconds, in the server that forks the workers.
    from src.range_test.losses import losses_of
    from src.training.trainer import set_up_process

    try:
        set_up_process(threads, threads)
        return losses_of(settings, images, lrs, device)
    except Exception as error:
        return Failure(one_line(error), exit_code(error))
