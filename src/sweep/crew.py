"""The workers of a sweep."""

from collections.abc import Sequence
from multiprocessing.context import BaseContext

from src.sweep.workers import Worker, end_all


class Crew:
    """Workers that are kept between the batches of a sweep."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []
        self.idle: list[Worker] = []

    def hire(self, start: BaseContext, places: int, waiting: int, gpus: Sequence[str]) -> None:
        """Start workers, at most `places` in all and one for each waiting job, spread over the GPUs."""
        while len(self.workers) < places and len(self.idle) < waiting:
            worker = Worker(start, gpus[len(self.workers) % len(gpus)] if gpus else None)
            self.workers.append(worker)
            self.idle.append(worker)

    def end(self) -> None:
        """End all workers, busy or idle."""
        end_all(self.workers)
        self.dismiss()

    def dismiss(self) -> None:
        """Forget all workers; idle processes end by themselves."""
        self.workers, self.idle = [], []
