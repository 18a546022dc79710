"""`python -m src.evaluate`: loss and accuracy of trained networks on a test set, beside those in their records."""

import os
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from src.errors import UserError, errors_in_one_line, visible
from src.inference.arguments import parse, switch
from src.inference.find import find
from src.interrupts import interruptible, raise_interrupts

USAGE = """python -m src.evaluate [data=NAME] [data.path=FILE] RUN ... [trust=true] [output_dir=outputs]

RUN is the folder of a run, a unique part of its name, or best, with settings to select among: best data=mnist lr=0.05.
Without data=, each network is evaluated on the test set of its own data.
trust=true imports whatever classes run.json names."""
OPTIONS = {"data": "", "data.path": "", "data_root": os.environ.get("DATA_ROOT", "data")}
OPTIONS |= {"trust": "false", "output_dir": "outputs"}


def evaluate(arguments: list[str]) -> Table:
    """Evaluate the networks that the arguments name; return a table. Raises UserError."""
    given = parse(arguments, OPTIONS)
    trust = switch(given.options, "trust")
    directories = find(given.words, Path(given.options["output_dir"]))
    from src.inference.labelled_images import labelled_images  # these imports take seconds
    from src.inference.trained import load_network
    from src.training.evaluation import figures_on_test

    raise_interrupts()
    table = Table("run", "images", "loss", "in run.json", "accuracy", "in run.json")
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.justify = "right"
    for directory in directories:
        network = load_network(directory, trust)
        options = given.options
        images = labelled_images(network, directory, options["data"], options["data.path"], options["data_root"], trust)
        loss, accuracy = figures_on_test(network.network, images, network.record["data"])
        record = network.record
        own = options["data"] in ("", record["settings"]["data"])
        if own and images.sha256 != record["data"]["sha256"]:
            raise UserError(f"{directory}: was trained on other data files than the current ones")
        known = record["figures"] if own else {}
        stored = [known.get("test_loss"), known.get("test_accuracy")]
        table.add_row(
            visible(directory.name),
            f"{len(images.test_labels):,}",
            f"{loss:.4f}",
            "-" if stored[0] is None else f"{stored[0]:.4f}",
            f"{accuracy:.2%}",
            "-" if stored[1] is None else f"{stored[1]:.2%}",
        )
    return table


@interruptible("nothing was written")
def main() -> None:
    """Run the command; print an error as one line and exit with its code."""
    if set(sys.argv[1:]) & {"-h", "--help"} or not sys.argv[1:]:
        print(USAGE)
        return
    with errors_in_one_line():
        table = evaluate(sys.argv[1:])
        Console(markup=False, highlight=False).print(table)


if __name__ == "__main__":
    main()
