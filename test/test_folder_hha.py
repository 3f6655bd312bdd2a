"""HHA that a data set brings along: read as it is, in training and wherever its models label a folder."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from tiny_bundle import tiny_bundle
from turned_jpeg import quarter_turned

pytest.importorskip("lightning", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")

from lcr_seg_ros.backends import create_backend
from lcr_seg_ros.bundle import InputSpec, ModelBundle
from lcr_seg_ros.errors import BundleError, FrameError, SourceError
from lcr_seg_ros.frame import RgbdFrame
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.predict import command as predict
from lcr_seg_ros.preprocess import Preprocessor
from lcr_seg_ros.segmenter import Segmenter
from lcr_seg_ros.sources.folder import DatasetFolder, write_folder, write_png
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.training.calibrate import write_calibrated
from lcr_seg_ros.training.data import SegmentationDataset
from lcr_seg_ros.training.datasets.nyudv2_crop import NYUDV2_WINDOW
from lcr_seg_ros.training.datasets.split_digest import digest_split
from lcr_seg_ros.training.evaluate import cut, evaluate, load_segmenter, measure_flicker, write_scored
from lcr_seg_ros.training.evaluate_command import command as evaluate_command
from lcr_seg_ros.training.examples import folder_examples
from lcr_seg_ros.training.finetune import finetuning_entries
from lcr_seg_ros.training.recipe import Recipe, RecipeError
from lcr_seg_ros.training.teacher import require_teacher
from lcr_seg_ros.training.train import train

NYU40 = LabelSet.load("nyu40")
READ = {"input.hha_source": "folder", "rooms.rooms": 0, "rooms.per_epoch": 0, "augmentation.worn_depth": 0}
SMALL = {
    "input.modality": "hha",
    "input.height": 32,
    "input.width": 48,
    "input.early_share": 0,
    "network.imagenet": False,
    "network.arguments.width": 16,
    "optimizer.epochs": 1,
    "optimizer.batch_size": 2,
}


def hha_of(name: str) -> np.ndarray:
    """(120, 160, 3) uint8 that no depth gives: blocks of colours that depend on the frame alone."""
    blocks = np.random.default_rng(int(name)).integers(0, 256, (6, 8, 3), np.uint8)
    return blocks.repeat(20, 0).repeat(20, 1)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Annotated frames with HHA and without depth, as an import of another project's folder leaves them."""
    folder = tmp_path_factory.mktemp("imported")
    room = RenderedRoom(frames=6, seed=3, width=160, height=120)
    write_folder([room[i] for i in range(4)], folder, split="fit")
    write_folder([room[i] for i in range(4, 6)], folder, split="val")
    for name in DatasetFolder(folder).names:
        write_png(folder / "hha" / f"{name}.png", cv2.cvtColor(hha_of(name), cv2.COLOR_RGB2BGR))
    shutil.rmtree(folder / "depth")
    return folder


@pytest.fixture
def data(imported: Path, tmp_path: Path) -> Path:
    """A copy, to be changed."""
    return shutil.copytree(imported, tmp_path / "data")


def with_depth(data: Path) -> Path:
    for name in DatasetFolder(data).names:
        write_png(data / "depth" / f"{name}.png", np.full((120, 160), 2000, np.uint16))
    return data


def model_of_folder(path: Path) -> Path:
    """A bundle that was trained with HHA of a folder, if one believes what it says."""
    bundle = tiny_bundle("hha")
    return replace(bundle, input=replace(bundle.input, hha_source="folder")).save(path / "elsewhere.lcrseg")


# -- Folder and frame -------------------------------------------------------------------------------------------


def test_frames_bring_it_along_where_it_is_asked_for_red_green_and_blue_as_in_the_file(data: Path) -> None:
    plain = DatasetFolder(data)
    assert plain.with_hha(False) is plain and plain[0].frame.hha is None
    for item in plain.with_hha(True):
        assert np.array_equal(item.frame.hha, hha_of(item.name))
    assert plain[0].frame.hha is None, "the folder that was asked stays as it was"


def test_a_frame_without_it_is_named_before_any_is_read(data: Path) -> None:
    (data / "hha" / "00004.png").unlink()
    with pytest.raises(SourceError, match=r"1 of 6 frames of .* add hha/00004\.png, or train with input\.hha_source"):
        DatasetFolder(data).with_hha(True)
    assert len(DatasetFolder(data, "fit").with_hha(True)) == 4


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((60, 80, 3), np.uint8), r"frame 00000 of .*: rgb is 160x120 but hha is 80x60"),
        (
            np.zeros((120, 160), np.uint8),
            r"00000\.png must be an 8-bit PNG of three channels .* got uint8 \(120, 160\)",
        ),
        (np.zeros((120, 160, 3), np.uint16), r"three channels .* got uint16"),
    ],
)
def test_an_image_of_another_size_or_kind_is_refused(data: Path, image: np.ndarray, message: str) -> None:
    write_png(data / "hha" / "00000.png", image)
    with pytest.raises(SourceError, match=message):
        DatasetFolder(data).with_hha(True)[0]


def test_a_cut_image_is_refused(data: Path) -> None:
    (data / "hha" / "00000.png").write_bytes(b"no image")
    with pytest.raises(SourceError, match=r"cannot read the HHA image .*00000\.png"):
        DatasetFolder(data).with_hha(True)[0]


def test_a_frame_is_not_made_with_hha_of_another_type() -> None:
    rgb = np.zeros((6, 8, 3), np.uint8)
    with pytest.raises(FrameError, match=r"hha must be \(H, W, 3\) uint8, got \(6, 8, 3\) float32"):
        RgbdFrame(rgb, hha=np.zeros((6, 8, 3), np.float32))


def test_photos_beside_it_are_not_turned_for_it_matches_the_pixels_as_they_are_stored(data: Path) -> None:
    photo = cv2.imencode(".jpg", np.zeros((120, 160, 3), np.uint8))[1].tobytes()
    (data / "rgb" / "00000.png").unlink()
    (data / "rgb" / "00000.jpg").write_bytes(quarter_turned(photo))
    assert DatasetFolder(data).with_hha(True)[0].frame.rgb.shape[:2] == (120, 160)


def test_a_folder_of_depth_alone_is_read_as_it_is_and_a_warning_says_what_follows(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(with_depth(data) / "hha")
    folder = DatasetFolder(data).with_hha(True)
    assert folder[0].frame.hha is None and folder[0].frame.depth_m is not None
    assert "has no hha/: HHA is computed from its depth, but the model was trained" in caplog.text


def test_a_window_cuts_it_with_the_frame() -> None:
    random = np.random.default_rng(0)
    rgb, hha = random.integers(0, 256, (2, 480, 640, 3), np.uint8)
    item = RenderedRoom(frames=1, seed=0)[0]
    seen = cut(replace(item, frame=replace(item.frame, rgb=rgb, hha=hha)), NYUDV2_WINDOW)
    assert np.array_equal(seen.frame.hha, hha[45:470, 40:600])


# -- What a network sees ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["hha", "rgb_hha"])
def test_training_and_robot_see_the_same_tensor(data: Path, tmp_path: Path, modality: str) -> None:
    entries = {"input.height": 48, "input.width": 64, "input.modality": modality, "loss.constraint": None}
    recipe = Recipe.load("nyu40", READ | entries)
    folder = DatasetFolder(data).with_hha(True)
    examples = folder_examples(folder, tmp_path / "cache", recipe.input.hha_settings)
    image, _, _ = SegmentationDataset(examples, recipe, NYU40, augment=False)[0]
    channels = 3 if modality == "hha" else 6
    spec = InputSpec(modality, 48, 64, (0.0,) * channels, (1.0,) * channels, recipe.input.hha_settings, "folder")
    seen = Preprocessor(spec)(folder[0].frame)
    assert np.array_equal(image.numpy(), seen.tensor[0])
    assert np.array_equal(seen.hha, hha_of("00000"))
    assert not (tmp_path / "cache").exists(), "nothing was computed"


def test_labels_follow_it_and_not_the_depth_beside_it(data: Path, tmp_path: Path) -> None:
    model = Segmenter.load(model_of_folder(tmp_path))
    frame = DatasetFolder(with_depth(data)).with_hha(True)[0].frame
    with_its_own, computed = model.segment(frame), model.segment(replace(frame, hha=None))
    assert (with_its_own.labels != computed.labels).mean() > 0.5
    assert np.array_equal(with_its_own.labels, model.segment(replace(frame, depth_m=None)).labels)
    assert with_its_own.gravity is None and computed.gravity is not None
    assert np.array_equal(with_its_own.hha, frame.hha)


def test_where_frames_go_through_the_device_those_that_bring_it_along_take_the_stages(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = ModelBundle.load(model_of_folder(tmp_path))
    segmenter = Segmenter(bundle, create_backend(bundle, "onnxruntime"))
    expected = segmenter.segment(DatasetFolder(data).with_hha(True)[0].frame).labels
    monkeypatch.setattr(segmenter, "_is_on_device", True)
    assert np.array_equal(segmenter.segment(DatasetFolder(data).with_hha(True)[0].frame).labels, expected)
    assert segmenter.is_on_device, "it was not given up"


# -- Bundles ----------------------------------------------------------------------------------------------------


def test_a_bundle_says_where_its_hha_came_from_and_old_bundles_say_computed(tmp_path: Path) -> None:
    bundle = ModelBundle.load(model_of_folder(tmp_path))
    assert bundle.input.hha_source == "folder" and bundle.input.reads_hha
    assert ModelBundle.load("nyu40").input.hha_source == "computed", "the file does not say"
    assert bundle.at_height(120).input.reads_hha


def test_a_model_of_colour_reads_none_wherever_its_teachers_came_from() -> None:
    assert not InputSpec("rgb", 60, 80, (0.0,) * 3, (1.0,) * 3, hha_source="folder").reads_hha


def test_a_source_that_is_not_known_is_refused() -> None:
    with pytest.raises(BundleError, match=r"hha_source must be one of computed, folder, got 'moon': .* newer version"):
        replace(tiny_bundle().input, hha_source="moon")


# -- Recipes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"rooms.rooms": 2}, "rooms.rooms is 2, .* set rooms.rooms=0 rooms.per_epoch=0"),
        ({"augmentation.worn_depth": 0.5}, "augmentation.worn_depth is 0.5, .* set augmentation.worn_depth=0"),
    ],
)
def test_a_recipe_that_would_compute_some_of_it_is_refused(entries: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=f"input.hha_source is folder, but {message}"):
        Recipe.load("nyu40", READ | entries)


def test_a_teacher_of_hha_from_another_source_is_refused() -> None:
    taught = tiny_bundle("hha")
    of_folder = replace(taught, input=replace(taught.input, hha_source="folder"))
    student, other = (Recipe.load("nyu40", READ | entries).input for entries in ({}, {"input.hha_source": "computed"}))
    require_teacher(of_folder, "master", NYU40, student)  # whatever its settings: they computed nothing
    for model, seen, entry in ((of_folder, other, "folder"), (taught, student, "computed")):
        with pytest.raises(RecipeError, match=f"HHA from another source: set input.hha_source={entry}"):
            require_teacher(model, "master", NYU40, seen)
    require_teacher(tiny_bundle("rgb"), "master", NYU40, student)


def test_who_goes_on_from_such_a_model_keeps_its_source_unless_told_otherwise(data: Path, tmp_path: Path) -> None:
    model = str(model_of_folder(tmp_path))
    assert finetuning_entries(model, data, "nyu40", {})["input.hha_source"] == "folder"
    computed = {"input.hha_source": "computed"}
    with pytest.raises(SourceError, match=r"has no depth/.*input\.hha_source=computed\): add depth images"):
        finetuning_entries(model, data, "nyu40", computed)
    assert finetuning_entries(model, with_depth(data), "nyu40", computed)["input.hha_source"] == "computed"
    shutil.rmtree(data / "hha")
    with pytest.raises(SourceError, match=r"has no hha/.*input\.hha_source=folder\): add hha images"):
        finetuning_entries(model, data, "nyu40", {})


# -- From training to scores ------------------------------------------------------------------------------------


@pytest.fixture
def run(data: Path, tmp_path: Path) -> Path:
    recipe = Recipe.load("nyu40", SMALL | READ)
    train(recipe, data, "fit", "val", tmp_path / "run", cache=tmp_path / "cache", validate_every=1)
    return tmp_path / "run"


def test_a_folder_without_depth_is_trained_on_scored_labelled_and_calibrated(
    data: Path, run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = ModelBundle.load(run / "model.lcrseg")
    assert bundle.input.reads_hha
    assert bundle.training["data"]["hha"] == "folder" and bundle.training["data"]["intrinsics"] is None
    assert bundle.training["data"]["splits"]["fit"] == digest_split(data, "fit", hha=True)
    assert not (tmp_path / "cache").exists(), "nothing was computed"

    model, val = load_segmenter(run / "model.lcrseg"), DatasetFolder(data, "val")
    assert evaluate(model, val).scores()["pixel_acc"] == bundle.scores["val"]["pixel_acc"]
    assert measure_flicker(model, val) >= 0
    arguments = ["--model", run / "model.lcrseg", "--data", data, "--split", "val"]
    answer = CliRunner().invoke(evaluate_command, [str(a) for a in (*arguments, "--json", tmp_path / "scores.json")])
    assert answer.exit_code == 0, answer.output
    assert json.loads((tmp_path / "scores.json").read_text())["pixel_acc"] == bundle.scores["val"]["pixel_acc"]
    answer = CliRunner().invoke(predict, [str(a) for a in (*arguments, "--out", tmp_path / "labels", "--sheets")])
    assert answer.exit_code == 0, answer.output
    written = cv2.imread(str(tmp_path / "labels" / "labels" / "00004.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(written, model.segment(val.with_hha(True)[0].frame).labels)
    write_calibrated(run / "model.lcrseg", tmp_path / "calibrated.lcrseg", data, "val")
    assert ModelBundle.load(tmp_path / "calibrated.lcrseg").input.reads_hha
    assert "HHA is computed" not in caplog.text


def test_a_run_goes_on_with_the_images_that_it_began_with_only(data: Path, run: Path, tmp_path: Path) -> None:
    write_png(data / "hha" / "00000.png", np.zeros((120, 160, 3), np.uint8))
    with pytest.raises(SourceError, match="holds a run on split 'fit' of 4 frames"):
        train(Recipe.load("nyu40", SMALL | READ), data, "fit", "val", run, cache=tmp_path / "cache")


@pytest.mark.parametrize("split", ["fit", "val"])
def test_a_training_whose_folder_lacks_one_does_not_begin_although_there_is_depth(
    data: Path, tmp_path: Path, split: str
) -> None:
    name = DatasetFolder(data, split).names[0]
    (with_depth(data) / "hha" / f"{name}.png").unlink()
    with pytest.raises(SourceError, match=rf"add hha/{name}\.png"):
        train(Recipe.load("nyu40", SMALL | READ), data, "fit", "val", tmp_path / "run", cache=tmp_path / "cache")
    assert not (tmp_path / "run").exists()


def test_scores_that_a_bundle_carries_are_never_those_of_computed_hha(data: Path, tmp_path: Path) -> None:
    bundle = ModelBundle.load(model_of_folder(tmp_path))
    shutil.rmtree(with_depth(data) / "hha")
    with pytest.raises(SourceError, match=r"no HHA image, which input\.hha_source=folder needs"):
        write_scored(bundle, tmp_path / "out.lcrseg", data, "val")
    assert not (tmp_path / "out.lcrseg").exists()


def test_depth_of_another_kind_is_refused_where_it_would_change_nothing(data: Path, tmp_path: Path) -> None:
    arguments = ["--model", str(model_of_folder(tmp_path)), "--data", str(with_depth(data)), "--depth", "worn"]
    answer = CliRunner().invoke(evaluate_command, arguments)
    assert answer.exit_code == 2 and "--depth worn would change nothing" in answer.output
