"""HHA in PyTorch: the channels of :mod:`lcr_seg_ros.hha.exact` for whole batches, on the device that holds the depth.

Suited to CUDA graphs and ``torch.compile``: nothing is read back from the device, no branch depends on a value, and
constants are filled in on the device, since a copy from the host cannot be captured. Convolutions and matrix products
are avoided, as TF32, autocast and other switches meant for the network would reduce their precision. Per-pixel work is
done in float32; float64 is used for disparity (to round as exact does), for the plane fits of the large windows (the
moments of their masks are exact integers, but may exceed 2^24) and for gravity.

It differs from exact in precision, and in that gravity is estimated from every other pixel of every other row.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from lcr_seg_ros.errors import BackendError, FrameError
from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.hha import coarse
from lcr_seg_ros.hha import definition as hha
from lcr_seg_ros.hha.evidence import (
    ALIGNED_DEG,
    AZIMUTH_BINS,
    OBSERVED_DEG,
    GravityEvidence,
    evidence_of_counts,
    horizontal_axes,
)
from lcr_seg_ros.hha.floor import first_sample
from lcr_seg_ros.hha.gravity import AMBIGUOUS
from lcr_seg_ros.hha.settings import HhaSettings

GRAVITY_STRIDE = 2
"""Gravity is estimated from the normals of every second pixel in rows and columns, which changes it by less than 0.1
degrees."""

Passes = Sequence[tuple[float, int]]


class TorchHha:
    """HHA of batches of depth images.

    Args:
        settings: deviations from the reference, see :class:`~lcr_seg_ros.hha.HhaSettings`.
    """

    def __init__(self, settings: HhaSettings | None = None) -> None:
        self.settings = settings or HhaSettings()
        self._passes = self.settings.cold_passes

    @torch.no_grad()
    def encode_batch(
        self,
        depth_m: Tensor,
        intrinsics: Tensor | CameraIntrinsics,
        valid: Tensor | None = None,
        gravity: Tensor | None = None,
        camera_height_m: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Encode a batch; the channels are those of :meth:`lcr_seg_ros.hha.HhaEncoder.encode`.

        All tensors are on one device. The values of arguments are never read on the host, and so are not checked.

        Args:
            depth_m: (B, H, W) float32 or float64, metres along the optical axis. 0, negative, NaN, Inf and
                values outside the range of the settings are holes.
            intrinsics: (B, 4) float, fx, fy, cx, cy in pixels, pixel centres at integers from 0; or one camera for
                the whole batch.
            valid: (B, H, W) bool, False where ``depth_m`` was filled in beforehand, which is ignored for normals.
            gravity: (B, 3) float, direction of gravity in the optical frame (x right, y down, z forward): it points
                down; any length > 0. Default: estimated.
            camera_height_m: (B,) float, height of each camera above the floor in metres, > 0; NaN: found by
                ``settings.floor``. Default: found for all.

        Returns:
            (B, 3, H, W) uint8: disparity, height, angle; all 0 for a frame without valid depth. And (B, 3) float64:
            unit vectors of the gravity that was used, pointing down; ``settings.upright`` where gravity was estimated
            and there were no normals.

        Raises:
            FrameError: a tensor has another shape or type, or the intrinsics are for another image size.
        """
        camera = _checked(depth_m, intrinsics, valid, gravity, camera_height_m)
        frames = _load(depth_m, camera, valid, self.settings)
        if gravity is None:
            start = _constants(self.settings.upright, depth_m).expand(depth_m.shape[0], 3)
            down = _estimate(_gravity_normals(frames), _normalised(start), self._passes)
        else:
            down = _normalised(gravity.double())
        return _channels(frames, down, camera_height_m, self.settings), down


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
            cameras = _intrinsics_per_frame(intrinsics, self._depth_m)
            self._valid = torch.ones(batch, height, width, dtype=torch.bool, device=device) if with_valid else None
            upright = _constants(hha.GRAVITY_START, self._depth_m).repeat(batch, 1)
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


class TorchExecution:
    """The :class:`~lcr_seg_ros.hha.encoder.Execution` in PyTorch: one frame at a time, on the GPU if there is one."""

    def __init__(self, settings: HhaSettings) -> None:
        self._settings = settings
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @torch.no_grad()
    def load(
        self, depth_m: npt.NDArray[np.floating], intrinsics: CameraIntrinsics, valid: npt.NDArray[np.bool_] | None
    ) -> bool:
        depth = self._on_device(depth_m)[None]
        mask = None if valid is None else self._on_device(valid)[None]
        self._frames = _load(depth, _camera(intrinsics, depth), mask, self._settings)
        self._normals: Tensor | None = None
        return bool(self._frames.any_known)

    @torch.no_grad()
    def gravity(self, start: npt.NDArray[np.float64], passes: Passes) -> npt.NDArray[np.float64]:
        down = _estimate(self._gravity_normals(), self._on_device(start)[None], passes)
        return np.asarray(down[0].cpu().numpy())

    @torch.no_grad()
    def evidence(self, down: npt.NDArray[np.float64]) -> GravityEvidence:
        axes = self._on_device(np.stack((down, *horizontal_axes(down))).astype(np.float32))
        normals = self._gravity_normals()[0]
        along, first, second = (axes[:, :, None] * normals).sum(1)
        is_there = (normals != 0).any(0)
        is_wall = is_there & (along.abs() < math.sin(math.radians(ALIGNED_DEG)))
        level = math.cos(math.radians(ALIGNED_DEG))
        azimuth = torch.floor(torch.atan2(second, first) * (AZIMUTH_BINS / (2 * math.pi))) % AZIMUTH_BINS
        walls = [is_wall & (azimuth == k) for k in range(AZIMUTH_BINS)]
        counts = torch.stack((is_there, along > level, along < -level, *walls)).sum(1).cpu().numpy()
        observed = math.radians(OBSERVED_DEG)
        sign = (along.abs() < math.sin(observed)).float() - (along.abs() > math.cos(observed)).float()
        scatter = ((normals * sign)[:, None] * normals[None]).sum(2).double().cpu().numpy()
        low_cm = _low_percentile(_height_cm(self._frames, self._on_device(down)[None]))
        return evidence_of_counts(
            int(counts[0]), int(counts[1]), int(counts[2]), counts[3:], scatter, -float(low_cm) / 100.0
        )

    @torch.no_grad()
    def channels(
        self, down: npt.NDArray[np.float64], camera_height_m: float | None, out: npt.NDArray[np.uint8]
    ) -> None:
        height = None if camera_height_m is None else self._frames.z.new_full((1,), camera_height_m)
        channels = _channels(self._frames, self._on_device(down)[None], height, self._settings)
        out[:] = channels[0].permute(1, 2, 0).cpu().numpy()

    def _gravity_normals(self) -> Tensor:
        if self._normals is None:
            self._normals = _gravity_normals(self._frames)
        return self._normals

    def _on_device(self, array: npt.NDArray[Any]) -> Tensor:
        # A copy: the array may be read-only or have negative strides, which tensors do not support.
        return torch.from_numpy(np.array(array, order="C")).to(self._device)


@dataclass(frozen=True)
class _Camera:
    """Intrinsics in pixels, (B, 1, 1) float64 each."""

    fx: Tensor
    fy: Tensor
    cx: Tensor
    cy: Tensor


@dataclass(frozen=True)
class _Frames:
    """A batch of depth images with their holes filled.

    Args:
        camera: intrinsics of each frame.
        depth_m: (B, H, W) float32 or float64, the input where it is known, filled elsewhere.
        z: (B, H, W), the same in float32.
        inverse: (B, H, W) float32, 1 / Z in 1/m where measured, 0 elsewhere.
        measured: (B, H, W) float32, 1 where depth is used for normals, 0 elsewhere.
        any_known: (B, 1, 1) bool, False for a frame without valid depth (whose z is 1).
    """

    camera: _Camera
    depth_m: Tensor
    z: Tensor
    inverse: Tensor
    measured: Tensor
    any_known: Tensor


def _checked(
    depth_m: Tensor,
    intrinsics: Tensor | CameraIntrinsics,
    valid: Tensor | None,
    gravity: Tensor | None,
    camera_height_m: Tensor | None,
) -> _Camera:
    if depth_m.ndim != 3 or not depth_m.numel() or depth_m.dtype not in (torch.float32, torch.float64):
        raise FrameError(
            f"depth_m must be (B, H, W) float32 or float64 in metres, none of them 0, got {_kind(depth_m)}"
        )
    batch = depth_m.shape[0]
    if valid is not None and (valid.shape != depth_m.shape or valid.dtype != torch.bool):
        raise FrameError(f"valid must be {tuple(depth_m.shape)} bool like depth_m, got {_kind(valid)}")
    if gravity is not None and (gravity.shape != (batch, 3) or not gravity.is_floating_point()):
        raise FrameError(f"gravity must be ({batch}, 3) float, one direction per frame, got {_kind(gravity)}")
    if camera_height_m is not None and camera_height_m.shape != (batch,):
        raise FrameError(f"camera_height_m must be ({batch},), one per frame, got {_kind(camera_height_m)}")
    if not isinstance(intrinsics, CameraIntrinsics) and intrinsics.shape != (batch, 4):
        raise FrameError(f"intrinsics must be ({batch}, 4), fx fy cx cy per frame, got {_kind(intrinsics)}")
    return _camera(intrinsics, depth_m)


def _camera(intrinsics: Tensor | CameraIntrinsics, depth_m: Tensor) -> _Camera:
    if isinstance(intrinsics, CameraIntrinsics):
        intrinsics = _intrinsics_per_frame(intrinsics, depth_m)
    return _Camera(*intrinsics.double()[:, :, None, None].unbind(1))


def _intrinsics_per_frame(intrinsics: CameraIntrinsics, depth_m: Tensor) -> Tensor:
    """(B, 4) float64."""
    batch, height, width = depth_m.shape
    if (intrinsics.width, intrinsics.height) != (width, height):
        raise FrameError(
            f"depth is {width}x{height} but the intrinsics are for {intrinsics.width}x{intrinsics.height}: "
            "use those of this image, or CameraIntrinsics.scaled_to"
        )
    return _constants((intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy), depth_m).repeat(batch, 1)


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _constants(values: Sequence[float], like: Tensor) -> Tensor:
    """(N,) float64 on the device of ``like``, filled in there."""
    return torch.stack([torch.full((), value, dtype=torch.float64, device=like.device) for value in values])


def _normalised(vectors: Tensor) -> Tensor:
    """Normalise (B, 3) vectors, after a division by their largest component, so that no square overflows."""
    scaled = vectors / vectors.abs().amax(-1, keepdim=True)
    return scaled / scaled.square().sum(-1, keepdim=True).sqrt()


def _load(depth_m: Tensor, camera: _Camera, valid: Tensor | None, settings: HhaSettings) -> _Frames:
    known = (depth_m >= settings.min_depth_m) & (depth_m <= settings.max_depth_m)
    any_known = known.flatten(1).any(1)[:, None, None]
    filled = torch.where(any_known, _push_pull(depth_m, known), 1.0)
    measured = (known if valid is None else known & valid).float()
    return _Frames(
        camera=camera,
        depth_m=torch.where(known, depth_m, filled),
        z=filled,
        inverse=measured / filled,
        measured=measured,
        any_known=any_known,
    )


def _push_pull(depth_m: Tensor, known: Tensor) -> Tensor:
    """The pyramid of :mod:`lcr_seg_ros.hha.holes`, always built to its top: how deep it need be depends on the values.

    Returns:
        (B, H, W) float32, 0 where a whole frame is unknown.
    """
    # Two channels: depth (0 where unknown), and 1 where known or else 0.
    levels = [torch.stack((torch.where(known, depth_m, 0.0).float(), known.float()), 1)]
    while max(levels[-1].shape[-2:]) > 1:
        height, width = levels[-1].shape[-2:]
        even = functional.pad(levels[-1], (0, width % 2, 0, height % 2)) if height % 2 or width % 2 else levels[-1]
        rows = even[..., ::2, :] + even[..., 1::2, :]
        total = rows[..., ::2] + rows[..., 1::2]
        levels.append(total / total[:, 1:].clamp(min=1.0))
    filled = levels.pop()[:, :1]
    for level in reversed(levels):
        height, width = level.shape[-2:]
        finer = functional.interpolate(filled, scale_factor=2.0, mode="bilinear", align_corners=False)
        filled = torch.where(level[:, 1:] > 0, level[:, :1], finer[..., :height, :width])
    return filled[:, 0]


def _gravity_normals(frames: _Frames) -> Tensor:
    """(B, 3, N) float32 unit normals of the 21x21 windows around every second pixel, 0 where there is none."""
    camera = frames.camera
    moments = _moments(frames.inverse, frames.measured, hha.GRAVITY_RADIUS, GRAVITY_STRIDE)
    a, b, c, is_there = _planes([m.double() for m in moments])
    offset_u, offset_v = _offsets(frames, GRAVITY_STRIDE)
    normals = torch.stack((camera.fx * a, camera.fy * b, c - a * offset_u - b * offset_v), 1)
    square = normals.square().sum(1, keepdim=True)
    is_there = is_there[:, None] & (square > 0)
    # c is 1/Z of the plane at the window's centre, so it has the sign of n.P there.
    length = torch.where(is_there, square, 1.0).sqrt() * torch.where(c < 0, -1.0, 1.0)[:, None]
    return torch.where(is_there, normals / length, 0.0).flatten(2).float()


def _estimate(normals: Tensor, start: Tensor, passes: Passes) -> Tensor:
    """As :func:`lcr_seg_ros.hha.gravity.estimate`, for a batch.

    Args:
        normals: (B, 3, N) unit vectors or 0.
        start: (B, 3) float64 unit vectors.

    Returns:
        (B, 3) float64 unit vectors.
    """
    x, y, z = normals.unbind(1)
    products = torch.stack((x * x, x * y, x * z, y * y, y * z, z * z), 1)
    down = start
    for threshold_deg, iterations in passes:
        cos_t, sin_t = math.cos(math.radians(threshold_deg)), math.sin(math.radians(threshold_deg))
        for _ in range(iterations):
            along = (normals * down.float()[:, :, None]).sum(1).abs()
            sign = (along < sin_t).float() - (along > cos_t).float()
            down = _refit((products * sign[:, None]).sum(2, dtype=torch.float64), down)
    return down


def _refit(scatter: Tensor, previous: Tensor) -> Tensor:
    """As :func:`lcr_seg_ros.hha.gravity.refit`, for a batch and without branches that depend on values.

    With eigenvalues l1 <= l2 <= l3 and eigenvectors e1, e2, e3 of A, and s a little below l1, adj(A - s I) is
    (l2 - s)(l3 - s) e1 e1^T + (l1 - s)(l3 - s) e2 e2^T + (l1 - s)(l2 - s) e3 e3^T. Up to a factor, this is close to
    the projection onto e1 if l2 is well above l1, and onto the plane of e1 and e2 if it is not. All three coefficients
    are positive, so no vector is turned into the opposite direction. Eigenvalues are the trigonometric solution of the
    characteristic equation (Smith, Communications of the ACM 4, 1961), accurate to about 1e-8 of the largest where two
    of them nearly coincide.

    Args:
        scatter: (B, 6) float64, the elements xx, xy, xz, yy, yz, zz of A.
        previous: (B, 3) float64 unit vectors.

    Returns:
        (B, 3) float64 unit vectors, ``previous`` where A is 0 or not finite.
    """
    xx, xy, xz, yy, yz, zz = (scatter / scatter.abs().amax(1, keepdim=True)).unbind(1)
    mean = (xx + yy + zz) / 3.0
    xx, yy, zz = xx - mean, yy - mean, zz - mean
    spread = (xx * xx + yy * yy + zz * zz + 2.0 * (xy * xy + xz * xz + yz * yz)).sqrt()
    # The eigenvalues are mean + sqrt(2/3) spread cos(t + 2 pi k / 3), k = 0, 1, 2, where cos(3 t) is this:
    axx, axy, axz, *_ = _adjugate(xx, xy, xz, yy, yz, zz)
    cosine = 3.0 * math.sqrt(6.0) * (xx * axx + xy * axy + xz * axz) / (spread * spread * spread)
    t = torch.acos(cosine.clamp(-1.0, 1.0)) / 3.0
    gap = math.sqrt(2.0) * spread * torch.sin(t)  # l2 - l1
    is_alone = gap > AMBIGUOUS * (mean.abs() + spread)
    below = torch.where(is_alone, 1e-7, 1e-3)
    shift = math.sqrt(2.0 / 3.0) * spread * torch.cos(t + 2.0 * math.pi / 3.0) - below
    axx, axy, axz, ayy, ayz, azz = _adjugate(xx - shift, xy, xz, yy - shift, yz, zz - shift)
    x, y, z = previous.unbind(1)
    for _ in range(2):  # applied twice, which squares the small remainder of the other eigenvectors
        x, y, z = axx * x + axy * y + axz * z, axy * x + ayy * y + ayz * z, axz * x + ayz * y + azz * z
    length = (x * x + y * y + z * z).sqrt()[:, None]
    return torch.where(length > 0, torch.stack((x, y, z), 1) / length, previous)  # NaN is not > 0


def _adjugate(xx: Tensor, xy: Tensor, xz: Tensor, yy: Tensor, yz: Tensor, zz: Tensor) -> tuple[Tensor, ...]:
    """Adjugate of symmetric 3x3 matrices, elements in the same order."""
    return (
        yy * zz - yz * yz,
        xz * yz - xy * zz,
        xy * yz - xz * yy,
        xx * zz - xz * xz,
        xy * xz - xx * yz,
        xx * yy - xy * xy,
    )


def _channels(frames: _Frames, down: Tensor, camera_height_m: Tensor | None, settings: HhaSettings) -> Tensor:
    """(B, 3, H, W) uint8."""
    # In float64, and with the scale as a tensor: torch would multiply a plain number by the reciprocal, which rounds
    # twice.
    depth_cm = frames.depth_m.double() * 100.0
    scale = torch.full((), hha.DISPARITY_SCALE, dtype=torch.float64, device=depth_cm.device)
    disparity = scale / depth_cm.clamp(min=hha.NEAREST_CM)
    height = _height_cm(frames, down)
    above = height - _floor_cm(height, camera_height_m, settings)
    channels = (
        disparity,
        above.clamp(0.0, 255.0),
        _angle_deg(frames, _smoothed_inverse(frames, settings), down) + hha.ANGLE_OFFSET,
    )
    rounded = torch.stack([(c + 0.5).clamp(max=255.0).to(torch.uint8) for c in channels], 1)
    return rounded * frames.any_known[:, None]


def _height_cm(frames: _Frames, down: Tensor) -> Tensor:
    """(B, H, W) float32 heights in cm relative to the camera."""
    camera = frames.camera
    right, below, ahead = down[:, :, None, None].unbind(1)
    offset_u, offset_v = _offsets(frames, 1)
    of_column = (right * offset_u / camera.fx).float()
    of_row = (below * offset_v / camera.fy + ahead).float()
    return (of_column + of_row) * (frames.z * -100.0)


def _floor_cm(height: Tensor, camera_height_m: Tensor | None, settings: HhaSettings) -> Tensor:
    """(B, 1, 1) heights of the floors in cm relative to the camera, by the rules of :mod:`lcr_seg_ros.hha.floor`."""
    found = _found_floor_cm(height, settings)
    if camera_height_m is not None:  # a tensor's choice, not Python's, so that one CUDA graph does for both
        found = torch.where(camera_height_m.isnan(), found, (-100.0 * camera_height_m).float())
    return found[:, None, None]


def _found_floor_cm(height: Tensor, settings: HhaSettings) -> Tensor:
    """(B,) heights of the floors as ``settings.floor`` finds them."""
    if settings.floor == "robust":
        low = _low_percentile(height)
        assumed = ((low - hha.SURE_FLOOR_CM) / (hha.LOWEST_FLOOR_CM - hha.SURE_FLOOR_CM)).clamp(0.0, 1.0)
        floor = low + assumed * (hha.ASSUMED_FLOOR_CM - low)
    else:
        lowest = height.amin((1, 2))
        floor = torch.where(lowest > hha.LOWEST_FLOOR_CM, hha.ASSUMED_FLOOR_CM, lowest)
    return floor


def _low_percentile(height: Tensor) -> Tensor:
    """(B,) heights below which :data:`~lcr_seg_ros.hha.definition.FLOOR_SHARE` of the sampled pixels lie.

    Pixels and rank are the same as in the other executions.
    """
    first_row, first_column = first_sample(height.shape[1:])
    sample = height[:, first_row :: hha.FLOOR_STRIDE, first_column :: hha.FLOOR_STRIDE].flatten(1)
    rank = math.floor(hha.FLOOR_SHARE * sample.shape[1])
    return sample.topk(rank + 1, largest=False, sorted=False).values.amax(1)


def _smoothed_inverse(frames: _Frames, settings: HhaSettings) -> Tensor:
    """(B, H, W) float32, 1 / Z where measured, 0 elsewhere, smoothed as :mod:`lcr_seg_ros.hha.coarse` does."""
    if settings.smoothing == "off":
        return frames.inverse
    steps_mm = _steps_mm(_count_steps(frames))
    is_smoothed = steps_mm >= (coarse.COARSE_MM if settings.smoothing == "auto" else 1)
    gates = torch.where(is_smoothed, coarse.GATE * 1e-3 * steps_mm, 0.0).float()
    z = frames.z
    for _ in range(coarse.ROUNDS):
        for dim in (-1, -2):
            z = _smoothed_along(z, frames.measured, gates, dim)
    return frames.measured / z


def _count_steps(frames: _Frames) -> Tensor:
    """(B, 2, BINS, LARGEST_STEP_MM + 1) int32, see :func:`lcr_seg_ros.hha.coarse.count_steps`."""
    z, there = frames.z.double(), frames.measured > 0
    rows = _count_along_rows(z[:, :: coarse.STRIDE], there[:, :: coarse.STRIDE])
    columns = _count_along_rows(z[..., :: coarse.STRIDE].mT, there[..., :: coarse.STRIDE].mT)
    return torch.stack((rows, columns), dim=1)


def _count_along_rows(rows: Tensor, there: Tensor) -> Tensor:
    left, right = rows[..., :-1], rows[..., 1:]
    step = torch.floor((right - left).abs() * 1000.0 + 0.5)
    is_pair = there[..., :-1] & there[..., 1:] & (step <= coarse.LARGEST_STEP_MM)
    batch, sizes = rows.shape[0], coarse.LARGEST_STEP_MM + 1
    place = _depth_bin(torch.minimum(left, right)) * sizes + step.clamp(max=coarse.LARGEST_STEP_MM).long()
    first = torch.arange(batch, device=rows.device)[:, None, None] * (coarse.BINS * sizes)
    counts = torch.zeros(batch * coarse.BINS * sizes, dtype=torch.int32, device=rows.device)
    counts = counts.scatter_add(0, (first + place).flatten(), is_pair.int().flatten())
    return counts.reshape(batch, coarse.BINS, sizes)


def _steps_mm(counts: Tensor) -> Tensor:
    """(B, BINS) int64, see :func:`lcr_seg_ros.hha.coarse.steps_of_counts`."""
    pairs, risers = counts.sum(-1), counts[..., 1:].sum(-1)
    is_below = counts[..., 1:].cumsum(-1) < coarse.QUANTILE * risers.double()[..., None]
    is_staircase = (pairs >= coarse.LEAST_PAIRS) & (risers > 0) & (counts[..., 0] >= coarse.TREADS * pairs.double())
    return torch.where(is_staircase, 1 + is_below.sum(-1), 0).amax(1)


def _smoothed_along(z: Tensor, measured: Tensor, gates: Tensor, dim: int) -> Tensor:
    """Mean of each pixel and its measured neighbours within the gate of its depth, along rows (-1) or columns (-2)."""
    gate = gates.gather(1, _depth_bin(z).flatten(1)).reshape(z.shape)
    radius = coarse.radius_px(tuple(z.shape[1:]))
    margin = (radius, radius) if dim == -1 else (0, 0, radius, radius)
    others, weights = functional.pad(z, margin), functional.pad(measured, margin)
    total, number = torch.zeros_like(z), torch.zeros_like(z)
    for k in range(2 * radius + 1):
        apart = others.narrow(dim, k, z.shape[dim]) - z
        near = weights.narrow(dim, k, z.shape[dim]) * (apart.abs() <= gate)
        total += near * apart
        number += near
    return z + total / number.clamp(min=1.0)


def _depth_bin(z: Tensor) -> Tensor:
    return (z / coarse.BIN_M).long().clamp(max=coarse.BINS - 1)


def _angle_deg(frames: _Frames, inverse: Tensor, down: Tensor) -> Tensor:
    """(B, H, W) float32 degrees between the normals of the 7x7 windows of ``inverse`` and gravity."""
    fx, fy = frames.camera.fx.float(), frames.camera.fy.float()
    # 49 * 196 * 196 < 2^24: the moments of these masks and their determinant are exact in float32.
    a, b, c, is_there = _planes(_moments(inverse, frames.measured, hha.ANGLE_RADIUS, 1))
    offset_u, offset_v = (offset.float() for offset in _offsets(frames, 1))
    x, y, z = fx * a, fy * b, c - a * offset_u - b * offset_v
    right, below, ahead = down.float()[:, :, None, None].unbind(1)
    square = x * x + y * y + z * z
    cosine = (right * x + below * y + ahead * z) / torch.where(c < 0, -1.0, 1.0) / square.sqrt()
    angle = torch.rad2deg(torch.acos(cosine.clamp(-1.0, 1.0)))
    return torch.where(is_there & (square > 0), angle, hha.NO_NORMAL_DEG)


def _offsets(frames: _Frames, stride: int) -> tuple[Tensor, Tensor]:
    """(B, 1, W / stride), (B, H / stride, 1) float64: u - cx and v - cy of every ``stride``-th pixel."""
    height, width = frames.z.shape[1:]
    u = torch.arange(0, width, stride, dtype=torch.float64, device=frames.z.device)
    v = torch.arange(0, height, stride, dtype=torch.float64, device=frames.z.device)
    return u - frames.camera.cx, v[:, None] - frames.camera.cy


def _planes(moments: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Least squares of 1/Z = a du + b dv + c over windows, by the adjugate.

    Args:
        moments: see :func:`_moments`.

    Returns:
        a, b and c, all three multiplied by the determinant, which is >= 0; and bool, False where it is 0: fewer than
        three measured pixels, or only collinear ones.
    """
    n, u, v, uu, uv, vv, d, ud, vd = moments
    i11, i12, i13, i22, i23, i33 = _adjugate(uu, uv, u, vv, v, n)
    a = i11 * ud + i12 * vd + i13 * d
    b = i12 * ud + i22 * vd + i23 * d
    c = i13 * ud + i23 * vd + i33 * d
    return a, b, c, uu * i11 + uv * i12 + u * i13 > 0.5


def _moments(inverse: Tensor, measured: Tensor, radius: int, stride: int) -> list[Tensor]:
    """Sums over square windows centred on every ``stride``-th pixel, cut at the image border.

    Args:
        inverse: (B, H, W) d = 1/Z, 0 where not measured.
        measured: (B, H, W) float32 m, 1 / 0.
        radius: windows have sides of 2 radius + 1 pixels.

    Returns:
        (B, H / stride, W / stride) each (rounded up): sums of m, m du, m dv, m du du, m du dv, m dv dv, d, d du, d dv,
        with du and dv counted from the window's centre.
    """
    one, along, squared = _sums_along(torch.stack((measured, inverse), 1), radius, stride, -1, orders=(2, 2, 1))
    rows = torch.cat((one[:, :1], along[:, :1], one[:, 1:], along[:, 1:], squared), 1)
    one, along, squared = _sums_along(rows, radius, stride, -2, orders=(5, 3, 1))
    n, u, d, ud, uu = one.unbind(1)
    v, uv, vd = along.unbind(1)
    return [n, u, v, uu, uv, squared[:, 0], d, ud, vd]


def _sums_along(
    images: Tensor, radius: int, stride: int, dim: int, orders: tuple[int, int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums over k = -radius .. radius of image[i + k], k image[i + k], k^2 image[i + k], i = 0, stride, 2 stride ...

    Each window is summed afresh: running sums would drift in float32.

    Args:
        images: (B, C, H, W).
        dim: -1 along rows, -2 down columns.
        orders: for each of the three sums, the number of leading channels that need it.
    """
    length = -(-images.shape[dim] // stride)
    margin = (radius, radius + stride - 1)
    padded = functional.pad(images, margin if dim == -1 else (0, 0, *margin))
    phases = [padded[..., p::stride] if dim == -1 else padded[..., p::stride, :] for p in range(stride)]
    phases = [phase.contiguous() for phase in phases]

    def at(offset: int) -> Tensor:
        skipped, phase = divmod(radius + offset, stride)
        return phases[phase].narrow(dim, skipped, length)

    _, few, fewest = orders
    one = at(0).clone()
    along = torch.zeros_like(one[:, :few])
    squared = torch.zeros_like(one[:, :fewest])
    for k in range(1, radius + 1):
        after, before = at(k), at(-k)
        both = after + before
        one.add_(both)
        along.add_(after[:, :few] - before[:, :few], alpha=k)
        squared.add_(both[:, :fewest], alpha=k * k)
    return one, along, squared
