"""Three processes on real DDS: `segment` publishes for `play`'s frames what `predict` writes for the same files.

`play` is the camera, `segment` the node, and a receiver gathers images and masks. Rates are low, so that nearly every
frame gets its mask on a slow machine too; how many it manages at camera rate is the demo's business.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
import yaml
from model_under_test import model_under_test
from receiver import Received, load
from shared_data import ROOT, shared_data

from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.ros.environment import prepare_ros_environment
from lcr_seg_ros.ros.processes import ChildProcess, isolated_ros_environment
from lcr_seg_ros.sources.folder import DatasetFolder, write_folder
from lcr_seg_ros.sources.rooms import RenderedRoom

pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")
prepare_ros_environment()

from lcr_seg_ros.ros.player import PublishedFrame, read_index  # noqa: E402

RGB, MASK = "rgb/image_rect_color", "segmentation/mask"
SPLIT = "played"
RATE_HZ = 4
ARRIVING = 0.9
"""Share of the frames that must get a mask, at this rate and beside whatever else the machine does."""


class Played(NamedTuple):
    """One dataset folder that went through the chain: what `play` says it sent, and what arrived."""

    folder: Path
    frame_id: str
    frames: list[PublishedFrame]
    images: dict[int, Received]
    masks: dict[int, Received]


@pytest.fixture(scope="module")
def room(tmp_path_factory) -> Played:
    """Frames of the rendered room as files, through the chain. Needs nothing but this repository."""
    folder = tmp_path_factory.mktemp("room")
    write_folder(RenderedRoom(frames=16, seed=3), folder, split=SPLIT)
    (played,) = play_through_node([folder], tmp_path_factory.mktemp("room_run"))
    return played


@pytest.fixture(scope="module")
def kinect(tmp_path_factory) -> dict[str, Played]:
    """60 consecutive frames of a kitchen with holes and noise, and 40 annotated frames of NYUDv2, of real Kinects."""
    kitchen = link_dataset(shared_data("kitchen"), tmp_path_factory.mktemp("kitchen"), count=60)
    intrinsics = {"fx": 585, "fy": 585, "cx": 320, "cy": 240, "width": 640, "height": 480}
    (kitchen / "intrinsics.yaml").write_text(yaml.safe_dump(intrinsics))
    nyudv2 = link_dataset(shared_data("nyudv2"), tmp_path_factory.mktemp("nyudv2"), count=40, split="val")
    played = play_through_node([kitchen, nyudv2], tmp_path_factory.mktemp("kinect_run"))
    return dict(zip(("kitchen", "nyudv2"), played, strict=True))


@pytest.fixture(params=["room", "kitchen", "nyudv2"])
def played(request) -> Played:
    return (
        request.getfixturevalue("room") if request.param == "room" else request.getfixturevalue("kinect")[request.param]
    )


@pytest.fixture(params=["room", "nyudv2"])
def annotated(request) -> Played:
    return (
        request.getfixturevalue("room") if request.param == "room" else request.getfixturevalue("kinect")[request.param]
    )


def test_the_frames_of_the_folder_are_played_in_order_and_get_masks(played):
    assert [frame.name for frame in played.frames] == DatasetFolder(played.folder, SPLIT).names
    assert len(played.masks) >= ARRIVING * len(played.frames)


def test_every_mask_has_stamp_frame_id_and_size_of_its_image(played):
    sent = {frame.stamp_ns: frame for frame in played.frames}
    for stamp_ns, mask in played.masks.items():
        assert (mask.width, mask.height) == (sent[stamp_ns].width, sent[stamp_ns].height) == (640, 480)
        assert mask.frame_id == played.frame_id == "camera_rgb_optical_frame"
        assert mask.encoding == "mono8"
    both = played.masks.keys() & played.images.keys()  # best effort: the receiver may miss an image that the node got
    assert len(both) >= len(played.masks) / 2
    for stamp_ns in both:
        mask, image = played.masks[stamp_ns], played.images[stamp_ns]
        assert (mask.frame_id, mask.width, mask.height) == (image.frame_id, image.width, image.height)


def test_masks_hold_class_ids_of_the_label_set(played):
    ids = LabelSet.load("nyu40").ids
    assert all(np.isin(np.unique(mask.pixels), ids).all() for mask in played.masks.values())


def test_masks_are_byte_identical_to_what_predict_writes(played, tmp_path):
    run_command("predict", "--model", model_under_test(), "--data", played.folder, "--split", SPLIT, "--out", tmp_path)
    for frame in labelled_frames(played):
        predicted = cv2.imread(str(tmp_path / "labels" / f"{frame.name}.png"), cv2.IMREAD_UNCHANGED)
        assert predicted.dtype == np.uint8
        assert np.array_equal(played.masks[frame.stamp_ns].pixels, predicted), frame.name


def test_pixel_accuracy_of_the_masks_is_what_evaluate_reports(annotated, tmp_path):
    frames = labelled_frames(annotated)
    (annotated.folder / "arrived.txt").write_text("\n".join(frame.name for frame in frames))
    arrived = DatasetFolder(annotated.folder, "arrived")
    correct = total = 0
    for frame, item in zip(frames, arrived, strict=True):
        total += np.count_nonzero(item.labels)
        correct += np.count_nonzero((annotated.masks[frame.stamp_ns].pixels == item.labels) & (item.labels > 0))
    out = tmp_path / "scores.json"
    run_command("evaluate", "--model", model_under_test(), "--data", arrived.path, "--split", "arrived", "--json", out)
    scores = json.loads(out.read_text())
    assert scores["frames"] == len(frames)
    assert correct / total == pytest.approx(scores["pixel_acc"], abs=1e-6)


def labelled_frames(played: Played) -> list[PublishedFrame]:
    """The frames whose masks arrived, in order."""
    return [frame for frame in played.frames if frame.stamp_ns in played.masks]


def play_through_node(folders: Sequence[Path], scratch: Path) -> list[Played]:
    """Start receiver and node, play each folder once, end everything by its process id."""
    environment = isolated_ros_environment() | {"PYTHONPATH": str(ROOT)}
    python = [sys.executable, "-m", "lcr_seg_ros"]
    receiver_command = [sys.executable, str(ROOT / "test/receiver.py"), str(scratch / "received.npz")]
    # Frames that wait longer than a second are dropped by default; here each is to be labelled, however slowly.
    node_command = [*python, "segment", "--ros-args", "-p", f"model:={model_under_test()}", "-p", "max_age:=0.0"]
    with ExitStack() as children:
        topics = (f"{RGB}=best_effort", f"{MASK}=reliable")
        receiver = children.enter_context(ChildProcess("receiver", [*receiver_command, *topics], environment))
        node = children.enter_context(ChildProcess("node", node_command, environment))
        assert receiver.wait_for_line("ready", 30), receiver.last_lines()
        for n, folder in enumerate(folders):
            arguments = ["--split", SPLIT, "--rate", str(RATE_HZ), "--index", str(scratch / f"index_{n}.json")]
            play_command = [*python, "play", str(folder), *arguments, "--wait-for-subscriber", "--start-delay", "1"]
            # The receiver listens to colour too, so `--wait-for-subscriber` alone would not wait for the node.
            assert node.wait_for_line("[segment]: active", 90), node.last_lines()
            with ChildProcess("play", play_command, environment) as play:
                assert play.wait(90) == 0, f"{play.last_lines()}\n{node.last_lines()}"
            time.sleep(1.0)  # the last mask is on its way
        receiver.end()
    received = load(scratch / "received.npz")
    images = {r.stamp_ns: r for r in received[RGB]}
    masks = {r.stamp_ns: r for r in received[MASK]}
    assert len(masks) == len(received[MASK]), "a mask came twice"
    runs = []
    for n, folder in enumerate(folders):
        frame_id, frames = read_index(scratch / f"index_{n}.json")
        stamps = {frame.stamp_ns for frame in frames}
        runs.append(Played(folder, frame_id, frames, within(stamps, images), within(stamps, masks)))
    strays = masks.keys() - {frame.stamp_ns for run in runs for frame in run.frames}
    assert not strays, "masks with stamps that no image had"
    return runs


def within(stamps: set[int], received: dict[int, Received]) -> dict[int, Received]:
    return {stamp_ns: message for stamp_ns, message in received.items() if stamp_ns in stamps}


def link_dataset(source: Path, folder: Path, count: int, split: str | None = None) -> Path:
    """A folder that shows the first ``count`` frames of a dataset, in place, as split :data:`SPLIT`."""
    for part in ("rgb", "depth", "label40"):
        if (source / part).is_dir():
            (folder / part).symlink_to(source / part)
    names = DatasetFolder(source, split).names[:count]
    (folder / f"{SPLIT}.txt").write_text("\n".join(names) + "\n")
    return folder


def run_command(*arguments: object) -> None:
    command = [sys.executable, "-m", "lcr_seg_ros", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
