"""YAML as people write it: a key that stands twice is a mistake, not a wish to have the last of the two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.files import read_text

_MERGE = "tag:yaml.org,2002:merge"


def read_yaml(path: Path, error: type[LcrSegError], keys_as_written: bool = False) -> Any:
    """The content of a YAML file, as plain values.

    Args:
        path: the file.
        error: what is raised.
        keys_as_written: every key is text, ``on`` too, which YAML takes for true; else it is what YAML makes of it.

    Raises:
        error: not UTF-8, not YAML, or a key that stands twice; names the file and the line.
    """
    text = read_text(path, error)
    try:
        return yaml.load(text, _KeysAsWritten if keys_as_written else _EachKeyOnce)  # both are safe loaders
    except _RepeatedKeyError as fault:
        raise error(f"{path}, {fault}") from fault
    except (yaml.YAMLError, ValueError) as fault:  # ValueError: of a date that no calendar has
        raise error(f"{path} is not YAML: {fault}") from fault


def read_yaml_text(path: Path, error: type[LcrSegError]) -> Any:
    """The same file with every scalar as it is written: ``on``, ``1.50`` and ``null`` are text.

    Raises:
        error: not UTF-8, or not YAML.
    """
    try:
        return yaml.load(read_text(path, error), yaml.BaseLoader)  # which makes nothing else
    except yaml.YAMLError as fault:
        raise error(f"{path} is not YAML: {fault}") from fault


class _RepeatedKeyError(yaml.YAMLError):
    """The later of two equal keys of one mapping."""


class _EachKeyOnce(yaml.SafeLoader):
    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._seen: set[int] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """PyYAML's step before a mapping is made, and before it is merged into another: its keys are as they stand."""
        if id(node) not in self._seen:
            self._seen.add(id(node))
            self._take_keys([key for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.tag != _MERGE])
        super().flatten_mapping(node)

    def _take_keys(self, keys: list[yaml.ScalarNode]) -> None:
        lines: dict[str, int] = {}
        for key in keys:
            line = key.start_mark.line + 1
            if key.value in lines:
                raise _RepeatedKeyError(
                    f"line {line}: {key.value!r} is there already, in line {lines[key.value]}: keep one of the two"
                )
            lines[key.value] = line


class _KeysAsWritten(_EachKeyOnce):
    def _take_keys(self, keys: list[yaml.ScalarNode]) -> None:
        super()._take_keys(keys)
        for key in keys:
            key.tag = "tag:yaml.org,2002:str"
