"""``export``: make a model bundle from a training checkpoint or from existing models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lcr_seg_ros.completion import complete_labels, complete_models, complete_splits
from lcr_seg_ros.files import refuse_folder


@click.command(
    epilog="""\b
Examples:
  python -m lcr_seg_ros export --run runs/nyu40 --data nyudv2 --out nyu40.lcrseg
  python -m lcr_seg_ros export --fuse segnet-rgb.lcrseg segnet-hha.lcrseg --out segnet.lcrseg
  python -m lcr_seg_ros export --model mine.lcrseg --calibrate --data mine --out calibrated.lcrseg
  python -m lcr_seg_ros export --model nyu40 --group nyu4 --out nyu4.lcrseg
  python -m lcr_seg_ros export --model nyu40 --height 208 --out nyu40-208.lcrseg
  python -m lcr_seg_ros export --model runs/all/model.lcrseg --trial nyu40_fit.lcrseg --out nyu40.lcrseg"""
)
@click.option("--run", type=click.Path(path_type=Path), help="run folder of `train`")
@click.option("--fuse", nargs=2, metavar="RGB HHA", help="models of colour and of HHA, whose scores are averaged")
@click.option(
    "--model", shell_complete=complete_models, help="shipped name or path of a model, with one of the next five"
)
@click.option(
    "--group",
    shell_complete=complete_labels,
    metavar="LABELS",
    help="label set into whose classes the model's classes are grouped",
)
@click.option("--calibrate", is_flag=True, help="make confidence agree with accuracy on the split --val of DATA")
@click.option("--temperature", type=click.FloatRange(min=0, min_open=True), help="divide the scores by it")
@click.option(
    "--height",
    type=click.IntRange(32, 4096),
    help="rows at which frames enter the network: with fewer it takes less time",
)
@click.option(
    "--trial",
    metavar="MODEL",
    help="model of the same recipe that was trained without the validation frames: its temperature and scores are "
    "taken over, and recorded as those of the trial",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="model bundle to write")
@click.option("--data", type=click.Path(path_type=Path), help="dataset folder to score the bundle on")
@click.option(
    "--val", shell_complete=complete_splits, default="val", show_default=True, help="split of DATA to score on"
)
def command(
    run: Path | None,
    fuse: tuple[str, str] | None,
    model: str | None,
    group: str | None,
    calibrate: bool,
    temperature: float | None,
    height: int | None,
    trial: str | None,
    out: Path,
    data: Path | None,
    val: str,
) -> None:
    """Write a model bundle: from a run's last checkpoint, finished or not, from two models, or from one, changed."""
    from lcr_seg_ros.bundle import refuse_other_suffix

    if sum(source is not None for source in (run, fuse, model)) != 1:
        raise click.UsageError("give one of --run, --fuse and --model")
    changes = sum((group is not None, calibrate, temperature is not None, height is not None, trial is not None))
    if model is None and changes:
        raise click.UsageError("--group, --calibrate, --temperature, --height and --trial need --model")
    if model is not None and changes != 1:
        raise click.UsageError(
            f"--model {model} is to be changed in one way, and {changes or 'none'} are given: add one of --group, "
            "--calibrate, --temperature, --height and --trial"
        )
    refuse_folder(out)
    refuse_other_suffix(out)
    if calibrate and data is None:
        raise click.UsageError("--calibrate needs --data, annotated frames that the model was not trained on")
    if trial is not None and data is not None:
        raise click.UsageError("--trial takes over the trial's scores: leave out --data")
    scores: dict[str, Any] = {}
    if run is not None:
        from lcr_seg_ros.training.export_run import export_run

        scores = export_run(run, out, data, val)
    elif fuse is not None:
        from lcr_seg_ros.training.fuse import write_fused

        scores = write_fused(fuse[0], fuse[1], out, data, val)
    elif group is not None:
        from lcr_seg_ros.training.group import write_grouped

        scores = write_grouped(str(model), group, out, data, val)
    elif trial is not None:
        from lcr_seg_ros.training.trial import write_with_trial

        scores = {f"trial, {split}": values for split, values in write_with_trial(str(model), trial, out).items()}
    elif calibrate:
        from lcr_seg_ros.training.calibrate import write_calibrated

        assert data is not None
        found, scores = write_calibrated(str(model), out, data, val)
        click.echo(f"temperature {found:.3f}")
    elif height is not None:
        scores = _write_at_height(str(model), height, out, data, val)
    else:
        from lcr_seg_ros.bundle import ModelBundle
        from lcr_seg_ros.training.calibrate import with_temperature
        from lcr_seg_ros.training.evaluate import write_scored

        assert temperature is not None
        scores = write_scored(with_temperature(ModelBundle.load(str(model)), temperature), out, data, val)
    echo_scores(scores)
    click.echo(f"model bundle: {out}")


def echo_scores(scores: dict[str, Any]) -> None:
    """Print a line for each split."""
    for split, values in scores.items():
        click.echo(
            f"{split}: pixel accuracy {100 * values['pixel_acc']:.2f}, mean accuracy {100 * values['mean_acc']:.2f}, "
            f"mean IU {100 * values['mean_iou']:.2f}"
            + (f", calibration error {values['calibration_error']:.3f}" if "calibration_error" in values else "")
        )


def _write_at_height(model: str, height: int, out: Path, data: Path | None, val: str) -> dict[str, Any]:
    """Write the model with another input height; returns scores by split, none without data. Needs no PyTorch."""
    from dataclasses import replace

    from lcr_seg_ros.bundle import ModelBundle
    from lcr_seg_ros.training.evaluate import write_scored

    return write_scored(replace(ModelBundle.load(model).at_height(height), name=out.stem), out, data, val)
