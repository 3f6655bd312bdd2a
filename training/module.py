"""The Lightning module: network, losses, optimiser, validation, and what is logged and stored in checkpoints."""

from __future__ import annotations

import random
from typing import Any

import lightning as L
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.networks import create_network
from lcr_seg_ros.networks.pretrained import ImagenetStart
from lcr_seg_ros.networks.vgg16 import Vgg16
from lcr_seg_ros.training.data import IGNORED, PADDED
from lcr_seg_ros.training.divergence import divergence
from lcr_seg_ros.training.epoch_batches import seed_of
from lcr_seg_ros.training.lcr import ContextualRegularization
from lcr_seg_ros.training.metrics import scores_from_confusion
from lcr_seg_ros.training.optimizers import create_optimizer, create_schedule
from lcr_seg_ros.training.recipe import Recipe, RecipeError
from lcr_seg_ros.training.teacher import Teacher, distillation_loss

CHECKPOINT_KEY = "lcr_seg_ros"
PREVIEWS = 4
"""How many validation frames are kept for preview pictures."""
SHOWN_DIAGNOSTICS = ("kernel_energy_min", "mean_w")
"""Diagnostics of the constraint that the progress bar shows too: they fall to 0 when a kernel dies or W does."""

AFTERWARDS = (
    "A checkpoint that the run folder may hold is from before, and belongs to the recipe as it was: start over with "
    "--no-resume, or in another folder"
)
"""End of the message of a run that cannot go on."""


class TrainingError(LcrSegError, RuntimeError):
    """A run cannot go on; the message says what to change."""


class SegmentationTraining(L.LightningModule):
    """Network, losses, optimiser and validation of one recipe.

    Args:
        recipe: see :class:`Recipe`.
        labels: N classes, each with a score channel.
        class_weights: (N,) float32, for the cross-entropy.
        teacher: the model that ``recipe.loss.teacher`` names, loaded; None where there is none.

    Raises:
        RecipeError: the network lacks a layer that the recipe names.
    """

    def __init__(self, recipe: Recipe, labels: LabelSet, class_weights: Tensor, teacher: Teacher | None = None) -> None:
        super().__init__()
        self.recipe = recipe
        self.teacher = teacher
        self.record: dict[str, Any] = {}
        """How the model was made; stored in the checkpoint and in the bundle."""
        self.notice = ""
        """Authors and licence of the initial weights."""
        self.num_classes = len(labels)
        self.network = create_network(**architecture(recipe, labels)).to(memory_format=torch.channels_last)
        constraint = recipe.loss.constraint
        self._frozen = _frozen_stages(self.network, recipe)
        for stage in self._frozen:
            stage.requires_grad_(False)
        self.inner_classifiers = _inner_classifiers(self.network, recipe, self.num_classes)
        """For deep supervision; kept outside the network, so that they are not exported with it."""
        own = {"guide", "source", "kernel_lr_scale", "downsample", "ramp_share"}
        self.constraint = ContextualRegularization(**constraint.model_dump(exclude=own)) if constraint else None
        self._features: Tensor | None = None
        if constraint is not None and constraint.source == "first_stage":
            _first_stage(self.network, recipe).register_forward_hook(self._keep_features)
        self.register_buffer("mean", torch.full((1, 1, 1, 1), 127.5), persistent=False)
        self.register_buffer("std", torch.full((1, 1, 1, 1), 127.5), persistent=False)
        self.register_buffer("class_weights", class_weights, persistent=False)
        # Not a buffer: weight averaging swaps all buffers before and after validation.
        self._confusion = torch.zeros(self.num_classes**2, dtype=torch.int64)
        self.previews: list[tuple[Tensor, Tensor, Tensor]] = []
        """From the last validation: (3, h, w) the network's first three channels in 0..255, (h, w) target and (h, w)
        predicted channel."""
        self.train()

    def set_normalisation(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        """Set mean and standard deviation of each input channel, in 0..255: those of the initial weights."""
        self.mean = torch.tensor(mean).reshape(1, -1, 1, 1)
        self.std = torch.tensor(std).reshape(1, -1, 1, 1)

    def start_batch_norms(self, images: Tensor, start: ImagenetStart) -> None:
        """Initialise the batch norms of a network whose weights were trained without any.

        Args:
            images: (B, C, H, W) float32 in 0..255, typical of the training set.
            start: where the weights came from.
        """
        self.network.start_batch_norms((images - self.mean) / self.std, start.scale)  # type: ignore[operator]

    def train(self, mode: bool = True) -> SegmentationTraining:
        super().train(mode)
        for stage in self._frozen:
            stage.eval()
        if self.recipe.network.freeze_batch_norm:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) float32 in 0..255 -> (B, N, h, w) scores at the network's stride."""
        return self.network(self._normalised(image))  # type: ignore[no-any-return]

    def _normalised(self, image: Tensor) -> Tensor:
        return ((image - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def on_fit_start(self) -> None:
        if self.teacher is not None:
            self.teacher.to(self.device)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed all random generators, so that dropout is a function of seed, epoch, batch and process: a resumed run
        then has no generator states to restore."""
        seed = seed_of(self.recipe.seed, self.current_epoch, batch_idx, self.global_rank)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002 - it is the global state that has to be set
        torch.manual_seed(seed)

    def training_step(self, batch: tuple[Tensor, ...], batch_idx: int) -> Tensor:
        """Loss of a batch of :class:`~lcr_seg_ros.training.data.SegmentationDataset`; logs each of its terms."""
        image, guide, target, *rest = batch
        taught = None if self.teacher is None else self.teacher.scores(rest[0]).float()
        scores, *inner = (each.float() for each in self._scores_of_training(image))
        parts = self._supervision(scores, target, taught)
        for within_scores in inner:
            within = self._supervision(within_scores, target, taught)
            share = self.recipe.loss.deep_supervision * torch.stack(list(within.values())).sum()
            parts["inner"] = parts.get("inner", 0) + share
        valid = _valid(target, scores.shape[-2:]) if self._pads else None
        if self.constraint is not None:
            if self._features is not None:
                guide = self._feature_guide(image.shape[-2:])
            guide = F.interpolate(guide, size=scores.shape[-2:], mode="area")
            parts["constraint"] = self._constraint_loss(scores, guide, valid)
            parts["kernels"] = self.constraint.kernel_penalty()
            if self._is_logged(batch_idx):
                ratio = float(parts["constraint"].detach() / parts["labels"].detach().clamp(min=1e-9))
                values = self.constraint.diagnostics(guide) | {"over_labels": ratio}
                for name, value in values.items():
                    self.log(f"constraint/{name}", value, prog_bar=name in SHOWN_DIAGNOSTICS)
        self._stop_unless_finite(parts)
        for name, part in parts.items():
            self.log(f"loss/{name}", part, prog_bar=True)
        return torch.stack(list(parts.values())).sum() * self._share_of_group(batch_idx)

    def _share_of_group(self, batch_idx: int) -> float:
        """Factor of the loss in an epoch's last group of accumulated batches, which may have fewer than ``accumulate``:
        Lightning divides by ``accumulate`` all the same, which would make that step too small. 1 elsewhere."""
        trainer: Any = self.trainer
        accumulate, batches = trainer.accumulate_grad_batches, trainer.num_training_batches
        left = batches % accumulate
        return float(accumulate / left) if left and batch_idx >= batches - left else 1.0

    def _keep_features(self, _layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self._features = output.detach()

    def _feature_guide(self, size: torch.Size) -> Tensor:
        """(B, C, h, w) float32 in 0..1: features of unit length at each place, without the network's padding around
        the image."""
        assert self._features is not None
        features = self._features.float()
        height, width = (min(have, want) for have, want in zip(features.shape[-2:], size, strict=True))
        top, left = (features.shape[-2] - height) // 2, (features.shape[-1] - width) // 2
        return F.normalize(features[:, :, top : top + height, left : left + width], dim=1).clamp(0, 1)

    def _scores_of_training(self, image: Tensor) -> list[Tensor]:
        try:
            return self._scores_and_inner_scores(image)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            images, _, height, width = image.shape
            raise TrainingError(
                f"a batch norm cannot learn from one value: of {images} image of {height}x{width} px, a layer leaves "
                "one pixel; raise optimizer.batch_size, or input.height and input.width"
            ) from error

    def _scores_and_inner_scores(self, image: Tensor) -> list[Tensor]:
        """Scores of the network's output, followed by those of its inner stages. In the early epochs, which end at the
        last inner stage, its scores come first instead of the output's."""
        if not self.inner_classifiers:
            return [self(image)]
        x = self._normalised(image)
        network: Any = self.network
        if self._ends_at_inner_stage:
            *before, last = [c(each) for c, each in zip(self.inner_classifiers, network.inner_maps(x), strict=True)]
            return [last, *before]
        scores, inner = network.scores_and_inner(x)
        return [scores, *(c(each) for c, each in zip(self.inner_classifiers, inner, strict=True))]

    @property
    def _ends_at_inner_stage(self) -> bool:
        """Whether this epoch leaves out what comes after the last inner stage: ``loss.inner_share``."""
        return self.current_epoch < self.recipe.loss.inner_share * self.recipe.optimizer.epochs

    def _supervision(self, scores: Tensor, target: Tensor, taught: Tensor | None) -> dict[str, Tensor]:
        """The loss terms of labels and teacher for scores of any stride."""
        parts = {"labels": self._label_loss(scores, target)}
        if taught is not None:
            recipe = self.recipe.loss.teacher
            assert recipe is not None
            valid = _valid(target, scores.shape[-2:]) if self._pads else None
            parts["teacher"] = distillation_loss(scores, taught, recipe.temperature, valid) * recipe.weight
        return parts

    def _is_logged(self, batch_idx: int) -> bool:
        """Whether Lightning writes a row of the log after this batch: it does every ``log_every_n_steps`` optimiser
        steps, counted from 1. With accumulated batches, the last of a group takes the step."""
        trainer: Any = self.trainer
        done = batch_idx + 1
        moves = done % trainer.accumulate_grad_batches == 0 or done == trainer.num_training_batches
        return moves and (self.global_step + 1) % trainer.log_every_n_steps == 0

    @property
    def _pads(self) -> bool:
        """Whether augmentation may pad images. Decided by the recipe, not by the batch: all processes of a run have to
        take the same path."""
        a = self.recipe.augmentation
        return a.enabled and a.scale is not None and a.scale[0] < 1

    def _label_loss(self, scores: Tensor, target: Tensor) -> Tensor:
        """Cross-entropy over the labelled pixels, reduced as if the batches of all processes were one."""
        loss = self.recipe.loss
        target = self._sampled(target)
        known = target >= 0
        if scores.shape[-2:] != target.shape[-2:]:
            scores = F.interpolate(scores, size=target.shape[-2:], mode="bilinear", align_corners=False)
        channel = target.masked_fill(~known, IGNORED)
        total = F.cross_entropy(scores, channel, weight=self.class_weights, ignore_index=IGNORED, reduction="sum")
        if loss.label_reduction == "sum":
            return total * self._processes  # gradients are averaged over processes
        if loss.class_weights == "median_frequency":
            count = self.class_weights[target[known]].sum()
        else:
            count = known.sum().float()
        if self._processes > 1:
            torch.distributed.all_reduce(count)
        return total * self._processes / count.clamp(min=1)

    def _sampled(self, target: Tensor) -> Tensor:
        """Every ``label_stride``-th pixel in rows and columns, with an offset that changes at each step. A fixed offset
        would put labels, and so boundaries, half a stride beside the centre of the area that a score stands for."""
        stride, step = self.recipe.loss.label_stride, self.global_step
        return target[:, step % stride :: stride, step // stride % stride :: stride]

    @property
    def _processes(self) -> int:
        return int(self.trainer.world_size)

    def _constraint_loss(self, scores: Tensor, guide: Tensor, valid: Tensor | None) -> Tensor:
        """The constraint at the resolution of the scores, or at a lower one (``downsample``)."""
        assert self.constraint is not None
        recipe = self.recipe.loss.constraint
        assert recipe is not None
        if recipe.downsample > 1:
            probabilities, guide = (F.avg_pool2d(x, recipe.downsample) for x in (scores.softmax(1), guide))
            valid = None if valid is None else F.max_pool2d((~valid).float(), recipe.downsample) == 0
            value = self.constraint(probabilities, guide, valid)
        else:
            value = self.constraint.of_scores(scores, guide, valid)
        if recipe.reduction == "sum":
            value = value * self._processes
        return value * self._ramp(recipe.ramp_share)

    def _ramp(self, share: float) -> float:
        steps = share * int(self.trainer.estimated_stepping_batches)
        return min(1.0, self.global_step / steps) if steps > 0 else 1.0

    def _stop_unless_finite(self, parts: dict[str, Tensor]) -> None:
        values = {name: float(part.detach()) for name, part in parts.items()}
        wrong = [name for name, value in values.items() if not np.isfinite(value)]
        if wrong:
            what = ", ".join(f"loss/{name} = {value:.4g}" for name, value in values.items())
            raise TrainingError(
                f"step {self.global_step} (epoch {self.current_epoch + 1}): {' and '.join(wrong)} not finite ({what}). "
                f"{self._remedy(wrong)} {AFTERWARDS}"
            )

    def stop_if_diverged(self, images: Tensor | None) -> None:
        """Refuse a state that has diverged, before it is saved; the loss would show it only at the next step.

        Args:
            images: (B, C, H, W) float32 in 0..255, from the previous batch; None checks the kernels alone.

        Raises:
            TrainingError: weights, statistics, scores or the kernel penalty are not finite; says what to change.
        """
        fault = None if images is None else divergence(self, images)
        wrong = ["labels"]
        if fault is None and self.constraint is not None and not bool(self.constraint.kernel_penalty().isfinite()):
            fault, wrong = "the kernels have grown so large that their penalty is not finite", ["kernels"]
        if fault is not None:
            raise TrainingError(
                f"step {self.global_step} (epoch {self.current_epoch + 1}): the loss was finite, but now {fault}. "
                f"{self._remedy(wrong)} {AFTERWARDS}"
            )

    def _remedy(self, wrong: list[str]) -> str:
        o, constraint = self.recipe.optimizer, self.recipe.loss.constraint
        advice = []
        if "kernels" in wrong and constraint is not None:
            advice.append(f"lower loss.constraint.kernel_lr_scale, now {constraint.kernel_lr_scale}")
        if wrong != ["kernels"]:
            advice.append(f"lower optimizer.learning_rate, now {o.learning_rate}")
            if not o.gradient_clip:
                advice.append("clip with optimizer.gradient_clip=5")
            if self.recipe.loss.label_reduction == "sum":
                advice.append("a summed cross-entropy needs rates of 1e-9 to 1e-10: set loss.label_reduction=mean")
            if o.precision == "16-mixed":
                advice.append("set optimizer.precision=bf16-mixed, which has the range of float32")
        return f"Try: {'; '.join(advice)}."

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], index: int) -> None:
        """Count a batch's pixels by true and predicted class, at the target's size, and keep some as previews."""
        image, _guide, target = batch
        upsampled = F.interpolate(self(image).float(), size=target.shape[-2:], mode="bilinear", align_corners=False)
        predicted = upsampled.argmax(1)
        known = target >= 0
        joint = target[known] * self.num_classes + predicted[known]
        self._confusion += torch.bincount(joint, minlength=self.num_classes**2).cpu()
        if index == 0:
            self.previews = []
        # From batches far apart: neighbours in a list often show the same room.
        batches = int(self.trainer.num_val_batches[0])
        room = min(-(-PREVIEWS // batches), PREVIEWS - len(self.previews))
        if room and index % max(1, batches // PREVIEWS) == 0:
            seen = zip(image[:room, :3].cpu(), target[:room].cpu(), predicted[:room].cpu(), strict=True)
            self.previews += list(seen)

    def on_validation_epoch_end(self) -> None:
        n = self.num_classes
        confusion = self._confusion.to(self.device)
        if self._processes > 1:
            torch.distributed.all_reduce(confusion)
        scores = scores_from_confusion(confusion.cpu().reshape(n, n).numpy())
        self._confusion.zero_()
        self.log_dict({f"val/{k}": v for k, v in scores.items() if isinstance(v, float)}, prog_bar=True)

    def configure_optimizers(self) -> Any:
        constraint, kernels = self.recipe.loss.constraint, None
        if self.constraint is not None and self.constraint.kernels.requires_grad and constraint is not None:
            kernels = self.constraint.kernels, self.recipe.optimizer.learning_rate * constraint.kernel_lr_scale
        optimizer = create_optimizer(self.recipe.optimizer, self._modules_and_rates(), kernels)
        steps = max(int(self.trainer.estimated_stepping_batches), 3)
        schedule = create_schedule(optimizer, self.recipe.optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _modules_and_rates(self) -> list[tuple[str, list[nn.Module], float]]:
        """Name, modules and learning rate of each part that is trained, without the constraint's kernels.

        There is one part, or two where the encoder has a learning rate of its own.
        """
        o = self.recipe.optimizer
        modules = [*self.network.modules(), *self.inner_classifiers.modules()]
        if o.encoder_lr_scale == 1:
            return [("", modules, o.learning_rate)]
        encoders = [m for name, m in self.network.named_modules() if name.rpartition(".")[2] == "encoder"]
        within = {m for encoder in encoders for m in encoder.modules()}
        rest = [m for m in modules if m not in within]
        encoder = [m for m in modules if m in within]
        return [
            ("encoder ", encoder, o.learning_rate * o.encoder_lr_scale),
            ("decoder ", rest, o.learning_rate),
        ]

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the gradient of network and inner classifiers, without that of the kernels: it is thousands of times
        larger and would dominate the norm.

        Raises:
            TrainingError: the gradient is not finite although the loss is; the weights are left as they were. Under
                ``16-mixed`` such steps are normal, and the gradient scaler skips them.
        """
        learners = [*self.network.parameters(), *self.inner_classifiers.parameters()]
        norm = nn.utils.get_total_norm([p.grad for p in learners if p.grad is not None])
        if not torch.isfinite(norm) and self.recipe.optimizer.precision != "16-mixed":
            raise TrainingError(
                f"step {self.global_step} (epoch {self.current_epoch + 1}): the loss is finite, its gradient is not "
                f"({float(norm)}). {self._remedy(['labels'])} {AFTERWARDS}"
            )
        self.log("gradient_norm", norm)
        if gradient_clip_val:
            nn.utils.clip_grads_with_norm_(learners, gradient_clip_val, norm)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what an export or a resumed run needs besides the weights, as plain values."""
        loop = self.trainer.fit_loop
        epoch = loop.epoch_progress.current.processed
        is_amid = loop.epoch_progress.current.processed < loop.epoch_progress.current.ready
        checkpoint[CHECKPOINT_KEY] = {
            "record": self.record,
            "notice": self.notice,
            "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(),
            "next": {"epoch": epoch, "batch": loop.epoch_loop.batch_progress.current.processed if is_amid else 0},
        }


def architecture(recipe: Recipe, labels: LabelSet) -> dict[str, Any]:
    """The arguments of :func:`~lcr_seg_ros.networks.create_network` that a recipe asks for."""
    in_channels = 6 if recipe.input.modality == "rgb_hha" else 3
    return {
        "name": recipe.network.name,
        "in_channels": in_channels,
        "num_classes": len(labels),
        **recipe.network.arguments,
    }


def _valid(target: Tensor, size: torch.Size) -> Tensor:
    """(B, h, w) bool for scores of ``size`` (h, w), False where the area of a score contains padding."""
    padded = (target == PADDED)[:, None].float()
    return F.interpolate(padded, size=size, mode="area")[:, 0] == 0


def _first_stage(network: nn.Module, recipe: Recipe) -> nn.Module:
    """The layer with which the first stage of the network's only encoder ends.

    Raises:
        RecipeError: the network has no such layer.
    """
    layer = getattr(network, "first_stage", None)
    if layer is None:
        raise RecipeError(
            f"loss.constraint.source is first_stage, which {recipe.network.name} does not have: take "
            "loss.constraint.source=image"
        )
    return layer  # type: ignore[no-any-return]


def _frozen_stages(network: nn.Module, recipe: Recipe) -> list[nn.Module]:
    """The stages that ``network.frozen_stages`` excludes from training, of every VGG-16 encoder in the network.

    Raises:
        RecipeError: the network has no such encoder.
    """
    count = recipe.network.frozen_stages
    encoders = [module for module in network.modules() if isinstance(module, Vgg16)]
    if count and not encoders:
        raise RecipeError(
            f"network.frozen_stages is {count}, but {recipe.network.name} has no VGG-16: set it to 0, or train segnet "
            "or fcn32s"
        )
    return [stage for encoder in encoders for stage in encoder.stages[:count]]


def _inner_classifiers(network: nn.Module, recipe: Recipe, classes: int) -> nn.ModuleList:
    """1x1 convolutions that score the classes at each inner stage; none where deep supervision is off.

    Raises:
        RecipeError: the network has no inner stages.
    """
    if not recipe.loss.deep_supervision:
        return nn.ModuleList()
    channels = getattr(network, "inner_channels", None)
    if channels is None:
        raise RecipeError(
            f"loss.deep_supervision is {recipe.loss.deep_supervision}, but network {recipe.network.name} has no inner "
            "stages to supervise: set it to 0, or train segnet"
        )
    return nn.ModuleList(nn.Conv2d(count, classes, 1) for count in channels)
