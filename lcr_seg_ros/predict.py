"""``predict``: the node's result for the images of a folder, offline."""

from __future__ import annotations

from pathlib import Path

import click
from tqdm import tqdm

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.render import sheet, write_image
from lcr_seg_ros.segmenter import Segmenter
from lcr_seg_ros.sources.folder import DatasetFolder, parse_intrinsics, write_png


@click.command(
    epilog="""\b
Examples:
  python -m lcr_seg_ros predict --data nyudv2 --split val --out labels
  python -m lcr_seg_ros predict --data kitchen --intrinsics 585,585,320,240 --limit 60 --sheets"""
)
@click.option("--model", default="nyu40", show_default=True, help="shipped name or path of a model bundle")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="dataset folder with rgb/ and depth/")
@click.option("--split", help="name of a list, e.g. val for DATA/val.txt  [default: every image]")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("predictions"), show_default=True, help="folder to write"
)
@click.option(
    "--intrinsics", help="fx,fy,cx,cy[,width,height] in pixels counted from 0  [default: DATA/intrinsics.yaml]"
)
@click.option("--limit", type=click.IntRange(min=1), help="only the first so many frames")
@click.option("--sheets", is_flag=True, help="also write RGB | HHA | labels | overlay pictures")
@click.option("--backend", default="auto", show_default=True)
@click.option("--device", default="auto", show_default=True)
def command(
    model: str,
    data: Path,
    split: str | None,
    out: Path,
    intrinsics: str | None,
    limit: int | None,
    sheets: bool,
    backend: str,
    device: str,
) -> None:
    """Write one label image for each frame: OUT/labels/NAME.png, 8-bit class ids at the size of the image.

    The ids are those of the model's label set, the same that the node publishes.
    """
    folder = DatasetFolder(data, split, parse_intrinsics(intrinsics) if intrinsics else None, limit)
    if out.resolve() == data.resolve():
        raise SourceError(f"--out {out} is the dataset itself: choose another folder")
    segmenter = Segmenter.load(model, backend=backend, device=device)
    for item in tqdm(folder, desc="predict", unit="frame", leave=False, disable=None):
        result = segmenter.segment(item.frame)
        write_png(out / "labels" / f"{item.name}.png", result.labels)
        if sheets:
            picture = sheet(item.frame.rgb, result.hha, result.labels, segmenter.labels, item.labels, item.name)
            write_image(out / "sheets" / f"{item.name}.jpg", picture)
    click.echo(
        f"{len(folder)} label images in {out / 'labels'}" + (f", pictures in {out / 'sheets'}" if sheets else "")
    )
