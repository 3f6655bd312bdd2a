"""What ties a result to the data that it was made on."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.sources.folder import LABEL_FOLDER, DatasetFolder

log = logging.getLogger(__name__)


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


def tell_of_frames_seen(bundle: ModelBundle, data: Path, split: str | None) -> None:
    """Warn whoever is about to score or calibrate a model on frames that it learned from: nothing else would tell.

    Args:
        bundle: the model.
        data, split: annotated frames; None: every image of the folder.
    """
    splits = bundle.training.get("data", {}).get("splits", {})
    fit = bundle.training.get("data", {}).get("fit")
    trial = bundle.training.get("trial")
    of_trial = (trial or {}).get("data", {}).get("splits", {})
    learned = {facts["sha256"] for facts in (splits.get(fit), *of_trial.values()) if facts}
    frames = splits.get(fit, {}).get("frames")
    if digest_labels(data, split) in learned:
        log.warning(
            "%s was trained on these very frames%s: what it scores there says nothing of others%s",
            bundle.name,
            f", and {frames - n} more" if (n := len(DatasetFolder(data, split))) < (frames or n) else "",
            "; its trial was not, and gave it the scores that it carries" if trial else "",
        )
    elif trial:
        log.info(
            "%s was trained on all %s frames of its data set: if these are some of them, scores say nothing of others",
            bundle.name,
            frames,
        )
