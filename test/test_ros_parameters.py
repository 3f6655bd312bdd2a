"""Parameters: one file of defaults, descriptions and ranges, and refusals with a reason."""

from __future__ import annotations

import array
import math
import re
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
import yaml

from lcr_seg_ros.ros.environment import prepare_ros_environment

pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")
prepare_ros_environment()

import rclpy  # noqa: E402
from rcl_interfaces.msg import SetParametersResult  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from rclpy.signals import SignalHandlerOptions  # noqa: E402

from lcr_seg_ros.backends import BACKENDS, DEVICES  # noqa: E402
from lcr_seg_ros.errors import LcrSegError  # noqa: E402
from lcr_seg_ros.hha.settings import HhaSettings  # noqa: E402
from lcr_seg_ros.labels import LabelSet  # noqa: E402
from lcr_seg_ros.resources import CONFIG  # noqa: E402
from lcr_seg_ros.ros.map_parameters import MAP_SPECS, declare_map_parameters  # noqa: E402
from lcr_seg_ros.ros.model_loader import model_file  # noqa: E402
from lcr_seg_ros.ros.parameter_specs import ParameterError, unknown_parameters, why_unknown  # noqa: E402
from lcr_seg_ros.ros.parameters import (  # noqa: E402
    SPECS,
    ParameterHandler,
    SegmentParameters,
    check_class_filter,
    keeps,
    read_defaults,
)
from lcr_seg_ros.ros.ros_start import start_ros  # noqa: E402


@pytest.fixture()
def context() -> Iterator[Context]:
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    yield context
    rclpy.try_shutdown(context=context)


class HumbleNode(Node):
    """A node as in Humble, whose rclpy does not report that parameters have been set."""

    add_post_set_parameters_callback = None


class Declared:
    """A node on which our parameters are declared."""

    def __init__(self, context: Context, *arguments: str, node_type: type[Node] = Node) -> None:
        self.changes: list[tuple[SegmentParameters, SegmentParameters]] = []
        self.configured = False
        self.node = node_type("parameters", context=context, cli_args=["--ros-args", *arguments])
        self.handler = ParameterHandler(
            self.node, lambda: self.configured, lambda before, now, _: self.changes.append((before, now))
        )

    def set(self, name: str, value: object):
        return self.node.set_parameters([Parameter(name, value=value)])[0]


def test_file_specs_and_dataclass_have_the_same_names():
    assert read_defaults().keys() == SPECS.keys() == {field.name for field in fields(SegmentParameters)}


@pytest.mark.parametrize("text", ["[]", "['']"])
def test_a_list_of_nothing_is_written_in_two_ways(context, tmp_path, text):
    file = tmp_path / "mine.yaml"
    file.write_text(f"/**:\n  ros__parameters:\n    cameras: {text}\n")
    declared = Declared(context, "--params-file", str(file), "-p", f"class_filter:={text}")
    assert declared.handler.values.cameras == declared.handler.values.class_filter == ()
    assert declared.set("class_filter", ["chair"]).successful
    assert declared.set("class_filter", []).successful
    assert declared.handler.values.class_filter == ()


def test_names_and_ids_make_a_list(context):
    declared = Declared(context, "-p", "cameras:=[front, left/rear]", "-p", "class_filter:=[3, 5]")
    assert declared.handler.values.cameras == ("front", "left/rear")
    assert declared.handler.values.class_filter == (3, 5)


def test_every_default_passes_its_own_check_and_has_its_type():
    for name, value in read_defaults().items():
        assert type(value) is SPECS[name].type, name
        assert SPECS[name].checked(name, value) == value


def test_what_runs_the_network_and_where_is_what_the_backends_know():
    assert SPECS["backend"].choices == ("auto", *BACKENDS)
    assert SPECS["device"].choices == DEVICES


def test_every_default_is_explained_in_the_file():
    for line in (CONFIG / "segment.yaml").read_text().splitlines():
        if line.startswith("    ") and ":" in line and not line.strip().startswith("#"):
            assert "#" in line, line


def test_without_anything_given_the_defaults_hold(context):
    assert Declared(context).handler.values == SegmentParameters(**read_defaults())


def test_descriptors_carry_description_range_and_choices(context):
    node = Declared(context).node
    for name, spec in SPECS.items():
        descriptor = node.describe_parameter(name)
        assert descriptor.description == spec.description
        ranges = [*descriptor.floating_point_range, *descriptor.integer_range]
        # ROS has no ranges for the members of an array.
        assert [(r.from_value, r.to_value) for r in ranges] == (
            [spec.range] if spec.range and spec.type is not tuple else []
        )
        assert all(choice in descriptor.additional_constraints for choice in spec.choices)


def test_those_of_the_map_are_described_as_well_and_cannot_change_while_it_runs(context):
    node = Node("map", context=context)
    assert declare_map_parameters(node).pose_source == "tf"
    confidence = node.describe_parameter("min_confidence").floating_point_range
    assert [(one.from_value, one.to_value) for one in confidence] == [(0.0, 1.0)]
    assert node.describe_parameter("pose_source").additional_constraints == "One of tf, odometry, depth."
    result = node.set_parameters([Parameter("voxel_size", value=0.1)])[0]
    assert not result.successful and "read-only" in result.reason


def test_values_of_the_command_line_and_of_a_file_count(context, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("/**:\n  ros__parameters:\n    max_age: 0.5\n    queue_size: 3\n")
    values = Declared(context, "--params-file", str(file), "-p", "queue_size:=4").handler.values
    assert (values.max_age, values.queue_size) == (0.5, 4)


def test_a_parameter_file_that_is_not_there_is_named(tmp_path):
    missing = str(tmp_path / "none.yaml")
    with pytest.raises(LcrSegError) as refused:
        start_ros(["segment", "--ros-args", "-p", "slop:=0.01", "--params-file", missing])
    assert str(refused.value) == f"no parameter file at {missing}"


@pytest.mark.parametrize(
    "text", ["model: nyu40\n", "/**:\n  model: nyu40\n", "/**:\n  ros__parameters:\n  model: [a\n"]
)
def test_a_malformed_parameter_file_is_shown_the_form_and_no_places_in_sources_of_c(tmp_path, text):
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(LcrSegError) as refused:
        start_ros(["segment", "--ros-args", "--params-file", str(file)])
    said = str(refused.value)
    assert str(file) in said and "Cannot have a value before ros__parameters at line " in said
    assert ".c:" not in said
    assert said.endswith("form:\n/**:\n  ros__parameters:\n    model: nyu40")


def test_a_remapping_that_ros_does_not_read_is_named_without_the_form_of_files():
    with pytest.raises(LcrSegError, match="Couldn't parse remap rule: '-r rgb'") as refused:
        start_ros(["segment", "--ros-args", "-r", "rgb"])
    assert ".c:" not in str(refused.value) and "ros__parameters" not in str(refused.value)


def test_a_whole_number_is_as_good_as_a_decimal_one(context):
    declared = Declared(context, "-p", "max_rate_hz:=10")
    assert declared.handler.values.max_rate_hz == 10.0
    assert declared.set("max_age", 2).successful
    assert type(declared.handler.values.max_age) is float


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("slop:=abc", "slop must be float, got 'abc'"),
        ("queue_size:=2.5", "queue_size must be int, got 2.5"),
        ("queue_size:=0", "queue_size"),
        ("confidence_threshold:=1.5", "confidence_threshold"),
        ("confidence_threshold:=.nan", "confidence_threshold"),
        ("backend:=abacus", "backend must be one of auto, openvino"),
        ("device:=gpu", "device must be one of auto, cpu, cuda, got 'gpu'"),
        ("device:=cuda:0", "device must be one of auto, cpu, cuda, got 'cuda:0'"),
        ("enabled:=1", "enabled must be bool, got 1"),
        ("gravity_source:=gps", "gravity_source must be one of estimate, imu, tf, fixed, got 'gps'"),
        ("gravity_pitch:=30.0", "gravity_pitch must be -1.5708..1.5708, got 30.0"),  # in degrees
        ("gravity_vector:=[0.0, 1.0]", "gravity_vector must be three numbers of -1000..1000, like [0.0, 1.0, 0.0]"),
        (
            "gravity_vector:=down",
            "gravity_vector must be three numbers of -1000..1000, like [0.0, 1.0, 0.0], got 'down'",
        ),
        ("gravity_vector:=[.nan, 0.0, 0.0]", "got [nan, 0.0, 0.0]"),
        ("imu_rotation_rpy:=[90.0, 0.0, 0.0]", "imu_rotation_rpy must be three numbers of -6.2832..6.2832"),
        ("imu_time_constant:=0.0", "imu_time_constant"),
        ("camera_height:=-1.0", "camera_height"),
        ('gravity_frame:=""', "gravity_frame must not be empty"),
        ("floor:=lowest", "floor must be one of model, min, robust, got 'lowest'"),
        ("depth_smoothing:=strong", "depth_smoothing must be one of model, off, auto, on, got 'strong'"),
        ('model:=""', "model must not be empty"),
        ("cameras:=[front, front]", "cameras must name each once"),
        ("cameras:=[2nd]", "cameras must be names of letters, digits and _ that begin with a letter, got '2nd'"),
        ("cameras:=[/front]", "got '/front'"),
        ("cameras:=front", "cameras must be a list of names, like [one, two], got 'front'"),
        ("class_filter:=[0.5]", "class_filter must be a list of names"),
    ],
)
def test_a_start_with_an_unusable_value_is_refused_with_the_reason(context, given, reason):
    with pytest.raises(ParameterError, match=re.escape(reason)):
        Declared(context, "-p", given)


def test_a_vector_is_three_numbers_whole_or_not(context):
    declared = Declared(context, "-p", "gravity_vector:=[0, 0, 1]")
    assert declared.handler.values.gravity_vector == (0.0, 0.0, 1.0)
    assert declared.set("gravity_vector", [0.0, 0.5, 0.5]).successful
    assert declared.handler.values.gravity_vector == (0.0, 0.5, 0.5)
    result = declared.set("gravity_vector", [0.0, 1.0, 0.0, 0.0])
    assert not result.successful and "must be three numbers" in result.reason


@pytest.mark.parametrize("value", ["on", "off", "'on'"])
def test_on_and_off_mean_what_they_say_although_yaml_takes_them_for_bools(context, value):
    assert Declared(context, "-p", f"depth_smoothing:={value}").handler.values.depth_smoothing == value.strip("'")


@pytest.mark.parametrize("node_type", [Node, HumbleNode])
def test_a_change_is_passed_on_with_what_was_before(context, node_type):
    declared = Declared(context, node_type=node_type)
    assert declared.set("confidence_threshold", 0.25).successful
    ((before, now),) = declared.changes
    assert (before.confidence_threshold, now.confidence_threshold) == (0.0, 0.25)
    assert declared.handler.values is now


@pytest.mark.skipif(
    not hasattr(Node, "add_post_set_parameters_callback"), reason="this rclpy does not tell when parameters are set"
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_another_callback_refuses_is_not_used(context, when):
    def refuse(parameters: list[Parameter]) -> SetParametersResult:
        return SetParametersResult(successful=all(p.value != 0.25 for p in parameters), reason="not today")

    class Refusing(Node):
        """rclpy calls the callback that was added last first."""

        def add_on_set_parameters_callback(self, callback):
            kinds = [callback, refuse] if when == "before" else [refuse, callback]
            for one in kinds:
                super().add_on_set_parameters_callback(one)

    declared = Declared(context, node_type=Refusing)
    result = declared.set("confidence_threshold", 0.25)
    assert (result.successful, result.reason) == (False, "not today")
    assert declared.handler.values.confidence_threshold == 0.0 and not declared.changes
    assert declared.set("confidence_threshold", 0.5).successful
    assert [now.confidence_threshold for _, now in declared.changes] == [0.5]


def test_several_that_are_set_at_once_are_one_change(context):
    declared = Declared(context)
    both = [Parameter("confidence_threshold", value=0.25), Parameter("overlay_opacity", value=0.75)]
    assert declared.node.set_parameters_atomically(both).successful
    ((_, now),) = declared.changes
    assert (now.confidence_threshold, now.overlay_opacity) == (0.25, 0.75)
    both = [Parameter("confidence_threshold", value=0.5), Parameter("overlay_opacity", value=7.5)]
    assert not declared.node.set_parameters_atomically(both).successful
    assert declared.handler.values is now


@pytest.mark.parametrize(
    ("name", "value"), [("overlay_opacity", -0.1), ("slop", 0), ("label_encoding", "rgb8"), ("device", "gpu")]
)
def test_a_change_out_of_range_is_refused_and_changes_nothing(context, name, value):
    declared = Declared(context)
    result = declared.set(name, value)
    assert not result.successful and name in result.reason
    assert not declared.changes


def test_what_is_in_use_can_change_only_before_configuring(context):
    declared = Declared(context)
    assert declared.set("floor", "min").successful
    declared.configured = True
    result = declared.set("floor", "robust")
    assert not result.successful and "in use" in result.reason
    assert declared.handler.values.floor == "min"
    assert declared.set("enabled", False).successful


def test_setting_a_value_again_is_no_change(context):
    declared = Declared(context)
    declared.configured = True
    assert declared.set("floor", declared.handler.values.floor).successful
    assert not declared.changes


def test_a_model_that_is_set_again_is_told_because_its_file_may_have_changed(context):
    declared = Declared(context)
    checked: list[bool] = []
    declared.handler._check = lambda before, now, names_model: checked.append(names_model)
    assert declared.set("model", declared.handler.values.model).successful
    assert declared.set("overlay_opacity", 0.125).successful
    assert checked == [True, False] and [before == now for before, now in declared.changes] == [True, False]


def test_what_decides_where_files_come_from_is_for_the_start_alone(context):
    declared = Declared(context, "-p", "model_folder:=/models")
    assert declared.handler.values.model_folder == "/models"
    assert not declared.set("model_folder", "").successful


def test_a_change_that_cannot_work_is_refused_with_the_reason_and_changes_nothing(context):
    declared = Declared(context)

    def refuse(before: SegmentParameters, now: SegmentParameters, names_model: bool) -> None:
        raise ParameterError(f"no {now.model} here")

    declared.handler._check = refuse
    result = declared.set("model", "other")
    assert (result.successful, result.reason) == (False, "no other here")
    assert declared.handler.values.model == "auto" and not declared.changes


class TestCamerasWithParametersOfTheirOwn:
    def test_what_a_camera_has_for_itself_wins_over_the_nodes(self, context):
        of = Declared(
            context, "-p", "cameras:=[front, left/rear]", "-p", "gravity_pitch:=0.1", "-p", "camera_height:=1.2",
            "-p", "left/rear.gravity_pitch:=0.5", "-p", "left/rear.registration_xyz:=[1, 0, 0]",
        ).handler.of_camera  # fmt: skip
        front, rear = of("front"), of("left/rear")
        assert (front.gravity_pitch, front.camera_height, front.registration_xyz) == (0.1, 1.2, (0.0, 0.0, 0.0))
        assert (rear.gravity_pitch, rear.camera_height, rear.registration_xyz) == (0.5, 1.2, (1.0, 0.0, 0.0))

    def test_they_stand_in_a_file_below_the_cameras_name(self, context, tmp_path):
        file = tmp_path / "mine.yaml"
        file.write_text("/**:\n  ros__parameters:\n    cameras: [front, rear]\n    rear:\n      gravity_source: imu\n")
        handler = Declared(context, "--params-file", str(file)).handler
        assert handler.of_camera("rear").gravity_source == "imu"
        assert handler.of_camera("front").gravity_source == "estimate"

    def test_a_file_of_ros2_param_dump_can_be_given_again(self, context, tmp_path):
        """It has null for parameters that are not set."""
        node = Declared(context, "-p", "cameras:=[front]", "-p", "front.gravity_pitch:=0.5").node
        dumped: dict[str, dict[str, object]] = {"front": {}}
        for name in SPECS:
            value = node.get_parameter(name).value
            dumped[name] = list(value) if isinstance(value, array.array) else value
            if node.has_parameter(f"front.{name}"):
                dumped["front"][name] = node.get_parameter(f"front.{name}").value
        assert dumped["front"]["camera_height"] is None
        file = tmp_path / "dumped.yaml"
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": dumped}}))
        handler = Declared(context, "--params-file", str(file)).handler
        assert handler.of_camera("front") == replace(handler.values, gravity_pitch=0.5)
        assert handler.values == replace(SegmentParameters(**read_defaults()), cameras=("front",))

    def test_a_camera_without_a_name_has_the_nodes(self, context):
        handler = Declared(context, "-p", "gravity_pitch:=0.1").handler
        assert handler.of_camera("") is handler.values

    @pytest.mark.parametrize("node_type", [Node, HumbleNode])
    def test_they_are_set_until_the_node_is_configured(self, context, node_type):
        declared = Declared(context, "-p", "cameras:=[front, rear]", node_type=node_type)
        assert declared.set("rear.camera_height", 2).successful
        assert declared.handler.of_camera("rear").camera_height == 2.0
        declared.configured = True
        result = declared.set("rear.camera_height", 1.0)
        assert not result.successful and result.reason.startswith("rear.camera_height is in use")
        assert declared.set("rear.camera_height", 2.0).successful, "as it is"
        assert declared.set("class_filter", ["chair"]).successful
        assert declared.handler.of_camera("rear").class_filter == ("chair",)
        assert declared.handler.of_camera("rear").camera_height == 2.0

    @pytest.mark.parametrize(
        ("given", "reason"),
        [
            ("rear.gravity_source:=gps", "rear.gravity_source must be one of estimate, imu, tf, fixed, got 'gps'"),
            ("rear.camera_height:=-1.0", "rear.camera_height must be 0..100, got -1.0"),
            ("rear.registration_rpy:=[0.0, 1.0]", "rear.registration_rpy must be three numbers of"),
        ],
    )
    def test_what_cannot_be_is_refused_with_its_full_name(self, context, given, reason):
        with pytest.raises(ParameterError, match=re.escape(reason)):
            Declared(context, "-p", "cameras:=[front, rear]", "-p", given)
        name, _, value = given.partition(":=")
        declared = Declared(context, "-p", "cameras:=[front, rear]")
        result = declared.set(name, value)
        assert not result.successful and name in result.reason

    def test_a_camera_that_comes_later_gets_what_was_given_at_the_start(self, context):
        declared = Declared(context, "-p", "rear.gravity_pitch:=0.5")
        assert declared.set("cameras", ["rear"]).successful
        declared.handler.declare_for_cameras()
        assert declared.handler.of_camera("rear").gravity_pitch == 0.5

    def test_what_is_taken_away_stays_away_whatever_was_given_at_the_start(self, context):
        declared = Declared(context, "-p", "cameras:=[rear]", "-p", "rear.gravity_pitch:=0.5")
        assert declared.set("rear.gravity_pitch", None).successful
        assert declared.handler.of_camera("rear").gravity_pitch == 0.0
        declared.handler.declare_for_cameras()
        assert declared.handler.of_camera("rear").gravity_pitch == 0.0
        assert declared.set("rear.gravity_pitch", 0.25).successful, "and can be given again"
        assert declared.handler.of_camera("rear").gravity_pitch == 0.25

    def test_what_no_camera_can_have_for_itself_is_unknown(self):
        given = ["rear.gravity_pitch", "rear.model", "raer.gravity_pitch", "gravity_pitch"]
        assert unknown_parameters(given, SPECS, ["front", "rear"]) == ["raer.gravity_pitch", "rear.model"]


LABELS = LabelSet.load("nyu40")


def test_a_class_filter_names_classes_or_their_ids():
    check_class_filter(("chair", 3, "7"), LABELS)
    kept = [one.id for one in LABELS.classes if keeps(("chair", 3, "7"), one)]
    assert kept == [3, 5, 7]
    assert all(keeps((), one) for one in LABELS.classes)


@pytest.mark.parametrize(
    ("member", "hint"),
    [("chiar", "did you mean chair?"), ("helicopter", "there are wall, floor, cabinet"), (99, "there are wall")],
)
def test_a_class_that_there_is_not_is_refused_with_those_there_are(member, hint):
    with pytest.raises(ParameterError, match=re.escape(f"class_filter names {member!r}")) as refused:
        check_class_filter((member,), LABELS)
    assert hint in str(refused.value)


@pytest.mark.parametrize("is_older", [False, True])
def test_a_filter_that_a_new_model_does_not_fit_is_refused_with_the_ways_out(is_older):
    with pytest.raises(ParameterError) as refused:
        check_class_filter(("helicopter",), LABELS, is_older)
    remedy = "; clear class_filter first, or set both at once (~/set_parameters_atomically)"
    assert str(refused.value).endswith(remedy) == is_older


def test_names_that_nobody_declared_are_found():
    given = ["model", "modle", "use_sim_time", "qos_overrides./rgb.subscription.depth"]
    assert unknown_parameters(given, SPECS) == ["modle"]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("confidence_treshold", "did you mean confidence_threshold?"),
        ("front.gravity_ptich", "did you mean front.gravity_pitch?"),
        ("front.model", "`model` is the same for all cameras"),
        ("rear.gravity_pitch", "no camera `rear` in cameras, there are front, left/side"),
        ("rear.model", "no camera `rear` in cameras, there are front, left/side"),
        ("xyzzy", "no name is like it"),
    ],
)
def test_a_name_that_nobody_declared_is_explained(name, why):
    cameras = ("front", "left/side")
    assert unknown_parameters([name], SPECS, cameras) == [name]
    assert why_unknown(name, SPECS, cameras) == why


def test_a_cameras_own_parameter_without_cameras_is_explained():
    assert why_unknown("rear.gravity_pitch", SPECS) == "no camera `rear` in cameras, it is empty"
    assert why_unknown("voxel_sise", MAP_SPECS) == "did you mean voxel_size?"


def with_values(**values: object) -> SegmentParameters:
    return replace(SegmentParameters(**read_defaults()), **values)


def test_without_a_wish_the_model_sees_depth_as_it_was_trained():
    trained = HhaSettings(min_depth_m=0.4, max_depth_m=8.0, floor="robust", smoothing="auto", upright=(1.0, 0.0, 0.0))
    assert with_values().hha_settings(trained) == trained


def test_wishes_about_depth_win_over_the_training():
    wishes = with_values(min_depth=0.3, max_depth=10.0, floor="min", depth_smoothing="off", gravity_roll=math.pi)
    settings = wishes.hha_settings(HhaSettings(0.4, 8.0, "robust", "auto"))
    assert (settings.min_depth_m, settings.max_depth_m, settings.floor, settings.smoothing) == (0.3, 10.0, "min", "off")
    assert settings.upright == pytest.approx((0, -1, 0))


def test_depth_limits_that_leave_nothing_are_refused():
    with pytest.raises(ParameterError, match=r"min_depth.*got 8 and 4"):
        with_values(min_depth=8.0, max_depth=4.0).hha_settings(HhaSettings())


def test_the_mounting_is_the_vector_or_else_roll_and_pitch():
    assert with_values().mounted_down == pytest.approx((0, 1, 0))
    assert with_values(gravity_pitch=math.pi / 6).mounted_down == pytest.approx((0, math.sqrt(3) / 2, 0.5))
    both = with_values(gravity_pitch=0.5, gravity_vector=(0.0, 0.0, 500.0))
    assert both.mounted_down == pytest.approx((0, 0, 1))


@pytest.mark.parametrize(
    ("backend", "device", "name"),
    [("openvino", "auto", "nyu40-int8"), ("torch", "cpu", "nyu40"), ("auto", "cuda", "nyu40")],
)
@pytest.mark.parametrize("folder", ["", "/somewhere"])  # what ships may be taken whatever the folder
def test_the_nodes_own_choice_of_a_model_follows_backend_and_device(
    backend: str, device: str, name: str, folder: str
) -> None:
    pytest.importorskip("openvino", reason="needs pip install openvino")
    values = with_values(backend=backend, device=device, model_folder=folder)
    assert values.model == "auto"
    assert model_file(values).stem == name
