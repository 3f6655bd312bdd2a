"""Decoding of run-length encoded masks, as COCO and Label Studio store them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.errors import SourceError

Mask = npt.NDArray[np.bool_]


def coco_mask(counts: str | Sequence[int], width: int, height: int) -> Mask:
    """Decode a COCO mask.

    Args:
        counts: lengths of alternating runs of 0 and 1, beginning with 0, column by column; or pycocotools' text form
            of them.
        width, height: of the image, in pixels.

    Returns:
        (height, width) bool.

    Raises:
        SourceError: the runs are damaged, or do not add up to the image.
    """
    try:
        lengths = np.array(_coco_lengths(counts) if isinstance(counts, str) else list(counts), np.int64)
    except (OverflowError, TypeError, ValueError) as error:
        if isinstance(error, SourceError):
            raise
        raise SourceError(f"runs of a COCO mask must be whole numbers: {error}") from error
    if (lengths < 0).any() or lengths.sum() != width * height:
        raise SourceError(f"runs of a COCO mask cover {int(lengths.sum())} pixels, the image has {width}x{height}")
    values = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return np.ascontiguousarray(values.reshape(width, height).T)


def _coco_lengths(text: str) -> list[int]:
    """Run lengths from the text form (maskApi of the COCO API).

    Each character holds five bits of a signed number, the lowest first; its sixth bit says that more follow. From the
    fourth on, numbers are differences to the one two places before.
    """
    lengths: list[int] = []
    value = shift = 0
    for letter in text:
        code = ord(letter) - 48
        if not 0 <= code < 64 or shift > 30:
            raise SourceError(f"text of a COCO mask holds {letter!r}, which means nothing there")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
        value = shift = 0
    if shift:
        raise SourceError("text of a COCO mask is cut")
    return lengths


def brush_mask(numbers: Sequence[int], width: int, height: int) -> Mask:
    """Decode a brush stroke of Label Studio, a bit stream of the JavaScript library ``@thi.ng/rle-pack``.

    The stream begins with the number of values (32 bits), the size of a value in bits, minus one (5 bits), and four
    sizes of a length in bits, minus one (4 bits each). Then come blocks: whether all values are equal (1 bit), which of
    the four sizes the length has (2 bits), the length minus one, and the one value or all values. Values are red,
    green, blue and alpha of all pixels, row by row; the stroke is where alpha is above 0.

    Args:
        numbers: the bytes of the stream.
        width, height: of the image, in pixels.

    Returns:
        (height, width) bool.

    Raises:
        SourceError: the stream is damaged, or of another size.
    """
    try:
        data = np.asarray(numbers, np.int64)
    except (OverflowError, TypeError, ValueError) as error:
        raise SourceError(f"a brush stroke of Label Studio must be a list of bytes: {error}") from error
    if data.ndim != 1 or ((data < 0) | (data > 255)).any():
        raise SourceError("a brush stroke of Label Studio must be a list of bytes")
    bits = _Bits(data.astype(np.uint8))
    count = bits.number(32)
    if count != width * height * 4:
        raise SourceError(f"a brush stroke of Label Studio has {count} values, {width}x{height} pixels need 4 each")
    size = bits.number(5) + 1
    length_bits = [bits.number(4) + 1 for _ in range(4)]
    values = np.zeros(count, np.uint8)
    place = 0
    while place < count:
        equal = bits.number(1)
        length = min(bits.number(length_bits[bits.number(2)]) + 1, count - place)
        values[place : place + length] = bits.number(size) if equal else bits.numbers(length, size)
        place += length
    return values[3::4].reshape(height, width) > 0


class _Bits:
    """Reads unsigned numbers of given sizes in bits, highest bit first."""

    def __init__(self, data: npt.NDArray[np.uint8]) -> None:
        self._bits = np.unpackbits(data)
        self._place = 0

    def number(self, size: int) -> int:
        return int(self.numbers(1, size)[0])

    def numbers(self, count: int, size: int) -> npt.NDArray[np.int64]:
        end = self._place + count * size
        if end > len(self._bits):
            raise SourceError("a brush stroke of Label Studio is cut")
        group = self._bits[self._place : end].reshape(count, size).astype(np.int64)
        self._place = end
        return group @ (1 << np.arange(size - 1, -1, -1, dtype=np.int64))
