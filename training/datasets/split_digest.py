"""What ties a result to the data that it was made on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from lcr_seg_ros.sources.folder import LABEL_FOLDER, DatasetFolder


def digest_split(data: Path, split: str) -> dict[str, Any]:
    """Number of ``frames`` of a split, ``sha256`` of their names and label images, ``images_sha256`` of the files with
    their colour and, where there is any, depth.

    Args:
        data: dataset folder with labels.
        split: name of its list.

    Raises:
        SourceError: no such split.
    """
    folder = DatasetFolder(data, split)
    labels, images = hashlib.sha256(), hashlib.sha256()
    for name in folder.names:
        labels.update(name.encode())
        labels.update((data / LABEL_FOLDER / f"{name}.png").read_bytes())
        for path in folder.files(name):
            images.update(path.read_bytes())
    return {"frames": len(folder), "sha256": labels.hexdigest(), "images_sha256": images.hexdigest()}


def digest_labels(data: Path, split: str | None) -> str:
    """The ``sha256`` of :func:`digest_split` alone, which reads no images; of every image where ``split`` is None.

    Raises:
        SourceError: no such split.
    """
    labels = hashlib.sha256()
    for name in DatasetFolder(data, split).names:
        labels.update(name.encode())
        labels.update((data / LABEL_FOLDER / f"{name}.png").read_bytes())
    return labels.hexdigest()


def is_same_split(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two digests are of the same frames; older ones say nothing of the images."""
    return all(one.get(key) == other.get(key) for key in {"frames", "sha256"} | (one.keys() & other.keys()))
