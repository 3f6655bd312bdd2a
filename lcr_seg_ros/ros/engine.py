"""The engine: one thread that labels the frames of all cameras with one network.

Each camera leaves its newest pair in a mailbox. The engine serves the cameras in turn, and labels several pairs as one
batch where the backend gains from it: ONNX Runtime and PyTorch on CUDA.

Frames are not pipelined. Computing the HHA image of the next frame while the network runs on the current one, started
just in time, was tried on two cores. With the int8 network on one core the node labelled a sixth more frames, but each
came a third later; with the network on both cores, it labelled hardly more. A robot gains more from fresh masks.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from lcr_seg_ros.errors import BackendError
from lcr_seg_ros.ros.mailbox import Letter, Mailbox, Worker

if TYPE_CHECKING:
    from lcr_seg_ros.drawing import Drawing
    from lcr_seg_ros.ros.camera import Job
    from lcr_seg_ros.ros.synchronizer import ImagePair
    from lcr_seg_ros.segmenter import Segmentation, Segmenter


class FrameSource(Protocol):
    """The part of :class:`~lcr_seg_ros.ros.camera.Camera` that the engine uses."""

    mailbox: Mailbox[ImagePair] | None

    @property
    def wants_hha(self) -> bool: ...
    @property
    def drawing(self) -> Drawing | None: ...
    def read(self, pair: ImagePair, uses_depth: bool) -> Job | None: ...
    def publish(self, job: Job, segmentation: Segmentation) -> None: ...
    def lose(self, step: str, error: Exception) -> None: ...


class _Shift:
    """The turns of one worker and of those who change what it uses.

    Each worker has its own: one whose network never returns would keep the next one, too, from its turn.
    """

    def __init__(self) -> None:
        self.is_abandoned = threading.Event()
        self._at_work = threading.Lock()
        # Held while waiting for _at_work: otherwise the worker could retake that lock before a waiting thread gets it.
        self._entrance = threading.Lock()

    def take_turn(self, timeout_s: float = threading.TIMEOUT_MAX) -> bool:
        """Wait until it is the caller's turn; returns False if that took over ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        if not self._entrance.acquire(timeout=timeout_s):
            return False
        try:
            left_s = max(0.0, deadline - time.monotonic())
            return self._at_work.acquire(timeout=min(left_s, threading.TIMEOUT_MAX))
        finally:
            self._entrance.release()

    def end_turn(self) -> None:
        self._at_work.release()


class Engine:
    """See the module's description. :attr:`segmenter` may be replaced within :meth:`between_frames`.

    Args:
        segmenter: labels the frames.
        cameras: where pairs come from; each has a mailbox while the engine runs.
    """

    def __init__(self, segmenter: Segmenter, cameras: Sequence[FrameSource]) -> None:
        self.segmenter = segmenter
        self._cameras = cameras
        self._worker: Worker[ImagePair] | None = None
        self._shift = _Shift()
        self._hung: tuple[Worker[ImagePair], Segmenter] | None = (
            None  # the last worker that did not end, and its network
        )

    @property
    def hang(self) -> str:
        """Why :meth:`start` is refused: the network still works on a frame from before :meth:`stop`; "" if it does not.

        That ends when the network returns after all, or when :attr:`segmenter` is replaced.
        """
        if self._hung is None or self._hung[1] is not self.segmenter or not self._hung[0].is_alive:
            return ""
        return (
            f"the network of model {self.segmenter.bundle.name} has not returned from a frame of the last activation: "
            "wait until it does, or clean up and configure the node, which loads the model anew"
        )

    def start(self) -> None:
        """Give each camera a mailbox, and start the thread that empties them.

        Raises:
            BackendError: see :attr:`hang`.
        """
        if self.hang:
            raise BackendError(self.hang)
        shift = self._shift
        self._worker = Worker(
            lambda letters: self._label(letters, shift),
            "segmenter",
            len(self._cameras),
            lambda: self.segmenter.max_batch,
        )
        for camera, mailbox in zip(self._cameras, self._worker.mailroom.mailboxes, strict=True):
            camera.mailbox = mailbox

    def stop(self, timeout_s: float) -> bool:
        """Take the mailboxes away and finish the current frames; returns False if that took over ``timeout_s``."""
        for camera in self._cameras:
            camera.mailbox = None
        worker, self._worker = self._worker, None
        if worker is None or worker.stop(timeout_s):
            return True
        self._hung = worker, self.segmenter
        self._shift.is_abandoned.set()
        self._shift = _Shift()
        return False

    @contextmanager
    def between_frames(self, timeout_s: float) -> Iterator[None]:
        """Context in which no frame is being labelled: waits for the current ones and holds the next ones back.

        Raises:
            BackendError: the network has not returned within ``timeout_s``.
        """
        shift = self._shift
        if not shift.take_turn(timeout_s):
            raise BackendError(f"the network has not returned within {timeout_s:g} s")
        try:
            yield
        finally:
            shift.end_turn()

    def _label(self, letters: list[Letter[ImagePair]], shift: _Shift) -> None:
        shift.take_turn()
        try:
            segmenter = self.segmenter
            uses_depth = segmenter.bundle.input.uses_depth
            read = [(camera, camera.read(pair, uses_depth)) for camera, pair in self._senders(letters)]
            jobs = [(camera, job) for camera, job in read if job is not None]
            for (camera, job), segmentation in zip(jobs, self._segmented(segmenter, jobs, shift), strict=True):
                if segmentation is not None and not shift.is_abandoned.is_set():
                    camera.publish(job, replace(segmentation, stage_ms=job.pair.stage_ms | segmentation.stage_ms))
        finally:
            shift.end_turn()

    def _senders(self, letters: list[Letter[ImagePair]]) -> list[tuple[FrameSource, ImagePair]]:
        return [(self._cameras[letter.mailbox], letter.item) for letter in letters]

    def _segmented(
        self, segmenter: Segmenter, jobs: Sequence[tuple[FrameSource, Job]], shift: _Shift
    ) -> Sequence[Segmentation | None]:
        """One segmentation for each job; None where it failed, which its camera has been told (``lose``)."""
        if not jobs:
            return []
        try:
            frames, trackers = [job.frame for _, job in jobs], [job.tracker for _, job in jobs]
            with_hha = any(camera.wants_hha for camera, _ in jobs)
            drawing = None
            if segmenter.is_on_device:
                drawing = next((one for camera, _ in jobs if (one := camera.drawing)), None)  # all cameras draw alike
            return segmenter.segment_batch(frames, trackers, with_hha, drawing)
        except Exception as error:
            if shift.is_abandoned.is_set():
                return [None] * len(jobs)  # those who waited for them have gone
            if len(jobs) == 1:
                jobs[0][0].lose("segmenter", error)
                return [None]
        # One frame of the batch may be faulty: label each by itself, so that the others are not lost.
        return [self._segmented(segmenter, [one], shift)[0] for one in jobs]
