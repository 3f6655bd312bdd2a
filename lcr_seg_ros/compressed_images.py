"""Decode images that image_transport sends as ``compressed`` or ``compressedDepth``, without its plugins.

The compressed forms of a topic ``image`` are ``image/compressed`` and ``image/compressedDepth``, both of type
``sensor_msgs/CompressedImage``. The field ``format`` says what is inside. The plugins of image_transport_plugins write
``rgb8; jpeg compressed bgr8``, ``16UC1; png compressed`` or ``32FC1; compressedDepth png``; drivers that compress
images themselves often write just ``jpeg`` or ``png``. In compressedDepth, 12 bytes precede the file: an int32 and two
float32, A and B, with which float depth was quantised to 16 bits, ``q = A / depth + B`` with 0 for a hole.

Input is not trusted: the size that a file claims is checked before it is decoded, and so are the checksums of a PNG. Of
a JPEG's pixels, it can only be checked that they are there to the end: a flipped bit shows as other colours. Messages
are accessed by their fields, so no ROS package is imported.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.compiled import compiled
from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import MAX_SIDE_PX, depth_to_metres

RAW, COMPRESSED, COMPRESSED_DEPTH = "raw", "compressed", "compressedDepth"
COLOR_TRANSPORTS = (RAW, COMPRESSED)
DEPTH_TRANSPORTS = (RAW, COMPRESSED, COMPRESSED_DEPTH)

MAX_PIXELS = 1 << 25
"""Largest image that is decoded, 33 megapixels (8K): a few bytes can claim to be many pixels."""

MAX_BYTES = 1 << 27
"""Largest message that is accepted: an image of MAX_PIXELS hardly takes more."""

MAX_PNG_CHUNKS = 1 << 16
MAX_JPEG_SCANS = 64
"""A progressive JPEG may pass over the whole image this many times; encoders make about ten scans."""
MAX_JPEG_SEGMENTS = 4096

COLOR_ENCODINGS = ("rgb8", "bgr8", "rgba8", "bgra8", "mono8", "rgb16", "bgr16", "rgba16", "bgra16", "mono16")
"""Encodings that ``compressed`` stores as an ordinary picture; of a Bayer image, for example, it stores the mosaic."""

_CONFIG_HEADER = struct.Struct("<iff")
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_JPEG_END = b"\xff\xd9"


class CompressedMessage(Protocol):
    """The fields of sensor_msgs/CompressedImage that are read here."""

    format: str
    data: Any


class _Header(NamedTuple):
    """What the header of a picture file says: size in pixels, number of channels, bits per channel."""

    kind: str
    width: int
    height: int
    channels: int
    bits: int


def transport_topic(base: str, transport: str) -> str:
    """The topic of an image for a transport, as image_transport names it."""
    return base if transport == RAW else f"{base}/{transport}"


def compressed_color_to_array(message: CompressedMessage) -> npt.NDArray[np.uint8]:
    """Decode a colour or grey image of transport ``compressed``.

    Args:
        message: JPEG (baseline or progressive) or PNG, 8 or 16 bits, grey or colour.

    Returns:
        (H, W, 3) uint8, red first, contiguous; grey is repeated, alpha is dropped, of 16 bits the upper 8 are kept.

    Raises:
        FrameError: unsupported format, size out of range, truncated or damaged file.
    """
    import cv2

    encoding, _, how = message.format.partition(";")
    if how and encoding.strip() not in COLOR_ENCODINGS:
        raise FrameError(
            f"compressed colour image has format {message.format!r}, which is not supported; use jpeg or png of "
            f"{', '.join(COLOR_ENCODINGS)}"
        )
    data = _bytes(message)
    header = _read_header(data, "compressed colour image")
    # Orientation tags are ignored: if they rotated the colour image, depth would no longer match it.
    pixels = _decode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, header, "compressed colour image")
    if pixels.shape != (header.height, header.width, 3) or pixels.dtype != np.uint8:
        raise FrameError(
            f"compressed colour image was decoded to {pixels.shape} {pixels.dtype}, not to (H, W, 3) uint8"
        )
    # If the plugin did not convert the image to bgr8 first, red and blue are stored in each other's place. See the
    # subscriber in https://github.com/ros-perception/image_transport_plugins.
    stored_swapped = bool(how) and header.channels >= 3 and "compressed bgr" not in how
    return pixels if stored_swapped else cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def compressed_depth_to_array(message: CompressedMessage) -> npt.NDArray[np.float32]:
    """Decode a depth image of transport ``compressed`` (PNG) or ``compressedDepth`` (PNG or RVL).

    Args:
        message: 16UC1 or mono16 (millimetres); with ``compressedDepth`` also 32FC1 (metres).

    Returns:
        (H, W) float32 metres, contiguous; holes are 0 or NaN.

    Raises:
        FrameError: unsupported format, size out of range, truncated or damaged file.
    """
    encoding, how = (part.strip() for part in (*message.format.split(";", 1), "")[:2])
    data = _bytes(message)
    if how.startswith(COMPRESSED_DEPTH) or (not how and encoding in ("16UC1", "mono16", "32FC1")):
        return _compressed_depth(message, encoding, how.removeprefix(COMPRESSED_DEPTH).strip() or "png", data)
    if (how.startswith("png") and encoding in ("16UC1", "mono16")) or (not how and encoding == "png"):
        return depth_to_metres(_sixteen_bits(data))
    raise FrameError(
        f"compressed depth image has format {message.format!r}, which is not supported; use transport "
        f"{COMPRESSED_DEPTH} (png or rvl), or {COMPRESSED} with 16UC1 as png: JPEG would alter depth"
    )


def _compressed_depth(message: CompressedMessage, encoding: str, codec: str, data: bytes) -> npt.NDArray[np.float32]:
    if encoding not in ("16UC1", "mono16", "32FC1") or codec not in ("png", "rvl"):
        raise FrameError(
            f"compressed depth image has format {message.format!r}, which is not supported; use 16UC1 or 32FC1 as "
            f"{COMPRESSED_DEPTH} png or rvl"
        )
    if len(data) <= _CONFIG_HEADER.size:
        raise FrameError(
            f"compressed depth image is cut: {len(data)} bytes, but {_CONFIG_HEADER.size} stand before the picture"
        )
    _, a, b = _CONFIG_HEADER.unpack_from(data)
    picture = data[_CONFIG_HEADER.size :]
    stored = _rvl(picture) if codec == "rvl" else _sixteen_bits(picture)
    if encoding != "32FC1":
        return depth_to_metres(stored)
    if not (np.isfinite(a) and np.isfinite(b) and a > 0):
        raise FrameError(
            f"compressed depth image says that depth is A / (q - B) with A={a:g}, B={b:g}: use finite ones, and A > 0"
        )
    with np.errstate(divide="ignore", over="ignore"):
        metres = np.float32(a) / (stored.astype(np.float32) - np.float32(b))
    metres[stored == 0] = np.nan
    return metres


def _sixteen_bits(data: bytes) -> npt.NDArray[np.uint16]:
    """(H, W) uint16 values of a grey 16-bit PNG."""
    import cv2

    header = _read_header(data, "compressed depth image")
    if (header.kind, header.channels, header.bits) != ("PNG", 1, 16):
        raise FrameError(
            f"compressed depth image is a {header.kind} of {header.channels} x {header.bits} bits a pixel; depth needs "
            "a PNG of one channel with 16 bits"
        )
    pixels = _decode(data, cv2.IMREAD_UNCHANGED, header, "compressed depth image")
    if pixels.shape != (header.height, header.width) or pixels.dtype != np.uint16:
        raise FrameError(f"compressed depth image was decoded to {pixels.shape} {pixels.dtype}, not to (H, W) uint16")
    return pixels


def _rvl(data: bytes) -> npt.NDArray[np.uint16]:
    """(H, W) uint16 values of an RVL stream (Wilson, "Fast Lossless Depth Image Compression", ISS 2017).

    The stream is preceded by width and height, two little-endian uint32.
    """
    if len(data) < 8:
        raise FrameError(f"compressed depth image is cut: RVL begins with 8 bytes of size, got {len(data)}")
    width, height = struct.unpack_from("<II", data)
    _check_size(width, height, "compressed depth image")
    words = np.frombuffer(data, "<u4", (len(data) - 8) // 4, 8).astype(np.uint32)  # a copy, aligned
    values = np.zeros(width * height, np.uint16)
    done = _read_rvl(words, values)
    if done < values.size:
        raise FrameError(
            f"compressed depth image is cut or damaged: RVL of {width}x{height} makes no sense after {done} of "
            f"{values.size} pixels"
        )
    return values.reshape(height, width)


@compiled()
def _read_rvl(words, values):  # type: ignore[no-untyped-def]
    """Fill ``values``; returns how many were read before the stream ended or became inconsistent.

    Runs of zeros and of nonzero values alternate; of a nonzero value, the difference from the previous one is stored.
    """
    at, done, value = 0, 0, 0
    while done < values.size:
        zeros, at = _number(words, at)
        others, at = _number(words, at) if zeros >= 0 else (zeros, at)
        if others < 0 or zeros + others > values.size - done:
            return done
        done += zeros
        for _ in range(others):
            folded, at = _number(words, at)
            value += (folded >> 1) ^ -(folded & 1)
            if folded < 0 or not 0 <= value <= 65535:
                return done
            values[done] = value
            done += 1
    return done


@compiled(inline="always")
def _number(words, at):  # type: ignore[no-untyped-def]
    """The number that begins at nibble ``at``, and the position of the nibble after it; -1 if the number does not end.

    Each nibble holds three bits, the lowest of the number first, and a fourth that says that more follow. The highest
    nibble of a word comes first.
    """
    number = 0
    for n in range(10):
        if at >> 3 >= words.size:
            break
        nibble = (np.int64(words[at >> 3]) >> (28 - 4 * (at & 7))) & 15
        number |= (nibble & 7) << (3 * n)
        at += 1
        if nibble < 8:
            return number, at
    return -1, at


def _bytes(message: CompressedMessage) -> bytes:
    if not 0 < len(message.data) <= MAX_BYTES:
        raise FrameError(f"compressed image must have 1..{MAX_BYTES} bytes, got {len(message.data)}")
    return bytes(message.data)


def _decode(data: bytes, flags: int, header: _Header, name: str) -> npt.NDArray[Any]:
    import cv2

    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise FrameError(f"{name} cannot be decoded: {error}") from error
    if pixels is None:
        raise FrameError(f"{name} cannot be decoded: its {header.kind} of {header.width}x{header.height} is damaged")
    return pixels


def _read_header(data: bytes, name: str) -> _Header:
    """Read the header of a file, checked as far as possible without decoding the file."""
    if data.startswith(_PNG_SIGNATURE):
        header = _png_header(data, name)
    elif data.startswith(b"\xff\xd8\xff"):
        header = _jpeg_header(data, name)
    else:
        raise FrameError(f"{name} is neither JPEG nor PNG: it begins with {data[:8].hex(' ')}")
    _check_size(header.width, header.height, name)
    return header


def _check_size(width: int, height: int, name: str) -> None:
    if not (0 < width <= MAX_SIDE_PX and 0 < height <= MAX_SIDE_PX and width * height <= MAX_PIXELS):
        raise FrameError(
            f"{name} must be 1..{MAX_SIDE_PX} px a side and at most {MAX_PIXELS} px in all, got {width}x{height}"
        )


def _png_header(data: bytes, name: str) -> _Header:
    """Read the header, and all chunks: each has a checksum, and a complete file ends with IEND."""
    view, at, header = memoryview(data), len(_PNG_SIGNATURE), None
    for _ in range(MAX_PNG_CHUNKS):
        if at + 12 > len(data):
            raise FrameError(f"{name} is cut: its PNG has no end within {len(data)} bytes")
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 8 + length
        if end + 4 > len(data):
            raise FrameError(f"{name} is cut: its PNG has {length} bytes of {kind!r} at byte {at} of {len(data)}")
        if zlib.crc32(view[at + 4 : end]) != int.from_bytes(view[end : end + 4], "big"):
            raise FrameError(f"{name} is damaged: the checksum of {kind!r} at byte {at} of its PNG is wrong")
        if header is None:
            if kind != b"IHDR" or length != 13:
                raise FrameError(f"{name} is damaged: its PNG begins with {length} bytes of {kind!r}, not with IHDR")
            width, height, bits, color = struct.unpack_from(">IIBB", data, at + 8)
            if color not in _PNG_CHANNELS:
                raise FrameError(f"{name} is damaged: there is no PNG of colour type {color}")
            header = _Header("PNG", width, height, _PNG_CHANNELS[color], bits)
        elif kind in (b"acTL", b"fcTL", b"fdAT"):
            raise FrameError(f"{name} is an animated PNG, which is not supported")
        elif kind == b"IEND":
            return header
        at = end + 4
    raise FrameError(f"{name} has more than {MAX_PNG_CHUNKS} chunks in its PNG")


def _jpeg_header(data: bytes, name: str) -> _Header:
    """Read the header up to the pixels, and check that these are not truncated."""
    at, header, segments = 2, None, 0
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        segments += 1
        if segments > MAX_JPEG_SEGMENTS:
            raise FrameError(f"{name} has more than {MAX_JPEG_SEGMENTS} segments before the pixels of its JPEG")
        if marker == 0xFF:  # padding
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xDA:  # the pixels follow
            break
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            if marker > 0xC2 or header is not None or at + 10 > len(data):
                raise FrameError(f"{name} is a JPEG of kind SOF{marker - 0xC0}, only 0 to 2 are supported, once each")
            bits, height, width, channels = struct.unpack_from(">BHHB", data, at + 4)
            header = _Header("JPEG", width, height, channels, bits)
        at += 2 + max(length, 2)
    else:
        raise FrameError(f"{name} is cut or damaged: its JPEG has no pixels, only {len(data)} bytes of header")
    if header is None or header.channels not in (1, 3) or header.bits != 8:
        raise FrameError(
            f"{name} is a JPEG of {header and header[3:]} channels and bits; use 1 or 3 channels of 8 bits"
        )
    # In pixel data, 0xff is followed by 0 or a restart marker, so these two bytes can only be the end marker.
    if data.rfind(_JPEG_END, at) < 0:
        raise FrameError(f"{name} is cut: its JPEG of {header.width}x{header.height} has no end in {len(data)} bytes")
    if data.count(b"\xff\xda", at) > MAX_JPEG_SCANS:
        raise FrameError(f"{name} is a JPEG of more than {MAX_JPEG_SCANS} scans")
    return header
