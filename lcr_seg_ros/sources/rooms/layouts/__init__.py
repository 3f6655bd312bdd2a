"""Layouts of whole rooms: which furniture stands where, in which colours and light."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lcr_seg_ros.sources.rooms import furniture as f
from lcr_seg_ros.sources.rooms.layouts import kinds, shell
from lcr_seg_ros.sources.rooms.layouts.plan import Plan
from lcr_seg_ros.sources.rooms.scene import Scene

_LAYOUTS: dict[str, Callable[[Plan, np.random.Generator, f.Style, shell.Mood], None]] = {
    "bedroom": kinds.bedroom,
    "living room": kinds.living_room,
    "office": kinds.office,
    "kitchen": kinds.kitchen,
    "dining room": kinds.dining_room,
    "bathroom": kinds.bathroom,
}

KINDS = ("living room", "bedroom", "office", "kitchen", "dining room", "bedroom", "living room", "kitchen", "bathroom")
"""Kinds of rooms in the order of the seeds, roughly as frequent as in NYU Depth V2."""


def build(kind: str, rng: np.random.Generator) -> Scene:
    """A furnished room of one of :data:`KINDS`."""
    mood = shell.pick_mood(rng)
    size = shell.pick_size(kind, rng)
    scene = Scene(size, rng, shell.pick_faces(kind, rng))
    plan = Plan(scene, rng)
    style = f.Style.pick(rng)
    shell.add_corner(plan, rng)
    _LAYOUTS[kind](plan, rng, style, mood)
    shell.add_wall_bits(plan, rng)
    shell.add_skirting(plan, style)
    shell.add_ceiling_lamps(plan, rng, kind, mood)
    return scene
