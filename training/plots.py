"""Charts as PNG bytes: confusion matrices, class bars, curves, panels, stage times. Needs matplotlib, no display."""

from __future__ import annotations

import io
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.extras import require
from lcr_seg_ros.labels import LabelSet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK, _FAINT, _BAR, _SECOND = "#222222", "#d0d0d0", "#4477aa", "#cc6677"
_LINES = ("#4477aa", "#cc6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#888888")
"""Colours that people with colour vision deficiencies can tell apart too (Paul Tol's "bright" scheme)."""


def confusion_matrix_png(counts: npt.NDArray[np.int64], labels: LabelSet) -> bytes:
    """Confusion matrix: how each true class's pixels are distributed over the predictions; rows sum to 1.

    Args:
        counts: (N, N + 1), see :class:`~lcr_seg_ros.training.metrics.ConfusionMatrix`; the column "no class" is
            drawn only if it is not empty.
        labels: N classes.
    """
    unlabelled = bool(counts[:, -1].any())
    shown = counts if unlabelled else counts[:, :-1]
    share = shown / np.maximum(counts.sum(1, keepdims=True), 1)
    columns = [*labels.names, "no class"] if unlabelled else labels.names
    n = len(labels)
    side = max(5.0, 2.2 + 0.24 * n)
    figure = _figure(side + 0.8, side)
    axes = figure.add_subplot()
    picture = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=8)
    axes.set_yticks(range(n), labels.names, fontsize=8)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if n <= 12:
        for row, column in np.ndindex(*share.shape):
            ink = "white" if share[row, column] > 0.6 else _INK
            axes.text(column, row, f"{100 * share[row, column]:.0f}", ha="center", va="center", color=ink, fontsize=8)
    figure.colorbar(picture, ax=axes, shrink=0.7, label="share of the true class's pixels")
    return _png(figure)


def class_bars_png(
    per_class: Mapping[str, Sequence[float | None]], labels: LabelSet, pixel_share: npt.NDArray[np.float64]
) -> bytes:
    """One horizontal bar per class and score, classes ordered by their number of pixels.

    Args:
        per_class: name of a score -> N values in 0..1, None where a class does not occur; at most two scores.
        labels: N classes.
        pixel_share: (N,) share of all annotated pixels, 0..1; printed beside the names.
    """
    order = np.argsort(pixel_share)
    place = np.arange(len(labels))
    figure = _figure(7.0, 1.2 + 0.22 * len(labels))
    axes = figure.add_subplot()
    height = 0.8 / len(per_class)
    for k, (name, values) in enumerate(per_class.items()):
        lengths = [100 * (values[c] or 0.0) for c in order]
        axes.barh(place - k * height, lengths, height, label=name, color=(_BAR, _SECOND)[k % 2])
    names = [f"{labels.names[c]}  {100 * pixel_share[c]:.1f} %" for c in order]
    axes.set_yticks(place - height * (len(per_class) - 1) / 2, names, fontsize=8)
    axes.set_xlim(0, 100)
    axes.set_ylim(-1, len(labels) - 0.4)
    axes.set_xlabel("%")
    axes.grid(axis="x", color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", fontsize=8)
    return _png(figure)


@dataclass(frozen=True)
class Series:
    """Points with error bars.

    Args:
        name: for the legend.
        x: a number or a name for each point.
        y: scores in per cent.
        spread: half-length of each error bar in per cent, 0 for a single run.
    """

    name: str
    x: Sequence[float | str]
    y: Sequence[float]
    spread: Sequence[float]


def curves_png(series: Sequence[Series], x_name: str, y_name: str) -> bytes:
    """Scores in per cent against a number. If its positive values span a factor of 10 or more, its axis is logarithmic,
    and linear below the smallest of them."""
    figure = _figure(6.4, 4.2)
    axes = figure.add_subplot()
    values = sorted({float(x) for line in series for x in line.x})
    for k, line in enumerate(series):
        axes.errorbar(
            [float(x) for x in line.x], line.y, line.spread,
            marker="o", markersize=4, capsize=3, linewidth=1.3, color=_LINES[k % len(_LINES)], label=line.name,
        )  # fmt: skip
    positive = [v for v in values if v > 0]
    if positive and max(positive) / min(positive) >= 10:
        axes.set_xscale("symlog", linthresh=min(positive), linscale=0.4)
        axes.set_xticks(values, [f"{v:g}" for v in values])
        axes.minorticks_off()
    axes.set_xlabel(x_name)
    axes.set_ylabel(f"{y_name}, %")
    axes.grid(color=_FAINT, linewidth=0.6)
    if len(series) > 1:
        axes.legend(fontsize=8)
    return _png(figure)


def dots_png(series: Series, y_name: str) -> bytes:
    """One dot with an error bar per named variant, in rows; the horizontal axis is the score in per cent."""
    figure = _figure(7.0, 1.2 + 0.3 * len(series.x))
    axes = figure.add_subplot()
    place = np.arange(len(series.x))[::-1]
    axes.errorbar(series.y, place, xerr=series.spread, fmt="o", color=_BAR, capsize=3, markersize=5)
    axes.set_yticks(place, [str(x) for x in series.x], fontsize=8)
    axes.set_xlabel(f"{y_name}, %")
    axes.set_ylim(-0.7, len(series.x) - 0.3)
    axes.grid(axis="x", color=_FAINT, linewidth=0.6)
    return _png(figure)


@dataclass(frozen=True)
class Panel:
    """One picture among others.

    Args:
        title: above it.
        image: (h, w, 3) uint8 RGB, or (h, w) floats, drawn with a colour map.
        limit: the colour map spans -limit..limit; None: 0..1.
        colours: name of the colour map.
        numbers: also print the values.
        digits: decimals of printed values.
    """

    title: str
    image: npt.NDArray[np.generic]
    limit: float | None = None
    colours: str = "gray"
    numbers: bool = False
    digits: int = 2


def panels_png(rows: Sequence[Sequence[Panel]], cell_inch: float) -> bytes:
    """Rows of panels, each panel ``cell_inch`` wide."""
    columns = max(len(row) for row in rows)
    ratio = np.mean([row[0].image.shape[0] / row[0].image.shape[1] for row in rows])
    figure = _figure(columns * cell_inch, len(rows) * (cell_inch * float(ratio) + 0.25))
    grid = figure.subplots(len(rows), columns, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for place, row in zip(grid, rows, strict=True):
        for axes, panel in zip(place, row, strict=False):
            low = 0.0 if panel.limit is None else -panel.limit
            axes.imshow(panel.image, vmin=low, vmax=panel.limit or 1.0, cmap=panel.colours)
            axes.set_title(panel.title, fontsize=8)
            if panel.numbers:
                for (y, x), value in np.ndenumerate(panel.image):
                    ink = "white" if abs(value) > 0.6 * (panel.limit or 1.0) else _INK
                    text = f"{value:.{panel.digits}f}"
                    axes.text(x, y, text, ha="center", va="center", fontsize=6, color=ink)
    return _png(figure)


def run_curves_png(panels: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]]) -> bytes:
    """Curves that a training run logged, in two columns of panels.

    Args:
        panels: title -> name of a curve -> (step, value) in order of the steps; a panel whose only curve is named ""
            has no legend.
    """
    rows = (len(panels) + 1) // 2
    last = max((step for curves in panels.values() for curve in curves.values() for step, _ in curve), default=1)
    figure = _figure(10.0, 0.4 + 2.6 * rows)
    for number, (title, curves) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(rows, 2, number)
        for k, (name, curve) in enumerate(curves.items()):
            steps, values = [step for step, _ in curve], [value for _, value in curve]
            few = "o" if len(curve) < 30 else None
            axes.plot(steps, values, color=_LINES[k % len(_LINES)], label=name, linewidth=1.2, marker=few, markersize=3)
        axes.set_xlim(0, max(1.02 * last, 1))  # the only point of a run of one step is at 0
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("step", fontsize=8)
        axes.tick_params(labelsize=8)
        axes.grid(color=_FAINT, linewidth=0.6)
        if any(curves):
            axes.legend(fontsize=7)
    return _png(figure)


def stage_times_png(rows: Mapping[str, Mapping[str, float]], title: str) -> bytes:
    """Stacked bars: one bar per row, divided into the milliseconds of each stage, with the sum at its end.

    Args:
        rows: name -> stage -> ms, stages in the order in which they run.
        title: of the chart.
    """
    stages = list(dict.fromkeys(stage for row in rows.values() for stage in row))
    figure = _figure(8.5, 1.6 + 0.45 * len(rows))
    axes = figure.add_subplot()
    names = list(rows)[::-1]
    left = np.zeros(len(names))
    for k, stage in enumerate(stages):
        lengths = np.array([rows[name].get(stage, 0.0) for name in names])
        color = _LINES[k % len(_LINES)]
        axes.barh(names, lengths, 0.6, left=left, color=color, label=stage, edgecolor="white", linewidth=0.6)
        for place, (start, length) in enumerate(zip(left, lengths, strict=True)):
            if length > 0.06 * max(sum(row.values()) for row in rows.values()):
                axes.text(
                    start + length / 2, place, f"{length:.1f}", ha="center", va="center", fontsize=8, color="white"
                )
        left = left + lengths
    for place, total in enumerate(left):
        axes.text(total, place, f" {total:.1f}", va="center", fontsize=8, color=_INK)
    axes.set_xlim(0, 1.1 * float(left.max(initial=1e-9)))
    axes.set_title(title, fontsize=9)
    axes.set_xlabel("ms" if len(stages) > 1 else f"ms, {stages[0]}")
    axes.tick_params(labelsize=8)
    axes.grid(axis="x", color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    if len(stages) > 1:
        figure.legend(loc="outside lower center", ncols=min(len(stages), 8), fontsize=8)
    return _png(figure)


def _figure(width_inch: float, height_inch: float) -> Figure:
    require("a chart", "matplotlib")
    from matplotlib.figure import Figure

    logging.getLogger("matplotlib.font_manager").setLevel(logging.WARNING)  # else it reports building its font cache
    return Figure(figsize=(width_inch, height_inch), layout="constrained")


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    # Without the "Software" entry, which holds matplotlib's version: equal figures give equal bytes.
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()
