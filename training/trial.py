"""Trials: a model trained on all frames has none left to be scored on, and takes over the scores of its trial.

A trial is a model of the same recipe that was trained without the validation frames, or the model from which the final
one went on, with all frames. The final model gets the temperature and the scores of its trial.
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

MAY_DIFFER = ("name", "optimizer.epochs", "network.finetune", "loss.teacher.model")
"""Recipe entries in which a final model and its trial may differ. Each may have been finetuned from another model, and
been taught by another: the trial by a trial, the final model by a final one."""


def with_trial(final: ModelBundle, trial: ModelBundle) -> ModelBundle:
    """The final model with the temperature and scores of its trial, which is recorded as ``training["trial"]``.

    Args:
        final: the model trained on all frames. If it is a grouped one, it must have the trial's temperature already.
        trial: a model of the same recipe, or the one that the final model went on from; trained on fewer frames, and
            scored on others.

    Raises:
        BundleError: the trial has no scores of its own, or was trained on the same frames, or the two differ in their
            recipe although the final model did not go on from the trial.
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
    """Write :func:`with_trial` of two bundles, given by name or path; returns the trial's scores by split."""
    made = with_trial(ModelBundle.load(final), ModelBundle.load(trial))
    made.save(out)
    return made.scores


def require_trial_of(final: ModelBundle, trial: ModelBundle) -> None:
    """Check that the scores of a trial may stand for those of the final model.

    Raises:
        BundleError: the models differ; lists in what.
    """
    apart = _differences_of_models(final, trial)
    if not went_on_from(final, trial):
        apart += _differences_of_recipes(final, trial)
    if apart:
        raise BundleError(f"{final.name!r} and its trial must be of one recipe, but differ in {', '.join(apart)}")


def went_on_from(final: ModelBundle, trial: ModelBundle) -> bool:
    """Whether the final model was finetuned from the trial (``train --finetune``)."""
    return str(final.training.get("start", "")).startswith(f"{trial.origin},")


def _differences_of_models(final: ModelBundle, trial: ModelBundle) -> list[str]:
    """Which of network, input and labels differ."""
    ours, theirs = final.input, trial.input
    # Mean and deviation of HHA are measured on the training frames, and so may differ.
    if ours.modality == theirs.modality and replace(ours, mean=theirs.mean, std=theirs.std) == theirs:
        final = replace(final, input=theirs)
    return [name for name in ("architecture", "input", "labels") if getattr(final, name) != getattr(trial, name)]


def _differences_of_recipes(final: ModelBundle, trial: ModelBundle) -> list[str]:
    """Names of recipe entries that differ and may not."""
    one, other = (dotted_entries(model.training.get("recipe", {})) for model in (final, trial))
    apart = [name for name in sorted(one.keys() | other.keys()) if one.get(name) != other.get(name)]
    return [name for name in apart if name not in MAY_DIFFER]
