"""Announces what the mask values of a running node mean (ids, names, colours), as JSON on a latched topic.

It complements ``vision_msgs/LabelInfo``, which has no colours and is not installed everywhere. The viewer and the map
of this package read it, so that they show the classes of whichever model runs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from lcr_seg_ros.errors import LabelSetError
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.ros.output_topics import LABEL_INFO_JSON
from lcr_seg_ros.ros.polled_subscription import PolledSubscription

if TYPE_CHECKING:
    from rclpy.node import Node
    from std_msgs.msg import Header

MAX_CHARACTERS = 1_000_000
"""Longest message read; 100 characters for each of 254 classes make 25 000."""

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def labels_to_json(labels: LabelSet, threshold: float, header: Header) -> String:
    """The fields of ``vision_msgs/LabelInfo`` as JSON, plus ``name``, ``void`` and each class's ``color`` (RGB 0..255).

    Args:
        labels: of the model.
        threshold: confidence, 0..1, below which a pixel is left unlabelled.
        header: of the message.
    """
    content = {
        "header": {
            "stamp": {"sec": header.stamp.sec, "nanosec": header.stamp.nanosec},
            "frame_id": header.frame_id,
        },
        "name": labels.name,
        "void": labels.void,
        "class_map": [{"class_id": c.id, "class_name": c.name, "color": list(c.color)} for c in labels.classes],
        "threshold": float(threshold),
    }
    return String(data=json.dumps(content))


def labels_of_json(message: String) -> LabelSet:
    """The inverse of :func:`labels_to_json`.

    Raises:
        LabelSetError: the message is too long, or not what :func:`labels_to_json` makes.
    """
    try:
        if len(message.data) > MAX_CHARACTERS:
            raise LabelSetError(f"{len(message.data)} characters about labels; at most {MAX_CHARACTERS} are read")
        content = json.loads(message.data)
        classes = [
            {"id": entry["class_id"], "name": entry["class_name"], "color": entry["color"]}
            for entry in content["class_map"]
        ]
        return LabelSet.from_dict({"name": content["name"], "void": content["void"], "classes": classes})
    except (ValueError, KeyError, TypeError, RecursionError) as error:  # RecursionError: deeply nested JSON
        if isinstance(error, LabelSetError):
            raise
        raise LabelSetError(f"not what a node of this package says of its labels: {error!r}") from error


class AnnouncedLabels:
    """Subscribes to a node's announcements of its labels. The subscribing node need not be spun.

    Args:
        node: creates the subscription.
        topic: its name; default: relative to the node's own namespace.
    """

    def __init__(self, node: Node, topic: str = LABEL_INFO_JSON) -> None:
        self._topic = topic
        self._messages = PolledSubscription(node, String, topic, LATCHED)

    def take(self) -> LabelSet | None:
        """The newest labels announced since the last call, or None.

        Raises:
            LabelSetError: a message is not from a node of this package.
        """
        newest = None
        for message in self._messages.take():
            try:
                newest = labels_of_json(message)
            except LabelSetError as error:
                raise LabelSetError(f"{self._topic}: {error}") from error
        return newest

    def destroy(self) -> None:
        """Unsubscribe."""
        self._messages.destroy()
