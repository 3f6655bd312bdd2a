"""Reads the exports of labelling tools into one form: named regions of an image.

``labelme``: one JSON file per image (polygon, rectangle, circle, mask). ``coco``: JSON files, or a folder of them such
as CVAT's "COCO 1.0" with ``annotations/*.json`` (polygons, RLE as text or counts, else bounding boxes).
``labelstudio``: the JSON export (polygons, rectangles, ellipses, brush). ``masks``: a folder of PNG images of class ids
or class colours, with CVAT's ``labelmap.txt`` ("Segmentation mask 1.1"), with labelme2voc's ``class_names.txt``, or in
the label set's colours.

Coordinates are in pixels from the top left corner of the image, not from the centre of its first pixel, as in these
tools. Sizes are checked before memory is allocated.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.files import read_text
from lcr_seg_ros.frame import MAX_SIDE_PX
from lcr_seg_ros.training.datasets.run_lengths import brush_mask, coco_mask

Mask = npt.NDArray[np.bool_]
SizeOf = Callable[[str], tuple[int, int] | None]

log = logging.getLogger(__name__)

FORMATS = ("labelme", "coco", "labelstudio", "masks")
MAX_JSON_BYTES = 512 << 20
MAX_POINTS = 100_000
CIRCLE_POINTS = 64
_SUBPIXEL_BITS = 6


@dataclass(frozen=True)
class Region:
    """A labelled region of an image.

    Args:
        name: its class, as written in the export.
        polygons: (n, 2) float each, x and y in pixels; the region is their union.
        run_lengths: instead of polygons, the mask as the tool stores it: ``("coco", counts)``, ``("brush", numbers)``
            or ``("png", base64 text, left, top)``.
    """

    name: str
    polygons: tuple[npt.NDArray[np.float64], ...] = ()
    run_lengths: tuple[Any, ...] = ()

    def mask(self, width: int, height: int) -> Mask:
        """The region as (height, width) bool, including pixels that its outline passes through.

        Raises:
            SourceError: a stored mask is damaged or of another size.
        """
        if self.run_lengths:
            return _stored_mask(self.run_lengths, width, height)
        canvas = np.zeros((height, width), np.uint8)
        for polygon in self.polygons:
            fixed = np.rint((polygon - 0.5) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
            cv2.fillPoly(canvas, [fixed], 1, shift=_SUBPIXEL_BITS)
        return canvas.astype(bool)


@dataclass
class AnnotatedImage:
    """An image of an export: its file name as the tool gives it, size in pixels, and regions in painting order."""

    file: str
    width: int
    height: int
    regions: list[Region] = field(default_factory=list)


def read_annotations(source: Path, file_format: str, size_of: SizeOf = lambda name: None) -> list[AnnotatedImage]:
    """All images of an export, with their regions. For the format ``masks``, see :func:`mask_files` instead.

    Args:
        source: file or folder.
        file_format: one of :data:`FORMATS`.
        size_of: tells width and height of an image by its file name without suffix, or None; asked where the export
            does not say them.

    Raises:
        SourceError: the export has another format, is damaged, or has absurd sizes.
    """
    try:
        if file_format == "labelme":
            return _labelme(source, size_of)
        return {"coco": _coco, "labelstudio": _labelstudio}[file_format](source)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        if isinstance(error, SourceError):
            raise
        what = f"{type(error).__name__}: {error}"
        raise SourceError(f"{source} is damaged, or is no {file_format} export ({what})") from error


def mask_files(source: Path) -> dict[str, Path]:
    """The PNG images of a ``masks`` export, by file name without suffix.

    Raises:
        SourceError: there are none, or two in different folders have the same name.
    """
    if not source.is_dir():
        raise SourceError(f"no folder {source}: masks come as a folder of PNG images")
    files = find_masks(source)
    if not files:
        raise SourceError(f"{source} holds no PNG images, nor does {source / 'SegmentationClass'}")
    return files


def read_colormap(source: Path) -> dict[tuple[int, int, int], str]:
    """Class names by colour (r, g, b), from CVAT's ``labelmap.txt`` or labelme2voc's ``class_names.txt``; empty if
    there is neither.

    Raises:
        SourceError: the file cannot be read.
    """
    path = source / "labelmap.txt"
    if not path.is_file():
        return _voc_colormap(source / "class_names.txt")
    names = {}
    for line in read_text(path, SourceError).splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        parts = rest.partition(":")[0].split(",")
        if len(parts) != 3 or not all(p.strip().isdecimal() and int(p) < 256 for p in parts):
            raise SourceError(f"{path}: {line!r} is not NAME:R,G,B:...")
        names[int(parts[0]), int(parts[1]), int(parts[2])] = name.strip()
    return names


def _voc_colormap(path: Path) -> dict[tuple[int, int, int], str]:
    """Names by their colours in PASCAL VOC's palette. The file lists them by id, from ``_background_`` = 0; id 255 is
    added as ``__ignore__``."""
    if not path.is_file():
        return {}
    names = [line.strip() for line in read_text(path, SourceError).splitlines() if line.strip()]
    if len(names) > 255:
        raise SourceError(f"{path} names {len(names)} classes; at most 255 are read")
    return {_voc_color(i): name for i, name in enumerate(names)} | {_voc_color(255): "__ignore__"}


def _voc_color(number: int) -> tuple[int, int, int]:
    """Colour of an id in PASCAL VOC's palette: the id's bits, lowest first, go in turn to red, green and blue, filling
    each from its highest bit down."""
    red, green, blue = (sum((number >> (3 * k + c) & 1) << (7 - k) for k in range(3)) for c in range(3))
    return red, green, blue


def find_masks(source: Path) -> dict[str, Path]:
    """The PNG images of a ``masks`` export, by file name without suffix; empty if there are none."""
    for name in ("SegmentationClass", "SegmentationClassPNG"):  # CVAT: with a folder per subset in it
        if (source / name).is_dir():
            return _by_stem((source / name).rglob("*.png"))
    return _by_stem(source.glob("*.png"))


def _by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    for path in sorted(paths):
        if path.name.startswith("."):
            continue
        if path.stem in files:
            raise SourceError(
                f"the export has {path.stem!r} more than once, {files[path.stem]} and {path}: images of equal name in "
                "two folders cannot be told apart, remove one of them or rename both image and mask"
            )
        files[path.stem] = path
    return files


def _labelme(source: Path, size_of: SizeOf) -> list[AnnotatedImage]:
    paths = sorted(source.glob("*.json")) if source.is_dir() else [source]
    if not paths:
        raise SourceError(f"{source} holds no .json files of labelme")
    images = []
    flat: Counter[str] = Counter()
    for path in paths:
        content = read_json(path)
        if not isinstance(content, dict) or "shapes" not in content:
            raise SourceError(f"{path} has no 'shapes', so it is not labelme's")
        width, height = content["imageWidth"], content["imageHeight"]
        if width is None or height is None:
            width, height = size_of(path.stem) or (width, height)
        image = _image(content.get("imagePath") or path.stem, width, height, path)
        image.file = path.with_suffix(".png").name  # named like its image; imagePath may be a copy's
        for shape in content["shapes"]:
            region = _labelme_region(shape, path)
            if region is None:
                flat[str(shape.get("shape_type"))] += 1
            else:
                image.regions.append(region)
        images.append(image)
    _tell_what_is_left_out(flat)
    return images


def _labelme_region(shape: dict[str, Any], path: Path) -> Region | None:
    name, kind = str(shape["label"]), shape.get("shape_type") or "polygon"
    points = _points(shape["points"], path)
    if kind == "polygon":
        return Region(name, (points,)) if len(points) >= 3 else None
    if kind == "rectangle":  # two opposite corners, or all four
        return Region(name, (_rectangle(*points[0], *points[1]) if len(points) == 2 else points,))
    if kind == "circle":
        angles = np.linspace(0, 2 * np.pi, CIRCLE_POINTS, endpoint=False)
        radius = float(np.hypot(*(points[1] - points[0])))
        return Region(name, (points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], 1),))
    if kind == "mask":
        left, top = (round(v) for v in points[0])
        return Region(name, run_lengths=("png", str(shape["mask"]), left, top))
    return None  # points and lines have no area


def _coco(source: Path) -> list[AnnotatedImage]:
    if not source.is_dir():
        return _coco_file(source)
    # CVAT writes a file for each subset, beside images/; other tools put the file beside the images.
    paths = sorted(source.glob("*.json")) or sorted(source.glob("annotations/*.json"))
    if not paths:
        raise SourceError(f"{source} holds no .json files of COCO, nor does {source / 'annotations'}")
    return [image for path in paths for image in _coco_file(path)]


def _coco_file(source: Path) -> list[AnnotatedImage]:
    content = read_json(source)
    names = {c["id"]: str(c["name"]) for c in content["categories"]}
    images = {i["id"]: _image(i["file_name"], i["width"], i["height"], source) for i in content["images"]}
    flat: Counter[str] = Counter()
    # COCO's regions may overlap and have no order: large ones are painted first, so that a cup is seen on its table.
    for entry in sorted(content["annotations"], key=lambda entry: -_coco_area(entry)):
        image, shape = images[entry["image_id"]], entry.get("segmentation") or []
        name = names[entry["category_id"]]
        if isinstance(shape, dict):
            height, width = shape["size"]
            if (width, height) != (image.width, image.height):
                raise SourceError(f"{source}: a mask of {image.file} is {width}x{height}, the image is not")
            image.regions.append(Region(name, run_lengths=("coco", shape["counts"])))
        elif parts := tuple(_points(np.reshape(part, (-1, 2)), source) for part in shape if len(part) >= 6):
            image.regions.append(Region(name, parts))
        elif not shape and _box_area(entry) > 0:
            left, top, width, height = entry["bbox"]
            image.regions.append(Region(name, (_points(_rectangle(left, top, left + width, top + height), source),)))
        else:
            flat["segmentation" if shape else "bbox"] += 1
    _tell_what_is_left_out(flat)
    return list(images.values())


def _coco_area(entry: dict[str, Any]) -> float:
    return float(entry.get("area") or 0) or _box_area(entry)


def _box_area(entry: dict[str, Any]) -> float:
    """Area of the bounding box; 0 if there is none."""
    _, _, width, height = entry.get("bbox") or (0, 0, 0, 0)
    return max(0.0, float(width)) * max(0.0, float(height))


def _tell_what_is_left_out(kinds: Counter[str]) -> None:
    if kinds:
        shown = ", ".join(f"{count} of kind {kind}" for kind, count in kinds.items())
        log.warning("regions are left out that have no area, or no name: %s", shown)


def _labelstudio(source: Path) -> list[AnnotatedImage]:
    images = []
    left_out: Counter[str] = Counter()
    for task in read_json(source):
        done = [a for a in task["annotations"] if not a.get("was_cancelled")]
        results = [r for r in done[-1]["result"] if "original_width" in r] if done else []  # the newest one
        if not results:
            continue
        sizes = {(r["original_width"], r["original_height"]) for r in results}
        if len(sizes) != 1:
            raise SourceError(f"{source}, task {task.get('id')}: regions of images of {len(sizes)} sizes")
        files = [v for v in task["data"].values() if isinstance(v, str) and re.search(r"\.(png|jpe?g)$", v, re.I)]
        if len(files) != 1:
            raise SourceError(f"{source}, task {task.get('id')}: its data name {len(files)} images, not one")
        image = _image(files[0], *sizes.pop(), source)
        # With separate <Polygon> and <Labels> tags, a region and its name are two results with the same id.
        names = {r.get("id"): r["value"]["labels"][0] for r in results if r["value"].get("labels")}
        for result in results:
            kind = result["type"]
            given = result["value"].get(kind) or ([names[result.get("id")]] if result.get("id") in names else [])
            shape = _labelstudio_shape(kind.removesuffix("labels"), result["value"], image, source) if given else None
            if shape is not None:
                image.regions.append(replace(shape, name=str(given[0])))
            elif kind != "labels":
                left_out[kind] += 1
        images.append(image)
    _tell_what_is_left_out(left_out)
    return images


def _labelstudio_shape(kind: str, value: dict[str, Any], image: AnnotatedImage, source: Path) -> Region | None:
    """A region, still without its name; None for kinds without an area."""
    scale = np.array([image.width, image.height]) / 100  # coordinates are in per cent
    if kind == "polygon":
        return Region("", (_points(value["points"], source) * scale,))
    if kind == "rectangle":
        corners = _rectangle(0, 0, *(np.array([value["width"], value["height"]], np.float64) * scale))
        return Region("", (_turned(corners, value) + np.array([value["x"], value["y"]]) * scale,))
    if kind == "ellipse":
        angles = np.linspace(0, 2 * np.pi, CIRCLE_POINTS, endpoint=False)
        radii = np.array([value["radiusX"], value["radiusY"]], np.float64) * scale
        outline = radii * np.stack([np.cos(angles), np.sin(angles)], 1)
        return Region("", (_turned(outline, value) + np.array([value["x"], value["y"]]) * scale,))
    if kind == "brush":
        if value.get("format", "rle") != "rle":
            raise SourceError(f"{source}: brush strokes in format {value['format']!r}, only rle is known")
        return Region("", run_lengths=("brush", value["rle"]))
    return None


def _turned(outline: npt.NDArray[np.float64], value: dict[str, Any]) -> npt.NDArray[np.float64]:
    """The outline, rotated about the origin by ``rotation`` degrees, clockwise as seen in the image."""
    angle = math.radians(float(value.get("rotation") or 0))
    return outline @ np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


def _stored_mask(stored: tuple[Any, ...], width: int, height: int) -> Mask:
    if stored[0] == "coco":
        return coco_mask(stored[1], width, height)
    if stored[0] == "brush":
        return brush_mask(stored[1], width, height)
    _, text, left, top = stored
    try:
        part = cv2.imdecode(np.frombuffer(base64.b64decode(text, validate=True), np.uint8), cv2.IMREAD_UNCHANGED)
    except (binascii.Error, cv2.error):
        part = None
    if part is None or part.ndim != 2:
        raise SourceError("a mask of labelme is not a PNG image of one channel")
    mask = np.zeros((height, width), bool)
    if left < 0 or top < 0 or left + part.shape[1] > width or top + part.shape[0] > height:
        raise SourceError(f"a mask of labelme, {part.shape[1]}x{part.shape[0]} at {left}, {top}, leaves the image")
    mask[top : top + part.shape[0], left : left + part.shape[1]] = part > 0
    return mask


def _image(file: object, width: object, height: object, source: Path) -> AnnotatedImage:
    if not all(isinstance(v, int) and 0 < v <= MAX_SIDE_PX for v in (width, height)):
        raise SourceError(f"{source}: image {file!r} is {width}x{height} px, it says; 1..{MAX_SIDE_PX} are read")
    return AnnotatedImage(str(file), int(width), int(height))  # type: ignore[call-overload]


def _points(points: Any, source: Path) -> npt.NDArray[np.float64]:
    if len(points) > MAX_POINTS:
        raise SourceError(f"{source}: an outline has {len(points)} points; at most {MAX_POINTS} are read")
    array = np.asarray(points, np.float64).reshape(-1, 2)
    if not np.isfinite(array).all() or (np.abs(array) > 4 * MAX_SIDE_PX).any():
        raise SourceError(f"{source}: an outline has points that are far outside of any image, or no numbers")
    return array


def _rectangle(x0: float, y0: float, x1: float, y1: float) -> npt.NDArray[np.float64]:
    # Corners are given between pixels: the outline goes through the centres of the outermost pixels inside.
    (left, right), (top, bottom) = sorted((x0, x1)), sorted((y0, y1))
    right, bottom = max(left, right - 1), max(top, bottom - 1)
    corners: Iterable[tuple[float, float]] = ((left, top), (right, top), (right, bottom), (left, bottom))
    return np.array(list(corners), np.float64) + 0.5


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        SourceError: it is too large, cannot be read, or is not JSON.
    """
    try:
        size = path.stat().st_size
        if size > MAX_JSON_BYTES:
            raise SourceError(f"{path} has {size >> 20} MiB; at most {MAX_JSON_BYTES >> 20} are read: export in parts")
        return json.loads(path.read_bytes())
    except OSError as error:
        raise SourceError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"{path} is not JSON: {error}") from error
