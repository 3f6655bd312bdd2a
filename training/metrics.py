"""Metrics: four scores from one confusion matrix over a whole data set, or over bands along boundaries; flicker;
reliability of confidence. NumPy and OpenCV only, no PyTorch.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from lcr_seg_ros.labels import LabelSet


class ConfusionMatrix:
    """Counts pixels by true and predicted class; pixels whose true id is void or unknown are left out.

    A pixel whose *predicted* id names no class counts as wrong, in the total of its true class.

    Args:
        labels: gives ids and their order.
    """

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self._channel = labels.channel_of_id()
        n = len(labels)
        self.counts: npt.NDArray[np.int64] = np.zeros((n, n + 1), np.int64)
        """(N, N + 1): rows true classes, columns predicted ones; the last column is "no class"."""

    def update(
        self,
        truth: npt.NDArray[np.uint8],
        predicted: npt.NDArray[np.uint8],
        where: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Add the pixels of one image.

        Args:
            truth, predicted: (H, W) uint8 mask ids, at the label image's own size.
            where: (H, W) bool; only pixels that are True count. None: all.

        Raises:
            ValueError: sizes differ.
        """
        if truth.shape != predicted.shape:
            raise ValueError(f"truth is {truth.shape}, prediction {predicted.shape}: resize the prediction first")
        true_channel, predicted_channel = self._channel[truth], self._channel[predicted]
        known = true_channel >= 0
        if where is not None:
            known &= where
        n = len(self.labels)
        predicted_channel = np.where(predicted_channel < 0, n, predicted_channel)
        index = true_channel[known] * (n + 1) + predicted_channel[known]
        self.counts += np.bincount(index, minlength=n * (n + 1)).reshape(n, n + 1)

    def scores(self) -> dict[str, Any]:
        """See :func:`scores_from_confusion`."""
        return scores_from_confusion(self.counts)


def boundary_band(truth: npt.NDArray[np.uint8], labels: LabelSet, radius_px: int) -> npt.NDArray[np.bool_]:
    """Labelled pixels with a pixel of another class within ``radius_px``: the trimap around boundaries.

    Scores over this band show how sharp boundaries are. The idea is from Kohli, Ladicky and Torr (Robust Higher Order
    Potentials for Enforcing Label Consistency, IJCV 2009); Chen et al. (DeepLab, TPAMI 2018) report mean IU in it.
    Defined here as::

        band(k) = { p : t(p) not void, and there is q: t(q) not void, t(q) != t(p), |p - q| <= k }

    with the true label t and the Euclidean distance between pixel centres. Along a straight boundary between two
    classes that touch, the band has k pixels on either side. The band also crosses strips of void between two classes
    that are narrower than k; NYU Depth V2 has so many that at k = 7 half of the band is found across one. A boundary
    between a class and void alone does not count. Ids that the label set does not know are void.

    Args:
        truth: (H, W) uint8 mask ids.
        labels: tells classes from void.
        radius_px: k, at least 1.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: ``radius_px`` below 1.
    """
    if radius_px < 1:
        raise ValueError(f"radius_px must be at least 1, got {radius_px}")
    # A disk contains another class if and only if its largest or its smallest class differs from the centre's.
    channel = labels.channel_of_id()[truth]
    known = channel >= 0
    offset = np.arange(-radius_px, radius_px + 1)
    disk = (offset[:, None] ** 2 + offset[None, :] ** 2 <= radius_px**2).astype(np.uint8)
    own = (channel + 1).astype(np.uint8)
    largest = cv2.dilate(np.where(known, own, 0).astype(np.uint8), disk, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    smallest = cv2.erode(
        np.where(known, own, 255).astype(np.uint8), disk, borderType=cv2.BORDER_CONSTANT, borderValue=255
    )
    return known & ((largest != own) | (smallest != own))  # type: ignore[no-any-return]


def changed_share(before: npt.NDArray[np.uint8], after: npt.NDArray[np.uint8]) -> float:
    """Share of pixels, 0..1, whose label differs between two consecutive frames: flicker.

    Motion is not compensated: with a moving camera, labels change even for a perfect model, so models should be
    compared on the same frames only.

    Args:
        before, after: (H, W) uint8 mask ids.

    Raises:
        ValueError: sizes differ.
    """
    if before.shape != after.shape:
        raise ValueError(f"frames of one sequence have one size, got {before.shape} and {after.shape}")
    return float((before != after).mean())


class Reliability:
    """How far confidence agrees with accuracy: pixels counted by confidence, in bins of equal width over 0..1.

    Expected calibration error as in Guo et al., "On calibration of modern neural networks", ICML 2017.

    Args:
        labels: tells classes from void.
        bins: number of bins.
    """

    def __init__(self, labels: LabelSet, bins: int = 15) -> None:
        self._channel = labels.channel_of_id()
        self.bins = bins
        self._count, self._right, self._confidence = np.zeros((3, bins))

    def update(
        self,
        truth: npt.NDArray[np.uint8],
        predicted: npt.NDArray[np.uint8],
        confidence: npt.NDArray[np.float32],
    ) -> None:
        """Add the pixels of one image that are not void.

        Args:
            truth, predicted: (H, W) uint8 mask ids.
            confidence: (H, W) float32, 0..1.
        """
        known = self._channel[truth] >= 0
        sure = confidence[known]
        index = np.minimum((sure * self.bins).astype(np.int64), self.bins - 1)
        self._count += np.bincount(index, minlength=self.bins)
        self._right += np.bincount(index, truth[known] == predicted[known], self.bins)
        self._confidence += np.bincount(index, sure, self.bins)

    @property
    def expected_calibration_error(self) -> float:
        """Mean over pixels of their bin's |accuracy - mean confidence|, 0..1; 0 if nothing was counted."""
        return float(np.abs(self._right - self._confidence).sum() / max(self._count.sum(), 1))

    def table(self) -> list[dict[str, float]]:
        """For each bin that is not empty: mean ``confidence``, ``accuracy``, and ``share`` of the pixels, all 0..1."""
        return [
            {
                "confidence": float(self._confidence[k] / self._count[k]),
                "accuracy": float(self._right[k] / self._count[k]),
                "share": float(self._count[k] / self._count.sum()),
            }
            for k in np.flatnonzero(self._count)
        ]


def scores_from_confusion(counts: npt.ArrayLike) -> dict[str, Any]:
    """Pixel accuracy, mean accuracy, mean IU and frequency-weighted IU (Long et al., CVPR 2015; the paper's 3.1).

    Args:
        counts: (N, N) or (N, N + 1) non-negative integers, rows true, columns predicted; an extra column
            counts pixels whose prediction names no class.

    Returns:
        ``pixel_acc``, ``mean_acc``, ``mean_iou`` and ``fw_iou`` as fractions of 1, and ``per_class_iou``, a list
        with None for classes that neither occur nor are predicted. Mean accuracy is over the classes that occur,
        mean IU over those that occur or are predicted. Scores are 0.0 if nothing was counted.

    Raises:
        ValueError: ``counts`` has another shape or negative entries.
    """
    matrix = np.asarray(counts, np.float64)
    if matrix.ndim != 2 or matrix.shape[1] - matrix.shape[0] not in (0, 1) or (matrix < 0).any():
        raise ValueError(f"counts must be (N, N) or (N, N + 1) and not negative, got shape {matrix.shape}")
    n = matrix.shape[0]
    hit = np.diag(matrix[:, :n])
    true = matrix.sum(1)
    union = true + matrix[:, :n].sum(0) - hit
    accuracy = np.divide(hit, true, out=np.full(n, np.nan), where=true > 0)
    iou = np.divide(hit, union, out=np.full(n, np.nan), where=union > 0)
    total = true.sum()
    if total == 0:
        return {"pixel_acc": 0.0, "mean_acc": 0.0, "mean_iou": 0.0, "fw_iou": 0.0, "per_class_iou": [None] * n}
    return {
        "pixel_acc": float(hit.sum() / total),
        "mean_acc": float(np.nanmean(accuracy)),
        "mean_iou": float(np.nanmean(iou)),
        "fw_iou": float(np.nansum(true * iou) / total),
        "per_class_iou": [None if np.isnan(v) else float(v) for v in iou],
    }


def rare_class_iou(counts: npt.ArrayLike, below: float = 0.01) -> float | None:
    """Mean IU of the classes that occur, but in less than a share ``below`` of all counted pixels.

    Args:
        counts: as in :func:`scores_from_confusion`.
        below: share of pixels, 0..1.

    Returns:
        A fraction of 1, or None if no class is that rare.
    """
    true = np.asarray(counts, np.float64).sum(1)
    per_class = scores_from_confusion(counts)["per_class_iou"]
    rare = [iou for iou, t in zip(per_class, true, strict=True) if 0 < t < below * true.sum()]
    return float(np.mean(rare)) if rare else None
