"""Label sets: the classes behind the ids, with their names, colours and groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.errors import LabelSetError
from lcr_seg_ros.resources import CONFIG

LABELS_FILE = "labels.yaml"
"""Name of the label set's file in a dataset folder with classes of its own."""

UNLABELLED = 255
"""Mask value of a pixel without a label (Nav2 and others interpret 255 in the same way)."""


@dataclass(frozen=True)
class LabelClass:
    """One class: mask id (0..254), name, (r, g, b) of 0..255 each, and the coarse group that it belongs to."""

    id: int
    name: str
    color: tuple[int, int, int]
    group: str = ""


@dataclass(frozen=True)
class LabelSet:
    """An ordered list of classes, in the order of a network's score channels.

    Args:
        name: short name, e.g. ``nyu40``.
        classes: at least one, with distinct ids and names.
        void: the id that label images use for "not annotated"; never predicted, never scored.

    Raises:
        LabelSetError: there is no class, an id is outside 0..254, repeated or equal to ``void``, a name is repeated,
            or a colour is not three values of 0..255.
    """

    name: str
    classes: tuple[LabelClass, ...]
    void: int = 0

    def __post_init__(self) -> None:
        where = f"label set {self.name!r}"
        if not self.classes:
            raise LabelSetError(f"{where} has no classes: list at least one under 'classes'")
        if not 0 <= self.void <= UNLABELLED:
            raise LabelSetError(f"{where}: void is {self.void}; it is the value of a pixel of 8 bits, 0..{UNLABELLED}")
        for c in self.classes:
            if not 0 <= c.id < UNLABELLED or c.id == self.void:
                raise LabelSetError(
                    f"{where}: class {c.name!r} has id {c.id}; ids are 0..254 and differ from void ({self.void})"
                )
            if len(c.color) != 3 or not all(0 <= v <= 255 for v in c.color):
                raise LabelSetError(f"{where}: color of {c.name!r} must be three values of 0..255, got {c.color}")
        _refuse_repetition(where, "id", [c.id for c in self.classes])
        _refuse_repetition(where, "name", [c.name for c in self.classes])

    def __len__(self) -> int:
        return len(self.classes)

    @property
    def ids(self) -> npt.NDArray[np.uint8]:
        """(N,) uint8: mask id of each score channel."""
        return np.array([c.id for c in self.classes], np.uint8)

    @property
    def names(self) -> list[str]:
        return [c.name for c in self.classes]

    @property
    def palette(self) -> npt.NDArray[np.uint8]:
        """(256, 3) uint8 RGB by mask id; ids that name no class are black."""
        table = np.zeros((256, 3), np.uint8)
        for c in self.classes:
            table[c.id] = c.color
        return table

    def reads_as(self, other: LabelSet) -> bool:
        """Whether each id of this set, void included, means the same in ``other``, which may have more classes."""
        names = {c.id: c.name for c in other.classes}
        return self.void == other.void and all(names.get(c.id) == c.name for c in self.classes)

    def channel_of_id(self) -> npt.NDArray[np.int64]:
        """(256,) int64: score channel of each mask id, -1 for void and ids that name no class."""
        table = np.full(256, -1, np.int64)
        for channel, c in enumerate(self.classes):
            table[c.id] = channel
        return table

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as in the YAML file and in a model bundle."""
        return {
            "name": self.name,
            "void": self.void,
            "classes": [{"id": c.id, "name": c.name, "color": list(c.color), "group": c.group} for c in self.classes],
        }

    @classmethod
    def from_dict(cls, data: Any) -> LabelSet:
        """The inverse of :meth:`to_dict`.

        Raises:
            LabelSetError: something is missing or has another type.
        """
        try:
            classes = tuple(
                LabelClass(
                    id=int(c["id"]),
                    name=str(c["name"]),
                    color=tuple(int(v) for v in c["color"]),  # type: ignore[arg-type]
                    group=str(c.get("group", "")),
                )
                for c in data["classes"]
            )
            return cls(name=str(data["name"]), classes=classes, void=int(data.get("void", 0)))
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            if isinstance(error, LabelSetError):
                raise
            raise LabelSetError(
                "a label set needs 'name' and 'classes', each class 'id', 'name' and 'color': "
                f"{type(error).__name__}: {error}"
            ) from error

    @classmethod
    def load(cls, name_or_path: str | Path) -> LabelSet:
        """Read a label set by name (``config/labels/NAME.yaml``) or from a YAML file.

        Raises:
            LabelSetError: the file does not exist, is not YAML in UTF-8, or is not a label set.
        """
        from lcr_seg_ros.yaml_files import read_yaml

        path = Path(name_or_path)
        if path.suffix not in (".yaml", ".yml"):
            path = CONFIG / "labels" / f"{name_or_path}.yaml"
        if not path.is_file():
            shipped = sorted(p.stem for p in (CONFIG / "labels").glob("*.yaml"))
            raise LabelSetError(f"no label set {str(name_or_path)!r}: give a YAML file or one of {', '.join(shipped)}")
        values = read_yaml(path, LabelSetError)
        try:
            return cls.from_dict(values)
        except LabelSetError as error:
            raise LabelSetError(f"{path}: {error}") from error


def folder_label_set(data: Path) -> LabelSet | None:
    """A dataset folder's own label set; None if it has none, which for most commands means nyu40.

    Raises:
        LabelSetError: the file is not a label set.
    """
    file = data / LABELS_FILE
    return LabelSet.load(file) if file.is_file() else None


def _refuse_repetition(where: str, what: str, values: Sequence[object]) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise LabelSetError(f"{where}: {what} {value!r} is used twice")
        seen.add(value)
