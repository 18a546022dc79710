"""`python -m src.predict`: the class of images in files and folders, by a trained network."""

import csv
import io
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from src.errors import Reported, UserError, errors_in_one_line, visible
from src.inference.arguments import Arguments, check_output, parse, runs_and_files, switch
from src.inference.find import find
from src.interrupts import interruptible, raise_interrupts

USAGE = """python -m src.predict RUN IMAGE|FOLDER ... [resize=true] [invert=true] [csv=FILE]
    [trust=true] [output_dir=outputs]

RUN is the folder of a run, a unique part of its name, or best, with settings to select among: best data=mnist lr=0.05.
Prints path, class and probability of each image, in the order given. resize=true resizes images of another size,
invert=true exchanges light and dark. trust=true imports whatever class run.json names."""
OPTIONS = {"resize": "false", "invert": "false", "csv": "", "trust": "false", "output_dir": "outputs"}
TOGETHER = 256  # images
Row = tuple[Path, str, float]


def predict(given: Arguments) -> Iterator[Row]:
    """Yield path, class and probability of each image that the arguments name.

    Images that cannot be read are named on stderr and left out; at the end, Reported is raised. Raises UserError.
    """
    resize, invert = switch(given.options, "resize"), switch(given.options, "invert")
    trust = switch(given.options, "trust")
    run, paths = runs_and_files(given.words)
    (directory,) = find(run, Path(given.options["output_dir"]))
    if not paths:
        raise UserError("no image is named; give files or folders after the run")
    from src.data.images import brightness
    from src.inference import images as image_files
    from src.inference.trained import load_network

    raise_interrupts()
    network = load_network(directory, trust)
    trained_on = image_files.contrast(network.record["data"].get("brightness", {"whole": 0.0, "border": 0.0}))
    files = list(image_files.files(paths))
    remaining = iter(files)
    wrong = opposite = 0
    console = Console(file=sys.stderr, markup=False, highlight=False)
    with Progress(console=console, transient=True) if console.is_terminal else nullcontext() as bar:
        task = bar.add_task("predicting", total=len(files)) if bar else None
        while some := list(islice(remaining, TOGETHER)):
            read = [(file, _image(file, network.image_shape, resize)) for file in some]
            images = [(file, image) for file, image in read if image is not None]
            wrong += len(some) - len(images)
            if images:
                batch = np.stack([image for _, image in images])
                batch = 255 - batch if invert else batch
                opposite += sum(image_files.contrast(brightness(image[None])) == -trained_on != 0 for image in batch)
                labels, probabilities = network.predict(batch)
                for (file, _), label, row in zip(images, labels.tolist(), probabilities, strict=True):
                    yield file, network.classes[label], float(row[label])
            if bar and task is not None:
                bar.advance(task, len(some))
    if opposite > (len(files) - wrong) / 2:
        kinds = ("dark on light", "light on dark") if trained_on > 0 else ("light on dark", "dark on light")
        way = "leave out invert=true" if invert else "invert=true exchanges light and dark"
        seen = f"{opposite} of {len(files) - wrong} images are {kinds[0]}, but the network was trained on {kinds[1]}"
        print(f"{seen}; {way}", file=sys.stderr)
    if wrong:
        reason = f"{wrong} of {len(files)} images cannot be predicted"
        print(reason, file=sys.stderr)
        raise Reported(reason)


def _image(file: Path, shape: tuple[int, int, int], resize: bool) -> NDArray[np.uint8] | None:
    from src.inference.images import read

    try:
        return read(file, shape, resize)
    except UserError as error:
        print(visible(str(error)), file=sys.stderr)
        return None


def _print_rows(arguments: list[str]) -> None:
    given = parse(arguments, OPTIONS)
    if file := given.options["csv"]:
        check_output(Path(file), f"csv={file}")
    rows: list[Row] = []
    try:
        for path, name, probability in predict(given):
            rows.append((path, name, probability))
            print(visible(f"{path}  {name}  {probability:.2%}"))
    except Reported:
        _write_csv(file, rows)
        raise
    _write_csv(file, rows)


def _write_csv(file: str, rows: list[Row]) -> None:
    if file:
        from src.files import as_cell, replace_file

        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["path", "class", "probability"])
        writer.writerows([as_cell(str(path)), as_cell(name), probability] for path, name, probability in rows)
        replace_file(Path(file), text.getvalue().encode("utf-8", "surrogateescape"))


@interruptible("no CSV file was written")
def main() -> None:
    """Run the command; print an error as one line and exit with its code."""
    if set(sys.argv[1:]) & {"-h", "--help"} or not sys.argv[1:]:
        print(USAGE)
        return
    with errors_in_one_line():
        _print_rows(sys.argv[1:])


if __name__ == "__main__":
    main()
