"""Pictures of a map, whose voxels are drawn as cubes in software, without a display or a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from lcr_seg_ros.compiled import compiled
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.mapping.voxels import Voxels
from lcr_seg_ros.render import legend, titled

Image = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float64]

PANEL_WIDTH, PANEL_HEIGHT = 640, 480
SMOOTHING = 2
"""Pictures are drawn larger by this factor, and then scaled down."""

_PAPER, _INK = 255, (40, 40, 40)
_WAY = (20, 20, 20)
"""Colour of the camera's way: darker than that of any class."""
_NO_WAY = np.zeros((0, 3))
_NEAR_M = 0.05
_CEILING_MARGIN_M = 0.1

_NORMALS = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]], np.int64)
_BRIGHTNESS = np.array([0.80, 0.76, 0.90, 0.66, 1.0, 0.5])
"""Brightness of the six faces: lit from above and slightly from one side, so that edges are visible."""


@dataclass(frozen=True)
class View:
    """A camera that looks at a map.

    Args:
        pose: (4, 4) camera-to-world of its optical frame.
        focal_px: focal length in pixels; in a parallel projection, pixels per metre.
        parallel: parallel projection in place of perspective.
    """

    pose: FloatArray
    focal_px: float
    parallel: bool = False

    @classmethod
    def looking_at(cls, eye: npt.ArrayLike, target: npt.ArrayLike, focal_px: float, parallel: bool = False) -> View:
        """A view from ``eye`` to ``target``, with z up in the picture, or y if it looks straight down."""
        position = np.asarray(eye, np.float64)
        ahead = np.asarray(target, np.float64) - position
        ahead /= np.linalg.norm(ahead)
        up = np.array([0.0, 1.0, 0.0]) if abs(ahead[2]) > 0.999 else np.array([0.0, 0.0, 1.0])
        right = np.cross(ahead, up)
        right /= np.linalg.norm(right)
        pose = np.eye(4)
        pose[:3, :3] = np.stack([right, np.cross(ahead, right), ahead], axis=1)
        pose[:3, 3] = position
        return cls(pose, focal_px, parallel)

    def project(self, points: FloatArray, width: int, height: int) -> FloatArray:
        """(N, 3) world points -> (N, 3) column and row in pixels, and distance along the optical axis in metres."""
        local = (points - self.pose[:3, 3]) @ self.pose[:3, :3]
        scale = np.full(len(local), self.focal_px) if self.parallel else self.focal_px / np.maximum(local[:, 2], 1e-6)
        return np.stack(
            [local[:, 0] * scale + (width - 1) / 2, local[:, 1] * scale + (height - 1) / 2, local[:, 2]], axis=1
        )


def draw_voxels(
    voxels: Voxels, colors: Image, view: View, width: int = PANEL_WIDTH, height: int = PANEL_HEIGHT
) -> Image:
    """Draw voxels as cubes.

    Args:
        voxels: N voxels to draw.
        colors: (N, 3) uint8 RGB.
        view: the camera.
        width, height: of the picture, in pixels.

    Returns:
        (height, width, 3) uint8 RGB, white where there is nothing.
    """
    w, h = width * SMOOTHING, height * SMOOTHING
    large = View(view.pose, view.focal_px * SMOOTHING, view.parallel)
    picture = np.full((h, w, 3), _PAPER, np.uint8)
    depth = np.full((h, w), np.inf, np.float64)
    grid = np.floor(voxels.centers / voxels.size + 1e-4).astype(np.int64)
    for face, normal in enumerate(_NORMALS):
        shown = _open_faces(grid, normal)
        centers = voxels.centers[shown].astype(np.float64) + 0.5 * voxels.size * normal
        toward = -(normal @ view.pose[:3, 2]) if view.parallel else (view.pose[:3, 3] - centers) @ normal
        front = np.broadcast_to(np.asarray(toward) > 0, len(centers))
        if not front.any():
            continue
        centers, shown = centers[front], shown[front]
        corners = _square(normal) * (0.5 * voxels.size)
        flat = (centers[:, None] + corners).reshape(-1, 3)
        quads = large.project(flat, w, h).reshape(-1, 4, 3)
        shaded = np.rint(colors[shown] * _BRIGHTNESS[face]).astype(np.uint8)
        _fill_quads(quads, shaded, view.parallel, picture, depth)
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def map_picture(voxels: Voxels, labels: LabelSet, trajectory: Sequence[FloatArray], title: str = "") -> Image:
    """One picture: the map from above, from a corner, and from the camera's first pose, with a legend of its classes.

    In the first two views, the camera's way is a dark line with a dot where it began, and everything above it, ceilings
    in particular, is left out.

    Args:
        voxels: of a map whose z points up.
        labels: names and colours.
        trajectory: (4, 4) poses of the camera in order; may be empty.
        title: written above the first view.

    Returns:
        (h, w, 3) uint8 RGB.
    """
    colors = labels.palette[voxels.labels]
    if not len(voxels):
        empty = np.full((PANEL_HEIGHT, PANEL_WIDTH, 3), _PAPER, np.uint8)
        return titled("the map is empty", empty)
    way = np.array([pose[:3, 3] for pose in trajectory]).reshape(-1, 3)
    top = way[:, 2].max() + _CEILING_MARGIN_M if len(way) else np.inf
    low = voxels.centers[:, 2] <= top
    if low.mean() < 0.2:  # nearly everything is above the path
        low[:] = True
    below, below_colors = voxels.select(low), colors[low]

    def panel(
        name: str, view: View, chosen: Voxels, paint: Image, mark: Callable[[Image, View], None] | None = None
    ) -> Image:
        picture = draw_voxels(chosen, paint, view)
        if mark is not None:
            mark(picture, view)
        return titled(name, picture)

    def mark_way(picture: Image, view: View) -> None:
        _draw_way(picture, view, way)

    def mark_way_and_metre(picture: Image, view: View) -> None:
        _draw_way(picture, view, way)
        _draw_metre(picture, view)

    above = _from_above(below.centers, way)
    panels = [panel(f"from above {title}".strip(), above, below, below_colors, mark_way_and_metre)]
    corner = _from_a_corner(below.centers, way)
    panels.append(panel("from a corner", corner, below, below_colors, mark_way))
    if trajectory:
        behind = _behind(np.asarray(trajectory[0], np.float64))
        panels.append(panel("from where the camera began", behind, voxels, colors))
        if voxels.rgb is not None:
            panels.append(panel("the same in colours of the camera", behind, voxels, voxels.rgb))
    elif voxels.rgb is not None:
        panels.append(panel("from a corner, in colours of the camera", corner, below, below.rgb))  # type: ignore[arg-type]
    while len(panels) % 2:
        panels.append(np.full_like(panels[0], _PAPER))
    rows = [np.concatenate(panels[k : k + 2], axis=1) for k in range(0, len(panels), 2)]
    picture = np.concatenate(rows, axis=0)
    lines = [("camera", _WAY)] if len(way) else []
    return np.concatenate([picture, legend(voxels.labels, labels, picture.shape[1], lines=lines)], axis=0)


def small_png(picture: Image) -> bytes:
    """Encode an RGB picture as PNG with the strongest compression, which halves the size of flat colours."""
    _, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return data.tobytes()  # type: ignore[no-any-return]


def _from_above(centers: npt.NDArray[np.float32], way: FloatArray) -> View:
    low, high = _extent(centers, way)
    middle, span = (low + high) / 2, np.maximum(high - low, 0.5)
    focal = 0.92 * min(PANEL_WIDTH / span[0], PANEL_HEIGHT / span[1])
    return View.looking_at([*middle[:2], high[2] + 10.0], middle, focal, parallel=True)


def _from_a_corner(centers: npt.NDArray[np.float32], way: FloatArray) -> View:
    """From the side where the camera was: on that side, no wall that it saw is in the way."""
    (low, high), (lowest, highest) = _extent(centers), _extent(centers, way)
    middle = (low + high) / 2
    away = (way.mean(0) - middle)[:2] if len(way) else np.array([1.0, -1.0])
    direction = np.arctan2(away[1], away[0]) if np.linalg.norm(away) > 0.1 else -np.pi / 4
    distance = 1.15 * float(np.linalg.norm(np.maximum(highest - lowest, 0.5)))  # behind the camera's way, too
    eye = middle + distance * np.array([np.cos(direction + 0.35), np.sin(direction + 0.35), 0.75])
    box = np.array([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
    box = np.concatenate([box, way])
    first = View.looking_at(eye, middle, 1.0)
    seen = first.project(box, 1, 1)
    center = (seen[:, :2].min(0) + seen[:, :2].max(0)) / 2
    aimed = View.looking_at(eye, eye + first.pose[:3, :3] @ [*center, 1.0], 1.0)
    reach = np.abs(aimed.project(box, 1, 1)[:, :2]).max(0)
    return View(aimed.pose, 0.47 * min(PANEL_WIDTH / reach[0], PANEL_HEIGHT / reach[1]))


def _behind(pose: FloatArray) -> View:
    """A little behind the camera, with a wider field of view, so that all that it saw first is in the picture."""
    moved = pose.copy()
    moved[:3, 3] -= 0.3 * pose[:3, 2]
    return View(moved, 0.75 * PANEL_WIDTH)


def _extent(centers: npt.NDArray[np.float32], way: FloatArray = _NO_WAY) -> tuple[FloatArray, FloatArray]:
    """Corners (3,) of a box around the camera's way and the map, of which it leaves out half a per cent at each end of
    each axis, so that outliers do not shrink the picture of the map."""
    ends = np.concatenate([np.percentile(centers, [0.5, 99.5], axis=0).astype(np.float64), way])
    return ends.min(0), ends.max(0)


def _draw_way(picture: Image, view: View, way: FloatArray) -> None:
    if not len(way):
        return
    seen = view.project(way, picture.shape[1], picture.shape[0])
    points = np.rint(seen[seen[:, 2] > _NEAR_M][:, :2]).astype(np.int32)
    if len(points):
        cv2.polylines(picture, [points.reshape(-1, 1, 2)], False, (255, 255, 255), 4, cv2.LINE_AA)
        cv2.polylines(picture, [points.reshape(-1, 1, 2)], False, _WAY, 2, cv2.LINE_AA)
        cv2.circle(picture, points[0].tolist(), 5, _WAY, -1, cv2.LINE_AA)


def _draw_metre(picture: Image, view: View) -> None:
    length, y = round(view.focal_px), picture.shape[0] - 14
    if length < picture.shape[1] - 40:
        cv2.line(picture, (14, y), (14 + length, y), _INK, 2)
        cv2.putText(picture, "1 m", (14, y - 6), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)


def _open_faces(grid: npt.NDArray[np.int64], normal: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Indices of the voxels without a neighbour in the direction of ``normal``."""
    low = grid.min(0) - 1
    span = grid.max(0) - low + 2
    weights = np.array([1, span[0], span[0] * span[1]])
    keys = (grid - low) @ weights
    ordered = np.sort(keys)
    wanted = keys + normal @ weights
    place = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return np.flatnonzero(ordered[place] != wanted)


def _square(normal: npt.NDArray[np.int64]) -> FloatArray:
    """(4, 3) corners of a square of edge length 2, perpendicular to the normal, in order around it."""
    axis = int(np.flatnonzero(normal)[0])
    corners = np.zeros((4, 3))
    corners[:, (axis + 1) % 3] = [-1, 1, 1, -1]
    corners[:, (axis + 2) % 3] = [-1, -1, 1, 1]
    return corners


@compiled()
def _fill_quads(quads: Any, colors: Any, parallel: bool, picture: Any, depth: Any) -> None:
    """Draw quads (N, 4, 3), given as column, row and distance, as two triangles each, with a depth buffer."""
    height, width = depth.shape
    for n in range(len(quads)):
        q = quads[n]
        if min(q[0, 2], q[1, 2], q[2, 2], q[3, 2]) < _NEAR_M:
            continue
        for second in range(2):
            b, c = 1 + second, 2 + second
            ax, ay, bx, by, cx, cy = q[0, 0], q[0, 1], q[b, 0], q[b, 1], q[c, 0], q[c, 1]
            area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
            if area == 0 or not np.isfinite(area):
                continue
            x0, x1 = max(0, int(np.ceil(min(ax, bx, cx)))), min(width - 1, int(np.floor(max(ax, bx, cx))))
            y0, y1 = max(0, int(np.ceil(min(ay, by, cy)))), min(height - 1, int(np.floor(max(ay, by, cy))))
            # Linear on the screen is the distance in a parallel projection, and its inverse in perspective.
            da = q[0, 2] if parallel else 1 / q[0, 2]
            db = q[b, 2] if parallel else 1 / q[b, 2]
            dc = q[c, 2] if parallel else 1 / q[c, 2]
            for y in range(y0, y1 + 1):
                for x in range(x0, x1 + 1):
                    v = ((x - ax) * (cy - ay) - (y - ay) * (cx - ax)) / area
                    w = ((bx - ax) * (y - ay) - (by - ay) * (x - ax)) / area
                    u = 1 - v - w
                    if u < -1e-9 or v < -1e-9 or w < -1e-9:
                        continue
                    d = u * da + v * db + w * dc
                    z = d if parallel else 1 / d
                    if z < depth[y, x]:
                        depth[y, x] = z
                        picture[y, x, 0] = colors[n, 0]
                        picture[y, x, 1] = colors[n, 1]
                        picture[y, x, 2] = colors[n, 2]
