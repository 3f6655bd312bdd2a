"""``map``: a semantic map of the frames of a folder, a bag or the rendered room."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import click
import numpy as np
import numpy.typing as npt
from click.shell_completion import CompletionItem
from tqdm import tqdm

from lcr_seg_ros.bundle import describe_model, find_model
from lcr_seg_ros.completion import complete_models, complete_splits, runtime_options
from lcr_seg_ros.errors import LcrSegError, SourceError
from lcr_seg_ros.files import replace_file
from lcr_seg_ros.frame import CameraIntrinsics, level_pose
from lcr_seg_ros.hha import HhaEncoder, HhaSettings
from lcr_seg_ros.json_output import JsonOutput, json_option
from lcr_seg_ros.mapping import DepthOdometry, MapError, MapSettings, VoxelMap, Voxels
from lcr_seg_ros.mapping.pictures import map_picture, small_png
from lcr_seg_ros.mapping.ply import write_ply
from lcr_seg_ros.mapping.progress import MapProgress, load_progress, save_progress
from lcr_seg_ros.mapping.settings import class_channels
from lcr_seg_ros.mapping.trajectory import PoseTable, read_poses, write_poses
from lcr_seg_ros.segmenter import Segmenter
from lcr_seg_ros.sources.bag import BagSource
from lcr_seg_ros.sources.folder import NYUDV2_INTRINSICS, DatasetFolder, parse_intrinsics
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.sources.source import SourceFrame

Source = DatasetFolder | BagSource | RenderedRoom
DepthImage = npt.NDArray[np.float32]

BAG_SUFFIXES = (".bag", ".mcap", ".db3")
BAG_FILES = re.compile(r"\.(bag|mcap|db3)(\.zstd)?$|^metadata\.yaml$")
PROGRESS_FILE = "map.npz"
FRAMES_BETWEEN_SAVES = 100
DEFAULTS = MapSettings()


def _complete_classes(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Classes of the model that the command line has named before, without those that it has asked for already."""
    try:
        names = describe_model(ctx.params.get("model") or "nyu40").labels.names
    except LcrSegError:  # of a mistyped model, which the command itself will report
        return []
    given = ctx.params.get(param.name or "") or ()
    return [CompletionItem(name) for name in names if name.startswith(incomplete) and name not in given]


@click.command(
    epilog="""\b
Examples:
  python -m lcr_seg_ros map --poses exact --out room_map              # the rendered room
  python -m lcr_seg_ros map --data recording.mcap --out kitchen_map
  python -m lcr_seg_ros map --data kitchen --intrinsics 585,585,320,240 --voxel-size 0.03
  python -m lcr_seg_ros map --data DIR --poses slam.txt --class floor --class chair --class table"""
)
@click.option(
    "--model",
    shell_complete=complete_models,
    default="nyu40",
    show_default=True,
    help="shipped name or path of a model bundle",
)
@click.option(
    "--data", type=click.Path(path_type=Path), help="folder or bag of consecutive frames  [default: the rendered room]"
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("map"), show_default=True, help="folder to write")
@click.option(
    "--poses",
    default="odometry",
    show_default=True,
    help="odometry: from depth; exact: of the rendered room; or a file, NAME tx ty tz qx qy qz qw a line",
)
@click.option(
    "--split",
    shell_complete=complete_splits,
    help="of a folder: name of a list, e.g. val for DATA/val.txt  [default: every image]",
)
@click.option(
    "--intrinsics",
    help="fx,fy,cx,cy[,width,height] in pixels counted from 0, of the first image's size unless width,height says "
    "another  [default: of the data]",
)
@click.option("--rgb-topic", help="of a bag: colour  [default: found by encoding and name]")
@click.option("--depth-topic", help="of a bag: depth registered to colour  [default: found by encoding and name]")
@click.option("--info-topic", help="of a bag: camera_info of the colour camera  [default: beside the colour topic]")
@click.option("--limit", type=click.IntRange(min=1), help="only the first so many frames")
@click.option("--frames", default=120, show_default=True, type=click.IntRange(min=1), help="of the rendered room")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="which rendered room")
@click.option("--voxel-size", default=DEFAULTS.voxel_size, show_default=True, help="edge of a voxel, m")
@click.option("--min-range", default=DEFAULTS.min_range, show_default=True, help="nearer points are left out, m")
@click.option("--max-range", default=DEFAULTS.max_range, show_default=True, help="farther points are left out, m")
@click.option(
    "--min-confidence", default=DEFAULTS.min_confidence, show_default=True, help="less certain points are left out"
)
@click.option("--min-views", default=DEFAULTS.min_views, show_default=True, help="frames that must have seen a voxel")
@click.option("--max-voxels", default=DEFAULTS.max_voxels, show_default=True, help="bounds the memory")
@click.option(
    "--class",
    "classes",
    shell_complete=_complete_classes,
    multiple=True,
    metavar="NAME",
    help="show this class only; repeatable",
)
@click.option("--resume/--no-resume", default=True, show_default=True, help="go on with what is in --out")
@json_option("the figures")
@runtime_options
def command(
    model: str,
    data: Path | None,
    out: Path,
    poses: str,
    split: str | None,
    intrinsics: str | None,
    rgb_topic: str | None,
    depth_topic: str | None,
    info_topic: str | None,
    limit: int | None,
    frames: int,
    seed: int,
    voxel_size: float,
    min_range: float,
    max_range: float,
    min_confidence: float,
    min_views: int,
    max_voxels: int,
    classes: tuple[str, ...],
    resume: bool,
    json_output: JsonOutput | None,
    backend: str,
    device: str,
) -> None:
    """Label consecutive frames and bring them together in one voxel map.

    Writes OUT/map.ply (one coloured point for each voxel, with its class id, for MeshLab, CloudCompare or Blender),
    OUT/map.png (the map from several sides), OUT/poses.txt (where the camera was) and OUT/map.npz, from which a run
    that was stopped continues.

    Odometry aligns depth with depth: consecutive frames, a camera that moves slowly, and more in view than one wall.
    """
    settings = MapSettings(voxel_size, min_range, max_range, min_confidence, min_views, max_voxels)
    topics = {"rgb_topic": rgb_topic, "depth_topic": depth_topic, "info_topic": info_topic}
    source = _open(data, split, intrinsics, topics, limit, frames, seed)
    if data is not None and out.resolve() == data.resolve():
        raise SourceError(f"--out {out} is what is read: choose another folder")
    table = _pose_table(poses, source)
    segmenter = Segmenter.load(model, backend=backend, device=device)
    class_channels(segmenter.labels, classes)  # reports a wrong name before the work begins
    if isinstance(source, DatasetFolder):
        source = source.with_hha(segmenter.bundle.input.reads_hha)
    identity = _Identity(source, model, split, poses, settings)
    file = out / PROGRESS_FILE
    progress = load_progress(file, identity.of_first, segmenter.labels, settings) if resume else None
    if progress is None:
        progress = MapProgress(VoxelMap(segmenter.labels, settings))
    elif progress.next_index >= min(len(source), limit or len(source)):
        had = progress.next_index
        click.echo(f"nothing new since the run before ({had} frames); --no-resume starts over", err=True)
    _add_frames(
        source, segmenter, table, progress, limit, lambda p: save_progress(file, p, identity.of_first(p.next_index))
    )
    voxels = progress.map.voxels(classes)
    write_ply(out / "map.ply", voxels, segmenter.labels)
    picture = map_picture(voxels, segmenter.labels, list(progress.trajectory.values()))
    replace_file(out / "map.png", small_png(picture))
    write_poses(out / "poses.txt", progress.trajectory)
    if json_output is not None:
        json_output.write(_figures(progress, voxels))
    _report(progress, voxels, out)


def _open(
    data: Path | None,
    split: str | None,
    intrinsics: str | None,
    topics: dict[str, str | None],
    limit: int | None,
    frames: int,
    seed: int,
) -> Source:
    is_bag = data is not None and (data.suffix in BAG_SUFFIXES or (data / "metadata.yaml").is_file())
    for name, topic in topics.items():
        if topic is not None and not is_bag:
            raise SourceError(f"--{name.replace('_', '-')} {topic} is for a bag, and --data names none")
    given = parse_intrinsics(intrinsics) if intrinsics else None
    if data is None:
        if split or intrinsics:
            raise SourceError("--split and --intrinsics belong to a dataset folder or bag: give --data as well")
        return RenderedRoom(frames, seed)
    if is_bag:
        if split:
            raise SourceError("--split belongs to a dataset folder, not to a bag")
        return BagSource(data, topics["rgb_topic"], topics["depth_topic"], topics["info_topic"], given, limit)
    folder = DatasetFolder(data, split, given)  # without the limit, as _Identity needs the files of all mapped frames
    if not folder.has_depth:
        raise SourceError(f"{data} has no depth/: a map is made of labels and depth")
    return folder


def _pose_table(poses: str, source: Source) -> PoseTable | None:
    """The given poses; None if odometry is to find them."""
    if poses == "odometry":
        return None
    if poses == "exact":
        if not isinstance(source, RenderedRoom):
            raise MapError("--poses exact is for the rendered room alone: give a file of poses, or odometry")
        return PoseTable({f"{i:05d}": source.pose(i) for i in range(len(source))})
    return PoseTable(read_poses(poses))


class _Identity:
    """Describes the data, model, poses and settings of a map.

    For a dataset folder, the number of frames is left out, as more may be added.
    """

    def __init__(self, source: Source, model: str, split: str | None, poses: str, settings: MapSettings) -> None:
        self._source = source
        self._files = hashlib.sha256()
        self._counted = 0
        self._parts: dict[str, object] = {
            "model": hashlib.sha256(find_model(model).read_bytes()).hexdigest(),
            "data": _data_identity(source, split),
            "poses": poses if poses in ("odometry", "exact") else hashlib.sha256(Path(poses).read_bytes()).hexdigest(),
            "settings": {name: value for name, value in asdict(settings).items() if name != "min_views"},
        }

    def of_first(self, frames: int) -> str:
        """The identity of a map of the first ``frames`` frames.

        In successive calls, ``frames`` must not decrease: each file is examined only once.
        """
        if isinstance(self._source, DatasetFolder):
            for name in self._source.names[self._counted : frames]:
                self._files.update(json.dumps([name, *map(_state_of, self._source.files(name))]).encode())
                self._counted += 1
        return json.dumps(self._parts | {"files": self._files.hexdigest()}, sort_keys=True)


def _data_identity(source: Source, split: str | None) -> list[object]:
    if isinstance(source, RenderedRoom):
        return ["room", len(source), source.seed]
    path = str(source.path.resolve())
    camera = asdict(source.intrinsics or NYUDV2_INTRINSICS)
    if isinstance(source, DatasetFolder):
        return [path, camera, split]
    files = sorted(source.path.iterdir()) if source.path.is_dir() else [source.path]
    states = [_state_of(file) for file in files if BAG_FILES.search(file.name)]
    return [path, camera, source.rgb_topic, source.depth_topic, states]


def _state_of(file: Path) -> list[object]:
    """Name, size and modification time, which change if the content changes, without reading the file."""
    status = file.stat()
    return [file.name, status.st_size, status.st_mtime_ns]


def _add_frames(
    source: Source,
    segmenter: Segmenter,
    table: PoseTable | None,
    progress: MapProgress,
    limit: int | None,
    save: Callable[[MapProgress], None],
) -> None:
    end = min(len(source), limit or len(source))
    start = progress.next_index
    needed = {progress.odometry.key_index, progress.odometry.last_index} if progress.odometry else set()
    kept: dict[int, DepthImage] = {}
    odometry: DepthOdometry | None = None
    with tqdm(total=end, initial=min(start, end), desc="map", unit="frame", leave=False, disable=None) as bar:
        for index, item in _indexed(source, needed, start, end):
            depth_m, camera = _depth_and_intrinsics(item)
            if index < start:
                kept[index] = depth_m
                continue
            if table is not None:
                pose = table.find(item.name)
            else:
                odometry = odometry or _odometry(depth_m, camera, progress, kept)
                pose = odometry.track(depth_m, index)
                progress.odometry = odometry.state
            if pose is None:
                progress.lost += 1
            else:
                result = segmenter.segment(item.frame)
                progress.map.integrate_frame(depth_m, camera, result.labels, pose, result.confidence, item.frame.rgb)
                progress.trajectory[item.name] = pose
            progress.next_index = index + 1
            bar.update()
            if (index + 1) % FRAMES_BETWEEN_SAVES == 0:
                save(progress)
    if progress.next_index > start:
        save(progress)


def _indexed(source: Source, needed: set[int], start: int, end: int) -> Iterator[tuple[int, SourceFrame]]:
    """(index, frame) of the frames in ``needed``, and of those from ``start`` to ``end - 1``."""
    if isinstance(source, BagSource):
        for index, item in enumerate(source):
            if index >= end:
                return
            if index >= start or index in needed:
                yield index, item
        return
    for index in (*sorted(needed), *range(start, end)):
        yield index, source[index]


def _odometry(
    depth_m: DepthImage, camera: CameraIntrinsics, progress: MapProgress, kept: dict[int, DepthImage]
) -> DepthOdometry:
    """An odometry that resumes from the progress, or else a new one, whose world has z up."""
    if progress.odometry is not None:
        odometry = DepthOdometry(camera)
        odometry.resume(progress.odometry, kept[progress.odometry.key_index], kept[progress.odometry.last_index])
        return odometry
    encoder = HhaEncoder(settings=HhaSettings(gravity_estimate="refined"))
    return DepthOdometry(camera, pose=level_pose(encoder.encode_frame(depth_m, camera).gravity.down))


def _depth_and_intrinsics(item: SourceFrame) -> tuple[DepthImage, CameraIntrinsics]:
    frame = item.frame
    if frame.depth_m is None or frame.intrinsics is None:
        raise SourceError(f"frame {item.name} has no depth, or no intrinsics: a map needs both")
    return frame.depth_m, frame.intrinsics


def _figures(progress: MapProgress, voxels: Voxels) -> dict[str, object]:
    labels = progress.map.labels
    counts = np.bincount(voxels.labels, minlength=256)
    way = np.array([pose[:3, 3] for pose in progress.trajectory.values()]).reshape(-1, 3)
    return {
        "frames": progress.map.frames,
        "frames_lost": progress.lost,
        "voxels": len(voxels),
        "voxels_kept": len(progress.map),
        "voxels_forgotten": progress.map.forgotten,
        "voxel_size_m": progress.map.settings.voxel_size,
        "megabytes": progress.map.nbytes / 1e6,
        "way_m": float(np.linalg.norm(np.diff(way, axis=0), axis=1).sum()),
        "classes": {c.name: int(counts[c.id]) for c in labels.classes if counts[c.id]},
    }


def _report(progress: MapProgress, voxels: Voxels, out: Path) -> None:
    click.echo(
        f"{len(voxels)} voxels of {progress.map.settings.voxel_size:g} m from {progress.map.frames} frames: "
        f"{out / 'map.ply'}, picture {out / 'map.png'}, poses {out / 'poses.txt'}"
    )
    if progress.lost:
        seen = progress.map.frames + progress.lost
        click.echo(
            f"warning: the pose of {progress.lost} of {seen} frames is not known, they are left out: odometry needs "
            "consecutive frames of a slow camera, a file of poses the same names as the frames",
            err=True,
        )
    if progress.map.forgotten:
        click.echo(
            f"warning: {progress.map.forgotten} voxels seen longest ago were given up: raise --max-voxels or "
            "--voxel-size",
            err=True,
        )
    if not len(voxels):
        click.echo("warning: the map is empty: lower --min-views or --min-confidence, or raise --max-range", err=True)
