"""The viewer's input: it listens to what the node listens to, puts it together, and says what does not fit."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from lcr_seg_ros.ros.camera_presets import CAMERAS, OWN_TOPICS
from lcr_seg_ros.ros.environment import prepare_ros_environment
from lcr_seg_ros.ros.processes import free_domain_id

pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")
prepare_ros_environment()

from rclpy.node import Node  # noqa: E402
from ros_peer import BEST_EFFORT, RELIABLE, Peer, camera_info, depth_image, peer_in_domain, rgb_image  # noqa: E402
from sensor_msgs.msg import CameraInfo, Image  # noqa: E402

from lcr_seg_ros.ros.conversions import array_to_image  # noqa: E402
from lcr_seg_ros.ros.doctor.graph import CAMERA_INFO, COMPRESSED, IMAGE  # noqa: E402
from lcr_seg_ros.ros.heard_topics import camera_among  # noqa: E402
from lcr_seg_ros.ros.viewer_topics import Sight, ViewedCamera  # noqa: E402

REALSENSE = CAMERAS["realsense"]
IN_REALSENSES_NAMESPACE = ("--ros-args", "-r", f"__ns:={REALSENSE.namespace}")


# Which topic is what


@pytest.mark.parametrize("name", CAMERAS)
def test_of_each_driver_the_nodes_topics_are_told_apart(name: str) -> None:
    preset = OWN_TOPICS if name == "none" else CAMERAS[name]
    heard = {
        f"/a/{preset.rgb}": [IMAGE],
        f"/a/{preset.depth}": [IMAGE],
        f"/a/{preset.camera_info}": [CAMERA_INFO],
        "/a/depth/camera_info": [CAMERA_INFO],
        "/parameter_events": ["rcl_interfaces/msg/ParameterEvent"],
    }
    camera = camera_among(heard)
    assert camera is not None
    assert [camera.rgb, camera.depth, camera.camera_info] == list(heard)[:3]
    assert not camera.transports


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        ({"/a/picture": [IMAGE]}, ("/a/picture", "", "")),
        ({"/a/color": [IMAGE], "/b/range": [IMAGE], "/info": [CAMERA_INFO]}, ("/a/color", "/b/range", "/info")),
        (
            {"/a/picture": [IMAGE], "/b/depth": [IMAGE], "/b/camera_info": [CAMERA_INFO], "/i": [CAMERA_INFO]},
            ("/a/picture", "/b/depth", "/i"),
        ),
    ],
    ids=["a model that sees colour only", "depth of an odd name", "colour of an odd name"],
)
def test_of_topics_with_odd_names_what_is_left_is_the_other_image(heard: dict, expected: tuple) -> None:
    camera = camera_among(heard)
    assert camera is not None and (camera.rgb, camera.depth, camera.camera_info) == expected


def test_compressed_images_are_found_with_their_transport() -> None:
    camera = camera_among({"/a/rgb/image/compressed": [COMPRESSED], "/a/depth/image/compressedDepth": [COMPRESSED]})
    assert camera is not None and (camera.rgb, camera.depth) == ("/a/rgb/image", "/a/depth/image")
    assert camera.transports == {"rgb_transport": "compressed", "depth_transport": "compressedDepth"}


@pytest.mark.parametrize("heard", [{}, {"/a/segmentation/mask": [IMAGE]}, {"/a/x": [IMAGE], "/a/y": [IMAGE]}])
def test_names_that_do_not_tell_are_not_guessed_from(heard: dict) -> None:
    assert camera_among(heard) is None


# Over DDS


class RealSenseAndNode:
    """Publishes as a RealSense and a node that hears it would, in one ROS node of the driver's namespace."""

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        inputs = {REALSENSE.rgb: Image, REALSENSE.depth: Image, REALSENSE.camera_info: CameraInfo}
        self._inputs = [peer.create_publisher(kind, topic, BEST_EFFORT) for topic, kind in inputs.items()]
        for topic, kind in inputs.items():  # as the node does
            peer.create_subscription(kind, topic, lambda message: None, BEST_EFFORT)
        self._mask = peer.create_publisher(Image, "segmentation/mask", RELIABLE)

    def send(self, depth_frame: str = "color", with_depth: bool = True) -> None:
        now = self._peer.get_clock().now().to_msg()
        mask = array_to_image(np.full((60, 80), 7, np.uint8), "mono8")
        messages = [rgb_image(), depth_image(), camera_info(), mask]
        for publisher, message in zip([*self._inputs, self._mask], messages, strict=True):
            message.header.stamp = now
            message.header.frame_id = depth_frame if publisher is self._inputs[1] else "color"
            if with_depth or publisher is not self._inputs[1]:
                publisher.publish(message)


@pytest.fixture
def peer() -> Iterator[Peer]:
    with peer_in_domain(free_domain_id(), namespace=REALSENSE.namespace) as peer:
        yield peer


def seen(viewer: ViewedCamera, peer: Peer, send, is_enough=lambda sight: True) -> Sight | None:  # type: ignore[no-untyped-def]
    """The first sight that is enough, while frames are sent; None if none comes."""
    found: list[Sight] = []

    def look() -> bool:
        sight = viewer.sight()
        if sight is not None and is_enough(sight):
            found.append(sight)
        return bool(found)

    peer.send_until(look, send, 15.0)
    return found[-1] if found else None


def test_given_the_namespace_alone_the_viewer_shows_what_the_node_hears(peer: Peer) -> None:
    warnings: list[str] = []
    node = Node("viewer", context=peer.context, cli_args=list(IN_REALSENSES_NAMESPACE))
    viewer = ViewedCamera(node, warn=warnings.append)
    stand_in = RealSenseAndNode(peer)
    sight = seen(viewer, peer, stand_in.send, lambda sight: sight.frame.depth_m is not None and not viewer.missing)
    assert sight is not None, warnings
    assert sight.frame.intrinsics is not None and sight.is_registered and not warnings
    assert viewer.topic("rgb") == f"{REALSENSE.namespace}/{REALSENSE.rgb}"
    assert viewer.missing == []
    viewer.destroy()
    node.destroy_node()


def test_of_a_node_with_several_cameras_each_is_found_below_its_name(peer: Peer) -> None:
    for camera in ("front", "rear"):
        peer.create_publisher(Image, f"{camera}/segmentation/mask", RELIABLE)
        for topic in (REALSENSE.rgb, REALSENSE.depth):
            peer.create_subscription(Image, f"{camera}/{topic}", lambda message: None, BEST_EFFORT)
    node = Node("viewer", context=peer.context, cli_args=list(IN_REALSENSES_NAMESPACE))
    rear = ViewedCamera(node, "rear")
    wanted = f"{REALSENSE.namespace}/rear/{REALSENSE.rgb}"
    assert peer.send_until(lambda: rear.sight() is None and rear.topic("rgb") == wanted, lambda: None, 15.0)
    assert rear.topic("depth") == f"{REALSENSE.namespace}/rear/{REALSENSE.depth}"
    node.destroy_node()


def test_what_is_remapped_stays_so(peer: Peer) -> None:
    remapped = ("-r", "rgb/image_rect_color:=/mine", "-r", "rgb/camera_info:=/my_info")
    node = Node("viewer", context=peer.context, cli_args=[*IN_REALSENSES_NAMESPACE, *remapped])
    viewer = ViewedCamera(node)
    stand_in = RealSenseAndNode(peer)
    peer.send_until(lambda: viewer.sight() is not None or "depth" not in viewer.missing, stand_in.send, 15.0)
    assert [viewer.topic(kind) for kind in ("rgb", "camera_info")] == ["/mine", "/my_info"]
    assert viewer.topic("depth") == f"{REALSENSE.namespace}/{REALSENSE.depth}"
    node.destroy_node()


def test_depth_that_never_comes_although_the_node_listens_to_it_is_missing(peer: Peer) -> None:
    node = Node("viewer", context=peer.context, cli_args=list(IN_REALSENSES_NAMESPACE))
    viewer = ViewedCamera(node)
    stand_in = RealSenseAndNode(peer)
    sight = seen(viewer, peer, lambda: stand_in.send(with_depth=False), lambda _: viewer.missing == ["depth"])
    assert sight is not None and sight.frame.depth_m is None
    node.destroy_node()


def test_depth_of_another_frame_is_not_registered_which_is_said_once(peer: Peer) -> None:
    warnings: list[str] = []
    node = Node("viewer", context=peer.context, cli_args=list(IN_REALSENSES_NAMESPACE))
    viewer = ViewedCamera(node, warn=warnings.append)
    stand_in = RealSenseAndNode(peer)
    for _ in range(2):
        sight = seen(viewer, peer, lambda: stand_in.send("infra"), lambda sight: sight.frame.depth_m is not None)
        assert sight is not None and not sight.is_registered
        time.sleep(0.1)
    (line,) = warnings
    assert line.startswith("colour is in frame 'color', depth in 'infra': not registered")
    assert f"{REALSENSE.namespace}/segmentation/points" in line
    node.destroy_node()
