"""`python -m src.lr_range`: learning rate range tests (Smith 2017), which show the learning rates worth trying."""

import math
import re
import sys
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from rich.console import Console

from src.display.range_progress import range_progress
from src.display.wide_table import print_table
from src.errors import UserError, errors_in_one_line
from src.interrupts import interruptible, raise_interrupts

if TYPE_CHECKING:
    from src.range_test.points import Numbers
    from src.range_test.row import Row

USAGE = """python -m src.lr_range [+study=NAME] [SETTING=VALUE ...] [from=1e-7] [to=10] [steps=N] [output_dir=outputs]

The lr grows from minibatch to minibatch, once for each distinct run that `python -m src.train` trains with the same
arguments, and for each seed; lr=, epochs= and schedule= are ignored. By default, steps is the number of minibatches in
an epoch, but at least 100 and at most 1000. Written to output_dir/lr_range/<data>/<model>/."""
LEAST_STEPS = 10
MOST_COMMANDS = 6  # of those that may follow
OWN = {"from": "1e-7", "to": "10"}


def lr_range(arguments: Sequence[str], console: Console) -> int:
    """Run the tests that the arguments select; write and print their results, a row's as soon as its seeds are done.

    Return the exit code, which is not 0 if a test failed. Raises UserError.
    """
    low, high, steps, words = _parsed(arguments)
    from src.config.selection import select  # these imports are slow
    from src.config.settings import check_cores
    from src.range_test.plan import Lrs, plan
    from src.range_test.row import rows

    selection = select(words)
    if selection.threads > 1:
        check_cores(selection.threads)
    tests = plan(rows(selection), Lrs(low, high, steps))
    from src.range_test.files import write_json, write_table_and_figure
    from src.range_test.result import Result
    from src.range_test.table import next_command, table
    from src.range_test.workers import Failure, run

    raise_interrupts()
    losses: dict[Row, dict[int, Numbers]] = {test.row: {} for test in tests}  # by seed
    results: dict[Row, Result] = {}
    failures: dict[Row, Failure] = {}
    outcomes = run(tests, selection.device, selection.threads)
    with range_progress(len(tests)) as ended, closing(outcomes):  # an error here ends the workers
        for test, outcome in outcomes:
            row = test.row
            if isinstance(outcome, Failure):
                ended("")
                if row not in failures:
                    print(f"{row.name}: {outcome.reason}", file=sys.stderr)
                failures[row] = outcome
                continue
            ended(test.name)
            losses[row][test.seed] = outcome
            if len(losses[row]) == len(row.seeds):
                in_order = [losses[row][seed] for seed in row.seeds]
                results[row] = Result(row, test.lrs, in_order, test.images.sha256)
                write_json(results[row])
    ended_rows = [results[row] for row in losses if row in results]
    folders = dict.fromkeys(result.row.file.parent for result in ended_rows)
    for folder in folders:
        write_table_and_figure([result for result in ended_rows if result.row.file.parent == folder])
    if ended_rows:
        print_table(table(ended_rows), console)
        for folder in folders:
            console.print(f"{'files':>9}  {folder}/lr_range.csv, .svg, .pdf, .png, and a .json per row", soft_wrap=True)
        console.print("  columns  docs/limits.md")
        for number, result in enumerate(ended_rows[:MOST_COMMANDS]):
            console.print(f"{'next' if number == 0 else 'or':>9}  {next_command(result)}", soft_wrap=True)
    return max((failure.code for failure in failures.values()), default=0)


def _parsed(arguments: Sequence[str]) -> tuple[float, float, int | None, list[str]]:
    """Return from, to, steps and the words of `src.train`. Raises UserError."""
    pairs = [(word.partition("=")[0], word) for word in arguments if word not in ("-m", "--multirun")]
    own = OWN | {key: word.partition("=")[2] for key, word in pairs if key in (*OWN, "steps")}
    words = [word for key, word in pairs if key not in (*OWN, "steps")]
    for key, word in pairs:
        if key.startswith("-"):
            raise UserError(f"{word}: is no option; settings have no dashes: optimizer=sgd")
        if key in ("dry_run", "force", "fail_fast", "probe"):
            raise UserError(f"{word}: does not apply to a range test; leave it out")
    low, high = (_number(key, own[key]) for key in ("from", "to"))
    if low >= high:
        raise UserError(f"from={own['from']}: must be below to={own['to']}")
    steps = own.get("steps")
    if steps is not None and not (re.fullmatch("[0-9]{1,6}", steps) and int(steps) >= LEAST_STEPS):
        raise UserError(f"steps={steps}: must be a whole number from {LEAST_STEPS} to 999999; try steps=500")
    return low, high, None if steps is None else int(steps), words


def _number(key: str, text: str) -> float:
    """Return the lr in the value of `key`. Raises UserError."""
    try:
        lr = float(text)
    except ValueError:
        lr = math.nan
    if not 0 < lr < math.inf:
        raise UserError(f"{key}={text}: must be one finite number above 0; try {key}={OWN[key]}")
    return lr


@interruptible("rows whose seeds are all done are written")
def main() -> None:
    """Run the command; print an error as one line and exit with its code."""
    if set(sys.argv[1:]) & {"-h", "--help"}:
        print(USAGE)
        return
    with errors_in_one_line():
        code = lr_range(sys.argv[1:], Console(markup=False, highlight=False))
    sys.exit(code)


if __name__ == "__main__":
    main()
