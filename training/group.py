"""Fewer classes from a trained model: a bundle whose network adds up the probabilities of the classes in each group."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import BundleError
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.networks import create_network
from lcr_seg_ros.training.datasets.grouping import load_grouping
from lcr_seg_ros.training.evaluate import without_trial, write_scored
from lcr_seg_ros.training.export import bundle_network
from lcr_seg_ros.weights import state_dict_from_onnx


def group_bundle(model: str | Path, target: str | LabelSet, name: str) -> ModelBundle:
    """A bundle of the network ``grouped``; see :class:`lcr_seg_ros.networks.grouped.Grouped`.

    Args:
        model: shipped name or path of the bundle whose classes are grouped.
        target: label set of the groups, as an object, name or file; see
            :func:`~lcr_seg_ros.training.datasets.grouping.load_grouping`.
        name: of the new bundle.

    Raises:
        BundleError: a class is in no group, or the network is a grouped one already.
        LabelSetError: the groups cannot be made of these classes.
    """
    bundle = ModelBundle.load(model)
    labels, table = load_grouping(target, bundle.labels)
    if bundle.architecture["name"] == "grouped":
        raise BundleError(f"{model} is grouped already: group the model that it was made of")
    group_of = table[bundle.labels.ids]
    if homeless := [c.name for c, g in zip(bundle.labels.classes, group_of, strict=True) if g == labels.void]:
        raise BundleError(f"no class of {labels.name} takes {', '.join(homeless)}: each class has to be in one")
    inner = {"name": bundle.architecture["name"], **bundle.architecture["arguments"]}
    architecture: dict[str, Any] = {
        "name": "grouped",
        "in_channels": bundle.input.channels,
        "num_classes": len(labels),
        "network": {k: v for k, v in inner.items() if k != "in_channels"},
        "groups": [np.flatnonzero(group_of == c.id).tolist() for c in labels.classes],
    }
    network = create_network(**architecture)
    network.network.load_state_dict(state_dict_from_onnx(bundle.network), strict=False)
    record = without_trial(bundle.training) | {
        "grouped": {"model": bundle.name, "labels": bundle.labels.name, "label_set": bundle.labels.to_dict()}
    }
    made = bundle_network(network, name, architecture, bundle.input, labels, record)
    return replace(made, notice=bundle.notice)


def write_grouped(model: str | Path, target: str, out: Path, data: Path | None, val: str) -> dict[str, Any]:
    """Write a grouped bundle, with its scores on a split if there is data (annotated with the finer classes).

    Args:
        model, target: see :func:`group_bundle`.
        out: bundle to write; its name without suffix becomes that of the model.
        data: dataset folder, or None.
        val: its split.

    Returns:
        Scores by split; empty where nothing was scored.
    """
    grouped = group_bundle(model, target, out.stem)
    return write_scored(grouped, out, data, val, annotated=ModelBundle.load(model).labels)
