"""``hha``: HHA images of a dataset folder as PNG files, and pictures that explain them."""

from __future__ import annotations

from pathlib import Path

import click
import cv2
import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from lcr_seg_ros.completion import complete_splits
from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.hha import HhaEncoder, HhaImage, HhaSettings
from lcr_seg_ros.hha.definition import MIN_DEPTH_M
from lcr_seg_ros.hha.encoder import MODES
from lcr_seg_ros.hha.settings import FLOORS, GRAVITY_ESTIMATES, SMOOTHINGS
from lcr_seg_ros.hha_pictures import (
    angle_panel,
    depth_panel,
    describe,
    disparity_panel,
    explain_frame,
    grid,
    height_panel,
    panel,
    text_panel,
)
from lcr_seg_ros.render import write_image
from lcr_seg_ros.sources.folder import (
    DEPTH_FOLDER,
    LABEL_FOLDER,
    RGB_FOLDER,
    DatasetFolder,
    parse_intrinsics,
    write_png,
)
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.sources.rooms.camera import look

Image = npt.NDArray[np.uint8]

PAGE_FRAME = 30
"""Frame of the rendered room that ``docs/hha.md`` shows."""

COARSE_STEP_M = 0.039
"""Step of depth that was stored in 8 bits over 10 m, as in some copies of NYUDv2."""

STEEP_DEG = 60.0
"""Downward pitch at which an estimate that starts from an upright camera must fail."""


@click.command(
    epilog="""\b
Examples:
  python -m lcr_seg_ros hha --data nyudv2 --split val --out hha
  python -m lcr_seg_ros hha --data kitchen --frame 000060 --explain
  python -m lcr_seg_ros hha --explain --out docs/images     # the pictures of docs/hha.md"""
)
@click.option("--data", type=click.Path(path_type=Path), help="dataset folder  [default: the rendered room]")
@click.option(
    "--split", shell_complete=complete_splits, help="name of a list, e.g. val for DATA/val.txt  [default: every image]"
)
@click.option("--frame", help="only the frame of this name")
@click.option("--limit", type=click.IntRange(min=1), help="only the first so many frames")
@click.option("--out", type=click.Path(path_type=Path), default=Path("hha"), show_default=True, help="folder to write")
@click.option(
    "--intrinsics",
    help="fx,fy,cx,cy[,width,height] in pixels counted from 0, of the first image's size unless width,height says "
    "another  [default: DATA/intrinsics.yaml]",
)
@click.option("--mode", type=click.Choice(MODES), default="fast", show_default=True, help="how HHA is computed")
@click.option("--floor", type=click.Choice(FLOORS), default="min", show_default=True, help="where heights count from")
@click.option(
    "--smoothing", type=click.Choice(SMOOTHINGS), default="off", show_default=True, help="of depth in coarse steps"
)
@click.option(
    "--gravity-estimate",
    type=click.Choice(GRAVITY_ESTIMATES),
    default="reference",
    show_default=True,
    help="refined is nearer to the truth, reference what others have used",
)
@click.option("--explain", is_flag=True, help="also pictures: RGB and gravity, depth, the channels with their scales")
def command(
    data: Path | None,
    split: str | None,
    frame: str | None,
    limit: int | None,
    out: Path,
    intrinsics: str | None,
    mode: str,
    floor: str,
    smoothing: str,
    gravity_estimate: str,
    explain: bool,
) -> None:
    """Write the HHA image of each frame: OUT/NAME.png, 8-bit RGB.

    Red is the horizontal disparity, green the height above ground in cm, blue the angle with gravity, as in the files
    of Gupta et al. Gravity is estimated from each frame by itself. Pictures go to OUT/explained; without --data,
    --explain makes the pictures of docs/hha.md in OUT instead.
    """
    if data is None and (split or intrinsics):
        raise SourceError("--split and --intrinsics belong to a dataset folder: give --data as well")
    if data is None and explain:
        pictures = page_pictures(RenderedRoom(), mode)
        for name, picture in pictures.items():
            write_image(out / f"{name}.jpg", picture)
        click.echo(f"{len(pictures)} pictures in {out}: {', '.join(pictures)}")
        return
    source = RenderedRoom() if data is None else _folder(data, split, intrinsics, out)
    encoder = HhaEncoder(mode, HhaSettings(floor=floor, smoothing=smoothing, gravity_estimate=gravity_estimate))
    chosen = _chosen(source, frame)[:limit]
    doubtful = 0
    for index in tqdm(chosen, desc="hha", unit="frame", leave=False, disable=None):
        item = source[index]
        hha = _encode(encoder, item.frame)
        write_png(out / f"{item.name}.png", cv2.cvtColor(hha.image, cv2.COLOR_RGB2BGR))
        doubtful += not hha.gravity.confident
        if explain:
            write_image(out / "explained" / f"{item.name}.jpg", explain_frame(item.frame, hha, item.name))
    click.echo(f"{len(chosen)} HHA images in {out}" + (f", pictures in {out / 'explained'}" if explain else ""))
    if doubtful:
        where = f"see {out / 'explained'}" if explain else "--explain shows it and says why"
        click.echo(f"{doubtful} of them {'has' if doubtful == 1 else 'have'} a gravity that may be wrong: {where}")


def page_pictures(room: RenderedRoom, mode: str = "fast") -> dict[str, Image]:
    """The pictures of ``docs/hha.md`` by name: the channels of one frame, and one picture of each kind of failure."""
    item = room[PAGE_FRAME]
    pose = room.pose(PAGE_FRAME)
    return {
        "hha_channels": explain_frame(item.frame, _encode(HhaEncoder(mode), item.frame)),
        "hha_holes": _holes(item.frame, mode),
        "hha_pitch": _pitch(room, pose, mode),
        "hha_coarse": _coarse(item.frame, mode),
    }


def _holes(frame: RgbdFrame, mode: str) -> Image:
    """Filled holes, and holes left at 0 m, which then count as the nearest depth of all."""
    depth_m, intrinsics = _depth_and_intrinsics(frame)
    encoder = HhaEncoder(mode)
    filled = encoder.encode(depth_m, intrinsics)
    holes = ~(depth_m > 0)
    gravity = encoder.estimate_gravity(depth_m, intrinsics)
    unfilled = encoder.encode(np.where(holes, np.float32(MIN_DEPTH_M), depth_m), intrinsics, ~holes, gravity)
    return grid(
        [
            [
                depth_panel("depth of a Kinect (holes grey)", depth_m),
                disparity_panel("disparity, holes left at 0 m", unfilled),
                disparity_panel("disparity, holes filled", filled),
            ],
            [
                panel("RGB", frame.rgb),
                height_panel("height, holes left at 0 m", unfilled),
                height_panel("height, holes filled", filled),
            ],
        ]
    )


def _pitch(room: RenderedRoom, pose: npt.NDArray[np.float64], mode: str) -> Image:
    """A camera that looks steeply down: with given gravity, and with gravity estimated from an upright start."""
    tilted = pose.copy()
    forward = pose[:3, 2]
    tilted[:3, :3] = look(np.arctan2(forward[1], forward[0]), np.radians(-STEEP_DEG), 0.0)
    depth_m = room.depth_from(tilted)
    encoder = HhaEncoder(mode)
    down = -tilted[2, :3]
    right = encoder.encode(depth_m, room.intrinsics, gravity=down)
    wrong = encoder.encode_frame(depth_m, room.intrinsics)
    off_deg = np.degrees(np.arccos(np.clip(wrong.gravity.down @ down, -1, 1)))
    return grid(
        [
            [
                depth_panel(f"depth, camera looks {STEEP_DEG:.0f} deg down", depth_m),
                angle_panel("angle, gravity from an IMU", right),
                angle_panel(f"angle, gravity estimated: {off_deg:.0f} deg off", wrong.image),
            ],
            [
                text_panel(
                    [
                        "the estimate says:",
                        describe(wrong.gravity),
                        "in doubt:" if wrong.gravity.doubt else "",
                        wrong.gravity.doubt,
                    ]
                ),
                height_panel("height, gravity from an IMU", right),
                height_panel("height, gravity estimated", wrong.image),
            ],
        ]
    )


def _coarse(frame: RgbdFrame, mode: str) -> Image:
    """The angle channel from depth in steps of 39 mm, without and with smoothing."""
    depth_m, intrinsics = _depth_and_intrinsics(frame)
    steps = np.round(depth_m / np.float32(COARSE_STEP_M)) * np.float32(COARSE_STEP_M)
    plain, smoothing = (HhaEncoder(mode, HhaSettings(smoothing=how)) for how in ("off", "on"))
    gravity = plain.estimate_gravity(depth_m, intrinsics)
    return grid(
        [
            [
                angle_panel("angle, depth of a Kinect", plain.encode(depth_m, intrinsics, gravity=gravity)),
                angle_panel("angle, depth in steps of 39 mm", plain.encode(steps, intrinsics, gravity=gravity)),
                angle_panel("the same, smoothed first", smoothing.encode(steps, intrinsics, gravity=gravity)),
            ]
        ]
    )


def _folder(data: Path, split: str | None, intrinsics: str | None, out: Path) -> DatasetFolder:
    folder = DatasetFolder(data, split, parse_intrinsics(intrinsics) if intrinsics else None)
    if not folder.has_depth:
        raise SourceError(f"{data} has no {DEPTH_FOLDER}/ to make HHA from")
    if out.resolve() in {(data / name).resolve() for name in (".", RGB_FOLDER, DEPTH_FOLDER, LABEL_FOLDER)}:
        raise SourceError(f"--out {out} holds the dataset's own images: choose another folder")
    return folder


def _chosen(source: DatasetFolder | RenderedRoom, name: str | None) -> list[int]:
    names = source.names if isinstance(source, DatasetFolder) else [f"{i:05d}" for i in range(len(source))]
    if name is None:
        return list(range(len(names)))
    if name not in names:
        raise SourceError(f"no frame is called {name!r}: there are {len(names)}, {names[0]} to {names[-1]}")
    return [names.index(name)]


def _encode(encoder: HhaEncoder, frame: RgbdFrame) -> HhaImage:
    depth_m, intrinsics = _depth_and_intrinsics(frame)
    return encoder.encode_frame(depth_m, intrinsics)


def _depth_and_intrinsics(frame: RgbdFrame) -> tuple[npt.NDArray[np.float32], CameraIntrinsics]:
    assert frame.depth_m is not None and frame.intrinsics is not None  # both sources provide them
    return frame.depth_m, frame.intrinsics
