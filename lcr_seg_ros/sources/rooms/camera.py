"""The camera: its path, the development of photos, and the errors of a structured-light depth sensor."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from lcr_seg_ros.compiled import compiled

FloatArray = npt.NDArray[np.float64]

KINECT_FOCAL_PX = 525.0
"""Focal length of a Kinect v1 at 640 px width."""

BASELINE_M = 0.075
"""Distance between the infrared projector and camera of a Kinect v1, in metres."""

DISPARITY_STEP_PX = 1.0 / 8.0
"""A Kinect v1 resolves an eighth of a pixel (Khoshelham and Oude Elberink, Sensors 2012)."""

NOISE_PER_M = 1.4e-3
"""The standard deviation of depth is this times depth squared, in metres (the same paper: 1.425e-5 Z^2, in cm)."""

MIN_DEPTH_M, MAX_DEPTH_M = 0.5, 8.0
"""Range of the depth sensor; depth outside is a hole."""


BORDER_PX = (4, 8, 6, 4)
"""Width of the left, right, top and bottom border without depth, at 640 px width."""


@dataclass(frozen=True)
class Walk:
    """The path of a hand-held camera, a smooth function of s in 0..1.

    The position goes from ``start`` to ``end``, the heading from ``yaw[0]`` to ``yaw[1]``; slow waves in position,
    heading, height, pitch and roll are added. Angles are in radians; pitch > 0 looks up.
    """

    start: FloatArray  # (2,)
    end: FloatArray  # (2,)
    yaw: tuple[float, float]
    height: float
    pitch: float
    phases: FloatArray  # (6,)

    def pose(self, s: float) -> FloatArray:
        """(4, 4) camera-to-world; the camera's axes are x right, y down, z forward, the world's z is up."""
        wave = 2 * np.pi * s + self.phases
        ease = s * s * (3 - 2 * s) * 0.5 + 0.5 * s
        x, y = (
            self.start
            + ease * (self.end - self.start)
            + 0.03 * np.array([np.sin(1.5 * wave[0]), np.sin(1.5 * wave[1])])
        )
        z = np.clip(self.height + 0.05 * np.sin(1.2 * wave[2]), 1.0, 1.6)
        yaw = self.yaw[0] + ease * (self.yaw[1] - self.yaw[0]) + 0.03 * np.sin(3 * wave[3])
        pitch = np.clip(self.pitch + np.radians(5.5) * np.sin(1.6 * wave[4]), np.radians(-25), np.radians(10))
        roll = np.radians(1.8) * np.sin(2 * wave[5])
        pose = np.eye(4)
        pose[:3, :3] = look(yaw, pitch, roll)
        pose[:3, 3] = (x, y, z)
        return pose


def look(yaw: float, pitch: float, roll: float) -> FloatArray:
    """(3, 3) rotation with the camera's right, down and forward axes in the world as columns; angles in radians."""
    forward = np.array([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    down = np.cross(forward, right)
    return np.stack(
        [np.cos(roll) * right + np.sin(roll) * down, np.cos(roll) * down - np.sin(roll) * right, forward], 1
    )


@dataclass(frozen=True)
class Photo:
    """Settings of the colour camera in one room: exposure, white balance, contrast, lens and sensor."""

    exposure: float
    balance: FloatArray  # (3,)
    contrast: float
    saturation: float
    vignette: float
    blur_px: float  # at 640 px
    grain: float

    @classmethod
    def pick(cls, rng: np.random.Generator) -> Photo:
        warm = rng.normal(0.02, 0.07)
        return cls(
            exposure=float(np.exp(rng.normal(0.0, 0.3))),
            balance=np.array([1.0 + warm, 1.0 + rng.normal(0, 0.015), 1.0 - warm]),
            contrast=rng.uniform(1.0, 1.35),
            saturation=rng.uniform(0.9, 1.15),
            vignette=rng.uniform(0.05, 0.3),
            blur_px=rng.uniform(0.7, 1.1),
            grain=rng.uniform(0.008, 0.03),
        )


def develop(
    light: npt.NDArray[np.float32], photo: Photo, grain: npt.NDArray[np.float32] | None
) -> npt.NDArray[np.uint8]:
    """Develop linear light into an 8-bit sRGB photo.

    Args:
        light: (H, W, 3) float32, of any scale, as exposure adapts to the mean.
        photo: settings.
        grain: (H, W, 3) float32 unit noise, or None for a clean image.

    Returns:
        (H, W, 3) uint8 RGB.
    """
    height, width = light.shape[:2]
    level = np.exp(np.log(light[::4, ::4].mean(2) + 1e-3).mean())
    gain = photo.balance * (0.175 * photo.exposure / level)
    small = cv2.resize(light, (width // 8, height // 8), interpolation=cv2.INTER_AREA) * gain.astype(np.float32)
    glare = cv2.GaussianBlur(np.clip(small - 1.0, 0.0, 5.0), (0, 0), max(1.0, width / 160))
    glare = cv2.resize(glare, (width, height), interpolation=cv2.INTER_LINEAR)
    sharp = cv2.GaussianBlur(light, (5, 5), photo.blur_px * width / 640 + 0.15)
    out = np.empty((height, width, 3), np.uint8)
    strength = photo.grain if grain is not None else 0.0
    noise = grain if grain is not None else np.zeros((1, 1, 3), np.float32)
    _expose(sharp, glare, gain, photo.vignette, photo.saturation, noise, strength, _tone_table(photo.contrast), out)
    return out


@compiled(fastmath=True)
def _expose(
    light: npt.NDArray[np.float32], glare: npt.NDArray[np.float32], gain: FloatArray, vignette: float,
    saturation: float, grain: npt.NDArray[np.float32], strength: float, tone: npt.NDArray[np.uint8],
    out: npt.NDArray[np.uint8],
) -> None:  # fmt: skip
    height, width = light.shape[:2]
    for v in range(height):
        y = 2.0 * v / height - 1.0
        for u in range(width):
            x = 2.0 * u / width - 1.0
            lens = 1.0 - 0.5 * vignette * (x * x + y * y)
            r = lens * (light[v, u, 0] * gain[0] + 0.35 * glare[v, u, 0])
            g = lens * (light[v, u, 1] * gain[1] + 0.35 * glare[v, u, 1])
            b = lens * (light[v, u, 2] * gain[2] + 0.35 * glare[v, u, 2])
            grey = (r + g + b) / 3.0
            r = max(grey + saturation * (r - grey), 0.0)
            g = max(grey + saturation * (g - grey), 0.0)
            b = max(grey + saturation * (b - grey), 0.0)
            if strength > 0.0:
                # photon noise grows with the square root of the light; the sensor's own noise is added
                amount = strength * np.sqrt(min(grey, 1.0) + 0.02)
                r += amount * grain[v, u, 0]
                g += amount * grain[v, u, 1]
                b += amount * grain[v, u, 2]
            out[v, u, 0] = tone[int(min(max(r * 1023.0, 0.0), 4095.0))]
            out[v, u, 1] = tone[int(min(max(g * 1023.0, 0.0), 4095.0))]
            out[v, u, 2] = tone[int(min(max(b * 1023.0, 0.0), 4095.0))]


def _tone_table(contrast: float) -> npt.NDArray[np.uint8]:
    """(4096,) 8-bit values of linear light 0..4: the sRGB curve with S-shaped contrast, and a soft shoulder that
    saturates at about 1.6."""
    linear = np.arange(4096) / 1023.0
    linear = np.where(linear < 0.7, linear, 0.7 + 0.3 * np.tanh((linear - 0.7) / 0.45))
    tone = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * np.maximum(linear, 1e-9) ** (1 / 2.4) - 0.055)
    bent = 0.5 + 0.5 * np.sign(tone - 0.5) * (np.abs(2 * tone - 1) ** (1 / contrast))
    tone = 0.5 * tone + 0.5 * bent if contrast > 1 else tone
    return np.clip(np.round(tone * 255), 0, 255).astype(np.uint8)


def sense_depth(
    depth: npt.NDArray[np.float32], facing: npt.NDArray[np.float32], dark: npt.NDArray[np.bool_],
    unit_noise: npt.NDArray[np.float32], patches: npt.NDArray[np.float32],
) -> npt.NDArray[np.float32]:  # fmt: skip
    """Depth as a Kinect v1 measures it, registered to colour.

    Noise grows with depth squared, and disparity is quantised. There are holes (0) outside 0.5..8 m, in the projector's
    shadow beside nearer objects, at grazing angles, in patches of ``dark`` surfaces, and in a thin border that
    registration leaves empty.

    Args:
        depth: (H, W) exact metres.
        facing: (H, W) cosine between surface normal and line of sight.
        dark: (H, W) bool, surfaces that absorb or mirror the pattern (window panes, screens, mirrors).
        unit_noise: (H, W) standard normal noise.
        patches: (H, W) smooth noise, 0..1.

    Returns:
        (H, W) float32 metres.
    """
    height, width = depth.shape
    shadow = _projector_shadow(depth, patches, KINECT_FOCAL_PX * width / 640 * BASELINE_M)
    noisy = depth + np.float32(NOISE_PER_M) * depth * depth * unit_noise
    steps = np.float32(KINECT_FOCAL_PX * BASELINE_M / DISPARITY_STEP_PX)
    sensed = steps / np.maximum(np.round(steps / np.maximum(noisy, np.float32(0.05))), np.float32(1))
    hole = (depth < MIN_DEPTH_M) | (depth > MAX_DEPTH_M) | shadow
    hole |= facing < 0.06 + 0.12 * patches
    hole |= dark & (patches > 0.42)
    left, right, top, bottom = (max(1, round(border * width / 640)) for border in BORDER_PX)
    hole[:, :left] = hole[:, width - right :] = hole[:top] = hole[height - bottom :] = True
    sensed[hole] = 0
    return sensed


@compiled(fastmath=True)
def _projector_shadow(
    depth: npt.NDArray[np.float32], patches: npt.NDArray[np.float32], focus: float
) -> npt.NDArray[np.bool_]:
    """(H, W) bool: pixels that the projector's pattern does not reach, because a nearer surface to their right is in
    the way."""
    height, width = depth.shape
    shadow = np.zeros((height, width), np.bool_)
    for v in range(height):
        nearest = 1e9
        for u in range(width - 1, -1, -1):
            x = u - focus / depth[v, u]
            # the sensor's matching window makes the edge of a shadow ragged
            if x > nearest + 1.2 * patches[v, u]:
                shadow[v, u] = True
            elif x < nearest:
                nearest = x
    return shadow
