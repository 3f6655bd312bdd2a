"""int8: smaller, measured before and after, refused where it costs too much or where nothing can run it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from shared_data import ROOT
from tiny_bundle import make_tiny_bundle

from lcr_seg_ros.backends import BACKENDS, create_backend
from lcr_seg_ros.bundle import ModelBundle, find_model
from lcr_seg_ros.errors import BackendError, BundleError
from lcr_seg_ros.preprocess import Preprocessor
from lcr_seg_ros.segmenter import Segmenter
from lcr_seg_ros.sources.folder import DatasetFolder, write_folder
from lcr_seg_ros.sources.rooms import RenderedRoom

pytest.importorskip("onnxruntime", reason="quantises")
pytest.importorskip("onnx", reason="quantises")
import onnx

from lcr_seg_ros.training import quantize
from lcr_seg_ros.training.evaluate import evaluate, without_trial
from lcr_seg_ros.training.quantize import Attempt, QuantizationError, write_quantized
from lcr_seg_ros.training.quantize_command import command

TRIAL = ROOT / "models" / "nyu40_fit.lcrseg"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("room")
    write_folder(RenderedRoom(frames=6, seed=3), folder, split="fit")
    return folder


@pytest.fixture(scope="module")
def made(room: Path) -> tuple[Path, str]:
    """The shipped model in int8, and what the command said."""
    out = room / "small.lcrseg"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "lcr_seg_ros", "quantize", "--data", room, "--split", "fit", "--frames", "4"),
            *("--val", "fit", "--limit", "4", "--max-loss", "10", "--out", out),
        ],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=250,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out, done.stdout


def test_it_is_smaller_and_says_what_it_is(made: tuple[Path, str]) -> None:
    out, said = made
    bundle, original = ModelBundle.load(out), ModelBundle.load("nyu40")
    assert out.stat().st_size < 0.65 * find_model("nyu40").stat().st_size
    assert bundle.name == "small"
    assert bundle.notice == original.notice
    record = bundle.training.pop("quantization")
    assert bundle.training == without_trial(original.training)
    assert record["precision"] == "int8"
    assert record["calibration"] == {"split": "fit", "frames": 4}
    assert record["float_network_sha256"] == original.manifest()["network_sha256"]
    for scores in record["scores"]["fit"].values():
        assert scores["float"]["frames"] == scores["int8"]["frames"] == 4
    assert bundle.scores["fit"]["mean_iou"] == record["scores"]["fit"]["openvino"]["int8"]["mean_iou"]
    assert {line.split(",")[2].split(":")[0].strip() for line in said.splitlines()[:2]} == {"openvino", "onnxruntime"}
    assert f"model bundle: {out}, {out.stat().st_size / 1e6:.1f} MB" in said


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_it_labels_nearly_as_the_float_model(made: tuple[Path, str], backend: str, room: Path) -> None:
    small, whole = Segmenter.load(made[0], backend), Segmenter.load("nyu40", backend)
    item = DatasetFolder(room, "fit")[5]
    ours, theirs = small.segment(item.frame), whole.segment(item.frame)
    assert (ours.labels == theirs.labels).mean() > 0.85
    assert len(np.unique(ours.confidence)) > 1000, "the softmax is not of 256 levels"


def test_torch_refuses_it_in_one_line_and_auto_takes_another(made: tuple[Path, str]) -> None:
    pytest.importorskip(BACKENDS["torch"][0])
    bundle = ModelBundle.load(made[0])
    with pytest.raises(BackendError, match=r"torch cannot run 'small': its weights are int8 .* openvino or onnxrunt"):
        create_backend(bundle, "torch", "cpu")
    assert create_backend(bundle, "auto", "cpu").name in ("openvino", "onnxruntime")


def test_what_is_int8_already_is_refused(made: tuple[Path, str], room: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="is of int8 already"):
        write_quantized(made[0], tmp_path / "again.lcrseg", DatasetFolder(room, "fit"), "fit")


def test_where_every_attempt_loses_too_much_nothing_is_written(
    room: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quantize, "ATTEMPTS", (Attempt(3),))
    folder = DatasetFolder(room, "fit", limit=1)
    with pytest.raises(QuantizationError, match=r"costs 'nyu40' more than -100 points .*the first 3 and .*nothing was"):
        write_quantized("nyu40", tmp_path / "out.lcrseg", folder, "fit", 1, folder, "fit", max_loss=-100.0)
    assert not list(tmp_path.iterdir())


def test_without_a_validation_split_it_says_that_nothing_was_measured(
    room: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    record = write_quantized("nyu40", tmp_path / "out.lcrseg", DatasetFolder(room, "fit"), "fit", 1)
    assert "scores" not in record
    assert ModelBundle.load(tmp_path / "out.lcrseg").scores == {}
    assert any("was not measured" in message for message in caplog.messages)


def test_a_network_that_answers_otherwise_altogether_is_refused(room: Path) -> None:
    bundle = ModelBundle.load(TRIAL)
    tensor = Preprocessor(bundle.input)(DatasetFolder(room, "fit")[0].frame).tensor
    quantize._refuse_another_answer(bundle, bundle, tensor)
    with pytest.raises(QuantizationError, match="of a calibration frame as 'nyu40_fit' does, at least 50% are wanted"):
        quantize._refuse_another_answer(bundle, broken(bundle), tensor)


def broken(bundle: ModelBundle) -> ModelBundle:
    """Its layers without a range: nothing that is a number comes out."""
    model = onnx.load_model_from_string(bundle.network)
    for weights in model.graph.initializer:
        if list(weights.dims) == [len(bundle.labels)]:  # of the last layer
            values = onnx.numpy_helper.to_array(weights)
            weights.CopyFrom(onnx.numpy_helper.from_array(np.full_like(values, np.nan), weights.name))
    return replace(bundle, network=model.SerializeToString())


def test_options_of_a_measurement_that_is_not_asked_for_are_refused(room: Path, tmp_path: Path) -> None:
    for option in (("--trial", str(TRIAL)), ("--limit", "2")):
        result = CliRunner().invoke(command, ["--data", str(room), "--out", str(tmp_path / "out.lcrseg"), *option])
        assert result.exit_code == 2 and f"{option[0]} needs --val" in result.output


def test_what_a_trial_loses_decides_for_a_model_trained_on_every_frame(room: Path, tmp_path: Path) -> None:
    folder, out = DatasetFolder(room, "fit", limit=2), tmp_path / "out.lcrseg"
    record = write_quantized("nyu40", out, folder, "fit", 1, folder, "fit", max_loss=100.0, trial=TRIAL)
    float_scores = {name: evaluate(Segmenter.load(name), folder).scores()["pixel_acc"] for name in ("nyu40", TRIAL)}
    assert record["scores"]["fit"]["openvino"]["float"]["pixel_acc"] == pytest.approx(float_scores[TRIAL])
    assert float_scores[TRIAL] != pytest.approx(float_scores["nyu40"])
    # The result is the model, not its trial.
    made, whole = ModelBundle.load(out), ModelBundle.load("nyu40")
    assert made.input == whole.input != ModelBundle.load(TRIAL).input
    assert record["float_network_sha256"] == whole.manifest()["network_sha256"]


def test_a_trial_of_another_recipe_is_refused(room: Path, tmp_path: Path) -> None:
    folder = DatasetFolder(room, "fit")
    with pytest.raises(BundleError, match=r"'nyu40-rgb' and its trial must be of one recipe, but differ in"):
        write_quantized("nyu40-rgb", tmp_path / "out.lcrseg", folder, "fit", 1, folder, trial=TRIAL)


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_sums_of_probabilities_of_a_grouped_model_stay_float(backend: str, room: Path) -> None:
    confidence = Segmenter.load("nyu4-int8", backend).segment(DatasetFolder(room, "fit")[0].frame).confidence
    assert len(np.unique(confidence)) > 1000


def test_a_network_of_too_few_layers_is_refused(room: Path, tmp_path: Path) -> None:
    model = make_tiny_bundle(tmp_path / "tiny.lcrseg")
    with pytest.raises(QuantizationError, match="has 1 layers with weights: too few"):
        write_quantized(model, tmp_path / "out.lcrseg", DatasetFolder(room, "fit"), "fit", 1)
    assert not (tmp_path / "out.lcrseg").exists()
