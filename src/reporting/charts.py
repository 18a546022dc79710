"""Interactive charts of a grid: Vega-Lite specifications, and the tables that they are drawn from."""

import math
from typing import Any

import pandas as pd
from scipy.special import logit

from src.reporting.figures import (
    COLOURS,
    HIGHEST,
    LEAST,
    MOST,
    TARGETS,
    TICKS,
    reaches_target,
    seconds_to,
    time_caption,
)
from src.reporting.grid import Grid, divergence

Spec = dict[str, Any]

PALETTE = [*COLOURS[:-1], "#8a8a8a"]  # black would vanish in dark mode
DASHES = [[1, 0], [6, 3], [2, 2], [8, 3, 2, 3]]
LOWEST = 1e-6  # nats, of the losses shown
DIGITS = 4  # significant digits of curves
CROSS = {"type": "text", "text": "\N{MULTIPLICATION SIGN}", "fontSize": 16}
BOLD = {"labelFontWeight": "bold"}

# The page's controls set these; null means all.
CONTROLS: list[Spec] = [{"name": name, "value": None} for name in ("seed", "optimizers", "batches")]
CONTROLS += [{"name": "split", "value": "test"}]
CHOSEN: Spec = {
    "filter": "(optimizers === null || indexof(optimizers, datum.optimizer) >= 0) && "
    "(batches === null || indexof(batches, datum.batch_size) >= 0)"
}
OF_SEED: Spec = {"filter": "seed === null || seed === datum.seed"}
FINISHED, DIVERGED = ({"filter": f"datum.status === '{status}'"} for status in ("finished", "diverged"))
OF_CELL = ["cell", "optimizer", "batch_size", "lr", "status", "diverged", "epoch"]
MEAN: Spec = {
    "aggregate": [
        *({"op": "mean", "field": field, "as": field} for field in ("at", "value", "updates", "gradients", "seconds")),
        {"op": "min", "field": "value", "as": "least"},
        {"op": "max", "field": "value", "as": "most"},
        {"op": "count", "as": "runs"},
    ],
    "groupby": OF_CELL,
}
X: Spec = {"x": {"field": "at", "type": "quantitative", "title": None, "scale": {"zero": False, "nice": False}}}
Y: Spec = {"y": {"field": "value", "type": "quantitative", "title": None, "scale": {"type": "log"}}}


def tables(grid: Grid, cells: pd.DataFrame) -> dict[str, dict[str, list[Any]]]:
    """Return the tables of a grid's charts by column: cells, runs, curves (a row per run and epoch) and times.

    `cells` are the rows of cells.csv, which are not rounded. Not a number becomes None.
    """
    best = {cell.name for cell in grid.best_cells}
    runs: list[dict[str, Any]] = []
    curves: list[pd.DataFrame] = []
    times: list[dict[str, Any]] = []
    scores = [f"{split}_{what}" for split in grid.splits for what in ("loss", "accuracy")]
    for (optimizer, batch_size, lr), cell in grid.cells.items():
        lost = divergence(cell).removesuffix(" diverged") or "none"
        for run in cell.runs.itertuples():
            curve = cell.curves.loc[run.Index]
            seconds = curve.seconds.cumsum()
            counts = {key: curve[key].astype(int) for key in ("updates", "gradients")}
            points = curve[scores].assign(**counts, epoch=curve.index, seconds=seconds)
            curves.append(points.assign(run=len(runs)))
            row = {"cell": cell.name, "optimizer": optimizer, "batch_size": batch_size, "lr": lr}
            runs.append(
                row | {"seed": int(run.seed), "status": run.status, "diverged": lost, "best": cell.name in best}
            )
        for target in TARGETS if cell.name in best else ():
            took = {
                "cell": cell.name,
                "optimizer": optimizer,
                "batch_size": batch_size,
                "target": f"to {100 * target:g} %",
                "diverged": lost,
            }
            seeds = dict(zip(cell.runs.index, cell.runs.seed, strict=True))
            times += [took | {"seed": int(seeds[run]), "seconds": s} for run, s in seconds_to(cell, target).items()]
    return {
        "cells": by_column(cells.assign(cell=[cell.name for cell in grid.cells.values()])),
        "runs": by_column(pd.DataFrame(runs)),
        "curves": by_column(pd.concat(curves), DIGITS) if curves else {},
        "times": by_column(pd.DataFrame(times), DIGITS),
    }


def charts(grid: Grid) -> dict[str, tuple[str, Spec]]:
    """Return the caption and the specification of each chart, by name."""
    found = {}
    if len(grid.lrs) > 1 and not grid.is_sparse:
        found["by_lr"] = (
            "Accuracy by learning rate, with 95 % intervals. "
            "Crosses: cells with diverged runs, which count as guessing",
            by_lr(grid),
        )
    if len(grid.best_cells) > 1:
        caption = f"Each optimizer and batch size at its best learning rate, chosen on the {grid.chosen_on} set"
        found["best"] = f"{caption}: mean of the finished runs. Equal epochs are not equal updates", best_curves(grid)
    if grid.cells:
        caption = (
            "All cells, a line per learning rate: mean and range of the finished runs. Thin lines with a cross: "
            "diverged runs. "
            f"Losses above {HIGHEST:g} and those that are not finite are drawn at {HIGHEST:g}"
        )
        found["curves"] = caption, curves(grid)
    if reaches_target(grid):
        marks = "Circles: runs; bars: medians; crosses: never reached"
        found["times"] = f"The best cells: {time_caption(grid)}. {marks}", times(grid)
    return found


def by_lr(grid: Grid) -> Spec:
    """Return a panel per optimizer with a line per batch size."""
    x = {"field": "lr", "type": "quantitative", "title": "learning rate", "scale": {"type": "log", "padding": 24}}
    x["axis"] = {"format": "~g", "labelOverlap": True} | ({"values": grid.lrs} if len(grid.lrs) <= 7 else {})
    y = accuracy_axis("mean", "accuracy (%)")
    colour = colours("batch_size", grid.batch_sizes)
    at = {"x": x, "y": y, "color": colour}
    tips = [tip("cell"), tip("accuracy", ".2%"), *map(tip, ("finished", "diverged", "missing"))]
    finished = {"filter": "isValid(datum.accuracy)"}
    last = {"joinaggregate": [{"op": "max", "field": "lr", "as": "last"}], "groupby": ["optimizer", "batch_size"]}
    layer = [
        {
            "transform": [finished, {"filter": "isValid(datum[split + '_accuracy_low'])"}],
            "mark": {"type": "rule"},
            "encoding": at | {"y": y | {"field": "low"}, "y2": {"field": "high"}},
        },
        {"transform": [finished], "mark": {"type": "line"}, "encoding": at},
        {
            "transform": [finished],
            "mark": {"type": "point", "filled": True, "size": 60, "opacity": 1},
            "encoding": at | {"tooltip": tips},
        },
        {
            "transform": [finished, last, {"filter": "datum.lr === datum.last"}],
            "mark": {"type": "text", "align": "left", "dx": _stagger("batch_size", grid.batch_sizes)},
            "encoding": at | {"text": {"field": "batch_size"}},
        },
        {
            "transform": [{"filter": "datum.diverged > 0"}, {"calculate": str(logit(1.4 * LEAST)), "as": "mean"}],
            "mark": CROSS,
            "encoding": at | {"tooltip": tips},
        },
    ]
    shown = [logit_transform("split + '_accuracy'", "mean"), logit_transform("split + '_accuracy_low'", "low")]
    shown += [
        logit_transform("split + '_accuracy_high'", "high"),
        {"calculate": "datum[split + '_accuracy']", "as": "accuracy"},
    ]
    return {
        "data": {"name": "cells"},
        "params": CONTROLS,
        "transform": [CHOSEN, *shown],
        "columns": 3,
        "facet": {"field": "optimizer", "sort": grid.optimizers, "title": None, "header": BOLD},
        "spec": {"width": _width(grid), "height": 250, "layer": layer},
    }


def curves(grid: Grid) -> Spec:
    """Return a panel per optimizer and batch size, with a line per lr."""
    colour = colours("lr", grid.lrs)
    label = {
        "transform": [FINISHED, MEAN, *_last("cell")],
        "mark": {"type": "text", "align": "left", "dx": _stagger("lr", grid.lrs)},
        "encoding": {**X, **Y, "color": colour, "text": {"field": "lr", "format": "~g"}},
    }
    room = {  # for the labels
        "transform": [{"calculate": "1.5 * datum.at", "as": "at"}],
        "mark": {"type": "point", "opacity": 0},
        "encoding": {"x": X["x"] | {"aggregate": "max"}},
    }
    facet = {
        "column": {"field": "optimizer", "sort": grid.optimizers, "title": None, "header": BOLD},
        "row": {"field": "batch_size", "title": None, "header": BOLD | {"labelExpr": "'batch ' + datum.value"}},
    }
    return _curves(
        {"facet": facet, "spec": {"width": _width(grid), "height": 200, "layer": [room, *_lines(colour), label]}}
    )


def best_curves(grid: Grid) -> Spec:
    """Return a line per optimizer and batch size, at the best lr."""
    layer = _lines(colours("optimizer", grid.optimizers, legend=True))
    dashes = {"domain": grid.batch_sizes, "range": DASHES}
    dash = {"field": "batch_size", "type": "ordinal", "title": "batch size", "scale": dashes}
    layer[1]["encoding"]["strokeDash"] = dash
    return _curves({"width": 900, "height": 320, "layer": layer}, [{"filter": "datum.best"}])


def times(grid: Grid) -> Spec:
    """Return a panel per target accuracy, a row per best cell, a point per run."""
    y: Spec = {"field": "cell", "type": "nominal", "sort": [cell.name for cell in grid.best_cells], "title": None}
    y |= {"axis": {"labelLimit": 260, "grid": True}}
    x = {"field": "seconds", "type": "quantitative", "title": "seconds of training", "scale": {"zero": True}}
    reached, never = {"filter": "isValid(datum.seconds)"}, {"filter": "!isValid(datum.seconds)"}
    tips = [tip("cell"), tip("diverged"), tip("seconds", ".1f")]
    point = {"type": "point", "filled": True, "size": 60, "opacity": 0.5, "color": PALETTE[0]}
    tick = {"type": "tick", "thickness": 3, "size": 20, "color": PALETTE[1]}
    layer = [
        {"transform": [reached], "mark": point, "encoding": {"x": x, "y": y, "tooltip": tips}},
        {"transform": [reached], "mark": tick, "encoding": {"x": x | {"aggregate": "median"}, "y": y}},
        {"transform": [never], "mark": CROSS, "encoding": {"x": {"value": "width"}, "y": y, "tooltip": tips[:2]}},
    ]
    facet = {"field": "target", "title": None, "header": BOLD}
    panel: Spec = {"width": 400, "height": {"step": 26}, "layer": layer}
    return {
        "data": {"name": "times"}, "params": CONTROLS, "transform": [CHOSEN, OF_SEED], "columns": 2, "facet": facet,
        "spec": panel,
    }  # fmt: skip


def _lines(colour: Spec) -> list[Spec]:
    """Return the layers that curves share, from back to front: range, mean, diverged runs, points for the mouse."""
    tips = [
        tip("cell"),
        tip("status"),
        tip("runs"),
        tip("diverged"),
        tip("epoch"),
        tip("updates", ",.0f"),
        tip("gradients", ",.0f"),
        tip("seconds", ".1f"),
    ]
    nearest = {"type": "point", "on": "pointerover", "clear": "pointerout", "nearest": True}
    band = {"y": Y["y"] | {"field": "least"}, "y2": {"field": "most"}}
    hovered = {"condition": {"param": "hover", "empty": False, "value": 1}, "value": 0}
    at = {**X, **Y, "color": colour, "detail": {"field": "cell"}}
    return [
        {"transform": [FINISHED, MEAN], "mark": {"type": "area", "opacity": 0.2}, "encoding": at | band},
        {"transform": [FINISHED, MEAN], "mark": {"type": "line"}, "encoding": dict(at)},
        {
            "transform": [DIVERGED],
            "mark": {"type": "line", "strokeWidth": 0.8},
            "encoding": at | {"detail": {"field": "run"}},
        },
        {"transform": [DIVERGED, *_last("run")], "mark": CROSS, "encoding": at},
        {
            "transform": [MEAN],
            "params": [{"name": "hover", "select": nearest}, {"name": "zoom", "select": "interval", "bind": "scales"}],
            "mark": {"type": "point", "filled": True, "size": 70},
            "encoding": at | {"opacity": hovered, "tooltip": [*tips, tip("value", ".4~g")]},
        },
    ]


def _curves(chart: Spec, filters: list[Spec] | None = None) -> Spec:
    """Return a chart of curves, with menus for what its axes show."""
    menus = [
        {
            "name": "across",
            "value": "epoch",
            "bind": {"input": "select", "options": ["epoch", "updates", "gradients", "seconds"], "name": "across "},
        },
        {"name": "up", "value": "loss", "bind": {"input": "select", "options": ["loss", "error rate"], "name": "up "}},
    ]
    loss = f"isValid(datum[split + '_loss']) ? clamp(datum[split + '_loss'], {LOWEST}, {HIGHEST}) : {HIGHEST}"
    value = f"up === 'loss' ? ({loss}) : max(1 - datum[split + '_accuracy'], {1 - MOST:.4f})"
    transform = [
        CHOSEN,
        OF_SEED,
        *(filters or []),
        {"calculate": "datum[across]", "as": "at"},
        {"calculate": value, "as": "value"},
    ]
    return {"data": {"name": "curves"}, "params": [*CONTROLS, *menus], "transform": transform, **chart}


def _width(grid: Grid) -> int:
    """Return the width of a panel per optimizer, of which three fill the page."""
    return 960 // min(3, max(2, len(grid.optimizers))) - 10


def _last(of: str) -> list[Spec]:
    """Return the transforms that keep the last epoch of each cell or run."""
    last = {"joinaggregate": [{"op": "max", "field": "epoch", "as": "last"}], "groupby": [of]}
    return [last, {"filter": "datum.epoch === datum.last"}]


def accuracy_axis(field: str, title: str, least: float = LEAST, most: float = MOST) -> Spec:
    """Return an axis of logits from the least to the most accuracy, labelled with percentages."""
    domain = logit([least, most]).tolist()
    ticks = logit([tick for tick in TICKS if least <= tick <= most]).tolist()
    axis = {"values": ticks, "labelExpr": "format(100 / (1 + exp(-datum.value)), '.3~g')"}
    return {"field": field, "type": "quantitative", "title": title, "axis": axis, "scale": {"domain": domain}}


def logit_transform(field: str, name: str) -> Spec:
    """Return the transform that adds the logit of an accuracy, within what is shown; `field` is an expression."""
    clamped = f"clamp(datum[{field}], {LEAST}, {MOST})"
    return {"calculate": f"log({clamped} / (1 - {clamped}))", "as": name}


def colours(field: str, levels: list[Any], legend: bool = False) -> Spec:
    """Return the colours of the levels of a field, with a legend or without."""
    colours = [PALETTE[place % len(PALETTE)] for place in range(len(levels))]
    scale = {"domain": levels, "range": colours}
    key = {"title": field.replace("_", " ")} if legend else {"legend": None}
    return {"field": field, "type": "nominal", "scale": scale} | key


def _stagger(field: str, levels: list[Any]) -> Spec:
    """Return offsets of labels, so that those of lines that end at the same value stand beside each other."""
    return {"expr": f"6 + 34 * (indexof({levels}, datum.{field}) % 3)"}


def tip(field: str, form: str | None = None) -> Spec:
    """Return a line of a tooltip; `form` is d3's format of a number."""
    kind = {"type": "quantitative", "format": form} if form else {"type": "nominal"}
    return {"field": field, "title": field.replace("_", " ")} | kind


def by_column(table: pd.DataFrame, digits: int | None = None) -> dict[str, list[Any]]:
    """Return the columns; infinite and missing numbers become None."""

    def plain(value: Any) -> Any:
        if isinstance(value, float):
            return (float(f"{value:.{digits}g}") if digits else value) if math.isfinite(value) else None
        return value

    return {str(key): [plain(value) for value in table[key].tolist()] for key in table}
