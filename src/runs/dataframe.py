"""All runs of an output directory as tidy frames: one row per run, and one per run and epoch."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import pandas as pd

from src.config.settings import ConfigChoices, Settings, directory
from src.errors import UserError, one_line, visible
from src.files import Damaged
from src.runs.directory import Run
from src.runs.own_code import own_classes
from src.runs.record import OtherRecipe, Split, guessing, number_of_classes
from src.runs.state import records

FINAL = ("train_loss", "train_accuracy", "test_loss", "test_accuracy", "validation_loss", "validation_accuracy")


@dataclass(frozen=True)
class Frames:
    """`runs` is indexed by a run's directory, `curves` by directory and epoch; accuracies are 0 to 1, losses in nats.

    Runs that differ only in seed have the same `cell`; runs that differ only in seed, optimizer, schedule, lr and batch
    size have the same `grid`. `damaged` maps each damaged file to the reason; its run is in neither frame.
    """

    runs: pd.DataFrame
    curves: pd.DataFrame
    damaged: dict[Path, str]
    other_recipes: int = 0  # runs of other recipes, which are in neither frame

    def of(self, directories: "pd.Index[str]") -> "Frames":
        """Return the frames of these runs only."""
        curves = self.curves[self.curves.index.get_level_values("directory").isin(directories)]
        return replace(self, runs=self.runs.loc[directories], curves=curves)


def read(output: Path) -> Frames:
    """Return all runs below `output`, whatever their status.

    A damaged curve of an ended run is restored from its checkpoint on the way.
    """
    rows: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    damaged: dict[Path, str] = {}
    other_recipes = 0
    for file in records(output):
        run = Run(file.parent)
        try:
            try:
                record, curve = run.read()
            except OtherRecipe:
                other_recipes += 1
                continue
            except Damaged:
                from src.runs.checkpoint import restore_curve  # imports torch, which is slow and seldom needed

                restore_curve(run)
                record, curve = run.read()
        except (Damaged, UserError):
            damaged |= run.damage()
            continue
        except OSError as error:
            damaged[file] = one_line(error)
            continue
        if record:  # empty if the run was removed after the folder was listed
            row = _row(run, record)
            rows.append(row)
            # A curve of an earlier version has no gradients, which were one an update.
            curves += [{"directory": row["directory"], "gradients": point["updates"]} | point for point in curve]
    points = _by_directory(curves, "epoch").astype({"epoch": int}).set_index("epoch", append=True)
    return Frames(_by_directory(rows, "status"), points, damaged, other_recipes)


def choose(frames: Frames, output: Path, wanted: list[tuple[Settings, ConfigChoices]]) -> Frames:
    """Return the wanted runs only; a missing one has status `to do` and no figures."""
    rows = {str(output / directory(settings, names)): _asked_for(settings, names) for settings, names in wanted}
    there = frames.of(frames.runs.index.intersection(pd.Index(list(rows), dtype=object)))
    to_do = [{"directory": name, "status": "to do"} | row for name, row in rows.items() if name not in there.runs.index]
    if not to_do:
        return there
    missing = _by_directory(to_do)
    return replace(there, runs=pd.concat([there.runs, missing]) if len(there.runs) else missing)


def _by_directory(rows: list[dict[str, Any]], *columns: str) -> pd.DataFrame:
    """Return a frame, with these columns if there are no rows. Its index keeps bytes that pandas' strings cannot."""
    index = pd.Index([row["directory"] for row in rows], dtype=object, name="directory")
    cleaned = [
        {key: visible(value) if isinstance(value, str) else value for key, value in row.items() if key != "directory"}
        for row in rows
    ]
    return pd.DataFrame(cleaned, index=index, columns=None if rows else list(columns))


def _asked_for(settings: Settings, names: ConfigChoices) -> dict[str, Any]:
    """Return the columns that are known before a run is trained."""
    alike = replace(settings, seed=0)
    grid = replace(alike, lr=1.0, batch_size=1, optimizer={}, schedule={})
    flat = {key: value if isinstance(value, int | float | str) else str(value) for key, value in settings.flat.items()}
    return {"cell": alike.digest, "grid": grid.digest} | asdict(names) | flat


def _row(run: Run, record: dict[str, Any]) -> dict[str, Any]:
    settings, names = Settings(**record["settings"]), ConfigChoices(**record["names"])
    figures, sessions, data = record.get("figures", {}), record.get("sessions", []), record.get("data", {})
    last = sessions[-1] if sessions else {}
    return (
        {"directory": str(run.directory), "status": record["status"]}
        | _asked_for(settings, names)
        | {
            key: float("nan") if figures.get(key) is None else float(figures[key])
            for key in (*FINAL, "initial_loss", "final_loss")
        }
        | {"epochs_done": figures.get("epochs", 0), "updates": figures.get("updates", 0)}
        | {"gradients": figures.get("gradients", figures.get("updates", 0))}
        | {"training_seconds": figures.get("training_seconds"), "test_images": data.get("test")}
        | {"classes": number_of_classes(record), "error": record.get("error")}
        | {f"{split}_guess": guessing(record, split) for split in get_args(Split)}
        | {
            "data_sha256": data.get("sha256"),
            "code": last.get("code"),
            "own_classes": " ".join(own_classes(settings)),
            "sessions": len(sessions),
            "ended": record.get("ended"),
        }
        | {"group_size": max((session.get("group_size", 1) for session in sessions), default=1)}
        | {key: last.get(key) for key in ("began", "device", "kernels", "threads", "commit", "dirty")}
        | {"processor": last.get("machine", {}).get("processor")}
        | {f"version_{name}": version for name, version in last.get("versions", {}).items()}
    )
