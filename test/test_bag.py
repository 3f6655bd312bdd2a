"""Bags recorded by ROS 2 and ROS 1 are read without ROS."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rosbags import rosbag1, rosbag2
from rosbags.typesys import Stores, get_typestore
from test_compressed_images import config_header, rvl

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.frame import CameraIntrinsics, UnsizedIntrinsics
from lcr_seg_ros.sources.bag import BagSource, _pair_up

HEIGHT, WIDTH = 12, 16
SECOND = 10**9
PERIOD = SECOND // 30
INTRINSICS = CameraIntrinsics(fx=21.0, fy=22.0, cx=7.5, cy=5.5, width=WIDTH, height=HEIGHT)


@dataclass
class Recorder:
    """Writes a small bag of either generation."""

    path: Path
    ros: int = 2
    storage: rosbag2.StoragePlugin = rosbag2.StoragePlugin.SQLITE3

    def __enter__(self) -> Recorder:
        if self.ros == 2:
            self.store = get_typestore(Stores.ROS2_KILTED)
            self.writer = rosbag2.Writer(self.path, version=9, storage_plugin=self.storage)
        else:
            self.store = get_typestore(Stores.ROS1_NOETIC)
            self.writer = rosbag1.Writer(self.path)
        self.writer.open()
        self.connections = {}
        return self

    def __exit__(self, *_: object) -> None:
        self.writer.close()

    def header(self, stamp_ns: int):
        types = self.store.types
        stamp = types["builtin_interfaces/msg/Time"](sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND)
        fields = {"stamp": stamp, "frame_id": "camera_optical"}
        if self.ros == 1:
            fields["seq"] = 0
        return types["std_msgs/msg/Header"](**fields)

    def write(self, topic: str, kind: str, stamp_ns: int, **fields) -> None:
        name = f"sensor_msgs/msg/{kind}"
        if topic not in self.connections:
            self.connections[topic] = self.writer.add_connection(topic, name, typestore=self.store)
        message = self.store.types[name](header=self.header(stamp_ns), **fields)
        serialize = self.store.serialize_cdr if self.ros == 2 else self.store.serialize_ros1
        self.writer.write(self.connections[topic], stamp_ns, serialize(message, name))

    def image(
        self, topic: str, stamp_ns: int, pixels: np.ndarray, encoding: str, padding: int = 0, cut: int = 0
    ) -> None:
        rows = pixels.reshape(len(pixels), -1).view(np.uint8)
        rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
        data = rows.ravel()[: rows.size - cut]
        self.write(
            topic,
            "Image",
            stamp_ns,
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=int(pixels.dtype.str.startswith(">")),
            step=rows.shape[1],
            data=data,
        )

    def compressed(self, topic: str, stamp_ns: int, pixels: np.ndarray, suffix: str, form: str) -> None:
        data = cv2.imencode(suffix, pixels)[1].ravel()
        self.write(topic, "CompressedImage", stamp_ns, format=form, data=data)

    def info(self, topic: str, stamp_ns: int, k: CameraIntrinsics | None = INTRINSICS) -> None:
        fx, fy, cx, cy = (k.fx, k.fy, k.cx, k.cy) if k else (0.0, 0.0, 0.0, 0.0)
        matrices = {
            "d": np.zeros(5),
            "k": np.array([fx, 0, cx, 0, fy, cy, 0, 0, 1]),
            "r": np.eye(3).ravel(),
            "p": np.array([fx, 0, cx, 0, 0, fy, cy, 0, 0, 0, 1, 0]),
        }
        if self.ros == 1:
            matrices = {name.upper(): matrix for name, matrix in matrices.items()}
        roi = self.store.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
        self.write(
            topic,
            "CameraInfo",
            stamp_ns,
            height=HEIGHT,
            width=WIDTH,
            distortion_model="plumb_bob",
            **matrices,
            binning_x=0,
            binning_y=0,
            roi=roi,
        )


def rgb_image(n: int) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def depth_image(n: int) -> np.ndarray:
    return np.random.default_rng(1000 + n).integers(0, 9000, (HEIGHT, WIDTH), dtype=np.uint16)


def record_frames(bag: Recorder, count: int = 4, start: int = 5 * SECOND, lag: int = 3_000_000) -> list[int]:
    """Colour images at 30 Hz, depth ``lag`` ns later; returns the colour stamps."""
    stamps = [start + n * PERIOD for n in range(count)]
    for n, stamp in enumerate(stamps):
        bag.info("/camera/rgb/camera_info", stamp)
        bag.image("/camera/rgb/image_raw", stamp, rgb_image(n), "rgb8")
        bag.image("/camera/depth_registered/image_raw", stamp + lag, depth_image(n), "16UC1")
    return stamps


KINDS = [
    pytest.param({"ros": 2}, "bag", id="rosbag2-sqlite3"),
    pytest.param({"ros": 2, "storage": rosbag2.StoragePlugin.MCAP}, "bag", id="rosbag2-mcap"),
    pytest.param({"ros": 1}, "old.bag", id="rosbag1"),
]


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_frames_come_back_as_they_were_recorded(tmp_path, kind, name):
    with Recorder(tmp_path / name, **kind) as bag:
        stamps = record_frames(bag)
    source = BagSource(tmp_path / name)
    frames = list(source)
    assert len(source) == len(frames) == 4
    assert [f.stamp_ns for f in frames] == stamps
    assert [f.name for f in frames] == [f"5.{n * PERIOD:09d}" for n in range(4)]
    for n, item in enumerate(frames):
        assert np.array_equal(item.frame.rgb, rgb_image(n))
        assert np.array_equal(np.rint(item.frame.depth_m * 1000).astype(np.uint16), depth_image(n))
        assert item.frame.intrinsics == INTRINSICS
        assert item.frame_id == "camera_optical"
        assert item.labels is None


def test_a_source_can_be_read_again_and_limited(tmp_path):
    with Recorder(tmp_path / "bag") as bag:
        record_frames(bag)
    source = BagSource(tmp_path / "bag", limit=2)
    assert [f.name for f in source] == [f.name for f in source]
    assert len(list(source)) == len(source) == 2


def test_a_single_mcap_file_is_a_bag(tmp_path):
    with Recorder(tmp_path / "bag", storage=rosbag2.StoragePlugin.MCAP) as bag:
        record_frames(bag)
    (file,) = (tmp_path / "bag").glob("*.mcap")
    assert len(list(BagSource(file))) == 4


def test_topics_are_found_by_encoding_and_name(tmp_path):
    with Recorder(tmp_path / "bag") as bag:
        stamps = record_frames(bag)
        for n, stamp in enumerate(stamps):
            bag.image("/camera/depth/image_raw", stamp, depth_image(50 + n), "16UC1")
            bag.image("/camera/infra1/image_raw", stamp, rgb_image(n)[..., 0], "mono8")
            bag.image("/a/segmentation/overlay", stamp, rgb_image(n), "rgb8")
            bag.info("/camera/depth/camera_info", stamp)
    source = BagSource(tmp_path / "bag")
    assert source.rgb_topic == "/camera/rgb/image_raw"
    assert source.depth_topic == "/camera/depth_registered/image_raw"
    assert source.info_topic == "/camera/rgb/camera_info"
    chosen = BagSource(tmp_path / "bag", rgb_topic="/a/segmentation/overlay", depth_topic="/camera/depth/image_raw",
                       info_topic="/camera/depth/camera_info")  # fmt: skip
    assert np.array_equal(np.rint(next(iter(chosen)).frame.depth_m * 1000).astype(np.uint16), depth_image(50))


def record_cameras(bag: Recorder, depths: dict[str, str]) -> None:
    """A colour image of each camera, and a depth image of those that have one; the number is the camera's."""
    for n, (camera, depth) in enumerate(depths.items()):
        bag.info(f"/{camera}/color/camera_info", SECOND)
        bag.image(f"/{camera}/color/image_raw", SECOND, rgb_image(n), "rgb8")
        if depth:
            bag.image(f"/{camera}/{depth}/image_raw", SECOND, depth_image(n), "16UC1")


@pytest.mark.parametrize("of_front", ["depth", "aligned_depth_to_color"])
def test_of_several_cameras_depth_is_that_of_the_camera_whose_colour_is_read(tmp_path, of_front):
    with Recorder(tmp_path / "bag") as bag:
        record_cameras(bag, {"robot/front": of_front, "robot/rear": "aligned_depth_to_color", "arm": "depth"})
    for n, camera in enumerate(("robot/front", "robot/rear", "arm")):
        (item,) = BagSource(tmp_path / "bag", rgb_topic=f"/{camera}/color/image_raw")
        assert np.array_equal(np.rint(item.frame.depth_m * 1000).astype(np.uint16), depth_image(n))


def test_depth_of_another_camera_is_not_taken_unless_it_is_named(tmp_path):
    with Recorder(tmp_path / "bag") as bag:
        record_cameras(bag, {"front": "", "rear": "depth"})
    answer = "no depth of the camera of /front/color/image_raw: /rear/depth/image_raw is that of /rear/color/image_raw"
    with pytest.raises(SourceError, match=answer):
        BagSource(tmp_path / "bag")
    assert len(BagSource(tmp_path / "bag", depth_topic="/rear/depth/image_raw")) == 1
    assert len(BagSource(tmp_path / "bag", with_depth=False)) == 1


@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("bgr8", rgb_image(0)[..., ::-1]),
        ("rgba8", np.dstack([rgb_image(0), np.full((HEIGHT, WIDTH), 7, np.uint8)])),
        ("bgra8", np.dstack([rgb_image(0)[..., ::-1], np.full((HEIGHT, WIDTH), 7, np.uint8)])),
    ],
)
def test_every_colour_order_becomes_red_first(tmp_path, encoding, pixels):
    with Recorder(tmp_path / "bag") as bag:
        bag.info("/camera_info", SECOND)
        bag.image("/rgb", SECOND, np.ascontiguousarray(pixels), encoding, padding=5)
        bag.image("/depth", SECOND, depth_image(0), "16UC1", padding=4)
    (item,) = BagSource(tmp_path / "bag")
    assert np.array_equal(item.frame.rgb, rgb_image(0))
    assert np.array_equal(np.rint(item.frame.depth_m * 1000).astype(np.uint16), depth_image(0))


def test_grey_images_become_three_equal_channels(tmp_path):
    with Recorder(tmp_path / "bag") as bag:
        bag.info("/camera_info", SECOND)
        bag.image("/rgb", SECOND, rgb_image(0)[..., 1].copy(), "mono8")
        bag.image("/depth", SECOND, depth_image(0), "mono16")
    (item,) = BagSource(tmp_path / "bag")
    assert np.array_equal(item.frame.rgb, np.repeat(rgb_image(0)[..., 1:2], 3, axis=2))


@pytest.mark.parametrize("dtype", ["<f4", ">f4"])
def test_depth_in_metres_keeps_its_holes_in_either_byte_order(tmp_path, dtype):
    metres = depth_image(0).astype(np.float32) / 1000
    metres[2, 3] = np.nan
    with Recorder(tmp_path / "bag") as bag:
        bag.info("/camera_info", SECOND)
        bag.image("/rgb", SECOND, rgb_image(0), "rgb8")
        bag.image("/depth", SECOND, metres.astype(dtype), "32FC1")
    (item,) = BagSource(tmp_path / "bag")
    assert np.array_equal(item.frame.depth_m, metres, equal_nan=True)
    assert item.frame.depth_m.dtype == np.dtype(np.float32)


def test_compressed_images_are_decoded(tmp_path):
    with Recorder(tmp_path / "bag") as bag:
        bag.info("/camera/color/camera_info", SECOND)
        bgr = np.ascontiguousarray(rgb_image(0)[..., ::-1])
        bag.compressed("/camera/color/image_raw/compressed", SECOND, bgr, ".png", "rgb8; png compressed bgr8")
        bag.compressed(
            "/camera/aligned_depth_to_color/image_raw/compressed", SECOND, depth_image(0), ".png", "16UC1; png"
        )
    source = BagSource(tmp_path / "bag")
    assert source.info_topic == "/camera/color/camera_info"
    (item,) = source
    assert np.array_equal(item.frame.rgb, rgb_image(0))
    assert np.array_equal(np.rint(item.frame.depth_m * 1000).astype(np.uint16), depth_image(0))


@pytest.mark.parametrize("codec", ["png", "rvl"])
def test_compressed_depth_is_decoded(tmp_path, codec):
    depth = depth_image(0)
    file = rvl(depth) if codec == "rvl" else cv2.imencode(".png", depth)[1].tobytes()
    with Recorder(tmp_path / "bag") as bag:
        bag.info("/camera_info", SECOND)
        bag.compressed("/rgb/compressed", SECOND, rgb_image(0)[..., ::-1].copy(), ".png", "rgb8; png compressed bgr8")
        data, form = np.frombuffer(config_header() + file, np.uint8), f"16UC1; compressedDepth {codec}"
        bag.write("/depth/compressedDepth", "CompressedImage", SECOND, format=form, data=data)
    source = BagSource(tmp_path / "bag")
    assert source.depth_topic == "/depth/compressedDepth"
    (item,) = source
    assert np.array_equal(np.rint(item.frame.depth_m * 1000).astype(np.uint16), depth)


def test_colour_alone_needs_no_depth_topic_and_leaves_no_image_out(tmp_path):
    with Recorder(tmp_path / "bag") as bag:
        bag.info("/camera_info", SECOND)
        for k in (0, 2, 1):
            bag.image("/rgb", SECOND + k * PERIOD, rgb_image(k), "rgb8")
    with pytest.raises(SourceError, match="no depth images"):
        BagSource(tmp_path / "bag")
    source = BagSource(tmp_path / "bag", with_depth=False)
    assert source.depth_topic is None and len(source) == 3
    for k, item in enumerate(source):
        assert np.array_equal(item.frame.rgb, rgb_image(k)) and item.frame.depth_m is None
        assert (item.stamp_ns, item.frame_id, item.depth_frame_id) == (SECOND + k * PERIOD, "camera_optical", "")


def test_raw_topics_are_preferred_to_compressed_ones(tmp_path):
    with Recorder(tmp_path / "bag") as bag:
        (stamp, *_) = record_frames(bag)
        bag.compressed("/camera/rgb/image_raw/compressed", stamp, rgb_image(0), ".jpg", "jpeg")
    assert BagSource(tmp_path / "bag").rgb_topic == "/camera/rgb/image_raw"


def test_jpeg_colour_is_close_and_red_first(tmp_path):
    flat = np.full((HEIGHT, WIDTH, 3), (200, 60, 20), np.uint8)
    with Recorder(tmp_path / "bag") as bag:
        bag.info("/camera_info", SECOND)
        bag.compressed("/rgb/compressed", SECOND, np.ascontiguousarray(flat[..., ::-1]), ".jpg", "jpeg")
        bag.image("/depth", SECOND, depth_image(0), "16UC1")
    (item,) = BagSource(tmp_path / "bag")
    assert np.abs(item.frame.rgb.astype(int) - flat).max() <= 4


def test_images_without_a_partner_in_time_are_left_out(tmp_path):
    with Recorder(tmp_path / "bag") as bag:
        bag.info("/camera_info", SECOND)
        for n in range(6):
            bag.image("/rgb", SECOND + n * PERIOD, rgb_image(n), "rgb8")
            if n not in (0, 3):  # depth images lost
                bag.image("/depth", SECOND + n * PERIOD + 8_000_000, depth_image(n), "16UC1")
    frames = list(BagSource(tmp_path / "bag"))
    assert [f.stamp_ns for f in frames] == [SECOND + n * PERIOD for n in (1, 2, 4, 5)]
    for n, item in zip((1, 2, 4, 5), frames, strict=True):
        assert np.array_equal(np.rint(item.frame.depth_m * 1000).astype(np.uint16), depth_image(n))


def test_depth_recorded_before_its_colour_image_is_kept_for_it(tmp_path):
    with Recorder(tmp_path / "bag") as bag:
        bag.info("/camera_info", SECOND)
        for n in range(3):
            bag.image("/depth", SECOND + n * PERIOD, depth_image(n), "16UC1")
        for n in range(3):
            bag.image("/rgb", SECOND + n * PERIOD, rgb_image(n), "rgb8")
    frames = list(BagSource(tmp_path / "bag"))
    assert len(frames) == 3
    for n, item in enumerate(frames):
        assert np.array_equal(item.frame.rgb, rgb_image(n))
        assert np.array_equal(np.rint(item.frame.depth_m * 1000).astype(np.uint16), depth_image(n))


def test_given_intrinsics_replace_the_recorded_ones(tmp_path):
    with Recorder(tmp_path / "bag") as bag:
        bag.image("/rgb", SECOND, rgb_image(0), "rgb8")
        bag.image("/depth", SECOND, depth_image(0), "16UC1")
    with pytest.raises(SourceError, match=r"no CameraInfo beside its colour topic.*--intrinsics"):
        BagSource(tmp_path / "bag")
    (item,) = BagSource(tmp_path / "bag", intrinsics=INTRINSICS)
    assert item.frame.intrinsics == INTRINSICS
    (item,) = BagSource(tmp_path / "bag", intrinsics=UnsizedIntrinsics(21.0, 22.0, 7.5, 5.5))
    assert item.frame.intrinsics == INTRINSICS


def test_an_uncalibrated_camera_is_named(tmp_path):
    with Recorder(tmp_path / "bag") as bag:
        bag.info("/camera_info", SECOND, None)
        bag.image("/rgb", SECOND, rgb_image(0), "rgb8")
        bag.image("/depth", SECOND, depth_image(0), "16UC1")
    with pytest.raises(SourceError, match=r"/camera_info: .*calibrated"):
        BagSource(tmp_path / "bag")


def test_missing_topics_are_named_with_those_that_exist(tmp_path):
    with Recorder(tmp_path / "bag") as bag:
        bag.image("/rgb", SECOND, rgb_image(0), "rgb8")
        bag.image("/bayer", SECOND, rgb_image(0), "bayer_rggb8")
    with pytest.raises(SourceError, match=r"no depth images; .* /bayer .*'bayer_rggb8'.*/rgb \(colour\).*--no-depth"):
        BagSource(tmp_path / "bag")
    with pytest.raises(SourceError, match=r"no images on /nowhere; image topics are .*/rgb"):
        BagSource(tmp_path / "bag", rgb_topic="/nowhere")
    with pytest.raises(SourceError, match="/rgb is no depth topic"):
        BagSource(tmp_path / "bag", depth_topic="/rgb")


def test_a_bag_without_images_says_what_it_holds(tmp_path):
    with Recorder(tmp_path / "bag") as bag:
        bag.info("/camera_info", SECOND)
    with pytest.raises(SourceError, match=r"holds no images; it holds /camera_info"):
        BagSource(tmp_path / "bag")


def test_images_that_never_meet_in_time_are_an_error(tmp_path):
    with Recorder(tmp_path / "bag") as bag:
        bag.info("/camera_info", SECOND)
        bag.image("/rgb", SECOND, rgb_image(0), "rgb8")
        bag.image("/depth", 9 * SECOND, depth_image(0), "16UC1")
    with pytest.raises(SourceError, match="within half a frame period"):
        BagSource(tmp_path / "bag")


def test_an_image_whose_data_is_cut_is_named_by_its_time(tmp_path):
    with Recorder(tmp_path / "bag") as bag:
        bag.info("/camera_info", SECOND)
        bag.image("/rgb", SECOND, rgb_image(0), "rgb8", cut=10)
        bag.image("/depth", SECOND, depth_image(0), "16UC1")
    with pytest.raises(SourceError, match=r"image at 1\.000000000 s: .*16x12 rgb8"):
        list(BagSource(tmp_path / "bag"))


def test_depth_of_another_size_is_an_error_that_says_what_to_do(tmp_path):
    with Recorder(tmp_path / "bag") as bag:
        bag.info("/camera_info", SECOND)
        bag.image("/rgb", SECOND, rgb_image(0), "rgb8")
        bag.image("/depth", SECOND, depth_image(0)[:6, :8].copy(), "16UC1")
    with pytest.raises(SourceError, match="registered"):
        list(BagSource(tmp_path / "bag"))


@pytest.mark.parametrize("name", ["x.bag", "x.mcap", "x.db3"])
@pytest.mark.parametrize("content", [b"", b"not a bag", os.urandom(5000)])
def test_files_that_are_no_bags_are_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=name):
        BagSource(tmp_path / name)


@pytest.mark.parametrize(("kind", "name"), KINDS)
def test_a_bag_that_is_cut_is_refused(tmp_path, kind, name):
    with Recorder(tmp_path / name, **kind) as bag:
        record_frames(bag, count=20)
    file = tmp_path / name
    if file.is_dir():
        (file,) = (p for p in file.iterdir() if p.suffix in (".db3", ".mcap"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(SourceError):
        list(BagSource(tmp_path / name))


def test_a_folder_that_is_no_bag_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no bag at"):
        BagSource(tmp_path / "nothing")
    with pytest.raises(SourceError, match="no metadata"):
        BagSource(tmp_path)


@given(
    st.lists(st.integers(0, 40), unique=True, min_size=1), st.lists(st.integers(0, 40), unique=True), st.integers(0, 9)
)
def test_pairs_are_near_unique_and_ordered(rgb_ticks, depth_ticks, lag):
    rgb = [SECOND + t * PERIOD for t in rgb_ticks]
    depth = [SECOND + t * PERIOD + lag * 1_000_000 for t in depth_ticks]
    pairs = _pair_up(rgb, depth)
    stamps = [p.stamp_ns for p in pairs]
    assert stamps == sorted(set(stamps))
    assert len({p.depth for p in pairs}) == len(pairs)
    assert all(rgb[p.rgb] == p.stamp_ns for p in pairs)
    # The lag is under half of any period, so exactly the ticks that both have are paired, each with its own.
    gaps = {depth[p.depth] - p.stamp_ns for p in pairs}
    assert gaps <= {lag * 1_000_000} or len(rgb) == 1 or np.median(np.diff(sorted(rgb))) > PERIOD
    assert set(rgb_ticks) & set(depth_ticks) <= {(s - SECOND) // PERIOD for s in stamps}
