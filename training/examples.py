"""Annotated frames in memory, from dataset folders and rendered rooms, with cached HHA; their statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.hha import HhaEncoder, HhaSettings
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.networks.pretrained import ImagenetStart
from lcr_seg_ros.sources.folder import DatasetFolder, depth_to_millimetres
from lcr_seg_ros.training.datasets.folder_labels import refuse_other_size
from lcr_seg_ros.training.datasets.hha_cache import HHA_MODE, cached_hha
from lcr_seg_ros.training.recipe import LossRecipe, Recipe


@dataclass(frozen=True)
class Example:
    """One annotated frame at full size.

    Args:
        rgb, hha: (H, W, 3) uint8; hha is all zeros where it was neither computed nor read.
        labels: (H, W) uint8 mask ids.
        depth_mm: (H, W) uint16 millimetres, 0 where unknown; kept only if HHA may have to be computed anew.
        intrinsics: those of depth; kept together with it.
    """

    rgb: npt.NDArray[np.uint8]
    hha: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    depth_mm: npt.NDArray[np.uint16] | None = None
    intrinsics: CameraIntrinsics | None = None


def folder_examples(
    folder: DatasetFolder, cache: Path, hha: HhaSettings | None, keep_depth: bool = False
) -> list[Example]:
    """All frames of an annotated folder, held in memory.

    Args:
        folder: an annotated dataset folder. HHA that its frames bring along
            (:meth:`~lcr_seg_ros.sources.folder.DatasetFolder.with_hha`) is taken as it is.
        cache: folder that computed HHA is read from and written to.
        hha: how to compute HHA; None leaves it out (zeros).
        keep_depth: keep depth and intrinsics, which ``augmentation.worn_depth`` needs.

    Raises:
        SourceError: a frame has no labels, labels of another size, or no depth where HHA is needed.
    """
    encoder = None if hha is None else HhaEncoder(HHA_MODE, hha)
    examples = []
    for item in tqdm(folder, desc=f"reading {folder.path.name}", unit="frame", leave=False, disable=None):
        if item.labels is None:
            raise SourceError(
                f"frame {item.name} of {folder.path} has no labels: training needs label40/{item.name}.png"
            )
        refuse_other_size(item, folder.path)
        image = item.frame.hha
        if image is None:
            image = np.zeros_like(item.frame.rgb) if encoder is None else cached_hha(encoder, item.frame, cache)
        examples.append(_example(item.frame, image, item.labels, keep_depth))
    return examples


def _example(frame: RgbdFrame, hha: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], keep_depth: bool) -> Example:
    if not keep_depth or frame.depth_m is None:
        return Example(frame.rgb, hha, labels)
    return Example(frame.rgb, hha, labels, depth_to_millimetres(frame.depth_m), frame.intrinsics)


def room_examples(recipe: Recipe, cache: Path) -> list[Example]:
    """Frames of rendered rooms, as many as ``recipe.rooms`` says, evenly spread over each room's camera path.

    Args:
        recipe: also gives the HHA settings, and whether depth is kept.
        cache: folder that computed HHA is read from and written to.
    """
    from lcr_seg_ros.sources.rooms import RenderedRoom

    encoder = HhaEncoder(HHA_MODE, recipe.input.hha_settings)
    examples = []
    for seed in tqdm(range(recipe.rooms.rooms), desc="rendering rooms", unit="room", leave=False, disable=None):
        room = RenderedRoom(frames=recipe.rooms.frames_per_room * 20, seed=recipe.rooms.first_seed + seed)
        for k in range(recipe.rooms.frames_per_room):
            item = room[k * 20]
            assert item.labels is not None
            hha = cached_hha(encoder, item.frame, cache)
            examples.append(_example(item.frame, hha, item.labels, recipe.augmentation.worn_depth > 0))
    return examples


def channel_statistics(
    examples: Sequence[Example], modality: str, start: ImagenetStart | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each network channel, in 0..255.

    Args:
        examples: what the statistics of HHA are measured on.
        modality: ``rgb``, ``hha`` or ``rgb_hha``.
        start: gives the normalisation that its weights were trained with. None, for random weights: mean and
            deviation 127.5 for colour.

    Returns:
        Means and deviations, one per channel each.
    """
    hha_mean, hha_std = [127.5] * 3, [127.5] * 3
    if modality != "rgb":
        pixels = np.concatenate([e.hha[::8, ::8].reshape(-1, 3) for e in examples]).astype(np.float64)
        hha_mean = [round(float(v), 2) for v in pixels.mean(0)]
        hha_std = [max(round(float(v), 2), 1.0) for v in pixels.std(0)]
    usual = ImagenetStart("random", mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))
    return (start or usual).normalisation(modality, hha_mean, hha_std)


def class_weights(examples: Sequence[Example], labels: LabelSet, loss: LossRecipe) -> Tensor:
    """Class weights of the cross-entropy. A class's frequency is its share of the labelled pixels of the images that
    contain it (SegNet, Badrinarayanan et al. 2015).

    Args:
        examples: the training set, of which every other row and column is counted.
        labels: N classes.
        loss: ``class_weights`` says which. ``none``: ones. ``median_frequency``: (median frequency / frequency) **
            ``class_balance``, scaled to a mean of 1 over the labelled pixels. ``paper``: median frequency / frequency.

    Returns:
        (N,) float32. A class that never occurs gets weight 1, before the scaling.

    Raises:
        SourceError: no pixel has a class of the label set (not checked for ``none``).
    """
    if loss.class_weights == "none":
        return torch.ones(len(labels))
    channel = labels.channel_of_id()
    # By class: its pixels, and all labelled pixels of the images that contain it.
    pixels, room = np.zeros(len(labels)), np.zeros(len(labels))
    for example in examples:
        mapped = channel[example.labels[::2, ::2]]
        count = np.bincount(mapped[mapped >= 0], minlength=len(labels))
        pixels += count
        room += np.where(count > 0, count.sum(), 0)
    seen = pixels > 0
    if not seen.any():
        raise SourceError(
            f"no pixel of the {len(examples)} training frames has one of the {len(labels)} classes of {labels.name}: "
            "give the label set that the label images were made with"
        )
    frequency = np.divide(pixels, room, out=np.ones(len(labels)), where=seen)
    power = 1.0 if loss.class_weights == "paper" else loss.class_balance
    weight = np.where(seen, (np.median(frequency[seen]) / frequency) ** power, 1.0)
    if loss.class_weights == "median_frequency":
        weight /= (weight * pixels).sum() / pixels.sum()
    return torch.from_numpy(weight).float()
