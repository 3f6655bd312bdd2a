"""The engine: one thread that labels the frames of all cameras with one network.

Each camera leaves its newest pair in a mailbox. The engine serves the cameras in turn, and labels several pairs as one
batch where the backend gains from it: ONNX Runtime and PyTorch on CUDA.

Frames are not pipelined. Computing the HHA image of the next frame while the network runs on the current one, started
just in time, was tried on two cores. With the int8 network on one core the node labelled a sixth more frames, but each
came a third later; with the network on both cores, it labelled hardly more. A robot gains more from fresh masks.
"""

from __future__ import annotations

import threading
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


class Engine:
    """See the module's description. :attr:`segmenter` may be replaced within :meth:`between_frames`.

    Args:
        segmenter: labels the frames.
        cameras: where pairs come from; each has a mailbox while the engine runs.
    """

    def __init__(self, segmenter: Segmenter, cameras: Sequence[FrameSource]) -> None:
        self.segmenter = segmenter
        self._cameras = cameras
        self._at_work = threading.Lock()
        # Held while waiting for _at_work: otherwise the worker could retake that lock before a waiting thread gets it.
        self._entrance = threading.Lock()
        self._worker: Worker[ImagePair] | None = None
        self._is_abandoned = threading.Event()

    def start(self) -> None:
        """Give each camera a mailbox, and start the thread that empties them."""
        self._is_abandoned = abandoned = threading.Event()
        self._worker = Worker(
            lambda letters: self._label(letters, abandoned),
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
        self._is_abandoned.set()
        return False

    @contextmanager
    def between_frames(self, timeout_s: float) -> Iterator[None]:
        """Context in which no frame is being labelled: waits for the current ones and holds the next ones back.

        Raises:
            BackendError: the network has not returned within ``timeout_s``.
        """
        with self._entrance:
            is_between = self._at_work.acquire(timeout=timeout_s)
        if not is_between:
            raise BackendError(f"the network has not returned within {timeout_s:g} s")
        try:
            yield
        finally:
            self._at_work.release()

    def _label(self, letters: list[Letter[ImagePair]], abandoned: threading.Event) -> None:
        with self._entrance:
            self._at_work.acquire()
        try:
            segmenter = self.segmenter
            uses_depth = segmenter.bundle.input.uses_depth
            read = [(camera, camera.read(pair, uses_depth)) for camera, pair in self._senders(letters)]
            jobs = [(camera, job) for camera, job in read if job is not None]
            for (camera, job), segmentation in zip(jobs, self._segmented(segmenter, jobs), strict=True):
                if segmentation is not None and not abandoned.is_set():
                    camera.publish(job, replace(segmentation, stage_ms=job.pair.stage_ms | segmentation.stage_ms))
        finally:
            self._at_work.release()

    def _senders(self, letters: list[Letter[ImagePair]]) -> list[tuple[FrameSource, ImagePair]]:
        return [(self._cameras[letter.mailbox], letter.item) for letter in letters]

    def _segmented(
        self, segmenter: Segmenter, jobs: Sequence[tuple[FrameSource, Job]]
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
            if len(jobs) == 1:
                jobs[0][0].lose("segmenter", error)
                return [None]
        # One frame of the batch may be faulty: label each by itself, so that the others are not lost.
        return [self._segmented(segmenter, [one])[0] for one in jobs]
