"""Recipes: everything that decides the result of a training, typed, in one YAML file."""

from __future__ import annotations

from copy import deepcopy
from difflib import get_close_matches
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.hha import HhaSettings
from lcr_seg_ros.networks import NETWORKS, SCORING_EVERY_PIXEL
from lcr_seg_ros.resources import CONFIG
from lcr_seg_ros.yaml_files import read_yaml

HIGHEST_DOWNSAMPLE = 16
"""Of ``loss.constraint.downsample``, in pixels."""


class RecipeError(LcrSegError, ValueError):
    """A recipe cannot be read, or asks for something that does not exist."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkRecipe(_Section):
    name: str = Field("fcn_lite", description="registry name in lcr_seg_ros.networks")
    imagenet: bool = Field(True, description="start from ImageNet weights")
    weights: str | None = Field(None, description="file of the ImageNet weights; null takes the network's usual ones")
    finetune: str | None = Field(None, description="model bundle to go on from, instead of ImageNet weights")
    start_batch_norms: bool = Field(
        True,
        description="after ImageNet weights without batch norm: start it so that the network answers as the one that "
        "had none, from a few images",
    )
    freeze_batch_norm: bool = Field(
        False, description="keep the statistics of batch norms as they start: for batches of few images"
    )
    frozen_stages: int = Field(
        0,
        ge=0,
        le=4,
        description="so many first stages of the VGG-16 encoder keep their weights and batch norms: they see edges "
        "and colours, and are the slowest to train",
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="passed on to the network")

    @field_validator("name")
    @classmethod
    def _is_registered(cls, name: str) -> str:
        if name not in NETWORKS:
            raise ValueError(f"must be one of {', '.join(NETWORKS)}")
        return name


class HhaRecipe(_Section):
    """How HHA is computed, in training and on the robot; see lcr_seg_ros.hha.HhaSettings."""

    floor: Literal["min", "robust"] = Field(
        "robust",
        description="where heights count from. min: the lowest point, as Gupta et al.; robust: a low percentile, which "
        "does not depend on one pixel",
    )
    smoothing: Literal["off", "auto", "on"] = Field(
        "auto",
        description="of depth that comes in steps, before its normals are computed; auto: where steps are coarse",
    )
    gravity_estimate: Literal["reference", "refined"] = Field(
        "refined", description="reference: the ten iterations of Gupta et al.; refined: more of them, which end closer"
    )


class InputRecipe(_Section):
    modality: Literal["rgb", "hha", "rgb_hha"] = Field(
        "rgb_hha", description="what the network sees: colour, HHA (of depth), or both as six channels"
    )
    height: int = Field(
        240, ge=32, description="pixels; frames of another shape keep it, at the shorter of the two sides"
    )
    width: int = Field(
        320, ge=32, description="pixels; fcn32s and segnet take any size, fcn_lite the nearest multiples of 8"
    )
    hha: HhaRecipe = HhaRecipe()
    hha_source: Literal["computed", "folder"] = Field(
        "computed",
        description="computed: HHA is made of depth, as on the robot; folder: it is read from hha/ of the data set, "
        "which need not have depth then",
    )
    early_share: float = Field(
        0.0, ge=0, lt=1, description="share of the epochs, the first ones, that see smaller images: steps cost less"
    )
    early_scale: float = Field(0.667, gt=0.2, le=1, description="their sides over height and width, to 8 pixels")

    def size_in(self, epoch: int, epochs: int) -> tuple[int, int]:
        """(width, height) in pixels of the images that the network sees in an epoch.

        Args:
            epoch: counted from 0.
            epochs: of the whole training.
        """
        if epoch >= self.early_share * epochs:
            return self.width, self.height
        return tuple(max(32, 8 * round(side * self.early_scale / 8)) for side in (self.width, self.height))  # type: ignore[return-value]

    @property
    def hha_settings(self) -> HhaSettings:
        return HhaSettings(**self.hha.model_dump())


class AugmentationRecipe(_Section):
    """Crops, flips and scaling are applied to colour, HHA, labels and the guide alike; colour jitter leaves HHA as it
    is."""

    enabled: bool = Field(True, description="false trains on whole images as they are")
    flip: float = Field(0.5, ge=0, le=1, description="probability of a left-right flip")
    crop_area: tuple[float, float] = Field((0.25, 1.0), description="share of the image that a random crop keeps")
    crop_aspect: tuple[float, float] = Field((1.1, 1.6), description="width / height of the crop")
    scale: tuple[float, float] | None = Field(
        None,
        description="enlarge by a random factor and cut the network's size out, instead of crop_area and crop_aspect; "
        "below 1 the image gets a void border",
    )
    brightness: float = Field(0.3, ge=0, description="colour is multiplied by 1 - this to 1 + this")
    contrast: float = Field(0.3, ge=0, description="the same for differences from the mean grey")
    saturation: float = Field(0.3, ge=0, description="the same for differences from grey")
    hue: float = Field(0.05, ge=0, le=0.5, description="hue is turned by up to this share of the colour circle")
    worn_depth: float = Field(
        0.0, ge=0, le=1, description="probability that HHA is that of depth with another camera's noise and holes"
    )
    no_depth: float = Field(0.0, ge=0, le=1, description="probability that HHA is that of a frame without any depth")
    mix: float = Field(
        0.0, ge=0, le=1, description="probability that half of the classes of another frame are laid over an image"
    )

    @field_validator("crop_area", "crop_aspect", "scale")
    @classmethod
    def _is_range(cls, values: tuple[float, float] | None) -> tuple[float, float] | None:
        if values is not None and not 0 < values[0] <= values[1]:
            raise ValueError("must be two positive numbers, the smaller first")
        return values


class ConstraintRecipe(_Section):
    """The contextual constraint: its own arguments, where it is applied, and how its kernels are trained."""

    init: Literal["difference", "kirsch"] = Field(
        "difference", description="kernels at the start: a pixel minus one neighbour, or Kirsch's edge operators"
    )
    init_norm: float = Field(0.5, gt=0, description="sum of squares of each kernel at the start; Eq. 9 is least at 0.5")
    sigma: float = Field(
        0.25, gt=0, description="of Eq. 6: the larger, the stronger an edge must be for labels to change freely there"
    )
    weight: float = Field(20.0, ge=0, description="lambda; with reduction 'mean' beside a mean cross-entropy")
    alpha: float = Field(1000.0, description="of Eq. 9: keeps kernels from vanishing")
    beta: float = Field(1000.0, description="of Eq. 9: keeps kernels from growing")
    reduction: Literal["mean", "sum"] = Field(
        "mean", description="sum: Eq. 7 to the letter; mean: divided by classes, kernels and pixels"
    )
    learnable: bool = Field(True, description="false keeps the kernels as they start")
    detach_weights: bool = Field(
        False, description="true: kernels learn from the change of the labels alone, not from W (Eq. 6) as well"
    )
    guide: Literal["auto", "rgb", "hha"] = Field(
        "auto", description="image that W is computed from; auto: HHA for a network that sees HHA alone, else colour"
    )
    source: Literal["image", "first_stage"] = Field(
        "image",
        description="what W is computed from. first_stage: what leaves the first stage of the encoder, in place of the "
        "image, its channels normalised and no gradient passed on. Of a VGG-16, it is layer conv1_2 (the paper's FCN, "
        "section 3.2), which costs memory; of fcn_lite it has half the image's size",
    )
    kernel_lr_scale: float = Field(0.1, gt=0, le=1, description="learning rate of the kernels over that of the network")
    downsample: int = Field(
        1,
        ge=1,
        le=HIGHEST_DOWNSAMPLE,
        description="average scores' probabilities over so many pixels, in rows and columns, beforehand",
    )
    ramp_share: float = Field(
        0.0, ge=0, le=1, description="share of the training over which lambda grows from 0, linearly"
    )


class TeacherRecipe(_Section):
    """Distillation: a trained model, whose probabilities the network learns in addition to the labels."""

    model: str = Field(description="shipped name or file of a bundle of the same classes; it may see depth")
    weight: float = Field(1.0, gt=0, description="of the divergence from it, beside the cross-entropy")
    temperature: float = Field(1.0, gt=0, description="above 1, what it holds for unlikely counts for more")


class LossRecipe(_Section):
    class_weights: Literal["none", "median_frequency", "paper"] = Field(
        "median_frequency",
        description="of the cross-entropy. median_frequency: (median frequency / frequency) ** class_balance, "
        "mean over the weights of the pixels; paper: median frequency / frequency as SegNet's authors have it, "
        "mean over the pixels",
    )
    class_balance: float = Field(0.0, ge=0, le=1, description="the power of median_frequency; 0 weighs all alike")
    label_reduction: Literal["mean", "sum"] = Field("mean", description="sum: over all labelled pixels, as Caffe's FCN")
    label_stride: int = Field(
        2, ge=1, le=8, description="cross-entropy at every so many pixels: at 1 it costs fcn_lite a third of a step"
    )
    constraint: ConstraintRecipe | None = Field(
        None, description="null or false: cross-entropy alone; true: as the recipe or, failing that, the defaults say"
    )
    teacher: TeacherRecipe | None = Field(None, description="null: labels alone")
    deep_supervision: float = Field(
        0.0,
        ge=0,
        description="weight of the same losses, without the constraint, at each inner stage of segnet, through a "
        "classifier that stays behind after training; 0: at the end alone",
    )
    inner_share: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="so many of the epochs, from the first, end at the last inner stage, which has a quarter of the "
        "resolution: what the outer decoder costs, a quarter of a step, is then saved. Needs deep_supervision",
    )

    @field_validator("constraint", mode="before")
    @classmethod
    def _switch(cls, value: Any) -> Any:
        return {True: {}, False: None}[value] if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _inner_stages_have_classifiers(self) -> LossRecipe:
        if self.inner_share and not self.deep_supervision:
            raise ValueError(f"inner_share is {self.inner_share}: it needs deep_supervision above 0")
        return self


class OptimizerRecipe(_Section):
    name: Literal["adamw", "sgd"] = Field("adamw", description="AdamW, or SGD with momentum")
    epochs: int = Field(40, ge=1, description="passes over the training frames")
    batch_size: int = Field(8, ge=1, description="images of a step, all processes together")
    accumulate: int = Field(1, ge=1, description="steps whose gradients are averaged before the weights move")
    learning_rate: float = Field(1e-3, gt=0, description="the highest of the schedule")
    momentum: float = Field(0.9, ge=0, lt=1, description="of sgd")
    schedule: Literal["one_cycle", "poly", "cosine", "constant"] = Field(
        "one_cycle", description="of the learning rate after its warm-up; one_cycle falls as a cosine, to nearly 0"
    )
    poly_power: float = Field(0.9, gt=0, description="of poly: rate times (1 - t) ** power, t from 0 to 1")
    warmup_share: float = Field(
        0.1, ge=0, lt=1, description="share of the training over which the rate grows; constant has none"
    )
    weight_decay: float = Field(0.02, ge=0, description="of weights; biases and batch norms have none")
    bias_lr_scale: float = Field(1.0, gt=0, description="learning rate of biases over that of weights; Caffe has 2")
    encoder_lr_scale: float = Field(
        1.0, gt=0, le=1, description="learning rate of an encoder that starts from ImageNet over that of the rest"
    )
    gradient_clip: float = Field(5.0, ge=0, description="largest norm of the network's gradient; 0: any")
    ema_decay: float = Field(0.0, ge=0, lt=1, description="of the running mean of the weights; 0 keeps the last ones")
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = Field(
        "32-true", description="bf16-mixed is quicker on GPUs and on CPUs with AMX; 16-mixed on older GPUs"
    )


class RoomsRecipe(_Section):
    """Rendered rooms mixed into the training set."""

    rooms: int = Field(0, ge=0, description="how many rooms")
    frames_per_room: int = Field(4, ge=1, description="evenly spread over the path of the camera")
    per_epoch: int = Field(0, ge=0, description="rendered frames drawn each epoch")
    first_seed: int = Field(1000, ge=0, description="the demo's room is seed 0 and is never trained on")


class Recipe(_Section):
    """One training run. The recipe of a baseline differs from that of the method in ``loss`` only."""

    name: str = Field(description="of the model, and of the run folder unless --out says another")
    labels: str = Field("nyu40", description="label set: a shipped name, or a YAML file")
    seed: int = Field(0, description="of everything random: first weights, order of frames, augmentation, dropout")
    network: NetworkRecipe = NetworkRecipe()
    input: InputRecipe = InputRecipe()
    augmentation: AugmentationRecipe = AugmentationRecipe()
    loss: LossRecipe = LossRecipe()
    optimizer: OptimizerRecipe = OptimizerRecipe()
    rooms: RoomsRecipe = RoomsRecipe()

    @property
    def is_exact(self) -> bool:
        """Whether the network takes the size of ``input`` exactly, see :class:`~lcr_seg_ros.bundle.InputSpec`."""
        return self.network.name in SCORING_EVERY_PIXEL

    @model_validator(mode="after")
    def _settle_guide(self) -> Recipe:
        """Replace the guide ``auto`` by what it stands for, so that the run's record says it."""
        constraint = self.loss.constraint
        if constraint is not None and constraint.guide == "auto":
            settled = constraint.model_copy(update={"guide": "hha" if self.input.modality == "hha" else "rgb"})
            self.__dict__["loss"] = self.loss.model_copy(update={"constraint": settled})  # the model is frozen
        return self

    @model_validator(mode="after")
    def _has_its_guide(self) -> Recipe:
        if self.input.modality == "rgb" and self.loss.constraint is not None and self.loss.constraint.guide == "hha":
            raise ValueError("loss.constraint.guide is hha, but input.modality rgb has no HHA: set one of the two")
        return self

    @model_validator(mode="after")
    def _computes_hha_where_it_has_to(self) -> Recipe:
        if self.input.hha_source == "folder":
            if self.rooms.rooms:
                raise ValueError(
                    f"input.hha_source is folder, but rooms.rooms is {self.rooms.rooms}, and HHA of rendered rooms is "
                    "computed, in another way: set rooms.rooms=0 rooms.per_epoch=0"
                )
            if self.augmentation.worn_depth:
                raise ValueError(
                    f"input.hha_source is folder, but augmentation.worn_depth is {self.augmentation.worn_depth:g}, for "
                    "which HHA is computed anew: set augmentation.worn_depth=0"
                )
        return self

    @classmethod
    def load(cls, name_or_path: str | Path, overrides: dict[str, Any] | None = None) -> Recipe:
        """Read a recipe by name (``config/recipes/NAME.yaml``) or from a YAML file.

        A recipe that begins with ``base: NAME`` (or with a YAML file in the same folder) holds only the entries that
        differ from that recipe.

        Args:
            name_or_path: see above.
            overrides: dotted names to values, e.g. ``{"optimizer.epochs": 2}``.

        Raises:
            RecipeError: there is no such file, it is not YAML, entries are unknown or invalid (each is named), an
                override sets an entry of a section that one before it switched off, or recipes are each other's base.
        """
        path = _find(name_or_path, CONFIG / "recipes")
        values = _read(path, ())
        off_now: dict[str, Any] = {}
        for name, value in deepcopy(overrides or {}).items():  # values are changed below
            *sections, leaf = name.split(".")
            for off in accumulate(sections, "{}.{}".format):
                if off in off_now:
                    raise RecipeError(
                        f"{name}={value} has no meaning after {off}={off_now[off]}: leave one of them out"
                    )
            off_now = {k: v for k, v in off_now.items() if k != name}
            if value is None or value is False:
                off_now[name] = value
            place = values
            for section in sections:
                if not isinstance(place.get(section), dict):  # missing, or an optional section that was off
                    place[section] = {}
                place = place[section]
            if value is True and isinstance(place.get(leaf), dict):
                continue  # true switches a section on, and this one is on
            place[leaf] = value
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, e['loc']))}: "
                + ("there is no such entry" if e["type"] == "extra_forbidden" else e["msg"])
                + received(e)
                + (_perhaps(e["loc"]) if e["type"] == "extra_forbidden" else "")
                for e in error.errors()
            )
            raise RecipeError(
                f"{path}: {_GRID_NOT_RECIPE if isinstance(values.get('axes'), dict) else faults}"
            ) from error


def reads_hha_of_folder(recipe: Recipe) -> bool:
    """Whether a training needs the HHA images of its data set: for the network, or for a teacher, which may see HHA."""
    sees_hha = recipe.input.modality != "rgb" or recipe.loss.teacher is not None
    return sees_hha and recipe.input.hha_source == "folder"


_GRID_NOT_RECIPE = "this looks like a grid, for it has axes: give it to `ablate --grid`"


def received(fault: ErrorDetails) -> str:
    """``" (got VALUE)"`` for the end of a message about a pydantic error; empty if the value is a whole section."""
    value = fault["input"]
    if not fault["loc"] or isinstance(value, dict):
        return ""
    text = repr(value)
    return f" (got {text})" if len(text) <= 80 else f" (got {text[:77]}...)"


_OTHERWISE_CALLED = {
    "lr": "optimizer.learning_rate",
    "wd": "optimizer.weight_decay",
    "bs": "optimizer.batch_size",
    "lambda": "loss.constraint.weight",
    "lambda_": "loss.constraint.weight",
    "lam": "loss.constraint.weight",
    "ema": "optimizer.ema_decay",
}
"""Common names of entries that spelling alone does not lead to."""


def _perhaps(place: tuple[int | str, ...]) -> str:
    """``", did you mean ...?"`` with entries of the same last name, else with the one most similar; empty if none."""
    typed = ".".join(map(str, place))
    known = dotted_entries(Recipe.model_validate({"name": "", "loss": {"constraint": {}}}).model_dump())
    called = _OTHERWISE_CALLED.get(str(place[-1]).lower())
    same = [called] if called else [name for name in known if name.rpartition(".")[2] == str(place[-1])]
    near = same or get_close_matches(typed, known, n=1, cutoff=0.7)
    return f", did you mean {' or '.join(near)}?" if near else ""


def _find(name_or_path: str | Path, folder: Path) -> Path:
    path = Path(name_or_path)
    if path.suffix not in (".yaml", ".yml"):
        path = CONFIG / "recipes" / f"{name_or_path}.yaml"
    elif not path.is_absolute() and (folder / path).is_file() and not path.is_file():
        path = folder / path
    if not path.is_file():
        shipped = sorted(p.stem for p in (CONFIG / "recipes").glob("*.yaml"))
        raise RecipeError(f"no recipe {str(name_or_path)!r}: give a YAML file or one of {', '.join(shipped)}")
    return path


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    """The entries of a file, merged into those of its base; ``above`` are the files that lead to it as a base."""
    if path.resolve() in above:
        raise RecipeError(f"{path} is its own base, by way of {', '.join(p.name for p in above)}")
    values = read_yaml(path, RecipeError)
    if not isinstance(values, dict):
        raise RecipeError(f"{path} must be a mapping of sections, got {type(values).__name__}")
    base = values.pop("base", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise RecipeError(f"{path}: base must be the name of a recipe or a YAML file, got {base!r}")
    return _laid_over(_read(_find(base, path.parent), (*above, path.resolve())), values)


def _laid_over(base: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for name, value in values.items():
        below = merged.get(name)
        if value is True and isinstance(below, dict):
            continue  # true switches a section on, and the base has it
        merged[name] = _laid_over(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def dotted_entries(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested sections as a flat mapping by dotted names, as on the command line: ``{"optimizer.epochs": 70, ...}``."""
    flat: dict[str, Any] = {}
    for name, value in section.items():
        flat |= dotted_entries(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return flat


def without_folders(argument: str) -> str:
    """An absolute path without its folders, anything else as it is: bundles are passed on, and should not tell where
    files lie on the disk of whoever made them."""
    return Path(argument).name if Path(argument).is_absolute() else argument


def without_folders_in(recipe: Recipe) -> dict[str, Any]:
    """The recipe as plain values for a record, without the folders of model files. The label set keeps its path:
    exports of old runs read the file again."""
    values = recipe.model_dump(mode="json")
    network, teacher = values["network"], values["loss"]["teacher"] or {}
    for section, entry in ((network, "weights"), (network, "finetune"), (teacher, "model")):
        if section.get(entry):
            section[entry] = without_folders(section[entry])
    return values
