"""What must not change while a run is stopped; takes a few seconds, for one small training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("lightning", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")
import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from test_train import TINY

from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.sources.folder import write_folder
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.training.datasets.folder_labels import write_label_set
from lcr_seg_ros.training.export_run import export_run, read_checkpoint
from lcr_seg_ros.training.machine import Machine
from lcr_seg_ros.training.module import CHECKPOINT_KEY
from lcr_seg_ros.training.recipe import Recipe, RecipeError
from lcr_seg_ros.training.resume import refuse_another_camera, refuse_another_teacher, refuse_other_labels
from lcr_seg_ros.training.train import train

NYU40 = LabelSet.load("nyu40")
TURNED = replace(NYU40, classes=NYU40.classes[::-1])
RUN = Path("runs/mine")


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (TURNED, r"channel 0 was 'wall' \(id 1\), now 'otherprop' \(id 40\); .* and 37 changes more"),
        (replace(NYU40, classes=NYU40.classes[:39]), "40 classes then, 39 now"),
        (
            replace(NYU40, classes=(replace(NYU40.classes[0], name="brick"), *NYU40.classes[1:])),
            r"\(channel 0 was 'wall' \(id 1\), now 'brick' \(id 1\)\)",
        ),
        (replace(NYU40, void=200), "void was 0, now 200"),
    ],
)
def test_a_run_does_not_go_on_with_other_classes(labels: LabelSet, said: str) -> None:
    with pytest.raises(RecipeError, match=rf"runs/mine holds a run of other classes .*{said}.*choose another --out"):
        refuse_other_labels(RUN, {"labels": NYU40.to_dict()}, labels)


def test_it_goes_on_with_other_colours_and_where_an_old_run_says_nothing_of_its_classes() -> None:
    recoloured = replace(NYU40, classes=tuple(replace(c, color=(1, 2, 3), group="a") for c in NYU40.classes))
    refuse_other_labels(RUN, {"labels": NYU40.to_dict()}, recoloured)
    refuse_other_labels(RUN, {}, TURNED)


def test_another_camera_or_teacher_is_refused_unless_the_run_is_older_than_its_record_of_them() -> None:
    camera = [500.0, 500.0, 319.5, 239.5, 640.0, 480.0]
    for same in ({"data": {"intrinsics": camera}}, {"data": {}}):
        refuse_another_camera(RUN, same, camera)
    with pytest.raises(SourceError, match=r"with intrinsics \[500.0, .*\], now they are None: choose another --out"):
        refuse_another_camera(RUN, {"data": {"intrinsics": camera}}, None)
    for taught in ({"teacher": "model a, network 1"}, {}):
        refuse_another_teacher(RUN, taught, "model a, network 1")
    with pytest.raises(RecipeError, match="taught by model a, network 1, now the teacher is model a, network 2"):
        refuse_another_teacher(RUN, {"teacher": "model a, network 1"}, "model a, network 2")


class Stopped(Callback):
    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.current_epoch == 1:
            raise ArithmeticError("stopped")


def test_classes_are_those_that_the_run_began_with_whatever_its_label_file_says_later(tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    room = RenderedRoom(frames=2, seed=1, width=96, height=64)
    write_folder([room[0], room[1]], data, split="fit")
    write_label_set(data, NYU40)
    entries: dict[str, Any] = {
        "labels": str(data / "labels.yaml"),
        "optimizer.epochs": 2,
    } | TINY
    recipe, machine = Recipe.load("nyu40", entries), Machine("cpu", threads=1, workers=0)
    with pytest.raises(ArithmeticError):
        train(recipe, data, "fit", None, run, cache=tmp_path, machine=machine, callbacks=[Stopped()])

    write_label_set(data, TURNED)
    with pytest.raises(RecipeError, match="channel 0 was 'wall'"):
        train(recipe, data, "fit", None, run, cache=tmp_path, machine=machine)
    export_run(run, tmp_path / "model.lcrseg")
    bundle = ModelBundle.load(tmp_path / "model.lcrseg")
    assert bundle.labels == NYU40
    assert "labels" not in bundle.training

    # A checkpoint of old has no classes of its own: it is exported, and goes on, by the file.
    old = read_checkpoint(run / "last.ckpt")
    del old[CHECKPOINT_KEY]["record"]["labels"]
    torch.save(old, run / "last.ckpt")
    export_run(run, tmp_path / "old.lcrseg")
    assert ModelBundle.load(tmp_path / "old.lcrseg").labels == TURNED
    train(recipe, data, "fit", None, run, cache=tmp_path, machine=machine)
    assert read_checkpoint(run / "last.ckpt")["epoch"] == 1
