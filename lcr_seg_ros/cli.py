"""The front door of every executable: ``python -m lcr_seg_ros NAME`` and ``ros2 run lcr_seg_ros NAME``.

Commands live with their work and are imported when called, so that ``predict --help`` does not wait for
PyTorch nor need ROS.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from importlib import import_module

import click

from lcr_seg_ros.errors import LcrSegError

COMMANDS = {
    # name: (module that holds `command`, pip extra that brings what it needs, one line)
    "segment": ("lcr_seg_ros.ros.segment_command", "ros", "the node: RGB-D topics in, label images out"),
    "play": ("lcr_seg_ros.ros.play_command", "ros", "publish a folder, a bag or the rendered room as a camera would"),
    "demo": ("lcr_seg_ros.ros.demo_command", "ros", "camera, node and observer over real DDS, with a report"),
    "predict": ("lcr_seg_ros.predict", "", "label the images of a folder"),
    "hha": ("lcr_seg_ros.hha_command", "", "HHA images of a folder's depth, and pictures that explain them"),
    "evaluate": ("lcr_seg_ros.training.evaluate_command", "", "score a model on an annotated folder"),
    "benchmark": ("lcr_seg_ros.benchmark", "", "time HHA, the network, the constraint or the whole chain"),
    "train": ("lcr_seg_ros.training.train_command", "train", "train a network from a recipe"),
    "ablate": ("lcr_seg_ros.training.ablate_command", "train", "train and score a grid of variants, with tables"),
    "export": ("lcr_seg_ros.training.export_command", "train", "turn a checkpoint into a model bundle"),
    "prepare": ("lcr_seg_ros.training.prepare_command", "", "make dataset folders, e.g. of the official NYUDv2 files"),
    "check-data": ("lcr_seg_ros.training.check_data_command", "", "find the faults of a dataset folder"),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        return _load(name) if name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def group() -> None:
    """Indoor semantic segmentation of RGB-D frames. `COMMAND --help` explains each."""


def _load(name: str) -> click.Command:
    module, extra, _ = COMMANDS[name]
    try:
        command: click.Command = import_module(module).command
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("lcr_seg_ros"):
            raise
        hint = f"pip install 'lcr_seg_ros[{extra}]'" if extra else f"pip install {error.name}"
        if name in ("segment", "play", "demo"):
            hint += ", or source your ROS 2 installation first"
        raise LcrSegError(f"`{name}` needs the Python module {error.name!r}, which is not installed: {hint}") from error
    return command


def main(arguments: list[str] | None = None, command_name: str | None = None) -> None:
    """Run a command and end the process: 0 done, 1 the user's to mend, 2 wrong usage."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if command_name is not None:
        arguments = [command_name, *arguments]
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    try:
        group.main(arguments, prog_name="lcr_seg_ros", standalone_mode=True)
    except LcrSegError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


def _entry(name: str) -> Callable[[], None]:
    return lambda: main(command_name=name)


segment, play, demo = _entry("segment"), _entry("play"), _entry("demo")
predict, evaluate, benchmark = _entry("predict"), _entry("evaluate"), _entry("benchmark")
hha = _entry("hha")
train, export, prepare = _entry("train"), _entry("export"), _entry("prepare")
check_data = _entry("check-data")
ablate = _entry("ablate")
