"""Recipes: what their entries mean together, and what they refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("lightning", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")

from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.resources import CONFIG
from lcr_seg_ros.training.recipe import ConstraintRecipe, InputRecipe, LossRecipe, Recipe, RecipeError
from lcr_seg_ros.training.train_command import command

NYU40 = LabelSet.load("nyu40")


def test_the_baseline_differs_in_the_loss_only(tmp_path: Path) -> None:
    method, baseline = Recipe.load("nyu40"), Recipe.load("nyu40", {"loss.constraint": None})
    assert method.loss.constraint is not None
    assert baseline.loss.constraint is None
    assert method.model_copy(update={"loss": baseline.loss}) == baseline


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"optimizer.epochs": 0}, "optimizer.epochs: Input should be greater than or equal to 1"),
        ({"loss.constraint.weigth": 3}, r"weigth: there is no such entry \(got 3\), did you mean"),
        ({"input.modality": "thermal"}, "input.modality"),
        ({"epochs": 3}, r"epochs: .*, did you mean optimizer\.epochs\?"),
        ({"optimizer.learningrate": 3}, r"did you mean optimizer\.learning_rate\?"),
        ({"lr": 3}, r"did you mean optimizer\.learning_rate\?"),
        ({"optimizer.lr": 3}, r"did you mean optimizer\.learning_rate\?"),
        ({"loss.constraint.lambda": 3}, r"did you mean loss\.constraint\.weight\?"),
        ({"xyzzy": 3}, r"xyzzy: there is no such entry \(got 3\)$"),
        ({"loss": 3, "input": "rgb"}, r"input: .* \(got 'rgb'\); loss: .* \(got 3\)"),
        ({"xyzzy": {"a": 1}}, r"xyzzy: there is no such entry$"),
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


def test_a_section_that_stands_twice_is_refused_with_its_lines(tmp_path: Path) -> None:
    twice = tmp_path / "twice.yaml"
    twice.write_text("name: twice\noptimizer: {epochs: 3}\noptimizer: {batch_size: 2}\n")
    with pytest.raises(RecipeError, match=r"twice\.yaml, line 3: 'optimizer' is there already, in line 2"):
        Recipe.load(twice)
    twice.write_text(
        "name: twice\noptimizer: &usual {epochs: 3}\nloss: {}\ninput: {hha: {<<: {floor: min}, floor: robust}}\n"
    )
    assert Recipe.load(twice).input.hha.floor == "robust"  # what overrides a merged key is no repetition


def test_a_recipe_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\n", encoding="utf-16")
    with pytest.raises(RecipeError, match=r"mine\.yaml is not UTF-8 text: save it as UTF-8"):
        Recipe.load(tmp_path / "mine.yaml")


def test_one_key_switches_the_constraint() -> None:
    assert Recipe.load("nyu40", {"loss.constraint": False}) == Recipe.load("nyu40", {"loss.constraint": None})
    assert Recipe.load("nyu40", {"loss.constraint": True}) == Recipe.load("nyu40")
    assert Recipe.load("nyu40", {"loss.constraint.weight": 7, "loss.constraint": False}).loss.constraint is None
    assert Recipe.load("nyu40", {"loss.constraint.weight": 7, "loss.constraint": True}) == Recipe.load(
        "nyu40", {"loss.constraint.weight": 7}
    )


@pytest.mark.parametrize("off", [False, None])
def test_an_entry_of_what_was_switched_off_is_refused(off: bool | None) -> None:
    """Else the constraint that was switched off would be on again, unnoticed."""
    with pytest.raises(RecipeError, match=rf"loss\.constraint\.weight=7 has no meaning after loss\.constraint={off}"):
        Recipe.load("nyu40", {"loss.constraint": off, "loss.constraint.weight": 7})


def test_switching_the_constraint_on_keeps_what_the_base_says_of_it(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("base: segnet_paper\nname: mine\nloss: {constraint: true}\n")
    assert Recipe.load(tmp_path / "mine.yaml").loss == Recipe.load("segnet_paper").loss


@pytest.mark.parametrize(("modality", "guide"), [("rgb", "rgb"), ("hha", "hha"), ("rgb_hha", "rgb")])
def test_the_guide_follows_the_modality_and_is_written_out(modality: str, guide: str) -> None:
    loaded = Recipe.load("nyu40", {"input.modality": modality})
    built = Recipe(
        name="built",
        input=InputRecipe(modality=modality),  # type: ignore[arg-type]
        loss=LossRecipe(constraint=ConstraintRecipe()),
    )
    for recipe in (loaded, built):
        assert recipe.loss.constraint is not None
        assert recipe.loss.constraint.guide == guide
        assert recipe.model_dump()["loss"]["constraint"]["guide"] == guide


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


def test_an_early_end_within_needs_classifiers_there() -> None:
    with pytest.raises(RecipeError, match=r"inner_share is 0.5: it needs deep_supervision above 0"):
        Recipe.load("segnet_modern", {"loss.deep_supervision": 0, "loss.inner_share": 0.5})


def test_an_entry_typed_as_an_option_is_answered_with_how_entries_are_written() -> None:
    answer = CliRunner().invoke(command, ["--data", ".", "--epochs", "3"])
    assert answer.exit_code == 2
    assert "NAME=VALUE, as in optimizer.epochs=2" in answer.output


@pytest.mark.parametrize("option", ["--workers=-1", "--threads=-1", "--devices=0", "--nodes=0"])
def test_numbers_of_processes_and_threads_that_no_machine_has_are_refused(option: str) -> None:
    answer = CliRunner().invoke(command, ["--data", ".", option])
    assert answer.exit_code == 2
    assert "is not in the range" in answer.output


@pytest.mark.parametrize("entry", ["augmentation.crop_area=[0.2,1.0", "name='a", "name=2024-13-45"])
def test_a_value_that_is_not_yaml_is_a_usage_error_with_its_text(entry: str) -> None:
    answer = CliRunner().invoke(command, ["--data", ".", entry])
    assert answer.exit_code == 2
    assert entry in answer.output.replace("\n", "")
    assert "close every bracket" in answer.output
