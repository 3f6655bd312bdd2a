"""Gravity from frame to frame: one frame cannot always tell a floor from a wall, its predecessors can."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.hha.evidence import GravityEvidence
from lcr_seg_ros.hha.gravity import GravityEstimate, angle_deg, unit_direction

MEMORY_S = 0.2
"""An older frame says nothing: a hand turns by 60 degrees a second, and a warm start looks within 15 degrees."""

FRAME_PERIOD_S = 1 / 30
"""Assumed between frames that have no stamp."""

NEAR_DEG = 15.0
"""A frame's own estimate that is farther than this from the last one contradicts it."""

LARGEST_STEP_DEG = 8.0
"""A warm estimate that moves farther than this has slipped."""

CONTRADICTIONS = 5
"""So many confident frames in a row must contradict the memory to overrule it."""


@dataclass(frozen=True)
class GravityFit:
    """An estimate from one frame and what speaks for it."""

    down: npt.NDArray[np.float64]
    evidence: GravityEvidence


Tilt = Callable[[npt.NDArray[np.float64]], float]

Fit = Callable[[npt.NDArray[np.float64] | None], GravityFit]
"""Estimate gravity in this frame from a start that is near; from None, without knowing anything."""


@dataclass(frozen=True)
class _Memory:
    down: npt.NDArray[np.float64]
    stamp_s: float
    doubt: str


class GravityTracker:
    """Remembers the gravity of one camera.

    A frame's own estimate is taken as it is if it is confident and near to the last one: then the result is that of
    the frame alone. Otherwise the estimate starts at the last direction, and so follows a camera that pitches beyond
    45 degrees, where a cold start mistakes walls for floors. Where nothing in view holds the estimate, as before a
    bare wall, the last direction is kept, in doubt, until it is too old to be worth anything.

    Not to be shared between threads or cameras.

    Args:
        upright: (3,) direction of gravity in this camera's optical frame while it stands as it should, of any length;
            None: ``HhaSettings.upright``, as of the others.

    Raises:
        FrameError: a direction that is none.
    """

    def __init__(self, upright: npt.ArrayLike | None = None) -> None:
        self.upright = None if upright is None else unit_direction(upright)
        self.reset()

    def reset(self) -> None:
        """Forget: the next frame has nothing to do with the last."""
        self._memory: _Memory | None = None
        self._contradictions = 0
        self._now_s = 0.0

    def follow(
        self, fit: Fit, tilt_deg: Tilt, stamp_s: float | None = None, camera_height_m: float | None = None
    ) -> GravityEstimate:
        """The gravity of the next frame.

        Args:
            fit: estimates gravity in it.
            tilt_deg: how far a direction is from where gravity points when the camera stands as it should.
            stamp_s: when it was taken, in seconds; None: one frame period after the last.
            camera_height_m: above the floor, if known.
        """
        self._now_s = self._now_s + FRAME_PERIOD_S if stamp_s is None else stamp_s
        memory = self._recall()
        cold = fit(None)
        doubt = cold.evidence.doubt(tilt_deg(cold.down), camera_height_m)
        if memory is None:
            return self._keep(cold.down, doubt)
        jump = angle_deg(cold.down, memory.down)
        if not doubt and jump <= NEAR_DEG:
            return self._keep(cold.down)
        warm = fit(memory.down)
        if warm.evidence.holds_warm_estimate and angle_deg(warm.down, memory.down) <= LARGEST_STEP_DEG:
            if doubt:
                return self._keep(warm.down, memory.doubt)
            return self._contradicted(cold, warm, memory, jump)
        if not doubt:
            return self._keep(cold.down, "" if memory.doubt else f"gravity jumped by {jump:.0f} degrees")
        return GravityEstimate(memory.down, doubt)  # not kept: what is not seen grows old

    def _contradicted(self, cold: GravityFit, warm: GravityFit, memory: _Memory, jump: float) -> GravityEstimate:
        self._contradictions += 1
        if memory.doubt or self._contradictions >= CONTRADICTIONS:
            return self._keep(cold.down, "" if memory.doubt else f"gravity jumped by {jump:.0f} degrees")
        self._memory = _Memory(warm.down, self._now_s, memory.doubt)
        return GravityEstimate(warm.down, f"this frame by itself says {jump:.0f} degrees off")

    def _recall(self) -> _Memory | None:
        if self._memory is not None and not 0.0 <= self._now_s - self._memory.stamp_s <= MEMORY_S:
            self._memory = None
        return self._memory

    def _keep(self, down: npt.NDArray[np.float64], doubt: str = "") -> GravityEstimate:
        remembered = "" if doubt.startswith("gravity jumped") else doubt
        self._memory = _Memory(down, self._now_s, remembered)
        self._contradictions = 0
        return GravityEstimate(down, doubt)
