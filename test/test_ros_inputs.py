"""Compressed images, and depth that is not registered, sent to the node over real DDS."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import TransformStamped
from node_under_test import START_S, TF2_IS_REAL, python_path
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_peer import BEST_EFFORT, HEIGHT, WIDTH, Peer, camera_info, depth_image, peer_in_domain, rgb_image
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from test_compressed_images import compressed, config_header, encoded, rvl

from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.image_encodings import color_to_array
from lcr_seg_ros.registration import register_depth
from lcr_seg_ros.ros.compat.message_filters import stamp_ns
from lcr_seg_ros.ros.conversions import CLOUD_POINT, array_to_image
from lcr_seg_ros.ros.processes import ChildProcess, isolated_ros_environment
from lcr_seg_ros.segmenter import Segmenter

COLOR_CAMERA = CameraIntrinsics(70.0, 70.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2, WIDTH, HEIGHT)


@contextmanager
def node_and_peer(*arguments: str, tf2: bool = False) -> Iterator[tuple[ChildProcess, Peer]]:
    """An active node with these ROS arguments, and a peer; the node must end cleanly.

    Args:
        tf2: whether the node finds tf2_ros, or its test double.
    """
    environment = isolated_ros_environment()
    command = [sys.executable, "-m", "lcr_seg_ros", "segment", "--ros-args", *arguments, "-p", "max_age:=0.0"]
    with ChildProcess("segment", command, environment | {"PYTHONPATH": python_path(environment, tf2)}) as process:
        assert process.wait_for_line("]: active", START_S), process.last_lines()
        with peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer:
            yield process, peer
        assert process.end() == 0, process.last_lines()
        assert not any("Traceback" in line for line in process.lines), process.last_lines(40)


def expected_mask(model: Path, depth_m: np.ndarray) -> np.ndarray:
    return Segmenter.load(model).segment(RgbdFrame(color_to_array(rgb_image()), depth_m, COLOR_CAMERA)).labels


def pixels_of(mask: Image) -> np.ndarray:
    return np.frombuffer(mask.data, np.uint8).reshape(mask.height, mask.width)


# Compressed images

DEPTH_MM = np.linspace(1000, 3000, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH).astype(np.uint16)


class CompressedCamera:
    """Publishes colour and depth as image_transport does, with base topics ``camera/color`` and ``camera/depth``."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._color = peer.create_publisher(CompressedImage, "camera/color/compressed", BEST_EFFORT)
        self._depth = peer.create_publisher(CompressedImage, "camera/depth/compressedDepth", BEST_EFFORT)
        self.good_color = compressed(color_to_array(rgb_image()), "rgb8", "png")
        self.good_depth = CompressedImage(
            format="16UC1; compressedDepth png", data=config_header() + encoded(DEPTH_MM, ".png")
        )

    def send(self, color: CompressedImage | None = None, depth: CompressedImage | None = None) -> int:
        color, depth = color or self.good_color, depth or self.good_depth
        stamp = self.peer.send(info=camera_info())
        for publisher, message in ((self._color, color), (self._depth, depth)):
            message.header.frame_id = "camera"
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
            publisher.publish(message)
        return stamp

    def gets_mask(self, depth: CompressedImage | None = None) -> Image:
        """Send frames until a mask of one of them comes; returns it."""
        sent: set[int] = set()
        found: list[Image] = []

        def answered() -> bool:
            found[:] = [m for m in list(self.peer.masks) if stamp_ns(m) in sent]
            return bool(found)

        assert self.peer.send_until(answered, lambda: sent.add(self.send(depth=depth))), "no mask"
        return found[0]


@pytest.fixture(scope="module")
def compressed_node(model: Path) -> Iterator[tuple[ChildProcess, CompressedCamera]]:
    arguments = [
        *("-p", f"model:={model}", "-p", "rgb_transport:=compressed", "-p", "depth_transport:=compressedDepth"),
        *("-p", "silence_timeout:=1.0", "-p", "diagnostics_period:=0.2"),
        *("-r", "rgb/image_rect_color:=camera/color", "-r", "depth_registered/image_rect:=camera/depth"),
    ]
    with node_and_peer(*arguments) as (process, peer):
        yield process, CompressedCamera(peer)


def test_silence_names_the_compressed_topics_and_knows_their_type(compressed_node):
    _, camera = compressed_node
    topics = "/camera/color/compressed and /camera/depth/compressedDepth"
    camera.peer.diagnostics(lambda values, message: f"{topics}: a publisher is there, but no message" in message)


def test_a_remapped_base_topic_leads_to_its_compressed_forms_and_masks_are_those_of_raw_images(compressed_node, model):
    _, camera = compressed_node
    mask = camera.gets_mask()
    assert (mask.header.frame_id, mask.encoding) == ("camera", "mono8")
    np.testing.assert_array_equal(pixels_of(mask), expected_mask(model, DEPTH_MM.astype(np.float32) * np.float32(1e-3)))


def test_diagnostics_tell_what_decompressing_takes_and_of_no_registration(compressed_node):
    _, camera = compressed_node
    camera.gets_mask()
    values = camera.peer.diagnostics(lambda values, message: "decompress_ms_p95" in values)
    assert 0 < float(values["decompress_ms_p50"]) <= float(values["decompress_ms_p95"])
    assert "registration_ms_p50" not in values


def test_the_codec_may_change_at_any_time(compressed_node, model):
    _, camera = compressed_node
    as_rvl = CompressedImage(format="16UC1; compressedDepth rvl", data=config_header() + rvl(DEPTH_MM))
    expected = expected_mask(model, DEPTH_MM.astype(np.float32) * np.float32(1e-3))
    np.testing.assert_array_equal(pixels_of(camera.gets_mask(depth=as_rvl)), expected)


def test_damaged_images_are_dropped_with_their_reason_and_the_next_is_labelled(compressed_node):
    process, camera = compressed_node
    rng = np.random.default_rng(0)
    color, depth = bytes(camera.good_color.data), bytes(camera.good_depth.data)
    for n in range(40):
        damaged = bytearray((color, depth)[n % 2])
        damaged = damaged[: rng.integers(len(damaged))] if n % 4 < 2 else rng.integers(0, 256, 99, np.uint8).tobytes()
        good = (camera.good_color, camera.good_depth)[n % 2]
        message = CompressedImage(format=good.format, data=bytes(damaged))
        camera.send(color=message) if n % 2 == 0 else camera.send(depth=message)
        time.sleep(0.02)
    values = camera.peer.diagnostics(lambda values, _: {"dropped_bad_rgb", "dropped_bad_depth"} <= values.keys())
    assert int(values["dropped_bad_rgb"]) > 5 and int(values["dropped_bad_depth"]) > 5
    assert any("frame dropped (bad_rgb)" in line and "compressed colour image" in line for line in process.lines)
    assert any("frame dropped (bad_depth)" in line and "compressed depth image" in line for line in process.lines)
    camera.gets_mask()


# Rectification


def test_images_that_are_not_rectified_are_said_to_be_once_with_the_displacement(model: Path):
    arguments = [
        "-p",
        f"model:={model}",
        "-p",
        "diagnostics_period:=0.2",
        "-r",
        "rgb/image_rect_color:=camera/image_raw",
    ]
    with node_and_peer(*arguments) as (process, peer):
        raw = peer.create_publisher(Image, "camera/image_raw", BEST_EFFORT)

        def send() -> None:
            info, color = camera_info(), rgb_image()
            info.d, info.distortion_model = [-0.3, 0.1, 0.0, 0.0, 0.0], "plumb_bob"
            stamp = peer.send(depth=depth_image(), info=info)
            color.header.frame_id = "camera"
            color.header.stamp.sec, color.header.stamp.nanosec = divmod(stamp, 10**9)
            raw.publish(color)

        assert peer.send_until(lambda: len(peer.masks) > 10, send), process.last_lines()
        lines = [line for line in process.lines if "images on /camera/image_raw are not rectified" in line]
        assert len(lines) == 1 and "by up to 6.1 px" in lines[0]
        values = peer.diagnostics(lambda values, _: True)
        assert values["unrectified_px"] == "6.1" and "rectified" not in values["message"]


# Registration

BASELINE_M = 0.05
NEAR_M, FAR_M = 1.0, 4.0
DEPTH_CAMERA_INFO = camera_info(focal=60.0)


def depth_of_a_post() -> np.ndarray:
    depth = np.full((HEIGHT, WIDTH), FAR_M, np.float32)
    depth[:, 30:50] = NEAR_M
    return depth


def extrinsics() -> np.ndarray:
    """The pose of the depth camera, to the right of the colour camera."""
    transform = np.eye(4)
    transform[0, 3] = BASELINE_M
    return transform


class UnregisteredCamera:
    """Publishes colour and depth seen from two places."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.clouds = peer.listen(PointCloud2, "segmentation/points")
        self._info = peer.create_publisher(CameraInfo, "depth/camera_info", BEST_EFFORT)
        late = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        if TF2_IS_REAL:
            from tf2_msgs.msg import TFMessage

            self._tf: Any = peer.create_publisher(TFMessage, "/tf_static", late)
            self._wrap: Any = lambda transform: TFMessage(transforms=[transform])
        else:
            self._tf, self._wrap = (
                peer.create_publisher(TransformStamped, "/tf_static", late),
                lambda transform: transform,
            )

    def send(self, info: CameraInfo | None = DEPTH_CAMERA_INFO, depth_frame: str = "depth_optical") -> int:
        depth = array_to_image(depth_of_a_post(), "32FC1")
        depth.header.frame_id = depth_frame
        if info is not None:
            self._info.publish(info)
        return self.peer.send(rgb_image(), depth, camera_info(), frame_id="color_optical")

    def send_transforms(self) -> None:
        """Publish transforms as drivers do: camera_link at the depth camera, and the colour camera beside it."""
        depth = TransformStamped(child_frame_id="depth_optical")
        color = TransformStamped(child_frame_id="color_optical")
        depth.header.frame_id = color.header.frame_id = "camera_link"
        color.transform.translation.x = -BASELINE_M
        for transform in (depth, color):
            self._tf.publish(self._wrap(transform))

    def depth_of_clouds(self, **options: Any) -> Iterator[np.ndarray]:
        """Send frames; yields z in m of their clouds, NaN where there is a hole."""
        while True:
            sent = {self.send(**options)}
            found: list[PointCloud2] = []

            def answered(sent: set[int] = sent, found: list[PointCloud2] = found) -> bool:
                found[:] = [cloud for cloud in list(self.clouds) if stamp_ns(cloud) in sent]
                return bool(found)

            assert self.peer.send_until(answered, lambda sent=sent: sent.add(self.send(**options)), 20.0), "no cloud"
            yield np.frombuffer(found[-1].data, CLOUD_POINT).reshape(HEIGHT, WIDTH)["z"]

    def gets_registered(self, **options: Any) -> bool:
        """Whether depth is registered to colour within ten clouds."""
        depth_camera = CameraIntrinsics(60.0, 60.0, COLOR_CAMERA.cx, COLOR_CAMERA.cy, WIDTH, HEIGHT)
        registered = register_depth(depth_of_a_post(), depth_camera, COLOR_CAMERA, extrinsics())
        expected = np.where(registered > 0, registered, np.nan)
        clouds = self.depth_of_clouds(**options)
        return any(np.array_equal(next(clouds), expected, equal_nan=True) for _ in range(10))

    def gets_as_it_is(self, **options: Any) -> bool:
        return np.array_equal(next(self.depth_of_clouds(**options)), depth_of_a_post())


def says(process: ChildProcess, *texts: str) -> bool:
    """Whether one line of the output contains all of these words."""
    return any(all(text in line for text in texts) for line in list(process.lines))


def test_depth_of_another_frame_is_registered_once_tf_and_camera_info_are_there(model: Path):
    with node_and_peer("-p", f"model:={model}", "-p", "diagnostics_period:=0.2", tf2=True) as (process, peer):
        camera = UnregisteredCamera(peer)
        # Nothing is known: depth is used as it is, with a warning.
        assert camera.gets_as_it_is(info=None)
        assert says(
            process, "'color_optical'", "'depth_optical'", "registered (aligned)", "nothing has come on /depth/"
        )
        is_told = "depth is not registered to colour: nothing has come on /depth/camera_info"
        reports = peer.listen(DiagnosticArray, "/diagnostics")

        def is_warned() -> bool:
            statuses = [status for report in list(reports) for status in report.status]
            return any(one.message.startswith(is_told) and one.level == DiagnosticStatus.WARN for one in statuses)

        # It comes only once the frames dropped in the first second have left the diagnostics.
        assert peer.send_until(is_warned, lambda: camera.send(info=None)), [r.status[0].message for r in reports[-3:]]
        # TF alone is not enough.
        camera.send_transforms()
        assert camera.gets_as_it_is(info=None)
        assert camera.gets_registered()
        assert says(process, "'depth_optical' is registered to colour of frame 'color_optical': 50.0 mm apart", "TF")
        values = peer.diagnostics(lambda values, _: values.get("registration") == "tf")
        assert 0 < float(values["registration_ms_p50"]) <= float(values["registration_ms_p95"])
        assert "decompress_ms_p50" not in values
        # Depth in the frame of colour is registered by the driver: it is used as it is.
        assert camera.gets_as_it_is(depth_frame="color_optical")
        assert camera.gets_registered()


@pytest.mark.skipif(TF2_IS_REAL, reason="tf2_ros is installed here")
def test_without_tf_depth_is_used_as_it_is_from_the_first_frame_on(model: Path):
    with node_and_peer("-p", f"model:={model}") as (process, peer):
        assert UnregisteredCamera(peer).gets_as_it_is()
        assert says(process, "depth is used as it is", "tf2_ros, which is not installed")


def test_extrinsics_by_parameters_need_no_tf_and_no_frames_but_the_camera_info(model: Path):
    arguments = [f"model:={model}", "registration:=parameters", f"registration_xyz:=[{BASELINE_M}, 0.0, 0.0]"]
    with node_and_peer(*(word for a in arguments for word in ("-p", a))) as (process, peer):
        camera = UnregisteredCamera(peer)
        assert peer.send_until(
            lambda: says(process, "frames are dropped (no_registration): nothing has come on /depth/camera_info"),
            lambda: camera.send(info=None, depth_frame="color_optical"),
        )
        assert not camera.clouds
        assert camera.gets_registered(depth_frame="color_optical")
        # A camera_info for another size.
        assert peer.send_until(
            lambda: says(process, "frame dropped (bad_depth)", "use the camera_info that belongs to the depth topic"),
            lambda: camera.send(info=camera_info(WIDTH // 2, HEIGHT // 2)),
        )
        assert camera.gets_registered()


def test_off_is_off(model: Path):
    with node_and_peer("-p", f"model:={model}", "-p", "registration:=off", tf2=True) as (process, peer):
        camera = UnregisteredCamera(peer)
        camera.send_transforms()
        assert camera.gets_as_it_is()
        assert not says(process, "registered")
