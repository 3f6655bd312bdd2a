"""``ablate``: what a grid means, what interruption does to it, and what the tables say."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner

pytest.importorskip("pydantic", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")
pytest.importorskip("matplotlib", reason="charts need the extra: pip install 'lcr_seg_ros[train]'")

from shared_data import ROOT
from tiny_bundle import tiny_bundle

from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.cli import main
from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.frame import RgbdFrame
from lcr_seg_ros.resources import CONFIG
from lcr_seg_ros.sources.folder import DatasetFolder, write_folder, write_png
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.sources.source import SourceFrame
from lcr_seg_ros.training import ablate_command
from lcr_seg_ros.training.ablate import (
    RunResult,
    RunSettings,
    _check_models,
    _is_trained,
    check_data,
    check_start,
    estimate,
    run_all,
    state_of,
)
from lcr_seg_ros.training.ablate_command import command, duration
from lcr_seg_ros.training.ablate_grid import FOLDER, Grid, GridError, PlannedRun, plan
from lcr_seg_ros.training.ablate_report import Spread, paired_differences, write_ablation_report
from lcr_seg_ros.training.datasets.nyudv2_crop import NYUDV2_WINDOW
from lcr_seg_ros.training.datasets.split_digest import digest_split
from lcr_seg_ros.training.evaluate import evaluate, load_segmenter
from lcr_seg_ros.training.module import TrainingError
from lcr_seg_ros.training.recipe import Recipe, dotted_entries, without_folders_in

SMALL = {
    "input.modality": "rgb",
    "input.height": 32,
    "input.width": 48,
    "optimizer.batch_size": 4,
    "optimizer.epochs": 1,
    "rooms.rooms": 0,
    "rooms.per_epoch": 0,
    "network.imagenet": False,
}


FROM_FILE = SMALL | {"network.imagenet": True}


def write_grid(folder: Path, **entries: Any) -> Path:
    """A grid of two losses unless ``entries`` say otherwise."""
    losses = {"none": {"settings": {"loss.constraint": None}}, "learned": {}}
    values = {"name": "small", "recipe": "nyu40", "settings": SMALL, "axes": {"loss": losses}} | entries
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def load(folder: Path, **entries: Any) -> Grid:
    return Grid.load(write_grid(folder, **entries))


# What a grid means


@pytest.mark.parametrize("name", sorted(p.stem for p in FOLDER.glob("*.yaml")))
def test_every_shipped_grid_can_be_planned(name: str) -> None:
    grid = Grid.load(name)
    runs = plan(grid)
    assert len(grid.seeds) >= 2
    assert all(run.point.keys() == grid.axes.keys() for run in runs)


def test_the_four_losses_of_the_shipped_grid_differ_in_the_loss_only() -> None:
    runs = plan(Grid.load("fcn_lite_losses"))
    assert len(runs) == len({run.digest for run in runs}) == 12
    first = {run.point["loss"]: run.recipe for run in runs if run.recipe.seed == 0}
    assert first["none"].loss.constraint is None
    kinds = {
        name: r.loss.constraint and (r.loss.constraint.init, r.loss.constraint.learnable) for name, r in first.items()
    }
    assert kinds == {
        "none": None, "fixed": ("difference", False), "learned": ("difference", True), "kirsch": ("kirsch", True)
    }  # fmt: skip
    for recipe in first.values():
        assert recipe.model_copy(update={"loss": first["none"].loss}) == first["none"]


def test_a_bundle_belongs_to_its_plan_although_it_keeps_no_folders(tmp_path: Path) -> None:
    (run, *_) = plan(Grid.load("fcn_lite_losses"))
    run = replace(run, recipe=Recipe.load("nyu40", {"network.weights": "/somewhere/else/weights.npz"}))
    bundle = tiny_bundle()
    stored = without_folders_in(run.recipe)
    assert stored["network"]["weights"] == "weights.npz"
    replace(bundle, training=bundle.training | {"recipe": stored}).save(tmp_path / "a.lcrseg")
    assert _is_trained(run, tmp_path / "a.lcrseg")
    other = replace(run, recipe=Recipe.load("nyu40", {"seed": 7}))
    assert not _is_trained(other, tmp_path / "a.lcrseg")
    for epochs in (run.recipe.optimizer.epochs - 1, run.recipe.optimizer.epochs):  # the first is of a run that goes on
        record = {"recipe": stored, "epochs_run": epochs}
        replace(bundle, training=record).save(tmp_path / "b.lcrseg")
        assert _is_trained(run, tmp_path / "b.lcrseg") == (epochs == run.recipe.optimizer.epochs)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["optimizer.precision=bf16-mixed"], "would change the recipe of every run"),
        (["--set=optimizer.epochs=1"], "--set does not belong there: would change the recipe of every run"),
        (["--recipe", "nyu4"], "--recipe does not belong there: would change the recipe of every run"),
        (["--finetune", "nyu40"], "--finetune does not belong there: would change the recipe"),
        (["--fit", "train"], "--fit does not belong there: give it to `ablate` itself, before --"),
        (["--out", "elsewhere"], "--out does not belong there: give it to `ablate` itself"),
        (["--cache=elsewhere"], "--cache does not belong there: give it to `ablate` itself"),
        (["--no-resume"], "--resume does not belong there: runs that were stopped go on"),
        (["--threadz", "1"], "No such option"),
        (["--workers"], "requires an argument"),
        (["--devices", "two"], "is not a valid integer"),
        (["--devices", "2"], "--devices 2 would change every run"),
        (["--nodes=2", "--accelerator", "cpu"], "--nodes 2 would change every run"),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_what_would_change_a_run_or_is_unknown_is_refused_after_the_dashes(
    words: list[str], said: str, dry: list[str]
) -> None:
    answer = CliRunner().invoke(command, ["--grid", "fcn_lite_losses", "--data", ".", *dry, "--", *words])
    assert answer.exit_code == 2
    assert "after --: " in answer.output
    assert said in answer.output


def test_how_a_run_is_carried_out_may_be_said_after_the_dashes(rooms: Path, tmp_path: Path) -> None:
    listing(write_grid(tmp_path), rooms, tmp_path / "out", "--dry-run", "--", "--accelerator", "gpu", "--devices", 4)
    words = ["--accelerator", "cpu", "--devices", 1, "--workers", 0, "--checkpoint-minutes=2", "--threads", 1]
    listing(write_grid(tmp_path), rooms, tmp_path / "out", "--dry-run", "--", *words)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has the GPU that is asked for")
def test_a_gpu_that_is_not_there_is_missed_before_the_first_run(rooms: Path, tmp_path: Path) -> None:
    words = ["--grid", write_grid(tmp_path), "--data", rooms, "--out", tmp_path / "out", "--", "--accelerator", "gpu"]
    answer = CliRunner().invoke(command, [*map(str, words)])
    assert isinstance(answer.exception, TrainingError)
    assert "PyTorch finds no GPU here" in str(answer.exception)
    assert not (tmp_path / "out").exists()


def test_a_point_of_lambda_zero_is_the_baseline_and_is_trained_once_for_all_kinds_of_kernels() -> None:
    runs = plan(Grid.load("lambda_sweep"))
    zero = [run for run in runs if run.point["lambda"] == "0" and run.recipe.seed == 0]
    assert len(zero) == 2
    assert len({run.digest for run in zero}) == 1
    assert len({run.digest for run in runs}) == 22


def test_each_choice_behind_nyu40_is_one_change_of_its_recipe() -> None:
    runs = {run.point["choice"]: run.recipe for run in plan(Grid.load("nyu40_choices")) if run.recipe.seed == 0}
    base = dotted_entries(runs.pop("as it is").model_dump())
    sections = {
        "no rendered rooms": {"rooms"},
        "depth as it is": {"augmentation"},
        "taught by a trained model": {"loss"},
    }
    for choice, recipe in runs.items():
        entries = dotted_entries(recipe.model_dump())
        changed = {name for name in base.keys() | entries.keys() if base.get(name) != entries.get(name)}
        assert changed, choice
        if choice in sections:
            assert {name.split(".")[0] for name in changed} == sections[choice], choice


def test_the_papers_grid_is_its_three_tables_with_baselines_that_differ_in_the_loss_only() -> None:
    runs = [run for run in plan(Grid.load("paper")) if run.recipe.seed == 0]
    places = {tuple(run.point[axis] for axis in ("network", "modality", "classes", "loss")): run for run in runs}
    assert len(places) == len(runs) == 10
    assert {place[:3] for place in places} == {
        ("fcn32s", "rgb", "40"),
        ("fcn32s", "hha", "40"),
        ("segnet", "rgb", "40"),
        ("segnet", "hha", "40"),
        ("fcn32s", "rgb", "4"),
    }
    for place in {place[:3] for place in places}:
        none, learned = places[(*place, "none")], places[(*place, "learned")]
        constraint = learned.recipe.loss.constraint
        assert none.recipe.loss.constraint is None
        assert constraint is not None
        assert (constraint.sigma, constraint.weight, constraint.alpha, constraint.beta) == (0.25, 100, 1000, 1000)
        assert constraint.learnable
        assert constraint.guide == learned.point["modality"] == learned.recipe.input.modality
        assert learned.recipe.network.name == learned.point["network"]
        assert learned.recipe.labels == f"nyu{learned.point['classes']}"
        assert learned.data == ("data" if learned.point["classes"] == "40" else "nyu4")
        baseline = learned.recipe.loss.model_copy(update={"constraint": None})
        assert learned.recipe.model_copy(update={"loss": baseline}) == none.recipe


def test_axes_override_in_order_and_nothing_comes_back_below_a_null(tmp_path: Path) -> None:
    axes = {
        "loss": {
            "none": {"settings": {"loss.constraint": None}},
            "kirsch": {"settings": {"loss.constraint.init": "kirsch"}},
        },
        "lambda": {"entry": "loss.constraint.weight", "values": [1, 2.5]},
    }
    runs = plan(load(tmp_path, axes=axes, settings={"loss.constraint.weight": 7}))
    assert [tuple(run.point.values()) for run in runs] == [
        ("none", "1"), ("none", "2.5"), ("kirsch", "1"), ("kirsch", "2.5")
    ]  # fmt: skip
    constraints = [run.recipe.loss.constraint for run in runs]
    assert constraints[:2] == [None, None]
    assert [(c.init, c.weight) for c in constraints[2:] if c] == [("kirsch", 1.0), ("kirsch", 2.5)]


@pytest.mark.parametrize(
    "settings",
    [
        {"loss.constraint.weight": 7, "loss.constraint.sigma": 0.5},
        {"loss.constraint": {"weight": 7, "sigma": 0.5}},
        {"loss": {"constraint": {"weight": 7, "sigma": 0.5}}},
    ],
)
def test_switching_the_constraint_on_keeps_what_was_set_of_it(tmp_path: Path, settings: dict[str, Any]) -> None:
    axes = {"loss": {"none": {"settings": {"loss.constraint": False}}, "on": {"settings": {"loss.constraint": True}}}}
    none, on = (run.recipe.loss.constraint for run in plan(load(tmp_path, axes=axes, settings=settings)))
    assert none is None
    assert on is not None
    assert (on.weight, on.sigma) == (7, 0.5)


def test_a_variant_may_change_recipe_data_and_splits(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("name: other\noptimizer: {epochs: 3}\n")
    axes = {"images": {40: {}, 10: {"recipe": "other.yaml", "data": "few", "fit": "fit10", "val": "test"}}}
    forty, ten = plan(load(tmp_path, axes=axes, settings={}))
    assert (forty.recipe.name, forty.data, forty.fit, forty.val) == ("nyu40", "data", "fit", "val")
    assert (ten.recipe.name, ten.data, ten.fit, ten.val) == ("other", "few", "fit10", "test")
    with pytest.raises(GridError, match=r"needs the dataset 'few': add --data few=DIR"):
        check_data([ten], RunSettings({"data": tmp_path}, tmp_path, tmp_path))


def test_keep_and_only_leave_points_out(tmp_path: Path) -> None:
    axes = {"a": {"x": {}, "y": {}}, "b": {1: {}, 2: {"settings": {"optimizer.epochs": 2}}}}
    grid = load(tmp_path, axes=axes, keep=[{"a": "x"}, {"b": [2]}])
    assert [tuple(r.point.values()) for r in plan(grid)] == [("x", "1"), ("x", "2"), ("y", "2")]
    assert [tuple(r.point.values()) for r in plan(grid, {"b": ["1"]})] == [("x", "1")]
    with pytest.raises(GridError, match="nothing is left"):
        plan(grid, {"a": ["y"], "b": ["1"]})
    with pytest.raises(GridError, match="axis 'b' has no value '3'; values: 1, 2"):
        plan(grid, {"b": ["3"]})


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"sedes": [1]}, "sedes: Extra inputs are not permitted"),
        ({"axes": {"loss": {"none": {"setings": {}}}}}, "setings: Extra inputs"),
        ({"baseline": {"los": "none"}}, "there is no axis 'los'; axes: loss"),
        ({"keep": [{"loss": "all"}]}, "axis 'loss' has no value 'all'"),
        ({"seeds": []}, "seeds"),
        ({"axes": {"seed": {"1": {}}}}, "list seeds under 'seeds'"),
        ({"axes": {}}, "there are no axes: name at least one"),
        ({"axes": {"l": {}}}, "axis 'l' has no values: name at least one$"),
        ({"axes": {"l": {"entry": "seed", "values": []}}}, "axis 'l' has no values"),
        ({"axes": {"l": {"entry": "seed", "values": 3}}}, r"axes: axis 'l' sweeps an entry: .* values: \[0.1, 0.25\]"),
        ({"axes": {"l": {"entry": "seed", "value": [3]}}}, r"needs 'entry' and 'values', .*got entry: 'seed', value"),
        ({"axes": {"l": {"entry": "seed", "values": [0.1, 0.1]}}}, "two values that are called 0.1: keep one"),
    ],
)
def test_a_grid_names_what_is_wrong_with_it(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    with pytest.raises(GridError, match=message):
        load(tmp_path, **entries)


def test_names_in_a_grid_stay_as_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text(
        "name: small\nrecipe: nyu40\naxes:\n"
        "  loss: {off: {settings: {loss.constraint: off}}, on: {}}\n"
        "  mirror: {entry: augmentation.enabled, values: [yes, no]}\n"
        "keep: [{loss: off}, {mirror: [true]}]\nbaseline: {loss: off}\n"
    )
    grid = Grid.load(path)
    assert grid.baseline == {"loss": "off"}
    runs = plan(grid)
    assert [tuple(run.point.values()) for run in runs] == [("off", "true"), ("off", "false"), ("on", "true")]
    assert [run.recipe.augmentation.enabled for run in runs] == [True, False, True]
    assert runs[0].recipe.loss.constraint is None


def test_a_variant_that_stands_twice_is_refused_with_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "grid.yaml"
    path.write_text("name: a\nrecipe: nyu40\naxes:\n  loss:\n    one: {}\n    two: {}\n    one: {fit: few}\n")
    with pytest.raises(GridError, match=r"grid\.yaml, line 7: 'one' is there already, in line 5"):
        Grid.load(path)
    path.write_text(path.read_text(), encoding="utf-16")
    with pytest.raises(GridError, match=r"grid\.yaml is not UTF-8 text: save it as UTF-8"):
        Grid.load(path)


def test_a_recipe_given_as_a_grid_and_a_grid_as_a_recipe_are_told_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(GridError, match=r"this looks like a recipe, for it has no axes but .*optimizer") as told:
        Grid.load(CONFIG / "recipes" / "nyu40.yaml")
    assert "{" not in str(told.value)
    with pytest.raises(LcrSegError, match=r"this looks like a grid, .* `ablate --grid`$"):
        Recipe.load(write_grid(tmp_path))
    (tmp_path / "other.yaml").write_text("name: other\nvoid: 0\nclasses: [{id: 1}]\n")
    with pytest.raises(GridError, match=r"recipe: Field required; axes: Field required; ") as told:
        Grid.load(tmp_path / "other.yaml")
    assert "PosixPath" not in str(told.value)


def test_a_setting_that_no_recipe_has_is_named_with_its_point(tmp_path: Path) -> None:
    axes = {"loss": {"odd": {"settings": {"loss.constraint.weigth": 3}}}}
    with pytest.raises(GridError, match=r"'loss': 'odd'.*weigth"):
        plan(load(tmp_path, axes=axes))


def test_an_unknown_grid_lists_those_that_ship() -> None:
    names = ", ".join(sorted(path.stem for path in FOLDER.glob("*.yaml")))
    with pytest.raises(GridError, match=f"one of {names}$"):
        Grid.load("lossses")


# Running it


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rooms")
    room = RenderedRoom(frames=10, seed=1, width=96, height=64)
    write_folder([room[i] for i in range(8)], folder, split="fit")
    write_folder([room[i] for i in range(8, 10)], folder, split="val")
    return folder


def command_line(grid: Path, rooms: Path, out: Path, *more: str) -> list[str]:
    words = ["ablate", "--grid", grid, "--data", rooms, "--out", out, "--cache", out / "hha", "--threads", 1, *more]
    return [sys.executable, "-m", "lcr_seg_ros", *map(str, words)]


ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"}


def ablate(grid: Path, rooms: Path, out: Path, *more: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    answer = subprocess.run(
        command_line(grid, rooms, out, *more), capture_output=True, text=True, timeout=240, env=ENVIRONMENT
    )
    assert answer.returncode == code, answer.stdout + answer.stderr
    return answer


def is_locked(folder: Path) -> bool:
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def listing(grid: Path, rooms: Path, out: Path, *more: object, code: int = 0) -> str:
    """What ``ablate`` prints in this process, and the error that it ends with; for what trains nothing."""
    answer = CliRunner().invoke(command, [*command_line(grid, rooms, out)[4:], *map(str, more)])
    assert answer.exit_code == code, answer.output
    return answer.output + str(answer.exception or "")


def test_frames_that_are_not_labelled_yet_are_named_before_anything_is_trained(rooms: Path, tmp_path: Path) -> None:
    shutil.copytree(rooms, tmp_path / "rooms")
    first = DatasetFolder(rooms, "fit").names[0]
    (tmp_path / "rooms" / "label40" / f"{first}.png").unlink()
    told = listing(write_grid(tmp_path), tmp_path / "rooms", tmp_path / "out", "--dry-run", code=1)
    assert f"this needs label40/{first}.png" in told


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("entries", "options", "message"),
    [
        ({}, ["--val", "nope"], "has no split 'nope' .*splits here: fit, val"),
        ({"axes": {"frames": {"all": {}, "few": {"fit": "few"}}}}, [], "has no split 'few'"),
        ({"axes": {"data": {"a": {"data": "other"}}}}, [], "needs the dataset 'other': add --data other=DIR"),
        ({}, ["--out", "FILE"], "cannot be made a folder to write to .* is a file"),
        ({}, ["--out", "FILE/below"], "cannot be made a folder to write to .* is a file"),
        ({"settings": SMALL | {"labels": "nyu4"}}, [], r"label images have ids \[.*\] that label set nyu4"),
        ({"settings": SMALL | {"loss.teacher.model": "no.lcrseg"}}, [], r"none, seed 0: .*no\.lcrseg.* --only"),
        ({"settings": SMALL | {"loss.teacher.model": "nyu4"}}, [], "a teacher needs the same classes"),
        ({"settings": SMALL | {"network.finetune": "no.lcrseg"}}, [], r"none, seed 0: .*no\.lcrseg"),
        ({"settings": FROM_FILE | {"network.weights": "no.pth"}}, [], r"network\.weights: there is no file no\.pth"),
    ],
)
def test_what_a_training_would_refuse_as_it_starts_is_said_before_and_by_a_dry_run_too(
    rooms: Path, tmp_path: Path, entries: dict[str, Any], options: list[str], message: str, dry: list[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("")
    options = [option.replace("FILE", str(file)) for option in options]
    told = listing(write_grid(tmp_path, **entries), rooms, tmp_path / "out", *options, *dry, code=1)
    assert re.search(message, told)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("signalled", "code", "said"),
    [
        (KeyboardInterrupt(), 130, "stopped; the same command goes on"),
        (SystemExit(143), 143, "stopped: what is finished is kept, and the same command goes on from here"),
    ],
)
def test_ctrl_c_and_sigterm_are_answered_with_how_to_go_on(
    signalled: BaseException,
    code: int,
    said: str,
    rooms: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def stopped(*_: object) -> None:
        raise signalled

    monkeypatch.setattr(ablate_command, "run_all", stopped)
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, command_line(write_grid(tmp_path), rooms, tmp_path / "out")[3:])))
    assert ended.value.code == code
    assert [line for line in capsys.readouterr().err.splitlines() if "stopped" in line] == [said]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_an_ablation_that_was_stopped_goes_on_keeps_what_was_finished_and_survives_a_run_that_fails(
    rooms: Path, tmp_path: Path
) -> None:
    losses = {
        "none": {"settings": {"loss.constraint": None}},
        "learned": {"settings": {"optimizer.epochs": 8}},
        "broken": {"settings": {"network.arguments": {"no_such_argument": 1}}},
    }
    grid = write_grid(tmp_path, axes={"loss": losses}, baseline={"loss": "none"})
    out = tmp_path / "out"
    runs = plan(Grid.load(grid))
    settings = RunSettings({"data": rooms}, out, out / "hha")
    none, learned = (settings.folder(run) for run in runs[:2])

    # SIGTERM in the middle of the second training: that training ends too, and its folder is free again.
    process = subprocess.Popen(
        command_line(grid, rooms, out), env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 200
    while not (learned / "last.ckpt").exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert is_locked(learned)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    assert not is_locked(learned)
    assert [state_of(run, settings) for run in runs] == ["finished", "started", "new"]
    assert "1 of 3 runs finished" in (out / "report.md").read_text()
    first_result = (none / "result.json").stat().st_mtime_ns
    seconds_before = float((learned / "seconds.txt").read_text())

    # The same command again: the finished run is not repeated, the started one ends, the broken one is told.
    answer = ablate(grid, rooms, out, code=1)
    assert "failed: broken, seed 0" in answer.stderr
    assert "no_such_argument" in answer.stderr
    assert "error: 1 runs failed" in answer.stderr
    assert (none / "result.json").stat().st_mtime_ns == first_result
    assert [state_of(run, settings) for run in runs] == ["finished", "finished", "new"]
    assert ModelBundle.load(learned / "model.lcrseg").training["epochs_run"] == 8
    report = (out / "report.md").read_text()
    assert "2 of 3 runs finished" in report
    assert "broken, seed 0: training ended with code 1" in report

    # What stands in the table is what the bundle scores.
    with (out / "runs.csv").open() as file:
        rows = {row["loss"]: row for row in csv.DictReader(file)}
    assert {name: row["state"] for name, row in rows.items()} == {
        "none": "finished",
        "learned": "finished",
        "broken": "failed",
    }
    stored = ModelBundle.load(learned / "model.lcrseg").scores["val"]
    assert float(rows["learned"]["mean_iou"]) == pytest.approx(stored["mean_iou"], abs=1e-6)
    assert float(rows["learned"]["boundary3_iou"]) >= 0
    assert float(rows["learned"]["train_seconds"]) > seconds_before

    # A list of the runs tells what is done, and estimates the rest from what it took.
    lines = listing(grid, rooms, out, "--dry-run").splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["finished", "finished", "new"]
    assert "measured on 2 runs here" in lines[2]

    # Without its result a trained run is only scored again; so it is where flicker is asked for later.
    trained = (learned / "model.lcrseg").stat().st_mtime_ns
    more = replace(settings, flicker=DatasetFolder(rooms))
    assert [state_of(run, more) for run in runs] == ["trained", "trained", "new"]
    (again,) = run_all([runs[1]], more)
    assert isinstance(again, RunResult)
    assert 0 <= again.scores["flicker"] <= 1
    assert (learned / "model.lcrseg").stat().st_mtime_ns == trained
    assert state_of(runs[1], more) == "finished"

    # Other labels under the same names are other data.
    changed = tmp_path / "changed"
    shutil.copytree(rooms, changed)
    write_png(changed / "label40" / f"{DatasetFolder(rooms, 'val').names[0]}.png", np.ones((64, 96), np.uint8))
    (refused,) = run_all([runs[1]], replace(settings, data=dict.fromkeys(settings.data, changed)))
    assert not isinstance(refused, RunResult)
    assert "was trained on another 'val' (2 frames" in refused.reason


@pytest.mark.parametrize("name", sorted(p.stem for p in FOLDER.glob("*.yaml")))
def test_every_shipped_grid_has_the_models_and_weights_that_it_starts_from(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)  # where a checkout has the teacher of nyu40_choices
    for run in plan(Grid.load(name)):
        _check_models(run.recipe)


@pytest.mark.parametrize(
    ("network", "weights", "missing"),
    [
        ("segnet", "torchvision", None),
        ("segnet", "torchvision_bn", None),
        ("fcn32s", "oxford", None),
        ("segnet", "caffe:HOME/vgg16.bin", None),
        ("segnet", "~/vgg16.bin", None),
        ("fcn_lite", "~/vgg16.bin", None),
        ("segnet", "caffe:HOME/no.bin", r"HOME/no\.bin$"),
        ("segnet", "~/no.npz", r"HOME/no\.npz$"),
        ("fcn_lite", "torchvision", "no file torchvision$"),
    ],
)
def test_weights_are_looked_for_where_a_training_looks_and_not_where_it_downloads_or_takes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str, weights: str, missing: str | None
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "vgg16.bin").write_bytes(b"")
    weights = weights.replace("HOME", str(tmp_path))
    recipe = Recipe.load("segnet_paper", {"network.name": network, "network.weights": weights})
    if missing is None:
        _check_models(recipe)
    else:
        with pytest.raises(LcrSegError, match=missing.replace("HOME", str(tmp_path))):
            _check_models(recipe)
    _check_models(Recipe.load("segnet_paper", {"network.weights": weights, "network.imagenet": False}))


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize("state", ["finished", "trained"])
def test_runs_made_on_other_labels_are_told_before_anything_starts_and_never_reported(
    rooms: Path, tmp_path: Path, dry: list[str], state: str
) -> None:
    grid, out = write_grid(tmp_path), tmp_path / "out"
    none, _ = plan(Grid.load(grid))
    settings = RunSettings({"data": rooms}, out, out / "hha")
    splits = {split: digest_split(rooms, split) for split in ("fit", "val")}
    record = {"recipe": without_folders_in(none.recipe), "data": {"fit": "fit", "splits": splits}}
    replace(tiny_bundle("rgb"), training=record).save(settings.folder(none) / "model.lcrseg")
    if state == "finished":
        result = RunResult(none.digest, made_up(0.5, 0.3), 1.0)
        (settings.folder(none) / "result.json").write_text(json.dumps(asdict(result)))
    assert state_of(none, settings) == state
    assert state in listing(grid, rooms, out, "--dry-run")

    changed = tmp_path / "changed"
    shutil.copytree(rooms, changed)
    write_png(changed / "label40" / f"{DatasetFolder(rooms, 'val').names[0]}.png", np.ones((64, 96), np.uint8))
    told = listing(grid, changed, out, *dry, code=1)
    assert "was trained on another 'val' (2 frames" in told
    assert not (out / "report.md").exists()


def test_a_grid_may_ask_for_scores_of_the_crop_and_only_then_its_runs_are_others(tmp_path: Path) -> None:
    whole, asked_for_none, cropped = (
        plan(load(tmp_path, **entry))[0] for entry in ({}, {"crop": False}, {"crop": True})
    )
    assert whole.digest == asked_for_none.digest != cropped.digest
    assert whole.recipe == cropped.recipe
    assert plan(Grid.load("paper"))[0].crop


@pytest.mark.parametrize("is_cropped", [False, True])
def test_the_crop_of_whole_frames_is_scored_and_frames_that_are_cropped_already_as_they_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, is_cropped: bool
) -> None:
    random = np.random.default_rng(0)
    rgb, labels = random.integers(0, 256, (480, 640, 3), np.uint8), np.ones((480, 640), np.uint8)
    labels[:45] = 2  # beyond the crop
    cut_out = NYUDV2_WINDOW.of if is_cropped else np.asarray
    for split in ("fit", "val"):
        write_folder([SourceFrame(split, RgbdFrame(cut_out(rgb)), cut_out(labels))], tmp_path / "data", split=split)
    run = plan(load(tmp_path, crop=True))[0]
    settings = RunSettings({"data": tmp_path / "data"}, tmp_path / "out", tmp_path / "hha")
    check_start([run], settings)
    assert ("their 425x560 crop is scored" in caplog.text) is not is_cropped
    splits = {split: digest_split(tmp_path / "data", split) for split in ("fit", "val")}
    record = {"recipe": without_folders_in(run.recipe), "data": {"fit": "fit", "splits": splits}}
    replace(tiny_bundle("rgb"), training=record).save(settings.folder(run) / "model.lcrseg")
    (outcome,) = run_all([run], settings)
    assert isinstance(outcome, RunResult) and outcome.record["crop"] is True
    iou = outcome.scores["per_class_iou"]
    assert iou[0] is not None and not iou[1], "no pixel of class 2 was counted"
    expected = evaluate(
        load_segmenter(settings.folder(run) / "model.lcrseg"),
        DatasetFolder(tmp_path / "data", "val"),
        window=None if is_cropped else NYUDV2_WINDOW,
    )
    assert outcome.scores["pixel_acc"] == expected.scores()["pixel_acc"]


def test_frames_of_which_there_is_no_crop_are_refused_before_anything_is_trained(rooms: Path, tmp_path: Path) -> None:
    run = plan(load(tmp_path, crop=True))[0]
    with pytest.raises(GridError, match=r"crop: true scores on the 425x560 crop .* frames of \d+x\d+, neither 640x480"):
        check_start([run], RunSettings({"data": rooms}, tmp_path / "out", tmp_path / "hha"))


def test_a_run_that_another_process_works_on_is_left_to_it(rooms: Path, tmp_path: Path) -> None:
    (run,) = plan(load(tmp_path), {"loss": ["none"]})
    settings = RunSettings({"data": rooms}, tmp_path / "out", tmp_path)
    folder = settings.folder(run)
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        (outcome,) = run_all([run], settings)
    assert not isinstance(outcome, RunResult)
    assert "another process works in" in outcome.reason


def test_a_bundle_of_another_recipe_is_not_taken_for_a_result(rooms: Path, tmp_path: Path) -> None:
    from tiny_bundle import make_tiny_bundle

    (run,) = plan(load(tmp_path), {"loss": ["none"]})
    settings = RunSettings({"data": rooms}, tmp_path / "out", tmp_path)
    folder = settings.folder(run)
    folder.mkdir(parents=True)
    make_tiny_bundle(folder / "model.lcrseg")
    (folder / "result.json").write_text(json.dumps({"digest": run.digest, "scores": {}, "train_seconds": 1}))
    assert state_of(run, settings) == "new"
    (folder / "last.ckpt").write_bytes(b"")
    assert state_of(run, settings) == "started"


def test_a_run_is_found_again_whatever_the_grid_calls_it(tmp_path: Path) -> None:
    (before,) = plan(load(tmp_path), {"loss": ["none"]})
    renamed = {"objective": {"cross-entropy only": {"settings": {"loss.constraint": None}}}}
    (after,) = plan(load(tmp_path, axes=renamed))
    assert (before.folder != after.folder, before.digest) == (True, after.digest)
    settings = RunSettings({}, tmp_path, tmp_path)
    settings.folder(before).mkdir(parents=True)
    assert settings.folder(after) == settings.folder(before)


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.4, "4 s"), (300, "5 min"), (7500, "2 h 05 min"), (None, "?"), (float("nan"), "?")]
)
def test_durations_are_written_as_people_say_them(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_an_estimate_says_that_it_is_rough(rooms: Path, tmp_path: Path) -> None:
    runs = plan(load(tmp_path))
    settings = RunSettings({"data": rooms}, tmp_path / "out", tmp_path)
    guess = estimate(runs[0], runs, settings)
    assert guess.seconds == pytest.approx(2.6 * 8 * 32 * 48 / 1e6)
    assert guess.source.startswith("rough")


# The tables


def made_up(pixel_acc: float, mean_iou: float) -> dict[str, Any]:
    return {
        "pixel_acc": pixel_acc,
        "mean_acc": 0.3,
        "mean_iou": mean_iou,
        "fw_iou": 0.4,
        "per_class_iou": [],
        "frames": 1,
    }


@pytest.fixture
def finished(tmp_path: Path) -> tuple[Grid, list[PlannedRun], dict[str, RunResult]]:
    """SegNet's place in the paper's table with three seeds, and figures that are easy to reckon with."""
    axes = {
        "network": {"segnet": {}},
        "modality": {"rgb": {}},
        "classes": {40: {}},
        "loss": {"none": {"settings": {"loss.constraint": None}}, "learned": {}},
    }
    grid = load(tmp_path, axes=axes, seeds=[0, 1, 2], baseline={"loss": "none"}, published="paper")
    runs = plan(grid)
    figures = {"none": [0.20, 0.22, 0.24], "learned": [0.21, 0.24, 0.24]}
    results = {
        run.digest: RunResult(run.digest, made_up(0.5, figures[run.point["loss"]][run.recipe.seed]), 60.0)
        for run in runs
    }
    return grid, runs, results


def test_mean_and_spread_are_over_seeds_and_differences_are_taken_seed_by_seed(
    finished: tuple[Grid, list[PlannedRun], dict[str, RunResult]], tmp_path: Path
) -> None:
    grid, runs, results = finished
    write_ablation_report(tmp_path / "out", grid, runs, results, {}, ["a line about how"])
    text = (tmp_path / "out" / "report.md").read_text()
    assert "| segnet | rgb | 40 | none | 3 | 50.00 ± 0.00 | 30.00 ± 0.00 | 22.00 ± 2.00 |" in text
    # Differences 1, 2 and 0 points: mean 1, deviation 1, standard error 1 / sqrt(3).
    assert "| segnet | rgb | 40 | learned | 3 | +0.00 ± 0.00 | +0.00 ± 0.00 | +1.00 ± 0.58 |" in text
    none, learned = runs[0].point, runs[3].point
    assert paired_differences(runs, results, learned, none, "mean_iou") == pytest.approx([0.01, 0.02, 0.0])
    with (tmp_path / "out" / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["loss"], r["seeds"], r["mean_iou_mean"], r["mean_iou_deviation"]) for r in rows] == [
        ("none", "3", "22.0000", "2.0000"), ("learned", "3", "23.0000", "1.7321")
    ]  # fmt: skip
    assert rows[0]["flicker_mean"] == ""
    assert (tmp_path / "out" / "figures" / "mean_iou_of_all.png").read_bytes().startswith(b"\x89PNG")


def test_the_papers_tables_stand_beside_ours(
    finished: tuple[Grid, list[PlannedRun], dict[str, RunResult]], tmp_path: Path
) -> None:
    grid, runs, results = finished
    write_ablation_report(tmp_path, grid, runs, results, {}, [])
    text = (tmp_path / "report.md").read_text()
    for number in ("Table 1", "Table 2", "Table 3"):
        assert f"### {number}" in text
    row = next(line for line in text.splitlines() if line.startswith("| SegNet RGB with the constraint"))
    assert row.split(" | ")[1:7] == ["55.1", "50.00 ± 0.00", "32.1", "30.00 ± 0.00", "22.3", "23.00 ± 1.73"]
    other = next(line for line in text.splitlines() if line.startswith("| FCN-32s HHA with the constraint"))
    assert other == "| FCN-32s HHA with the constraint | 60.7 | - | 45.3 | - | 32.0 | - | 47.9 | - |"


def test_the_papers_tables_beside_ours_are_a_csv_file_too(
    finished: tuple[Grid, list[PlannedRun], dict[str, RunResult]], tmp_path: Path
) -> None:
    grid, runs, results = finished
    results.pop(runs[0].digest)
    write_ablation_report(tmp_path, grid, runs, results, {}, [])
    with (tmp_path / "tables.csv").open() as file:
        rows = list(csv.DictReader(file))
    heads = ["table", "row", "score", "published", *grid.axes, "ours_mean", "ours_deviation", "runs"]
    assert list(rows[0]) == heads
    assert len({row["table"] for row in rows}) == 3

    def cells(method: str, score: str) -> list[str]:
        (row,) = [r for r in rows if r["row"] == method and r["score"] == score and r["table"].startswith("Table 3")]
        return [row[head] for head in ("published", "loss", "ours_mean", "ours_deviation", "runs")]

    assert cells("SegNet RGB with the constraint", "mean_iou") == ["22.3", "learned", "23.0000", "1.7321", "3"]
    assert cells("SegNet RGB", "mean_iou") == ["14.2", "none", "23.0000", "1.4142", "2"]
    assert cells("SegNet HHA", "mean_iou") == ["21.0", "", "", "", "0"], "this grid has no HHA"
    (quoted,) = [
        r for r in rows if r["row"] == "Gupta et al. (quoted)" and r["score"] == "mean_acc" and "1:" in r["table"]
    ]
    assert (quoted["published"], quoted["runs"]) == ("", "0")


def test_without_published_tables_there_is_no_such_file(tmp_path: Path) -> None:
    grid = Grid.load("lambda_sweep")
    write_ablation_report(tmp_path, grid, plan(grid), {}, {}, [])
    assert not (tmp_path / "tables.csv").exists()


def test_an_unfinished_ablation_has_a_report_too(
    finished: tuple[Grid, list[PlannedRun], dict[str, RunResult]], tmp_path: Path
) -> None:
    grid, runs, results = finished
    one = {runs[0].digest: results[runs[0].digest]}
    write_ablation_report(tmp_path, grid, runs, one, {runs[1].digest: "out of memory"}, [])
    text = (tmp_path / "report.md").read_text()
    assert "1 of 6 runs finished" in text
    assert "segnet rgb 40 none, seed 1: out of memory" in text
    assert "| segnet | rgb | 40 | none | 1 | 50.00 | 30.00 | 20.00 |" in text
    write_ablation_report(tmp_path / "none", grid, runs, {}, {}, [])
    assert "0 of 6 runs finished" in (tmp_path / "none" / "report.md").read_text()


def test_an_axis_of_numbers_is_drawn_as_a_curve(tmp_path: Path) -> None:
    grid = Grid.load("lambda_sweep")
    runs = plan(grid)
    results = {
        run.digest: RunResult(run.digest, made_up(0.5, 0.2 + 0.0001 * float(run.point["lambda"])), 1.0) for run in runs
    }
    write_ablation_report(tmp_path, grid, runs, results, {}, [])
    assert "(figures/mean_iou_by_lambda.png)" in (tmp_path / "report.md").read_text()
    assert not (tmp_path / "figures" / "mean_iou_by_kernels.png").exists()


def test_a_single_seed_has_no_spread_and_none_no_mean() -> None:
    assert Spread.of([]) is None
    single = Spread.of([0.25])
    assert single is not None
    assert (single.text, single.difference_text) == ("25.00", "+25.00")
