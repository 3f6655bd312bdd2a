"""Copies other projects' folders into a dataset folder of ours. They have these layouts.

``fcn`` (Gupta et al.; FCN, ``data/nyud``)::

    data/images/img_5001.png  data/depth/img_5001.png  data/hha/img_5001.png  segmentation/img_5001.mat
    train.txt  val.txt  trainval.txt  test.txt          lines like 5001, which is the official frame 1

``rgb_hha_label`` (CMX, DFormer and others)::

    RGB/0.jpg  HHA/0.jpg  Depth/0.png  Label/0.png      train.txt  test.txt: lines like RGB/0.jpg, more columns ignored

``esanet`` (ESANet)::

    train/rgb/0003.png  train/depth/0003.png  train/labels_40/0003.png   test/...   train.txt  test.txt: lines like 0003

``folder``: our own (:mod:`lcr_seg_ros.sources.folder`), to correct what ``check-data`` found; labels may be missing.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
import scipy.io
from tqdm import tqdm

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.files import read_text, replace_file
from lcr_seg_ros.frame import CameraIntrinsics, UnsizedIntrinsics
from lcr_seg_ros.labels import LABELS_FILE, LabelSet, folder_label_set
from lcr_seg_ros.sources.folder import (
    DEPTH_FOLDER,
    HHA_FOLDER,
    INTRINSICS_FILE,
    LABEL_FOLDER,
    NYUDV2_INTRINSICS,
    RGB_FOLDER,
    read_rgb,
    turns_photos,
    write_intrinsics,
)
from lcr_seg_ros.training.datasets.folder_labels import write_label_set
from lcr_seg_ros.training.datasets.image_files import is_palette_png
from lcr_seg_ros.training.datasets.manifest import PreparedFolder
from lcr_seg_ros.training.datasets.nyudv2_crop import NYUDV2_WINDOW

_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
_VOID_255 = 255


@dataclass(frozen=True)
class ForeignFrame:
    """A frame in another project's folder: our name for it, and its files; None for files that do not exist.

    Labels may be missing in the layout ``folder`` alone, whose frames need not be labelled yet.
    """

    name: str
    rgb: Path
    labels: Path | None
    depth: Path | None = None
    hha: Path | None = None

    @property
    def paths(self) -> list[Path]:
        return [p for p in (self.rgb, self.labels, self.depth, self.hha) if p is not None]


@dataclass(frozen=True)
class ForeignFolder:
    """All frames of a folder, and the frame names in each of its lists; all names are ours."""

    frames: list[ForeignFrame]
    lists: dict[str, list[str]]


@dataclass(frozen=True)
class ImportSettings:
    """How to read the files of a folder.

    Args:
        shifted: label images count classes from 0 and have 255 for void: add 1 (255 becomes 0).
        depth_unit_mm: millimetres per unit of the depth images. None takes 1 for 16-bit images and refuses others,
            whose unit cannot be known.
        hha_order: order of the channels in HHA files as image viewers show them: ``rgb`` has disparity in red, height
            in green and angle in blue; ``bgr`` the reverse, as OpenCV writes an array of disparity, height and angle.
        intrinsics: of the images; if they have no size, for that of the first one. None: the folder's own (layout
            ``folder``), else those of NYUDv2, cropped or scaled to the first image.
        depth, hha: False leaves these files out.
    """

    shifted: bool = False
    depth_unit_mm: float | None = None
    hha_order: str = "rgb"
    intrinsics: CameraIntrinsics | UnsizedIntrinsics | None = None
    depth: bool = True
    hha: bool = True


def import_folder(
    source: Path, layout: str, out: Path, settings: ImportSettings | None = None, start_over: bool = False
) -> ForeignFolder:
    """Copy a folder of another layout into ``out``; after an interruption, the same call goes on.

    Colour files are copied unchanged. Depth is written as uint16 millimetres, labels as 8-bit ids with void 0 (or as in
    the folder's own ``labels.yaml``), and HHA as ``hha/NAME.png`` with disparity, height and angle in red, green and
    blue.

    Args:
        source: folder to read.
        layout: a key of :data:`LAYOUTS`.
        out: folder to write, another one.
        settings: how to read the files.
        start_over: replace what an earlier call left in ``out``.

    Returns:
        The frames and lists of ``source``.

    Raises:
        SourceError: the folder does not have that layout, files are missing or unreadable, or the meaning of labels or
            depth is not clear.
    """
    settings = settings or ImportSettings()
    if layout not in LAYOUTS:
        raise SourceError(f"layout must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    if not source.is_dir():
        raise SourceError(f"no folder {source}")
    if source.resolve() == out.resolve():
        raise SourceError(f"--out {out} is the folder that is read: choose another")
    found = LAYOUTS[layout](source)
    if not found.frames:
        raise SourceError(f"{source} holds no frame in the layout {layout!r}: see prepare import --help")
    own_labels = folder_label_set(source) if layout == "folder" else None
    may_have_255 = own_labels is not None and own_labels.void == _VOID_255
    choices = {k: v if isinstance(v, bool | str) else repr(v) for k, v in vars(settings).items()}
    with PreparedFolder(out, f"prepare import {layout}", {}, choices, start_over) as folder:
        for frame in tqdm(found.frames, desc=f"import {layout}", unit="frame", leave=False, disable=None):
            wanted = replace(
                frame, depth=frame.depth if settings.depth else None, hha=frame.hha if settings.hha else None
            )
            _import_frame(wanted, folder, settings, may_have_255)
    if settings.intrinsics is None and layout == "folder" and (source / INTRINSICS_FILE).is_file():
        replace_file(out / INTRINSICS_FILE, _read(source / INTRINSICS_FILE))
    else:
        height, width = read_rgb(found.frames[0].rgb, turns_photos(out)).shape[:2]
        write_intrinsics(out, _camera(settings.intrinsics, width, height))
    if own_labels is not None:
        if settings.shifted:
            write_label_set(out, _shifted(own_labels))
        else:
            replace_file(out / LABELS_FILE, _read(source / LABELS_FILE))
    for name, members in found.lists.items():
        replace_file(out / f"{name}.txt", ("\n".join(members) + "\n").encode())
    return found


def _shifted(labels: LabelSet) -> LabelSet:
    """The label set for images to whose ids 1 was added (255 became 0, which is void).

    Raises:
        LabelSetError: an id becomes too large.
    """
    return replace(labels, classes=tuple(replace(c, id=c.id + 1) for c in labels.classes), void=0)


def _import_frame(frame: ForeignFrame, folder: PreparedFolder, settings: ImportSettings, may_have_255: bool) -> None:
    content = {path: _read(path) for path in frame.paths}
    digest = hashlib.sha256(b"".join(hashlib.sha256(c).digest() for c in content.values())).hexdigest()
    rgb_file = f"{RGB_FOLDER}/{frame.name}{frame.rgb.suffix.lower()}"
    labels_file = f"{LABEL_FOLDER}/{frame.name}.png" if frame.labels else ""
    depth_file = f"{DEPTH_FOLDER}/{frame.name}.png" if frame.depth else ""
    hha_file = f"{HHA_FOLDER}/{frame.name}.png" if frame.hha else ""
    if folder.has(frame.name, {rgb_file, labels_file, depth_file, hha_file} - {""}, digest):
        return
    _decoded(frame.rgb, content[frame.rgb], cv2.IMREAD_COLOR)  # refuses an unreadable image
    files = {rgb_file: content[frame.rgb]}
    if frame.labels is not None:
        files[labels_file] = _png(_labels(frame.labels, content[frame.labels], settings.shifted, may_have_255))
    depth = None
    if frame.depth is not None:
        depth = _depth_mm(frame.depth, content[frame.depth], settings.depth_unit_mm)
        files[depth_file] = _png(depth)
    if frame.hha is not None:
        hha = _decoded(frame.hha, content[frame.hha], cv2.IMREAD_COLOR)[:, :, ::-1].astype(np.uint8, copy=False)
        hha = hha if settings.hha_order == "rgb" else hha[:, :, ::-1]
        _refuse_reversed_hha(frame.hha, hha, depth, settings.hha_order)
        files[hha_file] = _png(np.ascontiguousarray(hha[:, :, ::-1]))
    folder.write(frame.name, files, digest)


def _labels(path: Path, content: bytes, shifted: bool, may_have_255: bool) -> npt.NDArray[np.uint8]:
    if path.suffix == ".mat":
        try:
            labels = np.asarray(scipy.io.loadmat(str(path))["segmentation"])
        except Exception as error:  # damaged files raise many kinds of errors in SciPy
            raise SourceError(f"cannot read 'segmentation' of {path}: {type(error).__name__}: {error}") from error
    elif is_palette_png(content):
        labels = np.asarray(PIL.Image.open(io.BytesIO(content)))  # OpenCV would return colours instead of ids
    else:
        labels = _decoded(path, content, cv2.IMREAD_UNCHANGED)
    if labels.ndim == 3 and labels.shape[2] == 3 and (labels == labels[:, :, :1]).all():
        labels = labels[:, :, 0]  # a grey image saved as colour
    if labels.ndim != 2:
        raise SourceError(
            f"{path} is a colour picture of labels, {labels.shape}: give the images that hold class ids, 8-bit grey"
        )
    if labels.max(initial=0) > _VOID_255 or labels.min(initial=0) < 0:
        raise SourceError(f"{path} holds ids {labels.min()}..{labels.max()}, which do not fit 8 bits: map them first")
    labels = labels.astype(np.uint8)
    if shifted:
        return labels + np.uint8(1)  # 255 wraps to 0
    if not may_have_255 and (labels == _VOID_255).any():
        raise SourceError(f"{path} has 255, so void is 255 and classes count from 0: import with --shifted")
    return labels


def _depth_mm(path: Path, content: bytes, unit_mm: float | None) -> npt.NDArray[np.uint16]:
    depth = _decoded(path, content, cv2.IMREAD_UNCHANGED)
    if depth.ndim == 3 and (depth == depth[:, :, :1]).all():
        depth = depth[:, :, 0]
    if depth.ndim != 2:
        raise SourceError(f"{path} is a colour picture of depth, {depth.shape}: give single-channel depth")
    if unit_mm is None and depth.dtype != np.uint16:
        raise SourceError(
            f"{path} is {depth.dtype}: how many millimetres is one unit? Say so with --depth-unit-mm, e.g. 39.2157 for "
            "10 m over 255, or leave depth out with --no-depth"
        )
    millimetres = np.rint(depth.astype(np.float64) * (unit_mm or 1.0))
    return np.where(millimetres <= np.iinfo(np.uint16).max, millimetres, 0).astype(np.uint16)


def _refuse_reversed_hha(
    path: Path, hha: npt.NDArray[np.uint8], depth: npt.NDArray[np.uint16] | None, order: str
) -> None:
    """Refuse HHA with the wrong ``--hha-order``, which shows where depth is known: the disparity channel must follow
    1 / depth, not the angle channel.

    Raises:
        SourceError: the angle channel does.
    """
    if depth is None or depth.shape != hha.shape[:2]:
        return
    seen = depth > 0
    if seen.sum() < 1000:
        return
    disparity = 1.0 / depth[seen]
    likeness = [_correlation(disparity, hha[:, :, channel][seen]) for channel in (0, 2)]
    if likeness[1] > 0.9 and likeness[1] > likeness[0] + 0.2:
        other = "bgr" if order == "rgb" else "rgb"
        raise SourceError(
            f"{path}: with --hha-order {order} the angle channel follows disparity (correlation {likeness[1]:.2f}) and "
            f"the disparity channel does not ({likeness[0]:.2f}): import with --hha-order {other}"
        )


def _correlation(a: npt.NDArray[np.floating], b: npt.NDArray[np.uint8]) -> float:
    if a.std() == 0 or b.std() == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def _fcn(source: Path) -> ForeignFolder:
    images = source / "data" / "images"
    if not images.is_dir():
        raise SourceError(f"{source} has no data/images/ with img_5001.png ... as the layout 'fcn' has")
    frames = []
    for path in sorted(images.glob("img_*.png")):
        number = path.stem.removeprefix("img_")
        frames.append(
            ForeignFrame(
                _fcn_name(number),
                path,
                _needed(source / "segmentation" / f"{path.stem}.mat"),
                _optional(source / "data" / "depth" / path.name),
                _optional(source / "data" / "hha" / path.name),
            )
        )
    lists = {name: [_fcn_name(w) for w in words] for name, words in _read_lists(source).items()}
    # FCN divides the official training frames into train and val; we call these fit and val, and all of them train.
    if "val" in lists and "train" in lists:
        lists["fit"] = lists.pop("train")
        lists["train"] = lists.pop("trainval", sorted({*lists["fit"], *lists["val"]}))
    return ForeignFolder(frames, lists)


def _fcn_name(number: str) -> str:
    """Our name of a frame: ``5001``, the official frame 1, becomes ``00001``; other names are kept."""
    return f"{int(number) - 5000:05d}" if number.isdigit() and int(number) > 5000 else number


def _rgb_hha_label(source: Path) -> ForeignFolder:
    if not (source / "RGB").is_dir() or not (source / "Label").is_dir():
        raise SourceError(f"{source} has no RGB/ and Label/ as the layout 'rgb_hha_label' has")
    frames = [
        ForeignFrame(
            path.stem,
            path,
            _needed(source / "Label" / f"{path.stem}.png"),
            _any_image(source / "Depth" / path.stem),
            _any_image(source / "HHA" / path.stem),
        )
        for path in sorted((source / "RGB").iterdir())
        if path.suffix.lower() in _IMAGE_SUFFIXES
    ]
    lines = {
        p.stem: [line.split()[0] for line in read_text(p, SourceError).splitlines() if line.strip()]
        for p in sorted(source.glob("*.txt"))
    }
    return ForeignFolder(frames, {name: [Path(w).stem for w in words] for name, words in lines.items()})


def _esanet(source: Path) -> ForeignFolder:
    frames = []
    for part in ("train", "test"):
        for path in sorted((source / part / "rgb").glob("*.png")):
            frames.append(
                ForeignFrame(
                    f"{int(path.stem):05d}" if path.stem.isdigit() else path.stem,
                    path,
                    _needed(source / part / "labels_40" / path.name),
                    _optional(source / part / "depth" / path.name),
                )
            )
    if not frames:
        raise SourceError(f"{source} has no train/rgb/*.png and test/rgb/*.png as the layout 'esanet' has")
    lists = {
        name: [f"{int(w):05d}" if w.isdigit() else w for w in words]
        for name, words in _read_lists(source).items()
        if name in ("train", "test")
    }
    return ForeignFolder(frames, lists)


def _folder(source: Path) -> ForeignFolder:
    if not (source / RGB_FOLDER).is_dir():
        raise SourceError(f"{source} has no {RGB_FOLDER}/ as the layout 'folder' has")
    frames = [
        ForeignFrame(
            path.stem,
            path,
            _optional(source / LABEL_FOLDER / f"{path.stem}.png"),
            _optional(source / DEPTH_FOLDER / f"{path.stem}.png"),
            _optional(source / HHA_FOLDER / f"{path.stem}.png"),
        )
        for path in sorted((source / RGB_FOLDER).iterdir())
        if path.suffix.lower() in _IMAGE_SUFFIXES and not path.name.startswith(".")
    ]
    lists = {p.stem: read_text(p, SourceError).split() for p in sorted(source.glob("*.txt"))}
    return ForeignFolder(frames, {name: [_without_suffix(w) for w in words] for name, words in lists.items()})


def _without_suffix(word: str) -> str:
    """The name of a file without an image suffix. Other dots are kept: names may be time stamps."""
    name = Path(word).name
    return name.rpartition(".")[0] if name.lower().endswith(_IMAGE_SUFFIXES) else name


LAYOUTS = {"fcn": _fcn, "rgb_hha_label": _rgb_hha_label, "esanet": _esanet, "folder": _folder}


def _read_lists(source: Path) -> dict[str, list[str]]:
    known = ("train", "val", "trainval", "test")
    return {n: read_text(source / f"{n}.txt", SourceError).split() for n in known if _optional(source / f"{n}.txt")}


def _needed(path: Path) -> Path:
    if not path.is_file():
        raise SourceError(f"no file {path}: every image needs its labels")
    return path


def _optional(path: Path) -> Path | None:
    return path if path.is_file() else None


def _any_image(stem: Path) -> Path | None:
    candidates: Iterator[Path] = (stem.parent / f"{stem.name}{suffix}" for suffix in _IMAGE_SUFFIXES)
    return next((p for p in candidates if p.is_file()), None)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error}") from error


def _decoded(path: Path, content: bytes, how: int) -> npt.NDArray[np.generic]:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), how) if content else None
    if image is None:
        raise SourceError(f"cannot read the image {path}")
    return image


def _png(image: npt.NDArray[np.generic]) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def _camera(given: CameraIntrinsics | UnsizedIntrinsics | None, width: int, height: int) -> CameraIntrinsics:
    """The camera as given, else that of NYUDv2, for images of this size or, if given with a size, for that."""
    if isinstance(given, CameraIntrinsics):
        return given
    if isinstance(given, UnsizedIntrinsics):
        return given.scaled_to(width, height)
    is_cropped = (width, height) == (NYUDV2_WINDOW.width, NYUDV2_WINDOW.height)
    camera = NYUDV2_WINDOW.of_camera(NYUDV2_INTRINSICS) if is_cropped else NYUDV2_INTRINSICS
    return camera.scaled_to(width, height)
