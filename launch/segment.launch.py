"""Start the segmentation node for a camera, and RViz or a view in the browser if asked.

ros2 launch lcr_seg_ros segment.launch.py camera:=realsense namespace:=/camera/camera rviz:=true
ros2 launch lcr_seg_ros segment.launch.py camera:=realsense namespace:=/camera/camera viewer:=rerun

An argument left empty keeps what config/segment.yaml (or ``params_file``) says: defaults stand there alone.
``ros2 launch lcr_seg_ros segment.launch.py --show-args`` lists everything.
"""

import shlex
from pathlib import Path
from typing import List  # noqa: UP035  what launch of every release knows

import yaml
from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription
from lcr_seg_ros.ros.camera_presets import CAMERAS
from lcr_seg_ros.ros.environment import tuned_dds_environment

CONFIG = Path(__file__).resolve().parent.parent / "config"

INPUTS = {
    "rgb": "rgb/image_rect_color",
    "depth": "depth_registered/image_rect",
    "camera_info": "rgb/camera_info",
    "imu": "imu",
    "depth_camera_info": "depth/camera_info",
}

PARAMETERS = {
    "model": (str, "name of a shipped model, or path of a .lcrseg file"),
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
        DeclareLaunchArgument("use_sim_time", default_value="false", description="take the time from /clock"),
        DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn or error"),
        DeclareLaunchArgument(
            "dds_profile",
            default_value="true",
            description="use the shipped Fast DDS profile unless you have set one; without it images of this size do "
            "not arrive, and the camera's driver needs it too",
        ),
        DeclareLaunchArgument("rviz", default_value="false", description="show the result in RViz"),
        DeclareLaunchArgument("fixed_frame", default_value="", description="of RViz; empty: the colour camera's"),
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
    return LaunchDescription([*declared, OpaqueFunction(function=_start)])


def _start(context: LaunchContext) -> list:
    def given(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    def switched_on(name: str) -> bool:
        return given(name).lower() in ("true", "1", "yes", "on")

    preset = CAMERAS[given("camera")]
    topics = (preset.rgb, preset.depth, preset.camera_info, preset.imu, "")
    prefixes = [f"{name}/" for name in yaml.safe_load(given("cameras") or "[]") if name] or [""]
    remappings = []
    for (name, ours), usual in zip(INPUTS.items(), topics, strict=True):
        if theirs := given(name) or usual:
            remappings += [
                (prefix + ours, theirs if theirs.startswith("/") else prefix + theirs) for prefix in prefixes
            ]
    overrides = {
        name: ParameterValue(LaunchConfiguration(name), value_type=kind)
        for name, (kind, _) in PARAMETERS.items()
        if given(name)
    }
    environment = tuned_dds_environment() if switched_on("dds_profile") else {}
    segment = LifecycleNode(
        package="lcr_seg_ros",
        executable="segment",
        name=given("node_name"),
        namespace=given("namespace"),
        parameters=[given("params_file"), {**overrides, "use_sim_time": switched_on("use_sim_time")}],
        remappings=remappings,
        arguments=["--ros-args", "--log-level", given("log_level")],
        output="screen",
    )
    actions = [*(SetEnvironmentVariable(name, value) for name, value in environment.items()), segment]
    if switched_on("rviz"):
        actions.append(
            Node(
                package="rviz2",
                executable="rviz2",
                name="segment_rviz",
                namespace=given("namespace"),
                arguments=["-d", str(CONFIG / "segment.rviz"), "-f", given("fixed_frame") or preset.frame_id],
                parameters=[{"use_sim_time": switched_on("use_sim_time")}],
                remappings=remappings,
                output="screen",
            )
        )
    if given("viewer") == "rerun":
        actions.append(
            Node(
                package="lcr_seg_ros",
                executable="view",
                name="segment_viewer",
                namespace=given("namespace"),
                arguments=["--node", given("node_name"), *shlex.split(given("viewer_args"))],
                remappings=remappings,
                output="screen",
            )
        )
    return actions
