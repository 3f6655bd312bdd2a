"""What `check-data` reports: findings about a dataset folder, and counts of its classes."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.labels import LabelSet

Severity = Literal["error", "warning", "note"]

MENDING = "prepare import --layout folder"
"""The command that copies one of our folders and corrects its labels and depth."""


@dataclass(frozen=True)
class Finding:
    """One fault or remark.

    Args:
        severity: how bad it is.
        code: identifies the kind of fault, for programs.
        text: what was found.
        advice: what to do about it.
        frames: names of the frames concerned.
    """

    severity: Severity
    code: str
    text: str
    advice: str = ""
    frames: tuple[str, ...] = ()


@dataclass
class FolderReport:
    """What :func:`~lcr_seg_ros.training.datasets.check.check_folder` found.

    Args:
        path: the folder.
        labels: the label set that its label images were read with.
        frames: number of frames in the folder.
        findings: errors first, then warnings, then notes.
        splits: number of names in each list.
        depth: of valid depth, as stored (millimetres are expected): ``median``, ``percentile_1``, ``percentile_99`` and
            ``levels``, the number of different values; ``holes``, the share of pixels without depth, 0..1. Empty
            without valid depth.
    """

    path: Path
    labels: LabelSet
    frames: int = 0
    findings: list[Finding] = field(default_factory=list)
    splits: dict[str, int] = field(default_factory=dict)
    id_pixels: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    """(256,) int64, pixels with each mask id, over all frames read."""
    id_frames: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    """(256,) int64, frames that contain each mask id."""
    depth: dict[str, float] = field(default_factory=dict)

    @property
    def errors(self) -> list[Finding]:
        return [f for f in self.findings if f.severity == "error"]

    @property
    def warnings(self) -> list[Finding]:
        return [f for f in self.findings if f.severity == "warning"]

    @property
    def void_share(self) -> float:
        """Share of pixels that are void, 0..1."""
        return float(self.id_pixels[self.labels.void] / max(self.id_pixels.sum(), 1))

    def frequencies(self) -> list[dict[str, Any]]:
        """For each class: ``id``, ``name``, ``pixels``, ``share`` of all annotated pixels (0..1) and ``frames`` that
        contain it."""
        annotated = max(int(self.id_pixels[self.labels.ids].sum()), 1)
        return [
            {
                "id": c.id,
                "name": c.name,
                "pixels": int(self.id_pixels[c.id]),
                "share": float(self.id_pixels[c.id] / annotated),
                "frames": int(self.id_frames[c.id]),
            }
            for c in self.labels.classes
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "verdict": "error" if self.errors else "warning" if self.warnings else "ok",
            "frames": self.frames,
            "label_set": self.labels.name,
            "splits": self.splits,
            "findings": [asdict(f) for f in self.findings],
            "classes": self.frequencies(),
            "void_share": self.void_share,
            "depth": self.depth,
        }


def percent(part: int | np.integer[Any], total: int) -> str:
    """A share for the text of a finding."""
    return f"{100 * int(part) / total:.2g} %"
