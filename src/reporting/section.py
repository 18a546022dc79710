"""The content of a report on one grid, and its summary in sentences."""

from collections import Counter
from dataclasses import dataclass
from typing import get_args

from src.reporting.assignment.claims import Claim
from src.reporting.assignment.reference import ReferenceCell, Verdict
from src.reporting.comparisons import Pair
from src.reporting.grid import Grid, Key
from src.reporting.statistics import ALPHA, counted, percent


@dataclass(frozen=True)
class Section:
    """The content of a report on one grid."""

    grid: Grid
    pictures: list[tuple[str, str, str]]  # name, caption, and the SVG as a data URI
    pairs: list[Pair]
    reference: dict[Key, ReferenceCell]
    claims: list[Claim]


def sentences(section: Section) -> list[str]:
    """Summarise a section in at most three sentences."""
    grid, cells = section.grid, list(section.grid.cells.values())
    runs, diverged = sum(len(cell.runs) for cell in cells), sum(cell.diverged for cell in cells)
    missing = sum(len(cell.missing) for cell in cells)
    least, most = min(len(cell.runs) for cell in cells), max(len(cell.runs) for cell in cells)
    seeds = f"{f'{least} to ' if least < most else ''}{counted(most, 'seed')}"
    lost = f", of which {diverged} diverged" if diverged else ""
    gaps = f"; {counted(missing, 'is', 'are')} missing" if missing else ""
    said = [f"{grid.title}: {counted(runs, 'run')} in {counted(len(cells), 'cell')} of {seeds}{lost}{gaps}."]
    best = grid.best_cells
    if best:
        first = max(best, key=grid.score)
        estimate = first.estimate("test_accuracy")
        assert estimate is not None
        worse = sum(pair.winner is first for pair in section.pairs)
        able = any(pair.comparison.least_p * pair.tests < ALPHA for pair in section.pairs)
        told = "; there are too few seeds to compare it with others" if section.pairs else ""
        if able:
            others = {
                0: "not significantly better than any other",
                len(best) - 1: "significantly better than all others",
            }
            some = f"significantly better than {worse} of the {len(best) - 1} others"
            told = f"; {others.get(worse, some)}, by optimizer and batch size"
        tested = "" if grid.chosen_on == "test" else " on the test set"
        said.append(
            f"Best cell, chosen on the {grid.chosen_on} set: {first.name} with {percent(estimate)} %{tested}{told}."
        )
    if section.claims:
        count = Counter(claim.verdict for claim in section.claims)
        verdicts = Counter(each.verdict for each in section.reference.values())
        shown = [f"{number} {verdict}" for verdict in get_args(Verdict) if (number := verdicts[verdict])]
        figures = f"The assignment's cells beside ours: {', '.join(shown)}. " if shown else ""
        decided = f"{counted(count['holds'], 'holds', 'hold')}, {counted(count['does not hold'], 'does', 'do')} not"
        said.append(f"{figures}Its claims: {decided}, {count['cannot be told']} cannot be told.")
    return said
