"""The command line: what a new user types, right and wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from command_line import run
from model_under_test import model_under_test
from shared_data import ROOT, keep_picture, shared_data
from test_folder import frames
from tiny_bundle import make_tiny_bundle

from lcr_seg_ros.benchmark import command
from lcr_seg_ros.cli import COMMANDS, group, main, stopped_line
from lcr_seg_ros.segmenter import Segmenter
from lcr_seg_ros.sources.folder import DatasetFolder, write_folder


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write_folder(frames(), tmp_path / "data", split="val")
    return tmp_path / "data"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return make_tiny_bundle(tmp_path / "tiny.lcrseg")


def test_the_front_door_lists_every_command_with_one_line() -> None:
    text = run("--help").stdout
    for name, (_, _, line) in COMMANDS.items():
        assert name in text
        assert line.split()[0] in text


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    assert "Usage:" in run(name, "--help").stdout


def test_predict_writes_the_segmenters_labels_one_image_a_frame(dataset: Path, model: Path, tmp_path: Path) -> None:
    run("predict", "--data", dataset, "--model", model, "--out", tmp_path / "out", "--sheets")
    segmenter = Segmenter.load(model)
    for item in DatasetFolder(dataset):
        written = cv2.imread(str(tmp_path / "out" / "labels" / f"{item.name}.png"), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(written, segmenter.segment(item.frame).labels)
        assert (tmp_path / "out" / "sheets" / f"{item.name}.jpg").is_file()


def test_pictures_of_a_model_with_other_classes_leave_the_annotation_out_and_say_so(
    dataset: Path, tmp_path: Path
) -> None:
    model = make_tiny_bundle(tmp_path / "nyu4.lcrseg", labels="nyu4")
    said = run("predict", "--data", dataset, "--model", model, "--out", tmp_path / "out", "--sheets", "--limit", "1")
    (line,) = [line for line in said.stderr.splitlines() if "annotation" in line]
    assert line.endswith("data is annotated with label set nyu40, the model's is nyu4")
    (picture,) = (tmp_path / "out" / "sheets").iterdir()
    height, width = next(iter(DatasetFolder(dataset))).frame.rgb.shape[:2]
    assert height < 300 and cv2.imread(str(picture)).shape[1] == 4 * width  # RGB, HHA, labels, overlay


@pytest.mark.slow
def test_a_sheet_of_a_real_frame_shows_it_with_labels_and_their_legend(tmp_path: Path) -> None:
    given = ["--data", shared_data("kitchen"), "--intrinsics", "585,585,320,240", "--model", model_under_test()]
    run("predict", *given, "--limit", "1", "--out", tmp_path, "--sheets")
    (path,) = (tmp_path / "sheets").iterdir()
    keep_picture(path, "kitchen_sheet.jpg")
    picture = cv2.imread(str(path))
    assert picture.shape[1] == 4 * 400 and 330 < picture.shape[0] < 500
    assert picture[26:326].std() > 20 and 0 < (picture[326:] < 128).any(2).mean() < 0.5


def test_evaluate_prints_and_writes_the_four_scores(dataset: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.json"
    text = run("evaluate", "--data", dataset, "--split", "val", "--model", model, "--json", out).stdout
    scores = json.loads(out.read_text())
    assert {"pixel_acc", "mean_acc", "mean_iou", "fw_iou", "per_class_iou", "frames"} <= set(scores)
    assert scores["frames"] == 3
    assert f"mean IU {100 * scores['mean_iou']:.2f}" in text


def test_prepare_rooms_makes_a_dataset_that_evaluate_reads(model: Path, tmp_path: Path) -> None:
    run("prepare", "rooms", "--out", tmp_path / "rooms", "--rooms", "2", "--frames", "2", "--first-seed", "5")
    folder = DatasetFolder(tmp_path / "rooms", "all")
    assert folder.names == ["0005_00000", "0005_00001", "0006_00000", "0006_00001"]
    assert all(item.labels is not None and item.labels.min() >= 1 for item in folder)


def test_benchmark_prints_medians_and_writes_them(tmp_path: Path) -> None:
    run("benchmark", "network", "--seconds", "0.1", "--json", tmp_path / "b.json", "--model", "nyu40")
    figures = json.loads((tmp_path / "b.json").read_text())["figures"]
    assert len(figures) >= 2
    assert all(row["wall_ms"] > 0 and row["runs"] >= 1 for row in figures.values())


def test_benchmark_constraint_tells_time_memory_and_exactness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    from lcr_seg_ros.training import constraint_benchmark

    monkeypatch.setattr(constraint_benchmark, "SIZES", ((1, 40, 120, 160),))  # the real ones take minutes
    threads = torch.get_num_threads()
    try:
        answer = CliRunner().invoke(command, ["constraint", "--seconds", "0.1", "--json", str(tmp_path / "b.json")])
    finally:
        torch.set_num_threads(threads)
    assert answer.exit_code == 0 and "times as fast as plain convolutions" in answer.output, answer.output
    figures = json.loads((tmp_path / "b.json").read_text())["figures"]
    ours, plain = (figures[f"constraint, {way} 1x40x120x160"] for way in ("ours", "plain"))
    assert ours["error_of_value"] < 1e-6 and ours["error_of_gradient_of_probabilities"] < 1e-5
    assert ours["error_of_gradient_of_kernels"] < 1e-3
    assert 3 * ours["extra_memory_mib"] < plain["extra_memory_mib"]


def test_benchmark_hha_times_rendered_frames_and_those_of_a_folder_and_tells_ratio_and_memory(
    dataset: Path, tmp_path: Path
) -> None:
    text = run("benchmark", "hha", "--data", dataset, "--seconds", "0.1", "--json", tmp_path / "b.json").stdout
    figures = json.loads((tmp_path / "b.json").read_text())["figures"]
    assert all(row["wall_ms"] > 0 and row["cpu_ms"] > 0 and row["runs"] >= 1 for row in figures.values())
    assert {"fast 1280x720 rendered", "fast live 1280x720 rendered"} <= set(figures)
    for where in ("640x480 rendered", "80x60 data"):
        assert {f"fast {where}", f"fast live {where}", f"exact {where}"} <= set(figures)
        fast = figures[f"fast {where}"]
        assert fast["times_exact"] == pytest.approx(figures[f"exact {where}"]["cpu_ms"] / fast["cpu_ms"])
        assert f"fast {where}: {fast['times_exact']:.0f} times as fast as exact" in text
    # Everything comes out of buffers, but for a few rows and the sample of heights behind the floor.
    result_kib = 640 * 480 * 3 / 1024
    assert figures["fast live 640x480 rendered"]["allocated_kib"] < 0.1 * result_kib


@pytest.mark.slow
def test_benchmark_node_measures_the_three_processes(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")
    arguments = ["--scenario", "stalled", "--model", make_tiny_bundle(tmp_path / "tiny.lcrseg"), "--seconds", "2"]
    run("benchmark", "node", *arguments, "--json", tmp_path / "b.json", "--plot", tmp_path / "b.png", cwd=tmp_path)
    figures = json.loads((tmp_path / "b.json").read_text())["figures"]["scenarios"]["stalled"]
    assert figures["masks_received"] >= 2 and 0 <= figures["dropped_share"] < 1
    assert {"wait", "conversion", "hha", "preprocess", "network", "decode", "render", "publish"} == set(
        figures["stage_ms"]
    )
    assert 0 < figures["from_stamp_ms"]["p50"] <= figures["from_stamp_ms"]["p95"]
    assert figures["start_to_first_mask_s"] > 0 and figures["memory_mb"] > 0
    assert (tmp_path / "b.png").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["predict", "--data", "nowhere"], "error: nowhere is not a dataset folder: there is nothing of that name"),
        (
            ["predict", "--data", "DATA", "--model", "nowhere"],
            "error: no model at nowhere; give the path of a .lcrseg file",
        ),
        (["predict", "--data", "DATA", "--model", "MODEL", "--out", "DATA"], "is the dataset itself"),
        (["predict", "--data", "DATA", "--model", "MODEL", "--intrinsics", "1,2"], "intrinsics must be fx,fy,cx,cy"),
        (["predict", "--data", "DATA", "--model", "MODEL", "--backend", "tpu"], "backend must be auto"),
        (["evaluate", "--data", "DATA", "--model", "MODEL", "--split", "tset"], "splits here: val"),
        (["train", "--data", "DATA", "--recipe", "nyu50"], "no recipe 'nyu50': give a YAML file or one of"),
        (["train", "--data", "DATA", "--set", "optimizer.epochs=-1"], "optimizer.epochs"),
        (["train", "--data", "DATA", "--set", "optimiser.epochs=1"], "optimiser"),
        (["export", "--run", "nowhere", "--out", "x.lcrseg"], "has no last.ckpt"),
        (["check-data", "DATA", "--json", "/dev/null/x.json"], "error: /dev/null"),
    ],
)
def test_a_mistake_is_answered_with_one_line_and_exit_code_1(
    arguments: list[str], said: str, dataset: Path, model: Path
) -> None:
    if arguments[0] in ("train", "export"):
        pytest.importorskip("lightning")
    places = {"DATA": str(dataset), "MODEL": str(model)}
    answer = run(*(places.get(a, a) for a in arguments), code=1)
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr


def test_json_to_standard_output_has_that_alone_there(dataset: Path, model: Path) -> None:
    said = run("evaluate", "--data", dataset, "--split", "val", "--model", model, "--json", "-")
    assert json.loads(said.stdout)["frames"] > 0
    assert "mean IU" in said.stderr


def test_a_package_that_does_not_fit_another_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "numba.py").write_text("raise ImportError('Numba needs NumPy 1.21 or less')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "lcr_seg_ros", "predict", "--help"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(
        "error: `predict` needs a Python module that cannot be loaded: Numba needs NumPy 1.21 or less."
    )


def test_ctrl_c_ends_a_command_with_130_and_one_line(tmp_path: Path) -> None:
    arguments = ["prepare", "rooms", "--out", tmp_path / "rooms", "--rooms", 99, "--frames", 1]
    process = subprocess.Popen(
        [sys.executable, "-m", "lcr_seg_ros", *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    deadline = time.monotonic() + 60
    while not (tmp_path / "rooms" / "rgb").is_dir() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said.strip()) == (130, "stopped")


def test_ctrl_c_within_compiled_code_is_ctrl_c_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer_of_compiled_code(*_: object, **__: object) -> None:
        raise SystemError("CPUDispatcher returned a result with an exception set") from KeyboardInterrupt()

    monkeypatch.setattr(group, "main", answer_of_compiled_code)
    with pytest.raises(SystemExit) as ended:
        main(["predict"])
    assert (ended.value.code, capsys.readouterr().err) == (130, "stopped\n")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("train --data mine", "stopped; the same command goes on"),
        ("prepare nyudv2 --download --out nyudv2", "stopped; the same command goes on"),
        ("prepare rooms --out rooms", "stopped"),
        ("train --data mine --no-resume", "stopped"),
        ("predict --data train", "stopped"),
    ],
)
def test_after_ctrl_c_it_is_said_whether_the_same_command_goes_on(typed: str, said: str) -> None:
    assert stopped_line(typed.split()) == said


def test_of_libraries_warnings_are_shown_and_of_ours_what_they_do_too() -> None:
    code = """
import logging
from lcr_seg_ros.cli import main
try:
    main(["--version"])
except SystemExit:
    for name in ("matplotlib.font_manager", "lcr_seg_ros.training.data"):
        logging.getLogger(name).info("%s does", name)
        logging.getLogger(name).warning("%s warns", name)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=ROOT).stderr
    assert said.splitlines() == [
        "WARNING matplotlib.font_manager warns",
        "INFO lcr_seg_ros.training.data does",
        "WARNING lcr_seg_ros.training.data warns",
    ]


def test_a_mistyped_option_is_wrong_usage() -> None:
    assert "No such option" in run("predict", "--dta", "x", code=2).stderr


def test_an_option_of_another_benchmark_is_wrong_usage(dataset: Path) -> None:
    assert "--data goes with hha only" in run("benchmark", "constraint", "--data", dataset, code=2).stderr
    assert "--backend and --device go with" in run("benchmark", "hha", "--device", "cpu", code=2).stderr
