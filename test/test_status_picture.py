"""Diagnostics as a picture: what is well is green, and every bar is as long as its time."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from lcr_seg_ros.ros.status_picture import _BAD, _BAR, _GOOD, _TAIL, HEIGHT, WIDTH, status_picture

STAGES = {"hha": (4.0, 6.0), "network": (8.0, 16.0), "publish": (0.0, 1.0)}
VALUES = {
    "state": "active",
    "model": "nyu40",
    "masks_out_hz": "29.92",
    "pairs_in_hz": "30.01",
    "dropped": "3",
    "dropped_too_old": "3",
    **{f"{name}_ms_p{p}": f"{ms:.2f}" for name, pair in STAGES.items() for p, ms in zip((50, 95), pair, strict=True)},
    "latency_ms_p50": "20.00",
    "latency_ms_p95": "90.00",
    "invalid_depth_share": "0.1230",
    "gravity_source": "estimate",
}


def pixels_of(picture: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    return (picture == color).all(2)


@pytest.mark.parametrize(("is_well", "color"), [(True, _GOOD), (False, _BAD)])
def test_the_message_stands_on_green_if_all_is_well_and_on_orange_if_not(is_well, color):
    picture = status_picture("segment: segmentation", "active", is_well, VALUES)
    assert picture.shape == (HEIGHT, WIDTH, 3) and picture.dtype == np.uint8
    assert pixels_of(picture[:40], color).mean() > 0.8
    assert not pixels_of(picture, _GOOD if color == _BAD else _BAD).any()


def test_a_bar_for_each_stage_is_as_long_as_its_median_and_paler_up_to_the_95th_percentile():
    picture = status_picture("segment: segmentation", "active", True, VALUES)
    bars = [pixels_of(picture, color).sum(1) for color in (_BAR, _TAIL)]
    rows = np.flatnonzero(bars[0] + bars[1])
    tops = rows[np.diff(rows, prepend=-9) > 1]
    assert len(tops) == 3, "the latency is no stage"
    medians, tails = ([int(b[top + 2]) for top in tops] for b in bars)
    longest = medians[1] + tails[1]
    np.testing.assert_allclose(medians, [longest * ms / 16 for ms in (4, 8, 0)], atol=2)
    np.testing.assert_allclose(tails, [longest * ms / 16 for ms in (2, 8, 1)], atol=2)


@pytest.mark.parametrize("values", [{}, {"state": "inactive"}, VALUES])
def test_any_message_and_any_number_of_values_fit(values):
    picture = status_picture("n" * 300, "a very long message " * 30, False, values)
    assert (picture[:, -8:] == picture[:, -1:]).all(), "nothing is written up to the edge"
    many = {f"stage{k}_ms_p{p}": "1.0" for k in range(30) for p in (50, 95)}
    assert status_picture("s", "", True, values | many).shape == (HEIGHT, WIDTH, 3)


def test_what_changes_is_seen():
    pictures = [
        status_picture("segment: segmentation", "active", True, VALUES | change)
        for change in ({}, {"dropped_too_old": "4"}, {"masks_out_hz": "3"}, {"gravity_doubt": "no floor"})
    ]
    assert all(cv2.absdiff(pictures[0], other).any() for other in pictures[1:])
