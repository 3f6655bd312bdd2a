"""Groups the classes that a dataset was annotated with into fewer or other ones."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from lcr_seg_ros.errors import LabelSetError, SourceError
from lcr_seg_ros.files import replace_file
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.sources.folder import (
    DEPTH_FOLDER,
    HHA_FOLDER,
    INTRINSICS_FILE,
    LABEL_FOLDER,
    RGB_FOLDER,
    DatasetFolder,
    write_png,
)
from lcr_seg_ros.training.datasets.folder_labels import write_label_set
from lcr_seg_ros.training.datasets.manifest import MANIFEST_FILE
from lcr_seg_ros.yaml_files import read_yaml


def load_grouping(target: str | LabelSet, source: LabelSet) -> tuple[LabelSet, npt.NDArray[np.uint8]]:
    """A label set whose classes are groups of another's classes.

    In the YAML file, a class lists the names of its source classes under ``from``. If no class has such an entry, each
    takes the source classes whose ``group`` is its name: that is how ``nyu4`` is made from ``nyu40``.

    Args:
        target: a label set, or its name or file as for :meth:`~lcr_seg_ros.labels.LabelSet.load`.
        source: label set of the label images.

    Returns:
        The target label set, and a (256,) uint8 table from mask ids of the source to its own; ids that are in no group
        become void.

    Raises:
        LabelSetError: a source class is unknown or used twice, or a class has no source classes.
    """
    labels = target if isinstance(target, LabelSet) else LabelSet.load(target)
    wanted = _source_names("" if isinstance(target, LabelSet) else target, labels, source)
    table = np.full(256, labels.void, np.uint8)
    ids = {c.name: c.id for c in source.classes}
    taken: dict[str, str] = {}
    for c in labels.classes:
        if not wanted[c.name]:
            raise LabelSetError(
                f"label set {labels.name!r}: class {c.name!r} is made of no class of {source.name!r}: "
                "list some under 'from', e.g. from: [wall, door]"
            )
        for name in wanted[c.name]:
            if name not in ids:
                raise LabelSetError(
                    f"label set {labels.name!r}: class {c.name!r} is to take {name!r}, which {source.name!r} lacks; "
                    f"it has {', '.join(source.names)}"
                )
            if name in taken:
                raise LabelSetError(
                    f"label set {labels.name!r}: {name!r} is taken by both {taken[name]!r} and {c.name!r}"
                )
            taken[name] = c.name
            table[ids[name]] = c.id
    return labels, table


def relabel_folder(data: Path, out: Path, labels: LabelSet, table: npt.NDArray[np.uint8]) -> int:
    """Copy a dataset folder with other mask ids; colour, depth, HHA, lists and intrinsics are hard links if possible.

    The copy has no ``manifest.json``: it would hold the digests of the former label images.

    Args:
        data: dataset folder with labels.
        out: folder to write, another one.
        labels, table: see :func:`load_grouping`.

    Returns:
        Number of frames.

    Raises:
        SourceError: ``data`` has no labels, or is ``out``, or a label image is not an 8-bit image of ids.
    """
    folder = DatasetFolder(data)
    if not folder.has_labels:
        raise SourceError(f"{data} has no {LABEL_FOLDER}/ to make other classes of")
    if out.resolve() == data.resolve():
        raise SourceError(f"--out {out} is the folder that is read: choose another")
    (out / MANIFEST_FILE).unlink(missing_ok=True)  # of an earlier import into the same folder
    for name in tqdm(folder.names, desc="relabel", unit="frame", leave=False, disable=None):
        file = data / LABEL_FOLDER / f"{name}.png"
        image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        if image is None or image.ndim != 2 or image.dtype != np.uint8:
            raise SourceError(f"{file} is no 8-bit image of class ids: run check-data {shlex.quote(str(data))}")
        write_png(out / LABEL_FOLDER / f"{name}.png", table[image])
    others = [p for f in (RGB_FOLDER, DEPTH_FOLDER, HHA_FOLDER) if (data / f).is_dir() for p in (data / f).iterdir()]
    for path in (*others, *data.glob("*.txt"), *data.glob(INTRINSICS_FILE)):
        _share(path, out / path.relative_to(data))
    write_label_set(out, labels)
    return len(folder)


def _share(path: Path, other: Path) -> None:
    """Make a hard link, else a copy. Links are safe, because files of dataset folders are replaced, never modified."""
    other.parent.mkdir(parents=True, exist_ok=True)
    other.unlink(missing_ok=True)
    try:
        other.hardlink_to(path)
    except OSError:  # another file system
        replace_file(other, path.read_bytes())


def _source_names(name_or_path: str, labels: LabelSet, source: LabelSet) -> dict[str, list[str]]:
    path = Path(name_or_path)
    entries: list[dict[str, Any]] = []
    if path.suffix in (".yaml", ".yml"):
        entries = read_yaml(path, LabelSetError)["classes"]  # checked by LabelSet.load
    listed = {str(e["name"]): e["from"] for e in entries if "from" in e}
    if not listed:
        return {c.name: [s.name for s in source.classes if s.group == c.name] for c in labels.classes}
    for name, names in listed.items():
        if not isinstance(names, list):
            raise LabelSetError(f"{path}: 'from' of {name!r} must be a list of class names, got {names!r}")
    return {c.name: [str(n) for n in listed.get(c.name, [])] for c in labels.classes}
