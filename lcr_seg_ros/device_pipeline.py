"""From camera images to labels without leaving the device: one upload and one download per frame or batch.

HHA, resizing, normalisation, the network, interpolation, the choice of the class and drawing are PyTorch operations on
device tensors. The same code therefore runs on CUDA in half precision and on the CPU in float32, where tests check that
it gives the labels of :class:`lcr_seg_ros.segmenter.Segmenter` and the pictures of :mod:`lcr_seg_ros.render`. **It has
not been run on CUDA, and its CUDA graph has not been captured.**

Gravity that no sensor measures is estimated beforehand on the CPU (:meth:`DevicePipeline.find_gravity`). Whether to
trust an estimate, and whether to restart it from that of the last frame, depends on values; a CUDA graph cannot branch
on these, and they would have to be read back from the device in the middle of a frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from lcr_seg_ros.backends.torch import TorchBackend
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.device_buffers import DeviceBuffers, FrameKind, pack
from lcr_seg_ros.drawing import Drawing, Pictures
from lcr_seg_ros.errors import BackendError, FrameError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame, sample_depth
from lcr_seg_ros.hha import GravityEstimate, GravityTracker, HhaEncoder, HhaSettings
from lcr_seg_ros.hha.torch import TorchHha
from lcr_seg_ros.labels import UNLABELLED
from lcr_seg_ros.preprocess import hha_size, network_size

MAX_KINDS = 8
"""Number of kinds of batches whose buffers and graphs are kept: those that were used most recently."""


@dataclass(frozen=True)
class DeviceFrame:
    """What is uploaded of a frame.

    Args:
        rgb: (H, W, 3) uint8.
        depth: (H, W) float32 metres or uint16 millimetres, registered to ``rgb``; not needed by colour-only models.
        intrinsics: of both.
        gravity: (3,) direction in the optical frame (x right, y down, z forward), pointing down. Default: estimated
            from this frame alone, without memory and without checking how reliable it is.
        camera_height_m: height above the floor in metres, > 0, if known.
    """

    rgb: npt.NDArray[np.uint8]
    depth: npt.NDArray[np.float32] | npt.NDArray[np.uint16] | None = None
    intrinsics: CameraIntrinsics | None = None
    gravity: npt.ArrayLike | None = None
    camera_height_m: float | None = None


@dataclass(frozen=True)
class DeviceResult:
    """The result for one frame.

    Args:
        labels: (H, W) uint8 mask ids.
        confidence: (H, W) float32 probability of that label, 0..1.
        hha: (h, w, 3) uint8, of the size of :func:`lcr_seg_ros.preprocess.hha_size`; None if it was not requested or
            the model uses colour only.
        down: (3,) float64 unit vector of the gravity that HHA was computed with; None if the model uses colour only.
        pictures: pictures of the labels; None if no drawing was requested.
    """

    labels: npt.NDArray[np.uint8]
    confidence: npt.NDArray[np.float32]
    hha: npt.NDArray[np.uint8] | None
    down: npt.NDArray[np.float64] | None
    pictures: Pictures | None = None


class DevicePipeline:
    """All stages of a model on the device of a :class:`~lcr_seg_ros.backends.torch.TorchBackend`.

    Args:
        bundle: the model.
        backend: made from ``bundle``; its network, device and precision are used.
        hha_settings: default: those that the network was trained with.
        graphed: replay each kind of batch as one CUDA graph, which saves the host some 2000 kernel launches.

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
        self._palette = torch.from_numpy(bundle.labels.palette).to(self._device)
        is_open = torch.zeros(256, dtype=torch.bool)
        is_open[[UNLABELLED, bundle.labels.void]] = True
        self._is_open = is_open.to(self._device)
        self._buffers: dict[FrameKind, DeviceBuffers] = {}

    def find_gravity(self, frame: RgbdFrame, tracker: GravityTracker | None = None) -> GravityEstimate | None:
        """Find a frame's gravity on the CPU, as :meth:`lcr_seg_ros.hha.HhaEncoder.encode_frame` does.

        It is the gravity that the frame carries, or else an estimate.

        Args:
            frame: with depth and intrinsics.
            tracker: memory of the camera's gravity; it is updated. Without it, the frame is considered on its own.

        Returns:
            None for a model that sees colour only.

        Raises:
            FrameError: as :meth:`segment_batch`.
        """
        if not self._spec.uses_depth:
            return None
        _check_camera(DeviceFrame(frame.rgb, frame.depth_m, frame.intrinsics, frame.gravity, frame.camera_height_m))
        assert frame.depth_m is not None and frame.intrinsics is not None
        depth_m, intrinsics = sample_depth(frame.depth_m, frame.intrinsics, self._hha_size(frame.rgb))
        return self._encoder.find_gravity(
            depth_m, intrinsics, frame.gravity, frame.camera_height_m, tracker, frame.stamp_s
        )

    def segment(self, frame: DeviceFrame, with_hha: bool = False, drawing: Drawing | None = None) -> DeviceResult:
        """Label one frame; see :meth:`segment_batch`."""
        return self.segment_batch([frame], with_hha, drawing)[0]

    def segment_batch(
        self, frames: Sequence[DeviceFrame], with_hha: bool = False, drawing: Drawing | None = None
    ) -> list[DeviceResult]:
        """Label frames. The first batch of a kind is slow: buffers are allocated, and the graph is captured.

        Frames of one kind are batched, in the sizes that :func:`batch_sizes` gives.

        Args:
            frames: of any sizes.
            with_hha: also download the HHA images, if the model uses depth.
            drawing: also draw the labels in this way, and download the pictures.

        Raises:
            FrameError: depth or intrinsics are missing, or an array has another shape or type.
            BundleError: network and label set differ in the number of classes.
        """
        frames = [self._sampled(frame) for frame in frames]  # checks all of them before the work begins
        numbers = [self._numbers(frame, drawing) for frame in frames]
        kinds = [self._kind(frame) for frame in frames]
        results: dict[int, DeviceResult] = {}
        for kind in dict.fromkeys(kinds):
            alike = [number for number, other in enumerate(kinds) if other == kind]
            for size in batch_sizes(len(alike)):
                batch, alike = alike[:size], alike[size:]
                chosen = [frames[number] for number in batch], [numbers[number] for number in batch]
                results.update(zip(batch, self._segment_one_kind(kind, *chosen, with_hha, drawing), strict=True))
        return [results[number] for number in range(len(frames))]

    def _sampled(self, frame: DeviceFrame) -> DeviceFrame:
        """The frame with its depth, once checked, sampled at the size at which HHA is computed."""
        if not self._spec.uses_depth:
            return frame
        _check_camera(frame)
        assert frame.depth is not None and frame.intrinsics is not None
        depth, intrinsics = sample_depth(frame.depth, frame.intrinsics, self._hha_size(frame.rgb))
        return replace(frame, depth=depth, intrinsics=intrinsics)

    def _hha_size(self, rgb: npt.NDArray[np.uint8]) -> tuple[int, int]:
        return hha_size(rgb.shape[1], rgb.shape[0], self._spec)

    def _numbers(self, frame: DeviceFrame, drawing: Drawing | None) -> npt.NDArray[np.float64]:
        """(NUMBERS,) float64, uploaded with the images; see :data:`lcr_seg_ros.device_buffers.NUMBERS`."""
        camera = _camera_numbers(frame) if self._spec.uses_depth else np.zeros(8)
        drawn = drawing or Drawing()
        return np.array([*camera, drawn.confidence_threshold, drawn.opacity])

    def _kind(self, frame: DeviceFrame) -> FrameKind:
        """The kind of a batch that holds this frame alone."""
        height, width = frame.rgb.shape[:2]
        if not self._spec.uses_depth or frame.depth is None:
            return FrameKind(1, height, width, (0, 0), None, False)
        depth_shape = frame.depth.shape[0], frame.depth.shape[1]
        return FrameKind(1, height, width, depth_shape, frame.depth.dtype.name, frame.gravity is not None)

    def _segment_one_kind(
        self,
        kind: FrameKind,
        frames: Sequence[DeviceFrame],
        numbers: Sequence[npt.NDArray[np.float64]],
        with_hha: bool,
        drawing: Drawing | None,
    ) -> list[DeviceResult]:
        buffers = self._buffers_for(replace(kind, count=len(frames)))
        table = (drawing or Drawing()).table
        buffers.upload(numbers, table, [frame.depth for frame in frames], [frame.rgb for frame in frames])
        # A graph always draws: that costs little on a GPU, and not drawing would take a second graph.
        draws = self._graphed or drawing is not None
        with torch.inference_mode():
            if self._graphed:
                if buffers.graph is None:
                    buffers.capture(self._run)
                buffers.graph.replay()
            else:
                buffers.packed = self._run(buffers, draws)
        return self._unpack_results(buffers, draws, with_hha and self._spec.uses_depth, drawing)

    def _buffers_for(self, kind: FrameKind) -> DeviceBuffers:
        buffers = self._buffers.pop(kind, None)
        if buffers is None:
            while len(self._buffers) >= MAX_KINDS:
                del self._buffers[next(iter(self._buffers))]
            buffers = DeviceBuffers(kind, self._device)
        self._buffers[kind] = buffers  # the last: those that were used least recently go first
        return buffers

    def _run(self, buffers: DeviceBuffers, draws: bool = True) -> Tensor:
        """Label the batch in the buffers: (bytes,) uint8 on the device, arranged as in :func:`_layout`."""
        kind = buffers.kind
        first, images, last = [], [], []
        if self._spec.uses_rgb:
            images.append(buffers.rgb.permute(0, 3, 1, 2))
        if buffers.depth is not None:
            hha, down = self._hha.encode_batch(
                _metres(buffers.depth),
                buffers.numbers[:, :4],
                gravity=buffers.numbers[:, 4:7] if kind.has_gravity else None,
                camera_height_m=buffers.numbers[:, 7],
            )
            images.append(hha)
            first.append(down)
            last.append(hha.permute(0, 2, 3, 1))
        size = network_size(kind.width, kind.height, self._spec)
        tensor = torch.cat([_resized(image, size) for image in images], 1)
        tensor = (tensor * self._scale - self._offset).to(self._backend.dtype)
        probabilities = self._backend.network(tensor).float().softmax(1)
        self._bundle.check_scores(probabilities.shape[1])  # CUDA does not recover from an index out of range
        wide = functional.interpolate(probabilities, (kind.height, kind.width), mode="bilinear", align_corners=False)
        confidence, channel = wide.max(1)
        labels = self._ids[channel]
        pictures = self._drawn(buffers, labels, confidence) if draws else ()
        return pack([*first, confidence, labels, *pictures, *last])

    def _drawn(self, buffers: DeviceBuffers, labels: Tensor, confidence: Tensor) -> tuple[Tensor, Tensor]:
        """(B, H, W, 3) uint8 overlays and class colours, as :mod:`lcr_seg_ros.render` draws them."""
        threshold, opacity = buffers.numbers[:, 8:, None, None].float().unbind(1)
        shown = buffers.table[labels.long()].long().masked_fill(confidence < threshold, UNLABELLED)
        color = self._palette[shown]
        clear = (1.0 - buffers.numbers[:, 9]).float()[:, None, None, None]
        mixed = (buffers.rgb.float() * clear + color.float() * opacity[..., None]).round().to(torch.uint8)
        return torch.where(self._is_open[shown][..., None], buffers.rgb, mixed), color

    def _unpack_results(
        self, buffers: DeviceBuffers, draws: bool, with_hha: bool, drawing: Drawing | None
    ) -> list[DeviceResult]:
        layout = _layout(buffers.kind, draws)
        wanted = {"labels"} | ({"hha"} if with_hha else set()) | ({"color"} if drawing else set())
        size = max(place.end for name, place in layout.items() if name in wanted)
        data = buffers.download(size)
        parts = {
            name: data[place.start : place.end].view(place.dtype).reshape(buffers.kind.count, *place.shape)
            for name, place in layout.items()
            if place.end <= size
        }
        return [
            _result({name: part[k] for name, part in parts.items()}, wanted, drawing) for k in range(buffers.kind.count)
        ]


def batch_sizes(count: int) -> list[int]:
    """Sizes of the batches that ``count`` frames of one kind are split into: powers of two, the largest first.

    Each size has its own buffers and graph; powers of two keep the number of sizes small.
    """
    return [1 << bit for bit in reversed(range(count.bit_length())) if count >> bit & 1]


@dataclass(frozen=True)
class _Place:
    """Where a result lies in the downloaded bytes (``start`` to ``end``), and its type and shape for each frame."""

    start: int
    end: int
    dtype: type[np.generic]
    shape: tuple[int, ...]


def _layout(kind: FrameKind, draws: bool) -> dict[str, _Place]:
    """Places of the results by name, the most often needed first: one download of the first bytes fetches these."""
    image = kind.height, kind.width
    parts: list[tuple[str, type[np.generic], tuple[int, ...]]] = []
    if kind.depth_type is not None:
        parts.append(("down", np.float64, (3,)))
    parts += [("confidence", np.float32, image), ("labels", np.uint8, image)]
    if draws:
        parts += [("overlay", np.uint8, (*image, 3)), ("color", np.uint8, (*image, 3))]
    if kind.depth_type is not None:
        parts.append(("hha", np.uint8, (*kind.depth_shape, 3)))
    places, start = {}, 0
    for name, dtype, shape in parts:
        end = start + kind.count * math.prod(shape) * np.dtype(dtype).itemsize
        places[name] = _Place(start, end, dtype, shape)
        start = end
    return places


def _result(parts: dict[str, npt.NDArray[Any]], wanted: set[str], drawing: Drawing | None) -> DeviceResult:
    return DeviceResult(
        parts["labels"],
        parts["confidence"],
        parts["hha"] if "hha" in wanted else None,
        parts.get("down"),
        None if drawing is None else Pictures(drawing, parts["overlay"], parts["color"]),
    )


def _check_camera(frame: DeviceFrame) -> None:
    depth, intrinsics, gravity, camera_height_m = frame.depth, frame.intrinsics, frame.gravity, frame.camera_height_m
    if depth is None or intrinsics is None:
        raise FrameError("this model sees HHA and needs depth and the camera's intrinsics")
    if depth.dtype not in (np.uint16, np.float32):
        raise FrameError(f"depth must be uint16 millimetres or float32 metres, got {depth.dtype}")
    RgbdFrame(frame.rgb, np.broadcast_to(np.float32(0), depth.shape), intrinsics)  # checks shapes and sizes
    down = np.asarray((0.0, 1.0, 0.0) if gravity is None else gravity, np.float64)
    if down.shape != (3,) or not np.isfinite(down).all() or not down.any():
        raise FrameError(f"gravity must be three finite numbers, not all 0, got {gravity!r}")
    if camera_height_m is not None and not 0 < camera_height_m < np.inf:
        raise FrameError(f"camera_height_m must be > 0, got {camera_height_m!r}")


def _camera_numbers(frame: DeviceFrame) -> npt.NDArray[np.float64]:
    """(8,) float64: fx, fy, cx, cy, gravity (3; a placeholder if not known), camera height (NaN if not known)."""
    intrinsics = frame.intrinsics
    assert intrinsics is not None
    down = np.asarray((0.0, 1.0, 0.0) if frame.gravity is None else frame.gravity, np.float64)
    height = np.nan if frame.camera_height_m is None else frame.camera_height_m
    return np.array([intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy, *down, height])


def _metres(depth: Tensor) -> Tensor:
    """Like :func:`lcr_seg_ros.frame.depth_to_metres`."""
    return depth.float() * 0.001 if depth.dtype == torch.uint16 else depth


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize as :func:`lcr_seg_ros.preprocess.resize_image` does, to ``size`` = (width, height).

    (B, C, H, W) uint8 -> (B, C, height, width) float32, rounded to whole numbers.
    """
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
    """(coarse, fine) weight of each fine sample in each coarse one: the share of the coarse one's length it covers."""
    edge = torch.arange(coarse + 1, device=like.device, dtype=torch.float64) * (fine / coarse)
    sample = torch.arange(fine, device=like.device, dtype=torch.float64)
    shared = torch.minimum(edge[1:, None], sample + 1) - torch.maximum(edge[:-1, None], sample)
    return (shared.clamp(min=0.0) * (coarse / fine)).to(like.dtype)
