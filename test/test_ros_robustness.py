"""Faults that occur on robots, injected over real DDS: the node survives, reports them, and labels what follows."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from node_under_test import START_S, active_node, start_node
from rcl_interfaces.srv import GetParameters, SetParameters
from rclpy.parameter import Parameter
from ros_peer import HEIGHT, WIDTH, Peer, camera_info, depth_image, peer_in_domain, rgb_image
from sensor_msgs.msg import CameraInfo, Image
from shared_data import ROOT

from lcr_seg_ros.ros.compat.message_filters import stamp_ns
from lcr_seg_ros.ros.conversions import array_to_image
from lcr_seg_ros.ros.parameters import SPECS
from lcr_seg_ros.ros.process_status import megabytes, read_process_status
from lcr_seg_ros.ros.processes import ChildProcess, isolated_ros_environment
from lcr_seg_ros.ros.stalled_subscriber import SUBSCRIBED

SEED = 20
TRACES = ("Traceback", "internal error")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset folder of two frames."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(SEED)
    for name in ("rgb", "depth"):
        (folder / name).mkdir()
    for name in ("0.png", "1.png"):
        assert cv2.imwrite(str(folder / "rgb" / name), rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
        assert cv2.imwrite(str(folder / "depth" / name), rng.integers(500, 4000, (HEIGHT, WIDTH), dtype=np.uint16))
    return folder


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return isolated_ros_environment() | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def node(model: Path, environment: dict[str, str]) -> Iterator[ChildProcess]:
    """One node for nearly all tests of this file; each test must leave it working."""
    with active_node(environment, f"model:={model}", "max_age:=0.0") as process:
        yield process


@pytest.fixture(scope="module")
def shared_peer(environment: dict[str, str], node: ChildProcess) -> Iterator[Peer]:
    with peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer:
        yield peer


@pytest.fixture()
def peer(shared_peer: Peer, node: ChildProcess) -> Iterator[Peer]:
    assert shared_peer.gets_masks(), node.last_lines()
    lines = len(node.lines)
    yield shared_peer
    assert node.exit_code is None, node.last_lines()
    assert shared_peer.gets_masks(), node.last_lines()
    new = list(node.lines)[lines:]
    assert not [line for line in new if any(trace in line for trace in TRACES)], "\n".join(new[-60:])


# The camera


def test_a_camera_that_is_killed_and_returns_with_other_qos_gets_masks_again(
    peer: Peer, data: Path, environment: dict[str, str]
):
    play = [sys.executable, "-m", "lcr_seg_ros", "play", str(data), "--loop", "--rate", "10"]
    play += ["--intrinsics", "70,70,39.5,29.5"]
    reliable = [
        word
        for topic in ("rgb/image_rect_color", "depth_registered/image_rect", "rgb/camera_info")
        for word in ("-p", f"qos_overrides./{topic}.publisher.reliability:=reliable")
    ]

    def sees(frame_id: str) -> bool:
        return any(mask.header.frame_id == frame_id for mask in list(peer.masks))

    with ChildProcess("camera", [*play, "--frame-id", "first"], environment) as first:
        assert peer.send_until(lambda: sees("first"), lambda: None, START_S), first.last_lines()
        os.kill(first.pid, signal.SIGKILL)
    with ChildProcess("camera", [*play, "--frame-id", "second", "--ros-args", *reliable], environment) as second:
        assert peer.send_until(lambda: sees("second"), lambda: None, START_S), second.last_lines()


def test_resolution_encoding_and_intrinsics_may_change_in_mid_stream(peer: Peer, node: ChildProcess):
    def grey(width: int, height: int) -> Image:
        return array_to_image(np.full((height, width), 90, np.uint8), "mono8")

    def bgra(width: int, height: int) -> Image:
        return array_to_image(np.full((height, width, 4), 90, np.uint8), "bgra8")

    def millimetres(width: int, height: int) -> Image:
        return array_to_image(np.full((height, width), 1500, np.uint16), "16UC1")

    steps = [
        ((WIDTH, HEIGHT), rgb_image, depth_image, 70.0),
        ((64, 48), bgra, millimetres, 70.0),
        ((160, 120), rgb_image, millimetres, 140.0),
        ((160, 120), bgra, depth_image, 90.0),
        ((33, 47), grey, depth_image, 40.0),
        ((WIDTH, HEIGHT), rgb_image, depth_image, 70.0),
    ]
    for (width, height), color, depth, focal in steps:
        sent: set[int] = set()

        def send(w: int = width, h: int = height, c: Any = color, d: Any = depth, f: float = focal) -> int:
            return peer.send(c(w, h), d(w, h), camera_info(w, h, f))

        assert peer.send_until(
            lambda sent=sent: any(stamp_ns(mask) in sent for mask in list(peer.masks)),
            lambda sent=sent, send=send: sent.add(send()),
        ), f"{width}x{height}: {node.last_lines()}"
        masks = [mask for mask in list(peer.masks) if stamp_ns(mask) in sent]
        assert {(mask.width, mask.height, mask.step) for mask in masks} == {(width, height, width)}


def test_frames_ten_seconds_apart_are_labelled_and_colour_and_depth_ten_seconds_apart_are_not(peer: Peer):
    # Messages keep their order, so a mask of a later frame shows that the images that are no pairs were processed.
    begin = peer.get_clock().now().nanoseconds + 1000 * 10**9
    stamps = [begin + k * 10 * 10**9 for k in range(100)]
    left = iter(stamps)
    assert peer.send_until(
        lambda: len({stamp_ns(m) for m in list(peer.masks)} & set(stamps)) >= 3,
        lambda: peer.send(rgb_image(), depth_image(), camera_info(), stamp_ns=next(left)),
    )
    apart = [stamps[-1] + k * 10**11 for k in range(1, 6)]
    for stamp in apart:
        peer.send(rgb=rgb_image(), info=camera_info(), stamp_ns=stamp)
        peer.send(depth=depth_image(), stamp_ns=stamp + 10 * 10**9)
    assert peer.gets_masks()
    assert not {stamp_ns(m) for m in list(peer.masks)} & set(apart)


# Corrupt messages


def corrupt(message: Any, field: str, rng: random.Random) -> None:
    """Spoil one field of a message."""
    big = [0, 1, 2, 3, 7, 79, 81, 255, 1000, 16384, 16385, 2**31 - 1, 2**31, 2**32 - 1, rng.randrange(2**32)]
    if field in ("width", "height", "step"):
        setattr(message, field, rng.choice(big))
    elif field == "encoding":
        known = ["rgb8", "bgr8", "rgba8", "bgra8", "mono8", "mono16", "16UC1", "32FC1", "8UC3", "8UC1", "bayer_rggb8"]
        other = [
            "",
            " ",
            "rgb",
            "32FC4294967296",
            "8UC0",
            "\u00e9\u4e2d",
            "x" * 10000,
            "rgb8; jpeg",
            "%s%n",
            "../../etc",
        ]
        message.encoding = rng.choice(known + other)
    elif field == "data":
        length = rng.choice([0, 1, 2, 3, len(message.data) - 1, len(message.data) + 1, 40000, rng.randrange(20000)])
        message.data = rng.randbytes(length)
    elif field == "is_bigendian":
        message.is_bigendian = rng.choice([1, 2, 255])
    elif field == "stamp":
        message.header.stamp.sec = rng.choice([-(2**31), -1, 0, 1, 2**31 - 1])
        message.header.stamp.nanosec = rng.choice([0, 1, 10**9, 2**32 - 1])
    elif field == "frame_id":
        message.header.frame_id = rng.choice(["", "/", " ", "\u00e9\u4e2d", "y" * 10000, "a\nb\x1b[31m", "%s%n{0}"])
    elif field == "k":
        message.k = [rng.choice([0.0, -1.0, float("nan"), float("inf"), 1e308, 1e-308, 70.0]) for _ in range(9)]


IMAGE_FIELDS = ("encoding", "step", "width", "height", "data", "is_bigendian", "stamp", "frame_id")
INFO_FIELDS = ("k", "width", "height", "stamp", "frame_id")


def test_200_pairs_with_corrupt_headers_do_no_harm(peer: Peer, node: ChildProcess):
    rng = random.Random(SEED)
    before_mb = resident_mb(node.pid)
    for n in range(200):
        color, depth, info = rgb_image(), depth_image(), camera_info()
        spoilt = rng.choice([(color,), (depth,), (color, depth), (info,), (color, depth, info)])
        now = peer.get_clock().now().to_msg()
        for message in (color, depth, info):
            message.header.stamp, message.header.frame_id = now, "camera"
        for message in spoilt:
            fields = INFO_FIELDS if isinstance(message, CameraInfo) else IMAGE_FIELDS
            for field in rng.sample(fields, rng.choice([1, 1, 2, 3])):
                corrupt(message, field, rng)
        for publisher, message in ((peer._info, info), (peer._rgb, color), (peer._depth, depth)):
            publisher.publish(message)
        time.sleep(0.02)
        if n % 50 == 49:
            assert node.exit_code is None, node.last_lines()
            assert peer.gets_masks(), node.last_lines()
    assert resident_mb(node.pid) - before_mb < 100


def resident_mb(pid: int, key: str = "VmRSS") -> float:
    return megabytes(status_of(pid)[key])


def status_of(pid: int) -> dict[str, str]:
    return read_process_status(Path(f"/proc/{pid}/status"))


# The operator


def some_value(name: str, rng: random.Random) -> Any:
    """A random value for a parameter, valid or not."""
    anything = [True, False, -1, 0, 1, 7, 10**12, -0.5, 0.0, 0.5, 2.5, float("nan"), float("inf"), "", "auto", "wall"]
    anything += ["\u00e9\n{}", ["wall", "floor"], [0.0, 0.0, 1.0], ["x"] * 1000]
    choices = list(getattr(SPECS[name], "choices", None) or ())
    return rng.choice(anything + 5 * choices)


def test_a_storm_of_300_parameter_changes_while_frames_flow(peer: Peer, node: ChildProcess):
    rng, names = random.Random(SEED), sorted(SPECS)
    get = peer.create_client(GetParameters, "segment/get_parameters")
    change = peer.create_client(SetParameters, "segment/set_parameters")
    before = peer.call(get, GetParameters.Request(names=names)).values
    accepted = refused = 0
    for _ in range(30):
        futures = []
        for _ in range(10):
            name = rng.choice(names)
            wish = Parameter(name, value=some_value(name, rng)).to_parameter_msg()
            futures.append(change.call_async(SetParameters.Request(parameters=[wish])))
            peer.send_good_frame()
        assert peer.send_until(lambda futures=futures: all(f.done() for f in futures), lambda: None), node.last_lines()
        results = [future.result().results[0] for future in futures]
        accepted += sum(result.successful for result in results)
        refused += sum(not result.successful and bool(result.reason) for result in results)
    assert accepted + refused == 300, "a refusal without a reason"
    assert accepted > 10 and refused > 10
    # All in one request, because some are valid only together; only those that have changed.
    wishes = [Parameter.from_parameter_msg(_named(name, value)) for name, value in zip(names, before, strict=True)]
    now = peer.call(get, GetParameters.Request(names=names)).values
    back = [wish.to_parameter_msg() for wish, value, old in zip(wishes, now, before, strict=True) if value != old]
    for result in peer.call(change, SetParameters.Request(parameters=back)).results:
        assert result.successful, result.reason
    assert peer.call(get, GetParameters.Request(names=names)).values == before


def _named(name: str, value: Any) -> Any:
    from rcl_interfaces.msg import Parameter as ParameterMessage

    return ParameterMessage(name=name, value=value)


def test_25_cycles_of_activation_leave_no_thread_of_the_system_and_no_endpoint(peer: Peer, node: ChildProcess):
    change = peer.create_client(ChangeState, "segment/change_state")
    inputs = ("rgb/image_rect_color", "depth_registered/image_rect", "rgb/camera_info")

    def cycle() -> None:
        for step in (Transition.TRANSITION_DEACTIVATE, Transition.TRANSITION_ACTIVATE):
            assert peer.call(change, ChangeState.Request(transition=Transition(id=step))).success
        peer.send_good_frame()

    def threads() -> int:
        return int(status_of(node.pid)["Threads"])

    def endpoints() -> list[int]:
        return [*map(peer.count_subscribers, inputs), peer.count_publishers("segmentation/mask")]

    cycle()
    assert peer.gets_masks()
    before = threads()
    for _ in range(25):
        cycle()
    assert peer.gets_masks()
    assert peer.send_until(lambda: threads() <= before, lambda: None, 5.0), (before, threads())
    assert peer.send_until(lambda: endpoints() == [1, 1, 1, 1], lambda: None, 10.0), endpoints()


@pytest.mark.parametrize("is_stopped", [False, True], ids=["that never spins", "whose process is stopped"])
def test_a_subscriber_that_never_reads_holds_nobody_up(
    is_stopped: bool, peer: Peer, node: ChildProcess, environment: dict[str, str]
):
    def subscribers() -> int:
        return peer.count_subscribers("segmentation/overlay")

    # One that was killed is counted until its lease ends, after 20 s.
    assert peer.send_until(lambda: subscribers() == 0, lambda: None, 40.0), subscribers()
    command = [sys.executable, "-m", "lcr_seg_ros.ros.stalled_subscriber"]
    with ChildProcess("stalled", command, environment) as stalled:
        assert stalled.wait_for_line(SUBSCRIBED, START_S), stalled.last_lines()
        assert peer.send_until(lambda: subscribers() == 1, lambda: None, 30.0), subscribers()
        assert peer.gets_masks()
        if is_stopped:
            os.kill(stalled.pid, signal.SIGSTOP)
        try:
            before_mb, seen = resident_mb(node.pid, "RssAnon"), len(peer.masks)
            assert peer.send_until(lambda: len(peer.masks) >= seen + 20, peer.send_good_frame), node.last_lines()
            assert resident_mb(node.pid, "RssAnon") - before_mb < 20
        finally:
            os.kill(stalled.pid, signal.SIGCONT)


# The process


def sockets_of(pid: int) -> set[str]:
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:  # closed in the meantime
            continue
        if target.startswith("socket:["):
            found.add(target[8:-1])
    return found


def is_local(address: str) -> bool:
    """Whether an address of /proc/net (hexadecimal, words reversed) is 0, this machine or a multicast group."""
    host = bytes.fromhex(address.split(":")[0])
    host = b"".join(host[k : k + 4][::-1] for k in range(0, len(host), 4))
    if host[:12] == bytes(10) + b"\xff\xff":
        host = host[12:]
    if len(host) == 4:
        return host == bytes(4) or host[0] == 127 or 224 <= host[0] < 240
    return host in (bytes(16), bytes(15) + b"\x01") or host[0] == 0xFF


def test_nothing_phones_home_and_nothing_listens_but_ros(peer: Peer, node: ChildProcess):
    mine = sockets_of(node.pid)
    rows = {
        protocol: [line.split() for line in Path(f"/proc/{node.pid}/net/{protocol}").read_text().splitlines()[1:]]
        for protocol in ("tcp", "tcp6", "udp", "udp6")
    }
    own = {protocol: [row for row in table if row[9] in mine] for protocol, table in rows.items()}
    assert own["udp"], "DDS has UDP sockets: this test does not see them"
    assert not own["tcp"] and not own["tcp6"], "DDS was told to use shared memory and UDP"
    assert all(is_local(row[2]) for table in own.values() for row in table)


def test_a_killed_node_can_be_started_again_in_the_same_domain(model: Path):
    environment = isolated_ros_environment()
    with peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer:
        for _ in range(2):
            with active_node(environment, f"model:={model}", "max_age:=0.0") as process:
                assert peer.gets_masks(), process.last_lines()
                os.kill(process.pid, signal.SIGKILL)
            peer.masks.clear()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_configures_ends_it_in_order(number: signal.Signals):
    with start_node(isolated_ros_environment(), "model:=nyu40") as process:
        assert process.wait_for_line("]: using ", START_S), process.last_lines()
        os.kill(process.pid, number)
        # Two seconds, plus some for a machine that is busy with other work.
        assert process.wait(6.0) == 0, process.last_lines()
        assert not any("Traceback" in line for line in process.lines), process.last_lines(40)


# The disk


def test_a_full_disk_leaves_no_part_of_a_file_under_its_name(model: Path, data: Path, tmp_path: Path):
    out = tmp_path / "out"
    command = [
        sys.executable,
        "-m",
        "lcr_seg_ros",
        "predict",
        "--data",
        str(data),
        "--out",
        str(out),
        "--model",
        str(model),
    ]
    command += ["--intrinsics", "70,70,39.5,29.5", "--sheets"]
    limit = 1024  # bytes per file; for the writer the same as a disk that becomes full halfway
    done = subprocess.run(
        command,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=START_S,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert done.returncode == 1, done.stdout + done.stderr
    errors = [line for line in done.stderr.splitlines() if not line.startswith("INFO ")]
    assert len(errors) == 1 and errors[0].startswith(f"error: {out}") and "cannot be written" in errors[0], done.stderr
    left = [path for path in out.rglob("*") if path.is_file()]
    assert not [path for path in left if path.name.endswith(".part")]
    for path in left:
        assert path.suffix != ".png" or cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None, f"{path} is cut"
