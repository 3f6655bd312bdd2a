"""Buffers that take frames to a device and bring their labels back: one upload and one download per batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

NUMBERS = 10
"""float64 values per frame: fx, fy, cx, cy, gravity (3), camera height (NaN if not known), and a drawing's confidence
threshold and opacity."""

_TABLE_BYTES = 256


@dataclass(frozen=True)
class FrameKind:
    """What batches must have in common to share buffers and a CUDA graph.

    Args:
        count: number of frames.
        height, width: of each colour image, in pixels.
        depth_shape: (height, width) of the uploaded depth; (0, 0) if depth is not used.
        depth_type: ``float32``, ``uint16``, or None if depth is not used.
        has_gravity: whether the gravity of the cameras is known.
    """

    count: int
    height: int
    width: int
    depth_shape: tuple[int, int]
    depth_type: str | None
    has_gravity: bool


class DeviceBuffers:
    """Buffers for one kind of batch: one on the host, page-locked for CUDA, and its counterpart on the device.

    Attributes:
        numbers: (B, NUMBERS) float64; like all of the following, on the device.
        table: (256,) uint8, the mask id that a drawing shows for each mask id.
        depth: (B, h, w) of the kind's shape and type, or None.
        rgb: (B, H, W, 3) uint8.
        packed: (bytes,) uint8, the results of the batch.
        graph: the captured CUDA graph, or None.
    """

    def __init__(self, kind: FrameKind, device: torch.device) -> None:
        self.kind = kind
        pixels = kind.count * kind.height * kind.width
        number_bytes = 8 * NUMBERS * kind.count
        depth_pixels = kind.count * kind.depth_shape[0] * kind.depth_shape[1]
        depth_bytes = 0 if kind.depth_type is None else depth_pixels * np.dtype(kind.depth_type).itemsize
        sizes = (number_bytes, _TABLE_BYTES, depth_bytes, 3 * pixels)
        self._host = torch.empty(sum(sizes), dtype=torch.uint8, pin_memory=device.type == "cuda")
        self._twin = torch.empty_like(self._host, device=device)
        self._numbers, self._table, self._depth, self._rgb = _views(self._host, sizes, kind)
        self.numbers, self.table, self.depth, self.rgb = _views(self._twin, sizes, kind)
        self.packed: Tensor = self._host[:0]
        self._received = self._host[:0]
        self.graph: Any = None

    def upload(
        self,
        numbers: Sequence[npt.NDArray[np.float64]],
        table: npt.NDArray[np.uint8],
        depths: Sequence[npt.NDArray[Any] | None],
        images: Sequence[npt.NDArray[np.uint8]],
    ) -> None:
        """Copy a batch to the device.

        Args:
            numbers: (NUMBERS,) float64 of each frame.
            table: (256,) uint8.
            depths: (h, w) of each frame; ignored if the kind has no depth.
            images: (H, W, 3) uint8 of each frame.
        """
        self._table.numpy()[:] = table
        for number, (some, depth, image) in enumerate(zip(numbers, depths, images, strict=True)):
            self._numbers.numpy()[number] = some
            self._rgb.numpy()[number] = image
            if self._depth is not None:
                self._depth.numpy()[number] = depth
        self._twin.copy_(self._host, non_blocking=True)

    def capture(self, run: Callable[[DeviceBuffers], Tensor]) -> None:
        """Capture ``run(self)`` as a CUDA graph that leaves its result in ``packed``."""
        # Whatever is loaded or allocated on first use must be so before capture: run first, on a side stream.
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                run(self)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        # In the default mode, calls that other threads make meanwhile (for another model) would invalidate the capture.
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self.packed = run(self)
        self.graph = graph

    def download(self, size: int) -> npt.NDArray[np.uint8]:
        """(size,) copy of the first bytes of ``packed``, on the host; the next batch does not overwrite it."""
        if self.packed.device.type == "cpu":
            return self.packed[:size].numpy().copy()
        if len(self._received) != len(self.packed):
            self._received = torch.empty(len(self.packed), dtype=torch.uint8, pin_memory=True)
        self._received[:size].copy_(self.packed[:size], non_blocking=True)
        torch.cuda.current_stream().synchronize()
        return self._received[:size].numpy().copy()


def pack(parts: Sequence[Tensor]) -> Tensor:
    """(bytes,) uint8: the bytes of all tensors, one after the other."""
    return torch.cat([part.contiguous().reshape(-1).view(torch.uint8) for part in parts])


def _views(buffer: Tensor, sizes: Sequence[int], kind: FrameKind) -> tuple[Tensor, Tensor, Tensor | None, Tensor]:
    numbers, table, depth, rgb = buffer.split(list(sizes))
    typed = None
    if kind.depth_type is not None:
        typed = depth.view(getattr(torch, kind.depth_type)).reshape(kind.count, *kind.depth_shape)
    image = rgb.reshape(kind.count, kind.height, kind.width, 3)
    return numbers.view(torch.float64).reshape(kind.count, NUMBERS), table, typed, image
