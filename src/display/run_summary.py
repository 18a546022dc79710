"""Summary at the end of a run."""

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from src.runs.directory import Run


def show(run: Run, record: dict[str, Any], console: Console) -> None:
    """Print the figures, the data and the files of an ended run."""
    figures = record["figures"]
    color = "bold green" if record["status"] == "finished" else "bold red"
    title = Text(f"{run.directory.name}: ").append(record["status"], style=color)
    table = Table(title=title, title_justify="left", title_style="", min_width=60)
    table.add_column("")
    table.add_column("loss", justify="right")
    table.add_column("accuracy", justify="right")
    for split in ("train", "validation", "test"):
        if f"{split}_accuracy" in figures:
            loss = figures[f"{split}_loss"]
            name = f"{split}, running mean of the last epoch" if split == "train" else split
            table.add_row(name, "not finite" if loss is None else f"{loss:.4f}", f"{figures[f'{split}_accuracy']:.2%}")
    console.print(table)
    data = record["data"]
    held_out = f", {data['validation']:,} held out" if data["validation"] else ""
    lines = {
        "data": f"{data['name']}: {data['train']:,} to train on{held_out}, {data['test']:,} to test on",
        "training": f"{_several(figures['epochs'], 'epoch')}, {_updates(figures)}, {figures['training_seconds']:.0f} s",
        "files": f"{run.directory}/",
    }
    if slow := record.get("slow"):
        lines["slow"] = slow
    for name, text in lines.items():
        console.print(f"{name:>9}  {text}", soft_wrap=True)


def _updates(figures: dict[str, Any]) -> str:
    """Return the number of updates, and that of the gradients that they took if it is not one each."""
    updates, gradients = figures["updates"], figures.get("gradients", figures["updates"])
    return _several(updates, "update") + ("" if updates == gradients else f" of {_several(gradients, 'gradient')}")


def _several(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"
