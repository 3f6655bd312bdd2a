"""``train``: make a model bundle from a recipe and a dataset folder."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import yaml
from click.shell_completion import CompletionItem

from lcr_seg_ros.completion import complete_models, complete_recipes, complete_splits
from lcr_seg_ros.files import exclusive, make_folder

LOCK = ".training.lock"
"""File in a run folder that is locked while a training works there."""


def _complete_entries(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from lcr_seg_ros.training.entry_completion import complete_entries

    return complete_entries(ctx, param, incomplete)


class _Train(click.Command):
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:  # e.g. --epochs, as in other programs
            advice = "what a recipe holds is written NAME=VALUE, as in optimizer.epochs=2"
            raise click.UsageError(f"{error.format_message()} ({advice})", ctx) from error


@click.command(
    cls=_Train,
    epilog="""\b
Examples:
  python -m lcr_seg_ros train --data nyudv2 --recipe nyu40
  python -m lcr_seg_ros train --data mine --recipe my_recipe.yaml --out runs/mine
  python -m lcr_seg_ros train --data nyudv2 --recipe nyu40 loss.constraint=false
  python -m lcr_seg_ros train --data nyudv2 --recipe segnet_paper input.modality=hha
  python -m lcr_seg_ros train --data mine --finetune nyu40 optimizer.epochs=30 --out runs/mine
  torchrun --nnodes 2 --nproc_per_node 4 --rdzv_backend c10d --rdzv_endpoint HOST:29500 \\
      -m lcr_seg_ros train --recipe segnet_modern --data nyudv2 --devices 4 --nodes 2""",
)
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="dataset folder with rgb/, depth/, label40/"
)
@click.option(
    "--recipe",
    shell_complete=complete_recipes,
    default="nyu40",
    show_default=True,
    help="name in config/recipes, or a YAML file",
)
@click.option(
    "--finetune",
    shell_complete=complete_models,
    metavar="MODEL",
    help="go on from this model's weights: its network and input, DATA/labels.yaml (else its classes), no rendered "
    "rooms, a fifth of the recipe's learning rate; classes of the same name keep what it knows of them",
)
@click.option(
    "--fit", shell_complete=complete_splits, default="fit", show_default=True, help="split to train on (DATA/FIT.txt)"
)
@click.option(
    "--val",
    shell_complete=complete_splits,
    default="val",
    show_default=True,
    help="split to validate on; '' validates on nothing",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="run folder  [default: runs/RECIPE, and the entries set, by commas]"
)
@click.option(
    "--set",
    "settings",
    shell_complete=_complete_entries,
    multiple=True,
    metavar="NAME=VALUE",
    help="the same as NAME=VALUE by itself",
)
@click.argument("entries", nargs=-1, shell_complete=_complete_entries, metavar="[NAME=VALUE]...")
@click.option(
    "--resume/--no-resume", default=True, show_default=True, help="go on from the run folder's last checkpoint"
)
@click.option(
    "--cache", type=click.Path(path_type=Path), default=Path("runs/cache/hha"), show_default=True, help="computed HHA"
)
@click.option(
    "--validate-every", type=click.IntRange(min=1), default=5, show_default=True, help="epochs between validations"
)
@click.option(
    "--log-every",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="steps between rows of the log; 1 follows the kernels of the constraint step by step",
)
@click.option(
    "--threads", type=click.IntRange(min=0), default=0, help="CPU threads of a process; 0 leaves the choice to PyTorch"
)
@click.option(
    "--accelerator",
    type=click.Choice(["auto", "cpu", "gpu"]),
    default="auto",
    show_default=True,
    help="auto: GPU if any",
)
@click.option(
    "--devices", type=click.IntRange(min=1), default=1, show_default=True, help="processes here: GPUs, or CPU processes"
)
@click.option("--nodes", type=click.IntRange(min=1), default=1, show_default=True, help="machines, under torchrun")
@click.option("--workers", type=click.IntRange(min=0), help="processes that load data  [default: 1]")
@click.option(
    "--checkpoint-minutes",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="between checkpoints within an epoch; 0: at its end only",
)
def command(
    data: Path,
    recipe: str,
    finetune: str | None,
    fit: str,
    val: str,
    out: Path | None,
    settings: tuple[str, ...],
    entries: tuple[str, ...],
    resume: bool,
    cache: Path,
    validate_every: int,
    log_every: int,
    threads: int,
    accelerator: str,
    devices: int,
    nodes: int,
    workers: int | None,
    checkpoint_minutes: float,
) -> None:
    """Train a network and write it as a model bundle.

    NAME=VALUE overrides an entry of the recipe, as in optimizer.epochs=2.

    The run folder holds the last checkpoint, a log of every loss term (CSV, and TensorBoard where it is installed),
    pictures of validation frames (previews/), the recipe as it was run, and in the end model.lcrseg with its scores
    inside and curves.png: losses, scores and learning rate. Stopped runs go on where they were when started again.
    """
    from lcr_seg_ros.bundle import ModelBundle
    from lcr_seg_ros.training.export_command import echo_scores
    from lcr_seg_ros.training.machine import Machine
    from lcr_seg_ros.training.recipe import Recipe
    from lcr_seg_ros.training.train import train

    entries = (*settings, *entries)
    overrides = dict(parse_setting(s) for s in entries)
    if finetune is not None:
        from lcr_seg_ros.training.finetune import finetuning_entries

        overrides = finetuning_entries(finetune, data, recipe, overrides)
    chosen = Recipe.load(recipe, overrides=overrides)
    out = out or Path("runs") / _folder_name(chosen.name, entries)
    with _exclusive_run_folder(out):
        bundle = train(
            chosen,
            data=data,
            fit=fit,
            val=val or None,
            out=out,
            resume=resume,
            cache=cache,
            validate_every=validate_every,
            log_every=log_every,
            command_line=sys.argv[1:],
            machine=Machine(accelerator, devices, nodes, threads, workers, checkpoint_minutes),
        )
    if _is_first_process():  # the others have written no bundle, and may have no folder to find one in
        echo_scores(ModelBundle.load(bundle).scores)
        click.echo(f"model bundle: {bundle}")


def _is_first_process() -> bool:
    """Whether this is the first of the processes that share a training, over all machines."""
    from lightning.pytorch.utilities import rank_zero_only

    return not rank_zero_only.rank


@contextmanager
def _exclusive_run_folder(out: Path) -> Iterator[None]:
    """Keep other trainings out of a run folder, where they would overwrite each other's checkpoints. If nothing was
    written to it, the folder is removed again.

    Raises:
        LcrSegError: another process is training there.
    """
    if not _is_first_process():  # which holds the lock
        yield
        return
    with exclusive(make_folder(out), LOCK):
        try:
            yield
        finally:
            if [path.name for path in out.iterdir()] == [LOCK]:
                (out / LOCK).unlink()
                out.rmdir()


def options_in(words: Sequence[str]) -> list[click.Option]:
    """The options of `train` that occur in a part of a command line, which need not be complete.

    Raises:
        click.UsageError: an option does not exist, or has no value.
    """
    _, _, given = command.make_parser(click.Context(command, info_name="train")).parse_args(list(words))
    return [parameter for parameter in given if isinstance(parameter, click.Option)]


def values_in(words: Sequence[str]) -> dict[str, Any]:
    """The values of all parameters of a complete `train` command line, by name; nothing is trained.

    Raises:
        click.UsageError: an option does not exist, is missing, or has an invalid value.
    """
    return command.make_context("train", list(words)).params


def parse_setting(text: str) -> tuple[str, Any]:
    """Name and value of ``NAME=VALUE``, the value read as YAML.

    Raises:
        click.BadParameter: the text has another form, or the value is not YAML.
    """
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="NAME=VALUE")
    try:
        return name, yaml.safe_load(value)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: an impossible date
        raise click.BadParameter(
            f"the value of {text!r} is not YAML: close every bracket and quote, and put quotes around the whole for "
            "the shell",
            param_hint="NAME=VALUE",
        ) from error


def _folder_name(recipe: str, entries: tuple[str, ...]) -> str:
    """Name of a run folder: the recipe and the entries set, so that different runs get different folders."""
    name = ",".join([recipe, *sorted(entries)])
    return re.sub(r"[^\w.,=+-]+", "_", name)[:200]
