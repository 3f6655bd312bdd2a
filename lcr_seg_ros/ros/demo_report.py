"""The report of ``demo``: figures of what the observer received, as JSON and as text, and pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.labels import LABELS_FILE, UNLABELLED, LabelSet, folder_label_set
from lcr_seg_ros.sources.folder import LABEL_FOLDER

if TYPE_CHECKING:
    from lcr_seg_ros.ros.observer import Observations, PictureSet
    from lcr_seg_ros.ros.player import PublishedFrame

PICTURES = 4


@dataclass(frozen=True)
class Outcome:
    """What the demo has gathered.

    Args:
        seen: what the observer received during the measurement.
        published: what the camera published.
        frame_id: of the camera's images.
        pictures: complete sets of images.
    """

    seen: Observations
    published: list[PublishedFrame]
    frame_id: str
    pictures: list[PictureSet]


def make_report(source: str, bundle: ModelBundle, outcome: Outcome) -> dict[str, Any]:
    """The figures, as they go into the JSON file.

    Args:
        source: ``room``, or a dataset folder or bag.
        bundle: the model.
        outcome: with two masks or more.
    """
    from lcr_seg_ros.ros.observer import header_faults

    seen = outcome.seen
    stamps = {mask.stamp_ns for mask in seen.masks}
    sent = [f for f in outcome.published if min(stamps) <= f.stamp_ns <= max(stamps)]
    seconds = (sent[-1].stamp_ns - sent[0].stamp_ns) / 1e9 if len(sent) > 1 else 0.0
    names = {UNLABELLED: "unlabelled"} | {c.id: c.name for c in bundle.labels.classes}
    return {
        "source": source,
        "model": bundle.name,
        "architecture": bundle.architecture.get("name"),
        "modality": bundle.input.modality,
        "image_size": [seen.masks[0].width, seen.masks[0].height],
        "frames_sent": len(sent),
        "masks_received": len(seen.masks),
        "frames_without_mask": len(sent) - len(stamps & {f.stamp_ns for f in sent}),
        "camera_hz": (len(sent) - 1) / seconds if seconds else 0.0,
        "mask_hz": seen.rate,
        "latency_ms": {"p50": seen.latency_ms(50), "p95": seen.latency_ms(95)},
        "stage_ms": _stage_times(seen.diagnostics),
        "diagnostics": seen.diagnostics,
        "class_shares": {names.get(i, f"id {i}"): share for i, share in seen.class_shares().items()},
        "mean_confidence": _mean_confidence(outcome.pictures),
        "pixel_acc": seen.agreement.pixel_acc,
        "frames_with_truth": seen.agreement.frames,
        "truth_left_out": truth_left_out(source, bundle.labels),
        "header_faults": header_faults(seen.masks, outcome.published, outcome.frame_id),
    }


def truth_left_out(source: str, labels: LabelSet) -> str | None:
    """Why a source's annotations cannot be compared with the model's masks; None if they can, or there are none."""
    if source != "room" and not (Path(source) / LABEL_FOLDER).is_dir():
        return None
    own = None if source == "room" else folder_label_set(Path(source))
    truth = own or LabelSet.load("nyu40")
    if truth.reads_as(labels):
        return None
    reason = f"left out: the source is annotated with label set {truth.name}, the model's is {labels.name}"
    lacking = source != "room" and own is None
    return reason + (f" (a folder with others says so in its {LABELS_FILE})" if lacking else "")


def _mean_confidence(pictures: list[PictureSet]) -> float | None:
    """Mean of the published confidence, 0..1, over the frames gathered for the pictures."""
    values = [float(p.confidence.mean()) / 255 for p in pictures if p.confidence is not None]
    return sum(values) / len(values) if values else None


def _stage_times(diagnostics: dict[str, str]) -> dict[str, float]:
    """Median ms of each stage, from the keys ``STAGE_ms_p50`` of the node's diagnostics."""
    suffix = "_ms_p50"
    times = {key.removesuffix(suffix): float(value) for key, value in diagnostics.items() if key.endswith(suffix)}
    for name in ("latency", "response", "age", "skew"):  # these are not stages
        times.pop(name, None)
    return times


def write_pictures(folder: Path, pictures: list[PictureSet], labels: LabelSet) -> list[str]:
    """Write up to :data:`PICTURES` sheets RGB | HHA | labels | overlay, evenly chosen; returns their paths."""
    from lcr_seg_ros.render import sheet, write_image

    step = max(1, len(pictures) // PICTURES)
    written = []
    for number, picture in enumerate(pictures[::step][:PICTURES], start=1):
        path = folder / f"frame_{number}.png"
        write_image(path, sheet(picture.rgb, picture.hha, picture.labels, labels, truth=picture.truth))
        written.append(str(path))
    return written


def report_lines(report: dict[str, Any]) -> list[str]:
    """The report as text, for the terminal.

    Args:
        report: of :func:`make_report`, and the paths of the ``pictures``.
    """
    width, height = report["image_size"]
    lost = f"{report['frames_without_mask']} without a mask"
    if report["frames_without_mask"]:
        lost += " (the node labels the newest image and skips those it has no time for)"
    backend = f"{report['diagnostics'].get('backend', '?')} on {report['diagnostics'].get('device', '?')}"
    stages = [f"{name} {value:.1f}" for name, value in report["stage_ms"].items()]
    shares = [f"{name} {100 * share:.1f} %" for name, share in list(report["class_shares"].items())[:6]]
    lines = {
        "source": f"{report['source']}, {width}x{height} at {report['camera_hz']:.1f} Hz",
        "model": f"{report['model']} ({report['architecture']}, {report['modality']}), {backend}",
        "frames": f"{report['frames_sent']} sent, {report['masks_received']} masks received, {lost}",
        "rate": f"{report['mask_hz']:.1f} masks a second",
        "latency": f"p50 {report['latency_ms']['p50']:.1f} ms, p95 {report['latency_ms']['p95']:.1f} ms, "
        "from the image's stamp to the mask's arrival",
        "stages": f"{', '.join(stages) or 'not reported yet'} ms (median)",
        "classes": ", ".join(shares),
        "confidence": "not received"
        if report["mean_confidence"] is None
        else f"{report['mean_confidence']:.2f} on average (0..1)",
        "truth": (report["truth_left_out"] or "none in this source")
        if report["pixel_acc"] is None
        else f"{100 * report['pixel_acc']:.1f} % of annotated pixels right, {report['frames_with_truth']} frames",
        "headers": "each mask has the stamp, frame_id and size of its image"
        if not report["header_faults"]
        else f"{len(report['header_faults'])} faults",
        "pictures": ", ".join(report["pictures"]) or "none: the sets of images were not complete",
    }
    return [f"{name:<12}{line}" for name, line in lines.items()]
