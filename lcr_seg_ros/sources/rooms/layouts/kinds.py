"""What stands where in a room of each kind."""

from __future__ import annotations

import numpy as np

from lcr_seg_ros.sources.rooms import furniture as f
from lcr_seg_ros.sources.rooms import shading as tx
from lcr_seg_ros.sources.rooms.classes import CABINET, WALL
from lcr_seg_ros.sources.rooms.layouts.fittings import (
    bookshelves,
    door,
    floor_things,
    pictures,
    television_corner,
    windows,
)
from lcr_seg_ros.sources.rooms.layouts.plan import Plan
from lcr_seg_ros.sources.rooms.layouts.shell import Mood
from lcr_seg_ros.sources.rooms.scene import Material


def bedroom(plan: Plan, rng: np.random.Generator, style: f.Style, mood: Mood) -> None:
    door(plan, rng, style)
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
    windows(plan, rng, style, mood, int(rng.integers(1, 3)))
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
    bookshelves(plan, rng, style, int(rng.random() < 0.5))
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
    pictures(plan, rng, int(rng.integers(1, 4)))
    floor_things(plan, rng, ("clothes", "box", "bag", "plant", "lamp", "books", "clothes"), int(rng.integers(3, 8)))


def living_room(plan: Plan, rng: np.random.Generator, style: f.Style, mood: Mood) -> None:
    door(plan, rng, style)
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
        plan.floor.append(plan.area(wall, u, size[0] + 0.1, 2.05))
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
        television_corner(plan, rng, style, opposite + [w for w in plan.walls() if w not in (wall, *opposite)])
    windows(plan, rng, style, mood, int(rng.integers(1, 3)), low=rng.choice([0.45, 0.85]))
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
    bookshelves(plan, rng, style, int(rng.integers(1, 3)))
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
    pictures(plan, rng, int(rng.integers(2, 5)))
    floor_things(plan, rng, ("lamp", "plant", "lamp", "box", "bag", "books"), int(rng.integers(3, 7)))


def office(plan: Plan, rng: np.random.Generator, style: f.Style, mood: Mood) -> None:
    door(plan, rng, style)
    windows(
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
    bookshelves(plan, rng, style, int(rng.integers(1, 3)))
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
    pictures(plan, rng, int(rng.integers(1, 3)))
    floor_things(plan, rng, ("box", "bin", "box", "bag", "plant", "books"), int(rng.integers(4, 9)))


def kitchen(plan: Plan, rng: np.random.Generator, style: f.Style, mood: Mood) -> None:
    door(plan, rng, style)
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
    windows(plan, rng, style, mood, 1)
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
    pictures(plan, rng, int(rng.integers(0, 3)))
    floor_things(plan, rng, ("bin", "box", "bag", "plant"), int(rng.integers(2, 6)))


def dining_room(plan: Plan, rng: np.random.Generator, style: f.Style, mood: Mood) -> None:
    door(plan, rng, style)
    w, d, _ = plan.scene.size
    size = (rng.uniform(1.3, min(2.0, w - 1.8)), rng.uniform(0.85, 1.05))
    x, y = w / 2 + rng.uniform(-0.3, 0.3), d / 2 + rng.uniform(-0.3, 0.3)
    plan.floor.append((x - size[0] / 2 - 0.35, x + size[0] / 2 + 0.35, y - size[1] / 2 - 0.45, y + size[1] / 2 + 0.45))
    with plan.scene.at(x, y):
        if rng.random() < 0.3:
            f.rug(plan.scene, rng, size[0] + 0.9, size[1] + 0.9)
        f.dining_set(plan.scene, rng, style, *size, seats=int(rng.integers(4, 7)))
    windows(plan, rng, style, mood, 2, low=rng.choice([0.45, 0.85]))
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
    bookshelves(plan, rng, style, int(rng.random() < 0.5))
    pictures(plan, rng, int(rng.integers(2, 5)))
    floor_things(plan, rng, ("plant", "lamp", "box", "bag"), int(rng.integers(2, 6)))


def bathroom(plan: Plan, rng: np.random.Generator, style: f.Style, mood: Mood) -> None:
    door(plan, rng, style)
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
    windows(plan, rng, style, mood, 1, low=1.25)
    spot = plan.in_the_open(0.5, 0.5, 0.05)
    if spot is not None:
        with plan.scene.at(*spot, 0, rng.choice([0, np.pi / 2])):
            f.rug(plan.scene, rng, 0.85, 0.55)
    if rng.random() < 0.6:
        found = plan.against(0.75, 0.42, 1.7)
        if found is not None:
            with plan.on_wall(*found) as s:
                f.shelf_rack(s, rng, style, 0.7, 1.6)
    pictures(plan, rng, 1)
    floor_things(plan, rng, ("bin", "clothes", "bag"), int(rng.integers(1, 3)))
