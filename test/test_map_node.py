"""The node ``map`` over real DDS: labelled points and poses in, a voxel map out; and what it reads of a cloud."""

from __future__ import annotations

import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ros_peer import Peer, peer_in_domain
from shared_data import ROOT
from test_map import read_ply

pytest.importorskip("nav_msgs", reason="needs ROS 2's nav_msgs")

import rclpy
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from node_under_test import TF2_IS_REAL, python_path
from rclpy.context import Context
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import PointCloud2, PointField
from std_msgs.msg import Header, String
from std_srvs.srv import Trigger

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.labels import LabelClass, LabelSet
from lcr_seg_ros.mapping import MapError, VoxelMap
from lcr_seg_ros.mapping.trajectory import pose_of, quaternion_of
from lcr_seg_ros.ros.compat.tf2 import TransformError
from lcr_seg_ros.ros.conversions import segmentation_to_cloud
from lcr_seg_ros.ros.label_announcements import labels_to_json
from lcr_seg_ros.ros.labelled_cloud import LabelledCloud, intrinsics_of, read_labelled_cloud
from lcr_seg_ros.ros.map_node import MapNode
from lcr_seg_ros.ros.map_parameters import MAP_SPECS, read_map_defaults
from lcr_seg_ros.ros.pose_sources import DepthPoses, OdometryPoses, create_pose_source
from lcr_seg_ros.ros.processes import ChildProcess, free_domain_id, isolated_ros_environment
from lcr_seg_ros.sources.rooms import RenderedRoom

NYU40 = LabelSet.load("nyu40")
WALL, CHAIR = (next(c.id for c in NYU40.classes if c.name == name) for name in ("wall", "chair"))
CAMERA = CameraIntrinsics(70.0, 71.0, 39.0, 30.0, 80, 60)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SIDEWAYS = pose_of([1.0, 2.0, 3.0], [0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5)])
"""The camera in the map: a quarter turn about its optical axis, at (1, 2, 3)."""


def cloud(depth_m: np.ndarray | float = 2.02, camera: CameraIntrinsics = CAMERA, label: int = WALL) -> PointCloud2:
    depth = np.broadcast_to(np.asarray(depth_m, np.float32), (camera.height, camera.width)).copy()
    labels = np.full(depth.shape, label, np.uint8)
    confidence = np.full(depth.shape, 0.9, np.float32)
    return segmentation_to_cloud(depth, camera, labels, confidence, NYU40.palette, Header(frame_id="camera"))


# What is read of a cloud


class TestCloud:
    def test_is_read_as_it_was_made(self):
        depth = np.random.default_rng(0).uniform(0.5, 4, (60, 80)).astype(np.float32)
        depth[10:20, 10:20] = np.nan
        read = read_labelled_cloud(cloud(depth))
        assert np.array_equal(read.points[..., 2], depth, equal_nan=True)
        assert (read.labels == WALL).all() and read.confidence is not None and np.allclose(read.confidence, 0.9)

    def test_tells_the_camera_it_was_made_with(self):
        depth = np.random.default_rng(0).uniform(0.5, 4, (60, 80)).astype(np.float32)
        depth[:, :30] = np.nan
        found = intrinsics_of(read_labelled_cloud(cloud(depth)).points)
        for name in ("fx", "fy", "cx", "cy"):
            assert getattr(found, name) == pytest.approx(getattr(CAMERA, name), rel=1e-3)

    @pytest.mark.parametrize("depth", [np.nan, 0.0])
    def test_without_points_no_camera_is_told(self, depth):
        with pytest.raises(FrameError, match="too few"):
            intrinsics_of(read_labelled_cloud(cloud(depth)).points)

    def test_that_is_no_image_of_a_pinhole_camera_is_refused(self):
        with pytest.raises(FrameError, match="pinhole"):
            intrinsics_of(np.random.default_rng(0).uniform(1, 2, (60, 80, 3)).astype(np.float32))

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"height": 0}, "points"),
            ({"width": 2**31}, "points"),
            ({"point_step": 0}, "bytes"),
            ({"row_step": 10}, "bytes"),
            ({"height": 61}, "bytes"),
            ({"fields": []}, "no field"),
            ({"fields": [PointField(name="x", offset=22, datatype=7)]}, "outside"),
        ],
    )
    def test_that_contradicts_itself_is_refused(self, changes, message):
        broken = cloud()
        for name, value in changes.items():
            setattr(broken, name, value)
        with pytest.raises(FrameError, match=message):
            read_labelled_cloud(broken)

    @given(
        *[st.integers(0, 12) | st.integers(0, 2**32 - 1)] * 2,
        *[st.integers(0, 40) | st.integers(0, 2**32 - 1)] * 2,
        st.booleans(),
        st.binary(max_size=400),
        st.lists(
            st.tuples(st.sampled_from(["x", "y", "z", "label", "confidence"]), st.integers(0, 40), st.integers(0, 9))
        ),
    )
    def test_of_any_content_is_read_or_refused(self, height, width, step, row, big, data, fields):
        message = SimpleNamespace(
            height=height, width=width, point_step=step, row_step=row, is_bigendian=big, data=bytearray(data),
            fields=[SimpleNamespace(name=n, offset=o, datatype=d, count=1) for n, o, d in fields],
        )  # fmt: skip
        with suppress(FrameError):
            assert read_labelled_cloud(message).points.shape == (height, width, 3)  # type: ignore[arg-type]


class TestDepthPoses:
    @pytest.fixture()
    def source(self, monkeypatch: pytest.MonkeyPatch) -> DepthPoses:
        monkeypatch.setattr(
            "lcr_seg_ros.ros.pose_sources.PolledSubscription", lambda *arguments: SimpleNamespace(take=list)
        )
        return DepthPoses(None, SimpleNamespace(map_frame="map"))  # type: ignore[arg-type]

    def clouds(self, scale: int, frames: range) -> Iterator[LabelledCloud]:
        """Of a rendered room, through a camera of this many times the smallest resolution."""
        room = RenderedRoom(frames=400, seed=1, width=160 * scale, height=120 * scale)
        for frame in frames:
            item = room[frame]
            ones = np.ones(item.labels.shape, np.float32)
            yield read_labelled_cloud(
                segmentation_to_cloud(
                    item.frame.depth_m, room.intrinsics, item.labels, ones, NYU40.palette, Header(frame_id="camera")
                )
            )

    def test_a_camera_that_changes_its_resolution_goes_on_where_it_was(self, source):
        poses = [source.read(0, "camera", one).pose for one in self.clouds(1, range(100, 104))]
        assert all(pose is not None for pose in poses)
        larger = [source.read(0, "camera", one).pose for one in self.clouds(2, range(104, 107))]
        np.testing.assert_array_equal(larger[0], poses[-1])
        assert all(pose is not None for pose in larger)

    def test_after_the_map_was_cleared_anything_may_come(self, source):
        (first,) = self.clouds(1, range(100, 101))
        (far,) = self.clouds(1, range(300, 301))
        start = source.read(0, "camera", first).pose
        if source.read(0, "camera", far).pose is None:
            assert source.read(0, "camera", far).pose is None  # lost for good
        source.map_cleared()
        np.testing.assert_array_equal(source.read(0, "camera", far).pose, start)


class TestOdometryPoses:
    @pytest.fixture()
    def source(self, monkeypatch: pytest.MonkeyPatch) -> OdometryPoses:
        waiting: list[Odometry] = []
        polled = SimpleNamespace(take=lambda: [waiting.pop(0) for _ in range(len(waiting))])
        monkeypatch.setattr("lcr_seg_ros.ros.pose_sources.PolledSubscription", lambda *arguments: polled)
        node = SimpleNamespace(resolve_topic_name=lambda name: f"/{name}")
        parameters = SimpleNamespace(camera_xyz=(0.0, 0.0, 1.0), camera_rpy=(-np.pi / 2, 0.0, -np.pi / 2))
        source = OdometryPoses(node, parameters)  # type: ignore[arg-type]
        source.tell = waiting.append  # type: ignore[attr-defined]
        return source

    def read(self, source: Any, stamp_s: float) -> Any:
        source.update()
        return source.read(round(stamp_s * 1e9), "camera", None)

    def test_the_camera_looks_ahead_from_where_it_is_mounted(self, source):
        source.tell(odometry(np.eye(4), 1.0))
        pose = self.read(source, 1.0).pose
        np.testing.assert_allclose(pose @ (0, 0, 2, 1), (2, 0, 1, 1), atol=1e-9)  # 2 m ahead along the optical axis
        np.testing.assert_allclose(pose @ (0, 1, 0, 1), (0, 0, 0, 1), atol=1e-9)  # down in the image is down

    def test_between_two_messages_the_pose_is_between_theirs(self, source):
        turned = pose_of([1, 0, 0], [0, 0, np.sin(0.1), np.cos(0.1)])
        source.tell(odometry(np.eye(4), 1.0))
        source.tell(odometry(turned, 1.1))
        pose = self.read(source, 1.05).pose
        np.testing.assert_allclose(pose[:3, 3], (0.5, 0, 1), atol=1e-9)
        np.testing.assert_allclose(pose[:3, 2], (np.cos(0.1), np.sin(0.1), 0), atol=1e-6)

    def test_what_is_not_known_yet_may_come_and_what_is_over_does_not(self, source):
        assert self.read(source, 1.0).may_come
        source.tell(odometry(np.eye(4), 2.0))
        assert self.read(source, 2.1).may_come
        assert self.read(source, 1.0).pose is None and not self.read(source, 1.0).may_come
        source.tell(odometry(np.eye(4), 4.0))
        assert "gap" in self.read(source, 3.0).problem

    def test_a_restart_of_the_odometry_forgets_what_was_before(self, source):
        source.tell(odometry(np.eye(4), 100.0))
        source.tell(odometry(np.eye(4), 1.0))
        assert self.read(source, 1.0).pose is not None
        assert self.read(source, 100.0).may_come


def test_without_tf_the_message_names_the_source_that_needs_none(monkeypatch: pytest.MonkeyPatch):
    def no_tf(node: Any) -> Any:
        raise TransformError("TF needs tf2_ros, which is not installed here")

    monkeypatch.setattr("lcr_seg_ros.ros.pose_sources.TransformBuffer", no_tf)
    with pytest.raises(TransformError, match="not installed here; or pose_source:=depth"):
        create_pose_source(None, SimpleNamespace(pose_source="tf"))  # type: ignore[arg-type]


def test_an_opencv_without_odometry_is_refused_before_any_cloud_comes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(cv2, "OdometrySettings", raising=False)
    with pytest.raises(MapError, match=r"needs OpenCV 5 or newer, here is .*, or give the poses: pose_source:=tf or "):
        create_pose_source(None, SimpleNamespace(pose_source="depth", map_frame="map"))  # type: ignore[arg-type]


def odometry(pose: np.ndarray, stamp_s: float) -> Odometry:
    message = Odometry(child_frame_id="base")
    message.header.frame_id = "odom"
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(round(stamp_s * 1e9), 10**9)
    fill(message.pose.pose.position, message.pose.pose.orientation, pose)
    return message


def fill(position: Any, orientation: Any, pose: np.ndarray) -> None:
    position.x, position.y, position.z = pose[:3, 3].tolist()
    orientation.x, orientation.y, orientation.z, orientation.w = quaternion_of(pose[:3, :3]).tolist()


def test_every_parameter_has_a_default_that_it_may_have():
    for name, value in read_map_defaults().items():
        MAP_SPECS[name].checked(name, value)


# The node


@pytest.fixture()
def node(domain: int, model: Path, tmp_path: Path) -> Iterator[MapNode]:
    """Not served: nothing comes in but what the test hands it. Its file has the map of yesterday."""
    (tmp_path / "map.ply").write_bytes(b"of yesterday")
    parameters = ("-p", f"model:={model}", "-p", f"file:={tmp_path / 'map.ply'}", "-p", "pose_source:=odometry")
    context = Context()
    rclpy.init(args=["map", "--ros-args", *parameters], context=context, domain_id=domain)
    node = MapNode(context)
    yield node
    node.destroy_node()
    rclpy.try_shutdown(context=context)


def answer_to_save(node: MapNode) -> Any:
    return node._save(Trigger.Request(), Trigger.Response())


def test_a_cloud_that_fails_is_left_out_and_not_tried_again(node, monkeypatch: pytest.MonkeyPatch):
    tried = []

    def fail(*arguments: Any) -> None:
        tried.append(arguments)
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(node._poses, "read", fail)
    (poll,) = (timer.callback for timer in node.timers if timer.callback.__name__ == "_take_in")
    node._accept(stamp(cloud(), 10**9), time.monotonic())
    for _ in range(3):
        poll()
    assert len(tried) == 1
    assert "internal error" in answer_to_save(node).message


class TestSavingAnEmptyMap:
    def test_is_refused_with_the_reason_and_the_file_stays(self, node, tmp_path):
        answer = answer_to_save(node)
        assert not answer.success
        assert answer.message.startswith("nothing has been mapped yet: nobody publishes /segmentation/points")
        assert answer.message.endswith(f"; {tmp_path / 'map.ply'} is left as it is")
        assert (tmp_path / "map.ply").read_bytes() == b"of yesterday"

    def test_of_clouds_without_a_pose_is_refused_for_that(self, node, tmp_path):
        node._accept(stamp(cloud(), 10**9), 0.0)
        node._integrate(*node._waiting, 100.0)
        answer = answer_to_save(node)
        assert not answer.success and "its pose is not known: nothing has come on /odometry" in answer.message
        assert (tmp_path / "map.ply").read_bytes() == b"of yesterday"

    @pytest.mark.parametrize(
        ("depth_m", "parameters", "reason"),
        [
            (90, {}, "no labelled point of 1 clouds is 0.3 to 4 m away (min_range, max_range) with a confidence of"),
            (2, {"min_views": 2}, "no voxel has been seen by 2 (min_views) of 1 clouds"),
            (
                2,
                {"min_views": 1, "class_filter": ["floor", "person"]},
                "no voxel of 1 clouds has a class of class_filter: floor, person",
            ),
        ],
    )
    def test_of_clouds_of_which_nothing_is_shown_is_refused_with_the_parameter(
        self, node, tmp_path, depth_m, parameters, reason
    ):
        node._values = replace(node._values, **parameters)
        node._classes = tuple(parameters.get("class_filter", ()))
        node._map = VoxelMap(NYU40, node._values.settings)
        node._map.integrate_frame(
            np.full((60, 80), depth_m, np.float32), CAMERA, np.full((60, 80), WALL, np.uint8), np.eye(4)
        )
        answer = answer_to_save(node)
        assert not answer.success and answer.message.startswith(reason)
        assert node.finish()  # at the end that is no failure either
        assert (tmp_path / "map.ply").read_bytes() == b"of yesterday"


@pytest.fixture(scope="module")
def domain() -> int:
    return free_domain_id()


@pytest.fixture(scope="module")
def peer(domain: int) -> Iterator[Peer]:
    with peer_in_domain(domain) as peer:
        yield peer


@pytest.fixture()
def start(domain: int, model: Path, tmp_path: Path) -> Iterator[Callable[..., ChildProcess]]:
    """Starts the node with parameters of its own; its file is map.ply in the test's folder."""
    started: list[ChildProcess] = []

    def start(*parameters: str) -> ChildProcess:
        words = (f"model:={model}", f"file:={tmp_path / 'map.ply'}", "publish_period:=0.1", *parameters)
        given = [word for parameter in words for word in ("-p", parameter)]
        environment = isolated_ros_environment(domain)
        node = ChildProcess(
            "map",
            [sys.executable, "-m", "lcr_seg_ros", "map-node", "--ros-args", *given],
            environment | {"PYTHONPATH": python_path(environment, tf2=True)},
        )
        started.append(node)
        assert node.wait_for_line("mapping /segmentation/points", 60), node.last_lines()
        return node

    yield start
    for node in started:
        node.end()


def sent_until(peer: Peer, arrived: list[Any], send: Callable[[int], None], enough: Callable[[Any], bool]) -> Any:
    """Send with a stamp of now at 10 Hz until a message that suffices has arrived; returns it."""
    del arrived[:]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        send(peer.get_clock().now().nanoseconds)
        time.sleep(0.1)
        for message in list(arrived):
            if enough(message):
                return message
    raise AssertionError(f"no map that suffices; the last of {len(arrived)} has {arrived and arrived[-1].width} points")


def stamp(message: Any, ns: int) -> Any:
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(ns, 10**9)
    return message


def expected_cells(pose: np.ndarray) -> set[tuple[int, ...]]:
    points = read_labelled_cloud(cloud()).points.reshape(-1, 3).astype(float)
    return {tuple(c) for c in np.floor((points @ pose[:3, :3].T + pose[:3, 3]) / 0.1 + 1e-9).astype(int).tolist()}


def cells_of(message: PointCloud2) -> set[tuple[int, ...]]:
    points = read_labelled_cloud(message).points.reshape(-1, 3).astype(float)
    return {tuple(c) for c in np.floor(points / 0.1).astype(int).tolist()}


class TestNode:
    def test_maps_by_odometry_publishes_saves_and_forgets(self, peer, start, tmp_path):
        node = start("pose_source:=odometry", "voxel_size:=0.1", "min_views:=2", "class_filter:=[wall]")
        maps = peer.listen(PointCloud2, "segmentation/map", LATCHED)
        clouds = peer.create_publisher(PointCloud2, "segmentation/points", 1)
        poses = peer.create_publisher(Odometry, "odometry", 10)

        is_broken = itertools.cycle([False, True])

        def send(ns: int) -> None:
            poses.publish(odometry(SIDEWAYS, ns * 1e-9 - 0.05))
            message = stamp(cloud(), ns)
            if next(is_broken):
                message.row_step = 1
            clouds.publish(message)
            poses.publish(odometry(SIDEWAYS, ns * 1e-9 + 0.05))

        seen = sent_until(peer, maps, send, lambda message: message.width > 0)
        assert seen.header.frame_id == "odom"
        shown, wanted = cells_of(seen), expected_cells(SIDEWAYS)
        assert len(shown ^ wanted) <= 0.05 * len(wanted)  # points on edges fall to either side
        assert {z for _, _, z in shown} == {50}  # the wall is 2.02 m ahead of a camera at 3 m
        assert (read_labelled_cloud(seen).labels == WALL).all()

        client = peer.create_client(Trigger, "map/save")
        answer = peer.call(client, Trigger.Request())
        assert answer.success and "map.ply" in answer.message
        _, vertices = read_ply(tmp_path / "map.ply")
        assert len(vertices) == seen.width
        assert peer.call(peer.create_client(Trigger, "map/clear"), Trigger.Request()).success
        assert node.exit_code is None
        os.kill(node.pid, signal.SIGINT)
        assert node.wait(5) == 0, node.last_lines()
        for publisher in (clouds, poses):
            peer.destroy_publisher(publisher)

    def test_maps_by_tf_and_writes_its_file_at_the_end(self, peer, start, tmp_path):
        node = start("map_frame:=odom", "voxel_size:=0.1", "min_views:=1")
        maps = peer.listen(PointCloud2, "segmentation/map", LATCHED)
        clouds = peer.create_publisher(PointCloud2, "segmentation/points", 1)
        transforms = peer.create_publisher(_tf_message_type(), "/tf", 10)

        def send(ns: int) -> None:
            clouds.publish(stamp(cloud(label=CHAIR), ns - 100_000_000))
            transforms.publish(_transform(SIDEWAYS, ns))  # after the cloud: it has to wait for its pose

        seen = sent_until(peer, maps, send, lambda message: message.width > 0)
        assert seen.header.frame_id == "odom" and {z for _, _, z in cells_of(seen)} == {50}
        os.kill(node.pid, signal.SIGTERM)
        assert node.wait(5) == 0, node.last_lines()
        _, vertices = read_ply(tmp_path / "map.ply")
        assert len(vertices) == seen.width and set(vertices["label"]) == {CHAIR}
        for publisher in (clouds, transforms):
            peer.destroy_publisher(publisher)

    def test_classes_are_those_that_the_node_tells_and_others_begin_a_new_map(self, peer, start, tmp_path):
        own = LabelSet("kitchen", (LabelClass(WALL, "cupboard", (250, 10, 20)), LabelClass(7, "kettle", (1, 2, 3))))
        told = peer.create_publisher(String, "segmentation/label_info_json", LATCHED)
        told.publish(labels_to_json(own, 0.0, Header()))
        start("pose_source:=odometry", "voxel_size:=0.1", "min_views:=1")
        maps = peer.listen(PointCloud2, "segmentation/map", LATCHED)
        clouds = peer.create_publisher(PointCloud2, "segmentation/points", 1)
        poses = peer.create_publisher(Odometry, "odometry", 10)

        def send(ns: int) -> None:
            poses.publish(odometry(SIDEWAYS, ns * 1e-9 - 0.05))
            clouds.publish(stamp(cloud(), ns))
            poses.publish(odometry(SIDEWAYS, ns * 1e-9 + 0.05))

        save = peer.create_client(Trigger, "map/save")
        for labels, name in ((own, "cupboard"), (NYU40, "wall")):
            told.publish(labels_to_json(labels, 0.0, Header()))
            sent_until(peer, maps, send, lambda message: message.width > 0)
            sent_until(peer, maps, send, lambda message: message.width > 0)
            assert peer.call(save, Trigger.Request()).success
            header, vertices = read_ply(tmp_path / "map.ply")
            assert f"comment class {WALL} {name}" in header and set(vertices["label"]) == {WALL}
            assert {(v["red"], v["green"], v["blue"]) for v in vertices} == {tuple(labels.palette[WALL].tolist())}
        for publisher in (told, clouds, poses):
            peer.destroy_publisher(publisher)

    def test_maps_by_depth_alone_with_a_camera_in_the_hand(self, peer, start):
        """Points of a rendered room; without a pose from anywhere its floor must come out flat."""
        start("pose_source:=depth", "min_views:=2", "class_filter:=[floor]", "max_rate_hz:=0")
        maps = peer.listen(PointCloud2, "segmentation/map", LATCHED)
        clouds = peer.create_publisher(PointCloud2, "segmentation/points", 1)
        room = RenderedRoom(frames=400, seed=1, width=160, height=120)
        frames = iter(range(100, 400))

        def send(ns: int) -> None:
            item = room[next(frames)]
            k, labels = room.intrinsics, item.labels
            confidence = np.ones(labels.shape, np.float32)
            message = segmentation_to_cloud(
                item.frame.depth_m, k, labels, confidence, NYU40.palette, Header(frame_id="camera")
            )
            clouds.publish(stamp(message, ns))

        seen = sent_until(peer, maps, send, lambda message: message.width > 200)
        assert seen.header.frame_id == "map"
        points = read_labelled_cloud(seen).points.reshape(-1, 3)
        center = points - points.mean(0)
        thickness = np.sqrt(np.linalg.eigvalsh(center.T @ center / len(center))[0])
        assert thickness < 0.06
        peer.destroy_publisher(clouds)

    def test_it_says_what_is_missing_though_the_simulated_clock_stands_still(self, start):
        node = start("pose_source:=depth", "use_sim_time:=true")
        assert node.wait_for_line("nobody publishes /segmentation/points", 15), node.last_lines()

    def test_a_parameter_out_of_range_ends_it_with_one_line(self, domain, model):
        node = ChildProcess(
            "map",
            [sys.executable, "-m", "lcr_seg_ros", "map-node", "--ros-args", "-p", "voxel_size:=-1.0"],
            isolated_ros_environment(domain) | {"PYTHONPATH": str(ROOT)},
        )
        try:
            assert node.wait(60) == 1
            said = node.last_lines()
            assert "error: voxel_size must be 0.005..2, got -1.0" in said and "Traceback" not in said
        finally:
            node.end()


def _tf_message_type() -> Any:
    if not TF2_IS_REAL:
        return TransformStamped  # what the double takes for a TFMessage
    from tf2_msgs.msg import TFMessage

    return TFMessage


def _transform(pose: np.ndarray, ns: int) -> Any:
    message = TransformStamped(child_frame_id="camera")
    message.header.frame_id = "odom"
    fill(message.transform.translation, message.transform.rotation, pose)
    stamp(message, ns)
    return _tf_message_type()(transforms=[message]) if TF2_IS_REAL else message
