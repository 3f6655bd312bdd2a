"""The node's state as a ``diagnostic_msgs/DiagnosticArray``.

Keys: ``state``, ``model``, ``backend``, ``device``; ``pairs_in``, ``pairs_in_hz``, ``masks_out``, ``masks_out_hz``;
``dropped`` and ``dropped_REASON``; ``latency_ms_p50``, ``latency_ms_p95`` (stamp of the colour image to departure of
the mask); ``STAGE_ms_p50``, ``STAGE_ms_p95`` for hha, preprocess, network, decode, render and publish;
``invalid_depth_share`` (0..1); of gravity ``gravity_source``, ``gravity_down`` (x y z, of the newest frame),
``gravity_confident_share``, ``gravity_fallback_share`` (frames for which the source had no answer, so that gravity was
estimated) and ``gravity_doubt`` (why not to trust it). Counts are since the node became active or enabled, the rest
speaks of the last five seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from lcr_seg_ros.ros.frame_statistics import Report

if TYPE_CHECKING:
    from builtin_interfaces.msg import Time

TOPIC = "/diagnostics"


def diagnostic_array(
    node_name: str, stamp: Time, device: str, facts: dict[str, str], report: Report, problem: str | None
) -> DiagnosticArray:
    """One message with one status.

    Args:
        node_name: full name of the node.
        stamp: now.
        device: what runs the network; becomes ``hardware_id``.
        facts: further keys and values, in front.
        report: of the last seconds.
        problem: what is wrong, in one sentence; the status is WARN then, else OK.
    """
    values: dict[str, Any] = dict(facts)
    values |= {"pairs_in": report.pairs_in, "pairs_in_hz": f"{report.pairs_in_hz:.2f}"}
    values |= {"masks_out": report.masks_out, "masks_out_hz": f"{report.masks_out_hz:.2f}"}
    values |= {"dropped": sum(report.dropped.values())}
    values |= {f"dropped_{reason}": count for reason, count in sorted(report.dropped.items())}
    for name, (p50, p95) in report.milliseconds.items():
        values |= {f"{name}_ms_p50": f"{p50:.2f}", f"{name}_ms_p95": f"{p95:.2f}"}
    if report.invalid_depth_share is not None:
        values["invalid_depth_share"] = f"{report.invalid_depth_share:.4f}"
    if report.gravity is not None:
        values["gravity_down"] = " ".join(f"{component:.4f}" for component in report.gravity.down)
        values["gravity_confident_share"] = f"{report.gravity.confident_share:.3f}"
        values["gravity_fallback_share"] = f"{report.gravity.fallback_share:.3f}"
        values["gravity_doubt"] = report.gravity.trouble
    status = DiagnosticStatus(
        level=DiagnosticStatus.OK if problem is None else DiagnosticStatus.WARN,
        name=f"{node_name.lstrip('/')}: segmentation",
        message=problem or f"{facts['state']}, {report.masks_out_hz:.1f} of {report.pairs_in_hz:.1f} pairs/s labelled",
        hardware_id=device,
    )
    status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    message = DiagnosticArray(status=[status])
    message.header.stamp = stamp
    return message
