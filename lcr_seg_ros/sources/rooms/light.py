"""The light in a room, computed once, and a path for the camera through the room."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.sources.rooms import raycast, shading
from lcr_seg_ros.sources.rooms.camera import Walk
from lcr_seg_ros.sources.rooms.raycast import ROOM_FACES, Hierarchy, PartArrays
from lcr_seg_ros.sources.rooms.scene import Scene

FloatArray = npt.NDArray[np.float64]

PROBE_STEP_M = 0.15
WALL_GAP_M = 0.03
BOUNCE_RAYS = 32
LIGHT_SAMPLES = 8


def bake(scene: Scene, parts: PartArrays, tree: Hierarchy, materials: shading.MaterialArrays) -> shading.LightGrid:
    """Compute direct light with soft shadows plus one diffuse bounce, at probes about 0.15 m apart.

    Further bounces are replaced by a constant that follows from the mean direct light and the mean reflectance, as in
    an integrating sphere.
    """
    size = np.array(scene.size)
    shape = np.maximum(2, np.round((size - 2 * WALL_GAP_M) / PROBE_STEP_M).astype(int) + 1)
    step = (size - 2 * WALL_GAP_M) / (shape - 1)
    origin = np.full(3, WALL_GAP_M)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1).reshape(-1, 3)
    probes = origin + index * step
    geometry = (*raycast.as_tuple(parts, tree), size)
    lights = scene.lights
    direct, free = raycast.bake_direct(  # type: ignore[call-arg]
        *geometry, scene.part_transparent, probes,
        np.array([q.center for q in lights]).reshape(-1, 3), np.array([q.half for q in lights]).reshape(-1, 3),
        np.array([q.normal for q in lights]).reshape(-1, 3), np.array([q.rgb for q in lights]).reshape(-1, 3),
        LIGHT_SAMPLES,
    )  # fmt: skip
    albedo = materials.colors[:, :2].mean(1)
    mean = direct[free > 0].mean((0, 1)).astype(float)
    reflect = albedo[:ROOM_FACES].mean(0) * 0.8
    ambient = mean * reflect / (1 - reflect)
    bounced = raycast.bake_bounce(  # type: ignore[call-arg]
        *geometry, probes, shape.astype(np.int64), origin, step, free, direct, albedo, ambient, _sphere(BOUNCE_RAYS)
    )
    values = (direct + _smoothed(bounced, free, shape)).reshape(*shape, 18) * free.reshape(*shape, 1)
    grid = np.concatenate([values, free.reshape(*shape, 1)], -1).astype(np.float32)
    return shading.LightGrid(np.ascontiguousarray(grid), origin, step, 0.5 * (mean + ambient))


def _sphere(count: int) -> FloatArray:
    """(count, 3) unit directions, spread evenly over the sphere (a Fibonacci lattice)."""
    k = np.arange(count) + 0.5
    z = 1 - 2 * k / count
    angle = np.pi * (1 + 5**0.5) * k
    r = np.sqrt(1 - z * z)
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], 1)


def _smoothed(
    values: npt.NDArray[np.float32], free: npt.NDArray[np.float32], shape: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Weighted mean over free neighbours, 1-2-1 along each axis, which reduces the sampling noise."""
    grid = np.concatenate([values.reshape(*shape, 18), np.ones((*shape, 1), np.float32)], -1) * free.reshape(*shape, 1)
    for axis in range(3):
        padded = np.concatenate([grid.take([0], axis), grid, grid.take([-1], axis)], axis)
        n = grid.shape[axis]
        a, b, c = (padded.take(np.arange(k, k + n), axis) for k in range(3))
        grid = np.float32(0.25) * (a + b + b + c)
    mean: npt.NDArray[np.float32] = grid[..., :18] / np.maximum(grid[..., 18:], np.float32(1e-6))
    return mean.reshape(values.shape)


def find_walk(
    scene: Scene, parts: PartArrays, tree: Hierarchy, labels: npt.NDArray[np.uint8], rng: np.random.Generator
) -> Walk:
    """Find a path on which the camera touches nothing and sees much of the furniture.

    Candidates consist of two free places and a sweep of headings. Each is scored by the classes that a fan of rays
    hits; surfaces that are too close for the depth sensor reduce the score.
    """
    w, d, _ = scene.size
    height = rng.uniform(1.25, 1.58)
    geometry = (*raycast.as_tuple(parts, tree), np.array(scene.size))
    fan = _fan()
    best: tuple[float, Walk] | None = None
    for clearance, count in ((0.45, 12), (0.3, 10), (0.18, 8)):
        obstacles = _obstacles(parts, height)
        places = _free_places(obstacles, scene.size, clearance, rng, count)
        for start in places:
            others = [p for p in places if np.linalg.norm(p - start) < 1.1 and _is_free(obstacles, start, p, clearance)]
            end = others[int(rng.integers(len(others)))]
            middle = (start + end) / 2
            toward = np.arctan2(d / 2 - middle[1], w / 2 - middle[0])
            for turn in rng.uniform(-1.2, 1.2, 4):
                sweep = rng.uniform(np.radians(60), np.radians(115)) * rng.choice([-1, 1])
                pitch = np.radians(rng.uniform(-19, -1))
                heading = (toward + turn - sweep / 2, toward + turn + sweep / 2)
                walk = Walk(start, end, heading, height, pitch, rng.uniform(0, 2 * np.pi, 6))
                score = _judge(walk, geometry, labels, fan)
                if best is None or score > best[0]:
                    best = (score, walk)
    if best is None:
        center = np.array([w / 2, d / 2])
        return Walk(center, center, (0.0, np.radians(100)), height, np.radians(-12), rng.uniform(0, 2 * np.pi, 6))
    return best[1]


def _fan() -> FloatArray:
    """(K, 3) rays in the optical frame that cover the field of view coarsely."""
    x, y = np.meshgrid(np.linspace(-0.55, 0.55, 9), np.linspace(-0.4, 0.4, 7))
    return np.stack([x.ravel(), y.ravel(), np.ones(x.size)], 1)


def _judge(walk: Walk, geometry: tuple[Any, ...], labels: npt.NDArray[np.uint8], fan: FloatArray) -> float:
    """Score how much the pictures of a walk look like photos of rooms: some distance, many kinds of objects, not only
    walls."""
    score = 0.0
    seen = np.zeros(256)
    for s in (0.0, 0.5, 1.0):
        pose = walk.pose(s)
        rays = fan @ pose[:3, :3].T
        origins = np.repeat(pose[None, :3, 3], len(rays), 0)
        distance, part, _ = raycast.trace_rays(*geometry, origins, rays, raycast.FAR)  # type: ignore[call-arg]
        share = np.bincount(labels[np.maximum(part, 0)], minlength=256) / len(fan)
        seen += share / 3
        score -= 3.0 * np.mean(distance < 0.8) + 1.2 * max(0.0, share.max() - 0.45)
        score -= 0.8 * max(0.0, 2.3 - np.median(distance)) + 1.2 * max(0.0, share[1] - 0.4)
    furniture = 1.0 - seen[1] - seen[2] - seen[22] - 0.9 * seen[8] - 0.6 * seen[9]
    return score / 3 + 0.22 * np.sqrt(seen).sum() + 1.2 * min(furniture, 0.65) - 2 * max(0.0, 0.1 - seen[2])


Obstacles = tuple[FloatArray, FloatArray]


def _obstacles(parts: PartArrays, height: float) -> Obstacles:
    """Floor rectangles (low, high), each (M, 2), of the parts that are in the way of a camera at this height."""
    low, high = raycast.world_bounds(parts)
    low, high = low[ROOM_FACES:], high[ROOM_FACES:]
    tall = (high[:, 2] > height - 0.45) & (low[:, 2] < height + 0.4)
    return low[tall, :2], high[tall, :2]


def _is_free(obstacles: Obstacles, start: FloatArray, end: FloatArray, clearance: float) -> bool:
    """Whether the straight line from start to end keeps its distance from all obstacles."""
    low, high = obstacles
    way = start + np.linspace(0, 1, 6)[:, None, None] * (end - start)
    gap = np.maximum(np.maximum(low - way, way - high), 0.0)
    return bool((np.hypot(gap[..., 0], gap[..., 1]) > 0.8 * clearance).all())


def _free_places(
    obstacles: Obstacles, size: tuple[float, float, float], clearance: float, rng: np.random.Generator, count: int
) -> list[FloatArray]:
    """Free floor points (2,), preferably near the edges of the room, from where more of it is in view."""
    places: list[FloatArray] = []
    for _ in range(count * 12):
        inner = 0.5 - 0.5 * np.cos(np.pi * rng.random(2))  # an arcsine law favours the edges
        p = clearance + inner * (np.array(size[:2]) - 2 * clearance)
        if _is_free(obstacles, p, p, clearance):
            places.append(p)
            if len(places) == count:
                break
    return places
