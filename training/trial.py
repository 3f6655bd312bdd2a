"""A model trained on every frame there is cannot be scored on any: it takes over what its trial has shown.

A trial is a model of the same recipe that was trained without the validation frames, or the very model from which the
final one went on with all of them. Temperature and scores of the final model are those of its trial.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import BundleError
from lcr_seg_ros.training.calibrate import with_temperature
from lcr_seg_ros.training.recipe import dotted_entries

MAY_DIFFER = ("name", "optimizer.epochs", "network.finetune")
"""What follows from the frames: steps, and the model that each went on from, the final one perhaps from a final one."""


def with_trial(final: ModelBundle, trial: ModelBundle) -> ModelBundle:
    """The final model with temperature and scores of its trial; ``training["trial"]`` says that they are.

    Args:
        final: of a training that is to be used; a grouped model if the trial is one, its network calibrated before.
        trial: of the same recipe, or what the final one went on from; trained on fewer frames, with its scores on
            others.

    Raises:
        BundleError: the trial has no scores of its own or learned from the same frames, or the two are neither of the
            same recipe nor one made of the other.
    """
    if not trial.scores:
        raise BundleError(f"trial {trial.name!r} has no scores: export it with --data, on frames it was not trained on")
    if "trial" in trial.training:
        raise BundleError(
            f"{trial.name!r} was trained on every frame itself, and its scores are of a trial of its own: give that one"
        )
    learned = [model.training.get("data", {}) for model in (final, trial)]
    one, other = (data.get("splits", {}).get(data.get("fit"), {}).get("sha256") for data in learned)
    if one and one == other:
        raise BundleError(f"{trial.name!r} was trained on the frames of {final.name!r}: a trial was on fewer")
    require_trial_of(final, trial)
    has, wants = (float(model.training.get("temperature", 1.0)) for model in (final, trial))
    if has != wants:
        final = with_temperature(final, wants / has)
    record = {
        "data": trial.training.get("data"),
        "epochs_run": trial.training.get("epochs_run"),
        "network_sha256": hashlib.sha256(trial.network).hexdigest(),
        "went_on_from_it": went_on_from(final, trial),
    }
    return replace(final, training=final.training | {"trial": record}, scores=trial.scores)


def write_with_trial(final: str | Path, trial: str | Path, out: Path) -> dict[str, Any]:
    """:func:`with_trial` of two bundles by name or path; returns the trial's scores by split."""
    made = with_trial(ModelBundle.load(final), ModelBundle.load(trial))
    made.save(out)
    return made.scores


def require_trial_of(final: ModelBundle, trial: ModelBundle) -> None:
    """See that one may speak for the other.

    Raises:
        BundleError: they differ; lists in what.
    """
    apart = _differences_of_models(final, trial)
    if not went_on_from(final, trial):
        apart += _differences_of_recipes(final, trial)
    if apart:
        raise BundleError(f"{final.name!r} and its trial must be of one recipe, but differ in {', '.join(apart)}")


def went_on_from(final: ModelBundle, trial: ModelBundle) -> bool:
    """Whether the final model's training began with the trial's network (``train --finetune``)."""
    return str(final.training.get("start", "")).startswith(f"{trial.origin},")


def _differences_of_models(final: ModelBundle, trial: ModelBundle) -> list[str]:
    """Which of network, input and labels differ."""
    ours, theirs = final.input, trial.input
    # Mean and deviation of HHA are measured on the frames.
    if ours.modality == theirs.modality and replace(ours, mean=theirs.mean, std=theirs.std) == theirs:
        final = replace(final, input=theirs)
    return [name for name in ("architecture", "input", "labels") if getattr(final, name) != getattr(trial, name)]


def _differences_of_recipes(final: ModelBundle, trial: ModelBundle) -> list[str]:
    """Names of entries that differ."""
    one, other = (dotted_entries(model.training.get("recipe", {})) for model in (final, trial))
    apart = [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]
    return [name for name in apart if name not in MAY_DIFFER]
