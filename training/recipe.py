"""Recipes: everything that decides how a network comes out, typed, in one YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.hha import HhaSettings
from lcr_seg_ros.resources import CONFIG


class RecipeError(LcrSegError, ValueError):
    """A recipe that cannot be read or asks for what does not exist."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkRecipe(_Section):
    name: Literal["fcn_lite"] = Field("fcn_lite", description="registry name in lcr_seg_ros.networks")
    imagenet: bool = Field(True, description="start the encoder from ImageNet weights")
    arguments: dict[str, Any] = Field(default_factory=dict, description="passed on to the network")


class HhaRecipe(_Section):
    """See lcr_seg_ros.hha.HhaSettings; the robot computes HHA in the same way."""

    floor: Literal["min", "robust"] = "robust"
    smoothing: Literal["off", "auto", "on"] = "auto"
    gravity_estimate: Literal["reference", "refined"] = "refined"


class InputRecipe(_Section):
    modality: Literal["rgb", "hha", "rgb_hha"] = "rgb_hha"
    height: int = Field(240, ge=32, description="pixels")
    width: int = Field(320, ge=32, description="pixels")
    hha: HhaRecipe = HhaRecipe()

    @property
    def hha_settings(self) -> HhaSettings:
        return HhaSettings(**self.hha.model_dump())


class AugmentationRecipe(_Section):
    """Geometry moves colour, HHA and labels together; colour never touches HHA."""

    flip: float = Field(0.5, ge=0, le=1, description="probability of a left-right flip")
    crop_area: tuple[float, float] = Field((0.25, 1.0), description="share of the image that a random crop keeps")
    crop_aspect: tuple[float, float] = Field((1.1, 1.6), description="width / height of the crop")
    brightness: float = Field(0.3, ge=0)
    contrast: float = Field(0.3, ge=0)
    saturation: float = Field(0.3, ge=0)
    hue: float = Field(0.05, ge=0, le=0.5)


class ConstraintRecipe(_Section):
    """Arguments of ContextualRegularization, and how its kernels are trained."""

    init: Literal["difference", "kirsch"] = "difference"
    init_norm: float = Field(0.5, gt=0)
    sigma: float = Field(0.25, gt=0)
    weight: float = Field(20.0, ge=0, description="lambda; with reduction 'mean' beside a mean cross-entropy")
    alpha: float = 1000.0
    beta: float = 1000.0
    reduction: Literal["mean", "sum"] = "mean"
    learnable: bool = True
    detach_weights: bool = False
    guide: Literal["rgb", "hha"] = Field("rgb", description="image that W is computed from")
    kernel_lr_scale: float = Field(0.1, gt=0, le=1, description="learning rate of the kernels over that of the network")


class LossRecipe(_Section):
    class_balance: float = Field(
        0.0, ge=0, le=1, description="class weights are (median frequency / frequency) to this power"
    )
    constraint: ConstraintRecipe | None = Field(None, description="null trains with cross-entropy alone")


class OptimizerRecipe(_Section):
    epochs: int = Field(40, ge=1)
    batch_size: int = Field(8, ge=1)
    learning_rate: float = Field(1e-3, gt=0, description="peak of a one-cycle schedule (AdamW)")
    weight_decay: float = Field(0.02, ge=0)
    warmup_share: float = Field(0.1, gt=0, lt=1)
    gradient_clip: float = Field(5.0, gt=0)
    ema_decay: float = Field(0.0, ge=0, lt=1, description="of the running mean of the weights; 0 keeps the last ones")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"


class RoomsRecipe(_Section):
    """Rendered rooms mixed into the training set."""

    rooms: int = Field(0, ge=0, description="how many rooms")
    frames_per_room: int = Field(4, ge=1)
    per_epoch: int = Field(0, ge=0, description="rendered frames drawn each epoch")
    first_seed: int = Field(1000, ge=0, description="the demo's room is seed 0 and is never trained on")


class Recipe(_Section):
    """One training run. Baselines differ from the method in ``loss`` only."""

    name: str
    labels: str = "nyu40"
    seed: int = 0
    network: NetworkRecipe = NetworkRecipe()
    input: InputRecipe = InputRecipe()
    augmentation: AugmentationRecipe = AugmentationRecipe()
    loss: LossRecipe = LossRecipe()
    optimizer: OptimizerRecipe = OptimizerRecipe()
    rooms: RoomsRecipe = RoomsRecipe()

    @classmethod
    def load(cls, name_or_path: str | Path, overrides: dict[str, Any] | None = None) -> Recipe:
        """Read a recipe by name (``config/recipes/NAME.yaml``) or from a YAML file.

        Args:
            name_or_path: see above.
            overrides: dotted names to values, e.g. ``{"optimizer.epochs": 2}``.

        Raises:
            RecipeError: no such file, not YAML, unknown or invalid entries (each is named).
        """
        path = Path(name_or_path)
        if path.suffix not in (".yaml", ".yml"):
            path = CONFIG / "recipes" / f"{name_or_path}.yaml"
        if not path.is_file():
            shipped = sorted(p.stem for p in (CONFIG / "recipes").glob("*.yaml"))
            raise RecipeError(f"no recipe at {path}; give a YAML file or one of {', '.join(shipped)}")
        try:
            values = yaml.safe_load(path.read_text(encoding="utf-8"))
        except yaml.YAMLError as error:
            raise RecipeError(f"{path} is not YAML: {error}") from error
        if not isinstance(values, dict):
            raise RecipeError(f"{path} must be a mapping of sections, got {type(values).__name__}")
        for name, value in (overrides or {}).items():
            *sections, leaf = name.split(".")
            place = values
            for section in sections:
                place = place.setdefault(section, {})
            place[leaf] = value
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, e['loc']))}: {e['msg']} (got {e['input']!r})" for e in error.errors()
            )
            raise RecipeError(f"{path}: {faults}") from error
