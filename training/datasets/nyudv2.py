"""Makes a dataset folder from the official files of NYU Depth V2 (Silberman et al., ECCV 2012).

``nyu_depth_v2_labeled.mat`` is in MATLAB 7.3 format, that is HDF5, and column-major: MATLAB's H x W x 3 x N is
N x 3 x W x H here. These entries are used, for N = 1449 frames, W = 640, H = 480
(https://cs.nyu.edu/~fergus/datasets/nyu_depth_v2.html)::

    images     uint8   (N, 3, W, H)   RGB
    depths     float32 (N, W, H)      metres, registered to colour, in-painted
    rawDepths  float32 (N, W, H)      the same without in-painting, 0 = hole
    labels     uint16  (N, W, H)      0 = not annotated, 1..894
    names      (1, 894)               references to the class names, each uint16 characters (length, 1)

``splits.mat`` (MATLAB 5) has ``trainNdxs`` (795, 1) and ``testNdxs`` (654, 1), frame indices counted from 1.
``classMapping40.mat`` (MATLAB 5, Gupta et al., CVPR 2013) has ``mapClass`` (1, 894), which of the classes 1..40 each of
the 894 belongs to, and the names of both, ``allClassName`` (1, 894) and ``className`` (1, 40).
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import h5py
import numpy as np
import numpy.typing as npt
import scipy.io
from tqdm import tqdm

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.files import read_text, replace_file
from lcr_seg_ros.labels import LABELS_FILE, LabelSet
from lcr_seg_ros.sources.folder import (
    DEPTH_FOLDER,
    LABEL_FOLDER,
    NYUDV2_INTRINSICS,
    RGB_FOLDER,
    depth_to_millimetres,
    write_intrinsics,
)
from lcr_seg_ros.training.datasets.download import RemoteFile
from lcr_seg_ros.training.datasets.folder_labels import write_label_set
from lcr_seg_ros.training.datasets.grouping import load_grouping
from lcr_seg_ros.training.datasets.manifest import PreparedFolder, sha256_of
from lcr_seg_ros.training.datasets.nyudv2_crop import NYUDV2_SHAPE, NYUDV2_WINDOW

FRAMES, RAW_CLASSES = 1449, 894
OFFICIAL_COUNTS = {"train": 795, "test": 654}
"""Frames of the official lists."""

LABELED = RemoteFile(
    "nyu_depth_v2_labeled.mat",
    "http://horatio.cs.nyu.edu/mit/silberman/nyu_depth_v2/nyu_depth_v2_labeled.mat",
    2_972_037_809,
    "2d724b0c0ab358aa1ce5df855e5bd14a2279ab7202efe22f32a30d612dcb86aa",
)
SPLITS = RemoteFile(
    "splits.mat",
    "http://horatio.cs.nyu.edu/mit/silberman/indoor_seg_sup/splits.mat",
    2_626,
    "6e081404491a8bfba2f066beaa9713ef6046f9007aa5f799f2a350506a580cee",
)
MAPPING = RemoteFile(
    # There is no published checksum: its class names are compared with ours and with those of the data instead.
    "classMapping40.mat",
    "https://github.com/ankurhanda/nyuv2-meta-data/raw/master/classMapping40.mat",
)
"""These are the files that ``prepare nyudv2 --download`` fetches; several projects state these sizes and SHA-256."""

COARSE_LABEL_FOLDER = "label4"
"""Folder of the 4 classes, beside ``label40/``; for other programs only, ours read ``label40/``."""

DEPTHS = {"inpainted": "depths", "raw": "rawDepths"}

_GUPTA_OFFSET = 5000
"""Gupta et al. and FCN call the frame of official index 1 ``5001``."""

_LEAST_LIKENESS = 0.7
"""Least similarity of a class name to ours: spellings may differ (refridgerator, night-stand), classes may not."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class OfficialFrame:
    """One frame of the official file.

    Args:
        rgb: (H, W, 3) uint8.
        depth_m: (H, W) float32 metres, 0 where unknown.
        labels: (H, W) uint16 raw classes 1..894, 0 where not annotated.
    """

    rgb: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.float32]
    labels: npt.NDArray[np.uint16]


class LabeledFile:
    """The official HDF5 file, read frame by frame; use it in a ``with`` block.

    Args:
        path: of ``nyu_depth_v2_labeled.mat``.
        depth: ``inpainted`` or ``raw``.

    Raises:
        SourceError: there is no such file, it is truncated, or it has another layout.
    """

    def __init__(self, path: Path, depth: str = "inpainted") -> None:
        if not path.is_file():
            raise SourceError(f"no file {path}: give --mat {LABELED.name}, or let --download fetch it")
        try:
            # A cache large enough for the chunks of a few neighbouring frames, in case a chunk spans several.
            self._file = h5py.File(path, "r", rdcc_nbytes=64 << 20, rdcc_nslots=100_003)
        except OSError as error:
            raise SourceError(
                f"{path} is no whole HDF5 file ({error}; it has {path.stat().st_size} bytes, the published one "
                f"{LABELED.size}): was its download cut off? `--download --downloads FOLDER` without --mat goes on "
                f"with one that lies in FOLDER as {LABELED.name}"
            ) from error
        self.path = path
        try:
            self._images, self._depths, self._labels = self._datasets(DEPTHS[depth])
        except SourceError:
            self._file.close()
            raise

    def __enter__(self) -> LabeledFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def __len__(self) -> int:
        return int(self._images.shape[0])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the images, in pixels."""
        return int(self._images.shape[2]), int(self._images.shape[3])

    def __getitem__(self, index: int) -> OfficialFrame:
        """The frame of an official index, 1..N.

        Raises:
            SourceError: the frame cannot be read.
        """
        k = index - 1
        try:
            image, depth, labels = self._images[k], self._depths[k], self._labels[k]
        except OSError as error:
            raise SourceError(f"{self.path}: frame {index} cannot be read ({error}): fetch the file anew") from error
        return OfficialFrame(np.ascontiguousarray(image.transpose(2, 1, 0)), depth.T.astype(np.float32), labels.T)

    def class_names(self) -> list[str]:
        """Names of the raw classes 1..894; empty if the file has none."""
        if "names" not in self._file:
            return []
        references = np.asarray(self._file["names"]).ravel()
        return ["".join(chr(c) for c in np.asarray(self._file[r]).ravel()) for r in references]

    def _datasets(self, depth: str) -> tuple[Any, Any, Any]:
        missing = [name for name in ("images", depth, "labels") if name not in self._file]
        if missing:
            held = ", ".join(self._file) or "nothing"
            raise SourceError(f"{self.path} has no {', '.join(missing)}; it holds {held}. Is it {LABELED.name}?")
        images, depths, labels = (self._file[name] for name in ("images", depth, "labels"))
        layout = (
            images.ndim == 4
            and images.shape[1] == 3
            and images.dtype == np.uint8
            and depths.shape == labels.shape == (images.shape[0], *images.shape[2:])
            and depths.dtype.kind == "f"
            and labels.dtype.kind == "u"
        )
        if not layout:
            raise SourceError(
                f"{self.path} must hold images uint8 (N, 3, W, H), {depth} float (N, W, H) and labels uint16 "
                f"(N, W, H), got {images.dtype} {images.shape}, {depths.dtype} {depths.shape}, "
                f"{labels.dtype} {labels.shape}"
            )
        return images, depths, labels


def read_splits(path: Path, frames: int) -> dict[str, list[int]]:
    """Official indices of the ``train`` and ``test`` frames, ascending.

    Args:
        path: of ``splits.mat``.
        frames: number of frames in the data.

    Raises:
        SourceError: it is not such a file, an index is no whole number or outside 1..frames, or a frame is in a list
            twice or in both lists.
    """
    content = _load_mat(path, SPLITS.name, ("trainNdxs", "testNdxs"))
    splits = {name: _indices(path, key, content[key]) for name, key in (("train", "trainNdxs"), ("test", "testNdxs"))}
    for name, indices in splits.items():
        if not indices or indices[0] < 1 or indices[-1] > frames:
            span = f"{indices[0]}..{indices[-1]}" if indices else "none"
            raise SourceError(
                f"{path}: the {name} frames are {span}, the data holds 1..{frames}: files of one data set?"
            )
    shared = set(splits["train"]) & set(splits["test"])
    if shared:
        raise SourceError(f"{path} has {len(shared)} frames in both train and test, first {min(shared)}")
    counts = {name: len(indices) for name, indices in splits.items()}
    if counts != OFFICIAL_COUNTS:
        log.warning(
            "%s has %d train and %d test frames, the official one has %d and %d: scores on other frames do not compare",
            *(path, *counts.values(), *OFFICIAL_COUNTS.values()),
        )
    return splits


def _indices(path: Path, key: str, values: Any) -> list[int]:
    """The frame indices of an entry of ``splits.mat``, ascending.

    Raises:
        SourceError: they are not whole numbers, or one is there twice; names it.
    """
    wanted = f"{path}: {key} must hold frame indices, whole numbers, got"
    if not isinstance(values, np.ndarray):
        raise SourceError(f"{wanted} a {type(values).__name__}: is it {SPLITS.name}?")
    flat = values.ravel()
    if flat.dtype.kind not in "iuf":
        raise SourceError(f"{wanted} {str(flat[:1].tolist())[1:-1][:60]} of type {flat.dtype}: is it {SPLITS.name}?")
    strange = [value for value in flat.tolist() if not float(value).is_integer()]
    if strange:
        raise SourceError(f"{wanted} {strange[0]}: is it {SPLITS.name}?")
    indices = sorted(int(value) for value in flat.tolist())
    twice = [a for a, b in pairwise(indices) if a == b]
    if twice:
        raise SourceError(f"{path}: {key} lists frame {twice[0]} twice ({len(twice)} repetitions): remove them")
    return indices


def read_mapping(path: Path, raw_names: Sequence[str] = ()) -> npt.NDArray[np.uint8]:
    """Table from raw class, 0..894, to class, 1..40; 0 stays 0.

    Args:
        path: of ``classMapping40.mat``.
        raw_names: names of the raw classes in the data, to compare the file's with; empty compares nothing.

    Returns:
        (895,) uint8.

    Raises:
        SourceError: it is not such a file, classes are outside 1..40, or its names are not those of our classes or of
            the data.
    """
    content = _load_mat(path, MAPPING.name, ("mapClass",))
    classes = content["mapClass"].ravel()
    labels = LabelSet.load("nyu40")
    if classes.size != RAW_CLASSES or classes.min() < 1 or classes.max() > len(labels):
        raise SourceError(
            f"{path}: mapClass must give each of {RAW_CLASSES} classes one of 1..{len(labels)}, "
            f"got {classes.size} values of {classes.min()}..{classes.max()}"
        )
    for id_, theirs, ours in zip(range(1, 41), _cell_strings(content.get("className")), labels.names, strict=False):
        if difflib.SequenceMatcher(None, _plain(theirs), _plain(ours)).ratio() < _LEAST_LIKENESS:
            raise SourceError(f"{path}: class {id_} is {theirs!r} there and {ours!r} here: another set of 40 classes")
    for id_, theirs, ours in zip(
        range(1, RAW_CLASSES + 1), _cell_strings(content.get("allClassName")), raw_names, strict=False
    ):
        if _plain(theirs) != _plain(ours):
            raise SourceError(
                f"{path} maps raw class {id_} as {theirs!r}, but the data calls it {ours!r}: files of one data set?"
            )
    return np.concatenate([[0], classes]).astype(np.uint8)


def read_index_list(path: Path) -> list[int]:
    """Official indices from a text file: ``00010``, ``10``, or ``5010`` as in the lists of FCN.

    Raises:
        SourceError: there is no such file, or it has a word that is not an index.
    """
    if not path.is_file():
        raise SourceError(f"no list {path}")
    indices = []
    for word in read_text(path, SourceError).split():
        index = int(word) if word.isdigit() else 0
        index -= _GUPTA_OFFSET if index > _GUPTA_OFFSET else 0
        if not 1 <= index <= FRAMES:
            raise SourceError(f"{path}: {word!r} is no index of 1..{FRAMES}, nor of 5001..{_GUPTA_OFFSET + FRAMES}")
        indices.append(index)
    return indices


def frame_name(index: int) -> str:
    """Name of the frame of an official index: ``00001`` for 1."""
    return f"{index:05d}"


def prepare_nyudv2(
    mat: Path,
    splits: Path,
    mapping: Path,
    out: Path,
    classes: int = 40,
    validation: Path | None = None,
    depth: str = "inpainted",
    rgb_format: str = "png",
    start_over: bool = False,
    crop: bool = False,
) -> dict[str, list[str]]:
    """Write the official files as a dataset folder; after an interruption, the same call goes on.

    Args:
        mat, splits, mapping: the official files; see the module's docstring.
        out: folder to write.
        classes: 40 writes the ids of nyu40 to ``label40/`` and those of nyu4 to ``label4/``; 4 writes the ids of nyu4
            to ``label40/``, where all commands read them, and the label set to ``labels.yaml``.
        validation: a list of training frames to hold back for validation; the training frames are then divided into
            ``fit.txt`` and ``val.txt``.
        depth: ``inpainted`` or ``raw``.
        rgb_format: ``png``, without loss, or ``jpg`` at quality 95, in a quarter of the space.
        start_over: replace what an earlier call left in ``out``.
        crop: write the 425x560 crop of the frames, without their white border, with the intrinsics of the crop.

    Returns:
        Frame names of each list.

    Raises:
        SourceError: a file cannot be used, or ``out`` was made from other files or with other settings.
    """
    with LabeledFile(mat, depth) as data:
        lists = _lists(read_splits(splits, len(data)), validation)
        tables = _label_tables(read_mapping(mapping, data.class_names()), classes)
        inputs = {
            remote.name: _known_sha256(path, remote)
            for remote, path in ((LABELED, mat), (SPLITS, splits), (MAPPING, mapping))
        }
        indices = sorted(set(lists["train"]) | set(lists["test"]))
        if crop and data.size != NYUDV2_SHAPE[::-1]:
            raise SourceError(f"{mat} has images of {data.size[0]}x{data.size[1]}; the crop is of 640x480")
        settings = {"classes": classes, "depth": depth, "rgb_format": rgb_format} | ({"crop": True} if crop else {})
        with PreparedFolder(out, "prepare nyudv2", inputs, settings, start_over) as folder:
            kept = 0
            for index in tqdm(indices, desc="prepare nyudv2", unit="frame", leave=False, disable=None):
                name = frame_name(index)
                files = {f"{RGB_FOLDER}/{name}.{rgb_format}", f"{DEPTH_FOLDER}/{name}.png"}
                if folder.has(name, files | {f"{f}/{name}.png" for f in tables}):
                    kept += 1
                    continue
                frame = _cropped(data[index]) if crop else data[index]
                folder.write(name, dict(_encoded(frame, index, name, rgb_format, tables)))
        if kept:
            log.info("%d of %d frames were there already", kept, len(indices))
        camera = NYUDV2_INTRINSICS.scaled_to(*data.size)
        write_intrinsics(out, NYUDV2_WINDOW.of_camera(camera) if crop else camera)
    if classes != 40:
        write_label_set(out, LabelSet.load("nyu4"))
    else:
        (out / LABELS_FILE).unlink(missing_ok=True)  # left from 4 classes, before starting over
    names = {split: [frame_name(i) for i in part] for split, part in lists.items()}
    for split, part in names.items():  # last, so that a list exists only if its frames do
        replace_file(out / f"{split}.txt", ("\n".join(part) + "\n").encode())
    if start_over:
        for split in {"fit", "val"} - names.keys():
            (out / f"{split}.txt").unlink(missing_ok=True)
    return names


def _lists(official: dict[str, list[int]], validation: Path | None) -> dict[str, list[int]]:
    if validation is None:
        return official
    held_back = read_index_list(validation)
    strange = sorted(set(held_back) - set(official["train"]))
    if strange:
        raise SourceError(f"{validation} lists {len(strange)} frames that are not training frames, first {strange[0]}")
    fit = sorted(set(official["train"]) - set(held_back))
    if not fit:
        raise SourceError(f"{validation} lists every training frame: none is left to train on")
    return {**official, "fit": fit, "val": sorted(set(held_back))}


def _label_tables(to_40: npt.NDArray[np.uint8], classes: int) -> dict[str, npt.NDArray[np.uint8]]:
    """(895,) uint8 tables from raw class to mask id, by label folder."""
    if classes not in (40, 4):
        raise SourceError(f"classes must be 40 or 4, got {classes}")
    to_4 = load_grouping("nyu4", LabelSet.load("nyu40"))[1][to_40]
    return {LABEL_FOLDER: to_40, COARSE_LABEL_FOLDER: to_4} if classes == 40 else {LABEL_FOLDER: to_4}


def _cropped(frame: OfficialFrame) -> OfficialFrame:
    return OfficialFrame(*(NYUDV2_WINDOW.of(image) for image in (frame.rgb, frame.depth_m, frame.labels)))


def _encoded(
    frame: OfficialFrame, index: int, name: str, rgb_format: str, tables: Mapping[str, npt.NDArray[np.uint8]]
) -> Iterator[tuple[str, bytes]]:
    if frame.labels.max(initial=0) > RAW_CLASSES:
        raise SourceError(f"frame {index} has label {frame.labels.max()}, the classes are 1..{RAW_CLASSES}")
    yield f"{RGB_FOLDER}/{name}.{rgb_format}", encode(cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR), rgb_format)
    yield f"{DEPTH_FOLDER}/{name}.png", encode(depth_to_millimetres(frame.depth_m))
    for folder, table in tables.items():
        yield f"{folder}/{name}.png", encode(table[frame.labels])


def encode(image: npt.NDArray[np.generic], kind: str = "png") -> bytes:
    """An image file as bytes: PNG, or JPEG at quality 95; channels in OpenCV's order."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 95] if kind == "jpg" else []
    ok, data = cv2.imencode(f".{kind}", image, options)
    assert ok, f"{image.dtype} {image.shape} is what PNG and JPEG can hold"
    return data.tobytes()


def _known_sha256(path: Path, remote: RemoteFile) -> str:
    """SHA-256 of an input. If it is not the published one, only a warning is logged: there are re-saved copies."""
    digest = sha256_of(path, f"SHA-256 of {path.name}")
    if remote.sha256 is not None and digest != remote.sha256:
        log.warning("%s is not the published %s (SHA-256 %s...)", path, remote.name, digest[:12])
    return digest


def _load_mat(path: Path, name: str, needed: Sequence[str]) -> dict[str, Any]:
    if not path.is_file():
        raise SourceError(f"no file {path}: give {name}, or let --download fetch it")
    try:
        content: dict[str, Any] = scipy.io.loadmat(str(path))
    except Exception as error:  # damaged files raise many kinds of errors in SciPy
        raise SourceError(
            f"{path} is not a MATLAB 5 file ({error}): give {name}, or remove it and let --download fetch it"
        ) from error
    missing = [key for key in needed if key not in content]
    if missing:
        held = ", ".join(k for k in content if not k.startswith("__")) or "nothing"
        raise SourceError(f"{path} has no {', '.join(missing)}; it holds {held}. Is it {name}?")
    return content


def _cell_strings(cells: Any) -> list[str]:
    """The strings of a MATLAB cell array as SciPy returns it; none for None."""
    return [] if cells is None else [str(np.asarray(c).ravel()[0]) for c in np.asarray(cells).ravel()]


def _plain(name: str) -> str:
    """The letters and digits of a name, in lower case."""
    return "".join(c for c in name.lower() if c.isalnum())
