"""``prepare``: make dataset folders."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def command() -> None:
    """Make dataset folders that train, evaluate, predict and play read."""


@command.command(
    epilog="""\b
Example:
  python -m lcr_seg_ros prepare rooms --out rooms --rooms 8 --frames 20"""
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="folder to write")
@click.option("--rooms", default=8, show_default=True, type=click.IntRange(min=1))
@click.option("--frames", default=20, show_default=True, type=click.IntRange(min=1), help="frames of each room")
@click.option("--first-seed", default=0, show_default=True, type=click.IntRange(min=0))
def rooms(out: Path, rooms: int, frames: int, first_seed: int) -> None:
    """Render furnished rooms as an annotated dataset: OUT/rgb, OUT/depth, OUT/label40, OUT/all.txt."""
    from dataclasses import replace

    from tqdm import tqdm

    from lcr_seg_ros.files import replace_file
    from lcr_seg_ros.sources.folder import write_folder
    from lcr_seg_ros.sources.rooms import RenderedRoom

    names = []
    for seed in tqdm(range(first_seed, first_seed + rooms), desc="rendering", unit="room", leave=False, disable=None):
        frames_of_room = [
            replace(item, name=f"{seed:04d}_{item.name}") for item in RenderedRoom(frames=frames, seed=seed)
        ]
        names += write_folder(frames_of_room, out)
    replace_file(out / "all.txt", ("\n".join(names) + "\n").encode())
    click.echo(f"{len(names)} frames in {out}")
