"""Distillation: what a teacher sees, what its loss is, and what a run with one leaves behind."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lightning", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lcr_seg_ros.bundle import InputSpec, ModelBundle
from lcr_seg_ros.hha import HhaSettings
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.networks import create_network
from lcr_seg_ros.sources.folder import write_folder
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.training.data import SegmentationDataset
from lcr_seg_ros.training.examples import Example
from lcr_seg_ros.training.export import bundle_network
from lcr_seg_ros.training.export_run import read_checkpoint
from lcr_seg_ros.training.module import SegmentationTraining
from lcr_seg_ros.training.recipe import Recipe, RecipeError
from lcr_seg_ros.training.teacher import Teacher, distillation_loss
from lcr_seg_ros.training.train import train

NYU40 = LabelSet.load("nyu40")
ARCHITECTURE: dict[str, Any] = {"name": "fcn_lite", "in_channels": 6, "num_classes": 40, "width": 16}
SPEC = InputSpec("rgb_hha", 64, 96, (120.0,) * 6, (60.0,) * 6, HhaSettings(**Recipe(name="x").input.hha.model_dump()))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(3)
    path = tmp_path_factory.mktemp("model") / "master.lcrseg"
    network = create_network(**ARCHITECTURE)
    return bundle_network(network, "master", ARCHITECTURE, SPEC, NYU40, {}).save(path)


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rooms")
    room = RenderedRoom(frames=6, seed=1, width=160, height=120)
    write_folder([room[i] for i in range(4)], folder, split="fit")
    write_folder([room[i] for i in range(4, 6)], folder, split="val")
    return folder


def recipe_with(model: Path, **entries: Any) -> Recipe:
    small = {"input.modality": "rgb", "input.height": 32, "input.width": 48, "input.early_share": 0}
    few = {
        "network.imagenet": False,
        "rooms.rooms": 0,
        "optimizer.batch_size": 2,
        "optimizer.epochs": 2,
        "augmentation.worn_depth": 0,
    }
    return Recipe.load("nyu40", {**small, **few, "loss.teacher.model": str(model), **entries})


# -- The loss ---------------------------------------------------------------------------------------------------


def test_of_two_classes_it_is_the_divergence_written_out() -> None:
    student, teacher = torch.tensor([0.2, -0.4]), torch.tensor([1.0, 0.5])
    for temperature in (1.0, 3.0):
        p, q = (teacher / temperature).softmax(0), (student / temperature).softmax(0)
        wanted = (p * (p / q).log()).sum() * temperature**2
        got = distillation_loss(student.reshape(1, 2, 1, 1), teacher.reshape(1, 2, 1, 1), temperature)
        assert float(got) == pytest.approx(float(wanted), rel=2e-3)  # float32


@given(seed=st.integers(0, 1000), temperature=st.floats(0.5, 5), shift=st.floats(-10, 10))
@settings(max_examples=25, deadline=None)
def test_it_is_nothing_where_both_say_the_same_and_more_elsewhere(seed: int, temperature: float, shift: float) -> None:
    scores = torch.randn(2, 5, 3, 4, generator=torch.Generator().manual_seed(seed))
    assert float(distillation_loss(scores, scores + shift, temperature)) == pytest.approx(0, abs=1e-4)
    assert float(distillation_loss(scores, scores.flip(1), temperature)) > 0


def test_its_gradient_is_the_difference_of_probabilities() -> None:
    student = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    teacher = torch.randn(1, 4, 2, 2, generator=torch.Generator().manual_seed(1))
    distillation_loss(student, teacher, 1.0).backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(student.grad, (student.softmax(1) - teacher.softmax(1)).detach() / 4)


def test_pixels_beyond_the_image_teach_nothing() -> None:
    student, teacher = torch.zeros(1, 2, 1, 2), torch.tensor([[[[0.0, 9.0]], [[0.0, -9.0]]]])
    valid = torch.tensor([[[True, False]]])
    assert float(distillation_loss(student, teacher, 1.0, valid)) == 0


def test_a_coarser_teacher_is_interpolated() -> None:
    student, teacher = torch.zeros(1, 2, 8, 8), torch.ones(1, 2, 2, 2) * torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1)
    fine = torch.ones(1, 2, 8, 8) * torch.tensor([1.0, -1.0]).reshape(1, 2, 1, 1)
    assert torch.equal(distillation_loss(student, teacher, 1.0), distillation_loss(student, fine, 1.0))


# -- What it sees -----------------------------------------------------------------------------------------------


def test_it_sees_the_same_part_of_the_image_in_its_own_size_with_colour_as_it_was(model: Path) -> None:
    ramp = np.tile(np.arange(128, dtype=np.uint8)[None, :] * 2, (96, 1))
    hha = np.full((96, 128, 3), 77, np.uint8)
    example = Example(np.stack([ramp] * 3, 2), hha, np.ones((96, 128), np.uint8))
    dataset = SegmentationDataset([example], recipe_with(model), NYU40, teacher=SPEC)
    for epoch in range(6):
        image, guide, target, shown = dataset[epoch, 0]
        assert (image.shape, target.shape, shown.shape) == ((3, 32, 48), (32, 48), (6, 64, 96))
        smaller = torch.nn.functional.interpolate(shown[None, :3], size=(32, 48), mode="area")[0]
        assert (smaller / 255 - guide).abs().max() < 0.02
        assert (shown[3:] == 77).all()


def test_without_one_items_and_random_numbers_are_what_they_were(model: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    example = Example(noise, noise, np.ones((48, 64), np.uint8))
    alone = SegmentationDataset([example], recipe_with(model), NYU40)[3, 0]
    taught = SegmentationDataset([example], recipe_with(model), NYU40, teacher=SPEC)[3, 0]
    assert len(alone) == 3
    assert all(torch.equal(a, b) for a, b in zip(alone, taught, strict=False))


def test_it_is_not_part_of_what_is_trained(model: Path) -> None:
    recipe = recipe_with(model)
    teacher = Teacher.load(str(model), NYU40, recipe.input)
    taught = SegmentationTraining(recipe, NYU40, torch.ones(40), teacher)
    alone = SegmentationTraining(recipe, NYU40, torch.ones(40))
    assert taught.state_dict().keys() == alone.state_dict().keys()
    assert len(list(taught.parameters())) == len(list(alone.parameters()))
    scores = teacher.scores(torch.full((1, 6, 64, 96), 100.0))
    assert scores.shape == (1, 40, 16, 24)
    torch.testing.assert_close(scores.exp().sum(1), torch.ones(1, 16, 24), rtol=1e-4, atol=1e-4)


# -- Runs -------------------------------------------------------------------------------------------------------


def test_a_network_of_colour_alone_learns_from_one_that_sees_depth(
    model: Path, rooms: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        bundle = ModelBundle.load(
            train(recipe_with(model), rooms, "fit", "val", tmp_path / "run", cache=tmp_path / "cache")
        )
    assert bundle.input.modality == "rgb"
    assert bundle.training["teacher"].startswith("model master, network ")
    assert bundle.training["recipe"]["loss"]["teacher"]["weight"] == 1
    log = next((tmp_path / "run" / "log").glob("*/metrics.csv")).read_text()
    assert "loss/teacher" in log.partition("\n")[0]
    keys = read_checkpoint(tmp_path / "run" / "last.ckpt")["state_dict"]
    assert not any("teacher" in key for key in keys)
    # The bundle of this test does not say what it was trained on, so it might have seen the validation frames.
    assert "scores on val may be too good" in caplog.text


@pytest.mark.parametrize(
    ("changes", "entries", "message"),
    [
        ({}, {"labels": "nyu4"}, "has the 40 classes of nyu40, the recipe the 4 of nyu4"),
        (
            {"input": replace(SPEC, hha=HhaSettings(floor="min"))},
            {},
            "computed in another way: set input.hha.floor=min",
        ),
    ],
)
def test_a_teacher_of_something_else_is_refused(
    model: Path, tmp_path: Path, changes: dict[str, Any], entries: dict[str, Any], message: str
) -> None:
    other = replace(ModelBundle.load(model), **changes).save(tmp_path / "other.lcrseg")
    recipe = recipe_with(other, **entries)
    with pytest.raises(RecipeError, match=message):
        Teacher.load(str(other), LabelSet.load(recipe.labels), recipe.input)
