"""The room itself: its size, walls, floor, ceiling, corners, skirting, lamps, and its light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lcr_seg_ros.sources.rooms import furniture as f
from lcr_seg_ros.sources.rooms import shading as tx
from lcr_seg_ros.sources.rooms.classes import WALL
from lcr_seg_ros.sources.rooms.layouts.plan import EAST, NORTH, SOUTH, WEST, Plan
from lcr_seg_ros.sources.rooms.scene import Color, Material, Vector, scaled

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


@dataclass(frozen=True)
class Mood:
    """Light of a room: daylight from 0 (night) to 1, lamps from 0 to 1."""

    daylight: float
    lamps: float


def pick_mood(rng: np.random.Generator) -> Mood:
    if rng.random() < 0.7:
        return Mood(daylight=rng.uniform(0.4, 1.0), lamps=rng.uniform(0.25, 1.0))
    return Mood(daylight=0.0, lamps=rng.uniform(0.7, 1.0))


def pick_size(kind: str, rng: np.random.Generator) -> Vector:
    low, high = {
        "bedroom": ((3.3, 3.4), (4.6, 4.8)),
        "living room": ((4.0, 3.8), (5.8, 5.6)),
        "office": ((3.4, 3.4), (5.2, 5.0)),
        "kitchen": ((3.2, 3.2), (4.8, 4.6)),
        "dining room": ((3.6, 3.6), (5.0, 5.0)),
        "bathroom": ((2.5, 2.6), (3.4, 3.4)),
    }[kind]
    return rng.uniform(low[0], high[0]), rng.uniform(low[1], high[1]), rng.uniform(2.4, 2.75)


def pick_faces(kind: str, rng: np.random.Generator) -> list[Material]:
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


def add_corner(plan: Plan, rng: np.random.Generator) -> None:
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


def add_wall_bits(plan: Plan, rng: np.random.Generator) -> None:
    for _ in range(int(rng.integers(3, 8))):
        place = plan.on_free_wall(0.45, 0.2, 2.2)
        if place is not None:
            plan.hung[place[0]].pop()
            with plan.on_wall(*place) as s:
                f.wall_bits(s, rng, 1.5)


def add_skirting(plan: Plan, style: f.Style) -> None:
    height = plan.rng.uniform(0.07, 0.13)
    for wall in range(4):
        length = plan.length(wall)
        with plan.on_wall(wall, length / 2) as s:
            s.box(WALL, style.trim, (0, 0.006, height / 2), (length, 0.012, height))
            if plan.rng.random() < 0.15:
                s.box(WALL, style.trim, (0, 0.02, plan.scene.size[2] - 0.04), (length, 0.04, 0.08))


def add_ceiling_lamps(plan: Plan, rng: np.random.Generator, kind: str, mood: Mood) -> None:
    w, d, h = plan.scene.size
    if kind == "office":
        for x in (w * 0.3, w * 0.7):
            for y in (d * 0.3, d * 0.7):
                with plan.scene.at(x, y, h, rng.choice([0.0, np.pi / 2])):
                    f.ceiling_lamp(plan.scene, rng, 0.9 * mood.lamps, panel=True)
    else:
        with plan.scene.at(w * rng.uniform(0.4, 0.6), d * rng.uniform(0.4, 0.6), h):
            f.ceiling_lamp(plan.scene, rng, 2.2 * mood.lamps)
