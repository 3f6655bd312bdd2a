"""Gravity and HHA in rendered rooms, where the truth is known: tilted cameras, bare walls, hand-held motion.

``PYTHONPATH=. python test/test_hha_rooms.py`` prints the figures of docs/hha.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.hha import GravityEstimate, GravityTracker, HhaEncoder, HhaSettings
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.sources.rooms.camera import look

DISPARITY, HEIGHT, ANGLE = 0, 1, 2
Vector = npt.NDArray[np.float64]

ROOMS = 8
LOST_DEG = 5.0
RATE_HZ, STEP_DEG = 30.0, 2.0
"""Of hand-held motion: 60 degrees a second."""


@cache
def room(seed: int) -> RenderedRoom:
    """A room seen by a Kinect of 320x240 with noise and holes, from 1.0 to 1.6 m above the floor."""
    return RenderedRoom(frames=3, seed=seed, width=320, height=240)


@cache
def encoder(mode: str = "fast", gravity_estimate: str = "refined") -> HhaEncoder:
    return HhaEncoder(mode, HhaSettings(gravity_estimate=gravity_estimate))


@dataclass(frozen=True)
class View:
    depth_m: npt.NDArray[np.float32]
    intrinsics: CameraIntrinsics
    down: Vector
    camera_height_m: float


def view(seed: int, spot: int, yaw_deg: float, pitch_deg: float, roll_deg: float = 0.0, draw: int = 0) -> View:
    """What the camera sees from a place of the room's way (0, 1 or 2), turned; pitch > 0 looks up."""
    source = room(seed)
    pose = source.pose(spot)
    pose[:3, :3] = look(*np.radians([yaw_deg, pitch_deg, roll_deg]))
    return View(source.depth_from(pose, draw), source.intrinsics, -pose[2, :3], pose[2, 3])


@cache
def views(pitch_deg: float, number: int = 10, rooms: int = ROOMS) -> list[View]:
    """Views in all directions in several rooms; those with nothing within the sensor's range are left out."""
    random, seen_all = np.random.default_rng(0), []
    for seed in range(rooms):
        for k in range(number):
            seen = view(seed, k % 3, random.uniform(-180, 180), pitch_deg, random.uniform(-3, 3))
            if (seen.depth_m > 0).mean() > 0.05:
                seen_all.append(seen)
    return seen_all


def angle_deg(a: Vector, b: Vector) -> float:
    return float(np.degrees(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b)))


class TestDepthFrom:
    @pytest.mark.parametrize("noise", [False, True])
    def test_from_the_pose_of_a_frame_it_is_the_depth_of_the_frame(self, noise: bool) -> None:
        source = RenderedRoom(frames=3, seed=2, width=160, height=120, noise=noise)
        np.testing.assert_array_equal(source.depth_from(source.pose(1), draw=1), source[1].frame.depth_m)

    def test_each_draw_has_noise_of_its_own(self) -> None:
        source = room(0)
        one, other = (source.depth_from(source.pose(1), draw) for draw in (0, 1))
        assert 0 < np.abs(one - other)[(one > 0) & (other > 0)].mean() < 0.05


class TestGivenGravity:
    """As an IMU, TF or a fixed mounting give it: any pitch and roll will do."""

    POSES = pytest.mark.parametrize(
        ("pitch_deg", "roll_deg"),
        [(-80, 0), (-80, 77), (-60, -140), (-45, 180), (-20, 90), (0, -90), (20, 180), (45, 30), (60, 0), (80, -120)],
    )

    @POSES
    def test_fast_is_close_to_exact(self, pitch_deg: float, roll_deg: float) -> None:
        for seed in range(3):
            seen = view(seed, 1, 100 * seed, pitch_deg, roll_deg)
            exact, fast = (
                encoder(mode).encode(seen.depth_m, seen.intrinsics, gravity=seen.down) for mode in ("exact", "fast")
            )
            off = np.abs(exact.astype(int) - fast)
            assert off[seen.depth_m > 0][:, DISPARITY].max(initial=0) == 0
            assert off.max() <= 1 and off.mean() <= 0.25

    @pytest.mark.parametrize("mode", ["exact", "fast"])
    @POSES
    def test_level_surfaces_are_floors_and_the_height_of_the_floor_is_zero(
        self, mode: str, pitch_deg: float, roll_deg: float
    ) -> None:
        source = RenderedRoom(frames=3, seed=1, width=320, height=240, noise=False)
        pose = source.pose(1)
        pose[:3, :3] = look(*np.radians([40.0, pitch_deg, roll_deg]))
        down, camera_height_m = -pose[2, :3], pose[2, 3]
        depth = source.depth_from(pose)
        v, u = np.mgrid[:240, :320]
        k = source.intrinsics
        below_m = depth * ((u - k.cx) / k.fx * down[0] + (v - k.cy) / k.fy * down[1] + down[2])
        floor = np.abs(below_m - camera_height_m) < 1e-4
        hha = encoder(mode).encode(depth, k, gravity=down, camera_height_m=camera_height_m)
        assert hha[floor][:, HEIGHT].max(initial=0) == 0
        inside = floor & (window_mean(floor) == 1)
        assert np.abs(hha[inside][:, ANGLE].astype(int) - 38).max(initial=0) <= 1

    def test_it_is_what_the_frame_is_said_to_have(self) -> None:
        seen = view(0, 1, 10, -70, 120)
        gravity = encoder().encode_frame(seen.depth_m, seen.intrinsics, gravity=9.81 * seen.down).gravity
        assert gravity.confident
        assert angle_deg(gravity.down, seen.down) < 1e-6


class TestEstimate:
    """From one frame alone, starting upright."""

    @pytest.mark.parametrize("pitch_deg", [-40, -30, -20, -10, 0])
    def test_within_half_a_degree_where_confident(self, pitch_deg: float) -> None:
        off = [angle_deg(estimate.down, seen.down) for seen, estimate in confident_estimates(pitch_deg)]
        assert max(off) <= 0.5

    # The rest sees no floor, or bare walls.
    @pytest.mark.parametrize(("pitch_deg", "least"), [(-40, 0.5), (-30, 0.5), (-20, 0.4), (-10, 0.25), (0, 0.1)])
    def test_confident_in_many_frames_of_a_camera_that_looks_down_a_little(
        self, pitch_deg: float, least: float
    ) -> None:
        share = len(confident_estimates(pitch_deg)) / len(views(pitch_deg))
        assert share >= least

    @pytest.mark.parametrize("pitch_deg", [-80, -70, -60, -50, -45, -40, -20, 0, 20, 40, 45, 50, 60, 70, 80])
    def test_never_lost_and_confident(self, pitch_deg: float) -> None:
        for seen, estimate in confident_estimates(pitch_deg):
            assert angle_deg(estimate.down, seen.down) <= LOST_DEG

    @pytest.mark.parametrize("pitch_deg", [-80, -60, -40, -20, 0, 20, 40, 60, 80])
    def test_never_lost_and_confident_with_a_known_camera_height(self, pitch_deg: float) -> None:
        for seen, estimate in confident_estimates(pitch_deg, with_height=True):
            assert angle_deg(estimate.down, seen.down) <= LOST_DEG

    def test_the_references_ten_iterations_are_biased_by_clutter(self) -> None:
        reference, refined = (
            np.median(
                [
                    angle_deg(encoder("fast", how).estimate_gravity(seen.depth_m, seen.intrinsics), seen.down)
                    for seen in views(-30)
                ]
            )
            for how in ("reference", "refined")
        )
        assert refined <= 0.1 < 0.2 < reference

    def test_a_bare_wall_leaves_room_for_doubt(self) -> None:
        camera = room(0).intrinsics
        for pitch_deg in (-30, 0, 30):
            ahead = look(0, np.radians(pitch_deg), 0).T @ [1, 0, 0]
            v, u = np.mgrid[: camera.height, : camera.width]
            rays = np.stack([(u - camera.cx) / camera.fx, (v - camera.cy) / camera.fy, np.ones(u.shape)], -1)
            depth = 1.5 / (rays @ ahead)
            estimate = encoder().encode_frame(depth, camera).gravity
            assert not estimate.confident and estimate.doubt


class TestHandHeldMotion:
    """60 degrees a second at 30 Hz, with a memory of the frame before."""

    @pytest.mark.parametrize("seed", range(ROOMS))
    def test_gravity_is_never_lost_without_being_in_doubt(self, seed: int) -> None:
        followed = list(follow_hand(seed, spot=1, frames=150))
        for i, (seen, estimate) in enumerate(followed):
            if estimate.confident:
                assert angle_deg(estimate.down, seen.down) <= 2.0, f"frame {i}"

    @pytest.mark.parametrize("seed", range(ROOMS))
    def test_a_nod_to_75_degrees_down_and_back_is_followed_all_the_way(self, seed: int) -> None:
        """The floor and what stands on it stay in view: there is no reason for doubt."""
        start = first_confident(seed)
        assert start is not None, "in no direction from this place of the room does one frame tell gravity"
        yaw = start
        nod = np.concatenate([np.arange(-30, -75, -STEP_DEG), np.arange(-75, -30, STEP_DEG)])
        tracker, off, sure = GravityTracker(), [], []
        for i, pitch in enumerate(nod):
            seen = view(seed, 1, yaw, float(pitch), draw=i)
            estimate = (
                encoder().encode_frame(seen.depth_m, seen.intrinsics, tracker=tracker, stamp_s=i / RATE_HZ).gravity
            )
            off.append(angle_deg(estimate.down, seen.down))
            sure.append(estimate.confident)
        assert sure[0]
        assert max(np.array(off)[sure]) <= 2.0
        assert np.mean(sure) >= 0.5

    def test_without_memory_the_same_nod_is_lost(self) -> None:
        seen = view(0, 1, 0, -75)
        assert angle_deg(encoder().estimate_gravity(seen.depth_m, seen.intrinsics), seen.down) > 45

    def test_an_old_memory_says_nothing(self) -> None:
        tracker = GravityTracker()
        level, steep = (view(1, 1, 30, pitch) for pitch in (-30, -75))
        encoder().encode_frame(level.depth_m, level.intrinsics, tracker=tracker, stamp_s=0.0)
        late = encoder().encode_frame(steep.depth_m, steep.intrinsics, tracker=tracker, stamp_s=5.0)
        alone = encoder().encode_frame(steep.depth_m, steep.intrinsics)
        np.testing.assert_array_equal(late.gravity.down, alone.gravity.down)
        np.testing.assert_array_equal(late.image, alone.image)

    def test_a_tracker_that_was_reset_knows_nothing(self) -> None:
        tracker = GravityTracker()
        level, other = view(1, 1, 30, -30), view(2, 0, 30, -60)
        encoder().encode_frame(level.depth_m, level.intrinsics, tracker=tracker, stamp_s=0.0)
        tracker.reset()
        after = encoder().encode_frame(other.depth_m, other.intrinsics, tracker=tracker, stamp_s=0.03)
        np.testing.assert_array_equal(after.image, encoder().encode(other.depth_m, other.intrinsics))


@cache
def confident_estimates(pitch_deg: float, with_height: bool = False) -> list[tuple[View, GravityEstimate]]:
    found = []
    for seen in views(pitch_deg):
        height_m = seen.camera_height_m if with_height else None
        estimate = encoder().encode_frame(seen.depth_m, seen.intrinsics, camera_height_m=height_m).gravity
        if estimate.confident:
            found.append((seen, estimate))
    return found


def first_confident(seed: int) -> float | None:
    """A direction in degrees in which one frame tells gravity, the camera looking 30 degrees down."""
    for yaw in range(-180, 180, 30):
        seen = view(seed, 1, yaw, -30)
        if encoder().encode_frame(seen.depth_m, seen.intrinsics).gravity.confident:
            return float(yaw)
    return None


def window_mean(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    return cv2.blur(mask.astype(np.float64), (7, 7), borderType=cv2.BORDER_REPLICATE)  # type: ignore[return-value]


def follow_hand(seed: int, spot: int, frames: int) -> Iterator[tuple[View, GravityEstimate]]:
    """What a tracker makes of a camera that turns to a new direction each second, anywhere between its limits."""
    tracker, random = GravityTracker(), np.random.default_rng([seed, spot])
    now = np.array([random.uniform(-180, 180), -25.0, 0.0])
    aim = now
    for i in range(frames):
        if i % 30 == 15:
            aim = random.uniform([-180, -75, -40], [180, 60, 40])
        way = aim - now
        way[0] = (way[0] + 180) % 360 - 180
        now = now + way * min(1.0, STEP_DEG / max(float(np.linalg.norm(way)), 1e-9))
        seen = view(seed, spot, *now, draw=i)
        yield seen, encoder().encode_frame(seen.depth_m, seen.intrinsics, tracker=tracker, stamp_s=i / RATE_HZ).gravity


def print_figures() -> None:
    """How often gravity is trusted and how far it is off then: single frames by pitch, and motion."""
    print("| pitch | frames | trusted | off, median | off, largest | wrong by more than 5 degrees and trusted |")
    print("|---|---|---|---|---|---|")
    for pitch_deg in (-80, -60, -50, -40, -30, -20, -10, 0, 10, 20, 30, 40, 45, 50, 55, 60, 80):
        every = [
            (angle_deg(estimate.down, seen.down), estimate.confident)
            for seen in views(pitch_deg, 12, 30)
            for estimate in [encoder().encode_frame(seen.depth_m, seen.intrinsics).gravity]
        ]
        trusted = np.array([off for off, sure in every if sure])
        figures = f"{np.median(trusted):.2f} | {trusted.max():.2f}" if len(trusted) else " | "
        lost = np.count_nonzero(trusted > LOST_DEG)
        print(f"| {pitch_deg} | {len(every)} | {len(trusted) / len(every):.1%} | {figures} | {lost} |", flush=True)
    motion = [
        (angle_deg(estimate.down, seen.down), estimate.confident)
        for seed in range(12)
        for spot in (0, 1)
        for seen, estimate in follow_hand(seed, spot, 240)
    ]
    off = [o for o, sure in motion if sure]
    print(f"motion: {len(motion)} frames, {len(off) / len(motion):.0%} trusted, off by {max(off):.2f} degrees at most")


if __name__ == "__main__":
    print_figures()
