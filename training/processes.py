"""What the processes of one run have to know of each other."""

from __future__ import annotations

import logging

import lightning as L
from torch import nn

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
