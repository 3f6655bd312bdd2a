"""Gravity from an accelerometer: low-passed, and turned along by the gyroscope where there is one. Knows no ROS."""

from __future__ import annotations

import math
import threading
from collections import deque

GRAVITY = 9.81
"""m/s^2"""

TOLERANCE = 2.0
"""m/s^2. A sample whose length is this far from gravity says nothing about it; nearer ones count in proportion."""

STALE_S = 0.5
"""s. An older gravity is not used, and after a gap of this length the filter starts anew."""

SMALL_PUSH = 1.0
"""m/s^2. A sample that is off by this much counts half."""

LARGE_PUSH = 3.0
"""m/s^2. A sample that is off by more is left out."""

HISTORY = 1024
"""Results kept, to be asked about the time of an image that comes late: one second at 1 kHz."""

MAX_TURN_RATE = 50.0
"""rad/s; no gyroscope measures more, so it is a faulty value."""

_FIRST_S = 0.01
"""What the first sample counts for: the one before it is not known."""

Vector = tuple[float, float, float]

_NOWHERE: Vector = (0.0, 0.0, 0.0)


class GravityLowPass:
    """The direction that points up, in the frame of the accelerometer (which measures -gravity at rest).

    A first-order low pass that minds the time between samples. Let s be its state, a the sample, w the rate of turn
    and dt the time since the sample before; then

        s <- Rotation(-w dt) s,    s <- s + (1 - exp(-q dt / time_constant)) (a - s),    q = 1 - | |a| - g | / 2

    Samples with q <= 0 are left out. The first step keeps s fixed in the world while the sensor turns: without it a
    low pass lags by the rate of turn times its time constant (30 degrees at 60 deg/s and 0.5 s), as happens with an
    accelerometer that has no gyroscope beside it. A gyroscope's offset b leaves an error of b times the time constant.

    Where the gyroscope says how s has turned, a sample that is far from it is known to be a push: q is then divided by
    1 + (|a - g s / |s|| / 1 m/s^2)^2, and over 3 m/s^2 the sample is left out. If that goes on for half a second, it is
    s that was wrong, and the filter starts anew.

    Args:
        time_constant_s: > 0.

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
        """Take in a sample. Samples of a time that has passed are ignored.

        Args:
            stamp_ns: when it was taken; a stamp that is over 0.5 s older than the last starts the filter anew.
            acceleration: m/s^2; None if the sensor has none.
            turn_rate: rad/s about the same axes; None if the sensor has none.
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
        """The direction up at a time.

        Returns:
            The direction, of any length, and nothing; or None and the reason why it is not known.
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
        """Whether the rate of turn is known; the mean of this sample's and the last one's is used."""
        before, self._turn_rate = self._turn_rate, None
        # Exactly 0 is what drivers fill in that have no gyroscope; real ones are never that quiet.
        if turn_rate is None or not 0 < math.hypot(*turn_rate) <= MAX_TURN_RATE:
            return False
        self._turn_rate = turn_rate
        if before is not None:
            turn_rate = tuple((a + b) / 2 for a, b in zip(before, turn_rate, strict=True))  # type: ignore[assignment]
        self._up = _turned(self._up, turn_rate, -elapsed_s)
        return True

    def _agreement(self, acceleration: Vector) -> float:
        """How much a sample counts that differs from what was expected of it, 0..1."""
        length = math.hypot(*self._up)
        if length == 0:
            return 1.0
        push = math.dist(acceleration, [GRAVITY * component / length for component in self._up])
        return 1 / (1 + (push / SMALL_PUSH) ** 2) if push < LARGE_PUSH else 0.0


def _quality(acceleration: Vector | None) -> tuple[float, str]:
    """How much a sample counts, 0..1, and why it does not."""
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
    """A vector turned about ``rate`` (rad/s) for some time (Rodrigues' formula)."""
    speed = math.hypot(*rate)
    if speed == 0:  # opposite rates of two samples
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
