"""Lightning callbacks of a run: checkpoints, preview pictures and the progress line."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint, TQDMProgressBar

from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.render import Image, colorize, legend, titled, write_image
from lcr_seg_ros.training.module import SegmentationTraining

log = logging.getLogger(__name__)

PREVIEW_HEIGHT = 200
"""Height of a preview's row in pixels."""


class LastCheckpoint(Checkpoint):
    """Writes the run's state after each epoch, and also every so many minutes or steps within one.

    The file is replaced as a whole. A state that has diverged is not written: the previous file stays.

    Args:
        path: the file.
        minutes: between checkpoints within an epoch; 0: none by time.
        steps: optimiser steps between checkpoints within an epoch; 0: none by steps.
    """

    def __init__(self, path: Path, minutes: float = 10.0, steps: int = 0) -> None:
        self._path, self._minutes, self._steps = path, minutes, steps
        self._written_at, self._written_step = time.monotonic(), 0
        self._last_image: torch.Tensor | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._written_at, self._written_step = time.monotonic(), trainer.global_step

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        moved = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if batch_idx + 1 == trainer.num_training_batches:
            self._last_image = batch[0][:1].clone()  # on_train_epoch_end gets no batch
        elif moved and self._is_due(trainer):
            self._write_unless_diverged(trainer, pl_module, batch[0][:1])

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._write_unless_diverged(trainer, pl_module, self._last_image)

    def _write_unless_diverged(
        self, trainer: L.Trainer, pl_module: L.LightningModule, image: torch.Tensor | None
    ) -> None:
        assert isinstance(pl_module, SegmentationTraining)
        pl_module.stop_if_diverged(image)
        self._write(trainer)

    def _is_due(self, trainer: L.Trainer) -> bool:
        if self._steps and trainer.global_step - self._written_step >= self._steps:
            return True
        by_clock = bool(self._minutes) and time.monotonic() - self._written_at >= 60 * self._minutes
        return bool(trainer.strategy.broadcast(by_clock)) if trainer.world_size > 1 else by_clock

    def _write(self, trainer: L.Trainer) -> None:
        draft = self._path.with_name(f".{self._path.name}.part")
        try:
            trainer.save_checkpoint(draft)
            if trainer.is_global_zero:
                draft.replace(self._path)
        except OSError as error:  # it may name a temporary file of Lightning's: name ours instead
            draft.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(self._path)) from error
        self._written_at, self._written_step = time.monotonic(), trainer.global_step


class Previews(Callback):
    """Writes ``FOLDER/epoch_0005.png`` after each validation: input, labels and annotation of some frames, a row each,
    above a legend of the classes that occur in any of them.

    Args:
        folder: for the pictures.
        labels: gives the classes' names and colours.
    """

    def __init__(self, folder: Path, labels: LabelSet) -> None:
        self._folder, self._labels = folder, labels
        self._id_of_channel = np.array([c.id for c in labels.classes] + [labels.void] * 2, np.uint8)

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        assert isinstance(pl_module, SegmentationTraining)
        if not trainer.is_global_zero or not pl_module.previews:
            return
        seen = "HHA" if pl_module.recipe.input.modality == "hha" else "RGB"
        picture = self._picture(pl_module.previews, seen)
        write_image(self._folder / f"epoch_{trainer.current_epoch + 1:04d}.png", picture)
        for logger in trainer.loggers:
            if hasattr(logger.experiment, "add_image"):
                logger.experiment.add_image("validation", picture, trainer.global_step, dataformats="HWC")

    def _picture(self, previews: Sequence[tuple[torch.Tensor, torch.Tensor, torch.Tensor]], seen: str) -> Image:
        """(H, W, 3) uint8 RGB of previews as :class:`SegmentationTraining` keeps them; ``seen`` names the first panel.

        The order is that of the sheets of ``predict``, and the titles stand above the first row alone.
        """
        images = [image.clamp(0, 255).byte().permute(1, 2, 0).numpy() for image, _, _ in previews]
        annotations = [self._id_of_channel[target.numpy()] for _, target, _ in previews]
        labels = [self._id_of_channel[predicted.numpy()] for _, _, predicted in previews]
        columns = {
            seen: images,
            "labels": [colorize(ids, self._labels) for ids in labels],
            "annotation": [colorize(ids, self._labels) for ids in annotations],
        }
        panels = [titled(name, np.concatenate([_enlarged(p) for p in column])) for name, column in columns.items()]
        rows = np.concatenate(panels, axis=1)
        ids, true_ids = (np.concatenate([x.ravel() for x in some]) for some in (labels, annotations))
        return np.concatenate([rows, legend(ids, self._labels, rows.shape[1], true_ids)])


def _enlarged(picture: Image) -> Image:
    """A preview's panel: (:data:`PREVIEW_HEIGHT`, W, 3) uint8 RGB in the picture's own aspect ratio."""
    width = round(picture.shape[1] * PREVIEW_HEIGHT / picture.shape[0])
    return cv2.resize(picture, (width, PREVIEW_HEIGHT), interpolation=cv2.INTER_NEAREST)  # type: ignore[return-value]


class ProgressLine(TQDMProgressBar):
    """Lightning's progress bar of the epoch, with the learning rate and the time left until the end of the run.

    Where output goes to a file, a line of the log at the end of each epoch says the same, in place of thousands of
    states of a bar.
    """

    def __init__(self, refresh_rate: int = 5) -> None:
        super().__init__(refresh_rate=refresh_rate)
        self._start = (time.monotonic(), 0)
        self._writes_lines = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        super().setup(trainer, pl_module, stage)
        if not (sys.stdout.isatty() and sys.stderr.isatty()):
            self.disable()
            self._writes_lines = trainer.is_global_zero

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_start(trainer, pl_module)
        self._start = (time.monotonic(), trainer.global_step)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        super().on_train_epoch_end(trainer, pl_module)
        if not self._writes_lines:
            return
        epoch = trainer.current_epoch + 1
        validated = epoch % (trainer.check_val_every_n_epoch or 1) == 0
        values = [
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self.get_metrics(trainer, pl_module).items()
            if validated or not name.startswith("val/")  # else they are of an earlier epoch
        ]
        log.info("epoch %d of %s: %s", epoch, trainer.max_epochs, ", ".join(values))

    def get_metrics(self, trainer: L.Trainer, pl_module: L.LightningModule) -> dict[str, Any]:
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        if not trainer.optimizers or not trainer.training:
            return metrics
        metrics["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        since, first = self._start
        done, total = trainer.global_step - first, int(trainer.estimated_stepping_batches)
        if done > 0:
            left = (time.monotonic() - since) / done * (total - trainer.global_step)
            hours, minutes = divmod(round(left / 60), 60)
            metrics["ready in"] = f"{hours}:{minutes:02d} h"
        return metrics
