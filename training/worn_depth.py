"""Augmentation of depth: images as other, poorer cameras would give, so that a network does not rely on one camera."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

NOISE_PER_M = 1.4e-3
"""Standard deviation of a Kinect v1's depth, divided by depth squared, in 1/m (Khoshelham and Oude Elberink, Sensors
2012)."""

DISPARITY_STEPS_M = 525.0 * 0.075 * 8.0
"""Of a Kinect v1: focal length in px times baseline in m, divided by its disparity step of 1/8 px. This over depth in m
is disparity in steps."""

EDGE = 0.06
"""Neighbouring pixels whose depths differ by more than this share of the depth are on different surfaces."""


def wear(depth_m: npt.NDArray[np.float32], rng: np.random.Generator) -> npt.NDArray[np.float32]:
    """A depth image as a random poorer camera would give it.

    It gets a scale error of up to 3 %, up to twice a Kinect's noise, a Kinect's disparity steps, a minimum and a
    maximum range, holes along depth edges (up to 11 px wide), and up to ten patches without depth.

    Args:
        depth_m: (H, W) float32 metres; not finite or not positive where unknown.
        rng: source of all random choices.

    Returns:
        (H, W) float32 metres, 0 where unknown.
    """
    height, width = depth_m.shape
    known = np.isfinite(depth_m) & (depth_m > 0)
    depth = np.where(known, depth_m, np.float32(1)) * np.float32(rng.uniform(0.97, 1.03))
    # The noise of neighbouring pixels is correlated, since a sensor matches windows.
    grain = cv2.GaussianBlur(rng.standard_normal((height, width), dtype=np.float32), (0, 0), rng.uniform(0.6, 1.6))
    grain /= max(float(grain.std()), 1e-6)
    depth += np.float32(rng.uniform(0, 2) * NOISE_PER_M) * depth * depth * grain
    np.maximum(depth, np.float32(0.05), out=depth)
    worn = np.float32(DISPARITY_STEPS_M) / np.maximum(np.rint(np.float32(DISPARITY_STEPS_M) / depth), np.float32(1))
    hole = ~known | (worn < rng.uniform(0.3, 0.8)) | (worn > rng.uniform(4.0, 10.0))
    hole |= _beside_edges(depth, int(rng.integers(0, 7)))
    _punch_patches(hole, int(rng.integers(0, 11)), rng)
    worn[hole] = 0
    return worn


def _beside_edges(depth: npt.NDArray[np.float32], reach: int) -> npt.NDArray[np.bool_]:
    if reach == 0:
        return np.zeros(depth.shape, np.bool_)
    jump = np.zeros(depth.shape, np.uint8)
    jump[:, 1:] |= np.abs(np.diff(depth, axis=1)) > EDGE * depth[:, 1:]
    jump[1:] |= np.abs(np.diff(depth, axis=0)) > EDGE * depth[1:]
    return cv2.dilate(jump, np.ones((2 * reach - 1, 2 * reach - 1), np.uint8)).astype(np.bool_)


def _punch_patches(hole: npt.NDArray[np.bool_], count: int, rng: np.random.Generator) -> None:
    """Mark ellipses as holes, with axes of 2 to 20 % of the width: like panes, screens and shiny objects."""
    height, width = hole.shape
    canvas = np.zeros(hole.shape, np.uint8)
    for _ in range(count):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        axes = tuple(int(v) for v in np.maximum(rng.uniform(0.01, 0.1, 2) * width, 1))
        cv2.ellipse(canvas, centre, axes, float(rng.uniform(0, 180)), 0, 360, 1, -1)
    hole |= canvas.astype(np.bool_)
