"""A small training run as a program, which test_training_state.py starts, kills and starts again.

    python test/training_run.py DATA OUT KILLED_BEFORE_STEP CHECKPOINT_STEPS PROCESSES [NAME=VALUE]...

It kills itself by SIGKILL before step KILLED_BEFORE_STEP, unless that is 0.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from lightning.pytorch.callbacks import Callback

from lcr_seg_ros.training.machine import Machine
from lcr_seg_ros.training.recipe import Recipe
from lcr_seg_ros.training.train import train

DEEPLY = {
    "network.imagenet": False,
    "network.arguments.width": 8,
    "network.arguments.dropout": 0,
    "loss.deep_supervision": 0.3,
    "optimizer.encoder_lr_scale": 0.1,
}
"""Recipe entries of a small SegNet, with deep supervision of its decoder and a lower learning rate of its encoder."""


class Killed(Callback):
    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == self.step:
            os.kill(os.getpid(), signal.SIGKILL)


def main(words: list[str]) -> None:
    data, out = (Path(word) for word in words[:2])
    killed_before, checkpoint_steps, processes = (int(word) for word in words[2:5])
    recipe = Recipe.load("nyu40", {k: yaml.safe_load(v) for k, v in (s.split("=", 1) for s in words[5:])})
    machine = Machine("cpu", devices=processes, threads=1, workers=0, checkpoint_steps=checkpoint_steps)
    callbacks = [Killed(killed_before)] if killed_before else []
    train(recipe, data, "fit", None, out, cache=data / "cache", machine=machine, callbacks=callbacks)


def share(words: list[str]) -> None:
    """Run as one of several processes, which the caller starts: the words are RANK PORT and those of :func:`main`."""
    os.environ |= {"LOCAL_RANK": words[0], "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": words[1]}
    main(words[2:])


if __name__ == "__main__":
    main(sys.argv[1:])
