"""What a shell offers, after Tab, for the values of options: names that ship with the package, and those in folders.

Each function ``complete_...`` is for click's ``shell_complete``: it reads names of files, and imports nothing slow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import click
from click.shell_completion import CompletionItem

from lcr_seg_ros.resources import CONFIG, MODELS

Command = TypeVar("Command", bound=Callable[..., object])
Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

BACKENDS = ("auto", "openvino", "onnxruntime", "torch")
DEVICES = ("auto", "cpu", "cuda")
FOLDERS = ("data", "source", "data_folders")
"""Parameters that name the dataset folder whose splits are meant."""


def complete_models(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Shipped models, else files."""
    return _names_or_files((path.stem for path in MODELS.glob("*.lcrseg")), incomplete)


def complete_recipes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Shipped recipes, else files."""
    return _names_or_files((path.stem for path in (CONFIG / "recipes").glob("*.yaml")), incomplete)


def complete_labels(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Shipped label sets, else files."""
    return _names_or_files((path.stem for path in (CONFIG / "labels").glob("*.yaml")), incomplete)


def complete_grids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Shipped grids of ablations, else files."""
    return _names_or_files((path.stem for path in (CONFIG / "ablations").glob("*.yaml")), incomplete)


def complete_sources(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """``room``, else files and folders."""
    return _names_or_files(["room"], incomplete)


def complete_backends(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the runtimes, for options that are no ``click.Choice``."""
    return _plain(BACKENDS, incomplete)


def complete_devices(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of devices, for options that are no ``click.Choice``."""
    return _plain(DEVICES, incomplete)


def complete_splits(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The lists in the dataset folders that the command line has named before."""
    given = [ctx.params.get(name) for name in FOLDERS]
    folders = [one for value in given if value for one in (value if isinstance(value, tuple) else (value,))]
    # `ablate` calls a folder NAME=DIR.
    found = {path.stem for folder in folders for path in Path(str(folder).rpartition("=")[2]).glob("*.txt")}
    return _plain(sorted(found), incomplete)


def _names_or_files(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    # In bash, names beside files would hide each other: files are for what is no beginning of a name.
    return _plain(sorted(names), incomplete) or [CompletionItem(incomplete, type="file")]


def _plain(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def runtime_options(command: Command) -> Command:
    """The options ``--backend`` and ``--device`` of a click command that runs a model."""
    device = click.option(
        "--device", shell_complete=complete_devices, default="auto", show_default=True, help="auto, cpu or cuda"
    )
    backend = click.option(
        "--backend",
        shell_complete=complete_backends,
        default="auto",
        show_default=True,
        help="auto, openvino, onnxruntime or torch",
    )
    return backend(device(command))
