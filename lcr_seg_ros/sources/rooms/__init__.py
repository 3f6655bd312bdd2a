"""A camera without hardware: rendered RGB-D video of furnished rooms, with exact labels."""

from lcr_seg_ros.sources.rooms.room import RenderedRoom

__all__ = ["RenderedRoom"]
