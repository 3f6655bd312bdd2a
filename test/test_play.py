"""`play` is a camera made of files: what it publishes, when, under which names, and how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from receiver import Received, load
from shared_data import ROOT

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.ros.camera_presets import CAMERAS as PRESETS
from lcr_seg_ros.ros.camera_presets import OWN_TOPICS
from lcr_seg_ros.ros.environment import prepare_ros_environment
from lcr_seg_ros.ros.play_command import CAMERA_NAMES, stop_on_signals
from lcr_seg_ros.ros.processes import ChildProcess, isolated_ros_environment
from lcr_seg_ros.sources.folder import write_folder
from lcr_seg_ros.sources.source import SourceFrame

pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")
prepare_ros_environment()

from ros_peer import peer_in_domain  # noqa: E402

from lcr_seg_ros.ros.player import CAMERAS, Reel, encode_camera_info, encode_depth, read_index  # noqa: E402

INTRINSICS = CameraIntrinsics(fx=70.0, fy=71.0, cx=31.5, cy=23.5, width=64, height=48)
GENERIC = ("rgb/image_rect_color", "depth_registered/image_rect", "rgb/camera_info")


def make_frame(n: int, width: int = 64, height: int = 48, labels: bool = True) -> SourceFrame:
    rng = np.random.default_rng(n)
    rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    millimetres = rng.integers(0, 8000, (height, width), dtype=np.uint16)
    millimetres[:4] = 0
    truth = rng.integers(0, 41, (height, width), dtype=np.uint8) if labels else None
    intrinsics = INTRINSICS.scaled_to(width, height)
    depth_m = millimetres.astype(np.float32) * np.float32(0.001)
    return SourceFrame(f"{n:03d}", RgbdFrame(rgb, depth_m, intrinsics), truth)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Eight small annotated frames."""
    path = tmp_path_factory.mktemp("frames")
    write_folder([make_frame(n) for n in range(8)], path, split="all")
    (path / "two.txt").write_text("005\n002\n")
    return path


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return isolated_ros_environment() | {"PYTHONPATH": str(ROOT)}


def play(environment: dict[str, str], *arguments: object) -> ChildProcess:
    command = [sys.executable, "-m", "lcr_seg_ros", "play", *map(str, arguments)]
    return ChildProcess("play", command, environment)


def played(environment: dict[str, str], index: Path, *arguments: object) -> list[str]:
    """Names of the frames that a `play` run published, in order."""
    with play(environment, *arguments, "--index", index) as process:
        assert process.wait(30) == 0, process.last_lines()
    return [frame.name for frame in read_index(index)[1]]


@dataclass
class Run:
    output: str
    frame_id: str
    stamps: list[int]
    names: list[str]
    topics: dict[str, list[Received]]


@contextmanager
def receiving(environment: dict[str, str], out: Path, topics: dict[str, str]) -> Iterator[None]:
    command = [sys.executable, str(ROOT / "test/receiver.py"), str(out), *(f"{t}={kind}" for t, kind in topics.items())]
    with ChildProcess("receiver", command, environment) as process:
        assert process.wait_for_line("ready", 20), process.last_lines()
        yield
        time.sleep(0.5)  # what is still under way
        process.end()
        assert "written" in process.lines, process.last_lines()


def play_to_receiver(tmp_path: Path, environment: dict[str, str], topics: dict[str, str], *arguments: object) -> Run:
    """Run `play --wait-for-subscriber` against a receiver of these topics."""
    index = tmp_path / "index.json"
    with (
        receiving(environment, tmp_path / "out.npz", topics),
        play(environment, *arguments, "--wait-for-subscriber", "--index", index) as process,
    ):
        assert process.wait(60) == 0, process.last_lines()
    frame_id, frames = read_index(index)
    stamps, names = [f.stamp_ns for f in frames], [f.name for f in frames]
    return Run("\n".join(process.lines), frame_id, stamps, names, load(tmp_path / "out.npz"))


def sensor_topics(*names: str) -> dict[str, str]:
    return {name: "info" if name.endswith("camera_info") else "best_effort" for name in names}


def test_a_folder_arrives_exactly_with_one_stamp_a_frame(tmp_path, folder, environment):
    topics = sensor_topics(*GENERIC) | {"ground_truth/labels": "reliable"}
    run = play_to_receiver(tmp_path, environment, topics, folder, "--rate", 10)
    assert run.names == [f"{n:03d}" for n in range(8)]
    assert run.stamps == sorted(set(run.stamps))
    for topic in topics:
        assert [m.stamp_ns for m in run.topics[topic]] == run.stamps, topic
        assert {m.frame_id for m in run.topics[topic]} == {run.frame_id} == {"camera_rgb_optical_frame"}
        assert {(m.width, m.height) for m in run.topics[topic]} == {(64, 48)}
    rgb, depth, info, truth = (run.topics[topic] for topic in topics)
    assert {m.encoding for m in rgb} == {"rgb8"}
    assert {m.encoding for m in depth} == {"16UC1"}
    assert {m.encoding for m in truth} == {"mono8"}
    for n in range(8):
        expected = make_frame(n)
        assert np.array_equal(rgb[n].pixels.reshape(48, 64, 3), expected.frame.rgb)
        millimetres = np.rint(expected.frame.depth_m * 1000).astype(np.uint16)
        assert np.array_equal(depth[n].pixels.view(np.uint16), millimetres)
        assert np.array_equal(truth[n].pixels, expected.labels)
        assert info[n].pixels.tolist() == [70.0, 0, 31.5, 0, 71.0, 23.5, 0, 0, 1]
    assert re.search(r"sent 8 frames in \d+\.\d s, \d+", run.output)
    assert all(f"  /{topic}" in run.output for topic in topics)


def test_stamps_are_the_clock_at_publication(tmp_path, folder, environment):
    before = time.time_ns()
    played(environment, tmp_path / "i", folder, "--rate", 20)
    stamps = [f.stamp_ns for f in read_index(tmp_path / "i")[1]]
    assert before < stamps[0] < stamps[-1] < time.time_ns()
    assert np.diff(stamps).mean() == pytest.approx(0.05e9, rel=0.05)


@pytest.mark.parametrize(
    ("camera", "topics", "encoding", "frame_id"),
    [
        ("kinect", ("rgb/image_raw", "depth_registered/image_raw", "rgb/camera_info"), "rgb8",
         "camera_rgb_optical_frame"),
        ("realsense", ("color/image_raw", "aligned_depth_to_color/image_raw", "color/camera_info"), "rgb8",
         "camera_color_optical_frame"),
        ("azure_kinect", ("rgb/image_raw", "depth_to_rgb/image_raw", "rgb/camera_info"), "bgra8", "rgb_camera_link"),
        ("kinect2", ("qhd/image_color_rect", "qhd/image_depth_rect", "qhd/camera_info"), "bgr8",
         "kinect2_rgb_optical_frame"),
    ],
)  # fmt: skip
def test_each_camera_has_its_drivers_names_and_encodings(
    tmp_path, folder, environment, camera, topics, encoding, frame_id
):
    run = play_to_receiver(tmp_path, environment, sensor_topics(*topics), folder, "--rate", 10, "--camera", camera)
    rgb, depth, info = (run.topics[topic] for topic in topics)
    assert len(rgb) == len(depth) == len(info) == 8
    assert rgb[0].encoding == encoding
    assert rgb[0].frame_id == frame_id
    pixels = rgb[3].pixels.reshape(48, 64, -1)
    red_first = pixels if encoding == "rgb8" else pixels[..., 2::-1]
    assert np.array_equal(red_first, make_frame(3).frame.rgb)


def test_every_camera_the_command_offers_is_known():
    assert tuple(CAMERAS) == CAMERA_NAMES


def test_every_driver_that_the_launch_file_knows_can_be_played():
    for name, preset in PRESETS.items():
        played = CAMERAS["generic" if name == "none" else name]
        topics = OWN_TOPICS if name == "none" else preset
        assert (played.rgb, played.depth, played.info) == (topics.rgb, topics.depth, topics.camera_info)
        assert played.frame_id == preset.frame_id


def test_namespace_remaps_frame_id_and_float_depth(tmp_path, folder, environment):
    topics = sensor_topics("/left/rgb/image_rect_color", "/other/depth")
    arguments = ("--rate", 10, "--frame-id", "my_frame", "--depth-encoding", "32FC1", "--limit", 3)
    ros = ("--ros-args", "-r", "__ns:=/left", "-r", "depth_registered/image_rect:=/other/depth")
    run = play_to_receiver(tmp_path, environment, topics, folder, *arguments, *ros)
    depth = run.topics["/other/depth"]
    assert len(depth) == len(run.topics["/left/rgb/image_rect_color"]) == 3
    assert depth[0].frame_id == run.frame_id == "my_frame"
    metres = make_frame(0).frame.depth_m
    assert depth[0].encoding == "32FC1"
    assert np.array_equal(depth[0].pixels.view(np.float32), np.where(metres > 0, metres, np.nan), equal_nan=True)


def test_thirty_hertz_are_thirty_hertz_at_camera_size(tmp_path, environment):
    write_folder([make_frame(n, 640, 480) for n in range(20)], tmp_path / "vga")
    run = play_to_receiver(
        tmp_path, environment, sensor_topics(*GENERIC), tmp_path / "vga", "--loop", "--count", 60, "--rate", 30
    )
    assert len(run.stamps) == 60
    assert 59e9 / (run.stamps[-1] - run.stamps[0]) == pytest.approx(30.0, rel=0.03)
    # With stock Fast DDS settings a best-effort image of this size never arrives.
    assert len(run.topics[GENERIC[0]]) >= 57


def test_split_order_limit_count_loop_and_ping_pong(tmp_path, folder, environment):
    index = tmp_path / "index.json"
    fast = ("--rate", 200)
    assert played(environment, index, folder, *fast, "--split", "two") == ["005", "002"]
    assert played(environment, index, folder, *fast, "--limit", 3) == ["000", "001", "002"]
    assert played(environment, index, folder, *fast, "--limit", 3, "--loop", "--count", 7) == [
        "000", "001", "002", "000", "001", "002", "000"
    ]  # fmt: skip
    assert played(environment, index, folder, *fast, "--limit", 3, "--ping-pong", "--count", 7) == [
        "000", "001", "002", "001", "000", "001", "002"
    ]  # fmt: skip


def test_a_source_that_does_not_fit_into_memory_is_read_while_playing(tmp_path, environment):
    write_folder([make_frame(n, 640, 480, labels=False) for n in range(6)], tmp_path / "vga")
    with play(
        environment, tmp_path / "vga", "--memory", 2, "--loop", "--count", 14, "--index", tmp_path / "i"
    ) as process:
        assert process.wait(30) == 0, process.last_lines()
    assert "6 frames do not fit into 2 MiB: reading while playing" in process.lines
    assert [f.name for f in read_index(tmp_path / "i")[1]] == [f"{n % 6:03d}" for n in range(14)]
    with play(environment, tmp_path / "vga", "--memory", 2, "--ping-pong") as process:
        assert process.wait(30) == 1
    assert "--ping-pong needs all frames in memory" in process.lines[-1]


def test_a_bag_can_keep_its_stamps(tmp_path, environment):
    from test_bag import Recorder, record_frames

    with Recorder(tmp_path / "bag") as bag:
        stamps = record_frames(bag)
    played(environment, tmp_path / "i", tmp_path / "bag", "--stamps", "original", "--rate", 100)
    assert [f.stamp_ns for f in read_index(tmp_path / "i")[1]] == stamps


def test_a_bag_without_depth_is_played_if_that_is_asked_for(tmp_path, environment):
    from test_bag import SECOND, Recorder, rgb_image

    with Recorder(tmp_path / "bag") as bag:
        for n in range(3):
            bag.info("/camera/rgb/camera_info", SECOND * (n + 1))
            bag.image("/camera/rgb/image_raw", SECOND * (n + 1), rgb_image(n), "rgb8")
    with play(environment, tmp_path / "bag") as process:
        assert process.wait(30) == 1
    assert "has no depth images" in process.lines[-1] and "--no-depth" in process.lines[-1]
    topics = sensor_topics(*GENERIC)
    run = play_to_receiver(tmp_path, environment, topics, tmp_path / "bag", "--no-depth", "--rate", 10)
    assert [len(run.topics[topic]) for topic in GENERIC] == [3 if "depth" not in topic else 0 for topic in GENERIC]


def test_the_room_is_rendered_and_played(tmp_path, environment):
    names = played(environment, tmp_path / "i", "room", "--frames", 3, "--seed", 5, "--rate", 20)
    assert len(names) == len(set(names)) == 3


@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_in_order(tmp_path, folder, environment, signal_number):
    with play(environment, folder, "--loop", "--index", tmp_path / "i") as process:
        assert process.wait_for_line("ground_truth/labels", 20), process.last_lines()
        time.sleep(0.3)
        os.kill(process.pid, signal_number)
        assert process.wait(5) == 0, process.last_lines()
    assert process.lines[-1].startswith("sent ")
    assert len(read_index(tmp_path / "i")[1]) >= 3


def test_while_it_renders_there_are_no_topics_and_ctrl_c_ends_it_with_130(environment):
    with (
        peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer,
        play(environment, "room", "--frames", 40) as process,
    ):
        assert process.wait_for_line("rendered 10/40", 60), process.last_lines()
        topics = {name for name, _ in peer.get_publisher_names_and_types_by_node("camera", "/")}
        assert "/rosout" in topics
        assert not any(topic.startswith(("/rgb", "/depth")) for topic in topics)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(30) == 130, process.last_lines()
    assert process.lines[-1] == "stopped"


@pytest.fixture
def handlers_kept() -> Iterator[None]:
    """This process has its handlers of signals again after the test."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.timeout(30)
@pytest.mark.usefixtures("handlers_kept")
def test_a_signal_does_not_block_where_it_interrupts_whoever_holds_the_lock_of_the_event():
    with stop_on_signals() as stop:
        with stop._cond:  # type: ignore[attr-defined]  # as Event.wait and Event.set do
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGTERM)
        assert stop.wait(20)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_nobody_listening_is_an_error_that_says_so(folder, environment):
    with play(environment, folder, "--wait-for-subscriber", "--wait-timeout", 0.5) as process:
        assert process.wait(20) == 1
    assert "nobody subscribed to /rgb/image_rect_color within 0.5 s" in process.lines[-1]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["/no/such/folder"], 1, "no dataset folder or bag at /no/such/folder"),
        (["room", "--split", "val"], 1, "--split is for a dataset folder, and room is a room"),
        (["FOLDER", "--rgb-topic", "/rgb"], 1, "--rgb-topic is for a bag"),
        (["FOLDER", "--no-depth"], 1, "--no-depth is for a bag"),
        (["FOLDER", "--stamps", "original"], 1, "--stamps original needs a bag"),
        (["FOLDER", "--split", "nope"], 1, "has no split 'nope'"),
        (["FOLDER", "--intrinsics", "1,2"], 1, "intrinsics must be fx,fy,cx,cy"),
        (["FOLDER", "--rats", "5"], 2, "no such option or argument: --rats"),
        (["FOLDER", "--rate", "0"], 2, "--rate"),
        (["FOLDER", "--camera", "webcam"], 2, "azure_kinect"),
    ],
)
def test_wrong_usage_gets_one_clear_line(folder, environment, arguments, code, message):
    with play(environment, *(folder if a == "FOLDER" else a for a in arguments)) as process:
        assert process.wait(20) == code, process.last_lines()
    assert message in process.lines[-1]
    assert not any("Traceback" in line for line in process.lines)


def test_the_index_is_json_with_names_and_sizes(tmp_path, folder, environment):
    played(environment, tmp_path / "i", folder, "--rate", 100, "--limit", 2)
    content = json.loads((tmp_path / "i").read_text())
    assert content["topics"] == [f"/{topic}" for topic in (*GENERIC[:2], GENERIC[2], "ground_truth/labels")]
    assert [(f["name"], f["width"], f["height"]) for f in content["frames"]] == [("000", 64, 48), ("001", 64, 48)]


@dataclass(frozen=True)
class Encoded:
    name: str
    nbytes: int = 10


def make_reel(count: int, memory_bytes: int, stop: threading.Event | None = None) -> Reel:
    source = [make_frame(n, 4, 4) for n in range(count)]
    return Reel(source, lambda item: Encoded(item.name), memory_bytes, stop or threading.Event())  # type: ignore[arg-type,return-value]


@given(count=st.integers(1, 6), length=st.integers(0, 25), in_memory=st.booleans())
def test_a_reel_gives_the_same_order_in_memory_and_read_ahead(count, length, in_memory):
    reel = make_reel(count, 10**6 if in_memory else 1)
    names = [f"{n:03d}" for n in range(count)]
    assert [m.name for m in reel.frames("once")] == names
    looped = reel.frames("loop")
    assert [m.name for m in islice(looped, length)] == [names[n % count] for n in range(length)]
    if hasattr(looped, "close"):
        looped.close()


@given(count=st.integers(1, 6))
def test_to_and_fro_never_jumps(count):
    numbers = [int(m.name) for m in islice(make_reel(count, 10**6).frames("ping-pong"), 30)]
    assert numbers[:count] == list(range(count))
    steps = np.abs(np.diff(numbers))
    assert set(steps.tolist()) == ({0} if count == 1 else {1})


def test_an_error_of_the_source_reaches_whoever_plays_it():
    class Broken:
        def __len__(self) -> int:
            return 3

        def __iter__(self):
            yield make_frame(0, 4, 4)
            raise SourceError("file 2 is gone")

    reel = Reel(Broken(), lambda item: Encoded(item.name), 1, threading.Event())  # type: ignore[arg-type,return-value]
    with pytest.raises(SourceError, match="file 2 is gone"):
        list(reel.frames("once"))


def test_depth_becomes_whole_millimetres_with_holes_at_zero():
    depth = np.array([[0.0, np.nan, np.inf, -1.0, 0.0004, 1.2344, 65.535, 65.6]], np.float32)
    image = encode_depth(depth, "16UC1")
    assert np.frombuffer(image.data, np.uint16).tolist() == [0, 0, 0, 0, 0, 1234, 65535, 0]
    image = encode_depth(depth, "32FC1")
    metres = np.frombuffer(image.data, np.float32)
    assert np.isnan(metres[:4]).all()
    assert metres[4:].tolist() == depth[0, 4:].tolist()


def test_camera_info_describes_a_rectified_image():
    info = encode_camera_info(INTRINSICS)
    assert (info.width, info.height) == (64, 48)
    assert [info.k[0], info.k[4], info.k[2], info.k[5]] == [70.0, 71.0, 31.5, 23.5]
    assert [info.p[0], info.p[5], info.p[2], info.p[6]] == [70.0, 71.0, 31.5, 23.5]
    assert not np.any(info.d)
