"""Scores of a model bundle on a dataset folder: the same frame-to-labels path as the robot's. No PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tqdm import tqdm

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.segmenter import Segmenter
from lcr_seg_ros.sources.folder import DatasetFolder
from lcr_seg_ros.training.metrics import ConfusionMatrix


def evaluate_bundle(
    model: str | Path, folder: DatasetFolder, backend: str = "auto", device: str = "auto"
) -> dict[str, Any]:
    """Label every frame of a folder and score it at the label image's own size, void dropped.

    Args:
        model: shipped name or path of a bundle.
        folder: with ``label40/`` images of the model's label set.
        backend, device: see :func:`lcr_seg_ros.backends.create_backend`.

    Returns:
        ``pixel_acc``, ``mean_acc``, ``mean_iou``, ``fw_iou`` (fractions of 1), ``per_class_iou`` in the order of
        the label set with None for classes that do not occur, and ``frames``.

    Raises:
        SourceError: a frame has no label image, or one of another size.
    """
    segmenter = Segmenter.load(model, backend=backend, device=device)
    confusion = ConfusionMatrix(segmenter.labels)
    for item in tqdm(folder, desc="evaluate", unit="frame", leave=False, disable=None):
        if item.labels is None:
            raise SourceError(f"frame {item.name} of {folder.path} has no label image to compare with")
        predicted = segmenter.segment(item.frame).labels
        if predicted.shape != item.labels.shape:
            raise SourceError(
                f"frame {item.name}: the label image is {item.labels.shape}, the colour image {predicted.shape}"
            )
        confusion.update(item.labels, predicted)
    return {**confusion.scores(), "frames": len(folder)}
