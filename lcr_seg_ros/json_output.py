"""The option ``--json FILE`` of commands whose result scripts may use; ``-`` stands for standard output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, TypeVar

import click

from lcr_seg_ros.files import replace_file

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class JsonOutput:
    """Where a command's result is written.

    Args:
        path: the file, replaced if it exists; None: ``stream``.
        stream: standard output, which then receives nothing else.
    """

    path: Path | None
    stream: TextIO

    def write(self, content: Any) -> None:
        """Write ``content``, which consists of plain values, as JSON.

        Raises:
            OSError: the file cannot be written.
        """
        text = json.dumps(content, indent=1) + "\n"
        if self.path is None:
            self.stream.write(text)
            self.stream.flush()
        else:
            replace_file(self.path, text.encode())


def json_option(what: str) -> Callable[[Command], Command]:
    """The option ``--json``, passed to the command as ``json_output``: a :class:`JsonOutput` or None.

    Args:
        what: the result's name in the help text, such as "the scores".
    """
    return click.option(
        "--json",
        "json_output",
        metavar="FILE",
        callback=_open,
        help=f"Also write {what} here; - prints them, and everything else goes to standard error.",
    )


def _open(context: click.Context, _: click.Parameter, name: str | None) -> JsonOutput | None:
    if name is None or context.resilient_parsing:
        return None
    if name != "-":
        return JsonOutput(Path(name), sys.stdout)
    output = JsonOutput(None, sys.stdout)
    context.with_resource(redirect_stdout(sys.stderr))
    return output
