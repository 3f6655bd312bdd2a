"""Topic names: the node's own, and each camera driver's, taken from the drivers' sources. Imports nothing of ROS.

Sources: ``IntelRealSense/realsense-ros`` (ros2-master), ``microsoft/Azure_Kinect_ROS_Driver`` (humble),
``ros-drivers/openni2_camera`` (ros2, ``camera_with_cloud.launch.py``), ``orbbec/OrbbecSDK_ROS2`` (v2-main),
``matlabbe/kinect_ros2`` (Kinect v1 by libfreenect), ``krepa098/kinect2_ros2`` (Kinect v2, ROS 2 port of iai_kinect2).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CameraPreset:
    """Topics of one driver, relative to its namespace.

    Args:
        rgb, depth, camera_info: colour image, depth registered to it, and its camera_info; empty: the node's own names.
        imu: topic of its IMU; empty if there is none.
        frame_id: the driver's default for the colour image.
        namespace: the driver's default for its topics.
        start: command that starts the driver with depth registered to colour.
    """

    rgb: str
    depth: str
    camera_info: str
    imu: str
    frame_id: str
    namespace: str = ""
    start: str = ""


OWN_TOPICS = CameraPreset("rgb/image_rect_color", "depth_registered/image_rect", "rgb/camera_info", "imu", "")
"""The node's own names, which users remap: a camera that has them needs no remapping."""

OWN_DEPTH_CAMERA_INFO = "depth/camera_info"
"""The node's own name for the camera_info of a depth camera whose images it registers itself."""

CAMERAS = {
    "none": CameraPreset("", "", "", "", "camera_rgb_optical_frame"),
    "realsense": CameraPreset(
        "color/image_raw",
        "aligned_depth_to_color/image_raw",
        "color/camera_info",
        "imu",
        "camera_color_optical_frame",
        "/camera/camera",
        "ros2 launch realsense2_camera rs_launch.py align_depth.enable:=true",
    ),
    "azure_kinect": CameraPreset(
        "rgb/image_raw",
        "depth_to_rgb/image_raw",
        "rgb/camera_info",
        "imu",
        "rgb_camera_link",
        "",
        "ros2 launch azure_kinect_ros_driver driver.launch.py depth_mode:=NFOV_UNBINNED",
    ),
    # Xtion, Structure, Carmine. The launch file enables depth_registration by itself.
    "openni2": CameraPreset(
        "rgb/image_raw",
        "depth_registered/image_raw",
        "rgb/camera_info",
        "",
        "camera_rgb_optical_frame",
        "/camera",
        "ros2 launch openni2_camera camera_with_cloud.launch.py",
    ),
    # The same topic names as openni2, which does not support this camera, but another namespace and frame.
    "kinect1": CameraPreset(
        "rgb/image_raw",
        "depth_registered/image_raw",
        "rgb/camera_info",
        "",
        "kinect_rgb",
        "/kinect",
        "ros2 run kinect_ros2 kinect_ros2_node --ros-args -r __ns:=/kinect -p depth_registration:=true",
    ),
    # qhd is 960x540; the driver also publishes "sd" (512x424) and "hd" (1920x1080).
    "kinect2": CameraPreset(
        "qhd/image_color_rect",
        "qhd/image_depth_rect",
        "qhd/camera_info",
        "",
        "kinect2_rgb_optical_frame",
        "/kinect2",
        "ros2 launch kinect2_bridge kinect2_bridge_launch.yaml",
    ),
    "orbbec": CameraPreset(
        "color/image_raw",
        "depth/image_raw",
        "color/camera_info",
        "gyro_accel/sample",
        "camera_color_optical_frame",
        "/camera",
        "ros2 launch orbbec_camera gemini_330_series.launch.py depth_registration:=true",
    ),
}
