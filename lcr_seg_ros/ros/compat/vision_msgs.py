"""Which class a mask id means, as ``vision_msgs/LabelInfo`` where it is installed.

The same goes out as JSON in any case: :mod:`lcr_seg_ros.ros.label_announcements`.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.ros.compat import Choice
from lcr_seg_ros.ros.output_topics import LABEL_INFO

if TYPE_CHECKING:
    from std_msgs.msg import Header


class LabelInfoFormat(NamedTuple):
    """Topic, message type, and ``build(label_set, threshold, header) -> message``.

    ``class_map`` lists ``class_id``, equal to the mask value, and ``class_name``; ``threshold`` is the confidence
    below which a pixel is left unlabelled.
    """

    topic: str
    message_type: type[Any]
    build: Callable[[LabelSet, float, Header], Any]


def choose_label_info() -> tuple[LabelInfoFormat | None, Choice]:
    """The format to publish here; None where there is none."""
    reason = "not installed"
    if find_spec("vision_msgs") is not None:
        try:
            from vision_msgs.msg import LabelInfo

            _label_info(LabelSet.load("nyu40"), 0.0, LabelInfo().header)
            return LabelInfoFormat(LABEL_INFO, LabelInfo, _label_info), Choice("vision_msgs", True)
        except Exception as error:  # LabelInfo came with vision_msgs 4: older ones lack it
            reason = f"unusable: {type(error).__name__}: {error}"
    return None, Choice("vision_msgs", False, reason)


def _label_info(labels: LabelSet, threshold: float, header: Header) -> Any:
    from vision_msgs.msg import LabelInfo, VisionClass

    message = LabelInfo(header=header, threshold=float(threshold))
    message.class_map = [VisionClass(class_id=c.id, class_name=c.name) for c in labels.classes]
    return message
