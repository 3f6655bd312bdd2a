"""Rendered RGB-D video of one furnished room."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import numpy.typing as npt

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.sources.rooms import camera, classes, layouts, light, raycast, shading
from lcr_seg_ros.sources.source import SourceFrame

FloatArray = npt.NDArray[np.float64]

_SWALLOWS = np.zeros(256, np.bool_)
"""(256,) by class id: whether structured light often fails on surfaces of that class."""
_SWALLOWS[[classes.WINDOW, classes.TELEVISION, classes.MIRROR]] = True


_SALT = 61
"""Mixed into the seed; chosen so that the demo's room, seed 0, shows many kinds of objects."""

_POOL_MARGIN = 64
"""The noise of a frame is cut from a pool that is larger by this many pixels, at a random offset."""


class RenderedRoom:
    """Frames of a hand-held RGB-D camera that looks around in a furnished room (a FrameSource).

    The room, its colours, its light and the camera's path depend on ``seed`` alone; ``frames`` only determines how
    finely the path is sampled. Labels are exact, with ids as in ``config/labels/nyu40.yaml``.

    Args:
        frames: number of frames, >= 1.
        seed: which room, >= 0. Seeds 0, 1, 2, 3 are a living room, a bedroom, an office and a kitchen.
        width, height: image size in pixels, each 16..4096.
        noise: False for exact depth without holes and colour without grain.

    Raises:
        SourceError: an argument is out of range.
    """

    def __init__(self, frames: int = 90, seed: int = 0, width: int = 640, height: int = 480, noise: bool = True):
        sides = (("width", width, 16, 4096), ("height", height, 16, 4096))
        for what, value, low, high in (("frames", frames, 1, 10**7), ("seed", seed, 0, 2**63 - 1), *sides):
            if not low <= value <= high:
                raise SourceError(f"rendered room: {what} must be {low}..{high}, got {value}")
        self.frames, self.seed, self.noise = int(frames), int(seed), bool(noise)
        self.kind = layouts.KINDS[self.seed % len(layouts.KINDS)]
        """Kind of room, e.g. ``bedroom``."""
        focal = camera.KINECT_FOCAL_PX * width / 640
        self.intrinsics = CameraIntrinsics(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height)

        rng = np.random.default_rng([self.seed, _SALT])
        scene = layouts.build(self.kind, rng)
        self.size = scene.size
        self._parts = scene.parts()
        self._materials = scene.materials()
        self._labels = scene.part_labels
        self._mirror = np.minimum(scene.part_mirror, 0.95).astype(np.float32)
        self._glows = self._materials.emission > 0
        self._tree = raycast.build_hierarchy(self._parts)
        self._noise = shading.noise_table(rng)
        self._room = np.array(scene.size)
        self._grid = light.bake(scene, self._parts, self._tree, self._materials)
        self._light_center = np.array([q.center for q in scene.lights]).reshape(-1, 3)
        self._light_rgb = np.array([q.rgb for q in scene.lights]).reshape(-1, 3)
        self._walk = light.find_walk(scene, self._parts, self._tree, self._labels, rng)
        self._photo = camera.Photo.pick(rng)
        self._pool = rng.standard_normal((height + _POOL_MARGIN, width + _POOL_MARGIN, 3), np.float32)

    def __len__(self) -> int:
        return self.frames

    def __iter__(self) -> Iterator[SourceFrame]:
        for i in range(self.frames):
            yield self[i]

    def __getitem__(self, index: int) -> SourceFrame:
        """Frame ``index`` (negative: counted from the end), with the same bytes every time.

        Raises:
            IndexError: there is no such frame.
        """
        i = self._checked(index)
        view = self._cast(self.pose(i))
        rgb = self._photograph(i, view)
        return SourceFrame(f"{i:05d}", RgbdFrame(rgb, self._sense(i, view), self.intrinsics), self._labels[view.part])

    def pose(self, index: int) -> FloatArray:
        """(4, 4) camera-to-world pose of a frame: optical axes (x right, y down, z forward), world z up, metres."""
        i = self._checked(index)
        return self._walk.pose(i / max(self.frames - 1, 1))

    def gravity(self, index: int) -> FloatArray:
        """(3,) unit vector pointing down, in the camera's optical frame."""
        return self.pose(index)[:3, :3].T @ np.array([0.0, 0.0, -1.0])

    def depth_from(self, pose: FloatArray, draw: int = 0) -> npt.NDArray[np.float32]:
        """What the depth sensor measures from any pose, without rendering a photo.

        Args:
            pose: (4, 4) camera-to-world as of :meth:`pose`, with a position inside the room.
            draw: number of the sample of sensor noise; for the frames themselves, it is their index.

        Returns:
            (H, W) float32 metres along the optical axis, 0 where the sensor measures nothing.
        """
        return self._sense(draw, self._cast(pose))

    def _checked(self, index: int) -> int:
        i = index + self.frames if index < 0 else index
        if not 0 <= i < self.frames:
            raise IndexError(f"frame {index} of {self.frames}")
        return i

    def _cast(self, pose: FloatArray) -> raycast.View:
        k = self.intrinsics
        return raycast.cast_image(self._parts, self._room, pose, k.fx, k.fy, k.cx, k.cy, k.width, k.height)

    def _photograph(self, i: int, view: raycast.View) -> npt.NDArray[np.uint8]:
        eye = self.pose(i)[:3, 3].copy()
        part, points, normals = view.part.reshape(-1), view.point.reshape(-1, 3), view.normal.reshape(-1, 3)
        mirrored = self._mirror[part]
        weight = shading.contact_shadow(view.point, view.normal, view.depth, self.intrinsics.fx).reshape(-1)
        weight[self._glows[part]] = 1.0
        if mirrored.any():
            weight *= 1 - mirrored
        light = np.zeros((len(part), 3), np.float32)
        self._shade(part, points, normals, eye, weight, light)
        if mirrored.any():
            self._add_reflections(mirrored, part, points, normals, eye, light)
        grain = self._unit_noise(np.random.default_rng([self.seed, i, 1])) if self.noise else None
        return camera.develop(light.reshape(view.point.shape), self._photo, grain)

    def _add_reflections(
        self, mirrored: npt.NDArray[np.float32], part: npt.NDArray[np.int32], points: npt.NDArray[np.float32],
        normals: npt.NDArray[np.float32], eye: FloatArray, light: npt.NDArray[np.float32],
    ) -> None:  # fmt: skip
        """Add the reflections in mirrors and polished surfaces, one level deep, to ``light`` (H * W, 3)."""
        width = self.intrinsics.width
        # polished surfaces blur, so every second row and column is enough for them; mirrors are sharp
        pixels = np.flatnonzero(mirrored)
        v, u = pixels // width, pixels % width
        shown_by = np.where(mirrored[pixels] < 0.5, (v & ~1) * width + (u & ~1), pixels)
        shown_by = np.where(part[shown_by] == part[pixels], shown_by, pixels)
        chosen, place = np.unique(shown_by, return_inverse=True)
        n = normals[chosen].astype(float)
        ray = points[chosen] - eye
        ray /= np.linalg.norm(ray, axis=1, keepdims=True)
        cos = np.abs((ray * n).sum(1))
        ray += 2 * cos[:, None] * n
        start = points[chosen] + 1e-3 * n
        distance, hit, hit_normal = raycast.trace_rays(  # type: ignore[call-arg]
            *raycast.as_tuple(self._parts, self._tree), self._room, start, ray, raycast.FAR
        )
        # polished surfaces reflect more at grazing angles (after Schlick 1994)
        weight = mirrored[chosen] * (1 + 4 * (1 - mirrored[chosen]) * (1 - cos) ** 3)
        seen = np.zeros((len(chosen), 3), np.float32)
        self._shade(
            np.maximum(hit, 0).astype(np.int32), (start + distance[:, None] * ray).astype(np.float32),
            hit_normal.astype(np.float32), eye, np.minimum(weight, 0.9).astype(np.float32), seen,
        )  # fmt: skip
        light[pixels] += seen[place]

    def _unit_noise(self, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        """(H, W, 3) standard normal noise."""
        v, u = rng.integers(0, _POOL_MARGIN, 2)
        return self._pool[v : v + self.intrinsics.height, u : u + self.intrinsics.width]

    def _shade(
        self, part: npt.NDArray[np.int32], points: npt.NDArray[np.float32], normals: npt.NDArray[np.float32],
        eye: FloatArray, weight: npt.NDArray[np.float32], out: npt.NDArray[np.float32],
    ) -> None:  # fmt: skip
        shading.shade(
            self._parts.center, self._parts.to_local, self._parts.half, *self._materials, *self._grid,
            self._light_center, self._light_rgb, self._noise, part, points, normals, eye, 1 / self.intrinsics.fx,
            weight, out,
        )  # fmt: skip

    def _sense(self, draw: int, view: raycast.View) -> npt.NDArray[np.float32]:
        if not self.noise:
            return view.depth
        k = self.intrinsics
        rng = np.random.default_rng([self.seed, draw, 2])
        unit = self._unit_noise(rng)[..., 0]
        coarse = rng.random((max(2, k.height // 12), max(2, k.width // 12)), np.float32)
        patches = np.clip(cv2.resize(coarse, (k.width, k.height), interpolation=cv2.INTER_CUBIC), 0, 1)
        return camera.sense_depth(view.depth, view.facing, _SWALLOWS[self._labels[view.part]], unit, patches)
