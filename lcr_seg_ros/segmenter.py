"""The whole path from a camera frame to labels. Needs no ROS, and PyTorch only if its backend is chosen.

There are two paths:

- Stage by stage: HHA and preprocessing on the CPU, the network on its backend, decoding on the CPU.
- Where PyTorch runs the network on CUDA, everything on the device (:mod:`lcr_seg_ros.device_pipeline`). Before its
  first use, its labels are compared with those of the stages; if it ever fails, the stages replace it for good.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.backends import Backend, create_backend
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.decode import decode
from lcr_seg_ros.drawing import Drawing, Pictures
from lcr_seg_ros.errors import BackendError, BundleError, FrameError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.hha import GravityEstimate, GravityTracker, HhaSettings
from lcr_seg_ros.hha.tracking import restored_on_error
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.preprocess import Preprocessor, network_size

if TYPE_CHECKING:
    from lcr_seg_ros.backends.torch import TorchBackend
    from lcr_seg_ros.device_pipeline import DevicePipeline

log = logging.getLogger(__name__)

MAX_BATCH = 8
"""Frames per network call on a GPU. On a CPU it is one: there a batch of two takes at least as long as two single calls
(measured on two cores, with OpenVINO and with ONNX Runtime), and the first frame would wait for the second."""

LEAST_AGREEMENT = 0.98
"""The device pipeline and the stages must give the same label for at least this share of a test image's pixels."""

KEPT_SIZES = 4
"""Number of frame sizes, those used most recently, whose buffers are kept, so that cameras of different sizes do not
evict each other's."""


@dataclass(frozen=True)
class Segmentation:
    """The result for one frame.

    Args:
        labels: (H, W) uint8 mask ids of the model's label set, at the size of the frame.
        confidence: (H, W) float32 probability of that label, 0..1.
        hha: (h, w, 3) uint8, the frame's own or of the size of :func:`lcr_seg_ros.preprocess.hha_size`; None if the
            model uses colour only, or if the device pipeline was not asked for it.
        gravity: the gravity that HHA was computed with; None if the model uses colour only, or the frame's own HHA.
        pictures: pictures of the labels; None unless a drawing was requested and the device pipeline made it.
        stage_ms: wall time of each stage in milliseconds. Stage by stage: ``hha``, ``preprocess``, ``network``,
            ``decode``. In the device pipeline: ``gravity``, found on the CPU (absent if the model uses colour only),
            and ``device``, from the upload to the end of the download. The time that a batch spends together is
            divided equally among its frames.
    """

    labels: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float32]
    hha: npt.NDArray[np.uint8] | None = None
    stage_ms: dict[str, float] = field(default_factory=dict)
    gravity: GravityEstimate | None = None
    pictures: Pictures | None = None


@dataclass(frozen=True)
class _Prepared:
    """A preprocessed frame: ``tensor`` is its (1, C, h, w) network input."""

    frame: RgbdFrame
    tensor: npt.NDArray[np.float32]
    hha: npt.NDArray[np.uint8] | None
    gravity: GravityEstimate | None
    stage_ms: dict[str, float]


class Segmenter:
    """A model that is ready to label frames.

    Without a tracker, a frame's labels do not depend on earlier frames. Not to be shared between threads.

    Args:
        bundle: the model.
        backend: runs its network.
        hha_mode: see :class:`lcr_seg_ros.hha.HhaEncoder`.
        hha_settings: default: those that the network was trained with.
        fall_back: makes a CPU backend to replace a GPU backend that fails on a frame (out of memory, device lost).
            If it raises, it is called again for the next frame. Default: the failure is raised.
        device_pipeline: whether frames go through :class:`lcr_seg_ros.device_pipeline.DevicePipeline`, which needs the
            torch backend. Default: yes if that backend runs on CUDA, unless ``hha_mode`` is "exact".
        num_threads: CPU threads of HHA, see :class:`lcr_seg_ros.hha.HhaEncoder`. The backend has its own setting.

    Raises:
        BackendError: ``device_pipeline`` is set and the backend is not torch.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        backend: Backend,
        hha_mode: str = "fast",
        hha_settings: HhaSettings | None = None,
        fall_back: Callable[[], Backend] | None = None,
        device_pipeline: bool | None = None,
        num_threads: int = 0,
    ) -> None:
        self.bundle = bundle
        self.device_fallback: str = getattr(backend, "device_fallback", "")
        """Why frames do not take the chosen path: no backend could use the CUDA device, the network moved from its
        device to the CPU, or the device pipeline was given up. Empty as long as none of these has happened."""
        self._backend = backend
        self._fall_back = fall_back
        self._hha_mode = hha_mode
        self._hha_settings = hha_settings
        self._num_threads = num_threads
        self._preprocessors: dict[tuple[int, ...], Preprocessor] = {}
        self._ids = bundle.labels.ids
        if device_pipeline is None:
            device_pipeline = _has_torch_network(backend) and backend.device == "cuda" and hha_mode != "exact"
        elif device_pipeline and not _has_torch_network(backend):
            raise BackendError(f"the device pipeline needs backend torch, got {backend.name}")
        self._is_on_device = device_pipeline
        self._pipeline: DevicePipeline | None = None  # made for the first frame

    @classmethod
    def load(
        cls,
        model: str | Path = "nyu40",
        backend: str = "auto",
        device: str = "auto",
        num_threads: int = 0,
        hha_mode: str = "fast",
        hha_settings: HhaSettings | None = None,
        device_pipeline: bool | None = None,
    ) -> Segmenter:
        """Load a model bundle and a backend for it.

        Args:
            model: name of a shipped bundle, or path of a bundle.
            backend, device: see :func:`lcr_seg_ros.backends.create_backend`.
            num_threads: CPU threads of the backend and of HHA; with 0, each chooses its own number.
            hha_mode: see :class:`lcr_seg_ros.hha.HhaEncoder`.
            hha_settings: default: those that the network was trained with.
            device_pipeline: see :class:`Segmenter`.

        Raises:
            BundleError: the model file cannot be used.
            BackendError: no backend on this machine can run it, or ``device_pipeline`` without the torch backend.
        """
        bundle = ModelBundle.load(model)
        runtime = create_backend(bundle, backend, device, num_threads)
        return cls(bundle, runtime, hha_mode, hha_settings, None, device_pipeline, num_threads)

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
    def is_on_device(self) -> bool:
        """Whether frames go through the device pipeline."""
        return self._is_on_device

    @property
    def max_batch(self) -> int:
        """Largest batch that is worthwhile, see :data:`MAX_BATCH`; a ``max_batch`` of the backend takes precedence."""
        return int(getattr(self._backend, "max_batch", 1 if self.device == "cpu" else MAX_BATCH))

    def warm_up(self, width: int, height: int, batch: int = 1) -> None:
        """Compile everything for batches of up to ``batch`` frames of this size (in pixels) by labelling empty ones."""
        depth_m = np.full((height, width), 2.0, np.float32)
        frame = RgbdFrame(np.zeros((height, width, 3), np.uint8), depth_m, _some_camera(width, height))
        # The device pipeline splits smaller batches into these powers of two.
        smaller = [1 << power for power in range((batch - 1).bit_length())] if self._is_on_device else []
        if not self._is_on_device:
            self._load_stages(frame, batch)
        for count in (*smaller, batch):
            self.segment_batch([frame] * count)

    def _load_stages(self, frame: RgbdFrame, batch: int) -> None:
        """Load the compiled HHA, which keeps Python busy, while the runtime compiles the network, which does not."""
        width, height = network_size(frame.rgb.shape[1], frame.rgb.shape[0], self.bundle.input)
        with ThreadPoolExecutor(1, "network") as pool:
            network = pool.submit(self._infer, np.zeros((batch, self.bundle.input.channels, height, width), np.float32))
            self._prepare(frame, None)
            network.result()

    def segment(self, frame: RgbdFrame, tracker: GravityTracker | None = None, with_hha: bool = True) -> Segmentation:
        """Label one frame.

        Args:
            frame: with depth and intrinsics where the model needs them.
            tracker: memory of this camera's gravity, for consecutive frames; it is updated, unless an error is raised.
            with_hha: False if the HHA image is not needed: the device pipeline then does not download it.

        Raises:
            FrameError: the model needs depth or intrinsics and the frame has none.
            BundleError: network and label set differ in the number of classes.
            BackendError: the device has failed, and ``fall_back``, too.
        """
        return self.segment_batch([frame], [tracker], with_hha)[0]

    def segment_batch(
        self,
        frames: Sequence[RgbdFrame],
        trackers: Sequence[GravityTracker | None] | None = None,
        with_hha: bool = True,
        drawing: Drawing | None = None,
    ) -> list[Segmentation]:
        """Label several frames, for example one from each camera. Frames of one network size share a network call.

        Args:
            frames: with depth and intrinsics where the model needs them.
            trackers: one for each frame; see :meth:`segment`.
            with_hha: see :meth:`segment`.
            drawing: how to draw pictures of the labels; None for no pictures. Only the device pipeline draws them;
                stage by stage, drawing is left to the caller.

        Raises:
            FrameError, BundleError, BackendError: as :meth:`segment`.
        """
        pairs = list(zip(frames, trackers or [None] * len(frames), strict=True))
        # The device pipeline computes HHA itself, so frames that bring HHA along go through the stages.
        if self._is_on_device and pairs and all(frame.hha is None for frame in frames):
            try:
                pipeline = self._pipeline = self._pipeline or self._verified_pipeline(pairs[0][0])
                with restored_on_error(tracker for _, tracker in pairs):
                    return _segment_on_device(pipeline, pairs, with_hha, drawing)
            except (FrameError, BundleError):
                raise
            except Exception as error:  # such as device lost or out of memory
                self._abandon_pipeline(error)
        with restored_on_error(tracker for _, tracker in pairs):
            return self._stage_by_stage(pairs)

    def _verified_pipeline(self, first: RgbdFrame) -> DevicePipeline:
        """A new device pipeline, compared with the stages on a test image of the size of ``first``.

        Raises:
            BackendError: their labels differ.
        """
        from lcr_seg_ros.device_pipeline import DevicePipeline

        backend = cast("TorchBackend", self._backend)
        pipeline = DevicePipeline(self.bundle, backend, self._hha_settings, graphed=backend.device == "cuda")
        sample = _sample_frame(first.rgb.shape[1], first.rgb.shape[0])
        (expected,) = self._stage_by_stage([(sample, None)])
        agreement = float((_segment_on_device(pipeline, [(sample, None)], False)[0].labels == expected.labels).mean())
        if agreement < LEAST_AGREEMENT:
            raise BackendError(
                f"it labels {1 - agreement:.1%} of the pixels of a test image otherwise than the stages do"
            )
        return pipeline

    def _abandon_pipeline(self, error: Exception) -> None:
        self._is_on_device, self._pipeline = False, None
        if self.device_fallback:
            return  # the network itself has just left the device, which has been said
        self.device_fallback = f"the device pipeline failed on {self.device} ({_reason(error)}); stage by stage instead"
        log.warning("%s", self.device_fallback)

    def _stage_by_stage(self, pairs: Sequence[tuple[RgbdFrame, GravityTracker | None]]) -> list[Segmentation]:
        prepared = [self._prepare(*pair) for pair in pairs]
        results: dict[int, Segmentation] = {}
        for shape in dict.fromkeys(one.tensor.shape for one in prepared):
            alike = [number for number, one in enumerate(prepared) if one.tensor.shape == shape]
            tensors = [prepared[number].tensor for number in alike]
            began = perf_counter()
            probabilities = self._infer(tensors[0] if len(tensors) == 1 else np.concatenate(tensors))
            network_ms = 1e3 * (perf_counter() - began) / len(alike)
            # Decode before the next call of the backend, which may overwrite these probabilities.
            for number, scores in zip(alike, probabilities, strict=True):
                results[number] = self._decode(prepared[number], scores, network_ms)
        return [results[number] for number in range(len(pairs))]

    def _prepare(self, frame: RgbdFrame, tracker: GravityTracker | None) -> _Prepared:
        preprocessor = self._preprocessor_for(frame.rgb.shape)
        started = perf_counter()
        hha, gravity = preprocessor.hha_of(frame, tracker)
        encoded = perf_counter()
        tensor = preprocessor.to_tensor(frame.rgb, hha)
        stage_ms = {"hha": 1e3 * (encoded - started), "preprocess": 1e3 * (perf_counter() - encoded)}
        return _Prepared(frame, tensor, hha, gravity, stage_ms)

    def _decode(self, prepared: _Prepared, probabilities: npt.NDArray[np.float32], network_ms: float) -> Segmentation:
        began = perf_counter()
        self.bundle.check_scores(len(probabilities))
        height, width = prepared.frame.rgb.shape[:2]
        labels, confidence = decode(probabilities, self._ids, width, height)
        stage_ms = {**prepared.stage_ms, "network": network_ms, "decode": 1e3 * (perf_counter() - began)}
        return Segmentation(labels, confidence, prepared.hha, stage_ms, prepared.gravity)

    def _infer(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        try:
            return self._backend.infer(tensor)
        except Exception as error:  # each runtime raises types of its own
            if self._fall_back is None or self.device == "cpu":
                raise
            reason = _reason(error)
        failed, failure = self._backend, f"{self.backend_name} failed on {self.device} ({reason})"
        try:
            self._backend = self._fall_back()
        except Exception as error:
            raise BackendError(f"{failure}, and the CPU cannot replace it: {_reason(error)}") from error
        self._fall_back = None
        if release := getattr(failed, "release", None):
            release()
        self.device_fallback = f"{failure}; {self.backend_name} on {self.device} instead"
        log.warning("%s", self.device_fallback)
        return self._backend.infer(tensor)

    def _preprocessor_for(self, shape: tuple[int, ...]) -> Preprocessor:
        preprocessor = self._preprocessors.pop(shape, None)
        if preprocessor is None:
            while len(self._preprocessors) >= KEPT_SIZES:
                del self._preprocessors[next(iter(self._preprocessors))]
            preprocessor = Preprocessor(self.bundle.input, self._hha_mode, self._hha_settings, self._num_threads)
        self._preprocessors[shape] = preprocessor  # the last: those that were used least recently go first
        return preprocessor


def _segment_on_device(
    pipeline: DevicePipeline,
    pairs: Sequence[tuple[RgbdFrame, GravityTracker | None]],
    with_hha: bool,
    drawing: Drawing | None = None,
) -> list[Segmentation]:
    from lcr_seg_ros.device_pipeline import DeviceFrame

    gravities, stages = [], []
    for pair in pairs:
        began = perf_counter()
        gravities.append(gravity := pipeline.find_gravity(*pair))
        stages.append({} if gravity is None else {"gravity": 1e3 * (perf_counter() - began)})
    began = perf_counter()
    results = pipeline.segment_batch(
        [
            DeviceFrame(
                frame.rgb,
                frame.depth_m,
                frame.intrinsics,
                None if gravity is None else gravity.down,
                frame.camera_height_m,
            )
            for (frame, _), gravity in zip(pairs, gravities, strict=True)
        ],
        with_hha,
        drawing,
    )
    device_ms = {"device": 1e3 * (perf_counter() - began) / len(pairs)}
    return [
        Segmentation(result.labels, result.confidence, result.hha, {**stage, **device_ms}, gravity, result.pictures)
        for result, stage, gravity in zip(results, stages, gravities, strict=True)
    ]


def _sample_frame(width: int, height: int) -> RgbdFrame:
    """Patches of random colours and depths, so that no two classes score alike over a large area."""
    random = np.random.default_rng(0)
    colors = random.integers(0, 256, (6, 8, 3), np.uint8)
    depth_m = random.uniform(1.0, 4.0, (6, 8)).astype(np.float32)
    rows, columns = np.arange(height) * 6 // height, np.arange(width) * 8 // width
    return RgbdFrame(colors[rows][:, columns], depth_m[rows][:, columns], _some_camera(width, height))


def _some_camera(width: int, height: int) -> CameraIntrinsics:
    return CameraIntrinsics(0.8 * width, 0.8 * width, (width - 1) / 2, (height - 1) / 2, width, height)


def _has_torch_network(backend: Backend) -> bool:
    return getattr(backend, "network", None) is not None


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
