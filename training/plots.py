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
from lcr_seg_ros.labels import LabelClass, LabelSet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_INK, _GREY, _FAINT, _BAR, _SECOND = "#222222", "#999999", "#d0d0d0", "#4477aa", "#cc6677"
_LINES = ("#4477aa", "#cc6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#888888")
"""Colours that people with colour vision deficiencies can tell apart too (Paul Tol's "bright" scheme)."""


def confusion_matrix_png(counts: npt.NDArray[np.int64], labels: LabelSet) -> bytes:
    """Confusion matrix: how each true class's pixels are distributed over the predictions; rows sum to 1.

    Classes that are neither annotated nor predicted are left out. Rows of those that are predicted alone, which have no
    pixels to distribute, are grey: a pale row is one of a class that was never recognised. Below, it says how many of
    either there are.

    Args:
        counts: (N, N + 1), see :class:`~lcr_seg_ros.training.metrics.ConfusionMatrix`; the column "no class" is
            drawn only if it is not empty.
        labels: N classes.
    """
    unlabelled = bool(counts[:, -1].any())
    drawn, annotated = _drawn_classes(counts)
    is_annotated = np.isin(drawn, annotated)
    columns = [*drawn, len(labels)] if unlabelled else drawn
    share = counts[np.ix_(drawn, columns)] / np.maximum(counts.sum(1)[drawn, None], 1)
    n = len(drawn)
    side = max(5.0, 2.2 + 0.24 * n)
    figure = _figure(side + 0.8, side)
    axes = figure.add_subplot()
    cells = np.ma.masked_array(share, np.broadcast_to(~is_annotated[:, None], share.shape))
    axes.set_facecolor(_FAINT)  # seen where a row is masked
    picture = axes.imshow(cells, vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(columns)), [(*labels.names, "no class")[c] for c in columns], rotation=90, fontsize=8)
    axes.set_yticks(range(n), [labels.names[c] for c in drawn], fontsize=8)
    for tick, is_there in zip(axes.get_yticklabels(), is_annotated, strict=True):
        tick.set_color(_INK if is_there else _GREY)
    axes.set_xlabel("\n".join(["predicted", *_absent(len(labels), drawn, annotated, "grey rows")]))
    axes.set_ylabel("true")
    if n <= 12:
        for row, column in np.ndindex(*share.shape):
            if not is_annotated[row]:
                continue
            ink = "white" if share[row, column] > 0.6 else _INK
            axes.text(column, row, f"{100 * share[row, column]:.0f}", ha="center", va="center", color=ink, fontsize=8)
    figure.colorbar(picture, ax=axes, shrink=0.7, label="share of the true class's pixels")
    return _png(figure)


def class_bars_png(
    per_class: Mapping[str, Sequence[float | None]], labels: LabelSet, counts: npt.NDArray[np.int64]
) -> bytes:
    """One horizontal bar per class and score, classes ordered by their number of pixels.

    Classes that are neither annotated nor predicted are left out; names of those that are predicted alone are grey.
    Below, it says how many of either there are. Where a bar is too short to be seen, 0 stands for a score, nothing for
    none.

    Args:
        per_class: name of a score -> N values in 0..1, None where a class has none; at most two scores.
        labels: N classes.
        counts: (N, N + 1), see :class:`~lcr_seg_ros.training.metrics.ConfusionMatrix`; shares of the annotated pixels
            are printed beside the names.
    """
    drawn, annotated = _drawn_classes(counts)
    true = counts.sum(1)
    order = drawn[np.argsort(true[drawn], kind="stable")]
    place = np.arange(len(order))
    figure = _figure(7.0, 1.4 + 0.22 * len(order))
    axes = figure.add_subplot()
    height = 0.8 / max(len(per_class), 1)
    for k, (name, values) in enumerate(per_class.items()):
        color = (_BAR, _SECOND)[k % 2]
        axes.barh(place - k * height, [100 * (values[c] or 0.0) for c in order], height, label=name, color=color)
        for row, c in zip(place, order, strict=True):
            if values[c] is not None and 100 * values[c] < 0.5:
                axes.text(0.6, row - k * height, "0", va="center", fontsize=6, color=color)
    per_cent = 100 * true / max(int(true.sum()), 1)
    shares = ["" if p == 0 else "  <0.1 %" if p < 0.05 else f"  {p:.1f} %" for p in per_cent]
    names = [labels.names[c] + shares[c] for c in order]
    axes.set_yticks(place - height * (len(per_class) - 1) / 2, names, fontsize=8)
    for tick, c in zip(axes.get_yticklabels(), order, strict=True):
        tick.set_color(_INK if true[c] else _GREY)
    axes.set_xlim(0, 100)
    axes.set_ylim(-1, len(order) - 0.4)
    axes.set_xlabel("\n".join(["%", *_absent(len(labels), drawn, annotated, "grey names")]))
    axes.grid(axis="x", color=_FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(loc="lower right", fontsize=8)
    return _png(figure)


def _drawn_classes(counts: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Channels of the classes that are annotated or predicted, and of those that are annotated; (N, N + 1) counts."""
    is_annotated = counts.sum(1) > 0
    return np.flatnonzero(is_annotated | (counts[:, :-1].sum(0) > 0)), np.flatnonzero(is_annotated)


def _absent(
    classes: int, drawn: npt.NDArray[np.int64], annotated: npt.NDArray[np.int64], what_is_grey: str
) -> list[str]:
    """Lines that say how many of the classes are left out of a chart, and how many are grey in it."""
    lines = []
    if grey := len(drawn) - len(annotated):
        lines.append(f"{what_is_grey}: not annotated, but predicted ({grey} of {classes} classes)")
    if left_out := classes - len(drawn):
        lines.append(f"left out: neither annotated nor predicted ({left_out} of {classes} classes)")
    return lines


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


def panels_png(rows: Sequence[Sequence[Panel]], cell_inch: float, classes: Sequence[LabelClass] = ()) -> bytes:
    """Rows of panels, each panel ``cell_inch`` wide, above a legend of the classes that are given."""
    columns = max(len(row) for row in rows)
    ratio = np.mean([row[0].image.shape[0] / row[0].image.shape[1] for row in rows])
    in_a_row = max(1, int(columns * cell_inch / 1.45))
    below = 0.2 + 0.19 * -(-len(classes) // in_a_row) if classes else 0.0
    figure = _figure(columns * cell_inch, len(rows) * (cell_inch * float(ratio) + 0.25) + below)
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
    if classes:
        from matplotlib.patches import Patch

        swatches = [Patch(color=(c.color[0] / 255, c.color[1] / 255, c.color[2] / 255), label=c.name) for c in classes]
        figure.legend(handles=swatches, loc="outside lower center", ncols=in_a_row, fontsize=8, frameon=False)
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
