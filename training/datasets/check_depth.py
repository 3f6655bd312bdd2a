"""Judges the depth images of a dataset folder by their values: unit, steps, holes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lcr_seg_ros.training.datasets.check_contents import FolderContents
from lcr_seg_ros.training.datasets.check_report import MENDING, Finding, FolderReport, percent

INDOOR_DEPTH_M = 2.2
"""Typical median depth of indoor frames, from which the unit of depth is guessed."""

DEPTH_UNITS_MM = {"metres": 1000.0, "centimetres": 10.0, "millimetres": 1.0, "0.2 mm (TUM RGB-D)": 0.2, "0.1 mm": 0.1}

_COARSE_LEVELS = 256
_ODD_FRAME_RATIO = 8.0
_MANY_HOLES = 0.6


def depth_findings(contents: FolderContents, report: FolderReport) -> Iterable[Finding]:
    """Depth in another unit or in coarse steps, and many holes; also writes ``report.depth``."""
    pixels = contents.depth_pixels
    total, valid = int(pixels.sum()), pixels.copy()
    valid[0] = 0
    if not valid.any():
        return
    levels = np.flatnonzero(valid)
    cumulative = np.cumsum(valid) / valid.sum()
    low, median, high = (float(np.searchsorted(cumulative, q)) for q in (0.01, 0.5, 0.99))
    report.depth = {
        "median": median,
        "percentile_1": low,
        "percentile_99": high,
        "holes": float(pixels[0] / total),
        "levels": len(levels),
    }
    said = f"half of the values are below {median:.0f}, 98 % within {low:.0f}..{high:.0f}"
    if len(levels) > 1 and np.gcd.reduce(levels) == 8:
        yield Finding(
            "error",
            "depth_unit",
            f"all depth values are multiples of 8 ({said}): SUN RGB-D stores millimetres shifted by 3 bits",
            f"divide by 8 ({MENDING} --depth-unit-mm 0.125)",
        )
        of_unit = True
    else:
        unit = list(_unit_findings(median, said))
        of_unit = bool(unit)
        yield from unit
    odd = [n for n, m in contents.depth_median.items() if not 1 / _ODD_FRAME_RATIO < m / median < _ODD_FRAME_RATIO]
    if odd:
        yield Finding(
            "warning",
            "odd_depth",
            f"{len(odd)} depth images are {_ODD_FRAME_RATIO:.0f} times nearer or farther than the data set's "
            f"median of {median:.0f}",
            "are they in another unit?",
            tuple(odd),
        )
    if len(levels) <= _COARSE_LEVELS and not of_unit:
        step = float(np.median(np.diff(levels))) if len(levels) > 1 else 0.0
        yield Finding(
            "warning",
            "coarse_depth",
            f"depth has only {len(levels)} different values, in steps of {step:.0f}: it was stored in 8 bits once",
            "use 16-bit depth if you can get it; else HHA needs input.hha.smoothing auto (the recipes' default)",
        )
    if pixels[-1] / total > 0.001:
        yield Finding(
            "error",
            "depth_65535",
            f"{percent(pixels[-1], total)} of the depth values are 65535: a mark for holes, read as 65.5 m",
            "write 0 for holes",
        )
    if pixels[0] / total > _MANY_HOLES:
        yield Finding(
            "warning",
            "many_holes",
            f"{percent(pixels[0], total)} of the depth values are 0 (holes)",
            "is depth registered to colour, and the range right?",
        )


def _unit_findings(median: float, said: str) -> Iterable[Finding]:
    """A finding if another unit than millimetres would make the median depth more typical of rooms."""
    distance = {unit: abs(np.log(median * factor / 1000 / INDOOR_DEPTH_M)) for unit, factor in DEPTH_UNITS_MM.items()}
    likely = min(distance, key=lambda unit: distance[unit])
    if likely == "millimetres":
        return
    factor = DEPTH_UNITS_MM[likely]
    as_read = median / 1000
    # Medians that are also plausible in millimetres, from a table close to the camera to a large hall: only a warning.
    unclear = 350 <= median < 1000 or 6000 < median < 9000
    yield Finding(
        "warning" if unclear else "error",
        "depth_unit",
        f"depth looks like {likely}, not millimetres: {said}, which is read as a median of {as_read:.3g} m",
        f"multiply by {factor:g} ({MENDING} --depth-unit-mm {factor:g}), unless the scene is really that "
        f"{'near' if factor > 1 else 'far'}",
    )
