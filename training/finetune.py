"""Finetuning: training that starts from a trained model, on other images and perhaps other classes."""

from __future__ import annotations

import logging
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lcr_seg_ros.bundle import HHA_OF_TRAINING, ModelBundle
from lcr_seg_ros.errors import BundleError, SourceError
from lcr_seg_ros.labels import LABELS_FILE, LabelSet
from lcr_seg_ros.networks import create_network
from lcr_seg_ros.sources.folder import DEPTH_FOLDER, HHA_FOLDER, RGB_FOLDER
from lcr_seg_ros.training.datasets.names import plain_name
from lcr_seg_ros.training.export import DATA_NOTICE, OWN_DATA_NOTICE
from lcr_seg_ros.training.recipe import Recipe
from lcr_seg_ros.weights import state_dict_from_onnx

OF_COLOUR_ALONE = "nyu40-rgb"
"""The shipped model that needs no depth."""
RATE_SHARE = 0.2
"""Share of the recipe's learning rate, which is meant for an untrained head."""
LONGEST_MEAN = 0.9
"""Largest decay of the running mean of the weights: a small data set makes few steps, too few for a longer mean."""
WITHOUT_WEIGHTS = ("dropout", "drop_path")
"""Network arguments that do not concern weights, and so may differ from those that the model was trained with."""

_BEFORE = ", before that "
_BEGUN = re.compile(r"It went on from the model (?P<models>.*), of which is said:\n")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FinetuningStart:
    """What a network took over from a bundle.

    Args:
        origin: the bundle, for the run's record.
        mean, std: the normalisation that the weights were trained with, per channel in 0..255.
        notice: authors and terms of the weights.
        kept: names of the classes whose score weights were taken over; the others start at random.
        training: the bundle's name and how it was made, for the run's record.
    """

    origin: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    notice: str
    kept: tuple[str, ...]
    training: dict[str, Any]


def finetuning_entries(model: str, data: Path, recipe: str, given: dict[str, Any]) -> dict[str, Any]:
    """Recipe entries for finetuning a model: its network and input, no rendered rooms, and a smaller learning rate.

    Args:
        model: shipped name or path of a bundle.
        data: dataset folder. The classes are those of ``given``, else of its ``labels.yaml``, else the model's.
        recipe: name or file of the recipe.
        given: entries that the user set, which take precedence.

    Returns:
        All overrides, for :meth:`Recipe.load`.

    Raises:
        BundleError: there is no such model, it cannot be finetuned, or its label set does not ship although it is
            needed.
        SourceError: the model needs depth, or HHA of the folder, and the folder has none.
        RecipeError: the recipe cannot be read.
    """
    bundle = _trainable(model)
    hha_source = given.get("input.hha_source", bundle.input.hha_source)
    needed = HHA_FOLDER if hha_source == "folder" else DEPTH_FOLDER
    if bundle.input.uses_depth and (data / RGB_FOLDER).is_dir() and not (data / needed).is_dir():
        raise SourceError(
            f"{data} has no {needed}/, and the model {bundle.name} needs depth ({bundle.input.modality}, "
            f"input.hha_source={hha_source}): add {needed} images, or go on from a model of colour alone: --finetune "
            f"{OF_COLOUR_ALONE}"
        )
    usual = Recipe.load(recipe).optimizer
    arguments = {k: v for k, v in bundle.architecture["arguments"].items() if k not in ("in_channels", "num_classes")}
    entries: dict[str, Any] = {
        "name": data.resolve().name,
        "network.finetune": model,
        "network.imagenet": False,
        "network.name": bundle.architecture["name"],
        "network.arguments": arguments,
        "input.modality": bundle.input.modality,
        "input.height": bundle.input.height,
        "input.width": bundle.input.width,
        "input.hha": {k: v for k, v in asdict(bundle.input.hha).items() if k in HHA_OF_TRAINING},
        "input.hha_source": bundle.input.hha_source,
        "rooms.rooms": 0,
        "rooms.per_epoch": 0,
        "optimizer.learning_rate": usual.learning_rate * RATE_SHARE,
        "optimizer.ema_decay": min(usual.ema_decay, LONGEST_MEAN),
    }
    own = data / LABELS_FILE
    if own.is_file():
        entries["labels"] = str(own)
    elif "labels" not in given:
        entries["labels"] = _name_of(bundle.labels, data)
    entries |= given
    adjusted = ("optimizer.learning_rate", "optimizer.ema_decay", "rooms.per_epoch")
    log.info(
        "going on from %s with %s (the recipe's are for training from the start)",
        bundle.name,
        ", ".join(f"{key}={entries[key]}" for key in adjusted),
    )
    return entries


def start_from_bundle(
    network: nn.Module, architecture: dict[str, Any], labels: LabelSet, model: str
) -> FinetuningStart:
    """Copy the weights of a bundle into a network. Score weights are matched by class name.

    Args:
        network: changed in place; score weights of classes that the bundle lacks stay as they are.
        architecture: arguments of :func:`~lcr_seg_ros.networks.create_network` that it was made with.
        labels: its classes.
        model: shipped name or path of the bundle.

    Raises:
        BundleError: the bundle's network is another one (lists the differences), or cannot be finetuned.
    """
    bundle = _trainable(model)
    theirs = {"name": bundle.architecture["name"], **bundle.architecture["arguments"]}
    mine = {**architecture, "num_classes": theirs.get("num_classes")}
    keys = [k for k in mine | theirs if k not in WITHOUT_WEIGHTS and mine.get(k) != theirs.get(k)]
    if keys:
        differ = "; ".join(f"{k} is {theirs.get(k)!r} there, {mine.get(k)!r} here" for k in keys)
        colour = f", or for colour alone go on from {OF_COLOUR_ALONE}" if _drops_depth(mine, theirs) else ""
        raise BundleError(f"{model} has another network ({differ}): leave these entries to --finetune{colour}")
    stored, own = state_dict_from_onnx(bundle.network), network.state_dict()
    names = [plain_name(name) for name in bundle.labels.names]
    pairs = [(c, names.index(plain_name(name))) for c, name in enumerate(labels.names) if plain_name(name) in names]
    axes = _class_axes(architecture)
    filled: dict[str, Tensor] = {}
    for name, tensor in own.items():
        if name.endswith("num_batches_tracked"):
            filled[name] = tensor
        elif name not in stored:
            raise BundleError(f"{model} does not hold the weights {name}: was it changed after training?")
        else:
            filled[name] = _taken_over(name, tensor, stored[name], axes.get(name), pairs, model)
    network.load_state_dict(filled)
    kept = tuple(labels.names[c] for c, _ in pairs)
    log.info("%d of %d classes keep their scores; anew: %s", len(kept), len(labels), _listed(labels, kept))
    return FinetuningStart(
        f"{bundle.origin}, {len(kept)} of {len(labels)} classes kept",
        bundle.input.mean,
        bundle.input.std,
        _notice(bundle, labels),
        kept,
        {"name": bundle.name, **bundle.training},
    )


def _trainable(model: str) -> ModelBundle:
    bundle = ModelBundle.load(model)
    if bundle.architecture["name"] == "grouped":
        raise BundleError(f"{model} is a grouped model: go on from the one that it was made of")
    try:
        state_dict_from_onnx(bundle.network)
    except BundleError as error:
        raise BundleError(f"{model} cannot be gone on from: {error}") from error
    return bundle


def _drops_depth(mine: dict[str, Any], theirs: dict[str, Any]) -> bool:
    return bool(mine.get("in_channels") == 3 and theirs.get("in_channels") == 6)


def _name_of(labels: LabelSet, data: Path) -> str:
    """Name of the shipped label set that a model has.

    Raises:
        BundleError: its label set does not ship.
    """
    try:
        if LabelSet.load(labels.name) == labels:
            return labels.name
    except ValueError:
        pass
    raise BundleError(
        f"the model's label set {labels.name!r} does not ship with this package: put the label set of the images into "
        f"{data / LABELS_FILE}, or set labels=FILE"
    )


def _class_axes(architecture: dict[str, Any]) -> dict[str, list[int]]:
    """By tensor of the network, its dimensions that count classes; found by comparing with one class more."""
    with torch.device("meta"):
        n = architecture["num_classes"]
        shapes = [
            {k: v.shape for k, v in create_network(**{**architecture, "num_classes": count}).state_dict().items()}
            for count in (n, n + 1)
        ]
    differing = {
        name: [axis for axis, (a, b) in enumerate(zip(shape, shapes[1][name], strict=True)) if a != b]
        for name, shape in shapes[0].items()
    }
    return {name: axes for name, axes in differing.items() if axes}


def _taken_over(
    name: str, own: Tensor, stored: Tensor, axes: list[int] | None, pairs: list[tuple[int, int]], model: str
) -> Tensor:
    """The stored tensor. If it has dimensions that count classes (``axes``): the network's own, with the entries of
    common classes replaced; ``pairs`` are their indices here and there."""
    if axes is None:
        if stored.shape != own.shape:
            raise BundleError(f"{model}: {name} is {tuple(stored.shape)}, this network needs {tuple(own.shape)}")
        return stored.to(own.dtype)
    result = own.clone()
    here: list[Any] = [torch.arange(size) for size in own.shape]
    there = list(here)
    for axis in axes:
        here[axis] = torch.tensor([c for c, _ in pairs], dtype=torch.long)
        there[axis] = torch.tensor([c for _, c in pairs], dtype=torch.long)
    grids = torch.meshgrid(*here, indexing="ij"), torch.meshgrid(*there, indexing="ij")
    result[grids[0]] = stored[grids[1]].to(own.dtype)
    return result


def _listed(labels: LabelSet, kept: tuple[str, ...]) -> str:
    anew = [name for name in labels.names if name not in kept]
    return ", ".join(anew[:12]) + (" ..." if len(anew) > 12 else "") if anew else "none"


def _notice(bundle: ModelBundle, labels: LabelSet) -> str:
    """The notices of all models that training went through, the last one first, without the notice about data that the
    new bundle gets anyway."""
    again = DATA_NOTICE if labels.name in ("nyu40", "nyu4") else OWN_DATA_NOTICE
    models, terms = [bundle.name], bundle.notice.replace(again, "")
    while begun := _BEGUN.match(terms):
        models += begun["models"].split(_BEFORE)
        terms = terms[begun.end() :]
    return f"It went on from the model {_BEFORE.join(dict.fromkeys(models))}, of which is said:\n{terms.rstrip()}\n"
