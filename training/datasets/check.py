"""Finds faults of a dataset folder that training would suffer from without reporting them. NumPy and OpenCV only."""

from __future__ import annotations

import codecs
import hashlib
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from lcr_seg_ros.errors import LcrSegError, SourceError
from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.sources.folder import (
    DEPTH_FOLDER,
    INTRINSICS_FILE,
    LABEL_FOLDER,
    RGB_FOLDER,
    DatasetFolder,
    rgb_flags,
    turns_photos,
)
from lcr_seg_ros.training.datasets.manifest import MANIFEST_FILE, read_manifest

Severity = Literal["error", "warning", "note"]

_KNOWN_LISTS = ("fit", "val", "train", "test", "trainval")
_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_DEPTH_LEVELS = 1 << 16

INDOOR_DEPTH_M = 2.2
"""Typical median depth of indoor frames, from which the unit of depth is guessed."""

DEPTH_UNITS_MM = {"metres": 1000.0, "centimetres": 10.0, "millimetres": 1.0, "0.2 mm (TUM RGB-D)": 0.2, "0.1 mm": 0.1}

_MENDING = "prepare import --layout folder"
"""The command that copies one of our folders and corrects its labels and depth."""

_COARSE_LEVELS = 256
_ODD_FRAME_RATIO = 8.0
_MUCH_VOID = 0.4
"""A larger share of void is suspicious: NYUDv2 has 0.18."""
_MANY_HOLES = 0.6
_USUAL_PIXEL_ASPECT = (0.8, 1.25)
_USUAL_VIEW_DEG = (30, 120)


@dataclass(frozen=True)
class Finding:
    """One fault or remark.

    Args:
        severity: how bad it is.
        code: identifies the kind of fault, for programs.
        text: what was found.
        advice: what to do about it.
        frames: names of the frames concerned.
    """

    severity: Severity
    code: str
    text: str
    advice: str = ""
    frames: tuple[str, ...] = ()


@dataclass
class FolderReport:
    """What :func:`check_folder` found.

    Args:
        path: the folder.
        labels: the label set that its label images were read with.
        frames: number of frames in the folder.
        findings: errors first, then warnings, then notes.
        splits: number of names in each list.
        depth: of valid depth, as stored (millimetres are expected): ``median``, ``percentile_1``, ``percentile_99`` and
            ``levels``, the number of different values; ``holes``, the share of pixels without depth, 0..1. Empty
            without valid depth.
    """

    path: Path
    labels: LabelSet
    frames: int = 0
    findings: list[Finding] = field(default_factory=list)
    splits: dict[str, int] = field(default_factory=dict)
    id_pixels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    """(256,) int64, pixels with each mask id, over all frames read."""
    id_frames: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    """(256,) int64, frames that contain each mask id."""
    depth: dict[str, float] = field(default_factory=dict)

    @property
    def errors(self) -> list[Finding]:
        return [f for f in self.findings if f.severity == "error"]

    @property
    def warnings(self) -> list[Finding]:
        return [f for f in self.findings if f.severity == "warning"]

    @property
    def void_share(self) -> float:
        """Share of pixels that are void, 0..1."""
        return float(self.id_pixels[self.labels.void] / max(self.id_pixels.sum(), 1))

    def frequencies(self) -> list[dict[str, Any]]:
        """For each class: ``id``, ``name``, ``pixels``, ``share`` of all annotated pixels (0..1) and ``frames`` that
        contain it."""
        annotated = max(int(self.id_pixels[self.labels.ids].sum()), 1)
        return [
            {
                "id": c.id,
                "name": c.name,
                "pixels": int(self.id_pixels[c.id]),
                "share": float(self.id_pixels[c.id] / annotated),
                "frames": int(self.id_frames[c.id]),
            }
            for c in self.labels.classes
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "verdict": "error" if self.errors else "warning" if self.warnings else "ok",
            "frames": self.frames,
            "label_set": self.labels.name,
            "splits": self.splits,
            "findings": [asdict(f) for f in self.findings],
            "classes": self.frequencies(),
            "void_share": self.void_share,
            "depth": self.depth,
        }


def check_folder(path: Path, labels: LabelSet, limit: int | None = None) -> FolderReport:
    """Read every file of a dataset folder and report what is wrong with it.

    Args:
        path: the folder, see :mod:`lcr_seg_ros.sources.folder`.
        labels: the label set of ``label40/``.
        limit: read the images of so many frames only, evenly spread; file names and lists are checked in full.

    Raises:
        SourceError: there is no such folder, or it has no ``rgb/``.
    """
    if not (path / RGB_FOLDER).is_dir():
        raise SourceError(f"{path} is not a dataset folder: it has no {RGB_FOLDER}/ with images")
    report = FolderReport(path, labels)
    images = _images(path, report)
    _check_partners(path, images, report)
    splits = _check_lists(path, images, report)
    _check_intrinsics(path, report)
    report.frames = len(images)
    names = sorted(images)
    if limit is not None and limit < len(names):
        names = [names[i] for i in np.linspace(0, len(names) - 1, limit).round().astype(int)]
        report.findings.append(Finding("note", "sampled", f"only {limit} of {len(images)} frames were read"))
    contents = _Contents(path, labels, _digests(path, report))
    for name in tqdm(names, desc="check-data", unit="frame", leave=False, disable=None):
        contents.read(name, images[name])
    contents.conclude(report, splits)
    order = {"error": 0, "warning": 1, "note": 2}
    report.findings.sort(key=lambda f: order[f.severity])
    return report


def is_palette_png(content: bytes) -> bool:
    """Whether a file is a palette PNG, whose pixels are indices into a table of colours (IHDR colour type 3)."""
    return content[:8] == b"\x89PNG\r\n\x1a\n" and content[25:26] == b"\x03"


def _images(path: Path, report: FolderReport) -> dict[str, Path]:
    """The colour image of each frame, by frame name."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    for file in sorted((path / RGB_FOLDER).iterdir()):
        if file.suffix.lower() in _IMAGE_SUFFIXES and not file.name.startswith("."):
            by_name[file.stem].append(file)
    if not by_name:
        report.findings.append(
            Finding("error", "no_images", f"{RGB_FOLDER}/ holds no .jpg or .png image", "put the colour images there")
        )
    twice = [name for name, files in by_name.items() if len(files) > 1]
    if twice:
        report.findings.append(
            Finding(
                "error",
                "ambiguous_image",
                f"{len(twice)} frames have more than one image in {RGB_FOLDER}/ (as .jpg and .png)",
                "keep one of them",
                tuple(twice),
            )
        )
    return {name: files[0] for name, files in by_name.items()}


def _check_partners(path: Path, images: dict[str, Path], report: FolderReport) -> None:
    listed = {name for file in path.glob("*.txt") for name in _words(file)[0]}
    for folder, needed_for in ((LABEL_FOLDER, "train and evaluate"), (DEPTH_FOLDER, "HHA")):
        if not (path / folder).is_dir():
            severity: Severity = "error" if folder == LABEL_FOLDER else "warning"
            report.findings.append(
                Finding(severity, f"no_{folder}", f"there is no {folder}/", f"{needed_for} read {folder}/NAME.png")
            )
            continue
        there = {p.stem for p in (path / folder).glob("*.png") if not p.name.startswith(".")}
        missing, alone = sorted(set(images) - there), sorted(there - set(images))
        if missing and folder == LABEL_FOLDER and listed and not listed & set(missing):
            text = f"{len(missing)} of {len(images)} images are not labelled yet, and in no list"
            report.findings.append(Finding("note", "unlabelled", text, "", tuple(missing)))
        elif missing:
            report.findings.append(
                Finding(
                    "error",
                    "missing_partner",
                    f"{len(missing)} of {len(images)} images have no {folder}/NAME.png",
                    "add the files, or take the images and their lines in the lists away",
                    tuple(missing),
                )
            )
        if alone:
            report.findings.append(
                Finding(
                    "warning",
                    "missing_partner",
                    f"{len(alone)} files in {folder}/ have no image in {RGB_FOLDER}/: nobody reads them",
                    "are the names alike (00001 and 1 are not)?",
                    tuple(alone),
                )
            )


def _check_lists(path: Path, images: dict[str, Path], report: FolderReport) -> dict[str, list[str]]:
    """The frame names in each list of the folder."""
    lists = {}
    for file in sorted(path.glob("*.txt")):
        lists[file.stem], encoding = _words(file)
        if encoding and (file.stem in _KNOWN_LISTS or any(word in images for word in lists[file.stem])):
            report.findings.append(
                Finding(
                    "error", "not_utf8", f"{file.name} is not UTF-8 text, but perhaps {encoding}", "save it as UTF-8"
                )
            )
    report.splits = {name: len(members) for name, members in lists.items()}
    if not lists:
        report.findings.append(
            Finding("warning", "no_lists", "there is no list of frames", "train wants e.g. fit.txt and val.txt")
        )
    for name, members in lists.items():
        strange = [m for m in members if m not in images]
        if not members:
            report.findings.append(
                Finding("error", "empty_list", f"{name}.txt is empty", "write one frame name a line, or remove it")
            )
        with_suffix = all(Path(m).stem in images for m in strange)
        if strange and len(strange) == len(members) and not with_suffix and name not in _KNOWN_LISTS:
            report.findings.append(
                Finding(
                    "warning",
                    "no_list",
                    f"{name}.txt names no frame of this folder",
                    "is it a list? Commands that are told its name as a split would take it for one",
                )
            )
        elif strange:
            advice = "names stand without folder and suffix" if with_suffix else "is it the list of another data set?"
            report.findings.append(
                Finding(
                    "error",
                    "unknown_frame",
                    f"{name}.txt lists {len(strange)} frames that have no image",
                    advice,
                    tuple(strange),
                )
            )
        repeated = sorted({m for m in members if members.count(m) > 1}) if len(set(members)) < len(members) else []
        if repeated:
            report.findings.append(
                Finding(
                    "warning",
                    "repeated_frame",
                    f"{name}.txt lists {len(repeated)} frames more than once",
                    "they count more than once in training and in scores",
                    tuple(repeated),
                )
            )
    for (a, members_a), (b, members_b) in combinations(lists.items(), 2):
        shared = set(members_a) & set(members_b)
        if shared and not _may_share(a, b, lists):
            report.findings.append(
                Finding(
                    "error",
                    "overlapping_lists",
                    f"{a}.txt and {b}.txt share {len(shared)} frames",
                    "scores on frames that were trained on say nothing: take them out of one list",
                    tuple(sorted(shared)),
                )
            )
    return lists


def _words(file: Path) -> tuple[list[str], str]:
    """The words of a text file, and its likely encoding if it is not UTF-8, which training reads, else ""."""
    content = file.read_bytes()
    try:
        if b"\0" not in content:
            return content.decode("utf-8-sig").split(), ""
    except UnicodeDecodeError:
        pass
    if b"\0" not in content:
        return content.decode("latin-1").split(), "Latin-1"
    with_mark = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    return content.decode("utf-16" if with_mark else "utf-16-le", errors="replace").split(), "UTF-16"


def _may_share(a: str, b: str, lists: dict[str, list[str]]) -> bool:
    """Whether two lists may have frames in common. They may if one has a name of the user's own; of the known lists,
    ``train`` may consist of ``fit`` and ``val``."""
    pair = {a, b}
    if pair == {"train", "val"}:
        return "fit" in lists and set(lists["val"]) <= set(lists["train"])
    return not pair <= {"train", "fit", "val", "test"} or pair == {"train", "fit"}


def _check_intrinsics(path: Path, report: FolderReport) -> None:
    if not (path / DEPTH_FOLDER).is_dir():
        return
    if not (path / INTRINSICS_FILE).is_file():
        report.findings.append(
            Finding(
                "warning",
                "no_intrinsics",
                f"there is no {INTRINSICS_FILE}: the Kinect of NYUDv2 is assumed",
                "write fx, fy, cx, cy, width and height of the colour camera there; HHA depends on them",
            )
        )
        return
    try:
        intrinsics = DatasetFolder(path).intrinsics
    except LcrSegError as error:
        if INTRINSICS_FILE in str(error):
            report.findings.append(Finding("error", "intrinsics", str(error), "mend the file"))
        return
    report.findings += _odd_intrinsics(intrinsics) if intrinsics else []


def _odd_intrinsics(k: CameraIntrinsics) -> Iterable[Finding]:
    """Intrinsics that are possible but unusual: more often, a digit is missing or the image size is wrong."""
    oddities = []
    low, high = _USUAL_PIXEL_ASPECT
    if not low <= k.fx / k.fy <= high:
        oddities.append(f"fx / fy is {k.fx / k.fy:.3g} (usually {low}..{high})")
    narrow, wide = _USUAL_VIEW_DEG
    view = math.degrees(2 * math.atan(k.width / 2 / k.fx))
    if not narrow <= view <= wide:
        oddities.append(f"the horizontal field of view is {view:.0f} degrees (usually {narrow}..{wide})")
    if oddities:
        yield Finding(
            "warning",
            "odd_intrinsics",
            f"{INTRINSICS_FILE} has fx {k.fx:g}, fy {k.fy:g} for images {k.width} px wide: {'; '.join(oddities)}",
            "are they in pixels, and of the width and height that stand there? HHA depends on them",
        )


def _digests(path: Path, report: FolderReport) -> dict[str, str]:
    """SHA-256 of each file that the manifest of a prepared folder lists, by path in the folder; empty without one."""
    try:
        frames = read_manifest(path).get("frames", {})
    except SourceError as error:
        report.findings.append(Finding("warning", "manifest", str(error)))
        return {}
    return {name: digest for entry in frames.values() for name, digest in entry["files"].items()}


class _Contents:
    """Checks of what is in the files: they are read frame by frame, and the findings are made at the end."""

    def __init__(self, path: Path, labels: LabelSet, digests: dict[str, str]) -> None:
        self._path, self._labels, self._digests = path, labels, digests
        self._rgb_flags = rgb_flags(turns_photos(path))
        self._id_pixels, self._id_frames = np.zeros(256, np.int64), np.zeros(256, np.int64)
        self._depth_pixels = np.zeros(_DEPTH_LEVELS, np.int64)
        self._depth_median: dict[str, float] = {}
        self._frames: dict[str, list[str]] = defaultdict(list)
        """Frames with a fault, by its code."""
        self._of_rgb: dict[str, list[str]] = defaultdict(list)
        """Frames by SHA-256 of the colour file."""
        self._seen_in: dict[str, npt.NDArray[np.bool_]] = {}
        """(256,) bool by frame: ids that occur in it."""
        self._sizes: dict[tuple[int, int], list[str]] = defaultdict(list)
        """Frames by (height, width) of the colour image."""
        self._depth_types: set[str] = set()
        self._label_types: set[str] = set()

    def read(self, name: str, rgb_path: Path) -> None:
        content = self._bytes(name, rgb_path)
        rgb = self._decoded(name, content, self._rgb_flags, "unreadable_rgb")
        if content:
            self._of_rgb[hashlib.sha256(content).hexdigest()].append(name)
        size = None if rgb is None else rgb.shape[:2]
        if size is not None:
            self._sizes[size[0], size[1]].append(name)
        for folder, take in ((LABEL_FOLDER, self._take_labels), (DEPTH_FOLDER, self._take_depth)):
            file = self._path / folder / f"{name}.png"
            if not file.is_file():
                continue
            content = self._bytes(name, file)
            image = self._decoded(name, content, cv2.IMREAD_UNCHANGED, f"unreadable_{folder}")
            if image is None:
                continue
            if size is not None and image.shape[:2] != size:
                self._frames[f"size_{folder}"].append(name)
            take(name, image, content)

    def conclude(self, report: FolderReport, splits: dict[str, list[str]]) -> None:
        report.id_pixels, report.id_frames = self._id_pixels, self._id_frames
        report.findings += [*self._file_findings(), *self._label_findings(), *self._depth_findings(report)]
        report.findings += [*self._split_findings(splits), *self._twin_findings(splits)]

    def _bytes(self, name: str, file: Path) -> bytes:
        try:
            content = file.read_bytes()
        except OSError:
            return b""
        noted = self._digests.get(file.relative_to(self._path).as_posix())
        if noted is not None and hashlib.sha256(content).hexdigest() != noted:
            self._frames["changed"].append(name)
        return content

    def _decoded(self, name: str, content: bytes, how: int, code: str) -> npt.NDArray[np.generic] | None:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), how) if _is_whole(content) else None
        if image is None:
            self._frames[code].append(name)
        return image  # type: ignore[return-value]

    def _take_labels(self, name: str, image: npt.NDArray[np.generic], content: bytes) -> None:
        if is_palette_png(content):
            self._frames["palette_labels"].append(name)
            return
        if image.ndim != 2 or image.dtype != np.uint8:
            self._label_types.add(f"{image.dtype} {image.shape}")
            self._frames["label_type"].append(name)
            return
        count = np.bincount(image.ravel(), minlength=256)
        self._id_pixels += count
        self._id_frames += count > 0
        self._seen_in[name] = count > 0
        if count[self._labels.void] == image.size:
            self._frames["all_void"].append(name)

    def _take_depth(self, name: str, image: npt.NDArray[np.generic], _: bytes) -> None:
        if image.ndim != 2 or image.dtype != np.uint16:
            self._depth_types.add(f"{image.dtype} {image.shape}")
            self._frames["depth_type"].append(name)
            return
        depth = image.astype(np.uint16, copy=False)
        self._depth_pixels += np.bincount(depth.ravel(), minlength=_DEPTH_LEVELS)
        valid = depth[depth > 0]
        if not valid.size:
            self._frames["no_depth"].append(name)
        else:
            self._depth_median[name] = float(np.median(valid))

    def _file_findings(self) -> Iterable[Finding]:
        if len(self._sizes) > 1:
            rarest = min(self._sizes.values(), key=len)
            counts = ", ".join(f"{w}x{h} ({len(frames)})" for (h, w), frames in sorted(self._sizes.items()))
            yield Finding(
                "warning",
                "several_sizes",
                f"colour images have {len(self._sizes)} sizes: {counts}",
                f"are they of one camera? {INTRINSICS_FILE} stands for all of them, scaled to each image",
                tuple(rarest),
            )
        regular = "is it whole? copy or make it again"
        of_8_bits = any(kind.startswith("uint8") for kind in self._depth_types)
        for code, what, advice in (
            ("unreadable_rgb", f"images in {RGB_FOLDER}/ cannot be read", regular),
            (f"unreadable_{LABEL_FOLDER}", f"images in {LABEL_FOLDER}/ cannot be read", regular),
            (f"unreadable_{DEPTH_FOLDER}", f"images in {DEPTH_FOLDER}/ cannot be read", regular),
            (f"size_{LABEL_FOLDER}", "label images have another size than the colour image", "make them alike"),
            (
                f"size_{DEPTH_FOLDER}",
                "depth images have another size than the colour image",
                "register depth to colour at the size of the colour image",
            ),
            ("changed", f"files differ from what {MANIFEST_FILE} notes", "run the same prepare command again"),
            (
                "palette_labels",
                "label images are palette PNGs, which would be read as colours",
                f"save them as 8-bit grey: {_MENDING}",
            ),
            (
                "label_type",
                f"label images are not 8-bit with one channel ({_listed(self._label_types)})",
                "save class ids as 8-bit grey PNG; 16-bit ids up to 894 are the raw classes of NYUDv2: prepare nyudv2",
            ),
            (
                "depth_type",
                f"depth images are not 16-bit with one channel ({_listed(self._depth_types)}): "
                + ("8 bits cannot hold millimetres" if of_8_bits else "a distance is one number a pixel"),
                f"take the sensor's 16-bit depth; if you know the unit: {_MENDING} --depth-unit-mm MM"
                if of_8_bits
                else f"take the sensor's own depth; where the channels are alike, {_MENDING} keeps one of them",
            ),
        ):
            if self._frames[code]:
                yield Finding("error", code, f"{len(self._frames[code])} {what}", advice, tuple(self._frames[code]))
        for code, what, advice in (
            ("all_void", "frames have no annotated pixel", "they teach and score nothing: take them out"),
            ("no_depth", "depth images have no valid pixel (all 0)", "take these frames out, or record them again"),
        ):
            if self._frames[code]:
                yield Finding("warning", code, f"{len(self._frames[code])} {what}", advice, tuple(self._frames[code]))

    def _label_findings(self) -> Iterable[Finding]:
        total = int(self._id_pixels.sum())
        if not total:
            return
        labels, void = self._labels, self._labels.void
        used = {int(i) for i in np.flatnonzero(self._id_pixels)}
        known = {int(i) for i in labels.ids}
        strange = sorted(used - known - {void})
        highest = max(known)
        counted_from_1 = void == 0 and known == set(range(1, highest + 1))
        if counted_from_1 and 0 in used and highest not in used and 255 in strange:
            yield Finding(
                "error",
                "shifted_labels",
                f"ids are 0..{max(used - {255})} and 255: classes are counted from 0 with void 255, so every class is "
                f"off by one and class 0 would be taken for void",
                f"label set {labels.name!r} counts from 1 with void 0: add 1 to each id and write 0 for 255 "
                f"({_MENDING} --shifted)",
                self._frames_with([255]),
            )
            strange.remove(255)
        elif 255 in strange:
            yield Finding(
                "error",
                "void_is_255",
                f"{_percent(self._id_pixels[255], total)} of the pixels are 255, which names no class; void is {void}",
                f"write {void} where nothing is annotated, or set void: 255 in the label set's YAML if classes may be "
                f"{void}",
                self._frames_with([255]),
            )
            strange.remove(255)
        if 0 in strange:
            yield Finding(
                "error",
                "zero_names_no_class",
                f"{_percent(self._id_pixels[0], total)} of the pixels are 0, which names no class; void is {void}",
                f"write {void} there if it means void, or give 0 a class in the label set's YAML",
                self._frames_with([0]),
            )
            strange.remove(0)
        if strange:
            shown = ", ".join(map(str, strange[:8])) + (", ..." if len(strange) > 8 else "")
            yield Finding(
                "error",
                "unknown_id",
                f"ids {shown} name no class of label set {labels.name!r} ({min(known)}..{highest}): "
                f"{_percent(int(self._id_pixels[strange].sum()), total)} of the pixels would be dropped like void",
                "were they counted from 1 before --shifted was given? Import again without it"
                if strange == [highest + 1] and not self._id_pixels[min(known)]
                else "give the right label set with --labels, or map the ids",
                self._frames_with(strange),
            )
        elif counted_from_1 and highest > 1 and 255 not in used and used == set(range(highest)):
            yield Finding(
                "warning",
                "perhaps_shifted",
                f"ids 0..{highest - 1} all occur and {highest} ({labels.classes[-1].name}) never does: "
                "perhaps classes are counted from 0",
                "look at one label image; if so, add 1 to each id",
            )
        void_share = self._id_pixels[void] / total
        if void_share > _MUCH_VOID:
            yield Finding(
                "warning",
                "much_void",
                f"{_percent(self._id_pixels[void], total)} of the pixels are void ({void}): no part in training "
                "and scores",
                f"is {void} a class of yours (background)? Then give it an id of its own in the label set",
            )
        absent = [c.name for c in labels.classes if c.id not in used]
        if absent and len(absent) < len(known):
            yield Finding("note", "absent_class", f"{len(absent)} classes never occur: {', '.join(absent)}")
        if len(absent) == len(known):
            yield Finding(
                "error", "no_class", f"no class of label set {labels.name!r} occurs", "give the right one with --labels"
            )

    def _depth_findings(self, report: FolderReport) -> Iterable[Finding]:
        pixels = self._depth_pixels
        total, valid = int(pixels.sum()), pixels.copy()
        valid[0] = 0
        if not valid.any():
            return
        levels = np.flatnonzero(valid)
        cumulative = np.cumsum(valid) / valid.sum()
        low, median, high = (float(np.searchsorted(cumulative, q)) for q in (0.01, 0.5, 0.99))
        report.depth = {
            "median": median,
            "percentile_1": low,
            "percentile_99": high,
            "holes": float(pixels[0] / total),
            "levels": len(levels),
        }
        said = f"half of the values are below {median:.0f}, 98 % within {low:.0f}..{high:.0f}"
        if len(levels) > 1 and np.gcd.reduce(levels) == 8:
            yield Finding(
                "error",
                "depth_unit",
                f"all depth values are multiples of 8 ({said}): SUN RGB-D stores millimetres shifted by 3 bits",
                f"divide by 8 ({_MENDING} --depth-unit-mm 0.125)",
            )
            of_unit = True
        else:
            unit = list(_unit_findings(median, said))
            of_unit = bool(unit)
            yield from unit
        odd = [n for n, m in self._depth_median.items() if not 1 / _ODD_FRAME_RATIO < m / median < _ODD_FRAME_RATIO]
        if odd:
            yield Finding(
                "warning",
                "odd_depth",
                f"{len(odd)} depth images are {_ODD_FRAME_RATIO:.0f} times nearer or farther than the data set's "
                f"median of {median:.0f}",
                "are they in another unit?",
                tuple(odd),
            )
        if len(levels) <= _COARSE_LEVELS and not of_unit:
            step = float(np.median(np.diff(levels))) if len(levels) > 1 else 0.0
            yield Finding(
                "warning",
                "coarse_depth",
                f"depth has only {len(levels)} different values, in steps of {step:.0f}: it was stored in 8 bits once",
                "use 16-bit depth if you can get it; else HHA needs input.hha.smoothing auto (the recipes' default)",
            )
        if pixels[-1] / total > 0.001:
            yield Finding(
                "error",
                "depth_65535",
                f"{_percent(pixels[-1], total)} of the depth values are 65535: a mark for holes, read as 65.5 m",
                "write 0 for holes",
            )
        if pixels[0] / total > _MANY_HOLES:
            yield Finding(
                "warning",
                "many_holes",
                f"{_percent(pixels[0], total)} of the depth values are 0 (holes)",
                "is depth registered to colour, and the range right?",
            )

    def _split_findings(self, splits: dict[str, list[str]]) -> Iterable[Finding]:
        """Classes that occur in a list for scoring but not in the one for training."""
        for fit, val in (("fit", "val"), ("train", "test")):
            if fit in splits and val in splits:
                learned, scored = (self._ids_in(splits[s]) for s in (fit, val))
                names = [c.name for c in self._labels.classes if scored[c.id] and not learned[c.id]]
                if names:
                    yield Finding(
                        "warning",
                        "class_not_in_training",
                        f"{len(names)} classes occur in {val}.txt and never in {fit}.txt: {', '.join(names)}",
                        "nobody can learn them: move frames between the lists",
                    )

    def _twin_findings(self, splits: dict[str, list[str]]) -> Iterable[Finding]:
        twins = [names for names in self._of_rgb.values() if len(names) > 1]
        if not twins:
            return
        lists = {s: set(members) for s, members in splits.items()}
        leaks = [
            names
            for names in twins
            for fit, val in (("fit", "val"), ("train", "test"))
            if lists.get(fit, set()) & set(names) and lists.get(val, set()) & set(names)
        ]
        if leaks:
            yield Finding(
                "error",
                "same_image_in_two_lists",
                f"{len(leaks)} images are in a training list and, under another name, in the list that is scored",
                "keep one of each",
                tuple(n for names in leaks for n in names),
            )
        else:
            yield Finding(
                "warning",
                "same_image",
                f"{len(twins)} colour images are there under more than one name",
                "keep one of each",
                tuple(n for names in twins for n in names),
            )

    def _ids_in(self, names: Sequence[str]) -> npt.NDArray[np.bool_]:
        seen = np.zeros(256, np.bool_)
        for name in names:
            seen |= self._seen_in.get(name, False)
        return seen

    def _frames_with(self, ids: Sequence[int]) -> tuple[str, ...]:
        return tuple(name for name, seen in self._seen_in.items() if seen[list(ids)].any())


def _unit_findings(median: float, said: str) -> Iterable[Finding]:
    """A finding if another unit than millimetres would make the median depth more typical of rooms."""
    distance = {unit: abs(np.log(median * factor / 1000 / INDOOR_DEPTH_M)) for unit, factor in DEPTH_UNITS_MM.items()}
    likely = min(distance, key=lambda unit: distance[unit])
    if likely == "millimetres":
        return
    factor = DEPTH_UNITS_MM[likely]
    as_read = median / 1000
    # Medians that are also plausible in millimetres, from a table close to the camera to a large hall: only a warning.
    unclear = 350 <= median < 1000 or 6000 < median < 9000
    yield Finding(
        "warning" if unclear else "error",
        "depth_unit",
        f"depth looks like {likely}, not millimetres: {said}, which is read as a median of {as_read:.3g} m",
        f"multiply by {factor:g} ({_MENDING} --depth-unit-mm {factor:g}), unless the scene is really that "
        f"{'near' if factor > 1 else 'far'}",
    )


def _is_whole(content: bytes) -> bool:
    """Whether a PNG or JPEG has its end marker: decoders may fill in missing pixels without an error."""
    if content.startswith(b"\x89PNG"):
        return b"IEND" in content[-64:]
    if content.startswith(b"\xff\xd8"):
        return content.find(b"\xff\xd9", _jpeg_scan(content)) >= 0  # not always last: phones append a video
    return bool(content)


def _jpeg_scan(content: bytes) -> int:
    """Where a JPEG's pixels begin, after the segments that may hold a thumbnail with an end marker of its own."""
    place = 2
    while content[place : place + 1] == b"\xff" and content[place + 1 : place + 2] != b"\xda":
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return place


def _percent(part: int | np.integer[Any], total: int) -> str:
    return f"{100 * int(part) / total:.2g} %"


def _listed(kinds: set[str]) -> str:
    return ", ".join(sorted(kinds)[:3])
