"""The intrinsics of a camera's images, with a warning if the images are not rectified."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lcr_seg_ros.image_encodings import camera_info_to_intrinsics, unrectified_px

if TYPE_CHECKING:
    from lcr_seg_ros.frame import CameraIntrinsics
    from lcr_seg_ros.ros.camera_site import CameraSite


def intrinsics_of(site: CameraSite, image: str, message: Any) -> CameraIntrinsics:
    """The pinhole model of images, for which a camera_info came; warns once if a pinhole model does not fit them.

    Args:
        site: of the camera.
        image: base name of the images' topic, such as ``rgb/image_rect_color``.
        message: the camera_info.

    Raises:
        FrameError: as :func:`~lcr_seg_ros.image_encodings.camera_info_to_intrinsics`.
    """
    topic = site.full_name(image)
    intrinsics = camera_info_to_intrinsics(message, topic)
    if moved_px := unrectified_px(message, topic):
        site.log.warning_once(
            f"unrectified {image}",
            f"images on {topic} are not rectified: their lens displaces pixels by up to {moved_px:.1f} px, and heights "
            "and angles are off accordingly; remap to the image_rect of image_proc (see how_to/troubleshooting)",
        )
    return intrinsics
