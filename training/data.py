"""Training data: dataset folders and rendered rooms as tensors, with HHA computed once and kept."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import RandomResizedCrop, v2
from tqdm import tqdm

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.frame import RgbdFrame
from lcr_seg_ros.hha import HhaEncoder, HhaSettings
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.preprocess import resize_image
from lcr_seg_ros.sources.folder import DatasetFolder, write_png
from lcr_seg_ros.training.recipe import Recipe

HHA_MODE = "exact"
IGNORED = -1
"""Target of void pixels: dropped by the cross-entropy."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """One annotated frame at full size: (H, W, 3) uint8 RGB and HHA, (H, W) uint8 mask ids."""

    rgb: npt.NDArray[np.uint8]
    hha: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]


def folder_examples(folder: DatasetFolder, cache: Path, hha: HhaSettings | None) -> list[Example]:
    """All annotated frames of a folder, held in memory; HHA is read from, or written to, ``cache``.

    Args:
        folder: with labels.
        cache: folder for computed HHA.
        hha: how to compute HHA; None leaves it out (zeros).

    Raises:
        SourceError: a frame has no labels, or no depth where HHA is asked for.
    """
    encoder = None if hha is None else HhaEncoder(HHA_MODE, hha)
    examples = []
    for item in tqdm(folder, desc=f"reading {folder.path.name}", unit="frame", leave=False, disable=None):
        if item.labels is None:
            raise SourceError(
                f"frame {item.name} of {folder.path} has no labels: training needs label40/{item.name}.png"
            )
        image = np.zeros_like(item.frame.rgb) if encoder is None else _cached_hha(encoder, item.frame, cache)
        examples.append(Example(item.frame.rgb, image, item.labels))
    return examples


def room_examples(recipe: Recipe, cache: Path) -> list[Example]:
    """Rendered rooms as the recipe asks for, evenly over each room's camera path."""
    from lcr_seg_ros.sources.rooms import RenderedRoom

    encoder = HhaEncoder(HHA_MODE, recipe.input.hha_settings)
    examples = []
    for seed in tqdm(range(recipe.rooms.rooms), desc="rendering rooms", unit="room", leave=False, disable=None):
        room = RenderedRoom(frames=recipe.rooms.frames_per_room * 20, seed=recipe.rooms.first_seed + seed)
        for k in range(recipe.rooms.frames_per_room):
            item = room[k * 20]
            assert item.labels is not None
            examples.append(Example(item.frame.rgb, _cached_hha(encoder, item.frame, cache), item.labels))
    return examples


def _cached_hha(encoder: HhaEncoder, frame: RgbdFrame, cache: Path) -> npt.NDArray[np.uint8]:
    if frame.depth_m is None or frame.intrinsics is None:
        raise SourceError("HHA needs depth images and intrinsics: add depth/ or train with input.modality rgb")
    key = hashlib.sha256(
        frame.depth_m.tobytes() + repr((HHA_MODE, encoder.settings, frame.intrinsics)).encode()
    ).hexdigest()[:24]
    file = cache / f"{key}.png"
    stored = cv2.imread(str(file), cv2.IMREAD_COLOR) if file.is_file() else None
    if stored is not None and stored.shape == frame.rgb.shape:
        return cv2.cvtColor(stored, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]
    hha = encoder.encode(frame.depth_m, frame.intrinsics)
    write_png(file, cv2.cvtColor(hha, cv2.COLOR_RGB2BGR))
    return hha


class SegmentationDataset(Dataset[tuple[Tensor, Tensor, Tensor]]):
    """Augmented examples.

    Items are ``(image, guide, target)``: (C, h, w) float32 in 0..255, not yet normalised; (3, h, w) float32
    in 0..1, what the constraint looks at; (h, w) int64 score channels, ``IGNORED`` where void.

    Args:
        examples: a list; see :func:`folder_examples`.
        recipe: sizes, modality, augmentation, guide.
        labels: maps mask ids to score channels.
        extra: rendered examples, of which ``recipe.rooms.per_epoch`` are drawn anew each epoch.
        augment: False only resizes.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        recipe: Recipe,
        labels: LabelSet,
        extra: Sequence[Example] = (),
        augment: bool = True,
    ) -> None:
        self._examples, self._extra, self._recipe = examples, extra, recipe
        self._extra_count = min(recipe.rooms.per_epoch, len(extra)) if augment else 0
        self._channel = torch.from_numpy(labels.channel_of_id())
        self._augment = augment
        a = recipe.augmentation
        self._colour = v2.ColorJitter(a.brightness, a.contrast, a.saturation, a.hue)

    def __len__(self) -> int:
        return len(self._examples) + self._extra_count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        if index < len(self._examples):
            example = self._examples[index]
        else:
            example = self._extra[int(torch.randint(len(self._extra), ()))]
        rgb, hha, target = self._move(example)
        guide = rgb if self._guides_by_rgb else hha
        seen = self._colour(rgb) if self._augment else rgb
        modality = self._recipe.input.modality
        channels = ([seen] if modality != "hha" else []) + ([hha] if modality != "rgb" else [])
        return torch.cat(channels).float(), guide.float() / 255, target

    def _move(self, example: Example) -> tuple[Tensor, Tensor, Tensor]:
        """Crop, resize and flip all three alike, with the resizing that the robot's frames go through."""
        rgb, hha, labels = example.rgb, example.hha, example.labels
        flip = False
        if self._augment:
            a = self._recipe.augmentation
            whole = torch.empty(1, *labels.shape)
            top, left, height, width = RandomResizedCrop.get_params(whole, list(a.crop_area), list(a.crop_aspect))
            rgb, hha, labels = (x[top : top + height, left : left + width] for x in (rgb, hha, labels))
            flip = bool(torch.rand(()) < a.flip)
        size = (self._recipe.input.width, self._recipe.input.height)
        images = [_as_tensor(resize_image(x, size), flip).permute(2, 0, 1) for x in (rgb, hha)]
        nearest = cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)
        return images[0], images[1], self._channel[_as_tensor(nearest, flip).long()]

    @property
    def _guides_by_rgb(self) -> bool:
        constraint = self._recipe.loss.constraint
        return constraint is None or constraint.guide == "rgb"


def _as_tensor(image: npt.NDArray[np.uint8], flip: bool) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image[:, ::-1] if flip else image))


def channel_statistics(examples: Sequence[Example], modality: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each network channel over the examples, in 0..255.

    Colour keeps the normalisation of the ImageNet start (mean and deviation 127.5); HHA is measured.
    """
    means, deviations = [127.5] * 3, [127.5] * 3
    if modality != "rgb":
        pixels = np.concatenate([e.hha[::8, ::8].reshape(-1, 3) for e in examples]).astype(np.float64)
        hha_mean, hha_std = [round(float(v), 2) for v in pixels.mean(0)], [round(float(v), 2) for v in pixels.std(0)]
        keep = 0 if modality == "hha" else 3
        means, deviations = means[:keep] + hha_mean, deviations[:keep] + [max(v, 1.0) for v in hha_std]
    return tuple(means), tuple(deviations)


def class_weights(examples: Sequence[Example], labels: LabelSet, power: float) -> Tensor:
    """(N,) float32 weights (median frequency / frequency) ** power, mean 1 over pixels of the set.

    Frequencies are counted over the images that contain the class (SegNet, Badrinarayanan et al. 2015).
    A class that never occurs gets weight 1.
    """
    channel = labels.channel_of_id()
    pixels, room = np.zeros(len(labels)), np.zeros(len(labels))
    for example in examples:
        mapped = channel[example.labels[::2, ::2]]
        count = np.bincount(mapped[mapped >= 0], minlength=len(labels))
        pixels += count
        room += np.where(count > 0, count.sum(), 0)
    seen = pixels > 0
    frequency = np.divide(pixels, room, out=np.ones(len(labels)), where=seen)
    weight = np.where(seen, (np.median(frequency[seen]) / frequency) ** power, 1.0)
    weight /= (weight * pixels).sum() / max(pixels.sum(), 1)
    return torch.from_numpy(weight).float()
