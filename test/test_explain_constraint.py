"""``explain-constraint``: pictures of what was learned, from a run folder as ``train`` leaves it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest

pytest.importorskip("lightning", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")

import torch
from click.testing import CliRunner

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.sources.folder import write_folder
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.training.constraint_pictures import LearnedConstraint, directions
from lcr_seg_ros.training.data import SegmentationDataset
from lcr_seg_ros.training.examples import Example
from lcr_seg_ros.training.explain_constraint_command import command
from lcr_seg_ros.training.export_run import read_checkpoint
from lcr_seg_ros.training.lcr import ContextualRegularization
from lcr_seg_ros.training.machine import Machine
from lcr_seg_ros.training.module import CHECKPOINT_KEY
from lcr_seg_ros.training.recipe import LossRecipe, Recipe
from lcr_seg_ros.training.train import train


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rooms")
    room = RenderedRoom(frames=4, seed=1, width=160, height=120)
    write_folder([room[i] for i in range(4)], folder, split="fit")
    return folder


@pytest.fixture(scope="module")
def runs(rooms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of a step each, with and without."""
    folder = tmp_path_factory.mktemp("runs")
    for name, constraint in (("with", {"weight": 20}), ("without", None)):
        recipe = Recipe.model_validate(
            {
                "name": name,
                "network": {"arguments": {"width": 8}},
                "input": {"height": 64, "width": 96},
                "loss": {"constraint": constraint},
                "optimizer": {"epochs": 1, "batch_size": 4},
            }
        )
        train(recipe, rooms, "fit", None, folder / name, cache=folder / "cache", machine=Machine("cpu", threads=1))
    return folder


def test_kernels_weights_and_boundaries_are_drawn(runs: Path, rooms: Path, tmp_path: Path) -> None:
    arguments = ["--run", runs / "with", "--against", runs / "without", "--data", rooms, "--out", tmp_path]
    answer = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)
    assert answer.exit_code == 0 and "least cosine to their start" in answer.output
    images = {name: cv2.imread(str(tmp_path / name)) for name in ("kernels.png", "weights.png", "boundaries.png")}
    for name, image in images.items():
        assert image is not None and image.std() > 5, name
    # Colours of the classes in the crops, which overlays mix with the image, are pure in the legend below them.
    below = cv2.cvtColor(images["boundaries.png"], cv2.COLOR_BGR2RGB)[-120:].reshape(-1, 3).tolist()
    assert [255, 255, 255] in below
    assert {c.name for c in LabelSet.load("nyu40").classes if list(c.color) in below} >= {"wall", "dresser"}


def test_frames_that_are_not_labelled_yet_are_named(runs: Path, rooms: Path, tmp_path: Path) -> None:
    shutil.copytree(rooms, tmp_path / "rooms")
    (tmp_path / "rooms" / "label40" / "00001.png").unlink()
    arguments = ["--run", runs / "with", "--against", runs / "without", "--data", tmp_path / "rooms", "--out", tmp_path]
    answer = CliRunner().invoke(command, [str(a) for a in arguments])
    assert "frame 00001 of" in str(answer.exception) and "has no label image" in str(answer.exception)


def test_only_a_run_without_the_constraint_and_else_alike_stands_against_it(
    runs: Path, rooms: Path, tmp_path: Path
) -> None:
    learned = LearnedConstraint.of_run(runs / "with")
    with pytest.raises(SourceError, match="trained with the constraint as well"):
        learned.refuse_as_baseline(runs / "with")
    longer = replace(learned, recipe=learned.recipe.model_copy(update={"seed": 7}))
    with pytest.raises(SourceError, match=r"differs in more than the constraint \(seed\)"):
        longer.refuse_as_baseline(runs / "without")
    arguments = ["--run", runs / "with", "--against", runs / "with", "--data", rooms, "--out", tmp_path / "pictures"]
    answer = CliRunner().invoke(command, [str(a) for a in arguments])
    assert isinstance(answer.exception, SourceError) and not (tmp_path / "pictures").exists()


def test_the_weights_are_those_of_the_learned_kernels(runs: Path) -> None:
    learned = LearnedConstraint.of_run(runs / "with")
    start = learned.constraint.initial_kernels
    assert not np.array_equal(learned.constraint.kernels.detach(), start)
    room = RenderedRoom(frames=1, seed=1, width=160, height=120)[0].frame
    weights = learned.weights(room, None)
    assert weights.min() >= 0 and weights.max() <= 1 and weights.std() > 0.01


@pytest.mark.parametrize("downsample", [1, 2])
def test_the_weights_are_drawn_at_the_size_and_with_the_values_that_training_has(runs: Path, downsample: int) -> None:
    learned = LearnedConstraint.of_run(runs / "with")
    assert learned.recipe.loss.constraint is not None
    constraint = learned.recipe.loss.constraint.model_copy(update={"downsample": downsample})
    recipe = learned.recipe.model_copy(update={"loss": LossRecipe(constraint=constraint)})
    item = RenderedRoom(frames=1, seed=1, width=160, height=120)[0]
    assert item.labels is not None
    example = Example(item.frame.rgb, np.zeros_like(item.frame.rgb), item.labels)
    _, guide, _ = SegmentationDataset([example], recipe, LabelSet.load("nyu40"), augment=False)[0]
    assert guide.shape == (3, 64, 88), "4:3 as the frame, not 3:2 as the recipe, in multiples of 8 pixels"
    step = 4 * downsample
    guide = torch.nn.functional.avg_pool2d(guide, step)
    seen_in_training = learned.constraint.contextual_weights(guide[None])[0].detach().numpy()
    weights = replace(learned, recipe=recipe).weights(item.frame, None)
    assert weights.shape == (8, 64 // step - 2, 88 // step - 2)
    assert np.allclose(weights, seen_in_training, atol=1e-5)


@pytest.mark.parametrize(
    ("init", "names"),
    [
        ("difference", ("NW", "N", "NE", "E", "SE", "S", "SW", "W")),
        ("kirsch", ("N", "NE", "E", "SE", "S", "SW", "W", "NW")),
    ],
)
def test_kernels_are_named_by_the_side_whose_neighbours_they_set_apart(
    init: Literal["difference", "kirsch"], names: tuple[str, ...]
) -> None:
    constraint = ContextualRegularization(init=init)
    assert directions(constraint) == names
    # One bright pixel beside the centre: the kernel of that side responds most.
    side = {"NW": (0, 0), "N": (0, 1), "NE": (0, 2), "E": (1, 2), "SE": (2, 2), "S": (2, 1), "SW": (2, 0), "W": (1, 0)}
    for k, name in enumerate(names):
        dot = torch.zeros(1, 3, 3)
        dot[0][side[name]] = 1
        response = (constraint.kernels.detach() * dot).sum((1, 2)).abs()
        assert response[k] == response.max()


def test_a_run_is_explained_though_the_label_file_that_it_was_trained_with_has_moved(
    runs: Path, tmp_path: Path
) -> None:
    checkpoint = read_checkpoint(runs / "with" / "last.ckpt")
    checkpoint[CHECKPOINT_KEY]["record"]["recipe"]["labels"] = str(tmp_path / "moved.yaml")
    torch.save(checkpoint, tmp_path / "last.ckpt")
    assert LearnedConstraint.of_run(tmp_path).stride == LearnedConstraint.of_run(runs / "with").stride


def test_a_run_without_the_constraint_has_nothing_to_show(runs: Path) -> None:
    with pytest.raises(SourceError, match="without the constraint: name a run that had it"):
        LearnedConstraint.of_run(runs / "without")
