"""Furniture put together from parts, labelled as NYU Depth V2 labels it.

Every function adds one piece to the scene in its current frame. Pieces that stand against a wall have the
middle of their back at the origin, x along the wall and y into the room; free-standing ones have their
middle at the origin and face +y. Lengths are metres. The 40-class ids follow the dataset's habits: a
headboard is other furniture, a computer monitor is another prop, books in a bookshelf mostly count as bookshelf.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lcr_seg_ros.sources.rooms import shading as tx
from lcr_seg_ros.sources.rooms.scene import Color, Material, Scene

WALL, FLOOR, CABINET, BED, CHAIR, SOFA, TABLE, DOOR, WINDOW, BOOKSHELF = range(1, 11)
PICTURE, COUNTER, BLINDS, DESK, SHELVES, CURTAIN, DRESSER, PILLOW, MIRROR, FLOOR_MAT = range(11, 21)
CLOTHES, CEILING, BOOKS, REFRIGERATOR, TELEVISION, PAPER, TOWEL, SHOWER_CURTAIN, BOX, WHITEBOARD = range(21, 31)
PERSON, NIGHT_STAND, TOILET, SINK, LAMP, BATHTUB, BAG, OTHER_STRUCTURE, OTHER_FURNITURE, OTHER_PROP = range(31, 41)

METAL = Material((150, 150, 152), gloss=0.5)
DARK_METAL = Material((40, 40, 42), gloss=0.4)
BLACK_PLASTIC = Material((22, 22, 24), gloss=0.35, scale=0.2)
WHITE_PLASTIC = Material((225, 225, 220), gloss=0.25)
PORCELAIN = Material((240, 238, 232), gloss=0.5, scale=0.02)
PAPER_WHITE = Material((238, 236, 228), (120, 118, 115), texture=tx.PAPER)
MIRROR_GLASS = Material((60, 64, 66), mirror=0.9)

WOODS: tuple[tuple[Color, Color], ...] = (
    ((196, 150, 98), (160, 112, 66)),  # oak
    ((222, 190, 142), (200, 160, 110)),  # maple, pine
    ((150, 84, 48), (110, 54, 30)),  # cherry
    ((98, 58, 36), (64, 36, 24)),  # walnut
    ((62, 36, 28), (40, 24, 20)),  # mahogany
    ((232, 228, 218), (222, 216, 204)),  # white lacquer
    ((48, 42, 40), (34, 30, 30)),  # black-brown
    ((178, 124, 74), (140, 90, 50)),  # teak
)

CLOTH_COLORS: tuple[Color, ...] = (
    (150, 130, 105), (190, 178, 158), (112, 84, 64), (86, 60, 44), (120, 32, 34), (150, 40, 40), (52, 62, 88),
    (70, 96, 140), (96, 112, 84), (128, 128, 132), (64, 64, 68), (36, 36, 40), (205, 196, 182), (222, 218, 210),
    (180, 120, 60), (134, 110, 140), (160, 160, 96), (196, 140, 140),
)  # fmt: skip

BRIGHT_COLORS: tuple[Color, ...] = (
    (160, 52, 46), (52, 72, 126), (204, 172, 74), (58, 108, 76), (226, 222, 212), (34, 34, 38), (136, 92, 60),
    (92, 52, 84), (192, 112, 60), (86, 132, 152), (122, 122, 120), (198, 192, 176), (114, 44, 54), (40, 54, 72),
    (214, 208, 192), (84, 78, 70), (150, 140, 116), (176, 170, 160),
)  # fmt: skip

BOX_COLORS: tuple[Color, ...] = ((178, 138, 92), (168, 126, 80), (190, 150, 104), (225, 220, 210), (90, 110, 150))


def choose(rng: np.random.Generator, options: tuple[Color, ...]) -> Color:
    """One of the colours, a little varied."""
    return vary(rng, options[rng.integers(len(options))])


def vary(rng: np.random.Generator, color: Color, spread: float = 10.0) -> Color:
    shift = rng.normal(0, 0.6 * spread) + rng.normal(0, 0.5 * spread, 3)
    r, g, b = np.clip(np.array(color) + shift, 4, 252)
    return float(r), float(g), float(b)


def tone(rng: np.random.Generator, color: Color) -> Color:
    """A clearly lighter or darker relative of a colour."""
    factor = rng.uniform(0.45, 0.75) if sum(color) > 330 or rng.random() < 0.4 else rng.uniform(1.3, 1.8)
    r, g, b = np.clip(np.array(color) * factor + rng.normal(0, 6, 3), 8, 245)
    return float(r), float(g), float(b)


@dataclass(frozen=True)
class Style:
    """Materials that the pieces of one room share, so that they look bought together."""

    wood: Material
    wood2: Material
    cloth: Material
    cloth2: Material
    trim: Material
    metal: Material

    @classmethod
    def pick(cls, rng: np.random.Generator) -> Style:
        trim = vary(rng, (232, 229, 220) if rng.random() < 0.75 else (120, 78, 50), 8)
        return cls(
            wood=wood(rng),
            wood2=wood(rng),
            cloth=cloth(rng),
            cloth2=cloth(rng, patterned=rng.random() < 0.6),
            trim=Material(trim, gloss=0.08, scale=0.05),
            metal=METAL if rng.random() < 0.5 else DARK_METAL,
        )


def wood(rng: np.random.Generator) -> Material:
    light, dark = WOODS[rng.integers(len(WOODS))]
    return Material(vary(rng, light, 8), vary(rng, dark, 6), texture=tx.WOOD, scale=0.7, gloss=rng.uniform(0.02, 0.14))


def cloth(rng: np.random.Generator, patterned: bool = False) -> Material:
    base = choose(rng, CLOTH_COLORS)
    if not patterned:
        return Material(base, texture=tx.FABRIC, scale=rng.uniform(0.3, 0.6), bump=rng.uniform(0.15, 0.4))
    texture = (tx.STRIPES, tx.DAMASK, tx.PATCHWORK, tx.DAMASK)[rng.integers(4)]
    scale = rng.uniform(0.08, 0.28)
    # most patterns stay within one family of tones
    second = tone(rng, base) if rng.random() < 0.6 else choose(rng, CLOTH_COLORS)
    third = tone(rng, base) if rng.random() < 0.5 else choose(rng, CLOTH_COLORS + BRIGHT_COLORS)
    return Material(base, second, third, texture=texture, scale=scale, bump=rng.uniform(0.15, 0.4))


def leather(rng: np.random.Generator) -> Material:
    color = choose(rng, ((44, 34, 30), (96, 56, 36), (140, 92, 58), (28, 28, 30), (90, 30, 26)))
    return Material(color, scale=0.4, bump=0.25, gloss=0.12)


# --- seating ---------------------------------------------------------------------------------------------------


def chair(s: Scene, rng: np.random.Generator, style: Style) -> None:
    """A dining or side chair of 0.45 x 0.48, facing +y."""
    w, d, seat, top = 0.44, 0.46, 0.45, rng.uniform(0.86, 1.02)
    frame = style.wood
    leg = rng.uniform(0.03, 0.045)
    for sx in (-1, 1):
        s.box(CHAIR, frame, (sx * (w / 2 - leg / 2), d / 2 - leg / 2, seat / 2), (leg, leg, seat))
        s.box(CHAIR, frame, (sx * (w / 2 - leg / 2), -d / 2 + leg / 2, seat / 2), (leg, leg, seat))
        s.box(
            CHAIR, frame, (sx * (w / 2 - leg / 2), -d / 2 - 0.02, (seat + top) / 2), (leg, leg, top - seat), pitch=0.12
        )
        s.box(CHAIR, frame, (sx * (w / 2 - leg / 2), 0, 0.2), (0.02, d - leg, 0.025))
    s.box(CHAIR, frame, (0, 0, seat - 0.04), (w, d, 0.05))
    if rng.random() < 0.6:
        s.cushion(CHAIR, style.cloth2, (0, 0.01, seat), (w - 0.02, d - 0.04, 0.06), 0.028)
    if rng.random() < 0.35:
        s.cushion(
            CHAIR, style.cloth2, (0, -d / 2 - 0.02, seat + 0.27), (w - 0.06, 0.05, top - seat - 0.12), 0.024, pitch=0.12
        )
        return
    s.box(CHAIR, frame, (0, -d / 2 - 0.045, top - 0.05), (w, 0.025, 0.1), pitch=0.12)
    if rng.random() < 0.5:
        for k in range(5):
            s.box(
                CHAIR,
                frame,
                ((k - 2) * 0.075, -d / 2 - 0.02, (seat + top) / 2),
                (0.02, 0.015, top - seat - 0.05),
                pitch=0.12,
            )
    else:
        for k in range(3):
            z = seat + 0.12 + k * (top - seat - 0.2) / 3
            s.box(CHAIR, frame, (0, -d / 2 - 0.02, z), (w - leg, 0.018, 0.05), pitch=0.12)


def office_chair(s: Scene, rng: np.random.Generator, style: Style) -> None:
    """A swivel chair, facing +y."""
    fabric = leather(rng) if rng.random() < 0.4 else Material(
        choose(rng, ((30, 30, 34), (40, 44, 60), (120, 30, 36), (70, 74, 80), (34, 60, 90))), texture=tx.FABRIC, scale=0.4, bump=0.15
    )  # fmt: skip
    for k in range(5):
        angle = k * 2 * np.pi / 5 + 0.3
        x, y = 0.15 * np.sin(angle), -0.15 * np.cos(angle)
        s.box(CHAIR, BLACK_PLASTIC, (x, y, 0.085), (0.045, 0.32, 0.04), yaw=angle, pitch=0.08)
        s.ellipsoid(CHAIR, BLACK_PLASTIC, (2 * x, 2 * y, 0.03), (0.06, 0.06, 0.06))
    s.cylinder(CHAIR, DARK_METAL, (0, 0, 0.25), (0.06, 0.06, 0.34))
    s.cushion(CHAIR, fabric, (0, 0.02, 0.47), (0.5, 0.5, 0.1), 0.045)
    s.box(CHAIR, BLACK_PLASTIC, (0, -0.26, 0.6), (0.08, 0.03, 0.36), pitch=0.1)
    tall = rng.uniform(0.42, 0.66)
    s.cushion(CHAIR, fabric, (0, -0.27 - 0.05 * tall, 0.58 + tall / 2), (0.46, 0.09, tall), 0.042, pitch=0.16)
    if rng.random() < 0.75:
        for sx in (-1, 1):
            s.box(CHAIR, BLACK_PLASTIC, (sx * 0.28, -0.02, 0.58), (0.03, 0.04, 0.2))
            s.cushion(CHAIR, BLACK_PLASTIC, (sx * 0.28, 0.0, 0.69), (0.06, 0.26, 0.035), 0.015)


def armchair(s: Scene, rng: np.random.Generator, style: Style, fabric: Material | None = None) -> None:
    """An upholstered chair of 0.85 x 0.85, facing +y; the dataset calls it a chair."""
    _upholstered(
        s, rng, CHAIR, rng.uniform(0.78, 0.92), 1, fabric or style.cloth2, pillows=rng.random() < 0.4, style=style
    )


def sofa(s: Scene, rng: np.random.Generator, style: Style, width: float, fabric: Material | None = None) -> None:
    """A sofa ``width`` x 0.92 with its back at the origin."""
    with s.at(0, 0.46):
        _upholstered(s, rng, SOFA, width, max(2, round(width / 0.75)), fabric or style.cloth, pillows=True, style=style)


def _upholstered(
    s: Scene,
    rng: np.random.Generator,
    label: int,
    width: float,
    seats: int,
    fabric: Material,
    pillows: bool,
    style: Style,
) -> None:
    depth, seat, back, arm_w = 0.9, 0.43, rng.uniform(0.78, 0.92), rng.uniform(0.14, 0.24)
    arm_h = rng.uniform(0.56, 0.66)
    soft = rng.uniform(0.035, 0.07)
    s.cushion(label, fabric, (0, 0, 0.2), (width - 0.02, depth - 0.06, 0.26), 0.03)
    for sx in (-1, 1):
        s.cushion(
            label, fabric, (sx * (width - arm_w) / 2, 0.02, arm_h / 2 + 0.03), (arm_w, depth - 0.06, arm_h - 0.04), soft
        )
        for sy in (-1, 1):
            s.box(label, style.wood, (sx * (width / 2 - 0.08), sy * (depth / 2 - 0.1), 0.04), (0.06, 0.06, 0.08))
    inner = width - 2 * arm_w
    s.cushion(label, fabric, (0, -depth / 2 + 0.11, back / 2 + 0.05), (width - 0.04, 0.2, back - 0.06), soft)
    each = inner / seats
    for k in range(seats):
        x = -inner / 2 + (k + 0.5) * each
        s.cushion(
            label, fabric, (x, 0.09, seat - 0.05), (each - 0.01, depth - 0.26, 0.17), 0.05, roll=rng.normal(0, 0.01)
        )
        s.cushion(label, fabric, (x, -depth / 2 + 0.27, seat + 0.26), (each - 0.02, 0.17, 0.42), 0.07, pitch=0.2)
    if pillows:
        for _ in range(rng.integers(1, 2 + seats)):
            size = rng.uniform(0.36, 0.46)
            x = rng.choice([-1, 1]) * (inner / 2 - size / 2 - 0.02) * rng.uniform(0.6, 1.0)
            cover = cloth(rng, patterned=rng.random() < 0.5)
            s.pillow(
                PILLOW, cover, (x, -0.02 + 0.06 * rng.random(), seat + 0.04 + size / 2), (size, 0.17, size),
                pitch=rng.uniform(0.25, 0.5), roll=rng.normal(0, 0.12), yaw=rng.normal(0, 0.3),
            )  # fmt: skip
    if label == SOFA and rng.random() < 0.25:
        x = rng.uniform(-0.3, 0.3) * inner
        s.pile(CLOTHES, cloth(rng, True), (x, 0.1, seat + 0.1), (0.6, 0.5, 0.13), yaw=rng.uniform(0, 3))


def ottoman(s: Scene, rng: np.random.Generator, style: Style) -> None:
    s.cushion(SOFA if rng.random() < 0.3 else OTHER_FURNITURE, style.cloth, (0, 0, 0.22), (0.6, 0.5, 0.38), 0.05)


# --- sleeping --------------------------------------------------------------------------------------------------


def bed(s: Scene, rng: np.random.Generator, style: Style, width: float) -> None:
    """A bed ``width`` x 2.1, head at the origin, with pillows, cover and sometimes a throw."""
    length, top = 2.02, rng.uniform(0.5, 0.66)
    sheet = Material(vary(rng, (225, 222, 214)), texture=tx.FABRIC, scale=0.25, bump=0.4)
    cover = cloth(rng, patterned=rng.random() < 0.65).but(bump=rng.uniform(0.3, 0.55))
    if rng.random() < 0.85:
        head = rng.uniform(0.85, 1.25)
        if rng.random() < 0.6:
            s.box(OTHER_FURNITURE, style.wood, (0, 0.04, head / 2), (width + 0.06, 0.06, head))
            s.box(OTHER_FURNITURE, style.wood, (0, 0.045, head), (width + 0.12, 0.09, 0.05))
            for k in range(-1, 2):
                s.box(
                    OTHER_FURNITURE,
                    style.wood.but(texture=tx.PANEL),
                    (k * width / 3, 0.075, head - 0.27),
                    (width / 3 - 0.05, 0.012, 0.38),
                )
        else:
            s.cushion(
                OTHER_FURNITURE,
                leather(rng) if rng.random() < 0.4 else style.cloth2,
                (0, 0.05, head / 2 + 0.1),
                (width + 0.06, 0.1, head - 0.1),
                0.04,
            )
    skirt = (
        Material(choose(rng, CLOTH_COLORS), texture=tx.FABRIC, scale=0.4, bump=0.3)
        if rng.random() < 0.4
        else style.wood
    )
    s.box(BED, skirt, (0, 0.1 + length / 2, 0.19), (width - 0.02, length - 0.02, 0.24))
    for sx in (-1, 1):
        for y in (0.2, length):
            s.box(BED, style.wood, (sx * (width / 2 - 0.08), y, 0.04), (0.07, 0.07, 0.1))
    if rng.random() < 0.35:
        s.box(BED, style.wood, (0, 0.12 + length, 0.32), (width + 0.04, 0.05, 0.6))
    s.cushion(BED, sheet, (0, 0.1 + length / 2, top - 0.14), (width, length, 0.26), 0.06)
    drop = rng.uniform(0.1, 0.32)
    fold = rng.uniform(0.45, 0.75)
    s.cushion(
        BED,
        cover,
        (0, 0.1 + fold + (length - fold) / 2 + 0.02, top - drop / 2),
        (width + 0.07, length - fold + 0.04, drop + 0.05),
        0.05,
    )
    if rng.random() < 0.6:
        s.cushion(
            BED, sheet if rng.random() < 0.6 else cover, (0, 0.12 + fold, top + 0.02), (width + 0.06, 0.24, 0.06), 0.028
        )
    if rng.random() < 0.4:
        s.cushion(BED, cloth(rng, True), (0, length - 0.25, top - 0.08), (width + 0.1, 0.5, 0.26), 0.05)
    case = sheet if rng.random() < 0.6 else cover
    count = 1 if width < 1.15 else 2
    for k in range(count):
        x = (k - (count - 1) / 2) * width * 0.48
        size = min(0.68, width / count - 0.06)
        s.pillow(
            PILLOW,
            case,
            (x, 0.36, top + 0.1),
            (size, 0.17, 0.46),
            pitch=rng.uniform(0.7, 1.35),
            yaw=rng.normal(0, 0.08),
        )
        if rng.random() < 0.55:
            other = cloth(rng, True)
            s.pillow(
                PILLOW,
                other,
                (x * 0.8, 0.56, top + 0.2),
                (0.46, 0.16, 0.42),
                pitch=rng.uniform(0.4, 0.8),
                yaw=rng.normal(0, 0.2),
            )
    if rng.random() < 0.35:
        s.pile(
            CLOTHES,
            cloth(rng, rng.random() < 0.4),
            (rng.uniform(-0.25, 0.25) * width, rng.uniform(1.1, 1.6), top + 0.13),
            (0.6, 0.5, 0.18),
            yaw=rng.uniform(0, 3),
        )
    if rng.random() < 0.2:
        _book_stack(s, rng, rng.uniform(-0.2, 0.2) * width, 1.3, top + 0.06)


def night_stand(s: Scene, rng: np.random.Generator, style: Style) -> float:
    """A night stand of 0.5 x 0.42; returns the height of its top."""
    height = rng.uniform(0.5, 0.66)
    drawers(s, NIGHT_STAND, style.wood, style.metal, 0.48, 0.4, height, columns=1, rows=2)
    return height


# --- tables ----------------------------------------------------------------------------------------------------


def table(
    s: Scene, rng: np.random.Generator, style: Style, width: float, depth: float, height: float, label: int = TABLE
) -> None:
    """A table top on four legs, or for small round ones on a column, in the middle of the frame."""
    kind = rng.random()
    top = style.wood if kind < 0.8 else Material(vary(rng, (60, 62, 64)), gloss=0.35, scale=0.1)
    thick = rng.uniform(0.025, 0.045)
    if label == TABLE and kind > 0.86 and abs(width - depth) < 0.25:
        s.cylinder(label, top, (0, 0, height - thick / 2), (width, width, thick))
        s.cylinder(label, style.wood, (0, 0, height / 2), (0.09, 0.09, height - thick))
        s.cylinder(label, style.wood, (0, 0, 0.03), (0.5, 0.5, 0.06), taper=0.5)
        return
    s.box(label, top, (0, 0, height - thick / 2), (width, depth, thick))
    leg = rng.uniform(0.04, 0.085)
    for sx in (-1, 1):
        for sy in (-1, 1):
            at = (sx * (width / 2 - leg), sy * (depth / 2 - leg), (height - thick) / 2)
            if kind < 0.6:
                s.box(label, style.wood, at, (leg, leg, height - thick))
            else:
                s.cylinder(label, style.wood, at, (leg, leg, height - thick), taper=1.5)
    for sy in (-1, 1):
        s.box(label, style.wood, (0, sy * (depth / 2 - leg), height - thick - 0.045), (width - 2 * leg, 0.022, 0.09))
    for sx in (-1, 1):
        s.box(label, style.wood, (sx * (width / 2 - leg), 0, height - thick - 0.045), (0.022, depth - 2 * leg, 0.09))
    if label == TABLE and height < 0.55 and rng.random() < 0.5:
        s.box(label, style.wood, (0, 0, 0.14), (width - 2 * leg, depth - 2 * leg, 0.02))


def dining_set(s: Scene, rng: np.random.Generator, style: Style, width: float, depth: float, seats: int) -> None:
    """A dining table with chairs around it and a few things on it, in the middle of the frame."""
    table(s, rng, style, width, depth, 0.75)
    spots = [
        (x * width, side * (depth / 2 + rng.uniform(0.02, 0.2)), np.pi if side > 0 else 0.0)
        for x in (-0.26, 0.26)
        for side in (-1, 1)
    ]
    spots += [(side * (width / 2 + rng.uniform(0.05, 0.2)), 0.0, side * np.pi / 2) for side in (-1, 1)]
    for x, y, yaw in spots[:seats]:
        with s.at(x, y, 0, yaw + rng.normal(0, 0.12)):
            chair(s, rng, style)
    if rng.random() < 0.5:
        plant(s, rng, 0, 0, 0.75, small=True)
    clutter(
        s,
        rng,
        -width * 0.42,
        width * 0.42,
        -depth * 0.38,
        depth * 0.38,
        0.75,
        int(rng.integers(2, 6)),
        ("cup", "bowl", "paper", "bottle", "books", "box"),
    )


def desk(s: Scene, rng: np.random.Generator, style: Style, width: float) -> None:
    """A desk ``width`` x 0.7 with its back at the origin, a computer and papers on it, and its chair."""
    depth, height = rng.uniform(0.62, 0.75), 0.74
    s.box(DESK, style.wood, (0, depth / 2, height - 0.016), (width, depth, 0.032))
    sides = rng.random()
    for sx in (-1, 1):
        if (sides < 0.65 and sx > 0) or sides < 0.25:
            with s.at(sx * (width / 2 - 0.23), 0.02):
                drawers(s, DESK, style.wood, style.metal, 0.42, depth - 0.08, height - 0.04, columns=1, rows=3)
        else:
            s.box(
                DESK,
                style.wood,
                (sx * (width / 2 - 0.02), depth / 2, height / 2 - 0.016),
                (0.03, depth - 0.06, height - 0.032),
            )
    s.box(DESK, style.wood, (0, 0.04, height - 0.25), (width - 0.06, 0.02, 0.4))
    x = rng.uniform(-0.15, 0.15) * width
    if rng.random() < 0.75:
        with s.at(x, 0.24, height, rng.normal(0, 0.15)):
            monitor(s, rng)
        s.box(
            OTHER_PROP,
            BLACK_PLASTIC if rng.random() < 0.6 else WHITE_PLASTIC,
            (x, 0.47, height + 0.012),
            (0.43, 0.15, 0.022),
        )
        s.ellipsoid(OTHER_PROP, BLACK_PLASTIC, (x + 0.3, 0.47, height + 0.015), (0.06, 0.1, 0.04))
    else:
        with s.at(x, 0.35, height, rng.normal(0, 0.25)):
            laptop(s, rng)
    side = rng.choice([-1, 1])
    if rng.random() < 0.5:
        table_lamp(s, rng, -side * (width / 2 - 0.18), 0.2, height)
    low, high = sorted((side * 0.28, side * (width / 2 - 0.12)))
    clutter(
        s,
        rng,
        low,
        high,
        0.12,
        depth - 0.12,
        height,
        int(rng.integers(2, 6)),
        ("paper", "books", "cup", "box", "bottle", "paper"),
    )
    clutter(
        s,
        rng,
        -width / 2 + 0.1,
        width / 2 - 0.1,
        depth - 0.22,
        depth - 0.1,
        height,
        int(rng.integers(1, 4)),
        ("paper", "paper", "cup"),
    )
    if rng.random() < 0.9:
        with s.at(x + rng.uniform(-0.2, 0.2), depth + rng.uniform(0.02, 0.3), 0, np.pi + rng.normal(0, 0.5)):
            office_chair(s, rng, style)


# --- storage ---------------------------------------------------------------------------------------------------


def drawers(
    s: Scene, label: int, material: Material, metal: Material, width: float, depth: float, height: float, columns: int,
    rows: int, doors: bool = False,
) -> None:  # fmt: skip
    """A body with panelled drawers or doors in front, its back at the origin."""
    s.box(label, material, (0, depth / 2, height / 2 + 0.02), (width - 0.01, depth - 0.03, height - 0.04))
    s.box(label, material, (0, depth / 2, height - 0.012), (width + 0.02, depth + 0.01, 0.024))
    panel = material.but(texture=tx.PANEL, scale=1.0)
    w, h = width / columns, (height - 0.1) / rows
    for i in range(columns):
        for j in range(rows):
            x, z = -width / 2 + (i + 0.5) * w, 0.07 + (j + 0.5) * h
            s.box(label, panel, (x, depth - 0.01, z), (w - 0.012, 0.02, h - 0.012))
            if doors:
                s.box(
                    label,
                    metal,
                    (x + (0.5 - i % 2) * (w - 0.09), depth + 0.012, z + 0.1 * h),
                    (0.012, 0.02, min(0.12, 0.3 * h)),
                )
            else:
                s.box(label, metal, (x, depth + 0.012, z), (min(0.12, 0.4 * w), 0.02, 0.014))


def dresser(s: Scene, rng: np.random.Generator, style: Style, width: float) -> float:
    """A chest of drawers ``width`` x 0.5; returns the height of its top."""
    height = rng.uniform(0.76, 0.95) if width > 1.0 else rng.uniform(0.95, 1.3)
    drawers(
        s,
        DRESSER,
        style.wood,
        style.metal,
        width,
        0.48,
        height,
        columns=2 if width > 1.0 else 1,
        rows=3 if width > 1.0 else 5,
    )
    return height


def wardrobe(s: Scene, rng: np.random.Generator, style: Style, width: float) -> None:
    drawers(
        s,
        CABINET,
        style.wood,
        style.metal,
        width,
        0.58,
        rng.uniform(1.85, 2.15),
        columns=2 + (width > 1.3),
        rows=1,
        doors=True,
    )


def filing_cabinet(s: Scene, rng: np.random.Generator) -> float:
    height = rng.uniform(0.7, 1.32)
    color = choose(rng, ((170, 168, 160), (60, 60, 64), (200, 192, 172), (110, 114, 118)))
    drawers(
        s,
        CABINET,
        Material(color, gloss=0.12, scale=0.05),
        METAL,
        0.46,
        0.6,
        height,
        columns=1,
        rows=max(2, round(height / 0.33)),
    )
    return height


def bookshelf(s: Scene, rng: np.random.Generator, style: Style, width: float, height: float) -> None:
    """Boards with rows of books and a few other things; depth 0.3."""
    depth, board = 0.3, 0.022
    frame = style.wood2
    for sx in (-1, 1):
        s.box(BOOKSHELF, frame, (sx * (width - board) / 2, depth / 2, height / 2), (board, depth, height))
    s.box(BOOKSHELF, frame, (0, 0.008, height / 2), (width, 0.012, height))
    shelves = max(2, round((height - 0.08) / 0.34))
    gap = (height - 0.09) / shelves
    for k in range(shelves + 1):
        s.box(BOOKSHELF, frame, (0, depth / 2, 0.08 + k * gap - board / 2), (width - 2 * board, depth, board))
    s.box(BOOKSHELF, frame, (0, depth - 0.02, 0.04), (width - 2 * board, 0.02, 0.08))
    # annotators mark some rows of books by themselves and leave most of them to the bookshelf
    by_itself = rng.random() < 0.2
    for k in range(shelves):
        z, room = 0.08 + k * gap, gap - board
        x, end = -width / 2 + board + 0.01, width / 2 - board - 0.01
        label = BOOKS if by_itself and rng.random() < 0.5 else BOOKSHELF
        if rng.random() < 0.12:
            s.box(
                BOX,
                Material(choose(rng, BOX_COLORS)),
                (rng.uniform(-0.15, 0.15), depth / 2 + 0.02, z + 0.4 * room),
                (0.3, 0.2, 0.8 * room),
            )
            continue
        while x < end - 0.03:
            if rng.random() < 0.06:
                x += rng.uniform(0.05, 0.3)
                continue
            if rng.random() < 0.05 and x < end - 0.26:
                _book_stack(s, rng, x + 0.12, depth - 0.16, z, label)
                x += 0.26
                continue
            x = _upright_books(s, rng, label, x, end, depth, z, room)
    if rng.random() < 0.5 and height < 2.0:
        clutter(
            s, rng, -width / 2 + 0.1, width / 2 - 0.1, 0.08, depth - 0.08, height, 3, ("box", "books", "bottle", "vase")
        )


def _upright_books(
    s: Scene, rng: np.random.Generator, label: int, x: float, end: float, depth: float, z: float, room: float
) -> float:
    """A run of books that look alike; returns where it ends."""
    set_color, tall = choose(rng, BRIGHT_COLORS), rng.uniform(0.62, 0.95) * room
    uniform = rng.random() < 0.3
    for _ in range(int(rng.integers(3, 12))):
        thick = rng.uniform(0.018, 0.05)
        if x + thick > end:
            return end
        color = set_color if uniform else choose(rng, BRIGHT_COLORS)
        cover = Material(color, choose(rng, BRIGHT_COLORS), texture=tx.BOOK, gloss=0.05)
        h = tall if uniform else rng.uniform(0.6, 0.95) * room
        deep = rng.uniform(0.15, 0.23)
        s.box(
            label,
            cover,
            (x + thick / 2, depth - 0.02 - rng.uniform(0, 0.03) - deep / 2, z + h / 2),
            (thick - 0.001, deep, h),
            edge=0.004,
        )
        x += thick
    return x


def _book_stack(s: Scene, rng: np.random.Generator, x: float, y: float, z: float, label: int = BOOKS) -> None:
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


def wall_shelves(s: Scene, rng: np.random.Generator, style: Style, width: float, z: float, rows: int) -> None:
    """Boards on the wall with things on them."""
    for k in range(rows):
        height = z + 0.36 * k
        s.box(SHELVES, style.wood2, (0, 0.13, height), (width, 0.25, 0.025))
        for sx in (-0.4, 0.4):
            s.box(SHELVES, style.metal, (sx * width, 0.06, height - 0.06), (0.02, 0.11, 0.1))
        clutter(
            s,
            rng,
            -width / 2 + 0.08,
            width / 2 - 0.08,
            0.08,
            0.18,
            height + 0.013,
            max(2, int(width * 4.5)),
            ("books", "box", "bottle", "cup", "vase", "bowl"),
        )


def shelf_rack(s: Scene, rng: np.random.Generator, style: Style, width: float, height: float) -> None:
    """An open rack with boxes and household goods; depth 0.4."""
    frame = style.wood2 if rng.random() < 0.5 else style.metal
    for sx in (-1, 1):
        for y in (0.02, 0.38):
            s.box(SHELVES, frame, (sx * (width / 2 - 0.02), y, height / 2), (0.035, 0.035, height))
    rows = max(3, round(height / 0.42))
    for k in range(rows):
        z = 0.12 + k * (height - 0.15) / (rows - 1)
        s.box(SHELVES, frame, (0, 0.2, z), (width, 0.4, 0.025))
        if k < rows - 1 or rng.random() < 0.6:
            clutter(
                s,
                rng,
                -width / 2 + 0.12,
                width / 2 - 0.12,
                0.1,
                0.3,
                z + 0.013,
                int(width * 5),
                ("box", "box", "bottle", "books", "bowl", "vase", "bag"),
            )


# --- kitchen and bathroom --------------------------------------------------------------------------------------


def kitchen_run(
    s: Scene,
    rng: np.random.Generator,
    style: Style,
    width: float,
    sink_at: float | None,
    stove_at: float | None,
    upper: bool,
    top: Material,
    front: Material,
) -> None:
    """Base cabinets with a worktop, optional sink, stove and wall cabinets; ``width`` x 0.62."""
    depth, height = 0.62, 0.9
    s.box(CABINET, DARK_METAL, (0, depth / 2 - 0.05, 0.05), (width, depth - 0.12, 0.1))
    s.box(CABINET, front.but(texture=tx.WOOD), (0, depth / 2 - 0.01, 0.48), (width, depth - 0.04, 0.78))
    s.box(COUNTER, top, (0, depth / 2 + 0.01, height - 0.02), (width + 0.01, depth + 0.02, 0.04))
    s.box(COUNTER, top, (0, 0.012, height + 0.05), (width, 0.024, 0.1))
    panel = front.but(texture=tx.PANEL, scale=1.0)
    n = max(1, round(width / 0.48))
    w = width / n
    for i in range(n):
        x = -width / 2 + (i + 0.5) * w
        if stove_at is not None and abs(x - stove_at) < 0.5 * w + 0.01:
            continue
        s.box(CABINET, panel, (x, depth - 0.02, 0.37), (w - 0.014, 0.022, 0.5))
        s.box(CABINET, panel, (x, depth - 0.02, 0.745), (w - 0.014, 0.022, 0.2))
        s.box(CABINET, style.metal, (x + (0.5 - i % 2) * (w - 0.1), depth + 0.002, 0.53), (0.012, 0.02, 0.11))
        s.box(CABINET, style.metal, (x, depth + 0.002, 0.745), (0.12, 0.02, 0.012))
    if stove_at is not None:
        body = WHITE_PLASTIC if rng.random() < 0.4 else METAL
        s.box(OTHER_FURNITURE, body, (stove_at, depth / 2 + 0.015, 0.455), (0.6, depth + 0.03, 0.91))
        s.box(OTHER_FURNITURE, BLACK_PLASTIC, (stove_at, depth / 2 + 0.02, 0.915), (0.58, depth - 0.02, 0.012))
        s.box(OTHER_FURNITURE, BLACK_PLASTIC.but(gloss=0.5), (stove_at, depth + 0.032, 0.48), (0.44, 0.006, 0.3))
        s.box(OTHER_FURNITURE, METAL, (stove_at, depth + 0.06, 0.7), (0.5, 0.02, 0.02))
        s.box(OTHER_FURNITURE, body, (stove_at, 0.05, 0.99), (0.6, 0.06, 0.16))
        for sx in (-0.14, 0.14):
            for y in (0.2, 0.46):
                s.cylinder(OTHER_FURNITURE, DARK_METAL, (stove_at + sx, y, 0.925), (0.18, 0.18, 0.012))
            s.cylinder(
                OTHER_FURNITURE,
                BLACK_PLASTIC,
                (stove_at + sx, depth + 0.045, 0.82),
                (0.04, 0.04, 0.03),
                pitch=np.pi / 2,
            )
        if rng.random() < 0.7:
            s.cylinder(
                OTHER_PROP,
                METAL if rng.random() < 0.5 else Material(choose(rng, BRIGHT_COLORS), gloss=0.3),
                (stove_at - 0.14, 0.46, 0.99),
                (0.22, 0.22, 0.12),
            )
    if sink_at is not None:
        s.box(SINK, METAL, (sink_at, depth / 2 + 0.02, height + 0.004), (0.6, 0.44, 0.008))
        for sx in (-0.14, 0.14):
            s.cushion(
                SINK,
                METAL.but(color=(78, 78, 80)),
                (sink_at + sx, depth / 2 + 0.02, height + 0.006),
                (0.25, 0.36, 0.012),
                0.004,
            )
        s.cylinder(SINK, METAL, (sink_at, 0.12, height + 0.13), (0.03, 0.03, 0.26))
        s.cylinder(SINK, METAL, (sink_at, 0.2, height + 0.25), (0.024, 0.024, 0.2), pitch=np.pi / 2)
    if upper:
        low, high = 1.42, rng.uniform(2.05, 2.25)
        for i in range(n):
            x = -width / 2 + (i + 0.5) * w
            if sink_at is not None and abs(x - sink_at) < 0.5:
                continue
            bottom = low
            if stove_at is not None and abs(x - stove_at) < 0.5 * w + 0.01:
                bottom = 1.75
                s.box(OTHER_STRUCTURE, METAL, (x, 0.24, 1.68), (w, 0.46, 0.14))
            s.box(CABINET, front.but(texture=tx.WOOD), (x, 0.165, (bottom + high) / 2), (w, 0.31, high - bottom))
            s.box(CABINET, panel, (x, 0.33, (bottom + high) / 2), (w - 0.014, 0.022, high - bottom - 0.02))
            s.box(CABINET, style.metal, (x + (0.5 - i % 2) * (w - 0.1), 0.352, bottom + 0.12), (0.012, 0.02, 0.1))
    for x0, x1 in _free_spans(width, [v for v in (sink_at, stove_at) if v is not None], 0.34):
        clutter(
            s,
            rng,
            x0,
            x1,
            0.12,
            0.45,
            height,
            max(1, int((x1 - x0) * 4.5)),
            ("bottle", "bowl", "box", "cup", "appliance", "towel", "vase", "paper"),
        )


def _free_spans(width: float, taken: list[float], half: float) -> list[tuple[float, float]]:
    """Parts of -width/2..width/2 that are farther than ``half`` from everything taken."""
    spans, start = [], -width / 2 + 0.08
    for x in sorted(taken):
        if x - half > start + 0.15:
            spans.append((start, x - half))
        start = x + half
    if width / 2 - 0.08 > start + 0.15:
        spans.append((start, width / 2 - 0.08))
    return spans


def refrigerator(s: Scene, rng: np.random.Generator) -> None:
    """0.75 x 0.75 x 1.75, with notes and magnets on the door."""
    body = Material(
        choose(rng, ((228, 226, 220), (160, 162, 164), (235, 232, 222), (40, 40, 42))), gloss=0.2, scale=0.04
    )
    w, d, h = rng.uniform(0.68, 0.84), 0.68, rng.uniform(1.62, 1.82)
    s.box(REFRIGERATOR, body, (0, d / 2, h / 2), (w, d - 0.02, h))
    split = rng.uniform(1.05, 1.2)
    s.box(REFRIGERATOR, body, (0, d + 0.02, split / 2 + 0.05), (w - 0.01, 0.06, split - 0.08), edge=0.015)
    s.box(REFRIGERATOR, body, (0, d + 0.02, (split + h) / 2 + 0.01), (w - 0.01, 0.06, h - split - 0.02), edge=0.015)
    for z in (split - 0.22, split + 0.2):
        s.box(REFRIGERATOR, METAL if rng.random() < 0.5 else body, (-w / 2 + 0.07, d + 0.075, z), (0.03, 0.04, 0.32))
    for _ in range(int(rng.integers(0, 7))):
        s.box(
            PAPER,
            Material(
                choose(rng, ((235, 232, 224), (240, 220, 120), (170, 200, 220))), (120, 118, 115), texture=tx.PAPER
            ),
            (rng.uniform(-0.1, 0.28) * w, d + 0.052, rng.uniform(0.9, h - 0.15)),
            (rng.uniform(0.07, 0.2), 0.002, rng.uniform(0.08, 0.24)),
        )
    if rng.random() < 0.6:
        clutter(s, rng, -0.25, 0.25, 0.15, 0.5, h, 3, ("box", "bowl", "box"))


def toilet(s: Scene, rng: np.random.Generator) -> None:
    s.cushion(TOILET, PORCELAIN, (0, 0.1, 0.58), (0.44, 0.18, 0.36), 0.03)
    s.cushion(TOILET, PORCELAIN, (0, 0.1, 0.775), (0.47, 0.21, 0.04), 0.015)
    s.cylinder(TOILET, PORCELAIN, (0, 0.42, 0.2), (0.24, 0.42, 0.4), taper=1.45)
    s.cylinder(TOILET, PORCELAIN, (0, 0.44, 0.41), (0.38, 0.48, 0.03))
    s.ellipsoid(TOILET, PORCELAIN, (0, 0.44, 0.425), (0.37, 0.47, 0.045))
    s.box(TOILET, METAL, (-0.14, 0.2, 0.7), (0.07, 0.02, 0.015))
    if rng.random() < 0.5:
        clutter(s, rng, -0.15, 0.15, 0.08, 0.12, 0.795, 1, ("box", "bottle", "vase"))


def bathtub(s: Scene, rng: np.random.Generator, length: float, with_curtain: bool) -> None:
    """A tub ``length`` x 0.76 along the wall, with a rim, an inside and perhaps a shower curtain."""
    width, height = 0.76, 0.52
    for y in (0.05, width - 0.05):
        s.cushion(BATHTUB, PORCELAIN, (0, y, height / 2), (length, 0.1, height), 0.03)
    for sx in (-1, 1):
        s.cushion(BATHTUB, PORCELAIN, (sx * (length / 2 - 0.06), width / 2, height / 2), (0.12, width, height), 0.03)
    s.box(BATHTUB, PORCELAIN, (0, width / 2, 0.1), (length - 0.1, width - 0.1, 0.1))
    s.cylinder(BATHTUB, METAL, (-length / 2 + 0.1, width / 2, 0.75), (0.03, 0.03, 0.14), roll=np.pi / 2)
    if with_curtain:
        s.cylinder(OTHER_STRUCTURE, METAL, (0, width - 0.02, 2.0), (0.025, 0.025, length), roll=np.pi / 2)
        part = rng.uniform(0.3, 0.65) * length
        fabric = cloth(rng, patterned=rng.random() < 0.7).but(bump=0.0)
        s.curtain(SHOWER_CURTAIN, fabric, (-length / 2 + part / 2 + 0.02, width - 0.02, 1.13), (part, 0.07, 1.74), 9.0)


def vanity(s: Scene, rng: np.random.Generator, style: Style, width: float) -> None:
    """A bathroom cabinet with counter, basin, mirror and small things; ``width`` x 0.55."""
    top = Material(vary(rng, (215, 205, 190)), vary(rng, (180, 165, 145)), texture=tx.SPECKLE, gloss=0.2)
    drawers(
        s, CABINET, style.wood, style.metal, width, 0.52, 0.8, columns=max(2, round(width / 0.45)), rows=1, doors=True
    )
    s.box(COUNTER, top, (0, 0.275, 0.82), (width + 0.03, 0.56, 0.04))
    s.box(COUNTER, top, (0, 0.012, 0.89), (width + 0.03, 0.024, 0.1))
    x = rng.uniform(-0.12, 0.12) * width
    s.cylinder(SINK, PORCELAIN, (x, 0.29, 0.848), (0.5, 0.4, 0.016))
    s.cylinder(SINK, PORCELAIN.but(color=(205, 203, 198)), (x, 0.29, 0.852), (0.42, 0.32, 0.016))
    s.cylinder(SINK, METAL, (x, 0.07, 0.91), (0.03, 0.03, 0.14))
    s.cylinder(SINK, METAL, (x, 0.13, 0.97), (0.02, 0.02, 0.14), pitch=np.pi / 2)
    mirror(s, rng, style, 0, 1.0 + 0.45, width * rng.uniform(0.75, 1.0), 0.85)
    clutter(s, rng, -width / 2 + 0.06, x - 0.28, 0.1, 0.4, 0.84, 3, ("bottle", "cup", "box", "towel"))
    clutter(s, rng, x + 0.28, width / 2 - 0.06, 0.1, 0.4, 0.84, 3, ("bottle", "cup", "bottle"))


def towel_rail(s: Scene, rng: np.random.Generator) -> None:
    s.cylinder(OTHER_PROP, METAL, (0, 0.07, 1.35), (0.02, 0.02, 0.66), roll=np.pi / 2)
    for sx in (-1, 1):
        s.box(OTHER_PROP, METAL, (sx * 0.32, 0.035, 1.35), (0.03, 0.07, 0.03))
    for x in (-0.15, 0.15) if rng.random() < 0.6 else (0.0,):
        drop = rng.uniform(0.4, 0.7)
        fabric = Material(choose(rng, CLOTH_COLORS), texture=tx.CARPET, scale=0.5, bump=0.35)
        s.cushion(TOWEL, fabric, (x, 0.075, 1.37 - drop / 2), (rng.uniform(0.24, 0.3), 0.05, drop), 0.02)


# --- walls -----------------------------------------------------------------------------------------------------


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
        tint = np.array([1.0, 1.05, 1.15]) * daylight * 2.2 * width * height
        s.light((0, 0.06, middle), (width * 0.9, 0.02, height * 0.9), tuple(tint), (0.0, 1.0, 0.0))  # type: ignore[arg-type]


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
    """Slats in front of a window, let down most of the way."""
    down = rng.uniform(0.55, 1.0) * (high - low + 0.06)
    color = vary(rng, (215, 210, 200), 12)
    slats = Material(
        color,
        tuple(0.62 * c for c in color),
        texture=tx.SLATS,
        scale=rng.uniform(0.028, 0.05),
        emission=0.35 * daylight,
    )  # type: ignore[arg-type]
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


# --- things ----------------------------------------------------------------------------------------------------


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
    """A computer monitor, which the dataset counts as another prop."""
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
    """A lamp with a shade, about 0.55 tall, standing on z; adds its light."""
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
            warm = np.array([1.0, 0.72, 0.42]) * bright
            s.light((0, 0, height + 0.22), (0.1, 0.1, 0.04), tuple(warm))  # type: ignore[arg-type]
        return
    _shade(s, rng, 0, 0, height - 0.12, rng.uniform(0.34, 0.46), rng.uniform(0.24, 0.34), bright)


def _shade(
    s: Scene, rng: np.random.Generator, x: float, y: float, z: float, wide: float, tall: float, bright: float
) -> None:
    color = choose(rng, ((236, 222, 194), (232, 228, 220), (214, 176, 128), (220, 200, 170)))
    paper = Material(color, scale=0.05, emission=1.6 * bright)
    s.cylinder(LAMP, paper, (x, y, z + tall / 2), (wide, wide, tall), taper=rng.uniform(0.5, 0.95), shadow=False)
    if bright > 0:
        warm = np.array([1.0, 0.74, 0.45]) * 0.55 * bright
        s.light((x, y, z + tall / 2), (0.8 * wide, 0.8 * wide, tall), tuple(warm))  # type: ignore[arg-type]


def ceiling_lamp(s: Scene, rng: np.random.Generator, brightness: float, panel: bool = False) -> None:
    """A lamp under the ceiling (z = 0 is the ceiling); adds its light. The dataset counts it as another prop."""
    tint = np.array([1.0, 0.86, 0.66]) if not panel else np.array([1.0, 0.98, 0.92])
    glow = Material((245, 240, 230), emission=2.6 * min(1.0, brightness))
    if panel:
        s.box(OTHER_PROP, glow, (0, 0, -0.01), (1.2, 0.3, 0.02), shadow=False)
        s.light((0, 0, -0.05), (1.1, 0.26, 0.02), tuple(tint * brightness), (0.0, 0.0, -1.0))  # type: ignore[arg-type]
        return
    s.ellipsoid(OTHER_PROP, glow, (0, 0, -0.05), (0.4, 0.4, 0.16), shadow=False)
    s.light((0, 0, -0.16), (0.3, 0.3, 0.06), tuple(tint * brightness))  # type: ignore[arg-type]


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
        s.ellipsoid(
            OTHER_PROP, leaf, (x + px * 0.45 * length, y + py * 0.45 * length, z + 0.28 * scale + pz * (reach - 0.1 * scale)),
            (0.12 * scale, 0.03 * scale, length), yaw=angle + np.pi / 2, pitch=lean,
        )  # fmt: skip


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


def clutter(
    s: Scene, rng: np.random.Generator, x0: float, x1: float, y0: float, y1: float, z: float, count: int,
    kinds: tuple[str, ...],
) -> None:  # fmt: skip
    """Some small things (up to twice ``count``) on a surface at height z, none inside another."""
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
        _book_stack(s, rng, x, y, z)
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
