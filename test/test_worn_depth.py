"""Depth as other cameras deliver it, and what training makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")

from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.hha import HhaEncoder
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.training.data import SegmentationDataset
from lcr_seg_ros.training.examples import Example
from lcr_seg_ros.training.recipe import Recipe
from lcr_seg_ros.training.worn_depth import wear

INTRINSICS = CameraIntrinsics(fx=80.0, fy=80.0, cx=47.5, cy=31.5, width=96, height=64)


def slope(height: int = 64, width: int = 96) -> np.ndarray:
    """A floor that comes nearer downwards, 1 to 4 m."""
    return np.repeat(np.linspace(4.0, 1.0, height, dtype=np.float32)[:, None], width, axis=1)


def example() -> Example:
    depth = slope()
    grey = np.full((64, 96, 3), 90, np.uint8)
    hha = HhaEncoder("fast").encode(depth, INTRINSICS)
    return Example(grey, hha, np.ones((64, 96), np.uint8), (depth * 1000).astype(np.uint16), INTRINSICS)


def dataset(**augmentation: float) -> SegmentationDataset:
    still = {"flip": 0, "crop_area": (1, 1), "crop_aspect": (1.5, 1.5)}
    recipe = Recipe.model_validate(
        {
            "name": "test",
            "input": {"height": 64, "width": 96, "early_share": 0.5, "early_scale": 0.5, "hha": {"smoothing": "off"}},
            "augmentation": still | augmentation,
            "optimizer": {"epochs": 4},
        }
    )
    return SegmentationDataset([example()], recipe, LabelSet.load("nyu40"))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_worn_depth_is_near_the_true_one_wherever_it_is_known(seed: int) -> None:
    depth = slope()
    depth[:5] = 0
    depth[5, :7] = np.nan
    worn = wear(depth, np.random.default_rng(seed))
    known = worn > 0
    assert worn.dtype == np.float32 and worn.shape == depth.shape and np.isfinite(worn).all()
    assert not known[~(depth > 0)].any(), "what the camera did not see stays unseen"
    # 3 % of scale, and five deviations of twice a Kinect's noise with its steps.
    allowed = 0.03 * depth + 5 * 2 * 1.4e-3 * 1.1 * depth**2 + depth**2 / 300
    assert (np.abs(worn - depth)[known] <= allowed[known]).all()


def test_worn_depth_is_a_function_of_its_random_numbers() -> None:
    depth = slope()
    once, again, other = (wear(depth, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(once, again) and not np.array_equal(once, other)


def test_cameras_differ_in_range_and_holes() -> None:
    shares = [np.mean(wear(slope(480, 640), np.random.default_rng(seed)) == 0) for seed in range(20)]
    assert min(shares) < 0.05 < max(shares) < 0.6


def test_depth_is_worn_as_often_as_the_recipe_says_and_colour_never() -> None:
    as_it_is = example().hha.transpose(2, 0, 1)
    for share, expected in ((0.0, 0), (1.0, 12)):
        seen = [dataset(worn_depth=share, brightness=0, contrast=0, saturation=0, hue=0)[(3, 0)][0]]
        seen += [dataset(worn_depth=share, brightness=0, contrast=0, saturation=0, hue=0)[0][0] for _ in range(11)]
        assert sum(not np.array_equal(image[3:], as_it_is) for image in seen) == expected
        assert all((image[:3] == 90).all() for image in seen)


def test_a_frame_without_depth_has_the_hha_that_the_robot_would_compute() -> None:
    empty = HhaEncoder("fast").encode(np.zeros((64, 96), np.float32), INTRINSICS)
    image, _, _ = dataset(no_depth=1.0)[0]
    assert np.array_equal(image[3:], empty.transpose(2, 0, 1))


def test_early_epochs_see_smaller_images_and_the_later_ones_the_full_size() -> None:
    data = dataset(worn_depth=0.5)
    sizes = [tuple(data[(epoch, 0)][0].shape[1:]) for epoch in range(4)]
    assert sizes == [(32, 48), (32, 48), (64, 96), (64, 96)]
    assert data[(0, 0)][2].shape == (32, 48)
    assert tuple(data[0][0].shape[1:]) == (64, 96)


def test_an_item_of_an_epoch_is_always_the_same() -> None:
    first, second = (dataset(worn_depth=1.0)[(2, 0)] for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
