"""Finds faults of a dataset folder that training would suffer from without reporting them. NumPy and OpenCV only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.sources.folder import RGB_FOLDER
from lcr_seg_ros.training.datasets.check_contents import FolderContents
from lcr_seg_ros.training.datasets.check_depth import depth_findings
from lcr_seg_ros.training.datasets.check_files import file_findings, twin_findings
from lcr_seg_ros.training.datasets.check_labels import assumed_label_findings, label_findings, split_findings
from lcr_seg_ros.training.datasets.check_layout import check_intrinsics, check_partners, find_images
from lcr_seg_ros.training.datasets.check_lists import check_lists, read_lists
from lcr_seg_ros.training.datasets.check_report import Finding, FolderReport
from lcr_seg_ros.training.datasets.manifest import read_manifest


def check_folder(path: Path, labels: LabelSet, limit: int | None = None, assumed: bool = False) -> FolderReport:
    """Read every file of a dataset folder and report what is wrong with it.

    Args:
        path: the folder, see :mod:`lcr_seg_ros.sources.folder`.
        labels: the label set of ``label40/``.
        limit: read the images of so many frames only, evenly spread; file names and lists are checked in full.
        assumed: neither the user nor the folder named this label set.

    Raises:
        SourceError: there is no such folder, or it has no ``rgb/``.
    """
    if not (path / RGB_FOLDER).is_dir():
        raise SourceError(f"{path} is not a dataset folder: it has no {RGB_FOLDER}/ with images")
    report = FolderReport(path, labels)
    images = find_images(path, report)
    lists = read_lists(path)
    splits = {name: members.names for name, members in lists.items()}
    check_partners(path, images, {name for names in splits.values() for name in names}, report)
    check_lists(lists, images, report)
    check_intrinsics(path, report)
    report.frames = len(images)
    names = sorted(images)
    if limit is not None and limit < len(names):
        names = [names[i] for i in np.linspace(0, len(names) - 1, limit).round().astype(int)]
        report.findings.append(Finding("note", "sampled", f"only {limit} of {len(images)} frames were read"))
    is_sample = len(names) < len(images)
    contents = FolderContents(path, labels, _digests(path, report))
    for name in tqdm(names, desc="check-data", unit="frame", leave=False, disable=None):
        contents.read(name, images[name])
    report.id_pixels, report.id_frames = contents.id_pixels, contents.id_frames
    report.findings += [
        *file_findings(contents),
        *label_findings(contents, is_sample),
        *depth_findings(contents, report),
        *(assumed_label_findings(contents, is_sample) if assumed else ()),
        *(() if is_sample else split_findings(contents, splits)),  # what a list lacks may be in a frame not read
        *twin_findings(contents, splits),
    ]
    order = {"error": 0, "warning": 1, "note": 2}
    report.findings.sort(key=lambda f: order[f.severity])
    return report


def _digests(path: Path, report: FolderReport) -> dict[str, str]:
    """SHA-256 of each file that the manifest of a prepared folder lists, by path in the folder; empty without one."""
    try:
        frames = read_manifest(path).get("frames", {})
    except SourceError as error:
        report.findings.append(Finding("warning", "manifest", str(error)))
        return {}
    return {name: digest for entry in frames.values() for name, digest in entry["files"].items()}
