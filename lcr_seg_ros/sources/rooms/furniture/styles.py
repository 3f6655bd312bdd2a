"""Materials and colours, chosen so that the furniture of a room matches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lcr_seg_ros.sources.rooms import shading as tx
from lcr_seg_ros.sources.rooms.scene import Color, Material

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
    """One of the colours, slightly varied."""
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
    """Materials that the pieces of one room share, so that they match."""

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
