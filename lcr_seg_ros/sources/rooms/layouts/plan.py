"""Where things stand on a room's floor and hang on its walls, so that nothing overlaps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from lcr_seg_ros.sources.rooms.scene import Scene

SOUTH, EAST, NORTH, WEST = range(4)
"""The walls y=0, x=W, y=D, x=0."""


@dataclass
class Plan:
    """Keeps track of what stands on the floor and hangs on the walls, so that nothing overlaps.

    ``floor`` holds rectangles (x0, x1, y0, y1); ``hung`` holds, for each wall, rectangles (u0, u1, z0, z1). All in
    metres.
    """

    scene: Scene
    rng: np.random.Generator
    floor: list[tuple[float, float, float, float]] = field(default_factory=list)
    hung: list[list[tuple[float, float, float, float]]] = field(default_factory=lambda: [[], [], [], []])

    def length(self, wall: int) -> float:
        return self.scene.size[0] if wall in (SOUTH, NORTH) else self.scene.size[1]

    def walls(self) -> list[int]:
        return [int(w) for w in self.rng.permutation(4)]

    @contextmanager
    def on_wall(self, wall: int, u: float, y: float = 0.0) -> Iterator[Scene]:
        """Coordinates for a piece with its back to a wall, ``u`` metres along it (in the direction +x or +y)."""
        w, d, _ = self.scene.size
        x0, y0, yaw = ((u, 0, 0.0), (w, u, np.pi / 2), (u, d, np.pi), (0, u, -np.pi / 2))[wall]
        with self.scene.at(x0, y0, 0, yaw), self.scene.at(0, y):
            yield self.scene

    def against(
        self, width: float, depth: float, height: float, *, walls: list[int] | None = None, clear: float = 0.0,
        at: float | None = None, sides: float = 0.0, tries: int = 12,
    ) -> tuple[int, float] | None:  # fmt: skip
        """Reserve floor and wall space for a piece against a wall: (wall, u), or None if it fits nowhere.

        Args:
            width, depth, height: of the piece, in metres.
            clear: free floor needed in front of it, in metres.
            sides: free wall needed beside it, in metres.
            at: position along the wall, 0..1; None: random.
        """
        for wall in walls if walls is not None else self.walls():
            span = self.length(wall) - width - 0.1 - 2 * sides
            if span < 0:
                continue
            for k in range(tries):
                fraction = at if at is not None and k == 0 else self.rng.random()
                u = 0.05 + sides + width / 2 + fraction * span
                band = (u - width / 2, u + width / 2, 0.0, height)
                area = self.area(wall, u, width, depth)
                front = self.area(wall, u, width, depth + clear)
                if _meets_any(band, self.hung[wall]) or _meets_any(front, self.floor):
                    continue
                self.hung[wall].append(band)
                self.floor.append(area)
                return wall, u
        return None

    def on_free_wall(
        self, width: float, low: float, high: float, walls: list[int] | None = None, margin: float = 0.08
    ) -> tuple[int, float] | None:
        """Reserve part of a wall between two heights: (wall, u), or None if there is no room."""
        for wall in walls if walls is not None else self.walls():
            span = self.length(wall) - width - 0.3
            if span < 0:
                continue
            for _ in range(8):
                u = 0.15 + width / 2 + self.rng.random() * span
                band = (u - width / 2 - margin, u + width / 2 + margin, low, high)
                if not _meets_any(band, self.hung[wall]):
                    self.hung[wall].append(band)
                    return wall, u
        return None

    def in_the_open(self, width: float, depth: float, margin: float, tries: int = 20) -> tuple[float, float] | None:
        """Reserve free floor around a point: (x, y), or None if there is none."""
        w, d, _ = self.scene.size
        if width + 2 * margin > w or depth + 2 * margin > d:
            return None
        for _ in range(tries):
            x = self.rng.uniform(width / 2 + margin, w - width / 2 - margin)
            y = self.rng.uniform(depth / 2 + margin, d - depth / 2 - margin)
            area = (x - width / 2 - margin, x + width / 2 + margin, y - depth / 2 - margin, y + depth / 2 + margin)
            if not _meets_any(area, self.floor):
                self.floor.append(area)
                return x, y
        return None

    def area(self, wall: int, u: float, width: float, depth: float) -> tuple[float, float, float, float]:
        w, d, _ = self.scene.size
        return (
            (u - width / 2, u + width / 2, 0.0, depth),
            (w - depth, w, u - width / 2, u + width / 2),
            (u - width / 2, u + width / 2, d - depth, d),
            (0.0, depth, u - width / 2, u + width / 2),
        )[wall]


def _meets_any(a: tuple[float, float, float, float], others: list[tuple[float, float, float, float]]) -> bool:
    return any(a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3] for b in others)
