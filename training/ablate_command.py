"""``ablate``: train and score every run of a grid, and report the results."""

from __future__ import annotations

import math
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click
from tqdm import tqdm

from lcr_seg_ros.completion import complete_grids, complete_splits
from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.sources.folder import DatasetFolder, parse_intrinsics
from lcr_seg_ros.training.ablate import (
    RunFailure,
    RunResult,
    RunSettings,
    check_start,
    estimate,
    read_result,
    run_all,
    state_of,
)
from lcr_seg_ros.training.ablate_grid import DEFAULT_DATA, Grid, PlannedRun, plan
from lcr_seg_ros.training.ablate_report import SCORES, write_ablation_report
from lcr_seg_ros.training.train_command import options_in, values_in

_PASSED_ON = ("threads", "accelerator", "devices", "nodes", "workers", "checkpoint_minutes")
"""Options of `train` that affect neither the result nor where it is written; several processes only on GPUs, see
:func:`_refuse_what_decides`."""


@click.command(
    epilog="""\b
Examples:
  python -m lcr_seg_ros ablate --grid fcn_lite_losses --data nyudv2 --dry-run
  python -m lcr_seg_ros ablate --grid fcn_lite_losses --data nyudv2 --out runs/losses
  python -m lcr_seg_ros ablate --grid paper --data nyudv2 --data nyu4=nyudv2_4
  python -m lcr_seg_ros ablate --grid paper --data nyudv2 --only network=segnet --only modality=rgb
  python -m lcr_seg_ros ablate --grid lambda_sweep --data nyudv2 -- --accelerator gpu --workers 4"""
)
@click.option(
    "--grid", "grid_name", shell_complete=complete_grids, required=True,
    help="name in config/ablations, or a YAML file",
)  # fmt: skip
@click.option(
    "--data", "data_folders", multiple=True, required=True, metavar="[NAME=]DIR",
    help="dataset folder; NAME= for those that the grid calls by another name; repeatable",
)  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path), help="folder to write  [default: runs/ablate/GRID]")
@click.option("--only", multiple=True, metavar="AXIS=VALUE[,VALUE]", help="leave out the other values; repeatable")
@click.option("--seeds", help="comma-separated  [default: the grid's]")
@click.option("--fit", shell_complete=complete_splits, help="split to train on  [default: the grid's]")
@click.option("--val", shell_complete=complete_splits, help="split to score  [default: the grid's]")
@click.option("--flicker", type=click.Path(path_type=Path), help="folder of consecutive frames to measure flicker on")
@click.option(
    "--flicker-intrinsics",
    help="fx,fy,cx,cy[,width,height], of the first image's size unless width,height says another  "
    "[default: FLICKER/intrinsics.yaml]",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="only check what can be checked at once, and list the runs, their state and how long they should take",
)
@click.option(
    "--cache", type=click.Path(path_type=Path), default=Path("runs/cache/hha"), show_default=True, help="computed HHA"
)
@click.option(
    "--validate-every", type=click.IntRange(min=1), default=5, show_default=True, help="epochs between validations"
)
@click.option("--threads", type=click.IntRange(min=0), default=0, help="CPU threads; 0 leaves the choice to PyTorch")
@click.argument("train_arguments", nargs=-1, metavar="[-- TRAIN-OPTIONS]")
def command(
    grid_name: str,
    data_folders: tuple[str, ...],
    out: Path | None,
    only: tuple[str, ...],
    seeds: str | None,
    fit: str | None,
    val: str | None,
    flicker: Path | None,
    flicker_intrinsics: str | None,
    dry_run: bool,
    cache: Path,
    validate_every: int,
    threads: int,
    train_arguments: tuple[str, ...],
) -> None:
    """Train and score every point of a grid with every seed; write report.md, runs.csv, summary.csv and charts.

    For a grid with published tables (`paper`), tables.csv holds the published figures beside ours.

    Stopped at any point, the same command goes on: finished runs are kept, the one in progress resumes from its
    checkpoint. The tables are written anew after each run. A run that fails is listed and does not stop the others.
    What follows -- goes to `train` as it is: --accelerator, --devices, --nodes, --workers, --threads and
    --checkpoint-minutes; more than one process with --accelerator gpu only.
    """
    values = _refuse_what_decides(train_arguments)
    grid = Grid.load(grid_name, seeds=_parse_seeds(seeds), fit=fit, val=val)
    runs = plan(grid, dict(_parse_only(text) for text in only))
    settings = RunSettings(
        data=dict(_parse_data(text) for text in data_folders),
        out=out or Path("runs") / "ablate" / grid.name,
        cache=cache,
        threads=threads,
        validate_every=validate_every,
        flicker=_flicker_folder(flicker, flicker_intrinsics),
        train_arguments=train_arguments,
    )
    check_start(runs, settings)
    if dry_run:
        _list(runs, settings)
        return
    if values["accelerator"] == "gpu":
        from lcr_seg_ros.training.machine import Machine, refuse_missing_gpus  # PyTorch takes seconds

        refuse_missing_gpus(Machine("gpu", values["devices"]))
    with _stop_gracefully():
        failures = _run(grid, runs, settings)
    click.echo(f"report: {settings.out / 'report.md'}")
    if failures:
        raise LcrSegError(f"{len(failures)} runs failed; the report says why, and the same command tries them again")


def _run(grid: Grid, runs: list[PlannedRun], settings: RunSettings) -> dict[str, str]:
    """Carry out all runs and write the report after each; returns the reasons of those that failed, by digest."""
    results = {run.digest: done for run in runs if (done := read_result(run, settings)) is not None}
    failures: dict[str, str] = {}
    folders = ", ".join(f"{name} = {path.name}" for name, path in sorted(settings.data.items()))
    how = [
        f"command: `lcr_seg_ros {shlex.join(sys.argv[1:])}`",
        f"data: {folders}; split {grid.val} scored{', its 425x560 crop' if grid.crop else ''}",
    ]
    open_runs = {run.digest: run for run in runs if run.digest not in results}
    with tqdm(
        total=len(results) + len(open_runs), initial=len(results), desc=grid.name, unit="run", disable=None
    ) as progress:
        titles = iter(open_runs.values())
        progress.set_postfix_str(next((run.title for run in titles), ""))
        for outcome in run_all(list(open_runs.values()), settings):
            if isinstance(outcome, RunFailure):
                failures[outcome.run.digest] = outcome.reason
                progress.write(f"failed: {outcome.run.title}: {outcome.reason}", file=sys.stderr)
            else:
                results[outcome.digest] = outcome
                progress.write(_line(open_runs[outcome.digest], outcome))
            write_ablation_report(settings.out, grid, runs, results, failures, how)
            progress.set_postfix_str(next((run.title for run in titles), ""))
            progress.update()
    write_ablation_report(settings.out, grid, runs, results, failures, how)
    return failures


def _line(run: PlannedRun, result: RunResult) -> str:
    figures = [f"{SCORES[s][0]} {100 * result.scores[s]:.2f}" for s in ("pixel_acc", "mean_acc", "mean_iou", "fw_iou")]
    return f"{run.title}: {', '.join(figures)}, trained in {duration(result.train_seconds)}"


def _list(runs: list[PlannedRun], settings: RunSettings) -> None:
    """Print each training once, with its state and estimated time, and how many points share a training."""
    once = {run.digest: run for run in reversed(runs)}
    total = 0.0
    for run in sorted(once.values(), key=runs.index):
        state = state_of(run, settings)
        guess = estimate(run, runs, settings)
        if state in ("new", "started") and math.isfinite(guess.seconds):
            total += guess.seconds
        click.echo(f"{state:<9} {duration(guess.seconds):>12}  {run.title:<44} {run.data}:{run.fit}  ({guess.source})")
    shared = len(runs) - len(once)
    click.echo(
        f"{len(once)} trainings"
        + (f" for {len(runs)} points and seeds ({shared} come to the same recipe as another)" if shared else "")
        + f"; those not finished should take {duration(total)} in all, scoring not counted"
    )


def duration(seconds: float | None) -> str:
    """Seconds in words, e.g. ``2 h 05 min``; "?" for None and NaN."""
    if seconds is None or not math.isfinite(seconds):
        return "?"
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def _refuse_what_decides(words: tuple[str, ...]) -> dict[str, Any]:
    """Refuse arguments for `train` that affect the result or where it is written: these are for the grid to say.

    Returns:
        the values of `train`'s options.

    Raises:
        click.UsageError: an option that is not passed on, an entry of the recipe, or something that `train` does not
            know; says where it belongs.
    """
    try:
        options = options_in(words)
        for option in options:
            if option.name not in _PASSED_ON:
                raise click.UsageError(f"{option.opts[0]} does not belong there: {_elsewhere(option.opts[0])}")
        values = values_in(("--data", ".", *words))
    except click.UsageError as error:
        raise click.UsageError(f"after --: {error.format_message()}") from error
    if entries := values["entries"]:
        raise click.UsageError(f"after --: {entries[0]} {_elsewhere('--set')}")
    several = [f"--{name} {values[name]}" for name in ("devices", "nodes") if values[name] > 1]
    if several and values["accelerator"] != "gpu":
        raise click.UsageError(
            f"after --: {' '.join(several)} would change every run: on CPUs each process takes the statistics of batch "
            "norms from its own share of a batch. Leave it out, or add --accelerator gpu, where processes share them"
        )
    return values


def _elsewhere(option: str) -> str:
    if option in ("--recipe", "--finetune", "--set"):
        return (
            "would change the recipe of every run, and no longer be what the grid planned: put it under settings of a "
            "grid of your own"
        )
    if option == "--resume":
        return "runs that were stopped go on; another --out starts over"
    if option == "--help":
        return "see `train --help`"
    return "give it to `ablate` itself, before --"


@contextmanager
def _stop_gracefully() -> Iterator[None]:
    """Make SIGTERM end the training in progress, as Ctrl-C does, and say then that finished work is kept. After Ctrl-C,
    the front door says so."""

    def leave(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    except SystemExit:
        click.echo("stopped: what is finished is kept, and the same command goes on from here", err=True)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)


def _flicker_folder(folder: Path | None, intrinsics: str | None) -> DatasetFolder | None:
    if folder is None:
        return None
    return DatasetFolder(folder, intrinsics=parse_intrinsics(intrinsics) if intrinsics else None)


def _parse_data(text: str) -> tuple[str, Path]:
    name, separator, folder = text.partition("=")
    return (name, Path(folder)) if separator else (DEFAULT_DATA, Path(text))


def _parse_only(text: str) -> tuple[str, list[str]]:
    axis, separator, values = text.partition("=")
    if not separator or not values:
        raise click.BadParameter(f"{text!r} is not AXIS=VALUE[,VALUE]", param_hint="--only")
    return axis, values.split(",")


def _parse_seeds(text: str | None) -> tuple[int, ...] | None:
    if text is None:
        return None
    try:
        return tuple(int(seed) for seed in text.split(","))
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a list of whole numbers like 0,1,2", param_hint="--seeds") from None
