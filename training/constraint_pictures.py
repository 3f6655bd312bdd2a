"""Pictures of what the contextual constraint does: its kernels before and after training, its weight maps W, and
boundaries with and without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.frame import RgbdFrame
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.networks import create_network
from lcr_seg_ros.preprocess import resize_image
from lcr_seg_ros.render import overlay
from lcr_seg_ros.segmenter import Segmenter
from lcr_seg_ros.sources.source import SourceFrame
from lcr_seg_ros.training.data import size_of_whole_frame
from lcr_seg_ros.training.export_run import labels_of_run, read_checkpoint
from lcr_seg_ros.training.lcr import ContextualRegularization
from lcr_seg_ros.training.module import CHECKPOINT_KEY, architecture
from lcr_seg_ros.training.plots import Panel, panels_png
from lcr_seg_ros.training.recipe import Recipe, dotted_entries

COMPASS = ("E", "SE", "S", "SW", "W", "NW", "N", "NE")
"""Names of directions in an image, clockwise in steps of 45 degrees; north is up."""

ZOOM = 4
"""Magnification of boundary crops."""

CROP_PX = 96
"""Side of a boundary crop in image pixels."""


@dataclass(frozen=True)
class LearnedConstraint:
    """The constraint at the end of a run.

    Args:
        constraint: with the learned kernels, and the initial ones as ``initial_kernels``.
        recipe: of the run.
        stride: of the network's scores, in pixels of its input.
    """

    constraint: ContextualRegularization
    recipe: Recipe
    stride: int

    @classmethod
    def of_run(cls, run: Path) -> LearnedConstraint:
        """Read it from a run folder of ``train``.

        Raises:
            SourceError: there is no checkpoint, or the run had no constraint, or one guided by features.
        """
        checkpoint = read_checkpoint(run / "last.ckpt")
        record = checkpoint[CHECKPOINT_KEY]["record"]
        recipe = Recipe.model_validate(record["recipe"])
        asked = recipe.loss.constraint
        if asked is None:
            raise SourceError(f"{run} was trained without the constraint: name a run that had it")
        if asked.source != "image":
            raise SourceError(f"{run} took W from {asked.source}: pictures are drawn of W from images")
        constraint = ContextualRegularization(
            init=asked.init, init_norm=asked.init_norm, sigma=asked.sigma, weight=asked.weight
        )
        with torch.no_grad():
            constraint.kernels.copy_(checkpoint["state_dict"]["constraint.kernels"])
        stride = create_network(**architecture(recipe, labels_of_run(record, recipe))).stride
        return cls(constraint, recipe, stride)

    def refuse_as_baseline(self, run: Path) -> None:
        """Refuse another run as the baseline of this one, unless the constraint is all that they differ in.

        Raises:
            SourceError: the other run had a constraint too, or differs in other entries, which are listed.
        """
        other = Recipe.model_validate(read_checkpoint(run / "last.ckpt")[CHECKPOINT_KEY]["record"]["recipe"])
        if other.loss.constraint is not None:
            raise SourceError(f"{run} was trained with the constraint as well: --against is a run without it")
        mine, theirs = (dotted_entries(recipe.model_dump()) for recipe in (self.recipe, other))
        own = {name for name in mine | theirs if name.startswith("loss.constraint") or name == "name"}
        if apart := [name for name in sorted((mine | theirs).keys() - own) if mine.get(name) != theirs.get(name)]:
            raise SourceError(
                f"{run} differs in more than the constraint ({', '.join(apart)}): what the pictures showed could be "
                "due to that"
            )

    def weights(self, frame: RgbdFrame, hha: npt.NDArray[np.uint8] | None) -> npt.NDArray[np.float32]:
        """W of Eq. 6 on a frame, at the size at which the constraint acts in training on frames that are not cropped.

        Args:
            frame: its colour is the guide, unless the recipe's guide is HHA.
            hha: (H, W, 3) uint8 HHA of the frame.

        Returns:
            (8, h - 2, w - 2) float32 in 0..1.
        """
        asked = self.recipe.loss.constraint
        assert asked is not None
        image = hha if asked.guide == "hha" and hha is not None else frame.rgb
        sees = self.recipe.input
        frame_size = frame.rgb.shape[1], frame.rgb.shape[0]
        width, height = size_of_whole_frame(frame_size, (sees.width, sees.height), self.recipe.is_exact)
        seen = resize_image(image, (width, height)).transpose(2, 0, 1)[None].astype(np.float32)
        guide = F.interpolate(
            torch.from_numpy(seen) / 255, size=(height // self.stride, width // self.stride), mode="area"
        )
        with torch.no_grad():
            weights = self.constraint.contextual_weights(F.avg_pool2d(guide, asked.downsample))
        return weights[0].numpy()  # type: ignore[no-any-return]


def directions(constraint: ContextualRegularization) -> tuple[str, ...]:
    """Where the neighbours lie that each kernel set apart from the others at the start of training, as names of
    :data:`COMPASS`: of ``difference`` the subtracted one, of ``kirsch`` the middle one of the three added.
    """
    bank = constraint.initial_kernels.numpy()
    rows, columns = np.mgrid[-1:2, -1:2]
    distance = np.hypot(rows, columns)
    ring = distance > 0
    apart = np.abs(bank[:, ring] - np.median(bank[:, ring], axis=1, keepdims=True)) / distance[ring]
    down, right = apart @ rows[ring], apart @ columns[ring]
    eighths = np.rint(np.arctan2(down, right) / (np.pi / 4)).astype(int) % len(COMPASS)
    return tuple(COMPASS[k] for k in eighths)


def kernels_png(constraint: ContextualRegularization) -> bytes:
    """The eight kernels before training, after it, and their difference, with the number in each cell."""
    before = constraint.initial_kernels.numpy()
    after = constraint.kernels.detach().numpy()
    most = float(np.abs(after - before).max()) or 1.0
    names = directions(constraint)
    rows = [
        [Panel(f"{name}, start", k, 0.8, "RdBu", numbers=True) for name, k in zip(names, before, strict=True)],
        [Panel(f"{name}, learned", k, 0.8, "RdBu", numbers=True) for name, k in zip(names, after, strict=True)],
        [Panel("difference", a - b, most, "PuOr", numbers=True, digits=3) for a, b in zip(after, before, strict=True)],
    ]
    return panels_png(rows, cell_inch=1.25)


def weights_png(frame: RgbdFrame, weights: npt.NDArray[np.float32], names: Sequence[str]) -> bytes:
    """A frame and its eight weight maps: dark where the constraint lets probabilities change.

    Args:
        frame: that the weights were computed on.
        weights: (8, h, w), see :meth:`LearnedConstraint.weights`.
        names: of the eight kernels, see :func:`directions`.
    """
    maps = [Panel(f"W, {name}", w, None, "gray") for name, w in zip(names, weights, strict=True)]
    mean = Panel("mean of the eight", weights.mean(0), None, "gray")
    return panels_png([[Panel("guide", frame.rgb), *maps[:4]], [mean, *maps[4:]]], cell_inch=2.2)


def boundaries_png(items: list[SourceFrame], without: Segmenter, with_constraint: Segmenter) -> bytes:
    """Crops where two models disagree most: colour, annotation, and the labels of each model, above a legend of the
    classes in them.

    Args:
        items: annotated frames; each gives a row.
        without, with_constraint: models of the same classes.
    """
    rows = []
    shown = np.zeros(256, np.bool_)
    for item in items:
        assert item.labels is not None
        first, second = (m.segment(item.frame).labels for m in (without, with_constraint))
        top, left = _busiest((first != second) & (item.labels != without.labels.void))
        cut = np.s_[top : top + CROP_PX, left : left + CROP_PX]
        colour = _enlarged(item.frame.rgb[cut])
        same = ", no pixel apart" if (first == second).all() else ""
        row = [Panel(f"frame {item.name}{same}", colour)]
        for title, labels in (("annotation", item.labels), ("without", first), ("with the constraint", second)):
            row.append(Panel(title, _drawn(colour, labels[cut], without.labels)))
            shown[labels[cut]] = True
        rows.append(row)
    return panels_png(rows, cell_inch=2.2, classes=[c for c in without.labels.classes if shown[c.id]])


def _busiest(disagree: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Top and left of the crop that contains most of these pixels."""
    height, width = disagree.shape
    total = cv2.boxFilter(disagree.astype(np.float32), -1, (CROP_PX, CROP_PX), normalize=False)
    half = CROP_PX // 2
    inner = total[half : max(height - half, half + 1), half : max(width - half, half + 1)]
    row, column = np.unravel_index(int(inner.argmax()), inner.shape)
    return int(row), int(column)


def _drawn(colour: npt.NDArray[np.uint8], labels: npt.NDArray[np.uint8], label_set: LabelSet) -> npt.NDArray[np.uint8]:
    return overlay(colour, _enlarged(labels), label_set, 0.75)


def _enlarged(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    size = (image.shape[1] * ZOOM, image.shape[0] * ZOOM)
    return cv2.resize(image, size, interpolation=cv2.INTER_NEAREST)  # type: ignore[return-value]
