"""What a report says of a grid, and the gist of it in words."""

from collections import Counter
from dataclasses import dataclass

from src.reporting.claims import Claim
from src.reporting.comparisons import Pair, name
from src.reporting.grid import Grid, Key
from src.reporting.published import BEYOND, WITHIN, Beside
from src.reporting.statistics import ALPHA, percent


@dataclass(frozen=True)
class Section:
    """What is said of a grid."""

    grid: Grid
    pictures: list[tuple[str, str, str]]  # name, caption, and the SVG as a data URI
    pairs: list[Pair]
    beside: dict[Key, Beside]
    claims: list[Claim]


def sentences(section: Section) -> list[str]:
    """What was found, in three sentences at most."""
    grid, cells = section.grid, list(section.grid.cells.values())
    runs, diverged = sum(len(cell.runs) for cell in cells), sum(cell.diverged for cell in cells)
    missing = sum(len(cell.missing) for cell in cells)
    least, most = min(len(cell.runs) for cell in cells), max(len(cell.runs) for cell in cells)
    seeds = f"{f'{least} to ' if least < most else ''}{most} seed{'s' * (most != 1)}"
    lost = f", of which {diverged} diverged" if diverged else ""
    gaps = f"; {missing} are missing" if missing else ""
    said = [f"{grid.title}: {runs} runs in {len(cells)} cells of {seeds}{lost}{gaps}."]
    best = grid.best_cells
    if best:
        first = max(best, key=lambda cell: cell.finished.test_accuracy.mean())
        estimate = first.estimate("test_accuracy")
        assert estimate is not None
        worse = sum(pair.winner is first for pair in section.pairs)
        able = any(pair.comparison.least_p * pair.tests < ALPHA for pair in section.pairs)
        told = "; so few seeds can show no difference to others" if section.pairs else ""
        if able:
            told = f"; beyond doubt better than {worse} of the {len(best) - 1} other optimizers and batch sizes"
        said.append(f"Best on the test set, and chosen by it: {name(first)} with {percent(estimate)} %{told}.")
    if section.claims:
        count = Counter(claim.verdict for claim in section.claims)
        verdicts = Counter(each.verdict for each in section.beside.values())
        compared = verdicts[WITHIN] + verdicts[BEYOND]
        said.append(
            f"Of {compared} figures of the assignment that can be compared {verdicts[WITHIN]} lie within noise of "
            f"ours; of its 7 claims {count['holds']} hold, {count['does not hold']} do not, and "
            f"{count['cannot be told']} cannot be told."
        )
    return said
