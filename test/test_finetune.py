"""Going on from a trained model: which weights are taken over, and what a run makes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lightning", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")
import torch
from forked_commands import run_command

from lcr_seg_ros.bundle import InputSpec, ModelBundle
from lcr_seg_ros.errors import BundleError, SourceError
from lcr_seg_ros.hha import HhaSettings
from lcr_seg_ros.labels import LabelClass, LabelSet
from lcr_seg_ros.networks import create_network
from lcr_seg_ros.segmenter import Segmenter
from lcr_seg_ros.sources.folder import DatasetFolder, write_folder
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.training.datasets.folder_labels import write_label_set
from lcr_seg_ros.training.export import DATA_NOTICE, bundle_network
from lcr_seg_ros.training.finetune import finetuning_entries, start_from_bundle
from lcr_seg_ros.training.recipe import Recipe
from lcr_seg_ros.weights import state_dict_from_onnx

ARCHITECTURE: dict[str, Any] = {"name": "fcn_lite", "in_channels": 6, "num_classes": 40, "width": 16}
SPEC = InputSpec("rgb_hha", 64, 96, (120.0,) * 6, (60.0,) * 6, HhaSettings(floor="min"))
NYU40 = LabelSet.load("nyu40")
OTHER = LabelSet(
    "other",
    tuple(
        LabelClass(k, name, (k, k, k)) for k, name in enumerate(["Night-Stand", "forklift", "wall", "chair"], start=1)
    ),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of 40 classes with random weights, all of them different."""
    torch.manual_seed(3)
    network = create_network(**ARCHITECTURE)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    path = tmp_path_factory.mktemp("model") / "start.lcrseg"
    return bundle_network(network, "start", ARCHITECTURE, SPEC, NYU40, {}).save(path)


def start(labels: LabelSet, model: Path, **arguments: Any) -> tuple[Any, Any, dict[str, torch.Tensor]]:
    """(network after, what is said of the start, state before)."""
    architecture = {**ARCHITECTURE, "num_classes": len(labels), **arguments}
    network = create_network(**architecture)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    return network, start_from_bundle(network, architecture, labels, str(model)), before


def test_with_the_same_classes_it_is_the_same_network(model: Path) -> None:
    network, begun, _ = start(NYU40, model)
    stored = state_dict_from_onnx(ModelBundle.load(model).network)
    state = network.state_dict()
    assert all(torch.equal(state[name], value) for name, value in stored.items())
    assert begun.kept == tuple(NYU40.names)
    assert (begun.mean, begun.std) == (SPEC.mean, SPEC.std)
    assert begun.origin.startswith("model start, network ") and begun.origin.endswith("40 of 40 classes kept")


def test_with_other_classes_only_the_score_layer_is_anew_and_known_names_keep_their_rows(model: Path) -> None:
    network, begun, before = start(OTHER, model)
    stored = state_dict_from_onnx(ModelBundle.load(model).network)
    state = network.state_dict()
    for name, value in stored.items():
        if not name.startswith("score."):
            assert torch.equal(state[name], value), name
    assert begun.kept == ("Night-Stand", "wall", "chair")
    for name in ("score.weight", "score.bias"):
        for row, there in ((0, "night stand"), (2, "wall"), (3, "chair")):
            assert torch.equal(state[name][row], stored[name][NYU40.names.index(there)])
        assert torch.equal(state[name][1], before[name][1])  # forklift


def test_classes_in_another_order_are_told_by_name_not_by_place(model: Path) -> None:
    turned = LabelSet("turned", tuple(LabelClass(41 - c.id, c.name, c.color) for c in reversed(NYU40.classes)))
    network, begun, _ = start(turned, model)
    stored = state_dict_from_onnx(ModelBundle.load(model).network)
    assert torch.equal(network.state_dict()["score.weight"], stored["score.weight"].flip(0))
    assert len(begun.kept) == 40


def test_terms_of_the_weights_travel_on(model: Path) -> None:
    assert DATA_NOTICE in start(OTHER, model)[1].notice
    assert DATA_NOTICE not in start(NYU40, model)[1].notice  # the new bundle says it of its own data


def test_a_notice_names_all_models_that_led_here_and_says_their_terms_once(model: Path, tmp_path: Path) -> None:
    bundle, path = ModelBundle.load(model), tmp_path / "next.lcrseg"
    assert "EfficientNet-Lite0 (" in bundle.notice
    bundle.save(path)
    for name in ("first", "second", "second"):
        notice = start(NYU40, path)[1].notice + DATA_NOTICE
        replace(bundle, name=name, notice=notice).save(path)
    last = start(NYU40, path)[1].notice
    assert last.startswith(
        "It went on from the model second, before that first, before that start, of which is said:\n"
    )
    assert last.count("of which is said") == last.count("EfficientNet") == 1
    nested = "It went on from the model b, of which is said:\nIt went on from the model a, of which is said:\nTerms.\n"
    replace(bundle, name="c", notice=nested).save(path)  # as older versions wrote it
    assert start(NYU40, path)[1].notice == (
        "It went on from the model c, before that b, before that a, of which is said:\nTerms.\n"
    )


def test_another_network_is_refused_with_what_differs(model: Path) -> None:
    with pytest.raises(BundleError, match="width is 16 there, 32 here"):
        start(NYU40, model, width=32)


def test_a_model_of_8_bits_is_named_with_why_it_cannot_be_finetuned(tmp_path: Path) -> None:
    with pytest.raises(
        BundleError, match=r"^nyu40-int8 cannot be gone on from: its weights are int8 .*the float model"
    ):
        finetuning_entries("nyu40-int8", tmp_path, "nyu40", {})


def test_a_model_of_colour_alone_is_named_where_depth_is_missing_or_not_wanted(model: Path, tmp_path: Path) -> None:
    (tmp_path / "rgb").mkdir()
    with pytest.raises(SourceError, match=r"has no depth/, and the model start needs depth .*--finetune nyu40-rgb$"):
        finetuning_entries(str(model), tmp_path, "nyu40", {})
    assert finetuning_entries("nyu40-rgb", tmp_path, "nyu40", {})["input.modality"] == "rgb"
    with pytest.raises(BundleError, match=r"in_channels is 6 there, 3 here.*for colour alone go on from nyu40-rgb"):
        start(NYU40, model, in_channels=3)
    (tmp_path / "depth").mkdir()
    assert finetuning_entries(str(model), tmp_path, "nyu40", {})["input.modality"] == "rgb_hha"


def test_what_acts_in_training_alone_may_differ(model: Path) -> None:
    network, *_ = start(NYU40, model, dropout=0.5, drop_path=0.3)
    assert network.dropout.p == 0.5


def test_entries_follow_the_model_and_the_folder_and_the_users_win(model: Path, tmp_path: Path) -> None:
    entries = finetuning_entries(str(model), tmp_path, "nyu40", {"optimizer.epochs": 3, "input.height": 32})
    recipe = Recipe.load("nyu40", overrides=entries)
    usual = Recipe.load("nyu40")
    assert (recipe.network.finetune, recipe.network.arguments) == (str(model), {"width": 16})
    assert (recipe.input.height, recipe.input.width, recipe.input.hha.floor) == (32, 96, "min")
    assert recipe.optimizer.learning_rate == pytest.approx(usual.optimizer.learning_rate / 5)
    assert (recipe.labels, recipe.rooms.rooms, recipe.optimizer.epochs) == ("nyu40", 0, 3)
    write_label_set(tmp_path, OTHER)
    own = finetuning_entries(str(model), tmp_path, "nyu40", {"optimizer.learning_rate": 0.5})
    assert LabelSet.load(own["labels"]) == OTHER
    assert own["optimizer.learning_rate"] == 0.5


def test_a_model_with_classes_of_its_own_needs_the_folders(model: Path, tmp_path: Path) -> None:
    mine = replace(ModelBundle.load(model), labels=OTHER).save(tmp_path / "mine.lcrseg")
    with pytest.raises(BundleError, match=r"'other' does not ship.*labels\.yaml"):
        finetuning_entries(str(mine), tmp_path, "nyu40", {})
    write_label_set(tmp_path, OTHER)
    assert finetuning_entries(str(mine), tmp_path, "nyu40", {})["labels"] == str(tmp_path / "labels.yaml")


@pytest.mark.slow
def test_a_run_goes_on_from_the_model_on_the_folders_classes(model: Path, tmp_path: Path) -> None:
    data = tmp_path / "mine"
    room = RenderedRoom(frames=6, seed=1, width=160, height=120)
    table = np.full(256, OTHER.void, np.uint8)
    table[NYU40.classes[NYU40.names.index("wall")].id] = 3
    table[NYU40.classes[NYU40.names.index("floor")].id] = 2
    frames = [replace(item, labels=table[item.labels]) for item in room]  # type: ignore[index]
    write_folder(frames[:4], data, split="fit")  # type: ignore[arg-type]
    write_folder(frames[4:], data, split="val")  # type: ignore[arg-type]
    write_label_set(data, OTHER)
    arguments = ["--data", data, "--finetune", model, "--out", tmp_path / "run", "--cache", tmp_path / "cache"]
    arguments += ["--threads", "1", "optimizer.epochs=1", "optimizer.batch_size=4", "augmentation.worn_depth=0"]
    answer = run_command(["train", *arguments], tmp_path / "log")
    assert answer.returncode == 0, answer.output[-3000:]
    assert "3 of 4 classes keep their scores; anew: forklift" in answer.output
    assert "optimizer.learning_rate=0.0002" in answer.output

    bundle = ModelBundle.load(tmp_path / "run" / "model.lcrseg")
    assert (bundle.name, bundle.labels) == ("mine", OTHER)
    assert (bundle.input.mean, bundle.input.height, bundle.input.hha.floor) == (SPEC.mean, 64, "min")
    assert "3 of 4 classes kept" in bundle.training["start"]
    assert bundle.training["recipe"]["network"]["finetune"] == model.name
    start = ModelBundle.load(model)
    assert bundle.training["before"] == {"name": start.name, **start.training}, "how it began stays on record"
    assert DATA_NOTICE in bundle.notice
    # One step at a small rate has moved the weights, and not far.
    trained, stored = (
        state_dict_from_onnx(ModelBundle.load(p).network) for p in (tmp_path / "run/model.lcrseg", model)
    )
    change = (trained["smooth8.0.weight"] - stored["smooth8.0.weight"]).abs().max()
    assert 0 < change < 0.01
    labels = Segmenter.load(tmp_path / "run" / "model.lcrseg").segment(DatasetFolder(data, "val")[0].frame).labels
    assert set(np.unique(labels).tolist()) <= {1, 2, 3, 4}
