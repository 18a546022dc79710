"""Runs as points: accuracy against each setting that varies, and against the order in which the runs began."""

from typing import Any

import pandas as pd

from src.reporting.chapter import Chapter
from src.reporting.charts import (
    CHOSEN,
    CONTROLS,
    CROSS,
    OF_SEED,
    PALETTE,
    Spec,
    accuracy_axis,
    by_column,
    logit_transform,
    tip,
)
from src.reporting.figures import LEAST, MOST

IN_A_ROW = 3  # panels
WIDE = 20  # ratio of largest to smallest value above which an axis is logarithmic


def trials(chapter: Chapter) -> dict[str, list[Any]]:
    """Return a row per ended run by column: its settings, order, accuracy, and the best accuracy so far."""
    runs, split = chapter.runs, chapter.sections[0].grid.chosen_on
    accuracy = runs[f"{split}_accuracy"].where(runs.status == "finished")
    table = runs[["seed", "status", *dict.fromkeys(["optimizer", "batch_size", "lr", *chapter.settings])]]
    table = table.assign(cell=runs.cell_name, part=runs.part, order=range(1, len(runs) + 1))
    table = table.assign(accuracy=accuracy, best=accuracy.cummax().ffill())
    return by_column(table.rename(columns=_field))


def scatter(chapter: Chapter) -> tuple[str, Spec]:
    """Return the caption and the specification of a chart with a panel for each setting, and one for the order."""
    split = chapter.sections[0].grid.chosen_on
    order = {"field": "order", "type": "quantitative", "title": "order of the runs", "scale": {"nice": False}}
    shade = {"field": "order", "type": "quantitative", "scale": {"scheme": "viridis"}, "legend": None}
    found = chapter.runs[f"{split}_accuracy"][chapter.runs.status == "finished"]
    least, most = (float(found.min()), float(found.max())) if len(found) else (0.0, 1.0)
    ends = max(LEAST, least / 2), min(MOST, (1 + most) / 2)  # half-way to 0 and to 1
    y = {"y": accuracy_axis("y", f"{split} accuracy (%)", *ends)}
    settings = [_field(key) for key in dict.fromkeys([*chapter.settings, "seed", "status"])]
    points = {
        "mark": {"type": "point", "filled": True, "size": 60, "opacity": 0.8},
        "encoding": {**y, "color": shade, "tooltip": [*map(tip, settings), tip("order"), tip("accuracy", ".2%")]},
        "transform": [{"filter": "isValid(datum.accuracy)"}],
    }
    lost = {
        "mark": CROSS,
        "encoding": {**y, "tooltip": [*map(tip, settings), tip("order")]},
        "transform": [{"filter": "!isValid(datum.accuracy)"}],
    }
    line = {
        "mark": {"type": "line", "interpolate": "step-after", "color": PALETTE[1]},
        "encoding": {"y": accuracy_axis("so_far", f"{split} accuracy (%)", *ends)},
        "transform": [{"filter": "isValid(datum.best)"}],
    }
    panels = [_panel(order, [line, points, lost], "order, and the best so far")]
    panels += [_panel(_axis(chapter.runs[key], _field(key)), [points, lost], _title(key)) for key in chapter.settings]
    caption = (
        "A point per run, darker the earlier it began or was resumed. Crosses: diverged runs. Line: the best "
        f"{split} accuracy so far"
    )
    transform = [
        CHOSEN,
        OF_SEED,
        {"calculate": f"isValid(datum.accuracy) ? datum.accuracy : {ends[0]}", "as": "shown"},
        logit_transform("'shown'", "y"),
        logit_transform("'best'", "so_far"),
    ]
    # Not a `concat` with columns: the bundle of vl-convert 1.9 draws nothing for one.
    rows = [{"hconcat": panels[first : first + IN_A_ROW]} for first in range(0, len(panels), IN_A_ROW)]
    return caption, {"data": {"name": "trials"}, "params": CONTROLS, "transform": transform, "vconcat": rows}


def _panel(x: Spec, layers: list[Spec], title: str) -> Spec:
    layer = [each | {"encoding": each["encoding"] | {"x": x}} for each in layers]
    return {"width": 290, "height": 230, "title": title, "layer": layer}


def _axis(values: "pd.Series[Any]", field: str) -> Spec:
    """Return an axis: logarithmic, linear, or of names in their natural order."""
    if not pd.api.types.is_numeric_dtype(values):
        names = sorted(values.dropna().unique(), key=lambda name: (len(str(name)), str(name)))
        return {"field": field, "type": "ordinal", "sort": names, "title": None, "axis": {"labelAngle": -30}}
    wide = values.min() > 0 and values.max() / values.min() >= WIDE
    scale = {"padding": 15} | ({"type": "log"} if wide else {"zero": False})
    return {
        "field": field,
        "type": "quantitative",
        "title": None,
        "scale": scale,
        "axis": {"format": "~r", "labelOverlap": True},
    }


def _field(key: str) -> str:
    """Return the name of a field: Vega reads a dot as a part of an object."""
    return key.replace(".", " ")


def _title(key: str) -> str:
    return {"lr": "learning rate", "batch_size": "batch size"}.get(key, key.rpartition(".")[2])
