"""Pictures that explain HHA: its channels with their scales, and gravity as a plumb line."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.hha import GravityEstimate, HhaImage

Image = npt.NDArray[np.uint8]
Depth = npt.NDArray[np.floating]

DISPARITY, HEIGHT, ANGLE = 0, 1, 2

PANEL_HEIGHT = 300
"""Height of a picture in pixels, without its title."""

_SCALE_WIDTH = 96
_TITLE_HEIGHT = 26
_PLUMB_AHEAD_M, _PLUMB_LENGTH_M = 2.0, 0.7

_INK, _PAPER, _HOLE = (40, 40, 40), (255, 255, 255), (225, 225, 225)
_PLUMB, _WARNING = (255, 230, 0), (200, 30, 30)
_FONT = cv2.FONT_HERSHEY_SIMPLEX

Ticks = Sequence[tuple[int, str]]

DISPARITY_TICKS = [(255, "255: < 1.2 m"), (207, "207: 1.5 m"), (155, "155: 2 m"), (103, "103: 3 m"), (62, "62: 5 m")]
HEIGHT_TICKS = [(255, ">= 255 cm"), (200, "200 cm"), (150, "150 cm"), (100, "100 cm"), (50, "50 cm"), (0, "0: floor")]
ANGLE_TICKS = [(218, "218: ceiling"), (173, "173"), (128, "128: wall"), (83, "83"), (38, "38: floor")]


def explain_frame(frame: RgbdFrame, hha: HhaImage, title: str = "") -> Image:
    """One sheet with the input and output of HHA: RGB with gravity, depth and HHA; below, the three channels.

    Args:
        frame: with depth and intrinsics.
        hha: of the frame.
        title: written above the first panel.

    Returns:
        (h, w, 3) uint8 RGB, two rows of three panels.

    Raises:
        FrameError: the frame has no depth or no intrinsics.
    """
    if frame.depth_m is None or frame.intrinsics is None:
        raise FrameError("a picture of HHA needs a frame with depth and intrinsics")
    seen = with_plumb_line(frame.rgb, frame.intrinsics, hha.gravity)
    return grid(
        [
            [
                panel(f"RGB {title}".strip() + " and a plumb line", seen),
                depth_panel("depth (holes grey)", frame.depth_m),
                panel("HHA as the network sees it", hha.image),
            ],
            [
                disparity_panel("H: horizontal disparity, 31000 / Z in cm", hha.image),
                height_panel("H: height above ground in cm", hha.image),
                angle_panel("A: angle with gravity in degrees + 38", hha.image),
            ],
        ]
    )


def grid(rows: Sequence[Sequence[Image]]) -> Image:
    """Rows of panels as one picture; shorter rows and panels are padded with white."""
    strips = []
    for row in rows:
        height = max(p.shape[0] for p in row)
        strips.append(np.concatenate([_padded(p, height, p.shape[1]) for p in row], axis=1))
    width = max(s.shape[1] for s in strips)
    return np.concatenate([_padded(s, s.shape[0], width) for s in strips], axis=0)


def depth_panel(title: str, depth_m: Depth, farthest_m: float = 6.0) -> Image:
    """Depth as colours, near is bright; holes are grey."""
    known = np.isfinite(depth_m) & (depth_m > 0)
    level = np.where(known, 255 - 255 * np.clip(np.where(known, depth_m, 0) / farthest_m, 0, 1), 0).astype(np.uint8)
    picture = _colored(level, cv2.COLORMAP_VIRIDIS)
    picture[~known] = _HOLE
    metres = np.arange(int(farthest_m) + 1)
    ticks = [(round(255 - 255 * float(m) / farthest_m), f"{m} m") for m in metres]
    return panel(title, picture, cv2.COLORMAP_VIRIDIS, ticks)


def disparity_panel(title: str, hha: Image) -> Image:
    return panel(title, _colored(hha[..., DISPARITY], cv2.COLORMAP_MAGMA), cv2.COLORMAP_MAGMA, DISPARITY_TICKS)


def height_panel(title: str, hha: Image) -> Image:
    return panel(title, _colored(hha[..., HEIGHT], cv2.COLORMAP_VIRIDIS), cv2.COLORMAP_VIRIDIS, HEIGHT_TICKS)


def angle_panel(title: str, hha: Image) -> Image:
    return panel(title, _colored(hha[..., ANGLE], cv2.COLORMAP_TURBO), cv2.COLORMAP_TURBO, ANGLE_TICKS)


def panel(title: str, picture: Image, colormap: int | None = None, ticks: Ticks = ()) -> Image:
    """A titled picture of :data:`PANEL_HEIGHT`, with a scale beside it if there is a colormap.

    Args:
        title: written above the picture.
        picture: (H, W, 3) uint8 RGB.
        colormap: number of an OpenCV colormap; the scale runs from 255 at the top to 0.
        ticks: levels 0..255, and what is written beside each.
    """
    width = max(1, round(picture.shape[1] * PANEL_HEIGHT / picture.shape[0]))
    shrinks = picture.shape[0] > PANEL_HEIGHT
    # Enlarge without interpolation, so that single pixels of HHA can be seen.
    scaled = cv2.resize(picture, (width, PANEL_HEIGHT), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST)
    beside = np.full((PANEL_HEIGHT, _SCALE_WIDTH, 3), _PAPER, np.uint8)  # even without a scale, so that columns align
    if colormap is not None:
        levels = np.linspace(255, 0, PANEL_HEIGHT).astype(np.uint8)[:, None]
        beside[:, 4:16] = _colored(levels, colormap)
        for level, text in ticks:
            y = round((255 - level) / 255 * (PANEL_HEIGHT - 1))
            cv2.line(beside, (16, y), (19, y), _INK, 1)
            _write(beside, text, 22, min(max(y + 4, 9), PANEL_HEIGHT - 2), 0.35)
    band = np.full((_TITLE_HEIGHT, width + beside.shape[1], 3), _PAPER, np.uint8)
    _write(band, title, 4, 18, 0.45)
    return np.concatenate([band, np.concatenate([scaled, beside], axis=1)], axis=0)  # type: ignore[list-item]


def text_panel(lines: Sequence[str], width: int = 400) -> Image:
    """Lines of text on a panel, by default as large as one of a 4:3 picture; long lines are broken between words."""
    picture = np.full((_TITLE_HEIGHT + PANEL_HEIGHT, width + _SCALE_WIDTH, 3), _PAPER, np.uint8)
    y = _TITLE_HEIGHT + 40
    for line in lines:
        for part in textwrap.wrap(line, 46):
            _write(picture, part, 24, y, 0.5)
            y += 24
    return picture


def with_plumb_line(rgb: Image, intrinsics: CameraIntrinsics, gravity: GravityEstimate) -> Image:
    """The image with a plumb line that hangs two metres ahead of the camera, and its direction in words."""
    picture = np.ascontiguousarray(rgb).copy()
    scale = rgb.shape[0] / PANEL_HEIGHT  # keeps lines and letters legible once the panel is scaled down
    top = np.array([0.0, 0.0, _PLUMB_AHEAD_M]) - 0.5 * _PLUMB_LENGTH_M * gravity.down
    ends = [top, top + _PLUMB_LENGTH_M * gravity.down]
    start, end = (
        (round(intrinsics.fx * p[0] / p[2] + intrinsics.cx), round(intrinsics.fy * p[1] / p[2] + intrinsics.cy))
        for p in ends
    )
    for color, width in ((_INK, 4), (_PLUMB, 2)):
        cv2.arrowedLine(picture, start, end, color, max(1, round(width * scale)), cv2.LINE_AA, tipLength=0.2)
    lines = [(describe(gravity), _PAPER)]
    if gravity.doubt:
        lines.append((f"in doubt: {gravity.doubt}", _WARNING))
    for k, (text, color) in enumerate(lines):
        at = (round(6 * scale), round((PANEL_HEIGHT - 8 - 16 * (len(lines) - 1 - k)) * scale))
        for ink, width in ((_INK if color == _PAPER else _PAPER, 3), (color, 1)):
            cv2.putText(picture, text, at, _FONT, 0.42 * scale, ink, max(1, round(width * scale)), cv2.LINE_AA)
    return picture


def describe(gravity: GravityEstimate) -> str:
    """The camera's attitude in words: its pitch, and its roll unless the optical axis is nearly vertical."""
    x, y, z = gravity.down
    pitch = np.degrees(np.arcsin(np.clip(z, -1, 1)))
    words = f"looks {abs(pitch):.0f} deg {'down' if pitch >= 0 else 'up'}"
    if np.hypot(x, y) > 0.1:
        words += f", rolled by {np.degrees(np.arctan2(x, y)):.0f} deg"
    return words


def _colored(levels: npt.NDArray[np.uint8], colormap: int) -> Image:
    return cv2.cvtColor(cv2.applyColorMap(levels, colormap), cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def _write(picture: Image, text: str, x: int, y: int, size: float) -> None:
    cv2.putText(picture, text, (x, y), _FONT, size, _INK, 1, cv2.LINE_AA)


def _padded(picture: Image, height: int, width: int) -> Image:
    padded = np.full((height, width, 3), _PAPER, np.uint8)
    padded[: picture.shape[0], : picture.shape[1]] = picture
    return padded
