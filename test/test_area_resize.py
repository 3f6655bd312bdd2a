"""Shrinking by area: the mean of what each new pixel covers."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lcr_seg_ros.area_resize import _shares, shrink_by_area
from lcr_seg_ros.preprocess import resize_image

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 40))


def noise(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def test_pixels_at_the_rim_count_by_the_share_that_is_covered() -> None:
    row = np.array([0, 30, 60], np.uint8).reshape(1, 3, 1)
    # Two new pixels of one and a half old ones: (0 + 30 / 2) / 1.5 and (30 / 2 + 60) / 1.5.
    assert shrink_by_area(row, (2, 1)).ravel().tolist() == [10, 50]


def test_a_whole_ratio_gives_the_mean_of_blocks() -> None:
    image = noise(12, 15)
    blocks = image.reshape(4, 3, 5, 3, 3).mean((1, 3))
    np.testing.assert_allclose(shrink_by_area(image, (5, 4)), blocks, atol=0.5 + 1e-3)


@given(SIZES, st.floats(0.05, 1), st.floats(0.05, 1), st.integers(0, 255))
def test_an_image_of_one_colour_keeps_it(size: tuple[int, int], across: float, down: float, value: int) -> None:
    image = np.full((size[1], size[0], 3), value, np.uint8)
    shrunk = shrink_by_area(image, (max(1, int(size[0] * across)), max(1, int(size[1] * down))))
    assert (shrunk == value).all()


@given(SIZES, st.floats(0.05, 1), st.floats(0.05, 1), st.integers(0, 9))
@settings(deadline=None)
def test_it_is_opencvs_to_the_last_rounding(size: tuple[int, int], across: float, down: float, seed: int) -> None:
    image = noise(size[1], size[0], seed)
    small = (max(1, int(size[0] * across)), max(1, int(size[1] * down)))
    assert cv2.absdiff(shrink_by_area(image, small), cv2.resize(image, small, interpolation=cv2.INTER_AREA)).max() <= 1


@given(st.integers(1, 2000), st.floats(0.01, 1))
def test_shares_of_a_part_are_one_and_of_a_pixel_alike(length: int, ratio: float) -> None:
    parts = max(1, int(length * ratio))
    first, shares = _shares(length, parts)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-5)
    of_pixels = np.zeros(length + shares.shape[1])
    for k in range(shares.shape[1]):
        np.add.at(of_pixels, first + k, shares[:, k])
    np.testing.assert_allclose(of_pixels[:length], parts / length, atol=1e-4)
    assert not of_pixels[length:].any(), "nothing beyond the image"


@pytest.mark.parametrize("size", [(41, 30), (40, 31), (0, 30)])
def test_growing_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=rf"40x30 cannot shrink to {size[0]}x{size[1]}"):
        shrink_by_area(noise(30, 40), size)


def test_images_that_may_not_be_written_to_and_cuts_of_images_are_taken() -> None:
    image = noise(48, 64)
    image.flags.writeable = False
    whole, cut = resize_image(image, (40, 30)), resize_image(image[::2, ::2], (20, 15))
    assert (whole.shape, cut.shape) == ((30, 40, 3), (15, 20, 3))
