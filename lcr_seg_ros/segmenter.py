"""The straight walk from a camera frame to labels. No ROS, no PyTorch unless its backend is chosen."""

from __future__ import annotations

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


@dataclass(frozen=True)
class Segmentation:
    """What a frame became.

    Args:
        labels: (H, W) uint8 mask ids of the model's label set, at the size of the frame.
        confidence: (H, W) float32 probability of that label, 0..1.
        hha: (H, W, 3) uint8, or None where the model sees colour only.
        gravity: what HHA was computed with, or None where the model sees colour only.
        stage_ms: wall time of each stage in milliseconds: ``hha``, ``preprocess``, ``network``, ``decode``.
    """

    labels: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float32]
    hha: npt.NDArray[np.uint8] | None = None
    stage_ms: dict[str, float] = field(default_factory=dict)
    gravity: GravityEstimate | None = None


class Segmenter:
    """A model made ready to label frames.

    Without a tracker the same frame gives the same labels whatever came before it. Not to be shared between threads.
    """

    def __init__(
        self, bundle: ModelBundle, backend: Backend, hha_mode: str = "fast", hha_settings: HhaSettings | None = None
    ) -> None:
        self.bundle = bundle
        self._backend = backend
        self._preprocessor = Preprocessor(bundle.input, hha_mode, hha_settings)
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

    def warm_up(self, width: int, height: int) -> None:
        """Compile everything for frames of this size by labelling an empty one."""
        intrinsics = CameraIntrinsics(0.8 * width, 0.8 * width, (width - 1) / 2, (height - 1) / 2, width, height)
        depth = np.full((height, width), 2.0, np.float32)
        self.segment(RgbdFrame(np.zeros((height, width, 3), np.uint8), depth, intrinsics))

    def segment(self, frame: RgbdFrame, tracker: GravityTracker | None = None) -> Segmentation:
        """Label one frame.

        Args:
            frame: with depth and intrinsics where the model needs them.
            tracker: memory of this camera's gravity, for frames that follow each other; brought up to date.

        Raises:
            FrameError: the model needs depth or intrinsics and the frame has none.
            BundleError: the network has another number of classes than the label set.
        """
        started = perf_counter()
        encoding = self._preprocessor.encode_hha(frame, tracker) if self.bundle.input.uses_depth else None
        hha, gravity = (encoding.image, encoding.gravity) if encoding else (None, None)
        encoded = perf_counter()
        tensor = self._preprocessor.to_tensor(frame.rgb, hha)
        prepared = perf_counter()
        probabilities = self._backend.infer(tensor)[0]
        if len(probabilities) != len(self._ids):
            raise BundleError(
                f"model {self.bundle.name!r} contradicts itself: its network scores {len(probabilities)} classes, its "
                f"label set {self.labels.name!r} names {len(self._ids)}"
            )
        inferred = perf_counter()
        labels, confidence = decode(probabilities, self._ids, frame.rgb.shape[1], frame.rgb.shape[0])
        decoded = perf_counter()
        stage_ms = {
            "hha": 1e3 * (encoded - started),
            "preprocess": 1e3 * (prepared - encoded),
            "network": 1e3 * (inferred - prepared),
            "decode": 1e3 * (decoded - inferred),
        }
        return Segmentation(labels, confidence, hha, stage_ms, gravity)
