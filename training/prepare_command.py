"""``prepare``: make dataset folders."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lcr_seg_ros.completion import complete_labels, complete_recipes
from lcr_seg_ros.errors import SourceError

if TYPE_CHECKING:
    from lcr_seg_ros.hha import HhaSettings

_USUAL_RECIPE = "nyu40"
_LAYOUTS = ("fcn", "rgb_hha_label", "esanet", "folder")


@click.group(
    epilog="""\b
Examples:
  python -m lcr_seg_ros prepare rooms --out rooms --rooms 8 --frames 20
  python -m lcr_seg_ros prepare nyudv2 --download --out nyudv2
  python -m lcr_seg_ros prepare NAME --help"""
)
def command() -> None:
    """Make dataset folders that train, evaluate, predict and play read."""


@command.command(
    short_help="rendered, annotated rooms",
    epilog="""\b
Examples:
  python -m lcr_seg_ros prepare rooms --out rooms --rooms 8 --frames 20
  python -m lcr_seg_ros prepare rooms --out mine --rooms 6 --val-rooms 2 --labels my_classes.yaml""",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="folder to write")
@click.option("--rooms", default=8, show_default=True, type=click.IntRange(min=1))
@click.option("--frames", default=20, show_default=True, type=click.IntRange(min=1), help="frames of each room")
@click.option("--first-seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option(
    "--val-rooms",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="the last so many rooms go to val.txt, the others to fit.txt",
)
@click.option(
    "--labels",
    shell_complete=complete_labels,
    help="label set of your own, made of those of nyu40 (docs/own_data.md)  [default: nyu40]",
)
@click.option("--width", default=640, show_default=True, type=click.IntRange(16, 4096), help="pixels")
@click.option("--height", default=480, show_default=True, type=click.IntRange(16, 4096), help="pixels")
def rooms(
    out: Path, rooms: int, frames: int, first_seed: int, val_rooms: int, labels: str | None, width: int, height: int
) -> None:
    """Render furnished rooms as an annotated dataset: OUT/rgb, OUT/depth, OUT/label40, OUT/all.txt.

    The same rooms in OUT are rendered anew. With --val-rooms 0, fit.txt and val.txt of an earlier run are removed.
    """
    from dataclasses import replace

    from tqdm import tqdm

    from lcr_seg_ros.labels import LABELS_FILE, LabelSet
    from lcr_seg_ros.sources.folder import write_folder
    from lcr_seg_ros.sources.rooms import RenderedRoom
    from lcr_seg_ros.training.datasets.folder_labels import write_label_set
    from lcr_seg_ros.training.datasets.grouping import load_grouping

    if val_rooms >= rooms:
        raise SourceError(f"--val-rooms {val_rooms} leaves none of {rooms} rooms to train on")
    _refuse_frames_of_others(out, {f"{first_seed + k:04d}_{i:05d}" for k in range(rooms) for i in range(frames)})
    _refuse_another_size(out, width, height)
    grouping = load_grouping(labels, LabelSet.load("nyu40")) if labels else None
    lists: dict[str, list[str]] = {"all": [], "fit": [], "val": []}
    for k in tqdm(range(rooms), desc="rendering", unit="room", leave=False, disable=None):
        seed = first_seed + k
        room = RenderedRoom(frames=frames, seed=seed, width=width, height=height)
        frames_of_room = [replace(item, name=f"{seed:04d}_{item.name}") for item in room]
        if grouping is not None:
            table = grouping[1]
            frames_of_room = [replace(f, labels=table[f.labels]) for f in frames_of_room if f.labels is not None]
        names = write_folder(frames_of_room, out)
        lists["all"] += names
        lists["val" if k >= rooms - val_rooms else "fit"] += names
    (out / LABELS_FILE).unlink(missing_ok=True)  # left from the same rooms with other classes
    if grouping is not None:
        write_label_set(out, grouping[0])
    _write_lists(out, lists if val_rooms else {"all": lists["all"]})
    for name in () if val_rooms else ("fit", "val"):
        (out / f"{name}.txt").unlink(missing_ok=True)  # a list left from other --val-rooms would be trained on
    click.echo(f"{len(lists['all'])} frames in {out}")


@command.command(
    short_help="the official files of NYU Depth V2",
    epilog="""\b
Examples:
  python -m lcr_seg_ros prepare nyudv2 --download --out nyudv2
  python -m lcr_seg_ros prepare nyudv2 --download --downloads nyudv2/official --classes 4 --out nyudv2_4
  python -m lcr_seg_ros prepare nyudv2 --mat nyu_depth_v2_labeled.mat --splits splits.mat \\
      --mapping classMapping40.mat --out nyudv2 --hha
  python -m lcr_seg_ros prepare nyudv2 --download --out nyudv2 --hha --recipe nyu40 --recipe segnet_paper""",
)
@click.option("--mat", type=click.Path(path_type=Path), help="nyu_depth_v2_labeled.mat, 2.8 GB")
@click.option("--splits", type=click.Path(path_type=Path), help="splits.mat: the official train and test frames")
@click.option("--mapping", type=click.Path(path_type=Path), help="classMapping40.mat: 894 classes to 40")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="folder to write")
@click.option(
    "--classes",
    type=click.Choice(["40", "4"]),
    default="40",
    show_default=True,
    help="ids in label40/: of nyu40 (label4/ is written beside it), or of nyu4",
)
@click.option("--val", "validation", type=click.Path(path_type=Path), help="list of training frames to validate on")
@click.option("--depth", type=click.Choice(["inpainted", "raw"]), default="inpainted", show_default=True)
@click.option("--rgb-format", type=click.Choice(["png", "jpg"]), default="png", show_default=True)
@click.option("--crop", is_flag=True, help="write rows 46..470, columns 41..600 (425x560), as FCN's authors train on")
@click.option("--hha", is_flag=True, help="also compute the HHA that train reads from --cache")
@click.option(
    "--recipe",
    "recipes",
    shell_complete=complete_recipes,
    multiple=True,
    metavar="NAME",
    help="recipe that --hha computes it for, by name or YAML file; may be given several times, since recipes differ in "
    f"how HHA is computed  [default: {_USUAL_RECIPE}]",
)
@click.option(
    "--cache", type=click.Path(path_type=Path), default=Path("runs/cache/hha"), show_default=True, help="computed HHA"
)
@click.option("--download", is_flag=True, help="fetch the files that are not given, into --downloads")
@click.option("--downloads", type=click.Path(path_type=Path), help="folder for them  [default: OUT/official]")
@click.option("--mirror", help="fetch from MIRROR/NAME instead of the publishers")
@click.option("--start-over", is_flag=True, help="replace what an earlier run left in OUT")
def nyudv2(
    mat: Path | None,
    splits: Path | None,
    mapping: Path | None,
    out: Path,
    classes: str,
    validation: Path | None,
    depth: str,
    rgb_format: str,
    crop: bool,
    hha: bool,
    recipes: tuple[str, ...],
    cache: Path,
    download: bool,
    downloads: Path | None,
    mirror: str | None,
    start_over: bool,
) -> None:
    """Turn the official files of NYU Depth V2 into OUT/rgb, OUT/depth, OUT/label40 and lists.

    Frames are named by their official index, 00001 to 01449; train.txt and test.txt are the official ones. A list
    given by --val (ours or FCN's) divides train.txt into fit.txt and val.txt. Run it again after a stop: it goes on.
    """
    if recipes and not hha:
        raise click.UsageError(f"--recipe {recipes[0]} says what HHA to compute: give --hha, too, or leave it out")
    _require("h5py", "scipy")
    from dataclasses import replace

    from lcr_seg_ros.training.datasets.download import download as fetch
    from lcr_seg_ros.training.datasets.nyudv2 import LABELED, MAPPING, SPLITS, prepare_nyudv2

    names_of_settings = _hha_settings(recipes or (_USUAL_RECIPE,)) if hha else {}  # before hours of other work
    paths: dict[str, Path] = {}
    for option, remote, given in (
        ("--mat", LABELED, mat),
        ("--splits", SPLITS, splits),
        ("--mapping", MAPPING, mapping),
    ):
        if given is None and not download:
            raise SourceError(f"give {option} {remote.name}, or let --download fetch it from {remote.url}")
        if given is None:
            source = remote if mirror is None else replace(remote, url=f"{mirror.rstrip('/')}/{remote.name}")
            given = fetch(source, downloads or out / "official")
        paths[option] = given
    lists = prepare_nyudv2(
        mat=paths["--mat"],
        splits=paths["--splits"],
        mapping=paths["--mapping"],
        out=out,
        classes=int(classes),
        validation=validation,
        depth=depth,
        rgb_format=rgb_format,
        start_over=start_over,
        crop=crop,
    )
    click.echo(f"{out}: " + ", ".join(f"{name} {len(members)}" for name, members in lists.items()))
    for settings, names in names_of_settings.items():
        _fill_hha_cache(out, cache, settings, names)


@command.command(
    "import",
    short_help="a folder of another project, or one of ours put right",
    epilog="""\b
Examples:
  python -m lcr_seg_ros prepare import --layout fcn --from nyud --out nyudv2
  python -m lcr_seg_ros prepare import --layout rgb_hha_label --from NYUDepthv2 --out nyudv2 --no-depth
  python -m lcr_seg_ros prepare import --layout folder --from mine --out mended --shifted --depth-unit-mm 10""",
)
@click.option("--layout", type=click.Choice(_LAYOUTS), required=True)
@click.option("--from", "source", type=click.Path(path_type=Path), required=True, help="folder to read")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="folder to write")
@click.option("--shifted", is_flag=True, help="labels count classes from 0, void is 255: add 1")
@click.option("--depth-unit-mm", type=click.FloatRange(min=0, min_open=True), help="millimetres of a unit of depth")
@click.option("--no-depth", is_flag=True, help="leave depth out")
@click.option("--no-hha", is_flag=True, help="leave HHA images out")
@click.option(
    "--hha-order",
    type=click.Choice(["rgb", "bgr"]),
    default="rgb",
    show_default=True,
    help="HHA files with disparity in red (rgb) or in blue (bgr)",
)
@click.option(
    "--intrinsics",
    help="fx,fy,cx,cy[,width,height] in pixels counted from 0, of the first image's size unless width,height says "
    "another  [default: those of NYUDv2]",
)
@click.option("--start-over", is_flag=True, help="replace what an earlier run left in OUT")
def import_(
    layout: str,
    source: Path,
    out: Path,
    shifted: bool,
    depth_unit_mm: float | None,
    no_depth: bool,
    no_hha: bool,
    hha_order: str,
    intrinsics: str | None,
    start_over: bool,
) -> None:
    """Copy a folder of another project into ours, or one of ours with its labels and depth put right.

    \b
    fcn            data/images/img_5001.png, data/depth/, data/hha/, segmentation/img_5001.mat, train.txt ...
    rgb_hha_label  RGB/, HHA/, Depth/, Label/ with the same names, train.txt, test.txt
    esanet         train/rgb/0003.png, train/depth/, train/labels_40/, test/..., train.txt, test.txt
    folder         rgb/, depth/, label40/ as all commands here read them
    """
    _require("scipy", "PIL")
    from lcr_seg_ros.sources.folder import parse_intrinsics
    from lcr_seg_ros.training.datasets.layouts import ImportSettings, import_folder

    settings = ImportSettings(
        shifted=shifted,
        depth_unit_mm=depth_unit_mm,
        hha_order=hha_order,
        intrinsics=parse_intrinsics(intrinsics) if intrinsics else None,
        depth=not no_depth,
        hha=not no_hha,
    )
    found = import_folder(source, layout, out, settings, start_over)
    lists = ", ".join(f"{name} {len(members)}" for name, members in found.lists.items())
    click.echo(f"{out}: {len(found.frames)} frames" + (f"; {lists}" if lists else ""))
    click.echo(f"next: python -m lcr_seg_ros check-data {shlex.quote(str(out))}")


@command.command(
    short_help="the same images with other classes",
    epilog="""\b
Examples:
  python -m lcr_seg_ros prepare relabel --data nyudv2 --labels nyu4 --out nyudv2_4
  python -m lcr_seg_ros prepare relabel --data nyudv2 --labels my_classes.yaml --out mine""",
)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="dataset folder with label40/")
@click.option(
    "--data-labels", shell_complete=complete_labels, help="label set of DATA  [default: DATA/labels.yaml, else nyu40]"
)
@click.option(
    "--labels", shell_complete=complete_labels, required=True, help="label set to make: a shipped name or a YAML file"
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="folder to write")
def relabel(data: Path, data_labels: str | None, labels: str, out: Path) -> None:
    """Make a folder with other classes of the same images, e.g. 4 instead of 40.

    Images are shared with DATA by hard links where the file system allows it, else copied.
    """
    from lcr_seg_ros.labels import LabelSet, folder_label_set
    from lcr_seg_ros.training.datasets.folder_labels import refuse_other_classes
    from lcr_seg_ros.training.datasets.grouping import load_grouping, relabel_folder

    if data_labels is None:
        source = folder_label_set(data) or LabelSet.load("nyu40")
    else:
        source = LabelSet.load(data_labels)
        refuse_other_classes(data, source, "leave out --data-labels")
    target, table = load_grouping(labels, source)
    count = relabel_folder(data, out, target, table)
    labels_file = shlex.quote(str(out / "labels.yaml"))
    click.echo(f"{count} frames in {out}, {len(target)} classes: train with labels={labels_file}")


@command.command(
    "annotations",
    short_help="labels of labelme, CVAT, Label Studio or COCO",
    epilog="""\b
Examples:
  python -m lcr_seg_ros prepare annotations --data mine --from mine/rgb                     labelme's .json files
  python -m lcr_seg_ros prepare annotations --data mine --from coco.json --labels new       classes: the names used
  python -m lcr_seg_ros prepare annotations --data mine --from project.json --map couch=sofa --ignore mirror
  python -m lcr_seg_ros prepare annotations --data mine --from cvat_masks --labels my_classes.yaml""",
)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="dataset folder, e.g. of `record`")
@click.option("--from", "source", type=click.Path(path_type=Path), required=True, help="what the tool exported")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["auto", "labelme", "coco", "labelstudio", "masks"]),
    default="auto",
    show_default=True,
    help="masks: PNG images of class ids or colours, as CVAT's 'Segmentation mask'",
)
@click.option(
    "--labels",
    shell_complete=complete_labels,
    help="label set: shipped name, YAML file, or `new`: the names that occur  [default: DATA/labels.yaml, else nyu40]",
)
@click.option("--map", "renamed", multiple=True, metavar="NAME=CLASS", help="class of a name in the export")
@click.option("--ignore", "ignored", multiple=True, metavar="NAME", help="name in the export that becomes void")
@click.option(
    "--val-share",
    type=click.FloatRange(0, 0.9),
    default=0.2,
    show_default=True,
    help="of the frames for val.txt, the others go to fit.txt; 0: no lists",
)
def annotations_(
    data: Path,
    source: Path,
    file_format: str,
    labels: str | None,
    renamed: tuple[str, ...],
    ignored: tuple[str, ...],
    val_share: float,
) -> None:
    """Bring in labels from labelme, CVAT, Label Studio or COCO: DATA/label40, labels.yaml, fit.txt and val.txt.

    Pixels that no region covers are void: neither learnt nor scored. Run it again after labelling more.
    """
    from lcr_seg_ros.training.datasets.annotations import ImportRules, import_annotations

    if wrong := [entry for entry in renamed if not entry.partition("=")[2]]:
        raise click.BadParameter(f"{wrong[0]!r} is not NAME=CLASS", param_hint="--map")
    names = {name: target for name, _, target in (entry.partition("=") for entry in renamed)}
    done = import_annotations(data, source, file_format, ImportRules(labels, names, ignored, val_share))
    total = max(1, int(done.pixels.sum()))
    for entry in done.labels.classes:
        if done.pixels[entry.id]:
            click.echo(f"  {done.pixels[entry.id] / total:6.1%} {entry.name}")
    click.echo(f"  {done.pixels[done.labels.void] / total:6.1%} void")
    if done.without_regions:
        click.echo(f"{done.without_regions} images without any region are left out")
    if done.unknown:
        click.echo(f"{len(done.unknown)} images of the export are not in {data}, first {done.unknown[0]!r}")
    lists = f"; fit {done.fit}, val {done.val}" if val_share else ""
    click.echo(f"{len(done.frames)} frames labelled with {done.labels.name}{lists}")
    click.echo(f"next: python -m lcr_seg_ros check-data {shlex.quote(str(data))}")


def _refuse_frames_of_others(out: Path, mine: set[str]) -> None:
    """Refuse to render rooms into a folder with other frames, which would mix two datasets.

    Raises:
        SourceError: the folder has a frame that this command does not make.
    """
    from lcr_seg_ros.sources.folder import RGB_FOLDER

    there = sorted(p.stem for p in (out / RGB_FOLDER).glob("*.*") if not p.name.startswith("."))
    if strange := [name for name in there if name not in mine]:
        raise SourceError(
            f"{out} holds {len(strange)} frames that are not of these rooms, first {strange[0]!r}: choose another --out"
        )


def _refuse_another_size(out: Path, width: int, height: int) -> None:
    """Refuse to render into a folder with frames of another size: all of a folder have one intrinsics.yaml, and a run
    that is stopped would leave both sizes.

    Raises:
        SourceError: the first frame there has another size.
    """
    from lcr_seg_ros.sources.folder import RGB_FOLDER, read_rgb

    first = min((p for p in (out / RGB_FOLDER).glob("*.png") if not p.name.startswith(".")), default=None)
    if first is None:
        return
    there = read_rgb(first).shape
    if there[:2] != (height, width):
        raise SourceError(
            f"{out} holds frames of {there[1]}x{there[0]}, not {width}x{height}: give --width {there[1]} "
            f"--height {there[0]} to render these anew, or choose another --out"
        )


def _hha_settings(recipes: Sequence[str]) -> dict[HhaSettings, list[str]]:
    """The different settings that recipes compute HHA with, each with the names of its recipes.

    Args:
        recipes: names or YAML files.

    Raises:
        LcrSegError: there is no such recipe, or a module is not installed that reading one needs.
    """
    _require("pydantic")
    from lcr_seg_ros.training.recipe import Recipe

    names: dict[HhaSettings, list[str]] = {}
    for name in dict.fromkeys(recipes):
        names.setdefault(Recipe.load(name).input.hha_settings, []).append(name)
    return names


def _fill_hha_cache(data: Path, cache: Path, settings: HhaSettings, recipes: Sequence[str]) -> None:
    from lcr_seg_ros.sources.folder import DatasetFolder
    from lcr_seg_ros.training.datasets.hha_cache import fill_hha_cache

    folder = DatasetFolder(data)
    fill_hha_cache(folder, cache, settings)
    click.echo(f"HHA of {len(folder)} frames in {cache}, for {' and '.join(recipes)}")


def _write_lists(out: Path, lists: dict[str, list[str]]) -> None:
    from lcr_seg_ros.files import replace_file

    for name, members in lists.items():
        replace_file(out / f"{name}.txt", ("\n".join(members) + "\n").encode())


def _require(*modules: str) -> None:
    """Check that Python modules are installed.

    Raises:
        LcrSegError: one is not.
    """
    from lcr_seg_ros.extras import require

    require("`prepare`", *modules)
