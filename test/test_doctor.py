"""`doctor` finds the camera, names its faults and what to do about them, and says how to start the node."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared_data import ROOT
from tiny_bundle import make_tiny_bundle

from lcr_seg_ros.compressed_images import DEPTH_TRANSPORTS
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.ros import camera_topics, doctor_command
from lcr_seg_ros.ros.camera_presets import CAMERAS
from lcr_seg_ros.ros.camera_topics import CameraTopics, compressed_forms, find_cameras, likely_transport
from lcr_seg_ros.ros.doctor import installation, machine
from lcr_seg_ros.ros.doctor.depth import check_depth_values, check_gravity
from lcr_seg_ros.ros.doctor.report import Check, Report
from lcr_seg_ros.ros.environment import (
    FASTDDS_PROFILE,
    PROFILE_VARIABLES,
    prepare_ros_environment,
    tuned_dds_environment,
)
from lcr_seg_ros.ros.processes import ChildProcess, isolated_ros_environment
from lcr_seg_ros.sources.folder import write_folder
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.sources.source import SourceFrame

pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")
prepare_ros_environment()

import rclpy  # noqa: E402
from diagnostic_msgs.msg import DiagnosticStatus, KeyValue  # noqa: E402
from faulty_cameras import CAMERAS as FAULTS  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.signals import SignalHandlerOptions  # noqa: E402

from lcr_seg_ros.ros.doctor.camera import CameraFindings, check_camera, check_no_camera  # noqa: E402
from lcr_seg_ros.ros.doctor.graph import CAMERA_INFO, IMAGE, GraphListener, GraphView, Stream  # noqa: E402
from lcr_seg_ros.ros.doctor.segment_node import check_segment_nodes, nodes_on, view_line  # noqa: E402
from lcr_seg_ros.ros.doctor.stamps import check_pairing  # noqa: E402
from lcr_seg_ros.ros.parameters import read_defaults  # noqa: E402
from lcr_seg_ros.ros.spin import spinning  # noqa: E402

MS = 10**6
BESIDE = ("/camera/infra1/image_rect_raw", "/rear/segmentation/mask", "/ground_truth/labels")
"""Image topics that are there as well and never the camera's colour or depth."""


# Which topics are the camera's


@pytest.mark.parametrize("name", [name for name in CAMERAS if name != "none"])
def test_each_drivers_topics_are_known_and_give_its_launch_line(name: str) -> None:
    preset = CAMERAS[name]
    rgb, depth, info = (f"{preset.namespace}/{t}" for t in (preset.rgb, preset.depth, preset.camera_info))
    (camera,) = find_cameras([rgb, depth, *BESIDE], [info], {}, (), {rgb: preset.frame_id})
    assert (camera.preset, camera.namespace) == (name, preset.namespace)
    assert (camera.rgb, camera.depth, camera.camera_info) == (rgb, depth, info)
    where = f" namespace:={preset.namespace}" if preset.namespace else ""
    assert (
        camera.launch_line(slop=0.03) == f"ros2 launch lcr_seg_ros segment.launch.py camera:={name}{where} slop:=0.03"
    )


def test_without_the_ros2_command_the_node_starts_in_the_same_namespace_and_with_the_same_topics() -> None:
    preset = CAMERAS["orbbec"]
    rgb, depth, info, imu = (f"/robot/{t}" for t in (preset.rgb, preset.depth, preset.camera_info, preset.imu))
    (camera,) = find_cameras([rgb, depth], [info], {}, [imu])
    assert camera.launch_line() == "ros2 launch lcr_seg_ros segment.launch.py camera:=orbbec namespace:=/robot"
    assert camera.command_line(slop=0.03) == (
        "python -m lcr_seg_ros segment --ros-args -r __ns:=/robot -r rgb/image_rect_color:=color/image_raw "
        "-r depth_registered/image_rect:=depth/image_raw -r rgb/camera_info:=color/camera_info "
        "-r imu:=gyro_accel/sample -p slop:=0.03"
    )
    (own,) = find_cameras(["/front/rgb/image_rect_color", "/front/depth_registered/image_rect"], [], {})
    assert own.command_line() == "python -m lcr_seg_ros segment --ros-args -r __ns:=/front"


def test_drivers_with_the_same_names_are_told_apart_by_frame_or_namespace() -> None:
    topics = ("rgb/image_raw", "depth_registered/image_raw")
    for namespace, frame, expected in (
        ("/kinect", "x", "kinect1"),
        ("/camera", "x", "openni2"),
        ("/a", "kinect_rgb", "kinect1"),
    ):
        images = [f"{namespace}/{topic}" for topic in topics]
        (camera,) = find_cameras(images, [f"{namespace}/rgb/camera_info"], {}, (), {images[0]: frame})
        assert camera.preset == expected


def test_own_names_need_no_remapping_and_foreign_ones_are_spelled_out() -> None:
    (own,) = find_cameras(["/front/rgb/image_rect_color", "/front/depth_registered/image_rect"], [], {})
    assert own.launch_line() == "ros2 launch lcr_seg_ros segment.launch.py namespace:=/front"
    encodings = {"/a/picture": "bgr8", "/a/range": "32FC1", "/a/infra": "mono8"}
    (odd,) = find_cameras([*encodings, *BESIDE], ["/a/camera_info", "/b/camera_info"], encodings)
    assert odd.launch_line().endswith("rgb:=/a/picture depth:=/a/range camera_info:=/a/camera_info")
    assert "-r rgb/image_rect_color:=/a/picture -r depth_registered/image_rect:=/a/range" in odd.command_line()


def test_without_aligned_depth_a_realsense_is_no_realsense_yet_and_the_advice_says_how() -> None:
    images = ["/camera/camera/color/image_raw", "/camera/camera/depth/image_rect_raw"]
    (camera,) = find_cameras(images, ["/camera/camera/color/camera_info"], {})
    assert (camera.preset, camera.rgb, camera.depth) == ("", *images)
    assert find_cameras(BESIDE[1:], [], {}) == []


def test_images_that_are_there_compressed_only_are_told_from_their_copies() -> None:
    topics = ["/a/rgb/compressed", "/a/rgb/compressedDepth", "/a/depth/compressedDepth", "/b/compressed", "/c/theora"]
    forms = compressed_forms(topics, ["/b"])
    assert forms == {"/a/rgb": ["compressed", "compressedDepth"], "/a/depth": ["compressedDepth"]}
    assert likely_transport("/a/rgb", forms["/a/rgb"]) == "compressed"
    assert likely_transport("/a/depth", ["compressed", "compressedDepth"]) == "compressedDepth"
    assert (camera_topics.RAW, camera_topics.COMPRESSED, camera_topics.COMPRESSED_DEPTH) == DEPTH_TRANSPORTS


def test_the_launch_line_of_a_driver_whose_images_are_compressed_only_says_so() -> None:
    images = ["/camera/camera/color/image_raw", "/camera/camera/aligned_depth_to_color/image_raw"]
    (camera,) = find_cameras(images, [], {})
    packed = camera.with_transports({images[0]: "compressed"})
    assert packed.launch_line(slop=0.03).endswith("namespace:=/camera/camera rgb_transport:=compressed slop:=0.03")


# What images hold


@pytest.mark.parametrize(
    ("metres", "encoding", "level", "said"),
    [
        (2.0, "16UC1", "ok", "median 2.00 m"),
        (20.0, "16UC1", "fail", "are these 0.1 mm?"),
        (0.2, "16UC1", "fail", "are these centimetres?"),
        (0.002, "16UC1", "fail", "are these metres?"),
        (2200.0, "32FC1", "fail", "are these millimetres in a float image?"),
        (0.0, "32FC1", "fail", "no pixel has a depth"),
    ],
)
def test_depth_units_are_told_by_what_is_usual_indoors(metres: float, encoding: str, level: str, said: str) -> None:
    check = check_depth_values(np.full((48, 64), metres, np.float32), encoding)
    assert check.level == level
    assert said in check.found + check.advice


def test_many_holes_are_worth_a_warning() -> None:
    depth = np.full((48, 64), np.nan, np.float32)
    depth[:10] = 2.0
    assert check_depth_values(depth, "32FC1").level == "warn"


def test_gravity_is_trusted_in_a_room_and_doubted_before_a_wall() -> None:
    frame = RenderedRoom(frames=1, seed=0, width=320, height=240)[0].frame
    assert frame.depth_m is not None and frame.intrinsics is not None
    check = check_gravity(frame.depth_m, frame.intrinsics, "")
    assert check.level == "ok" and "degrees down" in check.found
    wall = check_gravity(np.full((240, 320), 2.0, np.float32), frame.intrinsics, "/camera/imu")
    assert wall.level == "warn" and "gravity_source:=imu imu:=/camera/imu" in wall.advice


# Stamps


def stream(stamps_ns: list[int]) -> Stream:
    result = Stream("/x")
    result.arrivals.extend((stamp, stamp, stamp * 1e-9) for stamp in stamps_ns)
    return result


@given(delay_ms=st.integers(0, 40), lost=st.sets(st.integers(0, 29), max_size=2))
def test_the_slop_that_is_proposed_pairs_partners_and_no_strangers(delay_ms: int, lost: set[int]) -> None:
    color = [10**18 + k * 33 * MS for k in range(30)]
    depth = [stamp + delay_ms * MS for k, stamp in enumerate(color) if k not in lost]
    check, slop = check_pairing(stream(color), stream(depth), 0.016)
    apart = min(delay_ms % 33, 33 - delay_ms % 33)
    if apart < 16:
        assert (check.level, slop) == ("ok", None)
    elif slop is not None:
        assert check.level == "warn" and apart * 1e-3 < slop < 0.0165
    else:
        assert check.level == "fail"


def test_streams_that_never_overlap_are_told_from_streams_that_are_late() -> None:
    now, before = [10**18 + k * 33 * MS for k in range(9)], [10**17 + k * 33 * MS for k in range(9)]
    check, slop = check_pairing(stream(now), stream(before), 0.016)
    assert (check.level, slop) == ("fail", None) and "do not overlap" in check.found
    check, slop = check_pairing(stream(now), stream([s + 20 * MS for s in now[::2]]), 0.016)
    assert check.level == "ok"  # 20 ms after one is 13 ms before the next: slower depth pairs with that


# The machine


def test_memory_is_told_in_gb_of_a_thousand_million_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text("MemTotal:  15625000 kB\nMemAvailable:  3906250 kB\n")  # kB of 1024 bytes
    monkeypatch.setattr(machine, "MEMORY_INFO", tmp_path / "meminfo")
    (memory,) = (check for check in machine.check_machine() if check.name == "memory")
    assert (memory.level, memory.found) == ("ok", "4.0 of 16.0 GB available")


def test_little_shared_memory_and_a_profile_that_is_gone_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {check.level for check in machine.check_machine()} <= {"ok", "warn"}
    monkeypatch.setattr(machine, "LEAST_SHARED_MEMORY", 1 << 60)
    (memory,) = (check for check in machine.check_machine() if check.name == "shared memory")
    assert memory.level == "warn" and "--shm-size=1g" in memory.advice
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "/nowhere.xml")
    monkeypatch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "OFF")
    domain, profile = machine.check_environment("rmw_fastrtps_cpp")
    assert (domain.level, profile.level) == ("fail", "fail")
    assert str(FASTDDS_PROFILE) in profile.advice
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(FASTDDS_PROFILE))
    assert machine.check_environment("rmw_fastrtps_cpp")[1].found == "the shipped one"


def test_on_humble_a_profile_that_would_undo_the_wish_to_stay_on_this_machine_is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for variable in PROFILE_VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("ROS_DISTRO", "humble")
    assert tuned_dds_environment()
    monkeypatch.setenv("ROS_LOCALHOST_ONLY", "1")
    assert tuned_dds_environment() == {}
    check = machine.check_environment("rmw_fastrtps_cpp")[1]
    assert check.level == "warn" and "not used" in check.found
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(FASTDDS_PROFILE))
    check = machine.check_environment("rmw_fastrtps_cpp")[1]
    assert check.level == "warn" and "FASTRTPS_DEFAULT_PROFILES_FILE undoes ROS_LOCALHOST_ONLY=1" in check.found
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    assert machine.check_environment("rmw_fastrtps_cpp")[1].level == "ok"


def test_a_runtime_that_crashes_and_a_cv_bridge_that_clashes_are_reported_not_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("torch", "cv_bridge"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise ImportError('numpy.core.multiarray failed to import')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(installation, "_PROBES", {"torch": installation._PROBES["torch"]})
    checks = {check.name: check for check in installation.RuntimeProbes().checks()}
    assert checks["torch"].level == "warn" and "multiarray failed" in checks["torch"].found
    assert checks["inference"].level == "fail"  # it was the only one
    bridge = next(check for check in installation.check_ros() if check.name == "cv_bridge")
    assert bridge.level == "warn" and "numpy<2" in bridge.advice


def test_what_needs_tf_is_named_the_map_too() -> None:
    (tf,) = (check for check in installation.check_ros() if check.name == "tf2_ros")
    assert all(user in tf.found for user in ("gravity_source", "registration", "map"))
    assert "missing" not in tf.found or tf.found.count("pose_source") == 1


def test_a_runtime_that_does_not_answer_in_time_is_not_called_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installation, "PROBE_TIMEOUT_S", 0.2)
    monkeypatch.setattr(installation, "_PROBES", {"numpy": "import time; time.sleep(60); v, d = 1, []"})
    checks = {check.name: check for check in installation.RuntimeProbes().checks()}
    assert checks["numpy"].level == "warn" and checks["numpy"].found.startswith("no answer within")
    assert "is the machine busy?" in checks["numpy"].advice and "-c 'import numpy'" in checks["numpy"].advice
    assert "reinstall" not in checks["numpy"].advice and "inference" not in checks


# The report


def test_the_verdict_is_the_worst_check_and_the_text_has_every_line_to_copy_in_one_piece() -> None:
    camera = CameraTopics("/a/picture", "/a/range", "/a/camera_info")
    checks = [Check("machine", "cpu", "ok", "2 cores"), Check("camera", "depth", "fail", "x" * 200, "mend " * 40)]
    report = Report(checks, camera, (), {"slop": 0.03})
    assert report.verdict == report.to_dict()["verdict"] == "fail"
    assert f"  {camera.launch_line(slop=0.03)}\n" in report.text()
    assert "1 FAIL, 0 WARN, 1 OK" in report.text()
    assert json.loads(json.dumps(report.to_dict()))["parameters"] == {"slop": 0.03}


@pytest.mark.parametrize(
    ("node", "masks", "line"),
    [
        ("/segment", ["/segmentation/mask"], ""),
        ("/robot/segment", ["/robot/segmentation/mask"], " --ros-args -r __ns:=/robot"),
        ("/eyes", ["/a/segmentation/mask", "/b/segmentation/mask"], " --camera a --camera b --node eyes"),
    ],
)
def test_of_a_camera_that_a_node_hears_already_the_report_says_how_to_look_at_it(
    node: str, masks: list[str], line: str
) -> None:
    heard = GraphView(
        publishers={"/other/segmentation/mask": ["/other/segment"], **{mask: [node] for mask in masks}},
        subscribers={REALSENSE.rgb: [node, "/rviz"]},
    )
    running = {name: view_line(name, heard) for name in nodes_on(REALSENSE, heard)}
    assert running == {node: f"python -m lcr_seg_ros view{line}"}
    text = Report([], REALSENSE, running=running).text()
    assert f"{node} is already running on this camera; to look:\n  {running[node]}" in text
    assert "segment.launch.py" not in text
    # What the camera needs can only be given to a node that is started again.
    assert REALSENSE.launch_line(slop=0.03) in Report([], REALSENSE, (), {"slop": 0.03}, running).text()


def test_a_line_that_starts_the_node_is_not_given_for_topics_that_nobody_publishes() -> None:
    view = GraphView(publishers={REALSENSE.rgb: ["/camera"]})
    report = Report([])
    doctor_command._judge(report, view, REALSENSE)
    assert report.absent == [REALSENSE.depth]
    assert f"{REALSENSE.depth}: nobody publishes it" in report.text()
    assert report.launch == report.command == "" and "Start the node" not in report.text()


# Real DDS: a camera process for each fault


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return isolated_ros_environment() | {"PYTHONPATH": f"{ROOT}:{ROOT / 'test'}"}


@pytest.fixture(scope="module")
def view(environment: dict[str, str]) -> Iterator[GraphView]:
    """What is heard in three seconds of all faulty cameras at once."""
    with ChildProcess("cameras", [sys.executable, str(ROOT / "test/faulty_cameras.py")], environment) as process:
        assert process.wait_for_line("ready", 30), process.last_lines()
        context = Context()
        domain = int(environment["ROS_DOMAIN_ID"])
        rclpy.init(context=context, domain_id=domain, signal_handler_options=SignalHandlerOptions.NO)
        try:
            wanted = tuple(t for n, f in FAULTS.items() for t in (f"/{n}/{f.topics[0]}", f"/{n}/{f.topics[1]}"))
            listener = GraphListener(wanted, context)
            deadline = time.monotonic() + 30
            with spinning(listener):
                heard = listener.listen(3.0, lambda s: bool(time.sleep(s)))
                while not has_heard_all(heard) and time.monotonic() < deadline:
                    listener.listen(1.0, lambda s: bool(time.sleep(s)))
            yield heard
        finally:
            rclpy.try_shutdown(context=context)


def has_heard_all(view: GraphView) -> bool:
    sending = [f"/{name}/{topic}" for name, fault in FAULTS.items() if fault.sends_images for topic in fault.topics[:2]]
    infos = [f"/{name}/{fault.topics[2]}" for name, fault in FAULTS.items()]
    images = all(topic in view.images and len(view.images[topic].arrivals) >= 10 for topic in sending)
    return images and all(topic in view.camera_infos and view.camera_infos[topic].newest for topic in infos)


def examined(view: GraphView, name: str) -> CameraFindings:
    return check_camera(camera_of(view, name), view, read_defaults())


def camera_of(view: GraphView, name: str) -> CameraTopics:
    cameras = find_cameras(view.image_topics, view.of_type(CAMERA_INFO), view.encodings)
    (camera,) = (camera for camera in cameras if camera.namespace == f"/{name}")
    return camera.with_transports(view.transports)


def test_a_good_camera_has_no_fault(view: GraphView) -> None:
    findings = examined(view, "good")
    # Its picture is one wall, which says nothing of gravity.
    assert [c.name for c in findings.checks if c.level != "ok"] == ["gravity"]
    assert findings.arguments == {}
    rgb = next(c for c in findings.checks if c.name == "colour")
    assert "/good/rgb/image_rect_color: 80x60 rgb8, " in rgb.found and "from /good/driver" in rgb.found
    assert view.images["/good/rgb/image_rect_color"].rate_hz == pytest.approx(10, rel=0.3)


def test_depth_that_the_node_can_register_gets_its_camera_info_into_the_line_that_starts_it(view: GraphView) -> None:
    camera, arguments = camera_of(view, "for_the_node"), examined(view, "for_the_node").arguments
    info = "/for_the_node/depth_registered/camera_info"
    assert arguments == {"depth_camera_info": info}
    assert f" depth_camera_info:={info}" in camera.launch_line(**arguments)
    assert f" -r depth/camera_info:={info}" in camera.command_line(**arguments)


@pytest.mark.parametrize(
    ("camera", "check", "level", "said"),
    [
        ("smaller", "registration", "fail", "colour is 80x60, depth is 64x48: depth is not registered"),
        ("other_frame", "registration", "fail", "colour is in frame 'optical', depth in 'depth_optical'"),
        ("for_the_node", "registration", "warn", "colour is 80x60, depth is 64x48: depth is not registered"),
        ("other_focal", "registration", "warn", "fx is 70.0 for colour and 50.0 for depth"),
        ("uncalibrated", "intrinsics", "fail", "K is all zero"),
        ("distorted", "intrinsics", "warn", "image_raw is not rectified, its lens displaces pixels by up to 8."),
        ("other_info", "intrinsics", "fail", "at 640x480, but the colour image is 80x60"),
        ("late", "synchronisation", "warn", "partners are 30.0 ms apart"),
        ("unsynchronised", "synchronisation", "fail", "half a frame period"),
        ("old", "colour stamps", "fail", "older than max_age (1 s) are dropped"),
        ("tenths", "depth values", "fail", "are these 0.1 mm?"),
        ("empty", "depth values", "fail", "no pixel has a depth"),
        ("odd", "colour", "fail", "encoding 'yuv422', which is not supported"),
        ("silent", "colour", "fail", f"export FASTDDS_DEFAULT_PROFILES_FILE={FASTDDS_PROFILE}"),
        ("packed_tenths", "depth values", "fail", "are these 0.1 mm?"),
        ("packed_silent", "depth", "fail", "/depth_registered/image_rect/compressedDepth: /packed_silent/driver publ"),
        ("lossy", "depth", "fail", "JPEG would alter depth"),
    ],
)
def test_each_fault_is_named_with_its_remedy(view: GraphView, camera: str, check: str, level: str, said: str) -> None:
    findings = examined(view, camera)
    found = {c.name: c for c in findings.checks}[check]
    assert found.level == level, findings
    assert said in f"{found.found} {found.advice}"
    assert found.advice
    if camera == "late":
        assert 0.03 < findings.arguments["slop"] < 0.05  # type: ignore[operator]
    if camera == "silent":
        assert "camera_info comes, so it streams" in found.advice


def test_a_camera_whose_images_are_compressed_only_is_examined_like_another(view: GraphView) -> None:
    camera, findings = camera_of(view, "packed"), examined(view, "packed")
    needed = "rgb_transport:=compressed depth_transport:=compressedDepth"
    assert camera.launch_line() == f"ros2 launch lcr_seg_ros segment.launch.py namespace:=/packed {needed}"
    assert "-p rgb_transport:=compressed -p depth_transport:=compressedDepth" in camera.command_line()
    found = {c.name: c for c in findings.checks}
    assert [name for name, c in found.items() if c.level != "ok"] == ["gravity"]  # its picture is one wall
    assert found["transport"].found.endswith(f"the node needs {needed}")
    assert "/packed/rgb/image_rect_color/compressed: 80x60 rgb8, " in found["colour"].found
    assert "median 2.00 m" in found["depth values"].found


def test_a_subscriber_that_asks_for_more_than_the_camera_offers_is_named(view: GraphView) -> None:
    (check,) = (c for c in check_segment_nodes(view) if c.name.startswith("QoS"))
    assert (check.name, check.level) == ("QoS of /good/rgb/image_rect_color", "warn")
    assert check.found.startswith("/picky hears nothing from /good/driver") and "eliab" in check.found


def told_by_a_node(first: dict[str, object], **newest: object) -> Check:
    """The check of a node that had sent one status, and sent another after some seconds."""
    name = "segment: segmentation"
    statuses = [DiagnosticStatus(name=name, level=DiagnosticStatus.OK) for _ in range(2)]
    for status, told in zip(statuses, (first, {**first, **newest}), strict=True):
        status.values = [KeyValue(key=key, value=str(value)) for key, value in told.items()]
    view = GraphView(
        publishers={"/segmentation/mask": ["/segment"]},
        diagnostics={name: statuses[1]},
        first_diagnostics={name: statuses[0]},
    )
    (check,) = check_segment_nodes(view)
    assert check.name == "/segment"
    return check


@pytest.mark.parametrize(
    ("model", "masks_hz", "level", "advice"),
    [
        ("nyu40", 21.0, "warn", "ros2 param set /segment model nyu40-int8 has a quicker network; or ros2 param"),
        ("nyu40-int8", 21.0, "warn", "every frame: ros2 param set /segment max_rate_hz 18.9"),
        ("nyu40-int8", 0.5, "warn", "every frame: ros2 param set /segment max_rate_hz 0.5"),
        ("nyu40-int8", 0.0, "warn", "every frame: choose a smaller model"),
        ("nyu40", 29.0, "ok", ""),
    ],
)
def test_a_node_that_cannot_label_every_frame_is_told_what_would_be_less_work(
    model: str, masks_hz: float, level: str, advice: str
) -> None:
    first = {"model": model, "pairs_in_hz": 30.0, "masks_out_hz": masks_hz, "dropped_replaced_by_newer": 70}
    check = told_by_a_node(first, dropped_replaced_by_newer=90)
    assert check.level == level
    assert advice in check.advice if advice else not check.advice


@pytest.mark.parametrize(
    ("masks_hz", "newest"),
    [
        (0.0, {"dropped_not_subscribed": 120}),
        (0.0, {"dropped_not_subscribed": 120, "dropped_replaced_by_newer": 71}),
        (10.0, {"dropped_rate_limit": 60, "dropped_replaced_by_newer": 71}),
        (10.0, {}),
    ],
    ids=["no subscriber, slow once", "no subscriber any more", "a limit of its rate", "slow once"],
)
def test_a_node_that_labels_fewer_frames_for_another_reason_than_time_is_not_called_slow(
    masks_hz: float, newest: dict[str, object]
) -> None:
    first = {"pairs_in_hz": 30.0, "masks_out_hz": masks_hz, "dropped_replaced_by_newer": 70}
    check = told_by_a_node(first, **newest)
    assert (check.level, check.advice) == ("ok", "")
    assert "dropped so far: 7" in check.found


REALSENSE = CameraTopics("/camera/color/image_raw", "/camera/depth/image", "/camera/color/camera_info")
OWN_INPUTS = ("/rgb/image_rect_color", "/depth_registered/image_rect", "/rgb/camera_info")


def node_beside_a_camera(*heard: str) -> GraphView:
    """A node that listens to these topics, and a camera that is another's."""
    sent = (REALSENSE.rgb, REALSENSE.depth, REALSENSE.camera_info, "/camera2/color", "/camera2/depth")
    status = DiagnosticStatus(name="segment: segmentation", level=DiagnosticStatus.WARN, message="no publisher")
    return GraphView(
        topics={topic: [CAMERA_INFO if "info" in topic else IMAGE] for topic in heard},
        publishers={"/segmentation/mask": ["/segment"], **{topic: ["/camera"] for topic in sent}},
        subscribers={topic: ["/segment"] for topic in heard},
        diagnostics={status.name: status},
    )


def test_a_node_that_listens_to_other_names_than_the_cameras_fails_and_is_to_be_started_again() -> None:
    (check,) = check_segment_nodes(node_beside_a_camera(*OWN_INPUTS), REALSENSE)
    assert (check.name, check.level) == ("/segment", "fail")
    assert all(topic in check.found.partition("which nobody publishes")[0] for topic in OWN_INPUTS)
    assert check.found.endswith("sends /camera/color/image_raw, /camera/depth/image, /camera/color/camera_info")
    assert "start it again with the line" in check.advice
    packed = replace(REALSENSE, rgb_transport="compressed")
    (check,) = check_segment_nodes(node_beside_a_camera(*OWN_INPUTS), packed)
    assert "sends /camera/color/image_raw/compressed, " in check.found


@pytest.mark.parametrize(
    ("heard", "camera"),
    [
        (OWN_INPUTS, None),
        ((REALSENSE.rgb, REALSENSE.depth, REALSENSE.camera_info, "/depth/camera_info"), REALSENSE),
        ((REALSENSE.rgb, *OWN_INPUTS), REALSENSE),
        (("/camera2/color", "/camera2/depth", "/depth/camera_info"), REALSENSE),
    ],
    ids=["no camera", "one of two camera_infos", "another camera is off", "it hears another camera"],
)
def test_a_node_that_lacks_what_no_other_camera_sends_is_only_warned_of(heard, camera) -> None:
    (check,) = check_segment_nodes(node_beside_a_camera(*heard), camera)
    assert (check.name, check.level) == ("/segment", "warn") and "no publisher" in check.found


def test_an_empty_graph_says_what_to_start() -> None:
    (check,) = check_no_camera(GraphView(topics={"/rosout": ["rcl_interfaces/msg/Log"]}))
    assert check.level == "fail" and "nobody publishes images" in check.found and "play room" in check.advice


def test_what_a_node_puts_out_is_not_taken_for_a_camera() -> None:
    topics = {"/segmentation/overlay": [IMAGE], OWN_INPUTS[0]: [IMAGE]}
    (check,) = check_no_camera(GraphView(topics=topics, publishers={"/segmentation/overlay": ["/segment"]}))
    assert "nobody publishes images" in check.found and f"waiting for images {OWN_INPUTS[0]}" in check.found
    assert "/segmentation" not in check.found and "play room" in check.advice


# The command


def doctor(environment: dict[str, str], *arguments: object, code: int) -> list[str]:
    command = [sys.executable, "-m", "lcr_seg_ros", "doctor", *map(str, arguments)]
    with ChildProcess("doctor", command, environment) as process:
        assert process.wait(90) == code, process.last_lines(40)
    assert not any("Traceback" in line for line in process.lines), process.last_lines(80)
    return list(process.lines)


def test_a_playing_realsense_and_a_running_node_are_examined_from_the_command_line(tmp_path: Path) -> None:
    environment = isolated_ros_environment() | {"PYTHONPATH": str(ROOT)}
    rng = np.random.default_rng(0)
    intrinsics = CameraIntrinsics(fx=70.0, fy=71.0, cx=39.5, cy=29.5, width=80, height=60)
    depth = rng.uniform(1.0, 3.0, (60, 80)).astype(np.float32)
    frame = RgbdFrame(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8), depth, intrinsics)
    write_folder([SourceFrame("0", frame)], tmp_path / "data")  # type: ignore[arg-type]
    model = make_tiny_bundle(tmp_path / "tiny.lcrseg")
    names = ["-r", "__ns:=/camera/camera"]
    play = [sys.executable, "-m", "lcr_seg_ros", "play", str(tmp_path / "data"), "--loop", "--camera", "realsense"]
    camera = CameraTopics(*(f"/camera/camera/{t}" for t in (CAMERAS["realsense"].rgb, CAMERAS["realsense"].depth)), "")
    segment = [sys.executable, "-m", "lcr_seg_ros", *camera.command_line(model=model).split()[3:]]
    segment += ["-r", f"rgb/camera_info:=/camera/camera/{CAMERAS['realsense'].camera_info}"]
    with (
        ChildProcess("play", [*play, "--ros-args", *names], environment),
        ChildProcess("segment", segment, environment) as node,
    ):
        assert node.wait_for_line("]: active", 60), node.last_lines()
        lines = doctor(environment, "--json", tmp_path / "report.json", code=0)
    report = json.loads((tmp_path / "report.json").read_text())
    launch = "ros2 launch lcr_seg_ros segment.launch.py camera:=realsense namespace:=/camera/camera"
    assert report["launch"] == launch
    assert report["running"] == {"/segment": "python -m lcr_seg_ros view"}
    assert "/segment is already running on this camera; to look:" in lines and f"  {launch}" not in lines
    assert report["camera"]["preset"] == "realsense"
    by_name = {(c["area"], c["name"]): c for c in report["checks"]}
    assert by_name["camera", "registration"]["level"] == by_name["camera", "synchronisation"]["level"] == "ok"
    assert "model tiny" in by_name["node", "/segment"]["found"]
    assert by_name["installation", "openvino"]["level"] == "ok"


def test_without_a_camera_it_fails_and_says_so(environment: dict[str, str]) -> None:
    alone = isolated_ros_environment() | {"PYTHONPATH": str(ROOT)}
    lines = doctor(alone, "--seconds", 1, "--json", "-", code=1)
    report = json.loads("\n".join(lines[lines.index("{") : lines.index("}") + 1]))
    assert report["verdict"] == "fail" and report["launch"] == ""
    assert [c["name"] for c in report["checks"] if c["level"] == "fail"] == ["topics"]
    assert any("belong to a colour topic" in line for line in doctor(alone, "--depth", "/x", code=2))
