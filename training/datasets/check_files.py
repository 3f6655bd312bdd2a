"""Judges the files of a dataset folder as such: whether they can be read, their types and sizes, and twins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lcr_seg_ros.sources.folder import DEPTH_FOLDER, HHA_FOLDER, INTRINSICS_FILE, LABEL_FOLDER, RGB_FOLDER
from lcr_seg_ros.training.datasets.check_contents import FolderContents
from lcr_seg_ros.training.datasets.check_report import MENDING, Finding
from lcr_seg_ros.training.datasets.manifest import MANIFEST_FILE


def file_findings(contents: FolderContents) -> Iterable[Finding]:
    """Files that cannot be read or are not of the kind that training reads."""
    if len(contents.sizes) > 1:
        rarest = min(contents.sizes.values(), key=len)
        counts = ", ".join(f"{w}x{h} ({len(frames)})" for (h, w), frames in sorted(contents.sizes.items()))
        yield Finding(
            "warning",
            "several_sizes",
            f"colour images have {len(contents.sizes)} sizes: {counts}",
            f"are they of one camera? {INTRINSICS_FILE} stands for all of them, scaled to each image",
            tuple(rarest),
        )
    regular = "is it whole? copy or make it again"
    of_8_bits = any(kind.startswith("uint8") for kind in contents.depth_types)
    for code, what, advice in (
        ("unreadable_rgb", f"images in {RGB_FOLDER}/ cannot be read", regular),
        (f"unreadable_{LABEL_FOLDER}", f"images in {LABEL_FOLDER}/ cannot be read", regular),
        (f"unreadable_{DEPTH_FOLDER}", f"images in {DEPTH_FOLDER}/ cannot be read", regular),
        (f"unreadable_{HHA_FOLDER}", f"images in {HHA_FOLDER}/ cannot be read", regular),
        (f"size_{LABEL_FOLDER}", "label images have another size than the colour image", "make them alike"),
        (
            f"size_{DEPTH_FOLDER}",
            "depth images have another size than the colour image",
            "register depth to colour at the size of the colour image",
        ),
        (
            f"size_{HHA_FOLDER}",
            "HHA images have another size than the colour image",
            "take HHA of the colour image's size",
        ),
        (
            "hha_type",
            f"HHA images are not 8-bit with three channels ({_listed(contents.hha_types)})",
            "save them with disparity, height and angle as red, green and blue",
        ),
        ("changed", f"files differ from what {MANIFEST_FILE} notes", "run the same prepare command again"),
        (
            "palette_labels",
            "label images are palette PNGs, which would be read as colours",
            f"save them as 8-bit grey: {MENDING}",
        ),
        (
            "label_type",
            f"label images are not 8-bit with one channel ({_listed(contents.label_types)})",
            "save class ids as 8-bit grey PNG; 16-bit ids up to 894 are the raw classes of NYUDv2: prepare nyudv2",
        ),
        (
            "depth_type",
            f"depth images are not 16-bit with one channel ({_listed(contents.depth_types)}): "
            + ("8 bits cannot hold millimetres" if of_8_bits else "a distance is one number a pixel"),
            f"take the sensor's 16-bit depth; if you know the unit: {MENDING} --depth-unit-mm MM"
            if of_8_bits
            else f"take the sensor's own depth; where the channels are alike, {MENDING} keeps one of them",
        ),
    ):
        if contents.faulty[code]:
            yield Finding("error", code, f"{len(contents.faulty[code])} {what}", advice, tuple(contents.faulty[code]))
    for code, what, advice in (
        ("all_void", "frames have no annotated pixel", "they teach and score nothing: take them out"),
        ("no_depth", "depth images have no valid pixel (all 0)", "take these frames out, or record them again"),
    ):
        if contents.faulty[code]:
            yield Finding("warning", code, f"{len(contents.faulty[code])} {what}", advice, tuple(contents.faulty[code]))


def twin_findings(contents: FolderContents, splits: Mapping[str, Sequence[str]]) -> Iterable[Finding]:
    """Colour images that are there under several names, above all in a training list and in the one that is scored."""
    twins = [names for names in contents.of_rgb.values() if len(names) > 1]
    if not twins:
        return
    lists = {s: set(members) for s, members in splits.items()}
    leaks = [
        names
        for names in twins
        for fit, val in (("fit", "val"), ("train", "test"))
        if lists.get(fit, set()) & set(names) and lists.get(val, set()) & set(names)
    ]
    if leaks:
        yield Finding(
            "error",
            "same_image_in_two_lists",
            f"{len(leaks)} images are in a training list and, under another name, in the list that is scored",
            "keep one of each",
            tuple(n for names in leaks for n in names),
        )
    else:
        yield Finding(
            "warning",
            "same_image",
            f"{len(twins)} colour images are there under more than one name",
            "keep one of each",
            tuple(n for names in twins for n in names),
        )


def _listed(kinds: set[str]) -> str:
    return ", ".join(sorted(kinds)[:3])
