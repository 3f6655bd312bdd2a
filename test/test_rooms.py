"""The rendered room: exact geometry and labels, a plausible camera, the same bytes for the same seed."""

from __future__ import annotations

import time
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.sources.rooms import RenderedRoom, camera, raycast
from lcr_seg_ros.sources.rooms.scene import Material, Scene

FLOOR, CEILING = 2, 22
SMALL = {"width": 160, "height": 120}


@cache
def room(seed: int = 0, noise: bool = False, frames: int = 5) -> RenderedRoom:
    return RenderedRoom(frames=frames, seed=seed, noise=noise, **SMALL)


def rays(k) -> np.ndarray:
    """(H, W, 3) directions with z = 1 of the pixels of a pinhole camera."""
    u, v = np.meshgrid(np.arange(k.width), np.arange(k.height))
    return np.stack([(u - k.cx) / k.fx, (v - k.cy) / k.fy, np.ones(u.shape)], -1)


# --- as a source of frames -----------------------------------------------------------------------------------


def test_it_has_as_many_frames_as_asked_with_running_names_and_can_be_iterated_twice():
    source = RenderedRoom(frames=3, seed=1, **SMALL)
    assert len(source) == 3
    for _ in range(2):
        assert [f.name for f in source] == ["00000", "00001", "00002"]


def test_the_same_seed_gives_the_same_bytes_and_order_of_access_does_not_matter():
    one, other = (RenderedRoom(frames=4, seed=5, **SMALL) for _ in range(2))
    forwards = [one[i] for i in range(4)]
    for i in (3, 0, 2, 1):
        again = other[i]
        assert again.frame.rgb.tobytes() == forwards[i].frame.rgb.tobytes()
        assert again.frame.depth_m.tobytes() == forwards[i].frame.depth_m.tobytes()
        assert again.labels.tobytes() == forwards[i].labels.tobytes()
    assert other[-1].name == "00003"


def test_the_number_of_frames_only_says_how_finely_the_way_is_sampled():
    coarse, fine = room(2, frames=3), room(2, frames=5)
    for i, j in ((0, 0), (1, 2), (2, 4)):
        np.testing.assert_array_equal(coarse[i].labels, fine[j].labels)
        np.testing.assert_array_equal(coarse[i].frame.depth_m, fine[j].frame.depth_m)


def test_the_first_seeds_are_a_living_room_a_bedroom_an_office_and_a_kitchen():
    assert [room(seed).kind for seed in range(4)] == ["living room", "bedroom", "office", "kitchen"]


def test_other_seeds_give_other_rooms():
    pictures = [room(seed)[0] for seed in (0, 1, 2, 9)]
    for i, a in enumerate(pictures):
        for b in pictures[:i]:
            assert (a.labels != b.labels).mean() > 0.2
            assert np.abs(a.frame.depth_m - b.frame.depth_m).mean() > 0.1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"frames": 0}, "frames"), ({"seed": -1}, "seed"), ({"width": 8}, "width"), ({"height": 5000}, "height")],
)
def test_arguments_out_of_range_are_refused_by_name(arguments, named):
    with pytest.raises(SourceError, match=named):
        RenderedRoom(**arguments)


def test_a_frame_that_does_not_exist_is_an_index_error():
    with pytest.raises(IndexError):
        room()[5]


@pytest.mark.parametrize(("width", "height"), [(640, 480), (320, 240), (320, 180), (161, 121)])
def test_intrinsics_are_those_of_a_kinect_scaled_to_the_image(width, height):
    source = RenderedRoom(frames=1, width=width, height=height, noise=False)
    k = source.intrinsics
    assert k.fx == k.fy == 525 * width / 640
    assert (k.cx, k.cy) == ((width - 1) / 2, (height - 1) / 2)
    frame = source[0]
    assert frame.frame.rgb.shape == (height, width, 3) and frame.labels.shape == (height, width)
    assert frame.frame.intrinsics == k


def test_a_smaller_image_shows_the_same_view():
    large = RenderedRoom(frames=2, seed=3, width=320, height=240, noise=False)[1]
    small = RenderedRoom(frames=2, seed=3, width=160, height=120, noise=False)[1]
    inner = large.labels[::2, ::2] == large.labels[1::2, 1::2]  # away from edges
    assert (large.labels[::2, ::2] == small.labels)[inner].mean() > 0.98
    error = np.abs(large.frame.depth_m.reshape(120, 2, 160, 2).mean((1, 3)) - small.frame.depth_m)
    assert np.median(error) < 2e-3
    assert np.abs(large.frame.rgb.mean((0, 1)) - small.frame.rgb.mean((0, 1))).max() < 4


# --- labels --------------------------------------------------------------------------------------------------


@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**40), noise=st.booleans())
def test_every_pixel_of_any_room_has_a_known_label_and_something_to_see(seed, noise):
    source = RenderedRoom(frames=2, seed=seed, width=96, height=72, noise=noise)
    for frame in source:
        assert np.isin(frame.labels, LabelSet.load("nyu40").ids).all()
        assert frame.frame.depth_m.dtype == np.float32 and np.isfinite(frame.frame.depth_m).all()
        assert 15 < frame.frame.rgb.mean() < 240 and frame.frame.rgb.std() > 8
        assert len(np.unique(frame.labels)) >= 2


def test_classes_are_about_as_frequent_as_in_photos_of_rooms():
    share = np.zeros(256)
    for seed in range(9):
        for i in (0, 2, 4):
            labels = room(seed)[i].labels
            share += np.bincount(labels.ravel(), minlength=256) / labels.size / 27
    assert 0.2 < share[1] < 0.42, "wall"
    assert 0.07 < share[FLOOR] < 0.22, "floor"
    assert 0.35 < 1 - share[1] - share[FLOOR] - share[CEILING] < 0.7, "furniture and things"
    assert (share > 1e-4).sum() >= 24, "kinds of things in nine rooms"


# --- geometry ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [FLOOR, CEILING])
def test_depth_of_floor_and_ceiling_is_where_the_ray_meets_the_plane(label):
    met = 0
    for seed in range(9):
        source = room(seed)
        for i in (0, 2, 4):
            frame, pose = source[i], source.pose(i)
            down = rays(source.intrinsics) @ pose[:3, :3].T[:, 2]  # vertical component of each ray
            plane = 0.0 if label == FLOOR else source.size[2]
            expected = (plane - pose[2, 3]) / np.where(np.abs(down) < 1e-9, np.nan, down)
            mask = frame.labels == label
            met += int(mask.sum())
            np.testing.assert_allclose(frame.frame.depth_m[mask], expected[mask], rtol=1e-5)
    assert met > 300


def test_no_point_lies_outside_the_room():
    for seed in range(4):
        source = room(seed)
        for i in (0, 4):
            pose = source.pose(i)
            points = source[i].frame.depth_m[..., None] * rays(source.intrinsics) @ pose[:3, :3].T + pose[:3, 3]
            assert (points > -1e-3).all() and (points < np.array(source.size) + 1e-3).all()


def plain_scene(**shapes) -> raycast.PartArrays:
    scene = Scene((6.0, 6.0, 3.0), np.random.default_rng(0), [Material()] * 6)
    for shape, (center, size) in shapes.items():
        getattr(scene, shape)(5, Material(), center, size, **({"radius": 0.1} if shape == "cushion" else {}))
    return scene.parts()


def cast_from(position, parts):
    """A camera that looks along +y without any tilt: 101 x 101 pixels, focal length 100."""
    pose = np.eye(4)
    pose[:3, :3] = camera.look(np.pi / 2, 0.0, 0.0)
    pose[:3, 3] = position
    view = raycast.cast_image(parts, np.array([6.0, 6.0, 3.0]), pose, 100.0, 100.0, 50.0, 50.0, 101, 101)
    return view.depth, view.part, view.normal


def test_a_box_is_as_deep_as_its_front_and_as_wide_as_its_projection():
    depth, part, normal = cast_from((3.0, 1.0, 1.5), plain_scene(box=((3.0, 4.0, 1.5), (0.99, 2.0, 0.5))))
    box = part == 6
    np.testing.assert_allclose(depth[box], 2.0, rtol=1e-6)  # front at y = 3
    u = np.abs(np.arange(101) - 50)
    np.testing.assert_array_equal(box, (u[:, None] < 0.25 * 50) & (u[None] < 0.495 * 50))
    np.testing.assert_allclose(normal[50, 50], (0, -1, 0), atol=1e-6)
    np.testing.assert_allclose(depth[50, 0], 5.0, rtol=1e-6)  # the wall y = 6 beside it


def test_a_ball_has_the_depth_of_the_quadratic_formula():
    center, radius = np.array([3.1, 4.0, 1.6]), 0.7
    depth, part, normal = cast_from((3.0, 1.0, 1.5), plain_scene(ellipsoid=(tuple(center), (1.4, 1.4, 1.4))))
    direction = rays_of_cast()
    offset = np.array([3.0, 1.0, 1.5]) - center
    a, b = (direction**2).sum(-1), direction @ offset
    disc = b * b - a * (offset @ offset - radius**2)
    hit = disc > 1e-9
    np.testing.assert_array_equal(part[np.abs(disc) > 1e-6] == 6, hit[np.abs(disc) > 1e-6])
    expected = (-b - np.sqrt(np.maximum(disc, 0))) / a
    np.testing.assert_allclose(depth[hit], expected[hit], rtol=1e-5)
    surface = np.array([3.0, 1.0, 1.5]) + expected[..., None] * direction
    np.testing.assert_allclose(normal[hit], ((surface - center) / radius)[hit], atol=1e-4)


def test_a_cylinder_has_the_depth_of_a_circle_and_ends_at_its_height():
    depth, part, _ = cast_from((3.0, 1.0, 1.5), plain_scene(cylinder=((3.0, 4.0, 1.5), (0.8, 0.8, 1.0))))
    direction = rays_of_cast()
    a, b, c = direction[..., 0] ** 2 + 1, -3.0, 9.0 - 0.16
    disc = b * b - a * c
    expected = (-b - np.sqrt(np.maximum(disc, 0))) / a
    side = (disc > 1e-6) & (np.abs(expected * direction[..., 2]) < 0.5 - 1e-3)
    assert (part[side] == 6).all()
    np.testing.assert_allclose(depth[side], expected[side], rtol=1e-5)
    assert (part[(disc < -1e-6)] != 6).all()


def test_a_cushion_is_a_box_in_its_middle_and_rounder_at_its_rim():
    depth, part, _ = cast_from((3.0, 1.0, 1.5), plain_scene(cushion=((3.0, 4.0, 1.5), (1.0, 1.0, 1.0))))
    box_depth, box_part, _ = cast_from((3.0, 1.0, 1.5), plain_scene(box=((3.0, 4.0, 1.5), (1.0, 1.0, 1.0))))
    assert abs(depth[50, 50] - 2.5) < 1e-4
    both = (part == 6) & (box_part == 6)
    assert (depth[both] >= box_depth[both] - 1e-4).all()
    assert part[30, 30] != 6 and box_part[30, 30] == 6  # the corner is cut off


def rays_of_cast() -> np.ndarray:
    u, v = np.meshgrid(np.arange(101) - 50, np.arange(101) - 50)
    return np.stack([u / 100, np.ones(u.shape), -v / 100], -1)


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 8])
def test_the_image_agrees_with_tracing_each_ray_through_the_hierarchy(seed):
    source = room(seed)
    pose = source.pose(3)
    depth, part, normal, _, _ = source._cast(pose)
    direction = (rays(source.intrinsics) @ pose[:3, :3].T).reshape(-1, 3)
    origins = np.repeat(pose[None, :3, 3], len(direction), 0)
    t, number, n = raycast.trace_rays(
        *raycast.as_tuple(source._parts, source._tree), source._room, origins, direction, raycast.FAR
    )
    number, t = number.reshape(part.shape), t.reshape(part.shape)
    # where two parts of one piece share a surface either may be met, and a pixel in thousands just grazes an edge
    assert (np.abs(t - depth) < 1e-4 * depth).mean() > 0.9995
    assert (source._labels[number] == source._labels[part]).mean() > 0.9995
    same = number == part
    assert same.mean() > 0.99
    assert np.abs(n.reshape(normal.shape) - normal)[same].max(1).mean() < 1e-4


# --- camera --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 2, 3])
def test_gravity_is_down_in_the_camera_and_against_the_floor_seen_in_depth(seed):
    source = room(seed)
    checked = 0
    for i in range(len(source)):
        down, pose = source.gravity(i), source.pose(i)
        assert abs(np.linalg.norm(down) - 1) < 1e-12
        np.testing.assert_allclose(pose[:3, :3] @ down, (0, 0, -1), atol=1e-12)
        np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
        assert abs(np.linalg.det(pose[:3, :3]) - 1) < 1e-12
        frame = source[i]
        floor = (frame.frame.depth_m[..., None] * rays(source.intrinsics))[frame.labels == FLOOR]
        if len(floor) > 500:
            normal = np.linalg.svd(floor - floor.mean(0))[2][2]
            assert abs(abs(normal @ down) - 1) < 1e-5
            checked += 1
    assert checked


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_camera_is_held_like_a_camera_and_moves_smoothly(seed):
    source = RenderedRoom(frames=90, seed=seed, width=32, height=24)
    poses = np.array([source.pose(i) for i in range(90)])
    height, forward = poses[:, 2, 3], poses[:, :3, 2]
    assert (height >= 1.0).all() and (height <= 1.6).all()
    pitch = np.degrees(np.arcsin(forward[:, 2]))
    assert (pitch >= -25.01).all() and (pitch <= 10.01).all()
    roll = np.degrees(np.arcsin(poses[:, 2, 0]))
    assert np.abs(roll).max() < 5
    steps = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1)
    turns = np.degrees(np.arccos(np.clip((forward[1:] * forward[:-1]).sum(1), -1, 1)))
    assert steps.max() < 0.06 and turns.max() < 4
    assert np.abs(np.diff(turns)).max() < 0.5
    assert np.degrees(np.arccos(np.clip(forward @ forward[0], -1, 1))).max() > 30
    for axis in range(3):
        assert (poses[:, axis, 3] > 0.05).all() and (poses[:, axis, 3] < source.size[axis] - 0.05).all()


def test_neighbouring_frames_look_alike():
    source = RenderedRoom(frames=90, seed=0, noise=False, **SMALL)
    a, b = source[40], source[41]
    assert (a.labels == b.labels).mean() > 0.85
    assert abs(a.frame.rgb.mean() - b.frame.rgb.mean()) < 5


# --- what the sensor gets wrong ------------------------------------------------------------------------------


def test_noise_free_depth_is_exact_and_has_no_holes():
    frame = room(4)[2]
    np.testing.assert_array_equal(frame.frame.depth_m, room(4)._cast(room(4).pose(2)).depth)
    assert (frame.frame.depth_m > 0).all()


@pytest.mark.parametrize("seed", [0, 2])
def test_depth_has_holes_and_elsewhere_the_noise_of_a_kinect(seed):
    exact, sensed = (RenderedRoom(frames=3, seed=seed, noise=n, width=320, height=240) for n in (False, True))
    for i in range(3):
        z, measured = exact[i].frame.depth_m, sensed[i].frame.depth_m
        hole = measured == 0
        assert 0.02 < hole.mean() < 0.25
        assert hole[(z < camera.MIN_DEPTH_M) | (z > camera.MAX_DEPTH_M)].all()
        z, measured = z[~hole].astype(float), measured[~hole].astype(float)
        sigma = 1.4e-3 * z * z  # Khoshelham and Oude Elberink 2012
        step = z * z * camera.DISPARITY_STEP_PX / (camera.KINECT_FOCAL_PX * camera.BASELINE_M)
        assert (np.abs(measured - z) < 6 * sigma + 0.6 * step).all()
        spread = np.sqrt((((measured - z) / np.sqrt(sigma**2 + step**2 / 12)) ** 2).mean())
        assert 0.93 < spread < 1.07


def test_the_projector_throws_a_shadow_on_one_side_of_a_near_object():
    depth = np.full((120, 160), 3.0, np.float32)
    depth[40:80, 60:100] = 1.0
    ones = np.ones(depth.shape, np.float32)
    sensed = camera.sense_depth(depth, ones, depth < 0, 0 * ones, 0.5 * ones)
    width = 525 / 4 * camera.BASELINE_M * (1 / 1.0 - 1 / 3.0)
    row = sensed[60]
    dark = np.flatnonzero(row[10:150] == 0) + 10
    assert dark.max() == 59 and abs(len(dark) - width) <= 2
    assert (row[100:150] > 0).all()


def test_colour_is_grainy_only_with_noise_and_labels_do_not_change():
    clean, grainy = room(6)[1], room(6, noise=True)[1]
    np.testing.assert_array_equal(clean.labels, grainy.labels)
    difference = grainy.frame.rgb.astype(int) - clean.frame.rgb
    assert 0.5 < difference.std() < 15 and abs(difference.mean()) < 1


def test_a_frame_renders_within_a_generous_bound():
    source = RenderedRoom(frames=4, seed=0)
    source[0]  # compiles
    began = time.process_time()
    source[1]
    assert time.process_time() - began < 1.5
