"""Explains why no images come, or come too late, by a cause that the user can fix."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lcr_seg_ros.ros.environment import FASTDDS_PROFILE, profile_variable

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.qos import QoSProfile


RECENT_S = 5.0
"""s. A topic without messages for this long counts as silent, unless ``silence_timeout`` is longer."""

PAIRED_SHARE = 0.8
"""Fewer pairs than this share of the slower stream are worth a warning."""

FEW = 3
"""Fewer missing pairs than this are not: of a slow camera, an image may be waiting for its partner."""

MISSING_GAP = 0.75
"""A gap of more frame periods than this is not between partners, which are half a period apart at most."""

RECORDED_S = 60.0
"""s. Stamps older than this on arrival are probably recorded, not those of a running camera."""


@dataclass(frozen=True)
class InputTopic:
    """What is known of one input topic.

    Args:
        name: full topic name.
        arrives: whether messages have come recently, see :class:`Arrivals`.
        received_ever: number of messages since the node subscribed.
        publishers: number of publishers, usable or not.
        misfits: for each publisher that cannot reach us, the reason.
    """

    name: str
    arrives: bool
    received_ever: int = 0
    publishers: int = 0
    misfits: tuple[str, ...] = ()


class Arrivals:
    """Tracks which input topics of a camera are alive: those with a message since the last pair, and not long ago.

    Args:
        clock: returns monotonic time in s.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._newest: dict[str, float] = {}
        self._counts: Counter[str] = Counter()
        self._paired_at = -math.inf

    def begin(self, topic: str) -> None:
        """Note a new subscription, from which nothing has come yet."""
        self._newest.pop(topic, None)
        self._counts[topic] = 0

    def came(self, topic: str) -> None:
        """Note a message."""
        self._newest[topic] = self._clock()
        self._counts[topic] += 1

    def paired(self) -> None:
        """Note that a pair is complete."""
        self._paired_at = self._clock()

    def count(self, topic: str) -> int:
        """Number of messages since :meth:`begin`."""
        return self._counts[topic]

    def arrives(self, topic: str, window_s: float) -> bool:
        """Whether a message has come since the last pair and within the last ``window_s`` seconds."""
        newest = self._newest.get(topic, -math.inf)
        return newest > self._paired_at and newest >= self._clock() - window_s


def look_at_topic(
    node: Node, name: str, type_name: str, qos: QoSProfile, arrives: bool, received_ever: int
) -> InputTopic:
    """Ask the ROS graph who publishes an input.

    Args:
        node: used to query the graph.
        name: full topic name.
        type_name: type of our subscription, e.g. ``sensor_msgs/msg/Image``.
        qos: of our subscription.
        arrives: whether messages have come recently.
        received_ever: number of messages since the node subscribed.
    """
    publishers = node.get_publishers_info_by_topic(name)
    misfits = []
    for publisher in publishers:
        if publisher.topic_type != type_name:
            misfits.append(f"{publisher.node_name} sends {publisher.topic_type}, not {type_name}")
        elif reason := _qos_conflict(publisher.qos_profile, qos):
            misfits.append(f"the QoS of {publisher.node_name} does not match ours: {reason}")
    return InputTopic(name, arrives, received_ever, len(publishers), tuple(misfits))


def explain_silence(
    inputs: Sequence[InputTopic], gap_s: float | None = None, slop_s: float = 0.0, clock_stands: bool = False
) -> str:
    """Why there are no masks, in one sentence for the user.

    Args:
        inputs: the topics that make a pair, colour first.
        gap_s: smallest distance between recent unpaired colour and depth stamps in s; None if either kind has none.
        slop_s: the distance allowed in s.
        clock_stands: whether simulated time is in use and no clock message has come.
    """
    arrive = [topic.name for topic in inputs if topic.arrives]
    silent: dict[str, list[str]] = {}
    for topic in inputs:
        if not topic.arrives:
            silent.setdefault(_why_nothing(topic), []).append(topic.name)
    if silent:
        only = f"only {' and '.join(arrive)} arrives; " if arrive else ""
        return only + "; ".join(f"{' and '.join(names)}: {cause}" for cause, names in silent.items())
    if clock_stands:
        return "use_sim_time is set, but nothing has come on /clock"
    if gap_s is not None and gap_s >= slop_s:
        return (
            f"{' and '.join(arrive)} arrive, but their stamps are {gap_s * 1e3:.1f} ms apart at best and slop is "
            f"{slop_s * 1e3:.1f} ms: synchronise the camera's streams, or raise slop (under half a frame period)"
        )
    return f"{' and '.join(arrive)} arrive, but have made no pair yet"


def explain_few_pairs(
    pairs_hz: float, rgb_hz: float, depth_hz: float, window_s: float, gap_s: float | None, slop_s: float
) -> str | None:
    """Why only some of the images find a partner, in one sentence for the user; None if enough of them do.

    Args:
        pairs_hz, rgb_hz, depth_hz: rates of pairs and of images, paired or not.
        window_s: the time in s in which they were counted.
        gap_s: smallest distance between recent unpaired colour and depth stamps in s; None if either kind has none.
        slop_s: the distance allowed in s.
    """
    slower_hz = min(rgb_hz, depth_hz)
    lost = (slower_hz - pairs_hz) * window_s
    if pairs_hz >= PAIRED_SHARE * slower_hz or lost < FEW:
        return None
    found = (
        f"only {pairs_hz:.1f} pairs/s of {rgb_hz:.1f} colour and {depth_hz:.1f} depth images/s: the stamps of the rest "
    )
    if gap_s is None:
        return f"{found}have no counterpart: images are lost on the way"
    near = f"{found}are {gap_s * 1e3:.1f} ms apart at best and slop is {slop_s * 1e3:.1f} ms: "
    period_s = 1 / max(rgb_hz, depth_hz)
    if gap_s > MISSING_GAP * period_s:
        return f"{near}their counterparts are missing, so images are lost on the way"
    return f"{near}synchronise the camera's streams, or raise slop (under half a frame period)"


def explain_age(age_s: float, age_at_arrival_s: float, max_age_s: float) -> str:
    """Why a pair is too old, and what helps.

    Args:
        age_s: from its stamp until now, in s.
        age_at_arrival_s: from its stamp until the pair was complete, in s; since then it has waited for the network.
        max_age_s: the age allowed in s.
    """
    if age_at_arrival_s <= max_age_s:
        return (
            f"{age_s:.2f} s old, {age_at_arrival_s:.2f} s of it on arrival, max_age is {max_age_s:g} s (the network is "
            "too slow for it)"
        )
    recorded = "recorded stamps? use_sim_time and a /clock help; else " if age_at_arrival_s >= RECORDED_S else ""
    return (
        f"its stamp was {age_at_arrival_s:.2f} s old on arrival, max_age is {max_age_s:g} s ({recorded}synchronise the "
        "clocks (chrony, NTP), look at the driver's stamps, or raise max_age)"
    )


def _why_nothing(topic: InputTopic) -> str:
    if topic.publishers == 0:
        return "no publisher; start the camera, or remap to the camera's topic"
    if len(topic.misfits) == topic.publishers:
        return f"nothing usable, {'; '.join(topic.misfits)}"
    if topic.received_ever:
        return "fallen silent, a publisher is there but sends nothing more"
    return (
        "a publisher is there, but no message has come; is the camera streaming? If so: with Fast DDS, images need "
        f"larger buffers than the stock ones, set {profile_variable()}={FASTDDS_PROFILE} for the camera's driver "
        "and for this node"
    )


def _qos_conflict(offered: QoSProfile, requested: QoSProfile) -> str:
    from rclpy.qos import QoSCompatibility, qos_check_compatible

    compatibility, reason = qos_check_compatible(offered, requested)
    return reason.strip() if compatibility == QoSCompatibility.ERROR else ""
