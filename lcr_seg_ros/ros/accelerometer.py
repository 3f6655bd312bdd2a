"""Gravity from an accelerometer: low-pass filtered, and rotated by the gyroscope where there is one. Independent of
ROS."""

from __future__ import annotations

import math
import threading
from collections import deque

GRAVITY = 9.81
"""m/s^2"""

TOLERANCE = 2.0
"""m/s^2. A sample whose magnitude differs from gravity by this much has weight 0; the weight falls linearly."""

STALE_S = 0.5
"""s. A result farther than this from the time asked for is not used; after a longer gap the filter is reset."""

SMALL_PUSH = 1.0
"""m/s^2. A sample that differs this much from the gravity expected has half its weight."""

LARGE_PUSH = 3.0
"""m/s^2. A sample that differs this much or more is left out."""

HISTORY = 1024
"""Results kept, to answer for the stamp of an image that comes late: one second at 1 kHz."""

MAX_TURN_RATE = 50.0
"""rad/s. No gyroscope measures more, so a larger value is faulty."""

_FIRST_S = 0.01
"""s. Assumed before the first sample, which has no predecessor."""

Vector = tuple[float, float, float]

_NOWHERE: Vector = (0.0, 0.0, 0.0)


class GravityLowPass:
    """Estimates the upward direction in the frame of the accelerometer, which measures -gravity at rest.

    A first-order low-pass filter for samples at irregular times. Let s be its state, a the sample, w the angular
    velocity and dt the time since the previous sample; then

        s <- Rotation(-w dt) s,    s <- s + (1 - exp(-q dt / time_constant)) (a - s),    q = 1 - | |a| - g | / 2

    Samples with q <= 0 are left out. The first step keeps s fixed in the world while the sensor turns. Without it, as
    with an accelerometer that has no gyroscope beside it, the filter lags by the angular velocity times the time
    constant (30 degrees at 60 deg/s and 0.5 s). A gyroscope bias b leaves an error of b times the time constant.

    Where the gyroscope tells how s has turned, a sample far from s must come from a linear acceleration (a push): q is
    divided by 1 + (|a - g s / |s|| / 1 m/s^2)^2, and from 3 m/s^2 on the sample is left out. If that goes on for over
    half a second, s itself must be wrong, and the filter is reset.

    Args:
        time_constant_s: in s, > 0.

    Methods may be called from any thread.
    """

    def __init__(self, time_constant_s: float) -> None:
        self._time_constant_s = time_constant_s
        self._lock = threading.Lock()
        self._ups: deque[tuple[int, Vector]] = deque(maxlen=HISTORY)
        self._rejected = ""
        self._stamp_ns: int | None = None
        self._up = _NOWHERE
        self._turn_rate: Vector | None = None
        self._blind_s = 0.0

    def reset(self) -> None:
        """Forget all samples."""
        with self._lock:
            self._ups.clear()
            self._rejected = ""
            self._start_anew()

    def add(self, stamp_ns: int, acceleration: Vector | None, turn_rate: Vector | None = None) -> None:
        """Add a sample. One that is not newer than the last is ignored, unless its stamp is over 0.5 s older.

        Args:
            stamp_ns: when it was taken; a stamp over 0.5 s older or newer than the last resets the filter.
            acceleration: (x, y, z) in m/s^2; None if the sensor has none.
            turn_rate: angular velocity in rad/s about the same axes; None if the sensor has none.
        """
        with self._lock:
            elapsed_s = _FIRST_S
            if self._stamp_ns is not None:
                elapsed_s = (stamp_ns - self._stamp_ns) * 1e-9
                if -STALE_S <= elapsed_s <= 0:
                    return
                if abs(elapsed_s) > STALE_S or self._blind_s > STALE_S:
                    if elapsed_s < 0:
                        self._ups.clear()
                    self._start_anew()
                    elapsed_s = _FIRST_S
            self._stamp_ns = stamp_ns
            turned = self._turn_along(turn_rate, elapsed_s)
            quality, self._rejected = _quality(acceleration)
            if turned and quality > 0 and acceleration is not None:
                quality *= self._agreement(acceleration)
            if quality > 0 and acceleration is not None:
                share = 1 - math.exp(-quality * elapsed_s / self._time_constant_s)
                x, y, z = self._up
                ax, ay, az = acceleration
                self._up = (x + share * (ax - x), y + share * (ay - y), z + share * (az - z))
                self._blind_s = 0.0
            else:
                self._blind_s += elapsed_s
                if not turned:
                    return
            if self._up != _NOWHERE:
                self._ups.append((stamp_ns, self._up))

    def up(self, stamp_ns: int) -> tuple[Vector | None, str]:
        """The upward direction at a time.

        Returns:
            The direction, of any length, and ""; or None and the reason why it is not known.
        """
        with self._lock:
            if not self._ups:
                return None, self._rejected or "nothing has come yet"
            nearest_ns, up = self._ups[-1]
            for entry in reversed(self._ups):
                if abs(entry[0] - stamp_ns) > abs(nearest_ns - stamp_ns):
                    break
                nearest_ns, up = entry
            apart_s = (stamp_ns - nearest_ns) * 1e-9
            if abs(apart_s) <= STALE_S:
                return up, ""
            if self._rejected:
                return None, self._rejected
            side = "older" if apart_s > 0 else "newer"
            return None, f"its nearest sample is {abs(apart_s):.2f} s {side} than the image"

    def _start_anew(self) -> None:
        self._stamp_ns = None
        self._up = _NOWHERE
        self._turn_rate = None
        self._blind_s = 0.0

    def _turn_along(self, turn_rate: Vector | None, elapsed_s: float) -> bool:
        """Rotate the state by the mean of this and the last angular velocity; returns whether it is known."""
        before, self._turn_rate = self._turn_rate, None
        # Drivers without a gyroscope fill in exactly 0; a real one is never that quiet.
        if turn_rate is None or not 0 < math.hypot(*turn_rate) <= MAX_TURN_RATE:
            return False
        self._turn_rate = turn_rate
        if before is not None:
            turn_rate = tuple((a + b) / 2 for a, b in zip(before, turn_rate, strict=True))  # type: ignore[assignment]
        self._up = _turned(self._up, turn_rate, -elapsed_s)
        return True

    def _agreement(self, acceleration: Vector) -> float:
        """Weight of a sample, 0..1, by its distance from the gravity that the state predicts."""
        length = math.hypot(*self._up)
        if length == 0:
            return 1.0
        push = math.dist(acceleration, [GRAVITY * component / length for component in self._up])
        return 1 / (1 + (push / SMALL_PUSH) ** 2) if push < LARGE_PUSH else 0.0


def _quality(acceleration: Vector | None) -> tuple[float, str]:
    """Weight of a sample by its magnitude, at most 1, with the reason if it is 0 (else "")."""
    if acceleration is None:
        return 0.0, "it says that it has no accelerometer (linear_acceleration_covariance[0] is -1)"
    length = math.hypot(*acceleration)
    quality = 1 - abs(length - GRAVITY) / TOLERANCE
    if quality > 0:
        return quality, ""
    if not math.isfinite(length):
        return 0.0, f"linear_acceleration is {acceleration}"
    unit = "; is it in g?" if 0.8 < length < 1.2 else ""
    return 0.0, f"linear_acceleration is {length:.2f} m/s^2 long, which is not gravity (9.81 +- 2){unit}"


def _turned(vector: Vector, rate: Vector, seconds: float) -> Vector:
    """A vector rotated with the angular velocity ``rate`` (rad/s) for ``seconds`` (Rodrigues' formula)."""
    speed = math.hypot(*rate)
    if speed == 0:  # the mean of opposite rates
        return vector
    kx, ky, kz = (component / speed for component in rate)
    x, y, z = vector
    cos, sin = math.cos(speed * seconds), math.sin(speed * seconds)
    along = (kx * x + ky * y + kz * z) * (1 - cos)
    return (
        x * cos + (ky * z - kz * y) * sin + kx * along,
        y * cos + (kz * x - kx * z) * sin + ky * along,
        z * cos + (kx * y - ky * x) * sin + kz * along,
    )
