"""The launch file, run by the real `ros2 launch`: nodes, names, parameters, Ctrl-C. Skipped where it is not installed.

Ctrl-C, in the way that launch passes it on, is tested everywhere. `make test` hides a ROS installation; to use it:

. /opt/ros/DISTRO/setup.sh && python -m pytest test/test_launch.py
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml
from shared_data import ROOT

pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")

from rcl_interfaces.srv import GetParameters
from rclpy.parameter import parameter_value_to_python
from ros_peer import BEST_EFFORT, HEIGHT, WIDTH, Peer, camera_info, depth_image, peer_in_domain, rgb_image
from sensor_msgs.msg import CameraInfo, Image, PointCloud2

from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.ros.processes import ChildProcess, isolated_ros_environment

NEEDED = ("ros2cli", "launch_ros", "ros2launch", "ros2pkg", "ros2run")
NODES = ("segment", "map-node", "view")
ROS2 = (sys.executable, "-c", "import sys; from ros2cli.cli import main; sys.exit(main())")
START_S = 60.0


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of a shell with a sourced workspace, as far as launch needs it; test_packaging makes real ones."""
    if missing := [package for package in NEEDED if find_spec(package) is None]:
        pytest.skip(f"needs a ROS installation with {', '.join(missing)}")
    prefix = tmp_path_factory.mktemp("install")
    marker = prefix / "share/ament_index/resource_index/packages/lcr_seg_ros"
    share, executables = prefix / "share/lcr_seg_ros", prefix / "lib/lcr_seg_ros"
    for folder in (marker.parent, share, executables):
        folder.mkdir(parents=True)
    marker.touch()
    shutil.copy(ROOT / "package.xml", share)
    for folder_name in ("launch", "config"):
        shutil.copytree(ROOT / folder_name, share / folder_name)
    for command in NODES:
        script = executables / command
        function = command.replace("-", "_")
        script.write_text(f"#!{sys.executable}\nimport sys\nfrom lcr_seg_ros import cli\nsys.exit(cli.{function}())\n")
        script.chmod(0o755)
    ours = isolated_ros_environment()
    for name in [name for name in ours if name.endswith("_DEFAULT_PROFILES_FILE")]:
        del ours[name]  # so that the launch file has to set it
    paths = {"AMENT_PREFIX_PATH": prefix, "PYTHONPATH": ROOT, "ROS_LOG_DIR": prefix / "log"}
    joined = {name: os.pathsep.join(filter(None, [str(path), ours.get(name, "")])) for name, path in paths.items()}
    return ours | joined | {"ROS_LOG_DIR": str(prefix / "log")}


@pytest.fixture(scope="module")
def ros2(environment: dict[str, str]) -> Callable[..., str]:
    """Run a `ros2` command to its end; returns what it printed."""

    def run(*words: str) -> str:
        with ChildProcess("ros2", [*ROS2, *words], environment) as process:
            assert process.wait(60) == 0, process.last_lines(40)
        return "\n".join(process.lines)

    return run


@contextmanager
def launched(environment: dict[str, str], folder: Path, *arguments: str) -> Iterator[ChildProcess]:
    command = [*ROS2, "launch", "lcr_seg_ros", "segment.launch.py", *arguments]
    shell = ["bash", "-c", 'cd "$1" && shift && exec "$@"', "bash", str(folder), *command]
    with ChildProcess("launch", shell, environment) as process:
        yield process


def interrupted(process: ChildProcess) -> None:
    """Send Ctrl-C as a terminal does, to launch and all its children; all must end cleanly."""
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(20) == 0, process.last_lines(40)
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
    assert not any("Traceback" in line or "died" in line for line in process.lines), process.last_lines(60)


def realsense_frames(peer: Peer) -> Callable[[], None]:
    """A function that publishes a frame under the topic names of RealSense's driver, in the peer's namespace."""
    topics = {"color/image_raw": Image, "aligned_depth_to_color/image_raw": Image, "color/camera_info": CameraInfo}
    publishers = [peer.create_publisher(kind, topic, BEST_EFFORT) for topic, kind in topics.items()]

    def send() -> None:
        now = peer.get_clock().now().to_msg()
        for publisher, message in zip(publishers, (rgb_image(), depth_image(), camera_info()), strict=True):
            message.header.stamp, message.header.frame_id = now, "camera"
            publisher.publish(message)

    return send


def answer(peer: Peer, kind: type[Any], topic: str, send: Callable[[], object]) -> Any:
    """Send frames until a message comes on a topic; returns it."""
    received = peer.listen(kind, topic)
    assert peer.send_until(lambda: bool(received), send), f"nothing came on {topic}"
    return received[0]


def parameters(peer: Peer, node: str, *names: str) -> dict[str, Any]:
    client = peer.create_client(GetParameters, f"{node}/get_parameters")
    values = peer.call(client, GetParameters.Request(names=list(names))).values
    return {name: parameter_value_to_python(value) for name, value in zip(names, values, strict=True)}


@pytest.mark.parametrize(("command", "ready"), [("segment", "]: active"), ("map-node", "mapping /segmentation/points")])
def test_ctrl_c_that_comes_twice_does_not_disturb_the_ending(model: Path, tmp_path: Path, command: str, ready: str):
    """The nodes get it once from the terminal, and again from launch, which passes its own on."""
    words = ["--ros-args", "-p", f"model:={model}"]
    if command == "map-node":
        words += ["-p", f"file:={tmp_path / 'map.ply'}", "-p", "pose_source:=depth"]
    command_line = [sys.executable, "-m", "lcr_seg_ros", command, *words]
    with ChildProcess(command, command_line, isolated_ros_environment()) as node:
        assert node.wait_for_line(ready, START_S), node.last_lines()
        while node.exit_code is None:
            os.kill(node.pid, signal.SIGINT)
            time.sleep(0.01)
        assert node.wait(1) == 0, node.last_lines(40)
    assert not any("Traceback" in line for line in node.lines), node.last_lines(40)


def test_a_camera_with_a_map_from_one_line(environment: dict[str, str], model: Path, tmp_path: Path):
    quick = tmp_path / "map.yaml"
    content = yaml.safe_load((ROOT / "config/map.yaml").read_text())
    content["/**"]["ros__parameters"] |= {"min_views": 1, "min_confidence": 0.0, "publish_period": 0.1}
    quick.write_text(yaml.safe_dump(content))
    filtered = [one.name for one in LabelSet.load("nyu40").classes if one.name != "wall"]
    words = (
        *("camera:=realsense", "namespace:=/camera/camera", f"model:={model}", f"map_params_file:={quick}"),
        *("map:=true", "pose_source:=depth", "map_frame:=room", "voxel_size:=0.1", "map_file:=seen.ply"),
        *("camera_height:=1", "max_rate_hz:=20", "slop:=0.01", f"class_filter:=[{', '.join(filtered)}]"),
        *("camera_xyz:=[0, 0.1, 0]", "camera_rpy:=[0.0, 0, 0]"),
    )
    with (
        launched(environment, tmp_path, *words) as process,
        peer_in_domain(int(environment["ROS_DOMAIN_ID"]), namespace="/camera/camera") as peer,
    ):
        assert process.wait_for_line("]: active", START_S), process.last_lines(40)
        send = realsense_frames(peer)
        mask = answer(peer, Image, "segmentation/mask", send)
        assert (mask.width, mask.height, mask.header.frame_id) == (WIDTH, HEIGHT, "camera")
        assert 1 not in set(mask.data)  # wall
        assert answer(peer, PointCloud2, "segmentation/map", send).header.frame_id == "room"
        given = {"camera_height": 1.0, "max_rate_hz": 20.0, "class_filter": filtered, "use_sim_time": False}
        assert parameters(peer, "segment", *given) == given
        given = {"voxel_size": 0.1, "model": str(model), "camera_xyz": [0.0, 0.1, 0.0]}
        assert parameters(peer, "map", *given) == given
        interrupted(process)
    assert sum("process has finished cleanly" in line for line in process.lines) == 2
    assert (tmp_path / "seen.ply").stat().st_size > 0


def test_several_cameras_have_a_map_and_a_view_each(environment: dict[str, str], model: Path, tmp_path: Path):
    pytest.importorskip("rerun", reason="needs the pip extra rerun")
    words = ("cameras:=[front, rear]", f"model:={model}", "map:=true", "pose_source:=depth", "viewer:=rerun")
    with (
        launched(environment, tmp_path, *words, "viewer_args:=--port 0 --data-port 0") as process,
        peer_in_domain(int(environment["ROS_DOMAIN_ID"]), namespace="/rear") as peer,
    ):
        assert process.wait_for_line("]: active", START_S), process.last_lines(40)
        assert process.wait_for_line("viewer at http://127.0.0.1:", START_S), process.last_lines(40)
        answer(peer, Image, "segmentation/mask", peer.send_good_frame)
        assert peer.send_until(lambda: process.wait_for_line("frames arrive", 0), peer.send_good_frame)
        for camera in ("front", "rear"):
            assert parameters(peer, f"/{camera}/map", "file") == {"file": f"map_{camera}.ply"}
        interrupted(process)


def test_what_the_parameter_file_says_holds_where_the_line_says_nothing(
    environment: dict[str, str], model: Path, tmp_path: Path
):
    content = yaml.safe_load((ROOT / "config/segment.yaml").read_text())
    values = content["/**"]["ros__parameters"]
    values |= {"cameras": ["front", "rear"], "use_sim_time": True, "model": str(model), "rgb_transport": "compressed"}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(content))
    words = ("camera:=realsense", f"params_file:={tmp_path / 'mine.yaml'}", "map:=true", "pose_source:=depth")
    has_view = find_spec("rerun") is not None
    words += ("viewer:=rerun", "viewer_args:=--port 0 --data-port 0") if has_view else ()
    with (
        launched(environment, tmp_path, *words) as process,
        peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer,
    ):
        assert process.wait_for_line("]: active", START_S), process.last_lines(40)
        assert parameters(peer, "segment", "use_sim_time", "model") == {"use_sim_time": True, "model": str(model)}
        assert parameters(peer, "/rear/map", "file", "use_sim_time") == {"file": "map_rear.ply", "use_sim_time": False}
        color, listeners = "/rear/color/image_raw/compressed", 1 + has_view
        assert peer.send_until(lambda: peer.count_subscribers(color) == listeners, lambda: None)
        interrupted(process)


@pytest.mark.parametrize("respawn", [True, False])
def test_a_node_that_dies_is_started_again_if_that_is_asked_for(
    environment: dict[str, str], model: Path, tmp_path: Path, respawn: bool
):
    words = (f"model:={model}", *(("respawn:=true", "respawn_delay:=0.2") if respawn else ()))
    with (
        launched(environment, tmp_path, *words) as process,
        peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer,
    ):
        assert process.wait_for_line("]: active", START_S), process.last_lines(40)
        answer(peer, Image, "segmentation/mask", peer.send_good_frame)
        (pid,) = {int(found[1]) for line in process.lines if (found := re.search(r"started with pid \[(\d+)\]", line))}
        os.kill(pid, signal.SIGKILL)
        if respawn:
            assert peer.send_until(lambda: sum("]: active" in line for line in list(process.lines)) == 2, lambda: None)
            assert peer.gets_masks(), process.last_lines(40)
            os.killpg(process.pid, signal.SIGINT)
        assert process.wait(20) is not None, process.last_lines(40)  # by itself where nothing is left to run
    starts = sum("started with pid" in line for line in process.lines)
    assert starts == (2 if respawn else 1), process.last_lines(40)


@pytest.mark.parametrize("delay_s", [0.0, 0.5])
def test_ctrl_c_while_it_starts_ends_it_in_order(
    environment: dict[str, str], model: Path, tmp_path: Path, delay_s: float
):
    with launched(environment, tmp_path, f"model:={model}") as process:
        assert process.wait_for_line("] [segment]: ", START_S), process.last_lines(40)
        time.sleep(delay_s)
        interrupted(process)


def test_what_cannot_be_is_refused_with_the_reason_and_nothing_is_left_running(
    environment: dict[str, str], tmp_path: Path
):
    (tmp_path / "torn.yaml").write_text("/**: [")
    refused = [
        ("camera:=webcam", "webcam"),
        ("slop:=soon", "slop must be a number, got 'soon'"),
        ("respawn_delay:=later", "respawn_delay must be a number, got 'later'"),
        ("map:=ture", "map must be true or false, got 'ture'"),
        ("autostart:=ture", "autostart must be true or false, got 'ture'"),
        ("cameras:=front,rear", "cameras must be a list such as [a, b], got 'front,rear'"),
        ("params_file:=torn.yaml", "the parameter file torn.yaml is not YAML"),
        ("map:=true voxel_size:=tiny", "voxel_size must be a number, got 'tiny'"),
    ]
    if not any(Path(prefix, "lib/rviz2").is_dir() for prefix in environment["AMENT_PREFIX_PATH"].split(os.pathsep)):
        refused.append(("rviz:=true", "rviz:=true needs RViz, which is not installed"))
    for words, reason in refused:
        with launched(environment, tmp_path, *words.split()) as process:
            assert process.wait(START_S) == 1, process.last_lines(40)
            with pytest.raises(ProcessLookupError):
                os.killpg(process.pid, 0)
        assert reason in process.last_lines(40)


def test_a_misspelt_argument_is_told_but_not_those_of_launch_itself(
    environment: dict[str, str], model: Path, tmp_path: Path
):
    words = ("modle:=nyu4", "weights:=nyu4", "sigterm_timeout:=9", f"model:={model}")
    with launched(environment, tmp_path, *words) as process:
        assert process.wait_for_line("] [segment]: ", START_S), process.last_lines(40)
        interrupted(process)
    told = [line for line in process.lines if "there is no argument" in line]
    assert ["did you mean model?" in line for line in told] == [True, False], told


def test_every_argument_is_listed_with_a_description(ros2: Callable[..., str]):
    listing = ros2("launch", "lcr_seg_ros", "segment.launch.py", "--show-args")
    names = re.findall(r"^    '(\w+)':$", listing, re.MULTILINE)
    assert {"camera", "rgb", "model", "cameras", "map", "pose_source", "viewer", "rviz", "respawn"} <= set(names)
    assert len(names) == len(set(names)) and "no description given" not in listing


def test_ros2_run_finds_the_executables(ros2: Callable[..., str]):
    assert sorted(ros2("pkg", "executables", "lcr_seg_ros").split()[1::2]) == sorted(NODES)
    assert ros2("run", "lcr_seg_ros", "map-node", "--help").startswith("Usage: ")
