"""Lamps, screens, plants and small things, which make a room look lived in."""

from __future__ import annotations

import numpy as np

from lcr_seg_ros.sources.rooms import shading as tx
from lcr_seg_ros.sources.rooms.classes import (
    BAG,
    BOOKS,
    BOX,
    CLOTHES,
    FLOOR_MAT,
    LAMP,
    OTHER_PROP,
    PAPER,
    TELEVISION,
    TOWEL,
)
from lcr_seg_ros.sources.rooms.furniture.styles import (
    BLACK_PLASTIC,
    BOX_COLORS,
    BRIGHT_COLORS,
    CLOTH_COLORS,
    DARK_METAL,
    METAL,
    PAPER_WHITE,
    WHITE_PLASTIC,
    choose,
    cloth,
    tone,
    vary,
    wood,
)
from lcr_seg_ros.sources.rooms.scene import Material, Scene, scaled


def television(s: Scene, rng: np.random.Generator, width: float, stand: bool = True) -> None:
    """A flat television with its foot at the origin."""
    on = rng.random() < 0.3
    screen = Material(
        (24, 25, 30),
        (150, 170, 200),
        (60, 90, 60),
        texture=tx.SCREEN,
        emission=0.5 if on else 0.0,
        gloss=0.3,
        mirror=0.0 if on else 0.12,
    )
    height = width * 0.57
    z = 0.07 if stand else 0.0
    s.box(TELEVISION, BLACK_PLASTIC, (0, 0, z + height / 2), (width, 0.06, height))
    s.box(
        TELEVISION,
        screen if on else screen.but(texture=tx.PLAIN),
        (0, 0.031, z + height / 2 + 0.01),
        (width - 0.06, 0.004, height - 0.08),
    )
    if stand:
        s.box(TELEVISION, BLACK_PLASTIC, (0, 0, 0.01), (width * 0.45, 0.22, 0.02))
        s.box(TELEVISION, BLACK_PLASTIC, (0, 0, 0.05), (0.12, 0.05, 0.08))


def monitor(s: Scene, rng: np.random.Generator) -> None:
    """A computer monitor, which the dataset counts as other prop."""
    width = rng.uniform(0.42, 0.58)
    height = width * rng.uniform(0.58, 0.76)
    on = rng.random() < 0.6
    screen = Material((30, 40, 70), (190, 200, 215), texture=tx.SCREEN, emission=0.5 if on else 0.0, gloss=0.1)
    case = BLACK_PLASTIC if rng.random() < 0.75 else WHITE_PLASTIC
    z = 0.14
    s.box(OTHER_PROP, case, (0, 0, z + height / 2), (width, 0.045, height), pitch=0.06)
    s.box(
        OTHER_PROP,
        screen if on else BLACK_PLASTIC,
        (0, 0.024, z + height / 2),
        (width - 0.03, 0.004, height - 0.03),
        pitch=0.06,
    )
    s.box(OTHER_PROP, case, (0, -0.02, 0.1), (0.06, 0.04, 0.2))
    s.cylinder(OTHER_PROP, case, (0, 0, 0.008), (0.24, 0.18, 0.016))


def laptop(s: Scene, rng: np.random.Generator) -> None:
    case = Material(choose(rng, ((170, 172, 174), (36, 36, 38))), gloss=0.2)
    screen = Material((30, 40, 70), (190, 200, 215), texture=tx.SCREEN, emission=0.5, gloss=0.1)
    s.box(OTHER_PROP, case, (0, 0.12, 0.01), (0.36, 0.25, 0.02))
    s.box(OTHER_PROP, BLACK_PLASTIC, (0, 0.09, 0.0205), (0.32, 0.12, 0.002))
    s.box(OTHER_PROP, case, (0, -0.04, 0.13), (0.36, 0.012, 0.24), pitch=0.3)
    s.box(OTHER_PROP, screen, (0, -0.032, 0.132), (0.33, 0.003, 0.21), pitch=0.3)


def table_lamp(s: Scene, rng: np.random.Generator, x: float, y: float, z: float, on: float | None = None) -> None:
    """A lamp with a shade, about 0.55 tall, standing at height z; adds its light."""
    height, shade_d = rng.uniform(0.42, 0.62), rng.uniform(0.22, 0.34)
    foot = Material(choose(rng, BRIGHT_COLORS + CLOTH_COLORS), gloss=0.25)
    s.cylinder(LAMP, foot, (x, y, z + 0.015), (0.14, 0.14, 0.03))
    if rng.random() < 0.5:
        s.ellipsoid(LAMP, foot, (x, y, z + 0.3 * height), (0.14, 0.14, 0.5 * height))
    s.cylinder(LAMP, foot, (x, y, z + 0.3 * height), (0.03, 0.03, 0.6 * height))
    bright = (rng.uniform(0.5, 1.6) if rng.random() < 0.55 else 0.0) if on is None else on
    _shade(s, rng, x, y, z + 0.6 * height, shade_d, 0.45 * height, bright)


def floor_lamp(s: Scene, rng: np.random.Generator, on: float | None = None) -> None:
    pole = METAL if rng.random() < 0.5 else DARK_METAL
    height = rng.uniform(1.45, 1.75)
    s.cylinder(LAMP, pole, (0, 0, 0.015), (0.28, 0.28, 0.03), taper=0.8)
    s.cylinder(LAMP, pole, (0, 0, height / 2), (0.025, 0.025, height))
    bright = (rng.uniform(0.8, 2.2) if rng.random() < 0.6 else 0.0) if on is None else on
    if rng.random() < 0.35:  # an uplighter
        s.cylinder(LAMP, pole, (0, 0, height + 0.06), (0.1, 0.1, 0.14), taper=3.4)
        if bright > 0:
            s.light((0, 0, height + 0.22), (0.1, 0.1, 0.04), scaled((1.0, 0.72, 0.42), bright))
        return
    _shade(s, rng, 0, 0, height - 0.12, rng.uniform(0.34, 0.46), rng.uniform(0.24, 0.34), bright)


def _shade(
    s: Scene, rng: np.random.Generator, x: float, y: float, z: float, wide: float, tall: float, bright: float
) -> None:
    color = choose(rng, ((236, 222, 194), (232, 228, 220), (214, 176, 128), (220, 200, 170)))
    paper = Material(color, scale=0.05, emission=1.6 * bright)
    s.cylinder(LAMP, paper, (x, y, z + tall / 2), (wide, wide, tall), taper=rng.uniform(0.5, 0.95), shadow=False)
    if bright > 0:
        s.light((x, y, z + tall / 2), (0.8 * wide, 0.8 * wide, tall), scaled((1.0, 0.74, 0.45), 0.55 * bright))


def ceiling_lamp(s: Scene, rng: np.random.Generator, brightness: float, panel: bool = False) -> None:
    """A lamp below the ceiling, which is at z = 0; adds its light. The dataset counts it as other prop."""
    rgb = scaled((1.0, 0.98, 0.92) if panel else (1.0, 0.86, 0.66), brightness)
    glow = Material((245, 240, 230), emission=2.6 * min(1.0, brightness))
    if panel:
        s.box(OTHER_PROP, glow, (0, 0, -0.01), (1.2, 0.3, 0.02), shadow=False)
        s.light((0, 0, -0.05), (1.1, 0.26, 0.02), rgb, (0.0, 0.0, -1.0))
        return
    s.ellipsoid(OTHER_PROP, glow, (0, 0, -0.05), (0.4, 0.4, 0.16), shadow=False)
    s.light((0, 0, -0.16), (0.3, 0.3, 0.06), rgb)


def plant(s: Scene, rng: np.random.Generator, x: float, y: float, z: float, small: bool = False) -> None:
    scale = 0.32 if small else rng.uniform(0.8, 1.3)
    pot = Material(choose(rng, ((160, 90, 60), (220, 216, 208), (70, 66, 62), (90, 110, 130))), gloss=0.1)
    s.cylinder(OTHER_PROP, pot, (x, y, z + 0.14 * scale), (0.22 * scale, 0.22 * scale, 0.28 * scale), taper=1.35)
    s.cylinder(OTHER_PROP, Material((60, 44, 32)), (x, y, z + 0.283 * scale), (0.27 * scale, 0.27 * scale, 0.01))
    green = vary(rng, (60, 96, 40), 12)
    for _ in range(14 if small else 30):
        angle, lean = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 1.1)
        length = rng.uniform(0.35, 0.8) * scale
        reach = 0.28 * scale + 0.45 * length
        leaf = Material(vary(rng, green, 10), gloss=0.06, scale=0.6)
        px, py, pz = np.sin(lean) * np.cos(angle), np.sin(lean) * np.sin(angle), np.cos(lean)
        middle = (x + px * 0.45 * length, y + py * 0.45 * length, z + 0.28 * scale + pz * (reach - 0.1 * scale))
        size = (0.12 * scale, 0.03 * scale, length)
        s.ellipsoid(OTHER_PROP, leaf, middle, size, yaw=angle + np.pi / 2, pitch=lean)


def bag(s: Scene, rng: np.random.Generator, x: float, y: float, z: float) -> None:
    color = Material(choose(rng, BRIGHT_COLORS), texture=tx.FABRIC, scale=0.5, bump=0.4)
    w, h = rng.uniform(0.26, 0.42), rng.uniform(0.28, 0.45)
    with s.at(x, y, z, rng.uniform(0, 3.1)):
        s.cushion(BAG, color, (0, 0, h / 2), (w, 0.2, h), 0.08, pitch=rng.uniform(0, 0.2))
        s.cushion(BAG, color, (0, 0.1, h * 0.35), (w * 0.7, 0.1, h * 0.45), 0.04)
        for sx in (-1, 1):
            s.cylinder(BAG, DARK_METAL.but(gloss=0.0), (sx * 0.06, 0, h + 0.05), (0.015, 0.015, 0.14), roll=sx * -0.4)


def waste_bin(s: Scene, rng: np.random.Generator, x: float, y: float) -> None:
    color = Material(choose(rng, ((50, 52, 56), (200, 198, 190), (110, 112, 116), (60, 80, 130))), gloss=0.15)
    s.cylinder(OTHER_PROP, color, (x, y, 0.16), (0.24, 0.24, 0.32), taper=1.25)


def cardboard_box(s: Scene, rng: np.random.Generator, x: float, y: float, z: float, scale: float = 1.0) -> float:
    w, d, h = rng.uniform(0.25, 0.55) * scale, rng.uniform(0.22, 0.42) * scale, rng.uniform(0.18, 0.42) * scale
    card = Material(choose(rng, BOX_COLORS), scale=0.25)
    with s.at(x, y, z, rng.normal(0, 0.4)):
        s.box(BOX, card, (0, 0, h / 2), (w, d, h))
        s.box(BOX, Material((196, 170, 128), gloss=0.15), (0, 0, h / 2), (0.05, d + 0.002, h + 0.002))
    return h


def clothes_pile(s: Scene, rng: np.random.Generator, x: float, y: float, z: float, size: float = 0.6) -> None:
    for _ in range(int(rng.integers(1, 4))):
        dx, dy = rng.normal(0, 0.15 * size, 2)
        tall = rng.uniform(0.12, 0.24)
        s.pile(
            CLOTHES,
            cloth(rng, rng.random() < 0.35),
            (x + dx, y + dy, z + tall / 2),
            (size * rng.uniform(0.6, 1.0), size * rng.uniform(0.5, 0.9), tall),
            yaw=rng.uniform(0, 3),
        )


def hanging_clothes(s: Scene, rng: np.random.Generator) -> None:
    """Coats on hooks on the wall."""
    s.box(OTHER_PROP, wood(rng), (0, 0.015, 1.7), (0.7, 0.03, 0.09))
    for k in range(int(rng.integers(2, 5))):
        fabric = Material(choose(rng, CLOTH_COLORS + BRIGHT_COLORS), texture=tx.FABRIC, scale=0.4, bump=0.6)
        drop = rng.uniform(0.6, 0.95)
        x = -0.27 + k * 0.18
        s.cylinder(CLOTHES, fabric, (x, 0.1, 1.68 - drop / 2), (0.28, 0.16, drop), taper=rng.uniform(0.35, 0.7))


def rug(s: Scene, rng: np.random.Generator, width: float, depth: float) -> None:
    kind = rng.random()
    a = choose(rng, CLOTH_COLORS)
    b = tone(rng, a) if rng.random() < 0.5 else choose(rng, CLOTH_COLORS)
    c = tone(rng, b) if rng.random() < 0.5 else choose(rng, CLOTH_COLORS)
    if kind < 0.65:
        stuff = Material(a, b, c, texture=tx.RUG, scale=rng.uniform(0.2, 0.5))
    elif kind < 0.85:
        stuff = Material(a, a, texture=tx.CARPET, scale=0.6)
    else:
        stuff = Material(a, b, texture=tx.STRIPES, scale=rng.uniform(0.08, 0.3))
    s.box(FLOOR_MAT, stuff, (0, 0, 0.006), (width, depth, 0.012), edge=0.01)


def book_stack(s: Scene, rng: np.random.Generator, x: float, y: float, z: float, label: int = BOOKS) -> None:
    for _ in range(int(rng.integers(1, 5))):
        thick = rng.uniform(0.015, 0.045)
        cover = Material(choose(rng, BRIGHT_COLORS), choose(rng, BRIGHT_COLORS), texture=tx.PLAIN, gloss=0.06)
        s.box(
            label,
            cover,
            (x, y, z + thick / 2),
            (rng.uniform(0.14, 0.2), rng.uniform(0.2, 0.27), thick - 0.001),
            yaw=rng.normal(0.0, 0.2),
            edge=0.004,
        )
        z += thick


def clutter(
    s: Scene, rng: np.random.Generator, x0: float, x1: float, y0: float, y1: float, z: float, count: int,
    kinds: tuple[str, ...],
) -> None:  # fmt: skip
    """Some small things (up to twice ``count``) on a surface at height z, which do not overlap."""
    taken: list[tuple[float, float, float]] = []
    if x1 <= x0 or y1 < y0:
        return
    for _ in range(2 * count):
        kind = kinds[rng.integers(len(kinds))]
        x, y = rng.uniform(x0, x1), rng.uniform(y0, y1)
        reach = {"paper": 0.05, "cup": 0.06, "bottle": 0.06, "vase": 0.1, "appliance": 0.2}.get(kind, 0.14)
        if any((x - a) ** 2 + (y - b) ** 2 < (reach + r) ** 2 for a, b, r in taken):
            continue
        taken.append((x, y, reach))
        _thing(s, rng, kind, x, y, z)


def _thing(s: Scene, rng: np.random.Generator, kind: str, x: float, y: float, z: float) -> None:
    shiny = Material(choose(rng, BRIGHT_COLORS), gloss=rng.uniform(0.05, 0.4))
    if kind == "books":
        book_stack(s, rng, x, y, z)
    elif kind == "paper":
        for k in range(int(rng.integers(1, 4))):
            s.box(
                PAPER,
                PAPER_WHITE,
                (x + rng.normal(0, 0.02), y + rng.normal(0, 0.02), z + 0.0015 + 0.002 * k),
                (0.21, 0.297, 0.002),
                yaw=rng.normal(0, 0.4),
            )
    elif kind == "cup":
        s.cylinder(OTHER_PROP, shiny, (x, y, z + 0.05), (0.07, 0.07, 0.1), taper=rng.uniform(0.95, 1.25))
    elif kind == "bottle":
        h, w = rng.uniform(0.14, 0.28), rng.uniform(0.05, 0.09)
        s.cylinder(OTHER_PROP, shiny, (x, y, z + 0.37 * h), (w, w, 0.74 * h))
        s.cylinder(OTHER_PROP, shiny, (x, y, z + 0.8 * h), (w, w, 0.14 * h), taper=0.4)
        s.cylinder(OTHER_PROP, Material(choose(rng, BRIGHT_COLORS)), (x, y, z + 0.93 * h), (0.4 * w, 0.4 * w, 0.14 * h))
    elif kind == "bowl":
        s.cylinder(OTHER_PROP, shiny, (x, y, z + 0.04), (0.12, 0.12, 0.08), taper=1.8)
        for _ in range(int(rng.integers(0, 4))):
            fruit = Material(choose(rng, ((190, 50, 40), (220, 180, 50), (120, 160, 50), (225, 130, 40))), gloss=0.1)
            s.ellipsoid(
                OTHER_PROP, fruit, (x + rng.normal(0, 0.035), y + rng.normal(0, 0.035), z + 0.1), (0.08, 0.08, 0.08)
            )
    elif kind == "vase":
        h = rng.uniform(0.14, 0.3)
        s.ellipsoid(OTHER_PROP, shiny, (x, y, z + 0.42 * h), (0.6 * h, 0.6 * h, 0.84 * h))
        s.cylinder(OTHER_PROP, shiny, (x, y, z + 0.88 * h), (0.2 * h, 0.2 * h, 0.26 * h), taper=1.4)
    elif kind == "box":
        cardboard_box(s, rng, x, y, z, 0.5)
    elif kind == "appliance":
        body = Material(choose(rng, ((30, 30, 32), (225, 224, 220), (150, 150, 152))), gloss=0.2)
        w, h = rng.uniform(0.2, 0.46), rng.uniform(0.18, 0.32)
        s.box(OTHER_PROP, body, (x, y, z + h / 2), (w, 0.28, h), edge=0.015)
        s.box(OTHER_PROP, BLACK_PLASTIC, (x - 0.06 * w, y + 0.141, z + h / 2), (0.6 * w, 0.004, 0.65 * h))
    elif kind == "towel":
        fabric = Material(choose(rng, CLOTH_COLORS), texture=tx.CARPET, scale=0.4, bump=0.3)
        s.cushion(TOWEL, fabric, (x, y, z + 0.03), (0.26, 0.16, 0.06), 0.025, yaw=rng.normal(0, 0.4))
    elif kind == "bag":
        bag(s, rng, x, y, z)
