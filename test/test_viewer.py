"""The live view: what is logged, who can reach it, and how `view` follows a node over DDS."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared_data import ROOT
from small_disk import files_of_at_most
from test_demo import MarkedDemo
from test_folder import frames
from tiny_bundle import make_tiny_bundle

from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.labels import LabelClass, LabelSet
from lcr_seg_ros.ros.environment import prepare_ros_environment
from lcr_seg_ros.ros.processes import ChildProcess, isolated_ros_environment
from lcr_seg_ros.segmenter import Segmentation
from lcr_seg_ros.sources.folder import write_folder
from lcr_seg_ros.viewer.view import ViewerError, labelled_points, to_millimetres

pytest.importorskip("rerun", reason="needs pip install 'lcr_seg_ros[rerun]'")
pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")
prepare_ros_environment()

import psutil  # noqa: E402 it and pyarrow come with rerun
import pyarrow  # noqa: E402
import rerun.chunk  # noqa: E402
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue  # noqa: E402
from geometry_msgs.msg import TransformStamped, Vector3Stamped  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy  # noqa: E402
from ros_peer import Peer, camera_info, depth_image, peer_in_domain, rgb_image  # noqa: E402
from sensor_msgs.msg import Image  # noqa: E402
from std_msgs.msg import Header, String  # noqa: E402

from lcr_seg_ros.image_encodings import color_to_array  # noqa: E402
from lcr_seg_ros.ros.conversions import array_to_image  # noqa: E402
from lcr_seg_ros.ros.label_announcements import labels_to_json  # noqa: E402
from lcr_seg_ros.ros.viewer_command import SERVING  # noqa: E402
from lcr_seg_ros.ros.viewer_state import read_status  # noqa: E402
from lcr_seg_ros.viewer import RecordingFile, SegmentationView, ViewerServer  # noqa: E402
from lcr_seg_ros.viewer.server import (  # noqa: E402
    fetch_viewer_files,
    private_environment,
    rerun_program,
    without_foreign_links,
)

NYU40 = LabelSet.load("nyu40")
TF2_DOUBLE = Path(__file__).parent / "tf2_double"
RELIABLE = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
LATCHED = QoSProfile(
    depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
)  # fmt: skip


def make_frame(width: int = 64, height: int = 48, **more: object) -> RgbdFrame:
    rgb = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    depth = np.full((height, width), 2.0, np.float32)
    depth[:8] = np.nan
    intrinsics = CameraIntrinsics(50.0, 50.0, (width - 1) / 2, (height - 1) / 2, width, height)
    return RgbdFrame(rgb, depth, intrinsics, **more)  # type: ignore[arg-type]


def make_segmentation(width: int = 64, height: int = 48) -> Segmentation:
    labels = np.random.default_rng(1).integers(1, 41, (height, width), dtype=np.uint8)
    return Segmentation(labels, np.full(labels.shape, 0.5, np.float32), np.full((height, width, 3), 7, np.uint8))


class Recorded:
    """What a recording holds: by entity and component, its values in order of their times."""

    def __init__(self, path: Path) -> None:
        reader = rerun.chunk.RrdReader(path)
        self.has_blueprint = bool(reader.blueprints())
        self._columns: dict[str, dict[str, list]] = {}
        for chunk in reader.stream(store=reader.recordings()[0]):
            batch = chunk.to_record_batch()
            entity = self._columns.setdefault(str(chunk.entity_path), {})
            for name in batch.schema.names:
                column = batch.column(name)
                if pyarrow.types.is_timestamp(column.type):  # Python's datetime has no nanoseconds
                    column = column.cast(pyarrow.int64())
                entity.setdefault(name, []).extend(column.to_pylist())

    @property
    def entities(self) -> set[str]:
        return {path for path in self._columns if not path.startswith("/__")}

    def values(self, entity: str, component: str) -> list:
        return self._columns[entity][component]

    def last_image(self, entity: str, kind: str, dtype: type, shape: tuple[int, ...]) -> np.ndarray:
        return np.array(self.values(entity, f"{kind}:buffer")[-1][0], np.uint8).view(dtype).reshape(shape)


# What is drawn


def test_points_are_the_pixels_that_have_depth_in_the_optical_frame():
    frame, labels = make_frame(), make_segmentation().labels
    points, ids = labelled_points(frame, labels)
    assert len(points) == len(ids) == 40 * 64
    assert np.array_equal(ids, labels[8:].ravel())
    k = frame.intrinsics
    u, v, z = points[:, 0] / points[:, 2] * k.fx + k.cx, points[:, 1] / points[:, 2] * k.fy + k.cy, points[:, 2]
    np.testing.assert_allclose(u.reshape(40, 64), np.broadcast_to(np.arange(64), (40, 64)), atol=1e-4)
    np.testing.assert_allclose(v.reshape(40, 64), np.broadcast_to(np.arange(8, 48)[:, None], (40, 64)), atol=1e-4)
    assert (z == 2).all()


@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 500))
def test_no_more_points_than_allowed_and_each_on_its_own_pixel(width, height, most):
    depth = np.ones((height, width), np.float32)
    intrinsics = CameraIntrinsics(1.0, 1.0, 0.0, 0.0, width, height)
    labels = (np.arange(height)[:, None] + np.arange(width)).astype(np.uint8)
    points, ids = labelled_points(RgbdFrame(np.zeros((height, width, 3), np.uint8), depth, intrinsics), labels, most)
    step = int(np.ceil(np.sqrt(width * height / most)))
    assert len(points) == -(-width // step) * -(-height // step)
    assert np.array_equal(ids, points[:, 0] + points[:, 1])  # pixel (u, v) is at (u, v, 1)


def test_depth_is_shown_in_millimetres_and_holes_as_zero():
    metres = np.array([[1.2344, np.nan, np.inf, -np.inf, 0, -1, 65.6, 65.5]], np.float32)
    assert to_millimetres(metres).tolist() == [[1234, 0, 0, 0, 0, 0, 0, 65500]]


# What is recorded


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Recorded:
    """Two frames; the second with a pose."""
    path = tmp_path_factory.mktemp("recording") / "run.rrd"
    with RecordingFile(path) as recording:
        view = SegmentationView(NYU40, [recording.sink()])
        view.show_frame(10**18, make_frame(gravity=(0.0, 1.0, 0.0)), make_segmentation())
        pose = np.eye(4)
        pose[:3, 3] = 1, 2, 3
        view.show_frame(10**18 + 10**8, make_frame(), make_segmentation(), pose=pose)
        view.show_times(10**18, {"hha": 4.5})
        view.show_rates(10**18, {"masks_out": 29.0})
        view.show_status(10**18, "all well")
        assert not path.exists()
        view.close()
    assert [p.name for p in path.parent.iterdir()] == ["run.rrd"]
    return Recorded(path)


def test_a_recording_has_every_image_points_curves_and_a_layout(recorded):
    assert recorded.has_blueprint
    images = {f"/world/camera/image/{kind}" for kind in ("rgb", "hha", "depth", "labels", "confidence")}
    others = {"/", "/world", "/world/camera", "/world/camera/image", "/world/camera/points"}
    assert recorded.entities == images | others | {"/times/camera/hha", "/rates/camera/masks_out", "/status/camera"}


def test_images_are_recorded_exactly(recorded):
    frame, segmentation, root = make_frame(), make_segmentation(), "/world/camera/image"
    assert np.array_equal(recorded.last_image(f"{root}/rgb", "Image", np.uint8, (48, 64, 3)), frame.rgb)
    labels = recorded.last_image(f"{root}/labels", "SegmentationImage", np.uint8, (48, 64))
    assert np.array_equal(labels, segmentation.labels)
    depth = recorded.last_image(f"{root}/depth", "DepthImage", np.uint16, (48, 64))
    assert (depth[:8] == 0).all()
    assert (depth[8:] == 2000).all()
    assert (recorded.last_image(f"{root}/confidence", "Image", np.uint8, (48, 64)) == 128).all()
    assert (recorded.last_image(f"{root}/hha", "Image", np.uint8, (48, 64, 3)) == 7).all()


def test_every_class_has_its_name_and_colour_and_open_pixels_are_transparent(recorded):
    context = recorded.values("/", "AnnotationContext:context")[-1][0]
    infos = {entry["class_id"]: entry["class_description"]["info"] for entry in context}
    for c in NYU40.classes:
        red, green, blue = c.color
        assert infos[c.id]["label"] == c.name
        assert infos[c.id]["color"] == red << 24 | green << 16 | blue << 8 | 255
    assert infos[255]["color"] & 255 == 0
    assert infos[NYU40.void]["color"] & 255 == 0


def test_the_camera_stands_where_gravity_or_the_pose_puts_it(recorded):
    translations = recorded.values("/world/camera", "Transform3D:translation")
    assert [t[0] for t in translations] == [[0, 0, 0], [1, 2, 3]]
    upright = np.array(recorded.values("/world/camera", "Transform3D:mat3x3")[0][0]).reshape(3, 3).T
    np.testing.assert_allclose(upright @ [0, 1, 0], [0, 0, -1], atol=1e-6)


def test_curves_have_the_values_given(recorded):
    assert recorded.values("/times/camera/hha", "Scalars:scalars") == [[4.5]]
    assert recorded.values("/rates/camera/masks_out", "Scalars:scalars") == [[29.0]]


def test_large_images_are_shown_smaller_with_intrinsics_that_fit(tmp_path):
    with RecordingFile(tmp_path / "run.rrd") as recording:
        view = SegmentationView(NYU40, [recording.sink()], timeline="frame", max_width=32)
        view.show_frame(0, make_frame(), make_segmentation())
        view.close()
    recorded = Recorded(tmp_path / "run.rrd")
    assert recorded.last_image("/world/camera/image/rgb", "Image", np.uint8, (24, 32, 3)).any()
    assert recorded.values("/world/camera/image", "Pinhole:resolution")[0][0] == [32, 24]
    focal = recorded.values("/world/camera/image", "Pinhole:image_from_camera")[0][0]
    assert focal[0] == 25.0


def test_depth_that_is_not_registered_is_shown_without_points(tmp_path):
    with RecordingFile(tmp_path / "run.rrd") as recording:
        view = SegmentationView(NYU40, [recording.sink()], timeline="frame")
        view.show_frame(0, make_frame(), make_segmentation(), with_points=False)
        view.close()
    entities = Recorded(tmp_path / "run.rrd").entities
    assert "/world/camera/image/depth" in entities and "/world/camera/points" not in entities


def test_a_recording_that_fails_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError, match="stop"), RecordingFile(tmp_path / "run.rrd") as recording:
        SegmentationView(NYU40, [recording.sink()]).close()
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_a_recording_is_full_at_its_limit_and_the_other_sink_goes_on(tmp_path):
    with (
        RecordingFile(tmp_path / "long.rrd") as recording,
        RecordingFile(tmp_path / "short.rrd", limit_bytes=1000) as full,
    ):
        view = SegmentationView(NYU40, [recording.sink(), full.sink()], timeline="frame")
        view.show_frame(0, make_frame(), make_segmentation())
        view.drop_sink(1)
        assert full.is_full
        assert full.finish() == tmp_path / "short.rrd"
        view.show_frame(1, make_frame(), make_segmentation())
        view.close()
    assert len(Recorded(tmp_path / "long.rrd").values("/world/camera/points", "frame")) == 2
    assert len(Recorded(tmp_path / "short.rrd").values("/world/camera/points", "frame")) == 1


def test_a_disk_without_room_is_said_at_once(tmp_path):
    with files_of_at_most(1000), pytest.raises(ViewerError, match=f"cannot write the recording {tmp_path}"):
        RecordingFile(tmp_path / "cut.rrd")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_is_said_when_the_view_ends_and_no_file_is_left(tmp_path):
    with (
        files_of_at_most(100_000),
        pytest.raises(ViewerError, match="room on the recording's disk"),
        RecordingFile(tmp_path / "cut.rrd") as cut,
    ):
        view = SegmentationView(NYU40, [cut.sink()], timeline="frame")
        for number in range(100):
            view.show_frame(number, make_frame(), make_segmentation())
        view.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["run.txt", "file/run.rrd"])
def test_a_recording_that_cannot_be_written_is_refused_by_name(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(ViewerError, match=str(tmp_path / name)):
        RecordingFile(tmp_path / name)


# Who can reach it


@pytest.fixture(scope="module")
def server() -> Iterator[ViewerServer]:
    with ViewerServer(port=0, data_port=0, memory_mb=16) as server:
        view = SegmentationView(NYU40, [server.sink])
        yield server
        view.close()


def get(server: ViewerServer, path: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request("GET", path, headers=headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response, content


def listening(pid: int) -> set[tuple[str, int]]:
    """Addresses on which a process and its children accept TCP connections."""
    process = psutil.Process(pid)
    found = [c for p in (process, *process.children(recursive=True)) for c in p.net_connections("tcp")]
    return {(c.laddr.ip, c.laddr.port) for c in found if c.status == psutil.CONN_LISTEN}


def test_only_this_machine_is_listened_to(server):
    ours = {(ip, port) for ip, port in listening(os.getpid()) if port in (server.port, server.data_port)}
    assert ours == {("127.0.0.1", server.port), ("127.0.0.1", server.data_port)}


def test_the_page_leads_to_the_data_by_the_name_it_was_found_by(server):
    response, _ = get(server, "/?renderer=webgl", Host=f"robot.local:{server.port}")
    assert response.status == 302
    query = parse_qs(urlsplit(response.headers["Location"]).query)
    assert query["url"] == [f"rerun+http://robot.local:{server.data_port}/proxy"]
    assert query["renderer"] == ["webgl"]


def test_the_browser_may_talk_to_this_server_only(server):
    response, page = get(server, "/?url=x")
    policy = dict(rule.split(" ", 1) for rule in response.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == f"'self' http://127.0.0.1:{server.data_port}"
    assert "http" not in policy["script-src"]
    assert b"re_viewer.js" in page
    assert b"fonts.googleapis.com" not in page


def test_the_viewers_files_are_served_whole(server):
    response, program = get(server, "/re_viewer_bg.wasm")
    assert response.headers["Content-Type"] == "application/wasm"
    assert program.startswith(b"\0asm")
    assert len(program) == int(response.headers["Content-Length"])


@pytest.mark.parametrize(
    ("path", "host", "status"), [("/etc/passwd", "a", 404), ("/../x", "a", 404), ("/", "a b", 400)]
)
def test_nothing_else_is_served(server, path, host, status):
    assert get(server, path, Host=host)[0].status == status


def test_links_to_other_servers_are_taken_out_of_the_page():
    page = b'<link rel="icon" href="favicon.ico" />\n<link\n rel="x"\n href="https://a.b/c"\n/><link href=//a.b><p>'
    assert without_foreign_links(page) == b'<link rel="icon" href="favicon.ico" />\n<p>'


def test_analytics_are_off_and_the_home_folder_stays_as_it_is(tmp_path, monkeypatch):
    home, private = tmp_path / "home", tmp_path / "private"
    home.mkdir()
    private.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("CONFIG", "DATA", "CACHE", "STATE"):
        monkeypatch.delenv(f"XDG_{name}_HOME", raising=False)
    said = subprocess.run(
        [rerun_program(), "analytics", "config"], env=private_environment(private), capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    config = json.loads(said.stdout[said.stdout.index("{") :])
    assert config["analytics_enabled"] is False
    assert Path(config["config_file_path"]).is_relative_to(private)
    assert fetch_viewer_files().keys() >= {"/", "/re_viewer.js", "/re_viewer_bg.wasm"}
    assert list(home.iterdir()) == []


def test_whoever_is_told_to_show_a_recording_is_told_to_keep_it_on_this_machine():
    places = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "lcr_seg_ros").rglob("*.py")]
    advice = [line for path in places for line in re.findall(r"\brerun [^\n`]*\w\.rrd", path.read_text())]
    assert len(advice) >= 3
    assert all(line.startswith("rerun --bind 127.0.0.1 ") for line in advice)
    says = subprocess.run([rerun_program(), "--help"], capture_output=True, text=True, check=True, timeout=60).stdout
    assert "--bind" in says and "analytics" in says


def test_a_port_that_is_taken_and_a_host_that_is_none_are_refused():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ViewerError, match=rf"cannot listen on 127.0.0.1:{port}.*--data-port"):
            ViewerServer(port=0, data_port=port)
        with pytest.raises(ViewerError, match=rf"cannot listen on 127.0.0.1:{port}.*--port"):
            ViewerServer(port=port, data_port=0)
    with pytest.raises(ViewerError, match="must be an IPv4 address"):
        ViewerServer(host="robot.local", port=0, data_port=0)


# `view` beside a node


class NodeStandIn:
    """Publishes what the node would, under its names and QoS, so that the test knows every pixel."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._outputs = {
            kind: peer.create_publisher(Image, f"segmentation/{kind}", RELIABLE)
            for kind in ("mask", "confidence", "hha")
        }
        self._gravity = peer.create_publisher(Vector3Stamped, "segmentation/gravity", RELIABLE)
        self._diagnostics = peer.create_publisher(DiagnosticArray, "/diagnostics", RELIABLE)
        label_info = peer.create_publisher(String, "segmentation/label_info_json", LATCHED)
        classes = (LabelClass(1, "wall", (10, 20, 30)), LabelClass(7, "teapot", (200, 100, 0)))
        label_info.publish(labels_to_json(LabelSet("kitchenware", classes), 0.0, Header()))
        self.mask = np.full((60, 80), 7, np.uint8)

    def send(self) -> None:
        peer = self.peer
        ns = peer.send(rgb_image(), depth_image(), camera_info())
        images = {"mask": self.mask, "confidence": self.mask * 20, "hha": np.full((60, 80, 3), 9, np.uint8)}
        for kind, pixels in images.items():
            message = array_to_image(pixels, "rgb8" if kind == "hha" else "mono8")
            self._publish(self._outputs[kind], message, ns)
        down = Vector3Stamped()
        down.vector.y = 1.0
        self._publish(self._gravity, down, ns)
        pairs = {"hha_ms_p50": "4.25", "network_ms_p50": "20.5", "masks_out_hz": "29.9", "model": "nyu40"}
        status = DiagnosticStatus(level=DiagnosticStatus.OK, name="segment: segmentation", message="fine")
        status.values = [KeyValue(key=key, value=value) for key, value in pairs.items()]
        another = DiagnosticStatus(name="motor: heat", values=[KeyValue(key="hha_ms_p50", value="999")])
        self._publish(self._diagnostics, DiagnosticArray(status=[another, status]), ns)

    def _publish(self, publisher, message, ns: int) -> None:
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(ns, 10**9)
        publisher.publish(message)


def start_view(environment: dict[str, str], *arguments: object) -> ChildProcess:
    command = [sys.executable, "-m", "lcr_seg_ros", "view", "--port", "0", "--data-port", "0", *map(str, arguments)]
    return ChildProcess("view", command, environment | {"PYTHONPATH": os.pathsep.join([str(TF2_DOUBLE), str(ROOT)])})


@pytest.fixture(scope="module")
def followed(tmp_path_factory) -> dict:
    """A stand-in of the node, followed by `view --save` for some frames and ended by Ctrl-C."""
    environment = isolated_ros_environment()
    path = tmp_path_factory.mktemp("view") / "run.rrd"
    with (
        peer_in_domain(int(environment["ROS_DOMAIN_ID"])) as peer,
        start_view(environment, "--rate", 20, "--save", path) as view,
    ):
        assert view.wait_for_line(SERVING, 60), view.last_lines()
        stand_in = NodeStandIn(peer)
        transforms = peer.create_publisher(TransformStamped, "/tf", QoSProfile(depth=10))
        transform = TransformStamped(child_frame_id="camera")
        transform.header.frame_id = "map"
        transform.transform.translation.x = 5.0
        transform.transform.rotation.w = 1.0

        def send() -> None:
            now = peer.get_clock().now().to_msg()
            transform.header.stamp = now
            transforms.publish(transform)
            stand_in.send()

        assert peer.send_until(lambda: any("frames arrive" in line for line in list(view.lines)), send)
        for _ in range(12):
            send()
            time.sleep(0.1)
        found = {
            "listening": listening(view.pid),
            "remote": {
                c.raddr.ip
                for c in psutil.Process(view.pid).net_connections("tcp")
                if c.status == psutil.CONN_ESTABLISHED
            },
            "line": next(line for line in view.lines if SERVING in line),
        }
        os.kill(view.pid, signal.SIGINT)
        assert view.wait(20) == 0, view.last_lines()
    assert f"recording: {path}" in view.lines
    assert "Traceback" not in "\n".join(view.lines)
    return found | {"recorded": Recorded(path), "folder": path.parent}


def test_view_shows_what_the_node_publishes(followed):
    recorded, root = followed["recorded"], "/world/camera/image"
    rgb = color_to_array(rgb_image())
    assert np.array_equal(recorded.last_image(f"{root}/rgb", "Image", np.uint8, (60, 80, 3)), rgb)
    assert (recorded.last_image(f"{root}/labels", "SegmentationImage", np.uint8, (60, 80)) == 7).all()
    assert (recorded.last_image(f"{root}/confidence", "Image", np.uint8, (60, 80)) == 140).all()
    assert (recorded.last_image(f"{root}/hha", "Image", np.uint8, (60, 80, 3)) == 9).all()
    assert (recorded.last_image(f"{root}/depth", "DepthImage", np.uint16, (60, 80)) == 2000).all()
    assert len(recorded.values("/world/camera/points", "Points3D:positions")[-1]) == 60 * 80
    assert list(followed["folder"].iterdir()) == [followed["folder"] / "run.rrd"]


def test_view_names_classes_as_the_node_does(followed):
    context = followed["recorded"].values("/", "AnnotationContext:context")[-1][0]
    names = {entry["class_id"]: entry["class_description"]["info"]["label"] for entry in context}
    assert names == {1: "wall", 7: "teapot", 0: "void", 255: "unlabelled"}


def test_view_draws_the_nodes_stage_times_and_rates_and_no_other_nodes(followed):
    recorded = followed["recorded"]
    curves = {path for path in recorded.entities if path.startswith(("/times", "/rates"))}
    assert curves == {"/times/camera/hha", "/times/camera/network", "/rates/camera/masks_out"}
    assert set(map(tuple, recorded.values("/times/camera/hha", "Scalars:scalars"))) == {(4.25,)}
    assert "| model | nyu40 |" in recorded.values("/status/camera", "TextDocument:text")[-1][0]


def test_view_takes_the_cameras_pose_from_tf(followed):
    assert followed["recorded"].values("/world/camera", "Transform3D:translation")[-1] == [[5, 0, 0]]


def test_view_listens_on_this_machine_only(followed):
    assert {ip for ip, _ in followed["listening"]} == {"127.0.0.1"}
    assert len(followed["listening"]) == 2  # page and data
    assert followed["remote"] <= {"127.0.0.1"}
    assert followed["line"].startswith("viewer at http://127.0.0.1:")


@pytest.mark.parametrize(
    ("name", "cameras", "camera"),
    [
        ("robot/segment: segmentation", [""], ""),
        ("robot/segment: segmentation rear", ["front", "rear"], "rear"),
        ("robot/segment: segmentation rear", [""], None),
        ("robot/segment: segmentation", ["front"], None),
        ("segment: segmentation", [""], None),
        ("robot/segment_2: segmentation", [""], None),
        ("robot/segment", [""], None),
    ],
)
def test_a_status_belongs_to_the_camera_of_its_name(name, cameras, camera):
    status = DiagnosticStatus(name=name, level=DiagnosticStatus.WARN, message="dark")
    status.values = [KeyValue(key=k, value=v) for k, v in (("hha_ms_p50", "4"), ("a_hz", "?"), ("b_hz", "2"))]
    report = read_status(status, 5, "robot/segment", cameras)
    if camera is None:
        assert report is None
    else:
        assert (report.camera, report.stamp_ns, report.milliseconds, report.hertz) == (camera, 5, {"hha": 4}, {"b": 2})
        assert report.markdown.startswith("**warning**: dark")


def test_view_says_what_it_waits_for_and_ends_when_told():
    with start_view(isolated_ros_environment()) as view:
        assert view.wait_for_line("nothing on /segmentation/mask: is the node running", 60), view.last_lines()
        os.kill(view.pid, signal.SIGTERM)
        assert view.wait(20) == 0, view.last_lines()


def test_a_node_without_a_viewer_has_nothing_of_it_loaded():
    code = (
        "from lcr_seg_ros.ros.environment import prepare_ros_environment as p; p()\n"
        "import sys, lcr_seg_ros.ros.segment_node\n"
        "sys.exit(any(m == 'rerun' or m.startswith('lcr_seg_ros.viewer') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False).returncode == 0


def test_predict_records_each_frame_with_its_labels(tmp_path):
    model = make_tiny_bundle(tmp_path / "tiny.lcrseg")
    write_folder(frames(), tmp_path / "data", split="val")
    names = ["--data", tmp_path / "data", "--model", model, "--out", tmp_path / "out", "--rrd", tmp_path / "run.rrd"]
    command = [sys.executable, "-m", "lcr_seg_ros", "predict", *map(str, names)]
    subprocess.run(command, cwd=ROOT, check=True, timeout=120, capture_output=True)
    recorded = Recorded(tmp_path / "run.rrd")
    written = sorted((tmp_path / "out" / "labels").iterdir())
    assert recorded.values("/world/camera/image/labels", "frame") == list(range(len(written)))
    last = cv2.imread(str(written[-1]), cv2.IMREAD_UNCHANGED)
    shown = recorded.last_image("/world/camera/image/labels", "SegmentationImage", np.uint8, last.shape)
    assert np.array_equal(shown, last)


@pytest.mark.slow
def test_the_demo_brings_the_viewer_and_takes_it_away(tmp_path):
    write_folder(frames(), tmp_path / "data", split="all")
    with MarkedDemo(tmp_path, "--source", tmp_path / "data", "--viewer", "rerun", "--seconds", 60) as demo:
        assert demo.process.wait_for_line("viewer | viewer at http://127.0.0.1:", 60), demo.text
        assert demo.process.wait_for_line("masks arrive", 90), demo.text
        assert len(demo.living_processes()) == 4
        os.kill(demo.process.pid, signal.SIGINT)
        assert demo.finish(30) == 130, demo.text
        assert demo.living_processes() == []
