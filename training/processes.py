"""What the processes of one run have to know of each other."""

from __future__ import annotations

import logging
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn

from lcr_seg_ros.training.module import TrainingError

log = logging.getLogger(__name__)


def tell_of_separate_batch_norms(trainer: L.Trainer, network: nn.Module) -> None:
    """Warn, in the first process alone, where every process takes the statistics of batch norms from its own images.

    Processes share them on CUDA only. Therefore `ablate`, whose runs must not depend on where they take place, refuses
    several processes without ``--accelerator gpu``.

    Args:
        trainer: of the run, before it starts.
        network: in the mode that it is trained in; batch norms that keep their statistics are in evaluation mode.
    """
    if trainer.world_size == 1 or not trainer.is_global_zero or trainer.strategy.root_device.type == "cuda":
        return
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training for m in network.modules()):
        log.warning(
            "without CUDA each of the %d processes takes the statistics of batch norms from its own share of a batch, "
            "so the result differs from that of one process: network.freeze_batch_norm=true avoids it",
            trainer.world_size,
        )


class SameStart(Callback):
    """Refuses to train where processes would go on from different places.

    Each decides by the checkpoint that it finds, and the first process alone writes it: on a machine that does not
    share the run folder there is none, or an old one.

    Args:
        checkpoint: the file that the run goes on from, whether it exists or not.
        epoch, batch: where this process would go on, counted from 0; both 0: from the start.

    Raises:
        TrainingError: as soon as the processes are connected, in all of them; names the folder and where each would
            go on.
    """

    def __init__(self, checkpoint: Path, epoch: int, batch: int) -> None:
        self._checkpoint, self._position = checkpoint, (epoch, batch)

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if trainer.world_size == 1:
            return
        mine = torch.tensor(self._position, device=trainer.strategy.root_device)
        found = [torch.empty_like(mine) for _ in range(trainer.world_size)]
        torch.distributed.all_gather(found, mine)
        positions = [tuple(place.tolist()) for place in found]
        if len(set(positions)) > 1:
            raise TrainingError(
                f"the processes of this training find different {self._checkpoint.name} in "
                f"{self._checkpoint.parent.resolve()} ({_listed(positions)}): is it a folder that all machines share? "
                "Give such a folder as --out, or start over with --no-resume"
            )


def _listed(positions: list[tuple[int, ...]]) -> str:
    """Where the first process would go on, and the first one that differs from it."""
    other = next(rank for rank, place in enumerate(positions) if place != positions[0])
    return ", ".join(f"process {rank} {_told(*positions[rank])}" for rank in (0, other))


def _told(epoch: int, batch: int) -> str:
    return f"would go on at epoch {epoch + 1}, batch {batch + 1}" if epoch or batch else "finds none"
