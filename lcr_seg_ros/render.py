"""Pictures of the segmenter's input and output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.files import replace_file
from lcr_seg_ros.labels import UNLABELLED, LabelClass, LabelSet

Image = npt.NDArray[np.uint8]

PANEL_HEIGHT = 300
"""In pixels; four or five panels side by side still fit on a screen."""

_INK = (40, 40, 40)
_PAPER = 255
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_TEXT_SIZE = 0.45
_CELL_WIDTH, _CELL_HEIGHT = 190, 26


def colorize(labels: Image, label_set: LabelSet) -> Image:
    """(H, W) uint8 mask ids -> (H, W, 3) uint8 RGB; void, unlabelled and unknown ids are black."""
    # LUT needs as many channels in the image as in the table; even so it is ten times faster than NumPy indexing.
    return cv2.LUT(cv2.merge([labels, labels, labels]), label_set.palette[None])  # type: ignore[return-value]


def overlay(rgb: Image, labels: Image, label_set: LabelSet, opacity: float = 0.5) -> Image:
    """The labels' colours laid over the image.

    Args:
        rgb: (H, W, 3) uint8.
        labels: (H, W) uint8 mask ids.
        label_set: gives the colours.
        opacity: of the colours, 0..1.

    Returns:
        (H, W, 3) uint8; where a pixel is unlabelled or void, the image as it is.
    """
    mixed = cv2.addWeighted(rgb, 1 - opacity, colorize(labels, label_set), opacity, 0)
    is_open = np.zeros(256, np.uint8)
    is_open[[UNLABELLED, label_set.void]] = 255
    return cv2.copyTo(rgb, cv2.LUT(labels, is_open), mixed)  # type: ignore[return-value]


def sheet(
    rgb: Image,
    hha: Image | None,
    labels: Image,
    label_set: LabelSet,
    truth: Image | None = None,
    title: str = "",
) -> Image:
    """One picture: RGB | HHA | labels (| annotation) | overlay, with a legend of the classes that occur in either and
    their shares.

    Args:
        rgb: (H, W, 3) uint8.
        hha: (H, W, 3) uint8, or None for colour-only models.
        labels: (H, W) uint8 mask ids.
        label_set: names and colours.
        truth: (H, W) uint8 mask ids of an annotation in the same label set, shown beside the labels.
        title: written above the first panel.

    Returns:
        (h, w, 3) uint8 RGB, panels at most 300 px high.
    """
    panels = [(f"RGB {title}".strip(), rgb)]
    if hha is not None:
        panels.append(("HHA", hha))
    panels.append(("labels", colorize(labels, label_set)))
    if truth is not None:
        panels.append(("annotation", colorize(truth, label_set)))
    panels.append(("overlay", overlay(rgb, labels, label_set)))
    height = min(PANEL_HEIGHT, rgb.shape[0])
    width = max(1, round(rgb.shape[1] * height / rgb.shape[0]))
    row = np.concatenate(
        [titled(name, cv2.resize(p, (width, height), interpolation=cv2.INTER_AREA)) for name, p in panels], axis=1
    )  # type: ignore[arg-type]
    return np.concatenate([row, legend(labels, label_set, row.shape[1], truth)], axis=0)


def legend(
    labels: Image,
    label_set: LabelSet,
    width: int,
    annotation: Image | None = None,
    lines: Sequence[tuple[str, tuple[int, int, int]]] = (),
) -> Image:
    """Colour and name of each class that occurs, with its share of all pixels, largest share first.

    With an annotation, each class has two shares, that of the labels before that of the annotation; the first cell says
    so. The order is then that of the larger of the two.

    Args:
        labels: of any shape, uint8 mask ids.
        label_set: names and colours.
        width: of the picture, in pixels.
        annotation: uint8 mask ids whose classes are listed as well; void pixels count in what shares are of.
        lines: name and colour (RGB) of lines in the picture above, which are listed first.

    Returns:
        (h, width, 3) uint8 RGB.
    """
    shares = [np.bincount(ids.ravel(), minlength=256) / ids.size for ids in (labels, annotation) if ids is not None]
    most = np.max(shares, axis=0)
    present = sorted((c for c in label_set.classes if most[c.id] > 0), key=lambda c: -most[c.id])
    entries: list[tuple[str, tuple[int, int, int] | None, bool]] = [(name, color, True) for name, color in lines]
    if annotation is not None:
        entries.append(("labels / annotation:", None, False))
    entries += [(f"{c.name} {' / '.join(_percent(s[c.id]) for s in shares)}", c.color, False) for c in present]
    cell_width = _cell_width([text for text, _, _ in entries])
    columns = max(1, width // cell_width)
    rows = max(1, -(-len(entries) // columns))
    picture = np.full((rows * _CELL_HEIGHT + 8, width, 3), _PAPER, np.uint8)
    for k, (text, color, is_line) in enumerate(entries):
        x, y = (k % columns) * cell_width + 8, (k // columns) * _CELL_HEIGHT + 8
        if is_line:
            cv2.line(picture, (x, y + 8), (x + 16, y + 8), color, 2)
        elif color is not None:
            cv2.rectangle(picture, (x, y), (x + 16, y + 16), color, -1)
        cv2.putText(picture, text, (x + 22, y + 13), _FONT, _TEXT_SIZE, _INK, 1, cv2.LINE_AA)
    return picture


def _percent(share: float) -> str:
    """A share of 1 as whole per cent; 0 % is for nothing at all."""
    return "<1%" if 0 < share < 0.005 else f"{100 * share:.0f}%"


def class_legend(classes: Sequence[LabelClass], columns: int = 2) -> Image:
    """(h, w, 3) uint8 RGB: colour, id and name of each class, in their order, column by column."""
    texts = [f"{c.id} {c.name}" for c in classes]
    cell_width = _cell_width(texts)
    rows = max(1, -(-len(classes) // columns))
    picture = np.full((rows * _CELL_HEIGHT + 8, columns * cell_width, 3), _PAPER, np.uint8)
    for k, (c, text) in enumerate(zip(classes, texts, strict=True)):
        x, y = (k // rows) * cell_width + 8, (k % rows) * _CELL_HEIGHT + 8
        cv2.rectangle(picture, (x, y), (x + 16, y + 16), c.color, -1)
        cv2.rectangle(picture, (x, y), (x + 16, y + 16), _INK, 1)
        cv2.putText(picture, text, (x + 22, y + 13), _FONT, _TEXT_SIZE, _INK, 1, cv2.LINE_AA)
    return picture


def _cell_width(texts: Sequence[str]) -> int:
    """Width of a legend's columns in pixels: so that the longest text is whole, and at least :data:`_CELL_WIDTH`."""
    widths = (cv2.getTextSize(text, _FONT, _TEXT_SIZE, 1)[0][0] for text in texts)
    return max(_CELL_WIDTH, 8 + 22 + max(widths, default=0))


def titled(title: str, panel: Image) -> Image:
    """The panel, (H, W, 3) uint8 RGB, below a band of 26 rows with its title."""
    band = np.full((26, panel.shape[1], 3), _PAPER, np.uint8)
    cv2.putText(band, title, (8, 18), _FONT, 0.5, _INK, 1, cv2.LINE_AA)
    return np.concatenate([band, panel], axis=0)


def write_image(path: str | Path, rgb: Image) -> Path:
    """Write an image, whole or not at all, in the format that the extension of its name stands for.

    Args:
        path: ends with .png or .jpg, or whatever else OpenCV can write.
        rgb: (H, W, 3) uint8.

    Raises:
        SourceError: the extension is not that of an image format.
    """
    path = Path(path)
    try:
        ok, data = cv2.imencode(path.suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    except cv2.error:
        ok = False
    if not ok:
        raise SourceError(f"cannot write {path}: use a name that ends with .png or .jpg")
    return replace_file(path, data.tobytes())
