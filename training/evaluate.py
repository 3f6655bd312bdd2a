"""Scores of a model bundle on a dataset folder: the same frame-to-labels path as the robot's. No PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from lcr_seg_ros.backends import Backend, create_backend
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.files import refuse_folder
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.hha import GravityTracker
from lcr_seg_ros.labels import UNLABELLED, LabelSet
from lcr_seg_ros.segmenter import Segmenter
from lcr_seg_ros.sources.folder import DatasetFolder
from lcr_seg_ros.sources.source import SourceFrame
from lcr_seg_ros.training.datasets.folder_labels import refuse_other_classes, refuse_other_size
from lcr_seg_ros.training.datasets.grouping import load_grouping
from lcr_seg_ros.training.metrics import (
    ConfusionMatrix,
    Reliability,
    boundary_band,
    changed_share,
    rare_class_iou,
    scores_from_confusion,
)
from lcr_seg_ros.training.worn_depth import wear

BOUNDARY_RADII_PX = (3, 7)
"""Half-widths of the bands that ``--boundary`` scores."""

DEPTHS = ("given", "worn", "none")
"""What :func:`evaluate` may do to depth."""


@dataclass(frozen=True)
class Window:
    """A part of an image, in pixels counted from 0."""

    top: int
    left: int
    height: int
    width: int

    def of(self, image: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The window's pixels of an (H, W, ...) image, contiguous in memory."""
        return np.ascontiguousarray(image[self.top : self.top + self.height, self.left : self.left + self.width])


NYUDV2_WINDOW = Window(top=45, left=40, height=425, width=560)
"""Rows 46..470 and columns 41..600, counted from 1, of a 640x480 frame of NYU Depth V2.

Gupta et al. (CVPR 2013) and the FCN authors cut their frames so, to be rid of the white frame that the rectification
of the colour image leaves.
"""
_NYUDV2_SHAPE = (480, 640)


@dataclass(frozen=True)
class FrameScore:
    """One frame by itself: its mean IU over the classes that are true or predicted there, a fraction of 1."""

    name: str
    mean_iou: float


@dataclass(frozen=True)
class Evaluation:
    """What was counted over a dataset folder.

    Args:
        confusion: of the whole set.
        bands: by radius in pixels, counts of the pixels in :func:`~lcr_seg_ros.training.metrics.boundary_band` only.
        frames: each frame's own score, in the order of the folder; frames that are void all over are left out.
        frame_count: of the folder.
        reliability: of the confidence.
    """

    confusion: ConfusionMatrix
    bands: dict[int, ConfusionMatrix]
    frames: list[FrameScore]
    frame_count: int
    reliability: Reliability

    def scores(self) -> dict[str, Any]:
        """The stable keys: ``pixel_acc``, ``mean_acc``, ``mean_iou``, ``fw_iou``, ``per_class_iou``, ``frames``.

        Also ``calibration_error`` and ``reliability``, see :class:`~lcr_seg_ros.training.metrics.Reliability`.

        Where bands were asked for, also ``boundary``: by radius, ``mean_iou``, ``pixel_acc`` and ``per_class_iou`` in
        the band, and ``share``, the part of all counted pixels that lies in it; and ``rare_iou``, see
        :func:`~lcr_seg_ros.training.metrics.rare_class_iou`.
        """
        scores = {
            **self.confusion.scores(),
            "frames": self.frame_count,
            "calibration_error": self.reliability.expected_calibration_error,
            "reliability": self.reliability.table(),
        }
        if self.bands:
            pixels = max(int(self.confusion.counts.sum()), 1)
            scores["boundary"] = {
                str(radius): {
                    name: value
                    for name, value in band.scores().items()
                    if name in ("mean_iou", "pixel_acc", "per_class_iou")
                }
                | {"share": float(band.counts.sum() / pixels)}
                for radius, band in self.bands.items()
            }
            scores["rare_iou"] = rare_class_iou(self.confusion.counts)
        return scores


def evaluate_bundle(
    model: str | Path,
    folder: DatasetFolder,
    backend: str = "auto",
    device: str = "auto",
    boundary_radii_px: Sequence[int] = (),
) -> dict[str, Any]:
    """Label every frame of a folder and score it at the label image's own size, void dropped.

    Args:
        model: shipped name or path of a bundle.
        folder: with ``label40/`` images of the model's label set.
        backend, device: see :func:`lcr_seg_ros.backends.create_backend`.
        boundary_radii_px: also score the bands of these radii.

    Returns:
        ``pixel_acc``, ``mean_acc``, ``mean_iou``, ``fw_iou`` (fractions of 1), ``per_class_iou`` in the order of
        the label set with None for classes that do not occur, and ``frames``; see :meth:`Evaluation.scores`.

    Raises:
        SourceError: as :func:`evaluate`.
    """
    segmenter = Segmenter.load(model, backend=backend, device=device)
    return evaluate(segmenter, folder, boundary_radii_px=boundary_radii_px).scores()


def write_scored(
    bundle: ModelBundle, out: Path, data: Path | None, split: str | None, annotated: LabelSet | None = None
) -> dict[str, Any]:
    """Write a bundle, with its scores on a split if there is data. Nothing lies at ``out`` until all went well.

    Args:
        bundle: the scores of other splits that it has are kept, unless they are its trial's, which the new ones replace
            altogether.
        out: file to write.
        data: dataset folder, or None.
        split: its list, or None.
        annotated: see :func:`evaluate`.

    Returns:
        The new scores by split; empty where nothing was scored.

    Raises:
        SourceError, LabelSetError: as :func:`evaluate`.
    """
    refuse_folder(out)  # not after minutes of scoring
    scores: dict[str, Any] = {}
    if data is not None and split:
        folder = DatasetFolder(data, split)
        scores = {split: evaluate(Segmenter(bundle, create_backend(bundle)), folder, annotated=annotated).scores()}
        if "trial" in bundle.training:
            bundle = replace(bundle, training=without_trial(bundle.training), scores={})
    replace(bundle, scores=bundle.scores | scores).save(out)
    return scores


def without_trial(training: dict[str, Any]) -> dict[str, Any]:
    """The record of a model whose scores are no longer those of its trial."""
    return {name: value for name, value in training.items() if name != "trial"}


def evaluate(
    segmenter: Segmenter,
    folder: DatasetFolder,
    boundary_radii_px: Sequence[int] = (),
    window: Window | None = None,
    annotated: LabelSet | None = None,
    depth: str = "given",
) -> Evaluation:
    """Label every frame of a folder and count.

    Args:
        segmenter: a model made ready; see :func:`load_segmenter`.
        folder: with ``label40/`` images of the model's label set.
        boundary_radii_px: also count the bands of these radii.
        window: cut frames and labels to it first; the model then sees nothing outside.
        annotated: label set of the label images, whose classes become the model's by their ``group``. None: the
            model's own.
        depth: one of :data:`DEPTHS`: ``given``; ``worn``, with another camera's noise and holes, the same each time
            (:func:`~lcr_seg_ros.training.worn_depth.wear`); or ``none``, as of a sensor that sees nothing.

    Raises:
        SourceError: a frame has no label image, one of another size or with ids that the label set does not have,
            or is not of the size the window is for.
        LabelSetError: the model's classes cannot be made of those of ``annotated``.
    """
    truth_labels = annotated or segmenter.labels
    refuse_other_classes(
        folder.path, truth_labels, "take a model of these classes, or group them to the model's with --labels {file}"
    )
    known = np.zeros(256, np.bool_)
    known[[truth_labels.void, UNLABELLED, *truth_labels.ids.tolist()]] = True
    table = None if annotated is None else load_grouping(segmenter.labels, annotated)[1]
    confusion = ConfusionMatrix(segmenter.labels)
    reliability = Reliability(segmenter.labels)
    bands = {radius: ConfusionMatrix(segmenter.labels) for radius in boundary_radii_px}
    frames = []
    for index, item in enumerate(tqdm(folder, desc="evaluate", unit="frame", leave=False, disable=None)):
        if item.labels is None:
            raise SourceError(f"frame {item.name} of {folder.path} has no label image to compare with")
        refuse_other_size(item, folder.path)
        if not known[item.labels].all():
            strange = np.unique(item.labels[~known[item.labels]])[:8].tolist()
            raise SourceError(
                f"frame {item.name}: the label image has ids {strange}, which label set {truth_labels.name} does not "
                "have: name the label set it was made with, e.g. --labels nyu40"
            )
        if table is not None:
            item = replace(item, labels=table[item.labels])
        item = replace(item, frame=with_depth(item.frame, depth, index))
        seen = item if window is None else cut(item, window)
        assert seen.labels is not None
        segmentation = segmenter.segment(seen.frame)
        predicted = segmentation.labels
        before = confusion.counts.copy()
        confusion.update(seen.labels, predicted)
        reliability.update(seen.labels, predicted, segmentation.confidence)
        of_frame = confusion.counts - before
        if of_frame.any():
            frames.append(FrameScore(item.name, scores_from_confusion(of_frame)["mean_iou"]))
        for radius, band in bands.items():
            band.update(seen.labels, predicted, boundary_band(seen.labels, segmenter.labels, radius))
    return Evaluation(confusion, bands, frames, len(folder), reliability)


def with_depth(frame: RgbdFrame, depth: str, index: int) -> RgbdFrame:
    """The frame of this number as :func:`evaluate` shows it where ``depth`` is other than ``given``."""
    if frame.depth_m is None or depth == "given":
        return frame
    if depth == "worn":
        return replace(frame, depth_m=wear(frame.depth_m, np.random.default_rng(index)))
    return replace(frame, depth_m=np.zeros_like(frame.depth_m))


def measure_flicker(segmenter: Segmenter, folder: DatasetFolder) -> float:
    """Mean share of pixels, 0..1, that change class from one frame of a folder to the next.

    Frames are taken in the folder's order as consecutive ones of one camera, and gravity is followed from frame to
    frame as the node does. Labels are not needed. Motion is not compensated: see
    :func:`~lcr_seg_ros.training.metrics.changed_share`.

    Raises:
        SourceError: fewer than two frames, or frames of several sizes.
    """
    if len(folder) < 2:
        raise SourceError(f"flicker needs at least two consecutive frames, {folder.path} gives {len(folder)}")
    tracker = GravityTracker()
    shares: list[float] = []
    last: npt.NDArray[np.uint8] | None = None
    for item in tqdm(folder, desc="flicker", unit="frame", leave=False, disable=None):
        labels = segmenter.segment(item.frame, tracker).labels
        if last is not None:
            if last.shape != labels.shape:
                raise SourceError(
                    f"frame {item.name} of {folder.path} is {labels.shape}, the one before {last.shape}: flicker needs "
                    "the frames of one sequence"
                )
            shares.append(changed_share(last, labels))
        last = labels
    return float(np.mean(shares))


def load_segmenter(
    model: str | Path, backend: str = "auto", device: str = "auto", flip_test: bool = False
) -> Segmenter:
    """A model made ready to be scored.

    Args:
        model: shipped name or path of a bundle.
        backend, device: see :func:`lcr_seg_ros.backends.create_backend`.
        flip_test: average with the mirrored image; see :class:`FlipTest`.
    """
    bundle = ModelBundle.load(model)
    runtime = create_backend(bundle, backend, device)
    return Segmenter(bundle, FlipTest(runtime) if flip_test else runtime)


class FlipTest:
    """A backend that answers with the mean of the probabilities for the image and for its mirror image.

    Mirroring the network's input mirrors HHA with it, and that is the HHA of the mirrored camera: disparity, height
    and the angle to gravity do not change when the world, and gravity in it, is seen in a mirror.
    """

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.name, self.device = backend.name, backend.device

    def infer(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(B, C, H, W) normalised input -> (B, N, h, w) class probabilities."""
        straight = self._backend.infer(tensor).copy()  # the next call may overwrite it
        mirrored = self._backend.infer(np.ascontiguousarray(tensor[..., ::-1]))
        return (straight + mirrored[..., ::-1]) * np.float32(0.5)  # type: ignore[no-any-return]


def cut(item: SourceFrame, window: Window) -> SourceFrame:
    """A frame and its labels inside a window, with the intrinsics of the smaller image.

    Raises:
        SourceError: the frame is not 640x480, the size that :data:`NYUDV2_WINDOW` belongs to.
    """
    frame = item.frame
    if frame.rgb.shape[:2] != _NYUDV2_SHAPE:
        raise SourceError(
            f"frame {item.name} is {frame.rgb.shape[1]}x{frame.rgb.shape[0]}; the crop is that of 640x480 frames of "
            "NYU Depth V2: score this data without it"
        )
    camera = frame.intrinsics
    if camera is not None:
        camera = CameraIntrinsics(
            camera.fx, camera.fy, camera.cx - window.left, camera.cy - window.top, window.width, window.height
        )
    depth = None if frame.depth_m is None else window.of(frame.depth_m)
    smaller: RgbdFrame = replace(frame, rgb=window.of(frame.rgb), depth_m=depth, intrinsics=camera)
    return replace(item, frame=smaller, labels=None if item.labels is None else window.of(item.labels))
