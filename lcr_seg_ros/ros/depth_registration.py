"""Registers a camera's depth to its colour in the node, where the driver does not.

This needs the camera_info of the depth image, and the pose of the depth optical frame in the colour optical frame: from
the parameters ``registration_xyz`` and ``registration_rpy``, or from TF where the two images have different frame_ids.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from sensor_msgs.msg import CameraInfo

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.registration import register_depth
from lcr_seg_ros.ros.accelerometer import STALE_S
from lcr_seg_ros.ros.camera_info_qos import CameraInfoQos
from lcr_seg_ros.ros.camera_presets import OWN_DEPTH_CAMERA_INFO, OWN_TOPICS
from lcr_seg_ros.ros.compat.tf2 import TransformError
from lcr_seg_ros.ros.orientation import rotation_of_rpy
from lcr_seg_ros.ros.parameters import REGISTRATIONS
from lcr_seg_ros.ros.polled_subscription import PolledSubscription
from lcr_seg_ros.ros.rectification import intrinsics_of

if TYPE_CHECKING:
    from lcr_seg_ros.frame import CameraIntrinsics
    from lcr_seg_ros.ros.camera_site import CameraSite
    from lcr_seg_ros.ros.shared_transforms import LentTransforms
    from lcr_seg_ros.ros.synchronizer import ImagePair

AUTO, OFF, PARAMETERS = REGISTRATIONS

GRACE_S = 1.0
"""s. Until so long after the start, images that come before TF and camera_info are dropped, not used unregistered."""


class _Knowledge(NamedTuple):
    """What is known of the depth camera when a pair comes.

    Args:
        frames: frame_ids of colour and depth.
        transform: (4, 4) float64 from the depth frame to the colour frame; None if not known.
        depth_camera: intrinsics of the depth image; None if not known.
        problem: why one of them is missing; else empty.
        is_new: whether the wait began just now, so that what is missing may still come.
    """

    frames: tuple[str, str]
    transform: npt.NDArray[np.float64] | None
    depth_camera: CameraIntrinsics | None
    problem: str
    is_new: bool


class DepthRegistration:
    """Registers the depth of one camera.

    :meth:`register` is called in the worker's thread, everything else in the node's.

    Args:
        site: of the camera.
    """

    def __init__(self, site: CameraSite) -> None:
        values = site.values
        self._site = site
        self._mode = values.registration
        self._given: npt.NDArray[np.float64] | None = None
        if self._mode == PARAMETERS:
            self._given = _transform(rotation_of_rpy(*values.registration_rpy), np.array(values.registration_xyz))
        self._camera_info_qos = CameraInfoQos(site.node, site.full_name(OWN_DEPTH_CAMERA_INFO), depth=1)
        self._camera_infos: PolledSubscription | None = None
        self._transforms: LentTransforms | None = None
        self._forget()

    def _forget(self) -> None:
        self._knowledge: _Knowledge | None = None
        self._depth_camera: CameraIntrinsics | None = None
        self._camera_info_problem = ""
        self._looked_up: tuple[str, str] | None = None
        self._transform = self._given
        self._why_no_transforms = ""
        self._since = time.monotonic()

    @property
    def state(self) -> str:
        """For /diagnostics: where the extrinsics come from, ``tf`` or ``parameters``; else ``none``, with the reason if
        depth should be registered."""
        knowledge = self._knowledge
        if knowledge is None:
            return "none"
        return f"none: {knowledge.problem}" if knowledge.problem else "tf" if self._given is None else "parameters"

    def stop(self) -> None:
        """Unsubscribe."""
        if self._camera_infos is not None:
            self._camera_infos.destroy()
        if self._transforms is not None:
            self._transforms.close()
        self._camera_infos = self._transforms = None
        self._forget()

    def start_over(self) -> None:
        """Forget the transforms: the clock has jumped."""
        if self._transforms is not None:
            self._transforms.forget()

    def prepare(self, pair: ImagePair) -> None:
        """Subscribe to what the registration of a pair needs, if anything, and process what has come."""
        if self._mode == OFF or pair.depth is None:
            return
        frames = _frames(pair)
        if self._mode == AUTO and frames[0] == frames[1]:
            self._knowledge = None
            return
        if self._mode == AUTO and frames != self._looked_up:
            self._looked_up, self._transform, self._since = frames, None, time.monotonic()
        problems = [self._take_camera_infos(), self._look_up(frames, pair.stamp_ns)]
        problem = "; ".join(filter(None, problems))
        is_new = time.monotonic() - self._since < GRACE_S and not self._why_no_transforms
        had_problem = self._knowledge is None or bool(self._knowledge.problem)
        self._knowledge = _Knowledge(frames, self._transform, self._depth_camera, problem, is_new)
        if problem and not is_new:
            self._complain(frames, problem)
        elif not problem and had_problem:
            self._announce(frames)

    def register(
        self, pair: ImagePair, depth_m: npt.NDArray[np.float32], color_camera: CameraIntrinsics, size: tuple[int, int]
    ) -> npt.NDArray[np.float32] | None:
        """Depth as the colour camera would see it.

        Args:
            pair: has been passed to :meth:`prepare`.
            depth_m: (h, w) float32 metres, from its depth image.
            color_camera: intrinsics of its colour image.
            size: (W, H) of its colour image.

        Returns:
            (H, W) float32 metres; ``depth_m`` itself if it is registered already or, with ``auto``, if the node cannot
            register it; None if the pair must be dropped.

        Raises:
            FrameError: the size of an image differs from that in its camera_info.
        """
        frames, knowledge = _frames(pair), self._knowledge
        if self._mode == OFF or (self._mode == AUTO and frames[0] == frames[1]):
            return depth_m
        if knowledge is None or (self._mode == AUTO and frames != knowledge.frames):
            return None  # meanwhile a pair with other frame_ids has come
        if knowledge.problem or knowledge.transform is None or knowledge.depth_camera is None:
            return depth_m if self._mode == AUTO and not knowledge.is_new else None
        if size != (color_camera.width, color_camera.height):
            raise FrameError(
                f"rgb is {size[0]}x{size[1]} but the intrinsics are for {color_camera.width}x{color_camera.height}: "
                "use the camera_info that belongs to the colour topic"
            )
        began = time.perf_counter()
        registered = register_depth(depth_m, knowledge.depth_camera, color_camera, knowledge.transform)
        pair.stage_ms["registration"] = 1e3 * (time.perf_counter() - began)
        return registered

    def _take_camera_infos(self) -> str:
        """Process the camera_info of the depth image; returns what is wrong, or ""."""
        topic = self._site.full_name(OWN_DEPTH_CAMERA_INFO)
        is_sure = self._depth_camera is not None and not self._camera_info_qos.is_latched
        if self._camera_infos is not None and not is_sure and self._camera_info_qos.has_changed():
            self._camera_infos.destroy()
            self._camera_infos = None
        if self._camera_infos is None:
            self._camera_infos = PolledSubscription(
                self._site.node,
                CameraInfo,
                self._site.topic(OWN_DEPTH_CAMERA_INFO),
                *self._camera_info_qos.choose(),
            )
            self._since = time.monotonic()
        for message in self._camera_infos.take():
            try:
                self._depth_camera = intrinsics_of(self._site, OWN_TOPICS.depth, message)
                self._camera_info_problem = ""
            except FrameError as error:
                self._depth_camera, self._camera_info_problem = None, f"{topic}: {error}"
        if self._depth_camera is not None:
            return ""
        return self._camera_info_problem or f"nothing has come on {topic}, the camera_info of the depth image"

    def _look_up(self, frames: tuple[str, str], stamp_ns: int) -> str:
        """Ask TF for the extrinsics; a transform once found for two frames is kept. Returns what is wrong, or ""."""
        if self._given is not None:
            return ""
        if self._why_no_transforms:
            return self._why_no_transforms
        if self._transforms is None:
            try:
                self._transforms = self._site.shared.transforms.listen()
            except TransformError as error:
                self._why_no_transforms = str(error)
                return self._why_no_transforms
        self._transforms.update()
        color_frame, depth_frame = frames
        try:
            found = self._transforms.look_up(color_frame, depth_frame, stamp_ns or self._site.now_ns(), STALE_S)
        except TransformError as error:
            return "" if self._transform is not None else str(error)
        self._transform = _transform(found.rotation, found.translation)
        return ""

    def _complain(self, frames: tuple[str, str], problem: str) -> None:
        if self._mode == PARAMETERS:
            self._site.log.warning("no_registration", f"frames are dropped (no_registration): {problem}")
            return
        # Whether depth is registered cannot be told from this: many drivers set a wrong frame_id.
        self._site.log.warning_once(
            "frame_id",
            f"colour is in frame {frames[0]!r}, depth in {frames[1]!r}: use the depth topic that is registered "
            f"(aligned) to colour. The node cannot register it, so depth is used as it is: {problem}",
        )

    def _announce(self, frames: tuple[str, str]) -> None:
        assert self._transform is not None
        apart_mm = np.linalg.norm(self._transform[:3, 3]) * 1e3
        how = "registration_xyz and registration_rpy" if self._given is not None else "TF"
        self._site.node.get_logger().info(
            f"depth of frame {frames[1]!r} is registered to colour of frame {frames[0]!r}: {apart_mm:.1f} mm apart, "
            f"after {how}"
        )


def _frames(pair: ImagePair) -> tuple[str, str]:
    return pair.color.header.frame_id, "" if pair.depth is None else pair.depth.header.frame_id


def _transform(rotation: npt.NDArray[np.float64], translation: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    transform = np.eye(4)
    transform[:3, :3] = rotation
    transform[:3, 3] = translation
    return transform
