"""A run is resumed only with the recipe, classes, frames, camera and teacher that it began with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.training.datasets.split_digest import is_same_split
from lcr_seg_ros.training.recipe import Recipe, RecipeError, dotted_entries, without_folders_in

_INSTEAD = "choose another --out, or start over there with --no-resume"


def refuse_another_recipe(run: Path, before: dict[str, Any], recipe: Recipe) -> None:
    """Refuse to resume with another recipe: the result would be of neither.

    Args:
        run: the run folder, for the message.
        before: record of the run, from its checkpoint.
        recipe: that it would go on with.

    Raises:
        RecipeError: the run in this folder follows another recipe; lists the entries that differ.
    """
    # Validating the old recipe gives entries that did not exist when the run began their defaults.
    old = dotted_entries(without_folders_in(Recipe.model_validate(before["recipe"])))
    new = dotted_entries(without_folders_in(recipe))
    changes = [f"{k} was {old.get(k)!r}, now {new.get(k)!r}" for k in sorted(old | new) if old.get(k) != new.get(k)]
    if changes:
        raise RecipeError(f"{run} holds a run of another recipe ({'; '.join(changes)}): {_INSTEAD}")


def refuse_other_labels(run: Path, before: dict[str, Any], labels: LabelSet) -> None:
    """Refuse to resume with other classes, to which the file of the label set may have been changed meanwhile.

    Colours and groups may change: training does not use them. Records of old runs have no classes; these pass.

    Args:
        run: the run folder, for the message.
        before: record of the run, from its checkpoint.
        labels: that it would go on with.

    Raises:
        RecipeError: a score channel has another class or id, or void is another id; says which.
    """
    if before.get("labels") is None:
        return
    was = LabelSet.from_dict(before["labels"])
    old, new = ([f"{c.name!r} (id {c.id})" for c in each.classes] for each in (was, labels))
    changes = [f"channel {k} was {a}, now {b}" for k, (a, b) in enumerate(zip(old, new, strict=False)) if a != b]
    if len(old) != len(new):
        changes.insert(0, f"{len(old)} classes then, {len(new)} now")
    if was.void != labels.void:
        changes.append(f"void was {was.void}, now {labels.void}")
    if changes:
        more = f" and {len(changes) - 3} changes more" if len(changes) > 3 else ""
        raise RecipeError(
            f"{run} holds a run of other classes than label set {labels.name} has now "
            f"({'; '.join(changes[:3])}{more}): put the classes back as they were, or {_INSTEAD}"
        )


def refuse_other_frames(run: Path, before: dict[str, Any], fit: str, now: dict[str, Any]) -> None:
    """Refuse to resume with other training frames.

    Args:
        run: the run folder, for the message.
        before: record of the run, from its checkpoint.
        fit: split that it would go on with.
        now: :func:`~lcr_seg_ros.training.datasets.split_digest.digest_split` of it.

    Raises:
        SourceError: frames, labels or images differ from those that the run began with.
    """
    data = before["data"]
    split = data["splits"].get(data["fit"], {})
    if not is_same_split(split, now):
        raise SourceError(
            f"{run} holds a run on split {data['fit']!r} of {split.get('frames')} frames (labels "
            f"{str(split.get('sha256'))[:12]}, images {str(split.get('images_sha256'))[:12]}), now it is {fit!r} of "
            f"{now['frames']} (labels {now['sha256'][:12]}, images {now['images_sha256'][:12]}): {_INSTEAD}"
        )


def refuse_another_camera(run: Path, before: dict[str, Any], intrinsics: list[float] | None) -> None:
    """Refuse to resume with other intrinsics, on which HHA depends as it does on depth.

    Args:
        run: the run folder, for the message.
        before: record of the run, from its checkpoint; records of old runs have no intrinsics, and these pass.
        intrinsics: fx, fy, cx, cy, width and height in pixels, as in the folder's ``intrinsics.yaml``; None if it has
            none, or if no HHA is computed.

    Raises:
        SourceError: the run began with other intrinsics.
    """
    was = before["data"].get("intrinsics", intrinsics)
    if was != intrinsics:
        raise SourceError(f"{run} holds a run with intrinsics {was}, now they are {intrinsics}: {_INSTEAD}")


def refuse_another_teacher(run: Path, before: dict[str, Any], teacher: str | None) -> None:
    """Refuse to resume with another teacher. Recipes do not show that: they hold a teacher's file name only.

    Args:
        run: the run folder, for the message.
        before: record of the run, from its checkpoint; records of old runs have no teacher, and these pass.
        teacher: its :attr:`~lcr_seg_ros.training.teacher.Teacher.origin`; None if there is no teacher.

    Raises:
        RecipeError: the run began with another teacher.
    """
    was = before.get("teacher", teacher)
    if was != teacher:
        raise RecipeError(f"{run} holds a run taught by {was}, now the teacher is {teacher}: {_INSTEAD}")
