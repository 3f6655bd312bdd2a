"""Several cameras share one network: each gets its own masks, none waits for another, each needs little memory."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from node_under_test import START_S, active_node, node_here
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_peer import Peer, camera_info, depth_image, peer_in_domain
from sensor_msgs.msg import Image
from shared_data import ROOT, keep_picture

from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.render import write_image
from lcr_seg_ros.ros.camera import Job
from lcr_seg_ros.ros.compat.message_filters import stamp_ns
from lcr_seg_ros.ros.conversions import array_to_image
from lcr_seg_ros.ros.engine import Engine
from lcr_seg_ros.ros.gravity_sources import GravityReading
from lcr_seg_ros.ros.processes import ChildProcess, free_domain_id, isolated_ros_environment
from lcr_seg_ros.ros.status_picture import _BAR
from lcr_seg_ros.ros.synchronizer import ImagePair
from lcr_seg_ros.segmenter import MAX_BATCH, Segmenter

SIZES = {"front": (80, 60), "rear": (64, 96)}
"""(width, height) by camera; the second is in portrait format, so that the network gets another input shape."""

MEMORY_OF_A_CAMERA_MB = 60.0

LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


def view_of(camera: str) -> np.ndarray:
    width, height = SIZES[camera]
    return np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def send_view(peer: Peer, camera: str) -> int:
    width, height = SIZES[camera]
    return peer.send(
        array_to_image(view_of(camera), "rgb8"), depth_image(width, height), camera_info(width, height), frame_id=camera
    )


def labels_of(mask: Image) -> np.ndarray:
    return np.frombuffer(mask.data, np.uint8).reshape(mask.height, mask.width)


def expected_labels(model: Path, camera: str) -> np.ndarray:
    """The labels that a node with this camera alone publishes, which test_ros_node_faults.py compares with these."""
    width, height = SIZES[camera]
    intrinsics = CameraIntrinsics(70.0, 70.0, (width - 1) / 2, (height - 1) / 2, width, height)
    depth = np.full((height, width), 2.0, np.float32)
    return Segmenter.load(model).segment(RgbdFrame(view_of(camera), depth, intrinsics)).labels


@pytest.fixture(scope="module")
def node(model: Path, environment: dict[str, str]) -> Iterator[ChildProcess]:
    parameters = f"model:={model}", "cameras:=[front, rear]", "max_age:=0.0", "silence_timeout:=1.0"
    with active_node(environment, *parameters) as process:
        yield process
        assert process.exit_code is None, process.last_lines()


@pytest.fixture(scope="module")
def peers(node: ChildProcess, environment: dict[str, str]) -> Iterator[dict[str, Peer]]:
    domain = int(environment["ROS_DOMAIN_ID"])
    with peer_in_domain(domain, "/segment", "front") as front, peer_in_domain(domain, "/segment", "rear") as rear:
        yield {"front": front, "rear": rear}


def both_get_masks(peers: dict[str, Peer], node: ChildProcess) -> None:
    sent: dict[str, set[int]] = {camera: set() for camera in peers}
    assert peers["front"].send_until(
        lambda: all(any(stamp_ns(m) in sent[c] for m in list(peer.masks)) for c, peer in peers.items()),
        lambda: [sent[c].add(send_view(peer, c)) for c, peer in peers.items()],
    ), node.last_lines()


def test_each_camera_gets_its_own_masks_and_they_are_those_of_a_node_for_it_alone(
    peers: dict[str, Peer], node: ChildProcess, model: Path
):
    both_get_masks(peers, node)
    for camera, peer in peers.items():
        mask = peer.masks[-1]
        assert (mask.header.frame_id, mask.width, mask.height) == (camera, *SIZES[camera])
        np.testing.assert_array_equal(labels_of(mask), expected_labels(model, camera))


def test_each_camera_has_a_status_of_its_own(peers: dict[str, Peer], node: ChildProcess):
    both_get_masks(peers, node)
    for camera, peer in peers.items():
        values = peer.diagnostics(lambda values, message: int(values["masks_out"]) > 0, camera=camera)
        assert {"skew_ms_p95", "age_ms_p50", "memory_mb", "threads"} <= values.keys()
        assert values["device_fallback"] == "" and float(values["skew_ms_p95"]) == 0


def test_a_camera_that_dies_is_named_and_does_not_stop_the_other(peers: dict[str, Peer], node: ChildProcess):
    both_get_masks(peers, node)
    front, rear = peers["front"], peers["rear"]
    reports = rear.listen(DiagnosticArray, "/diagnostics")
    seen, masks = len(reports), len(front.masks)

    def messages() -> list[list[str]]:
        """For each report, the messages of the front and of the rear camera."""
        return [[status.message for status in report.status] for report in reports[seen:]]

    def is_told() -> bool:
        return any("fallen silent" in of_rear for _, of_rear in messages())

    assert front.send_until(is_told, lambda: send_view(front, "front")), node.last_lines()
    assert len(front.masks) - masks >= 3
    assert "/rear/rgb/image_rect_color" in messages()[-1][1]
    assert not any("silent" in of_front for of_front, _ in messages())
    assert node.wait_for_line("rear: no images to label", 5.0)
    both_get_masks(peers, node)


def test_a_slow_camera_gets_every_frame_labelled_beside_one_that_floods(peers: dict[str, Peer], node: ChildProcess):
    both_get_masks(peers, node)
    front, rear = peers["front"], peers["rear"]
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            send_view(front, "front")
            time.sleep(0.002)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        sent = []
        for _ in range(12):
            sent.append(send_view(rear, "rear"))
            time.sleep(0.2)
    finally:
        stop.set()
        thread.join()
    labelled = {stamp_ns(mask) for mask in list(rear.masks)}
    # Best effort: under this load a few messages may be lost on the way.
    assert len(labelled.intersection(sent)) >= 9


def test_the_legend_shows_the_classes_to_whoever_comes_late(peers: dict[str, Peer]):
    rear = peers["rear"]
    legends = rear.listen(Image, "segmentation/legend", LATCHED)
    assert rear.send_until(lambda: bool(legends), lambda: None)
    assert legends[0].encoding == "rgb8"
    colours = {tuple(c) for c in np.frombuffer(legends[0].data, np.uint8).reshape(-1, 3)}
    assert colours >= {c.color for c in ModelBundle.load("nyu40").labels.classes}


def test_the_status_of_a_camera_is_a_picture_too(peers: dict[str, Peer], node: ChildProcess, tmp_path: Path):
    both_get_masks(peers, node)
    front = peers["front"]
    pictures = front.listen(Image, "segmentation/status")
    assert front.send_until(lambda: bool(pictures), lambda: send_view(front, "front"))
    picture = np.frombuffer(pictures[-1].data, np.uint8).reshape(pictures[-1].height, pictures[-1].width, 3)
    assert pictures[-1].encoding == "rgb8" and (picture == _BAR).all(2).any(), "bars of stages"
    keep_picture(write_image(tmp_path / "status.png", picture), "status.png")


def test_classes_that_the_filter_leaves_out_become_255(peers: dict[str, Peer], node: ChildProcess, model: Path):
    front, labels = peers["front"], expected_labels(model, "front")
    kept = int(np.bincount(labels.ravel()).argmax())
    name = next(c.name for c in ModelBundle.load(model).labels.classes if c.id == kept)
    legends = front.listen(Image, "segmentation/legend", LATCHED)
    assert front.set_parameter("class_filter", [name]).successful
    try:
        expected, sent = np.where(labels == kept, kept, 255), {send_view(front, "front")}
        assert front.send_until(
            lambda: any(stamp_ns(m) in sent for m in list(front.masks)), lambda: sent.add(send_view(front, "front"))
        )
        mask = next(m for m in front.masks if stamp_ns(m) in sent)
        np.testing.assert_array_equal(labels_of(mask), expected)
        assert front.send_until(lambda: bool(legends) and legends[-1].height < 60, lambda: None)
        refused = front.set_parameter("class_filter", ["chiar"])
        assert not refused.successful and "did you mean chair?" in refused.reason
    finally:
        assert front.set_parameter("class_filter", [""]).successful


# On a GPU


class Gpu:
    """The CPU posing as a GPU, so that the engine labels in batches."""

    device = "cuda"

    def __init__(self, *arguments: object) -> None:
        from lcr_seg_ros.backends import create_backend

        self._backend = create_backend(*arguments[:1])
        self.name = self._backend.name
        self.batches: list[int] = []

    def infer(self, tensor: np.ndarray) -> np.ndarray:
        self.batches.append(len(tensor))
        time.sleep(0.05)  # so that frames queue up and are ready together
        return self._backend.infer(tensor)


def test_frames_of_equal_size_that_are_ready_together_share_a_batch(model: Path):
    gpus: list[Gpu] = []

    def make(*arguments: object) -> Gpu:
        gpus.append(Gpu(*arguments))
        return gpus[-1]

    domain = free_domain_id()
    with (
        node_here(domain, f"model:={model}", "cameras:=[a, b]", "max_age:=0.0", make_backend=make),
        peer_in_domain(domain, "/segment", "a") as a,
        peer_in_domain(domain, "/segment", "b") as b,
    ):
        assert a.send_until(
            lambda: 2 in gpus[0].batches[1:] and bool(a.masks) and bool(b.masks),
            lambda: [send_view(peer, "front") for peer in (a, b)],
        )
        expected = expected_labels(model, "front")
        for peer in (a, b):
            np.testing.assert_array_equal(labels_of(peer.masks[-1]), expected)
        assert max(gpus[0].batches) <= MAX_BATCH


class Unready:
    """A camera without ROS that gives the frames it was made with."""

    mailbox = None
    wants_hha = True
    drawing = None

    def __init__(self, frame: RgbdFrame) -> None:
        self._frame = frame
        self.outcome: object = None

    def read(self, pair: ImagePair, uses_depth: bool) -> Job:
        return Job(pair, self._frame, GravityReading(), None)

    def publish(self, job: Job, segmentation: object) -> None:
        self.outcome = segmentation

    def lose(self, step: str, error: Exception) -> None:
        self.outcome = error


def test_a_frame_that_cannot_be_labelled_takes_none_of_its_batch_along(model: Path):
    intrinsics = CameraIntrinsics(70.0, 70.0, 39.5, 29.5, 80, 60)
    good = RgbdFrame(view_of("front"), np.full((60, 80), 2.0, np.float32), intrinsics)
    cameras = [Unready(good), Unready(RgbdFrame(good.rgb)), Unready(good)]
    bundle = ModelBundle.load(model)
    engine = Engine(Segmenter(bundle, Gpu(bundle)), cameras)
    engine.start()
    with engine.between_frames(5.0):  # so that they are ready together
        for camera in cameras:
            assert camera.mailbox is not None
            camera.mailbox.put(ImagePair(Image(), None))
    until = time.monotonic() + 10.0
    while any(camera.outcome is None for camera in cameras) and time.monotonic() < until:
        time.sleep(0.01)
    assert engine.stop(5.0)
    first, second, third = (camera.outcome for camera in cameras)
    assert isinstance(second, FrameError)
    np.testing.assert_array_equal(first.labels, third.labels)  # type: ignore[attr-defined]


def test_who_wants_to_work_between_frames_waits_for_one_frame_however_many_are_due(model: Path):
    good = RgbdFrame(
        view_of("front"), np.full((60, 80), 2.0, np.float32), CameraIntrinsics(70.0, 70.0, 39.5, 29.5, 80, 60)
    )
    cameras = [Unready(good) for _ in range(4)]
    bundle = ModelBundle.load(model)
    backend = Gpu(bundle)
    backend.max_batch = 1
    engine = Engine(Segmenter(bundle, backend), cameras)
    engine.start()
    with engine.between_frames(5.0):
        backend.batches.clear()  # forget those of the warm-up
        for camera in cameras:
            assert camera.mailbox is not None
            camera.mailbox.put(ImagePair(Image(), None))
    until = time.monotonic() + 10.0
    while not backend.batches and time.monotonic() < until:
        time.sleep(0.001)
    with engine.between_frames(5.0):
        assert len(backend.batches) <= 2  # the current one, and perhaps one that began before we got in
    assert engine.stop(5.0)


# Memory


def resident_mb(model: Path, cameras: list[str]) -> float:
    """Resident memory in MB of a node with these cameras, which all send 640x480."""
    environment = isolated_ros_environment()
    sender = [sys.executable, str(ROOT / "test" / "many_cameras.py"), *cameras]
    with (
        active_node(environment, f"model:={model}", f"cameras:=[{', '.join(cameras)}]", "max_age:=0.0"),
        ChildProcess("cameras", sender, environment | {"PYTHONPATH": str(ROOT)}) as cameras_process,
        peer_in_domain(int(environment["ROS_DOMAIN_ID"]), "/segment", cameras[-1]) as peer,
    ):
        for camera in cameras:
            values = peer.diagnostics(lambda values, message: int(values["masks_out"]) >= 5, START_S, camera)
        assert cameras_process.exit_code is None
        return float(values["memory_mb"])


def test_three_cameras_more_take_less_than_60_mb_each(model: Path):
    alone = resident_mb(model, ["one"])
    four = resident_mb(model, ["one", "two", "three", "four"])
    assert (four - alone) / 3 < MEMORY_OF_A_CAMERA_MB
