"""The curves of a run, drawn from its CSV logs: losses, scores, learning rate."""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.files import replace_file
from lcr_seg_ros.training.plots import run_curves_png

Curve = list[tuple[int, float]]

SCORES = {
    "val/pixel_acc": "pixel accuracy",
    "val/mean_acc": "mean accuracy",
    "val/mean_iou": "mean IU",
    "val/fw_iou": "fw IU",
}


def write_curves(run: Path) -> Path:
    """Draw ``RUN/curves.png`` from the logs in ``RUN/log``.

    Args:
        run: a run folder.

    Returns:
        Path of the picture.

    Raises:
        SourceError: the run has no log, or its logs have neither losses nor scores.
        LcrSegError: matplotlib is not installed.
    """
    curves = read_curves(run)
    panels: dict[str, dict[str, Curve]] = {}
    for name in sorted(curves):
        if name.startswith("loss/"):
            panels[name.replace("/", ": ")] = {"": curves[name]}
    scores = {title: [(s, 100 * v) for s, v in curves[n]] for n, title in SCORES.items() if n in curves}
    if scores:
        panels["validation, %"] = scores
    rates: dict[tuple[tuple[int, float], ...], list[str]] = {}  # names of groups by their common curve
    for name in sorted(curves):
        if name.startswith("lr-"):
            rates.setdefault(tuple(curves[name]), []).append(name.removeprefix("lr-"))
    if rates:
        panels["learning rate"] = {", ".join(names): list(curve) for curve, names in rates.items()}
    if not panels:
        raise SourceError(f"the logs in {run / 'log'} hold no loss and no score")
    return replace_file(run / "curves.png", run_curves_png(panels))


def read_curves(run: Path) -> dict[str, Curve]:
    """Each column of the logs as (step, value) pairs in order of the steps, without values that are not finite.

    A resumed run has several logs; from a log's first step on, it replaces those before it.

    Raises:
        SourceError: the run has no log.
    """
    logs = sorted(
        (run / "log").glob("version_*/metrics.csv"), key=lambda p: int((re.findall(r"\d+", p.parent.name) or ["0"])[-1])
    )
    if not logs:
        raise SourceError(f"{run} has no log/version_*/metrics.csv: is it the folder of a run?")
    curves: dict[str, dict[int, float]] = {}
    for log in logs:
        with log.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if (row.get("step") or "").isdigit()]
        if rows:
            begun = min(int(row["step"]) for row in rows)
            for curve in curves.values():  # steps that a stopped run logged after its last checkpoint were repeated
                for step in [s for s in curve if s >= begun]:
                    del curve[step]
        for row in rows:
            for name, text in row.items():
                value = _number(text)
                if name not in ("step", "epoch") and value is not None:
                    curves.setdefault(name, {})[int(row["step"])] = value
    return {name: sorted(curve.items()) for name, curve in curves.items()}


def _number(text: object) -> float | None:
    try:
        value = float(text)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None
