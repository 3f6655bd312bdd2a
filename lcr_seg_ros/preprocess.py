"""From a camera frame to the network's input: modality, resizing and normalisation, all in one place.

The node, ``predict``, ``evaluate`` and training all use this module, so that a network gets the same input on a robot
as in training. There is one difference: training computes HHA from the whole depth image and shrinks the result,
because it also crops and enlarges parts; elsewhere, HHA is computed from sampled depth (:func:`hha_size`). HHA that a
frame brings along is taken as it is.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from lcr_seg_ros.bundle import InputSpec
from lcr_seg_ros.compiled import compiled, frozen
from lcr_seg_ros.errors import FrameError
from lcr_seg_ros.frame import RgbdFrame, sample_depth
from lcr_seg_ros.hha import GravityEstimate, GravityTracker, HhaEncoder, HhaImage, HhaSettings

SIZE_MULTIPLE = 8
"""Sides of the network's input are multiples of this many pixels, unless a network takes its training size exactly. For
networks that score every fourth pixel, so that each score stands for as many pixels."""

MAX_ASPECT = 8
"""Largest aspect ratio of frames; a panorama from four cameras side by side has 16:3."""


@dataclass(frozen=True)
class NetworkInput:
    """``tensor``: (1, C, h, w) float32, normalised. ``hha``: (h', w', 3) uint8, the frame's own or of :func:`hha_size`,
    or None."""

    tensor: npt.NDArray[np.float32]
    hha: npt.NDArray[np.uint8] | None


class Preprocessor:
    """Turns frames into network inputs as specified by an :class:`InputSpec`.

    Args:
        spec: of the model bundle.
        hha_mode, num_threads: see :class:`~lcr_seg_ros.hha.HhaEncoder`.
        hha_settings: default: those that the network was trained with.
    """

    def __init__(
        self, spec: InputSpec, hha_mode: str = "fast", hha_settings: HhaSettings | None = None, num_threads: int = 1
    ) -> None:
        self.spec = spec
        self._normalised = _normalised_values(spec)
        self._hha = HhaEncoder(hha_mode, hha_settings or spec.hha, num_threads)

    def __call__(self, frame: RgbdFrame) -> NetworkInput:
        """See :meth:`hha_of` and :meth:`to_tensor`.

        Raises:
            FrameError: the model needs depth or intrinsics and the frame has none.
        """
        hha, _ = self.hha_of(frame)
        return NetworkInput(self.to_tensor(frame.rgb, hha), hha)

    def hha_of(
        self, frame: RgbdFrame, tracker: GravityTracker | None = None
    ) -> tuple[npt.NDArray[np.uint8] | None, GravityEstimate | None]:
        """The HHA image that the network sees, and the gravity that it was computed with.

        Both are None if the network sees colour alone. HHA that the frame brings along is taken as it is, (H, W, 3)
        uint8: with what gravity it was made is not known. Otherwise see :meth:`encode_hha`.

        Raises:
            FrameError: as :meth:`encode_hha`.
        """
        if not self.spec.uses_depth:
            return None, None
        if frame.hha is not None:
            return frame.hha, None
        encoding = self.encode_hha(frame, tracker)
        return encoding.image, encoding.gravity

    def encode_hha(self, frame: RgbdFrame, tracker: GravityTracker | None = None) -> HhaImage:
        """HHA of the frame's depth, of :func:`hha_size`, and the gravity used: the frame's own, or else an estimate.

        Args:
            frame: with depth and intrinsics.
            tracker: memory of the camera's gravity; it is updated. Without it, the frame is considered on its own.

        Raises:
            FrameError: the frame has no depth or no intrinsics.
        """
        if frame.depth_m is None:
            raise FrameError(
                f"this model sees {self.spec.modality} and needs depth, but the frame has none: "
                "give depth (depth/NAME.png in a folder), or take a model of colour alone, such as nyu40-rgb"
            )
        if frame.intrinsics is None:
            raise FrameError(
                "HHA needs the camera's intrinsics: give camera_info, or intrinsics.yaml beside the images"
            )
        size = hha_size(frame.rgb.shape[1], frame.rgb.shape[0], self.spec)
        depth_m, intrinsics = sample_depth(frame.depth_m, frame.intrinsics, size)
        return self._hha.encode_frame(
            depth_m,
            intrinsics,
            gravity=frame.gravity,
            camera_height_m=frame.camera_height_m,
            tracker=tracker,
            stamp_s=frame.stamp_s,
        )

    def to_tensor(self, rgb: npt.NDArray[np.uint8], hha: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.float32]:
        """Resize to :func:`network_size`, normalise, and stack colour and HHA: (1, C, h, w) float32.

        Args:
            rgb: (H, W, 3) uint8.
            hha: (h', w', 3) uint8; ignored if the model uses colour only.
        """
        size = network_size(rgb.shape[1], rgb.shape[0], self.spec)
        images = ([rgb] if self.spec.uses_rgb else []) + ([hha] if self.spec.uses_depth else [])
        tensor = np.empty((1, self.spec.channels, size[1], size[0]), np.float32)
        for k, image in enumerate(images):
            assert image is not None
            channels = slice(3 * k, 3 * k + 3)
            _normalise(frozen(resize_image(image, size)), self._normalised[channels], tensor[0, channels])
        return tensor


def _normalised_values(spec: InputSpec) -> npt.NDArray[np.float32]:
    """(C, 256) float32: the normalised value for each value of each channel."""
    scale = 1.0 / np.array(spec.std)
    values = np.arange(256, dtype=np.float32) * scale.astype(np.float32)[:, None]
    return values - (np.array(spec.mean) * scale).astype(np.float32)[:, None]  # type: ignore[no-any-return]


@compiled()
def _normalise(image, table, out):  # type: ignore[no-untyped-def]
    """(h, w, 3) uint8 -> (3, h, w) float32 ``out``, looked up in the (3, 256) table."""
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            for c in range(3):
                out[c, y, x] = table[c, image[y, x, c]]


def network_size(width: int, height: int, spec: InputSpec) -> tuple[int, int]:
    """(width, height) in pixels at which a frame of this size enters the network.

    The aspect ratio of the frame is kept, to multiples of :data:`SIZE_MULTIPLE`; its shorter side becomes that of the
    training size. If the spec :attr:`~lcr_seg_ros.bundle.InputSpec.is_exact` and the frame has the aspect ratio of the
    training size, as far as such multiples can tell, it is the training size itself.

    Raises:
        FrameError: one side is more than :data:`MAX_ASPECT` times the other, as in a damaged message: the network's
            input would have no upper bound.
    """
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise FrameError(
            f"a frame of {width}x{height} px is too thin to be labelled: one side may be {MAX_ASPECT} times the other"
        )
    scale = min(spec.height, spec.width) / min(width, height)

    def side(length: float) -> int:
        return max(SIZE_MULTIPLE * 4, round(length / SIZE_MULTIPLE) * SIZE_MULTIPLE)

    size = side(width * scale), side(height * scale)
    if spec.is_exact and size == (side(spec.width), side(spec.height)):
        return spec.width, spec.height
    return size


def hha_size(width: int, height: int, spec: InputSpec) -> tuple[int, int]:
    """(width, height) in pixels at which HHA of a frame of this size is computed.

    That is the size of the network's input. HHA of depth sampled at that size takes a fraction of the time, and labels
    are as good (docs/hha.md). If the frame is smaller than that in either direction, it is the size of the frame.
    """
    size = network_size(width, height, spec)
    return size if size[0] <= width and size[1] <= height else (width, height)


def resize_image(image: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Resize to ``size`` = (width, height): by area when shrinking, bilinear when growing."""
    if (image.shape[1], image.shape[0]) == size:
        return image
    shrinks = size[0] <= image.shape[1] and size[1] <= image.shape[0]
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)  # type: ignore[return-value]
