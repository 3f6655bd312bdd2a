"""Training: small real runs, stopping and resuming one, and what they leave behind."""

from __future__ import annotations

import csv
import logging
import os
import re
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("lightning", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")
import lightning as L
import torch
from click.testing import CliRunner
from forked_commands import ended, run_command, start_command
from lightning.pytorch.accelerators import CUDAAccelerator, MPSAccelerator
from lightning.pytorch.callbacks import Callback
from training_run import DEEPLY

from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import LcrSegError, SourceError
from lcr_seg_ros.files import exclusive, make_folder
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.segmenter import Segmenter
from lcr_seg_ros.sources.folder import DatasetFolder, write_folder
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.training.callbacks import LastCheckpoint
from lcr_seg_ros.training.datasets.folder_labels import write_label_set
from lcr_seg_ros.training.examples import Example, folder_examples
from lcr_seg_ros.training.export_run import read_checkpoint
from lcr_seg_ros.training.machine import Machine
from lcr_seg_ros.training.memory_advice import to_hold_less
from lcr_seg_ros.training.module import SegmentationTraining, TrainingError
from lcr_seg_ros.training.recipe import Recipe, RecipeError, RoomsRecipe
from lcr_seg_ros.training.train import _tell_of_unused_rooms
from lcr_seg_ros.training.train import train as run_training
from lcr_seg_ros.training.train_command import LOCK, command
from lcr_seg_ros.weights import state_dict_from_onnx

NYU40 = LabelSet.load("nyu40")
TINY = {
    "network.imagenet": False,
    "network.arguments.width": 16,
    "input.modality": "rgb",
    "input.height": 32,
    "input.width": 48,
    "rooms.rooms": 0,
    "rooms.per_epoch": 0,
}


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rooms")
    room = RenderedRoom(frames=12, seed=1, width=320, height=240)
    write_folder([room[i] for i in range(8)], folder, split="fit")
    write_folder([room[i] for i in range(8, 12)], folder, split="val")
    return folder


def words(rooms: Path, out: Path, *settings: str, recipe: str = "nyu40") -> list[object]:
    """Of the command line of a run that is as small as it can be."""
    values = ["input.height=64", "input.width=96", "optimizer.batch_size=4", "rooms.rooms=0", *settings]
    command = ["train", "--data", rooms, "--out", out, "--cache", rooms.parent / "cache", "--threads", 1]
    return [*command, "--recipe", recipe, "--validate-every", 1, *values]


def train(rooms: Path, out: Path, *settings: str, recipe: str = "nyu40") -> ModelBundle:
    answer = run_command(words(rooms, out, *settings, recipe=recipe), out.with_suffix(".log"))
    assert answer.returncode == 0, answer.output[-3000:]
    return ModelBundle.load(out / "model.lcrseg")


@pytest.mark.slow
def test_a_run_with_the_constraint_leaves_a_bundle_that_labels_frames(rooms: Path, tmp_path: Path) -> None:
    bundle = train(rooms, tmp_path / "run", "optimizer.epochs=2")
    assert bundle.training["recipe"]["loss"]["constraint"]["weight"] == 20
    assert bundle.training["epochs_run"] == 2
    assert bundle.training["data"]["splits"]["fit"]["frames"] == 8
    assert 0 <= bundle.scores["val"]["mean_iou"] <= 1

    # The log tells how the constraint fared.
    with next((tmp_path / "run" / "log").glob("*/metrics.csv")).open() as file:
        csv_rows = [row for row in csv.DictReader(file) if row["val/pixel_acc"]]
        header = list(csv_rows[0])
    for column in ("loss/labels", "loss/constraint", "val/mean_iou"):
        assert column in header

    # Pictures of the validation frames, one a validation.
    assert sorted(p.name for p in (tmp_path / "run" / "previews").iterdir()) == ["epoch_0001.png", "epoch_0002.png"]

    # What was validated in training is what the bundle then scores: same weights, half the label resolution.
    last = csv_rows[-1]
    assert float(last["val/pixel_acc"]) == pytest.approx(bundle.scores["val"]["pixel_acc"], abs=0.1)
    assert float(last["val/pixel_acc"]) > 0

    # The bundle holds the trained weights, whatever runtime reads them.
    checkpoint = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["state_dict"]
    stored = state_dict_from_onnx(bundle.network)
    for name, value in stored.items():
        wanted = checkpoint[f"network.{name}"]
        assert torch.allclose(value, wanted, rtol=2e-3, atol=1e-4), name
    item = DatasetFolder(rooms, "val")[0]
    labels = [
        Segmenter.load(tmp_path / "run" / "model.lcrseg", backend=b).segment(item.frame).labels
        for b in ("openvino", "torch")
    ]
    assert (labels[0] == labels[1]).mean() > 0.999

    # `export` makes the same of the run's checkpoint; scores of a network that knows nothing yet hang on ties.
    arguments = ["export", "--run", tmp_path / "run", "--out", tmp_path / "again.lcrseg", "--data", rooms]
    exported = run_command(arguments, tmp_path / "export.log")
    assert exported.returncode == 0, exported.output[-3000:]
    again = ModelBundle.load(tmp_path / "again.lcrseg")
    assert replace(again, scores={}) == replace(bundle, scores={})
    assert again.scores["val"]["pixel_acc"] == pytest.approx(bundle.scores["val"]["pixel_acc"], abs=1e-3)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_its_end_and_never_under_another_recipe(rooms: Path, tmp_path: Path) -> None:
    out, checkpoint = tmp_path / "run", tmp_path / "run" / "last.ckpt"
    log = tmp_path / "log"
    process = start_command(words(rooms, out, "optimizer.epochs=6"), log)
    try:
        deadline = time.monotonic() + 120
        while not checkpoint.is_file() and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        process.terminate()
        process.join(60)
    assert process.exitcode is not None
    assert checkpoint.is_file()
    assert not (out / "model.lcrseg").exists(), "the run ended before it could be stopped"

    other = run_command(words(rooms, out, "optimizer.epochs=7"), log)
    assert other.returncode == 1
    assert "holds a run of another recipe (optimizer.epochs was 6, now 7)" in other.output
    assert "Traceback" not in other.output

    mixed = run_command([*words(rooms, out, "optimizer.epochs=6"), "--fit", "val"], log)
    assert mixed.returncode == 1
    assert "holds a run on split 'fit' of 8 frames" in mixed.output and "now it is 'val' of 4" in mixed.output

    record = train(rooms, out, "optimizer.epochs=6").training
    assert (record["epochs_run"], record["steps_run"]) == (6, 12)


@pytest.mark.slow
def test_ctrl_c_ends_a_training_with_130_and_tells_that_the_same_command_goes_on(rooms: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = start_command(words(rooms, tmp_path / "run", "optimizer.epochs=500"), log)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run" / "last.ckpt").is_file() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGINT)
    done = ended(process, log, 60)
    assert done.returncode == 130, done.output
    assert done.output.splitlines()[-1] == "stopped; the same command goes on"
    assert "Aborted" not in done.output and "Traceback" not in done.output
    told = [line for line in done.output.splitlines() if line.startswith("INFO")]
    assert all(re.match(r"INFO epoch \d+ of 500: ", line) for line in told), "of libraries, none"


def test_a_disk_that_is_full_is_named_by_the_file_that_could_not_be_written_and_no_draft_stays(
    tmp_path: Path,
) -> None:
    class FullDisk:
        is_global_zero, global_step = True, 3

        def save_checkpoint(self, path: Path) -> None:
            path.write_bytes(b"half of it")
            raise OSError(28, "No space left on device", "/elsewhere/of/lightning")

    (tmp_path / "last.ckpt").write_bytes(b"the one before")
    with pytest.raises(OSError, match=r"No space left on device.*last\.ckpt"):
        LastCheckpoint(tmp_path / "last.ckpt")._write(FullDisk())  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["last.ckpt"]
    assert (tmp_path / "last.ckpt").read_bytes() == b"the one before"


def test_two_trainings_in_one_folder_are_refused_and_a_folder_without_a_result_goes(
    rooms: Path, tmp_path: Path
) -> None:
    arguments = [str(word) for word in words(rooms, tmp_path / "run")[1:]]
    with exclusive(make_folder(tmp_path / "run"), LOCK):
        result = CliRunner().invoke(command, arguments)
    assert isinstance(result.exception, LcrSegError) and "another process works in" in str(result.exception)
    arguments = [str(word) for word in words(rooms, tmp_path / "other", recipe="nyu40")[1:]] + ["--fit", "nothing"]
    result = CliRunner().invoke(command, arguments)
    assert isinstance(result.exception, SourceError) and not (tmp_path / "other").exists()


def test_a_cut_checkpoint_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(SourceError, match="cut or is no checkpoint"):
        read_checkpoint(tmp_path / "last.ckpt")


def test_inner_stages_are_supervised_by_labels_at_every_scale_through_classifiers_that_stay_behind(
    rooms: Path, tmp_path: Path
) -> None:
    module = SegmentationTraining(Recipe.load("segnet_modern", DEEPLY), NYU40, torch.ones(40))
    scores, inner = module.network.scores_and_inner(torch.zeros(1, 3, 64, 96))  # type: ignore[operator]
    assert scores.shape == (1, 40, 64, 96)
    assert [map_.shape[-2:] for map_ in inner] == [(2, 3), (4, 6), (8, 12), (16, 24)]
    assert [c(map_).shape[1] for c, map_ in zip(module.inner_classifiers, inner, strict=True)] == [40] * 4

    run = tmp_path / "run"
    arguments = [f"{name}={value}" for name, value in DEEPLY.items()]
    bundle = train(rooms, run, "optimizer.epochs=2", "--log-every", "1", *arguments, recipe="segnet_modern")
    with next((run / "log").glob("*/metrics.csv")).open() as file:
        logged = [row for row in csv.DictReader(file) if row["loss/inner"]]
    assert len(logged) == read_checkpoint(run / "last.ckpt")["global_step"] > 1
    assert all(0 < float(row["constraint/mean_w"]) <= 1 for row in logged), "kernels are followed step by step"
    inner_losses = [float(row["loss/inner"]) for row in logged]
    # Of four stages, each a chance of 1 in 40 at first, weighed by 0.3.
    assert inner_losses[0] == pytest.approx(4 * 0.3 * np.log(40), rel=0.5)
    assert read_checkpoint(run / "last.ckpt")["state_dict"].keys() >= {"inner_classifiers.0.weight"}
    assert not any("inner" in name for name in state_dict_from_onnx(bundle.network))


class KeepEveryEpoch(Callback):
    """Copies of the network's state before the first epoch and after each."""

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._keep(pl_module)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._keep(pl_module)

    def _keep(self, module: L.LightningModule) -> None:
        state = module.network.state_dict()  # type: ignore[operator, union-attr]
        self.states.append({name: value.clone() for name, value in state.items()})


def states_of_epochs(rooms: Path, out: Path, **changes: object) -> list[dict[str, torch.Tensor]]:
    """Of a deeply supervised SegNet."""
    small = {"input.height": 64, "input.width": 96, "optimizer.batch_size": 4, "optimizer.ema_decay": 0.0}
    recipe = Recipe.load("segnet_modern", {**DEEPLY, **small, **{k.replace("__", "."): v for k, v in changes.items()}})
    kept = KeepEveryEpoch()
    machine = Machine("cpu", threads=1, workers=0)
    run_training(recipe, rooms, "fit", None, out, cache=out / "cache", machine=machine, callbacks=[kept])
    return kept.states


def test_early_epochs_may_end_at_the_last_inner_stage_and_leave_the_outer_decoder_as_it_was(
    rooms: Path, tmp_path: Path
) -> None:
    start, within, after = states_of_epochs(rooms, tmp_path / "run", loss__inner_share=0.5, optimizer__epochs=2)
    for name in ("decoder.3.conv2_2_d.conv.weight", "decoder.4.conv1_2_d.norm.running_mean", "score.weight"):
        assert torch.equal(within[name], start[name]), name
        assert not torch.equal(after[name], within[name]), name
    for name in ("decoder.2.conv3_1_d.conv.weight", "encoder.stages.0.conv1_1.conv.weight"):
        assert not torch.equal(within[name], start[name]), name


def test_frozen_stages_keep_weights_and_batch_norms(rooms: Path, tmp_path: Path) -> None:
    start, after = states_of_epochs(rooms, tmp_path / "run", network__frozen_stages=2, optimizer__epochs=1)
    changed = {name for name, value in start.items() if not torch.equal(after[name], value)}
    assert not [name for name in changed if name.startswith(("encoder.stages.0.", "encoder.stages.1."))]
    assert {"encoder.stages.2.conv3_1.conv.weight", "encoder.stages.2.conv3_1.norm.running_mean"} <= changed


def test_a_loss_that_is_not_finite_stops_the_run_and_says_which_part_and_what_to_try(
    rooms: Path, tmp_path: Path
) -> None:
    entries = ("optimizer.learning_rate=1.0e+20", "optimizer.gradient_clip=0", "optimizer.schedule=constant")
    message = r"error: step [0-9]+ \(epoch [0-9]+\): .*lower optimizer.learning_rate, now 1e\+20"
    with pytest.raises(AssertionError, match=message):
        train(rooms, tmp_path / "run", *entries, "optimizer.name=sgd", "optimizer.epochs=4")
    assert not (tmp_path / "run" / "model.lcrseg").exists()


def test_a_run_that_diverges_in_the_last_step_of_an_epoch_keeps_nothing_of_it(
    rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steep = {"name": "sgd", "schedule": "constant", "learning_rate": 1e20, "gradient_clip": 0, "ema_decay": 0}
    entries = TINY | {f"optimizer.{k}": v for k, v in steep.items()} | {"optimizer.epochs": 1}
    recipe, machine = Recipe.load("nyu40", entries), Machine("cpu", threads=1, workers=0)
    run = tmp_path / "run"
    message = r"step 1 \(epoch 1\): the loss was finite, but now .*lower optimizer.learning_rate, .*--no-resume"
    with pytest.raises(TrainingError, match=message):
        run_training(recipe, rooms, "fit", None, run, cache=tmp_path, machine=machine)
    assert not (run / "last.ckpt").exists() and not (run / "model.lcrseg").exists()

    # A checkpoint that an older version kept is not made a model.
    monkeypatch.setattr(SegmentationTraining, "stop_if_diverged", lambda *_: None)
    with pytest.raises(TrainingError, match=r"last\.ckpt is of a run that diverged \(.*--no-resume"):
        run_training(recipe, rooms, "fit", None, run, cache=tmp_path, machine=machine)
    assert not (run / "model.lcrseg").exists()


@pytest.mark.parametrize(("accumulate", "rows"), [(1, 2), (3, 2)])
def test_each_row_of_the_log_tells_of_the_constraint_at_its_very_step_and_so_does_the_progress_bar(
    rooms: Path, tmp_path: Path, accumulate: int, rows: int
) -> None:
    class Shown(Callback):
        names: frozenset[str] = frozenset()

        def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            self.names = frozenset(trainer.progress_bar_metrics)

    entries = TINY | {"optimizer.batch_size": 2, "optimizer.accumulate": accumulate, "optimizer.epochs": 2}
    shown, machine = Shown(), Machine("cpu", threads=1, workers=0)
    recipe = Recipe.load("nyu40", entries)
    run_training(recipe, rooms, "fit", None, tmp_path, cache=tmp_path, machine=machine, callbacks=[shown])
    with next((tmp_path / "log").glob("*/metrics.csv")).open() as file:
        told = [row for row in csv.DictReader(file) if row["loss/labels"]]
    assert len(told) == rows
    for row in told:
        ratio = float(row["loss/constraint"]) / float(row["loss/labels"])
        assert float(row["constraint/over_labels"]) == pytest.approx(ratio, rel=1e-5)
    assert shown.names >= {"loss/labels", "loss/constraint", "constraint/kernel_energy_min", "constraint/mean_w"}


@pytest.mark.parametrize(
    ("gpus", "machine", "said"),
    [
        (0, Machine("gpu"), "--accelerator gpu: PyTorch finds no GPU here; leave it out to train on the CPU"),
        (1, Machine("gpu", devices=2), "--devices 2: PyTorch finds 1 GPU here; give --devices 1, or --accelerator cpu"),
        (2, Machine("auto", devices=4), "--devices 4: PyTorch finds 2 GPUs here; give --devices 2, or"),
    ],
)
def test_a_gpu_that_is_not_there_is_told_before_any_frame_is_read(
    gpus: int, machine: Machine, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CUDAAccelerator, "auto_device_count", staticmethod(lambda: gpus))
    monkeypatch.setattr(MPSAccelerator, "is_available", staticmethod(lambda: False))
    with pytest.raises(TrainingError, match=said):
        run_training(Recipe.load("nyu40", TINY), tmp_path / "nowhere", "fit", None, tmp_path, machine=machine)


def test_a_training_whose_output_goes_to_a_file_writes_one_line_an_epoch_and_draws_no_bar(
    rooms: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, "lcr_seg_ros")
    recipe, machine = Recipe.load("nyu40", TINY | {"optimizer.epochs": 2}), Machine("cpu", threads=1, workers=0)
    run_training(recipe, rooms, "fit", "val", tmp_path, cache=tmp_path, machine=machine, validate_every=2)
    lines = [r.getMessage() for r in caplog.records if r.name == "lcr_seg_ros.training.callbacks"]
    assert [line.partition(":")[0] for line in lines] == ["epoch 1 of 2", "epoch 2 of 2"]
    assert all("loss/labels " in line and "lr " in line and "ready in 0:00 h" in line for line in lines)
    assert ["val/mean_iou " in line for line in lines] == [False, True]
    printed = capsys.readouterr()
    assert "it/s" not in printed.out + printed.err


def test_frames_are_loaded_without_processes_where_the_machine_says_so_for_validation_too(
    rooms: Path, tmp_path: Path
) -> None:
    class Loading(Callback):
        workers: tuple[int, int] | None = None

        def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            self.workers = (trainer.train_dataloader.num_workers, trainer.val_dataloaders.num_workers)  # type: ignore[union-attr]

    assert [Machine().workers_for(frames) for frames in (15, 16)] == [0, 1]
    shutil.copytree(rooms, tmp_path / "data")
    names = DatasetFolder(rooms, "val").names
    (tmp_path / "data" / "many.txt").write_text("\n".join(names * 4))
    recipe = Recipe.load("nyu40", TINY | {"optimizer.epochs": 1})
    seen, machine = Loading(), Machine("cpu", threads=1, workers=0)
    run = {"cache": tmp_path, "machine": machine, "callbacks": [seen], "validate_every": 1}
    run_training(recipe, tmp_path / "data", "many", "many", tmp_path / "run", **run)  # type: ignore[arg-type]
    assert seen.workers == (0, 0)


@pytest.mark.parametrize("split", ["fit", "val"])
@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 225. KiB for an array"),
        cv2.error("OpenCV(4.13.0) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 230400 bytes\n"),
    ],
)
def test_a_lack_of_memory_for_all_frames_comes_with_what_to_change(
    error: Exception, split: str, rooms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = DatasetFolder(rooms, split).names

    def examples(folder: DatasetFolder, *values: object, **more: object) -> list[Example]:
        if folder.names == wanted:
            raise error
        return folder_examples(folder, *values, **more)  # type: ignore[arg-type]

    monkeypatch.setattr("lcr_seg_ros.training.train.folder_examples", examples)
    worn = {"input.modality": "rgb_hha", "augmentation.worn_depth": 0.4}
    with pytest.raises(TrainingError, match="memory does not suffice") as refusal:
        run_training(Recipe.load("nyu40", TINY | worn), rooms, "fit", "val", tmp_path / "run", cache=tmp_path / "cache")
    assert f"({str(error).strip()})" in str(refusal.value)
    _, _, advice = str(refusal.value).partition("Try: ")
    assert advice.split("; ") == [
        f"fewer frames in {split}.txt",
        "a dataset folder of smaller images: all are held at the size of their files",
        "augmentation.worn_depth=0, for which depth need not be held",
    ]


def test_a_lack_of_memory_for_rendered_rooms_and_several_processes_is_answered_with_fewer_of_both() -> None:
    advice = to_hold_less(Recipe.load("nyu40"), "fit", Machine(devices=2))
    assert "rooms.rooms=30 instead of 60" in advice
    assert "fewer --devices than 2: each holds all frames" in advice


def test_label_images_of_another_label_set_are_refused(rooms: Path, tmp_path: Path) -> None:
    message = r"that label set nyu4 .4 classes. does not know: make a copy with `prepare"
    with pytest.raises(AssertionError, match=message):
        train(rooms, tmp_path / "run", "labels=nyu4", "--cache", tmp_path / "cache")
    assert not (tmp_path / "cache").exists(), "no HHA was computed before"


def test_frames_that_are_not_labelled_yet_are_named_before_anything_is_trained(rooms: Path, tmp_path: Path) -> None:
    shutil.copytree(rooms, tmp_path / "rooms")
    first = DatasetFolder(rooms, "fit").names[0]
    (tmp_path / "rooms" / "label40" / f"{first}.png").unlink()
    with pytest.raises(SourceError, match=rf"1 of \d+ frames .* no label image: this needs label40/{first}\.png"):
        run_training(Recipe.load("nyu40"), data=tmp_path / "rooms", fit="fit", val=None, out=tmp_path / "run")


def test_a_folder_with_classes_of_its_own_is_not_learnt_by_the_recipes(rooms: Path, tmp_path: Path) -> None:
    shutil.copytree(rooms, tmp_path / "own")
    write_label_set(tmp_path / "own", LabelSet("rooms", tuple(replace(c, name=f"my {c.name}") for c in NYU40.classes)))
    with pytest.raises(SourceError, match=r"1 is 'my wall' in its labels.yaml .*train with labels=.*own/labels.yaml"):
        run_training(Recipe.load("nyu40"), data=tmp_path / "own", fit="fit", val=None, out=tmp_path / "run")


@pytest.mark.parametrize(("count", "per_epoch", "is_told"), [(0, 5, True), (2, 0, True), (2, 5, False), (0, 0, False)])
def test_rendered_rooms_that_nothing_is_learned_from_are_told(
    caplog: pytest.LogCaptureFixture, count: int, per_epoch: int, is_told: bool
) -> None:
    _tell_of_unused_rooms(RoomsRecipe(rooms=count, per_epoch=per_epoch))
    assert (f"rooms.rooms is {count} and rooms.per_epoch {per_epoch}; set both" in caplog.text) == is_told


def test_rendered_rooms_are_refused_where_ids_mean_something_else(rooms: Path, tmp_path: Path) -> None:
    classes = [replace(c, name=f"mine {c.id}") if c.id == 7 else c for c in NYU40.classes]
    write_label_set(tmp_path, LabelSet("mine", tuple(classes)))
    entries = {"labels": str(tmp_path / "labels.yaml"), "rooms.rooms": 2}
    with pytest.raises(RecipeError, match=r"where 7 is 'table' and not 'mine 7'.*rooms\.rooms=0"):
        run_training(Recipe.load("nyu40", entries), data=rooms, fit="fit", val=None, out=tmp_path / "run")
