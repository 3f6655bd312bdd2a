"""``export``: turn a training checkpoint into a model bundle."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  python -m lcr_seg_ros export --run runs/nyu40 --data nyudv2 --out nyu40.lcrseg"""
)
@click.option("--run", type=click.Path(path_type=Path), required=True, help="run folder of `train`")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="model bundle to write")
@click.option("--data", type=click.Path(path_type=Path), help="dataset folder to score the bundle on")
@click.option("--val", default="val", show_default=True, help="split of DATA to score on")
def command(run: Path, out: Path, data: Path | None, val: str) -> None:
    """Write the network of a run's last checkpoint as a model bundle, finished or not."""
    from lcr_seg_ros.training.export_run import export_run

    scores = export_run(run, out, data, val)
    for split, values in scores.items():
        click.echo(f"{split}: pixel accuracy {100 * values['pixel_acc']:.2f}, mean IU {100 * values['mean_iou']:.2f}")
    click.echo(f"model bundle: {out}")
