"""`record` makes a dataset folder of live topics or a bag, whole at any moment and ready to go on with."""

from __future__ import annotations

import csv
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared_data import ROOT
from test_bag import Recorder, record_frames

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.ros.processes import ChildProcess, isolated_ros_environment
from lcr_seg_ros.ros.record_command import Pace, explain_lack
from lcr_seg_ros.sources.bag import BagSource
from lcr_seg_ros.sources.folder import DatasetFolder, write_folder, write_png
from lcr_seg_ros.sources.recording import RecordingFolder
from lcr_seg_ros.sources.source import SourceFrame

INTRINSICS = CameraIntrinsics(fx=70.0, fy=71.0, cx=31.5, cy=23.5, width=64, height=48)


def make_frame(n: int) -> RgbdFrame:
    rng = np.random.default_rng(n)
    millimetres = rng.integers(0, 8000, (48, 64), dtype=np.uint16)
    return RgbdFrame(
        rng.integers(0, 256, (48, 64, 3), dtype=np.uint8),
        millimetres.astype(np.float32) * np.float32(0.001),
        INTRINSICS,
    )


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "frames.csv").open() as file:
        return list(csv.DictReader(file))


# The folder


def test_frames_come_back_as_they_were_and_a_later_recording_numbers_on(tmp_path: Path) -> None:
    first = RecordingFolder(tmp_path / "mine")
    assert [first.add(make_frame(n), 1000 + n, "camera") for n in (1, 2)] == ["000001", "000002"]
    second = RecordingFolder(tmp_path / "mine")
    assert (second.count, second.has(1002), second.has(1003)) == (2, True, False)
    assert second.add(make_frame(3), 1003, "camera") == "000003"
    assert [row["stamp_ns"] for row in rows_of(tmp_path / "mine")] == ["1001", "1002", "1003"]
    for n, item in enumerate(DatasetFolder(tmp_path / "mine"), start=1):
        assert np.array_equal(item.frame.rgb, make_frame(n).rgb)
        assert np.array_equal(item.frame.depth_m, make_frame(n).depth_m)
        assert item.frame.intrinsics == INTRINSICS


def test_a_folder_whose_labelling_has_begun_is_recorded_on(tmp_path: Path) -> None:
    folder = RecordingFolder(tmp_path)
    for n in (1, 2):
        folder.add(make_frame(n), n)
    write_png(tmp_path / "label40" / "000002.png", np.ones((48, 64), np.uint8))
    assert RecordingFolder(tmp_path).add(make_frame(3), 3) == "000003"


@pytest.mark.parametrize("lost", ["rgb/000002.png", "the end of the line"])
def test_a_recording_that_was_killed_goes_on_after_its_last_whole_frame(tmp_path: Path, lost: str) -> None:
    folder = RecordingFolder(tmp_path)
    for n in (1, 2):
        folder.add(make_frame(n), n, "camera")
    (tmp_path / "rgb" / "000002.png").unlink()  # written last
    if lost == "the end of the line":
        whole = (tmp_path / "frames.csv").read_text()
        (tmp_path / "frames.csv").write_text(whole[:-5])
    again = RecordingFolder(tmp_path)
    assert (again.count, again.has(2)) == (1, False)
    assert again.add(make_frame(5), 5, "camera") == "000003"  # depth of 000002 is there
    assert [(r["name"], r["stamp_ns"]) for r in rows_of(tmp_path)] == [("000001", "1"), ("000003", "5")]
    assert np.array_equal(DatasetFolder(tmp_path)[1].frame.depth_m, make_frame(5).depth_m)


def test_a_recording_that_was_killed_in_its_first_image_begins_anew(tmp_path: Path) -> None:
    (tmp_path / "rgb").mkdir()
    (tmp_path / "rgb" / ".000001.png.abcd1234.part").write_bytes(b"half an image")
    (tmp_path / "frames.csv").write_text("name,stamp_ns,frame_id\n000001,5,camera\n")
    folder = RecordingFolder(tmp_path)
    assert (folder.count, folder.has(5)) == (0, False)
    name = folder.add(make_frame(1), 6)
    assert DatasetFolder(tmp_path).names == [name]


@pytest.mark.parametrize("left", ["label40", "depth", "frames.csv"])
def test_a_new_frame_takes_no_number_of_which_anything_is_left(tmp_path: Path, left: str) -> None:
    folder = RecordingFolder(tmp_path)
    for n in (1, 2):
        folder.add(make_frame(n), n)
    write_png(tmp_path / "label40" / "000002.png", np.ones((48, 64), np.uint8))
    for kind in {"rgb", "depth", "label40"} - {left}:
        (tmp_path / kind / "000002.png").unlink()
    assert RecordingFolder(tmp_path).add(make_frame(3), 3) == "000003"
    assert [item.labels for item in DatasetFolder(tmp_path)] == [None, None]


def test_one_folder_is_one_camera_and_holds_nothing_else(tmp_path: Path) -> None:
    folder = RecordingFolder(tmp_path / "mine")
    folder.add(make_frame(1), 1)
    for again in (folder, RecordingFolder(tmp_path / "mine")):
        with pytest.raises(SourceError, match=r"fx 70\.0 at 64x48, now come frames of fx 90\.0.*another --out"):
            again.add(replace(make_frame(2), intrinsics=replace(INTRINSICS, fx=90.0)), 2)
        with pytest.raises(SourceError, match="has depth, and the camera now has none"):
            again.add(replace(make_frame(2), depth_m=None), 2)
    write_folder([SourceFrame("a", make_frame(1))], tmp_path / "other")  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="holds images that `record` did not write"):
        RecordingFolder(tmp_path / "other")
    (tmp_path / "mine" / "frames.csv").write_text("name,stamp_ns,frame_id\nx,y,z\n")
    with pytest.raises(SourceError, match="is not a list that `record` wrote"):
        RecordingFolder(tmp_path / "mine")


def test_a_full_disk_stops_it_before_it_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=100 << 20))
    with pytest.raises(SourceError, match="100 MiB are free"):
        RecordingFolder(tmp_path / "mine").add(make_frame(1), 1)
    assert not list((tmp_path / "mine").iterdir())


@given(gaps=st.lists(st.integers(1, 500), max_size=30), every=st.integers(1, 7))
def test_the_pace_keeps_every_nth_frame_or_one_in_an_interval(gaps: list[int], every: int) -> None:
    stamps = [10**18 + ms * 10**6 for ms in np.cumsum([0, *gaps]).tolist()]
    by_number = Pace(every, 1.0)
    assert [s for s in stamps if by_number.keeps(s)] == stamps[::every]
    by_time = Pace(None, 0.2)
    kept = [s for s in stamps if by_time.keeps(s)]
    assert kept[0] == stamps[0] and all(b - a >= 200 * 10**6 for a, b in pairwise(kept))
    assert by_time.keeps(stamps[0] - 10**9)  # the clock began anew


# The command


@pytest.fixture(scope="module")
def environment() -> dict[str, str]:
    return isolated_ros_environment() | {"PYTHONPATH": str(ROOT)}


def record(environment: dict[str, str], *arguments: object) -> ChildProcess:
    command = [sys.executable, "-m", "lcr_seg_ros", "record", *map(str, arguments)]
    return ChildProcess("record", command, environment)


def recorded(environment: dict[str, str], *arguments: object, code: int = 0) -> str:
    with record(environment, *arguments) as process:
        assert process.wait(60) == code, process.last_lines()
    assert not any("Traceback" in line for line in process.lines)
    return "\n".join(process.lines)


def test_a_bag_becomes_a_folder_and_is_not_recorded_twice(tmp_path: Path, environment: dict[str, str]) -> None:
    with Recorder(tmp_path / "bag") as bag:
        record_frames(bag)
    frames = list(BagSource(tmp_path / "bag"))
    out = tmp_path / "mine"
    assert "2 new frames, 2 in" in recorded(environment, tmp_path / "bag", "--out", out, "--every", 1, "--count", 2)
    text = recorded(environment, tmp_path / "bag", "--out", out, "--every", 1)
    assert f"{len(frames) - 2} new frames, {len(frames)} in {out}; 2 of this bag were there already" in text
    assert f"then python -m lcr_seg_ros prepare annotations --data {out} --from FILE" in text
    folder = DatasetFolder(out)
    assert len(folder) == len(frames)
    for item, frame, row in zip(folder, frames, rows_of(out), strict=True):
        assert np.array_equal(item.frame.rgb, frame.frame.rgb)
        assert int(row["stamp_ns"]) == frame.stamp_ns


@pytest.fixture(scope="module")
def camera(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small RealSense that plays eight frames over and over; the folder they come from."""
    pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")
    path = tmp_path_factory.mktemp("frames")
    write_folder([SourceFrame(f"{n:03d}", make_frame(n)) for n in range(8)], path)  # type: ignore[arg-type]
    command = [sys.executable, "-m", "lcr_seg_ros", "play", str(path), "--loop", "--camera", "realsense"]
    command += ["--ros-args", "-r", "__ns:=/camera/camera"]
    with ChildProcess("play", command, environment) as process:
        assert process.wait_for_line("color/camera_info", 30), process.last_lines()
        yield path


def test_a_live_camera_is_found_and_recorded_without_loss(
    tmp_path: Path, environment: dict[str, str], camera: Path
) -> None:
    out = tmp_path / "mine"
    text = recorded(environment, "--out", out, "--count", 6, "--interval", 0.1)
    assert "recording /camera/camera/color/image_raw and /camera/camera/aligned_depth_to_color/image_raw" in text
    assert f"6 new frames, 6 in {out}" in text
    assert "9 in" in recorded(
        environment, "--out", out, "--count", 3, "--every", 3, "--rgb", "/camera/camera/color/image_raw"
    )
    sent = {make_frame(n).rgb.tobytes(): make_frame(n) for n in range(8)}
    for item in DatasetFolder(out):
        frame = sent[item.frame.rgb.tobytes()]
        assert np.array_equal(item.frame.depth_m, frame.depth_m)
        assert item.frame.intrinsics == INTRINSICS
    rows = rows_of(out)
    assert [row["name"] for row in rows] == [f"{n:06d}" for n in range(1, 10)]
    stamps = [int(row["stamp_ns"]) for row in rows]
    assert min(np.diff(stamps)[:5]) >= 0.1e9 and {row["frame_id"] for row in rows} == {"camera_color_optical_frame"}


def test_intrinsics_without_a_size_are_of_the_images_that_come(
    tmp_path: Path, environment: dict[str, str], camera: Path
) -> None:
    out = tmp_path / "mine"
    recorded(environment, "--out", out, "--count", 2, "--every", 1, "--intrinsics", "80,81,31.5,23.5")
    assert DatasetFolder(out).intrinsics == CameraIntrinsics(80, 81, 31.5, 23.5, 64, 48)


def test_ctrl_c_ends_it_in_order(tmp_path: Path, environment: dict[str, str], camera: Path) -> None:
    out = tmp_path / "mine"
    topics = ("--rgb", "/camera/camera/color/image_raw", "--camera-info", "/camera/camera/color/camera_info")
    with record(environment, "--out", out, "--interval", 0.2, "--no-depth", *topics) as process:
        deadline = time.monotonic() + 30
        while not (out / "rgb" / "000002.png").is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(10) == 0, process.last_lines()
    assert any("new frames" in line for line in process.lines)
    folder = DatasetFolder(out)
    assert len(folder) >= 2 and not folder.has_depth
    assert len(rows_of(out)) == len(folder)


@pytest.mark.parametrize("ending", ["", "/compressed"])
def test_a_camera_that_sends_compressed_images_alone_is_recorded(tmp_path: Path, ending: str) -> None:
    environment = isolated_ros_environment() | {"PYTHONPATH": f"{ROOT}:{ROOT / 'test'}"}
    cameras = [sys.executable, str(ROOT / "test/faulty_cameras.py")]  # one of which is just packed
    rgb, depth = f"/packed/rgb/image_rect_color{ending}", "/packed/depth_registered/image_rect"
    out = tmp_path / "mine"
    with ChildProcess("cameras", cameras, environment) as process:
        assert process.wait_for_line("ready", 30), process.last_lines()
        recorded(environment, "--out", out, "--rgb", rgb, "--depth", depth, "--count", 2, "--interval", 0.1)
    frames = list(DatasetFolder(out))
    assert len(frames) == 2
    assert (frames[0].frame.depth_m == 2.0).all() and frames[0].frame.rgb.shape == (60, 80, 3)


def test_an_image_that_cannot_be_used_is_left_out_and_the_next_is_recorded(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    cameras = [sys.executable, str(ROOT / "test/faulty_cameras.py")]
    topics = "/ancient/rgb/image_rect_color", "/ancient/depth_registered/image_rect"
    with ChildProcess("cameras", cameras, environment) as process:
        assert process.wait_for_line("ready", 30), process.last_lines()
        options = "--rgb", topics[0], "--depth", topics[1], "--count", 3, "--interval", 0.1
        text = recorded(environment, "--out", tmp_path / "mine", *options)
    assert f"{topics[0]}: an image was left out: the stamp is -1.000 s" in text
    assert len(DatasetFolder(tmp_path / "mine")) == 3


@pytest.mark.parametrize(
    ("rgb", "images", "said"),
    [
        ("/none/image", (), "nobody publishes /none/image; colour topics here: none"),
        (
            "/none/image",
            ("/b/rgb/image", "/a/color", "/a/depth", "/segmentation/color"),
            "nobody publishes /none/image; colour topics here: /a/color, /b/rgb/image",
        ),
        ("/a/color", ("/a/color",), "no depth topic beside /a/color"),
        ("", (), "no colour and depth topics"),
    ],
)
def test_a_camera_that_is_not_there_is_told_by_the_topic_that_is_missing(rgb, images, said) -> None:
    assert explain_lack(rgb, images, {}) == said


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--timeout", "1", "--rgb", "/nothing/image"], 1, "nobody publishes /nothing/image; colour topics here: "),
        (["/no/such.bag"], 1, "no bag at /no/such.bag"),
        ([str(ROOT / "config")], 1, "is no bag"),
        (["--every", "2", "--interval", "1"], 2, "give one"),
        (["--evry", "2"], 2, "no such option or argument: --evry"),
    ],
)
def test_what_cannot_be_recorded_gets_one_clear_line(
    tmp_path: Path, environment: dict[str, str], arguments: list[str], code: int, said: str
) -> None:
    assert said in recorded(environment, "--out", tmp_path / "mine", *arguments, code=code)
    assert not (tmp_path / "mine").exists()
