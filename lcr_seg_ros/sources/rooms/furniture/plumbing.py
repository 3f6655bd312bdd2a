"""Kitchens and bathrooms."""

from __future__ import annotations

import numpy as np

from lcr_seg_ros.sources.rooms import shading as tx
from lcr_seg_ros.sources.rooms.classes import (
    BATHTUB,
    CABINET,
    COUNTER,
    OTHER_FURNITURE,
    OTHER_PROP,
    OTHER_STRUCTURE,
    PAPER,
    REFRIGERATOR,
    SHOWER_CURTAIN,
    SINK,
    TOILET,
    TOWEL,
)
from lcr_seg_ros.sources.rooms.furniture.pieces import drawers
from lcr_seg_ros.sources.rooms.furniture.styles import (
    BLACK_PLASTIC,
    BRIGHT_COLORS,
    CLOTH_COLORS,
    DARK_METAL,
    METAL,
    PORCELAIN,
    WHITE_PLASTIC,
    Style,
    choose,
    cloth,
    vary,
)
from lcr_seg_ros.sources.rooms.furniture.things import clutter
from lcr_seg_ros.sources.rooms.furniture.walls import mirror
from lcr_seg_ros.sources.rooms.scene import Material, Scene


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
    """Intervals within -width/2..width/2 that are farther than ``half`` from all that is taken."""
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
        s.cylinder(OTHER_STRUCTURE, METAL, (0, width + 0.04, 2.0), (0.025, 0.025, length), roll=np.pi / 2)
        part = rng.uniform(0.3, 0.65) * length
        fabric = cloth(rng, patterned=rng.random() < 0.7).but(bump=0.0)
        s.curtain(SHOWER_CURTAIN, fabric, (-length / 2 + part / 2 + 0.02, width + 0.04, 1.1), (part, 0.07, 1.74), 9.0)


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
