"""Commands that may follow a run or a study."""

import re
import shlex
from collections.abc import Sequence

REPORTED_ALIKE = ("seed=", "output_dir=", "data_root=", "device=", "threads=", "force=", "fail_fast=")


def next_steps(output: str, overrides: Sequence[str]) -> list[str]:
    """Return two lines, the commands for a report and for the curves.

    The report is of a study if the run has no overrides but that study and ones that a report does not select by.
    """
    others = [each for each in overrides if not each.startswith(REPORTED_ALIKE)]
    swept = [each for each in others if not each.startswith("+study=")]
    study = [each for each in others if each.startswith("+study=")]
    quoted = output if re.fullmatch(r"[\w./-]+", output, re.ASCII) else f'"{output}"'
    place = [] if output == "outputs" else [f"output_dir={quoted}"]
    report = shlex.join(["python", "-m", "src.report", *(study if not swept else []), *place])
    return [f"{'report':>9}  {report}", f"{'curves':>9}  {shlex.join(['tensorboard', '--logdir', output])}"]
