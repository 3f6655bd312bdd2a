"""The label set that a dataset folder says it follows, in its own ``labels.yaml``.

Ids alone do not tell: 1 is a wall in one set and a sofa in another.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.files import replace_file
from lcr_seg_ros.labels import LABELS_FILE, LabelSet, folder_label_set
from lcr_seg_ros.sources.folder import LABEL_FOLDER
from lcr_seg_ros.sources.source import SourceFrame

RELABEL = (
    "make a copy with `prepare relabel`, or train with labels=NAME of the set that they follow; where they count "
    "from 0 and 255 is void, make the copy with `prepare import --shifted`"
)
"""What to do about label images of another label set."""


def write_label_set(folder: Path, labels: LabelSet) -> None:
    """Leave the label set with the images."""
    text = yaml.safe_dump(labels.to_dict(), sort_keys=False, default_flow_style=None, width=120)
    replace_file(folder / LABELS_FILE, text.encode())


def refuse_other_classes(data: Path, labels: LabelSet, remedy: str) -> None:
    """Refuse to read a folder's label images by another label set than its own.

    Args:
        data: dataset folder.
        labels: by which they are about to be read.
        remedy: what to do instead; ``{file}`` becomes the path of the folder's label set.

    Raises:
        SourceError: the folder's label set has another class by one of its ids.
        LabelSetError: the file is no label set.
    """
    own = folder_label_set(data)
    if own is None:
        return
    names = {c.id: c.name for c in labels.classes}
    for c in own.classes:
        if names.get(c.id) != c.name:
            other = f"is {names[c.id]!r}" if c.id in names else "is no class"
            raise SourceError(
                f"{data} has classes of its own: {c.id} is {c.name!r} in its {LABELS_FILE} and {other} in label set "
                f"{labels.name}: {remedy.format(file=data / LABELS_FILE)}"
            )


def refuse_other_size(item: SourceFrame, data: Path) -> None:
    """Refuse a label image that does not lie over its colour image: scaled or cut alike, each pixel would get the class
    of another.

    Args:
        item: a frame, with labels or without.
        data: the dataset folder that it is of.

    Raises:
        SourceError: names the file and both sizes.
    """
    if item.labels is not None and item.labels.shape != item.frame.rgb.shape[:2]:
        (height, width), (rows, columns) = item.frame.rgb.shape[:2], item.labels.shape
        raise SourceError(
            f"frame {item.name}: the label image is {columns}x{rows} pixels ({data / LABEL_FOLDER / item.name}.png), "
            f"the colour image {width}x{height}: give labels of the image's size; `check-data {data}` lists all such"
        )


def refuse_unknown_ids(images: Iterable[npt.NDArray[np.uint8]], labels: LabelSet, where: str, remedy: str) -> None:
    """Refuse label images of another label set: they would be taken for void, or for the wrong classes.

    Args:
        images: (H, W) mask ids each.
        labels: by which they are about to be read.
        where: what they are, for the message.
        remedy: what to do instead.

    Raises:
        SourceError: names the ids that the label set does not have.
    """
    found = np.zeros(256, np.bool_)
    for image in images:
        found[np.unique(image)] = True
    found[[c.id for c in labels.classes]] = found[labels.void] = False
    strange = np.flatnonzero(found)
    if strange.size:
        raise SourceError(
            f"{where}: the label images have ids {strange[:8].tolist()} that label set {labels.name} "
            f"({len(labels)} classes) does not know: {remedy}"
        )
