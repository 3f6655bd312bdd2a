"""From a run folder to a scored model bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from lcr_seg_ros.bundle import InputSpec
from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.networks import create_network
from lcr_seg_ros.networks.pretrained import loading_fault
from lcr_seg_ros.training.divergence import divergence
from lcr_seg_ros.training.evaluate import write_scored
from lcr_seg_ros.training.export import bundle_network
from lcr_seg_ros.training.module import CHECKPOINT_KEY, TrainingError, architecture
from lcr_seg_ros.training.recipe import InputRecipe, Recipe


def export_run(run: Path, out: Path, data: Path | None = None, val: str | None = None) -> dict[str, Any]:
    """Write the network of ``run/last.ckpt`` as a bundle, with averaged weights if the recipe asks for them.

    The constraint is not exported: only training needs it.

    Args:
        run: run folder of `train`.
        out: bundle to write.
        data, val: dataset folder and split to score it on; None: no scores.

    Returns:
        Scores by split; empty where nothing was scored.

    Raises:
        SourceError: there is no checkpoint, or it is not one of ours.
        TrainingError: the network has diverged.
    """
    checkpoint = read_checkpoint(run / "last.ckpt")
    ours = checkpoint[CHECKPOINT_KEY]
    recipe = Recipe.model_validate(ours["record"]["recipe"])
    labels = labels_of_run(ours["record"], recipe)
    network = create_network(**architecture(recipe, labels))
    prefix = "network."
    network.load_state_dict(
        {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
    )
    seen = recipe.input
    _refuse_diverged(network, run, seen)
    spec = InputSpec(
        seen.modality,
        seen.height,
        seen.width,
        tuple(ours["mean"]),
        tuple(ours["std"]),
        seen.hha_settings,
        seen.hha_source,
        recipe.is_exact,
    )
    record = {k: v for k, v in ours["record"].items() if k != "labels"}  # the bundle stores labels elsewhere
    epochs = ours.get("next", {"epoch": checkpoint["epoch"] + 1})["epoch"]  # completed ones
    record |= {"epochs_run": epochs, "steps_run": checkpoint["global_step"]}
    start_notice = ours.get("notice")  # old checkpoints have none: they are of fcn_lite
    bundle = bundle_network(
        network, recipe.name, architecture(recipe, labels), spec, labels, record, start_notice=start_notice
    )
    return write_scored(bundle, out, data, val)


def labels_of_run(record: dict[str, Any], recipe: Recipe) -> LabelSet:
    """The label set that a run began with, since the file that its recipe names may have changed or moved. Records of
    old runs have none: for them, the file is read.

    Args:
        record: of the run, as its checkpoint has it.
        recipe: of the run.

    Raises:
        LabelSetError: the record has none, and the file cannot be read.
    """
    classes = record.get("labels")
    return LabelSet.load(recipe.labels) if classes is None else LabelSet.from_dict(classes)


def _refuse_diverged(network: nn.Module, run: Path, seen: InputRecipe) -> None:
    """Refuse a network without finite scores on a grey image and on noise: an old checkpoint may have been written
    after a run diverged in its last step."""
    channels = 6 if seen.modality == "rgb_hha" else 3
    noise = torch.randn(1, channels, seen.height, seen.width, generator=torch.Generator().manual_seed(0))
    fault = divergence(network, torch.cat([torch.zeros_like(noise), noise]))
    if fault is not None:
        raise TrainingError(
            f"{run / 'last.ckpt'} is of a run that diverged ({fault}): train anew with a lower optimizer.learning_rate "
            "or with optimizer.gradient_clip=5, and --no-resume or another folder"
        )


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint of `train`, which holds tensors and plain values; no code in it is executed.

    Raises:
        SourceError: there is none, it is damaged, or it is not one of ours.
    """
    if not path.is_file():
        raise SourceError(f"{path.parent} has no {path.name}: give the folder that `train` wrote to")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise errors of unrelated classes
        reason = loading_fault(error)
        raise SourceError(f"{path} is cut or is no checkpoint ({reason}): delete it to start over") from error
    if not isinstance(checkpoint, dict) or CHECKPOINT_KEY not in checkpoint:
        raise SourceError(f"{path} was not written by `train` of this package")
    return checkpoint
