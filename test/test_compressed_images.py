"""Compressed images as the plugins of image_transport write them, and files that are cut, damaged or lie."""

from __future__ import annotations

import array
import struct
import time
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from turned_jpeg import quarter_turned

pytest.importorskip("sensor_msgs", reason="needs ROS 2's messages")

from sensor_msgs.msg import CompressedImage

from lcr_seg_ros.compressed_images import (
    MAX_PIXELS,
    compressed_color_to_array,
    compressed_depth_to_array,
    transport_topic,
)
from lcr_seg_ros.errors import FrameError

SIZES = st.tuples(st.integers(1, 12), st.integers(1, 12))
SEEDS = st.integers(0, 2**32 - 1)


def message_of(data: bytes, format_: str) -> CompressedImage:
    return CompressedImage(format=format_, data=array.array("B", data))


def encoded(pixels: np.ndarray, extension: str, *parameters: int) -> bytes:
    done, data = cv2.imencode(extension, pixels, parameters)
    assert done
    return data.tobytes()


def compressed(rgb: np.ndarray, encoding: str, codec: str) -> CompressedImage:
    """As compressed_image_transport does: turned into bgr8 or mono8, then written as a file."""
    if encoding == "mono8":
        target, pixels = ("mono8" if codec == "jpeg" else ""), rgb[..., 0]
    else:
        target, pixels = "bgr8", rgb[..., ::-1]
    data = encoded(pixels, ".jpg" if codec == "jpeg" else ".png")
    return message_of(data, f"{encoding}; {codec} compressed {target}")


def config_header(a: float = 0.0, b: float = 0.0) -> bytes:
    return struct.pack("<iff", 0, a, b)


def rvl(values: np.ndarray) -> bytes:
    """Wilson's run-length and variable-length coding, behind the image's width and height."""
    nibbles: list[int] = []

    def put(number: int) -> None:
        while True:
            nibbles.append(number & 7 | (8 if number > 7 else 0))
            number >>= 3
            if not number:
                return

    flat, at, before = values.ravel().tolist(), 0, 0
    while at < len(flat):
        run = at
        while run < len(flat) and flat[run] == 0:
            run += 1
        put(run - at)
        at = run
        while run < len(flat) and flat[run] != 0:
            run += 1
        put(run - at)
        for value in flat[at:run]:
            change, before = value - before, value
            put(2 * change if change >= 0 else -2 * change - 1)
        at = run
    nibbles += [0] * (-len(nibbles) % 8)
    words = [int("".join(f"{n:x}" for n in nibbles[i : i + 8]), 16) for i in range(0, len(nibbles), 8)]
    return struct.pack(f"<II{len(words)}I", values.shape[1], values.shape[0], *words)


def quantised(metres: np.ndarray, z0: float = 100.0, farthest: float = 10.0) -> tuple[np.ndarray, float, float]:
    """Inverse depth in 16 bits, with the plugin's default parameters; and its A and B."""
    a = np.float32(z0 * (z0 + 1))
    b = np.float32(1 - a / farthest)
    near = metres < farthest
    q = np.zeros(metres.shape, np.uint16)
    q[near] = (a / metres[near] + b).astype(np.uint16)
    return q, float(a), float(b)


def random_rgb(size: tuple[int, int], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def smooth_rgb(height: int = 48, width: int = 64) -> np.ndarray:
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([2 * u + 50, 4 * v + 20, 255 - 2 * u - v], -1).astype(np.uint8)


def some_depth_mm(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    depth = (2000 + 10 * np.arange(width) + rng.integers(0, 30, (height, width))).astype(np.uint16)
    depth[rng.random((height, width)) < 0.2] = 0
    depth[5:9, 10:30] = 0
    return depth


def test_topics_have_the_names_of_image_transport():
    assert transport_topic("/camera/image", "raw") == "/camera/image"
    assert transport_topic("/camera/image", "compressed") == "/camera/image/compressed"
    assert transport_topic("/camera/depth", "compressedDepth") == "/camera/depth/compressedDepth"


# Colour


@given(SIZES, st.sampled_from(["rgb8", "bgr8", "rgba8", "bgra8", "mono8"]), SEEDS)
def test_png_is_exact_whatever_the_camera_sends(size, encoding, seed):
    rgb = random_rgb(size, seed)
    expected = np.repeat(rgb[..., :1], 3, -1) if encoding == "mono8" else rgb
    read = compressed_color_to_array(compressed(rgb, encoding, "png"))
    assert read.dtype == np.uint8 and read.flags.c_contiguous
    np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8", "mono8"])
def test_jpeg_has_the_right_colours(encoding):
    rgb = smooth_rgb()
    expected = np.repeat(rgb[..., :1], 3, -1) if encoding == "mono8" else rgb
    read = compressed_color_to_array(compressed(rgb, encoding, "jpeg"))
    assert np.abs(read.astype(int) - expected).mean() < 2


@pytest.mark.parametrize(("format_", "extension"), [("jpeg", ".jpg"), ("png", ".png"), ("jpg", ".jpg"), ("", ".png")])
def test_a_driver_that_names_the_codec_alone_is_understood(format_, extension):
    read = compressed_color_to_array(message_of(encoded(smooth_rgb()[..., ::-1], extension), format_))
    assert np.abs(read.astype(int) - smooth_rgb()).mean() < 2


@pytest.mark.parametrize("encoding", ["rgb8", "bgr8"])
@pytest.mark.parametrize("target", ["", "rgb8"])
def test_what_was_not_turned_into_bgr_first_is_turned_back_as_image_transport_does(encoding, target):
    """Its subscriber takes the file for what an encoder makes of red-first memory."""
    memory = smooth_rgb()
    read = compressed_color_to_array(message_of(encoded(memory, ".png"), f"{encoding}; png compressed {target}"))
    np.testing.assert_array_equal(read, memory)


def test_a_png_of_16_bits_keeps_the_upper_8():
    rgb = smooth_rgb()
    data = encoded(rgb[..., ::-1].astype(np.uint16) * 257, ".png")
    np.testing.assert_array_equal(compressed_color_to_array(message_of(data, "rgb16; png compressed bgr16")), rgb)


def test_a_progressive_jpeg_is_read_and_one_that_is_to_be_turned_by_its_exif_is_not_turned():
    data = encoded(smooth_rgb()[..., ::-1], ".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    assert compressed_color_to_array(message_of(data, "jpeg")).shape == (48, 64, 3)
    assert compressed_color_to_array(message_of(quarter_turned(data), "jpeg")).shape == (48, 64, 3)


@pytest.mark.parametrize(
    ("format_", "why"),
    [
        ("bayer_rggb8; jpeg compressed mono8", "format 'bayer_rggb8; jpeg compressed mono8', which is not supported"),
        ("16UC1; compressedDepth png", "format '16UC1; compressedDepth png', which is not supported"),
    ],
)
def test_formats_that_are_no_colour_picture_are_refused(format_, why):
    with pytest.raises(FrameError, match=why):
        compressed_color_to_array(message_of(encoded(smooth_rgb(), ".png"), format_))


def test_other_files_are_refused_with_their_beginning():
    with pytest.raises(FrameError, match="neither JPEG nor PNG: it begins with 49 49 2a 00"):
        compressed_color_to_array(message_of(encoded(smooth_rgb(), ".tiff"), "rgb8; tiff compressed "))


# Depth


@given(SIZES, SEEDS, st.floats(0, 1))
def test_rvl_gives_back_every_value(size, seed, holes):
    rng = np.random.default_rng(seed)
    depth = rng.integers(1, 65536, size).astype(np.uint16)
    depth[rng.random(size) < holes] = 0
    read = compressed_depth_to_array(message_of(config_header() + rvl(depth), "16UC1; compressedDepth rvl"))
    np.testing.assert_array_equal(read, depth.astype(np.float32) * np.float32(0.001))


def test_rvl_is_the_stream_that_the_paper_describes():
    """2 zeros, 3 others: +1000 (2000 folded, 3720 octal, lowest first), +3 (6), -2 (3); 1 zero, 0 others."""
    stream = struct.pack("<IIII", 6, 1, 0x238AF363, 0x10000000)
    depth = np.array([[0, 0, 1000, 1003, 1001, 0]], np.uint16)
    assert rvl(depth) == stream
    read = compressed_depth_to_array(message_of(config_header() + stream, "16UC1; compressedDepth rvl"))
    np.testing.assert_array_equal(read, depth.astype(np.float32) * np.float32(0.001))


@pytest.mark.parametrize("format_", ["16UC1; compressedDepth png", "16UC1; compressedDepth", "16UC1", "mono16"])
def test_millimetres_in_png_are_exact_whichever_release_wrote_them(format_):
    depth = some_depth_mm()
    read = compressed_depth_to_array(message_of(config_header() + encoded(depth, ".png"), format_))
    np.testing.assert_array_equal(read, depth.astype(np.float32) * np.float32(0.001))


@pytest.mark.parametrize("format_", ["16UC1; png compressed ", "mono16; png compressed ", "png"])
def test_under_the_transport_compressed_a_png_of_16_bits_will_do(format_):
    depth = some_depth_mm()
    read = compressed_depth_to_array(message_of(encoded(depth, ".png"), format_))
    np.testing.assert_array_equal(read, depth.astype(np.float32) * np.float32(0.001))


@given(st.sampled_from(["png", "rvl"]), SEEDS)
def test_metres_come_back_as_near_as_the_quantisation_allows(codec, seed):
    rng = np.random.default_rng(seed)
    metres = rng.uniform(0.3, 9.9, (6, 8)).astype(np.float32)
    metres[rng.random(metres.shape) < 0.2] = np.nan
    q, a, b = quantised(metres)
    data = config_header(a, b) + (rvl(q) if codec == "rvl" else encoded(q, ".png"))
    read = compressed_depth_to_array(message_of(data, f"32FC1; compressedDepth {codec}"))
    assert read.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(read), np.isnan(metres))
    known = ~np.isnan(metres)
    # One step of q, which is cut and not rounded: d(depth) = depth^2 / A.
    assert (np.abs(read - metres)[known] <= metres[known] ** 2 / a * 1.02).all()


@pytest.mark.parametrize(
    ("data", "format_", "why"),
    [
        (encoded(some_depth_mm().astype(np.uint8), ".jpg"), "16UC1; jpeg compressed mono8", "JPEG would alter depth"),
        (encoded(some_depth_mm().astype(np.uint8), ".jpg"), "jpeg", "JPEG would alter depth"),
        (encoded(some_depth_mm().astype(np.uint8), ".png"), "png", "PNG of 1 x 8 bits a pixel"),
        (config_header() + encoded(smooth_rgb(), ".png"), "16UC1; compressedDepth png", "PNG of 3 x 8 bits a pixel"),
        (config_header() + b"x" * 40, "16UC1; compressedDepth zstd", "use 16UC1 or 32FC1 as compressedDepth png or"),
        (config_header() + b"x" * 40, "rgb8; compressedDepth png", "use 16UC1 or 32FC1 as compressedDepth png or"),
        (config_header(), "16UC1; compressedDepth png", "is cut: 12 bytes, but 12 stand before the picture"),
        (b"", "16UC1; compressedDepth png", "must have 1.."),
        (config_header() + b"\1\0", "16UC1; compressedDepth rvl", "RVL begins with 8 bytes of size, got 2"),
        (config_header(-1.0, 0.0) + encoded(some_depth_mm(), ".png"), "32FC1; compressedDepth png", "A=-1, B=0"),
        (config_header(1.0, np.nan) + encoded(some_depth_mm(), ".png"), "32FC1; compressedDepth png", "A=1, B=nan"),
    ],
)
def test_depth_that_cannot_be_used_is_refused_with_the_reason(data, format_, why):
    with pytest.raises(FrameError, match=why):
        compressed_depth_to_array(message_of(data, format_))


@given(st.floats(2**-10, 2**100, width=32), st.floats(-(2**100), 2**100, width=32, allow_subnormal=False))
def test_no_quantisation_parameters_break_it(a, b):
    data = config_header(a, b) + encoded(some_depth_mm(4, 4), ".png")
    read = compressed_depth_to_array(message_of(data, "32FC1; compressedDepth png"))
    assert read.shape == (4, 4) and read.dtype == np.float32


# Damage

WHOLE = {
    "jpeg": (compressed_color_to_array, compressed(smooth_rgb(), "rgb8", "jpeg")),
    "png": (compressed_color_to_array, compressed(smooth_rgb(), "rgb8", "png")),
    "depth png": (
        compressed_depth_to_array,
        message_of(config_header() + encoded(some_depth_mm(), ".png"), "16UC1; compressedDepth png"),
    ),
    "depth rvl": (
        compressed_depth_to_array,
        message_of(config_header() + rvl(some_depth_mm()), "16UC1; compressedDepth rvl"),
    ),
}


@pytest.mark.parametrize("kind", WHOLE)
@given(cut=st.floats(0, 1, exclude_max=True))
def test_a_message_that_is_cut_anywhere_is_refused(kind, cut):
    read, whole = WHOLE[kind]
    data = whole.data[: int(cut * len(whole.data))]
    with pytest.raises(FrameError):
        read(CompressedImage(format=whole.format, data=data))


@pytest.mark.parametrize("kind", WHOLE)
@given(changes=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=6))
def test_changed_bytes_are_refused_or_give_an_image_of_the_size_that_the_file_has(kind, changes):
    read, whole = WHOLE[kind]
    data = bytearray(whole.data)
    for where, change in changes:
        data[int(where * len(data))] ^= change
    try:
        pixels = read(message_of(bytes(data), whole.format))
    except FrameError:
        return
    assert pixels.shape[0] * pixels.shape[1] <= MAX_PIXELS
    if "png" in kind and bytes(data[12:]) != bytes(whole.data[12:]):
        raise AssertionError("a PNG has checksums")


@given(st.binary(max_size=400), st.sampled_from(["", "\x89PNG\r\n\x1a\n", "\xff\xd8\xff\xc0\0\x11\x08"]), st.data())
@settings(max_examples=300)
def test_noise_is_refused(noise, start, data):
    formats = ["jpeg", "png", "rgb8; jpeg compressed bgr8", "16UC1; compressedDepth png", "16UC1; compressedDepth rvl"]
    message = message_of(start.encode("latin-1") + noise, data.draw(st.sampled_from([*formats, "32FC1", ";", "; ;"])))
    for read in (compressed_color_to_array, compressed_depth_to_array):
        with pytest.raises(FrameError):
            read(message)


@given(st.text(max_size=40))
def test_no_format_breaks_it(format_):
    for read in (compressed_color_to_array, compressed_depth_to_array):
        with pytest.raises(FrameError):
            read(message_of(b"no picture", format_))


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_that_says(width: int, height: int, pixels: bytes = b"") -> bytes:
    """A PNG with correct checksums, grey, 16 bits."""
    header = struct.pack(">IIBBBBB", width, height, 16, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")


def jpeg_that_says(width: int, height: int) -> bytes:
    data = bytearray(encoded(smooth_rgb(), ".jpg"))
    struct.pack_into(">HH", data, data.index(b"\xff\xc0") + 5, height, width)
    return bytes(data)


HUGE = [(16384, 16384), (16385, 1), (65535, 65535), (0, 480), (640, 0)]


@pytest.mark.parametrize(("width", "height"), [*HUGE, (2**31 - 1, 2**31 - 1)])
def test_a_few_bytes_that_claim_to_be_a_huge_image_take_no_memory(width, height):
    liars = [
        (compressed_depth_to_array, png_that_says(width, height), "png"),
        (
            compressed_depth_to_array,
            config_header() + struct.pack("<III", width, height, 0),
            "16UC1; compressedDepth rvl",
        ),
    ]
    if width < 65536:
        liars.append((compressed_color_to_array, jpeg_that_says(width, height), "jpeg"))
    tracemalloc.start()
    try:
        for read, data, format_ in liars:
            with pytest.raises(FrameError, match=rf"at most \d+ px in all, got {width}x{height}"):
                read(message_of(data, format_))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_png_with_less_than_its_pixels_is_refused():
    with pytest.raises(FrameError, match="PNG of 64x48 is damaged"):
        compressed_depth_to_array(message_of(png_that_says(64, 48, b"\0" * 100), "png"))


def test_rvl_whose_runs_are_longer_than_the_image_is_refused():
    # 4 pixels, but 7 zeros; 4 pixels, 1 zero and 5 others; a value below 0.
    for first in ("70", "15", "041"):
        word = int(first.ljust(8, "0"), 16)
        data = config_header() + struct.pack("<III", 2, 2, word)
        with pytest.raises(FrameError, match="RVL of 2x2 makes no sense after"):
            compressed_depth_to_array(message_of(data, "16UC1; compressedDepth rvl"))


def test_an_empty_room_compresses_well_and_is_no_attack():
    nothing = np.zeros((480, 640), np.uint16)
    read = compressed_depth_to_array(message_of(config_header() + rvl(nothing), "16UC1; compressedDepth rvl"))
    np.testing.assert_array_equal(read, nothing)


def test_a_jpeg_with_endless_scans_is_refused():
    data = encoded(smooth_rgb(), ".jpg")
    with pytest.raises(FrameError, match="more than 64 scans"):
        compressed_color_to_array(message_of(data[:-2] + b"\xff\xda\0\x02" * 100 + data[-2:], "jpeg"))


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\xe0\0\2"])
def test_a_jpeg_with_an_endless_header_is_refused_at_once(filling):
    data = encoded(smooth_rgb(), ".jpg")
    began = time.process_time()
    with pytest.raises(FrameError, match="more than 4096 segments"):
        compressed_color_to_array(message_of(data[:2] + filling * (1 << 20) + data[2:], "jpeg"))
    assert time.process_time() - began < 0.5


def test_padding_behind_a_jpeg_is_no_damage():
    whole = WHOLE["jpeg"][1]
    np.testing.assert_array_equal(
        compressed_color_to_array(message_of(bytes(whole.data) + b"\0" * 100, whole.format)),
        compressed_color_to_array(whole),
    )
