"""YAML files that people write. A repeated key is refused as a mistake, where YAML would take its last value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.files import read_text

_MERGE = "tag:yaml.org,2002:merge"


def read_yaml(path: Path, error: type[LcrSegError], keys_as_written: bool = False) -> Any:
    """Read a YAML file, as plain values.

    Args:
        path: the file.
        error: class of the errors raised.
        keys_as_written: keep every key as text, even ``on``, which YAML reads as true.

    Raises:
        error: the file is not UTF-8 or not YAML, or a key is repeated; names the file and the line.
    """
    text = read_text(path, error)
    try:
        return yaml.load(text, _KeysAsWritten if keys_as_written else _EachKeyOnce)  # both are safe loaders
    except _RepeatedKeyError as fault:
        raise error(f"{path}, {fault}") from fault
    except (yaml.YAMLError, ValueError) as fault:  # ValueError: an impossible date
        raise error(f"{path} is not YAML: {_in_one_line(fault)}") from fault


def read_yaml_text(path: Path, error: type[LcrSegError]) -> Any:
    """Read a YAML file with every scalar as text: ``on``, ``1.50`` and ``null`` stay as they are written.

    Repeated keys are not refused.

    Raises:
        error: the file is not UTF-8 or not YAML.
    """
    try:
        return yaml.load(read_text(path, error), yaml.BaseLoader)  # safe: creates only text, lists and mappings
    except yaml.YAMLError as fault:
        raise error(f"{path} is not YAML: {_in_one_line(fault)}") from fault


def _in_one_line(fault: Exception) -> str:
    """PyYAML's message without the piece of text that it quotes, and with advice."""
    if not isinstance(fault, yaml.MarkedYAMLError) or fault.problem_mark is None:
        return " ".join(str(fault).replace(' in "<unicode string>",', " at").split())
    mark = fault.problem_mark
    said = ", ".join(filter(None, (fault.context, fault.problem)))
    return (
        f"line {mark.line + 1}, column {mark.column + 1}: {said}; look for a bracket, quote, colon or indentation that "
        "is wrong there or just before"
    )


class _RepeatedKeyError(yaml.YAMLError):
    """A mapping has two equal keys."""


class _EachKeyOnce(yaml.SafeLoader):
    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._seen: set[int] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Check the keys. PyYAML calls this before it builds a mapping or merges it (``<<``) into another one."""
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
