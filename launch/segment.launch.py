"""Start the segmentation node for a camera, and RViz if asked.

ros2 launch lcr_seg_ros segment.launch.py camera:=realsense namespace:=/camera/camera rviz:=true

An argument left empty keeps what config/segment.yaml (or ``params_file``) says: defaults stand there alone.
``ros2 launch lcr_seg_ros segment.launch.py --show-args`` lists everything.
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode, Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription
from lcr_seg_ros.ros.environment import tuned_dds_environment

CONFIG = Path(__file__).resolve().parent.parent / "config"

INPUTS = {
    "rgb": "rgb/image_rect_color",
    "depth": "depth_registered/image_rect",
    "camera_info": "rgb/camera_info",
    "imu": "imu",
}

# Topics relative to the camera's namespace: colour, depth registered to it, camera_info, IMU; and the colour frame.
CAMERAS = {
    "none": ("", "", "", "", "camera_rgb_optical_frame"),
    "realsense": (
        "color/image_raw",
        "aligned_depth_to_color/image_raw",
        "color/camera_info",
        "imu",
        "camera_color_optical_frame",
    ),
    "azure_kinect": ("rgb/image_raw", "depth_to_rgb/image_raw", "rgb/camera_info", "imu", "rgb_camera_link"),
    "openni2": ("rgb/image_raw", "depth_registered/image_raw", "rgb/camera_info", "", "camera_rgb_optical_frame"),
    "orbbec": (
        "color/image_raw",
        "depth/image_raw",
        "color/camera_info",
        "gyro_accel/sample",
        "camera_color_optical_frame",
    ),
}

PARAMETERS = {
    "model": (str, "name of a shipped model, or path of a .lcrseg file"),
    "backend": (str, "auto, openvino, onnxruntime or torch"),
    "device": (str, "auto, cpu or cuda"),
    "confidence_threshold": (float, "0..1, pixels below it become 255 in the mask"),
    "gravity_source": (str, "estimate, imu, tf or fixed"),
    "gravity_frame": (str, "for tf: a frame whose z points up"),
    "camera_height": (float, "m above the floor, 0 if not known"),
    "max_rate_hz": (float, "frames labelled a second, 0 for all"),
    "autostart": (bool, "configure and activate at once; false to leave that to a lifecycle manager"),
}


def generate_launch_description() -> LaunchDescription:
    declared = [
        DeclareLaunchArgument(
            "camera",
            default_value="none",
            choices=list(CAMERAS),
            description="driver whose topic names to use; orbbec needs its depth_registration:=true, "
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
    ]
    return LaunchDescription([*declared, OpaqueFunction(function=_start)])


def _start(context: LaunchContext) -> list:
    def given(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    def switched_on(name: str) -> bool:
        return given(name).lower() in ("true", "1", "yes", "on")

    *topics, frame = CAMERAS[given("camera")]
    remappings = []
    for (name, ours), preset in zip(INPUTS.items(), topics, strict=True):
        if theirs := given(name) or preset:
            remappings.append((ours, theirs))
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
                arguments=["-d", str(CONFIG / "segment.rviz"), "-f", given("fixed_frame") or frame],
                parameters=[{"use_sim_time": switched_on("use_sim_time")}],
                remappings=remappings,
                output="screen",
            )
        )
    return actions
