"""What the bytes of image files tell before they are decoded."""

from __future__ import annotations


def is_palette_png(content: bytes) -> bool:
    """Whether a file is a palette PNG, whose pixels are indices into a table of colours (IHDR colour type 3)."""
    return content[:8] == b"\x89PNG\r\n\x1a\n" and content[25:26] == b"\x03"


def is_whole(content: bytes) -> bool:
    """Whether a PNG or JPEG has its end marker: decoders may fill in missing pixels without an error."""
    if content.startswith(b"\x89PNG"):
        return b"IEND" in content[-64:]
    if content.startswith(b"\xff\xd8"):
        return content.find(b"\xff\xd9", _jpeg_scan(content)) >= 0  # not always last: phones append a video
    return bool(content)


def _jpeg_scan(content: bytes) -> int:
    """Where a JPEG's pixels begin, after the segments that may hold a thumbnail with an end marker of its own."""
    place = 2
    while content[place : place + 1] == b"\xff" and content[place + 1 : place + 2] != b"\xda":
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return place
