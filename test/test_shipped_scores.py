"""The scores that the shipped models carry are those that anyone measures again."""

from __future__ import annotations

import pytest
from shared_data import shared_data

from lcr_seg_ros.bundle import ModelBundle, shipped_models
from lcr_seg_ros.sources.folder import DatasetFolder
from lcr_seg_ros.training.evaluate import evaluate_bundle


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped_models())
def test_the_scores_inside_a_model_are_measured_again_on_the_validation_frames(name: str) -> None:
    folder = DatasetFolder(shared_data("nyudv2"), "val")
    stored, measured = ModelBundle.load(name).scores["val"], evaluate_bundle(name, folder)
    assert measured["frames"] == stored["frames"] == 414
    for score in ("pixel_acc", "mean_acc", "mean_iou", "fw_iou"):
        # Runtimes differ in the last bits between processors, and a few of 127 million pixels with them.
        assert measured[score] == pytest.approx(stored[score], abs=5e-4)
