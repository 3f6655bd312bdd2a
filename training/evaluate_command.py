"""``evaluate``: score a model on an annotated dataset folder."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import click

from lcr_seg_ros.completion import complete_labels, complete_models, complete_splits, runtime_options
from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.extras import require
from lcr_seg_ros.files import make_folder
from lcr_seg_ros.json_output import JsonOutput, json_option
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.sources.folder import DatasetFolder, parse_intrinsics
from lcr_seg_ros.training.datasets.nyudv2_crop import NYUDV2_WINDOW
from lcr_seg_ros.training.datasets.split_digest import tell_of_frames_seen
from lcr_seg_ros.training.evaluate import (
    BOUNDARY_RADII_PX,
    DEPTHS,
    evaluate,
    load_segmenter,
    measure_flicker,
)


@click.command(
    epilog="""\b
Examples:
  python -m lcr_seg_ros evaluate --model models/nyu40_fit.lcrseg --data nyudv2 --split val
  python -m lcr_seg_ros evaluate --model runs/mine/model.lcrseg --data mine --split val --json scores.json
  python -m lcr_seg_ros evaluate --model nyu4 --data nyudv2 --labels nyu40 --split val
  python -m lcr_seg_ros evaluate --model runs/mine/model.lcrseg --data mine --split val --report scores
  python -m lcr_seg_ros evaluate --data kitchen --intrinsics 585,585,320,240 --flicker"""
)
@click.option(
    "--model",
    shell_complete=complete_models,
    default="nyu40",
    show_default=True,
    help="shipped name or path of a model bundle",
)
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="dataset folder with rgb/, depth/ and label40/"
)
@click.option(
    "--split", shell_complete=complete_splits, help="name of a list, e.g. val for DATA/val.txt  [default: every image]"
)
@click.option(
    "--intrinsics",
    help="fx,fy,cx,cy[,width,height] in pixels counted from 0, of the first image's size unless width,height says "
    "another  [default: DATA/intrinsics.yaml]",
)
@click.option(
    "--labels",
    shell_complete=complete_labels,
    help="label set of the label images, if its classes have to be grouped to the model's",
)
@click.option("--limit", type=click.IntRange(min=1), help="only the first so many frames")
@click.option("--boundary", is_flag=True, help="also mean IU within 3 and 7 px of the boundaries between classes")
@click.option("--crop", is_flag=True, help="cut 640x480 frames to rows 46..470, columns 41..600 (425x560) first")
@click.option(
    "--depth",
    type=click.Choice(DEPTHS),
    default="given",
    show_default=True,
    help="worn: with another camera's noise and holes; none: as if the sensor saw nothing",
)
@click.option("--flip-test", is_flag=True, help="average the probabilities of each image and its mirror image")
@click.option(
    "--flicker", is_flag=True,
    help="also the share of pixels that change class from frame to frame of a sequence; needs no label images",
)  # fmt: skip
@json_option("the scores")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    help="folder for tables, charts, best and worst frames; with --boundary",
)
@runtime_options
def command(
    model: str,
    data: Path,
    split: str | None,
    intrinsics: str | None,
    labels: str | None,
    limit: int | None,
    boundary: bool,
    crop: bool,
    depth: str,
    flip_test: bool,
    flicker: bool,
    json_output: JsonOutput | None,
    report: Path | None,
    backend: str,
    device: str,
) -> None:
    """Pixel accuracy, mean accuracy, mean IU and frequency-weighted IU, from one confusion matrix over the set.

    Labels are compared at the label image's own size; void pixels are dropped.

    \b
    JSON keys: pixel_acc, mean_acc, mean_iou, fw_iou, per_class_iou, frames, calibration_error (expected difference
    of confidence and accuracy) and reliability (the same by confidence); with --boundary also boundary and
    rare_iou (classes under 1 % of the pixels); with --flicker also flicker. A folder without label images gives
    flicker and frames only. All are fractions of 1.
    """
    folder = DatasetFolder(data, split, parse_intrinsics(intrinsics) if intrinsics else None, limit)
    if not folder.has_labels and (not flicker or report or boundary or crop):
        raise SourceError(
            f"{data} has no label40/ folder to compare with: without annotation only --flicker can be measured"
        )
    if labels and report:
        raise click.UsageError("--report shows label images of the model's own classes: make them with prepare relabel")
    if flicker and (crop or depth != "given"):
        raise click.UsageError("--flicker is measured on whole frames as they are: leave out --crop and --depth")
    if report is not None:
        require("`evaluate --report`", "matplotlib")  # before minutes of scoring, not after them
        make_folder(report)
    segmenter = load_segmenter(model, backend, device, flip_test)
    if depth != "given" and not segmenter.bundle.input.uses_depth:
        raise click.UsageError(f"{model} looks at no depth: --depth {depth} would change nothing")
    if depth != "given" and segmenter.bundle.input.reads_hha and folder.has_hha:
        raise click.UsageError(f"{model} looks at the HHA images in {data}: --depth {depth} would change nothing")
    if folder.has_labels:
        folder.require_labels()
        tell_of_frames_seen(segmenter.bundle, data, split)
    window = NYUDV2_WINDOW if crop else None
    scores: dict[str, Any] = {"frames": len(folder)}
    evaluation = None
    if folder.has_labels:
        radii = BOUNDARY_RADII_PX if boundary or report else ()
        evaluation = evaluate(segmenter, folder, radii, window, LabelSet.load(labels) if labels else None, depth)
        scores = evaluation.scores()
    if flicker:
        scores["flicker"] = measure_flicker(segmenter, folder)
    _print(scores, segmenter.labels)
    if json_output is not None:
        json_output.write(scores)
    if report is not None and evaluation is not None:
        from lcr_seg_ros.training.evaluate_report import write_evaluation_report

        how = [
            f"model {model} ({segmenter.bundle.name}), run by {segmenter.backend_name} on {segmenter.device}",
            f"data {data.name}, split {split or 'all images'}, {len(folder)} frames, {date.today().isoformat()}",
            "frames cut to 425x560" if crop else "frames at full size",
            f"depth {depth}",
            "mean of each image and its mirror image" if flip_test else "each image once",
        ]
        write_evaluation_report(report, evaluation, scores, segmenter, folder, window, how, depth)
        click.echo(f"report: {report / 'report.md'}")


def _print(scores: dict[str, Any], labels: LabelSet) -> None:
    if "per_class_iou" in scores:
        for c, iou in zip(labels.classes, scores["per_class_iou"], strict=True):
            click.echo(f"  {c.name:<16} {'   -' if iou is None else f'{100 * iou:5.1f}'}")
        click.echo(
            f"{scores['frames']} frames: pixel accuracy {100 * scores['pixel_acc']:.2f}, mean accuracy "
            f"{100 * scores['mean_acc']:.2f}, mean IU {100 * scores['mean_iou']:.2f}, fw IU "
            f"{100 * scores['fw_iou']:.2f}, calibration error {scores['calibration_error']:.3f}"
        )
    for radius, band in scores.get("boundary", {}).items():
        click.echo(
            f"within {radius} px of a boundary ({100 * band['share']:.1f} % of the pixels): mean IU "
            f"{100 * band['mean_iou']:.2f}, pixel accuracy {100 * band['pixel_acc']:.2f}"
        )
    if scores.get("rare_iou") is not None:
        click.echo(f"classes under 1 % of the pixels: mean IU {100 * scores['rare_iou']:.2f}")
    if "flicker" in scores:
        click.echo(
            f"{scores['frames']} frames in order: {100 * scores['flicker']:.2f} % of the pixels change class from one "
            "to the next (motion not compensated)"
        )
