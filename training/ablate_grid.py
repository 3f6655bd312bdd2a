"""Grids of training runs: a base recipe, varied along axes of named variants, each point with several seeds.

::

    name: losses
    recipe: nyu40                       # base: a name in config/recipes, or a file beside the grid
    settings: {optimizer.epochs: 12}    # overrides for every run, by dotted names
    axes:
      loss:                             # an axis of named variants with their overrides ...
        none: {settings: {loss.constraint: null}}
        fixed: {settings: {loss.constraint.learnable: false}}
      lambda: {entry: loss.constraint.weight, values: [1, 10, 100]}   # ... or one entry swept
    seeds: [0, 1, 2]
    baseline: {loss: none}              # optional: differences to it are reported, seed by seed
    crop: true                          # optional: scores are of the 425x560 crop of NYU Depth V2 that others score on

Later axes override earlier ones. Overrides below a section that an earlier axis has set to null or false are dropped:
without a constraint there is no lambda. ``true`` for a section that has entries keeps these, since it is on already.
Points of the grid that give the same recipe and data are trained once.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.resources import CONFIG
from lcr_seg_ros.training.recipe import Recipe, received
from lcr_seg_ros.yaml_files import read_yaml, read_yaml_text

FOLDER = CONFIG / "ablations"
RESULTS_OF_OTHERS = FOLDER / "published"
"""Tables from papers, for comparison with our results."""

_SECTIONS_OF_RECIPES = Recipe.model_fields.keys() - {"name"} | {"base"}

DEFAULT_DATA = "data"
"""Name of the dataset that ``--data DIR`` gives; ``--data NAME=DIR`` gives other ones."""


class GridError(LcrSegError, ValueError):
    """A grid cannot be read, contradicts itself, or needs data that was not given."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Variant(_Section):
    """What one value of an axis changes in a run."""

    recipe: str | None = Field(None, description="another base recipe")
    data: str | None = Field(None, description="name of another dataset, given as --data NAME=DIR")
    fit: str | None = Field(None, description="another split to train on")
    val: str | None = Field(None, description="another split to score")
    settings: dict[str, Any] = Field(default_factory=dict, description="dotted names of recipe entries to values")


class Grid(_Section):
    """A grid as read from its file; see the module's docstring."""

    name: str
    about: str = Field("", description="what question it answers; printed in the report")
    recipe: str
    data: str = DEFAULT_DATA
    fit: str = "fit"
    val: str = "val"
    crop: bool = Field(
        False,
        description="score on the 425x560 crop of NYU Depth V2, as `evaluate --crop`; frames may be cropped already",
    )
    settings: dict[str, Any] = Field(default_factory=dict)
    axes: dict[str, dict[str, Variant]]
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    keep: tuple[dict[str, tuple[str, ...]], ...] = Field(
        (), description="only points that agree with at least one of these; empty keeps all"
    )
    baseline: dict[str, str] | None = None
    published: str | None = Field(None, description="name of tables in config/ablations/published")
    folder: Path = Field(Path(), description="where recipe files named relative to the grid are looked for")

    @field_validator("axes", mode="before")
    @classmethod
    def _expand_sweeps(cls, axes: Any) -> Any:
        if not isinstance(axes, dict):
            return axes
        return {name: _expand(str(name), axis) for name, axis in axes.items()}

    @field_validator("keep", mode="before")
    @classmethod
    def _accept_single_values(cls, keep: Any) -> Any:
        if not isinstance(keep, list) or not all(isinstance(part, dict) for part in keep):
            return keep
        return [{a: [str(x) for x in (v if isinstance(v, list) else [v])] for a, v in part.items()} for part in keep]

    @model_validator(mode="after")
    def _refuse_unknown_values(self) -> Grid:
        if not self.axes:
            raise ValueError("there are no axes: name at least one, with its variants")
        if empty := [name for name, variants in self.axes.items() if not variants]:
            raise ValueError(f"axis {empty[0]!r} has no values: name at least one")
        if "seed" in self.axes:
            raise ValueError("list seeds under 'seeds'; an axis called 'seed' would hide them")
        for part in self.keep:
            check_values(self, part)
        check_values(self, {axis: [value] for axis, value in (self.baseline or {}).items()})
        return self

    @classmethod
    def load(cls, name_or_path: str | Path, **overrides: Any) -> Grid:
        """Read a grid by name (``config/ablations/NAME.yaml``) or from a YAML file.

        Args:
            name_or_path: see above.
            overrides: fields to replace, e.g. ``seeds=(0,)``; None leaves a field as it is.

        Raises:
            GridError: there is no such file, it is not YAML, or entries are unknown or invalid (each is named).
        """
        path = Path(name_or_path)
        if path.suffix not in (".yaml", ".yml"):
            path = FOLDER / f"{name_or_path}.yaml"
        if not path.is_file():
            shipped = ", ".join(sorted(p.stem for p in FOLDER.glob("*.yaml"))) or "none"
            raise GridError(f"no grid {str(name_or_path)!r}: give a YAML file or one of {shipped}")
        values = read_yaml(path, GridError, keys_as_written=True)
        if not isinstance(values, dict):
            raise GridError(f"{path} must be a mapping with name, recipe and axes, got {type(values).__name__}")
        if not values.keys() & {"axes", "recipe"} and (sections := sorted(values.keys() & _SECTIONS_OF_RECIPES)):
            raise GridError(
                f"{path}: this looks like a recipe, for it has no axes but {', '.join(sections)}: give it to "
                "`train --recipe`, or name it as the recipe of a grid"
            )
        values |= _names_as_written(path, values)
        values |= {k: v for k, v in overrides.items() if v is not None} | {"folder": path.parent}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or 'grid'}: {e['msg'].removeprefix('Value error, ')}{received(e)}"[:400]
                for e in error.errors()
            )
            raise GridError(f"{path}: {faults}") from error


@dataclass(frozen=True)
class PlannedRun:
    """One training run.

    Args:
        point: the run's value on each axis.
        recipe: with all overrides and the seed applied.
        data, fit, val: names of the dataset and of its splits.
        crop: scored on the 425x560 crop of NYU Depth V2.
    """

    point: dict[str, str]
    recipe: Recipe
    data: str
    fit: str
    val: str
    crop: bool = False

    @property
    def digest(self) -> str:
        """16 hex digits that identify what decides the result: recipe, data, splits, and whether the crop is scored.

        Entries at their defaults are left out, so that digests stay the same when recipes get a new entry.
        """
        decisive = {
            "recipe": self.recipe.model_dump(mode="json", exclude_defaults=True),
            "data": [self.data, self.fit, self.val],
        } | ({"crop": True} if self.crop else {})
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def title(self) -> str:
        """What people are shown, e.g. ``learned 10, seed 0``."""
        return f"{' '.join(self.point.values())}, seed {self.recipe.seed}".lstrip(", ")

    @property
    def folder(self) -> str:
        """Name of the run folder: readable, and unique by its digest."""
        words = re.sub(r"[^A-Za-z0-9.+-]+", "-", "_".join(self.point.values()))
        return f"{words}_s{self.recipe.seed}{self.folder_suffix}".lstrip("_")

    @property
    def folder_suffix(self) -> str:
        """The end of :attr:`folder`, which identifies the run."""
        return f"-{self.digest[:8]}"


def plan(grid: Grid, only: Mapping[str, Sequence[str]] | None = None) -> list[PlannedRun]:
    """All runs of a grid, in the order of its axes, seeds innermost; runs that are equal appear once for each point.

    Args:
        grid: the grid.
        only: by axis, the values to keep; None keeps all.

    Raises:
        GridError: a recipe cannot be used, an axis or value does not exist, or no run is left.
    """
    check_values(grid, only or {}, error=GridError)
    runs = [
        _plan_run(grid, point, seed)
        for point in _points(grid)
        if all(point[axis] in values for axis, values in (only or {}).items())
        for seed in grid.seeds
    ]
    if not runs:
        raise GridError(f"nothing is left of grid {grid.name!r}: loosen 'keep' in it, or --only")
    return runs


def check_values(grid: Grid, part: Mapping[str, Sequence[str]], error: type[ValueError] = ValueError) -> None:
    """Raise ``error`` if ``part`` names an axis or a value that the grid does not have."""
    for axis, values in part.items():
        if axis not in grid.axes:
            raise error(f"there is no axis {axis!r}; axes: {', '.join(grid.axes)}")
        for value in values:
            if value not in grid.axes[axis]:
                raise error(f"axis {axis!r} has no value {value!r}; values: {', '.join(grid.axes[axis])}")


def _points(grid: Grid) -> Iterator[dict[str, str]]:
    for values in product(*grid.axes.values()):
        point = dict(zip(grid.axes, values, strict=True))
        if not grid.keep or any(all(point[a] in v for a, v in part.items()) for part in grid.keep):
            yield point


def _plan_run(grid: Grid, point: dict[str, str], seed: int) -> PlannedRun:
    recipe, data, fit, val = grid.recipe, grid.data, grid.fit, grid.val
    settings = dict(grid.settings)
    for axis, value in point.items():
        variant = grid.axes[axis][value]
        recipe, data = variant.recipe or recipe, variant.data or data
        fit, val = variant.fit or fit, variant.val or val
        settings = _override(settings, variant.settings)
    beside = grid.folder / recipe
    if recipe.endswith((".yaml", ".yml")) and beside.is_file():
        recipe = str(beside)
    try:
        resolved = Recipe.load(recipe, settings | {"seed": seed})
    except LcrSegError as error:
        raise GridError(f"grid {grid.name!r} at {point}: {error}") from error
    return PlannedRun(point, resolved, data, fit, val, grid.crop)


def _override(settings: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """``settings`` with the overrides of a later axis.

    Later values win. A value for a section replaces all entries below it, except that ``true`` keeps them. Overrides
    below a section that is off are dropped.
    """
    result = dict(settings)
    for name, value in later.items():
        sections = name.split(".")
        above = [".".join(sections[:k]) for k in range(1, len(sections))]
        if any(a in result and result[a] in (None, False) for a in above):
            continue
        if value is True and _is_set(result, name):
            continue  # true switches a section on, and it is on with these entries
        for old in [n for n in result if n == name or n.startswith(f"{name}.")]:
            del result[old]
        result[name] = value
    return result


def _is_set(settings: dict[str, Any], name: str) -> bool:
    """Whether a section has entries, as one mapping or by their dotted names, and is not off."""
    if name in settings:
        return isinstance(settings[name], dict)
    return any(entry.startswith(f"{name}.") for entry in settings)


def _names_as_written(path: Path, values: dict[str, Any]) -> dict[str, Any]:
    """``baseline`` and ``keep`` with the names of variants as they are written: YAML would read ``off`` as false."""
    text = read_yaml_text(path, GridError)
    return {entry: text[entry] for entry in ("baseline", "keep") if values.get(entry) is not None}


def _expand(name: str, axis: Any) -> Any:
    """The variants of an axis: ``{entry, values}`` gives one for each value; one without content changes nothing."""
    if not isinstance(axis, dict):
        return axis
    if isinstance(axis.get("entry"), str) or axis.keys() == {"entry", "values"}:
        return _swept(name, axis)
    return {str(variant): {} if content is None else content for variant, content in axis.items()}


def _swept(name: str, axis: dict[str, Any]) -> dict[str, Any]:
    if axis.keys() != {"entry", "values"} or not isinstance(axis["values"], list):
        got = ", ".join(f"{key}: {value!r}" for key, value in axis.items())
        raise ValueError(
            f"axis {name!r} sweeps an entry: it needs 'entry' and 'values', a list as in "
            f"{{entry: loss.constraint.sigma, values: [0.1, 0.25]}}, and nothing else, got {got}"
        )
    variants: dict[str, Any] = {}
    for value in axis["values"]:
        called = _name_of(value)
        if called in variants:
            raise ValueError(f"axis {name!r} has two values that are called {called}: keep one of them")
        variants[called] = {"settings": {axis["entry"]: value}}
    return variants


def _name_of(value: Any) -> str:
    """The name of a swept value: as it is written in YAML, floats in short form."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)
