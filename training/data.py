"""The training data set: annotated frames, augmented (cropped, flipped, recoloured, with worn depth, mixed)."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import RandomResizedCrop, v2

from lcr_seg_ros.bundle import InputSpec
from lcr_seg_ros.frame import depth_to_metres
from lcr_seg_ros.hha import HhaEncoder
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.preprocess import network_size, resize_image
from lcr_seg_ros.training.epoch_batches import seed_of
from lcr_seg_ros.training.examples import Example
from lcr_seg_ros.training.recipe import Recipe
from lcr_seg_ros.training.worn_depth import wear

IGNORED = -1
"""Target of void pixels: left out of the cross-entropy."""
PADDED = -2
"""Target of pixels that augmentation added around the image: left out of the constraint as well."""
_BORDER_GREY = 127

_Window = tuple[int, int, int, int]
"""Top, left, height and width in pixels of a crop, which may extend beyond the image."""

log = logging.getLogger(__name__)


def size_of_whole_frame(frame: tuple[int, int], size: tuple[int, int], is_exact: bool) -> tuple[int, int]:
    """(width, height) in pixels to which a frame is resized where it is not cropped: in its own aspect ratio, as on the
    robot.

    Args:
        frame: (width, height) of the frame.
        size: (width, height) of the recipe; only the shorter side matters for frames of another aspect ratio.
        is_exact: see :class:`~lcr_seg_ros.bundle.InputSpec`.
    """
    return network_size(*frame, InputSpec("rgb", size[1], size[0], (0.0,) * 3, (1.0,) * 3, is_exact=is_exact))


class SegmentationDataset(Dataset[tuple[Tensor, ...]]):
    """Examples, augmented and resized.

    Items are ``(image, guide, target)``:

    - image: (C, h, w) float32 in 0..255, not yet normalised;
    - guide: (3, h, w) float32 in 0..1, for the constraint;
    - target: (h, w) int64 score channels, ``IGNORED`` where void, ``PADDED`` beyond the image.

    With a teacher there is a fourth element, the teacher's image: (C', H', W') float32 in 0..255 at the teacher's own
    size, cropped and flipped in the same way, but with the original colour and depth.

    An item requested as ``(epoch, index)`` is a function of seed, epoch and index, and has the size of that epoch. One
    requested as ``index`` draws from PyTorch's global generator and has the full size.

    Frames that are not cropped, or cropped in their own aspect ratio (``augmentation.scale``), keep that ratio, as on
    the robot (:func:`~lcr_seg_ros.preprocess.network_size`), with the recipe's shorter side. But a batch needs one
    size: frames of several aspect ratios are all resized to the recipe's size, with a warning. Random crops
    (``crop_area``, ``crop_aspect``) always have the recipe's size.

    Args:
        examples: see :func:`folder_examples`.
        recipe: gives sizes, modality, augmentation and guide.
        labels: maps mask ids to score channels.
        extra: rendered examples, of which ``recipe.rooms.per_epoch`` are drawn anew each epoch.
        augment: False only resizes.
        teacher: input of the teacher, if there is one.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        recipe: Recipe,
        labels: LabelSet,
        extra: Sequence[Example] = (),
        augment: bool = True,
        teacher: InputSpec | None = None,
    ) -> None:
        self._examples, self._extra, self._recipe, self._teacher = examples, extra, recipe, teacher
        self._extra_count = min(recipe.rooms.per_epoch, len(extra)) if augment else 0
        self._channel = torch.from_numpy(labels.channel_of_id())
        self._augment = augment and recipe.augmentation.enabled
        a = recipe.augmentation
        self._colour = v2.ColorJitter(a.brightness, a.contrast, a.saturation, a.hue)
        shapes = {example.labels.shape for example in (*examples, *(extra if self._extra_count else ()))}
        self._frame_sizes = {(width, height) for height, width in shapes}
        self._warn_of_distortion((recipe.input.width, recipe.input.height))
        # Not the exact execution, as in the cache: it takes a hundred times longer, and the difference is smaller than
        # what wearing does to depth.
        self._hha = HhaEncoder("fast", recipe.input.hha_settings) if a.worn_depth else None

    def __len__(self) -> int:
        return len(self._examples) + self._extra_count

    def __getitem__(self, index: int | tuple[int, int]) -> tuple[Tensor, ...]:
        epoch, position = index if isinstance(index, tuple) else (None, index)
        with nullcontext() if epoch is None else torch.random.fork_rng(devices=[]):
            if epoch is not None:
                torch.manual_seed(seed_of(self._recipe.seed, epoch, position))
            i = self._recipe.input
            size = (i.width, i.height) if epoch is None else i.size_in(epoch, self._recipe.optimizer.epochs)
            return self._item(position, self._fitted(size, self._recipe.is_exact))

    def _fitted(self, size: tuple[int, int], is_exact: bool) -> tuple[int, int]:
        """(width, height) in pixels to resize to where the recipe or the teacher's input says ``size``: in the frames'
        own aspect ratio if all have the same."""
        sizes = self._sizes_of_whole_frames(size, is_exact)
        return sizes.pop() if len(sizes) == 1 else size

    def _sizes_of_whole_frames(self, size: tuple[int, int], is_exact: bool) -> set[tuple[int, int]]:
        """The sizes, (width, height), that the frames would have on a robot; none if random crops change the ratio."""
        if self._augment and self._recipe.augmentation.scale is None:
            return set()
        return {size_of_whole_frame(frame, size, is_exact) for frame in self._frame_sizes}

    def _warn_of_distortion(self, size: tuple[int, int]) -> None:
        if len(self._sizes_of_whole_frames(size, self._recipe.is_exact)) > 1:
            ratios = sorted(self._frame_sizes, key=lambda frame: frame[0] / frame[1])
            _warn_once(
                "frames of several aspect ratios, from %s to %s px, are all resized to %s px where they are not cut, "
                "while a robot keeps the ratio of each: train and validate on frames of one ratio",
                *("x".join(map(str, each)) for each in (ratios[0], ratios[-1], size)),
            )

    def _item(self, index: int, size: tuple[int, int]) -> tuple[Tensor, ...]:
        views = self._views(index, size)
        if self._augment and torch.rand(()) < self._recipe.augmentation.mix:
            views = _mixed(views, self._views(int(torch.randint(len(self), ())), size))
        (image, guide, target), *of_teacher = views
        return image, guide, target, *(seen for seen, _ in of_teacher)

    def _views(self, index: int, size: tuple[int, int]) -> list[tuple[Tensor, ...]]:
        """``(image, guide, target)`` for the network, then, with a teacher, ``(image, target)`` at the teacher's size;
        all from one crop of one frame."""
        if index < len(self._examples):
            example = self._examples[index]
        else:
            example = self._extra[int(torch.randint(len(self._extra), ()))]
        sensed = self._sense_anew(example) if self._augment else example
        window, flip = self._draw_crop_and_flip(*example.labels.shape)
        rgb, hha, target = self._crop_resize_flip(sensed, window, flip, size)
        guide = rgb
        if not self._guides_by_rgb:  # from the original depth even if it was worn: W should show the true boundaries
            guide = hha if sensed is example else self._crop_resize_flip(example, window, flip, size)[1]
        seen = self._colour(rgb) if self._augment else rgb
        views: list[tuple[Tensor, ...]] = [
            (_channels(seen, hha, self._recipe.input.modality), guide.float() / 255, target)
        ]
        if self._teacher is not None:
            of_teacher = self._fitted((self._teacher.width, self._teacher.height), self._teacher.is_exact)
            rgb, hha, target = self._crop_resize_flip(example, window, flip, of_teacher)
            views.append((_channels(rgb, hha, self._teacher.modality), target))
        return views

    def _sense_anew(self, example: Example) -> Example:
        """The frame, at random with worn depth (HHA computed anew) or with none at all."""
        a = self._recipe.augmentation
        if a.no_depth and torch.rand(()) < a.no_depth:
            return replace(example, hha=np.zeros_like(example.hha))  # HHA of a frame without valid depth
        if self._hha is None or torch.rand(()) >= a.worn_depth or example.depth_mm is None:
            return example
        assert example.intrinsics is not None
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        worn = wear(depth_to_metres(example.depth_mm), rng)
        return replace(example, hha=self._hha.encode(worn, example.intrinsics))

    def _draw_crop_and_flip(self, height: int, width: int) -> tuple[_Window, bool]:
        """The crop of an image of this size in pixels, and whether it is flipped; drawn at random."""
        if not self._augment:
            return (0, 0, height, width), False
        window = self._window(height, width)
        return window, bool(torch.rand(()) < self._recipe.augmentation.flip)

    def _crop_resize_flip(
        self, example: Example, window: _Window, flip: bool, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Crop, resize and flip colour, HHA and labels alike; images are resized as on the robot.

        Returns:
            rgb and hha, (3, h, w) uint8, and the target, (h, w) int64; ``size`` is (w, h).
        """
        rgb, hha = (_cut(x, window, _BORDER_GREY) for x in (example.rgb, example.hha))
        channels = self._channel[torch.from_numpy(example.labels).long()].numpy().astype(np.int16)
        channels = _cut(channels, window, PADDED)
        images = [_as_tensor(resize_image(x, size), flip).permute(2, 0, 1) for x in (rgb, hha)]
        # INTER_NEAREST_EXACT samples pixel centres, as the resizing of images does; INTER_NEAREST samples corners.
        nearest = cv2.resize(channels, size, interpolation=cv2.INTER_NEAREST_EXACT)
        return images[0], images[1], _as_tensor(nearest, flip).long()

    def _window(self, height: int, width: int) -> _Window:
        a = self._recipe.augmentation
        if a.scale is None:
            whole = torch.empty(1, height, width)
            top, left, h, w = RandomResizedCrop.get_params(whole, list(a.crop_area), list(a.crop_aspect))
            return top, left, h, w
        lowest, highest = (math.log(v) for v in a.scale)
        factor, down, right = torch.rand(3).tolist()
        scale = math.exp(lowest + (highest - lowest) * factor)
        h, w = max(3, round(height / scale)), max(3, round(width / scale))
        return math.floor((height - h) * down), math.floor((width - w) * right), h, w

    @property
    def _guides_by_rgb(self) -> bool:
        constraint = self._recipe.loss.constraint
        return constraint is None or constraint.guide == "rgb"


@cache
def _warn_once(text: str, *values: str) -> None:
    log.warning(text, *values)


def _mixed(under: list[tuple[Tensor, ...]], over: list[tuple[Tensor, ...]]) -> list[tuple[Tensor, ...]]:
    """ClassMix (Olsson et al., WACV 2021): half of the classes of ``over``, cut out and pasted onto ``under``, in all
    tensors of each view. Objects out of their context have to be recognised by their appearance."""
    *_, target = over[0]
    present = target[target >= 0].unique()
    drawn = present[torch.randperm(len(present))[: (len(present) + 1) // 2]]
    masks = [torch.isin(target, drawn) for *_, target in over]
    return [
        tuple(torch.where(mask, top, bottom) for top, bottom in zip(o, u, strict=True))
        for mask, o, u in zip(masks, over, under, strict=True)
    ]


def _channels(rgb: Tensor, hha: Tensor, modality: str) -> Tensor:
    return torch.cat(([rgb] if modality != "hha" else []) + ([hha] if modality != "rgb" else [])).float()


def _cut(image: npt.NDArray[Any], window: _Window, border: int) -> npt.NDArray[Any]:
    top, left, height, width = window
    bottom, right = top + height - image.shape[0], left + width - image.shape[1]
    inside = image[max(top, 0) : top + height, max(left, 0) : left + width]
    missing = [max(v, 0) for v in (-top, bottom, -left, right)]
    if not any(missing):
        return inside
    value = [border] * (image.shape[2] if image.ndim == 3 else 1)
    return cv2.copyMakeBorder(inside, *missing, cv2.BORDER_CONSTANT, value=value)  # type: ignore[call-overload,no-any-return]


def _as_tensor(image: npt.NDArray[Any], flip: bool) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image[:, ::-1] if flip else image))
