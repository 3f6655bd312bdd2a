"""HHA: what holds for every depth image, camera and setting, in every execution."""

from __future__ import annotations

from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.hha import HhaEncoder, HhaSettings
from lcr_seg_ros.hha.encoder import MODES
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.sources.rooms.camera import look

DISPARITY, HEIGHT, ANGLE = 0, 1, 2
CAMERA = CameraIntrinsics(78.0, 81.0, 45.5, 37.0, 96, 72)
EVERY = pytest.mark.parametrize("mode", MODES)

Depth = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Hha = npt.NDArray[np.uint8]


@cache
def encoder(mode: str, **chosen: Any) -> HhaEncoder:
    if mode == "torch":
        pytest.importorskip("torch")
    return HhaEncoder(mode, HhaSettings(**chosen))


@cache
def room(seed: int, noise: bool = False, width: int = 160) -> RenderedRoom:
    return RenderedRoom(frames=5, seed=seed, width=width, height=width * 3 // 4, noise=noise)


def turned(yaw_deg: float, pitch_deg: float, roll_deg: float = 0.0) -> npt.NDArray[np.float64]:
    return look(*np.radians([yaw_deg, pitch_deg, roll_deg]))


@st.composite
def directions(draw: st.DrawFn) -> Vector:
    """Gravity in a camera turned by up to 60 degrees."""
    pitch, roll = draw(st.floats(-60, 60)), draw(st.floats(-60, 60))
    return turned(0, pitch, roll).T @ np.array([0.0, 0.0, -1.0])


@st.composite
def smooth_depth(draw: st.DrawFn, side: int = 1) -> Depth:
    """A gently waved wall, 1.3 to 5.5 m away, ``side`` times as many pixels as CAMERA has along each side."""
    height, width = side * CAMERA.height, side * CAMERA.width
    v, u = (np.mgrid[:height, :width] + 0.5) / np.array([height, width])[:, None, None]
    depth = np.full((height, width), draw(st.floats(2.0, 4.0)))
    part = st.floats(-1, 1)
    depth *= 1 + 0.25 * (draw(part) * (u - 0.5) + draw(part) * (v - 0.5))
    return depth * (1 + 0.02 * np.cos(2 * np.pi * (draw(part) * u + draw(part) * v + draw(part))))


@st.composite
def views(draw: st.DrawFn, noise: bool = False) -> tuple[Depth, Vector, CameraIntrinsics]:
    """Depth of a furnished room from a camera turned any way, gravity there, and intrinsics."""
    source = room(draw(st.integers(0, 5)), noise)
    pose = source.pose(draw(st.integers(0, 4)))
    pose[:3, :3] = turned(draw(st.floats(-180, 180)), draw(st.floats(-35, 35)), draw(st.floats(-10, 10)))
    return source.depth_from(pose).astype(np.float64), pose[:3, :3].T @ np.array([0.0, 0.0, -1.0]), source.intrinsics


class TestScale:
    @EVERY
    @given(depth=smooth_depth(side=3), down=directions())
    @settings(max_examples=25)
    def test_more_pixels_of_the_same_view_give_the_same_hha(self, mode: str, depth: Depth, down: Vector) -> None:
        camera = CAMERA.scaled_to(3 * CAMERA.width, 3 * CAMERA.height)
        large = encoder(mode).encode(depth, camera, gravity=down, camera_height_m=1.3)[1::3, 1::3]
        # Pixel (u, v) has its centre where 3u + 1, 3v + 1 has it in the large image.
        small = encoder(mode).encode(depth[1::3, 1::3], CAMERA, gravity=down, camera_height_m=1.3)
        np.testing.assert_array_equal(small[..., DISPARITY], large[..., DISPARITY])
        assert_same_but_for_rounding(small[..., HEIGHT], large[..., HEIGHT])
        # Windows are cut at the border, and cover another part of what is curved.
        assert difference(small, large)[3:-3, 3:-3, ANGLE].max() <= 1

    @EVERY
    @given(depth=smooth_depth(), down=directions(), scale=st.sampled_from([0.5, 2.0, 4.0]))
    @settings(max_examples=25)
    def test_a_world_of_another_size_has_the_same_angles(
        self, mode: str, depth: Depth, down: Vector, scale: float
    ) -> None:
        once, scaled = (encoder(mode).encode(depth * s, CAMERA, gravity=down) for s in (1.0, scale))
        np.testing.assert_array_equal(once[..., ANGLE], scaled[..., ANGLE])

    @EVERY
    @given(depth=smooth_depth(), down=directions(), scale=st.floats(0.3, 3.0), height_m=st.floats(0.2, 1.5))
    @settings(max_examples=25)
    def test_heights_grow_with_the_world(
        self, mode: str, depth: Depth, down: Vector, scale: float, height_m: float
    ) -> None:
        once, scaled = (
            encoder(mode).encode(depth * s, CAMERA, gravity=down, camera_height_m=height_m * s)[..., HEIGHT]
            for s in (1.0, scale)
        )
        inside = (once > 0) & (once < 255)
        expected = np.minimum(once[inside] * scale, 255)
        assert np.abs(scaled[inside] - expected).max(initial=0) <= 0.5 + 0.5 * scale + 0.01


class TestTurnedImages:
    """Upside-down, portrait and mirrored cameras: HHA of the turned image is the turned HHA."""

    @staticmethod
    def flipped(camera: CameraIntrinsics) -> CameraIntrinsics:
        k = camera
        return CameraIntrinsics(k.fx, k.fy, k.width - 1 - k.cx, k.cy, k.width, k.height)

    @staticmethod
    def upside_down(camera: CameraIntrinsics) -> CameraIntrinsics:
        k = camera
        return CameraIntrinsics(k.fx, k.fy, k.width - 1 - k.cx, k.height - 1 - k.cy, k.width, k.height)

    @staticmethod
    def portrait(camera: CameraIntrinsics) -> CameraIntrinsics:
        """Of the image turned by 90 degrees as numpy.rot90 does: its columns run along the old rows."""
        k = camera
        return CameraIntrinsics(k.fy, k.fx, k.cy, k.width - 1 - k.cx, k.height, k.width)

    TURNS = pytest.mark.parametrize("turn", ["flip", "180", "90"])

    def turn(self, how: str, image: Any, camera: CameraIntrinsics) -> tuple[Any, CameraIntrinsics]:
        if how == "flip":
            return image[:, ::-1], self.flipped(camera)
        if how == "180":
            return image[::-1, ::-1], self.upside_down(camera)
        return np.rot90(image), self.portrait(camera)

    def turn_vector(self, how: str, vector: Vector) -> Vector:
        x, y, z = vector
        return np.array({"flip": (-x, y, z), "180": (-x, -y, z), "90": (y, -x, z)}[how])

    @EVERY
    @TURNS
    @given(view=views())
    @settings(max_examples=15)
    def test_with_given_gravity(self, mode: str, turn: str, view: tuple[Depth, Vector, CameraIntrinsics]) -> None:
        depth, down, camera = view
        turned_depth, turned_camera = self.turn(turn, depth, camera)
        got = encoder(mode).encode(turned_depth, turned_camera, gravity=self.turn_vector(turn, down))
        expected, _ = self.turn(turn, encoder(mode).encode(depth, camera, gravity=down), camera)
        assert_same_but_for_rounding(got, expected)

    @EVERY
    @TURNS
    @given(view=views(noise=True), height_m=st.floats(0.3, 1.6))
    @settings(max_examples=15)
    def test_with_holes(
        self, mode: str, turn: str, view: tuple[Depth, Vector, CameraIntrinsics], height_m: float
    ) -> None:
        depth, down, camera = view
        turned_depth, turned_camera = self.turn(turn, depth, camera)
        chosen = {"camera_height_m": height_m}
        got = encoder(mode).encode(turned_depth, turned_camera, gravity=self.turn_vector(turn, down), **chosen)
        expected, _ = self.turn(turn, encoder(mode).encode(depth, camera, gravity=down, **chosen), camera)
        # How holes are filled depends a little on where the pyramid's cells begin; what was measured does not.
        assert_same_but_for_rounding(got[turned_depth > 0], expected[turned_depth > 0])
        assert_same_but_for_rounding(got[..., ANGLE], expected[..., ANGLE])

    @EVERY
    @TURNS
    @given(view=views())
    @settings(max_examples=15)
    def test_gravity_is_estimated_alike_where_upright_is_turned_along(
        self, mode: str, turn: str, view: tuple[Depth, Vector, CameraIntrinsics]
    ) -> None:
        depth, down, camera = view
        if mode != "exact":  # in a view that settles nothing, a few normals more or less may lead anywhere
            assume(angle_deg(encoder("exact").estimate_gravity(depth, camera), down) < 3)
        turned_depth, turned_camera = self.turn(turn, depth, camera)
        upright = tuple(float(x) for x in self.turn_vector(turn, np.array([0.0, 1.0, 0.0])))
        got = encoder(mode, upright=upright).estimate_gravity(turned_depth, turned_camera)
        expected = self.turn_vector(turn, encoder(mode).estimate_gravity(depth, camera))
        # Other than exact they take some of the normals, and others of the turned image; these images are tiny.
        assert angle_deg(got, expected) < (0.01 if mode == "exact" else 1.5)


class TestHoles:
    @EVERY
    @given(depth=smooth_depth(), down=directions(), seed=st.integers(0, 2**32 - 1), share=st.floats(0.001, 0.05))
    @settings(max_examples=25)
    def test_angles_away_from_holes_stay(self, mode: str, depth: Depth, down: Vector, seed: int, share: float) -> None:
        holes = np.random.default_rng(seed).random(depth.shape) < share
        got, whole = (encoder(mode).encode(d, CAMERA, gravity=down) for d in (np.where(holes, 0, depth), depth))
        untouched = cv2.dilate(holes.astype(np.uint8), np.ones((7, 7), np.uint8)) == 0
        assert_same_but_for_rounding(got[untouched][:, ANGLE], whole[untouched][:, ANGLE])

    @EVERY
    @given(view=views(), nearest_m=st.floats(0.1, 2.0), range_m=st.floats(0.3, 4.0))
    @settings(max_examples=25)
    def test_depth_outside_the_range_is_a_hole(
        self, mode: str, view: tuple[Depth, Vector, CameraIntrinsics], nearest_m: float, range_m: float
    ) -> None:
        depth, down, camera = view
        farthest_m = nearest_m + range_m
        limited = encoder(mode, min_depth_m=nearest_m, max_depth_m=farthest_m)
        cut = np.where((depth >= nearest_m) & (depth <= farthest_m), depth, 0.0)
        np.testing.assert_array_equal(
            limited.encode(depth, camera, gravity=down), encoder(mode).encode(cut, camera, gravity=down)
        )

    @EVERY
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_the_ends_of_the_range_belong_to_it(self, mode: str, dtype: type) -> None:
        depth = np.full((CAMERA.height, CAMERA.width), 2.0, dtype)
        for limits in ({"min_depth_m": 2.0}, {"max_depth_m": 2.0}):
            assert encoder(mode, **limits).encode(depth, CAMERA, gravity=(0, 1, 0)).any()
        for limits in ({"min_depth_m": 2.001}, {"max_depth_m": 1.999}):
            assert not encoder(mode, **limits).encode(depth, CAMERA, gravity=(0, 1, 0)).any()


class TestAnySizeAndSetting:
    SETTINGS = st.fixed_dictionaries(
        {"floor": st.sampled_from(["min", "robust"]), "smoothing": st.sampled_from(["off", "on", "auto"])}
    )

    @EVERY
    @given(
        height=st.integers(1, 12), width=st.integers(1, 12), seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1),
        chosen=SETTINGS, camera_height_m=st.none() | st.floats(0.1, 2.5),
    )  # fmt: skip
    @settings(max_examples=60)
    def test_tiny_images_with_any_holes(
        self, mode: str, height: int, width: int, seed: int, share: float, chosen: dict[str, str],
        camera_height_m: float | None,
    ) -> None:  # fmt: skip
        random = np.random.default_rng(seed)
        depth = random.uniform(0.5, 6, (height, width)).astype(np.float32)
        depth[random.random(depth.shape) < share] = np.nan
        camera = CameraIntrinsics(8.0, 9.0, width / 3, height / 2, width, height)
        got = encoder(mode, **chosen).encode_frame(depth, camera, camera_height_m=camera_height_m)
        assert got.image.shape == (height, width, 3) and got.image.dtype == np.uint8
        assert np.linalg.norm(got.gravity.down) == pytest.approx(1)
        if not (depth > 0).any():
            assert not got.image.any()

    @EVERY
    @pytest.mark.parametrize("upright", [(0.0, 1.0, 0.0), (0.0, -3.0, 4.0)])
    @pytest.mark.parametrize("hole", [0.0, np.nan, np.inf, -1.0])
    @given(chosen=SETTINGS, camera_height_m=st.none() | st.floats(0.1, 2.5))
    @settings(max_examples=8)
    def test_no_valid_depth_gives_zeros_and_a_gravity_that_is_said_to_be_a_guess(
        self, mode: str, upright: tuple[float, float, float], hole: float, chosen: dict[str, str],
        camera_height_m: float | None,
    ) -> None:  # fmt: skip
        depth = np.full((CAMERA.height, CAMERA.width), hole, np.float32)
        encode = encoder(mode, upright=upright, **chosen)
        got = encode.encode_frame(depth, CAMERA, camera_height_m=camera_height_m)
        assert not got.image.any()
        assert not got.gravity.confident and got.gravity.doubt
        np.testing.assert_allclose(got.gravity.down, np.array(upright) / np.linalg.norm(upright))


class TestKnownCameraHeight:
    @EVERY
    @given(depth=smooth_depth(), down=directions(), height_m=st.floats(0.05, 3.0))
    @settings(max_examples=40)
    def test_heights_count_from_the_plane_that_far_below_the_camera(
        self, mode: str, depth: Depth, down: Vector, height_m: float
    ) -> None:
        got = encoder(mode).encode(depth, CAMERA, gravity=down, camera_height_m=height_m)[..., HEIGHT]
        expected = 100 * (height_m - depth * (rays(CAMERA) @ down))
        assert np.abs(got - np.clip(expected, 0, 255)).max() <= 0.5 + 0.01

    @EVERY
    @given(view=views(noise=True), height_m=st.floats(0.2, 2.0), seed=st.integers(0, 2**32 - 1))
    @settings(max_examples=15)
    def test_no_pixel_moves_the_height_of_another(
        self, mode: str, view: tuple[Depth, Vector, CameraIntrinsics], height_m: float, seed: int
    ) -> None:
        depth, down, camera = view
        random = np.random.default_rng(seed)
        v, u = random.integers(camera.height), random.integers(camera.width)
        changed = depth.copy()
        changed[v, u] = random.uniform(0, 9)
        before, after = (
            encoder(mode).encode(d, camera, gravity=down, camera_height_m=height_m) for d in (depth, changed)
        )
        others = depth > 0
        others[v, u] = False
        np.testing.assert_array_equal(before[others][:, HEIGHT], after[others][:, HEIGHT])

    @EVERY
    @given(view=views(), height_m=st.floats(0.3, 1.6))
    @settings(max_examples=10)
    def test_the_floor_rule_has_no_say(
        self, mode: str, view: tuple[Depth, Vector, CameraIntrinsics], height_m: float
    ) -> None:
        depth, down, camera = view
        images = [
            encoder(mode, floor=floor).encode(depth, camera, gravity=down, camera_height_m=height_m)
            for floor in ("min", "robust")
        ]
        np.testing.assert_array_equal(*images)


class TestRobustFloor:
    @EVERY
    @given(data=st.data())
    @settings(max_examples=20)
    def test_no_pixel_moves_the_height_of_another_by_more_than_a_level(self, mode: str, data: st.DataObject) -> None:
        source = room(data.draw(st.integers(0, 5)), width=320)
        pose = source.pose(data.draw(st.integers(0, 4)))
        pose[:3, :3] = turned(data.draw(st.floats(-180, 180)), data.draw(st.floats(-40, 30)))
        depth, down = source.depth_from(pose), pose[:3, :3].T @ np.array([0.0, 0.0, -1.0])
        changed = depth.copy()
        lowest = np.argmax(depth * (rays(source.intrinsics) @ down))
        at = data.draw(st.just(int(lowest)) | st.integers(0, depth.size - 1))
        changed.flat[at] = data.draw(st.sampled_from([0.3, 9.5]) | st.floats(0.3, 9.5))
        before, after = (
            encoder(mode, floor="robust").encode(d, source.intrinsics, gravity=down) for d in (depth, changed)
        )
        off = difference(before, after)[..., HEIGHT]
        off.flat[at] = 0
        assert off.max() <= 1

    @EVERY
    @pytest.mark.parametrize("seed", range(6))
    def test_it_is_the_references_floor_where_a_floor_well_below_the_camera_is_in_view(
        self, mode: str, seed: int
    ) -> None:
        source = room(seed, noise=True, width=320)
        for index in range(5):
            pose = source.pose(index)
            if pose[2, 3] < 1.15:
                continue
            pose[:3, :3] = turned(72 * index, -40)
            down = pose[:3, :3].T @ np.array([0.0, 0.0, -1.0])
            depth = source.depth_from(pose)
            up_m = -depth * (rays(source.intrinsics) @ down)
            if (up_m < -0.95 * pose[2, 3]).mean() < 0.05:
                continue  # furniture hides the floor
            lowest, robust = (
                encoder(mode, floor=floor).encode(depth, source.intrinsics, gravity=down)[..., HEIGHT]
                for floor in ("min", "robust")
            )
            between = (lowest > 10) & (lowest < 250) & (robust > 10)
            assert np.abs(difference(lowest, robust)[between]).max(initial=0) <= 8

    @EVERY
    def test_heights_do_not_jump_as_the_lowest_point_passes_90_cm(self, mode: str) -> None:
        def height_of_horizon(camera_height_m: float, floor: str) -> int:
            """Above a floor that far below the camera, which is 3 m away from a wall."""
            across = rays(CAMERA)[..., 1]
            depth = np.minimum(np.where(across > 0, camera_height_m / np.maximum(across, 1e-9), np.inf), 3.0)
            hha = encoder(mode, floor=floor).encode(depth, CAMERA, gravity=(0, 1, 0))
            return int(hha[int(CAMERA.cy), 10, HEIGHT])

        heights_m = np.arange(0.8, 1.2, 0.005)
        robust, lowest = ([height_of_horizon(h, floor) for h in heights_m] for floor in ("robust", "min"))
        assert np.abs(np.diff(robust)).max() <= 2
        assert np.abs(np.diff(lowest)).max() >= 39, "the reference does jump: this is why robust exists"
        assert robust[0] == lowest[0] == 130
        assert abs(robust[-1] - 100 * heights_m[-1]) <= 1


class TestSmoothing:
    """Depth in steps of 39 mm, as that of an 8-bit source over 10 m."""

    VGA = CameraIntrinsics(525.0, 525.0, 319.5, 239.5, 640, 480)

    @staticmethod
    def coarse(depth: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        return (np.round(depth / 0.039) * 0.039).astype(depth.dtype)

    @EVERY
    @pytest.mark.parametrize("turn_deg", [0, 35, 90], ids=["about x", "aslant", "about y"])
    @pytest.mark.parametrize("tilt_deg", [30, 45, 60])
    def test_a_tilted_plane_has_its_angle_again(self, mode: str, turn_deg: float, tilt_deg: float) -> None:
        turn, tilt = np.radians([turn_deg, tilt_deg])
        normal = np.array([np.sin(turn) * np.sin(tilt), np.cos(turn) * np.sin(tilt), np.cos(tilt)])
        depth = 2.0 / (rays(self.VGA) @ normal)
        depth[(depth <= 0) | (depth > 6)] = 0
        down = np.array([0.6, 0.8, 0.0])  # so that tilt about any axis changes the angle
        expected = np.degrees(np.arccos(normal @ down)) + 38

        def error(smoothing: str) -> float:
            hha = encoder(mode, smoothing=smoothing).encode(self.coarse(depth), self.VGA, gravity=down)
            return float(np.abs(hha[..., ANGLE] - expected)[depth > 0].mean())

        assert error("on") < 0.5 * error("off")

    @EVERY
    @pytest.mark.parametrize("seed", range(3))
    def test_rooms_have_angles_near_those_of_fine_depth_again(self, mode: str, seed: int) -> None:
        source = room(seed, width=640)
        depth, down = source.depth_from(source.pose(2)), source.gravity(2)
        fine, plain, smooth, auto = (
            encoder(mode, smoothing=how).encode(d, source.intrinsics, gravity=down)[..., ANGLE].astype(int)
            for how, d in (("off", depth), *((h, self.coarse(depth)) for h in ("off", "on", "auto")))
        )
        assert np.abs(smooth - fine).mean() < 0.7 * np.abs(plain - fine).mean()
        np.testing.assert_array_equal(auto, smooth)

    @EVERY
    @pytest.mark.parametrize("seed", range(3))
    def test_fine_depth_stays_as_it_is(self, mode: str, seed: int) -> None:
        source = room(seed, width=640)
        depth, down = source.depth_from(source.pose(2)), source.gravity(2)
        plain, smooth, auto = (
            encoder(mode, smoothing=how).encode(depth, source.intrinsics, gravity=down) for how in ("off", "on", "auto")
        )
        np.testing.assert_array_equal(auto, plain)
        assert difference(smooth, plain)[..., ANGLE].mean() < 0.5

    @EVERY
    @given(view=views(noise=True))
    @settings(max_examples=10)
    def test_disparity_and_height_are_never_smoothed(
        self, mode: str, view: tuple[Depth, Vector, CameraIntrinsics]
    ) -> None:
        depth, down, camera = view
        plain, smooth = (
            encoder(mode, smoothing=how).encode(self.coarse(depth), camera, gravity=down) for how in ("off", "on")
        )
        np.testing.assert_array_equal(plain[..., :ANGLE], smooth[..., :ANGLE])


def assert_same_but_for_rounding(got: Hha, expected: Hha) -> None:
    off = difference(got, expected)
    assert off.max(initial=0) <= 1
    assert np.count_nonzero(off) <= 1 + 0.005 * off.size


def difference(a: Hha, b: Hha) -> npt.NDArray[np.int16]:
    return np.abs(a.astype(np.int16) - b)


def rays(camera: CameraIntrinsics) -> npt.NDArray[np.float64]:
    """(H, W, 3) directions with z = 1."""
    v, u = np.mgrid[: camera.height, : camera.width]
    return np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], axis=-1)


def angle_deg(a: Vector, b: Vector) -> float:
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))
