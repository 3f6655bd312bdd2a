"""One training run, from data to model bundle. Lightning provides the loop, the processes and the logs."""

from __future__ import annotations

import logging
import subprocess
import warnings
from collections.abc import Sequence
from dataclasses import astuple
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, WeightAveraging
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Subset

from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.files import make_folder, replace_file
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.networks.pretrained import ImagenetStart
from lcr_seg_ros.sources.folder import DatasetFolder
from lcr_seg_ros.training.callbacks import LastCheckpoint, Previews, ProgressLine
from lcr_seg_ros.training.curves import write_curves
from lcr_seg_ros.training.data import SegmentationDataset
from lcr_seg_ros.training.datasets.folder_labels import (
    RELABEL,
    look_through_labels,
    refuse_other_classes,
    refuse_unknown_ids,
)
from lcr_seg_ros.training.datasets.hha_cache import HHA_MODE
from lcr_seg_ros.training.datasets.split_digest import digest_split, tell_of_frames_seen
from lcr_seg_ros.training.epoch_batches import EpochBatches
from lcr_seg_ros.training.examples import (
    Example,
    channel_statistics,
    class_weights,
    folder_examples,
    room_examples,
)
from lcr_seg_ros.training.export_run import export_run, read_checkpoint
from lcr_seg_ros.training.finetune import FinetuningStart, start_from_bundle
from lcr_seg_ros.training.machine import ONE_PROCESS, Machine, refuse_missing_gpus
from lcr_seg_ros.training.memory_advice import memory_advised, to_compute_less, to_hold_less
from lcr_seg_ros.training.module import CHECKPOINT_KEY, SegmentationTraining, architecture
from lcr_seg_ros.training.processes import SameStart, tell_of_separate_batch_norms
from lcr_seg_ros.training.recipe import (
    Recipe,
    RecipeError,
    RoomsRecipe,
    reads_hha_of_folder,
    without_folders,
    without_folders_in,
)
from lcr_seg_ros.training.resume import (
    refuse_another_camera,
    refuse_another_recipe,
    refuse_another_teacher,
    refuse_other_frames,
    refuse_other_labels,
)
from lcr_seg_ros.training.teacher import Teacher

log = logging.getLogger(__name__)

BATCH_NORM_IMAGES = 8
"""How many training images the statistics of new batch norms are initialised from."""


def train(
    recipe: Recipe,
    data: Path,
    fit: str,
    val: str | None,
    out: Path,
    resume: bool = True,
    cache: Path = Path("runs/cache/hha"),
    validate_every: int = 5,
    log_every: int = 20,
    command_line: Sequence[str] = (),
    machine: Machine = ONE_PROCESS,
    callbacks: Sequence[Callback] = (),
) -> Path:
    """Train as the recipe says and write ``out/model.lcrseg``.

    The run folder also gets ``last.ckpt``, ``recipe.yaml``, ``log/`` (CSV), ``tensorboard/`` where that is installed,
    ``previews/`` and, at the end, ``curves.png``. A run that was stopped, however that happened, goes on from its last
    checkpoint. On a CPU it ends with exactly the weights of an uninterrupted run: the order of frames, augmentation and
    dropout are functions of seed, epoch and batch.

    Args:
        recipe: everything that decides the result.
        data: dataset folder.
        fit, val: names of its splits to train and to validate on; scores on ``val`` are stored in the bundle. None
            for ``val``: no validation and no scores.
        out: run folder.
        resume: go on from ``out/last.ckpt`` if it exists; False deletes it.
        cache: folder for computed HHA.
        validate_every: epochs between validations.
        log_every: optimiser steps between rows of the log; at least one row is written each epoch.
        command_line: recorded in the bundle.
        machine: where the run takes place.
        callbacks: additional Lightning callbacks.

    Returns:
        Path of the bundle, which the first process alone has written.

    Raises:
        LcrSegError: data or recipe cannot be used, the loss is no longer finite, or memory does not suffice; says
            what to change.
    """
    refuse_missing_gpus(machine)
    if machine.threads:
        torch.set_num_threads(machine.threads)
    checkpoint = out / "last.ckpt"
    position = {"epoch": 0, "batch": 0}
    resumes = resume and checkpoint.is_file()
    used = [split for split in (fit, val) if split]
    reads_hha = reads_hha_of_folder(recipe)
    for split in used:
        DatasetFolder(data, split).require_labels()
        if reads_hha:
            DatasetFolder(data, split).require_hha()
    splits = {split: digest_split(data, split, reads_hha) for split in used}
    L.seed_everything(recipe.seed, workers=True, verbose=False)
    labels = LabelSet.load(recipe.labels)
    taught = recipe.loss.teacher
    teacher = None if taught is None else Teacher.load(taught.model, labels, recipe.input)
    sees_hha = recipe.input.modality != "rgb"
    hha = recipe.input.hha_settings if sees_hha or (teacher and teacher.sees.uses_depth) else None
    frames = DatasetFolder(data, fit).with_hha(reads_hha)
    camera = (
        None if hha is None or reads_hha or frames.intrinsics is None else [*map(float, astuple(frames.intrinsics))]
    )
    if resumes:
        position, before = _position_and_record(checkpoint)
        refuse_another_recipe(out, before, recipe)
        refuse_other_labels(out, before, labels)
        refuse_other_frames(out, before, fit, splits[fit])
        refuse_another_camera(out, before, camera)
        refuse_another_teacher(out, before, teacher.origin if teacher else None)
    wears_depth = sees_hha and recipe.augmentation.worn_depth > 0
    refuse_other_classes(data, labels, "train with labels={file}")
    for split in used:
        look_through_labels(DatasetFolder(data, split), split, labels)
    if recipe.rooms.rooms:
        _refuse_rooms_of_other_classes(labels)
    _tell_of_unused_rooms(recipe.rooms)
    with memory_advised(to_hold_less(recipe, fit, machine)):
        examples = folder_examples(frames, cache, hha, keep_depth=wears_depth)
        rooms = room_examples(recipe, cache) if recipe.rooms.rooms else []
    refuse_unknown_ids((e.labels for e in examples), labels, f"{data}, split {fit}", RELABEL)
    refuse_unknown_ids((e.labels for e in rooms), labels, "the rendered rooms", "set rooms.rooms=0")

    module = SegmentationTraining(recipe, labels, class_weights(examples, labels, recipe.loss), teacher)
    start: ImagenetStart | FinetuningStart | None = None
    if recipe.network.finetune is not None:
        start = start_from_bundle(module.network, architecture(recipe, labels), labels, recipe.network.finetune)
        module.set_normalisation(start.mean, start.std)
    else:
        start = module.network.load_imagenet(recipe.network.weights) if recipe.network.imagenet else None
        module.set_normalisation(*channel_statistics(examples, recipe.input.modality, start))
    module.notice = start.notice if start else ""
    make_folder(out)
    if not resume:
        checkpoint.unlink(missing_ok=True)  # else a later start would go on from the run that this one replaces
    replace_file(out / "recipe.yaml", yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False).encode())

    lacks_norms = isinstance(start, ImagenetStart) and any(name.endswith("batch norms") for name in start.untouched)
    if lacks_norms and recipe.network.start_batch_norms:
        assert isinstance(start, ImagenetStart)
        module.start_batch_norms(_typical_images(examples, recipe, labels), start)
    dataset = SegmentationDataset(examples, recipe, labels, rooms, teacher=teacher.sees if teacher else None)
    batches = max(1, len(dataset) // recipe.optimizer.batch_size)
    steps = -(-batches // recipe.optimizer.accumulate)  # of the optimiser, in which the log interval is counted
    callbacks = [SameStart(checkpoint, **position), *callbacks]
    trainer = _trainer(recipe, out, labels, validate_every, min(log_every, steps), machine, callbacks)
    tell_of_separate_batch_norms(trainer, module.network)
    module.record = {
        "recipe": without_folders_in(recipe),
        "labels": labels.to_dict(),
        "start": start.origin if start else "random",
        "before": start.training if isinstance(start, FinetuningStart) else None,
        "teacher": teacher.origin if teacher else None,
        "data": {"fit": fit, "splits": splits, "hha": "folder" if reads_hha else HHA_MODE, "intrinsics": camera},
        "commit": _commit(),
        "date": date.today().isoformat(),
        "processes": trainer.world_size,
        "command": [without_folders(argument) for argument in command_line],
    }
    if recipe.network.finetune is not None and val:
        tell_of_frames_seen(ModelBundle.load(recipe.network.finetune), data, val)
    if teacher and val and teacher.trained_on != module.record["data"]["splits"][fit]["sha256"]:
        log.warning(
            "the teacher, %s, was not trained on split %s alone: scores on %s may be too good", teacher.origin, fit, val
        )
    training = _training_loader(dataset, recipe, trainer, machine, position)
    validation = None
    if val:
        held_out = DatasetFolder(data, val).with_hha(sees_hha and reads_hha)
        with memory_advised(to_hold_less(recipe, val, machine)):
            seen = folder_examples(held_out, cache, recipe.input.hha_settings if sees_hha else None)
        refuse_unknown_ids((e.labels for e in seen), labels, f"{data}, split {val}", RELABEL)
        validated = SegmentationDataset(seen, recipe, labels, augment=False)
        validation = _validation_loader(validated, recipe, trainer, machine)
    with memory_advised(to_compute_less(recipe, trainer.world_size)), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*dataloader is not resumable.*")  # EpochBatches is
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated.*")  # Lightning's own use of PyTorch
        warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")  # frozen stages
        trainer.fit(
            module,
            training,
            validation,
            ckpt_path=str(checkpoint) if resumes else None,
            weights_only=True,  # read tensors and plain values only: unpickling anything else could run code
        )
    if trainer.is_global_zero:
        export_run(out, out / "model.lcrseg", data, val)
        try:
            write_curves(out)
        except LcrSegError as error:  # a missing picture must not fail the run
            log.warning("no curves.png: %s", error)
    return out / "model.lcrseg"


def _position_and_record(checkpoint: Path) -> tuple[dict[str, int], dict[str, Any]]:
    """The next epoch and batch, both counted from 0, and the run's record. Lightning itself loads the weights."""
    stored = read_checkpoint(checkpoint)
    ours = stored[CHECKPOINT_KEY]
    return ours.get("next", {"epoch": stored["epoch"] + 1, "batch": 0}), ours["record"]


def _typical_images(examples: Sequence[Example], recipe: Recipe, labels: LabelSet) -> Tensor:
    """(B, C, H, W) float32 in 0..255: up to :data:`BATCH_NORM_IMAGES` evenly spread examples, without augmentation."""
    chosen = examples[:: -(-len(examples) // BATCH_NORM_IMAGES)]
    dataset = SegmentationDataset(chosen, recipe, labels, augment=False)
    return torch.stack([dataset[k][0] for k in range(len(dataset))])


def _tell_of_unused_rooms(rooms: RoomsRecipe) -> None:
    if bool(rooms.rooms) != bool(rooms.per_epoch):
        log.warning(
            "no rendered rooms are learned from, for rooms.rooms is %d and rooms.per_epoch %d; set both, or both to 0",
            rooms.rooms,
            rooms.per_epoch,
        )


def _refuse_rooms_of_other_classes(labels: LabelSet) -> None:
    """Refuse a label set that rendered rooms do not fit: their labels are always ids of nyu40.

    Raises:
        RecipeError: an id of the label set stands for another class in nyu40.
    """
    of_rooms = {c.id: c.name for c in LabelSet.load("nyu40").classes}
    strange = [c for c in labels.classes if of_rooms.get(c.id, c.name) != c.name]
    if strange:
        raise RecipeError(
            f"rendered rooms have the classes of nyu40, where {strange[0].id} is {of_rooms[strange[0].id]!r} and not "
            f"{strange[0].name!r} as in label set {labels.name}: leave them out with rooms.rooms=0 rooms.per_epoch=0"
        )


def _trainer(
    recipe: Recipe,
    out: Path,
    labels: LabelSet,
    validate_every: int,
    log_every: int,
    machine: Machine,
    callbacks: Sequence[Callback],
) -> L.Trainer:
    o = recipe.optimizer
    chosen: list[Callback] = [
        LastCheckpoint(out / "last.ckpt", machine.checkpoint_minutes, machine.checkpoint_steps),
        LearningRateMonitor("step"),
        ProgressLine(),
        Previews(out / "previews", labels),
        *callbacks,
    ]
    if o.ema_decay:
        # Averages all weights in one call; one by one, that took a seventh of a training step of SegNet.
        chosen.append(WeightAveraging(multi_avg_fn=get_ema_multi_avg_fn(o.ema_decay)))
    loggers: list[Logger] = [CSVLogger(out, name="log")]  # a resumed run gets another log/version_N
    if find_spec("tensorboard") is not None:
        loggers.append(TensorBoardLogger(out, name="tensorboard"))
    several = machine.devices * machine.nodes > 1
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its other messages list devices and give tips
    return L.Trainer(
        accelerator=machine.accelerator,
        devices=machine.devices,
        num_nodes=machine.nodes,
        strategy=DDPStrategy(find_unused_parameters=recipe.loss.inner_share > 0) if several else "auto",
        sync_batchnorm=several and machine.accelerator != "cpu" and torch.cuda.is_available(),
        use_distributed_sampler=False,  # EpochBatches divides batches among processes
        max_epochs=o.epochs,
        precision=o.precision,
        gradient_clip_val=o.gradient_clip or None,
        accumulate_grad_batches=o.accumulate,
        callbacks=chosen,
        logger=loggers,
        log_every_n_steps=log_every,
        check_val_every_n_epoch=validate_every,
        num_sanity_val_steps=0,
        default_root_dir=out,
        enable_model_summary=False,
    )


def _training_loader(
    dataset: SegmentationDataset, recipe: Recipe, trainer: L.Trainer, machine: Machine, position: dict[str, int]
) -> DataLoader[Any]:
    try:
        batches = EpochBatches(
            len(dataset),
            recipe.optimizer.batch_size,
            recipe.seed,
            trainer.global_rank,
            trainer.world_size,
            position["epoch"],
            position["batch"],
        )
    except ValueError as error:
        raise RecipeError(f"optimizer.batch_size, which counts all processes together: {error}") from error
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=machine.workers_for(len(dataset)),
        generator=torch.Generator(),  # its own: the loader must not advance the generator that dropout draws from
        pin_memory=torch.cuda.is_available(),
    )


def _validation_loader(
    dataset: SegmentationDataset, recipe: Recipe, trainer: L.Trainer, machine: Machine
) -> DataLoader[Any]:
    share = Subset(dataset, range(trainer.global_rank, len(dataset), trainer.world_size))
    size = max(1, recipe.optimizer.batch_size // trainer.world_size)
    return DataLoader(share, size, num_workers=machine.workers_for(len(dataset)), generator=torch.Generator())


def _commit() -> str:
    try:
        answer = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=Path(__file__).resolve().parent,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return answer.stdout.strip()
