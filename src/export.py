"""`python -m src.export`: a trained network as one file, for ONNX or `torch.export.load`."""

import sys
from pathlib import Path

from src.errors import UserError, errors_in_one_line
from src.inference.arguments import check_output, parse, runs_and_files, switch
from src.inference.find import find
from src.interrupts import interruptible, raise_interrupts

USAGE = """python -m src.export RUN FILE.onnx|FILE.pt2 [trust=true] [output_dir=outputs]

RUN is the folder of a run, a unique part of its name, or best, with settings to select among: best data=mnist lr=0.05.
The file takes bytes (B, C, H, W), for any B, and gives logits (B, K); normalisation is part of it.
trust=true imports whatever class run.json names."""
OPTIONS = {"trust": "false", "output_dir": "outputs"}


def export(arguments: list[str]) -> Path:
    """Write the file that the arguments name; return its path. Raises UserError."""
    given = parse(arguments, OPTIONS)
    trust = switch(given.options, "trust")
    run, files = runs_and_files(given.words)
    if len(files) != 1 or Path(files[0]).suffix not in (".onnx", ".pt2"):
        raise UserError(f"{' '.join(files) or 'no file'}: give one file after the run, FILE.onnx or FILE.pt2")
    check_output(Path(files[0]), files[0])
    (directory,) = find(run, Path(given.options["output_dir"]))
    from src.inference.exporting import write
    from src.inference.trained import load_network

    raise_interrupts()
    write(load_network(directory, trust), Path(files[0]))
    return Path(files[0])


@interruptible("no file was written; an earlier one is unchanged")
def main() -> None:
    """Run the command; print an error as one line and exit with its code."""
    if set(sys.argv[1:]) & {"-h", "--help"} or not sys.argv[1:]:
        print(USAGE)
        return
    with errors_in_one_line():
        file = export(sys.argv[1:])
        print(f"{file}  {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
