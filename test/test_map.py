"""The semantic map: votes in closed form, where the camera was, the files, the command, and the pictures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from model_under_test import model_under_test
from scipy.spatial.transform import Rotation
from shared_data import ROOT, keep_picture, shared_data
from tiny_bundle import make_tiny_bundle

from lcr_seg_ros.errors import FrameError, SourceError
from lcr_seg_ros.frame import CameraIntrinsics, level_pose
from lcr_seg_ros.labels import UNLABELLED, LabelSet
from lcr_seg_ros.map_command import command
from lcr_seg_ros.mapping import DepthOdometry, MapError, MapSettings, VoxelMap, Voxels, pictures
from lcr_seg_ros.mapping.odometry import agreement
from lcr_seg_ros.mapping.pictures import View, draw_voxels, map_picture
from lcr_seg_ros.mapping.ply import PLY_VERTEX, write_ply
from lcr_seg_ros.mapping.trajectory import PoseTable, pose_of, quaternion_of, read_poses, write_poses
from lcr_seg_ros.sources.folder import write_folder
from lcr_seg_ros.sources.rooms import RenderedRoom

NYU40 = LabelSet.load("nyu40")
WALL, FLOOR, CHAIR = (next(c.id for c in NYU40.classes if c.name == name) for name in ("wall", "floor", "chair"))
CAMERA = CameraIntrinsics(70.0, 70.0, 39.5, 29.5, 80, 60)
EVERYTHING = {"min_range": 0.0, "max_range": 100.0, "min_confidence": 0.0, "min_views": 1}
needs_odometry = pytest.mark.skipif(not hasattr(cv2, "OdometrySettings"), reason="needs OpenCV 5")

quaternions = st.tuples(*[st.floats(-1, 1)] * 4).map(np.array).filter(lambda q: np.linalg.norm(q) > 0.1)
positions = st.tuples(*[st.floats(-20, 20)] * 3).map(np.array)


def a_map(**changes: float) -> VoxelMap:
    return VoxelMap(NYU40, MapSettings(**EVERYTHING | changes))


def vote(target: VoxelMap, points: object, labels: object, confidence: object = None, pose: object = None) -> int:
    return target.integrate_points(
        np.array(points, np.float32).reshape(-1, 3),
        np.array(labels, np.uint8).reshape(-1),
        np.eye(4) if pose is None else pose,
        None if confidence is None else np.array(confidence, np.float32),
    )


def cells(voxels: Voxels) -> set[tuple[int, ...]]:
    return {tuple(cell) for cell in np.floor(voxels.centers.astype(float) / voxels.size).astype(int).tolist()}


class TestVotes:
    def test_a_voxel_spans_from_its_lower_edges_to_below_its_upper_ones(self):
        target = a_map(voxel_size=0.5)
        vote(target, [(0, 0, 1), (0.49, 0.49, 1.49), (0.5, -0.01, 1)], [WALL] * 3)
        voxels = target.voxels()
        assert cells(voxels) == {(0, 0, 2), (1, -1, 2)}
        assert sorted(voxels.centers.tolist()) == [[0.25, 0.25, 1.25], [0.75, -0.25, 1.25]]

    def test_confidence_outweighs_number(self):
        target = a_map()
        vote(target, [(0.01, 0.01, 1)] * 3, [CHAIR, CHAIR, WALL], [0.3, 0.3, 0.9])
        voxels = target.voxels()
        assert voxels.labels.tolist() == [WALL]
        assert voxels.confidence[0] == pytest.approx(0.9 / 1.5)

    def test_later_frames_overrule_a_wrong_one(self):
        target = a_map()
        for label in (CHAIR, FLOOR, FLOOR):
            vote(target, [(0, 0, 1)], [label])
        assert target.voxels().labels.tolist() == [FLOOR]
        assert target.voxels().views.tolist() == [3]

    @given(quaternions, positions, st.integers(0, 2**31), st.sampled_from([0.05, 0.1, 0.3]))
    def test_a_known_pose_gives_exactly_the_voxels_of_the_moved_points(self, quaternion, position, seed, size):
        pose = pose_of(position, quaternion)
        points = np.random.default_rng(seed).uniform((-2, -2, 0.1), (2, 2, 6), (200, 3)).astype(np.float32)
        scaled = (points.astype(float) @ pose[:3, :3].T + pose[:3, 3]) / size
        clear = (np.abs(scaled - np.rint(scaled)) > 1e-6).all(1)  # not on an edge, where rounding decides
        target = a_map(voxel_size=size)
        assert vote(target, points[clear], np.full(clear.sum(), WALL), pose=pose) == clear.sum()
        assert cells(target.voxels()) == {tuple(c) for c in np.floor(scaled[clear]).astype(int).tolist()}

    def test_a_wall_seen_from_many_sides_stays_one_wall(self):
        """A plane at y = 2.02 in the world, seen by a camera that moves and turns in front of it."""
        target = a_map(voxel_size=0.05, max_range=10.0)
        rows, columns = np.mgrid[0:60, 0:80]
        rays = np.stack([(columns - CAMERA.cx) / CAMERA.fx, (rows - CAMERA.cy) / CAMERA.fy, np.ones((60, 80))], -1)
        for k in range(12):
            pose = level_pose([0.0, 1.0, 0.1 * np.sin(k)])
            pose[:3, :3] = Rotation.from_euler("z", 90 + 3 * k - 15, degrees=True).as_matrix() @ pose[:3, :3]
            pose[:3, 3] = 0.05 * k, 0.03 * k, 0.01 * k
            depth = (2.02 - pose[1, 3]) / (rays @ pose[1, :3])
            target.integrate_frame(depth.astype(np.float32), CAMERA, np.full((60, 80), WALL, np.uint8), pose)
        voxels = target.voxels()
        assert {y for _, y, _ in cells(voxels)} == {40}
        assert set(voxels.labels.tolist()) == {WALL}
        assert len(voxels) > 1000

    @pytest.mark.parametrize("depth", [np.nan, np.inf, -np.inf, 0.0, -1.0, 0.2, 5.0, 1e30])
    def test_holes_and_what_is_out_of_range_do_not_vote(self, depth):
        target = VoxelMap(NYU40, MapSettings(min_range=0.3, max_range=4.0))
        image = np.full((60, 80), depth, np.float32)
        assert target.integrate_frame(image, CAMERA, np.full((60, 80), WALL, np.uint8), np.eye(4)) == 0
        assert len(target) == 0

    def test_void_unlabelled_unknown_and_uncertain_points_do_not_vote(self):
        target = a_map(min_confidence=0.5)
        labels = [NYU40.void, UNLABELLED, 77, WALL, WALL, WALL]
        assert vote(target, [(0, 0, 1)] * 6, labels, [1, 1, 1, 0.49, np.nan, 0.5]) == 1

    def test_points_beyond_the_grid_do_not_vote(self):
        assert vote(a_map(), [(1e6, 0, 1), (0, -1e30, 1), (np.nan, 0, 1), (0, 0, 1)], [WALL] * 4) == 1

    def test_voxels_show_once_enough_frames_saw_them(self):
        target = a_map(min_views=2)
        vote(target, [(0, 0, 1)] * 50, [WALL] * 50)
        assert len(target.voxels()) == 0
        vote(target, [(0, 0, 1)], [WALL])
        assert len(target.voxels()) == 1

    def test_a_filter_shows_its_classes_alone_and_changes_no_vote(self):
        target = a_map()
        vote(target, [(0, 0, 1), (1, 0, 1), (1, 0, 1)], [CHAIR, CHAIR, WALL], [0.5, 0.4, 0.6])
        assert target.voxels(["chair"]).labels.tolist() == [CHAIR]
        assert target.voxels([str(WALL)]).labels.tolist() == [WALL]
        with pytest.raises(MapError, match="did you mean chair"):
            target.voxels(["chiar"])

    def test_colours_are_the_mean_of_the_points(self):
        target = a_map()
        target.integrate_points(
            np.array([(0, 0, 1)] * 2, np.float32), np.array([WALL] * 2, np.uint8), np.eye(4),
            rgb=np.array([(10, 20, 30), (30, 20, 10)], np.uint8),
        )  # fmt: skip
        rgb = target.voxels().rgb
        assert rgb is not None and rgb.tolist() == [[20, 20, 20]]

    def test_a_voxel_seen_for_days_keeps_its_precision_and_can_still_change(self):
        target = a_map()
        vote(target, np.tile([0, 0, 1], (500_000, 1)), np.full(500_000, WALL))
        assert target.voxels().labels.tolist() == [WALL]
        vote(target, np.tile([0, 0, 1], (150_000, 1)), np.full(150_000, FLOOR))
        assert target.voxels().labels.tolist() == [FLOOR]

    @pytest.mark.parametrize(
        ("labels", "pose", "message"),
        [
            (np.zeros((59, 80), np.uint8), np.eye(4), "labels"),
            (np.zeros((60, 80), np.uint8), np.eye(3), "pose"),
            (np.zeros((60, 80), np.uint8), np.full((4, 4), np.nan), "pose"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, labels, pose, message):
        with pytest.raises(FrameError, match=message):
            a_map().integrate_frame(np.ones((60, 80), np.float32), CAMERA, labels, pose)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"voxel_size": 0},
            {"voxel_size": np.nan},
            {"max_voxels": 0},
            {"min_views": 0},
            {"min_range": 3, "max_range": 2},
        ],
    )
    def test_settings_out_of_range_are_refused(self, wrong):
        with pytest.raises(MapError):
            MapSettings(**wrong)


class TestMemory:
    def test_is_bounded_and_what_was_seen_last_stays(self):
        target = a_map(max_voxels=1000, voxel_size=0.1)
        bound = a_map(max_voxels=1000)
        rng = np.random.default_rng(0)
        for _ in range(30):
            vote(target, rng.uniform(0.5, 50, (400, 3)), np.full(400, WALL))
        last = rng.uniform(0.5, 50, (200, 3)).astype(np.float32)
        vote(target, last, np.full(200, FLOOR))
        assert len(target) <= 1000 and target.forgotten > 10_000
        assert target.nbytes <= 1000 * (4 * len(NYU40) + 48) and bound.nbytes <= target.nbytes
        seen_now = {tuple(c) for c in np.floor(last.astype(float) / 0.1).astype(int).tolist()}
        assert seen_now <= cells(target.voxels())

    def test_one_frame_with_more_voxels_than_there_may_be_ends(self):
        target = a_map(max_voxels=7)
        assert vote(target, np.random.default_rng(0).uniform(0.5, 50, (500, 3)), np.full(500, WALL)) == 500
        assert len(target) <= 7

    def test_a_small_map_takes_little(self):
        target = a_map(max_voxels=20_000_000)
        vote(target, [(0, 0, 1)], [WALL])
        assert target.nbytes < 2_000_000

    @given(st.integers(0, 2**31))
    @settings(max_examples=20)
    def test_growing_changes_nothing(self, seed):
        points = np.random.default_rng(seed).uniform(0.5, 30, (6000, 3))
        small, one_by_one = a_map(), a_map()
        vote(small, points, np.full(6000, WALL))
        for part in np.array_split(points, 3):
            vote(one_by_one, part, np.full(len(part), WALL))
        assert cells(small.voxels()) == cells(one_by_one.voxels())

    def test_a_state_restores_the_map(self):
        target, again = a_map(), a_map()
        vote(target, np.random.default_rng(0).uniform(0.5, 9, (5000, 3)), np.full(5000, CHAIR))
        again.restore(target.state())
        for which in (target, again):
            vote(which, np.random.default_rng(1).uniform(0.5, 9, (5000, 3)), np.full(5000, WALL))
        a, b = target.voxels(), again.voxels()
        assert np.array_equal(a.centers, b.centers) and np.array_equal(a.labels, b.labels)

    def test_a_state_of_another_map_is_refused(self):
        state = a_map().state() | {"votes": np.zeros((0, 3), np.float32)}
        with pytest.raises(MapError, match="votes"):
            a_map().restore(state)


def off(pose: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Distance in mm and angle in degrees between two poses."""
    difference = np.linalg.inv(truth) @ pose
    angle = np.degrees(Rotation.from_matrix(difference[:3, :3]).magnitude())
    return 1000 * float(np.linalg.norm(difference[:3, 3])), float(angle)


@needs_odometry
class TestOdometry:
    FRAMES = 16

    @pytest.fixture(scope="class")
    def video(self) -> tuple[RenderedRoom, list[np.ndarray], list[np.ndarray]]:
        """With the noise and the holes of a Kinect, 0.7 degrees from one to the next."""
        room = RenderedRoom(frames=150, seed=1, width=320, height=240)
        way = [room.pose(20 + i) for i in range(self.FRAMES)]
        return room, [room.depth_from(pose, i) for i, pose in enumerate(way)], way

    def test_follows_a_noisy_camera_to_a_centimetre_and_half_a_degree(self, video):
        room, images, way = video
        odometry = DepthOdometry(room.intrinsics, pose=way[0])
        for image, truth in zip(images, way, strict=True):
            pose = odometry.track(image)
            assert pose is not None
            distance_mm, angle_deg = off(pose, truth)
            assert distance_mm < 10 and angle_deg < 0.5
        assert odometry.lost == 0

    def test_says_when_it_is_lost_and_finds_its_way_again(self, video):
        room, images, way = video
        odometry = DepthOdometry(room.intrinsics, pose=way[0])
        odometry.track(images[0])
        assert odometry.track(np.zeros_like(images[0])) is None
        assert odometry.track(np.random.default_rng(0).uniform(1, 4, images[0].shape).astype(np.float32)) is None
        found = odometry.track(images[1])
        assert found is not None and off(found, way[1])[0] < 10
        assert odometry.lost == 2

    def test_another_place_is_not_taken_for_the_next_frame(self, video):
        room, images, way = video
        odometry = DepthOdometry(room.intrinsics, pose=way[0])
        odometry.track(images[0])
        assert odometry.track(np.ascontiguousarray(images[8][::-1, ::-1])) is None

    def test_goes_on_from_a_state_as_if_it_had_not_stopped(self, video):
        room, images, way = video
        straight = DepthOdometry(room.intrinsics, pose=way[0])
        expected = [straight.track(image, i) for i, image in enumerate(images)]
        first = DepthOdometry(room.intrinsics, pose=way[0])
        for i in range(7):
            first.track(images[i], i)
        state = first.state
        assert state is not None
        second = DepthOdometry(room.intrinsics)
        second.resume(state, images[state.key_index], images[state.last_index])
        for i in range(7, self.FRAMES):
            pose = second.track(images[i], i)
            # OpenCV's sums over threads differ in the last digits from run to run.
            assert pose is not None and np.allclose(pose, expected[i], atol=1e-4)

    def test_images_of_another_size_are_refused(self, video):
        with pytest.raises(FrameError, match="320x240"):
            DepthOdometry(video[0].intrinsics).track(np.ones((60, 80), np.float32))

    def test_agreement_is_the_share_of_pixels_with_the_same_depth(self):
        matrix = np.array([[70.0, 0, 39.5], [0, 70, 29.5], [0, 0, 1]])
        wall, step = np.full((60, 80), 2.0, np.float32), np.eye(4)
        assert agreement(wall, wall, step, matrix) == 1.0
        step[2, 3] = 0.2
        assert agreement(wall, wall, step, matrix) == 0.0
        assert agreement(wall, wall + np.float32(0.2), step, matrix) == 1.0
        assert agreement(np.full_like(wall, np.nan), wall, step, matrix) == 0.0


def test_without_opencv_5_odometry_says_what_to_do(monkeypatch):
    monkeypatch.delattr(cv2, "OdometrySettings", raising=False)
    with pytest.raises(MapError, match=r"lcr_seg_ros\[map\]"):
        DepthOdometry(CAMERA)


class TestPoses:
    @given(quaternions, positions)
    def test_quaternions_and_rotations_are_each_others_inverse(self, quaternion, position):
        pose = pose_of(position, quaternion)
        np.testing.assert_allclose(pose[:3, :3], Rotation.from_quat(quaternion).as_matrix(), atol=1e-9)
        np.testing.assert_allclose(pose_of(position, quaternion_of(pose[:3, :3])), pose, atol=1e-9)

    def test_files_keep_them(self, tmp_path):
        poses = {"000000": np.eye(4), "000001": pose_of([1, 2, 3], [0.1, 0.2, 0.3, 0.9])}
        read = read_poses(write_poses(tmp_path / "poses.txt", poses))
        assert list(read) == list(poses)
        for name, pose in poses.items():
            np.testing.assert_allclose(read[name], pose, atol=1e-7)

    @pytest.mark.parametrize("line", ["a 1 2 3", "a 1 2 3 0 0 0 0", "a 1 2 nan 0 0 0 1", "a b c d e f g h", "\x00\xff"])
    def test_lines_that_are_no_poses_are_named(self, tmp_path, line):
        (tmp_path / "poses.txt").write_text(f"# comment\n\n{line}\n")
        with pytest.raises(SourceError, match="line 3"):
            read_poses(tmp_path / "poses.txt")

    def test_stamps_match_within_20_ms_and_numbers_of_frames_exactly(self):
        table = PoseTable({"1.00": np.eye(4), "2.00": 2 * np.eye(4), "000007": 7 * np.eye(4)})
        for name, factor in (("1.019", 1), ("1.981000000", 2), ("000007", 7)):
            found = table.find(name)
            assert found is not None and found[0, 0] == factor
        assert table.find("1.5") is None and table.find("7") is None


def read_ply(path: Path) -> tuple[list[str], np.ndarray]:
    header, _, body = path.read_bytes().partition(b"end_header\n")
    return header.decode("ascii").splitlines(), np.frombuffer(body, PLY_VERTEX)


class TestPly:
    def voxels(self) -> Voxels:
        target = a_map()
        vote(target, [(0.01, 0.01, 1.01), (1.01, 2.01, 3.01)], [WALL, CHAIR])
        return target.voxels()

    def test_holds_a_vertex_a_voxel_with_the_colour_of_its_class(self, tmp_path):
        header, vertices = read_ply(write_ply(tmp_path / "map.ply", self.voxels(), NYU40))
        assert header[:2] == ["ply", "format binary_little_endian 1.0"]
        assert f"comment class {CHAIR} chair" in header and "element vertex 2" in header
        assert [line.split()[1:] for line in header if line.startswith("property")][:4] == [
            ["float", "x"], ["float", "y"], ["float", "z"], ["uchar", "red"],
        ]  # fmt: skip
        chair = vertices[vertices["label"] == CHAIR][0]
        assert tuple(chair[name] for name in ("red", "green", "blue")) == tuple(NYU40.palette[CHAIR])
        np.testing.assert_allclose([chair[axis] for axis in "xyz"], (1.025, 2.025, 3.025), atol=1e-6)

    def test_is_there_whole_or_not_at_all(self, tmp_path, monkeypatch):
        file = write_ply(tmp_path / "map.ply", self.voxels(), NYU40)
        before = file.read_bytes()

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space"):
            write_ply(file, self.voxels(), NYU40)
        assert file.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["map.ply"]

    def test_an_empty_map_is_a_file_without_vertices(self, tmp_path):
        header, vertices = read_ply(write_ply(tmp_path / "map.ply", a_map().voxels(), NYU40))
        assert "element vertex 0" in header and len(vertices) == 0


class TestPictures:
    def cubes(self, *centers: tuple[float, float, float]) -> Voxels:
        n = len(centers)
        return Voxels(
            np.array(centers, np.float32), np.full(n, WALL, np.uint8), np.ones(n, np.float32), None,
            np.ones(n, np.int32), 1.0,
        )  # fmt: skip

    def test_a_cube_seen_face_on_is_a_square_of_the_size_that_perspective_gives(self):
        view = View.looking_at([5.5, 0.5, 0.5], [0.5, 0.5, 0.5], focal_px=100.0)
        picture = draw_voxels(self.cubes((0.5, 0.5, 0.5)), np.array([[200, 0, 0]], np.uint8), view, 101, 101)
        drawn = (picture != 255).any(2)
        side = 100 / 4.5  # its near face is 4.5 m away
        assert np.count_nonzero(drawn.any(0)) == pytest.approx(side, abs=1.5)
        assert drawn.sum() == pytest.approx(side * side, rel=0.1)
        assert (picture[50, 50] == (160, 0, 0)).all()

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_the_nearer_cube_hides_the_farther_one(self, order):
        centers = [(0.5, 0.5, 0.5), (3.5, 0.5, 0.5)]
        colors = np.array([[200, 0, 0], [0, 200, 0]], np.uint8)
        view = View.looking_at([9.5, 0.5, 0.5], [0.5, 0.5, 0.5], focal_px=100.0)
        picture = draw_voxels(self.cubes(*(centers[k] for k in order)), colors[list(order)], view, 101, 101)
        assert picture[50, 50].argmax() == 1

    def test_a_camera_within_the_map_draws_what_is_ahead(self):
        view = View.looking_at([0.5, 0.5, 0.5], [9.5, 0.5, 0.5], focal_px=100.0)
        cubes = self.cubes((-3.5, 0.5, 0.5), (4.5, 0.5, 0.5))
        picture = draw_voxels(cubes, np.array([[200, 0, 0], [0, 200, 0]], np.uint8), view, 101, 101)
        assert picture[50, 50].argmax() == 1

    def test_a_map_is_shown_with_a_legend(self):
        picture = map_picture(self.cubes((0.5, 0.5, 0.5), (1.5, 0.5, 0.5)), NYU40, [np.eye(4)])
        assert picture.shape[1] == 1280 and picture.dtype == np.uint8
        shades = {tuple(np.rint(NYU40.palette[WALL] * k).astype(int).tolist()) for k in (0.5, 0.66, 0.76, 0.8, 0.9, 1)}
        assert any((picture == shade).all(2).any() for shade in shades)

    def test_the_way_of_the_camera_is_dark_stands_in_the_legend_and_lies_within_the_views(self):
        """The camera began three metres beside all that it saw."""
        way = [pose_of(np.array([x, -3.0, 0.5]), np.array([0, 0, 0, 1.0])) for x in (-3.0, 0.5, 1.0)]
        picture = map_picture(self.cubes((0.5, 0.5, 0.5), (1.5, 0.5, 0.5)), NYU40, way)
        plain = map_picture(self.cubes((0.5, 0.5, 0.5), (1.5, 0.5, 0.5)), NYU40, [])
        assert (plain == pictures._WAY).all(2).sum() == 0
        for left in (0, pictures.PANEL_WIDTH):  # from above, and from a corner
            panel = picture[26 : 26 + pictures.PANEL_HEIGHT, left : left + pictures.PANEL_WIDTH]
            dot = cv2.erode((panel == pictures._WAY).all(2).astype(np.uint8), np.ones((5, 5)))
            assert dot.any(), "where it began is within the view"
        legend = picture[2 * (26 + pictures.PANEL_HEIGHT) :]
        assert (legend == pictures._WAY).all(2).any()

    def test_an_empty_map_says_so(self):
        assert map_picture(a_map().voxels(), NYU40, []).shape == (506, 640, 3)


# The command


def run(*arguments: object) -> str:
    answer = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    return answer.output


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("model") / "tiny.lcrseg")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight consecutive frames of a rendered room, and poses.txt that says where they were taken."""
    path = tmp_path_factory.mktemp("data") / "room"
    room = RenderedRoom(frames=80, seed=1, width=320, height=240)
    write_folder([room[20 + i] for i in range(8)], path)
    write_poses(path / "poses.txt", {f"{20 + i:05d}": room.pose(20 + i) for i in range(8)})
    return path


class TestCommand:
    def test_maps_a_folder_with_known_poses_and_the_floor_is_where_it_is(self, folder, tmp_path):
        """The shipped model; world z is 0 on the floor of a rendered room."""
        out = tmp_path / "out"
        said = run(
            "--data", folder, "--poses", folder / "poses.txt", "--out", out, "--model", model_under_test(),
            "--json", out / "figures.json",
        )  # fmt: skip
        header, vertices = read_ply(out / "map.ply")
        floor = vertices[vertices["label"] == FLOOR]
        assert len(floor) > 100 and np.mean(np.abs(floor["z"]) < 0.1) > 0.8
        figures = json.loads((out / "figures.json").read_text())
        assert figures["frames"] == 8 and figures["frames_lost"] == 0 and figures["voxels"] == len(vertices)
        assert f"{len(vertices)} voxels" in said and f"element vertex {len(vertices)}" in header
        assert cv2.imread(str(out / "map.png")).std() > 20

    @needs_odometry
    def test_without_poses_finds_them_and_levels_the_world(self, folder, tiny, tmp_path):
        run("--data", folder, "--out", tmp_path, "--model", tiny, "--min-confidence", 0)
        found, truth = read_poses(tmp_path / "poses.txt"), read_poses(folder / "poses.txt")
        assert list(found) == list(truth)
        first = next(iter(truth))
        for name, pose in found.items():
            distance_mm, angle_deg = off(np.linalg.inv(found[first]) @ pose, np.linalg.inv(truth[first]) @ truth[name])
            assert distance_mm < 15 and angle_deg < 0.5
        tilt = found[first][:3, :3] @ np.linalg.inv(truth[first][:3, :3]) @ (0, 0, 1)
        assert tilt[2] > np.cos(np.radians(3))

    def test_a_run_that_was_stopped_goes_on_and_gives_the_same_map(self, folder, tiny, tmp_path):
        given = ("--data", folder, "--poses", folder / "poses.txt", "--model", tiny, "--min-confidence", 0)
        run(*given, "--out", tmp_path / "straight")
        run(*given, "--out", tmp_path / "stopped", "--limit", 3)
        part = (tmp_path / "stopped" / "map.ply").read_bytes()
        run(*given, "--out", tmp_path / "stopped")
        whole = (tmp_path / "straight" / "map.ply").read_bytes()
        assert part != whole == (tmp_path / "stopped" / "map.ply").read_bytes()

    @needs_odometry
    @pytest.mark.slow
    def test_real_frames_of_a_kinect_become_a_map_with_floor_and_furniture_whose_camera_moved_by_centimetres(
        self, tmp_path
    ):
        """12 frames of a kitchen, 0.4 s of a camera that is held by hand."""
        data, out = shared_data("kitchen"), tmp_path / "out"
        run(
            "--data", data, "--intrinsics", "585,585,320,240", "--limit", 12, "--min-views", 1, "--out", out,
            "--model", model_under_test(), "--json", out / "figures.json",
        )  # fmt: skip
        keep_picture(out / "map.png", "kitchen_map.png")
        figures = json.loads((out / "figures.json").read_text())
        assert (figures["frames"], figures["frames_lost"]) == (12, 0)
        assert 0.005 < figures["way_m"] < 0.2
        assert figures["classes"]["floor"] > 200
        assert sum(figures["classes"].get(name, 0) for name in ("cabinet", "table", "chair", "counter")) > 1000

    def test_the_dataset_itself_is_not_written_into(self, folder, tiny):
        with pytest.raises(SourceError, match=r"--out .*room is what is read: choose another folder"):
            run("--data", folder, "--poses", folder / "poses.txt", "--model", tiny, "--out", folder)
        assert not (folder / "map.ply").exists()

    @needs_odometry
    def test_odometry_goes_on_where_it_was(self, folder, tiny, tmp_path):
        given = ("--data", folder, "--model", tiny, "--min-confidence", 0)
        run(*given, "--out", tmp_path / "straight")
        run(*given, "--out", tmp_path / "stopped", "--limit", 5)
        run(*given, "--out", tmp_path / "stopped")
        straight, stopped = (read_poses(tmp_path / name / "poses.txt") for name in ("straight", "stopped"))
        assert list(stopped) == list(straight)
        assert all(np.allclose(stopped[name], pose, atol=1e-4) for name, pose in straight.items())

    def test_will_not_go_on_with_a_map_of_other_settings_or_a_damaged_one(self, folder, tiny, tmp_path):
        given = ("--data", folder, "--poses", folder / "poses.txt", "--model", tiny, "--limit", 2, "--out", tmp_path)
        run(*given)
        with pytest.raises(MapError, match="--no-resume"):
            run(*given, "--voxel-size", 0.1)
        run(*given, "--voxel-size", 0.1, "--no-resume")
        state = tmp_path / "map.npz"
        for damaged in (state.read_bytes()[:1000], b"", b"PK\x03\x04" + bytes(100)):
            state.write_bytes(damaged)
            with pytest.raises(MapError, match="cannot be read"):
                run(*given, "--voxel-size", 0.1)

    @pytest.mark.parametrize("changed", ["intrinsics.yaml", "depth/00021.png", "rgb/00020.png"])
    def test_will_not_go_on_when_the_intrinsics_or_a_frame_that_is_in_the_map_have_changed(
        self, changed, folder, tiny, tmp_path
    ):
        data = shutil.copytree(folder, tmp_path / "data")
        given = ("--data", data, "--poses", folder / "poses.txt", "--model", tiny, "--out", tmp_path / "out")
        run(*given, "--limit", 2)
        content = (data / changed).read_bytes()
        other = content.replace(b"fx: ", b"fx: 1") if changed.endswith(".yaml") else content + b"\0"
        (data / changed).write_bytes(other)
        with pytest.raises(MapError, match=r"changed since.*--no-resume"):
            run(*given)
        run(*given, "--no-resume")

    def test_frames_that_are_not_in_the_map_yet_may_change_and_with_nothing_to_do_it_says_so(
        self, folder, tiny, tmp_path
    ):
        data = shutil.copytree(folder, tmp_path / "data")
        given = ("--data", data, "--poses", folder / "poses.txt", "--model", tiny, "--out", tmp_path / "out")
        assert "nothing new" not in run(*given, "--limit", 2)
        assert "nothing new since the run before (2 frames); --no-resume starts over" in run(*given, "--limit", 1)
        shutil.copy(data / "depth" / "00022.png", data / "depth" / "00023.png")
        assert "nothing new" not in run(*given, "--limit", 4)

    def test_tells_what_is_wrong_before_it_begins(self, folder, tiny, tmp_path):
        given = ("--data", folder, "--model", tiny, "--out", tmp_path)
        for arguments, message in (
            (("--class", "chiar"), "chair"),
            (("--poses", "exact"), "rendered room"),
            (("--poses", tmp_path / "none.txt"), "give a text file with lines NAME tx ty tz qx qy qz qw"),
            (("--voxel-size", 0), "voxel_size"),
        ):
            with pytest.raises((MapError, SourceError), match=message):
                run(*given, *arguments)
        assert not list(tmp_path.iterdir())

    def test_frames_without_a_pose_are_left_out_and_told(self, folder, tiny, tmp_path):
        lines = (folder / "poses.txt").read_text().splitlines()
        (tmp_path / "some.txt").write_text("\n".join(lines[:4]))
        said = run(
            "--data", folder, "--poses", tmp_path / "some.txt", "--model", tiny, "--out", tmp_path / "out",
            "--min-confidence", 0,
        )  # fmt: skip
        assert "5 of 8 frames" in said

    def test_is_at_the_front_door(self, folder, tmp_path):
        answer = subprocess.run(
            [sys.executable, "-m", "lcr_seg_ros", "map", "--data", str(tmp_path)],
            capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=60,
        )  # fmt: skip
        assert answer.returncode == 1 and answer.stderr.startswith("error: ") and "Traceback" not in answer.stderr
