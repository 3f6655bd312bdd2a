"""``train``: a recipe and a dataset folder in, a model bundle out."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import yaml


@click.command(
    epilog="""\b
Examples:
  python -m lcr_seg_ros train --data nyudv2 --recipe nyu40
  python -m lcr_seg_ros train --data mine --recipe my_recipe.yaml --out runs/mine
  python -m lcr_seg_ros train --data nyudv2 --recipe nyu40 --set loss.constraint=null --out runs/baseline"""
)
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="dataset folder with rgb/, depth/, label40/"
)
@click.option("--recipe", default="nyu40", show_default=True, help="name in config/recipes, or a YAML file")
@click.option("--fit", default="fit", show_default=True, help="split to train on (DATA/FIT.txt)")
@click.option("--val", default="val", show_default=True, help="split to validate on; '' validates on nothing")
@click.option("--out", type=click.Path(path_type=Path), help="run folder  [default: runs/RECIPE]")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="override one entry of the recipe; repeatable"
)
@click.option(
    "--resume/--no-resume", default=True, show_default=True, help="go on from the run folder's last checkpoint"
)
@click.option(
    "--cache", type=click.Path(path_type=Path), default=Path("runs/cache/hha"), show_default=True, help="computed HHA"
)
@click.option("--validate-every", default=5, show_default=True, help="epochs between validations")
@click.option("--threads", default=0, help="CPU threads; 0 leaves the choice to PyTorch")
def command(
    data: Path,
    recipe: str,
    fit: str,
    val: str,
    out: Path | None,
    settings: tuple[str, ...],
    resume: bool,
    cache: Path,
    validate_every: int,
    threads: int,
) -> None:
    """Train a network and write it as a model bundle.

    The run folder holds checkpoints, a CSV log of every loss term, the recipe as it was run, and in the end
    model.lcrseg with its scores inside. Stopped runs go on where they were when started again.
    """
    from lcr_seg_ros.training.recipe import Recipe
    from lcr_seg_ros.training.train import train

    chosen = Recipe.load(recipe, overrides=dict(_parse_setting(s) for s in settings))
    bundle = train(
        chosen,
        data=data,
        fit=fit,
        val=val or None,
        out=out or Path("runs") / chosen.name,
        resume=resume,
        cache=cache,
        validate_every=validate_every,
        threads=threads,
        command_line=sys.argv[1:],
    )
    click.echo(f"model bundle: {bundle}")


def _parse_setting(text: str) -> tuple[str, Any]:
    name, separator, value = text.partition("=")
    if not separator or not name:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--set")
    return name, yaml.safe_load(value)
