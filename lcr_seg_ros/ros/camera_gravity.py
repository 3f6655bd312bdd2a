"""Gravity for one camera of the node: asks the source for each image, tracks estimates, warns and publishes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from geometry_msgs.msg import Vector3Stamped

from lcr_seg_ros.hha import GravityTracker
from lcr_seg_ros.ros.compat.message_filters import stamp_ns
from lcr_seg_ros.ros.frame_statistics import GravityUsed
from lcr_seg_ros.ros.gravity_sources import IMU_TOPIC, GravityReading, create_gravity_source
from lcr_seg_ros.ros.output_topics import GRAVITY

if TYPE_CHECKING:
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    from lcr_seg_ros.frame import CameraIntrinsics
    from lcr_seg_ros.hha import GravityEstimate
    from lcr_seg_ros.ros.camera_site import CameraSite


GRACE_S = 1.0
"""s. Images may come this much earlier than the source's data before a warning."""


class CameraGravity:
    """Created for a model that sees depth.

    :meth:`read`, :meth:`tracker_for` and :meth:`conclude` are called in the worker's thread, everything else in the
    node's.

    Args:
        site: of the camera.

    Raises:
        TransformError: ``gravity_source`` is tf, and TF is not installed.
    """

    def __init__(self, site: CameraSite) -> None:
        self._site = site
        self._log = site.log
        self.source_name = site.values.gravity_source
        self._source = create_gravity_source(site.node, site.values, site.shared.transforms, site.topic(IMU_TOPIC))
        self._tracker = self._new_tracker()
        self._tracked: CameraIntrinsics | None = None
        self._listens_since = time.monotonic()
        self._publisher: Any = site.create_publisher(Vector3Stamped, GRAVITY)

    @property
    def is_wanted(self) -> bool:
        """Whether ``segmentation/gravity`` has a subscriber."""
        return bool(self._publisher.get_subscription_count())

    def start(self) -> None:
        """Subscribe to what the source needs."""
        self.start_over()
        self._source.start()
        self._listens_since = time.monotonic()

    def stop(self) -> None:
        """Unsubscribe."""
        self._source.stop()

    def destroy(self) -> None:
        """Destroy subscriptions and publisher."""
        self.stop()
        self._site.destroy_publisher(self._publisher)

    def start_over(self) -> None:
        """Forget the past: the clock has jumped, or a bag has started over."""
        self._source.start_over()
        self._tracker = self._new_tracker()  # not reset in place: the worker may be using it

    def update(self, now_ns: int) -> None:
        """Process the messages of IMU and TF that have come; ``now_ns`` is used for those without a stamp."""
        self._source.update(now_ns)

    def read(self, image: Image, now_ns: int) -> GravityReading:
        """What the source knows for an image; ``now_ns`` is used if that has no stamp."""
        return self._source.read(stamp_ns(image) or now_ns, image.header.frame_id)

    def tracker_for(self, intrinsics: CameraIntrinsics | None) -> GravityTracker:
        """The tracker of the gravity estimate; a new one when the intrinsics have changed (another camera or mode)."""
        if intrinsics != self._tracked:
            self._tracked = intrinsics
            self._tracker = self._new_tracker()
        return self._tracker

    def _new_tracker(self) -> GravityTracker:
        # Always the camera's own values: an upright camera beside inverted ones has zeros, which do count.
        return GravityTracker(self._site.values.mounted_down)

    def conclude(self, estimate: GravityEstimate, reading: GravityReading, header: Header) -> GravityUsed:
        """Warn of problems with the source or the gravity used; publish the latter if reliable and subscribed to.

        Args:
            estimate: the gravity that was used, given or estimated.
            reading: what the source said for that image.
            header: of that image.

        Returns:
            A summary for the statistics.
        """
        is_fallback = reading.down is None and self.source_name != "estimate"
        problem = reading.problem if time.monotonic() - self._listens_since > GRACE_S else ""
        if problem:
            instead = "; estimated from depth instead" if is_fallback else ""
            self._log.warning("gravity_source", f"gravity_source {self.source_name}: {problem}{instead}")
        if estimate.doubt:
            self._log.warning("gravity_doubt", f"gravity is in doubt: {estimate.doubt}")
        x, y, z = estimate.down.tolist()
        if self.is_wanted and estimate.confident:  # the message type has no field for doubt
            message = Vector3Stamped(header=header)
            message.vector.x, message.vector.y, message.vector.z = x, y, z
            self._publisher.publish(message)
        trouble = "; ".join(filter(None, (problem, estimate.doubt)))
        return GravityUsed((x, y, z), estimate.confident, is_fallback, trouble)
