"""Scores of a model bundle on a dataset folder, by the same path from frame to labels as on the robot. No PyTorch."""

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
from lcr_seg_ros.frame import RgbdFrame
from lcr_seg_ros.hha import GravityTracker
from lcr_seg_ros.labels import UNLABELLED, LabelSet
from lcr_seg_ros.segmenter import Segmenter
from lcr_seg_ros.sources.folder import DatasetFolder
from lcr_seg_ros.sources.source import SourceFrame
from lcr_seg_ros.training.datasets.folder_labels import refuse_other_classes, refuse_other_size
from lcr_seg_ros.training.datasets.grouping import load_grouping
from lcr_seg_ros.training.datasets.nyudv2_crop import NYUDV2_SHAPE, Window
from lcr_seg_ros.training.datasets.split_digest import LEARNED, learned_splits, tell_of_frames_seen
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
"""Half-widths in pixels of the bands that ``--boundary`` scores."""

DEPTHS = ("given", "worn", "none")
"""Choices of :func:`evaluate` for depth."""


@dataclass(frozen=True)
class FrameScore:
    """Score of a single frame: mean IU, a fraction of 1, over the classes that are true or predicted in it."""

    name: str
    mean_iou: float


@dataclass(frozen=True)
class Evaluation:
    """What was counted over a dataset folder.

    Args:
        confusion: over all pixels.
        bands: by radius in pixels, over the pixels in :func:`~lcr_seg_ros.training.metrics.boundary_band` only.
        frames: score of each frame, in the order of the folder, without frames that are entirely void.
        frame_count: frames in the folder.
        reliability: how far confidence agrees with accuracy.
    """

    confusion: ConfusionMatrix
    bands: dict[int, ConfusionMatrix]
    frames: list[FrameScore]
    frame_count: int
    reliability: Reliability

    def scores(self) -> dict[str, Any]:
        """All scores, fractions of 1, under keys that do not change from release to release.

        ``pixel_acc``, ``mean_acc``, ``mean_iou``, ``fw_iou`` and ``per_class_iou``: see
        :func:`~lcr_seg_ros.training.metrics.scores_from_confusion`. ``frames``: their number. ``calibration_error``
        and ``reliability``: see :class:`~lcr_seg_ros.training.metrics.Reliability`.

        With bands also ``boundary``: by radius, ``mean_iou``, ``pixel_acc`` and ``per_class_iou`` in the band, and
        ``share``, its share of all counted pixels; and ``rare_iou``, see
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
    """Segment every frame of a folder and score it at the label image's own size, without void pixels.

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
    bundle: ModelBundle,
    out: Path,
    data: Path | None,
    split: str | None,
    annotated: LabelSet | None = None,
    told: bool = False,
) -> dict[str, Any]:
    """Write a bundle, with its scores on a split if there is data. ``out`` is written only if everything succeeds.

    Logs a warning if the model is known to have been trained on the split.

    Args:
        bundle: to write. Its scores on other splits are kept; but if its scores are those of its trial, the new ones
            replace them all.
        out: file to write.
        data: dataset folder, or None.
        split: name of a list in it, or None.
        annotated: see :func:`evaluate`.
        told: the warning has been given already.

    Returns:
        The new scores by split; empty where nothing was scored.

    Raises:
        SourceError, LabelSetError: as :func:`evaluate`.
    """
    refuse_folder(out)  # before minutes of scoring, not after them
    scores: dict[str, Any] = {}
    if data is not None and split:
        folder = DatasetFolder(data, split)
        folder.require_labels()
        if bundle.input.reads_hha:
            folder.require_hha()  # scores that are written down are those of the HHA that it was trained with
        if not told:
            tell_of_frames_seen(bundle, data, split)
        scores = {split: evaluate(Segmenter(bundle, create_backend(bundle)), folder, annotated=annotated).scores()}
        if "trial" in bundle.training:
            bundle = replace(bundle, training=without_trial(bundle.training), scores={})
    replace(bundle, scores=bundle.scores | scores).save(out)
    return scores


def without_trial(training: dict[str, Any]) -> dict[str, Any]:
    """A training record without its trial, for a model whose scores are no longer those of the trial.

    The trial's splits, all of which the model was trained on, stay known as such.
    """
    if "trial" not in training:
        return training
    rest = {name: value for name, value in training.items() if name != "trial"}
    return rest | {LEARNED: sorted(learned_splits(training))}


def evaluate(
    segmenter: Segmenter,
    folder: DatasetFolder,
    boundary_radii_px: Sequence[int] = (),
    window: Window | None = None,
    annotated: LabelSet | None = None,
    depth: str = "given",
) -> Evaluation:
    """Segment every frame of a folder, and count pixels by true and predicted class.

    Args:
        segmenter: the model; see :func:`load_segmenter`.
        folder: with ``label40/`` images of the model's label set, or of ``annotated``. A model that was trained with
            HHA of a folder gets that of this one, see :meth:`~lcr_seg_ros.sources.folder.DatasetFolder.with_hha`.
        boundary_radii_px: also count the bands of these radii, in pixels.
        window: crop frames and labels to it first; the model then sees nothing outside.
        annotated: label set of the label images, if its classes have to be grouped into the model's. None: they have
            the model's own.
        depth: one of :data:`DEPTHS`: ``given``; ``worn``, with another camera's noise and holes, the same in every
            evaluation (:func:`~lcr_seg_ros.training.worn_depth.wear`); or ``none``, without any valid depth. HHA of the
            folder stays what it is.

    Raises:
        SourceError: a frame has no label image, one of another size, or one with ids that the label set does not have;
            or with a window, a frame is not 640x480; or a frame has no HHA image, and the model needs it.
        LabelSetError: the classes of ``annotated`` cannot be grouped into the model's.
    """
    folder = folder.with_hha(segmenter.bundle.input.reads_hha)
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
    """The frame with its depth as given, worn or none, see :func:`evaluate`; ``index`` in the folder seeds the wear."""
    if frame.depth_m is None or depth == "given":
        return frame
    if depth == "worn":
        return replace(frame, depth_m=wear(frame.depth_m, np.random.default_rng(index)))
    return replace(frame, depth_m=np.zeros_like(frame.depth_m))


def measure_flicker(segmenter: Segmenter, folder: DatasetFolder) -> float:
    """Mean share of pixels, 0..1, that change class from one frame of a folder to the next.

    The folder's frames, in its order, are taken as consecutive frames of one camera, and gravity is tracked from frame
    to frame as in the node. Label images are not needed. Motion is not compensated: see
    :func:`~lcr_seg_ros.training.metrics.changed_share`.

    Raises:
        SourceError: fewer than two frames, or frames of several sizes.
    """
    if len(folder) < 2:
        raise SourceError(f"flicker needs at least two consecutive frames, {folder.path} gives {len(folder)}")
    folder = folder.with_hha(segmenter.bundle.input.reads_hha)
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
    """Load a model for scoring.

    Args:
        model: shipped name or path of a bundle.
        backend, device: see :func:`lcr_seg_ros.backends.create_backend`.
        flip_test: average the probabilities of each image and its mirror image; see :class:`FlipTest`.
    """
    bundle = ModelBundle.load(model)
    runtime = create_backend(bundle, backend, device)
    return Segmenter(bundle, FlipTest(runtime) if flip_test else runtime)


class FlipTest:
    """A backend that returns the mean of the probabilities for an image and for its mirror image.

    HHA may be mirrored like any image: disparity, height and the angle to gravity are the same for a mirrored scene
    with mirrored gravity.
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
    """A frame and its labels cropped to a window, with the intrinsics of the crop.

    Raises:
        SourceError: the frame is not 640x480, the size that the window of NYU Depth V2 belongs to.
    """
    frame = item.frame
    if frame.rgb.shape[:2] != NYUDV2_SHAPE:
        raise SourceError(
            f"frame {item.name} is {frame.rgb.shape[1]}x{frame.rgb.shape[0]}; the crop is that of 640x480 frames of "
            "NYU Depth V2: score this data without it"
        )
    camera = None if frame.intrinsics is None else window.of_camera(frame.intrinsics)
    depth = None if frame.depth_m is None else window.of(frame.depth_m)
    hha = None if frame.hha is None else window.of(frame.hha)
    smaller: RgbdFrame = replace(frame, rgb=window.of(frame.rgb), depth_m=depth, intrinsics=camera, hha=hha)
    return replace(item, frame=smaller, labels=None if item.labels is None else window.of(item.labels))
