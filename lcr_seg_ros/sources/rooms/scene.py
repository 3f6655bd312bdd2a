"""A room as a list of parts. Furniture is assembled from these, and the ray caster renders them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.sources.rooms import shading
from lcr_seg_ros.sources.rooms.raycast import (
    BOX,
    CURTAIN,
    CYLINDER,
    ELLIPSOID,
    PILE,
    PUFF,
    ROOM,
    ROUNDED,
    PartArrays,
)

FloatArray = npt.NDArray[np.float64]
Color = tuple[float, float, float]
Vector = tuple[float, float, float]

EDGE_M = 0.006
"""Width in metres over which a box's normal bends at its edges."""


@dataclass(frozen=True)
class Material:
    """How a surface looks.

    Args:
        color, color2, color3: sRGB 0..255, as a colour picker shows them; the use of the second and third depends on
            the texture.
        texture: one of the constants of :mod:`.shading`.
        scale: see ``shading._texture``.
        bump: strength of wrinkles, 0..1.
        gloss: strength of highlights, 0..1.
        mirror: share of light that is mirrored, 0..1.
        emission: emitted light per reflectance.
    """

    color: Color = (200, 200, 200)
    color2: Color | None = None
    color3: Color | None = None
    texture: int = shading.PLAIN
    scale: float = 0.1
    bump: float = 0.0
    gloss: float = 0.0
    mirror: float = 0.0
    emission: float = 0.0

    def linear_colors(self) -> FloatArray:
        """(3, 3) linear reflectance of the three colours."""
        second = self.color2 if self.color2 is not None else self.color
        third = self.color3 if self.color3 is not None else second
        return np.array([srgb_to_linear(c) for c in (self.color, second, third)])

    def but(self, **changes: object) -> Material:
        return replace(self, **changes)  # type: ignore[arg-type]


def srgb_to_linear(color: Color) -> FloatArray:
    """(3,) linear 0..1 from sRGB 0..255 (IEC 61966-2-1)."""
    c = np.clip(np.asarray(color, float) / 255.0, 0.0, 1.0)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def scaled(color: Vector, factor: float) -> Vector:
    """A colour or vector times a number."""
    a, b, c = color
    return a * factor, b * factor, c * factor


@dataclass(frozen=True)
class Light:
    """A lamp or window that fills a box: centre, half sizes, and intensity; ``normal`` is the direction in which it
    shines, 0 for all directions."""

    center: Vector
    half: Vector
    rgb: Vector
    normal: Vector = (0.0, 0.0, 0.0)


@dataclass
class _Part:
    shape: int
    center: FloatArray
    to_local: FloatArray
    half: FloatArray
    param: tuple[float, float]
    material: Material
    label: int
    shadow: bool
    seed: float


@dataclass
class Scene:
    """Collects parts, in coordinates that are convenient for furniture: x along its back, y to its front, z up.

    Args:
        size: (width, depth, height) of the room in metres; it fills 0..size.
        rng: source of small variations.
        faces: materials of x=0, x=W, y=0, y=D, floor, ceiling; their labels follow from the face.
    """

    size: Vector
    rng: np.random.Generator
    faces: Sequence[Material]
    lights: list[Light] = field(default_factory=list)
    _parts: list[_Part] = field(default_factory=list)
    _origin: FloatArray = field(default_factory=lambda: np.zeros(3))
    _turn: FloatArray = field(default_factory=lambda: np.eye(3))

    def __post_init__(self) -> None:
        w, d, h = self.size
        middle = np.array([w, d, h]) / 2
        labels = (1, 1, 1, 1, 2, 22)  # walls, floor, ceiling
        for face, (label, material) in enumerate(zip(labels, self.faces, strict=True)):
            center, half = middle.copy(), middle.copy()
            center[face // 2] *= 2 * (face % 2)
            half[face // 2] = 0.0
            self._parts.append(_Part(ROOM, center, np.eye(3), half, (0, 0), material, label, True, self.rng.random()))

    @contextmanager
    def at(self, x: float, y: float, z: float = 0.0, yaw: float = 0.0) -> Iterator[Scene]:
        """Place the parts added inside the block relative to this point, rotated by ``yaw`` radians about z."""
        origin, turn = self._origin, self._turn
        self._origin = origin + turn @ np.array([x, y, z])
        self._turn = turn @ rotation(yaw)
        try:
            yield self
        finally:
            self._origin, self._turn = origin, turn

    def box(
        self, label: int, material: Material, center: Vector, size: Vector, *, yaw: float = 0.0, pitch: float = 0.0,
        roll: float = 0.0, shadow: bool = True, edge: float = EDGE_M,
    ) -> None:  # fmt: skip
        """Add a box; pitch leans its top towards -y (backwards), roll towards +x. Angles are in radians."""
        self._add(BOX, label, material, center, size, (edge, 0.0), yaw, pitch, roll, shadow)

    def cushion(
        self, label: int, material: Material, center: Vector, size: Vector, radius: float, *, yaw: float = 0.0,
        pitch: float = 0.0, roll: float = 0.0,
    ) -> None:  # fmt: skip
        """Add a box with round edges and corners."""
        radius = min(radius, 0.499 * min(size))
        self._add(ROUNDED, label, material, center, size, (radius, 0.0), yaw, pitch, roll, True)

    def cylinder(
        self, label: int, material: Material, center: Vector, size: Vector, *, taper: float = 1.0, yaw: float = 0.0,
        pitch: float = 0.0, roll: float = 0.0, shadow: bool = True,
    ) -> None:  # fmt: skip
        """Add a cylinder along z with diameters size[0], size[1]; its top is ``taper`` times as wide as its bottom."""
        if taper > 1.0:  # the bounding box must hold the wider end
            roll, taper, size = roll + np.pi, 1.0 / taper, (size[0] * taper, size[1] * taper, size[2])
        self._add(CYLINDER, label, material, center, size, (taper, 0.0), yaw, pitch, roll, shadow)

    def ellipsoid(
        self, label: int, material: Material, center: Vector, size: Vector, *, yaw: float = 0.0, pitch: float = 0.0,
        roll: float = 0.0, shadow: bool = True,
    ) -> None:  # fmt: skip
        self._add(ELLIPSOID, label, material, center, size, (0.0, 0.0), yaw, pitch, roll, shadow)

    def pillow(
        self, label: int, material: Material, center: Vector, size: Vector, *, yaw: float = 0.0, pitch: float = 0.0,
        roll: float = 0.0,
    ) -> None:  # fmt: skip
        """Add a stuffed pillow in the x-z plane, size[1] thick in the middle."""
        self._add(PUFF, label, material, center, size, (0.0, 0.0), yaw, pitch, roll, True)

    def curtain(
        self, label: int, material: Material, center: Vector, size: Vector, folds_per_m: float = 9.0, *,
        yaw: float = 0.0,
    ) -> None:  # fmt: skip
        """Add hanging cloth in the x-z plane with folds of depth size[1]."""
        self._add(CURTAIN, label, material, center, size, (folds_per_m, 6.28 * self.rng.random()), yaw, 0, 0, True)

    def pile(self, label: int, material: Material, center: Vector, size: Vector, *, yaw: float = 0.0) -> None:
        """Add crumpled cloth that lies at height center[2] - size[2] / 2."""
        self._add(PILE, label, material, center, size, (6.28 * self.rng.random(), 0.0), yaw, 0, 0, True)

    def light(self, center: Vector, size: Vector, rgb: Vector, normal: Vector = (0.0, 0.0, 0.0)) -> None:
        """Add a light source. Its visible parts have to be added separately, with ``shadow=False``."""
        middle = self._origin + self._turn @ np.array(center, float)
        half = np.abs(self._turn) @ (np.array(size, float) / 2)
        facing = self._turn @ np.array(normal, float)
        self.lights.append(Light(tuple(middle), tuple(half), rgb, tuple(facing)))  # type: ignore[arg-type]

    def _add(
        self, shape: int, label: int, material: Material, center: Vector, size: Vector, param: tuple[float, float],
        yaw: float, pitch: float, roll: float, shadow: bool,
    ) -> None:  # fmt: skip
        turn = self._turn @ rotation(yaw, pitch, roll)
        middle = self._origin + self._turn @ np.array(center, float)
        half = np.maximum(np.array(size, float) / 2, 1e-4)
        self._parts.append(
            _Part(shape, middle, np.ascontiguousarray(turn.T), half, param, material, label, shadow, self.rng.random())
        )

    def parts(self) -> PartArrays:
        p = self._parts
        return PartArrays(
            shape=np.array([q.shape for q in p]),
            center=np.array([q.center for q in p]),
            to_local=np.array([q.to_local for q in p]),
            half=np.array([q.half for q in p]),
            param=np.array([q.param for q in p], float),
        )

    def materials(self) -> shading.MaterialArrays:
        p = self._parts
        return shading.MaterialArrays(
            texture=np.array([q.material.texture for q in p]),
            colors=np.array([q.material.linear_colors() for q in p]),
            scale=np.array([q.material.scale for q in p], float),
            bump=np.array([q.material.bump for q in p], float),
            gloss=np.array([q.material.gloss for q in p], float),
            emission=np.array([q.material.emission for q in p], float),
            seed=np.array([q.seed for q in p], float),
        )

    @property
    def part_labels(self) -> npt.NDArray[np.uint8]:
        """(N,) class of each part."""
        return np.array([q.label for q in self._parts], np.uint8)

    @property
    def part_mirror(self) -> FloatArray:
        """(N,) share of light that each part mirrors, 0..1."""
        return np.array([q.material.mirror for q in self._parts], float)

    @property
    def part_transparent(self) -> npt.NDArray[np.int64]:
        """(N,) 1 for parts that cast no shadow."""
        return np.array([0 if q.shadow else 1 for q in self._parts])


def rotation(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> FloatArray:
    """(3, 3) rotation by ``roll`` about y, then ``pitch`` about x, then ``yaw`` about z, in radians."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    return about_z @ about_x @ about_y
