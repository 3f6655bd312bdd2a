"""What to change where memory does not suffice for a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import torch

from lcr_seg_ros.training.machine import Machine
from lcr_seg_ros.training.module import TrainingError
from lcr_seg_ros.training.recipe import HIGHEST_DOWNSAMPLE, Recipe


@contextmanager
def memory_advised(advice: Sequence[str]) -> Iterator[None]:
    """Turn an out-of-memory error into advice, and let Ctrl-C be Ctrl-C.

    Args:
        advice: what may be changed, the best first.

    Raises:
        TrainingError: memory does not suffice; says what to change.
        KeyboardInterrupt: the user stopped the training.
    """
    try:
        yield
    except SystemExit as ended:
        if isinstance(ended.__context__, KeyboardInterrupt):  # Lightning makes it the exit code of an error
            raise KeyboardInterrupt from ended
        raise
    except (MemoryError, RuntimeError, cv2.error) as error:
        if not _is_lack_of_memory(error):
            raise
        reason = " ".join(str(error).split())[:200]  # OpenCV's ends with a line feed
        raise TrainingError(f"memory does not suffice ({reason}). Try: {'; '.join(advice)}") from error


def _is_lack_of_memory(error: Exception) -> bool:
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    # PyTorch on a CPU raises a plain RuntimeError, OpenCV the error that it has for everything.
    return any(part in str(error) for part in ("not enough memory", "allocate memory", "Insufficient memory"))


def to_hold_less(recipe: Recipe, split: str, machine: Machine) -> list[str]:
    """What may be changed where memory does not suffice for the frames, which are all held at their full size."""
    advice = [
        f"fewer frames in {split}.txt",
        "a dataset folder of smaller images: all are held at the size of their files",
    ]
    if recipe.rooms.rooms:
        advice.append(f"rooms.rooms={recipe.rooms.rooms // 2} instead of {recipe.rooms.rooms}")
    if recipe.input.modality != "rgb" and recipe.augmentation.worn_depth:
        advice.append("augmentation.worn_depth=0, for which depth need not be held")
    if machine.devices > 1:
        advice.append(f"fewer --devices than {machine.devices}: each holds all frames")
    return advice


def to_compute_less(recipe: Recipe, processes: int = 1) -> list[str]:
    """What may be changed where memory does not suffice for a step.

    Args:
        recipe: of the training.
        processes: which share a batch evenly.
    """
    o, constraint = recipe.optimizer, recipe.loss.constraint
    advice = []
    if half := o.batch_size // 2 // processes * processes:
        images = o.batch_size * o.accumulate
        batches = round(images / half)
        averaged = (
            "the same number of images in a step"
            if half * batches == images
            else f"{half * batches} images in a step instead of {images}"
        )
        advice.append(f"optimizer.batch_size={half} optimizer.accumulate={batches}, which averages {averaged}")
    if constraint is not None and constraint.downsample < HIGHEST_DOWNSAMPLE:
        advice.append(f"loss.constraint.downsample={min(2 * constraint.downsample, HIGHEST_DOWNSAMPLE)}")
    if o.precision == "32-true":
        advice.append("optimizer.precision=bf16-mixed")
    advice.append(f"a smaller input.height and input.width, now {recipe.input.height}x{recipe.input.width}")
    return advice
