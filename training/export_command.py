"""``export``: turn a training checkpoint, or two models, into a model bundle."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  python -m lcr_seg_ros export --run runs/nyu40 --data nyudv2 --out nyu40.lcrseg
  python -m lcr_seg_ros export --fuse segnet-rgb.lcrseg segnet-hha.lcrseg --out segnet.lcrseg"""
)
@click.option("--run", type=click.Path(path_type=Path), help="run folder of `train`")
@click.option("--fuse", nargs=2, metavar="RGB HHA", help="models of colour and of HHA, whose scores are averaged")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="model bundle to write")
@click.option("--data", type=click.Path(path_type=Path), help="dataset folder to score the bundle on")
@click.option("--val", default="val", show_default=True, help="split of DATA to score on")
def command(run: Path | None, fuse: tuple[str, str] | None, out: Path, data: Path | None, val: str) -> None:
    """Write the network of a run's last checkpoint, finished or not, or the fusion of two, as a model bundle."""
    if (run is None) == (fuse is None):
        raise click.UsageError("give either --run or --fuse")
    if run is not None:
        from lcr_seg_ros.training.export_run import export_run

        scores = export_run(run, out, data, val)
    else:
        assert fuse is not None
        from lcr_seg_ros.training.fuse import write_fused

        scores = write_fused(fuse[0], fuse[1], out, data, val)
    for split, values in scores.items():
        click.echo(f"{split}: pixel accuracy {100 * values['pixel_acc']:.2f}, mean IU {100 * values['mean_iou']:.2f}")
    click.echo(f"model bundle: {out}")
