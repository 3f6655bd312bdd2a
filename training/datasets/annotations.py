"""Imports the export of a labelling tool as the labels of a dataset folder."""

from __future__ import annotations

import colorsys
import logging
import re
import shlex
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.files import read_text, replace_file
from lcr_seg_ros.labels import LABELS_FILE, LabelClass, LabelSet, folder_label_set
from lcr_seg_ros.sources.folder import LABEL_FOLDER, RGB_FOLDER, read_rgb, turns_photos, write_png
from lcr_seg_ros.training.datasets.annotation_files import (
    AnnotatedImage,
    mask_files,
    read_annotations,
    read_colormap,
)
from lcr_seg_ros.training.datasets.annotation_formats import detect_format
from lcr_seg_ros.training.datasets.folder_labels import write_label_set
from lcr_seg_ros.training.datasets.image_files import is_palette_png
from lcr_seg_ros.training.datasets.names import plain_name

log = logging.getLogger(__name__)

NEW = "new"
VOID_NAMES = ("background", "_background_", "__ignore__", "void", "unlabeled", "unlabelled")
MAX_CLASSES = 254
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
_UPLOAD_PREFIX = re.compile(r"^[0-9a-f]{8}-")
"""Label Studio prepends it to the names of uploaded files."""


@dataclass(frozen=True)
class ImportRules:
    """How names in the export become classes, and frames are divided into lists.

    Args:
        labels: the label set: a shipped name, a YAML file, or ``new``, which makes one of the folder's own classes, if
            any, and all names that occur. None: the folder's own, else nyu40.
        renamed: by name in the export, the class that it stands for.
        ignored: names that become void.
        val_share: share of the annotated frames that go to ``val.txt``; the others go to ``fit.txt``. 0: no lists.
    """

    labels: str | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)
    ignored: Collection[str] = ()
    val_share: float = 0.2


@dataclass
class Imported:
    """The result of an import.

    Args:
        labels: label set of the label images.
        frames: names of the frames whose labels were written.
        without_regions: number of images in the export without any region.
        unknown: images of the export that the folder does not have.
        pixels: (256,) int64, pixels written by mask id.
        fit, val: numbers of frames in the lists.
    """

    labels: LabelSet
    frames: list[str] = field(default_factory=list)
    without_regions: int = 0
    unknown: list[str] = field(default_factory=list)
    pixels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    fit: int = 0
    val: int = 0


def import_annotations(
    data: Path, source: Path, file_format: str = "auto", rules: ImportRules | None = None
) -> Imported:
    """Write ``data/label40/NAME.png`` for every image in an export, ``labels.yaml`` and the lists.

    Pixels that no region covers are void. Regions are painted in the order of the export, or for COCO from the largest
    to the smallest. Nothing is written if a name has no class.

    Args:
        data: dataset folder.
        source: file or folder that a tool exported.
        file_format: one of :data:`~lcr_seg_ros.training.datasets.annotation_files.FORMATS`, or ``auto``.
        rules: see :class:`ImportRules`.

    Raises:
        SourceError: the folder has no images, the export cannot be read, names have no class, images have another size
            than when they were labelled, or existing label images would change their meaning.
    """
    rules = rules or ImportRules()
    if not (data / RGB_FOLDER).is_dir():
        raise SourceError(f"{data} is not a dataset folder: it has no {RGB_FOLDER}/ with images")
    if not source.exists():
        raise SourceError(
            f"there is no file or folder {source}: give --from what the annotation tool exported, a .json file or a "
            "folder"
        )
    images = {p.stem: p for p in sorted((data / RGB_FOLDER).iterdir()) if p.suffix.lower() in _IMAGE_SUFFIXES}
    if file_format == "auto":
        file_format = detect_format(source)
    if file_format == "masks":
        done = _import_masks(data, source, images, rules)
    else:

        def size_of(name: str) -> tuple[int, int] | None:
            return _size(data, images[name]) if name in images else None

        done = _import_regions(data, read_annotations(source, file_format, size_of), images, rules)
    if rules.labels is not None and (done.labels.name != "nyu40" or (data / LABELS_FILE).is_file()):
        write_label_set(data, done.labels)
    if rules.val_share > 0:
        _write_lists(data, done, rules.val_share)
    return done


def _import_regions(
    data: Path, annotated: Sequence[AnnotatedImage], images: Mapping[str, Path], rules: ImportRules
) -> Imported:
    names = Counter(region.name for image in annotated for region in image.regions)
    labels, ids = _classes(data, names, rules)
    done = Imported(labels)
    partners = _partners([image.file for image in annotated if image.regions], images, done)
    _refuse_other_ids(data, labels, partners.values())
    for image in tqdm(annotated, desc="labels", unit="frame", leave=False, disable=None):
        if not image.regions:
            done.without_regions += 1
            continue
        name = partners.get(image.file)
        if name is None:
            continue
        _refuse_other_size(data, images[name], image.width, image.height)
        canvas = np.full((image.height, image.width), labels.void, np.uint8)
        for region in image.regions:
            canvas[region.mask(image.width, image.height)] = ids[region.name]
        _write(data, name, canvas, done)
    return done


def _import_masks(data: Path, source: Path, images: Mapping[str, Path], rules: ImportRules) -> Imported:
    files, colors = mask_files(source), read_colormap(source)
    if not colors and rules.labels == NEW:
        raise SourceError(
            f"{source} has no labelmap.txt or class_names.txt to name the classes: give a label set with --labels FILE"
        )
    labels, ids = _classes(data, Counter(colors.values()), rules)
    by_color = {color: ids[name] for color, name in colors.items()} or {c.color: c.id for c in labels.classes}
    done = Imported(labels)
    partners = _partners(list(files), images, done)
    _refuse_other_ids(data, labels, partners.values())
    for stem, path in tqdm(files.items(), desc="labels", unit="frame", leave=False, disable=None):
        if (name := partners.get(stem)) is not None:
            canvas = _mask_ids(path, by_color, labels)
            _refuse_other_size(data, images[name], canvas.shape[1], canvas.shape[0])
            _write(data, name, canvas, done)
    return done


def _mask_ids(path: Path, by_color: Mapping[tuple[int, int, int], int], labels: LabelSet) -> npt.NDArray[np.uint8]:
    content = path.read_bytes()
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED) if content else None
    if image is None or image.dtype != np.uint8:
        raise SourceError(f"cannot read {path} as an 8-bit image")
    if image.ndim == 2 and not is_palette_png(content):
        strange_ids = np.setdiff1d(image, [*labels.ids, labels.void])
        if strange_ids.size:
            raise SourceError(
                f"{path} holds ids {strange_ids[:8].tolist()}, which label set {labels.name!r} does not have: "
                "give the label set that belongs to them (--labels), or run `prepare import --shifted`"
            )
        return image.astype(np.uint8, copy=False)
    color = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert color is not None
    codes = color[..., 2].astype(np.int32) << 16 | color[..., 1].astype(np.int32) << 8 | color[..., 0]
    found, places = np.unique(codes, return_inverse=True)
    ids = {r << 16 | g << 8 | b: i for (r, g, b), i in by_color.items()} | {0: by_color.get((0, 0, 0), labels.void)}
    strange = [c for c in found.tolist() if c not in ids]
    if strange:
        c = strange[0]
        raise SourceError(
            f"{path} has {len(strange)} colours that no class has, first {(c >> 16, c >> 8 & 255, c & 255)}: is "
            "labelmap.txt missing, or was the image saved with smoothed edges or as JPEG?"
        )
    return np.array([ids[c] for c in found.tolist()], np.uint8)[places].reshape(codes.shape)


def _classes(data: Path, names: Counter[str], rules: ImportRules) -> tuple[LabelSet, dict[str, int]]:
    """The label set, and the mask id of each name that occurs.

    Raises:
        SourceError: names have no class; lists them, with similar classes.
    """
    _tell_of_names_that_never_occur(names, rules)
    before = folder_label_set(data)
    chosen = None if rules.labels == NEW else _chosen_labels(rules.labels, before)
    # Tools have names for unlabelled pixels. These become void, unless they are renamed or the label set has the class.
    known = chosen or before
    classes = {plain_name(c.name) for c in known.classes} if known else set()
    ignored = {plain_name(n) for n in rules.ignored}
    empty = {plain_name(n) for n in VOID_NAMES} - classes
    wanted = {
        name: rules.renamed.get(name, name)
        for name in names
        if plain_name(name) not in ignored and (name in rules.renamed or plain_name(name) not in empty)
    }
    labels = chosen or _label_set_of(data, before, sorted(wanted.values()))
    by_name = {plain_name(c.name): c.id for c in labels.classes}
    lacking = [name for name, target in wanted.items() if plain_name(target) not in by_name]
    if lacking:
        shown = []
        for name in lacking[:10]:
            near = get_close_matches(plain_name(wanted[name]), by_name, n=1, cutoff=0.5)
            shown.append(f"{name!r} ({names[name]} regions" + (f"; {near[0]}?)" if near else ")"))
        raise SourceError(
            f"label set {labels.name!r} has no class for {', '.join(shown)}"
            f"{' and others' if len(lacking) > 10 else ''}: rename with --map {shlex.quote(lacking[0])}=CLASS, leave "
            f"out with --ignore {shlex.quote(lacking[0])}, or make a label set of the names that occur with "
            f"--labels {NEW}"
        )
    return labels, {name: by_name[plain_name(wanted[name])] if name in wanted else labels.void for name in names}


def _tell_of_names_that_never_occur(names: Collection[str], rules: ImportRules) -> None:
    plain = {plain_name(name) for name in names}
    unused = [("--map", name) for name in rules.renamed if name not in names]
    unused += [("--ignore", name) for name in rules.ignored if plain_name(name) not in plain]
    for option, name in unused:
        near = get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f"is {near[0]!r} meant?" if near else f"the export has {', '.join(sorted(names)[:10]) or 'no names'}"
        log.warning("%s %s: the export has no such name; %s", option, shlex.quote(name), hint)


def _chosen_labels(labels: str | None, own: LabelSet | None) -> LabelSet:
    return LabelSet.load(labels) if labels else own or LabelSet.load("nyu40")


def _label_set_of(data: Path, before: LabelSet | None, names: Sequence[str]) -> LabelSet:
    classes = list(before.classes) if before else []
    void = before.void if before else 0
    known = {plain_name(c.name) for c in classes}
    next_id = max((c.id for c in classes), default=0) + 1
    for name in names:
        if plain_name(name) in known:
            continue
        known.add(plain_name(name))
        next_id += next_id == void
        # Hues in steps of the golden ratio stay distinct, however many there are.
        r, g, b = colorsys.hsv_to_rgb(next_id * 0.618034 % 1.0, 0.55 if next_id % 2 else 0.8, 0.9)
        classes.append(LabelClass(next_id, name, (round(255 * r), round(255 * g), round(255 * b))))
        next_id += 1
    if not classes:
        raise SourceError("nothing in the export has a name")
    if next_id > MAX_CLASSES + 1:
        raise SourceError(f"{len(classes)} different names, and a label set has at most {MAX_CLASSES} classes")
    return LabelSet(re.sub(r"\W+", "_", data.resolve().name) or "own", tuple(classes), void)


def _partners(files: Sequence[str], images: Mapping[str, Path], done: Imported) -> dict[str, str]:
    """The folder's frame for each file name in the export; file names without one are added to ``done.unknown``.

    Raises:
        SourceError: the folder has none of the images, or two file names stand for the same frame.
    """
    partners: dict[str, str] = {}
    for file in files:
        stems = (_stem(file), _stem(_path_in_address(file)))
        name = next((s for stem in stems for s in (stem, _UPLOAD_PREFIX.sub("", stem)) if s in images), None)
        if name is None:
            done.unknown.append(file)
        else:
            partners[file] = name
    if not partners:
        example = f"{done.unknown[0]!r}" if done.unknown else "none that has labels"
        have = next(iter(images), "none")
        raise SourceError(f"no image of the export ({example} ...) is in {have!r} ... of the folder: another folder's?")
    doubled = [name for name, count in Counter(partners.values()).items() if count > 1]
    if doubled:
        raise SourceError(f"the export has {doubled[0]!r} more than once: join its regions, or export it once")
    return partners


def _stem(file: str) -> str:
    name = Path(file.replace("\\", "/")).name
    return name.rpartition(".")[0] if name.lower().endswith(_IMAGE_SUFFIXES) else name


def _path_in_address(file: str) -> str:
    """The path in an address, or in its parameter ``d``: Label Studio writes ``/data/local-files/?d=FOLDER/NAME.png``
    for local files."""
    try:
        address = urlsplit(file)
    except ValueError:
        return file
    local = parse_qs(address.query.replace("+", "%2B")).get("d")  # spaces are %20: a plus is a plus
    return local[0] if local else unquote(address.path)


def _size(data: Path, path: Path) -> tuple[int, int]:
    """Width and height of a folder's image, as it is read."""
    rows, columns = read_rgb(path, turns_photos(data)).shape[:2]
    return columns, rows


def _refuse_other_size(data: Path, path: Path, width: int, height: int) -> None:
    columns, rows = _size(data, path)
    if (columns, rows) != (width, height):
        raise SourceError(
            f"{path} is {columns}x{rows}, but was {width}x{height} when it was labelled: label the images as they are"
        )


def _refuse_other_ids(data: Path, labels: LabelSet, names: Collection[str]) -> None:
    """Refuse a label set that would change the meaning of label images which are not replaced.

    Raises:
        SourceError: there are such label images, and an id means another class in the new label set.
    """
    staying = sorted({p.stem for p in (data / LABEL_FOLDER).glob("*.png")} - set(names))
    before = folder_label_set(data) or LabelSet.load("nyu40")
    if staying and not before.reads_as(labels):
        raise SourceError(
            f"{data / LABEL_FOLDER} has {len(staying)} label images that this export does not replace, first "
            f"{staying[0]!r}, of label set {before.name!r}, whose ids are others in {labels.name!r}: import all frames "
            "at once, leave out --labels, give a label set that only adds classes, or move those label images away"
        )


def _write(data: Path, name: str, canvas: npt.NDArray[np.uint8], done: Imported) -> None:
    write_png(data / LABEL_FOLDER / f"{name}.png", canvas)
    done.frames.append(name)
    done.pixels += np.bincount(canvas.ravel(), minlength=256)


def _write_lists(data: Path, done: Imported, val_share: float) -> None:
    """Write ``fit.txt`` and ``val.txt``. Frames stay in their list; of new ones, in order of their names, the last go
    to ``val`` until it has its share.

    They are not chosen at random, because neighbouring frames look alike: scores would be too good.
    """
    here = {p.stem for p in (data / LABEL_FOLDER).glob("*.png")}
    before = {}
    for name in ("fit", "val"):
        file = data / f"{name}.txt"
        before[name] = [n for n in read_text(file, SourceError).split() if n in here] if file.is_file() else []
    fresh = sorted(here - {*before["fit"], *before["val"]})
    wanted = max(1, round(val_share * len(here))) if len(here) > 1 else 0
    more = min(max(0, wanted - len(before["val"])), len(fresh) - (0 if before["fit"] else 1))
    split = len(fresh) - max(0, more)
    lists = {"fit": sorted(before["fit"] + fresh[:split]), "val": sorted(before["val"] + fresh[split:])}
    for name, members in lists.items():
        if members:
            replace_file(data / f"{name}.txt", ("\n".join(members) + "\n").encode())
    done.fit, done.val = len(lists["fit"]), len(lists["val"])
