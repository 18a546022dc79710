"""Commands that may follow a run or a study."""

import shlex


def next_steps(output: str, selection: list[str]) -> list[str]:
    """Return two lines: the commands for a report of `selection`, words of the command line, and for the curves."""
    place = [] if output == "outputs" else [f"output_dir={output}"]
    report = shlex.join(["python", "-m", "src.report", *selection, *place])
    return [f"{'report':>9}  {report}", f"{'curves':>9}  {shlex.join(['tensorboard', '--logdir', output])}"]
