"""Judges the label images of a dataset folder by their ids: void, classes, and what lists hold of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from lcr_seg_ros.labels import LABELS_FILE
from lcr_seg_ros.training.datasets.check_contents import FolderContents
from lcr_seg_ros.training.datasets.check_report import MENDING, Finding, percent

_MUCH_VOID = 0.4
"""A larger share of void is suspicious: NYUDv2 has 0.18."""
_FEW_CLASSES = 0.25
"""A smaller share of the assumed classes may be other classes: 25 frames of NYUDv2 have most of its 40."""
_LIKE_A_CLASS = 0.01
"""Share of pixels from which id 0 may be a class rather than gaps of the annotation."""


def label_findings(contents: FolderContents, is_sample: bool = False) -> Iterable[Finding]:
    """Ids that do not mean what the label set says, much void, and classes that never occur.

    Args:
        contents: of the frames that were read.
        is_sample: there are frames that were not read, so nothing is said of the whole folder.
    """
    somewhere = " in the frames that were read" if is_sample else ""
    total = int(contents.id_pixels.sum())
    if not total:
        return
    labels, void = contents.labels, contents.labels.void
    used = {int(i) for i in np.flatnonzero(contents.id_pixels)}
    known = {int(i) for i in labels.ids}
    strange = sorted(used - known - {void})
    highest = max(known)
    counted_from_1 = void == 0 and known == set(range(1, highest + 1))
    binary = void == 0 and used == {0, 255}
    if binary:
        yield Finding(
            "error",
            "binary_mask",
            f"0 and 255 are the only ids, {percent(contents.id_pixels[255], total)} of the pixels are 255: this looks "
            "like a binary mask, where 255 marks a thing",
            f"write the id of its class for 255: {labels.ids[0]} where {LABELS_FILE} names that class alone; if "
            f"all else is to be learnt as a class too, give that an id that is not void ({void})",
            contents.frames_with([255]),
        )
        strange = [i for i in strange if i not in used]
    elif counted_from_1 and 0 in used and highest not in used and 255 in strange:
        yield Finding(
            "error",
            "shifted_labels",
            f"ids are 0..{max(used - {255})} and 255: classes are counted from 0 with void 255, so every class is "
            f"off by one and class 0 would be taken for void",
            f"label set {labels.name!r} counts from 1 with void 0: add 1 to each id and write 0 for 255 "
            f"({MENDING} --shifted)",
            contents.frames_with([255]),
        )
        strange.remove(255)
    elif 255 in strange:
        yield Finding(
            "error",
            "void_is_255",
            f"{percent(contents.id_pixels[255], total)} of the pixels are 255, which names no class; void is {void}",
            f"write {void} where nothing is annotated, or set void: 255 in the label set's YAML if classes may be "
            f"{void}",
            contents.frames_with([255]),
        )
        strange.remove(255)
    if 0 in strange:
        yield Finding(
            "error",
            "zero_names_no_class",
            f"{percent(contents.id_pixels[0], total)} of the pixels are 0, which names no class; void is {void}",
            f"write {void} there if it means void, or give 0 a class in the label set's YAML",
            contents.frames_with([0]),
        )
        strange.remove(0)
    if strange:
        shown = ", ".join(map(str, strange[:8])) + (", ..." if len(strange) > 8 else "")
        yield Finding(
            "error",
            "unknown_id",
            f"ids {shown} name no class of label set {labels.name!r} ({min(known)}..{highest}): "
            f"{percent(int(contents.id_pixels[strange].sum()), total)} of the pixels would be dropped like void",
            "were they counted from 1 before --shifted was given? Import again without it"
            if strange == [highest + 1] and not contents.id_pixels[min(known)]
            else "give the right label set with --labels, or map the ids",
            contents.frames_with(strange),
        )
    elif counted_from_1 and highest > 1 and 255 not in used and used == set(range(highest)):
        yield Finding(
            "warning",
            "perhaps_shifted",
            f"ids 0..{highest - 1} all occur{somewhere} and {highest} ({labels.classes[-1].name}) does not: "
            "perhaps classes are counted from 0",
            "look at one label image; if so, add 1 to each id",
        )
    void_share = contents.id_pixels[void] / total
    if void_share > _MUCH_VOID:
        yield Finding(
            "warning",
            "much_void",
            f"{percent(contents.id_pixels[void], total)} of the pixels are void ({void}): no part in training "
            "and scores",
            f"is {void} a class of yours (background)? Then give it an id of its own in the label set",
        )
    absent = [c.name for c in labels.classes if c.id not in used]
    if absent and len(absent) < len(known):
        never = f"do not occur{somewhere}" if is_sample else "never occur"
        yield Finding("note", "absent_class", f"{len(absent)} classes {never}: {', '.join(absent)}")
    if len(absent) == len(known) and not binary:
        yield Finding(
            "error",
            "no_class",
            f"no class of label set {labels.name!r} occurs{somewhere}",
            "give the right one with --labels",
        )


def assumed_label_findings(contents: FolderContents, is_sample: bool = False) -> Iterable[Finding]:
    """Ids that look like classes of the user's own, in a folder that does not say what its ids mean.

    Only for label images that are read with a label set which nobody named.

    Args:
        contents, is_sample: see :func:`label_findings`.
    """
    somewhere = " in the frames that were read" if is_sample else ""
    total, labels = int(contents.id_pixels.sum()), contents.labels
    pixels = {int(i): int(contents.id_pixels[i]) for i in labels.ids if contents.id_pixels[i]}
    if not pixels or len(pixels) > _FEW_CLASSES * len(labels):
        return
    gaps = int(contents.id_pixels[0])
    if labels.void == 0 and gaps >= max(min(pixels.values()), _LIKE_A_CLASS * total):
        names = ", ".join(f"{c.id} {c.name}" for c in labels.classes if c.id in pixels)
        yield Finding(
            "warning",
            "assumed_labels",
            f"there is no {LABELS_FILE}, so ids are taken for the {len(labels)} classes of {labels.name}, of which "
            f"only {len(pixels)} occur{somewhere} ({names}), and 0 for void ({percent(gaps, total)} of the pixels)",
            f"are these classes of your own? Then write them into {LABELS_FILE}; if 0 is one of them, add 1 to each "
            "id, or set void: 255 there",
        )


def split_findings(contents: FolderContents, splits: Mapping[str, Sequence[str]]) -> Iterable[Finding]:
    """Classes that occur in a list for scoring but not in the one for training. Only where all frames were read."""
    for fit, val in (("fit", "val"), ("train", "test")):
        if fit in splits and val in splits:
            learned, scored = (contents.ids_in(splits[s]) for s in (fit, val))
            names = [c.name for c in contents.labels.classes if scored[c.id] and not learned[c.id]]
            if names:
                yield Finding(
                    "warning",
                    "class_not_in_training",
                    f"{len(names)} classes occur in {val}.txt and never in {fit}.txt: {', '.join(names)}",
                    "nobody can learn them: move frames between the lists",
                )
