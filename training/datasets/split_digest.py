"""Digests of splits, which identify the data that a result was made on."""

from __future__ import annotations

import hashlib
import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.sources.folder import LABEL_FOLDER, DatasetFolder

log = logging.getLogger(__name__)


def digest_split(data: Path, split: str, hha: bool = False) -> dict[str, Any]:
    """Digest of a split.

    Args:
        data: dataset folder with labels.
        split: name of its list.
        hha: the HHA images of the folder are read, too.

    Returns:
        ``frames``: their number. ``sha256``: of their names and label images, in hexadecimal. ``images_sha256``: of
        their colour and, if any, depth and HHA files, as far as these are read.

    Raises:
        SourceError: there is no such split, or a frame has no HHA image.
    """
    folder = DatasetFolder(data, split).with_hha(hha)
    labels, images = hashlib.sha256(), hashlib.sha256()
    for name in folder.names:
        labels.update(name.encode())
        labels.update((data / LABEL_FOLDER / f"{name}.png").read_bytes())
        for path in folder.files(name):
            images.update(path.read_bytes())
    return {"frames": len(folder), "sha256": labels.hexdigest(), "images_sha256": images.hexdigest()}


def digest_labels(data: Path, split: str | None) -> str:
    """The ``sha256`` of :func:`digest_split`, without reading colour and depth; for all frames if ``split`` is None.

    A split with a frame that has no label image gives a digest too, which no training has: a training needs them all.

    Raises:
        SourceError: there is no such split.
    """
    labels = hashlib.sha256()
    for name in DatasetFolder(data, split).names:
        labels.update(name.encode())
        image = data / LABEL_FOLDER / f"{name}.png"
        labels.update(image.read_bytes() if image.is_file() else b"")
    return labels.hexdigest()


def is_same_split(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two digests are of the same frames. Old ones have no ``images_sha256``, which is not compared then."""
    return all(one.get(key) == other.get(key) for key in {"frames", "sha256"} | (one.keys() & other.keys()))


LEARNED = "learned"
"""Entry of a training record: the digests of more splits that the weights learned from, see :func:`learned_splits`."""


def learned_splits(training: dict[str, Any]) -> set[str]:
    """The ``sha256`` of all splits that a model is known to have learned from.

    These are its own, those of the models that it went on from (``before``), those of the models that were fused into
    it (``rgb``, ``hha``) and, if it has a trial, all splits of its trial, also that which the trial was scored on.

    Args:
        training: the bundle's record.
    """
    data, trial = training.get("data", {}), training.get("trial") or {}
    splits = [data.get("splits", {}).get(data.get("fit")), *(trial.get("data") or {}).get("splits", {}).values()]
    learned = {facts["sha256"] for facts in splits if facts} | set(training.get(LEARNED, []))
    for origin in ("before", "rgb", "hha"):
        if isinstance(training.get(origin), dict):
            learned |= learned_splits(training[origin])
    return learned


def tell_of_frames_seen(bundle: ModelBundle, data: Path, split: str | None) -> None:
    """Log a warning if a model is about to be scored or calibrated on frames that it was trained on.

    These frames may be the whole split, or those that it shares with another list of the same folder.

    Args:
        bundle: the model.
        data, split: dataset folder and list of the frames; None for ``split``: all frames of the folder.
    """
    trial = bundle.training.get("trial")
    own = bundle.training.get("data", {})
    frames = own.get("splits", {}).get(own.get("fit"), {}).get("frames")
    learned = learned_splits(bundle.training)
    if digest_labels(data, split) in learned:
        log.warning(
            "%s was trained on these very frames%s: what it scores there says nothing of others%s",
            bundle.name,
            f", and {frames - n} more" if (n := len(DatasetFolder(data, split))) < (frames or n) else "",
            "; its trial was not, and gave it the scores that it carries" if trial else "",
        )
    elif shared := _shared_with_lists(data, split, learned):
        log.warning(
            "%s was trained on %d of these %d frames (those in %s): what it scores on them says nothing of others; "
            "score it on a list without them",
            bundle.name,
            len(set().union(*shared.values())),
            len(DatasetFolder(data, split)),
            ", ".join(f"{name}.txt" for name in shared),
        )
    elif trial:
        log.info(
            "%s was trained on all %s frames of its data set: if these are some of them, scores say nothing of others",
            bundle.name,
            frames,
        )


def _shared_with_lists(data: Path, split: str | None, learned: set[str]) -> dict[str, set[str]]:
    """Names that a split shares with those lists of the same folder whose digest is among ``learned``, by list."""
    names = set(DatasetFolder(data, split).names)
    shared: dict[str, set[str]] = {}
    for path in sorted(data.glob("*.txt")):
        both = names.intersection(path.read_text(encoding="utf-8", errors="replace").split())
        if both and path.stem != split:
            with suppress(SourceError):  # some other text, or a list whose images are not here: no training read it
                if digest_labels(data, path.stem) in learned:
                    shared[path.stem] = both
    return shared
