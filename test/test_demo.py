"""`demo` runs camera, node and observer, reports what came through, and leaves no process behind, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import click
import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from model_under_test import model_under_test
from shared_data import ROOT
from tiny_bundle import make_tiny_bundle

from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.render import PANEL_HEIGHT
from lcr_seg_ros.ros import demo_command
from lcr_seg_ros.ros.demo_report import truth_left_out
from lcr_seg_ros.ros.environment import prepare_ros_environment
from lcr_seg_ros.ros.processes import ChildProcess, ProcessWatch, free_domain_id, isolated_ros_environment
from lcr_seg_ros.training.datasets.folder_labels import write_label_set

pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")
prepare_ros_environment()

from lcr_seg_ros.ros.observer import Arrival, Observations, SegmentationObserver, header_faults  # noqa: E402
from lcr_seg_ros.ros.player import PublishedFrame  # noqa: E402

MARK = "LCR_SEG_TEST_MARK"


class MarkedDemo:
    """A demo whose processes can be identified by an environment variable that they inherit."""

    def __init__(self, folder: Path, *arguments: object) -> None:
        self.mark = f"{MARK}={uuid.uuid4()}"
        name, value = self.mark.split("=")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("ROS_DOMAIN", "FAST"))}
        command = [sys.executable, "-m", "lcr_seg_ros", "demo", "--model", str(model_under_test())]
        command += ["--out", str(folder / "out"), "--json", str(folder / "report.json"), *map(str, arguments)]
        self.process = ChildProcess("demo", command, environment | {name: value, "PYTHONPATH": str(ROOT)})

    def __enter__(self) -> MarkedDemo:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.end(grace_s=25)

    def finish(self, timeout_s: float = 100) -> int | None:
        return self.process.wait(timeout_s)

    @property
    def text(self) -> str:
        return "\n".join(self.process.lines)

    def living_processes(self) -> list[int]:
        living = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if self.mark.encode() in (folder / "environ").read_bytes():
                    living.append(int(folder.name))
            except OSError:  # ended in the meantime, or not ours
                continue
        return living


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The default demo, shortened: the rendered room for three seconds."""
    folder = tmp_path_factory.mktemp("demo")
    with MarkedDemo(folder, "--seconds", 3) as demo:
        demo.code = demo.finish()
        demo.survivors = demo.living_processes()
    demo.folder = folder
    return demo


def test_the_demo_ends_by_itself_with_success_and_no_process_left(finished):
    assert finished.code == 0, finished.text
    assert finished.survivors == []


def test_the_report_has_what_a_user_wants_to_know(finished):
    report = json.loads((finished.folder / "report.json").read_text())
    assert report["frames_sent"] >= report["masks_received"] >= 2
    assert report["frames_sent"] - report["masks_received"] == report["frames_without_mask"]
    assert report["camera_hz"] == pytest.approx(30, rel=0.2)
    assert 0 < report["mask_hz"] < 40
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p95"]
    assert {"preprocess", "network", "decode"} <= report["stage_ms"].keys()
    assert sum(report["class_shares"].values()) == pytest.approx(1.0)
    assert 0 <= report["pixel_acc"] <= 1
    assert report["frames_with_truth"] >= 0.5 * report["masks_received"]
    assert report["header_faults"] == []
    for word in ("masks a second", "p50", "p95", "network", "annotated pixels right", "without a mask"):
        assert word in finished.text, finished.text


def test_the_pictures_show_the_frame_its_labels_and_a_legend(finished):
    report = json.loads((finished.folder / "report.json").read_text())
    assert 1 <= len(report["pictures"]) <= 4
    for path in report["pictures"]:
        picture = cv2.imread(path)
        assert picture.shape[0] > PANEL_HEIGHT  # a row of panels, and the legend below
        assert picture.shape[1] == 5 * PANEL_HEIGHT * 640 // 480  # RGB, HHA, labels, annotation, overlay
        assert len(np.unique(picture.astype(np.uint32) @ (1, 256, 65536))) > 100


@pytest.mark.parametrize(
    ("source", "model", "said"),
    [
        ("room", "nyu40", None),
        ("room", "nyu4", "annotated with label set nyu40, the model's is nyu4"),
        ("unnamed", "nyu40", None),
        ("unnamed", "nyu4", "label set nyu40, the model's is nyu4 (a folder with others says so in its labels.yaml)"),
        ("of four", "nyu4", None),
        ("of four", "nyu40", "annotated with label set nyu4, the model's is nyu40"),
        ("without labels", "nyu4", None),
    ],
)
def test_a_truth_of_another_label_set_is_left_out_and_the_reason_said(tmp_path, source, model, said):
    for name in ("unnamed", "of four"):
        (tmp_path / name / "label40").mkdir(parents=True)
    write_label_set(tmp_path / "of four", LabelSet.load("nyu4"))
    where = source if source == "room" else str(tmp_path / source)
    reason = truth_left_out(where, LabelSet.load(model))
    assert (reason is None) if said is None else (said in reason)


def test_a_demo_whose_truth_is_left_out_scores_nothing_and_shows_none(tmp_path):
    with MarkedDemo(
        tmp_path, "--seconds", 1, "--model", make_tiny_bundle(tmp_path / "m.lcrseg", labels="nyu4")
    ) as demo:
        assert demo.finish() == 0, demo.text
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["pixel_acc"] is None and report["frames_with_truth"] == 0
    assert "truth       left out: the source is annotated with label set nyu40" in demo.text
    assert cv2.imread(report["pictures"][0]).shape[1] == 4 * PANEL_HEIGHT * 640 // 480  # no annotation


def test_ctrl_c_ends_all_three_processes(tmp_path):
    with MarkedDemo(tmp_path, "--seconds", 60) as demo:
        assert demo.process.wait_for_line("rendered", 60), demo.text
        assert len(demo.living_processes()) == 3
        os.kill(demo.process.pid, signal.SIGINT)
        assert demo.finish(25) == 130, demo.text
        assert demo.living_processes() == []
    assert "interrupted" in demo.text
    assert "Traceback" not in demo.text


def test_a_node_that_cannot_start_is_reported_with_its_own_words(tmp_path):
    # It cannot start because PyTorch is missing, or cannot run an int8 network.
    with MarkedDemo(tmp_path, "--model", "nyu40-int8", "--backend", "torch") as demo:
        assert demo.finish(60) == 1, demo.text
        assert demo.living_processes() == []
    assert "error: the node ended with exit code 1" in demo.text
    assert "configure failed: " in demo.text
    assert "Traceback" not in demo.text


def test_a_camera_that_cannot_start_is_reported_with_its_own_words(tmp_path):
    (tmp_path / "frames/rgb").mkdir(parents=True)
    (tmp_path / "frames/rgb/0.png").write_bytes(b"no image")
    with MarkedDemo(tmp_path, "--source", tmp_path / "frames") as demo:
        assert demo.finish(60) == 1, demo.text
        assert demo.living_processes() == []
    assert "error: the camera ended with exit code 1" in demo.text
    assert "cannot read the image" in demo.text


def test_a_chain_that_gives_no_masks_is_reported_with_what_the_node_says(tmp_path):
    (tmp_path / "frames/rgb").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "frames/rgb/0.png"), np.zeros((48, 64, 3), np.uint8))
    with MarkedDemo(tmp_path, "--source", tmp_path / "frames") as demo:
        assert demo.finish(90) == 1, demo.text
        assert demo.living_processes() == []
    assert "the camera publishes but no mask came within" in demo.text
    assert "depth_registered/image_rect" in demo.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "/no/such/place"], "no dataset folder or bag at /no/such/place"),
        (["--model", "/no/such/model.lcrseg"], "no model at /no/such/model.lcrseg"),
    ],
)
def test_wrong_usage_gets_one_line_before_anything_starts(tmp_path, arguments, message):
    command = [sys.executable, "-m", "lcr_seg_ros", "demo", "--model", str(model_under_test()), *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True,
                          text=True, timeout=30, check=False)  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert message in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backend", "abacus"], "'abacus' is not one of 'auto', 'openvino'"),
        (["--device", "gpu"], "'gpu' is not one of 'auto', 'cpu', 'cuda'"),
        (["--split", "val"], "--split is for a dataset folder, and room is a room"),
        (["--intrinsics", "1,2,3,4"], "--intrinsics is for a dataset folder or a bag, and room is a room"),
        (["--no-depth"], "--no-depth is for a bag, and room is a room"),
        (["--source", "FRAMES", "--split", "vall"], "has no split 'vall'"),
        (["--source", "FRAMES", "--intrinsics", "585,585"], "'585,585'"),
    ],
)
def test_an_option_that_cannot_be_used_is_refused_before_a_process_is_started(
    tmp_path, monkeypatch, arguments, message
):
    monkeypatch.setattr(demo_command, "_run", lambda *_: pytest.fail("started"))
    frames = tmp_path / "frames"
    (frames / "rgb").mkdir(parents=True)
    cv2.imwrite(str(frames / "rgb/0.png"), np.zeros((48, 64, 3), np.uint8))
    words = [str(frames) if word == "FRAMES" else word for word in arguments]
    result = CliRunner().invoke(demo_command.command, words)
    assert result.exit_code != 0
    assert message in f"{result.output} {result.exception}"


def make_arrival(stamp_ns: int = 5, frame_id: str = "camera", width: int = 64, height: int = 48, **rest) -> Arrival:
    return Arrival(stamp_ns, frame_id, width, height, rest.get("encoding", "mono8"), rest.get("arrived_ns", 9))


def test_a_mask_with_the_header_of_its_image_has_no_fault():
    assert header_faults([make_arrival()], [PublishedFrame(5, "a", 64, 48)], "camera") == []


@pytest.mark.parametrize(
    ("masks", "fault"),
    [
        ([make_arrival(stamp_ns=6)], "no image with this stamp"),
        ([make_arrival(frame_id="")], "frame_id is '', the image had 'camera'"),
        ([make_arrival(width=32, height=24)], "it is 32x24, the image was 64x48"),
        ([make_arrival(encoding="16UC1")], "encoding is '16UC1'"),
        ([make_arrival(), make_arrival()], "it came twice"),
    ],
)
def test_each_wrong_header_is_a_fault(masks, fault):
    (line,) = header_faults(masks, [PublishedFrame(5, "a", 64, 48)], "camera")
    assert fault in line


def test_rates_and_latencies_come_from_stamps_and_arrivals():
    seen = Observations()
    assert seen.rate == 0
    assert np.isnan(seen.latency_ms(50))
    period = 50_000_000
    seen.masks = [make_arrival(stamp_ns=n * period, arrived_ns=n * period + (n + 1) * 1_000_000) for n in range(5)]
    assert seen.rate == pytest.approx(4 / (4 * 0.051))
    assert seen.latency_ms(50) == pytest.approx(3.0)
    seen.class_pixels[[3, 255]] = 30, 10
    assert seen.class_shares() == {3: 0.75, 255: 0.25}


def test_a_child_that_ignores_the_polite_signal_is_killed():
    code = "import signal,time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    child = ChildProcess("deaf", [sys.executable, "-c", code], dict(os.environ))
    assert child.wait_for_line("deaf", 10)
    began = time.monotonic()
    assert child.end(grace_s=0.5) == -signal.SIGKILL
    assert time.monotonic() - began < 5


def test_a_demo_that_is_killed_leaves_no_process_behind(tmp_path):
    with MarkedDemo(tmp_path) as demo:
        assert demo.process.wait_for_line("camera | ", 60), demo.text
        assert len(demo.living_processes()) >= 3  # itself, the node and the camera
        os.kill(demo.process.pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while (left := demo.living_processes()) and time.monotonic() < deadline:
            time.sleep(0.1)
    assert not left


def test_a_child_that_ends_with_its_parent_is_started_like_any_other():
    command = [sys.executable, "-c", "import os; print(os.getpid())"]
    with ChildProcess("child", command, dict(os.environ), ends_with_parent=True) as child:
        assert child.wait(10) == 0
        assert list(child.lines) == [str(child.pid)]


def test_a_wait_ends_when_it_happens_or_takes_too_long_and_fails_with_the_process_or_the_user():
    stop = threading.Event()
    with ChildProcess("camera", [sys.executable, "-c", "input()"], dict(os.environ)) as dead:
        assert dead.wait(10) == 1
        assert ProcessWatch(stop, dead).until(lambda: True, 0.0)
        assert not ProcessWatch(stop).until(lambda: False, 0.0)
        with pytest.raises(LcrSegError, match=r"the camera ended with exit code 1:\n(.*\n)*EOFError"):
            ProcessWatch(stop, dead).wait(10.0)
        stop.set()
        with pytest.raises(click.Abort):
            ProcessWatch(stop).wait(10.0)


def test_each_run_has_a_domain_of_its_own_on_this_machine_only():
    environment = isolated_ros_environment()
    assert 1 <= int(environment["ROS_DOMAIN_ID"]) <= 100
    assert environment["ROS_AUTOMATIC_DISCOVERY_RANGE"] == "LOCALHOST"
    assert 1 <= free_domain_id() <= 100


def test_the_observer_takes_no_diagnostics_of_another_node():
    import rclpy
    from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

    def status(name: str) -> DiagnosticStatus:
        return DiagnosticStatus(name=name, message=name, values=[KeyValue(key="model", value=name)])

    rclpy.init(args=[], domain_id=free_domain_id())
    try:
        observer = SegmentationObserver(LabelSet.load("nyu40"))
        names = (
            "segment: segmentation",
            "other: segmentation",
            "segment_2: segmentation",
            "segment: segmentation rear",
        )
        observer._receive_diagnostics(DiagnosticArray(status=[status(name) for name in names]))
        seen = observer.start_over()
        observer.destroy_node()
    finally:
        rclpy.try_shutdown()
    assert seen.diagnostics == {"model": "segment: segmentation"}
    assert seen.diagnostics_message == "segment: segmentation"
