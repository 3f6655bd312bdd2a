"""A camera that needs no hardware: RGB-D video of furnished rooms, rendered here, with exact labels."""

from lcr_seg_ros.sources.rooms.room import RenderedRoom

__all__ = ["RenderedRoom"]
