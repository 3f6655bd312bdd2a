"""Checks the lists (splits) of a dataset folder: their encoding, the frames they name, and those they share."""

from __future__ import annotations

import codecs
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from lcr_seg_ros.training.datasets.check_report import Finding, FolderReport

_KNOWN_LISTS = ("fit", "val", "train", "test", "trainval")


@dataclass(frozen=True)
class FrameList:
    """A list: the frame names in it, and its likely encoding if it is not UTF-8, which training reads, else ""."""

    names: list[str]
    encoding: str


def read_lists(path: Path) -> dict[str, FrameList]:
    """The lists of a folder by name."""
    return {file.stem: _read_list(file) for file in sorted(path.glob("*.txt"))}


def check_lists(found: Mapping[str, FrameList], images: Container[str], report: FolderReport) -> None:
    """Report faults of the lists, and the number of names in each.

    Args:
        found: see :func:`read_lists`.
        images: names of the frames that have a colour image.
        report: gets the findings.
    """
    for name, members in found.items():
        if members.encoding and (name in _KNOWN_LISTS or any(word in images for word in members.names)):
            text = f"{name}.txt is not UTF-8 text, but perhaps {members.encoding}"
            report.findings.append(Finding("error", "not_utf8", text, "save it as UTF-8"))
    lists = {name: members.names for name, members in found.items()}
    report.splits = {name: len(members) for name, members in lists.items()}
    if not lists:
        report.findings.append(
            Finding("warning", "no_lists", "there is no list of frames", "train wants e.g. fit.txt and val.txt")
        )
    for name, names in lists.items():
        report.findings += _list_findings(name, names, images)
    report.findings += _overlap_findings(lists)


def _list_findings(name: str, members: Sequence[str], images: Container[str]) -> Iterable[Finding]:
    """Faults of one list: empty, frames without an image, frames named twice."""
    strange = [m for m in members if m not in images]
    if not members:
        yield Finding("error", "empty_list", f"{name}.txt is empty", "write one frame name a line, or remove it")
    with_suffix = all(Path(m).stem in images for m in strange)
    if strange and len(strange) == len(members) and not with_suffix and name not in _KNOWN_LISTS:
        yield Finding(
            "warning",
            "no_list",
            f"{name}.txt names no frame of this folder",
            "is it a list? Commands that are told its name as a split would take it for one",
        )
    elif strange:
        advice = "names stand without folder and suffix" if with_suffix else "is it the list of another data set?"
        yield Finding(
            "error",
            "unknown_frame",
            f"{name}.txt lists {len(strange)} frames that have no image",
            advice,
            tuple(strange),
        )
    repeated = sorted({m for m in members if members.count(m) > 1}) if len(set(members)) < len(members) else []
    if repeated:
        yield Finding(
            "warning",
            "repeated_frame",
            f"{name}.txt lists {len(repeated)} frames more than once",
            "they count more than once in training and in scores",
            tuple(repeated),
        )


def _overlap_findings(lists: Mapping[str, Sequence[str]]) -> Iterable[Finding]:
    """Frames in two lists that may not share any."""
    for (a, members_a), (b, members_b) in combinations(lists.items(), 2):
        shared = set(members_a) & set(members_b)
        if shared and not _may_share(a, b, lists):
            yield Finding(
                "error",
                "overlapping_lists",
                f"{a}.txt and {b}.txt share {len(shared)} frames",
                "scores on frames that were trained on say nothing: take them out of one list",
                tuple(sorted(shared)),
            )


def _may_share(a: str, b: str, lists: Mapping[str, Sequence[str]]) -> bool:
    """Whether two lists may have frames in common. They may if one has a name of the user's own; of the known lists,
    ``train`` may consist of ``fit`` and ``val``."""
    pair = {a, b}
    if pair == {"train", "val"}:
        return "fit" in lists and set(lists["val"]) <= set(lists["train"])
    return not pair <= {"train", "fit", "val", "test"} or pair == {"train", "fit"}


def _read_list(file: Path) -> FrameList:
    content = file.read_bytes()
    try:
        if b"\0" not in content:
            return FrameList(content.decode("utf-8-sig").split(), "")
    except UnicodeDecodeError:
        pass
    if b"\0" not in content:
        return FrameList(content.decode("latin-1").split(), "Latin-1")
    with_mark = content[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
    text = content.decode("utf-16" if with_mark else "utf-16-le", errors="replace")
    return FrameList(text.split(), "UTF-16")
