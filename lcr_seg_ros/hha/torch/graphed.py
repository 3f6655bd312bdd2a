"""HHA of batches as one CUDA graph."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lcr_seg_ros.errors import BackendError, FrameError
from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.hha.definition import GRAVITY_START
from lcr_seg_ros.hha.settings import HhaSettings
from lcr_seg_ros.hha.torch.encode import TorchHha
from lcr_seg_ros.hha.torch.frames import constants, intrinsics_per_frame


class GraphedHha:
    """:meth:`TorchHha.encode_batch` for frames of one size as one CUDA graph, replayed without work on the host.

    Args:
        batch, height, width: of the depth images, which are float32.
        intrinsics: shared by all cameras of the batch.
        device: a CUDA device.
        settings: as for :class:`TorchHha`.
        with_valid, with_gravity, with_camera_height: whether calls will pass these arguments.
        compiled: fuse operations with ``torch.compile`` before the capture: about 100 kernels in place of 1800. This
            takes a minute or more once, and a C compiler on the machine (which Triton needs).

    Raises:
        BackendError: ``device`` is not a CUDA device that can be used here.
        FrameError: as :meth:`TorchHha.encode_batch`.
    """

    def __init__(
        self,
        batch: int,
        height: int,
        width: int,
        intrinsics: CameraIntrinsics,
        device: str | torch.device = "cuda",
        settings: HhaSettings | None = None,
        *,
        with_valid: bool = False,
        with_gravity: bool = False,
        with_camera_height: bool = False,
        compiled: bool = True,
    ) -> None:
        if torch.device(device).type != "cuda" or not torch.cuda.is_available():
            raise BackendError(f"a CUDA graph needs a CUDA device, and {device} is none here: use TorchHha")
        encode: Any = TorchHha(settings).encode_batch
        if compiled:
            encode = torch.compile(encode, fullgraph=True, dynamic=False)
        with torch.cuda.device(device):
            self._depth_m = torch.ones(batch, height, width, device=device)
            cameras = intrinsics_per_frame(intrinsics, self._depth_m)
            self._valid = torch.ones(batch, height, width, dtype=torch.bool, device=device) if with_valid else None
            upright = constants(GRAVITY_START, self._depth_m).repeat(batch, 1)
            self._gravity = upright if with_gravity else None
            self._camera_height_m = torch.ones(batch, device=device) if with_camera_height else None
            arguments = (self._depth_m, cameras, self._valid, self._gravity, self._camera_height_m)
            # Whatever is compiled, loaded or allocated on first use must be so before capture: run on a side stream.
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(3):
                    encode(*arguments)
            torch.cuda.current_stream().wait_stream(stream)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._hha, self._down = encode(*arguments)

    def __call__(
        self,
        depth_m: Tensor,
        valid: Tensor | None = None,
        gravity: Tensor | None = None,
        camera_height_m: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As :meth:`TorchHha.encode_batch`; **the next call overwrites the tensors that are returned**.

        Raises:
            FrameError: an argument is missing, was not announced to the constructor, or has another shape.
        """
        given = {"depth_m": depth_m, "valid": valid, "gravity": gravity, "camera_height_m": camera_height_m}
        for name, value in given.items():
            buffer = getattr(self, f"_{name}")
            wanted, got = (None if t is None else tuple(t.shape) for t in (buffer, value))
            if wanted != got:
                raise FrameError(f"this graph was captured for {name} of shape {wanted}, got {got}: capture another")
            if buffer is not None:
                buffer.copy_(value, non_blocking=True)
        self._graph.replay()
        return self._hha, self._down
