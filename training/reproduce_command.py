"""``reproduce``: make the shipped models from a dataset folder."""

from __future__ import annotations

from itertools import takewhile
from pathlib import Path

import click
from click.shell_completion import CompletionItem


def _complete_arguments(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Models that ship and are not named yet; after an option, or where none begins like this, entries of a recipe."""
    from lcr_seg_ros.training.entry_completion import complete_entries
    from lcr_seg_ros.training.reproduce import shipped_models

    before = tuple(ctx.params.get(param.name or "") or ())
    if not any(word.startswith("-") or "=" in word for word in before):
        names = [name for name in shipped_models() if name.startswith(incomplete) and name not in before]
        if names:
            return [CompletionItem(name) for name in names]
    return complete_entries(ctx, param, incomplete)


@click.command(
    epilog="""\b
Examples:
  python -m lcr_seg_ros reproduce --data nyudv2 --dry-run
  python -m lcr_seg_ros reproduce --data nyudv2 --out models
  python -m lcr_seg_ros reproduce nyu4 --data nyudv2 --out models
  python -m lcr_seg_ros reproduce nyu40 --data nyudv2 --out tried --no-int8 -- optimizer.epochs=1"""
)
@click.argument(
    "arguments",
    nargs=-1,
    type=click.UNPROCESSED,
    shell_complete=_complete_arguments,
    metavar="[MODEL]... [-- TRAIN-OPTIONS]",
)
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="dataset folder with fit.txt, val.txt, train.txt"
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("runs/shipped"), show_default=True, help="folder to write"
)
@click.option("--int8/--no-int8", default=True, show_default=True, help="also make the models of 8 bits")
@click.option("--dry-run", is_flag=True, help="only check what can be checked at once, and print the commands in order")
def command(arguments: tuple[str, ...], data: Path, out: Path, int8: bool, dry_run: bool) -> None:
    """Make the models that ship (config/shipped.yaml), all of them or those named, and what they need.

    Each is trained on fit.txt first, calibrated and scored on val.txt: its trial, MODEL_fit.lcrseg. Then it is trained
    on train.txt and takes over the trial's temperature and scores. Stopped at any point, the same command goes on.
    What follows -- goes to every `train`, as options or as entries of the recipe.
    """
    from lcr_seg_ros.training.reproduce import carry_out, check_start, plan

    names = list(takewhile(lambda word: not word.startswith("-") and "=" not in word, arguments))
    train_options = arguments[len(names) :]
    steps = plan(names, data, out, train_options=train_options, int8=int8)
    check_start(steps, data, out, train_options)
    if dry_run:
        for step in steps:
            click.echo(str(step))
        return
    carry_out(steps, out)
    for step in steps:
        if step.makes.parent == out:
            click.echo(f"{step.makes}, {step.makes.stat().st_size / 1e6:.1f} MB")
