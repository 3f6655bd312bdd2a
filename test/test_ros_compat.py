"""Optional ROS packages and their stand-ins: each package is used where it works, and a broken one is harmless."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sensor_msgs", reason="needs ROS 2's messages")

from shared_data import ROOT
from std_msgs.msg import Header, String

from lcr_seg_ros.errors import LabelSetError
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.ros.compat.cv_bridge import choose_image_readers
from lcr_seg_ros.ros.compat.message_filters import choose_stamp_pairs
from lcr_seg_ros.ros.compat.vision_msgs import choose_label_info
from lcr_seg_ros.ros.label_announcements import labels_of_json, labels_to_json

WORKING_CV_BRIDGE = """
import numpy as np
class CvBridge:
    def imgmsg_to_cv2(self, message, desired_encoding="passthrough"):
        dtype, channels = {"16UC1": ("u2", 1), "mono16": ("u2", 1), "32FC1": ("f4", 1), "mono8": ("u1", 1)}.get(
            message.encoding, ("u1", 4 if "a" in message.encoding else 3))
        image = np.frombuffer(message.data, dtype).reshape(message.height, message.width, channels)
        if desired_encoding == "passthrough":
            return image[..., 0]
        image = np.dstack([image] * 3) if channels == 1 else image[..., :3]
        return image[..., ::-1] if message.encoding.startswith("bgr") else image
"""


def chosen(tmp_path: Path, package: str, source: str, expression: str) -> str:
    """What a new process chooses if a ``package`` with this source code is installed."""
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(source)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    module = f"lcr_seg_ros.ros.compat.{package}"
    command = [sys.executable, "-c", f"import {module} as m; print(m.{expression}()[1])"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_a_cv_bridge_that_works_is_used(tmp_path: Path):
    assert chosen(tmp_path, "cv_bridge", WORKING_CV_BRIDGE, "choose_image_readers") == "cv_bridge"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise AttributeError('_ARRAY_API not found')", "_ARRAY_API not found"),
        ("import os; os.abort()", "code -6"),
        (WORKING_CV_BRIDGE.replace("::-1", "::1"), "broken"),
    ],
    ids=["raises at import", "crashes", "gives wrong pixels"],
)
def test_a_cv_bridge_that_is_broken_is_left_alone(tmp_path: Path, source: str, reason: str):
    answer = chosen(tmp_path, "cv_bridge", source, "choose_image_readers")
    assert answer.startswith("our stand-in for cv_bridge (broken") and reason in answer


@pytest.mark.parametrize("source", ["raise RuntimeError('half installed')", "SimpleFilter = None"])
def test_a_message_filters_that_is_broken_is_left_alone(tmp_path: Path, source: str):
    answer = chosen(tmp_path, "message_filters", source, "choose_stamp_pairs")
    assert answer.startswith("our stand-in for message_filters")


def test_each_choice_says_what_is_used():
    for choose in (choose_image_readers, choose_stamp_pairs, choose_label_info):
        choice = choose()[1]
        assert choice.package in str(choice) and (choice.used or choice.reason)


def test_label_info_lists_the_ids_of_the_mask_with_their_names():
    labels = LabelSet.load("nyu40")
    form, choice = choose_label_info()
    if form is None:
        pytest.skip(f"vision_msgs has no LabelInfo here: {choice.reason}")
    message = form.build(labels, 0.25, Header(frame_id="camera"))
    assert {c.class_id: c.class_name for c in message.class_map} == {c.id: c.name for c in labels.classes}
    np.testing.assert_allclose(message.threshold, 0.25)


def test_labels_as_json_hold_what_a_viewer_needs():
    labels = LabelSet.load("nyu40")
    message = labels_to_json(labels, 0.25, Header(frame_id="camera"))
    content = json.loads(message.data)
    assert content["header"]["frame_id"] == "camera" and content["threshold"] == 0.25
    assert {c["class_id"]: c["class_name"] for c in content["class_map"]} == {c.id: c.name for c in labels.classes}
    read = labels_of_json(message)
    assert (read.name, read.void, read.names) == (labels.name, labels.void, labels.names)
    np.testing.assert_array_equal(read.palette, labels.palette)


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{",
        "[]",
        '{"class_map": [{"class_id": 1}]}',
        '{"class_map": 7, "name": "a"}',
        "[" * 200_000,
        " " * 1_000_001 + "[]",
    ],
    ids=lambda data: data[:40],
)
def test_json_of_others_is_refused(data: str):
    with pytest.raises(LabelSetError):
        labels_of_json(String(data=data))
