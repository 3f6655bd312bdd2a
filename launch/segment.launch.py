"""Start the segmentation node for a camera and, if asked, a map, RViz or a view in the browser.

ros2 launch lcr_seg_ros segment.launch.py camera:=realsense namespace:=/camera/camera rviz:=true
ros2 launch lcr_seg_ros segment.launch.py camera:=realsense namespace:=/camera/camera viewer:=rerun
ros2 launch lcr_seg_ros segment.launch.py camera:=realsense namespace:=/camera/camera map:=true map_frame:=odom

An argument left empty keeps the value in config/segment.yaml or config/map.yaml (or in ``params_file`` or
``map_params_file``): defaults are only there.
``ros2 launch lcr_seg_ros segment.launch.py --show-args`` lists all arguments.
"""

import difflib
import shlex
import sys
from pathlib import Path
from typing import List  # noqa: UP035  List is known to launch of every release

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription
from lcr_seg_ros.ros.camera_presets import CAMERAS, OWN_DEPTH_CAMERA_INFO, OWN_TOPICS, CameraPreset
from lcr_seg_ros.ros.environment import PROFILE_SWITCH, tuned_dds_environment

CONFIG = Path(__file__).resolve().parent.parent / "config"

INPUTS = {
    "rgb": OWN_TOPICS.rgb,
    "depth": OWN_TOPICS.depth,
    "camera_info": OWN_TOPICS.camera_info,
    "imu": OWN_TOPICS.imu,
    "depth_camera_info": OWN_DEPTH_CAMERA_INFO,
}

PARAMETERS = {
    "model": (str, "name of a shipped model, or path of a .lcrseg file; auto: nyu40, in int8 on a CPU"),
    "cameras": (
        List[str],  # noqa: UP006
        "'[front, rear]': cameras that share the network, each with its topics below its name; the topics given here, "
        "or meant by camera, are then below it too",
    ),
    "class_filter": (List[str], "'[chair, table]': classes to publish, others become 255"),  # noqa: UP006
    "model_folder": (str, "models by path are taken from below this folder only"),
    "backend": (str, "auto, openvino, onnxruntime or torch"),
    "device": (str, "auto, cpu or cuda"),
    "rgb_transport": (str, "raw or compressed: then RGB/compressed is listened to, as image_transport names it"),
    "depth_transport": (str, "raw, compressed or compressedDepth: then DEPTH/compressedDepth is listened to"),
    "registration": (str, "of depth to colour by the node: auto, off or parameters; needs depth_camera_info"),
    "confidence_threshold": (float, "0..1, pixels below it become 255 in the mask"),
    "gravity_source": (str, "estimate, imu, tf or fixed"),
    "gravity_frame": (str, "for tf: a frame whose z points up"),
    "camera_height": (float, "m above the floor, 0 if not known"),
    "slop": (float, "s, colour and depth stamps nearer than this are a pair"),
    "max_rate_hz": (float, "frames labelled a second, 0 for all"),
    "autostart": (bool, "configure and activate at once; false to leave that to a lifecycle manager"),
}

MAP_PARAMETERS = {
    "pose_source": (str, "where the camera's pose comes from: tf, odometry (see odometry) or depth (a slow camera)"),
    "map_frame": (str, "of the map; its z up for tf"),
    "camera_xyz": (List[float], "'[0.1, 0.0, 0.4]': for odometry, m, the optical frame in the frame that moves"),  # noqa: UP006
    "camera_rpy": (List[float], "'[-1.5708, 0.0, -1.5708]': for odometry, rad, of a camera that looks ahead"),  # noqa: UP006
    "voxel_size": (float, "m, edge of a voxel"),
}
"""Parameters of the node ``map``, under their own names; its ``file`` is the argument ``map_file``."""

FORMS = {
    bool: "true or false",
    float: "a number",
    List[str]: "a list such as [a, b]",  # noqa: UP006
    List[float]: "a list of numbers such as [0.1, 0.0, 0.4]",  # noqa: UP006
}
"""How values are written, of the types that text may fail to be."""

OF_LAUNCH = ("launch-prefix", "launch-prefix-filter", "emulate_tty", "sigterm_timeout", "sigkill_timeout")
"""Arguments that launch itself takes, for whatever file."""


def generate_launch_description() -> LaunchDescription:
    declared = [
        DeclareLaunchArgument(
            "camera",
            default_value="none",
            choices=list(CAMERAS),
            description="driver whose topic names to use; orbbec and kinect1 need their depth_registration:=true, "
            "realsense its align_depth.enable:=true",
        ),
        *(
            DeclareLaunchArgument(name, default_value="", description=f"topic in place of {topic}; wins over camera")
            for name, topic in INPUTS.items()
        ),
        DeclareLaunchArgument("namespace", default_value="", description="of the node; that of the camera's topics"),
        DeclareLaunchArgument("node_name", default_value="segment", description="name of the node"),
        DeclareLaunchArgument(
            "params_file", default_value=str(CONFIG / "segment.yaml"), description="parameters of the node"
        ),
        *(
            DeclareLaunchArgument(name, default_value="", description=f"{text}; empty: as in params_file")
            for name, (_, text) in PARAMETERS.items()
        ),
        DeclareLaunchArgument(
            "map",
            default_value="false",
            description="bring the labelled points together in a voxel map, on segmentation/map; one for each camera",
        ),
        DeclareLaunchArgument(
            "map_params_file", default_value=str(CONFIG / "map.yaml"), description="parameters of the map"
        ),
        *(
            DeclareLaunchArgument(name, default_value="", description=f"map: {text}; empty: as in map_params_file")
            for name, (_, text) in MAP_PARAMETERS.items()
        ),
        DeclareLaunchArgument(
            "map_file",
            default_value="",
            description="map: PLY file, written by /map/save and at the end, of several cameras with their names in "
            "it; empty: as in map_params_file",
        ),
        DeclareLaunchArgument("odometry", default_value="", description="map: topic, for pose_source:=odometry"),
        DeclareLaunchArgument(
            "use_sim_time", default_value="", description="take the time from /clock; empty: as in the parameter files"
        ),
        DeclareLaunchArgument(
            "respawn",
            default_value="false",
            description="start segment and map again when they end, whatever the reason; off by default, because what "
            "keeps one from starting, such as a model that is not there, would then repeat for ever",
        ),
        DeclareLaunchArgument("respawn_delay", default_value="2.0", description="s from the end to the next start"),
        DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn or error"),
        DeclareLaunchArgument(
            "dds_profile",
            default_value="true",
            description="use the shipped Fast DDS profile unless you have set one; without it images of this size do "
            "not arrive, and the camera's driver needs it too",
        ),
        DeclareLaunchArgument(
            "rviz", default_value="false", description="show the result, or that of the first camera, in RViz"
        ),
        DeclareLaunchArgument(
            "fixed_frame", default_value="", description="of RViz; empty: map_frame with a map, else the camera's"
        ),
        DeclareLaunchArgument(
            "viewer",
            default_value="none",
            choices=["none", "rerun"],
            description="rerun: show the result in a browser, at http://127.0.0.1:9090/ of this machine; "
            "needs pip install 'rerun-sdk>=0.39,<0.42'",
        ),
        DeclareLaunchArgument(
            "viewer_args", default_value="", description="options of `view`, e.g. '--host 0.0.0.0 --rate 2 --width 320'"
        ),
    ]
    names = [argument.name for argument in declared]
    return LaunchDescription([*declared, OpaqueFunction(function=_start, args=[names])])


def _start(context: LaunchContext, names: list) -> list:
    def given(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    def switched_on(name: str) -> bool:
        if given(name).lower() not in ("true", "1", "yes", "on", "false", "0", "no", "off", ""):
            raise ValueError(f"{name} must be {FORMS[bool]}, got {given(name)!r}")
        return given(name).lower() in ("true", "1", "yes", "on")

    def given_parameters(known: dict) -> dict:
        return {name: _parameter(context, name, kind) for name, (kind, _) in known.items() if given(name)}

    _warn_of_unknown_arguments(context, names)
    preset = CAMERAS[given("camera")]
    if given("cameras"):
        cameras = _parameter(context, "cameras", PARAMETERS["cameras"][0]).evaluate(context)
    else:
        cameras = _value_in(given("params_file"), "cameras")
    cameras = [str(name) for name in cameras or [] if name]
    remappings = _remappings([given(name) for name in INPUTS], preset, cameras)
    clock = {"use_sim_time": switched_on("use_sim_time")} if given("use_sim_time") else {}
    delay = _parameter(context, "respawn_delay", float).evaluate(context)
    respawn = {"respawn": switched_on("respawn"), "respawn_delay": delay}
    logging = ["--ros-args", "--log-level", given("log_level")]
    environment = tuned_dds_environment() if switched_on("dds_profile") else {PROFILE_SWITCH: "off"}
    actions = [SetEnvironmentVariable(name, value) for name, value in environment.items()]
    actions.append(
        LifecycleNode(
            package="lcr_seg_ros",
            executable="segment",
            name=given("node_name"),
            namespace=given("namespace"),
            parameters=[given("params_file"), {**given_parameters(PARAMETERS), **clock}],
            remappings=remappings,
            arguments=logging,
            output="screen",
            **respawn,
        )
    )
    if switched_on("map"):
        for camera in cameras or [""]:
            values = given_parameters({**MAP_PARAMETERS, "model": PARAMETERS["model"]})
            file = given("map_file") or (camera and _value_in(given("map_params_file"), "file"))
            actions.append(
                Node(
                    package="lcr_seg_ros",
                    executable="map-node",
                    name="map",
                    namespace=_below(given("namespace"), camera),
                    parameters=[given("map_params_file"), {**values, **_map_file(file, camera), **clock}],
                    remappings=[("odometry", given("odometry"))] if given("odometry") else [],
                    arguments=logging,
                    output="screen",
                    **respawn,
                )
            )
    if switched_on("rviz"):
        _require_rviz()
        frame = given("fixed_frame")
        if not frame and switched_on("map"):
            frame = given("map_frame") or _value_in(given("map_params_file"), "map_frame")
        actions.append(
            Node(
                package="rviz2",
                executable="rviz2",
                name="segment_rviz",
                namespace=_below(given("namespace"), *cameras[:1]),
                arguments=["-d", str(CONFIG / "segment.rviz"), "-f", frame or preset.frame_id],
                parameters=[clock],
                remappings=_remappings([given(name) for name in INPUTS], preset, []),
                output="screen",
            )
        )
    if given("viewer") == "rerun":
        options = [text for camera in cameras for text in ("--camera", camera)]
        for name in ("rgb_transport", "depth_transport"):
            transport = given(name) or _value_in(given("params_file"), name)
            options += [f"--{name.replace('_', '-')}", transport] if transport else []
        actions.append(
            Node(
                package="lcr_seg_ros",
                executable="view",
                name="segment_viewer",
                namespace=given("namespace"),
                arguments=["--node", given("node_name"), *options, *shlex.split(given("viewer_args"))],
                remappings=remappings,
                output="screen",
            )
        )
    return actions


def _warn_of_unknown_arguments(context: LaunchContext, names: list) -> None:
    """Tell which arguments of the command line this file does not have, which launch would take in silence.

    Not if it is included by another file, whose arguments they may be.
    """
    file = Path(__file__).name
    if all(Path(word).name != file for word in sys.argv):
        return
    for word in context.argv:
        name, is_argument, _ = word.partition(":=")
        if is_argument and name not in (*names, *OF_LAUNCH):
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}?" if near else "no name is like it, --show-args lists them all"
            get_logger(file).warning(f"there is no argument {name}, it is ignored: {hint}")


def _parameter(context: LaunchContext, name: str, kind: type) -> ParameterValue:
    """The value of an argument.

    Raises:
        ValueError: it cannot be read as such.
    """
    text = LaunchConfiguration(name).perform(context)
    try:
        if kind == List[float]:  # noqa: UP006  here, 0 is a number like 0.0
            return ParameterValue([float(number) for number in yaml.safe_load(text)], value_type=kind)
        parameter = ParameterValue(LaunchConfiguration(name), value_type=kind)
        parameter.evaluate(context)
        return parameter
    except (TypeError, ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{name} must be {FORMS[kind]}, got {text!r}") from error


def _require_rviz() -> None:
    """Refuse what launch would refuse when the node already runs, which it would leave behind.

    Raises:
        ValueError: RViz is not installed.
    """
    try:
        get_package_prefix("rviz2")
    except PackageNotFoundError as error:
        raise ValueError("rviz:=true needs RViz, which is not installed: apt install ros-$ROS_DISTRO-rviz2") from error


def _remappings(given: list, preset: CameraPreset, cameras: list) -> list:
    """Remappings of the node's inputs, for each camera: to the topics given, or else to those of the preset.

    Args:
        given: a topic for each of ``INPUTS``, or "".
        preset: topic names of the driver.
        cameras: names that relative topics are below; empty: one camera, without prefix.
    """
    usual = (preset.rgb, preset.depth, preset.camera_info, preset.imu, "")
    prefixes = [f"{camera}/" for camera in cameras] or [""]
    pairs = [(ours, mine or preset_name) for ours, mine, preset_name in zip(INPUTS.values(), given, usual, strict=True)]
    return [
        (prefix + ours, theirs if theirs.startswith("/") else prefix + theirs)
        for ours, theirs in pairs
        if theirs
        for prefix in prefixes
    ]


def _below(*names: str) -> str:
    """The namespaces joined, without empty ones."""
    return "/".join(name.rstrip("/") for name in names if name.rstrip("/"))


def _value_in(params_file: str, name: str):
    """The value of a parameter in a file, under any node's name; "" if it is not there. Needed for what follows from
    the node's parameters: topics, RViz's frame, the viewer's transports and the PLY files.

    Raises:
        ValueError: the file is not YAML. Of a file that is YAML of another form, the node says what it lacks.
    """
    try:
        content = yaml.safe_load(Path(params_file).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise ValueError(f"the parameter file {params_file} is not YAML: {error}") from error
    found = [node["ros__parameters"][name] for node in _nodes_of(content) if name in node["ros__parameters"]]
    return found[-1] if found else ""


def _nodes_of(content: object) -> list:
    """The parts of a parameter file that hold parameters; they may be nested in namespaces."""
    found = []
    for part in content.values() if isinstance(content, dict) else ():
        if isinstance(part, dict):
            found += [part] if isinstance(part.get("ros__parameters"), dict) else _nodes_of(part)
    return found


def _map_file(file: str, camera: str) -> dict:
    """The parameter ``file`` for the map of one camera: with several, each writes to a file of its own."""
    path = Path(file)
    return {"file": str(path.with_name(f"{path.stem}_{camera}{path.suffix}") if camera else path)} if file else {}
