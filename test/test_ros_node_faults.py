"""The node in a separate process over real DDS: what it publishes, and that no input brings it down."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import signal
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")

from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from node_under_test import START_S, active_node, start_node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from ros_peer import (
    BEST_EFFORT,
    HEIGHT,
    WIDTH,
    Peer,
    camera_info,
    depth_image,
    peer_in_domain,
    rgb_image,
)
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import String
from std_srvs.srv import SetBool
from tiny_bundle import make_tiny_bundle, tiny_bundle

from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.image_encodings import color_to_array
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.ros.compat.message_filters import stamp_ns
from lcr_seg_ros.ros.conversions import CLOUD_POINT, array_to_image
from lcr_seg_ros.ros.processes import ChildProcess, isolated_ros_environment
from lcr_seg_ros.segmenter import Segmenter

WARN = "1"


@pytest.fixture(scope="module")
def node(model: Path, environment: dict[str, str]) -> Iterator[ChildProcess]:
    """One node for all tests of this file; each test must leave it working."""
    with active_node(environment, f"model:={model}", "max_age:=0.0", "silence_timeout:=2.0") as process:
        yield process
        assert process.exit_code is None, process.last_lines()


@pytest.fixture(scope="module")
def shared_peer(environment: dict[str, str], node: ChildProcess) -> Iterator[Peer]:
    with peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer:
        assert peer.gets_masks(), node.last_lines()
        yield peer


@pytest.fixture()
def peer(shared_peer: Peer, node: ChildProcess) -> Iterator[Peer]:
    """A peer of the node; after each test the node must still label good frames."""
    yield shared_peer
    assert node.exit_code is None, node.last_lines()
    assert shared_peer.gets_masks(), node.last_lines()


def expected_labels(model: Path) -> np.ndarray:
    intrinsics = CameraIntrinsics(70.0, 70.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2, WIDTH, HEIGHT)
    depth = np.full((HEIGHT, WIDTH), 2.0, np.float32)
    return Segmenter.load(model).segment(RgbdFrame(color_to_array(rgb_image()), depth, intrinsics)).labels


# What it publishes


def test_a_mask_has_header_and_size_of_its_colour_image_and_the_labels_of_the_segmenter(peer: Peer, model: Path):
    sent = {peer.send_good_frame()}
    assert peer.send_until(
        lambda: any(stamp_ns(m) in sent for m in peer.masks), lambda: sent.add(peer.send_good_frame())
    )
    mask = next(m for m in peer.masks if stamp_ns(m) in sent)
    assert (mask.header.frame_id, mask.encoding) == ("camera", "mono8")
    assert (mask.width, mask.height, mask.step) == (WIDTH, HEIGHT, WIDTH)
    labels = np.frombuffer(mask.data, np.uint8).reshape(HEIGHT, WIDTH)
    np.testing.assert_array_equal(labels, expected_labels(model))


def test_every_output_carries_the_header_of_the_colour_image(peer: Peer):
    topics = {"confidence": "mono8", "color": "rgb8", "overlay": "rgb8", "hha": "rgb8"}
    images = {topic: peer.listen(Image, f"segmentation/{topic}") for topic in topics}
    clouds = peer.listen(PointCloud2, "segmentation/points")
    sent: set[int] = set()
    assert peer.send_until(lambda: all(images.values()) and bool(clouds), lambda: sent.add(peer.send_good_frame()))
    for topic, encoding in topics.items():
        image = images[topic][0]
        assert (image.encoding, image.width, image.height) == (encoding, WIDTH, HEIGHT)
        assert stamp_ns(image) in sent and image.header.frame_id == "camera"
    cloud = clouds[0]
    assert (cloud.width, cloud.height, cloud.point_step) == (WIDTH, HEIGHT, CLOUD_POINT.itemsize)
    assert stamp_ns(cloud) in sent and cloud.header.frame_id == "camera"
    assert [field.name for field in cloud.fields] == ["x", "y", "z", "rgb", "label", "confidence"]


def test_label_info_reaches_those_who_come_late(peer: Peer):
    late = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    try:
        from vision_msgs.msg import LabelInfo

        received = peer.listen(LabelInfo, "segmentation/label_info", late)
        assert peer.send_until(lambda: bool(received), lambda: None)
        ids = [c.class_id for c in received[0].class_map]
    except ImportError:
        received = peer.listen(String, "segmentation/label_info_json", late)
        assert peer.send_until(lambda: bool(received), lambda: None)
        ids = [c["class_id"] for c in json.loads(received[0].data)["class_map"]]
    assert ids == list(range(1, 41))


def test_diagnostics_tell_rates_latency_and_stage_times(peer: Peer):
    assert peer.gets_masks()
    values = peer.diagnostics(lambda values, message: "latency_ms_p95" in values)
    assert values["model"] == "tiny" and values["state"] == "active"
    for stage in ("hha", "preprocess", "network", "decode", "render", "publish"):
        assert float(values[f"{stage}_ms_p50"]) <= float(values[f"{stage}_ms_p95"])
    assert int(values["pairs_in"]) >= int(values["masks_out"]) > 0


def test_pixels_below_the_confidence_threshold_are_255(peer: Peer):
    assert peer.set_parameter("confidence_threshold", 1.0).successful
    try:
        before = len(peer.masks)
        assert peer.send_until(lambda: any(m.data[0] == 255 for m in peer.masks[before:]), peer.send_good_frame)
    finally:
        assert peer.set_parameter("confidence_threshold", 0.0).successful


def test_a_parameter_out_of_range_is_rejected_with_the_reason(peer: Peer):
    for name, value in (("overlay_opacity", 1.5), ("slop", 0), ("max_rate_hz", "fast")):
        result = peer.set_parameter(name, value)
        assert not result.successful and name in result.reason


def test_what_is_in_use_cannot_change(peer: Peer):
    result = peer.set_parameter("label_encoding", "16UC1")
    assert not result.successful and "clean up" in result.reason


def test_max_rate_limits_the_masks(peer: Peer):
    assert peer.set_parameter("max_rate_hz", 2.0).successful
    try:
        before, until = len(peer.masks), time.monotonic() + 4.0
        peer.send_until(lambda: time.monotonic() > until, peer.send_good_frame)
        assert 4 <= len(peer.masks) - before <= 11
        # A change from one mask in 100 s to 10 per second takes effect at once.
        assert peer.set_parameter("max_rate_hz", 0.01).successful
        until = time.monotonic() + 1.5
        peer.send_until(lambda: time.monotonic() > until, peer.send_good_frame)
        assert peer.set_parameter("max_rate_hz", 10.0).successful
        before = len(peer.masks)
        assert peer.send_until(lambda: len(peer.masks) > before + 3, peer.send_good_frame)
    finally:
        assert peer.set_parameter("max_rate_hz", 0).successful


def test_it_rests_while_it_is_not_enabled(peer: Peer):
    client = peer.create_client(SetBool, "segment/enable")
    assert peer.call(client, SetBool.Request(data=False)).success
    try:
        time.sleep(0.5)
        before, until = len(peer.masks), time.monotonic() + 1.5
        peer.send_until(lambda: time.monotonic() > until, peer.send_good_frame)
        assert len(peer.masks) == before
        assert peer.count_subscribers("rgb/image_rect_color") == 0
    finally:
        assert peer.call(client, SetBool.Request(data=True)).success


def test_it_can_be_deactivated_and_activated_again(peer: Peer):
    change = peer.create_client(ChangeState, "segment/change_state")
    get = peer.create_client(GetState, "segment/get_state")
    steps = [
        (Transition.TRANSITION_DEACTIVATE, "inactive"),
        (Transition.TRANSITION_CLEANUP, "unconfigured"),
        (Transition.TRANSITION_CONFIGURE, "inactive"),
        (Transition.TRANSITION_ACTIVATE, "active"),
    ]
    for transition, state in steps:
        assert peer.call(change, ChangeState.Request(transition=Transition(id=transition)), START_S).success
        assert peer.call(get, GetState.Request()).current_state.label == state


# What goes wrong at run time


def with_encoding(image: Image, encoding: str) -> Image:
    image.encoding = encoding
    return image


def cut(image: Image) -> Image:
    image.data = image.data[: len(image.data) // 2]
    return image


BAD_FRAMES = {
    "rgb and depth of different sizes": (
        lambda: (rgb_image(), depth_image(WIDTH // 2, HEIGHT // 2), camera_info()),
        "bad_frame",
        "rgb is 80x60 but depth is 40x30",
    ),
    "camera_info of another size": (
        lambda: (rgb_image(), depth_image(), camera_info(WIDTH * 2, HEIGHT * 2)),
        "bad_frame",
        "the intrinsics are for 160x120",
    ),
    "an unknown colour encoding": (
        lambda: (with_encoding(rgb_image(), "yuv422_yuy2"), depth_image(), camera_info()),
        "bad_rgb",
        "encoding 'yuv422_yuy2', which is not supported",
    ),
    "an unknown depth encoding": (
        lambda: (rgb_image(), with_encoding(depth_image(), "64FC1"), camera_info()),
        "bad_depth",
        "encoding '64FC1', which is not supported",
    ),
    "a colour image of no size": (
        lambda: (Image(encoding="rgb8"), depth_image(), camera_info()),
        "bad_rgb",
        "colour image must be 1..16384 px a side, got 0x0",
    ),
    "a depth image of no size": (
        lambda: (rgb_image(), Image(encoding="16UC1"), camera_info()),
        "bad_depth",
        "depth image must be 1..16384 px a side, got 0x0",
    ),
    "a colour image that is cut": (
        lambda: (cut(rgb_image()), depth_image(), camera_info()),
        "bad_rgb",
        "colour image is cut",
    ),
    "a depth image that is cut": (
        lambda: (rgb_image(), cut(depth_image()), camera_info()),
        "bad_depth",
        "depth image is cut",
    ),
    "a step shorter than a row": (
        lambda: (Image(encoding="rgb8", width=8, height=8, step=8), depth_image(), camera_info()),
        "bad_rgb",
        "step 8, but a row of 8 rgb8 pixels takes 24 bytes",
    ),
    "a camera_info with K = 0": (
        lambda: (rgb_image(), depth_image(), camera_info(focal=0.0)),
        "no_camera_info",
        "rgb/camera_info: camera_info has fx=0.0, fy=0.0: the camera is not calibrated",
    ),
    "an image of absurd size": (
        lambda: (
            Image(encoding="rgb8", width=2**32 - 1, height=2**32 - 1, step=2**32 - 1),
            depth_image(),
            camera_info(),
        ),
        "bad_rgb",
        "got 4294967295x4294967295",
    ),
}


@pytest.mark.parametrize("fault", BAD_FRAMES)
def test_a_bad_frame_is_named_and_counted_and_the_node_lives_on(fault: str, peer: Peer, node: ChildProcess):
    make, reason, line = BAD_FRAMES[fault]
    assert peer.send_until(lambda: any(line in logged for logged in list(node.lines)), lambda: peer.send(*make())), (
        f"no line {line!r}:\n{node.last_lines()}"
    )
    peer.diagnostics(lambda values, message: int(values.get(f"dropped_{reason}", 0)) > 0)


@pytest.mark.parametrize("metres", [0.0, float("nan"), float("inf")])
def test_depth_without_a_single_value_still_gives_masks_and_a_warning(metres: float, peer: Peer, node: ChildProcess):
    sent: set[int] = set()
    assert peer.send_until(
        lambda: any(stamp_ns(m) in sent for m in peer.masks),
        lambda: sent.add(peer.send(rgb_image(), depth_image(metres=metres), camera_info())),
    )
    assert node.wait_for_line("no pixel has a depth", 5.0)


def test_stamps_that_go_backwards_are_said_and_give_masks_again(peer: Peer, node: ChildProcess):
    assert peer.gets_masks()
    past = peer.get_clock().now().nanoseconds - 100 * 10**9
    sent: list[int] = []

    def send_from_the_past() -> None:
        sent.append(peer.send(rgb_image(), depth_image(), camera_info(), stamp_ns=past + len(sent) * 33_000_000))

    assert peer.send_until(lambda: any(stamp_ns(m) in sent for m in peer.masks), send_from_the_past)
    assert node.wait_for_line("went back by", 5.0)


def test_images_without_a_stamp_are_labelled_and_the_driver_is_blamed(peer: Peer, node: ChildProcess):
    assert peer.send_until(
        lambda: any(stamp_ns(m) == 0 for m in peer.masks),
        lambda: peer.send(rgb_image(), depth_image(), camera_info(), stamp_ns=0),
    )
    assert node.wait_for_line("have no stamp (0)", 5.0)


def test_equal_stamps_are_labelled(peer: Peer):
    stamp = peer.get_clock().now().nanoseconds
    assert peer.send_until(
        lambda: sum(stamp_ns(m) == stamp for m in peer.masks) >= 2,
        lambda: peer.send(rgb_image(), depth_image(), camera_info(), stamp_ns=stamp),
    )


def test_pairs_older_than_max_age_are_dropped_and_counted(peer: Peer, node: ChildProcess):
    assert peer.set_parameter("max_age", 1.0).successful
    try:
        old = peer.get_clock().now().nanoseconds - 5 * 10**9
        assert peer.send_until(
            lambda: any("frame dropped (too_old): its stamp was" in line for line in list(node.lines)),
            lambda: peer.send(rgb_image(), depth_image(), camera_info(), stamp_ns=old),
        )
        peer.diagnostics(lambda values, message: int(values.get("dropped_too_old", 0)) > 0)
        assert not any(stamp_ns(m) == old for m in peer.masks)
    finally:
        assert peer.set_parameter("max_age", 0.0).successful


def test_a_depth_image_in_another_frame_is_used_and_warned_of(peer: Peer, node: ChildProcess):
    def send() -> None:
        depth = depth_image()
        depth.header.frame_id = "depth_camera"
        peer.send(rgb_image(), depth, camera_info())

    assert peer.send_until(lambda: any("in frame 'camera'" in line for line in list(node.lines)), send)


@pytest.mark.parametrize(
    ("send", "cause"),
    [
        (lambda peer: None, "fallen silent"),
        (lambda peer: peer.send(rgb=rgb_image()), "only /rgb/image_rect_color arrives"),
        (lambda peer: peer.send(depth=depth_image()), "only /depth_registered/image_rect arrives"),
    ],
)
def test_after_a_silence_the_cause_is_in_the_diagnostics(send, cause: str, peer: Peer):
    assert peer.gets_masks()
    last = {}

    def found() -> bool:
        try:
            last.update(peer.diagnostics(lambda values, message: cause in message, timeout_s=0.3))
            return True
        except AssertionError:
            return False

    assert peer.send_until(found, lambda: send(peer), timeout_s=20.0)
    assert last["level"] == WARN


def test_stamps_too_far_apart_are_named_with_their_distance(peer: Peer):
    assert peer.gets_masks()
    last = {}

    def send_apart() -> None:
        now = peer.get_clock().now().nanoseconds // 10**9 * 10**9  # in whole seconds, so that no two stamps are close
        peer.send(rgb=rgb_image(), info=camera_info(), stamp_ns=now)
        peer.send(depth=depth_image(), stamp_ns=now + 200_000_000)

    def found() -> bool:
        try:
            last.update(peer.diagnostics(lambda values, message: "ms apart at best" in message, timeout_s=0.3))
            return True
        except AssertionError:
            return False

    assert peer.send_until(found, send_apart, timeout_s=20.0)
    assert "200.0 ms apart at best and slop is 16.0 ms" in last["message"]


def test_images_that_find_no_partner_are_counted_and_told_although_others_do(peer: Peer):
    assert peer.gets_masks()
    reports, sent, last = peer.listen(DiagnosticArray, "/diagnostics"), 0, {}

    def send() -> None:
        nonlocal sent
        now = peer.get_clock().now().nanoseconds // 10**8 * 10**8
        peer.send(rgb=rgb_image(), info=camera_info(), stamp_ns=now)
        peer.send(depth=depth_image(), stamp_ns=now + (0 if sent % 3 == 0 else 20_000_000))
        sent += 1

    def found() -> bool:
        if not reports:
            return False
        status = reports[-1].status[0]
        last.update({pair.key: pair.value for pair in status.values}, level=str(status.level[0]), told=status.message)
        is_told = "20.0 ms apart at best and slop is 16.0 ms" in status.message
        return is_told and int(last.get("dropped_unpaired", 0)) > 0

    assert peer.send_until(found, send, timeout_s=30.0), last
    assert last["level"] == WARN and last["told"].startswith("only ")
    assert 0 < float(last["pairs_in_hz"]) < 0.8 * min(float(last["rgb_in_hz"]), float(last["depth_in_hz"]))


# Other starts


def test_a_missing_camera_info_is_named(model: Path):
    environment = isolated_ros_environment()
    with (
        active_node(environment, f"model:={model}", "max_age:=0.0") as process,
        peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer,
    ):
        assert peer.send_until(
            lambda: any("nothing has come on /rgb/camera_info" in line for line in list(process.lines)),
            lambda: peer.send(rgb_image(), depth_image()),
        ), process.last_lines()
        assert peer.gets_masks(), process.last_lines()


def test_depth_out_of_the_range_that_was_given_is_a_hole_for_the_points_as_well(model: Path):
    depth = np.full((HEIGHT, WIDTH), 2.0, np.float32)
    depth[:, : WIDTH // 2] = 4.0
    environment = isolated_ros_environment()
    with (
        active_node(environment, f"model:={model}", "max_depth:=3.0"),
        peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer,
    ):
        clouds = peer.listen(PointCloud2, "segmentation/points")
        assert peer.send_until(
            lambda: bool(clouds), lambda: peer.send(rgb_image(), array_to_image(depth, "32FC1"), camera_info())
        )
        z = np.frombuffer(clouds[0].data, CLOUD_POINT)["z"].reshape(HEIGHT, WIDTH)
        assert np.isnan(z[:, : WIDTH // 2]).all() and (z[:, WIDTH // 2 :] == 2.0).all()
        peer.diagnostics(lambda values, message: float(values["invalid_depth_share"]) == 0.5)


@pytest.mark.parametrize("shipped", [None, "nyu40-rgb"])
def test_a_model_that_sees_colour_only_needs_neither_depth_nor_camera_info(shipped: str | None, tmp_path: Path):
    model = shipped or make_tiny_bundle(tmp_path / "rgb.lcrseg", modality="rgb")
    environment = isolated_ros_environment()
    with active_node(environment, f"model:={model}", "max_age:=0.0", "label_encoding:=16UC1") as process:
        with peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer:
            assert peer.send_until(lambda: bool(peer.masks), lambda: peer.send(rgb_image())), process.last_lines()
            assert peer.masks[0].encoding == "16UC1"
            assert peer.count_subscribers("depth_registered/image_rect") == 0
            assert peer.count_publishers("segmentation/points") == 0
        assert process.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_within_two_seconds_without_a_traceback(number: signal.Signals, model: Path):
    with active_node(isolated_ros_environment(), f"model:={model}") as process:
        os.kill(process.pid, number)
        # Two seconds, plus some for a machine that is busy with other work.
        assert process.wait(4.0) == 0, process.last_lines()
        assert not any("Traceback" in line for line in process.lines), process.last_lines(40)


def test_a_signal_while_a_model_is_being_loaded_ends_it_as_soon(model: Path):
    environment = isolated_ros_environment()
    with active_node(environment, f"model:={model}") as process:
        with peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer:
            assert peer.set_parameter("model", "nyu40").successful
            os.kill(process.pid, signal.SIGINT)
            assert process.wait(4.0) == 0, process.last_lines()
        assert any("loading model nyu40" in line for line in process.lines), process.last_lines()
        assert not any("Traceback" in line for line in process.lines), process.last_lines(40)


def text_file(path: Path) -> None:
    path.write_text("this is not a model\n")


def cut_bundle(path: Path) -> None:
    whole = make_tiny_bundle(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "a zip, but no model")


def pickle_file(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weights": [1.0, 2.0]}))


def with_manifest(path: Path, change) -> None:
    bundle = tiny_bundle()
    manifest = bundle.manifest()
    change(manifest)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        archive.writestr("NOTICE.txt", "")
        archive.writestr("network.onnx", bundle.network)


def unknown_labels(path: Path) -> None:
    with_manifest(path, lambda manifest: manifest.update(labels="nyu41"))


def contradictory_labels(path: Path) -> None:
    with_manifest(path, lambda manifest: manifest["labels"]["classes"][1].update(id=1))


def other_class_count(path: Path) -> None:
    dataclasses.replace(tiny_bundle(), labels=LabelSet.load("nyu4")).save(path)


def network_is_no_onnx(path: Path) -> None:
    bundle = tiny_bundle()
    ModelBundle(bundle.name, bundle.architecture, bundle.input, bundle.labels, b"not a network").save(path)


@pytest.mark.parametrize(
    "spoil",
    [
        text_file,
        cut_bundle,
        other_zip,
        pickle_file,
        unknown_labels,
        contradictory_labels,
        other_class_count,
        network_is_no_onnx,
    ],
)
def test_a_model_that_cannot_be_used_ends_the_start_with_one_line(spoil, tmp_path: Path):
    path = tmp_path / "bad.lcrseg"
    spoil(path)
    with start_node(isolated_ros_environment(), f"model:={path}") as process:
        assert process.wait(START_S) == 1, process.last_lines()
        errors = [line for line in process.lines if "configure failed: " in line]
        assert len(errors) == 1, process.last_lines()
        assert not any("Traceback" in line for line in process.lines), process.last_lines(40)


@pytest.mark.parametrize(
    ("parameter", "line"),
    [
        ("confidence_threshold:=3.0", "confidence_threshold"),
        ("backend:=abacus", "backend must be one of auto, openvino, onnxruntime, torch, got 'abacus'"),
        ("queue_size:=many", "queue_size must be int, got 'many'"),
    ],
)
def test_a_parameter_that_cannot_be_used_ends_the_start_with_one_line(parameter: str, line: str):
    with start_node(isolated_ros_environment(), parameter) as process:
        assert process.wait(START_S) == 1, process.last_lines()
        assert [error for error in process.lines if error.startswith("error: ") and line in error]
        assert not any("Traceback" in logged for logged in process.lines), process.last_lines(40)


def test_a_misspelt_parameter_is_warned_of(model: Path):
    with start_node(isolated_ros_environment(), f"model:={model}", "max_rate:=3") as process:
        assert process.wait_for_line("there is no parameter max_rate", START_S), process.last_lines()


def test_padded_rows_and_other_colour_orders_give_the_same_mask(peer: Peer, model: Path):
    pixels = color_to_array(rgb_image())
    padded = np.zeros((HEIGHT, WIDTH * 4 + 12), np.uint8)
    padded[:, : WIDTH * 4] = np.dstack([pixels[..., ::-1], np.full((HEIGHT, WIDTH), 255, np.uint8)]).reshape(HEIGHT, -1)
    image = array_to_image(padded, "mono8")
    image.encoding, image.width = "bgra8", WIDTH
    sent: set[int] = set()
    assert peer.send_until(
        lambda: any(stamp_ns(m) in sent for m in peer.masks),
        lambda: sent.add(peer.send(image, depth_image(), camera_info())),
    )
    mask = next(m for m in peer.masks if stamp_ns(m) in sent)
    np.testing.assert_array_equal(np.frombuffer(mask.data, np.uint8).reshape(HEIGHT, WIDTH), expected_labels(model))


def test_qos_overrides_count_and_a_camera_that_does_not_match_them_is_named(model: Path):
    environment = isolated_ros_environment()
    override = "qos_overrides./rgb/image_rect_color.subscription.reliability:=reliable"
    with (
        active_node(environment, f"model:={model}", "silence_timeout:=1.0", override) as process,
        peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer,
    ):
        assert peer.send_until(
            lambda: any("the QoS of peer does not match ours" in line for line in list(process.lines)),
            peer.send_good_frame,
        ), process.last_lines()


def test_a_qos_override_that_nothing_uses_is_warned_of(model: Path):
    used = "qos_overrides./rgb/image_rect_color.subscription.durability:=volatile"
    unused = (
        "qos_overrides./rgb/image_rect_colour.subscription.durability:=volatile",
        "qos_overrides./rgb/image_rect_color.subscription.lifespan:=1",
    )
    with active_node(isolated_ros_environment(), f"model:={model}", used, *unused) as process:
        lines = [line for line in process.lines if "qos_overrides." in line and "is ignored" in line]
        assert len(lines) == 2, process.last_lines()
        assert "did you mean qos_overrides./rgb/image_rect_color.subscription.durability?" in "".join(lines)
        assert any(
            "lifespan is ignored" in line and "history, depth, reliability, durability" in line for line in lines
        )


@pytest.mark.parametrize("is_before", [True, False], ids=["before the node", "after the node"])
def test_a_camera_info_that_was_sent_once_is_received_and_kept(is_before: bool, model: Path):
    environment = isolated_ros_environment()
    latched = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    with peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer:
        peer.destroy_publisher(peer._info)

        def send_info() -> None:
            peer._info = peer.create_publisher(CameraInfo, "rgb/camera_info", latched)
            peer._info.publish(camera_info())

        def is_answered() -> bool:
            return any(stamp_ns(mask) in sent for mask in list(peer.masks))

        def send() -> None:
            sent.add(peer.send(rgb_image(), depth_image()))

        if is_before:
            send_info()
        with active_node(environment, f"model:={model}", "max_age:=0.0") as process:
            sent: set[int] = set()
            if not is_before:
                assert not peer.send_until(is_answered, send, timeout_s=1.0)
                send_info()
            assert peer.send_until(is_answered, send), process.last_lines()
            # Its publisher goes; the intrinsics hold over a new activation, for images of their size.
            peer.destroy_publisher(peer._info)
            change = peer.create_client(ChangeState, "segment/change_state")
            for step in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
                assert peer.call(change, ChangeState.Request(transition=Transition(id=step))).success
            sent.clear()
            assert peer.send_until(is_answered, send), process.last_lines()
            sent.clear()
            larger = rgb_image(2 * WIDTH, 2 * HEIGHT), depth_image(2 * WIDTH, 2 * HEIGHT)
            assert peer.send_until(
                lambda: any("nothing has come on /rgb/camera_info" in line for line in list(process.lines)),
                lambda: peer.send(*larger),
            ), process.last_lines()
            # A camera that repeats it, as most do.
            peer._info = peer.create_publisher(CameraInfo, "rgb/camera_info", BEST_EFFORT)
            assert peer.gets_masks(), process.last_lines()


def test_it_lives_by_the_simulated_clock_and_outlives_its_jumps(model: Path):
    environment = isolated_ros_environment()
    with active_node(environment, f"model:={model}", "use_sim_time:=true", "silence_timeout:=1.0") as process:
        # Timers of a clock that stands still never fire, but this line must come nevertheless.
        assert process.wait_for_line("no images to label for", 15.0), process.last_lines()
        with peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer:
            clock = peer.create_publisher(Clock, "/clock", 10)
            for begin in (5000, 100):
                stamps: list[int] = []

                def send(begin: int = begin, stamps: list[int] = stamps) -> None:
                    stamps.append(begin * 10**9 + len(stamps) * 10**8)
                    message = Clock()
                    message.clock.sec, message.clock.nanosec = divmod(stamps[-1], 10**9)
                    clock.publish(message)
                    peer.send(rgb_image(), depth_image(), camera_info(), stamp_ns=stamps[-1])

                def answered(stamps: list[int] = stamps) -> bool:
                    return any(stamp_ns(mask) in stamps for mask in peer.masks)

                def told_the_time(begin: int = begin) -> bool:
                    # The node may receive images before the clock; these stamps show that it has received the clock.
                    reports = list(peer.listen(DiagnosticArray, "/diagnostics"))
                    return any(begin <= report.header.stamp.sec < begin + 1000 for report in reports)

                assert peer.send_until(lambda: answered() and told_the_time(), send), process.last_lines()

            def in_time() -> bool:
                # Frames that came before the clock leave the statistics after five seconds.
                try:
                    peer.diagnostics(lambda values, _: float(values.get("latency_ms_p95", "inf")) < 5000, timeout_s=0.5)
                    return True
                except AssertionError:
                    return False

            assert peer.send_until(in_time, send), process.last_lines()
            assert process.wait_for_line("the clock has jumped", 5.0)


def test_max_rate_is_by_the_simulated_clock_and_two_clocks_are_named_once(model: Path):
    environment = isolated_ros_environment()
    parameters = (f"model:={model}", "use_sim_time:=true", "max_rate_hz:=1.0", "max_age:=0.0")
    with (
        active_node(environment, *parameters) as process,
        peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer,
    ):
        clocks = [peer.create_publisher(Clock, "/clock", 10)]
        stamps: list[int] = []

        def send(publisher: int = 0, back_s: int = 0) -> None:
            stamps.append((5000 + len(stamps) - back_s) * 10**9)  # ten times as fast as real time
            message = Clock()
            message.clock.sec = stamps[-1] // 10**9
            clocks[publisher].publish(message)
            time.sleep(0.02)  # the clock should arrive before the images
            peer.send(rgb_image(), depth_image(), camera_info(), stamp_ns=stamps[-1])

        assert peer.send_until(lambda: bool(peer.masks), send), process.last_lines()
        sent, seen = len(stamps), len(peer.masks)
        assert peer.send_until(lambda: len(stamps) >= sent + 30, send)
        assert len(peer.masks) - seen > 15  # by real time, there would be at most four
        # A second simulator is left running.
        clocks.append(peer.create_publisher(Clock, "/clock", 10))
        both = "more than one publisher on /clock (2)"

        def send_both() -> None:
            send()
            send(publisher=1, back_s=2000)

        assert peer.send_until(lambda: any(both in line for line in list(process.lines)), send_both)
        sent = len(stamps)
        assert peer.send_until(lambda: len(stamps) >= sent + 20, send_both)
        assert sum("the clock has jumped" in line for line in process.lines) <= 2, process.last_lines()
