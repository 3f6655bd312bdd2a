"""A camera's diagnostics as a picture, for viewers that show images but no diagnostics, as RViz."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 480, 440

NOT_STAGES = ("latency", "response", "age", "skew")
"""Keys in ms that are no stage that a frame goes through."""

_FONT = cv2.FONT_HERSHEY_SIMPLEX
_PAPER, _INK, _FAINT = (255, 255, 255), (40, 40, 40), (225, 225, 225)
_GOOD, _BAD = (38, 120, 70), (190, 75, 20)
_BAR, _TAIL = (64, 120, 190), (170, 198, 228)
_MARGIN, _LINE = 10, 20
_BAR_LEFT, _BAR_RIGHT = 120, WIDTH - 120


def status_picture(title: str, message: str, is_well: bool, values: Mapping[str, str]) -> npt.NDArray[np.uint8]:
    """The message on green or orange, rates and latency, one bar for each stage, and what was dropped.

    Args:
        title: name of the status.
        message: its message, cut after five lines.
        is_well: whether the status is OK; green then, else orange.
        values: the keys of :mod:`~lcr_seg_ros.ros.diagnostics`; those that are missing are left out of the picture.

    Returns:
        (440, 480, 3) uint8 RGB.
    """
    picture = np.full((HEIGHT, WIDTH, 3), _PAPER, np.uint8)
    said = [*_wrapped(title, lines=1), *_wrapped(message, lines=5)]
    y = _LINE * len(said) + 8
    cv2.rectangle(picture, (0, 0), (WIDTH, y), _GOOD if is_well else _BAD, -1)
    for k, line in enumerate(said):
        _write(picture, line, 18 + k * _LINE, color=_PAPER)
    y += _LINE
    for line in _lines(values):
        _write(picture, line, y)
        y += _LINE
    _draw_stages(picture, y + 2, _stages(values))
    return picture


def _lines(values: Mapping[str, str]) -> list[str]:
    def value(key: str, decimals: int = 0) -> str:
        text = values.get(key, "")
        return f"{float(text):.{decimals}f}" if text else "?"

    lines = [" ".join(filter(None, (values.get(key, "") for key in ("model", "backend", "device", "state"))))]
    rates = f"{value('masks_out_hz', 1)} of {value('pairs_in_hz', 1)} frames/s"
    if "latency_ms_p50" in values:
        rates += f"; {value('latency_ms_p50')} ms from stamp to mask, 95 %: {value('latency_ms_p95')} ms"
    lines.append(rates)
    dropped = {k.removeprefix("dropped_"): v for k, v in values.items() if k.startswith("dropped_")}
    lines.append("dropped: " + (", ".join(f"{v} {k.replace('_', ' ')}" for k, v in dropped.items()) or "none"))
    facts = [f"memory {value('memory_mb')} MB"] if "memory_mb" in values else []
    if "invalid_depth_share" in values:
        facts.append(f"no depth {100 * float(values['invalid_depth_share']):.0f} %")
    if "gravity_source" in values:
        doubt = " in doubt" if values.get("gravity_doubt") else ""
        facts.append(f"gravity by {values['gravity_source']}{doubt}")
    if facts:
        lines.append("; ".join(facts))
    return [_wrapped(line, lines=1)[0] for line in lines]


def _stages(values: Mapping[str, str]) -> list[tuple[str, float, float]]:
    """Name, median and 95th percentile in ms of each stage, in the order of the diagnostics."""
    names = [key.removesuffix("_ms_p50") for key in values if key.endswith("_ms_p50")]
    return [
        (name, float(values[f"{name}_ms_p50"]), float(values[f"{name}_ms_p95"]))
        for name in names
        if name not in NOT_STAGES
    ]


def _draw_stages(picture: npt.NDArray[np.uint8], top: int, stages: list[tuple[str, float, float]]) -> None:
    """A bar as long as the median, and paler from there to the 95th percentile; all bars on one scale."""
    if not stages:
        return
    _write(picture, "median / 95 %", top + 8, left=_BAR_RIGHT + 8)
    top += 14
    longest = max(max(p50, p95) for _, p50, p95 in stages) or 1.0
    height = min(_LINE, (HEIGHT - top - 4) // len(stages))
    for k, (name, p50, p95) in enumerate(stages):
        y = top + k * height
        _write(picture, name, y + 14)
        ends = [_BAR_LEFT + round((_BAR_RIGHT - _BAR_LEFT) * ms / longest) for ms in (p50, max(p50, p95))]
        cv2.rectangle(picture, (_BAR_LEFT, y + 3), (_BAR_RIGHT, y + height - 3), _FAINT, -1)
        cv2.rectangle(picture, (_BAR_LEFT, y + 3), (ends[1], y + height - 3), _TAIL, -1)
        cv2.rectangle(picture, (_BAR_LEFT, y + 3), (ends[0], y + height - 3), _BAR, -1)
        _write(picture, f"{p50:.1f} / {p95:.1f} ms", y + 14, left=_BAR_RIGHT + 8)


def _write(
    picture: npt.NDArray[np.uint8], text: str, y: int, left: int = _MARGIN, color: tuple[int, int, int] = _INK
) -> None:
    cv2.putText(picture, text, (left, y), _FONT, 0.42, color, 1, cv2.LINE_AA)


def _wrapped(text: str, lines: int) -> list[str]:
    """The text in at most so many lines that fit, with an ellipsis where something had to go."""
    done = [""]
    for word in text.split():
        longer = f"{done[-1]} {word}".lstrip()
        if _fits(longer) or not done[-1]:
            done[-1] = longer
        else:
            done.append(word)
    if len(done) > lines:
        done = [*done[: lines - 1], " ".join(done[lines - 1 :])]
    for k, line in enumerate(done):
        while not _fits(line):
            line = line.removesuffix("...")[:-1] + "..."
        done[k] = line
    return done


def _fits(text: str) -> bool:
    return cv2.getTextSize(text, _FONT, 0.42, 1)[0][0] <= WIDTH - 2 * _MARGIN
