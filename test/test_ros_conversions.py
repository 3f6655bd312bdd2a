"""Conversion between ROS messages and arrays: every encoding, padding, byte order, and inconsistent messages."""

from __future__ import annotations

import array
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("sensor_msgs", reason="needs ROS 2's messages")

from sensor_msgs.msg import CameraInfo, Image, PointField, RegionOfInterest
from std_msgs.msg import Header

from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.image_encodings import (
    COLOR_ENCODINGS,
    DEPTH_ENCODINGS,
    LABEL_ENCODINGS,
    camera_info_to_intrinsics,
    color_to_array,
    depth_to_array,
    unrectified_px,
)
from lcr_seg_ros.ros.compat.cv_bridge import OWN_READERS, choose_image_readers
from lcr_seg_ros.ros.conversions import CLOUD_POINT, array_to_image, segmentation_to_cloud

SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))
CHANNEL_ORDER = {"rgb8": "rgb", "bgr8": "bgr", "rgba8": "rgba", "bgra8": "bgra"}


def message_of(rows: np.ndarray, encoding: str, width: int, padding: int = 0, big: bool = False) -> Image:
    """An image message with these rows (H, bytes), each followed by ``padding`` random bytes."""
    noise = np.full((len(rows), padding), 0xAB, np.uint8)
    padded = np.hstack([rows, noise])
    data = array.array("B", padded.tobytes())
    return Image(
        height=len(rows), width=width, encoding=encoding, step=padded.shape[1], is_bigendian=int(big), data=data
    )


def reader_of(encoding: str) -> Callable[[Image], np.ndarray]:
    return depth_to_array if encoding in DEPTH_ENCODINGS else color_to_array


@given(SIZES, st.sampled_from(sorted(CHANNEL_ORDER)), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_colour_is_red_first_whatever_the_order_and_padding(size, encoding, padding, seed):
    rgb = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    planes = {"r": rgb[..., 0], "g": rgb[..., 1], "b": rgb[..., 2], "a": np.full(size, 7, np.uint8)}
    rows = np.stack([planes[c] for c in CHANNEL_ORDER[encoding]], axis=-1).reshape(size[0], -1)
    read = color_to_array(message_of(rows, encoding, size[1], padding))
    assert read.flags.c_contiguous and read.dtype == np.uint8
    np.testing.assert_array_equal(read, rgb)


@given(SIZES, st.integers(0, 5))
def test_grey_becomes_three_equal_channels(size, padding):
    grey = np.arange(size[0] * size[1], dtype=np.uint8).reshape(size)
    read = color_to_array(message_of(grey, "mono8", size[1], padding))
    np.testing.assert_array_equal(read, np.dstack([grey] * 3))


@given(SIZES, st.sampled_from(["16UC1", "mono16"]), st.booleans(), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_depth_in_millimetres_becomes_metres_in_either_byte_order(size, encoding, big, padding, seed):
    millimetres = np.random.default_rng(seed).integers(0, 65536, size).astype(np.uint16)
    rows = millimetres.astype(">u2" if big else "<u2").view(np.uint8).reshape(size[0], -1)
    read = depth_to_array(message_of(rows, encoding, size[1], padding, big))
    assert read.dtype == np.dtype(np.float32) and read.dtype.isnative and read.flags.c_contiguous
    np.testing.assert_array_equal(read, millimetres.astype(np.float32) * np.float32(0.001))


@given(SIZES, st.booleans(), st.integers(0, 5))
def test_depth_in_metres_keeps_its_holes(size, big, padding):
    metres = np.linspace(0, 8, size[0] * size[1], dtype=np.float32).reshape(size)
    metres.flat[0] = np.nan
    metres.flat[-1] = np.inf
    rows = metres.astype(">f4" if big else "<f4").view(np.uint8).reshape(size[0], -1)
    read = depth_to_array(message_of(rows, "32FC1", size[1], padding, big))
    np.testing.assert_array_equal(read, metres)


@given(SIZES, st.sampled_from(sorted(COLOR_ENCODINGS | DEPTH_ENCODINGS | LABEL_ENCODINGS)))
def test_a_written_image_has_its_size_step_and_header(size, encoding):
    dtype, channels = (COLOR_ENCODINGS | DEPTH_ENCODINGS | LABEL_ENCODINGS)[encoding]
    pixels = np.arange(size[0] * size[1] * channels).reshape(*size, channels).astype(dtype)
    header = Header(frame_id="camera")
    header.stamp.sec, header.stamp.nanosec = 12, 34
    message = array_to_image(pixels, encoding, header)
    assert (message.height, message.width, message.encoding) == (*size, encoding)
    assert message.step == size[1] * channels * np.dtype(dtype).itemsize
    assert message.header == header
    assert isinstance(message.data, array.array) and message.data.tobytes() == pixels.tobytes()


@given(SIZES, st.sampled_from(["rgb8", "16UC1", "32FC1"]))
def test_writing_and_reading_gives_the_same_image(size, encoding):
    dtype, channels = (COLOR_ENCODINGS | DEPTH_ENCODINGS)[encoding]
    pixels = np.arange(size[0] * size[1] * channels).reshape(*size, channels).astype(dtype)
    read = reader_of(encoding)(array_to_image(pixels, encoding))
    expected = pixels[..., 0].astype(np.float32) * np.float32(0.001) if encoding == "16UC1" else pixels
    np.testing.assert_array_equal(read, expected.reshape(read.shape))


def test_padding_missing_after_the_last_row_is_forgiven():
    rows = np.arange(24, dtype=np.uint8).reshape(2, 12)
    message = message_of(rows, "rgb8", 4, padding=4)
    message.data = message.data[:-4]
    np.testing.assert_array_equal(color_to_array(message), rows.reshape(2, 4, 3))


GOOD = {"height": 4, "width": 6, "encoding": "rgb8", "step": 18}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoding": "yuv422"}, "encoding 'yuv422', which is not supported; use rgb8, bgr8"),
        ({"encoding": ""}, "encoding ''"),
        ({"width": 0}, "must be 1..16384 px a side, got 0x4"),
        ({"height": 0}, "got 6x0"),
        ({"height": 2**31, "width": 2**31}, "must be 1..16384 px a side"),
        ({"step": 17}, "step 17, but a row of 6 rgb8 pixels takes 18 bytes"),
        ({"step": 2**31}, "is cut"),
        ({"height": 5}, "is cut: 6x5 rgb8 with step 18 takes 90 bytes, got 72"),
        ({"encoding": "bgra8"}, "step 18, but a row"),
    ],
)
def test_a_colour_image_that_contradicts_itself_is_refused_with_the_value(change, message):
    image = Image(**{**GOOD, **change})
    image.data = array.array("B", bytes(72))
    with pytest.raises(FrameError, match=message.replace(".", r"\.")):
        color_to_array(image)


def test_a_colour_encoding_is_no_depth_and_a_depth_encoding_no_colour():
    with pytest.raises(FrameError, match="depth image has encoding 'rgb8'"):
        depth_to_array(array_to_image(np.zeros((2, 2, 3), np.uint8), "rgb8"))
    with pytest.raises(FrameError, match="colour image has encoding '16UC1'"):
        color_to_array(array_to_image(np.zeros((2, 2), np.uint16), "16UC1"))


@pytest.mark.parametrize(
    ("pixels", "encoding"),
    [
        (np.zeros((2, 2), np.uint8), "rgb8"),
        (np.zeros((2, 2, 3), np.float32), "rgb8"),
        (np.zeros((2, 2), np.uint8), "16UC1"),
        (np.zeros((2, 2), np.uint8), "jpeg"),
    ],
)
def test_an_array_that_does_not_fit_the_encoding_is_refused(pixels, encoding):
    with pytest.raises(FrameError, match=encoding):
        array_to_image(pixels, encoding)


@given(st.binary(max_size=64), st.integers(0, 9), st.integers(0, 9), st.integers(0, 40), st.booleans())
def test_no_message_is_read_beyond_its_data(data, width, height, step, big):
    for encoding in (*COLOR_ENCODINGS, *DEPTH_ENCODINGS):
        message = Image(height=height, width=width, encoding=encoding, step=step, is_bigendian=int(big))
        message.data = array.array("B", data)
        try:
            read = reader_of(encoding)(message)
        except FrameError:
            continue
        assert read.shape[:2] == (height, width)


def test_the_readers_chosen_here_agree_with_our_own():
    readers, choice = choose_image_readers()
    assert choice.used or choice.reason
    image = array_to_image(np.arange(72, dtype=np.uint8).reshape(4, 6, 3), "bgr8")
    np.testing.assert_array_equal(readers.color(image), OWN_READERS.color(image))


# camera_info


def info(**fields) -> CameraInfo:
    k = [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]
    return CameraInfo(**{"width": 640, "height": 480, "k": k, **fields})


def test_intrinsics_are_read_from_k():
    assert camera_info_to_intrinsics(info()) == CameraIntrinsics(500.0, 510.0, 320.0, 240.0, 640, 480)


@given(st.floats(1.0, 5000.0), st.floats(0.0, 4000.0))
def test_intrinsics_are_taken_over_to_the_last_bit(focal, centre):
    k = [focal, 0.0, centre, 0.0, focal, centre, 0.0, 0.0, 1.0]
    read = camera_info_to_intrinsics(info(k=k))
    assert (read.fx, read.cx) == (focal, centre)


def test_p_is_preferred_because_it_belongs_to_the_rectified_image():
    p = [450.0, 0.0, 311.0, 0.0, 0.0, 460.0, 233.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    assert camera_info_to_intrinsics(info(p=p)) == CameraIntrinsics(450.0, 460.0, 311.0, 233.0, 640, 480)


BARREL = [-0.3, 0.1, 0.0, 0.0, 0.0]
P = [450.0, 0.0, 311.0, 0.0, 0.0, 460.0, 233.0, 0.0, 0.0, 0.0, 1.0, 0.0]
LENSES = {
    "barrel": ("plumb_bob", BARREL),
    "rational": ("rational_polynomial", [-0.3, 0.1, 0.0, 0.0, 0.0, 0.05, 0.0, 0.0]),
    "fisheye": ("equidistant", [-0.01, 0.04, -0.03, 0.006]),
}


@pytest.mark.parametrize("lens", LENSES)
def test_the_displacement_by_the_lens_is_that_of_opencv_at_the_corners(lens):
    model, d = LENSES[lens]
    matrix = np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]])
    corners = np.array([[[u, v]] for u in (0.0, 639.0) for v in (0.0, 479.0)])
    told = unrectified_px(info(distortion_model=model, d=d), "/camera/image_raw")
    rays = np.concatenate([(corners - [320, 240]) / [500, 510], np.ones((4, 1, 1))], axis=2)
    project = cv2.fisheye.projectPoints if model == "equidistant" else cv2.projectPoints
    seen, _ = project(rays, np.zeros(3), np.zeros(3), matrix, np.array(d))
    assert told == pytest.approx(np.linalg.norm(seen - corners, axis=2).max())
    assert told > 5


def test_images_that_are_not_rectified_have_k_and_rectified_ones_p():
    message = info(p=P, d=BARREL, distortion_model="plumb_bob")
    assert camera_info_to_intrinsics(message, "/camera/rgb/image_raw").fx == 500.0
    for topic in ("/camera/rgb/image_rect_color", "/camera/image_rect", "/camera/image_rect/compressed", None):
        assert camera_info_to_intrinsics(message, topic).fx == 450.0
    assert unrectified_px(message, "/camera/rgb/image_rect_color") == 0
    # A folder of that name says nothing of the image.
    assert unrectified_px(message, "/rect/image_raw") > 0


@pytest.mark.parametrize(
    "fields",
    [
        {"d": [0.0] * 5},
        {"d": []},
        {"d": [0.005, 0.0, 0.0, 0.0, 0.0]},  # 1.4 px at the corners
        {"d": [float("nan")] * 5},
        {"d": [0.1] * 3},
        {"d": BARREL, "distortion_model": "of the maker's own"},
        {"d": BARREL, "k": [0.0] * 9},
    ],
)
def test_a_lens_that_is_as_good_as_none_or_not_known_is_no_reason_for_an_alarm(fields):
    message = info(**{"p": P, "distortion_model": "plumb_bob", **fields})
    assert unrectified_px(message, "/camera/image_raw") == 0
    assert camera_info_to_intrinsics(message, "/camera/image_raw").fx == 450.0


def test_what_is_negligible_grows_with_the_image_and_binning_shrinks_what_is_told():
    def wide(k1: float, **fields) -> CameraInfo:
        k = [1500.0, 0.0, 960.0, 0.0, 1500.0, 720.0, 0.0, 0.0, 1.0]
        return info(width=1920, height=1440, k=k, d=[k1, 0.0, 0.0, 0.0, 0.0], distortion_model="plumb_bob", **fields)

    assert unrectified_px(wide(0.006), "/image_raw") == 0  # 4.6 px of 1920 are 1.5 px of 640
    full = unrectified_px(wide(0.05), "/image_raw")
    assert unrectified_px(wide(0.05, binning_x=2, binning_y=2), "/image_raw") == pytest.approx(full / 2)


def test_binning_and_region_of_interest_are_applied():
    roi = RegionOfInterest(x_offset=20, y_offset=10, width=320, height=240)
    read = camera_info_to_intrinsics(info(roi=roi, binning_x=2, binning_y=2))
    expected = CameraIntrinsics(500.0, 510.0, 300.0, 230.0, 320, 240).scaled_to(160, 120)
    assert read == expected


@pytest.mark.parametrize(
    "fields",
    [
        {"k": [0.0] * 9},
        {"k": [float("nan")] * 9},
        {"k": [float("inf")] * 9},
        {"k": [-1.0, 0.0, 0.0, 0.0, -1.0, 0.0, 0.0, 0.0, 1.0]},
        {"width": 0},
        {"height": 2**31},
    ],
)
def test_a_camera_info_that_says_nothing_is_refused(fields):
    with pytest.raises(FrameError):
        camera_info_to_intrinsics(info(**fields))


# PointCloud2


def test_a_cloud_has_a_point_for_each_pixel_at_its_place_in_space():
    intrinsics = CameraIntrinsics(100.0, 200.0, 1.0, 0.5, 3, 2)
    depth = np.array([[1.0, 2.0, 0.0], [4.0, np.nan, np.inf]], np.float32)
    labels = np.array([[1, 2, 3], [4, 5, 255]], np.uint8)
    confidence = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)
    palette = np.zeros((256, 3), np.uint8)
    palette[2] = (0x12, 0x34, 0x56)
    header = Header(frame_id="camera")
    cloud = segmentation_to_cloud(depth, intrinsics, labels, confidence, palette, header)
    points = np.frombuffer(cloud.data, CLOUD_POINT).reshape(2, 3)
    assert (cloud.height, cloud.width, cloud.row_step) == (2, 3, 3 * CLOUD_POINT.itemsize)
    assert cloud.header == header and not cloud.is_dense
    np.testing.assert_allclose(points["x"][0, :2], [-0.01, 0.0], atol=1e-7)
    np.testing.assert_allclose(points["y"][:, 0], [-0.0025, 0.01], atol=1e-7)
    holes = ~(np.isfinite(depth) & (depth > 0))
    for axis in "xyz":
        np.testing.assert_array_equal(np.isnan(points[axis]), holes)
    np.testing.assert_array_equal(points["z"][~holes], depth[~holes])
    np.testing.assert_array_equal(points["label"], labels)
    np.testing.assert_array_equal(points["confidence"], confidence)
    assert points["rgb"][0, 1] == 0x123456


def test_the_fields_of_a_cloud_describe_its_points():
    one = np.ones((1, 1), np.float32)
    intrinsics = CameraIntrinsics(1.0, 1.0, 0.0, 0.0, 1, 1)
    cloud = segmentation_to_cloud(one, intrinsics, one.astype(np.uint8), one, np.zeros((256, 3), np.uint8), Header())
    for field in cloud.fields:
        assert field.offset == CLOUD_POINT.fields[field.name][1] and field.count == 1
        assert field.datatype == (PointField.UINT32 if field.name == "label" else PointField.FLOAT32)


def test_a_cloud_of_parts_that_differ_in_size_is_refused():
    intrinsics = CameraIntrinsics(1.0, 1.0, 0.0, 0.0, 2, 2)
    depth, labels = np.ones((2, 2), np.float32), np.ones((2, 3), np.uint8)
    with pytest.raises(FrameError, match="one size"):
        segmentation_to_cloud(depth, intrinsics, labels, depth, np.zeros((256, 3), np.uint8), Header())
