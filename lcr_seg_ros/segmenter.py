"""The straight walk from a camera frame to labels. No ROS, no PyTorch unless its backend is chosen."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.backends import Backend, create_backend
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.decode import decode
from lcr_seg_ros.errors import BundleError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.hha import GravityEstimate, GravityTracker, HhaSettings
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.preprocess import Preprocessor

log = logging.getLogger(__name__)

MAX_BATCH = 8
"""Frames that go through the network together on a GPU. On a CPU one: there two together take at least as long as one
after the other (tried on two cores, with OpenVINO and with ONNX Runtime), and the first would wait for the second."""

KEPT_SIZES = 4
"""Frame sizes whose buffers are kept, so that cameras of different sizes do not take them from each other."""


@dataclass(frozen=True)
class Segmentation:
    """What a frame became.

    Args:
        labels: (H, W) uint8 mask ids of the model's label set, at the size of the frame.
        confidence: (H, W) float32 probability of that label, 0..1.
        hha: (H, W, 3) uint8, or None where the model sees colour only.
        gravity: what HHA was computed with, or None where the model sees colour only.
        stage_ms: wall time of each stage in milliseconds: ``hha``, ``preprocess``, ``network``, ``decode``; of a
            batch, the frame's share.
    """

    labels: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float32]
    hha: npt.NDArray[np.uint8] | None = None
    stage_ms: dict[str, float] = field(default_factory=dict)
    gravity: GravityEstimate | None = None


@dataclass(frozen=True)
class _Prepared:
    """A frame that is ready for the network."""

    frame: RgbdFrame
    tensor: npt.NDArray[np.float32]
    hha: npt.NDArray[np.uint8] | None
    gravity: GravityEstimate | None
    stage_ms: dict[str, float]


class Segmenter:
    """A model made ready to label frames.

    Without a tracker the same frame gives the same labels whatever came before it. Not to be shared between threads.

    Args:
        bundle: the model.
        backend: runs its network.
        hha_mode: see :class:`lcr_seg_ros.hha.HhaEncoder`.
        hha_settings: default: those that the network was trained with.
        fall_back: makes a backend on the CPU, for when the one given, on a GPU, fails at a frame: its memory is full,
            or the device is lost. It is asked once. Default: the failure is raised.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        backend: Backend,
        hha_mode: str = "fast",
        hha_settings: HhaSettings | None = None,
        fall_back: Callable[[], Backend] | None = None,
    ) -> None:
        self.bundle = bundle
        self.device_fallback = ""
        """Why the network runs on the CPU instead of the device it was loaded for; empty if it does not."""
        self._backend = backend
        self._fall_back = fall_back
        self._hha_mode = hha_mode
        self._hha_settings = hha_settings
        self._preprocessors: dict[tuple[int, ...], Preprocessor] = {}
        self._ids = bundle.labels.ids

    @classmethod
    def load(
        cls,
        model: str | Path = "nyu40",
        backend: str = "auto",
        device: str = "auto",
        num_threads: int = 0,
        hha_mode: str = "fast",
        hha_settings: HhaSettings | None = None,
    ) -> Segmenter:
        """Load a model bundle and a backend for it.

        Args:
            model: shipped name or path of a bundle.
            backend, device, num_threads: see :func:`lcr_seg_ros.backends.create_backend`.
            hha_mode: see :class:`lcr_seg_ros.hha.HhaEncoder`.
            hha_settings: default: those that the network was trained with.

        Raises:
            BundleError: the model file cannot be used.
            BackendError: nothing here can run it.
        """
        bundle = ModelBundle.load(model)
        return cls(bundle, create_backend(bundle, backend, device, num_threads), hha_mode, hha_settings)

    @property
    def labels(self) -> LabelSet:
        return self.bundle.labels

    @property
    def backend_name(self) -> str:
        return self._backend.name

    @property
    def device(self) -> str:
        return self._backend.device

    @property
    def max_batch(self) -> int:
        """How many frames at once pay; see :data:`MAX_BATCH`. A backend may have a ``max_batch`` of its own."""
        return int(getattr(self._backend, "max_batch", 1 if self.device == "cpu" else MAX_BATCH))

    def warm_up(self, width: int, height: int, batch: int = 1) -> None:
        """Compile everything for frames of this size by labelling empty ones."""
        intrinsics = CameraIntrinsics(0.8 * width, 0.8 * width, (width - 1) / 2, (height - 1) / 2, width, height)
        depth = np.full((height, width), 2.0, np.float32)
        self.segment_batch([RgbdFrame(np.zeros((height, width, 3), np.uint8), depth, intrinsics)] * batch)

    def segment(self, frame: RgbdFrame, tracker: GravityTracker | None = None) -> Segmentation:
        """Label one frame.

        Args:
            frame: with depth and intrinsics where the model needs them.
            tracker: memory of this camera's gravity, for frames that follow each other; brought up to date.

        Raises:
            FrameError: the model needs depth or intrinsics and the frame has none.
            BundleError: the network has another number of classes than the label set.
        """
        return self.segment_batch([frame], [tracker])[0]

    def segment_batch(
        self, frames: Sequence[RgbdFrame], trackers: Sequence[GravityTracker | None] | None = None
    ) -> list[Segmentation]:
        """Label frames, of several cameras, say; those of one network size go through the network together.

        Args:
            frames: with depth and intrinsics where the model needs them.
            trackers: one for each frame; see :meth:`segment`.

        Raises:
            FrameError, BundleError: as :meth:`segment`.
        """
        prepared = [self._prepare(*pair) for pair in zip(frames, trackers or [None] * len(frames), strict=True)]
        results: dict[int, Segmentation] = {}
        for shape in dict.fromkeys(one.tensor.shape for one in prepared):
            alike = [number for number, one in enumerate(prepared) if one.tensor.shape == shape]
            tensors = [prepared[number].tensor for number in alike]
            began = perf_counter()
            probabilities = self._infer(tensors[0] if len(tensors) == 1 else np.concatenate(tensors))
            network_ms = 1e3 * (perf_counter() - began) / len(alike)
            # Before the next call of the backend, which may overwrite these.
            for number, scores in zip(alike, probabilities, strict=True):
                results[number] = self._decode(prepared[number], scores, network_ms)
        return [results[number] for number in range(len(frames))]

    def _prepare(self, frame: RgbdFrame, tracker: GravityTracker | None) -> _Prepared:
        preprocessor = self._preprocessor_for(frame.rgb.shape)
        started = perf_counter()
        encoding = preprocessor.encode_hha(frame, tracker) if self.bundle.input.uses_depth else None
        hha, gravity = (encoding.image, encoding.gravity) if encoding else (None, None)
        encoded = perf_counter()
        tensor = preprocessor.to_tensor(frame.rgb, hha)
        stage_ms = {"hha": 1e3 * (encoded - started), "preprocess": 1e3 * (perf_counter() - encoded)}
        return _Prepared(frame, tensor, hha, gravity, stage_ms)

    def _decode(self, prepared: _Prepared, probabilities: npt.NDArray[np.float32], network_ms: float) -> Segmentation:
        began = perf_counter()
        if len(probabilities) != len(self._ids):
            raise BundleError(
                f"model {self.bundle.name!r} contradicts itself: its network scores {len(probabilities)} classes, its "
                f"label set {self.labels.name!r} names {len(self._ids)}"
            )
        height, width = prepared.frame.rgb.shape[:2]
        labels, confidence = decode(probabilities, self._ids, width, height)
        stage_ms = {**prepared.stage_ms, "network": network_ms, "decode": 1e3 * (perf_counter() - began)}
        return Segmentation(labels, confidence, prepared.hha, stage_ms, prepared.gravity)

    def _infer(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        try:
            return self._backend.infer(tensor)
        except Exception as error:  # each runtime has its own
            if self._fall_back is None or self.device == "cpu":
                raise
            reason = " ".join(str(error).split()) or type(error).__name__
        name, device = self.backend_name, self.device
        make, self._fall_back = self._fall_back, None
        self._backend = make()
        self.device_fallback = f"{name} failed on {device} ({reason}); {self.backend_name} on {self.device} instead"
        log.warning("%s", self.device_fallback)
        return self._backend.infer(tensor)

    def _preprocessor_for(self, shape: tuple[int, ...]) -> Preprocessor:
        if shape not in self._preprocessors:
            while len(self._preprocessors) >= KEPT_SIZES:
                del self._preprocessors[next(iter(self._preprocessors))]
            self._preprocessors[shape] = Preprocessor(self.bundle.input, self._hha_mode, self._hha_settings)
        return self._preprocessors[shape]
