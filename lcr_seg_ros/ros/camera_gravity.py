"""The gravity of one camera in the node: asks its source for each image, remembers, warns and publishes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from geometry_msgs.msg import Vector3Stamped

from lcr_seg_ros.hha import GravityTracker
from lcr_seg_ros.ros.compat.message_filters import stamp_ns
from lcr_seg_ros.ros.frame_statistics import GravityUsed
from lcr_seg_ros.ros.gravity_sources import IMU_TOPIC, GravityReading, create_gravity_source

if TYPE_CHECKING:
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    from lcr_seg_ros.frame import CameraIntrinsics
    from lcr_seg_ros.hha import GravityEstimate
    from lcr_seg_ros.ros.camera_site import CameraSite

TOPIC = "segmentation/gravity"

GRACE_S = 1.0
"""Images may come this much earlier than what the source needs before that is trouble."""


class CameraGravity:
    """Made for a model that sees depth.

    :meth:`read`, :meth:`tracker_for` and :meth:`conclude` belong to the worker's thread, all else to the node's.

    Args:
        site: of the camera.

    Raises:
        TransformError: gravity is to come from TF, which is not installed.
    """

    def __init__(self, site: CameraSite) -> None:
        self._site = site
        self._log = site.log
        self.source_name = site.values.gravity_source
        self._source = create_gravity_source(site.node, site.values, site.topic(IMU_TOPIC))
        self._tracker = self._new_tracker()
        self._tracked: CameraIntrinsics | None = None
        self._listens_since = time.monotonic()
        self._publisher: Any = site.create_publisher(Vector3Stamped, TOPIC)

    @property
    def is_wanted(self) -> bool:
        """Whether somebody subscribes to it."""
        return bool(self._publisher.get_subscription_count())

    def start(self) -> None:
        """Begin to listen to what the source needs."""
        self.start_over()
        self._source.start()
        self._listens_since = time.monotonic()

    def stop(self) -> None:
        """Listen no more."""
        self._source.stop()

    def destroy(self) -> None:
        """Take subscriptions and publisher away."""
        self.stop()
        self._site.destroy_publisher(self._publisher)

    def start_over(self) -> None:
        """Forget what was: the clock has jumped, or a bag begins anew."""
        self._source.start_over()
        self._tracker = self._new_tracker()  # another one: the worker may be using the old one now

    def update(self, now_ns: int) -> None:
        """Take in what has come of IMU and TF; ``now_ns`` is the stamp of messages that have none."""
        self._source.update(now_ns)

    def read(self, image: Image, now_ns: int) -> GravityReading:
        """What the source knows of an image; ``now_ns`` is its stamp if it has none."""
        return self._source.read(stamp_ns(image) or now_ns, image.header.frame_id)

    def tracker_for(self, intrinsics: CameraIntrinsics | None) -> GravityTracker:
        """The memory of the estimate; empty after a change of the camera or of its mode."""
        if intrinsics != self._tracked:
            self._tracked = intrinsics
            self._tracker = self._new_tracker()
        return self._tracker

    def _new_tracker(self) -> GravityTracker:
        # Always its own: one that stands upright beside others that hang is told so by zeros.
        return GravityTracker(self._site.values.mounted_down)

    def conclude(self, estimate: GravityEstimate, reading: GravityReading, header: Header) -> GravityUsed:
        """Warn of what is wrong with the gravity that was used for an image; else publish it if somebody listens.

        Args:
            estimate: what was used, given or estimated.
            reading: of the source for that image.
            header: of that image.
        """
        is_fallback = reading.down is None and self.source_name != "estimate"
        problem = reading.problem if time.monotonic() - self._listens_since > GRACE_S else ""
        if problem:
            instead = "; estimated from depth instead" if is_fallback else ""
            self._log.warning("gravity_source", f"gravity_source {self.source_name}: {problem}{instead}")
        if estimate.doubt:
            self._log.warning("gravity_doubt", f"gravity is in doubt: {estimate.doubt}")
        x, y, z = estimate.down.tolist()
        if self.is_wanted and estimate.confident:  # the message has no room for a doubt
            message = Vector3Stamped(header=header)
            message.vector.x, message.vector.y, message.vector.z = x, y, z
            self._publisher.publish(message)
        trouble = "; ".join(filter(None, (problem, estimate.doubt)))
        return GravityUsed((x, y, z), estimate.confident, is_fallback, trouble)
