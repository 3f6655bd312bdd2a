"""What the doctor found, as text and as plain values."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from lcr_seg_ros.ros.camera_topics import CameraTopics

Level = Literal["ok", "warn", "fail"]

AREAS = ("machine", "installation", "camera", "node")
WIDTH = 116


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Args:
        area: one of :data:`AREAS`.
        name: what was looked at, unique in its area.
        level: ``ok``; ``warn``: it works, but less well than it could; ``fail``: no masks, or wrong ones.
        found: what was found, with values and units.
        advice: what to do, for a level other than ``ok``.
    """

    area: str
    name: str
    level: Level
    found: str
    advice: str = ""


@dataclass
class Report:
    """All checks in the order they are shown, and the lines that start the node on the camera that was found."""

    checks: list[Check] = field(default_factory=list)
    camera: CameraTopics | None = None
    others: Sequence[CameraTopics] = ()
    arguments: dict[str, object] = field(default_factory=dict)
    """Parameters that this camera needs other than by default."""
    running: dict[str, str] = field(default_factory=dict)
    """Nodes that listen to this camera already, by full name, each with the command that shows it."""
    absent: Sequence[str] = ()
    """Topics of this camera that nobody publishes: a node that is started on them would only wait."""

    def count(self, level: Level) -> int:
        return sum(check.level == level for check in self.checks)

    @property
    def verdict(self) -> Level:
        """The worst level."""
        return "fail" if self.count("fail") else "warn" if self.count("warn") else "ok"

    @property
    def launch(self) -> str:
        """Empty without a camera, and for one with topics that nobody publishes."""
        return self.camera.launch_line(**self.arguments) if self.camera and not self.absent else ""

    @property
    def command(self) -> str:
        """The same without the ``ros2`` command."""
        return self.camera.command_line(**self.arguments) if self.camera and not self.absent else ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``--json``."""
        return {
            "verdict": self.verdict,
            "checks": [asdict(check) for check in self.checks],
            "camera": asdict(self.camera) if self.camera else None,
            "other_cameras": [asdict(camera) for camera in self.others],
            "parameters": self.arguments,
            "launch": self.launch,
            "command": self.command,
            "running": self.running,
        }

    def text(self) -> str:
        """For a terminal: one line a check, advice below it."""
        lines: list[str] = []
        area = ""
        for check in self.checks:
            if check.area != area:
                area = check.area
                lines += ["", area.capitalize()]
            lines += _wrapped(f"  {check.level.upper():<5} {check.name}: ", check.found)
            if check.advice:
                lines += _wrapped("        -> ", check.advice)
        lines += ["", f"{self.count('fail')} FAIL, {self.count('warn')} WARN, {self.count('ok')} OK"]
        for node, look in self.running.items():
            lines += ["", f"{node} is already running on this camera; to look:", f"  {look}"]
        if self.launch and (self.arguments or not self.running):
            how = "Start it again with what this camera needs:" if self.running else "Start the node on this camera:"
            lines += ["", how, f"  {self.launch}", "or, without the ros2 command:", f"  {self.command}"]
        for other in self.others:
            lines += [f"Another camera: {other.launch_line()}   (look at it with --rgb {other.rgb})"]
        return "\n".join(lines).lstrip("\n")


def _wrapped(first: str, text: str) -> list[str]:
    # Commands and paths in it must stay in one piece to be copied.
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * 11,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [first.rstrip()]
