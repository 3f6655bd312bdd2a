"""A process with a camera for each fault that `doctor` should find; tests start it and end it by SIGINT.

Each camera publishes the node's own topic names in a namespace, at 10 Hz. Prints `ready` once all publish.
"""

from __future__ import annotations

import signal
import struct
import threading
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PERIOD_S = 0.1
WIDTH, HEIGHT = 80, 60


@dataclass(frozen=True)
class Fault:
    """How a camera differs from a good one."""

    depth_size: tuple[int, int] = (WIDTH, HEIGHT)
    depth_frame: str = "optical"
    focal: float = 70.0
    depth_focal: float = 0.0
    distortion: tuple[float, ...] = ()
    depth_delay_s: float = 0.0
    depth_midway: bool = False  # the stamp of depth lies halfway between two colour images
    age_s: float = 0.0
    unit_mm: float = 1.0
    encoding: str = "rgb8"
    sends_images: bool = True
    sends_from_before_1970: bool = False  # an additional image before each colour image
    transports: tuple[str, str] = ("raw", "raw")
    info_size: tuple[int, int] = (WIDTH, HEIGHT)
    metres: float = 2.0
    topics: tuple[str, str, str] = field(
        default=("rgb/image_rect_color", "depth_registered/image_rect", "rgb/camera_info")
    )


CAMERAS = {
    "good": Fault(),
    "smaller": Fault(depth_size=(64, 48), depth_frame="depth_optical"),
    "other_frame": Fault(depth_frame="depth_optical"),
    "for_the_node": Fault(depth_size=(64, 48), depth_frame="depth_optical", depth_focal=50.0),
    "distorted": Fault(
        distortion=(-0.4, 0.1, 0.0, 0.0, 0.0),
        topics=("rgb/image_raw", "depth_registered/image_raw", "rgb/camera_info"),
    ),
    "other_focal": Fault(depth_focal=50.0),
    "uncalibrated": Fault(focal=0.0),
    "other_info": Fault(info_size=(640, 480)),
    "late": Fault(depth_delay_s=0.03),
    "unsynchronised": Fault(depth_midway=True),
    "old": Fault(age_s=5.0),
    "tenths": Fault(unit_mm=0.1),
    "empty": Fault(metres=0.0),
    "odd": Fault(encoding="yuv422"),
    "silent": Fault(sends_images=False),
    "ancient": Fault(sends_from_before_1970=True),
    "packed": Fault(transports=("compressed", "compressedDepth")),
    "packed_tenths": Fault(transports=("compressed", "compressedDepth"), unit_mm=0.1),
    "lossy": Fault(transports=("compressed", "compressed")),
    "packed_silent": Fault(transports=("compressed", "compressedDepth"), sends_images=False),
}


def main() -> None:
    from lcr_seg_ros.ros.environment import prepare_ros_environment

    prepare_ros_environment()

    import cv2
    import rclpy
    from rclpy.duration import Duration
    from rclpy.node import Node
    from rclpy.qos import QoSProfile, ReliabilityPolicy
    from rclpy.signals import SignalHandlerOptions
    from sensor_msgs.msg import CameraInfo, CompressedImage, Image

    stop = threading.Event()
    signal.signal(signal.SIGINT, lambda *_: stop.set())
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    sensor = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)

    class Camera(Node):
        def __init__(self, name: str, fault: Fault) -> None:
            super().__init__("driver", namespace=name)
            self.fault = fault
            rgb, depth, info = fault.topics
            self.rgb, self.depth = (
                self.create_publisher(Image, topic, sensor)
                if transport == "raw"
                else self.create_publisher(CompressedImage, f"{topic}/{transport}", sensor)
                for topic, transport in zip((rgb, depth), fault.transports, strict=True)
            )
            self.info = self.create_publisher(CameraInfo, info, sensor)
            self.depth_info = self.create_publisher(CameraInfo, depth.rpartition("/")[0] + "/camera_info", sensor)

        def send(self, tick: Any) -> None:
            f, now = self.fault, tick - Duration(seconds=self.fault.age_s)
            late = now + Duration(seconds=f.depth_delay_s)
            if f.depth_midway:
                late = now - Duration(seconds=PERIOD_S / 2)
            self.publish(self.info, info_message(f.info_size, f.focal, f.distortion), now, "optical")
            if f.depth_focal:
                self.publish(self.depth_info, info_message(f.depth_size, f.depth_focal), late, f.depth_frame)
            if f.sends_images:
                pixels = np.zeros((HEIGHT, WIDTH, 3 if f.encoding == "rgb8" else 2), np.uint8)
                color = message_of(pixels, f.encoding, f.transports[0])
                if f.sends_from_before_1970:
                    color.header.stamp.sec = -1
                    self.rgb.publish(color)
                self.publish(self.rgb, color, now, "optical")
                w, h = f.depth_size
                millimetres = np.full((h, w), f.metres * 1000 / f.unit_mm, np.uint16)
                self.publish(self.depth, message_of(millimetres, "16UC1", f.transports[1]), late, f.depth_frame)

        def publish(self, publisher: Any, message: Any, stamp: Any, frame: str) -> None:
            message.header.stamp, message.header.frame_id = stamp.to_msg(), frame
            publisher.publish(message)

    def message_of(pixels: np.ndarray, encoding: str, transport: str) -> Any:
        if transport == "raw":
            return image_message(pixels, encoding)
        if transport == "compressedDepth":
            data = struct.pack("<iff", 0, 0.0, 0.0) + cv2.imencode(".png", pixels)[1].tobytes()
            return CompressedImage(format=f"{encoding}; compressedDepth png", data=data)
        data = cv2.imencode(".jpg", pixels.astype(np.uint8))[1].tobytes()
        return CompressedImage(format=f"{encoding}; jpeg compressed", data=data)

    def image_message(pixels: np.ndarray, encoding: str) -> Any:
        h, w = pixels.shape[:2]
        step = pixels.nbytes // h
        return Image(height=h, width=w, encoding=encoding, step=step, data=pixels.tobytes())

    def info_message(size: tuple[int, int], focal: float, distortion: tuple[float, ...] = ()) -> Any:
        k = [focal, 0.0, 39.5, 0.0, focal, 29.5, 0.0, 0.0, 1.0] if focal else [0.0] * 9
        return CameraInfo(width=size[0], height=size[1], k=k, d=list(distortion), distortion_model="plumb_bob")

    cameras = [Camera(name, fault) for name, fault in CAMERAS.items()]
    # A subscriber whose QoS asks for more than the camera offers.
    picky = Node("picky")
    reliable = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
    picky.create_subscription(Image, "/good/rgb/image_rect_color", lambda message: None, reliable)
    print("ready", flush=True)
    # Stamps are evenly spaced even if a busy machine is late; ticks that it has no time for are skipped.
    clock, tick = picky.get_clock(), picky.get_clock().now()
    while not stop.wait(max(0.0, (tick - clock.now()).nanoseconds * 1e-9)):
        for camera in cameras:
            camera.send(tick)
        while tick < clock.now():
            tick += Duration(seconds=PERIOD_S)
    rclpy.try_shutdown()


if __name__ == "__main__":
    main()
