"""What is made of a trained model without training: fewer classes, and confidence that fits."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")
import torch
from click.testing import CliRunner
from test_networks import bundle_of, create, settle

from lcr_seg_ros.backends import create_backend
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import BundleError, SourceError
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.sources.folder import DatasetFolder, write_folder
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.training.calibrate import _most_likely, find_temperature, with_temperature, write_calibrated
from lcr_seg_ros.training.datasets.folder_labels import write_label_set
from lcr_seg_ros.training.datasets.split_digest import digest_labels, learned_splits, tell_of_frames_seen
from lcr_seg_ros.training.evaluate import evaluate, load_segmenter, without_trial, write_scored
from lcr_seg_ros.training.export_command import command as export
from lcr_seg_ros.training.group import group_bundle, write_grouped
from lcr_seg_ros.training.metrics import Reliability
from lcr_seg_ros.training.trial import with_trial

LITE = {"name": "fcn_lite", "width": 16}
NYU40, NYU4 = LabelSet.load("nyu40"), LabelSet.load("nyu4")
BACKENDS = ("openvino", "onnxruntime", "torch")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelBundle:
    torch.manual_seed(0)
    architecture = {**LITE, "num_classes": 40, "in_channels": 3}
    bundle = replace(bundle_of(settle(create(LITE, num_classes=40), 3), architecture), labels=NYU40)
    bundle.save(tmp_path_factory.mktemp("model") / "fine.lcrseg")
    return bundle


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    room = RenderedRoom(frames=3, seed=3, width=128, height=96)
    write_folder([room[i] for i in range(3)], folder, split="val")
    return folder


def answers(bundle: ModelBundle, backend: str, x: np.ndarray) -> np.ndarray:
    return create_backend(bundle, backend, "cpu", 1).infer(x).copy()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_group_has_the_summed_probabilities_of_its_members(model: ModelBundle, tmp_path: Path, backend: str) -> None:
    grouped = group_bundle(model.save(tmp_path / "fine.lcrseg"), "nyu4", "coarse")
    x = np.random.default_rng(0).standard_normal((1, 3, 64, 96), dtype=np.float32)
    fine, coarse = answers(model, backend, x), answers(grouped, backend, x)
    made_of = {"model": model.name, "labels": "nyu40", "label_set": model.labels.to_dict()}
    assert grouped.labels == NYU4 and grouped.training["grouped"] == made_of
    for k, group in enumerate(NYU4.names):
        members = [c for c, label in enumerate(NYU40.classes) if label.group == group]
        assert np.allclose(coarse[:, k], fine[:, members].sum(1), atol=1e-4), group


def test_a_grouped_model_is_scored_on_the_finer_annotation(model: ModelBundle, data: Path, tmp_path: Path) -> None:
    file = model.save(tmp_path / "fine.lcrseg")
    scores = write_grouped(file, "nyu4", tmp_path / "coarse.lcrseg", data, "val")["val"]
    assert len(scores["per_class_iou"]) == 4 and ModelBundle.load(tmp_path / "coarse.lcrseg").scores["val"] == scores
    with pytest.raises(SourceError, match=r"ids .* label set nyu4 does not have.*--labels nyu40"):
        evaluate(load_segmenter(tmp_path / "coarse.lcrseg"), DatasetFolder(data, "val"))


def test_a_class_that_no_group_takes_is_named(model: ModelBundle, tmp_path: Path) -> None:
    ground = LabelSet("ground", tuple(c for c in NYU4.classes if c.name != "props"))
    with pytest.raises(BundleError, match="no class of ground takes picture"):
        group_bundle(model.save(tmp_path / "fine.lcrseg"), ground, "coarse")


def test_what_is_grouped_is_not_grouped_again(model: ModelBundle, tmp_path: Path) -> None:
    group_bundle(model.save(tmp_path / "fine.lcrseg"), "nyu4", "coarse").save(tmp_path / "coarse.lcrseg")
    again = LabelSet("again", tuple(replace(c, group=c.name) for c in NYU4.classes))
    with pytest.raises(BundleError, match="grouped already"):
        group_bundle(tmp_path / "coarse.lcrseg", again, "coarser")


@pytest.mark.parametrize("true_temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_labels_were_drawn_with_is_found(true_temperature: float) -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(0, 2, (40000, 5)).astype(np.float32)
    odds = np.exp(scores / true_temperature)
    drawn = (rng.random((len(odds), 1)) > np.cumsum(odds / odds.sum(1, keepdims=True), 1)).sum(1)
    assert _most_likely(scores, np.minimum(drawn, 4)) == pytest.approx(true_temperature, rel=0.05)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_temperature_divides_the_log_odds_and_changes_no_label(model: ModelBundle, backend: str) -> None:
    x = np.random.default_rng(0).standard_normal((1, 3, 64, 96), dtype=np.float32)
    before, after = answers(model, backend, x), answers(with_temperature(model, 2.0), backend, x)
    assert np.allclose(np.log(after[:, 0] / after[:, 1]), np.log(before[:, 0] / before[:, 1]) / 2, atol=0.02)
    assert (before.argmax(1) == after.argmax(1)).mean() > 0.99  # ties within a rounding of float16


def test_temperatures_multiply_and_are_recorded(model: ModelBundle) -> None:
    twice = with_temperature(with_temperature(model, 2.0), 3.0)
    assert twice.training["temperature"] == 6.0 and twice.notice == model.notice


def test_a_calibrated_model_needs_no_second_calibration(model: ModelBundle, data: Path, tmp_path: Path) -> None:
    file = model.save(tmp_path / "fine.lcrseg")
    folder = DatasetFolder(data, "val")
    temperature, scores = write_calibrated(file, tmp_path / "calibrated.lcrseg", data, "val")
    assert temperature == find_temperature(model, folder)
    if 0.21 < temperature < 4.9:
        again = find_temperature(ModelBundle.load(tmp_path / "calibrated.lcrseg"), folder)
        assert again == pytest.approx(1.0, abs=0.05)
    assert scores["val"]["calibration_error"] <= evaluate(load_segmenter(file), folder).scores()["calibration_error"]


def test_labels_of_other_classes_give_no_temperature_and_no_file(model: ModelBundle, data: Path, tmp_path: Path):
    four = replace(model, labels=NYU4, architecture=model.architecture)
    with pytest.raises(SourceError, match="does not have: calibrate with frames of its own classes"):
        write_calibrated(four.save(tmp_path / "four.lcrseg"), tmp_path / "out.lcrseg", data, "val")
    assert not (tmp_path / "out.lcrseg").exists()


def test_confidence_is_not_fitted_to_labels_that_mean_something_else(model: ModelBundle, data: Path, tmp_path: Path):
    shutil.copytree(data, tmp_path / "own")
    write_label_set(tmp_path / "own", LabelSet("rooms", tuple(replace(c, name=f"my {c.name}") for c in NYU40.classes)))
    with pytest.raises(SourceError, match=r"1 is 'my wall' .* calibrate with frames of the model's own classes"):
        find_temperature(model, DatasetFolder(tmp_path / "own", "val"))


@pytest.mark.parametrize("change", [("--group", "nyu4"), ("--height", "64")])
def test_a_model_that_could_not_be_scored_is_not_written(
    model: ModelBundle, tmp_path: Path, change: tuple[str, str]
) -> None:
    file, out = model.save(tmp_path / "fine.lcrseg"), tmp_path / "out.lcrseg"
    arguments = ["--model", str(file), *change, "--data", str(tmp_path / "absent"), "--out", str(out)]
    result = CliRunner().invoke(export, arguments)
    assert isinstance(result.exception, SourceError) and not out.exists()


def test_a_temperature_that_is_none_and_a_network_without_a_last_layer_are_refused(model: ModelBundle, tmp_path: Path):
    with pytest.raises(BundleError, match="> 0, got -1"):
        with_temperature(model, -1.0)
    grouped = group_bundle(model.save(tmp_path / "fine.lcrseg"), "nyu4", "coarse")
    with pytest.raises(BundleError, match="calibrate the models it is made of"):
        with_temperature(grouped, 2.0)


def test_calibration_error_is_the_distance_of_confidence_and_accuracy() -> None:
    truth = np.ones((1, 10), np.uint8)
    predicted = np.array([[1] * 6 + [2] * 4], np.uint8)
    fits, boasts = Reliability(NYU4), Reliability(NYU4)
    fits.update(truth, predicted, np.full((1, 10), 0.6, np.float32))
    boasts.update(truth, predicted, np.full((1, 10), 0.9, np.float32))
    assert fits.expected_calibration_error == pytest.approx(0.0, abs=1e-6)
    assert boasts.expected_calibration_error == pytest.approx(0.3, abs=1e-6)
    assert boasts.table() == [{"confidence": pytest.approx(0.9), "accuracy": 0.6, "share": 1.0}]


def test_void_pixels_do_not_count_for_calibration() -> None:
    reliability = Reliability(NYU4)
    reliability.update(np.zeros((2, 2), np.uint8), np.ones((2, 2), np.uint8), np.ones((2, 2), np.float32))
    assert reliability.expected_calibration_error == 0.0 and reliability.table() == []


def test_export_writes_a_model_that_sees_less_and_scores_it(model: ModelBundle, data: Path, tmp_path: Path) -> None:
    file, out = model.save(tmp_path / "fine.lcrseg"), tmp_path / "small.lcrseg"
    result = CliRunner().invoke(
        export, ["--model", str(file), "--height", "48", "--data", str(data), "--out", str(out)], catch_exceptions=False
    )
    small = ModelBundle.load(out)
    assert result.exit_code == 0 and "val: pixel accuracy" in result.output
    assert (small.name, small.input.height, small.scores["val"]["frames"]) == ("small", 48, 3)
    assert small.network == model.network
    refused = CliRunner().invoke(export, ["--model", str(file), "--height", "48", "--calibrate", "--out", str(out)])
    assert refused.exit_code == 2 and "is to be changed in one way, and 2 are given" in refused.output


def of_recipe(model: ModelBundle, epochs: int = 100, **entries: object) -> ModelBundle:
    recipe = {"optimizer": {"epochs": epochs, "learning_rate": 1e-3}, **entries}
    return replace(model, training={**model.training, "recipe": recipe, "epochs_run": epochs})


SCORES = {"val": {"mean_iou": 0.27, "frames": 414}}


def test_a_final_model_takes_temperature_and_scores_of_its_trial_over(model: ModelBundle) -> None:
    trial = replace(with_temperature(of_recipe(model), 1.3), scores=SCORES)
    final = with_trial(of_recipe(model, epochs=70), trial)
    assert final.training["temperature"] == 1.3 and final.scores == SCORES
    assert (final.training["epochs_run"], final.training["trial"]["epochs_run"]) == (70, 100)
    x = np.random.default_rng(0).standard_normal((1, 3, 64, 96), dtype=np.float32)
    assert np.allclose(answers(final, "onnxruntime", x), answers(trial, "onnxruntime", x), atol=1e-6)
    assert with_trial(final, trial).training["temperature"] == 1.3  # as for a group of a model that has its own


def test_a_model_may_have_gone_on_from_its_trial_with_all_frames(model: ModelBundle) -> None:
    trial = replace(with_temperature(of_recipe(model), 1.3), scores=SCORES)
    other = of_recipe(model, epochs=22, loss={"constraint": 20})
    with pytest.raises(BundleError, match="of one recipe"):
        with_trial(other, trial)
    went_on = replace(other, training=other.training | {"start": f"{trial.origin}, 40 of 40 classes kept"})
    final = with_trial(went_on, trial)
    assert final.training["trial"]["went_on_from_it"] and final.scores == SCORES
    assert final.training["temperature"] == 1.3


def test_both_may_have_gone_on_from_models_of_their_own(model: ModelBundle) -> None:
    def going_on(start: str, name: str) -> ModelBundle:
        return of_recipe(model, name=name, network={"finetune": start}, augmentation={"mix": 0.6})

    trial = replace(going_on("nyu40_fit", "nyudv2"), scores=SCORES)
    assert with_trial(going_on("nyu40", "nyu40"), trial).scores == SCORES


def trained_on(model: ModelBundle, digest: str) -> ModelBundle:
    data = {"fit": "fit", "splits": {"fit": {"frames": 3, "sha256": digest}}}
    return replace(model, training={**model.training, "data": data})


def test_a_trial_that_saw_as_much_is_none(model: ModelBundle) -> None:
    trial = replace(trained_on(of_recipe(model), "a"), scores=SCORES)
    with pytest.raises(BundleError, match="was trained on the frames of"):
        with_trial(trained_on(of_recipe(model), "a"), trial)
    final = with_trial(trained_on(of_recipe(model), "b"), trial)
    with pytest.raises(BundleError, match=r"trained on every frame itself.*give that one"):
        with_trial(final, final)


def test_scores_that_are_measured_anew_are_no_trials_any_more(model: ModelBundle, data: Path, tmp_path: Path) -> None:
    trial = replace(of_recipe(model), scores={"val": SCORES["val"], "other": {}})
    final = with_trial(trained_on(of_recipe(model), "b"), trial)
    scores = write_scored(final, tmp_path / "scored.lcrseg", data, "val")
    scored = ModelBundle.load(tmp_path / "scored.lcrseg")
    assert scored.scores == scores and "trial" not in scored.training
    assert "trial" not in group_bundle(final.save(tmp_path / "final.lcrseg"), "nyu4", "coarse").training


@pytest.mark.parametrize("way", ["as its own split", "as its trial's"])
def test_whoever_scores_or_calibrates_on_frames_that_a_model_learned_from_is_told(
    model: ModelBundle, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    caplog.set_level("INFO")
    seen = digest_labels(data, "val")
    if way == "as its own split":
        bundle = trained_on(of_recipe(model), seen)
    else:
        trial = replace(trained_on(of_recipe(model), seen), scores=SCORES)
        bundle = with_trial(trained_on(of_recipe(model), "all of them"), trial)
    write_calibrated(bundle.save(tmp_path / "m.lcrseg"), tmp_path / "out.lcrseg", data, "val")
    (message,) = (m for m in caplog.messages if "these very frames" in m)
    assert ("its trial was not" in message) is (way == "as its trial's")
    caplog.clear()
    tell_of_frames_seen(trained_on(model, "other"), data, "val")
    assert not caplog.messages


def test_a_model_that_learned_from_some_of_the_frames_is_told_of_and_how_many_they_are(
    model: ModelBundle, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    first, *others = (folder / "val.txt").read_text().split()
    (folder / "fit.txt").write_text(f"{first}\n")
    (folder / "held_out.txt").write_text("\n".join(others))
    (folder / "licence.txt").write_text(f"{first} is the licensor of this")
    learner = trained_on(model, digest_labels(folder, "fit"))
    for split in ("val", None):
        caplog.clear()
        tell_of_frames_seen(learner, folder, split)
        assert caplog.messages[0].startswith(f"{model.name} was trained on 1 of these 3 frames (those in fit.txt)")
    caplog.clear()
    tell_of_frames_seen(learner, folder, "held_out")
    assert not caplog.messages


def test_no_way_of_making_a_model_forgets_the_frames_that_it_learned_from(model: ModelBundle) -> None:
    trial = replace(trained_on(of_recipe(model), "seen by the trial"), scores=SCORES)
    first = with_trial(trained_on(of_recipe(model), "first"), trial)
    again = replace(first, training={**trained_on(model, "second").training, "before": first.training})
    assert learned_splits(again.training) == {"seen by the trial", "first", "second"}
    assert learned_splits(without_trial(first.training)) == {"seen by the trial", "first"}
    assert learned_splits({"rgb": again.training, "hha": trained_on(model, "third").training}) == {
        *("seen by the trial", "first", "second", "third")
    }


def test_a_group_scored_on_frames_that_its_model_learned_from_says_so(
    model: ModelBundle, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen = replace(trained_on(of_recipe(model), digest_labels(data, "val")), scores=SCORES)
    final = with_trial(trained_on(of_recipe(model), "all"), seen).save(tmp_path / "final.lcrseg")
    write_scored(group_bundle(final, "nyu4", "coarse"), tmp_path / "out.lcrseg", data, "val", model.labels)
    assert sum("these very frames" in message for message in caplog.messages) == 1


def test_a_temperature_that_is_given_leaves_nothing_said_of_confidence_unless_it_is_measured(
    model: ModelBundle, data: Path, tmp_path: Path
) -> None:
    scored = tmp_path / "scored.lcrseg"
    write_scored(model, scored, data, "val")
    for measured, more in ((False, ()), (True, ("--data", data))):
        arguments = ["--model", scored, "--temperature", 2, "--out", tmp_path / "out.lcrseg", *more]
        assert CliRunner().invoke(export, [str(a) for a in arguments], catch_exceptions=False).exit_code == 0
        scores = ModelBundle.load(tmp_path / "out.lcrseg").scores["val"]
        assert ("calibration_error" in scores) is ("reliability" in scores) is measured
        assert scores["mean_iou"] == pytest.approx(ModelBundle.load(scored).scores["val"]["mean_iou"], abs=0.02)


def test_what_would_be_ignored_or_cannot_be_written_is_refused_before_the_work(
    model: ModelBundle, data: Path, tmp_path: Path
) -> None:
    file, folder = model.save(tmp_path / "m.lcrseg"), tmp_path / "folder"
    folder.mkdir()
    for words, why in (
        (["--trial", file, "--data", data, "--out", tmp_path / "out.lcrseg"], "leave out --data"),
        (["--calibrate", "--data", data, "--out", folder], "is a folder"),
        (["--height", "64", "--data", data, "--out", folder], "is a folder"),
    ):
        result = CliRunner().invoke(export, ["--model", str(file), *map(str, words)])
        assert result.exit_code and why in result.output + str(result.exception)


def test_a_model_and_its_trial_may_have_been_taught_by_different_models_but_in_one_way(model: ModelBundle) -> None:
    def taught(by: str, weight: float = 1.0) -> ModelBundle:
        return of_recipe(model, loss={"teacher": {"model": by, "weight": weight, "temperature": 1.0}})

    assert with_trial(taught("nyu40"), replace(taught("nyu40_fit.lcrseg"), scores=SCORES)).scores == SCORES
    with pytest.raises(BundleError, match=r"differ in loss\.teacher\.weight$"):
        with_trial(taught("nyu40"), replace(taught("nyu40_fit.lcrseg", weight=2.0), scores=SCORES))


def test_a_trial_without_scores_or_of_another_recipe_is_refused(model: ModelBundle) -> None:
    with pytest.raises(BundleError, match="has no scores: export it with --data"):
        with_trial(of_recipe(model), of_recipe(model))
    other = replace(of_recipe(model, loss={"constraint": None}), scores=SCORES)
    with pytest.raises(BundleError, match=r"of one recipe, but differ in loss\.constraint"):
        with_trial(of_recipe(model, loss={"constraint": 20}), other)
