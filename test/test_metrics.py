"""The scores against values worked out by hand, and the band around boundaries against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.training.metrics import (
    ConfusionMatrix,
    boundary_band,
    changed_share,
    rare_class_iou,
    scores_from_confusion,
)


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


NYU40 = LabelSet.load("nyu40")


def band_by_definition(truth: np.ndarray, radius: int) -> np.ndarray:
    """band(k) = { p : t(p) not void, and there is q: t(q) not void, t(q) != t(p), |p - q| <= k }."""
    result = np.zeros(truth.shape, bool)
    pixels = list(np.ndindex(*truth.shape))
    for p in pixels:
        result[p] = truth[p] > 0 and any(
            truth[q] > 0 and truth[q] != truth[p] and (p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 <= radius**2
            for q in pixels
        )
    return result


@given(arrays(np.uint8, (7, 9), elements=st.sampled_from([0, 0, 1, 1, 1, 2, 40])), st.integers(1, 4))
def test_the_band_around_boundaries_is_that_of_its_definition(truth: np.ndarray, radius: int) -> None:
    np.testing.assert_array_equal(boundary_band(truth, NYU40, radius), band_by_definition(truth, radius))


@pytest.mark.parametrize("radius", [3, 7])
def test_along_a_straight_boundary_the_band_holds_k_pixels_on_either_side(radius: int) -> None:
    truth = np.full((20, 40), 5, np.uint8)
    truth[:, 20:] = 9
    columns = np.flatnonzero(boundary_band(truth, NYU40, radius)[10])
    assert (columns.min(), columns.max()) == (20 - radius, 20 + radius - 1)


def test_a_strip_of_void_is_bridged_but_void_alone_has_no_boundary() -> None:
    truth = np.full((5, 30), 5, np.uint8)
    truth[:, 14:16] = 0
    assert not boundary_band(truth, NYU40, 3).any()
    truth[:, 16:] = 9
    assert np.flatnonzero(boundary_band(truth, NYU40, 3)[2]).tolist() == [13, 16]
    assert not boundary_band(truth, NYU40, 2).any()


def test_ids_that_the_label_set_does_not_know_are_void_to_the_band() -> None:
    truth = np.full((5, 30), 5, np.uint8)
    truth[:, 15:] = 200
    assert not boundary_band(truth, NYU40, 3).any()


def test_a_confusion_matrix_can_be_kept_to_a_part_of_the_image() -> None:
    confusion = ConfusionMatrix(NYU40)
    confusion.update(np.array([[1, 1, 0]], np.uint8), np.array([[1, 2, 2]], np.uint8), np.array([[False, True, True]]))
    assert confusion.counts.sum() == 1
    assert confusion.counts[0, 1] == 1


def test_a_band_without_width_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        boundary_band(np.ones((3, 3), np.uint8), NYU40, 0)


def test_flicker_is_a_share_of_pixels_of_frames_of_one_size() -> None:
    assert changed_share(np.array([[1, 2], [3, 4]], np.uint8), np.array([[1, 2], [3, 5]], np.uint8)) == 0.25
    with pytest.raises(ValueError, match="one size"):
        changed_share(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8))


def test_rare_classes_are_those_that_occur_on_less_than_a_hundredth_of_the_pixels() -> None:
    counts = np.zeros((3, 3), int)
    counts[0, 0], counts[1, 1], counts[1, 0] = 1000, 4, 4
    assert rare_class_iou(counts) == pytest.approx(0.5)
    assert rare_class_iou(counts, below=0.001) is None
