"""Chairs, sofas, beds, tables, desks and storage."""

from __future__ import annotations

import numpy as np

from lcr_seg_ros.sources.rooms import shading as tx
from lcr_seg_ros.sources.rooms.classes import (
    BED,
    BOOKS,
    BOOKSHELF,
    BOX,
    CABINET,
    CHAIR,
    CLOTHES,
    DESK,
    DRESSER,
    NIGHT_STAND,
    OTHER_FURNITURE,
    OTHER_PROP,
    PILLOW,
    SHELVES,
    SOFA,
    TABLE,
)
from lcr_seg_ros.sources.rooms.furniture.styles import (
    BLACK_PLASTIC,
    BOX_COLORS,
    BRIGHT_COLORS,
    CLOTH_COLORS,
    DARK_METAL,
    METAL,
    WHITE_PLASTIC,
    Style,
    choose,
    cloth,
    leather,
    vary,
)
from lcr_seg_ros.sources.rooms.furniture.things import book_stack, clutter, laptop, monitor, plant, table_lamp
from lcr_seg_ros.sources.rooms.scene import Material, Scene

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
    color = choose(rng, ((30, 30, 34), (40, 44, 60), (120, 30, 36), (70, 74, 80), (34, 60, 90)))
    fabric = leather(rng) if rng.random() < 0.4 else Material(color, texture=tx.FABRIC, scale=0.4, bump=0.15)
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
        book_stack(s, rng, rng.uniform(-0.2, 0.2) * width, 1.3, top + 0.06)


def night_stand(s: Scene, rng: np.random.Generator, style: Style) -> float:
    """A night stand of 0.5 x 0.42; returns the height of its top."""
    height = rng.uniform(0.5, 0.66)
    drawers(s, NIGHT_STAND, style.wood, style.metal, 0.48, 0.4, height, columns=1, rows=2)
    return height


# --- tables ----------------------------------------------------------------------------------------------------


def table(
    s: Scene, rng: np.random.Generator, style: Style, width: float, depth: float, height: float, label: int = TABLE
) -> None:
    """A table with four legs, or with one column if it is small and round, centred at the origin."""
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
    """A dining table with chairs around it and a few things on it, centred at the origin."""
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
    # annotators label some rows of books as books, and leave most of them to the bookshelf
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
                book_stack(s, rng, x + 0.12, depth - 0.16, z, label)
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
    """A row of books that look alike; returns where it ends."""
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
