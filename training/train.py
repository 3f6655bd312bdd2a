"""One training run from data to model bundle. The loop, checkpoints and logs are Lightning's."""

from __future__ import annotations

import hashlib
import logging
import subprocess
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from lightning.pytorch.callbacks import (
    Callback,
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
    TQDMProgressBar,
)
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from lcr_seg_ros.files import replace_file
from lcr_seg_ros.hha import HhaSettings
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.networks.fcn_lite import FcnLite
from lcr_seg_ros.sources.folder import DatasetFolder
from lcr_seg_ros.training.data import (
    HHA_MODE,
    SegmentationDataset,
    channel_statistics,
    class_weights,
    folder_examples,
    room_examples,
)
from lcr_seg_ros.training.export_run import export_run, read_checkpoint
from lcr_seg_ros.training.module import CHECKPOINT_KEY, SegmentationTraining
from lcr_seg_ros.training.recipe import Recipe, RecipeError

log = logging.getLogger(__name__)


def train(
    recipe: Recipe,
    data: Path,
    fit: str,
    val: str | None,
    out: Path,
    resume: bool = True,
    cache: Path = Path("runs/cache/hha"),
    validate_every: int = 5,
    threads: int = 0,
    command_line: Sequence[str] = (),
) -> Path:
    """Train as the recipe says and write ``out/model.lcrseg``.

    Args:
        recipe: everything that decides the result.
        data: dataset folder.
        fit, val: names of its splits; scores on ``val`` go into the bundle.
        out: run folder.
        resume: go on from ``out/last.ckpt`` if it is there.
        cache: folder for computed HHA.
        validate_every: epochs between validations.
        threads: CPU threads, 0 for PyTorch's choice.
        command_line: recorded in the bundle.

    Returns:
        Path of the bundle.

    Raises:
        LcrSegError: data or recipe cannot be used; says why.
    """
    if threads:
        torch.set_num_threads(threads)
    checkpoint = out / "last.ckpt"
    resumes = resume and checkpoint.is_file()
    if resumes:
        _refuse_another_recipe(checkpoint, recipe)
    L.seed_everything(recipe.seed, workers=True)
    labels = LabelSet.load(recipe.labels)
    hha = None if recipe.input.modality == "rgb" else recipe.input.hha_settings
    examples = folder_examples(DatasetFolder(data, fit), cache, hha)
    rooms = room_examples(recipe, cache) if recipe.rooms.rooms else []
    mean, std = channel_statistics(examples, recipe.input.modality)
    module = SegmentationTraining(recipe, labels, mean, std, class_weights(examples, labels, recipe.loss.class_balance))
    start = "random"
    if recipe.network.imagenet and isinstance(module.network, FcnLite):
        start = module.network.load_imagenet()
    out.mkdir(parents=True, exist_ok=True)
    replace_file(out / "recipe.yaml", yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False).encode())

    module.record = {
        "recipe": recipe.model_dump(mode="json"),
        "start": start,
        "data": {"fit": fit, "splits": {s: _digest_split(data, s) for s in (fit, val) if s}, "hha": HHA_MODE},
        "commit": _commit(),
        "date": date.today().isoformat(),
        "command": list(command_line),
    }
    training = _loader(SegmentationDataset(examples, recipe, labels, rooms), recipe, shuffle=True)
    _trainer(recipe, out, validate_every, log_every=min(20, len(training))).fit(
        module,
        training,
        _validation_loader(recipe, labels, DatasetFolder(data, val), cache, hha) if val else None,
        ckpt_path=str(checkpoint) if resumes else None,
        weights_only=True,  # of a checkpoint only tensors and plain values are read, nothing that could run
    )
    export_run(out, out / "model.lcrseg", data, val)
    return out / "model.lcrseg"


def _refuse_another_recipe(checkpoint: Path, recipe: Recipe) -> None:
    """A schedule or a network that is half one recipe and half another belongs to neither.

    Raises:
        RecipeError: the run in this folder follows another recipe; lists the entries that differ.
    """
    before = read_checkpoint(checkpoint)[CHECKPOINT_KEY]["record"]["recipe"]
    old, new = _entries(before), _entries(recipe.model_dump(mode="json"))
    changes = [f"{k} was {old.get(k)!r}, now {new.get(k)!r}" for k in sorted(old | new) if old.get(k) != new.get(k)]
    if changes:
        raise RecipeError(
            f"{checkpoint.parent} holds a run of another recipe ({'; '.join(changes)}): "
            "choose another --out, or start over there with --no-resume"
        )


def _entries(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as dotted names, as ``--set`` spells them."""
    flat: dict[str, Any] = {}
    for name, value in section.items():
        flat |= _entries(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def _trainer(recipe: Recipe, out: Path, validate_every: int, log_every: int) -> L.Trainer:
    o = recipe.optimizer
    callbacks: list[Callback] = [
        ModelCheckpoint(
            dirpath=out,
            filename="last",
            enable_version_counter=False,
            save_top_k=1,
            every_n_epochs=1,
            save_on_train_epoch_end=True,
        ),
        LearningRateMonitor("step"),
        TQDMProgressBar(refresh_rate=5),
    ]
    if o.ema_decay:
        callbacks.append(EMAWeightAveraging(decay=o.ema_decay))
    return L.Trainer(
        max_epochs=o.epochs,
        precision=o.precision,
        gradient_clip_val=o.gradient_clip,
        callbacks=callbacks,
        logger=CSVLogger(out, name="log"),  # a resumed run gets a log of its own beside the first
        log_every_n_steps=log_every,
        check_val_every_n_epoch=validate_every,
        num_sanity_val_steps=0,
        default_root_dir=out,
        enable_model_summary=False,
    )


def _validation_loader(
    recipe: Recipe, labels: LabelSet, folder: DatasetFolder, cache: Path, hha: HhaSettings | None
) -> DataLoader[Any]:
    examples = folder_examples(folder, cache, hha)
    return _loader(SegmentationDataset(examples, recipe, labels, augment=False), recipe)


def _loader(dataset: SegmentationDataset, recipe: Recipe, shuffle: bool = False) -> DataLoader[Any]:
    return DataLoader(
        dataset,
        batch_size=recipe.optimizer.batch_size,
        shuffle=shuffle,
        drop_last=shuffle and len(dataset) >= recipe.optimizer.batch_size,
        num_workers=0 if len(dataset) < 16 else 1,
        persistent_workers=False,
    )


def _digest_split(data: Path, split: str) -> dict[str, Any]:
    """Names and label bytes of a split, so that a score can be tied to the data it was made on."""
    folder = DatasetFolder(data, split)
    digest = hashlib.sha256()
    for name in folder.names:
        digest.update(name.encode())
        digest.update((data / "label40" / f"{name}.png").read_bytes())
    return {"frames": len(folder), "sha256": digest.hexdigest()}


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
