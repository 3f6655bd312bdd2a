"""Training: data, recipes, one small real run with the constraint, resuming it, and what it leaves behind."""

from __future__ import annotations

import csv
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lightning", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")
import torch

from lcr_seg_ros.bundle import InputSpec, ModelBundle
from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.hha import HhaSettings
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.networks import create_network
from lcr_seg_ros.segmenter import Segmenter
from lcr_seg_ros.sources.folder import DatasetFolder, write_folder
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.training.data import (
    IGNORED,
    Example,
    SegmentationDataset,
    channel_statistics,
    class_weights,
    folder_examples,
)
from lcr_seg_ros.training.export_run import read_checkpoint
from lcr_seg_ros.training.recipe import Recipe, RecipeError
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


def train(rooms: Path, out: Path, *settings: str) -> ModelBundle:
    answer = subprocess.run(command_line(rooms, out, *settings), capture_output=True, text=True, timeout=250)
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

    # `export` makes the same file of the run's checkpoint.
    arguments = ["export", "--run", tmp_path / "run", "--out", tmp_path / "again.lcrseg", "--data", rooms]
    subprocess.run([sys.executable, "-m", "lcr_seg_ros", *map(str, arguments)], check=True, timeout=120)
    assert (tmp_path / "again.lcrseg").read_bytes() == (tmp_path / "run" / "model.lcrseg").read_bytes()


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
    }
    recipe = Recipe.load("nyu40", {"input.height": 48, "input.width": 64, **still})
    for seed in range(5):
        torch.manual_seed(seed)
        image, guide, target = SegmentationDataset([example], recipe, NYU40)[0]
        assert torch.allclose(image[:3], image[3:])
        assert torch.allclose(image[:3] / 255, guide)
        sure = (image[0] - 65).abs() > 3
        assert ((image[0] > 65).long() == target)[sure].all()


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
    weights = class_weights(examples, NYU40, 0.5)
    assert weights[2] > weights[1]
    assert torch.allclose(class_weights(examples, NYU40, 0.0), torch.ones(40))


@pytest.mark.parametrize("size", [(240, 320), (97, 131), (32, 32)])
def test_fcn_lite_scores_at_a_quarter_of_any_input_size(size: tuple[int, int]) -> None:
    network = create_network("fcn_lite", in_channels=6, num_classes=40).eval()
    with torch.no_grad():
        scores = network(torch.zeros(1, 6, *size))
    assert scores.shape == (1, 40, -(-size[0] // 4), -(-size[1] // 4))


def test_the_imagenet_start_fills_the_encoder_and_hha_filters_begin_as_colour_filters() -> None:
    network = create_network("fcn_lite", in_channels=6, num_classes=40)
    assert "efficientnet-lite0" in network.load_imagenet()
    stem = network.encoder.conv_stem.weight
    assert torch.allclose(stem[:, 3:], 0.5 * stem[:, :3])


def test_a_weight_file_that_does_not_fit_lists_what_did_not_match(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3), "b": torch.zeros(5)}, tmp_path / "w.pth")
    network = create_network("fcn_lite", in_channels=3, num_classes=4)
    with pytest.raises(ValueError, match=r"2 shapes differ \['a \(3,\) for conv_stem.weight"):
        network.load_imagenet(tmp_path / "w.pth")


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match="network must be one of fcn_lite, got 'unet'"):
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
