"""Tells which labelling tool's export a file or folder is, and what to export in place of one that is not read."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.training.datasets.annotation_files import find_masks, read_json


def detect_format(source: Path) -> str:
    """Which of :data:`~lcr_seg_ros.training.datasets.annotation_files.FORMATS` a file or folder is.

    Raises:
        SourceError: it is none of them.
    """
    if source.is_dir():
        if any(source.glob("*.json")):
            return "coco" if all(_is_coco(read_json(path)) for path in source.glob("*.json")) else "labelme"
        if any(source.glob("annotations/*.json")):
            return "coco"
        if find_masks(source):
            return "masks"
        for path in sorted(source.glob("*.xml")):
            _refuse_xml(path)
        raise SourceError(
            f"{source} holds neither .json files (labelme, COCO) nor .png masks, and no annotations/ with .json files: "
            "give another --from"
        )
    if zipfile.is_zipfile(source):
        raise SourceError(f"{source} is a zip archive: unpack it, and give what is in it to --from")
    if source.suffix.lower() == ".xml":
        _refuse_xml(source)
    content = read_json(source)
    if isinstance(content, dict) and "shapes" in content:
        return "labelme"
    if _is_coco(content):
        return "coco"
    if isinstance(content, list) and content and isinstance(content[0], dict):
        if "annotations" in content[0]:
            return "labelstudio"
        if {"annotator", "annotation_id", "lead_time"} & content[0].keys():
            raise SourceError(
                f"{source} is Label Studio's JSON-MIN, which does not say where each region belongs: export as JSON"
            )
    raise SourceError(f"{source} is not the JSON of labelme, COCO or Label Studio: export as one of them")


def _is_coco(content: Any) -> bool:
    return isinstance(content, dict) and {"images", "annotations", "categories"} <= content.keys()


def _refuse_xml(path: Path) -> None:
    raise SourceError(
        f"{path} is XML, as CVAT's own format, which is not read: export the task or project as 'COCO 1.0' or as "
        "'Segmentation mask 1.1'"
    )
