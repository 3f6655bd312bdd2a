"""``predict``: label the images of a folder offline, with the same result as the node."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import click
from tqdm import tqdm

from lcr_seg_ros.completion import complete_models, complete_splits, runtime_options
from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.files import refuse_no_folder
from lcr_seg_ros.labels import LabelSet, folder_label_set
from lcr_seg_ros.render import sheet, write_image
from lcr_seg_ros.segmenter import Segmenter
from lcr_seg_ros.sources.folder import DatasetFolder, parse_intrinsics, write_png
from lcr_seg_ros.video import VideoFile

if TYPE_CHECKING:
    from lcr_seg_ros.viewer import SegmentationView

VIDEO_HEIGHT = 440
"""In pixels: the panels and four rows of the legend, which varies in length from frame to frame."""


@click.command(
    epilog="""\b
Examples:
  python -m lcr_seg_ros predict --data nyudv2 --split val --out labels
  python -m lcr_seg_ros predict --data kitchen --intrinsics 585,585,320,240 --limit 60 --sheets
  python -m lcr_seg_ros predict --data kitchen --intrinsics 585,585,320,240 --video kitchen.mp4
  python -m lcr_seg_ros predict --data kitchen --rrd kitchen.rrd

\b
A recording is shown by rerun. It listens on this machine only with --bind, and reports its use until told not to:
  rerun analytics disable
  rerun --bind 127.0.0.1 kitchen.rrd"""
)
@click.option(
    "--model",
    shell_complete=complete_models,
    default="nyu40",
    show_default=True,
    help="shipped name or path of a model bundle",
)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="dataset folder with rgb/ and depth/")
@click.option(
    "--split", shell_complete=complete_splits, help="name of a list, e.g. val for DATA/val.txt  [default: every image]"
)
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("predictions"), show_default=True, help="folder to write"
)
@click.option(
    "--intrinsics",
    help="fx,fy,cx,cy[,width,height] in pixels counted from 0, of the first image's size unless width,height says "
    "another  [default: DATA/intrinsics.yaml]",
)
@click.option("--limit", type=click.IntRange(min=1), help="only the first so many frames")
@click.option("--sheets", is_flag=True, help="also write RGB | HHA | labels | overlay pictures")
@click.option("--video", type=click.Path(dir_okay=False, path_type=Path), help="also those as FILE.mp4, .webm or .avi")
@click.option("--fps", default=30.0, show_default=True, type=click.FloatRange(0.1, 240), help="of the video")
@click.option("--rrd", type=click.Path(dir_okay=False, path_type=Path), help="also record for rerun: FILE.rrd")
@runtime_options
def command(
    model: str,
    data: Path,
    split: str | None,
    out: Path,
    intrinsics: str | None,
    limit: int | None,
    sheets: bool,
    video: Path | None,
    fps: float,
    rrd: Path | None,
    backend: str,
    device: str,
) -> None:
    """Write one label image for each frame: OUT/labels/NAME.png, 8-bit class ids at the size of the image.

    The ids are those of the model's label set, the same that the node publishes.
    """
    folder = DatasetFolder(data, split, parse_intrinsics(intrinsics) if intrinsics else None, limit)
    if out.resolve() == data.resolve():
        raise SourceError(f"--out {out} is the dataset itself: choose another folder")
    refuse_no_folder(out)
    segmenter = Segmenter.load(model, backend=backend, device=device)
    folder = folder.with_hha(segmenter.bundle.input.reads_hha)
    shows_truth = (sheets or video is not None) and folder.has_labels and _fits(data, segmenter.labels)
    with ExitStack() as ending:
        film = None if video is None else ending.enter_context(VideoFile(video, fps, VIDEO_HEIGHT))
        view = None if rrd is None else _recorded_view(rrd, segmenter, ending)
        for number, item in enumerate(tqdm(folder, desc="predict", unit="frame", leave=False, disable=None)):
            result = segmenter.segment(item.frame)
            write_png(out / "labels" / f"{item.name}.png", result.labels)
            if sheets or film is not None:
                truth = item.labels if shows_truth else None
                picture = sheet(item.frame.rgb, result.hha, result.labels, segmenter.labels, truth, item.name)
                if sheets:
                    write_image(out / "sheets" / f"{item.name}.jpg", picture)
                if film is not None:
                    film.add(picture)
            if view is not None:
                view.show_frame(number, item.frame, result)
    results = [f"{len(folder)} label images in {out / 'labels'}"]
    results += [f"pictures in {out / 'sheets'}"] if sheets else []
    results += [f"video: {video}"] if video else []
    results += [f"recording: {rrd}"] if rrd else []
    click.echo(", ".join(results))


def _fits(data: Path, labels: LabelSet) -> bool:
    """Whether a folder's annotation can stand beside labels of this set, under one legend; if not, says so."""
    annotated = folder_label_set(data) or LabelSet.load("nyu40")
    if annotated.reads_as(labels):
        return True
    click.echo(
        f"the annotation is left out of the pictures: {data} is annotated with label set {annotated.name}, the model's "
        f"is {labels.name}",
        err=True,
    )
    return False


def _recorded_view(path: Path, segmenter: Segmenter, ending: ExitStack) -> SegmentationView:
    """A view that is recorded to ``path``; the file gets its name when ``ending`` closes without an error."""
    from lcr_seg_ros.viewer import RecordingFile, SegmentationView

    recording = ending.enter_context(RecordingFile(path))
    view = SegmentationView(segmenter.labels, [recording.sink()], timeline="frame")
    ending.callback(view.close)
    return view
