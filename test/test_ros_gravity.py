"""Gravity from an IMU, TF or parameters: the maths, the sources, and the node over real DDS in a rendered room."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")

from geometry_msgs.msg import TransformStamped, Vector3Stamped
from node_under_test import START_S, TF2_DOUBLE, TF2_IS_REAL, start_node
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_peer import BEST_EFFORT, Peer, peer_in_domain
from sensor_msgs.msg import Image, Imu
from shared_data import ROOT

from lcr_seg_ros.frame import RgbdFrame
from lcr_seg_ros.hha import HhaEncoder, HhaSettings
from lcr_seg_ros.image_encodings import color_to_array
from lcr_seg_ros.ros.accelerometer import GRAVITY, GravityLowPass
from lcr_seg_ros.ros.compat.message_filters import stamp_ns
from lcr_seg_ros.ros.compat.tf2 import FrameTransform, TransformBuffer, TransformError
from lcr_seg_ros.ros.conversions import array_to_image
from lcr_seg_ros.ros.frame_statistics import FrameStatistics, GravityUsed
from lcr_seg_ros.ros.gravity_sources import ImuGravity, TfGravity
from lcr_seg_ros.ros.orientation import down_of_tilt, rotation_of_quaternion, rotation_of_rpy
from lcr_seg_ros.ros.player import encode_camera_info
from lcr_seg_ros.ros.processes import ChildProcess, isolated_ros_environment
from lcr_seg_ros.ros.shared_transforms import SharedTransforms
from lcr_seg_ros.sources.rooms import RenderedRoom

MS = 1_000_000
WARN = "1"

angles = st.floats(-math.pi, math.pi)
directions = st.tuples(*[st.floats(-1, 1)] * 3).map(np.array).filter(lambda v: np.linalg.norm(v) > 0.1)


def unit(vector: Any) -> np.ndarray:
    return np.asarray(vector, float) / np.linalg.norm(vector)


def degrees_between(a: Any, b: Any) -> float:
    a, b = unit(a), unit(b)
    return math.degrees(math.atan2(np.linalg.norm(np.cross(a, b)), a @ b))


# Orientation of a camera


class TestTilt:
    @pytest.mark.parametrize(
        ("roll", "pitch", "down"),
        [
            (0.0, 0.0, (0, 1, 0)),
            (math.pi, 0.0, (0, -1, 0)),  # upside down
            (math.pi / 2, 0.0, (1, 0, 0)),  # portrait, the right side below
            (-math.pi / 2, 0.0, (-1, 0, 0)),  # portrait, the left side below
            (0.0, math.pi / 2, (0, 0, 1)),  # straight down
            (0.0, -math.pi / 2, (0, 0, -1)),  # straight up
            (0.0, math.pi / 6, (0, math.sqrt(3) / 2, 0.5)),  # down by 30 degrees: gravity has a forward component
        ],
    )
    def test_has_the_direction_of_gravity_that_one_sees(self, roll, pitch, down):
        np.testing.assert_allclose(down_of_tilt(roll, pitch), down, atol=1e-15)

    @given(angles, st.floats(-math.pi / 2, math.pi / 2), angles)
    def test_is_that_of_a_body_turned_after_rep_103(self, roll, pitch, yaw):
        optical_of_body = np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]])
        world_of_body = rotation_of_rpy(roll, pitch, yaw)
        down = optical_of_body @ world_of_body.T @ [0, 0, -1]
        np.testing.assert_allclose(down_of_tilt(roll, pitch), down, atol=1e-12)


class TestRotations:
    @given(angles, angles, angles)
    def test_roll_pitch_yaw_turn_about_fixed_axes(self, roll, pitch, yaw):
        expected = Rotation.from_euler("xyz", [roll, pitch, yaw]).as_matrix()
        np.testing.assert_allclose(rotation_of_rpy(roll, pitch, yaw), expected, atol=1e-12)

    @given(st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1), st.floats(0.1, 10))
    def test_quaternions_of_any_length_give_their_rotation(self, quaternion, length):
        expected = Rotation.from_quat(quaternion).as_matrix()
        np.testing.assert_allclose(rotation_of_quaternion(*length * np.array(quaternion)), expected, atol=1e-12)

    @pytest.mark.parametrize("quaternion", [(0, 0, 0, 0), (math.nan, 0, 0, 1), (math.inf, 0, 0, 1)])
    def test_a_quaternion_without_direction_is_refused(self, quaternion):
        with pytest.raises(ValueError, match="finite and not 0"):
            rotation_of_quaternion(*quaternion)


# The accelerometer


class MovingImu:
    """Simulates an IMU at 200 Hz that rotates as told: its measurements in its own axes, and where up is."""

    PERIOD_S = 0.005

    def __init__(self, up: np.ndarray, seed: int = 0, noise: float = 0.05) -> None:
        self.up = unit(up)
        self.stamp_ns = 10**12
        self._noise = noise
        self._rng = np.random.default_rng(seed)

    def step(self, turn_rate: Any = (0, 0, 0), push: Any = (0, 0, 0)) -> tuple[int, tuple, tuple]:
        """Advance by one period, with an angular velocity (rad/s, own axes) and a push (m/s^2).

        Returns:
            (stamp in ns, acceleration in m/s^2, angular velocity in rad/s).
        """
        rate = np.asarray(turn_rate, float)
        self.up = Rotation.from_rotvec(-rate * self.PERIOD_S).apply(self.up)
        self.stamp_ns += round(self.PERIOD_S * 1e9)
        measured = GRAVITY * self.up + self._rng.normal(0, self._noise, 3) + push
        return self.stamp_ns, tuple(measured.tolist()), tuple((rate + self._rng.normal(0, 0.002, 3)).tolist())


def error_deg(low_pass: GravityLowPass, imu: MovingImu) -> float:
    up, problem = low_pass.up(imu.stamp_ns)
    assert up is not None, problem
    return degrees_between(up, imu.up)


class TestGravityLowPass:
    @given(directions, st.integers(0, 2**31))
    def test_a_still_imu_is_within_half_a_degree_whatever_its_attitude(self, up, seed):
        low_pass, imu = GravityLowPass(0.5), MovingImu(up, seed)
        for _ in range(20):
            low_pass.add(*imu.step())
        assert error_deg(low_pass, imu) < 0.5

    @settings(max_examples=25)
    @given(directions, directions, st.integers(0, 2**31))
    def test_one_that_turns_by_60_degrees_a_second_is_followed_within_half_a_degree(self, up, axis, seed):
        low_pass, imu = GravityLowPass(0.5), MovingImu(up, seed)
        for _ in range(400):
            low_pass.add(*imu.step(math.radians(60) * unit(axis)))
        assert error_deg(low_pass, imu) < 0.5

    def test_without_a_gyroscope_it_lags_by_turn_rate_times_time_constant(self):
        low_pass, imu = GravityLowPass(0.5), MovingImu([0, -1, 0])
        for _ in range(1000):
            low_pass.add(*imu.step((math.radians(10), 0, 0))[:2])
        assert 4.5 < error_deg(low_pass, imu) < 5.5

    @settings(max_examples=25)
    @given(directions, st.integers(0, 2**31))
    def test_knocks_and_shaking_move_it_by_less_than_half_a_degree(self, up, seed):
        """Shaken for 0.2 s of each second, back and forth at 25 Hz, from gently to 30 m/s^2."""
        low_pass, imu = GravityLowPass(0.5), MovingImu(up, seed)
        rng, worst = np.random.default_rng(seed), 0.0
        for n in range(600):
            if n % 200 == 0:
                blow = unit(rng.normal(size=3)) * rng.uniform(0, 30)
            shaken = n > 100 and n % 200 > 160
            low_pass.add(*imu.step(push=blow * math.cos(2 * math.pi * n / 8) if shaken else (0, 0, 0)))
            if n > 100:
                worst = max(worst, error_deg(low_pass, imu))
        assert worst < 0.5

    @pytest.mark.parametrize(
        ("acceleration", "why"),
        [
            (None, "no accelerometer"),
            ((math.nan, 0.0, 9.8), "linear_acceleration is (nan"),
            ((math.inf, 0.0, 9.8), "linear_acceleration is (inf"),
            ((0.0, 0.0, 0.0), "0.00 m/s^2 long, which is not gravity"),
            ((0.0, 0.0, 1.0), "is it in g?"),
            ((1e30, 0.0, 0.0), "which is not gravity"),
            ((0.0, 0.0, 7.8), "7.80 m/s^2 long"),
            ((0.0, 12.0, 0.0), "12.00 m/s^2 long"),
        ],
    )
    def test_samples_that_cannot_be_gravity_are_left_out_and_named(self, acceleration, why):
        low_pass, imu = GravityLowPass(0.5), MovingImu([0, 0, 1])
        low_pass.add(10**9, acceleration)
        up, problem = low_pass.up(10**9)
        assert up is None and why in problem
        low_pass = GravityLowPass(0.5)
        for n in range(100):
            stamp, good, rate = imu.step()
            low_pass.add(stamp, acceleration if n % 3 else good, rate)
        assert error_deg(low_pass, imu) < 0.5

    @pytest.mark.parametrize("rate", [(math.nan, 0.0, 0.0), (math.inf, 0.0, 0.0), (1e9, 0.0, 0.0)])
    def test_an_absurd_rate_of_turn_is_left_out(self, rate):
        low_pass, imu = GravityLowPass(0.5), MovingImu([0, 0, 1])
        for n in range(100):
            stamp, acceleration, good = imu.step()
            low_pass.add(stamp, acceleration, rate if n % 10 == 5 else good)
        assert error_deg(low_pass, imu) < 0.5

    def test_it_tells_how_it_was_when_an_image_was_taken_that_comes_late(self):
        low_pass, imu = GravityLowPass(0.5), MovingImu([0, 0, 1])
        then = None
        for n in range(200):
            low_pass.add(*imu.step((1.0, 0, 0)))
            if n == 180:
                then = imu.stamp_ns, imu.up
        assert then is not None
        up, _ = low_pass.up(then[0] + MS)
        assert degrees_between(up, then[1]) < 0.5 < error_deg(low_pass, imu) + degrees_between(up, imu.up)

    def test_one_that_began_while_it_was_thrown_about_recovers_within_a_second(self):
        low_pass, imu = GravityLowPass(0.5), MovingImu([0, 0, 1])
        for _ in range(20):
            low_pass.add(*imu.step(push=(9, 0, -9)))
        for _ in range(200):
            low_pass.add(*imu.step())
        assert error_deg(low_pass, imu) < 0.5

    def test_after_half_a_second_without_samples_it_is_not_known(self):
        low_pass = GravityLowPass(0.5)
        low_pass.add(10**9, (0.0, 0.0, 9.81))
        assert low_pass.up(10**9 + 500 * MS)[0] is not None
        assert low_pass.up(10**9 + 501 * MS) == (None, "its nearest sample is 0.50 s older than the image")
        assert low_pass.up(10**9 - 700 * MS) == (None, "its nearest sample is 0.70 s newer than the image")
        assert GravityLowPass(0.5).up(0) == (None, "nothing has come yet")

    def test_after_a_gap_it_does_not_remember_how_it_was_held_before(self):
        low_pass = GravityLowPass(60.0)
        low_pass.add(10**9, (9.81, 0.0, 0.0))
        low_pass.add(3 * 10**9, (0.0, 0.0, 9.81))
        assert low_pass.up(3 * 10**9)[0] == pytest.approx((0, 0, low_pass.up(3 * 10**9)[0][2]))

    def test_a_bag_that_loops_starts_it_anew_and_samples_out_of_order_are_ignored(self):
        low_pass = GravityLowPass(0.5)
        for n in range(100):
            low_pass.add(100 * 10**9 + n * 10 * MS, (9.81, 0.0, 0.0))
        before = low_pass.up(101 * 10**9)
        low_pass.add(100 * 10**9 + 980 * MS, (0.0, 9.81, 0.0))
        low_pass.add(100 * 10**9 + 990 * MS, (0.0, 9.81, 0.0))
        assert low_pass.up(101 * 10**9) == before
        low_pass.add(5 * 10**9, (0.0, 0.0, 9.81))
        up, _ = low_pass.up(5 * 10**9)
        assert degrees_between(up, (0, 0, 1)) < 1e-6
        assert low_pass.up(101 * 10**9)[0] is None

    @given(st.lists(st.tuples(st.integers(-(2**62), 2**62), *[st.floats(width=64)] * 6), max_size=30))
    def test_nothing_that_comes_breaks_it(self, samples):
        low_pass = GravityLowPass(0.5)
        for stamp, ax, ay, az, wx, wy, wz in samples:
            low_pass.add(stamp, (ax, ay, az), (wx, wy, wz))
            up, problem = low_pass.up(stamp)
            assert (up is None) == bool(problem)
            assert up is None or np.isfinite(up).all()
        for stamp in range(5 * 10**9, 6 * 10**9, 10 * MS):
            low_pass.add(stamp, (0.0, 0.0, 9.81), (0.0, 0.0, 0.0))
        assert low_pass.up(6 * 10**9)[0] is not None


# The sources


def imu_message(
    up: Any, stamp: int = 0, frame_id: str = "imu", turn_rate: Any = (0, 0, 0), length: float = GRAVITY
) -> Imu:
    message = Imu()
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
    a, w = message.linear_acceleration, message.angular_velocity
    a.x, a.y, a.z = (length * unit(up)).tolist()
    w.x, w.y, w.z = np.asarray(turn_rate, float).tolist()
    return message


class KnownTransforms:
    """A transform buffer with known transforms."""

    def __init__(self, **rotations: np.ndarray) -> None:
        self.rotations = rotations
        self.is_closed = False

    def look_up(self, target: str, source: str, at_ns: int, tolerance_s: float) -> FrameTransform:
        if source not in self.rotations:
            raise TransformError(f"no {source}")
        return FrameTransform(self.rotations[source], np.zeros(3))

    def update(self) -> None: ...

    def close(self) -> None:
        self.is_closed = True


class Queue:
    """A subscription with the IMU's messages."""

    def __init__(self) -> None:
        self.waiting: list[Imu] = []

    def take(self) -> Iterator[Imu]:
        while self.waiting:
            yield self.waiting.pop(0)

    def destroy(self) -> None: ...


def no_tf() -> TransformBuffer:
    raise TransformError("TF needs tf2_ros, which is not installed here")


def imu_source(listen: Callable[[], Any] = no_tf, same_axes: bool = False, rpy: Any = (0.0, 0.0, 0.0)) -> ImuGravity:
    source = ImuGravity(0.5, same_axes, rpy, Queue, listen, "/imu")
    source.start()
    return source


def take(source: ImuGravity, *messages: Imu, now_ns: int = 7) -> None:
    source._messages.waiting += messages  # type: ignore[union-attr]
    source.update(now_ns)


def reading_of(source: ImuGravity, up_in_imu: Any, imu_frame: str = "imu", optical_frame: str = "optical"):
    source.read(10**9, optical_frame)
    for stamp in range(10**9, 10**9 + 50 * MS, 10 * MS):
        take(source, imu_message(up_in_imu, stamp, imu_frame))
    return source.read(10**9 + 40 * MS, optical_frame)


class TestImuGravity:
    @given(directions)
    def test_in_the_frame_of_the_images_down_is_against_the_acceleration(self, up):
        reading = reading_of(imu_source(), up, "optical", "optical")
        assert not reading.problem and degrees_between(reading.down, -up) < 1e-4
        assert np.linalg.norm(reading.down) == pytest.approx(1)

    @given(directions, angles, angles, angles)
    def test_a_rotation_that_was_given_turns_it_into_the_optical_frame(self, up, roll, pitch, yaw):
        assume(any((roll, pitch, yaw)))
        reading = reading_of(imu_source(rpy=(roll, pitch, yaw)), up)
        expected = Rotation.from_euler("xyz", [roll, pitch, yaw]).apply(-up)
        assert degrees_between(reading.down, expected) < 1e-4

    def test_an_imu_in_body_axes_of_a_camera_that_looks_down(self):
        # x forward, y left, z up: the usual rotation from body to optical axes. The camera looks down by 30 degrees.
        reading = reading_of(imu_source(rpy=(math.pi / 2, -math.pi / 2, 0.0)), (-0.5, 0.0, math.sqrt(3) / 2))
        np.testing.assert_allclose(reading.down, (0, math.sqrt(3) / 2, 0.5), atol=1e-9)

    @given(directions, directions, st.floats(0, math.pi))
    def test_tf_turns_it_where_frames_differ(self, up, axis, angle):
        rotation = Rotation.from_rotvec(angle * unit(axis))
        reading = reading_of(imu_source(lambda: KnownTransforms(imu=rotation.as_matrix())), up)
        assert degrees_between(reading.down, rotation.apply(-up)) < 1e-4

    @pytest.mark.parametrize(
        ("listen", "frames", "why"),
        [
            (no_tf, ("imu", "optical"), "tf2_ros, which is not installed"),
            (KnownTransforms, ("imu", "optical"), "no imu"),
            (no_tf, ("", "optical"), "a frame_id is empty"),
            (no_tf, ("", ""), "a frame_id is empty"),
        ],
    )
    def test_axes_that_are_not_known_are_not_guessed(self, listen, frames, why):
        reading = reading_of(imu_source(listen), (0, 0, 1), *frames)
        assert reading.down is None
        assert why in reading.problem and "set imu_rotation_rpy, or imu_axes:=same" in reading.problem

    def test_axes_that_are_said_to_be_the_same_are(self):
        reading = reading_of(imu_source(same_axes=True), (0, -1, 0), "imu", "optical")
        np.testing.assert_allclose(reading.down, (0, 1, 0))

    def test_tf_is_listened_to_on_need_only_and_left_at_the_end(self):
        made: list[KnownTransforms] = []

        def listen() -> Any:
            made.append(KnownTransforms(imu=np.eye(3)))
            return made[-1]

        reading_of(imu_source(listen), (0, 0, 1), "optical", "optical")
        assert not made
        source = imu_source(listen)
        reading_of(source, (0, 0, 1))
        reading_of(source, (0, 0, 1))
        assert len(made) == 1
        source.stop()
        assert made[0].is_closed

    def test_an_imu_that_was_never_heard_is_named(self):
        problem = imu_source().read(10**9, "optical").problem
        assert problem == "nothing has come on /imu: start the IMU, or remap imu to its topic"

    def test_without_a_stamp_the_time_of_arrival_counts(self):
        source = imu_source(same_axes=True)
        take(source, imu_message((0, 0, 1), stamp=0), now_ns=5 * 10**9)
        assert source.read(5 * 10**9, "optical").down is not None

    def test_a_message_that_says_it_has_no_acceleration_is_believed(self):
        source, message = imu_source(same_axes=True), imu_message((0, 0, 1), stamp=10**9)
        message.linear_acceleration_covariance[0] = -1.0
        take(source, message)
        assert "linear_acceleration_covariance[0] is -1" in source.read(10**9, "optical").problem

    def test_a_message_that_says_it_has_no_rate_of_turn_is_believed(self):
        source = imu_source(same_axes=True)
        for stamp in range(10**9, 2 * 10**9, 10 * MS):
            message = imu_message((0, 0, 1), stamp, turn_rate=(20, 0, 0))
            message.angular_velocity_covariance[0] = -1.0
            take(source, message)
        assert degrees_between(source.read(2 * 10**9, "optical").down, (0, 0, -1)) < 1e-6

    def test_another_imu_on_the_same_topic_starts_anew(self):
        source = imu_source(same_axes=True)
        take(source, imu_message((1, 0, 0), 10**9, "a"))
        take(source, imu_message((0, 0, 1), 10**9 + 10 * MS, "b"))
        assert degrees_between(source.read(10**9 + 10 * MS, "optical").down, (0, 0, -1)) < 1e-6

    def test_samples_that_cancel_out_give_no_direction(self):
        source = imu_source(same_axes=True)
        source._low_pass._time_constant_s = 1e9  # so that it is a plain mean
        for stamp, z in ((10**9, 1), (10**9 + 10 * MS, -1)):
            take(source, imu_message((0, 0, z), stamp))
        assert source.read(10**9 + 10 * MS, "optical").problem == "/imu: its samples have no direction in common"


def tf_gravity(rotation: np.ndarray, camera: Any, with_height: bool = True):
    """The reading for a camera at ``camera`` in the gravity frame, rotated by ``rotation`` (optical to gravity)."""

    class Transforms(KnownTransforms):
        def look_up(self, target: str, source: str, at_ns: int, tolerance_s: float) -> FrameTransform:
            assert (target, source) == ("optical", "base_footprint")
            return FrameTransform(rotation.T, -rotation.T @ camera)

    source = TfGravity("base_footprint", with_height, Transforms)  # type: ignore[arg-type]
    source.start()
    return source.read(10**9, "optical")


class TestTfGravity:
    @given(directions, st.floats(0, math.pi), st.tuples(st.floats(-9, 9), st.floats(-9, 9), st.floats(0.01, 90)))
    def test_down_is_minus_z_and_height_is_z_of_the_camera(self, axis, angle, camera):
        rotation = Rotation.from_rotvec(angle * unit(axis)).as_matrix()
        reading = tf_gravity(rotation, np.array(camera))
        assert degrees_between(reading.down, rotation.T @ [0, 0, -1]) < 1e-4
        assert reading.camera_height_m == pytest.approx(camera[2], abs=1e-9) and not reading.problem

    @pytest.mark.parametrize("z", [0.0, -1.2, 1e4])
    def test_a_z_that_is_no_height_is_said_and_gravity_is_used_all_the_same(self, z):
        reading = tf_gravity(np.eye(3), np.array([1.0, 2.0, z]))
        np.testing.assert_allclose(reading.down, (0, 0, -1))
        assert reading.camera_height_m is None and "no height above a floor" in reading.problem

    def test_height_can_be_left_out(self):
        reading = tf_gravity(np.eye(3), np.array([0.0, 0.0, -1.0]), with_height=False)
        assert reading.camera_height_m is None and not reading.problem


class TestTransformBuffer:
    """With tf2_ros where it is installed, otherwise with its test double."""

    @pytest.fixture(autouse=True)
    def tf2(self, monkeypatch):
        if not TF2_IS_REAL:
            monkeypatch.syspath_prepend(str(TF2_DOUBLE))
        yield
        if not TF2_IS_REAL:
            for name in ("tf2_ros", "tf2_msgs", "tf2_msgs.msg"):
                sys.modules.pop(name, None)

    @pytest.fixture()
    def buffer(self, monkeypatch: pytest.MonkeyPatch) -> TransformBuffer:
        monkeypatch.setattr("lcr_seg_ros.ros.compat.tf2.PolledSubscription", lambda *arguments: None)
        buffer = TransformBuffer(None)  # type: ignore[arg-type]  # transforms are put in by hand
        for stamp in (10, 11):
            buffer._buffer.set_transform(transform("odom", "base", rotation=(0, 0, 0.1), stamp=stamp * 10**9), "test")
        buffer._buffer.set_transform_static(transform("base", "camera", rotation=(1, 0, 0), position=(1, 2, 3)), "test")
        return buffer

    def test_gives_rotation_and_translation_of_p_target_equals_r_p_source_plus_t(self, buffer):
        found = buffer.look_up("base", "camera", 10 * 10**9, 0.5)
        np.testing.assert_allclose(found.rotation, Rotation.from_rotvec((1, 0, 0)).as_matrix(), atol=1e-12)
        np.testing.assert_allclose(found.translation, (1, 2, 3), atol=1e-12)
        back = buffer.look_up("camera", "base", 10 * 10**9, 0.5)
        np.testing.assert_allclose(back.rotation @ found.translation + back.translation, (0, 0, 0), atol=1e-12)

    def test_a_little_behind_the_image_the_newest_will_do(self, buffer):
        found = buffer.look_up("odom", "camera", 11 * 10**9 + 400 * MS, 0.5)
        expected = Rotation.from_rotvec((0, 0, 0.1)) * Rotation.from_rotvec((1, 0, 0))
        np.testing.assert_allclose(found.rotation, expected.as_matrix(), atol=1e-12)

    def test_far_behind_the_image_it_is_not_known(self, buffer):
        with pytest.raises(TransformError, match=r"newest transform from 'camera' to 'odom' is 1\.00 s older"):
            buffer.look_up("odom", "camera", 12 * 10**9, 0.5)
        with pytest.raises(TransformError, match=r"newest transform from 'camera' to 'odom' is 6\.00 s newer"):
            buffer.look_up("odom", "camera", 5 * 10**9, 0.5)

    def test_all_of_a_node_share_one_buffer_until_the_last_has_closed_it(self, monkeypatch):
        listening: list[str] = []

        class Subscription:
            def __init__(self, node: Any, message_type: Any, topic: str, qos: Any) -> None:
                self.topic = topic
                listening.append(topic)

            def take(self) -> tuple[()]:
                return ()

            def destroy(self) -> None:
                listening.remove(self.topic)

        monkeypatch.setattr("lcr_seg_ros.ros.compat.tf2.PolledSubscription", Subscription)
        shared = SharedTransforms(None)  # type: ignore[arg-type]
        assert not listening
        first, second = shared.listen(), shared.listen()
        assert sorted(listening) == ["/tf", "/tf_static"]
        first._buffer._buffer.set_transform_static(transform("base", "camera", position=(1, 2, 3)), "test")
        first.close()
        first.close()
        assert len(listening) == 2
        second.update()
        assert second.look_up("base", "camera", 10**9, 0.5).translation[0] == pytest.approx(1)
        second.close()
        assert not listening
        # Whoever comes next begins anew.
        with pytest.raises(TransformError):
            shared.listen().look_up("base", "camera", 10**9, 0.5)

    @pytest.mark.parametrize(("target", "source"), [("odom", "nobody"), ("", "camera"), ("odom", "")])
    def test_frames_that_are_not_there_are_named(self, buffer, target, source):
        with pytest.raises(TransformError, match=f"no transform from {source!r} to {target!r}: .*(exist|argument)"):
            buffer.look_up(target, source, 10 * 10**9, 0.5)

    def test_after_a_jump_of_the_clock_static_transforms_stay(self, buffer):
        buffer.forget()
        assert buffer.look_up("base", "camera", 3 * 10**9, 0.5).translation[2] == pytest.approx(3)
        with pytest.raises(TransformError, match="no transform"):
            buffer.look_up("odom", "camera", 3 * 10**9, 0.5)


def transform(
    parent: str, child: str, rotation: Any = (0, 0, 0), position: Any = (0, 0, 0), stamp: int = 0
) -> TransformStamped:
    """A message with the pose of ``child`` in ``parent``; the rotation is given as a rotation vector."""
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp, 10**9)
    q, p = message.transform.rotation, message.transform.translation
    q.x, q.y, q.z, q.w = Rotation.from_rotvec(rotation).as_quat().tolist()
    p.x, p.y, p.z = map(float, position)
    return message


@pytest.mark.skipif(TF2_IS_REAL, reason="tf2_ros is installed here")
def test_without_tf2_ros_one_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    with pytest.raises(TransformError, match=r"not installed here: apt install ros-jazzy-tf2-ros-py"):
        TransformBuffer(None)  # type: ignore[arg-type]


class TestGravityStatistics:
    def test_a_report_has_the_newest_direction_the_shares_and_the_newest_trouble(self):
        statistics = FrameStatistics(clock=lambda: 0.0)
        for used in (
            GravityUsed((0, 1, 0)),
            GravityUsed((0, 1, 0), is_confident=False, trouble="bare wall"),
            GravityUsed((0, 1, 0), is_fallback=True, trouble="imu silent"),
            GravityUsed((1, 0, 0)),
        ):
            statistics.frame_done(None, {}, 0.0, used)
        assert statistics.report().gravity == ((1, 0, 0), 0.75, 0.25, 0.5, "imu silent")

    def test_without_depth_there_is_none(self):
        statistics = FrameStatistics(clock=lambda: 0.0)
        statistics.frame_done(None, {})
        assert statistics.report().gravity is None


# The node

ROOM_FRAMES = 3000
IMU_PERIOD_NS = 10 * MS
IMAGE_EVERY = 10
"""IMU samples per image."""


def start_node_with_tf(environment: dict[str, str], *parameters: str) -> ChildProcess:
    """A node that finds TF and labels frames of any age."""
    return start_node(environment, "max_age:=0.0", *parameters, tf2=True)


@pytest.fixture(scope="module")
def room() -> RenderedRoom:
    """A room seen by a camera that moves for 30 s, with 100 poses per second."""
    return RenderedRoom(frames=ROOM_FRAMES, seed=0, width=80, height=60, noise=False)


class Rig:
    """A camera with a built-in IMU that moves through a room and publishes in real time.

    Args:
        peer: publishes the messages.
        room: gives the poses and images.
    """

    def __init__(self, peer: Peer, room: RenderedRoom) -> None:
        self.peer, self.room = peer, room
        self.answers = peer.listen(Vector3Stamped, "segmentation/gravity")
        self.truth: dict[int, np.ndarray] = {}
        """True direction of gravity, by stamp of the image in ns."""
        self.index = 0
        self.stamp_ns = peer.get_clock().now().nanoseconds
        self._imu = peer.create_publisher(Imu, "imu", BEST_EFFORT)
        self._rng = np.random.default_rng(0)
        self._due = time.monotonic()

    def run(self, seconds: float, tell: Callable[[], None], with_images: bool = True) -> None:
        """Move on for ``seconds``; at each step, ``tell`` publishes what is known, before the image if there is one."""
        for _ in range(round(seconds * 1e9 / IMU_PERIOD_NS)):
            self.index += 1
            self.stamp_ns += IMU_PERIOD_NS
            self._due = max(self._due + IMU_PERIOD_NS * 1e-9, time.monotonic() - 0.1)
            time.sleep(max(0.0, self._due - time.monotonic()))
            tell()
            if with_images and self.index % IMAGE_EVERY == 0:
                self.send_image()

    def jump(self, seconds: float) -> None:
        """Advance the stamps without sending anything."""
        self.stamp_ns += round(seconds * 1e9)

    def send_image(self) -> None:
        frame = self.frame()
        assert frame.depth_m is not None and frame.intrinsics is not None
        self.truth[self.stamp_ns] = self.gravity
        self.peer.send(
            array_to_image(frame.rgb, "rgb8"),
            array_to_image(frame.depth_m, "32FC1"),
            encode_camera_info(frame.intrinsics),
            self.stamp_ns,
        )

    def frame(self) -> RgbdFrame:
        return self.room[self.index].frame

    @property
    def gravity(self) -> np.ndarray:
        return self.room.gravity(self.index)

    def imu(self, push: Any = (0, 0, 0), **fields: Any) -> None:
        """Publish what the IMU measures now: acceleration (with noise of 0.05 m/s^2 and a push), angular velocity."""
        before, now = self.room.pose(self.index - 1)[:3, :3], self.room.pose(self.index)[:3, :3]
        rate = Rotation.from_matrix(before.T @ now).as_rotvec() / (IMU_PERIOD_NS * 1e-9)
        measured = -GRAVITY * self.gravity + self._rng.normal(0, 0.05, 3) + push
        message = imu_message(measured, self.stamp_ns, "camera", rate, float(np.linalg.norm(measured)))
        self.publish_imu(message)

    def publish_imu(self, message: Imu) -> None:
        self._imu.publish(message)

    def errors_deg(self) -> list[float]:
        """Error in degrees of each answer so far to an image of this rig; clears the answers."""
        time.sleep(0.5)
        answers = [(stamp_ns(answer), answer.vector) for answer in self.answers]
        self.answers.clear()
        return [degrees_between((v.x, v.y, v.z), self.truth[s]) for s, v in answers if s in self.truth]


@pytest.fixture(scope="module")
def imu_node(model: Path) -> Iterator[tuple[ChildProcess, Peer]]:
    environment = isolated_ros_environment()
    with start_node_with_tf(
        environment, f"model:={model}", "gravity_source:=imu", "diagnostics_period:=0.2"
    ) as process:
        assert process.wait_for_line("]: active", START_S), process.last_lines()
        with peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer:
            yield process, peer
        assert process.end() == 0, process.last_lines()
        assert not any("Traceback" in line for line in process.lines), process.last_lines(40)


@pytest.fixture()
def imu_rig(imu_node: tuple[ChildProcess, Peer], room: RenderedRoom) -> Iterator[Rig]:
    """A rig whose IMU is in use, checked before and after each test."""
    process, peer = imu_node
    rig = Rig(peer, room)

    def is_at_work() -> bool:
        """The node may discover the images before the IMU: its first answers are then estimated from depth."""
        errors = rig.errors_deg()
        return bool(errors) and max(errors) < 0.5

    assert peer.send_until(is_at_work, lambda: rig.run(0.5, rig.imu)), process.last_lines()
    yield rig
    rig.jump(10)
    rig.errors_deg()
    rig.run(0.5, rig.imu)
    assert (errors := rig.errors_deg()) and max(errors) < 0.5, process.last_lines()
    peer.destroy_publisher(rig._imu)


class TestNodeWithImu:
    def test_gravity_is_that_of_the_room_while_the_camera_moves(self, imu_rig: Rig):
        imu_rig.run(4.0, imu_rig.imu)
        errors = imu_rig.errors_deg()
        assert len(errors) > 20 and max(errors) < 0.5
        assert max(degrees_between(a, b) for a in imu_rig.truth.values() for b in imu_rig.truth.values()) > 3

    def test_knocks_do_not_move_it(self, imu_rig: Rig):
        def knocked() -> None:
            is_burst = imu_rig.index % 100 > 75
            imu_rig.imu(push=15 * math.cos(imu_rig.index) * np.array([0.6, 0.0, 0.8]) if is_burst else (0, 0, 0))

        imu_rig.run(3.0, knocked)
        errors = imu_rig.errors_deg()
        assert len(errors) > 20 and max(errors) < 0.5

    def test_any_pitch_and_roll_will_do(self, imu_rig: Rig, monkeypatch: pytest.MonkeyPatch):
        """Only the IMU tells of it: the images stay the same."""
        for pitch, roll in [(-70, 20), (-45, 180), (0, 90), (0, -90), (46, 0), (60, -135), (80, 30), (90, 0), (-90, 0)]:
            down = down_of_tilt(math.radians(roll), math.radians(pitch))
            monkeypatch.setattr(Rig, "gravity", down)
            imu_rig.jump(5)
            imu_rig.run(0.3, lambda down=down: imu_rig.publish_imu(imu_message(-down, imu_rig.stamp_ns, "camera")))
        errors = imu_rig.errors_deg()
        assert len(errors) >= 20 and max(errors) < 0.5

    @pytest.mark.parametrize(
        ("spoil", "why"),
        [
            (lambda a: setattr(a, "x", math.nan), "linear_acceleration is"),
            (lambda a: (setattr(a, "x", 0.0), setattr(a, "y", 0.0), setattr(a, "z", 0.0)), "0.00 m/s^2 long"),
            (lambda a: setattr(a, "z", 1e30), "which is not gravity"),
        ],
    )
    def test_messages_that_make_no_sense_are_named_and_gravity_is_estimated(
        self, imu_rig: Rig, imu_node: tuple[ChildProcess, Peer], spoil: Callable[[Any], Any], why: str
    ):
        process, peer = imu_node

        def nonsense() -> None:
            message = imu_message((0, -1, 0), imu_rig.stamp_ns, "camera")
            spoil(message.linear_acceleration)
            imu_rig.publish_imu(message)

        imu_rig.jump(10)
        masks = len(peer.masks)
        imu_rig.run(2.0, nonsense)
        values = peer.diagnostics(lambda values, message: why in message)
        assert values["level"] == WARN and values["gravity_source"] == "imu"
        assert float(values["gravity_fallback_share"]) > 0 and why in values["gravity_doubt"]
        assert len(peer.masks) > masks + 10, process.last_lines()

    def test_an_imu_that_falls_silent_is_named_and_gravity_is_estimated(
        self, imu_rig: Rig, imu_node: tuple[ChildProcess, Peer]
    ):
        process, peer = imu_node
        imu_rig.run(1.0, imu_rig.imu)
        masks = len(peer.masks)
        imu_rig.run(2.5, lambda: None)
        values = peer.diagnostics(lambda values, message: "its nearest sample is" in message)
        assert values["level"] == WARN and float(values["gravity_fallback_share"]) > 0
        assert len(peer.masks) > masks + 10
        assert process.wait_for_line("gravity_source imu: /imu: ", 5.0), process.last_lines()

    def test_a_frame_id_that_tf_does_not_know_is_named(self, imu_rig: Rig, imu_node: tuple[ChildProcess, Peer]):
        _, peer = imu_node
        imu_rig.jump(10)
        imu_rig.run(2.0, lambda: imu_rig.publish_imu(imu_message((0, -1, 0), imu_rig.stamp_ns, "imu_link")))
        values = peer.diagnostics(lambda values, message: "is in frame 'imu_link', the images in 'camera'" in message)
        assert "set imu_rotation_rpy, or imu_axes:=same" in values["message"]


def hha_of(frame: RgbdFrame, settings: HhaSettings, gravity: Any, camera_height_m: float | None) -> np.ndarray:
    assert frame.depth_m is not None and frame.intrinsics is not None
    encoder = HhaEncoder("fast", settings)
    return encoder.encode(frame.depth_m, frame.intrinsics, gravity=gravity, camera_height_m=camera_height_m)


def test_a_camera_whose_mounting_height_and_range_are_given(model: Path, room: RenderedRoom):
    environment = isolated_ros_environment()
    wishes = ("gravity_roll:=3.0", "gravity_pitch:=0.4", "camera_height:=2.2", "min_depth:=1.5", "max_depth:=3.5")
    with start_node_with_tf(
        environment, f"model:={model}", "gravity_source:=fixed", "floor:=robust", *wishes
    ) as process:
        assert process.wait_for_line("]: active", START_S), process.last_lines()
        with peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer:
            rig = Rig(peer, room)
            images = peer.listen(Image, "segmentation/hha")
            assert peer.send_until(lambda: bool(images and rig.answers), rig.send_image), process.last_lines()
            down = down_of_tilt(3.0, 0.4)
            answer = rig.answers[0]
            assert degrees_between((answer.vector.x, answer.vector.y, answer.vector.z), down) < 1e-6
            assert answer.header.frame_id == "camera" and stamp_ns(answer) in rig.truth
            expected = hha_of(rig.frame(), HhaSettings(1.5, 3.5, floor="robust"), down, 2.2)
            np.testing.assert_array_equal(color_to_array(images[0]), expected)
            values = peer.diagnostics(lambda values, message: "gravity_down" in values)
            assert values["gravity_source"] == "fixed" and values["gravity_confident_share"] == "1.000"
            assert [float(v) for v in values["gravity_down"].split()] == pytest.approx(down, abs=1e-4)

            # Gravity is also published if nothing else has a subscriber.
            for subscription in [s for s in peer.subscriptions if "gravity" not in s.topic_name]:
                peer.destroy_subscription(subscription)
            time.sleep(1.0)
            rig.answers.clear()
            assert peer.send_until(lambda: bool(rig.answers), rig.send_image), process.last_lines()


class Broadcaster:
    """Publishes transforms on the topics that the node subscribes to."""

    def __init__(self, peer: Peer) -> None:
        late = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        if TF2_IS_REAL:
            from tf2_msgs.msg import TFMessage

            self._kind, self._wrap = TFMessage, lambda message: TFMessage(transforms=[message])
        else:
            self._kind, self._wrap = TransformStamped, lambda message: message
        self._publishers = [peer.create_publisher(self._kind, t, q) for t, q in (("/tf", 100), ("/tf_static", late))]

    def send(self, message: TransformStamped, is_static: bool = False) -> None:
        self._publishers[is_static].publish(self._wrap(message))


def camera_in_world(rig: Rig) -> TransformStamped:
    """The pose in the room of the camera's body (x forward, y left, z up), as camera_link in base_footprint."""
    pose = rig.room.pose(rig.index)
    body_of_optical = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    rotation = Rotation.from_matrix(pose[:3, :3] @ body_of_optical.T).as_rotvec()
    return transform("base_footprint", "camera_link", rotation, pose[:3, 3], rig.stamp_ns)


def test_gravity_and_height_after_tf(model: Path, room: RenderedRoom):
    environment = isolated_ros_environment()
    parameters = (f"model:={model}", "gravity_source:=tf", "diagnostics_period:=0.2")
    with start_node_with_tf(environment, *parameters) as process:
        assert process.wait_for_line("]: active", START_S), process.last_lines()
        with peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer:
            rig, broadcaster = Rig(peer, room), Broadcaster(peer)
            images = peer.listen(Image, "segmentation/hha")
            optical_in_body = Rotation.from_matrix([[0, 0, 1], [-1, 0, 0], [0, -1, 0]]).as_rotvec()

            # TF does not know the frames yet.
            complaint = "gravity_source tf: TF has no transform from 'base_footprint' to 'camera': "
            assert peer.send_until(
                lambda: any(complaint in line and "estimated from depth" in line for line in list(process.lines)),
                lambda: rig.run(0.2, lambda: None),
            ), process.last_lines()
            assert peer.masks

            broadcaster.send(transform("camera_link", "camera", optical_in_body), is_static=True)
            rig.run(1.0, lambda: broadcaster.send(camera_in_world(rig)))
            rig.errors_deg()
            images.clear()
            rig.run(3.0, lambda: broadcaster.send(camera_in_world(rig)))
            errors = rig.errors_deg()
            assert len(errors) > 15 and max(errors) < 0.5
            answer = next(image for image in images if stamp_ns(image) == rig.stamp_ns)
            height = rig.room.pose(rig.index)[2, 3]
            expected = hha_of(rig.frame(), HhaSettings(), rig.gravity, height)
            difference = np.abs(color_to_array(answer).astype(int) - expected)
            assert difference.max() <= 1 and difference.mean() < 0.05

            # TF stops, the camera goes on.
            rig.run(2.0, lambda: None)
            values = peer.diagnostics(lambda values, message: "the newest transform from 'base_footprint'" in message)
            assert values["level"] == WARN and float(values["gravity_fallback_share"]) > 0
        assert process.end() == 0
        assert not any("Traceback" in line for line in process.lines), process.last_lines(40)


def test_the_axes_of_an_imu_after_tf(model: Path, room: RenderedRoom):
    environment = isolated_ros_environment()
    with start_node_with_tf(environment, f"model:={model}", "gravity_source:=imu") as process:
        assert process.wait_for_line("]: active", START_S), process.last_lines()
        with peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer:
            rig, broadcaster = Rig(peer, room), Broadcaster(peer)
            turn = Rotation.from_rotvec([0.3, -1.2, 2.0])
            broadcaster.send(transform("camera", "imu_link", turn.as_rotvec()), is_static=True)

            def measure() -> None:
                rig.publish_imu(imu_message(turn.inv().apply(-rig.gravity), rig.stamp_ns, "imu_link"))

            assert peer.send_until(lambda: bool(rig.answers), lambda: rig.run(0.2, measure)), process.last_lines()
            rig.index = 0
            rig.jump(10)
            rig.errors_deg()
            rig.run(1.0, measure)
            errors = rig.errors_deg()
            assert len(errors) > 5 and max(errors[2:]) < 1.0, process.last_lines()


def test_an_estimate_that_cannot_be_trusted_is_said_and_not_published_and_masks_go_on(model: Path):
    environment = isolated_ros_environment()
    with start_node_with_tf(environment, f"model:={model}", "diagnostics_period:=0.2") as process:
        assert process.wait_for_line("]: active", START_S), process.last_lines()
        with peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer:
            answers = peer.listen(Vector3Stamped, "segmentation/gravity")
            assert peer.gets_masks(), process.last_lines()
            values = peer.diagnostics(lambda values, message: message.startswith("gravity is in doubt in "))
            assert values["level"] == WARN and values["gravity_source"] == "estimate"
            assert float(values["gravity_confident_share"]) < 0.9 and values["gravity_fallback_share"] == "0.000"
            assert process.wait_for_line("gravity is in doubt: " + values["gravity_doubt"], 5.0)
            assert peer.count_publishers("segmentation/gravity") == 1 and not answers


def test_the_estimate_starts_where_the_camera_is_mounted(model: Path, room: RenderedRoom):
    """The camera is upside down: an estimate that started at (0, 1, 0) would take the ceiling for the floor."""
    environment = isolated_ros_environment()
    with start_node_with_tf(environment, f"model:={model}", "gravity_roll:=3.1416") as process:
        assert process.wait_for_line("]: active", START_S), process.last_lines()
        with peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer:
            rig = Rig(peer, room)
            frame = rig.frame()
            assert frame.depth_m is not None and frame.intrinsics is not None
            hanging = [array_to_image(np.ascontiguousarray(frame.rgb[::-1, ::-1]), "rgb8")]
            hanging.append(array_to_image(np.ascontiguousarray(frame.depth_m[::-1, ::-1]), "32FC1"))
            info = encode_camera_info(frame.intrinsics)  # the principal point is in the middle
            assert peer.send_until(lambda: bool(peer.masks), lambda: peer.send(*hanging, info)), process.last_lines()
            values = peer.diagnostics(lambda values, message: "gravity_down" in values)
            x, y, z = map(float, values["gravity_down"].split())
            assert degrees_between((-x, -y, z), rig.gravity) < 5


def test_each_of_several_cameras_is_mounted_in_its_own_way(model: Path, room: RenderedRoom):
    """All are upside down except two: the front camera has its gravity and height given, the side camera neither."""
    environment = isolated_ros_environment()
    front_is = "gravity_source:=fixed", "gravity_roll:=0.0", "gravity_pitch:=0.4", "camera_height:=2.2"
    own = *(f"front.{one}" for one in front_is), "side.gravity_roll:=0.0"
    parameters = f"model:={model}", "cameras:=[front, side, rear]", "gravity_roll:=3.1416", *own
    domain = int(environment["ROS_DOMAIN_ID"])
    with start_node_with_tf(environment, *parameters) as process:
        assert process.wait_for_line("]: active", START_S), process.last_lines()
        with (
            peer_in_domain(domain, "/segment", "front") as front,
            peer_in_domain(domain, "/segment", "side") as side,
            peer_in_domain(domain, "/segment", "rear") as rear,
        ):
            rig = Rig(front, room)
            images = front.listen(Image, "segmentation/hha")
            frame = rig.frame()
            assert frame.depth_m is not None and frame.intrinsics is not None
            hanging = [array_to_image(np.ascontiguousarray(frame.rgb[::-1, ::-1]), "rgb8")]
            hanging.append(array_to_image(np.ascontiguousarray(frame.depth_m[::-1, ::-1]), "32FC1"))
            info = encode_camera_info(frame.intrinsics)  # the principal point is in the middle

            def send() -> None:
                rig.send_image()
                rear.send(*hanging, info)
                upright = array_to_image(frame.rgb, "rgb8"), array_to_image(frame.depth_m, "32FC1")
                side.send(*upright, info)

            assert front.send_until(lambda: bool(images and rear.masks and side.masks), send), process.last_lines()
            expected = hha_of(frame, HhaSettings(), down_of_tilt(0.0, 0.4), 2.2)
            np.testing.assert_array_equal(color_to_array(images[0]), expected)
            values = front.diagnostics(lambda values, message: "gravity_down" in values, camera="front")
            assert values["gravity_source"] == "fixed"
            values = side.diagnostics(lambda values, message: "gravity_down" in values, camera="side")
            assert degrees_between(tuple(map(float, values["gravity_down"].split())), rig.gravity) < 5
            values = rear.diagnostics(lambda values, message: "gravity_down" in values, camera="rear")
            assert values["gravity_source"] == "estimate"
            x, y, z = map(float, values["gravity_down"].split())
            assert degrees_between((-x, -y, z), rig.gravity) < 5
            result = rear.set_parameter("rear.gravity_roll", 0.0)
            assert not result.successful and result.reason.startswith("rear.gravity_roll is in use")


@pytest.mark.parametrize(
    ("parameters", "line"),
    [
        (("gravity_source:=gps",), "gravity_source must be one of estimate, imu, tf, fixed, got 'gps'"),
        (("gravity_vector:=[0.0, 1.0]",), "gravity_vector must be three numbers of -1000..1000"),
        (("min_depth:=8.0", "max_depth:=4.0"), "configure failed: min_depth, max_depth, "),
    ],
)
def test_parameters_that_cannot_be_used_end_the_start_with_one_line(parameters, line, model: Path):
    with start_node_with_tf(isolated_ros_environment(), f"model:={model}", *parameters) as process:
        assert process.wait(START_S) == 1, process.last_lines()
        assert len([said for said in process.lines if line in said]) == 1, process.last_lines()
        assert not any("Traceback" in logged for logged in process.lines), process.last_lines(40)


@pytest.mark.skipif(TF2_IS_REAL, reason="tf2_ros is installed here")
def test_gravity_from_tf_without_tf_ends_the_start_with_one_line(model: Path):
    environment = isolated_ros_environment() | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "lcr_seg_ros", "segment", "--ros-args", "-p", f"model:={model}"]
    with ChildProcess("segment", [*command, "-p", "gravity_source:=tf"], environment) as process:
        assert process.wait(START_S) == 1, process.last_lines()
        (line,) = [line for line in process.lines if "configure failed: " in line]
        assert "TF needs tf2_ros, which is not installed here: apt install ros-" in line
