"""``quantize``: make an int8 model bundle, of about half the size and faster on a CPU."""

from __future__ import annotations

from pathlib import Path

import click

from lcr_seg_ros.completion import complete_models, complete_splits
from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.extras import require
from lcr_seg_ros.files import refuse_folder
from lcr_seg_ros.sources.folder import DatasetFolder, parse_intrinsics


@click.command(
    epilog="""\b
Examples:
  python -m lcr_seg_ros quantize --model nyu40 --data nyudv2 --split fit --val val --out nyu40-int8.lcrseg
  python -m lcr_seg_ros quantize --model mine.lcrseg --data recording --frames 100 --out mine-int8.lcrseg"""
)
@click.option(
    "--model",
    shell_complete=complete_models,
    default="nyu40",
    show_default=True,
    help="shipped name or path of a bundle of float weights",
)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="dataset folder with rgb/ and depth/")
@click.option(
    "--split",
    shell_complete=complete_splits,
    help="list of frames to calibrate on, e.g. fit for DATA/fit.txt  [default: every image]",
)
@click.option("--frames", type=click.IntRange(1, 1000), default=64, show_default=True, help="how many of them")
@click.option(
    "--val",
    shell_complete=complete_splits,
    help="list of annotated frames to score before and after on; without, nothing is measured",
)
@click.option("--limit", type=click.IntRange(min=1), help="only the first so many frames of --val")
@click.option(
    "--max-loss", type=click.FloatRange(min=0), default=0.5, show_default=True,
    help="points of mean IU that it may lose on --val; if it loses more, nothing is written",
)  # fmt: skip
@click.option(
    "--trial",
    metavar="MODEL",
    help="of a model trained on every frame: one of the same recipe that never saw --val, which speaks for it",
)
@click.option(
    "--intrinsics",
    help="fx,fy,cx,cy[,width,height] in pixels counted from 0, of the first image's size unless width,height says "
    "another  [default: DATA/intrinsics.yaml]",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="model bundle to write")
def command(
    model: str,
    data: Path,
    split: str | None,
    frames: int,
    val: str | None,
    limit: int | None,
    max_loss: float,
    trial: str | None,
    intrinsics: str | None,
    out: Path,
) -> None:
    """Round a model's weights and activations to 8 bits, over ranges taken from some frames (no training).

    openvino and onnxruntime run the result; torch does not. With --val, it is scored on both runtimes, and layers that
    suffer stay float until the loss is small enough.
    """
    require("`quantize`", "onnx", "onnxruntime")
    from lcr_seg_ros.bundle import ModelBundle, refuse_other_suffix
    from lcr_seg_ros.training.datasets.split_digest import tell_of_frames_seen
    from lcr_seg_ros.training.quantize import write_quantized

    if val is None and (trial or limit):
        raise click.UsageError(f"{'--trial' if trial else '--limit'} needs --val: without it nothing is measured")
    refuse_folder(out)
    refuse_other_suffix(out)
    camera = parse_intrinsics(intrinsics) if intrinsics else None
    annotated = None if val is None else DatasetFolder(data, val, camera, limit)
    if annotated is not None and not annotated.has_labels:
        raise SourceError(f"{data} has no label40/ folder to score --val with")
    if val is not None:
        DatasetFolder(data, val).require_labels()
    if val is not None and trial is None:
        tell_of_frames_seen(ModelBundle.load(model), data, val)
    record = write_quantized(
        model,
        out,
        DatasetFolder(data, split, camera),
        split or "all images",
        frames,
        annotated,
        val or "",
        max_loss,
        trial,
    )
    for of_split, backends in record.get("scores", {}).items():
        for backend, scores in backends.items():
            before, after = scores["float"], scores["int8"]
            click.echo(
                f"{of_split}, {after['frames']} frames, {backend}: mean IU {100 * before['mean_iou']:.2f} -> "
                f"{100 * after['mean_iou']:.2f}, pixel accuracy {100 * before['pixel_acc']:.2f} -> "
                f"{100 * after['pixel_acc']:.2f}"
            )
    click.echo(f"int8, {record['attempt']}, calibrated on {record['calibration']['frames']} frames")
    click.echo(f"model bundle: {out}, {out.stat().st_size / 1e6:.1f} MB")
