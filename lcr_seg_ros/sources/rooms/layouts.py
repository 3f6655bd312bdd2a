"""Layouts of whole rooms: which furniture stands where, in which colours and light."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from lcr_seg_ros.sources.rooms import furniture as f
from lcr_seg_ros.sources.rooms import shading as tx
from lcr_seg_ros.sources.rooms.classes import CABINET, OTHER_FURNITURE, WALL
from lcr_seg_ros.sources.rooms.scene import Color, Material, Scene, Vector, scaled

WALL_COLORS: tuple[Color, ...] = (
    (222, 214, 196), (230, 226, 216), (214, 204, 182), (205, 190, 160), (216, 216, 212), (196, 204, 208),
    (190, 200, 180), (226, 206, 190), (200, 176, 148), (176, 190, 206), (232, 222, 186), (206, 184, 192),
    (180, 150, 120), (150, 160, 150),
)  # fmt: skip

ACCENT_COLORS: tuple[Color, ...] = (
    (150, 60, 50),
    (90, 110, 140),
    (120, 130, 90),
    (186, 130, 70),
    (110, 90, 110),
    (70, 80, 90),
)

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
                area = self._area(wall, u, width, depth)
                front = self._area(wall, u, width, depth + clear)
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

    def _area(self, wall: int, u: float, width: float, depth: float) -> tuple[float, float, float, float]:
        w, d, _ = self.scene.size
        return (
            (u - width / 2, u + width / 2, 0.0, depth),
            (w - depth, w, u - width / 2, u + width / 2),
            (u - width / 2, u + width / 2, d - depth, d),
            (0.0, depth, u - width / 2, u + width / 2),
        )[wall]


def _meets_any(a: tuple[float, float, float, float], others: list[tuple[float, float, float, float]]) -> bool:
    return any(a[0] < b[1] and b[0] < a[1] and a[2] < b[3] and b[2] < a[3] for b in others)


@dataclass(frozen=True)
class Mood:
    """Light of a room: daylight from 0 (night) to 1, lamps from 0 to 1."""

    daylight: float
    lamps: float


def build(kind: str, rng: np.random.Generator) -> Scene:
    """A furnished room of one of :data:`KINDS`."""
    mood = _mood(rng)
    size = _size(kind, rng)
    scene = Scene(size, rng, _faces(kind, rng))
    plan = Plan(scene, rng)
    style = f.Style.pick(rng)
    _corners(plan, rng)
    _LAYOUTS[kind](plan, rng, style, mood)
    _wall_bits(plan, rng)
    _skirting(plan, style)
    _ceiling_lamps(plan, rng, kind, mood)
    return scene


def _mood(rng: np.random.Generator) -> Mood:
    if rng.random() < 0.7:
        return Mood(daylight=rng.uniform(0.4, 1.0), lamps=rng.uniform(0.25, 1.0))
    return Mood(daylight=0.0, lamps=rng.uniform(0.7, 1.0))


def _size(kind: str, rng: np.random.Generator) -> Vector:
    low, high = {
        "bedroom": ((3.3, 3.4), (4.6, 4.8)),
        "living room": ((4.0, 3.8), (5.8, 5.6)),
        "office": ((3.4, 3.4), (5.2, 5.0)),
        "kitchen": ((3.2, 3.2), (4.8, 4.6)),
        "dining room": ((3.6, 3.6), (5.0, 5.0)),
        "bathroom": ((2.5, 2.6), (3.4, 3.4)),
    }[kind]
    return rng.uniform(low[0], high[0]), rng.uniform(low[1], high[1]), rng.uniform(2.4, 2.75)


def _faces(kind: str, rng: np.random.Generator) -> list[Material]:
    paint = Material(f.choose(rng, WALL_COLORS), scale=0.07)
    if rng.random() < 0.14 and kind != "office":
        paint = Material(
            paint.color,
            scaled(paint.color, 0.9),
            texture=tx.STRIPES if rng.random() < 0.4 else tx.DAMASK,
            scale=rng.uniform(0.1, 0.3),
        )
    walls = [paint] * 4
    if kind == "bathroom" and rng.random() < 0.6:
        tone = f.vary(rng, (226, 222, 212))
        walls = [
            Material(tone, (190, 186, 178), tone, texture=tx.TILES, scale=rng.choice([0.1, 0.15, 0.2]), gloss=0.12)
        ] * 4
    elif rng.random() < 0.25:
        accent = Material(f.choose(rng, ACCENT_COLORS), scale=0.07)
        if rng.random() < 0.2:
            accent = Material(f.vary(rng, (160, 90, 70)), (190, 182, 170), texture=tx.BRICK, scale=0.075)
        walls[int(rng.integers(4))] = accent
    white = f.vary(rng, (238, 236, 230), 5)
    ceiling = Material(white, scale=0.04)
    if kind == "office" and rng.random() < 0.7:
        ceiling = Material(white, (170, 168, 164), texture=tx.TILES, scale=0.6)
    return [*walls, _floor(kind, rng), ceiling]


def _floor(kind: str, rng: np.random.Generator) -> Material:
    soft = {"office": 0.75, "bedroom": 0.5, "living room": 0.4}.get(kind, 0.0)
    draw = rng.random()
    if draw < soft:
        color = f.choose(
            rng, ((176, 158, 134), (150, 134, 116), (120, 118, 120), (96, 100, 110), (190, 178, 158), (110, 84, 70))
        )
        return Material(color, scaled(color, 0.85), texture=tx.CARPET, scale=rng.uniform(0.3, 0.55))
    if kind in ("kitchen", "bathroom") and draw < 0.65:
        color = f.choose(rng, ((206, 196, 180), (186, 168, 146), (170, 130, 100), (220, 216, 208), (130, 126, 120)))
        return Material(color, (140, 132, 122), (60, 60, 62), texture=tx.TILES, scale=rng.uniform(0.2, 0.45), gloss=0.1)
    light, dark = f.WOODS[int(rng.choice([0, 0, 1, 2, 3, 7]))]
    return Material(
        f.vary(rng, light),
        f.vary(rng, dark),
        texture=tx.PLANKS,
        scale=rng.uniform(0.06, 0.14),
        gloss=rng.uniform(0.05, 0.2),
        mirror=rng.choice([0.0, 0.0, 0.0, 0.06]),
    )


def _corners(plan: Plan, rng: np.random.Generator) -> None:
    """Sometimes wall off a corner, as if by a shaft or the next room's closet."""
    w, d, h = plan.scene.size
    if rng.random() > 0.4 or min(w, d) < 3.2:
        return
    a, b = rng.uniform(0.35, 1.1), rng.uniform(0.35, 1.1)
    right, back = rng.random() < 0.5, rng.random() < 0.5
    x, y = (w - a / 2 if right else a / 2), (d - b / 2 if back else b / 2)
    paint = plan.scene.faces[EAST if right else WEST]
    plan.scene.box(
        WALL, plan.scene.faces[0] if paint.texture == tx.BRICK else paint, (x, y, h / 2), (a, b, h), edge=0.003
    )
    plan.floor.append((x - a / 2, x + a / 2, y - b / 2, y + b / 2))
    plan.hung[NORTH if back else SOUTH].append((x - a / 2 - 0.02, x + a / 2 + 0.02, 0, h))
    plan.hung[EAST if right else WEST].append((y - b / 2 - 0.02, y + b / 2 + 0.02, 0, h))


def _wall_bits(plan: Plan, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(3, 8))):
        place = plan.on_free_wall(0.45, 0.2, 2.2)
        if place is not None:
            plan.hung[place[0]].pop()
            with plan.on_wall(*place) as s:
                f.wall_bits(s, rng, 1.5)


def _skirting(plan: Plan, style: f.Style) -> None:
    height = plan.rng.uniform(0.07, 0.13)
    for wall in range(4):
        length = plan.length(wall)
        with plan.on_wall(wall, length / 2) as s:
            s.box(WALL, style.trim, (0, 0.006, height / 2), (length, 0.012, height))
            if plan.rng.random() < 0.15:
                s.box(WALL, style.trim, (0, 0.02, plan.scene.size[2] - 0.04), (length, 0.04, 0.08))


def _ceiling_lamps(plan: Plan, rng: np.random.Generator, kind: str, mood: Mood) -> None:
    w, d, h = plan.scene.size
    if kind == "office":
        for x in (w * 0.3, w * 0.7):
            for y in (d * 0.3, d * 0.7):
                with plan.scene.at(x, y, h, rng.choice([0.0, np.pi / 2])):
                    f.ceiling_lamp(plan.scene, rng, 0.9 * mood.lamps, panel=True)
    else:
        with plan.scene.at(w * rng.uniform(0.4, 0.6), d * rng.uniform(0.4, 0.6), h):
            f.ceiling_lamp(plan.scene, rng, 2.2 * mood.lamps)


# --- openings and walls ------------------------------------------------------------------------------------------


def _door(plan: Plan, rng: np.random.Generator, style: f.Style) -> None:
    place = plan.against(1.06, 0.06, 2.15, clear=0.6, at=float(rng.choice([0.03, 0.97])))
    if place is not None:
        with plan.on_wall(*place) as s:
            f.door(s, rng, style)
        # no furniture in front of a door
        plan.floor.append(plan._area(*place, 0.9, 0.7))


def _windows(
    plan: Plan, rng: np.random.Generator, style: f.Style, mood: Mood, count: int, low: float = 0.85, cover: str = ""
) -> None:
    fabric = f.cloth(rng, patterned=rng.random() < 0.3).but(bump=0.0)
    walls = plan.walls()[:2]
    for _ in range(count):
        width, top = rng.uniform(0.75, 1.45), plan.scene.size[2] - rng.uniform(0.28, 0.4)
        place = plan.on_free_wall(width + 0.6, low - 0.1, top + 0.12, walls)
        if place is None:
            continue
        if low > 0.8 and rng.random() < 0.25:
            with plan.on_wall(*place) as s:
                f.radiator(s, rng, min(width, 1.2))
            plan.floor.append(plan._area(*place, min(width, 1.2), 0.16))
        with plan.on_wall(*place) as s:
            f.window(s, rng, style, width, low, top, mood.daylight)
            kind = cover or ("curtain", "blinds", "none", "curtain")[rng.integers(4)]
            if kind == "blinds":
                f.blinds(s, rng, width, low, top, mood.daylight)
            elif kind == "curtain":
                f.curtains(s, rng, width, top + 0.12, rng.choice([0.06, low - 0.25]), fabric)


def _pictures(plan: Plan, rng: np.random.Generator, count: int) -> None:
    for _ in range(count):
        width, height = rng.uniform(0.28, 1.0), rng.uniform(0.3, 0.75)
        z = rng.uniform(1.5, 1.7)
        place = plan.on_free_wall(width + 0.1, z - height / 2 - 0.05, z + height / 2 + 0.05)
        if place is not None:
            with plan.on_wall(*place) as s:
                f.picture(s, rng, 0, z, width, height)


def _floor_things(plan: Plan, rng: np.random.Generator, kinds: tuple[str, ...], count: int) -> None:
    """Add small things that stand near the walls."""
    for _ in range(count):
        kind = kinds[rng.integers(len(kinds))]
        place = plan.against(0.5, 0.5, 0.5)
        if place is None:
            continue
        with plan.on_wall(*place, y=0.27) as s:
            if kind == "box":
                top = f.cardboard_box(s, rng, 0, 0, 0)
                if rng.random() < 0.4:
                    f.cardboard_box(s, rng, 0, 0, top, 0.8)
            elif kind == "plant":
                f.plant(s, rng, 0, 0, 0)
            elif kind == "bag":
                f.bag(s, rng, 0, 0, 0)
            elif kind == "bin":
                f.waste_bin(s, rng, 0, 0)
            elif kind == "clothes":
                f.clothes_pile(s, rng, 0, 0.05, 0)
            elif kind == "lamp":
                f.floor_lamp(s, rng)
            elif kind == "books":
                f.book_stack(s, rng, -0.1, 0, 0)
                f.book_stack(s, rng, 0.15, 0, 0)


def _television_corner(plan: Plan, rng: np.random.Generator, style: f.Style, walls: list[int] | None = None) -> None:
    width = rng.uniform(1.1, 1.7)
    place = plan.against(width, 0.45, 1.3, walls=walls, clear=0.5, at=0.5)
    if place is None:
        return
    with plan.on_wall(*place) as s:
        height = rng.uniform(0.42, 0.6)
        label = CABINET if rng.random() < 0.5 else OTHER_FURNITURE
        f.drawers(s, label, style.wood2, style.metal, width, 0.42, height, columns=3, rows=1, doors=True)
        with s.at(0, 0.22, height):
            f.television(s, rng, rng.uniform(0.75, 1.15))
        f.clutter(s, rng, -width / 2 + 0.1, -width / 2 + 0.25, 0.15, 0.3, height, 1, ("box", "vase", "books"))


def _bookshelves(plan: Plan, rng: np.random.Generator, style: f.Style, count: int) -> None:
    for _ in range(count):
        width, height = rng.uniform(0.7, 1.3), rng.choice([0.95, 1.5, 1.9, 2.1])
        place = plan.against(width, 0.31, height, clear=0.5)
        if place is not None:
            with plan.on_wall(*place) as s:
                f.bookshelf(s, rng, style, width, height)


# --- room kinds --------------------------------------------------------------------------------------------------


def _bedroom(plan: Plan, rng: np.random.Generator, style: f.Style, mood: Mood) -> None:
    _door(plan, rng, style)
    width = rng.choice([1.0, 1.45, 1.65, 1.85])
    place = plan.against(width + 1.1, 2.2, 1.3, clear=0.4, at=rng.uniform(0.3, 0.7)) or plan.against(
        width + 0.1, 2.2, 1.3
    )
    if place is not None:
        wall, u = place
        with plan.on_wall(wall, u) as s:
            f.bed(s, rng, style, width)
        for side in (-1, 1):
            if rng.random() < 0.8:
                with plan.on_wall(wall, u + side * (width / 2 + 0.3)) as s:
                    top = f.night_stand(s, rng, style)
                    if rng.random() < 0.8:
                        f.table_lamp(s, rng, 0.0, 0.18, top)
                    f.clutter(s, rng, -0.16, 0.16, 0.26, 0.34, top, 2, ("books", "cup", "paper", "box"))
        if rng.random() < 0.7:
            with plan.on_wall(wall, u) as s:
                f.picture(s, rng, rng.uniform(-0.2, 0.2), 1.68, rng.uniform(0.5, 1.1), rng.uniform(0.4, 0.6))
            plan.hung[wall].append((u - 0.8, u + 0.8, 1.3, 2.1))
        if rng.random() < 0.25:
            with plan.on_wall(wall, u, y=1.4) as s:
                f.rug(s, rng, width + 1.3, 1.7)
    _windows(plan, rng, style, mood, int(rng.integers(1, 3)))
    if rng.random() < 0.8:
        wide = rng.choice([0.8, 1.3, 1.5])
        found = plan.against(wide + 0.04, 0.5, 1.3 if wide < 1 else 0.95, clear=0.5)
        if found is not None:
            with plan.on_wall(*found) as s:
                top = f.dresser(s, rng, style, wide)
                draw = rng.random()
                if draw < 0.4 and wide > 1:
                    f.mirror(s, rng, style, 0, top + 0.5, 0.8, 0.75)
                    plan.hung[found[0]].append((found[1] - 0.5, found[1] + 0.5, 1.0, 2.0))
                elif draw < 0.75:
                    with s.at(0, 0.22, top):
                        f.television(s, rng, rng.uniform(0.6, 0.8))
                f.clutter(
                    s,
                    rng,
                    -wide / 2 + 0.1,
                    wide / 2 - 0.1,
                    0.34,
                    0.42,
                    top,
                    4,
                    ("bottle", "box", "books", "cup", "vase"),
                )
    if rng.random() < 0.5:
        wide = rng.choice([1.0, 1.5])
        found = plan.against(wide, 0.62, 2.2, clear=0.5)
        if found is not None:
            with plan.on_wall(*found) as s:
                f.wardrobe(s, rng, style, wide)
    if rng.random() < 0.45:
        found = plan.against(1.2, 0.75, 1.2, clear=0.7)
        if found is not None:
            with plan.on_wall(*found) as s:
                f.desk(s, rng, style, 1.15)
    _bookshelves(plan, rng, style, int(rng.random() < 0.5))
    if rng.random() < 0.35:
        found = plan.on_free_wall(0.8, 0.7, 1.8)
        if found is not None:
            with plan.on_wall(*found) as s:
                f.hanging_clothes(s, rng)
    if rng.random() < 0.5:
        spot = plan.in_the_open(0.5, 0.5, 0.05)
        if spot is not None:
            with plan.scene.at(*spot, 0, rng.uniform(0, 6.28)):
                f.chair(plan.scene, rng, style)
                if rng.random() < 0.4:
                    f.clothes_pile(plan.scene, rng, 0, 0, 0.48, 0.45)
    _pictures(plan, rng, int(rng.integers(1, 4)))
    _floor_things(plan, rng, ("clothes", "box", "bag", "plant", "lamp", "books", "clothes"), int(rng.integers(3, 8)))


def _living_room(plan: Plan, rng: np.random.Generator, style: f.Style, mood: Mood) -> None:
    _door(plan, rng, style)
    width = rng.uniform(1.7, 2.3)
    fabric = f.leather(rng) if rng.random() < 0.35 else style.cloth
    place = plan.against(width + 0.1, 0.98, 0.95, clear=1.0, at=rng.uniform(0.35, 0.65))
    if place is not None:
        wall, u = place
        with plan.on_wall(wall, u, y=0.06) as s:
            f.sofa(s, rng, style, width, fabric)
        with plan.on_wall(wall, u, y=1.7) as s:
            if rng.random() < 0.4:
                f.rug(s, rng, rng.uniform(1.5, 2.4), rng.uniform(1.1, 1.6))
            size = (rng.uniform(0.8, 1.15), rng.uniform(0.5, 0.65))
            f.table(s, rng, style, *size, rng.uniform(0.38, 0.48))
            top = 0.44
        plan.floor.append(plan._area(wall, u, size[0] + 0.1, 2.05))
        with plan.on_wall(wall, u, y=1.7) as s:
            f.clutter(
                s,
                rng,
                -size[0] * 0.4,
                size[0] * 0.4,
                -size[1] * 0.3,
                size[1] * 0.3,
                top + 0.04,
                4,
                ("books", "cup", "bowl", "paper", "vase"),
            )
        for side in (-1, 1):
            if rng.random() < 0.6:
                end = plan.against(0.5, 0.55, 0.6, walls=[wall], at=None)
                if end is not None:
                    with plan.on_wall(*end, y=0.28) as s:
                        f.table(s, rng, style, 0.46, 0.46, 0.55)
                        if rng.random() < 0.85:
                            f.table_lamp(s, rng, 0, 0, 0.55)
                        f.clutter(s, rng, -0.18, 0.18, 0.12, 0.18, 0.55, 1, ("books", "cup", "paper"))
            del side
        if rng.random() < 0.75:
            wide = rng.uniform(0.6, 1.3)
            with plan.on_wall(wall, u) as s:
                f.picture(s, rng, 0, 1.6, wide, rng.uniform(0.45, 0.7))
            plan.hung[wall].append((u - wide / 2 - 0.1, u + wide / 2 + 0.1, 1.0, 2.1))
        opposite = [(wall + 2) % 4]
        _television_corner(plan, rng, style, opposite + [w for w in plan.walls() if w not in (wall, *opposite)])
    _windows(plan, rng, style, mood, int(rng.integers(1, 3)), low=rng.choice([0.45, 0.85]))
    if rng.random() < 0.35:
        found = plan.against(1.62, 0.5, 1.6, clear=0.5, at=0.5)
        if found is not None:
            with plan.on_wall(*found) as s:
                f.fireplace(s, rng, style)
                f.picture(s, rng, 0, 1.65, rng.uniform(0.5, 0.9), rng.uniform(0.4, 0.6))
            plan.hung[found[0]].append((found[1] - 0.8, found[1] + 0.8, 0.0, 2.2))
    for _ in range(int(rng.integers(0, 3))):
        spot = plan.in_the_open(0.9, 0.9, 0.05)
        if spot is not None:
            w, d, _h = plan.scene.size
            facing = np.arctan2(d / 2 - spot[1], w / 2 - spot[0]) - np.pi / 2
            with plan.scene.at(*spot, 0, facing + rng.normal(0, 0.2)):
                f.armchair(plan.scene, rng, style, fabric if rng.random() < 0.5 else None)
    _bookshelves(plan, rng, style, int(rng.integers(1, 3)))
    if rng.random() < 0.4:
        found = plan.against(1.2, 0.45, 0.95, clear=0.4)
        if found is not None:
            with plan.on_wall(*found) as s:
                f.drawers(s, CABINET, style.wood, style.metal, 1.15, 0.42, 0.9, columns=3, rows=1, doors=True)
                f.clutter(s, rng, -0.45, 0.45, 0.12, 0.32, 0.9, 5, ("vase", "books", "bottle", "box", "bowl"))
    if rng.random() < 0.3:
        spot = plan.in_the_open(0.7, 0.6, 0.05)
        if spot is not None:
            with plan.scene.at(*spot, 0, rng.uniform(0, 6.28)):
                f.ottoman(plan.scene, rng, style)
    _pictures(plan, rng, int(rng.integers(2, 5)))
    _floor_things(plan, rng, ("lamp", "plant", "lamp", "box", "bag", "books"), int(rng.integers(3, 7)))


def _office(plan: Plan, rng: np.random.Generator, style: f.Style, mood: Mood) -> None:
    _door(plan, rng, style)
    _windows(
        plan, rng, style, mood, int(rng.integers(1, 3)), cover=("blinds", "blinds", "none", "curtain")[rng.integers(4)]
    )
    for _ in range(int(rng.integers(2, 4))):
        width = rng.uniform(1.3, 1.8)
        found = plan.against(width + 0.05, 0.78, 0.8, clear=0.8)
        if found is not None:
            with plan.on_wall(*found) as s:
                f.desk(s, rng, style, width)
                if rng.random() < 0.3:
                    f.wall_shelves(s, rng, style, width * 0.8, 1.45, 1)
                    plan.hung[found[0]].append((found[1] - width / 2, found[1] + width / 2, 1.3, 2.1))
    _bookshelves(plan, rng, style, int(rng.integers(1, 3)))
    for _ in range(int(rng.integers(1, 3))):
        found = plan.against(0.5, 0.65, 1.4, clear=0.4)
        if found is not None:
            with plan.on_wall(*found) as s:
                top = f.filing_cabinet(s, rng)
                f.clutter(s, rng, -0.12, 0.12, 0.15, 0.45, top, 2, ("box", "books", "paper", "vase"))
    if rng.random() < 0.7:
        width = rng.uniform(1.2, 2.2)
        found = plan.on_free_wall(width, 0.85, 2.1)
        if found is not None:
            with plan.on_wall(*found) as s:
                f.whiteboard(s, rng, width)
    if rng.random() < 0.6:
        width = rng.uniform(0.7, 1.2)
        found = plan.on_free_wall(width, 1.1, 1.95)
        if found is not None:
            with plan.on_wall(*found) as s:
                f.notice_board(s, rng, 0, 1.53, width, 0.75)
    if rng.random() < 0.4:
        spot = plan.in_the_open(1.5, 1.0, 0.45)
        if spot is not None:
            with plan.scene.at(*spot, 0, rng.choice([0, np.pi / 2])):
                f.table(plan.scene, rng, style, 1.3, 0.8, 0.74)
                f.clutter(plan.scene, rng, -0.5, 0.5, -0.25, 0.25, 0.74, 5, ("paper", "books", "cup", "box"))
                for k, side in enumerate((-1, 1)):
                    with plan.scene.at((k - 0.5) * 0.4, side * 0.6, 0, 0.0 if side < 0 else np.pi):
                        f.office_chair(plan.scene, rng, style)
    if rng.random() < 0.4:
        width = rng.uniform(0.9, 1.3)
        found = plan.against(width, 0.42, 1.9, clear=0.4)
        if found is not None:
            with plan.on_wall(*found) as s:
                f.shelf_rack(s, rng, style, width, rng.uniform(1.5, 1.9))
    _pictures(plan, rng, int(rng.integers(1, 3)))
    _floor_things(plan, rng, ("box", "bin", "box", "bag", "plant", "books"), int(rng.integers(4, 9)))


def _kitchen(plan: Plan, rng: np.random.Generator, style: f.Style, mood: Mood) -> None:
    _door(plan, rng, style)
    worktops = ((110, 104, 98), (70, 68, 66), (196, 186, 170), (150, 120, 92), (225, 222, 214))
    grains = ((60, 56, 52), (170, 150, 130), (120, 110, 100))
    stone = Material(f.choose(rng, worktops), f.choose(rng, grains), texture=tx.SPECKLE, gloss=0.2)
    front = f.wood(rng).but(gloss=0.06)
    tile = f.vary(rng, (214, 204, 186))
    splash = Material(tile, (180, 172, 160), tile, texture=tx.TILES, scale=rng.choice([0.1, 0.15]), gloss=0.15)
    order = plan.walls()
    for k, wall in enumerate(order[: 1 + int(rng.random() < 0.7)]):
        width = min(plan.length(wall) - 1.0, rng.uniform(1.9, 3.4))
        place = plan.against(width + 0.05, 0.68, 2.3, walls=[wall, *order[2:]], clear=0.7)
        if place is None:
            continue
        with plan.on_wall(*place) as s:
            units = max(1, round(width / 0.48))
            slot = [-width / 2 + (i + 0.5) * width / units for i in range(units)]
            stove = slot[int(rng.integers(0, max(1, units // 2)))] if k == 0 else None
            sink = (
                slot[int(rng.integers(units // 2 + 1, units))] if units > 2 and (k == 0 or rng.random() < 0.3) else None
            )
            upper = rng.random() < 0.85
            s.box(WALL, splash, (0, 0.004, 1.2), (width, 0.008, 0.5))
            f.kitchen_run(s, rng, style, width, sink, stove, upper, stone, front)
            if sink is not None and upper and rng.random() < 0.7:
                with s.at(sink, 0):
                    f.window(s, rng, style, 0.8, 1.15, 2.05, mood.daylight)
                    if rng.random() < 0.4:
                        f.blinds(s, rng, 0.8, 1.15, 2.05, mood.daylight)
    found = plan.against(0.9, 0.82, 1.9, clear=0.6)
    if found is not None:
        with plan.on_wall(*found) as s:
            f.refrigerator(s, rng)
    _windows(plan, rng, style, mood, 1)
    w, d, _ = plan.scene.size
    draw = rng.random()
    if draw < 0.6:
        size = (rng.uniform(1.0, 1.4), rng.uniform(0.75, 0.9))
        spot = plan.in_the_open(size[0] + 0.5, size[1] + 0.6, 0.0)
        if spot is not None:
            with plan.scene.at(*spot, 0, 0):
                f.dining_set(plan.scene, rng, style, *size, seats=int(rng.integers(3, 6)))
    elif min(w, d) > 3.6:
        spot = plan.in_the_open(1.3, 0.75, 0.5)
        if spot is not None:
            with plan.scene.at(spot[0], spot[1] - 0.33, 0, 0):
                f.kitchen_run(plan.scene, rng, style, 1.25, None, None, False, stone, front)
    if rng.random() < 0.5:
        width = rng.uniform(0.7, 1.2)
        found = plan.on_free_wall(width, 1.2, 2.0)
        if found is not None:
            with plan.on_wall(*found) as s:
                f.wall_shelves(s, rng, style, width, 1.35, 2)
    if rng.random() < 0.4:
        found = plan.against(0.95, 0.42, 1.9, clear=0.4)
        if found is not None:
            with plan.on_wall(*found) as s:
                f.shelf_rack(s, rng, style, 0.9, rng.uniform(1.4, 1.9))
    if rng.random() < 0.5:
        spot = plan.in_the_open(0.5, 0.5, 0.1)
        if spot is not None:
            with plan.scene.at(*spot, 0, 0):
                f.rug(plan.scene, rng, 0.6, 1.0)
    _pictures(plan, rng, int(rng.integers(0, 3)))
    _floor_things(plan, rng, ("bin", "box", "bag", "plant"), int(rng.integers(2, 6)))


def _dining_room(plan: Plan, rng: np.random.Generator, style: f.Style, mood: Mood) -> None:
    _door(plan, rng, style)
    w, d, _ = plan.scene.size
    size = (rng.uniform(1.3, min(2.0, w - 1.8)), rng.uniform(0.85, 1.05))
    x, y = w / 2 + rng.uniform(-0.3, 0.3), d / 2 + rng.uniform(-0.3, 0.3)
    plan.floor.append((x - size[0] / 2 - 0.35, x + size[0] / 2 + 0.35, y - size[1] / 2 - 0.45, y + size[1] / 2 + 0.45))
    with plan.scene.at(x, y):
        if rng.random() < 0.3:
            f.rug(plan.scene, rng, size[0] + 0.9, size[1] + 0.9)
        f.dining_set(plan.scene, rng, style, *size, seats=int(rng.integers(4, 7)))
    _windows(plan, rng, style, mood, 2, low=rng.choice([0.45, 0.85]))
    for _ in range(2):
        width = rng.uniform(0.9, 1.5)
        tall = rng.random() < 0.4
        found = plan.against(width, 0.47, 1.9 if tall else 0.95, clear=0.3)
        if found is not None:
            with plan.on_wall(*found) as s:
                height = rng.uniform(1.7, 1.95) if tall else 0.88
                f.drawers(
                    s, CABINET, style.wood, style.metal, width, 0.44, height, columns=2, rows=1 + tall, doors=True
                )
                f.clutter(
                    s,
                    rng,
                    -width / 2 + 0.12,
                    width / 2 - 0.12,
                    0.12,
                    0.32,
                    height,
                    5,
                    ("vase", "bottle", "bowl", "books", "box"),
                )
                if not tall and rng.random() < 0.35:
                    f.mirror(s, rng, style, 0, 1.5, 0.8, 0.8)
                    plan.hung[found[0]].append((found[1] - 0.5, found[1] + 0.5, 1.0, 2.0))
    _bookshelves(plan, rng, style, int(rng.random() < 0.5))
    _pictures(plan, rng, int(rng.integers(2, 5)))
    _floor_things(plan, rng, ("plant", "lamp", "box", "bag"), int(rng.integers(2, 6)))


def _bathroom(plan: Plan, rng: np.random.Generator, style: f.Style, mood: Mood) -> None:
    _door(plan, rng, style)
    order = plan.walls()
    length = min(1.7, max(plan.length(order[0]), plan.length(order[1])) - 0.3)
    place = plan.against(length, 0.8, 2.1, walls=order, clear=0.4, at=float(rng.choice([0.0, 1.0])))
    if place is not None:
        with plan.on_wall(*place) as s:
            f.bathtub(s, rng, length, with_curtain=rng.random() < 0.75)
    width = rng.uniform(0.8, 1.4)
    place = plan.against(width + 0.06, 0.6, 2.0, clear=0.4) or plan.against(0.86, 0.6, 2.0)
    if place is not None:
        with plan.on_wall(*place) as s:
            f.vanity(s, rng, style, min(width, 1.4))
    place = plan.against(0.6, 0.75, 0.9, clear=0.2)
    if place is not None:
        with plan.on_wall(*place) as s:
            f.toilet(s, rng)
    for _ in range(2):
        found = plan.on_free_wall(0.75, 0.6, 1.45)
        if found is not None:
            with plan.on_wall(*found) as s:
                f.towel_rail(s, rng)
    _windows(plan, rng, style, mood, 1, low=1.25)
    spot = plan.in_the_open(0.5, 0.5, 0.05)
    if spot is not None:
        with plan.scene.at(*spot, 0, rng.choice([0, np.pi / 2])):
            f.rug(plan.scene, rng, 0.85, 0.55)
    if rng.random() < 0.6:
        found = plan.against(0.75, 0.42, 1.7)
        if found is not None:
            with plan.on_wall(*found) as s:
                f.shelf_rack(s, rng, style, 0.7, 1.6)
    _pictures(plan, rng, 1)
    _floor_things(plan, rng, ("bin", "clothes", "bag"), int(rng.integers(1, 3)))


_LAYOUTS: dict[str, Callable[[Plan, np.random.Generator, f.Style, Mood], None]] = {
    "bedroom": _bedroom,
    "living room": _living_room,
    "office": _office,
    "kitchen": _kitchen,
    "dining room": _dining_room,
    "bathroom": _bathroom,
}

KINDS = ("living room", "bedroom", "office", "kitchen", "dining room", "bedroom", "living room", "kitchen", "bathroom")
"""Kinds of rooms in the order of the seeds, roughly as frequent as in NYU Depth V2."""
