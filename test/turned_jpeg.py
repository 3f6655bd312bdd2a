"""JPEG images with an EXIF orientation."""

from __future__ import annotations

import struct

QUARTER_TURN = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"


def quarter_turned(jpeg: bytes) -> bytes:
    """The JPEG with an EXIF orientation of 6: a viewer must rotate it by 90 degrees clockwise."""
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(QUARTER_TURN) + 2) + QUARTER_TURN + jpeg[2:]
