"""What has to be as it was for a run to go on: recipe, classes, frames, camera and teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.training.datasets.split_digest import is_same_split
from lcr_seg_ros.training.recipe import Recipe, RecipeError, dotted_entries, without_folders_in

_INSTEAD = "choose another --out, or start over there with --no-resume"


def refuse_another_recipe(run: Path, before: dict[str, Any], recipe: Recipe) -> None:
    """A schedule or a network that is half one recipe and half another belongs to neither.

    Args:
        run: the run folder, for the message.
        before: record of the run, from its checkpoint.
        recipe: by which it is about to go on.

    Raises:
        RecipeError: the run in this folder follows another recipe; lists the entries that differ.
    """
    # Entries that did not exist when the run began had their defaults.
    old = dotted_entries(without_folders_in(Recipe.model_validate(before["recipe"])))
    new = dotted_entries(without_folders_in(recipe))
    changes = [f"{k} was {old.get(k)!r}, now {new.get(k)!r}" for k in sorted(old | new) if old.get(k) != new.get(k)]
    if changes:
        raise RecipeError(f"{run} holds a run of another recipe ({'; '.join(changes)}): {_INSTEAD}")


def refuse_other_labels(run: Path, before: dict[str, Any], labels: LabelSet) -> None:
    """A score channel that stood for one class must not go on to learn another, whatever file says so by now.

    Colours and groups may change: nothing is learnt of them. Runs of old say nothing of their classes.

    Args:
        run: the run folder, for the message.
        before: record of the run, from its checkpoint.
        labels: by which it is about to go on.

    Raises:
        RecipeError: another class in one of the channels, another id or another void; says which.
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
    """Nor does a run that saw half one set of frames and half another belong to either.

    Args:
        run: the run folder, for the message.
        before: record of the run, from its checkpoint.
        fit: split that it is about to go on with.
        now: what :func:`~lcr_seg_ros.training.datasets.split_digest.digest_split` says of it.

    Raises:
        SourceError: the run in this folder learns from another split, or from the same with other labels or images.
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
    """HHA follows from the camera as much as from depth.

    Args:
        run: the run folder, for the message.
        before: record of the run, from its checkpoint; one of old says nothing of the camera.
        intrinsics: fx, fy, cx, cy, width and height in pixels, as in the folder's ``intrinsics.yaml``; None where it
            has none, or where no HHA is computed.

    Raises:
        SourceError: they were others.
    """
    was = before["data"].get("intrinsics", intrinsics)
    if was != intrinsics:
        raise SourceError(f"{run} holds a run with intrinsics {was}, now they are {intrinsics}: {_INSTEAD}")


def refuse_another_teacher(run: Path, before: dict[str, Any], teacher: str | None) -> None:
    """The recipe tells a teacher by the name of its file alone.

    Args:
        run: the run folder, for the message.
        before: record of the run, from its checkpoint; one of old says nothing of a teacher.
        teacher: its :attr:`~lcr_seg_ros.training.teacher.Teacher.origin`; None where labels teach alone.

    Raises:
        RecipeError: it was another one.
    """
    was = before.get("teacher", teacher)
    if was != teacher:
        raise RecipeError(f"{run} holds a run taught by {was}, now the teacher is {teacher}: {_INSTEAD}")
