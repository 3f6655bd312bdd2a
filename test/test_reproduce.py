"""``reproduce``: one command from a dataset folder to the models that ship."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("pydantic", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")
pytest.importorskip("lightning", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")

from shared_data import ROOT

from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.cli import COMMANDS
from lcr_seg_ros.sources.folder import write_folder
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.training.recipe import Recipe, dotted_entries
from lcr_seg_ros.training.reproduce import ITSELF, TEACHER, ReproductionError, Step, carry_out, plan, shipped_models
from lcr_seg_ros.training.reproduce_command import command

SMALL = (
    *("input.height=32", "input.width=48", "input.early_share=0", "optimizer.epochs=1", "optimizer.batch_size=2"),
    *("rooms.rooms=0", "rooms.per_epoch=0", "network.imagenet=false", "augmentation.worn_depth=0"),
)


def reproduce(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lcr_seg_ros", "reproduce", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=800,
    )


def names(steps: list[Step]) -> list[str]:
    return [step.makes.name for step in steps]


# The plan


def test_it_makes_every_shipped_model_and_its_int8_and_nothing_else_ships() -> None:
    made = {step.makes.stem for step in plan([], Path("data"), Path("out")) if step.makes.parent == Path("out")}
    ships = {path.stem for path in (ROOT / "lcr_seg_ros" / "models").glob("*.lcrseg")}
    assert {name for name in made if not name.endswith("_fit")} == ships
    assert {f"{name}_fit" for name in shipped_models()} <= made


def test_shipped_models_were_made_by_the_recipes_that_it_names() -> None:
    for name, model in shipped_models().items():
        record = ModelBundle.load(name).training
        wanted = model.recipe or shipped_models()[str(model.group)].recipe
        assert Recipe.load(str(wanted)).name in (record["recipe"]["name"], f"{wanted}")
        source = model if model.recipe else shipped_models()[str(model.group)]
        entries = dotted_entries(record["recipe"])
        last = source.more[-1] | source.final_more if source.more and not source.final_goes_on else source.final
        if last.get(TEACHER) == ITSELF:
            assert record["teacher"] == record["start"].removesuffix(", 40 of 40 classes kept")
            last = last | {TEACHER: entries[TEACHER]}
        assert {entry: entries[entry] for entry in last} == last


def test_each_step_uses_only_what_a_step_before_it_made() -> None:
    made: set[str] = set()
    out = Path("out")
    for step in plan([], Path("data"), out):
        values = [word.split("=", 1)[-1] for word in step.arguments[: step.arguments.index("--out")]]
        used = {word for word in values if word.startswith("out/")}
        assert used <= made, step
        assert step.arguments[0] in COMMANDS
        made.add(str(step.makes))


def test_a_model_brings_what_it_needs_and_no_more() -> None:
    assert names(plan(["nyu4"], Path("d"), Path("o"), int8=False)) == [
        *("model.lcrseg", "model.lcrseg", "model.lcrseg"),  # three stages
        *("nyu40_fit_3.lcrseg", "model.lcrseg", "nyu40_fit.lcrseg"),  # and a fourth, taught by the third
        *("model.lcrseg", "model.lcrseg", "model.lcrseg"),
        *("nyu40_all_3.lcrseg", "model.lcrseg", "nyu40.lcrseg"),
        *("nyu4_fit.lcrseg", "nyu4.lcrseg", "nyu4.lcrseg"),
    ]
    (without_seeing_val,) = [
        step
        for step in plan(["nyu40-rgb"], Path("d"), Path("o"))
        if step.makes == Path("o/runs/nyu40-rgb_fit/model.lcrseg")
    ]
    assert "loss.teacher.model=o/nyu40_fit.lcrseg" in without_seeing_val.arguments


def test_a_stage_that_learns_from_the_model_before_it_begins_with_it_calibrated() -> None:
    steps = {step.makes: step.arguments for step in plan(["nyu40"], Path("d"), Path("o"))}
    for kind in ("fit", "all"):
        before = Path(f"o/runs/nyu40_{kind}_3.lcrseg")
        last = steps[Path(f"o/runs/nyu40_{kind}_4/model.lcrseg")]
        assert last[last.index("--finetune") + 1] == str(before)
        assert f"loss.teacher.model={before}" in last
    assert "--calibrate" in steps[Path("o/runs/nyu40_fit_3.lcrseg")]
    final = steps[Path("o/runs/nyu40_all_3.lcrseg")]  # no frame is left to calibrate it with
    assert final[final.index("--trial") + 1] == "o/runs/nyu40_fit_3.lcrseg"


def test_an_unknown_model_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(ReproductionError, match=r"no shipped model 'nyu41': there are nyu40, nyu4, nyu40-rgb"):
        plan(["nyu41"], Path("d"), Path("o"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {recipe: nyu40, teacher: b}\nb: {recipe: nyu40}", "a needs b, which must stand above it"),
        ("a: {}", "give one of recipe and group"),
        ("a: {recipe: nyu40, final: {loss.teacher.model: itself}}", "itself is for the stages of more"),
        ("a: {recipe: nyu40, epochs: 3}", "epochs"),
        ("a: [", "shipped.yaml"),
    ],
)
def test_a_faulty_list_of_models_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "shipped.yaml"
    path.write_text(text)
    with pytest.raises(ReproductionError, match=message):
        shipped_models(path)


# Carrying it out


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset") / "my data"
    for split in ("fit", "val", "train"):
        write_folder(RenderedRoom(frames=1, seed=0, width=96, height=64), folder, split=split)
    return folder


def asked(*arguments: str | Path) -> Result:
    """What ``reproduce`` answers in this process; for what makes nothing."""
    return CliRunner().invoke(command, [*map(str, arguments)])


def test_a_dry_run_prints_commands_that_can_be_typed_and_makes_nothing(data: Path, tmp_path: Path) -> None:
    done = asked("nyu40", "--data", data, "--out", tmp_path / "out", "--dry-run", "--", "optimizer.epochs=1")
    assert done.exit_code == 0, done.output
    lines = [shlex.split(line) for line in done.stdout.splitlines()]
    assert [line[:4] for line in lines] == [
        ["python", "-m", "lcr_seg_ros", word]
        for word in (*(*["train"] * 3, "export", "train", "export") * 2, "quantize")  # see config/shipped.yaml
    ]
    assert all(line[-1] == "optimizer.epochs=1" for line in lines if line[3] == "train")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--", "optimizer.epoch=1"], 1, r"optimizer\.epoch: there is no such entry .*optimizer\.epochs"),
        (["--", "--threadz", "1"], 2, "No such option"),
        (["--", "--devices", "two"], 2, "not a valid integer"),
        (["--", "--fit", "few"], 2, "--fit after -- would undo the plan"),
        (["--out", "FILE"], 1, "cannot be made a folder to write to .* is a file"),
        (["--data", "LACKING"], 1, r"has no val\.txt"),
    ],
)
def test_what_a_step_would_refuse_as_it_starts_is_said_before_and_by_a_dry_run_too(
    data: Path, tmp_path: Path, words: list[str], code: int, message: str, dry: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "lacking").mkdir()
    write_folder(RenderedRoom(frames=1, seed=0, width=96, height=64), tmp_path / "lacking", split="fit")
    places = {"FILE": str(tmp_path / "file"), "LACKING": str(tmp_path / "lacking")}
    given = [places.get(word, word) for word in words]
    done = asked("nyu40", "--data", data, "--out", tmp_path / "out", *dry, *given)
    assert done.exit_code == code
    assert re.search(message, done.output + str(done.exception))
    assert not (tmp_path / "out").exists()


def test_a_folder_of_another_plan_is_refused(tmp_path: Path) -> None:
    makes = tmp_path / "made"
    makes.write_text("")
    carry_out([Step(makes, ("export", "--run", "a"))], tmp_path)
    with pytest.raises(ReproductionError, match=r"was begun otherwise .* choose another --out"):
        carry_out([Step(makes, ("export", "--run", "b"))], tmp_path)


def test_a_step_that_fails_ends_it_and_says_which(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "none.lcrseg"
    step = Step(tmp_path / "out.lcrseg", ("export", "--model", str(missing), "--temperature", "2", "--out", "x"))
    with pytest.raises(ReproductionError, match="step 1 of 1 ended with code 1"):
        carry_out([step], tmp_path)
    assert "none.lcrseg" in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.timeout(900)  # eight trainings, each of which imports PyTorch anew
def test_one_command_makes_a_model_with_its_trial_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    written = write_folder(RenderedRoom(frames=4, seed=1), data)
    for split, frames in (("fit", written[:2]), ("val", written[2:]), ("train", written)):
        (data / f"{split}.txt").write_text("\n".join(frames))
    arguments = ("nyu40", "--data", data, "--out", out, "--no-int8", "--", "--cache", tmp_path / "cache", *SMALL)
    done = reproduce(*arguments)
    assert done.returncode == 0, done.stderr
    model, trial = ModelBundle.load(out / "nyu40.lcrseg"), ModelBundle.load(out / "nyu40_fit.lcrseg")
    assert model.scores == trial.scores and model.scores["val"]["frames"] == 2
    splits = model.training["data"]["splits"]
    assert splits.keys() == {"train"} and splits["train"]["frames"] == 4
    assert len(splits["train"]["images_sha256"]) == 64
    (out / "nyu40.lcrseg").unlink()
    again = reproduce(*arguments)
    assert again.returncode == 0, again.stderr
    assert again.stderr.count(" is there") == 11  # all steps but the last
    assert (out / "nyu40.lcrseg").is_file()
