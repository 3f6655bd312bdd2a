"""HHA: golden files of the reference, closed forms, and what holds for every depth image."""

from __future__ import annotations

import copy
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_data import shared_data, shared_image

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import CameraIntrinsics, depth_to_metres
from lcr_seg_ros.hha import GravityTracker, HhaEncoder, HhaSettings
from lcr_seg_ros.hha.gravity import gravity_of_normals
from lcr_seg_ros.hha.holes import push_pull

# Published for 1-based pixels, here for pixels counted from 0.
NYUDV2 = CameraIntrinsics(518.857901, 519.469611, 325.582449 - 1, 253.736166 - 1, 640, 480)
KITCHEN = CameraIntrinsics(585.0, 585.0, 320.0, 240.0, 640, 480)
SMALL = CameraIntrinsics(60.0, 62.0, 23.0, 18.5, 48, 36)

EXACT, FAST = HhaEncoder("exact"), HhaEncoder("fast")
BOTH = pytest.mark.parametrize("encoder", [EXACT, FAST], ids=["exact", "fast"])
DISPARITY, HEIGHT, ANGLE = 0, 1, 2


class TestGoldenFiles:
    """MATLAB output for filled depth, and a Python port's where raw depth masks the normals."""

    def test_exact_equals_matlab_in_every_pixel(self) -> None:
        np.testing.assert_array_equal(EXACT.encode(_golden_depth(), NYUDV2), _golden("expected_filled_filled.png"))

    def test_exact_is_within_one_level_of_the_port_where_normals_are_well_posed(self) -> None:
        measured = shared_image("hha", "depth_raw.png") > 0
        got = EXACT.encode(_golden_depth(), NYUDV2, valid=measured)
        expected = _golden("expected_filled_raw.png")
        off = _difference(got, expected)
        singular = _windows_on_one_line(measured)
        assert 0 < singular.mean() < 0.01
        assert off[..., DISPARITY].max() == 0
        assert off[..., HEIGHT].max() <= 1 and (off[..., HEIGHT] > 0).mean() < 0.01
        angle = off[..., ANGLE][~singular]
        assert angle.max() <= 1 and (angle > 0).mean() < 0.01

    @pytest.mark.parametrize("masked", [False, True], ids=["all measured", "holes masked"])
    def test_fast_is_close_to_exact(self, masked: bool) -> None:
        valid = shared_image("hha", "depth_raw.png") > 0 if masked else None
        _assert_fast_is_close(_golden_depth(), NYUDV2, valid)

    def test_filling_raw_depth_comes_close_to_the_inpainted_reference(self) -> None:
        raw = shared_image("hha", "depth_raw.png").astype(np.float32) * np.float32(1e-4)
        off = _difference(FAST.encode(raw, NYUDV2), _golden("expected_filled_raw.png"))
        assert off[..., DISPARITY].mean() < 1.2
        assert off[..., HEIGHT].mean() < 3.6


class TestRealFrames:
    @pytest.mark.parametrize("name", ["3", "230", "751", "1345"])
    def test_fast_is_close_to_exact_on_nyudv2(self, name: str) -> None:
        paths = sorted(shared_data("nyudv2", "depth").glob("*.png"), key=lambda p: int(p.stem))
        path = next(p for p in paths if int(p.stem) >= int(name))
        _assert_fast_is_close(_metres(path.parent.parent.name, "depth", path.name), NYUDV2)

    @pytest.mark.parametrize("name", ["000000", "000060", "000110"])
    def test_fast_is_close_to_exact_on_live_depth_with_holes(self, name: str) -> None:
        depth = _metres("kitchen", "depth", f"{name}.png")
        assert (depth == 0).mean() > 0.03
        _assert_fast_is_close(depth, KITCHEN)


@dataclass(frozen=True)
class Plane:
    """Points P with normal.P = distance_m, seen by the camera SMALL with gravity ``down``."""

    normal: npt.NDArray[np.float64]
    distance_m: float
    down: npt.NDArray[np.float64]

    def depth_m(self) -> npt.NDArray[np.float64]:
        return self.distance_m / (_rays(SMALL) @ self.normal)


@st.composite
def planes(draw: st.DrawFn) -> Plane:
    """A plane that fills the view, at any tilt to gravity that the camera may have."""

    def direction(x: float, y: float, z: float) -> npt.NDArray[np.float64]:
        return np.array([x, y, z]) / np.linalg.norm([x, y, z])

    part = st.floats(-1, 1)
    normal = direction(draw(part), draw(part), draw(st.floats(0.9, 1.5)))
    down = direction(draw(part), draw(part) + 1.2, draw(part))
    return Plane(normal, draw(st.floats(0.7, 6.0)), down)


class TestClosedForms:
    @BOTH
    @given(plane=planes())
    @settings(max_examples=40, deadline=None)
    def test_angle_is_that_between_normal_and_gravity(self, encoder: HhaEncoder, plane: Plane) -> None:
        got = encoder.encode(plane.depth_m(), SMALL, gravity=plane.down)[..., ANGLE]
        expected = np.degrees(np.arccos(np.clip(plane.normal @ plane.down, -1, 1))) + 38
        assert np.abs(got - expected).max() <= 0.5 + 0.05

    @BOTH
    @given(plane=planes())
    @settings(max_examples=40, deadline=None)
    def test_height_counts_from_the_lowest_point_or_an_assumed_floor(self, encoder: HhaEncoder, plane: Plane) -> None:
        depth = plane.depth_m()
        got = encoder.encode(depth, SMALL, gravity=plane.down)[..., HEIGHT]
        up_cm = -(_rays(SMALL) @ plane.down) * depth * 100
        floor = up_cm.min() if up_cm.min() <= -90 else -130.0
        assert np.abs(got - np.clip(up_cm - floor, 0, 255)).max() <= 0.5 + 0.01

    @BOTH
    @given(plane=planes())
    @settings(max_examples=40, deadline=None)
    def test_disparity_is_31000_over_centimetres_from_one_metre_on(self, encoder: HhaEncoder, plane: Plane) -> None:
        depth = plane.depth_m()
        got = encoder.encode(depth, SMALL, gravity=plane.down)[..., DISPARITY]
        expected = np.minimum(np.floor(31000 / np.maximum(depth * 100, 100) + 0.5), 255)
        np.testing.assert_array_equal(got, expected)

    @BOTH
    @pytest.mark.parametrize("pitch_deg", [20.0, 30.0, 40.0])
    def test_a_floor_seen_at_known_pitch_gives_gravity_height_and_angle(
        self, encoder: HhaEncoder, pitch_deg: float
    ) -> None:
        down = np.array([0.0, np.cos(np.radians(pitch_deg)), np.sin(np.radians(pitch_deg))])
        floor = Plane(normal=down, distance_m=1.4, down=down)
        depth = floor.depth_m()
        depth[depth <= 0] = 0  # above the horizon
        assert _angle_deg(encoder.estimate_gravity(depth, SMALL), down) < 0.01
        seen = encoder.encode(depth, SMALL)[SMALL.height // 2 :]
        assert np.ptp(seen[..., HEIGHT].astype(int)) <= 1
        assert set(np.unique(seen[..., ANGLE])) <= {38, 39}

    @BOTH
    def test_one_bare_wall_leaves_an_upright_camera_upright(self, encoder: HhaEncoder) -> None:
        for yaw_deg in (0.0, 17.0):
            normal = np.array([np.sin(np.radians(yaw_deg)), 0.0, np.cos(np.radians(yaw_deg))])
            depth = Plane(normal, 2.5, normal).depth_m()
            assert _angle_deg(encoder.estimate_gravity(depth, SMALL), np.array([0.0, 1.0, 0.0])) < 0.01
            assert set(np.unique(encoder.encode(depth, SMALL)[..., ANGLE])) == {128}

    @BOTH
    def test_a_given_gravity_counts_by_direction_only(self, encoder: HhaEncoder) -> None:
        depth = Plane(np.array([0.1, 0.2, 0.97]), 2.0, np.zeros(3)).depth_m()
        newton = encoder.encode(depth, SMALL, gravity=[0.3, 9.7, 1.1])
        unit = np.array([0.3, 9.7, 1.1]) / np.linalg.norm([0.3, 9.7, 1.1])
        np.testing.assert_array_equal(newton, encoder.encode(depth, SMALL, gravity=unit))

    def test_gravity_of_no_normals_is_down_for_an_upright_camera(self) -> None:
        np.testing.assert_array_equal(gravity_of_normals(np.zeros((3, 0))), [0.0, 1.0, 0.0])


class TestHoles:
    @given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 21), width=st.integers(1, 21))
    @settings(max_examples=60, deadline=None)
    def test_filled_values_lie_between_known_ones_and_these_stay(self, seed: int, height: int, width: int) -> None:
        random = np.random.default_rng(seed)
        values = random.uniform(0.5, 5.0, (height, width))
        known = random.random((height, width)) < 0.3
        known.flat[random.integers(known.size)] = True
        filled = push_pull(values, known)
        np.testing.assert_array_equal(filled[known], values[known])
        assert filled.min() >= values[known].min() - 1e-9
        assert filled.max() <= values[known].max() + 1e-9

    @BOTH
    @given(seed=st.integers(0, 2**32 - 1), hole=st.sampled_from([0.0, np.nan, np.inf, -np.inf, -1.0, 1e4]))
    @settings(max_examples=25, deadline=None)
    def test_holes_leave_the_disparity_of_all_other_pixels(self, encoder: HhaEncoder, seed: int, hole: float) -> None:
        random = np.random.default_rng(seed)
        depth = random.uniform(0.6, 5.0, (36, 48)).astype(np.float32)
        holes = random.random(depth.shape) < 0.4
        punched = np.where(holes, np.float32(hole), depth)
        got, whole = encoder.encode(punched, SMALL), encoder.encode(depth, SMALL)
        np.testing.assert_array_equal(got[~holes, DISPARITY], whole[~holes, DISPARITY])

    @given(plane=planes(), seed=st.integers(0, 2**32 - 1), share=st.floats(0.0, 0.97))
    @settings(max_examples=60, deadline=None)
    def test_fast_stays_within_a_level_of_exact_however_many_holes(self, plane: Plane, seed: int, share: float) -> None:
        depth = plane.depth_m()
        depth[np.random.default_rng(seed).random(depth.shape) < share] = 0
        exact, fast = (e.encode(depth, SMALL, gravity=plane.down) for e in (EXACT, FAST))
        assert _difference(exact, fast).max() <= 1

    @BOTH
    def test_depth_given_at_invalid_pixels_is_used_but_not_for_normals(self, encoder: HhaEncoder) -> None:
        wall = np.full((36, 48), 2.0, np.float32)
        bumpy = wall.copy()
        bumpy[10:14, 20:30] = 1.5
        measured = bumpy == 2.0
        got = encoder.encode(bumpy, SMALL, valid=measured, gravity=(0, 1, 0))
        assert set(np.unique(got[10:14, 20:30, DISPARITY])) == {207}  # 31000 / 150
        assert set(np.unique(got[..., ANGLE])) == {128}

    @BOTH
    def test_a_pixel_without_normal_has_the_angle_of_a_ceiling(self, encoder: HhaEncoder) -> None:
        depth = np.full((36, 48), 2.0, np.float32)
        line = np.zeros((36, 48), bool)
        line[:, 5] = True  # pixels, but all on one line
        angle = encoder.encode(depth, SMALL, valid=line)[..., ANGLE]
        assert set(np.unique(angle)) == {218}


class TestAnyInput:
    @BOTH
    @pytest.mark.parametrize("hole", [0.0, np.nan, np.inf, -2.0, 1e-30, 1e30])
    def test_no_valid_depth_gives_zeros(self, encoder: HhaEncoder, hole: float) -> None:
        depth = np.full((36, 48), hole, np.float32)
        assert not encoder.encode(depth, SMALL).any()
        np.testing.assert_array_equal(encoder.estimate_gravity(depth, SMALL), [0.0, 1.0, 0.0])

    @BOTH
    @pytest.mark.parametrize("size", [(1, 1), (3, 5), (1, 9), (9, 1), (2, 2), (7, 7), (23, 65), (130, 3)])
    def test_images_smaller_than_a_window_are_encoded(self, encoder: HhaEncoder, size: tuple[int, int]) -> None:
        camera = CameraIntrinsics(50.0, 50.0, 0.0, 0.0, size[1], size[0])
        random = np.random.default_rng(0)
        depth = np.full(size, 2.0)
        with np.errstate(all="raise"):
            for kept in (1.0, 0.5, 0.0):
                depth[random.random(size) >= kept] = np.nan
                depth.flat[0] = 2.0
                got = encoder.encode(depth, camera, gravity=(0, 1, 0))
                assert got.shape == (*size, 3) and got.dtype == np.uint8
                assert set(np.unique(got[..., DISPARITY])) == {155}
            assert set(np.unique(got[..., ANGLE])) == {218}  # one pixel has no normal

    @BOTH
    @given(seed=st.integers(0, 2**32 - 1))
    @settings(max_examples=25, deadline=None)
    def test_the_same_frame_gives_the_same_bytes_whatever_came_before(self, encoder: HhaEncoder, seed: int) -> None:
        random = np.random.default_rng(seed)

        def frame() -> npt.NDArray[np.float32]:
            depth = random.uniform(0, 6, (36, 48)).astype(np.float32)
            depth[random.random(depth.shape) < random.random()] = np.nan
            return depth

        wanted = frame()
        first = HhaEncoder(encoder.mode).encode(wanted, SMALL)
        encoder.encode(frame(), SMALL)
        encoder.encode(frame()[:7, :5].copy(), CameraIntrinsics(60, 60, 2, 2, 5, 7))
        np.testing.assert_array_equal(encoder.encode(wanted, SMALL), first)

    def test_threads_that_share_an_encoder_get_their_own_results(self) -> None:
        random = np.random.default_rng(0)
        frames = [random.uniform(1, 6, (36, 48)).astype(np.float32) for _ in range(16)]
        alone = [FAST.encode(f, SMALL) for f in frames]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda f: FAST.encode(f, SMALL), frames))
        np.testing.assert_array_equal(together, alone)

    @BOTH
    def test_the_depth_image_is_not_changed_and_may_be_read_only_or_a_view(self, encoder: HhaEncoder) -> None:
        depth = np.random.default_rng(0).uniform(0, 4, (72, 96)).astype(np.float32)
        view, valid = depth[::2, ::-2], (depth > 1)[::2, ::-2]
        copied = view.copy()
        expected = encoder.encode(copied, SMALL, valid.copy())
        depth.flags.writeable = False
        np.testing.assert_array_equal(encoder.encode(view, SMALL, valid), expected)
        np.testing.assert_array_equal(view, copied)

    @BOTH
    def test_a_result_is_the_callers_to_keep(self, encoder: HhaEncoder) -> None:
        near, far = (np.full((36, 48), z, np.float32) for z in (1.5, 4.0))
        kept = encoder.encode(near, SMALL)
        encoder.encode(far, SMALL)
        assert set(np.unique(kept[..., DISPARITY])) == {207}

    @BOTH
    def test_a_result_goes_where_it_is_told(self, encoder: HhaEncoder) -> None:
        depth = np.random.default_rng(0).uniform(0, 4, (36, 48)).astype(np.float32)
        place = np.full((36, 48, 3), 7, np.uint8)
        for wanted in (depth, np.zeros_like(depth)):
            assert encoder.encode(wanted, SMALL, out=place) is place
            np.testing.assert_array_equal(place, encoder.encode(wanted, SMALL))
            assert encoder.encode_frame(wanted, SMALL, out=place).image is place

    def test_a_frame_allocates_nothing_of_its_size(self) -> None:
        depth = np.random.default_rng(0).uniform(0, 4, (480, 640)).astype(np.float32)
        place = np.empty((480, 640, 3), np.uint8)
        encoder = HhaEncoder("fast", HhaSettings(floor="robust", gravity_estimate="refined"))
        tracker = GravityTracker()
        encoder.encode_frame(depth, NYUDV2, tracker=tracker, out=place)
        tracemalloc.start()
        try:
            encoder.encode_frame(depth, NYUDV2, tracker=tracker, out=place)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 100_000  # the sample of heights whose percentile is the floor; a channel alone is 307,200

    @BOTH
    def test_an_encoder_is_copied_as_its_mode(self, encoder: HhaEncoder) -> None:
        twin = copy.deepcopy(encoder)
        assert twin is not encoder and twin.mode == encoder.mode


class TestErrors:
    def test_unknown_mode(self) -> None:
        with pytest.raises(FrameError, match="one of exact, fast, torch, got 'quick'"):
            HhaEncoder("quick")

    @pytest.mark.parametrize(
        "depth",
        [np.zeros((36, 48), np.uint16), np.zeros((36, 48, 1), np.float32), np.zeros(5), [[1.0]], None],
    )
    def test_depth_of_another_type_or_shape(self, depth: object) -> None:
        with pytest.raises(FrameError, match=r"\(H, W\) float32 or float64 in metres, got .*depth_to_metres"):
            EXACT.encode(depth, SMALL)  # type: ignore[arg-type]

    def test_empty_depth(self) -> None:
        with pytest.raises(FrameError, match="got 0x0"):
            FAST.encode(np.zeros((0, 0), np.float32), SMALL)

    def test_intrinsics_of_another_size(self) -> None:
        with pytest.raises(FrameError, match="depth is 8x8 but the intrinsics are for 48x36"):
            FAST.encode(np.ones((8, 8), np.float32), SMALL)

    @pytest.mark.parametrize("valid", [np.ones((36, 47), bool), np.ones((36, 48), np.uint8), True])
    def test_a_mask_of_another_type_or_shape(self, valid: object) -> None:
        with pytest.raises(FrameError, match=r"valid must be \(36, 48\) bool like depth_m"):
            FAST.encode(np.ones((36, 48), np.float32), SMALL, valid=valid)  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "out", [np.zeros((36, 48), np.uint8), np.zeros((36, 48, 3)), np.zeros((36, 96, 3), np.uint8)[:, ::2]]
    )
    def test_a_place_for_the_result_that_does_not_fit(self, out: object) -> None:
        with pytest.raises(FrameError, match=r"out must be \(36, 48, 3\) uint8, contiguous and writeable"):
            FAST.encode(np.ones((36, 48), np.float32), SMALL, out=out)  # type: ignore[arg-type]

    @pytest.mark.parametrize("height", [0.0, -1.0, np.nan, np.inf])
    def test_a_camera_that_is_not_above_the_floor(self, height: float) -> None:
        with pytest.raises(FrameError, match="camera_height_m must be > 0"):
            FAST.encode(np.ones((36, 48), np.float32), SMALL, camera_height_m=height)

    @pytest.mark.parametrize("gravity", [(0, 0, 0), (0, 1), (0, np.nan, 1), "down", [[0, 1, 0]]])
    def test_gravity_without_direction(self, gravity: object) -> None:
        with pytest.raises(FrameError, match="gravity must"):
            FAST.encode(np.ones((36, 48), np.float32), SMALL, gravity=gravity)  # type: ignore[arg-type]


def _assert_fast_is_close(
    depth: npt.NDArray[np.floating], camera: CameraIntrinsics, valid: npt.NDArray[np.bool_] | None = None
) -> None:
    exact, fast = EXACT.encode(depth, camera, valid), FAST.encode(depth, camera, valid)
    off = _difference(exact, fast)
    assert off[depth > 0, DISPARITY].max() == 0
    assert off[..., DISPARITY].max() <= 1 and (off[..., DISPARITY] > 0).mean() < 1e-4  # filled in float32
    assert off[..., HEIGHT].mean() <= 0.25
    assert off[..., ANGLE].mean() <= 0.25 and off[..., ANGLE].max() <= 1
    estimates = [e.estimate_gravity(depth, camera, valid) for e in (EXACT, FAST)]
    assert _angle_deg(*estimates) <= 0.2


def _golden_depth() -> npt.NDArray[np.float64]:
    return shared_image("hha", "depth_filled.png") / 10000.0


def _golden(name: str) -> npt.NDArray[np.uint8]:
    return shared_image("hha", name)[:, :, ::-1]


def _metres(*parts: str) -> npt.NDArray[np.float32]:
    return depth_to_metres(shared_image(*parts))


def _difference(a: npt.NDArray[np.uint8], b: npt.NDArray[np.uint8]) -> npt.NDArray[np.int16]:
    return np.abs(a.astype(np.int16) - b)


def _windows_on_one_line(measured: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """7x7 windows that hold a measured pixel, but no three off one line: their 3x3 system is singular."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(measured, 3), (7, 7)).reshape(*measured.shape, 49)
    dv, du = (g.ravel() for g in np.mgrid[-3:4, -3:4])
    terms = np.stack([du * du, du * dv, du, dv * dv, dv, np.ones(49)], axis=1)
    uu, uv, u, vv, v, n = np.moveaxis(windows.astype(np.float64) @ terms, -1, 0)
    determinant = uu * (vv * n - v * v) - uv * (uv * n - u * v) + u * (uv * v - u * vv)
    return (n > 0) & (np.abs(determinant) < 0.5)


def _rays(camera: CameraIntrinsics) -> npt.NDArray[np.float64]:
    v, u = np.mgrid[: camera.height, : camera.width]
    return np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], axis=-1)


def _angle_deg(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))
