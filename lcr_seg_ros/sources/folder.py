"""Dataset folders, which ``train``, ``evaluate``, ``predict`` and ``play`` read.

::

    DIR/rgb/NAME.jpg|png      8-bit colour
    DIR/depth/NAME.png        uint16 millimetres, 0 = hole, registered to colour   (optional)
    DIR/hha/NAME.png          8-bit HHA made elsewhere, see with_hha               (optional)
    DIR/label40/NAME.png      uint8 mask ids, 0 = void                             (optional, for each image)
    DIR/SPLIT.txt             one NAME a line                                      (optional)
    DIR/intrinsics.yaml       fx, fy, cx, cy, width, height; pixels from 0         (optional)
"""

from __future__ import annotations

import copy
import logging
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import yaml

from lcr_seg_ros.errors import FrameError, SourceError
from lcr_seg_ros.files import read_text, replace_file
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame, UnsizedIntrinsics, depth_to_metres
from lcr_seg_ros.sources.source import FrameSource, SourceFrame
from lcr_seg_ros.yaml_files import read_yaml

RGB_FOLDER, DEPTH_FOLDER, LABEL_FOLDER = "rgb", "depth", "label40"
HHA_FOLDER = "hha"
"""HHA images of other projects, which models are trained on that ask for them; see :meth:`DatasetFolder.with_hha`."""
INTRINSICS_FILE = "intrinsics.yaml"

NYUDV2_INTRINSICS = CameraIntrinsics(
    # The published values count pixels from 1 (MATLAB); ours count from 0.
    fx=518.857901,
    fy=519.469611,
    cx=325.582449 - 1,
    cy=253.736166 - 1,
    width=640,
    height=480,
)
"""Kinect v1 colour camera of NYU Depth V2 (Silberman et al., ECCV 2012)."""

log = logging.getLogger(__name__)


class DatasetFolder:
    """The frames of a dataset folder, in the order of its split or of their names.

    Args:
        path: the folder.
        split: name of a list, e.g. ``val`` for ``val.txt``. Default: all images in ``rgb/``.
        intrinsics: of all images, scaled to the size of each; if they have no size, that of the first image is taken.
            Default: those in ``intrinsics.yaml`` or, if there is no such file, those of NYUDv2, with a warning.
        limit: use only the first ``limit`` frames, >= 1.

    Raises:
        SourceError: the folder, the split or an image does not exist, a file cannot be read or is not UTF-8, or the
            limit is below 1.
    """

    def __init__(
        self,
        path: str | Path,
        split: str | None = None,
        intrinsics: CameraIntrinsics | UnsizedIntrinsics | None = None,
        limit: int | None = None,
    ) -> None:
        self.path = Path(path)
        if not (self.path / RGB_FOLDER).is_dir():
            raise SourceError(f"{self.path} is not a dataset folder: {_why_no_folder(self.path)}")
        self._images = {p.stem: p for p in sorted((self.path / RGB_FOLDER).iterdir()) if _is_image(p)}
        names = list(self._images) if split is None else self._read_split(split)
        if limit is not None and limit < 1:
            raise SourceError(f"limit must be at least 1, got {limit}")
        self.names = names[:limit]
        if not self.names:
            raise SourceError(f"{self.path / RGB_FOLDER} holds no .jpg or .png image")
        self._intrinsics = self._of_first_image(intrinsics) if intrinsics else self._read_intrinsics()
        if self._intrinsics is not None:
            _refuse_far_center(self._intrinsics, "the given intrinsics" if intrinsics else self.path / INTRINSICS_FILE)
        self._reads_hha = False

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[SourceFrame]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> SourceFrame:
        """A frame; its ``labels`` are None if it has no label image."""
        return SourceFrame(self.names[index], self.frame(index), self._labels(self.names[index]))

    def frame(self, index: int) -> RgbdFrame:
        """A frame without its labels, which are not read.

        Raises:
            SourceError: an image is missing or unreadable, or its size differs.
        """
        name = self.names[index]
        rgb = self._read_rgb(name)
        try:
            return RgbdFrame(rgb, self._read_depth(name), self._intrinsics_of(rgb), hha=self._read_hha(name))
        except FrameError as error:
            raise SourceError(f"frame {name} of {self.path}: {error}") from error

    @property
    def intrinsics(self) -> CameraIntrinsics | None:
        """Intrinsics as given or read, for the image size that they name; None if those of NYUDv2 are assumed."""
        return self._intrinsics

    @property
    def has_depth(self) -> bool:
        return (self.path / DEPTH_FOLDER).is_dir()

    @property
    def has_hha(self) -> bool:
        return (self.path / HHA_FOLDER).is_dir()

    @property
    def has_labels(self) -> bool:
        """Whether frames may have label images; those that are not labelled yet have none."""
        return (self.path / LABEL_FOLDER).is_dir()

    def require_labels(self) -> None:
        """Check that all frames are labelled, before any work is done with them.

        Raises:
            SourceError: some are not; names the first of them.
        """
        if bare := self._without(LABEL_FOLDER):
            raise SourceError(
                f"{len(bare)} of {len(self)} frames of {self.path} have no label image: this needs "
                f"{LABEL_FOLDER}/{bare[0]}.png, or a split whose frames are all labelled"
            )

    def require_hha(self) -> None:
        """Check that all frames have HHA that was made elsewhere, before any work is done with them.

        Raises:
            SourceError: some have none; names the first of them.
        """
        if bare := self._without(HHA_FOLDER):
            raise SourceError(
                f"{len(bare)} of {len(self)} frames of {self.path} have no HHA image, which input.hha_source=folder "
                f"needs: add {HHA_FOLDER}/{bare[0]}.png, or train with input.hha_source=computed on depth images"
            )

    def _without(self, folder: str) -> list[str]:
        """Names of the frames that have no PNG image in this folder."""
        return [name for name in self.names if not (self.path / folder / f"{name}.png").is_file()]

    def with_hha(self, wanted: bool) -> DatasetFolder:
        """This folder for a model: its frames bring along the HHA of ``hha/`` if the model was trained with such HHA.

        A folder that has depth alone, such as a recording of a robot, stays as it is, with a warning: HHA is then
        computed, as in the node.

        Args:
            wanted: see :attr:`lcr_seg_ros.bundle.InputSpec.reads_hha`.

        Raises:
            SourceError: a frame has no HHA image.
        """
        if not wanted:
            return self
        if self.has_depth and not self.has_hha:
            _tell_of_computed_hha(self.path)
            return self
        self.require_hha()
        other = copy.copy(self)
        other._reads_hha = True
        return other

    def files(self, name: str) -> list[Path]:
        """Paths of a frame's colour image and, where they exist and are read, its depth and HHA images."""
        read = [DEPTH_FOLDER, HHA_FOLDER] if self._reads_hha else [DEPTH_FOLDER]
        others = [self.path / folder / f"{name}.png" for folder in read]
        return [self._images[name], *(file for file in others if file.is_file())]

    def _read_split(self, split: str) -> list[str]:
        file = self.path / f"{split}.txt"
        if not file.is_file():
            known = ", ".join(sorted(p.stem for p in self.path.glob("*.txt"))) or "none"
            raise SourceError(f"{self.path} has no split {split!r} (no {file.name}); splits here: {known}")
        names = read_text(file, SourceError).split()
        missing = [n for n in names if n not in self._images]
        if missing:
            raise SourceError(
                f"{file} lists {len(missing)} frames without an image in {RGB_FOLDER}/, first {missing[0]!r}"
            )
        if not names:
            raise SourceError(f"{file} is empty")
        return names

    def _of_first_image(self, intrinsics: CameraIntrinsics | UnsizedIntrinsics) -> CameraIntrinsics:
        if isinstance(intrinsics, CameraIntrinsics):
            return intrinsics
        height, width = self._read_rgb(self.names[0]).shape[:2]
        return intrinsics.scaled_to(width, height)

    def _read_intrinsics(self) -> CameraIntrinsics | None:
        file = self.path / INTRINSICS_FILE
        if not file.is_file():
            if self.has_depth:
                _tell_of_assumed_camera(self.path)
            return None
        values = read_yaml(file, SourceError)
        needed = ("fx", "fy", "cx", "cy", "width", "height")
        if not isinstance(values, dict):
            raise SourceError(f"{file} needs entries {', '.join(needed)}, as in fx: 525.0; got {values!r:.60}")
        if missing := [key for key in needed if key not in values]:
            raise SourceError(f"{file} has no {' and no '.join(missing)}: it needs {', '.join(needed)}")
        if odd := next((key for key in needed if not _is_number(values[key])), None):
            raise SourceError(f"{file}: {odd} must be a number of pixels, as in fx: 525.0; got {values[odd]!r:.60}")
        try:
            return CameraIntrinsics(
                **{k: float(values[k]) for k in ("fx", "fy", "cx", "cy")},  # type: ignore[arg-type]
                width=int(values["width"]),
                height=int(values["height"]),
            )
        except (ValueError, OverflowError) as error:
            raise SourceError(f"{file}: {error}") from error

    def _read_rgb(self, name: str) -> npt.NDArray[np.uint8]:
        return read_rgb(self._images[name], turns_photos(self.path))

    def _intrinsics_of(self, rgb: npt.NDArray[np.uint8]) -> CameraIntrinsics:
        return (self._intrinsics or NYUDV2_INTRINSICS).scaled_to(rgb.shape[1], rgb.shape[0])

    def _read_depth(self, name: str) -> npt.NDArray[np.float32] | None:
        if not self.has_depth:
            return None
        file = self.path / DEPTH_FOLDER / f"{name}.png"
        depth = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        if depth is None:
            lacks = f"{file} cannot be read" if file.is_file() else f"there is no {file} for the image {name}"
            raise SourceError(f"{lacks}: `check-data {shlex.quote(str(self.path))}` lists all that is wrong")
        if depth.dtype != np.uint16:
            raise SourceError(f"{file} must be a 16-bit PNG in millimetres, got {depth.dtype} {depth.shape}")
        return depth_to_metres(depth)

    def _read_hha(self, name: str) -> npt.NDArray[np.uint8] | None:
        if not self._reads_hha:
            return None
        file = self.path / HHA_FOLDER / f"{name}.png"
        image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        if image is None:
            raise SourceError(f"cannot read the HHA image {file}: is it whole? copy or make it again")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise SourceError(
                f"{file} must be an 8-bit PNG of three channels (red disparity, green height, blue angle), got "
                f"{image.dtype} {image.shape}"
            )
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]

    def _labels(self, name: str) -> npt.NDArray[np.uint8] | None:
        file = self.path / LABEL_FOLDER / f"{name}.png"
        if not file.is_file():
            return None
        labels = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        if labels is None:
            raise SourceError(f"cannot read the label image {file}: {_is_it_whole(file)}")
        if labels.dtype != np.uint8 or labels.ndim != 2:
            raise SourceError(
                f"{file} must be an 8-bit single-channel PNG of class ids, got {labels.dtype} {labels.shape}"
            )
        return labels  # type: ignore[return-value]


def parse_intrinsics(text: str) -> CameraIntrinsics | UnsizedIntrinsics:
    """Parse intrinsics in pixels, as given on a command line.

    Args:
        text: ``fx,fy,cx,cy`` for images of the original size, or ``fx,fy,cx,cy,width,height`` for images of that size.

    Raises:
        SourceError: these are not four or six numbers.
        FrameError: a value is out of range.
    """
    try:
        values = [float(v) for v in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (4, 6):
        raise SourceError(f"intrinsics must be fx,fy,cx,cy[,width,height], got {text!r}")
    of_images = UnsizedIntrinsics(*values[:4])
    return of_images.scaled_to(int(values[4]), int(values[5])) if len(values) == 6 else of_images


def write_folder(source: FrameSource, path: str | Path, split: str | None = None) -> list[str]:
    """Write every frame of a source to a dataset folder as PNG, losslessly except that depth is rounded to millimetres.

    Args:
        source: all its frames have the same intrinsics.
        path: the folder; files of the same names are replaced.
        split: also list the names in ``SPLIT.txt``.

    Returns:
        The names written.
    """
    folder = Path(path)
    names: list[str] = []
    for item in source:
        write_png(folder / RGB_FOLDER / f"{item.name}.png", cv2.cvtColor(item.frame.rgb, cv2.COLOR_RGB2BGR))
        if item.frame.depth_m is not None:
            write_png(folder / DEPTH_FOLDER / f"{item.name}.png", depth_to_millimetres(item.frame.depth_m))
        if item.labels is not None:
            write_png(folder / LABEL_FOLDER / f"{item.name}.png", item.labels)
        if item.frame.intrinsics is not None and not names:
            write_intrinsics(folder, item.frame.intrinsics)
        names.append(item.name)
    if split is not None:
        replace_file(folder / f"{split}.txt", ("\n".join(names) + "\n").encode())
    return names


def write_intrinsics(folder: Path, camera: CameraIntrinsics) -> None:
    """Write ``intrinsics.yaml`` of a dataset folder; an existing one is replaced."""
    values: dict[str, float] = {name: float(getattr(camera, name)) for name in ("fx", "fy", "cx", "cy")}  # or NumPy's
    values |= {"width": int(camera.width), "height": int(camera.height)}
    replace_file(folder / INTRINSICS_FILE, yaml.safe_dump(values, sort_keys=False).encode())


def depth_to_millimetres(depth_m: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """(H, W) float32 metres -> uint16 millimetres; holes and depth beyond 65.535 m become 0."""
    millimetres = np.rint(np.nan_to_num(depth_m.astype(np.float64), nan=0, posinf=0, neginf=0) * 1000)
    return np.where((millimetres > 0) & (millimetres <= 65535), millimetres, 0).astype(np.uint16)


def _is_number(value: object) -> bool:
    """Whether a value from a file stands for a number; text such as 5e2, which YAML takes for a word, does."""
    try:
        float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _refuse_far_center(k: CameraIntrinsics, place: object) -> None:
    """Refuse a principal point that lies outside of the image by more than the image's size.

    That of a cut-out may lie outside of it; this far, a digit is wrong, or the values are of another image size.

    Raises:
        SourceError: says where the values are from.
    """
    if not (-k.width <= k.cx <= 2 * k.width and -k.height <= k.cy <= 2 * k.height):
        raise SourceError(
            f"{place}: the principal point cx={k.cx:g}, cy={k.cy:g} is far outside of the {k.width}x{k.height} image: "
            "give the values in pixels of an image of this size, or its width and height with them"
        )


def _why_no_folder(path: Path) -> str:
    """Why a path is not a dataset folder, with advice for users who gave the path of the images themselves."""
    lacks = f"it has no {RGB_FOLDER}/ with images"
    if path.is_file():
        return f"it is a file; give the folder whose {RGB_FOLDER}/ holds the images"
    if not path.is_dir():
        return "there is nothing of that name"
    if not any(_is_image(p) for p in path.iterdir()):
        return lacks
    if path.resolve().name == RGB_FOLDER:
        return f"{lacks}, but is one itself: give the folder that it lies in"
    return f"{lacks}; the images in it belong into {path / RGB_FOLDER}/"


@cache
def _tell_of_assumed_camera(folder: Path) -> None:
    """Once for each folder: commands read several splits of one."""
    log.warning(
        "%s has no %s: taking the Kinect of NYUDv2 (fx 518.86, fy 519.47, cx 324.58, cy 252.74 at 640x480, scaled to "
        "the image)",
        folder,
        INTRINSICS_FILE,
    )


@cache
def _tell_of_computed_hha(folder: Path) -> None:
    log.warning(
        "%s has no %s/: HHA is computed from its depth, but the model was trained with HHA that was made elsewhere: "
        "labels may be worse",
        folder,
        HHA_FOLDER,
    )


def turns_photos(folder: Path) -> bool:
    """Whether the photos of a dataset folder are rotated upright as their EXIF data says.

    If there is depth or HHA they are not: these, and intrinsics, match the pixels as they are stored.
    """
    return not any((folder / other).is_dir() for other in (DEPTH_FOLDER, HHA_FOLDER))


def read_rgb(path: Path, turned: bool = True) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8 RGB of an image file.

    Args:
        path: of a JPEG or PNG file.
        turned: see :func:`rgb_flags`.

    Raises:
        SourceError: the file cannot be read.
    """
    image = cv2.imread(str(path), rgb_flags(turned))
    if image is None:
        raise SourceError(f"cannot read the image {path}: {_is_it_whole(path)}")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def _is_it_whole(image: Path) -> str:
    """Advice for an image of a dataset folder that cannot be read."""
    folder = shlex.quote(str(image.parent.parent))
    return f"is it whole? Copy or make it again; `check-data {folder}` lists all that is wrong"


def rgb_flags(turned: bool) -> int:
    """OpenCV's flags for colour images of a dataset folder.

    Args:
        turned: rotate the image upright as its EXIF data says; False: the pixels as they are stored.
    """
    return cv2.IMREAD_COLOR | (0 if turned else cv2.IMREAD_IGNORE_ORIENTATION)


def write_png(path: Path, image: npt.NDArray[np.generic]) -> None:
    """Write an array as PNG, whole or not at all; channels are in OpenCV's order (blue first).

    Raises:
        SourceError: PNG cannot store an array of this shape or type.
    """
    ok, data = cv2.imencode(".png", image)
    if not ok:
        raise SourceError(f"cannot encode {image.dtype} {image.shape} as PNG for {path}")
    replace_file(path, data.tobytes())


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in (".jpg", ".jpeg", ".png") and not path.name.startswith(".")
