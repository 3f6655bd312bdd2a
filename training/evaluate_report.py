"""The report of an evaluation: tables, charts, and the model's best and worst frames."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.files import replace_file
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.render import sheet, write_image
from lcr_seg_ros.segmenter import Segmenter
from lcr_seg_ros.sources.folder import DatasetFolder
from lcr_seg_ros.training.datasets.nyudv2_crop import Window
from lcr_seg_ros.training.evaluate import Evaluation, cut, with_depth
from lcr_seg_ros.training.plots import class_bars_png, confusion_matrix_png
from lcr_seg_ros.training.tables import csv_table, markdown_table

FRAMES_SHOWN = 4
"""How many of the best frames are shown, and how many of the worst."""


def write_evaluation_report(
    out: Path,
    evaluation: Evaluation,
    scores: dict[str, Any],
    segmenter: Segmenter,
    folder: DatasetFolder,
    window: Window | None,
    how: Sequence[str],
    depth: str = "given",
) -> None:
    """Write a report; existing files are replaced, each whole or not at all.

    Files: ``report.md`` (all scores and how they were measured), ``scores.json``, ``classes.csv``, ``confusion.csv``
    (pixel counts), ``confusion.png``, ``classes.png``, ``best_frames.jpg`` and ``worst_frames.jpg`` (ranked by a
    frame's own mean IU; RGB, HHA, labels, annotation, overlay). No frame is shown in both; of a single one, there is no
    ``best_frames.jpg``.

    Args:
        out: the folder.
        evaluation, scores: what was counted, and the scores computed from it.
        segmenter, folder, window: used to segment the best and worst frames again.
        how: lines about model, data and settings, for the head of the report.
        depth: as in the evaluation.
    """
    labels = segmenter.labels
    table = class_table(evaluation, scores, labels)
    bands = {f"IU within {radius} px of a boundary": band["per_class_iou"] for radius, band in _bands(scores).items()}
    bars = {"IU": scores["per_class_iou"]} | dict(list(bands.items())[:1])
    replace_file(out / "confusion.png", confusion_matrix_png(evaluation.confusion.counts, labels))
    replace_file(out / "classes.png", class_bars_png(bars, labels, evaluation.confusion.counts))
    replace_file(out / "classes.csv", csv_table(table))
    counts = evaluation.confusion.counts.tolist()
    rows = [[name, *row] for name, row in zip(labels.names, counts, strict=True)]
    replace_file(out / "confusion.csv", csv_table([["true \\ predicted", *labels.names, "no class"], *rows]))
    ranked = sorted(evaluation.frames, key=lambda f: f.mean_iou)
    # No frame is among both: of a few frames, the worse half stands in the one and the better half in the other.
    worse = min(FRAMES_SHOWN, (len(ranked) + 1) // 2)
    shown = {
        "worst_frames.jpg": ranked[:worse],
        "best_frames.jpg": ranked[worse:][::-1][:FRAMES_SHOWN],
    }
    for name, frames in shown.items():
        if not frames:
            (out / name).unlink(missing_ok=True)  # of an earlier report
        else:
            titles = {f.name: f"{f.name}: mean IU {100 * f.mean_iou:.1f}" for f in frames}
            write_image(out / name, _frames_sheet(segmenter, folder, window, titles, depth))
    replace_file(out / "scores.json", (json.dumps(scores, indent=1) + "\n").encode())
    replace_file(out / "report.md", _markdown(scores, table, how, [n for n, f in shown.items() if f]).encode())


def class_table(evaluation: Evaluation, scores: dict[str, Any], labels: LabelSet) -> list[list[str]]:
    """Table of the classes as text, first row the header: class, then in per cent share of the annotated pixels,
    accuracy, IU, and IU in each band."""
    counts = evaluation.confusion.counts
    true = counts.sum(1)
    accuracy = [counts[c, c] / true[c] if true[c] else None for c in range(len(labels))]
    bands = _bands(scores)
    header = ["class", "pixels", "accuracy", "IU", *(f"IU within {radius} px" for radius in bands)]
    columns: list[Sequence[float | None]] = [
        _pixel_share(evaluation).tolist(),
        accuracy,
        scores["per_class_iou"],
        *(band["per_class_iou"] for band in bands.values()),
    ]
    rows = [[name, *map(percent, values)] for name, *values in zip(labels.names, *columns, strict=True)]
    return [header, *rows]


def percent(value: float | None) -> str:
    """A fraction of 1 as per cent with two decimals; "-" for None."""
    return "-" if value is None else f"{100 * value:.2f}"


def _markdown(scores: dict[str, Any], table: list[list[str]], how: Sequence[str], pictures: Sequence[str]) -> str:
    rows = [["score", "%"]]
    names = {"pixel_acc": "pixel accuracy", "mean_acc": "mean accuracy", "mean_iou": "mean IU", "fw_iou": "fw IU"}
    rows += [[title, percent(scores[key])] for key, title in names.items()]
    for radius, band in _bands(scores).items():
        rows.append([f"mean IU within {radius} px of a boundary", percent(band["mean_iou"])])
        rows.append([f"pixel accuracy within {radius} px of a boundary", percent(band["pixel_acc"])])
        rows.append([f"share of pixels within {radius} px of a boundary", percent(band["share"])])
    if "rare_iou" in scores:
        rows.append(["mean IU of classes under 1 % of the pixels", percent(scores["rare_iou"])])
    if "flicker" in scores:
        rows.append(
            ["pixels that change class from frame to frame, motion not compensated", percent(scores["flicker"])]
        )
    charts = ["confusion.png", "classes.png", *pictures]
    parts = [
        "# Evaluation",
        "\n".join(f"- {line}" for line in how),
        markdown_table(rows),
        "## Classes, in %",
        markdown_table(table),
        "\n\n".join(f"![{Path(name).stem.replace('_', ' ')}]({name})" for name in charts),
    ]
    return "\n\n".join(parts) + "\n"


def _frames_sheet(
    segmenter: Segmenter, folder: DatasetFolder, window: Window | None, titles: dict[str, str], depth: str
) -> npt.NDArray[np.uint8]:
    """A sheet for each frame, one below the other in the order of ``titles``; narrower ones are padded with white."""
    rows = []
    folder = folder.with_hha(segmenter.bundle.input.reads_hha)
    for name, title in titles.items():
        index = folder.names.index(name)
        item = folder[index]
        item = replace(item, frame=with_depth(item.frame, depth, index))
        seen = item if window is None else cut(item, window)
        result = segmenter.segment(seen.frame)
        rows.append(sheet(seen.frame.rgb, result.hha, result.labels, segmenter.labels, seen.labels, title))
    width = max(row.shape[1] for row in rows)
    filled = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    return np.concatenate(filled, axis=0)


def _pixel_share(evaluation: Evaluation) -> npt.NDArray[np.float64]:
    true = evaluation.confusion.counts.sum(1)
    return true / max(int(true.sum()), 1)  # type: ignore[no-any-return]


def _bands(scores: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return scores.get("boundary", {})  # type: ignore[no-any-return]
