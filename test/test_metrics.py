"""The four scores against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.training.metrics import ConfusionMatrix, scores_from_confusion


def test_the_scores_of_a_small_matrix_are_those_of_the_definitions() -> None:
    scores = scores_from_confusion([[3, 1], [2, 4]])
    assert scores["pixel_acc"] == pytest.approx(7 / 10)
    assert scores["mean_acc"] == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert scores["per_class_iou"] == pytest.approx([3 / 6, 4 / 7])
    assert scores["mean_iou"] == pytest.approx((3 / 6 + 4 / 7) / 2)
    assert scores["fw_iou"] == pytest.approx((4 * 3 / 6 + 6 * 4 / 7) / 10)


def test_a_class_that_never_occurs_and_is_never_predicted_is_left_out_of_the_means() -> None:
    scores = scores_from_confusion([[5, 0, 0], [0, 5, 0], [0, 0, 0]])
    assert scores["mean_acc"] == scores["mean_iou"] == 1.0
    assert scores["per_class_iou"][2] is None


def test_a_class_that_is_predicted_but_never_true_counts_in_mean_iu_as_zero() -> None:
    assert scores_from_confusion([[4, 1], [0, 0]])["mean_iou"] == pytest.approx((4 / 5 + 0) / 2)


def test_nothing_counted_scores_zero_instead_of_nan() -> None:
    assert scores_from_confusion(np.zeros((4, 4)))["mean_iou"] == 0.0


@pytest.mark.parametrize("counts", [np.zeros((2, 4)), np.zeros(3), [[1, -1], [0, 1]]])
def test_what_is_no_confusion_matrix_is_refused(counts: object) -> None:
    with pytest.raises(ValueError, match="counts must be"):
        scores_from_confusion(counts)  # type: ignore[arg-type]


@given(arrays(np.int64, (5, 5), elements=st.integers(0, 1000)))
def test_every_score_lies_between_zero_and_one_and_permuting_classes_keeps_it(counts: np.ndarray) -> None:
    scores = scores_from_confusion(counts)
    order = np.array([3, 1, 4, 0, 2])
    permuted = scores_from_confusion(counts[np.ix_(order, order)])
    for name in ("pixel_acc", "mean_acc", "mean_iou", "fw_iou"):
        assert 0.0 <= scores[name] <= 1.0
        assert permuted[name] == pytest.approx(scores[name])


def test_void_pixels_are_dropped_whatever_is_predicted_there() -> None:
    labels = LabelSet.load("nyu40")
    truth = np.array([[0, 1, 2, 2]], np.uint8)
    confusion = ConfusionMatrix(labels)
    confusion.update(truth, np.array([[7, 1, 2, 1]], np.uint8))
    assert confusion.scores()["pixel_acc"] == pytest.approx(2 / 3)


def test_a_pixel_that_was_given_no_class_counts_as_wrong() -> None:
    confusion = ConfusionMatrix(LabelSet.load("nyu40"))
    confusion.update(np.array([[1, 1]], np.uint8), np.array([[1, 255]], np.uint8))
    assert confusion.scores()["pixel_acc"] == pytest.approx(0.5)


def test_images_of_different_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="resize the prediction"):
        ConfusionMatrix(LabelSet.load("nyu40")).update(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))
