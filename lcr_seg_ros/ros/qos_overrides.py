"""What users may override of the QoS of publishers and subscriptions, and which of their overrides nothing uses."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from typing import TYPE_CHECKING

from rclpy.qos import QoSPolicyKind
from rclpy.qos_overriding_options import QoSOverridingOptions

if TYPE_CHECKING:
    from rclpy.node import Node

PREFIX = "qos_overrides."

OVERRIDABLE = (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)
"""rclpy's default leaves out durability, on which depends whether a latched message arrives."""

DECLARED_LATER = ("/tf", "/tf_static", "/clock", "/imu", "/depth/camera_info")
"""How topics end that a node subscribes to only once it turns out that it needs them."""


def overridable() -> QoSOverridingOptions:
    """The policies that users may set by parameters ``qos_overrides.TOPIC.subscription.POLICY``."""
    return QoSOverridingOptions(OVERRIDABLE)


def given_parameters(node: Node) -> Collection[str]:
    """Names of the parameters that the user gave at start, whether the node knows them or not."""
    return getattr(node, "_parameter_overrides", {}).keys()


def unused_overrides(node: Node) -> list[str]:
    """For each ``qos_overrides.`` parameter that no publisher or subscription has declared, a line for the log.

    Those of topics that are subscribed to only when needed are left out.
    """
    lines = []
    names = sorted(name for name in given_parameters(node) if name.startswith(PREFIX))
    unused = [name for name in names if not node.has_parameter(name)]
    if not unused:
        return []
    declared = [f"{PREFIX}{name}" for name in node.get_parameters_by_prefix(PREFIX.rstrip("."))]
    policies = ", ".join(kind.name.lower() for kind in OVERRIDABLE)
    for name in unused:
        topic = name.removeprefix(PREFIX).rsplit(".", 2)[0]
        if topic.endswith(DECLARED_LATER):
            continue
        near = difflib.get_close_matches(name, declared, n=1)
        hint = f"did you mean {near[0]}?" if near else "none is like it."
        lines.append(
            f"{name} is ignored: {hint} The form is {PREFIX}TOPIC.subscription.POLICY (or .publisher.), with the full "
            f"name of the topic after remapping, and {policies} for the policy"
        )
    return lines
