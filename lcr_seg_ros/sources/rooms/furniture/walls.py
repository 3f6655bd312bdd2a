"""Things on walls: doors, windows with curtains and blinds, pictures, boards, fireplaces, switches."""

from __future__ import annotations

import numpy as np

from lcr_seg_ros.sources.rooms import shading as tx
from lcr_seg_ros.sources.rooms.classes import (
    BLINDS,
    CURTAIN,
    DOOR,
    MIRROR,
    OTHER_PROP,
    OTHER_STRUCTURE,
    PAPER,
    PICTURE,
    WHITEBOARD,
    WINDOW,
)
from lcr_seg_ros.sources.rooms.furniture.styles import (
    BLACK_PLASTIC,
    BRIGHT_COLORS,
    CLOTH_COLORS,
    DARK_METAL,
    METAL,
    MIRROR_GLASS,
    PAPER_WHITE,
    WHITE_PLASTIC,
    Style,
    choose,
    vary,
    wood,
)
from lcr_seg_ros.sources.rooms.furniture.things import clutter
from lcr_seg_ros.sources.rooms.scene import Material, Scene, scaled


def door(s: Scene, rng: np.random.Generator, style: Style, width: float = 0.86, height: float = 2.03) -> None:
    """A closed, framed door in the wall."""
    leaf = style.trim if rng.random() < 0.55 else wood(rng).but(gloss=0.08)
    for sx in (-1, 1):
        s.box(DOOR, style.trim, (sx * (width / 2 + 0.045), 0.015, height / 2), (0.09, 0.03, height + 0.09))
    s.box(DOOR, style.trim, (0, 0.015, height + 0.045), (width + 0.18, 0.03, 0.09))
    s.box(DOOR, leaf, (0, 0.008, height / 2), (width, 0.016, height))
    if rng.random() < 0.7:
        panel = leaf.but(texture=tx.PANEL, scale=0.6 if leaf.texture == tx.WOOD else 0.0)
        rows = ((0.28, 0.5), (1.0, 0.72), (1.72, 0.42)) if rng.random() < 0.5 else ((0.45, 0.7), (1.4, 0.9))
        for z, h in rows:
            for sx in (-1, 1):
                s.box(DOOR, panel, (sx * width * 0.225, 0.014, z + 0.02), (width * 0.36, 0.016, h))
    side = rng.choice([-1, 1])
    s.ellipsoid(DOOR, METAL.but(color=(170, 150, 100)), (side * (width / 2 - 0.07), 0.06, 1.0), (0.06, 0.06, 0.06))
    s.cylinder(DOOR, METAL, (side * (width / 2 - 0.07), 0.025, 1.0), (0.03, 0.03, 0.06), pitch=np.pi / 2)


def window(
    s: Scene, rng: np.random.Generator, style: Style, width: float, low: float, high: float, daylight: float
) -> None:
    """A framed window; ``daylight`` is its brightness, 0 at night. Adds its light."""
    height, middle = high - low, (high + low) / 2
    sky = vary(rng, (235, 240, 250), 4)
    glow = 4.5 * daylight + 0.01
    pane = Material(sky, (70, 100, 60), (140, 150, 110), texture=tx.OUTDOORS, emission=glow, gloss=0.1)
    s.box(WINDOW, pane, (0, 0.006, middle), (width, 0.012, height), shadow=False)
    bar = style.trim
    for sx in (-1, 1):
        s.box(WINDOW, bar, (sx * (width / 2 + 0.04), 0.02, middle), (0.09, 0.045, height + 0.16))
    for z in (low - 0.04, high + 0.04):
        s.box(WINDOW, bar, (0, 0.02, z), (width, 0.045, 0.09))
    s.box(WINDOW, bar, (0, 0.05, low - 0.09), (width + 0.24, 0.11, 0.03))
    for k in range(1, 1 + int(rng.integers(0, 3))):
        s.box(WINDOW, bar, (-width / 2 + k * width / 3, 0.014, middle), (0.03, 0.022, height))
    if rng.random() < 0.7:
        s.box(WINDOW, bar, (0, 0.014, middle), (width, 0.024, 0.04))
    if daylight > 0.02:
        rgb = scaled((1.0, 1.05, 1.15), 2.2 * daylight * width * height)
        s.light((0, 0.06, middle), (width * 0.9, 0.02, height * 0.9), rgb, (0.0, 1.0, 0.0))


def curtains(s: Scene, rng: np.random.Generator, width: float, top: float, bottom: float, fabric: Material) -> None:
    """Two drawn-back curtains on a rod around a window of ``width``."""
    s.cylinder(CURTAIN, DARK_METAL, (0, 0.11, top + 0.02), (0.03, 0.03, width + 0.7), roll=np.pi / 2)
    each = rng.uniform(0.28, 0.5)
    for sx in (-1, 1):
        wide = each * rng.uniform(0.85, 1.15)
        s.curtain(
            CURTAIN,
            fabric,
            (sx * (width / 2 + 0.28 - wide / 2), 0.11, (top + bottom) / 2),
            (wide, 0.09, top - bottom),
            rng.uniform(8, 13),
        )
    if rng.random() < 0.25:
        s.curtain(CURTAIN, fabric, (0, 0.12, top - 0.1), (width + 0.6, 0.06, 0.3), 7.0)


def blinds(s: Scene, rng: np.random.Generator, width: float, low: float, high: float, daylight: float) -> None:
    """Slats in front of a window, most of the way down."""
    down = rng.uniform(0.55, 1.0) * (high - low + 0.06)
    color = vary(rng, (215, 210, 200), 12)
    slats = Material(
        color,
        scaled(color, 0.62),
        texture=tx.SLATS,
        scale=rng.uniform(0.028, 0.05),
        emission=0.35 * daylight,
    )
    s.box(BLINDS, slats, (0, 0.055, high + 0.03 - down / 2), (width + 0.06, 0.02, down), shadow=False)
    s.box(BLINDS, slats.but(texture=tx.PLAIN), (0, 0.06, high + 0.04), (width + 0.08, 0.05, 0.05))


def picture(s: Scene, rng: np.random.Generator, x: float, z: float, width: float, height: float) -> None:
    frame = (
        wood(rng)
        if rng.random() < 0.6
        else Material(choose(rng, ((30, 30, 32), (200, 180, 120), (235, 232, 226))), gloss=0.15)
    )
    b = rng.uniform(0.02, 0.06)
    art = Material(
        choose(rng, BRIGHT_COLORS + CLOTH_COLORS),
        choose(rng, BRIGHT_COLORS),
        choose(rng, CLOTH_COLORS),
        texture=tx.PICTURE,
        gloss=0.05,
    )
    s.box(PICTURE, art, (x, 0.01, z), (width, 0.012, height))
    for sx in (-1, 1):
        s.box(PICTURE, frame, (x + sx * (width + b) / 2, 0.015, z), (b, 0.03, height + 2 * b))
    for sz in (-1, 1):
        s.box(PICTURE, frame, (x, 0.015, z + sz * (height + b) / 2), (width, 0.03, b))


def mirror(s: Scene, rng: np.random.Generator, style: Style, x: float, z: float, width: float, height: float) -> None:
    s.box(MIRROR, MIRROR_GLASS, (x, 0.012, z), (width, 0.014, height))
    b = rng.uniform(0.015, 0.06)
    for sx in (-1, 1):
        s.box(MIRROR, style.wood, (x + sx * (width + b) / 2, 0.018, z), (b, 0.034, height + 2 * b))
    for sz in (-1, 1):
        s.box(MIRROR, style.wood, (x, 0.018, z + sz * (height + b) / 2), (width, 0.034, b))


def whiteboard(s: Scene, rng: np.random.Generator, width: float) -> None:
    s.box(WHITEBOARD, Material((236, 238, 240), gloss=0.18, scale=0.03), (0, 0.012, 1.5), (width, 0.016, 1.1))
    for z in (0.94, 2.06):
        s.box(WHITEBOARD, METAL, (0, 0.016, z), (width + 0.04, 0.03, 0.03))
    for sx in (-1, 1):
        s.box(WHITEBOARD, METAL, (sx * (width / 2 + 0.005), 0.016, 1.5), (0.03, 0.03, 1.14))
    for _ in range(int(rng.integers(3, 14))):
        ink = Material(((40, 50, 130), (30, 30, 34), (160, 40, 40))[rng.integers(3)])
        s.box(
            WHITEBOARD,
            ink,
            (rng.uniform(-0.4, 0.4) * width, 0.0208, rng.uniform(1.1, 1.95)),
            (rng.uniform(0.08, 0.4), 0.001, 0.012),
            roll=rng.normal(0, 0.08),
        )
    s.box(WHITEBOARD, METAL, (0, 0.05, 0.93), (width * 0.6, 0.08, 0.02))


def notice_board(s: Scene, rng: np.random.Generator, x: float, z: float, width: float, height: float) -> None:
    cork = Material((176, 132, 84), (140, 98, 58), texture=tx.SPECKLE)
    s.box(OTHER_PROP, cork, (x, 0.01, z), (width, 0.016, height))
    for _ in range(int(rng.integers(3, 9))):
        w, h = rng.uniform(0.1, 0.22), rng.uniform(0.12, 0.28)
        sheet = (
            PAPER_WHITE
            if rng.random() < 0.7
            else Material(
                choose(rng, ((240, 220, 120), (170, 200, 220), (240, 170, 160))), (110, 110, 110), texture=tx.PAPER
            )
        )
        s.box(
            PAPER,
            sheet,
            (x + rng.uniform(-0.5, 0.5) * (width - w), 0.0195, z + rng.uniform(-0.5, 0.5) * (height - h)),
            (w, 0.002, h),
            roll=rng.normal(0, 0.04),
        )


def fireplace(s: Scene, rng: np.random.Generator, style: Style) -> None:
    """A chimney breast with a hearth and a mantelpiece with things on it; 1.5 x 0.4."""
    brick = Material(vary(rng, (150, 80, 62)), (186, 176, 164), texture=tx.BRICK, scale=0.075)
    stone = brick if rng.random() < 0.5 else Material(vary(rng, (190, 182, 170)), scale=0.25)
    surround = style.trim if rng.random() < 0.5 else style.wood
    for sx in (-1, 1):
        s.box(OTHER_STRUCTURE, stone, (sx * 0.55, 0.17, 0.5), (0.34, 0.34, 1.0))
        s.box(OTHER_STRUCTURE, surround, (sx * 0.66, 0.36, 0.53), (0.14, 0.04, 1.06))
    s.box(OTHER_STRUCTURE, stone, (0, 0.17, 0.88), (0.8, 0.34, 0.24))
    s.box(OTHER_STRUCTURE, Material((26, 24, 23), scale=0.4), (0, 0.06, 0.4), (0.8, 0.1, 0.8))
    s.box(OTHER_STRUCTURE, surround, (0, 0.2, 1.12), (1.6, 0.44, 0.07))
    s.box(OTHER_STRUCTURE, stone, (0, 0.45, 0.025), (1.5, 0.5, 0.05))
    clutter(s, rng, -0.7, 0.7, 0.15, 0.3, 1.155, 4, ("vase", "box", "cup", "bottle", "books"))


def wall_bits(s: Scene, rng: np.random.Generator, z: float) -> None:
    """A switch, socket, thermostat or clock."""
    kind = rng.random()
    if kind < 0.45:
        s.box(OTHER_PROP, WHITE_PLASTIC, (0, 0.005, 1.2), (0.08, 0.01, 0.12))
        s.box(OTHER_PROP, WHITE_PLASTIC, (0, 0.012, 1.2), (0.02, 0.012, 0.035))
    elif kind < 0.7:
        s.box(OTHER_PROP, WHITE_PLASTIC, (0, 0.005, 0.35), (0.08, 0.01, 0.12))
    elif kind < 0.8:
        s.box(
            OTHER_PROP,
            Material((200, 198, 190), (120, 118, 114), texture=tx.SLATS, scale=0.025),
            (0, 0.008, z + 0.6),
            (0.4, 0.015, 0.25),
        )
    else:
        dial = Material((235, 232, 222), scale=0.02)
        s.cylinder(OTHER_PROP, DARK_METAL, (0, 0.015, z + 0.35), (0.3, 0.3, 0.03), pitch=np.pi / 2)
        s.cylinder(OTHER_PROP, dial, (0, 0.018, z + 0.35), (0.26, 0.26, 0.03), pitch=np.pi / 2)
        s.box(OTHER_PROP, BLACK_PLASTIC, (0.03, 0.035, z + 0.37), (0.08, 0.002, 0.012), roll=0.4)


def radiator(s: Scene, rng: np.random.Generator, width: float) -> None:
    body = Material(vary(rng, (226, 224, 216), 6), gloss=0.1)
    for k in range(round(width / 0.06)):
        s.cushion(OTHER_PROP, body, (-width / 2 + (k + 0.5) * 0.06, 0.09, 0.36), (0.05, 0.12, 0.58), 0.02)
