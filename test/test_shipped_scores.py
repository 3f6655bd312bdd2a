"""The scores that the shipped models carry are those that anyone measures again."""

from __future__ import annotations

import pytest
from shared_data import shared_data

from lcr_seg_ros.bundle import ModelBundle, shipped_models
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.sources.folder import DatasetFolder
from lcr_seg_ros.training.evaluate import evaluate, load_segmenter


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_models())
def test_the_scores_inside_a_model_are_measured_again_on_the_validation_frames(name: str) -> None:
    folder = DatasetFolder(shared_data("nyudv2"), "val")
    bundle = ModelBundle.load(name)
    # The label images have the 40 classes; a model of fewer is scored on what its classes are made of.
    annotated = None if bundle.labels.name == "nyu40" else LabelSet.load("nyu40")
    stored, measured = bundle.scores["val"], evaluate(load_segmenter(name), folder, annotated=annotated).scores()
    assert measured["frames"] == stored["frames"] == 414
    for score in ("pixel_acc", "mean_acc", "mean_iou", "fw_iou", "calibration_error"):
        # Runtimes differ in the last bits between processors, and a few of 127 million pixels with them.
        assert measured[score] == pytest.approx(stored[score], abs=5e-4)
