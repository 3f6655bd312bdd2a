"""Training: data, recipes, one small real run with the constraint, resuming it, and what it leaves behind."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lightning", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")
import lightning as L
import torch
from lightning.pytorch.callbacks import Callback

from lcr_seg_ros.bundle import InputSpec, ModelBundle
from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.hha import HhaSettings
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.networks import create_network
from lcr_seg_ros.resources import CONFIG
from lcr_seg_ros.segmenter import Segmenter
from lcr_seg_ros.sources.folder import DatasetFolder, write_folder
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.training.data import (
    IGNORED,
    PADDED,
    Example,
    SegmentationDataset,
    channel_statistics,
    class_weights,
    folder_examples,
)
from lcr_seg_ros.training.datasets.grouping import write_label_set
from lcr_seg_ros.training.export_run import read_checkpoint
from lcr_seg_ros.training.module import SegmentationTraining, TrainingError, _schedule
from lcr_seg_ros.training.recipe import LossRecipe, OptimizerRecipe, Recipe, RecipeError
from lcr_seg_ros.training.train import Machine, _explained
from lcr_seg_ros.training.train import train as run_training
from lcr_seg_ros.weights import state_dict_from_onnx

NYU40 = LabelSet.load("nyu40")


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rooms")
    room = RenderedRoom(frames=12, seed=1, width=320, height=240)
    write_folder([room[i] for i in range(8)], folder, split="fit")
    write_folder([room[i] for i in range(8, 12)], folder, split="val")
    return folder


def command_line(rooms: Path, out: Path, *settings: str) -> list[str]:
    values = ["input.height=64", "input.width=96", "optimizer.batch_size=4", "rooms.rooms=0", *settings]
    arguments = [v for s in values for v in ("--set", s)]
    command = ["train", "--data", rooms, "--out", out, "--cache", out / "cache", "--threads", "1", *arguments]
    command += ["--validate-every", "1"]
    return [sys.executable, "-m", "lcr_seg_ros", *map(str, command)]


def train(rooms: Path, out: Path, *settings: str, recipe: str = "nyu40") -> ModelBundle:
    command = [*command_line(rooms, out, *settings), "--recipe", recipe]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=250)
    assert answer.returncode == 0, answer.stderr[-3000:]
    return ModelBundle.load(out / "model.lcrseg")


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
    subprocess.run([sys.executable, "-m", "lcr_seg_ros", *map(str, arguments)], check=True, timeout=120)
    again = ModelBundle.load(tmp_path / "again.lcrseg")
    assert replace(again, scores={}) == replace(bundle, scores={})
    assert again.scores["val"]["pixel_acc"] == pytest.approx(bundle.scores["val"]["pixel_acc"], abs=1e-3)


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_to_its_end_and_never_under_another_recipe(rooms: Path, tmp_path: Path) -> None:
    out, checkpoint = tmp_path / "run", tmp_path / "run" / "last.ckpt"
    process = subprocess.Popen(
        command_line(rooms, out, "optimizer.epochs=8"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while not checkpoint.is_file() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        process.terminate()
        process.wait(60)
    assert checkpoint.is_file()
    assert not (out / "model.lcrseg").exists(), "the run ended before it could be stopped"

    other = subprocess.run(command_line(rooms, out, "optimizer.epochs=9"), capture_output=True, text=True, timeout=120)
    assert other.returncode == 1
    assert "holds a run of another recipe (optimizer.epochs was 8, now 9)" in other.stderr
    assert "Traceback" not in other.stderr

    mixed = [*command_line(rooms, out, "optimizer.epochs=8"), "--fit", "val"]
    other = subprocess.run(mixed, capture_output=True, text=True, timeout=120)
    assert other.returncode == 1
    assert "holds a run on split 'fit' of 8 frames" in other.stderr and "now it is 'val' of 4" in other.stderr

    record = train(rooms, out, "optimizer.epochs=8").training
    assert (record["epochs_run"], record["steps_run"]) == (8, 16)


def test_a_cut_checkpoint_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(SourceError, match="cut or is no checkpoint"):
        read_checkpoint(tmp_path / "last.ckpt")


def test_the_baseline_differs_in_the_loss_only(tmp_path: Path) -> None:
    method, baseline = Recipe.load("nyu40"), Recipe.load("nyu40", {"loss.constraint": None})
    assert method.loss.constraint is not None
    assert baseline.loss.constraint is None
    assert method.model_copy(update={"loss": baseline.loss}) == baseline


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"optimizer.epochs": 0}, "optimizer.epochs: Input should be greater than or equal to 1"),
        ({"loss.constraint.weigth": 3}, "weigth: Extra inputs are not permitted"),
        ({"input.modality": "thermal"}, "input.modality"),
    ],
)
def test_a_recipe_names_each_entry_that_is_wrong(entries: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe.load("nyu40", entries)


def test_a_recipe_holds_what_differs_from_its_base(tmp_path: Path) -> None:
    (tmp_path / "first.yaml").write_text("base: nyu40\nname: first\noptimizer: {epochs: 3}\n")
    (tmp_path / "second.yaml").write_text("base: first.yaml\nname: second\nloss: {constraint: false}\n")
    base, second = Recipe.load("nyu40"), Recipe.load(tmp_path / "second.yaml")
    assert (second.name, second.optimizer.epochs, second.loss.constraint) == ("second", 3, None)
    assert second.optimizer.model_copy(update={"epochs": base.optimizer.epochs}) == base.optimizer
    (tmp_path / "first.yaml").write_text("base: second.yaml\nname: first\n")
    with pytest.raises(RecipeError, match="is its own base"):
        Recipe.load(tmp_path / "second.yaml")


def test_one_key_switches_the_constraint() -> None:
    assert Recipe.load("nyu40", {"loss.constraint": False}) == Recipe.load("nyu40", {"loss.constraint": None})
    assert Recipe.load("nyu40", {"loss.constraint": True}) == Recipe.load("nyu40")
    off_and_on = Recipe.load("nyu40", {"loss.constraint": False, "loss.constraint.weight": 7})
    assert off_and_on.loss.constraint is not None
    assert off_and_on.loss.constraint.weight == 7


@pytest.mark.parametrize(("modality", "guide"), [("rgb", "rgb"), ("hha", "hha"), ("rgb_hha", "rgb")])
def test_the_guide_follows_the_modality_and_is_written_out(modality: str, guide: str) -> None:
    constraint = Recipe.load("nyu40", {"input.modality": modality}).loss.constraint
    assert constraint is not None
    assert constraint.guide == guide


def test_a_guide_that_the_network_has_no_image_for_is_refused() -> None:
    with pytest.raises(RecipeError, match="modality rgb has no HHA"):
        Recipe.load("nyu40", {"input.modality": "rgb", "loss.constraint.guide": "hha"})


@pytest.mark.parametrize("recipe", sorted(p.stem for p in (CONFIG / "recipes").glob("*.yaml")))
@pytest.mark.parametrize("modality", ["rgb", "hha"])
@pytest.mark.parametrize("labels", ["nyu40", "nyu4"])
@pytest.mark.parametrize("constraint", [True, False])
def test_every_recipe_serves_each_modality_and_label_set_with_and_without_the_constraint(
    recipe: str, modality: str, labels: str, constraint: bool
) -> None:
    entries = {"input.modality": modality, "labels": labels, "loss.constraint": constraint}
    chosen = Recipe.load(recipe, entries)
    assert (chosen.loss.constraint is not None) == constraint
    assert chosen.name == recipe


@pytest.mark.parametrize("schedule", ["one_cycle", "poly", "cosine", "constant"])
def test_schedules_start_low_where_they_warm_up_and_never_exceed_the_rate(schedule: str) -> None:
    o = OptimizerRecipe(schedule=schedule, learning_rate=0.1, name="sgd")  # type: ignore[arg-type]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    steps = _schedule(optimizer, o, 100)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        steps.step()
    assert max(rates) == pytest.approx(0.1, rel=1e-3)
    assert rates[-1] == pytest.approx(0.1) if schedule == "constant" else rates[-1] < 0.003
    assert (rates[0] < 0.03) == (schedule != "constant")


def test_biases_get_their_rate_and_no_decay() -> None:
    recipe = Recipe.load("fcn_lite_paper", {"network.imagenet": False})
    module = SegmentationTraining(recipe, NYU40, torch.ones(40))
    module.trainer = L.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    module.trainer.fit_loop.epoch_loop.max_steps = 10
    groups = module.configure_optimizers()["optimizer"].param_groups
    by_parameter = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert by_parameter[id(module.network.score.weight)] == (1e-3, 5e-4)
    assert by_parameter[id(module.network.score.bias)] == (2e-3, 0.0)
    assert by_parameter[id(module.network.encoder.bn1.bias)] == (1e-3, 0.0)
    assert by_parameter[id(module.constraint.kernels)] == (1e-4, 0.0)  # type: ignore[union-attr]
    assert len(by_parameter) == len(list(module.parameters()))


# The decoder of SegNet is deep: its inner stages are supervised as well, and its encoder moves slowly.
DEEPLY = {
    "network.imagenet": False,
    "network.arguments.width": 8,
    "network.arguments.dropout": 0,
    "loss.deep_supervision": 0.3,
    "optimizer.encoder_lr_scale": 0.1,
}


def test_an_encoder_from_imagenet_can_move_more_slowly_than_the_rest() -> None:
    module = SegmentationTraining(Recipe.load("segnet_modern", DEEPLY), NYU40, torch.ones(40))
    module.trainer = L.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    module.trainer.fit_loop.epoch_loop.max_steps = 10
    groups = module.configure_optimizers()["optimizer"].param_groups
    highest = {id(p): g["max_lr"] for g in groups for p in g["params"]}
    assert {highest[id(p)] for p in module.network.encoder.parameters()} == {1e-4}  # type: ignore[union-attr]
    others = (module.network.decoder, module.network.score, module.inner_classifiers)
    assert {highest[id(p)] for part in others for p in part.parameters()} == {1e-3}  # type: ignore[union-attr]
    assert len(highest) == len(list(module.parameters()))


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
    bundle = train(rooms, run, "optimizer.epochs=1", *arguments, recipe="segnet_modern")
    with next((run / "log").glob("*/metrics.csv")).open() as file:
        inner_losses = [float(row["loss/inner"]) for row in csv.DictReader(file) if row["loss/inner"]]
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


def test_an_early_end_within_needs_classifiers_there() -> None:
    with pytest.raises(RecipeError, match=r"inner_share is 0.5: it needs deep_supervision above 0"):
        Recipe.load("segnet_modern", {"loss.deep_supervision": 0, "loss.inner_share": 0.5})


def test_a_network_without_inner_stages_says_that_it_has_none() -> None:
    recipe = Recipe.load("nyu40", {"network.imagenet": False, "loss.deep_supervision": 0.3})
    with pytest.raises(RecipeError, match=r"loss.deep_supervision is 0.3, but network fcn_lite has no inner"):
        SegmentationTraining(recipe, NYU40, torch.ones(40))


@pytest.mark.parametrize(("name", "margin"), [("segnet", 0), ("fcn32s", 99)])
def test_w_can_be_taken_from_the_first_features_of_a_vgg(name: str, margin: int) -> None:
    small = {"width": 4} if name == "segnet" else {"width": 4, "head_channels": 8}
    entries = {"network.arguments": small, "network.imagenet": False, "loss.constraint.source": "conv1_2"}
    module = SegmentationTraining(Recipe.load(f"{name}_paper", entries), NYU40, torch.ones(40))
    image = torch.rand(1, 3, 40, 56) * 255
    module(image)
    guide = module._feature_guide(image.shape[-2:])
    assert guide.shape == (1, 4, 40, 56) and not guide.requires_grad
    lengths = guide.square().sum(1).sqrt()
    assert torch.allclose(lengths[lengths > 0], torch.ones(()), atol=1e-4)
    whole = module._features
    assert whole is not None and whole.shape[-2:] == (40 + 2 * margin, 56 + 2 * margin)
    assert torch.equal(guide > 0, whole[:, :, margin : margin + 40, margin : margin + 56] > 0)
    constraint = module.constraint
    assert constraint is not None
    value = constraint(torch.rand(1, 40, 40, 56).softmax(1).requires_grad_(), guide)
    value.backward()
    assert constraint.kernels.grad is not None and bool(constraint.kernels.grad.isfinite().all())


def test_w_from_features_needs_a_vgg() -> None:
    recipe = Recipe.load("nyu40", {"loss.constraint.source": "conv1_2", "network.imagenet": False})
    with pytest.raises(RecipeError, match="conv1_2, a layer that fcn_lite does not have"):
        SegmentationTraining(recipe, NYU40, torch.ones(40))


def test_a_network_without_vgg_says_that_it_has_no_stages_to_freeze() -> None:
    recipe = Recipe.load("nyu40", {"network.imagenet": False, "network.frozen_stages": 1})
    with pytest.raises(RecipeError, match=r"network.frozen_stages is 1, but fcn_lite has no VGG-16"):
        SegmentationTraining(recipe, NYU40, torch.ones(40))


def test_a_loss_that_is_not_finite_stops_the_run_and_says_which_part_and_what_to_try(
    rooms: Path, tmp_path: Path
) -> None:
    entries = ("optimizer.learning_rate=1.0e+20", "optimizer.gradient_clip=0", "optimizer.schedule=constant")
    message = r"error: step [0-9]+ \(epoch [0-9]+\): .*lower optimizer.learning_rate, now 1e\+20"
    with pytest.raises(AssertionError, match=message):
        train(rooms, tmp_path / "run", *entries, "optimizer.name=sgd", "optimizer.epochs=4")
    assert not (tmp_path / "run" / "model.lcrseg").exists()


def test_a_lack_of_memory_comes_with_what_to_change() -> None:
    message = r"batch_size=4 optimizer.accumulate=2, .*optimizer\.precision=bf16-mixed"
    with pytest.raises(TrainingError, match=message), _explained(Recipe.load("nyu40")):
        torch.empty(1 << 60)


def test_label_images_of_another_label_set_are_refused(rooms: Path, tmp_path: Path) -> None:
    message = r"that label set nyu4 .4 classes. does not know: make a copy with `prepare"
    with pytest.raises(AssertionError, match=message):
        train(rooms, tmp_path / "run", "labels=nyu4")


def constant_example(label: int, value: int = 100) -> Example:
    image = np.full((48, 64, 3), value, np.uint8)
    return Example(image, image.copy(), np.full((48, 64), label, np.uint8))


def test_void_becomes_ignored_and_ids_become_channels() -> None:
    recipe = Recipe.load("nyu40", {"input.height": 32, "input.width": 48})
    for label, channel in ((0, IGNORED), (1, 0), (40, 39)):
        _, _, target = SegmentationDataset([constant_example(label)], recipe, NYU40)[0]
        assert target.unique().tolist() == [channel]


def test_geometry_moves_colour_hha_labels_and_guide_together() -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8)[None, :] * 2, (48, 1))
    labels = (ramp > 64).astype(np.uint8) + 1
    example = Example(np.stack([ramp] * 3, 2), np.stack([ramp] * 3, 2), labels)
    still = {
        "augmentation.brightness": 0,
        "augmentation.contrast": 0,
        "augmentation.saturation": 0,
        "augmentation.hue": 0,
        "augmentation.no_depth": 0,
    }
    recipe = Recipe.load("nyu40", {"input.height": 48, "input.width": 64, **still})
    for seed in range(5):
        torch.manual_seed(seed)
        image, guide, target = SegmentationDataset([example], recipe, NYU40)[0]
        assert torch.allclose(image[:3], image[3:])
        assert torch.allclose(image[:3] / 255, guide)
        sure = (image[0] - 65).abs() > 3
        assert ((image[0] > 65).long() == target)[sure].all()


@pytest.mark.parametrize("axis", [0, 1])
def test_labels_lie_where_the_image_does_to_a_fraction_of_a_pixel(axis: int) -> None:
    """An edge is compared by the share of the picture on its bright side; over many crops, none may be favoured."""
    size = (97, 131)
    bright = np.arange(size[axis]) > 50
    plane = np.broadcast_to(bright[:, None] if axis == 0 else bright, size).astype(np.uint8)
    example = Example(np.stack([200 * plane] * 3, 2), np.stack([200 * plane] * 3, 2), plane + 1)
    still = {f"augmentation.{name}": 0 for name in ("brightness", "contrast", "saturation", "hue", "no_depth", "flip")}
    entries = {"input.height": 32, "input.width": 48, "augmentation.crop_area": [0.5, 1.0], **still}
    dataset = SegmentationDataset([example], Recipe.load("nyu40", entries), NYU40)
    torch.manual_seed(0)
    apart = []
    for _ in range(200):
        image, _, target = dataset[0]
        apart.append(float((target == 1).float().mean() - image[0].mean() / 200) * target.shape[axis])
    assert abs(np.mean(apart)) < 0.1  # of a pixel; corners instead of middles would make it 0.5


def test_labels_between_scores_are_taken_from_every_corner_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe.load("nyu40", {"loss.label_stride": 2, "network.imagenet": False})
    module = SegmentationTraining(recipe, NYU40, torch.ones(40))
    target = torch.arange(6 * 8).view(1, 6, 8)
    seen = []
    for step in range(4):
        monkeypatch.setattr(SegmentationTraining, "global_step", step)
        sample = module._sampled(target)
        assert sample.shape == (1, 3, 4)
        seen += sample.flatten().tolist()
    assert sorted(seen) == list(range(6 * 8))


def test_rendered_rooms_are_refused_where_ids_mean_something_else(rooms: Path, tmp_path: Path) -> None:
    classes = [replace(c, name=f"mine {c.id}") if c.id == 7 else c for c in NYU40.classes]
    write_label_set(tmp_path, LabelSet("mine", tuple(classes)))
    entries = {"labels": str(tmp_path / "labels.yaml"), "rooms.rooms": 2}
    with pytest.raises(RecipeError, match=r"where 7 is 'table' and not 'mine 7'.*rooms\.rooms=0"):
        run_training(Recipe.load("nyu40", entries), data=rooms, fit="fit", val=None, out=tmp_path / "run")


def test_scaled_down_images_get_a_void_border_that_the_constraint_leaves_out() -> None:
    recipe = Recipe.load("nyu40", {"input.height": 48, "input.width": 64, "augmentation.scale": [0.5, 0.5]})
    torch.manual_seed(0)
    _, _, target = SegmentationDataset([constant_example(3)], recipe, NYU40)[0]
    assert set(target.unique().tolist()) == {PADDED, 2}
    assert (target == 2).float().mean() == pytest.approx(0.25, abs=0.02)


def test_scaled_up_images_show_a_part_enlarged_without_border() -> None:
    recipe = Recipe.load("nyu40", {"input.height": 48, "input.width": 64, "augmentation.scale": [2.0, 2.0]})
    ramp = np.tile(np.arange(64, dtype=np.uint8)[None, :] * 2, (48, 1))
    example = Example(np.stack([ramp] * 3, 2), np.stack([ramp] * 3, 2), np.ones((48, 64), np.uint8))
    torch.manual_seed(0)
    image, _, target = SegmentationDataset([example], recipe, NYU40)[0]
    assert target.unique().tolist() == [0]
    assert float(image[3].max() - image[3].min()) == pytest.approx(64, abs=3)


def test_an_item_asked_for_by_epoch_is_always_the_same_and_leaves_the_random_numbers_alone() -> None:
    recipe = Recipe.load("nyu40", {"input.height": 48, "input.width": 64})
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    dataset = SegmentationDataset([Example(noise, noise, np.ones((48, 64), np.uint8))], recipe, NYU40)
    before = torch.get_rng_state()
    first, again, later = dataset[0, 0][0], dataset[0, 0][0], dataset[1, 0][0]
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert torch.equal(torch.get_rng_state(), before)


def test_colour_jitter_never_touches_hha_nor_the_guide() -> None:
    recipe = Recipe.load("nyu40", {"input.height": 32, "input.width": 48})
    torch.manual_seed(1)
    image, guide, _ = SegmentationDataset([constant_example(1)], recipe, NYU40)[0]
    assert (image[3:] == 100).all()
    assert torch.allclose(guide, torch.full_like(guide, 100 / 255))
    assert not (image[:3] == 100).all()


def test_training_and_robot_see_the_same_tensor(rooms: Path, tmp_path: Path) -> None:
    from lcr_seg_ros.preprocess import Preprocessor

    folder = DatasetFolder(rooms, "val", limit=1)
    recipe = Recipe.load("nyu40", {"input.height": 120, "input.width": 160})
    examples = folder_examples(folder, tmp_path, recipe.input.hha_settings)
    image, _, _ = SegmentationDataset(examples, recipe, NYU40, augment=False)[0]
    spec = InputSpec("rgb_hha", 120, 160, (0.0,) * 6, (1.0,) * 6, recipe.input.hha_settings)
    robot = Preprocessor(spec, hha_mode="exact")(folder[0].frame).tensor[0]
    np.testing.assert_allclose(image.numpy(), robot)


def test_channel_statistics_keep_the_colour_normalisation_of_the_start_and_measure_hha() -> None:
    mean, std = channel_statistics([constant_example(1, 80), constant_example(1, 120)], "rgb_hha")
    assert mean == (127.5, 127.5, 127.5, 100.0, 100.0, 100.0)
    assert std == (127.5, 127.5, 127.5, 20.0, 20.0, 20.0)


def test_class_weights_lift_rare_classes_and_average_to_one_over_pixels() -> None:
    examples = [constant_example(1)] * 9 + [constant_example(2)]
    labels = np.ones((48, 64), np.uint8)
    labels[:8, :8] = 3
    examples.append(Example(examples[0].rgb, examples[0].hha, labels))
    weights = class_weights(examples, NYU40, LossRecipe(class_balance=0.5))
    assert weights[2] > weights[1]
    assert torch.allclose(class_weights(examples, NYU40, LossRecipe()), torch.ones(40))
    assert torch.equal(
        class_weights(examples, NYU40, LossRecipe(class_weights="none", class_balance=1)), torch.ones(40)
    )


def test_class_weights_of_the_paper_are_median_frequency_over_frequency() -> None:
    labels = np.ones((48, 64), np.uint8)
    labels[:24, :] = 2
    labels[:24, :16] = 3
    blank = np.zeros((48, 64, 3), np.uint8)
    weights = class_weights([Example(blank, blank, labels)], NYU40, LossRecipe(class_weights="paper"))
    # Frequencies 1/2, 3/8 and 1/8; the median is 3/8.
    assert weights[:4].tolist() == pytest.approx([0.75, 1.0, 3.0, 1.0])


@pytest.mark.parametrize("size", [(240, 320), (97, 131), (32, 32)])
def test_fcn_lite_scores_at_a_quarter_of_any_input_size(size: tuple[int, int]) -> None:
    network = create_network("fcn_lite", in_channels=6, num_classes=40).eval()
    with torch.no_grad():
        scores = network(torch.zeros(1, 6, *size))
    assert scores.shape == (1, 40, -(-size[0] // 4), -(-size[1] // 4))


def test_the_imagenet_start_fills_the_encoder_and_hha_filters_begin_as_colour_filters() -> None:
    network = create_network("fcn_lite", in_channels=6, num_classes=40)
    assert "efficientnet-lite0" in network.load_imagenet().origin
    stem = network.encoder.conv_stem.weight
    assert torch.allclose(stem[:, 3:], 0.5 * stem[:, :3])


def test_a_weight_file_that_does_not_fit_lists_what_did_not_match(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3), "b": torch.zeros(5)}, tmp_path / "w.pth")
    network = create_network("fcn_lite", in_channels=3, num_classes=4)
    with pytest.raises(ValueError, match=r"2 shapes differ \['a \(3,\) for conv_stem.weight"):
        network.load_imagenet(tmp_path / "w.pth")


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"network must be one of .*, got 'unet'"):
        create_network("unet")


def test_frames_without_labels_or_depth_say_so(tmp_path: Path) -> None:
    from lcr_seg_ros.sources.source import SourceFrame

    frame = RgbdFrame(np.zeros((48, 64, 3), np.uint8), None, CameraIntrinsics(50, 50, 32, 24, 64, 48))
    write_folder([SourceFrame("a", frame)], tmp_path / "bare")
    with pytest.raises(SourceError, match=r"training needs label40/a\.png"):
        folder_examples(DatasetFolder(tmp_path / "bare"), tmp_path, HhaSettings())
    write_folder([SourceFrame("a", frame, np.ones((48, 64), np.uint8))], tmp_path / "flat")
    with pytest.raises(SourceError, match=r"train with input\.modality rgb"):
        folder_examples(DatasetFolder(tmp_path / "flat"), tmp_path, HhaSettings())
