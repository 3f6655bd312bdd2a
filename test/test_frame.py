"""Frames and intrinsics: units, and what is refused before anything is computed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame, depth_to_metres, level_pose, sample_depth

KINECT = CameraIntrinsics(525.0, 525.0, 319.5, 239.5, 640, 480)


@given(st.integers(1, 2000), st.integers(1, 2000), st.floats(-0.5, 639.5), st.floats(-0.5, 479.5))
def test_scaled_intrinsics_see_a_pixel_under_the_same_ray(width: int, height: int, u: float, v: float) -> None:
    scaled = KINECT.scaled_to(width, height)
    u2, v2 = (u + 0.5) * width / 640 - 0.5, (v + 0.5) * height / 480 - 0.5
    assert (u2 - scaled.cx) / scaled.fx == pytest.approx((u - KINECT.cx) / KINECT.fx, abs=1e-9)
    assert (v2 - scaled.cy) / scaled.fy == pytest.approx((v - KINECT.cy) / KINECT.fy, abs=1e-9)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@given(step=st.integers(1, 5), width=st.integers(2, 40), height=st.integers(2, 30))
@settings(max_examples=25, deadline=None)
def test_sampled_depth_is_some_of_the_pixels_each_under_its_ray(
    dtype: type[np.generic], step: int, width: int, height: int
) -> None:
    camera = CameraIntrinsics(500.0, 510.0, 20.5, 11.25, step * width, step * height)
    number = np.arange(camera.width * camera.height).reshape(camera.height, camera.width).astype(dtype)
    sampled, own = sample_depth(number, camera, (width, height))
    assert sampled.dtype == dtype and sampled.shape == (height, width)
    row, column = np.divmod(sampled.astype(int), camera.width)
    j, i = np.indices(sampled.shape)
    np.testing.assert_allclose((i - own.cx) / own.fx, (column - camera.cx) / camera.fx, atol=1e-12)
    np.testing.assert_allclose((j - own.cy) / own.fy, (row - camera.cy) / camera.fy, atol=1e-12)
    assert np.abs(column - (step * i + (step - 1) / 2)).max() <= 0.5, "near the middle of what it stands for"


@given(st.integers(30, 640), st.integers(30, 480))
def test_pixels_sampled_at_other_ratios_are_under_their_rays_within_half_a_pixel(width: int, height: int) -> None:
    number = np.arange(640 * 480, dtype=np.float32).reshape(480, 640)
    sampled, own = sample_depth(number, KINECT, (width, height))
    row, column = np.divmod(sampled.astype(int), 640)
    j, i = np.indices(sampled.shape)
    off = (i - own.cx) / own.fx * KINECT.fx + KINECT.cx - column, (j - own.cy) / own.fy * KINECT.fy + KINECT.cy - row
    assert all(np.abs(each).max() <= 0.51 and abs(each.mean()) < 1e-6 for each in off)


def test_depth_that_has_the_size_stays_what_it_is() -> None:
    depth = np.ones((480, 640), np.float32)
    same, camera = sample_depth(depth, KINECT, (640, 480))
    assert same is depth and camera is KINECT


@pytest.mark.parametrize("values", [(0, 1, 1, 1), (1, -2, 1, 1), (1, 1, float("nan"), 1), (1, 1, 1, float("inf"))])
def test_an_uncalibrated_camera_is_refused_with_a_hint(values: tuple[float, ...]) -> None:
    with pytest.raises(FrameError, match="is the camera calibrated"):
        CameraIntrinsics(*values, width=640, height=480)


@pytest.mark.parametrize("values", [(1e-308, 1, 1, 1), (1, 1e308, 1, 1), (500, 500, -1e9, 1), (500, 500, 1, 1e300)])
def test_intrinsics_that_no_camera_has_are_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(FrameError, match="no camera has such intrinsics"):
        CameraIntrinsics(*values, width=640, height=480)


@pytest.mark.parametrize("size", [(0, 480), (640, 0), (640, 99999)])
def test_absurd_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(FrameError, match="px a side"):
        CameraIntrinsics(1, 1, 0, 0, *size)


def test_depth_of_another_size_says_to_use_the_registered_topic() -> None:
    with pytest.raises(FrameError, match="rgb is 640x480 but depth is 320x240: use the depth topic that is registered"):
        RgbdFrame(np.zeros((480, 640, 3), np.uint8), np.zeros((240, 320), np.float32))


def test_intrinsics_of_another_size_say_so() -> None:
    with pytest.raises(FrameError, match="the intrinsics are for 640x480"):
        RgbdFrame(np.zeros((240, 320, 3), np.uint8), None, KINECT)


@pytest.mark.parametrize(
    "rgb", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8)]
)
def test_what_is_no_colour_image_is_refused(rgb: np.ndarray) -> None:
    with pytest.raises(FrameError, match="rgb must be"):
        RgbdFrame(rgb)


def test_millimetres_and_metres_become_metres_and_holes_stay_holes() -> None:
    np.testing.assert_allclose(depth_to_metres(np.array([[0, 1500]], np.uint16)), [[0.0, 1.5]], rtol=1e-6)
    metres = depth_to_metres(np.array([[np.nan, 2.5]], np.float32))
    assert np.isnan(metres[0, 0])
    assert metres[0, 1] == 2.5


def test_depth_of_another_type_is_refused() -> None:
    with pytest.raises(FrameError, match="uint16 millimetres or float metres, got uint8"):
        depth_to_metres(np.zeros((2, 2), np.uint8))


@given(st.tuples(*[st.floats(-1, 1)] * 3).map(np.array).filter(lambda v: np.linalg.norm(v) > 0.1))
def test_a_level_pose_turns_gravity_to_minus_z_and_is_a_rotation(down: npt.NDArray[np.float64]) -> None:
    rotation = level_pose(down)[:3, :3]
    np.testing.assert_allclose(rotation @ (down / np.linalg.norm(down)), (0, 0, -1), atol=1e-9)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(rotation) == pytest.approx(1)


@pytest.mark.parametrize("pitch_deg", [-90, -89.9, -87, -45, 0, 45, 87, 89.9, 90])
def test_the_right_of_an_image_without_roll_is_minus_y_whatever_the_pitch(pitch_deg: float) -> None:
    """Straight up and down too, where the viewing direction has no horizontal part."""
    pitch = np.radians(pitch_deg)
    rotation = level_pose([0, np.cos(pitch), np.sin(pitch)])[:3, :3]
    if pitch_deg == 0:
        np.testing.assert_allclose(rotation, [[0, 0, 1], [-1, 0, 0], [0, -1, 0]], atol=1e-12)
    np.testing.assert_allclose(rotation @ [1, 0, 0], [0, -1, 0], atol=1e-9)
