"""The paper's four scores, from one integer confusion matrix over the whole set. NumPy only."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.labels import LabelSet


class ConfusionMatrix:
    """Counts pixels by true and predicted class; void and unknown true ids are dropped.

    A pixel whose *prediction* names no class counts as wrong: it stays in its true class's total.

    Args:
        labels: gives ids and their order.
    """

    def __init__(self, labels: LabelSet) -> None:
        self.labels = labels
        self._channel = labels.channel_of_id()
        n = len(labels)
        self.counts: npt.NDArray[np.int64] = np.zeros((n, n + 1), np.int64)
        """(N, N + 1): rows true classes, columns predicted ones; the last column is "no class"."""

    def update(self, truth: npt.NDArray[np.uint8], predicted: npt.NDArray[np.uint8]) -> None:
        """Add one image pair of mask ids, both (H, W) uint8.

        Raises:
            ValueError: sizes differ (labels are compared at the label image's own size).
        """
        if truth.shape != predicted.shape:
            raise ValueError(f"truth is {truth.shape}, prediction {predicted.shape}: resize the prediction first")
        true_channel, predicted_channel = self._channel[truth], self._channel[predicted]
        known = true_channel >= 0
        n = len(self.labels)
        predicted_channel = np.where(predicted_channel < 0, n, predicted_channel)
        index = true_channel[known] * (n + 1) + predicted_channel[known]
        self.counts += np.bincount(index, minlength=n * (n + 1)).reshape(n, n + 1)

    def scores(self) -> dict[str, Any]:
        """See :func:`scores_from_confusion`."""
        return scores_from_confusion(self.counts)


def scores_from_confusion(counts: npt.ArrayLike) -> dict[str, Any]:
    """Pixel accuracy, mean accuracy, mean IU and frequency-weighted IU (Long et al., CVPR 2015; the paper's 3.1).

    Args:
        counts: (N, N) or (N, N + 1) non-negative integers, rows true, columns predicted; an extra column
            counts pixels that were given no class.

    Returns:
        ``pixel_acc``, ``mean_acc``, ``mean_iou``, ``fw_iou`` as fractions of 1 and ``per_class_iou``, a list
        with None for classes that neither occur nor are predicted. Means are over classes that occur in
        the truth for accuracy, and that occur or are predicted for IU. All are 0.0 when nothing was counted.

    Raises:
        ValueError: another shape or negative counts.
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
