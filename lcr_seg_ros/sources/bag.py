"""RGB-D frames from a rosbag2 folder (sqlite3 or MCAP) or a rosbag1 file, without a ROS installation."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.errors import FrameError, SourceError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame, UnsizedIntrinsics
from lcr_seg_ros.image_encodings import (
    COLOR_ENCODINGS,
    DEPTH_ENCODINGS,
    camera_info_to_intrinsics,
    color_to_array,
    depth_to_array,
)
from lcr_seg_ros.sources.bag_topics import ImageTopic, choose_color_topic, choose_depth_topic
from lcr_seg_ros.sources.source import SourceFrame

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader
    from rosbags.interfaces import Connection

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"

_UNNAMED = {"8UC1": "mono8", "8UC3": "bgr8", "8UC4": "bgra8"}


@dataclass(frozen=True)
class RecordedFrame(SourceFrame):
    """A frame with its recorded time and coordinate frames.

    Args:
        stamp_ns: stamp of the colour image in nanoseconds since the epoch.
        frame_id: coordinate frame of the colour image.
        depth_frame_id: coordinate frame of the depth image; "" if there is none.
    """

    stamp_ns: int = 0
    frame_id: str = ""
    depth_frame_id: str = ""


class BagSource:
    """Colour and depth of one camera in a bag, paired by nearest stamp.

    Args:
        path: rosbag2 folder, a single ``.mcap`` or ``.db3`` file, or a rosbag1 ``.bag`` file.
        rgb_topic: Image or CompressedImage (JPEG, PNG) topic. Default: found by encoding and name.
        depth_topic: Image (16UC1 or mono16 in mm, 32FC1 in m) or CompressedImage (PNG, or compressedDepth in PNG or
            RVL) topic that is registered to colour. Default: found by encoding and name, beside the colour topic.
        info_topic: CameraInfo of the colour camera. Default: the one beside the colour topic.
        intrinsics: used instead of the recorded ones, scaled to the image; without a size, they are those of the image.
        limit: use only the first ``limit`` pairs.
        with_depth: False: every colour image, without depth; ``depth_topic`` is then ignored.

    Attributes:
        rgb_topic, depth_topic, info_topic: the topics in use; the last two are None if there is none.
        intrinsics: of the colour images.

    A colour image is paired with the depth image nearest in time, at most half a frame period away. Each depth image is
    used once, and colour images without one are left out. Iteration yields :class:`RecordedFrame` in order of the
    colour stamps; frame names are those stamps in seconds.

    Raises:
        SourceError: the bag cannot be read, topics are missing or have another type, or there are no pairs or no
            intrinsics. While iterating: an image is truncated or has an unknown encoding.
    """

    def __init__(
        self,
        path: str | Path,
        rgb_topic: str | None = None,
        depth_topic: str | None = None,
        info_topic: str | None = None,
        intrinsics: CameraIntrinsics | UnsizedIntrinsics | None = None,
        limit: int | None = None,
        with_depth: bool = True,
    ) -> None:
        self.path = Path(path)
        with _open_bag(self.path) as bag:
            images = _image_topics(bag, self.path)
            self.rgb_topic = choose_color_topic(images, rgb_topic, self.path)
            self.depth_topic = (
                choose_depth_topic(images, depth_topic, self.rgb_topic, self.path) if with_depth else None
            )
            width, height = images[self.rgb_topic].width, images[self.rgb_topic].height
            self.info_topic = None if intrinsics else _choose_info_topic(bag, info_topic, self.rgb_topic, self.path)
            recorded = intrinsics or _read_intrinsics(bag, self.info_topic, self.rgb_topic, self.path)
            self.intrinsics = recorded.scaled_to(width, height)
            self._pairs = self._find_pairs(bag)[:limit]
        if not self._pairs:
            raise SourceError(
                f"{self.path}: no image of {self.rgb_topic} has a depth image of {self.depth_topic} within half "
                "a frame period: were both recorded, and by clocks that agree?"
            )

    def __len__(self) -> int:
        return len(self._pairs)

    def _find_pairs(self, bag: AnyReader) -> list[_Pair]:
        if self.depth_topic is None:
            (stamps,) = _read_stamps(bag, self.rgb_topic)
            one_a_stamp = {stamp: _Pair(i, None, stamp) for i, stamp in reversed(list(enumerate(stamps)))}
            return [one_a_stamp[stamp] for stamp in sorted(one_a_stamp)]
        return _pair_up(*_read_stamps(bag, self.rgb_topic, self.depth_topic))

    def __iter__(self) -> Iterator[RecordedFrame]:
        partner = {pair.depth: pair.rgb for pair in self._pairs if pair.depth is not None}
        stamps = {pair.rgb: pair.stamp_ns for pair in self._pairs}
        order = iter(stamps)
        due = next(order)
        colour: dict[int, Any] = {}
        depth: dict[int, Any] = {}
        with _open_bag(self.path) as bag:
            topics = tuple(topic for topic in (self.rgb_topic, self.depth_topic) if topic is not None)
            for topic, ordinal, message in _messages(bag, topics):
                # Messages that wait for their partner are kept undecoded; these are a few at most.
                if topic == self.rgb_topic and ordinal in stamps:
                    colour[ordinal] = message
                    if self.depth_topic is None:
                        depth[ordinal] = None
                if topic == self.depth_topic and ordinal in partner:
                    depth[partner[ordinal]] = message
                while due in colour and due in depth:
                    yield self._frame(stamps[due], colour.pop(due), depth.pop(due))
                    following = next(order, None)
                    if following is None:
                        return
                    due = following

    def _frame(self, stamp_ns: int, colour: Any, depth: Any) -> RecordedFrame:
        name = f"{stamp_ns // 10**9}.{stamp_ns % 10**9:09d}"
        try:
            frame = RgbdFrame(_to_rgb(colour), None if depth is None else _to_depth(depth), self.intrinsics)
        except (FrameError, SourceError) as error:
            raise SourceError(f"{self.path}, image at {name} s: {error}") from error
        depth_frame_id = "" if depth is None else depth.header.frame_id
        return RecordedFrame(
            name, frame, stamp_ns=stamp_ns, frame_id=colour.header.frame_id, depth_frame_id=depth_frame_id
        )


@contextmanager
def _open_bag(path: Path) -> Iterator[AnyReader]:
    """Open a bag; whatever the library raises about a damaged file becomes a SourceError."""
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise SourceError(f"reading bags needs the rosbags library ({error}): pip install rosbags") from error
    if not path.exists():
        raise SourceError(f"no bag at {path}")
    if path.is_dir() and not (path / "metadata.yaml").is_file():
        raise SourceError(f"{path} has no metadata.yaml: a rosbag2 is the folder that `ros2 bag record` made")
    try:
        # Bags recorded with Humble and older distributions contain no message definitions.
        with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as bag:
            yield bag
    except (SourceError, FrameError):
        raise
    except Exception as error:  # for truncated or foreign files, the library raises a dozen unrelated types
        raise SourceError(f"{path} cannot be read as a bag ({type(error).__name__}: {error})") from error


def _image_topics(bag: AnyReader, path: Path) -> dict[str, ImageTopic]:
    """What each image topic carries, according to its first message."""
    topics = {}
    for connection in bag.connections:
        if connection.msgtype in (IMAGE, COMPRESSED) and connection.msgcount:
            topics[connection.topic] = _examine(_first_message(bag, connection))
    if not topics:
        listing = ", ".join(f"{c.topic} ({c.msgtype})" for c in bag.connections) or "nothing at all"
        raise SourceError(f"{path} holds no images; it holds {listing}")
    return topics


def _examine(message: Any) -> ImageTopic:
    if not hasattr(message, "encoding"):
        try:
            kind = "depth" if _holds_depth(message) else "colour"
            height, width = (_to_depth(message) if kind == "depth" else _to_rgb(message)).shape[:2]
        except FrameError as error:
            return ImageTopic(str(error), 0, 0)
        return ImageTopic(kind, width, height)
    kind = f"encoding {message.encoding!r} is neither colour nor depth"
    if message.encoding in COLOR_ENCODINGS or message.encoding in _UNNAMED:
        kind = "colour"
    elif message.encoding in DEPTH_ENCODINGS:
        kind = "depth"
    return ImageTopic(kind, message.width, message.height)


def _choose_info_topic(bag: AnyReader, wanted: str | None, rgb_topic: str, path: Path) -> str | None:
    topics = sorted(c.topic for c in bag.connections if c.msgtype == CAMERA_INFO and c.msgcount)
    if wanted is not None:
        if wanted not in topics:
            raise SourceError(f"{path} has no CameraInfo on {wanted}; it has {', '.join(topics) or 'none'}")
        return wanted
    raw_topic = rgb_topic.removesuffix("/compressed")
    beside = f"{raw_topic.rpartition('/')[0]}/camera_info"
    if beside in topics:
        return beside
    return topics[0] if len(topics) == 1 else None


def _read_intrinsics(bag: AnyReader, topic: str | None, image_topic: str, path: Path) -> CameraIntrinsics:
    if topic is None:
        raise SourceError(
            f"{path} has no CameraInfo beside its colour topic: name it with --info-topic, or give --intrinsics"
        )
    connection = next(c for c in bag.connections if c.topic == topic and c.msgcount)
    info: Any = _first_message(bag, connection)
    try:
        return camera_info_to_intrinsics(info, image_topic)
    except FrameError as error:
        raise SourceError(f"{path}: {topic}: {error} Or give --intrinsics") from error


@dataclass(frozen=True)
class _Pair:
    rgb: int
    depth: int | None
    stamp_ns: int


def _read_stamps(bag: AnyReader, *topics: str) -> list[list[int]]:
    """Stamps in ns of all messages of each topic, in recorded order; images are not decoded.

    A stamp of 0 is replaced by the time of recording.
    """
    stamps: dict[str, list[int]] = {topic: [] for topic in topics}
    for connection, recorded_ns, raw in bag.messages([c for c in bag.connections if c.topic in stamps]):
        if bag.is2:
            sec, nanosec = struct.unpack_from("<iI" if raw[1] & 1 else ">iI", raw, 4)  # after the CDR header
        else:
            sec, nanosec = struct.unpack_from("<II", raw, 4)  # after the sequence number
        stamps[connection.topic].append(sec * 10**9 + nanosec or recorded_ns)
    return [stamps[topic] for topic in topics]


def _pair_up(rgb: list[int], depth: list[int]) -> list[_Pair]:
    """Pair colour images with the depth images nearest in time, closest pairs first."""
    if not rgb or not depth:
        return []
    rgb_ns, depth_ns = np.array(rgb), np.array(depth)
    period = np.median(np.diff(np.sort(rgb_ns))) if len(rgb) > 1 else 10**8
    by_time = np.argsort(depth_ns, kind="stable")
    after = np.searchsorted(depth_ns[by_time], rgb_ns).clip(0, len(depth) - 1)
    candidates = []
    for place in (after - 1).clip(0), after:
        partner = by_time[place]
        gap = np.abs(depth_ns[partner] - rgb_ns)
        candidates += [(int(gap[i]), int(i), int(partner[i])) for i in np.flatnonzero(2 * gap <= period)]
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for _, i, j in sorted(candidates):
        if i not in pairs and j not in taken:
            pairs[i] = j
            taken.add(j)
    one_a_stamp = {rgb[i]: _Pair(i, j, rgb[i]) for i, j in sorted(pairs.items(), reverse=True)}
    return sorted(one_a_stamp.values(), key=lambda pair: pair.stamp_ns)


def _messages(bag: AnyReader, topics: tuple[str, ...]) -> Iterator[tuple[str, int, Any]]:
    """(topic, running number in that topic, message) in recorded order."""
    count = dict.fromkeys(topics, 0)
    for connection, _, raw in bag.messages([c for c in bag.connections if c.topic in topics]):
        yield connection.topic, count[connection.topic], bag.deserialize(raw, connection.msgtype)
        count[connection.topic] += 1


def _first_message(bag: AnyReader, connection: Connection) -> Any:
    _, _, raw = next(bag.messages([connection]))
    return bag.deserialize(raw, connection.msgtype)


def _to_rgb(message: Any) -> npt.NDArray[np.uint8]:
    """(H, W, 3) uint8, red first, from an Image or CompressedImage."""
    if hasattr(message, "encoding"):
        return color_to_array(_named(message))
    from lcr_seg_ros.compressed_images import compressed_color_to_array

    return compressed_color_to_array(message)


def _to_depth(message: Any) -> npt.NDArray[np.float32]:
    """(H, W) float32 metres from an Image or CompressedImage."""
    if hasattr(message, "encoding"):
        return depth_to_array(message)
    from lcr_seg_ros.compressed_images import compressed_depth_to_array

    return compressed_depth_to_array(message)


def _holds_depth(message: Any) -> bool:
    """Whether a CompressedImage is depth: by its format or, if that does not say, because it is a grey 16-bit PNG."""
    encoding, _, how = message.format.partition(";")
    if "compressedDepth" in how or encoding.strip() in DEPTH_ENCODINGS:
        return True
    return not how and message.data[:4].tobytes() == b"\x89PNG" and message.data[24:26].tolist() == [16, 0]


def _named(message: Any) -> Any:
    """The image with a named encoding; OpenCV's unnamed ones (8UC3, 8UC4) have blue first."""
    return replace(message, encoding=_UNNAMED.get(message.encoding, message.encoding))
