"""Where a training run takes place: processes, threads, checkpoints in time."""

from __future__ import annotations

from dataclasses import dataclass

import lightning as L

from lcr_seg_ros.training.module import TrainingError


@dataclass(frozen=True)
class Machine:
    """Where a run takes place. This decides how long it takes and, up to the order of sums, not its result.

    Several processes do change it: each draws its own dropout and, on CPUs, takes the statistics of batch norms from
    its own share of a batch.

    Args:
        accelerator: ``auto``, ``cpu`` or ``gpu``.
        devices: processes on this machine: one per GPU, or CPU processes that communicate through gloo.
        nodes: machines; each starts its processes, by ``torchrun`` or by hand.
        threads: CPU threads per process; 0 leaves the choice to PyTorch.
        workers: processes of each data loader (of training, and of validation) per training process; None: 1, or 0
            for fewer than 16 frames.
        checkpoint_minutes, checkpoint_steps: minutes and optimiser steps between checkpoints within an epoch; 0: none
            by that measure.
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    threads: int = 0
    workers: int | None = None
    checkpoint_minutes: float = 10.0
    checkpoint_steps: int = 0

    def workers_for(self, frames: int) -> int:
        """Processes of a data loader of so many frames."""
        if self.workers is not None:
            return self.workers
        return 0 if frames < 16 else 1


ONE_PROCESS = Machine()


def refuse_missing_gpus(machine: Machine) -> None:
    """Check that there are as many GPUs as were asked for, which Lightning does after the data was read, with a
    traceback.

    Raises:
        TrainingError: there are fewer; says how many.
    """
    if machine.accelerator == "cpu":
        return
    accelerators = L.pytorch.accelerators
    gpus = accelerators.CUDAAccelerator.auto_device_count() or int(accelerators.MPSAccelerator.is_available())
    if not gpus and machine.accelerator == "gpu":
        raise TrainingError(
            "--accelerator gpu: PyTorch finds no GPU here; leave it out to train on the CPU, or install the GPU's "
            "driver and a PyTorch that uses it"
        )
    if 0 < gpus < machine.devices:
        raise TrainingError(
            f"--devices {machine.devices}: PyTorch finds {gpus} GPU{'s' if gpus > 1 else ''} here; give "
            f"--devices {gpus}, or --accelerator cpu"
        )
