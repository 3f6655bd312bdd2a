"""How the shipped models are made from a dataset folder: a plan of commands, each of which makes one file.

The steps are carried out in order. Those whose file exists are skipped, and `train` resumes a stopped training by
itself, so that the same call goes on after any interruption.
"""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from lcr_seg_ros.errors import LcrSegError, SourceError
from lcr_seg_ros.files import refuse_no_folder, replace_file
from lcr_seg_ros.resources import CONFIG
from lcr_seg_ros.sources.folder import DatasetFolder
from lcr_seg_ros.training.ablate import child_environment
from lcr_seg_ros.training.recipe import Recipe
from lcr_seg_ros.training.train_command import options_in, parse_setting, values_in

FIT, VAL, ALL = "fit", "val", "train"
"""Splits: what the trial is trained on, what it is scored on, and what the shipped model is trained on."""
PLAN = "plan.txt"
TEACHER, ITSELF = "loss.teacher.model", "itself"
"""A recipe's entry for a further stage, and the value that means the model of the stage before it."""
_GIVEN_BY_THE_PLAN = ("data", "recipe", "finetune", "fit", "val", "out")
SHIPPED = CONFIG / "shipped.yaml"


class ReproductionError(LcrSegError):
    """A plan cannot be made or carried out."""


class ShippedModel(BaseModel):
    """One entry of ``config/shipped.yaml``: trained by a recipe, or grouped from another model."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: str | None = Field(None, description="name in config/recipes")
    group: str | None = Field(None, description="the model whose probabilities are summed; the groups have this name")
    teacher: str | None = Field(None, description="the model that it learns from, beside the labels")
    final_goes_on: bool = Field(
        False, description="train on all frames from the trial on, in one stage, not from the start"
    )
    final: dict[str, Any] = Field({}, description="entries of the recipe for all frames")
    more: list[dict[str, Any]] = Field(
        [],
        description="further stages: entries with which trial and final model go on, each from what it was; "
        f"{TEACHER}: {ITSELF} makes that their teacher too",
    )
    final_more: dict[str, Any] = Field({}, description="entries of every further stage that differ for all frames")

    @model_validator(mode="after")
    def _has_one_origin(self) -> ShippedModel:
        if (self.recipe is None) == (self.group is None):
            raise ValueError("give one of recipe and group")
        if self.final.get(TEACHER) == ITSELF:
            raise ValueError(f"{TEACHER}: {ITSELF} is for the stages of more, which have a model before them")
        return self


@dataclass(frozen=True)
class Step:
    """One command and the file that it makes.

    Args:
        makes: file that exists once the step is done, and not before.
        arguments: of ``python -m lcr_seg_ros``.
    """

    makes: Path
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(("python", "-m", "lcr_seg_ros", *self.arguments))


def shipped_models(path: Path = SHIPPED) -> dict[str, ShippedModel]:
    """The shipped models by name, each after the models that it needs.

    Raises:
        ReproductionError: an entry is invalid, or needs a model that does not come before it.
    """
    try:
        models = TypeAdapter(dict[str, ShippedModel]).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (yaml.YAMLError, ValidationError) as error:
        raise ReproductionError(f"{path}: {error}") from error
    known: set[str] = set()
    for name, model in models.items():
        if missing := sorted(_needs(model) - known):
            raise ReproductionError(f"{path}: {name} needs {', '.join(missing)}, which must stand above it")
        known.add(name)
    return models


def plan(
    names: Sequence[str], data: Path, out: Path, *, train_options: Iterable[str] = (), int8: bool = True
) -> list[Step]:
    """The steps that make some models, and the models that these need.

    Args:
        names: of models in ``config/shipped.yaml``; none: all of them.
        data: dataset folder with the splits ``fit``, ``val`` and ``train``.
        out: folder for ``NAME.lcrseg``, ``NAME_fit.lcrseg`` (the trial) and ``NAME-int8.lcrseg``.
        train_options: arguments for every training, after all others.
        int8: also make the int8 models.

    Raises:
        ReproductionError: there is no such model.
    """
    models = shipped_models()
    if unknown := [name for name in names if name not in models]:
        raise ReproductionError(f"no shipped model {unknown[0]!r}: there are {', '.join(models)}")
    steps: list[Step] = []
    for name in _with_needs(names or tuple(models), models):
        of = _Paths(name, out, data, tuple(train_options))
        model = models[name]
        steps += _trained(model, of) if model.recipe is not None else _grouped(model, of)
        if int8:
            steps.append(of.quantized())
    return steps


def check_start(steps: Sequence[Step], data: Path, out: Path, train_options: Sequence[str] = ()) -> None:
    """Check in advance what the steps would refuse at their start, as far as that is quick.

    Args:
        steps: see :func:`plan`.
        data, out, train_options: as given to :func:`plan`.

    Raises:
        LcrSegError: a list of frames is missing, ``out`` is a file or belongs to another plan, or a recipe is invalid.
        click.UsageError: `train` does not have an option, or the plan itself sets it.
    """
    for option in options_in(train_options):
        if option.name in _GIVEN_BY_THE_PLAN:
            raise click.UsageError(f"{option.opts[0]} after -- would undo the plan, which gives it to each training")
    for split in (FIT, VAL, ALL):
        if not (data / f"{split}.txt").is_file():
            raise SourceError(f"{data} has no {split}.txt, a list of frame names: the models need it")
        DatasetFolder(data, split)
    refuse_no_folder(out)
    _refuse_another_plan(steps, out / PLAN)
    for step in steps:
        if step.arguments[0] == "train":
            given = values_in(step.arguments[1:])
            Recipe.load(given["recipe"], dict(parse_setting(s) for s in (*given["settings"], *given["entries"])))


def carry_out(steps: Sequence[Step], out: Path) -> None:
    """Run the steps that are not done yet; their output goes to that of this process.

    Raises:
        ReproductionError: the folder belongs to another plan, or a command failed.
    """
    out.mkdir(parents=True, exist_ok=True)
    planned = _refuse_another_plan(steps, out / PLAN)
    replace_file(out / PLAN, "".join(f"{k}\t{v}\n" for k, v in planned.items()).encode())
    for number, step in enumerate(steps, 1):
        place = f"step {number} of {len(steps)}"
        if step.makes.is_file():
            print(f"{place}: {step.makes} is there", file=sys.stderr)
            continue
        print(f"{place}: {step}", file=sys.stderr, flush=True)
        step.makes.parent.mkdir(parents=True, exist_ok=True)
        code = subprocess.call((sys.executable, "-m", "lcr_seg_ros", *step.arguments), env=child_environment())
        if code != 0 or not step.makes.is_file():
            raise ReproductionError(
                f"{place} ended with code {code}, its reason is above; the same command goes on from there: {step}"
            )


@dataclass(frozen=True)
class _Paths:
    """Files and commands of one model."""

    name: str
    out: Path
    data: Path
    train_options: tuple[str, ...]

    def bundle(self, kind: str = "") -> Path:
        return self.out / f"{self.name}{kind}.lcrseg"

    def stage(self, kind: str, number: int) -> Path:
        """Folder of one training, beside which lies its calibrated model where that teaches."""
        return self.out / "runs" / f"{self.name}{kind}{'' if number == 1 else f'_{number}'}"

    def train(self, run: Path, *arguments: str | Path) -> Step:
        words = ("train", "--data", self.data, *arguments, "--out", run, *self.train_options)
        return Step(run / "model.lcrseg", tuple(map(str, words)))

    def calibrated(self, makes: Path, model: Path) -> Step:
        return self.export(makes, model, "--calibrate", "--data", self.data, "--val", VAL)

    def with_trial(self, makes: Path, model: Path, trial: Path) -> Step:
        return self.export(makes, model, "--trial", trial)

    def export(self, makes: Path, model: Path, *arguments: str | Path) -> Step:
        return Step(makes, tuple(map(str, ("export", "--model", model, *arguments, "--out", makes))))

    def quantized(self) -> Step:
        words = (
            *("quantize", "--model", self.bundle(), "--trial", self.bundle("_fit")),
            *("--data", self.data, "--split", FIT, "--val", VAL, "--out", self.bundle("-int8")),
        )
        return Step(self.bundle("-int8"), tuple(map(str, words)))


def _trained(model: ShippedModel, of: _Paths) -> list[Step]:
    """Steps of a trained model: train the trial and calibrate it, train on all frames, and take over the trial's
    temperature and scores. Each training has one stage, and one more for each entry of ``more``; that on
    all frames has one only where it goes on from the trial."""
    trial, final = [{}, *model.more], [model.final]
    if not model.final_goes_on:
        final += [entries | model.final_more for entries in model.more]
    return [
        *_stages(model, of, "_fit", trial),
        of.calibrated(of.bundle("_fit"), of.stage("_fit", len(trial)) / "model.lcrseg"),
        *_stages(model, of, "_all", final, start=of.bundle("_fit") if model.final_goes_on else None),
        of.with_trial(of.bundle(), of.stage("_all", len(final)) / "model.lcrseg", of.bundle("_fit")),
    ]


def _stages(
    model: ShippedModel, of: _Paths, kind: str, stages: list[dict[str, Any]], start: Path | None = None
) -> list[Step]:
    """Trainings, each of which goes on from the one before it. A model is calibrated before it teaches."""
    splits = ("--fit", FIT, "--val", VAL) if kind == "_fit" else ("--fit", ALL, "--val", "")
    usual = ["--recipe", str(model.recipe), *splits]
    if model.teacher is not None:
        usual.append(f"{TEACHER}={replace(of, name=model.teacher).bundle(kind.removesuffix('_all'))}")
    steps: list[Step] = []
    for number, entries in enumerate(stages, 1):
        if entries.get(TEACHER) == ITSELF and start is not None:
            taught, trial = (Path(f"{of.stage(k, number - 1)}.lcrseg") for k in (kind, "_fit"))
            steps.append(of.calibrated(taught, start) if kind == "_fit" else of.with_trial(taught, start, trial))
            start = taught
            entries = entries | {TEACHER: taught}
        goes_on = () if start is None else ("--finetune", start, f"name={of.name}")
        steps.append(of.train(of.stage(kind, number), *usual, *goes_on, *(f"{k}={v}" for k, v in entries.items())))
        start = steps[-1].makes
    return steps


def _grouped(model: ShippedModel, of: _Paths) -> list[Step]:
    """Steps of a grouped model: group trial and final model of its source, and take over the trial's scores."""
    assert model.group is not None
    source = replace(of, name=model.group)
    unscored = of.out / "runs" / f"{of.name}.lcrseg"
    to_groups = ("--group", of.name)
    return [
        of.export(of.bundle("_fit"), source.bundle("_fit"), *to_groups, "--data", of.data, "--val", VAL),
        of.export(unscored, source.bundle(), *to_groups),
        of.with_trial(of.bundle(), unscored, of.bundle("_fit")),
    ]


def _needs(model: ShippedModel) -> set[str]:
    return {name for name in (model.group, model.teacher) if name is not None}


def _with_needs(names: Sequence[str], models: dict[str, ShippedModel]) -> list[str]:
    wanted = set(names)
    for name in reversed(models):  # what a model needs comes before it
        if name in wanted:
            wanted |= _needs(models[name])
    return [name for name in models if name in wanted]


def _refuse_another_plan(steps: Sequence[Step], record: Path) -> dict[str, str]:
    """Commands by the file that they make, including those that ``record`` holds from earlier calls. A planned command
    must not differ there: its file, made by another command, would be taken for its result.

    Raises:
        ReproductionError: it does.
    """
    planned = {str(step.makes): str(step) for step in steps}
    before = dict(line.split("\t", 1) for line in record.read_text().splitlines()) if record.is_file() else {}
    for makes, command in planned.items():
        if before.get(makes, command) != command:
            raise ReproductionError(
                f"{record.parent} was begun otherwise ({before[makes]}; now {command}): choose another --out"
            )
    return before | planned
