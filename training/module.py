"""The network in training: cross-entropy, the contextual constraint, and what is logged of both."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.networks import create_network
from lcr_seg_ros.training.data import IGNORED
from lcr_seg_ros.training.lcr import ContextualRegularization
from lcr_seg_ros.training.metrics import scores_from_confusion
from lcr_seg_ros.training.recipe import Recipe

CHECKPOINT_KEY = "lcr_seg_ros"


class SegmentationTraining(L.LightningModule):
    """Loss, optimiser and validation of one recipe.

    Args:
        recipe: see :class:`Recipe`.
        labels: one score channel a class.
        mean, std: per network channel, in 0..255.
        class_weights: (N,) of the cross-entropy.
    """

    def __init__(
        self, recipe: Recipe, labels: LabelSet, mean: tuple[float, ...], std: tuple[float, ...], class_weights: Tensor
    ) -> None:
        super().__init__()
        self.recipe = recipe
        self.record: dict[str, Any] = {}
        """How this run came about; travels in the checkpoint and the bundle."""
        self.num_classes = len(labels)
        self.network = create_network(**architecture(recipe, labels)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        constraint = recipe.loss.constraint
        self.constraint = (
            ContextualRegularization(**constraint.model_dump(exclude={"guide", "kernel_lr_scale"}))
            if constraint
            else None
        )
        self.register_buffer("mean", torch.tensor(mean).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).reshape(1, -1, 1, 1), persistent=False)
        self.register_buffer("class_weights", class_weights, persistent=False)
        # Not a buffer: averaging the weights swaps all buffers in and out around validation.
        self._confusion = torch.zeros(self.num_classes**2, dtype=torch.int64)

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, h, w) float32 in 0..255 -> scores at the network's stride."""
        normalised = (image - self.mean) / self.std
        return self.network(normalised.contiguous(memory_format=torch.channels_last))

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], _: int) -> Tensor:
        image, guide, target = batch
        scores = self(image).float()
        label_loss = self._cross_entropy(scores, target)
        loss = label_loss
        self.log("loss/labels", label_loss, prog_bar=True)
        if self.constraint is not None:
            # The constraint acts where the network decides: at the resolution of its scores.
            guide = F.interpolate(guide, size=scores.shape[-2:], mode="area")
            context_loss = self.constraint(scores.softmax(1), guide)
            loss = loss + context_loss + self.constraint.kernel_penalty()
            self.log("loss/constraint", context_loss, prog_bar=True)
            if self.global_step % self.trainer.log_every_n_steps == 0:
                self._log_constraint(guide, float(context_loss / label_loss.detach().clamp(min=1e-9)))
        return loss

    def _cross_entropy(self, scores: Tensor, target: Tensor) -> Tensor:
        """At half the input size: the scores are coarser still, and full size costs a third of a step."""
        target = target[:, ::2, ::2]
        upsampled = F.interpolate(scores, size=target.shape[-2:], mode="bilinear", align_corners=False)
        return F.cross_entropy(upsampled, target, weight=self.class_weights, ignore_index=IGNORED)

    def _log_constraint(self, guide: Tensor, ratio: float) -> None:
        assert self.constraint is not None
        if not torch.isfinite(self.constraint.kernels).all():
            raise RuntimeError(
                "the kernels of the constraint are not finite any more: lower loss.constraint.kernel_lr_scale, "
                f"now {self.recipe.loss.constraint.kernel_lr_scale}"  # type: ignore[union-attr]
            )
        values = self.constraint.diagnostics(guide) | {"over_labels": ratio}
        self.log_dict({f"constraint/{k}": v for k, v in values.items()})

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], _: int) -> None:
        image, _guide, target = batch
        upsampled = F.interpolate(self(image).float(), size=target.shape[-2:], mode="bilinear", align_corners=False)
        known = target != IGNORED
        index = target[known] * self.num_classes + upsampled.argmax(1)[known]
        self._confusion += torch.bincount(index, minlength=self.num_classes**2).cpu()

    def on_validation_epoch_end(self) -> None:
        n = self.num_classes
        scores = scores_from_confusion(self._confusion.reshape(n, n).numpy())
        self._confusion.zero_()
        self.log_dict({f"val/{k}": v for k, v in scores.items() if isinstance(v, float)}, prog_bar=True)

    def configure_optimizers(self) -> Any:
        o = self.recipe.optimizer
        decayed = [p for p in self.network.parameters() if p.ndim > 1]
        plain = [p for p in self.network.parameters() if p.ndim <= 1]
        groups: list[dict[str, Any]] = [
            {"params": decayed, "weight_decay": o.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        rates = [o.learning_rate, o.learning_rate]
        if self.constraint is not None and self.constraint.kernels.requires_grad:
            assert self.recipe.loss.constraint is not None
            groups.append({"params": [self.constraint.kernels], "weight_decay": 0.0})
            rates.append(o.learning_rate * self.recipe.loss.constraint.kernel_lr_scale)
        optimizer = torch.optim.AdamW(groups, lr=o.learning_rate)
        steps = max(int(self.trainer.estimated_stepping_batches), 3)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=rates,
            total_steps=steps,
            pct_start=max(o.warmup_share, 2 / steps),  # the schedule divides by the warm-up's steps less one
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip the network alone: the kernels' gradients are thousands of times larger and would drown it."""
        if gradient_clip_val:
            nn.utils.clip_grad_norm_(self.network.parameters(), gradient_clip_val)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """All that an export needs beside the weights, as plain values."""
        checkpoint[CHECKPOINT_KEY] = {
            "record": self.record,
            "mean": self.mean.flatten().tolist(),
            "std": self.std.flatten().tolist(),
        }


def architecture(recipe: Recipe, labels: LabelSet) -> dict[str, Any]:
    """Arguments of :func:`~lcr_seg_ros.networks.create_network` for a recipe."""
    in_channels = 6 if recipe.input.modality == "rgb_hha" else 3
    return {
        "name": recipe.network.name,
        "in_channels": in_channels,
        "num_classes": len(labels),
        **recipe.network.arguments,
    }
