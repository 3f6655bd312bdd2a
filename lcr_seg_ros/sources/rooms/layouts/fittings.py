"""What rooms of several kinds have: doors, windows, pictures, a television, bookshelves, things on the floor."""

from __future__ import annotations

import numpy as np

from lcr_seg_ros.sources.rooms import furniture as f
from lcr_seg_ros.sources.rooms.classes import CABINET, OTHER_FURNITURE
from lcr_seg_ros.sources.rooms.layouts.plan import Plan
from lcr_seg_ros.sources.rooms.layouts.shell import Mood


def door(plan: Plan, rng: np.random.Generator, style: f.Style) -> None:
    place = plan.against(1.06, 0.06, 2.15, clear=0.6, at=float(rng.choice([0.03, 0.97])))
    if place is not None:
        with plan.on_wall(*place) as s:
            f.door(s, rng, style)
        # no furniture in front of a door
        plan.floor.append(plan.area(*place, 0.9, 0.7))


def windows(
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
            plan.floor.append(plan.area(*place, min(width, 1.2), 0.16))
        with plan.on_wall(*place) as s:
            f.window(s, rng, style, width, low, top, mood.daylight)
            kind = cover or ("curtain", "blinds", "none", "curtain")[rng.integers(4)]
            if kind == "blinds":
                f.blinds(s, rng, width, low, top, mood.daylight)
            elif kind == "curtain":
                f.curtains(s, rng, width, top + 0.12, rng.choice([0.06, low - 0.25]), fabric)


def pictures(plan: Plan, rng: np.random.Generator, count: int) -> None:
    for _ in range(count):
        width, height = rng.uniform(0.28, 1.0), rng.uniform(0.3, 0.75)
        z = rng.uniform(1.5, 1.7)
        place = plan.on_free_wall(width + 0.1, z - height / 2 - 0.05, z + height / 2 + 0.05)
        if place is not None:
            with plan.on_wall(*place) as s:
                f.picture(s, rng, 0, z, width, height)


def floor_things(plan: Plan, rng: np.random.Generator, kinds: tuple[str, ...], count: int) -> None:
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


def television_corner(plan: Plan, rng: np.random.Generator, style: f.Style, walls: list[int] | None = None) -> None:
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


def bookshelves(plan: Plan, rng: np.random.Generator, style: f.Style, count: int) -> None:
    for _ in range(count):
        width, height = rng.uniform(0.7, 1.3), rng.choice([0.95, 1.5, 1.9, 2.1])
        place = plan.against(width, 0.31, height, clear=0.5)
        if place is not None:
            with plan.on_wall(*place) as s:
                f.bookshelf(s, rng, style, width, height)
