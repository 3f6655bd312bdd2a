"""Checks that label images are read with the label set that they were made with.

A dataset folder names it in ``labels.yaml``. Ids alone do not show it: 1 is a wall in one set and a sofa in another.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.files import replace_file
from lcr_seg_ros.labels import LABELS_FILE, LabelSet, folder_label_set
from lcr_seg_ros.sources.folder import LABEL_FOLDER, DatasetFolder
from lcr_seg_ros.sources.source import SourceFrame

RELABEL = (
    "make a copy with `prepare relabel`, or train with labels=NAME of the set that they follow; where they count "
    "from 0 and 255 is void, make the copy with `prepare import --shifted`"
)
"""Advice for label images of another label set."""
LOOKED_AT = 8
"""About so many frames are checked by :func:`look_through_labels`, evenly spread."""


def write_label_set(folder: Path, labels: LabelSet) -> None:
    """Write ``labels.yaml``, the label set of a dataset folder."""
    text = yaml.safe_dump(labels.to_dict(), sort_keys=False, default_flow_style=None, width=120)
    replace_file(folder / LABELS_FILE, text.encode())


def refuse_other_classes(data: Path, labels: LabelSet, remedy: str) -> None:
    """Refuse to read a folder's label images with another label set than its own. Folders without one pass.

    Args:
        data: dataset folder.
        labels: the label set that they would be read with.
        remedy: advice for the message; ``{file}`` is replaced by the path of the folder's label set.

    Raises:
        SourceError: an id of the folder's label set is another class, or none, in ``labels``.
        LabelSetError: the folder's ``labels.yaml`` is not a label set.
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
                f"{labels.name}: {remedy.format(file=shlex.quote(str(data / LABELS_FILE)))}"
            )


def refuse_other_size(item: SourceFrame, data: Path) -> None:
    """Refuse a label image of another size than its colour image: pixels would get the classes of others.

    Args:
        item: a frame, with labels or without.
        data: its dataset folder.

    Raises:
        SourceError: the sizes differ; names the file and both sizes.
    """
    if item.labels is not None and item.labels.shape != item.frame.rgb.shape[:2]:
        (height, width), (rows, columns) = item.frame.rgb.shape[:2], item.labels.shape
        raise SourceError(
            f"frame {item.name}: the label image is {columns}x{rows} pixels ({data / LABEL_FOLDER / item.name}.png), "
            f"the colour image {width}x{height}: give labels of the image's size; "
            f"`check-data {shlex.quote(str(data))}` lists all such"
        )


def look_through_labels(folder: DatasetFolder, split: str, labels: LabelSet) -> None:
    """Check a few frames of a split, before minutes are spent on all of them; a training then checks each.

    Args:
        folder: the frames of the split, all labelled.
        split: its name, for the message.
        labels: the label set that they would be read with.

    Raises:
        SourceError: a label image has another size than its frame, or ids that the label set does not have.
    """
    frames = [folder[i] for i in range(0, len(folder), max(1, len(folder) // LOOKED_AT))]
    for frame in frames:
        refuse_other_size(frame, folder.path)
    images = (frame.labels for frame in frames if frame.labels is not None)
    refuse_unknown_ids(images, labels, f"{folder.path}, split {split}", RELABEL)


def refuse_unknown_ids(images: Iterable[npt.NDArray[np.uint8]], labels: LabelSet, where: str, remedy: str) -> None:
    """Refuse label images with ids that the label set does not have, which would be read as void.

    Args:
        images: (H, W) uint8 mask ids each.
        labels: the label set that they would be read with.
        where: what the images are, for the message.
        remedy: advice for the message.

    Raises:
        SourceError: there are such ids; names them.
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
