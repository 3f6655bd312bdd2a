"""Checks which files a dataset folder has, without reading images, and the camera that it names."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.sources.folder import (
    DEPTH_FOLDER,
    HHA_FOLDER,
    INTRINSICS_FILE,
    LABEL_FOLDER,
    RGB_FOLDER,
    DatasetFolder,
)
from lcr_seg_ros.training.datasets.check_report import Finding, FolderReport, Severity

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
_USUAL_PIXEL_ASPECT = (0.8, 1.25)
_USUAL_VIEW_DEG = (30, 120)


def find_images(path: Path, report: FolderReport) -> dict[str, Path]:
    """The colour image of each frame, by frame name; reports where there is none or more than one."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    for file in sorted((path / RGB_FOLDER).iterdir()):
        if file.suffix.lower() in _IMAGE_SUFFIXES and not file.name.startswith("."):
            by_name[file.stem].append(file)
    if not by_name:
        report.findings.append(
            Finding("error", "no_images", f"{RGB_FOLDER}/ holds no .jpg or .png image", "put the colour images there")
        )
    twice = [name for name, files in by_name.items() if len(files) > 1]
    if twice:
        report.findings.append(
            Finding(
                "error",
                "ambiguous_image",
                f"{len(twice)} frames have more than one image in {RGB_FOLDER}/ (as .jpg and .png)",
                "keep one of them",
                tuple(twice),
            )
        )
    return {name: files[0] for name, files in by_name.items()}


def check_partners(path: Path, images: Mapping[str, Path], listed: set[str], report: FolderReport) -> None:
    """Report images without labels, depth or HHA, and labels, depth and HHA without an image. No folder needs HHA.

    Args:
        path: the folder.
        images: colour image of each frame.
        listed: names of frames in any list: an image in none may be unlabelled.
        report: gets the findings.
    """
    has_depth, has_hha = ((path / folder).is_dir() for folder in (DEPTH_FOLDER, HHA_FOLDER))
    in_place_of_depth = "train with input.hha_source=folder" if has_hha else "use a model of colour alone"
    for folder, remedy in (
        (LABEL_FOLDER, "label the images and bring that in with `prepare annotations`, to train and to evaluate"),
        (DEPTH_FOLDER, f"put depth images there, {DEPTH_FOLDER}/NAME.png, or {in_place_of_depth}"),
        (HHA_FOLDER, ""),
    ):
        severity: Severity
        if not (path / folder).is_dir():
            if folder != HHA_FOLDER:
                severity = "error" if folder == LABEL_FOLDER else "warning"
                report.findings.append(Finding(severity, f"no_{folder}", f"there is no {folder}/", remedy))
            continue
        there = {p.stem for p in (path / folder).glob("*.png") if not p.name.startswith(".")}
        missing, alone = sorted(set(images) - there), sorted(there - set(images))
        if missing and folder == LABEL_FOLDER and listed and not listed & set(missing):
            text = f"{len(missing)} of {len(images)} images are not labelled yet, and in no list"
            report.findings.append(Finding("note", "unlabelled", text, "", tuple(missing)))
        elif missing:
            # Where there is depth, HHA is computed unless the recipe asks for that of the folder.
            severity = "warning" if folder == HHA_FOLDER and has_depth else "error"
            report.findings.append(
                Finding(
                    severity,
                    "missing_partner",
                    f"{len(missing)} of {len(images)} images have no {folder}/NAME.png",
                    "add the files, or take the images and their lines in the lists away"
                    + (f", or {folder}/ as a whole, so that HHA is computed" if severity == "warning" else ""),
                    tuple(missing),
                )
            )
        if alone:
            report.findings.append(
                Finding(
                    "warning",
                    "missing_partner",
                    f"{len(alone)} files in {folder}/ have no image in {RGB_FOLDER}/: nobody reads them",
                    "are the names alike (00001 and 1 are not)?",
                    tuple(alone),
                )
            )


def check_intrinsics(path: Path, report: FolderReport) -> None:
    """Report intrinsics that are missing where there is depth, cannot be read, or are unusual."""
    if not (path / DEPTH_FOLDER).is_dir():
        return
    if not (path / INTRINSICS_FILE).is_file():
        report.findings.append(
            Finding(
                "warning",
                "no_intrinsics",
                f"there is no {INTRINSICS_FILE}: the Kinect of NYUDv2 is assumed",
                "write fx, fy, cx, cy, width and height of the colour camera there; HHA depends on them",
            )
        )
        return
    try:
        intrinsics = DatasetFolder(path).intrinsics
    except LcrSegError as error:
        if INTRINSICS_FILE in str(error):
            report.findings.append(Finding("error", "intrinsics", str(error), "mend the file"))
        return
    report.findings += _odd_intrinsics(intrinsics) if intrinsics else []


def _odd_intrinsics(k: CameraIntrinsics) -> Iterable[Finding]:
    """Intrinsics that are possible but unusual: more often, a digit is missing or the image size is wrong."""
    oddities = []
    low, high = _USUAL_PIXEL_ASPECT
    if not low <= k.fx / k.fy <= high:
        oddities.append(f"fx / fy is {k.fx / k.fy:.3g} (usually {low}..{high})")
    narrow, wide = _USUAL_VIEW_DEG
    view = math.degrees(2 * math.atan(k.width / 2 / k.fx))
    if not narrow <= view <= wide:
        oddities.append(f"the horizontal field of view is {view:.0f} degrees (usually {narrow}..{wide})")
    if oddities:
        yield Finding(
            "warning",
            "odd_intrinsics",
            f"{INTRINSICS_FILE} has fx {k.fx:g}, fy {k.fy:g} for images {k.width} px wide: {'; '.join(oddities)}",
            "are they in pixels, and of the width and height that stand there? HHA depends on them",
        )
