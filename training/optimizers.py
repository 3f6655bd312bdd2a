"""Optimizers: parameter groups with their learning rates, and schedules of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from lcr_seg_ros.training.recipe import OptimizerRecipe


def create_optimizer(
    o: OptimizerRecipe,
    parts: Sequence[tuple[str, Sequence[nn.Module], float]],
    kernels: tuple[nn.Parameter, float] | None,
) -> torch.optim.Optimizer:
    """The optimizer of a recipe, with named parameter groups. Norms, biases and kernels have no weight decay.

    Args:
        o: the recipe's section.
        parts: name (empty if there is one part only), modules and learning rate of each part that is trained.
        kernels: those of the constraint, and their learning rate; None if there are none or they are fixed.
    """
    groups: list[dict[str, Any]] = []
    for part, modules, rate in parts:
        weights, plain, biases = _by_kind(modules)
        groups += [
            {"name": f"{part}weights", "params": weights, "weight_decay": o.weight_decay, "lr": rate},
            {"name": f"{part}norms", "params": plain, "weight_decay": 0.0, "lr": rate},
            {"name": f"{part}biases", "params": biases, "weight_decay": 0.0, "lr": rate * o.bias_lr_scale},
        ]
    groups = [group for group in groups if group["params"]]
    if kernels is not None:
        groups.append({"name": "kernels", "params": [kernels[0]], "weight_decay": 0.0, "lr": kernels[1]})
    if o.name == "sgd":
        return torch.optim.SGD(groups, lr=o.learning_rate, momentum=o.momentum)
    # With 16-mixed, a fused step itself divides gradients by the loss scale: too late for clipping, which comes before.
    return torch.optim.AdamW(groups, lr=o.learning_rate, fused=o.precision != "16-mixed")


def create_schedule(
    optimizer: torch.optim.Optimizer, o: OptimizerRecipe, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """The learning rate schedule of a whole training; the groups keep their proportions.

    Args:
        optimizer: see :func:`create_optimizer`.
        o: gives schedule, warmup_share and poly_power.
        steps: of the optimizer, over all epochs; at least 3.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    if o.schedule == "one_cycle":
        # At least two warm-up steps: the schedule divides by their number minus one.
        share = max(o.warmup_share, 2 / steps)
        return torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=rates, total_steps=steps, pct_start=share, cycle_momentum=o.name == "adamw"
        )
    warmup = 0 if o.schedule == "constant" else round(o.warmup_share * steps)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / (warmup + 1)
        t = min((step - warmup) / max(steps - warmup, 1), 1.0)
        if o.schedule == "poly":
            return float((1 - t) ** o.poly_power)
        return 0.5 * (1 + float(np.cos(np.pi * t))) if o.schedule == "cosine" else 1.0

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _by_kind(modules: Sequence[nn.Module]) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Trained parameters in three lists: weights, those of norms, and biases of layers with weights."""
    weights, plain, biases = [], [], []
    for module in modules:
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad:
                continue
            if parameter.ndim > 1:
                weights.append(parameter)
            elif name == "bias" and getattr(module, "weight", parameter).ndim > 1:
                biases.append(parameter)
            else:
                plain.append(parameter)
    return weights, plain, biases
