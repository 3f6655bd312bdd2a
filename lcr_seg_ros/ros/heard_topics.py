"""Which images a running node listens to, from the ROS graph: for programs that show the same images."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from rclpy.node import NodeNameNonExistentError

from lcr_seg_ros.ros.camera_presets import OWN_DEPTH_CAMERA_INFO
from lcr_seg_ros.ros.camera_topics import CameraTopics, color_topics, find_cameras, without_transport
from lcr_seg_ros.ros.doctor.graph import CAMERA_INFO, COMPRESSED, IMAGE

if TYPE_CHECKING:
    from rclpy.node import Node


def heard_camera(node: Node, mask_topic: str, below: str = "") -> CameraTopics | None:
    """The camera that the node behind a topic of masks listens to.

    Args:
        node: looks at the graph.
        mask_topic: full name.
        below: only topics whose names begin so: those of one camera of a node with several.

    Returns:
        Its topics, without depth for a model that sees colour only. None if the node is not there, not active, or if
        the names do not tell which topic is what.
    """
    for end in node.get_publishers_info_by_topic(mask_topic):
        try:
            heard = node.get_subscriber_names_and_types_by_node(end.node_name, end.node_namespace)
        except NodeNameNonExistentError:  # it has just ended, or its name has not come yet
            continue
        camera = camera_among({topic: types for topic, types in heard if topic.startswith(below)})
        if camera is not None:
            return camera
    return None


def camera_among(topics: Mapping[str, Collection[str]]) -> CameraTopics | None:
    """The camera whose topics are among those that one node listens to.

    Args:
        topics: types by full name.

    Returns:
        None if there are no images, or if their names do not tell colour from depth.
    """
    transports = {
        without_transport(topic): topic.rpartition("/")[2] for topic, types in topics.items() if COMPRESSED in types
    }
    raw = [topic for topic, types in topics.items() if IMAGE in types and "/segmentation/" not in topic]
    images = sorted({*raw, *transports})
    infos = [
        topic
        for topic, types in topics.items()
        if CAMERA_INFO in types and not topic.endswith(f"/{OWN_DEPTH_CAMERA_INFO}")
    ]
    colors = color_topics(images, {})
    if not colors:  # what is left beside a depth image is the colour image, whatever its name
        colors = [topic for topic in images if "depth" not in topic.lower()]
    camera = next(iter(find_cameras(images, infos, {})), None)
    if camera is None and len(colors) == 1:
        camera = CameraTopics(colors[0], "", "")
    if camera is None:
        return None
    others = [topic for topic in images if topic != camera.rgb]
    depth = camera.depth or (others[0] if len(others) == 1 else "")
    beside_depth = f"{depth.rpartition('/')[0]}/camera_info"
    info = camera.camera_info or next((topic for topic in sorted(infos) if topic != beside_depth), "")
    return replace(camera, depth=depth, camera_info=info).with_transports(transports)
