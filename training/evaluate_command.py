"""``evaluate``: scores of a model on an annotated dataset folder."""

from __future__ import annotations

import json
from pathlib import Path

import click

from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.files import replace_file
from lcr_seg_ros.sources.folder import DatasetFolder, parse_intrinsics
from lcr_seg_ros.training.evaluate import evaluate_bundle


@click.command(
    epilog="""\b
Examples:
  python -m lcr_seg_ros evaluate --data nyudv2 --split val
  python -m lcr_seg_ros evaluate --model runs/mine/model.lcrseg --data mine --split val --json scores.json"""
)
@click.option("--model", default="nyu40", show_default=True, help="shipped name or path of a model bundle")
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="dataset folder with rgb/, depth/ and label40/"
)
@click.option("--split", help="name of a list, e.g. val for DATA/val.txt  [default: every image]")
@click.option(
    "--intrinsics", help="fx,fy,cx,cy[,width,height] in pixels counted from 0  [default: DATA/intrinsics.yaml]"
)
@click.option("--limit", type=click.IntRange(min=1), help="only the first so many frames")
@click.option("--json", "json_path", type=click.Path(path_type=Path), help="also write the scores here")
@click.option("--backend", default="auto", show_default=True)
@click.option("--device", default="auto", show_default=True)
def command(
    model: str,
    data: Path,
    split: str | None,
    intrinsics: str | None,
    limit: int | None,
    json_path: Path | None,
    backend: str,
    device: str,
) -> None:
    """Pixel accuracy, mean accuracy, mean IU and frequency-weighted IU, from one confusion matrix over the set.

    Labels are compared at the label image's own size; void pixels are dropped.
    """
    folder = DatasetFolder(data, split, parse_intrinsics(intrinsics) if intrinsics else None, limit)
    scores = evaluate_bundle(model, folder, backend, device)
    classes = ModelBundle.load(model).labels.classes
    for c, iou in zip(classes, scores["per_class_iou"], strict=True):
        click.echo(f"  {c.name:<16} {'   -' if iou is None else f'{100 * iou:5.1f}'}")
    click.echo(
        f"{scores['frames']} frames: pixel accuracy {100 * scores['pixel_acc']:.2f}, mean accuracy "
        f"{100 * scores['mean_acc']:.2f}, mean IU {100 * scores['mean_iou']:.2f}, fw IU {100 * scores['fw_iou']:.2f}"
    )
    if json_path is not None:
        replace_file(json_path, (json.dumps(scores, indent=1) + "\n").encode())
