"""Runs a grid: each training in a process of its own. Results are kept, so that an interrupted grid can go on."""

from __future__ import annotations

import json
import logging
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from functools import cache
from pathlib import Path
from typing import IO, Any

import yaml

import lcr_seg_ros
from lcr_seg_ros.bundle import ModelBundle, describe_model
from lcr_seg_ros.errors import BundleError, LcrSegError, SourceError
from lcr_seg_ros.extras import require
from lcr_seg_ros.files import exclusive, refuse_no_folder, replace_file
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.sources.folder import LABEL_FOLDER, DatasetFolder
from lcr_seg_ros.training.ablate_grid import GridError, PlannedRun
from lcr_seg_ros.training.datasets.folder_labels import (
    look_through_labels,
    refuse_other_classes,
)
from lcr_seg_ros.training.datasets.nyudv2_crop import NYUDV2_SHAPE, NYUDV2_WINDOW
from lcr_seg_ros.training.datasets.split_digest import digest_split, is_same_split
from lcr_seg_ros.training.evaluate import BOUNDARY_RADII_PX, evaluate, load_segmenter, measure_flicker
from lcr_seg_ros.training.recipe import NetworkRecipe, Recipe, RecipeError, reads_hha_of_folder, without_folders_in

BUNDLE, RESULT, CHECKPOINT, LOG, RECIPE = "model.lcrseg", "result.json", "last.ckpt", "train.log", "planned.yaml"
log = logging.getLogger(__name__)

SECONDS, _UNKNOWN = "seconds.txt", "unknown\n"

TRAINING_MODULES = ("torch", "lightning", "onnx")
"""Without one of these, every training would fail; PyTorch takes seconds to import, so they are only looked for."""

SECONDS_PER_MEGAPIXEL = {"fcn_lite": 2.6, "segnet": 25.0, "fcn32s": 30.0}
"""Training time per megapixel of images, forward and backward, on two CPU cores in float32: a rough guess. The first
two are measured, that of FCN-32s is SegNet's scaled by the number of operations."""


@dataclass(frozen=True)
class RunSettings:
    """What all runs of a grid share. It does not affect results, except that ``flicker`` adds a score.

    Args:
        data: dataset folders by name.
        out: folder of the ablation; run folders are in ``out/runs``.
        cache: folder for computed HHA.
        threads: CPU threads of each training; 0 leaves the choice to PyTorch.
        validate_every: epochs between validations.
        flicker: a folder of consecutive frames, to measure flicker on as well.
        train_arguments: more arguments for the command line of `train`, e.g. ``("--accelerator", "gpu")``.
    """

    data: Mapping[str, Path]
    out: Path
    cache: Path
    threads: int = 0
    validate_every: int = 5
    flicker: DatasetFolder | None = None
    train_arguments: tuple[str, ...] = ()

    def folder(self, run: PlannedRun) -> Path:
        """A run's folder: an existing one of the same digest, even if the grid named it otherwise, else a new one."""
        there = sorted((self.out / "runs").glob(f"*{run.folder_suffix}"))
        return there[0] if there else self.out / "runs" / run.folder


@dataclass(frozen=True)
class RunResult:
    """The result of a finished run.

    Args:
        digest: :attr:`~lcr_seg_ros.training.ablate_grid.PlannedRun.digest` of the run.
        scores: see :meth:`lcr_seg_ros.training.evaluate.Evaluation.scores`; also ``flicker`` if it was measured.
        train_seconds: wall time of the training over all its starts; None if unknown, because the process was killed.
        record: commit, dates, machine, splits and number of training frames.
    """

    digest: str
    scores: dict[str, Any]
    train_seconds: float | None
    record: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RunFailure:
    """A run that failed, and the reason."""

    run: PlannedRun
    reason: str


def check_data(runs: Sequence[PlannedRun], settings: RunSettings) -> None:
    """Check that every dataset and split exists, before any time is spent on training.

    Raises:
        GridError: a dataset was not given.
        SourceError: a split is missing.
    """
    splits = {(r.data, split) for r in runs for split in (r.fit, r.val)}
    for name, split in sorted(splits):
        if name not in settings.data:
            raise GridError(
                f"the grid needs the dataset {name!r}: add --data {name}=DIR, or leave its runs out with --only"
            )
        _count_frames(settings.data[name], split)


def check_start(runs: Sequence[PlannedRun], settings: RunSettings) -> None:
    """Check in advance what each training would refuse at its start, as far as that is quick.

    Label images are checked in a few frames of each split. For runs that are trained already, all frames are read, to
    see that they have not changed: otherwise one report would mix results on different data.

    Raises:
        LcrSegError: says which run or folder is wrong, and what to do.
    """
    require("the report of `ablate`", "matplotlib")
    refuse_no_folder(settings.out)
    check_data(runs, settings)
    ahead = [run for run in runs if state_of(run, settings) in ("new", "started")]
    if ahead:
        require("`train`", *TRAINING_MODULES)
    if any(run.recipe.network.name == "fcn_lite" for run in ahead):
        require("fcn_lite", "timm")
    digest_once = cache(digest_split)
    for run in runs:
        if run not in ahead:
            _refuse_other_data(run, settings, settings.folder(run), digest_once)
    for data, split, labels in sorted({(r.data, s, r.recipe.labels) for r in ahead for s in (r.fit, r.val)}):
        _check_labels(settings.data[data], split, LabelSet.load(labels))
    for data, split in sorted({(r.data, r.val) for r in ahead if r.crop}):
        _check_crop(settings.data[data], split)
    reading = [run for run in ahead if reads_hha_of_folder(run.recipe)]
    for data, split in sorted({(r.data, s) for r in reading for s in (r.fit, r.val)}):
        DatasetFolder(settings.data[data], split).require_hha()
    for run in ahead:
        try:
            _check_models(run.recipe)
        except LcrSegError as error:
            raise GridError(f"{run.title}: {error}; or leave it out with --only") from error


def _check_labels(data: Path, split: str, labels: LabelSet) -> None:
    refuse_other_classes(data, labels, "set labels: {file} under settings of the grid")
    folder = DatasetFolder(data, split)
    if not folder.has_labels:
        raise SourceError(f"{data} has no {LABEL_FOLDER}/: training needs the classes of every pixel there")
    folder.require_labels()
    look_through_labels(folder, split, labels)


def _check_models(recipe: Recipe) -> None:
    """Check that the weights, the model to finetune and the teacher exist, and that the teacher fits."""
    finetune, teacher = recipe.network.finetune, recipe.loss.teacher
    weights = _weights_file(recipe.network)
    if weights is not None and not weights.is_file():
        raise RecipeError(f"network.weights: there is no file {weights}")
    if finetune is not None:
        describe_model(finetune)
    if teacher is not None:
        from lcr_seg_ros.training.teacher import require_teacher  # PyTorch takes seconds

        require_teacher(describe_model(teacher.model), teacher.model, LabelSet.load(recipe.labels), recipe.input)


def _weights_file(network: NetworkRecipe) -> Path | None:
    """The file of ImageNet weights that a training would read; None if it reads none, or downloads them."""
    if network.weights is None or network.finetune is not None or not network.imagenet:
        return None
    if network.name == "fcn_lite":  # its weights are always a file
        return Path(network.weights).expanduser()
    from lcr_seg_ros.networks.vgg16 import weights_file  # PyTorch takes seconds

    return weights_file(network.weights)


def run_all(runs: Sequence[PlannedRun], settings: RunSettings) -> Iterator[RunResult | RunFailure]:
    """Train and score the runs one after the other, and yield each outcome; finished runs are not repeated.

    A run that fails does not stop the others. A run that another process is working on is left to it and reported as a
    failure. Closing the generator, or an exception, ends the training in progress, which the next call resumes from its
    last checkpoint.
    """
    seen: set[str] = set()
    for run in runs:
        if run.digest in seen:
            continue
        seen.add(run.digest)
        try:
            yield _finish(run, settings)
        except LcrSegError as error:
            yield RunFailure(run, str(error))


def read_result(run: PlannedRun, settings: RunSettings) -> RunResult | None:
    """The stored result of a run, if it has the run's digest, all requested scores and a finished bundle; else None."""
    folder = settings.folder(run)
    try:
        values = json.loads((folder / RESULT).read_text(encoding="utf-8"))
        result = RunResult(**values)
    except (OSError, ValueError, TypeError):
        return None
    if result.digest != run.digest or (settings.flicker is not None and "flicker" not in result.scores):
        return None
    return result if _is_trained(run, folder / BUNDLE) else None


def state_of(run: PlannedRun, settings: RunSettings) -> str:
    """``finished``, ``trained`` (not scored yet), ``started`` or ``new``."""
    if read_result(run, settings) is not None:
        return "finished"
    folder = settings.folder(run)
    if _is_trained(run, folder / BUNDLE):
        return "trained"
    return "started" if (folder / CHECKPOINT).is_file() else "new"


@dataclass(frozen=True)
class Estimate:
    """How long a training should take, in seconds, and what the estimate is based on."""

    seconds: float
    source: str


def estimate(run: PlannedRun, runs: Sequence[PlannedRun], settings: RunSettings) -> Estimate:
    """Estimate how long a run takes on this machine.

    Based on finished runs of the same network and modality in the same output folder, in proportion to the number of
    pixels; without any, on :data:`SECONDS_PER_MEGAPIXEL`, measured elsewhere. NaN seconds if neither is known.
    """
    megapixels = _megapixels(run, settings)
    kind = (run.recipe.network.name, run.recipe.input.modality)
    if not math.isfinite(megapixels):
        return Estimate(megapixels, f"needs --data {run.data}=DIR")
    rates = [
        result.train_seconds / _megapixels(other, settings)
        for other in {r.digest: r for r in runs}.values()
        if (other.recipe.network.name, other.recipe.input.modality) == kind
        and (result := read_result(other, settings)) is not None
        and result.train_seconds is not None
    ]
    if rates:
        return Estimate(megapixels * sum(rates) / len(rates), f"measured on {len(rates)} runs here")
    rate = SECONDS_PER_MEGAPIXEL.get(run.recipe.network.name)
    if rate is None:
        return Estimate(float("nan"), "no figure for this network yet")
    return Estimate(megapixels * rate, "rough: two CPU cores, float32")


def _finish(run: PlannedRun, settings: RunSettings) -> RunResult:
    done = read_result(run, settings)
    folder = settings.folder(run)
    if done is not None:
        _refuse_other_data(run, settings, folder)
        return done
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder) as lock:
        _refuse_other_data(run, settings, folder)
        if not _is_trained(run, folder / BUNDLE):
            _train(run, settings, folder, lock)
        return _score(run, settings, folder)


def _train(run: PlannedRun, settings: RunSettings, folder: Path, lock: IO[str]) -> None:
    """Run `train` in a process of its own, so that its memory is freed and a crash stays there.

    Raises:
        LcrSegError: it failed; says why.
    """
    values = run.recipe.model_dump(mode="json")
    replace_file(folder / RECIPE, yaml.safe_dump(values, sort_keys=False).encode())
    command = [
        sys.executable, "-m", "lcr_seg_ros", "train",
        "--recipe", folder / RECIPE,
        "--data", settings.data[run.data],
        "--fit", run.fit,
        "--val", run.val,
        "--out", folder,
        "--cache", settings.cache,
        "--validate-every", settings.validate_every,
        "--threads", settings.threads,
        *settings.train_arguments,
    ]  # fmt: skip
    before, started = _read_seconds(folder), time.monotonic()
    replace_file(folder / SECONDS, _UNKNOWN.encode())  # stays if this process is killed
    with (folder / LOG).open("a", encoding="utf-8") as output:
        # The child inherits the lock: if this process is killed, the run stays locked until the child ends.
        process = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=child_environment(),
            pass_fds=(lock.fileno(),),
        )
        try:
            code = process.wait()
        except BaseException:
            _end(process)
            raise
        finally:
            if before is not None:
                replace_file(folder / SECONDS, f"{before + time.monotonic() - started:.1f}\n".encode())
    if code != 0:
        raise LcrSegError(f"training ended with code {code}: {_last_message(folder / LOG)} (all of it: {folder / LOG})")
    if not _is_trained(run, folder / BUNDLE):
        raise LcrSegError(
            f"training ended well, but {folder / BUNDLE} is not of the planned recipe: see {folder / LOG}"
        )


def child_environment() -> dict[str, str]:
    """Environment for a child process that must import this same package, whatever its working folder is."""
    package = str(Path(lcr_seg_ros.__file__).resolve().parent.parent)
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))}


def _score(run: PlannedRun, settings: RunSettings, folder: Path) -> RunResult:
    segmenter = load_segmenter(folder / BUNDLE)
    val = DatasetFolder(settings.data[run.data], run.val)
    window = NYUDV2_WINDOW if run.crop and not _is_cropped(val) else None
    scores = evaluate(segmenter, val, BOUNDARY_RADII_PX, window).scores()
    if settings.flicker is not None:
        scores["flicker"] = measure_flicker(segmenter, settings.flicker)
    training = segmenter.bundle.training
    record = {
        "commit": training.get("commit", "unknown"),
        "trained": training.get("date", "unknown"),
        "scored": date.today().isoformat(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "fit": run.fit,
        "val": run.val,
        "crop": run.crop,
        "fit_frames": training.get("data", {}).get("splits", {}).get(run.fit, {}).get("frames"),
    }
    result = RunResult(run.digest, scores, _read_seconds(folder), record)
    replace_file(folder / RESULT, (json.dumps(asdict(result), indent=1) + "\n").encode())
    return result


def _is_cropped(folder: DatasetFolder) -> bool:
    """Whether the frames are the crop of NYU Depth V2 already, as other projects' folders have it.

    Raises:
        GridError: they are neither that nor the whole frames that it is cut from.
    """
    height, width = folder.frame(0).rgb.shape[:2]
    if (height, width) not in (NYUDV2_SHAPE, (NYUDV2_WINDOW.height, NYUDV2_WINDOW.width)):
        raise GridError(
            f"crop: true scores on the 425x560 crop of NYU Depth V2, but {folder.path} has frames of {width}x{height}, "
            "neither 640x480 nor cropped: take it out of the grid"
        )
    return (height, width) != NYUDV2_SHAPE


def _check_crop(data: Path, split: str) -> None:
    if not _is_cropped(DatasetFolder(data, split)):
        log.warning(
            "%s has whole frames: they are trained on as they are, and their 425x560 crop is scored, enlarged to the "
            "same rows. To train on the crop as well, as the papers do: prepare nyudv2 --crop",
            data,
        )


def _is_trained(run: PlannedRun, bundle: Path) -> bool:
    """Whether ``bundle`` exists and was trained by this recipe to its end. Recipe entries that are newer than the
    bundle count as their defaults."""
    if not bundle.is_file():
        return False
    try:
        record = ModelBundle.load(bundle).training
        stored = Recipe.model_validate(record["recipe"])
    except (BundleError, KeyError, ValueError):
        return False
    epochs = run.recipe.optimizer.epochs  # compared because `export` also makes bundles of unfinished runs
    return record.get("epochs_run", epochs) == epochs and without_folders_in(stored) == without_folders_in(run.recipe)


def _refuse_other_data(
    run: PlannedRun,
    settings: RunSettings,
    folder: Path,
    digest: Callable[[Path, str, bool], dict[str, Any]] = digest_split,
) -> None:
    """Refuse a trained run whose images or labels have changed since.

    Raises:
        LcrSegError: a split has changed.
    """
    if not _is_trained(run, folder / BUNDLE):
        return
    trained_on = ModelBundle.load(folder / BUNDLE).training.get("data", {}).get("splits", {})
    for split, before in trained_on.items():
        now = digest(settings.data[run.data], split, reads_hha_of_folder(run.recipe))
        if not is_same_split(before, now):
            raise LcrSegError(
                f"{folder} was trained on another {split!r} ({before.get('frames')} frames, labels "
                f"{str(before.get('sha256'))[:12]}, images {str(before.get('images_sha256'))[:12]}) than "
                f"{settings.data[run.data]} holds now ({now['frames']} frames, "
                f"labels {now['sha256'][:12]}, images {now['images_sha256'][:12]}): choose another --out"
            )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last_message(file: Path) -> str:
    """The last ``error:`` line near the end of a log, else its last line that is not empty."""
    lines = [line.strip() for line in file.read_text(encoding="utf-8", errors="replace").split("\n") if line.strip()]
    errors = [line for line in lines[-40:] if line.startswith("error: ")]
    return (errors or lines or ["no output"])[-1][-600:]


def _read_seconds(folder: Path) -> float | None:
    """Wall time in seconds of a run's training so far, 0 for a new run; None if it is not known."""
    file = folder / SECONDS
    if not file.is_file():
        return 0.0
    text = file.read_text(encoding="utf-8")
    return None if text == _UNKNOWN else float(text)


def _megapixels(run: PlannedRun, settings: RunSettings) -> float:
    """Pixels that a run trains on, over all images and epochs, in millions; NaN if its dataset was not given."""
    if run.data not in settings.data:
        return float("nan")
    recipe = run.recipe
    frames = _count_frames(settings.data[run.data], run.fit)
    frames += min(recipe.rooms.per_epoch, recipe.rooms.rooms * recipe.rooms.frames_per_room)
    return recipe.optimizer.epochs * frames * recipe.input.height * recipe.input.width / 1e6


@cache
def _count_frames(data: Path, split: str) -> int:
    return len(DatasetFolder(data, split))
