"""Judges the depth images of a dataset folder by their values: unit, steps, holes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import median as median_of

import numpy as np

from lcr_seg_ros.training.datasets.check_contents import FolderContents
from lcr_seg_ros.training.datasets.check_report import MENDING, Finding, FolderReport, percent

INDOOR_DEPTH_M = 2.2
"""Typical median depth of indoor frames, from which the unit of depth is guessed."""

DEPTH_UNITS_MM = {
    "metres": 1000.0,
    "centimetres": 10.0,
    "millimetres": 1.0,
    "0.25 mm (RealSense L515)": 0.25,
    "0.2 mm (TUM RGB-D)": 0.2,
    "0.1 mm": 0.1,
}

_PLAUSIBLE_MM = (350.0, 9000.0)
"""Medians that a frame can have indoors: from a table close to the camera to a large hall."""
_ALIKE = 1.5
"""Units whose ratio is smaller cannot be told apart by the median."""
_SAME_RATIO = 1.6
"""How far the ratio of two groups' medians may be from that of their units; frames of one unit that are merely divided
into near and far ones differ less than units do."""
_SHIFT = 8
"""SUN RGB-D stores millimetres shifted by 3 bits."""

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
    apart = list(_apart_findings(contents))
    yield from apart
    mixed = any(finding.severity == "error" for finding in apart)
    if mixed:
        of_unit = True  # no statement about all frames together holds
    elif len(levels) > 1 and np.gcd.reduce(levels) == _SHIFT:
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
    told = {name for finding in apart for name in finding.frames}
    odd = [
        name
        for name, m in contents.depth_median.items()
        if name not in told and not 1 / _ODD_FRAME_RATIO < m / median < _ODD_FRAME_RATIO
    ]
    if odd and not mixed:
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


def _apart_findings(contents: FolderContents) -> Iterable[Finding]:
    """Frames in another unit than the others: shifted by 3 bits, or with a median that is not plausible in the unit
    of the others but is in one of :data:`DEPTH_UNITS_MM`."""
    shifted = {name: step for name, step in contents.depth_step.items() if step == _SHIFT}
    if shifted and any(step % _SHIFT for step in contents.depth_step.values()):
        yield Finding(
            "error",
            "mixed_depth_units",
            f"in {len(shifted)} of {len(contents.depth_median)} depth images all values are multiples of {_SHIFT}, in "
            "the others they are not: SUN RGB-D stores millimetres shifted by 3 bits",
            f"bring all to millimetres: put these into a folder of their own and divide by {_SHIFT} "
            f"({MENDING} --depth-unit-mm {1 / _SHIFT:g})",
            tuple(shifted),
        )
    medians = {name: m for name, m in contents.depth_median.items() if name not in shifted}
    if medians:
        yield from _apart_by_median(medians)


def _apart_by_median(medians: Mapping[str, float]) -> Iterable[Finding]:
    """One finding for the frames that are too near, one for those too far.

    It is an error only if they are many, and as much nearer or farther than the others as the units say. Single frames
    may be right: a camera that stands in front of a wall sees nothing but what is near.
    """
    near, far = _PLAUSIBLE_MM
    plausible = sum(near <= m <= far for m in medians.values())
    votes = Counter(_likely_unit(m) for m in medians.values())
    # A quarter is enough: a median that is right in millimetres is often plausible in another unit as well.
    usual = "millimetres" if 4 * plausible >= len(medians) else votes.most_common(1)[0][0]
    factor = DEPTH_UNITS_MM[usual]
    too_near = {name: m for name, m in medians.items() if m * factor < near}
    too_far = {name: m for name, m in medians.items() if m * factor > far}
    others = [m for name, m in medians.items() if name not in too_near and name not in too_far]
    for frames, direction in ((too_near, "near"), (too_far, "far")):
        if not frames or not others:
            continue
        here, there = median_of(frames.values()), median_of(others)
        excess = {u: abs(math.log(here * f / (there * factor))) for u, f in DEPTH_UNITS_MM.items()}
        unit = min(excess, key=lambda u: excess[u])
        if unit == usual:
            continue  # no known unit explains it
        sure = len(frames) >= 2 and 10 * len(frames) >= len(medians) and excess[unit] < math.log(_SAME_RATIO)
        if sure:  # then so are those that are plausible but closer to these frames than to the others
            between = math.sqrt(here * there)
            frames = {name: m for name, m in medians.items() if (m < between) == (direction == "near")}
        commands = [
            f"those in {u} by {_factors(u)} ({MENDING} --depth-unit-mm {DEPTH_UNITS_MM[u]:g})"
            for u in (unit, usual)
            if u != "millimetres"
        ]
        yield Finding(
            "error" if sure else "warning",
            "mixed_depth_units",
            f"{len(frames)} of {len(medians)} depth images look like {_named(unit)} (their median is about "
            f"{here:.0f}), the others like {_named(usual)} (about {there:.0f})",
            f"bring all to millimetres, each unit in a folder of its own: multiply {' and '.join(commands)}, unless "
            f"these scenes are really that {direction}",
            tuple(frames),
        )


def _likely_unit(median: float) -> str:
    """The unit in which a median of depth is the most typical of rooms."""
    return min(DEPTH_UNITS_MM, key=lambda unit: abs(np.log(median * DEPTH_UNITS_MM[unit] / 1000 / INDOOR_DEPTH_M)))


def _alike(unit: str) -> list[str]:
    """The unit, and those that its median could be of as well."""
    factor = DEPTH_UNITS_MM[unit]
    near = [u for u, f in DEPTH_UNITS_MM.items() if max(f / factor, factor / f) < _ALIKE]
    return [unit, *(u for u in near if u != unit)]


def _named(unit: str) -> str:
    return " or ".join(_alike(unit))


def _factors(unit: str) -> str:
    return " or ".join(f"{DEPTH_UNITS_MM[u]:g}" for u in _alike(unit))


def _unit_findings(median: float, said: str) -> Iterable[Finding]:
    """A finding if another unit than millimetres would make the median depth more typical of rooms."""
    likely = _likely_unit(median)
    if likely == "millimetres":
        return
    factor, as_read, (near, far) = DEPTH_UNITS_MM[likely], median / 1000, _PLAUSIBLE_MM
    yield Finding(
        "warning" if near <= median < far else "error",  # plausible in millimetres, too
        "depth_unit",
        f"depth looks like {_named(likely)}, not millimetres: {said}, which is read as a median of {as_read:.3g} m",
        f"multiply by {_factors(likely)} ({MENDING} --depth-unit-mm {factor:g}), unless the scene is really that "
        f"{'near' if factor > 1 else 'far'}",
    )
