"""Registered depth against what geometry says: planes, shifts, turns, edges, and depth that is nonsense."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.registration import register_depth

WIDTH, HEIGHT = 40, 30
CAMERA = CameraIntrinsics(50.0, 50.0, 19.5, 14.5, WIDTH, HEIGHT)

any_depth = arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.floats(width=32))
metres = st.floats(0.5, 8.0)
small_turns = st.tuples(*[st.floats(-0.1, 0.1)] * 3)
short_ways = st.tuples(*[st.floats(-0.1, 0.1)] * 3)


def moved(translation=(0.0, 0.0, 0.0), rotation_vector=(0.0, 0.0, 0.0)) -> np.ndarray:
    transform = np.eye(4)
    transform[:3, :3] = Rotation.from_rotvec(rotation_vector).as_matrix()
    transform[:3, 3] = translation
    return transform


def plane(camera: CameraIntrinsics, normal, distance: float) -> np.ndarray:
    """Depth of the plane normal . p = distance."""
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], -1)
    return (distance / (rays @ np.asarray(normal))).astype(np.float32)


def flat(z: float, camera: CameraIntrinsics = CAMERA) -> np.ndarray:
    return np.full((camera.height, camera.width), z, np.float32)


# The same camera


@given(any_depth, st.floats(10, 1000), st.floats(10, 1000))
def test_without_a_move_depth_is_what_it_was_and_holes_are_0(depth, fx, fy):
    height, width = depth.shape
    camera = CameraIntrinsics(fx, fy, width / 3, height / 2, width, height)
    known = np.isfinite(depth) & (depth > 0.01) & (depth < 1e30)
    depth[~known & (depth > 0)] = np.nan
    np.testing.assert_array_equal(register_depth(depth, camera, camera, np.eye(4)), np.where(known, depth, 0))


# Shifts


@pytest.mark.parametrize("disparity", [1, 3, 10])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_depth_camera_beside_the_colour_camera_sees_a_wall_shifted_by_the_disparity(disparity, sign):
    """Seen from a camera that is b to the left, all is shifted to the right by f b / z, and keeps its depth."""
    z = 2.0
    registered = register_depth(flat(z), CAMERA, CAMERA, moved((sign * disparity * z / CAMERA.fx, 0, 0)))
    hole = slice(0, disparity) if sign > 0 else slice(WIDTH - disparity, WIDTH)
    expected = flat(z)
    expected[:, hole] = 0
    np.testing.assert_array_equal(registered, expected)


@given(st.integers(-10, 10), st.integers(-10, 10), st.integers(0, 2**32 - 1))
def test_whole_pixels_of_shift_move_the_image_of_any_texture_of_holes(right, down, seed):
    depth = flat(1.5)
    depth[np.random.default_rng(seed).random(depth.shape) < 0.3] = 0
    step = 1.5 / CAMERA.fx
    registered = register_depth(depth, CAMERA, CAMERA, moved((right * step, down * step, 0)))
    expected = np.zeros_like(depth)
    expected[max(down, 0) : HEIGHT + min(down, 0), max(right, 0) : WIDTH + min(right, 0)] = depth[
        max(-down, 0) : HEIGHT + min(-down, 0), max(-right, 0) : WIDTH + min(-right, 0)
    ]
    np.testing.assert_array_equal(registered, expected)


@given(metres, st.floats(-0.3, 3.0))
def test_a_colour_camera_farther_back_sees_a_wall_farther_away_and_smaller(z, back):
    registered = register_depth(flat(z), CAMERA, CAMERA, moved((0, 0, back)))
    np.testing.assert_allclose(registered[registered > 0], z + back, rtol=1e-6)
    seen = WIDTH * HEIGHT * min(z / (z + back), 1) ** 2
    assert np.count_nonzero(registered) == pytest.approx(seen, abs=2 * (WIDTH + HEIGHT))


@given(st.integers(0, 2**32 - 1), short_ways)
def test_a_move_that_keeps_the_distance_invents_no_depth(seed, way):
    depth = np.random.default_rng(seed).uniform(0.3, 5, (HEIGHT, WIDTH)).astype(np.float32)
    registered = register_depth(depth, CAMERA, CAMERA, moved((*way[:2], 0)))
    assert np.isin(registered, np.append(depth, np.float32(0))).all()


# Turns


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_camera_that_is_rolled_sees_the_image_rolled(quarters):
    square = CameraIntrinsics(50.0, 50.0, 9.5, 9.5, 20, 20)
    depth = np.random.default_rng(0).uniform(1, 1.05, (20, 20)).astype(np.float32)
    registered = register_depth(depth, square, square, moved(rotation_vector=(0, 0, quarters * math.pi / 2)))
    np.testing.assert_allclose(registered, np.rot90(depth, -quarters), rtol=1e-6)


@given(metres, small_turns, short_ways, st.tuples(*[st.floats(-0.7, 0.7)] * 2), st.sampled_from([0.5, 1.0, 1.7, 3.0]))
def test_a_slanted_wall_has_its_depth_in_any_camera_and_no_cracks(z, turn, way, slant, scale):
    color = CAMERA.scaled_to(round(WIDTH * scale), round(HEIGHT * scale))
    normal, transform = np.array([*slant, 1.0]), moved(way, turn)
    registered = register_depth(plane(CAMERA, normal, z), CAMERA, color, transform)
    turned = transform[:3, :3] @ normal
    truth = plane(color, turned, z + turned @ transform[:3, 3])
    # Depth of a pixel of the depth camera stands for its whole square: as exact as it is fine.
    slope = max(np.abs(np.diff(truth, axis=0)).max(), np.abs(np.diff(truth, axis=1)).max())
    seen = registered > 0
    assert np.abs(registered - truth)[seen].max() <= 1.5 * max(scale, 1 / scale) * slope + 1e-4 * z
    # What the depth camera sees well inside its image is there without gaps.
    u, v = np.meshgrid(np.arange(color.width), np.arange(color.height))
    rays = np.stack([(u - color.cx) / color.fx, (v - color.cy) / color.fy, np.ones(u.shape)], -1)
    x, y, d = np.moveaxis((rays * truth[..., None] - transform[:3, 3]) @ transform[:3, :3], -1, 0)
    u, v = x / d * CAMERA.fx + CAMERA.cx, y / d * CAMERA.fy + CAMERA.cy
    inside = (u > 1) & (u < WIDTH - 2) & (v > 1) & (v < HEIGHT - 2)
    assert seen[inside].all()


# Finer and coarser colour images


@given(st.integers(2, 5), st.integers(0, 2**32 - 1))
def test_a_finer_colour_image_repeats_each_pixel(factor, seed):
    depth = np.random.default_rng(seed).uniform(1, 4, (HEIGHT, WIDTH)).astype(np.float32)
    finer = CAMERA.scaled_to(WIDTH * factor, HEIGHT * factor)
    registered = register_depth(depth, CAMERA, finer, np.eye(4))
    np.testing.assert_array_equal(registered, depth.repeat(factor, 0).repeat(factor, 1))


def test_in_a_coarser_colour_image_the_nearest_stays():
    depth = np.random.default_rng(0).uniform(1, 4, (HEIGHT, WIDTH)).astype(np.float32)
    coarser = CAMERA.scaled_to(WIDTH // 2, HEIGHT // 2)
    registered = register_depth(depth, CAMERA, coarser, np.eye(4))
    nearest = depth.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).min((1, 3))
    assert (registered >= nearest - 1e-6).all() and (registered > 0).all()
    assert np.isin(registered, depth).all()


# Edges


def test_what_is_behind_a_thing_is_covered_and_what_only_colour_sees_is_a_hole():
    """A post at 1 m before a wall at 4 m: the post is shifted by 8 px, the wall by 2."""
    depth = flat(4.0)
    depth[:, 15:20] = 1.0
    registered = register_depth(depth, CAMERA, CAMERA, moved((8 / CAMERA.fx, 0, 0)))
    expected = flat(4.0)
    expected[:, :2] = 0  # beyond the image of the depth camera
    expected[:, 17:22] = 0  # the post hid 15..19 of the wall from the depth camera
    expected[:, 23:28] = 1.0
    np.testing.assert_array_equal(registered, expected)


@given(st.floats(0.5, 1.5), st.floats(2, 6), small_turns, short_ways)
def test_between_a_thing_and_what_is_behind_it_nothing_is_drawn(near, far, turn, way):
    depth = flat(far)
    depth[8:20, 12:25] = near
    transform = moved(way, turn)
    registered = register_depth(depth, CAMERA, CAMERA, transform)
    v, u = np.indices(depth.shape)
    points = (
        np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy, np.ones_like(depth)], -1) * depth[..., None]
    )
    distance = points @ transform[2, :3] + transform[2, 3]
    slant = 0.02 * far  # a pixel of a turned surface is drawn at one depth
    nearest, farthest = distance[depth == depth.max()].min() - slant, distance[depth < depth.max()].max() + slant
    assert not ((registered > farthest) & (registered < nearest)).any()


@given(any_depth, st.tuples(*[st.floats(-3, 3)] * 3), st.tuples(*[st.floats(-3, 3)] * 3))
def test_each_pixel_is_at_most_as_far_as_any_point_that_lands_on_it(depth, way, turn):
    height, width = depth.shape
    camera = CameraIntrinsics(10.0, 12.0, (width - 1) / 2, (height - 1) / 2, width, height)
    transform = moved(way, turn)
    registered = register_depth(depth, camera, camera, transform)
    assert registered.shape == depth.shape and registered.dtype == np.float32
    assert np.isfinite(registered).all() and (registered >= 0).all()
    known = np.isfinite(depth) & (depth > 0.001) & (depth < 1e6)
    v, u = np.nonzero(known)
    z = depth[known].astype(float)
    points = np.stack([(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, z], -1)
    x, y, d = (points @ transform[:3, :3].T + transform[:3, 3]).T
    with np.errstate(all="ignore"):
        column, line = camera.fx * x / d + camera.cx, camera.fy * y / d + camera.cy
        # Clearly on a pixel, and clearly before the camera: rounding is not what is tested here.
        clear = (d > 0.02) & (d > 1e-3 * z) & (abs(column - np.rint(column)) < 0.1) & (abs(line - np.rint(line)) < 0.1)
        large = np.hypot(z / d * 10, 0) > 0.3  # smaller squares may miss every centre
        clear &= large & (column > -0.4) & (column < width - 0.6) & (line > -0.4) & (line < height - 0.6)
    for i, j, distance in zip(line[clear], column[clear], d[clear], strict=True):
        drawn = registered[round(i), round(j)]
        assert 0 < drawn <= distance * 1.001


def test_points_behind_the_colour_camera_are_not_drawn():
    assert not register_depth(flat(1.0), CAMERA, CAMERA, moved((0, 0, -1.5))).any()
    assert not register_depth(flat(1.0), CAMERA, CAMERA, moved((0, 0, -1.0))).any()


def test_points_right_before_the_lens_cover_no_more_than_a_bounded_patch():
    camera = CameraIntrinsics(50.0, 50.0, 20.0, 15.0, WIDTH, HEIGHT)
    depth = flat(0.0)
    depth[15, 20] = 0.5
    registered = register_depth(depth, camera, camera.scaled_to(400, 300), moved((0, 0, -0.489)))
    assert 0 < np.count_nonzero(registered) <= 33 * 33


# What cannot be used


@pytest.mark.parametrize(
    ("depth", "why"),
    [
        (np.zeros((HEIGHT, WIDTH), np.uint16), "depth_m must be .* uint16"),
        (np.zeros((HEIGHT, WIDTH, 1), np.float32), r"depth_m must be .*\(30, 40, 1\)"),
        (np.zeros((HEIGHT, WIDTH + 1), np.float32), "depth is 41x30 but its intrinsics are for 40x30"),
    ],
)
def test_depth_that_does_not_fit_is_refused(depth, why):
    with pytest.raises(FrameError, match=why):
        register_depth(depth, CAMERA, CAMERA, np.eye(4))


@pytest.mark.parametrize(
    ("transform", "why"),
    [
        (np.eye(3), r"\(4, 4\) and finite"),
        (np.full((4, 4), np.nan), r"\(4, 4\) and finite"),
        (2 * np.eye(4), "must turn and move"),
        (np.diag([1.0, 1.0, -1.0, 1.0]), "must turn and move"),
        (np.zeros((4, 4)), "must turn and move"),
        (np.eye(4)[[0, 1, 3, 2]], "must turn and move"),
    ],
)
def test_a_transform_that_is_not_rigid_is_refused(transform, why):
    with pytest.raises(FrameError, match=why):
        register_depth(flat(1.0), CAMERA, CAMERA, transform)
