"""The state of a camera as a ``diagnostic_msgs/DiagnosticStatus``; each camera of a node has one.

Counts start when the node becomes active or enabled; all other figures cover the last five seconds. ``p50`` is the
median, ``p95`` the 95th percentile. Keys:

- ``state``, ``model``, ``backend``, ``device``
- ``model_digest``: first 16 digits of the SHA-256 of the model's network, which tell models of one name apart
- ``device_fallback``: why the network runs on the CPU instead of the device it was loaded for, or of the CUDA device
  that is there, or why the whole pipeline no longer runs on the device; else empty
- ``model_loading``: the model that will take over when it is ready; else empty
- ``memory_mb`` (resident memory of the process in MB of 10^6 bytes), ``threads``
- ``rgb_in_hz`` and, with a model that sees depth, ``depth_in_hz``: images that came, paired or not
- ``pairs_in``, ``pairs_in_hz``, ``masks_out``, ``masks_out_hz``
- ``dropped``, and ``dropped_REASON`` by reason: ``unpaired`` (a colour image that left the queue, of ``queue_size``,
  without a depth image within ``slop``), ``not_subscribed``, ``rate_limit`` (by ``max_rate_hz``),
  ``replaced_by_newer`` (while the network was busy), ``too_old`` (by ``max_age``), ``no_camera_info``,
  ``no_registration``, ``model_switch``, ``bad_rgb``, ``bad_depth`` or ``bad_frame`` (the log says what is wrong) and
  others
- ``latency_ms_p50``, ``latency_ms_p95``: from the stamp of the colour image until the mask has been sent
- ``response_ms_p50``, ``response_ms_p95``: from the arrival of the colour image until the mask has been sent
- ``STAGE_ms_p50``, ``STAGE_ms_p95`` for the stages that frames went through: ``wait`` (for the worker, which is busy
  with the frame before), ``conversion`` (of messages to arrays), ``decompress`` (of compressed images),
  ``registration`` (of depth, by the node); ``hha``, ``preprocess``, ``network``, ``decode``, or, with PyTorch on CUDA,
  ``gravity`` (on the CPU) and ``device`` (upload, HHA, network, decoding and download together); ``render``,
  ``publish``
- ``age_ms_p50``, ``age_ms_p95``: from the stamp of the colour image until the pair is complete, which is the delay of
  camera and transport
- ``skew_ms_p50``, ``skew_ms_p95``: distance between the two stamps of a pair
- ``invalid_depth_share``: share of the pixels without depth, 0..1
- ``registration``: where the extrinsics for registering depth in the node come from, ``tf`` or ``parameters``; else
  ``none``, with the reason if depth should be registered
- ``unrectified_px``: how far the lens displaces pixels at the border of colour images that are not rectified, by their
  topic's name and camera_info; else 0. The log warns of it once; the status stays OK, since labels still fit the images
- ``gravity_source``, ``gravity_down`` (x y z, of the newest frame), ``gravity_confident_share``,
  ``gravity_fallback_share`` (share of the frames for which the source had no answer, so that gravity was estimated) and
  ``gravity_doubt`` (why it should not be trusted; else empty)
"""

from __future__ import annotations

from typing import Any

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from lcr_seg_ros.ros.frame_statistics import Report
from lcr_seg_ros.ros.process_status import megabytes, read_process_status

TOPIC = "/diagnostics"

_SUBJECT = ": segmentation"


def status_name(node_name: str, camera: str) -> str:
    """Name of a status: ``NODE: segmentation``, or ``NODE: segmentation CAMERA`` if there are several cameras.

    Args:
        node_name: full name of the node.
        camera: its name; empty for a node's only camera.
    """
    return f"{node_name.lstrip('/')}{_SUBJECT} {camera}".rstrip()


def camera_of(name: str, node_name: str) -> str | None:
    """The inverse of :func:`status_name`.

    Args:
        name: of a status.
        node_name: full name of the node.

    Returns:
        Name of the camera, empty for a node's only camera; None if the status is not of this node.
    """
    only = status_name(node_name, "")
    if name == only:
        return ""
    return name.removeprefix(f"{only} ").strip() if name.startswith(f"{only} ") else None


def diagnostic_status(
    name: str, device: str, facts: dict[str, str], report: Report, problem: str | None
) -> DiagnosticStatus:
    """The status of one camera.

    Args:
        name: of the node, and of the camera if there are several.
        device: what runs the network; becomes ``hardware_id``.
        facts: further keys and values, which come first; must have ``state``.
        report: statistics of the camera.
        problem: what is wrong, in one sentence; the status is then WARN, otherwise OK.
    """
    values: dict[str, Any] = dict(facts)
    values["rgb_in_hz"] = f"{report.rgb_in_hz:.2f}"
    if report.depth_in_hz is not None:
        values["depth_in_hz"] = f"{report.depth_in_hz:.2f}"
    values |= {"pairs_in": report.pairs_in, "pairs_in_hz": f"{report.pairs_in_hz:.2f}"}
    values |= {"masks_out": report.masks_out, "masks_out_hz": f"{report.masks_out_hz:.2f}"}
    values |= {"dropped": sum(report.dropped.values())}
    values |= {f"dropped_{reason}": count for reason, count in sorted(report.dropped.items())}
    for part, (p50, p95) in report.milliseconds.items():
        values |= {f"{part}_ms_p50": f"{p50:.2f}", f"{part}_ms_p95": f"{p95:.2f}"}
    if report.invalid_depth_share is not None:
        values["invalid_depth_share"] = f"{report.invalid_depth_share:.4f}"
    if report.gravity is not None:
        values["gravity_down"] = " ".join(f"{component:.4f}" for component in report.gravity.down)
        values["gravity_confident_share"] = f"{report.gravity.confident_share:.3f}"
        values["gravity_fallback_share"] = f"{report.gravity.fallback_share:.3f}"
        values["gravity_doubt"] = report.gravity.trouble
    status = DiagnosticStatus(
        level=DiagnosticStatus.OK if problem is None else DiagnosticStatus.WARN,
        name=name,
        message=problem or f"{facts['state']}, {report.masks_out_hz:.1f} of {report.pairs_in_hz:.1f} pairs/s labelled",
        hardware_id=device,
    )
    status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return status


def process_facts() -> dict[str, str]:
    """``memory_mb`` and ``threads`` of this process; empty where there is no /proc."""
    try:
        entries = read_process_status()
    except OSError:
        return {}
    facts = {}
    if "VmRSS" in entries:
        facts["memory_mb"] = f"{megabytes(entries['VmRSS']):.1f}"
    if "Threads" in entries:
        facts["threads"] = entries["Threads"]
    return facts
