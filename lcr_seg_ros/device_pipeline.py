"""From camera arrays to labels without leaving the device: one upload and one download a frame.

HHA, resizing, normalisation, the network, interpolation and the choice of the class are PyTorch operations on tensors
of the device, so the same code runs on CUDA, in half precision, and on the CPU in float32, where it is tested to give
the labels of :class:`lcr_seg_ros.segmenter.Segmenter`. **It has not been run on CUDA, nor its CUDA graph captured.**

Gravity, where no sensor knows it, is estimated before on the CPU (:meth:`DevicePipeline.find_gravity`): whether to
trust an estimate, and whether to start again at that of the last frame, hangs on values, which no CUDA graph can branch
on and which would have to be read back from the device in the middle of a frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from lcr_seg_ros.backends.torch import TorchBackend
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import BackendError, FrameError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.hha import GravityEstimate, GravityTracker, HhaEncoder, HhaSettings
from lcr_seg_ros.hha.torch import TorchHha
from lcr_seg_ros.preprocess import network_size

MAX_SHAPES = 4
"""So many kinds of frames have their buffers and graph kept."""

_NUMBERS = 8
"""float64 at the start of an upload: fx, fy, cx, cy, gravity (3), camera height."""


@dataclass(frozen=True)
class DeviceResult:
    """What a frame became.

    Args:
        labels: (H, W) uint8 mask ids.
        confidence: (H, W) float32 probability of that label, 0..1.
        hha: (H, W, 3) uint8, or None where it was not asked for.
        down: (3,) float64 unit vector of the gravity that HHA was computed with; None without HHA.
    """

    labels: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float32]
    hha: npt.NDArray[np.uint8] | None
    down: npt.NDArray[np.float64] | None


class DevicePipeline:
    """A bundle's whole chain on the device of a :class:`~lcr_seg_ros.backends.torch.TorchBackend`.

    Args:
        bundle: the model.
        backend: made of it; its network, device and precision are used.
        hha_settings: default: those that the network was trained with.
        graphed: replay each kind of frame as one CUDA graph, which spares the host the launch of some 2000 kernels.

    Not to be shared between threads.

    Raises:
        BackendError: ``graphed`` without CUDA.
    """

    def __init__(
        self,
        bundle: ModelBundle,
        backend: TorchBackend,
        hha_settings: HhaSettings | None = None,
        graphed: bool = False,
    ) -> None:
        if graphed and backend.device != "cuda":
            raise BackendError(f"a CUDA graph needs device cuda, this backend is on {backend.device}")
        self._spec = bundle.input
        self._backend = backend
        self._device = torch.device(backend.device)
        settings = hha_settings or bundle.input.hha
        self._hha = TorchHha(settings)
        self._encoder = HhaEncoder("fast", settings)
        self._graphed = graphed
        channels = (1, self._spec.channels, 1, 1)
        self._scale = 1.0 / torch.tensor(self._spec.std, device=self._device).reshape(channels)
        self._offset = torch.tensor(self._spec.mean, device=self._device).reshape(channels) * self._scale
        self._bundle = bundle
        self._ids = torch.from_numpy(bundle.labels.ids.copy()).to(self._device)
        self._stages: dict[_Kind, _Stage] = {}

    def find_gravity(self, frame: RgbdFrame, tracker: GravityTracker | None = None) -> GravityEstimate | None:
        """Gravity of a frame as :meth:`lcr_seg_ros.hha.HhaEncoder.encode_frame` finds it, on the CPU: the frame's own,
        or else estimated.

        Args:
            frame: with depth and intrinsics.
            tracker: memory of the camera's gravity, brought up to date; without it the frame is taken by itself.

        Returns:
            None for a model that sees colour only.

        Raises:
            FrameError: as :meth:`segment_arrays`.
        """
        if not self._spec.uses_depth:
            return None
        _numbers(frame.rgb, frame.depth_m, frame.intrinsics, frame.gravity, frame.camera_height_m)  # checks them
        return self._encoder.find_gravity(frame, tracker)

    def segment_arrays(
        self,
        rgb: npt.NDArray[np.uint8],
        depth: npt.NDArray[np.float32] | npt.NDArray[np.uint16] | None = None,
        intrinsics: CameraIntrinsics | None = None,
        gravity: npt.ArrayLike | None = None,
        camera_height_m: float | None = None,
        with_hha: bool = False,
    ) -> DeviceResult:
        """Label one frame. The first of a kind is slow: buffers are made, and the graph is captured.

        Args:
            rgb: (H, W, 3) uint8.
            depth: (H, W) float32 metres or uint16 millimetres, registered to ``rgb``; not for models of colour alone.
            intrinsics: of both.
            gravity: (3,) direction in the optical frame (x right, y down, z forward), pointing down. Default:
                estimated from this frame alone, without memory and without a judgement of how sure it is.
            camera_height_m: above the floor, > 0, if known.
            with_hha: also download the HHA image, if the model sees one.

        Raises:
            FrameError: depth or intrinsics are missing, or arrays of another shape or type.
            BundleError: the network has another number of classes than the label set.
        """
        if self._spec.uses_depth:
            numbers = _numbers(rgb, depth, intrinsics, gravity, camera_height_m)
        else:
            depth, numbers = None, np.zeros(_NUMBERS)
        has_gravity, has_height = gravity is not None, camera_height_m is not None
        kind = _Kind(rgb.shape[0], rgb.shape[1], None if depth is None else depth.dtype.name, has_gravity, has_height)
        stage = self._stages.get(kind)
        if stage is None:
            while len(self._stages) >= MAX_SHAPES:
                del self._stages[next(iter(self._stages))]
            stage = self._stages[kind] = _Stage(kind, self._device)
        stage.fill(numbers, depth, rgb)
        with torch.inference_mode():
            if self._graphed:
                if stage.graph is None:
                    stage.capture(self._run)
                stage.graph.replay()
            else:
                stage.packed = self._run(stage)
        return self._unpacked(stage, with_hha and self._spec.uses_depth)

    def _run(self, stage: _Stage) -> Tensor:
        """(bytes,) uint8 on the device: gravity float64, confidence float32, labels, HHA."""
        kind = stage.kind
        parts, images, last = [], [], []
        if self._spec.uses_rgb:
            images.append(stage.rgb.permute(2, 0, 1)[None])
        if stage.depth is not None:
            hha, down = self._hha.encode_batch(
                _metres(stage.depth)[None],
                stage.numbers[None, :4],
                gravity=stage.numbers[None, 4:7] if kind.has_gravity else None,
                camera_height_m=stage.numbers[7:8] if kind.has_height else None,
            )
            images.append(hha)
            parts.append(down)
            last.append(hha.permute(0, 2, 3, 1))
        tensor = _shrunk(torch.cat(images, 1), network_size(kind.width, kind.height, self._spec))
        tensor = (tensor * self._scale - self._offset).to(self._backend.dtype)
        probabilities = self._backend.network(tensor).float().softmax(1)
        self._bundle.check_scores(probabilities.shape[1])  # an index out of range would end all work on the device
        wide = functional.interpolate(probabilities, (kind.height, kind.width), mode="bilinear", align_corners=False)
        confidence, channel = wide.max(1)
        parts += [confidence, self._ids[channel], *last]
        return torch.cat([part.contiguous().reshape(-1).view(torch.uint8) for part in parts])

    def _unpacked(self, stage: _Stage, with_hha: bool) -> DeviceResult:
        height, width = stage.kind.height, stage.kind.width
        down_bytes = 24 if self._spec.uses_depth else 0
        rest = stage.download(down_bytes + (8 if with_hha else 5) * height * width)
        down, confidence, labels, hha = np.split(
            rest, [down_bytes, down_bytes + 4 * height * width, down_bytes + 5 * height * width]
        )
        return DeviceResult(
            labels.reshape(height, width),
            confidence.view(np.float32).reshape(height, width),
            hha.reshape(height, width, 3) if with_hha else None,
            down.view(np.float64) if down_bytes else None,
        )


@dataclass(frozen=True)
class _Kind:
    """Frames that can share buffers and a graph."""

    height: int
    width: int
    depth_type: str | None
    has_gravity: bool
    has_height: bool


class _Stage:
    """Buffers of one kind of frame: one on the host, page-locked for CUDA, and its twin on the device."""

    def __init__(self, kind: _Kind, device: torch.device) -> None:
        self.kind = kind
        pixels = kind.height * kind.width
        number_bytes = 8 * _NUMBERS
        depth_bytes = 0 if kind.depth_type is None else pixels * np.dtype(kind.depth_type).itemsize
        is_pinned = device.type == "cuda"
        self._host = torch.empty(number_bytes + depth_bytes + 3 * pixels, dtype=torch.uint8, pin_memory=is_pinned)
        self._twin = torch.empty_like(self._host, device=device)
        numbers, depth, rgb = self._twin.split((number_bytes, depth_bytes, 3 * pixels))
        self.numbers = numbers.view(torch.float64)
        self.rgb = rgb.reshape(kind.height, kind.width, 3)
        self.depth: Tensor | None = None
        if kind.depth_type is not None:
            self.depth = depth.view(getattr(torch, kind.depth_type)).reshape(kind.height, kind.width)
        self.packed: Tensor = self._host[:0]
        self._received = self._host[:0]
        self.graph: Any = None

    def fill(
        self, numbers: npt.NDArray[np.float64], depth: npt.NDArray[Any] | None, rgb: npt.NDArray[np.uint8]
    ) -> None:
        """Upload a frame."""
        host = self._host.numpy()
        place = 8 * _NUMBERS
        host[:place].view(np.float64)[:] = numbers
        if depth is not None:
            host[place : place + depth.nbytes].view(depth.dtype).reshape(depth.shape)[:] = depth
            place += depth.nbytes
        host[place:].reshape(rgb.shape)[:] = rgb
        self._twin.copy_(self._host, non_blocking=True)

    def capture(self, run: Any) -> None:
        """Make ``run`` of this stage a CUDA graph that leaves its result in ``packed``."""
        # What is loaded or allocated on first use must be so before capture, on a stream of its own.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                run(self)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # By default what other threads do on the device meanwhile would spoil it: another model may be at work.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self.packed = run(self)
        self.graph = graph

    def download(self, size: int) -> npt.NDArray[np.uint8]:
        """A copy of the first ``size`` bytes of ``packed``, which the next frame does not overwrite."""
        if self.packed.device.type == "cpu":
            return self.packed[:size].numpy().copy()
        if len(self._received) != len(self.packed):
            self._received = torch.empty(len(self.packed), dtype=torch.uint8, pin_memory=True)
        self._received[:size].copy_(self.packed[:size], non_blocking=True)
        torch.cuda.current_stream().synchronize()
        return self._received[:size].numpy().copy()


def _numbers(
    rgb: npt.NDArray[np.uint8],
    depth: npt.NDArray[Any] | None,
    intrinsics: CameraIntrinsics | None,
    gravity: npt.ArrayLike | None,
    camera_height_m: float | None,
) -> npt.NDArray[np.float64]:
    """(_NUMBERS,) what is uploaded beside the images, once all is known to be right."""
    if depth is None or intrinsics is None:
        raise FrameError("this model sees HHA and needs depth and the camera's intrinsics")
    if depth.dtype not in (np.uint16, np.float32):
        raise FrameError(f"depth must be uint16 millimetres or float32 metres, got {depth.dtype}")
    RgbdFrame(rgb, np.broadcast_to(np.float32(0), depth.shape), intrinsics)  # checks shapes and sizes
    down = np.asarray((0.0, 1.0, 0.0) if gravity is None else gravity, np.float64)
    if down.shape != (3,) or not np.isfinite(down).all() or not down.any():
        raise FrameError(f"gravity must be three finite numbers, not all 0, got {gravity!r}")
    height = 1.0 if camera_height_m is None else camera_height_m
    if not 0 < height < np.inf:
        raise FrameError(f"camera_height_m must be > 0, got {camera_height_m!r}")
    return np.array([intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy, *down, height])


def _metres(depth: Tensor) -> Tensor:
    """As :func:`lcr_seg_ros.frame.depth_to_metres`."""
    return depth.float() * 0.001 if depth.dtype == torch.uint16 else depth


def _shrunk(images: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, C, H, W) uint8 -> float32 of ``size`` = (width, height), rounded as :func:`lcr_seg_ros.preprocess` does."""
    width, height = size
    rows, columns = images.shape[-2:]
    values = images.float()
    if (rows, columns) == (height, width):
        return values
    if height > rows or width > columns:
        values = functional.interpolate(values, (height, width), mode="bilinear", align_corners=False)
    elif rows % height == 0 and columns % width == 0:
        values = functional.avg_pool2d(values, (rows // height, columns // width))
    else:
        values = _area_weights(rows, height, values) @ values @ _area_weights(columns, width, values).T
    return (values + 0.5).floor()


def _area_weights(fine: int, coarse: int, like: Tensor) -> Tensor:
    """(coarse, fine) share of each fine sample in each coarse one, by the length they have in common."""
    edge = torch.arange(coarse + 1, device=like.device, dtype=torch.float64) * (fine / coarse)
    sample = torch.arange(fine, device=like.device, dtype=torch.float64)
    shared = torch.minimum(edge[1:, None], sample + 1) - torch.maximum(edge[:-1, None], sample)
    return (shared.clamp(min=0.0) * (coarse / fine)).to(like.dtype)
