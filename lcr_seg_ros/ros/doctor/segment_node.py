"""Checks of segmentation nodes that run already, and of whoever cannot hear them or the camera."""

from __future__ import annotations

from collections.abc import Mapping

from diagnostic_msgs.msg import DiagnosticStatus

from lcr_seg_ros.bundle import shipped_models
from lcr_seg_ros.compressed_images import RAW, transport_topic
from lcr_seg_ros.ros.camera_topics import CameraTopics
from lcr_seg_ros.ros.diagnostics import camera_of
from lcr_seg_ros.ros.doctor.graph import COMPRESSED, IMAGE, GraphView, is_output
from lcr_seg_ros.ros.doctor.report import Check
from lcr_seg_ros.ros.output_topics import MASK

AREA = "node"

SHOWN_KEYS = ("state", "model", "backend", "device", "masks_out_hz", "pairs_in_hz", "latency_ms_p50", "latency_ms_p95")

KEEPS_UP = 0.9
"""Share of the frames that a node has to label."""


def check_segment_nodes(view: GraphView, camera: CameraTopics | None = None) -> list[Check]:
    """One check for each node that publishes masks; one for each pair of ends that do not match.

    Args:
        view: what was heard.
        camera: that was found, and that the line starts the node on which the report prints.
    """
    nodes = sorted(_mask_topics(view))
    # A camera that one of the nodes hears is not what another one waits for.
    if camera is not None and nodes_on(camera, view):
        camera = None
    checks = [_deaf_node(name, view, camera) or _node(name, view) for name in nodes]
    if not nodes:
        checks.append(Check(AREA, "segment", "ok", "not running, or not configured"))
    for misfit in view.misfits:
        critical = misfit.subscriber in nodes or misfit.publisher in nodes
        checks.append(
            Check(
                AREA,
                f"QoS of {misfit.topic}",
                "fail" if critical else "warn",
                f"{misfit.subscriber} hears nothing from {misfit.publisher}: {misfit.reason}",
                "let the subscriber ask for less (best effort for images; in RViz: Topic > Reliability Policy), or "
                "override the QoS of one of the two by its qos_overrides parameters",
            )
        )
    return checks


def nodes_on(camera: CameraTopics, view: GraphView) -> list[str]:
    """Full names of the segmentation nodes that listen to this very camera."""
    hear = set(view.subscribers.get(_inputs(camera)[0], ()))
    return sorted(hear & _mask_topics(view).keys())


def view_line(node: str, view: GraphView) -> str:
    """The command that shows a segmentation node and all its cameras in the browser.

    Args:
        node: full name.
        view: what was heard.
    """
    namespace, _, name = node.rpartition("/")
    below = [topic.removeprefix(f"{namespace}/").removesuffix(MASK).rstrip("/") for topic in _mask_topics(view)[node]]
    words = ["python -m lcr_seg_ros view", *(f"--camera {camera}" for camera in below if camera)]
    words += [f"--node {name}"] if name != "segment" else []
    words += [f"--ros-args -r __ns:={namespace}"] if namespace else []
    return " ".join(words)


def _mask_topics(view: GraphView) -> dict[str, list[str]]:
    """Topics of masks, by the full name of the node that publishes them."""
    found: dict[str, list[str]] = {}
    for topic in sorted(topic for topic in view.publishers if topic.endswith(f"/{MASK}")):
        for node in view.publishers[topic]:
            found.setdefault(node, []).append(topic)
    return found


def _status_of(node: str, view: GraphView) -> DiagnosticStatus | None:
    # Several cameras have a status each: the worst one speaks for the node.
    found = [status for name, status in view.diagnostics.items() if camera_of(name, node) is not None]
    return max(found, key=lambda status: int.from_bytes(_byte(status.level), "little"), default=None)


def _deaf_node(name: str, view: GraphView, camera: CameraTopics | None) -> Check | None:
    """For a node that listens to images which nobody publishes, while ``camera``, which no node hears, sends others."""
    heard = [topic for topic, nodes in view.subscribers.items() if name in nodes and not is_output(topic)]
    images = [topic for topic in heard if {IMAGE, COMPRESSED} & set(view.topics.get(topic, ()))]
    if camera is None or not images or any(view.publishers.get(topic) for topic in images):
        return None
    lacking = sorted(topic for topic in heard if not view.publishers.get(topic))
    found = f"it listens to {', '.join(lacking)}, which nobody publishes; the camera that was found sends "
    found += ", ".join(topic for topic in _inputs(camera) if topic not in heard)
    advice = "end it, and start it again with the line at the end of this report: Start the node on this camera"
    return Check(AREA, name, "fail", found, advice)


def _inputs(camera: CameraTopics) -> list[str]:
    """The topics as they are there, colour first."""
    images = ((camera.rgb, camera.rgb_transport), (camera.depth, camera.depth_transport))
    return [
        *(topic if form == RAW else transport_topic(topic, form) for topic, form in images if topic),
        *([camera.camera_info] if camera.camera_info else []),
    ]


def _node(name: str, view: GraphView) -> Check:
    status = _status_of(name, view)
    if status is None:
        advice = f"is it active? ros2 lifecycle get {name}; or listen longer: --seconds 10"
        return Check(AREA, name, "warn", "it is there, but has sent no diagnostics", advice)
    values = _values(status)
    shown = ", ".join(f"{key} {values[key]}" for key in SHOWN_KEYS if key in values)
    drops = _drops(status)
    lost = "; dropped so far: " + ", ".join(f"{count} {reason}" for reason, count in drops.items()) if drops else ""
    if _byte(status.level) == _byte(DiagnosticStatus.OK):
        advice = _remedy_of_slowness(name, values, _recent_drops(status, view))
        return Check(AREA, name, "warn" if advice else "ok", f"{shown}{lost}", advice)
    return Check(AREA, name, "warn", f"{status.message} ({shown}{lost})", "see the checks of the camera above")


def _values(status: DiagnosticStatus) -> dict[str, str]:
    return {pair.key: pair.value for pair in status.values}


def _drops(status: DiagnosticStatus) -> dict[str, int]:
    """Frames dropped since the node became active, by reason."""
    values = _values(status)
    return {key.removeprefix("dropped_"): int(value) for key, value in values.items() if key.startswith("dropped_")}


def _recent_drops(status: DiagnosticStatus, view: GraphView) -> dict[str, int]:
    """Frames dropped while the doctor listened, by reason; empty after a single message."""
    first = view.first_diagnostics.get(status.name, status)
    before = _drops(first)
    return {reason: count - before.get(reason, 0) for reason, count in _drops(status).items()}


def _remedy_of_slowness(name: str, values: Mapping[str, str], drops: Mapping[str, int]) -> str:
    """What to do about a node that labels clearly fewer frames than come, for want of time; empty if it keeps up.

    Args:
        name: of the node.
        values: of its newest status.
        drops: frames that it dropped recently, by reason.
    """
    # Without subscribers, or with a limit that the user has set, it is not time that it lacks.
    by_wish = drops.get("not_subscribed", 0) > 0 or drops.get("rate_limit", 0) > 0
    pairs_hz, masks_hz = (float(values.get(key, "0")) for key in ("pairs_in_hz", "masks_out_hz"))
    if drops.get("replaced_by_newer", 0) <= 0 or by_wish or masks_hz > KEEPS_UP * pairs_hz:
        return ""
    remedies = []
    smaller = f"{values.get('model')}-int8"
    if smaller in shipped_models():
        remedies.append(f"ros2 param set {name} model {smaller} has a quicker network")
    rate = f"{KEEPS_UP * masks_hz:.1f}"
    if rate != "0.0":  # which would mean no limit
        remedies.append(f"ros2 param set {name} max_rate_hz {rate}")
    return f"it cannot label every frame: {'; or '.join(remedies) or 'choose a smaller model'}"


def _byte(level: bytes | int) -> bytes:
    """Releases differ in how they hand out a byte."""
    return level if isinstance(level, bytes) else bytes([level])
