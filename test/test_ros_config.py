"""Configuration files for ROS: DDS profile, RViz layout, launch file."""

from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from shared_data import ROOT

from lcr_seg_ros.resources import CONFIG
from lcr_seg_ros.ros.segment_command import command

MIB = 1 << 20
NAMESPACE = "{http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles}"


def dds_transports() -> dict[str, dict[str, str]]:
    tree = ElementTree.parse(CONFIG / "fastdds.xml")
    transports = {}
    for descriptor in tree.iter(f"{NAMESPACE}transport_descriptor"):
        values = {child.tag.removeprefix(NAMESPACE): (child.text or "").strip() for child in descriptor}
        transports[values["transport_id"]] = values
    return transports


def test_the_dds_profile_is_the_default_participants_and_uses_only_its_own_transports():
    (participant,) = ElementTree.parse(CONFIG / "fastdds.xml").iter(f"{NAMESPACE}participant")
    assert participant.get("is_default_profile") == "true"
    used = [e.text for e in participant.iter(f"{NAMESPACE}transport_id")]
    assert sorted(filter(None, used)) == sorted(dds_transports())
    assert [e.text for e in participant.iter(f"{NAMESPACE}useBuiltinTransports")] == ["false"]


def test_the_dds_profile_has_room_for_images():
    by_type = {values["type"]: values for values in dds_transports().values()}
    assert int(by_type["SHM"]["segment_size"]) == 64 * MIB and int(by_type["SHM"]["maxMessageSize"]) == 8 * MIB
    assert int(by_type["UDPv4"]["sendBufferSize"]) == int(by_type["UDPv4"]["receiveBufferSize"]) == 8 * MIB
    assert by_type["UDPv4"]["non_blocking_send"] == "false"


def test_the_dds_profile_makes_up_for_a_missed_discovery_within_half_a_second():
    (participant,) = ElementTree.parse(CONFIG / "fastdds.xml").iter(f"{NAMESPACE}participant")
    (period,) = participant.iter(f"{NAMESPACE}leaseAnnouncement")
    parts = {child.tag.removeprefix(NAMESPACE): int(child.text or "0") for child in period}
    assert parts["sec"] + parts["nanosec"] * 1e-9 <= 0.5


def test_rviz_shows_colour_overlay_classes_with_their_legend_status_coloured_cloud_and_map():
    displays = yaml.safe_load((CONFIG / "segment.rviz").read_text())["Visualization Manager"]["Displays"]
    shown = {display["Topic"]["Value"]: display for display in displays}
    assert shown.keys() == {
        "rgb/image_rect_color",
        "segmentation/overlay",
        "segmentation/color",  # not the mask, whose ids RViz draws nearly black
        "segmentation/legend",
        "segmentation/status",
        "segmentation/points",
        "segmentation/map",
    }
    assert shown["rgb/image_rect_color"]["Topic"]["Reliability Policy"] == "Best Effort"
    assert shown["segmentation/points"]["Color Transformer"] == shown["segmentation/map"]["Color Transformer"] == "RGB8"
    latched = {topic for topic, one in shown.items() if one["Topic"]["Durability Policy"] == "Transient Local"}
    assert latched == {"segmentation/map", "segmentation/legend"}  # as their publishers are
    assert all(display["Enabled"] for display in displays)


def test_every_dock_that_the_rviz_layout_places_is_a_panel_or_an_image_that_it_has():
    layout = yaml.safe_load((CONFIG / "segment.rviz").read_text())
    images = {d["Name"] for d in layout["Visualization Manager"]["Displays"] if d["Class"].endswith("/Image")}
    docks = {name for name, value in layout["Window Geometry"].items() if isinstance(value, dict)}
    assert docks == images | {panel["Name"] for panel in layout["Panels"]}


def test_the_guide_calls_the_saved_view_by_its_name():
    layout = yaml.safe_load((CONFIG / "segment.rviz").read_text())
    (view,) = layout["Visualization Manager"]["Views"]["Saved"]
    guide = (ROOT / "docs" / "how_to" / "rviz_foxglove.md").read_text(encoding="utf-8")
    assert f"*{view['Name']}*" in " ".join(guide.split())


def test_rviz_looks_from_behind_the_camera_with_its_up_on_top():
    """In the camera's optical frame, z points forward and y down; the Orbit view rotates about the frame's z axis."""
    view = yaml.safe_load((CONFIG / "segment.rviz").read_text())["Visualization Manager"]["Views"]["Current"]
    assert view["Class"] == "rviz_default_plugins/Orbit" and not view["Invert Z Axis"]
    yaw, pitch = view["Yaw"], view["Pitch"]
    back = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), np.sin(pitch)])
    eye = np.array([view["Focal Point"][axis] for axis in "XYZ"]) + view["Distance"] * back
    assert eye[2] < 0 and eye[1] < 0 and abs(eye[0]) < 0.01  # behind and above the camera
    up = np.array([0, 0, 1]) - back[2] * back  # up in the picture: the part of z orthogonal to the view
    assert up[1] < 0


def test_the_launch_file_declares_its_arguments_and_defaults_only_what_is_not_in_the_parameter_file():
    pytest.importorskip("launch_ros", reason="needs a ROS installation with launch_ros")
    spec = importlib.util.spec_from_file_location("segment_launch", ROOT / "launch" / "segment.launch.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    arguments = {a.name: a for a in module.generate_launch_description().get_launch_arguments()}
    files = (CONFIG / f"{node}.yaml" for node in ("segment", "map"))
    parameters = {name for file in files for name in yaml.safe_load(file.read_text())["/**"]["ros__parameters"]}
    assert {"camera", "rgb", "depth", "camera_info", "rviz", "dds_profile", "use_sim_time", "map"} <= arguments.keys()
    for name in arguments.keys() & parameters:
        assert "".join(part.text for part in arguments[name].default_value) == ""


@pytest.mark.parametrize("words", [["model:=nyu4"], ["--model", "nyu4"], ["--camera-height=1.2"]])
def test_a_parameter_given_as_to_a_launch_file_is_refused_and_not_taken_for_a_topic(words: list[str]) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")
    name = "camera_height" if "height" in words[0] else "model"
    answer = CliRunner().invoke(command, words)
    assert answer.exit_code == 2
    assert f"{name} is a parameter of the node: --ros-args -p {name}:=VALUE" in answer.output
