"""The MATLAB reference implementation of HHA in plain NumPy and SciPy: a baseline for values and speed.

Gupta et al. 2013, 2014: ``saveHHA``, ``processDepthImage``, ``computeNormalsSquareSupport`` and ``getYDir`` of
s-gupta/rcnn-depth and s-gupta/rgbdutils. It shares no code with ``lcr_seg_ros.hha``, so that the two can be compared.
Nothing is slow on purpose: every step works on whole images. Most of the time is spent on window sums, so there are two
versions of these: a literal one (``direct_window_sum``), and one that is seven times faster (``separable_window_sum``).
A speed ratio has to say which of them it refers to.

To measure how many times faster ``HhaEncoder("fast")`` is, both running in turn on one thread::

    OMP_NUM_THREADS=1 python test/hha_reference.py --data ../shared/data/kitchen
"""

from __future__ import annotations

import argparse
import itertools
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, thread_time

import numpy as np
import numpy.typing as npt
from scipy import ndimage, signal

from lcr_seg_ros.frame import CameraIntrinsics

Image = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
WindowSum = Callable[[Image, int], Image]


def direct_window_sum(image: Image, radius: int) -> Image:
    """Correlation with a square of ones, zero padded, as in the reference (``filter2``)."""
    side = 2 * radius + 1
    return signal.convolve2d(image, np.ones((side, side)), mode="same")


def separable_window_sum(image: Image, radius: int) -> Image:
    """The same sums, first along columns, then along rows: the obvious optimisation."""
    ones = np.ones(2 * radius + 1)
    return ndimage.correlate1d(ndimage.correlate1d(image, ones, axis=0, mode="constant"), ones, mode="constant")


def hha(
    depth_m: npt.NDArray[np.floating],
    missing: Mask,
    camera: CameraIntrinsics,
    window_sum: WindowSum = direct_window_sum,
) -> npt.NDArray[np.uint8]:
    """Encode one depth image.

    Args:
        depth_m: (H, W), metres, > 0 everywhere: holes must be filled beforehand.
        missing: (H, W), True where depth was filled in; these pixels are not used for normals.
        camera: intrinsics of the image; pixel centres are at integers from 0.
        window_sum: maps an (H, W) image and a radius r to sums over windows of (2 r + 1)^2 pixels.

    Returns:
        (H, W, 3) uint8: disparity, height in cm, angle in degrees + 38.
    """
    points = point_cloud(depth_m * 100.0, camera)
    down = gravity(surface_normals(points, missing, 10, window_sum))
    normals = surface_normals(points, missing, 3, window_sum)

    height = -(points @ turn(np.array([0.0, 1.0, 0.0]), down))[..., 1]
    lowest = height.min()
    if lowest > -90:
        lowest = -130.0
    # fmax and fmin ignore a NaN, as MATLAB's max and min do: a pixel without a normal gets 180 degrees.
    angle = np.degrees(np.arccos(np.fmin(1.0, np.fmax(-1.0, (normals * down).sum(axis=-1)))))

    channels = np.stack([31000.0 / np.maximum(points[..., 2], 100.0), height - lowest, angle + 128 - 90], axis=-1)
    return np.clip(round_half_away(channels), 0, 255).astype(np.uint8)


def point_cloud(depth_cm: Image, camera: CameraIntrinsics) -> Image:
    """(H, W, 3) points in centimetres in the optical frame: x right, y down, z forward."""
    u, v = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    x = (u - camera.cx) * depth_cm / camera.fx
    y = (v - camera.cy) * depth_cm / camera.fy
    return np.stack([x, y, depth_cm], axis=-1)


def surface_normals(points: Image, missing: Mask, radius: int, window_sum: WindowSum) -> Image:
    """(H, W, 3) unit normals n that minimise the sum of (n.(X/Z, Y/Z, 1) - 1/Z)^2 over each window.

    NaN where a window holds no measured pixel; noise where its 3x3 system is singular.
    """
    x, y, z = np.moveaxis(points, -1, 0)

    def total(moment: Image) -> Image:
        return window_sum(np.where(missing, 0.0, moment), radius)

    xx, xy, x1 = total((x / z) ** 2), total((x / z) * (y / z)), total(x / z)
    yy, y1, n = total((y / z) ** 2), total(y / z), total(np.ones_like(z))
    bx, by, b1 = total(x / z**2), total(y / z**2), total(1.0 / z)

    # [xx xy x1; xy yy y1; x1 y1 n] normal = (bx, by, b1) by cofactors; the length of the normal is not needed.
    cxx, cxy, cx1 = yy * n - y1 * y1, x1 * y1 - xy * n, xy * y1 - x1 * yy
    cyy, cy1, c11 = xx * n - x1 * x1, xy * x1 - xx * y1, xx * yy - xy * xy
    normals = np.stack(
        [cxx * bx + cxy * by + cx1 * b1, cxy * bx + cyy * by + cy1 * b1, cx1 * bx + cy1 * by + c11 * b1], axis=-1
    )
    with np.errstate(invalid="ignore"):
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    normals *= np.where(normals[..., 2] < 0, -1.0, 1.0)[..., None]
    normals *= np.where((normals * points).sum(axis=-1) < 0, -1.0, 1.0)[..., None]
    return normals


def gravity(normals: Image) -> npt.NDArray[np.float64]:
    """(3,) unit vector pointing down: orthogonal to the normals of walls, parallel to those of floors."""
    n = normals[np.isfinite(normals[..., 0])].T
    down = np.array([0.0, 1.0, 0.0])
    for threshold_deg, iterations in ((45, 5), (15, 5)):
        threshold = np.radians(threshold_deg)
        for _ in range(iterations):
            along = np.abs(down @ n)
            floors, walls = n[:, along > np.cos(threshold)], n[:, along < np.sin(threshold)]
            _, vectors = np.linalg.eigh(walls @ walls.T - floors @ floors.T)  # smallest eigenvalue first
            down = vectors[:, 0] * np.sign(down @ vectors[:, 0])
    return down


def turn(start: npt.NDArray[np.float64], end: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(3, 3) rotation of unit vector ``start`` to ``end`` (Rodrigues); the identity if within 0.1 degrees."""
    angle = np.arccos(min(1.0, abs(start @ end)))
    if np.degrees(angle) <= 0.1:
        return np.eye(3)
    x, y, z = np.cross(start, end) / np.linalg.norm(np.cross(start, end))
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew


def round_half_away(values: Image) -> Image:
    return np.trunc(values + np.copysign(0.5, values))


def filled_from_nearest(depth: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Depth with every hole (0) filled with the value of the nearest pixel that has one."""
    nearest = ndimage.distance_transform_edt(depth == 0, return_distances=False, return_indices=True)
    return depth[tuple(nearest)]


def windows_on_one_line(measured: Mask, radius: int = 3) -> Mask:
    """(H, W), True where all measured pixels of a window, one or more, are collinear: its 3x3 system is singular."""
    v, u = np.mgrid[: measured.shape[0], : measured.shape[1]].astype(np.float64)
    n, su, sv, suu, suv, svv = (
        np.rint(direct_window_sum(measured * moment, radius)) for moment in (1.0, u, v, u * u, u * v, v * v)
    )
    # n^2 times the covariance of the pixel coordinates in the window, in integers.
    cuu, cuv, cvv = n * suu - su * su, n * suv - su * sv, n * svv - sv * sv
    return (n > 0) & (cuu * cvv == cuv * cuv)


def compare(data: Path, intrinsics: str | None, seconds: float) -> None:
    """Print median times of this transcription and of ``fast`` on the first frames of a dataset folder, and ratios.

    ``fast`` gets raw depth and fills its holes itself; the transcription gets depth that was filled beforehand.
    """
    import cv2

    from lcr_seg_ros.hha import GravityTracker, HhaEncoder, HhaSettings
    from lcr_seg_ros.sources.folder import DatasetFolder, parse_intrinsics

    cv2.setNumThreads(1)  # thread_time counts only the calling thread
    camera = None if intrinsics is None else parse_intrinsics(intrinsics)
    frames = []
    for item in DatasetFolder(data, intrinsics=camera, limit=10):
        depth, k = item.frame.depth_m, item.frame.intrinsics
        assert depth is not None and k is not None, f"{data} has no depth"
        frames.append((depth, filled_from_nearest(depth).astype(np.float64), depth == 0, k))
    fast, tracker = HhaEncoder("fast"), GravityTracker()
    live = HhaEncoder("fast", HhaSettings(floor="robust", gravity_estimate="refined"))
    place = np.empty((*frames[0][0].shape, 3), np.uint8)
    fast_cases = {
        "fast": lambda raw, filled, missing, k: fast.encode(raw, k, out=place),
        "fast live": lambda raw, filled, missing, k: live.encode_frame(raw, k, tracker=tracker, out=place),
    }
    plain_cases = {
        "transcription": lambda raw, filled, missing, k: hha(filled, missing, k),
        "transcription, separable sums": lambda raw, filled, missing, k: hha(filled, missing, k, separable_window_sum),
    }
    cases = fast_cases | plain_cases
    for run in cases.values():
        run(*frames[0])
    times: dict[str, list[float]] = {name: [] for name in cases}
    there_and_back = {name: itertools.cycle(frames + frames[-2:0:-1]) for name in cases}
    end = perf_counter() + seconds
    while perf_counter() < end or not all(times.values()):
        for name, run in cases.items():
            # One frame of the transcription takes as long as hundreds of fast ones, so these get more runs per turn.
            for frame in itertools.islice(there_and_back[name], 10 if name in fast_cases else 1):
                start = thread_time()
                run(*frame)
                times[name].append(thread_time() - start)
    medians_ms = {name: 1e3 * statistics.median(taken) for name, taken in times.items()}
    for name, taken in times.items():
        print(f"{name:<30} {medians_ms[name]:9.2f} ms CPU of one thread   {len(taken)} runs")
    for slow, quick in itertools.product(plain_cases, fast_cases):
        print(f"{slow} : {quick} = {medians_ms[slow] / medians_ms[quick]:.0f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="How many times faster HhaEncoder('fast') is than the transcription.")
    parser.add_argument("--data", type=Path, required=True, help="dataset folder; its first 10 frames are used")
    parser.add_argument("--intrinsics", help="fx,fy,cx,cy of a folder without intrinsics.yaml")
    parser.add_argument("--seconds", type=float, default=60.0, help="time spent measuring")
    compare(**vars(parser.parse_args()))
