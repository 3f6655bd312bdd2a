"""Whether a network has diverged. The loss shows it at the next step only, and a run's last step has none after it."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def divergence(network: nn.Module, images: Tensor) -> str | None:
    """Which part of a network is no longer finite: its weights, batch norm statistics, or scores.

    Absurd weights such as 1e20 are still finite, but their scores are not.

    Args:
        network: put into evaluation mode for the check, then back into the mode it was in; no random numbers are drawn.
        images: (B, C, H, W) typical input.

    Returns:
        What is wrong, for a message; None if nothing is.
    """
    broken = [n for n, value in network.state_dict().items() if value.is_floating_point() and not _is_finite(value)]
    if broken:
        return f"{', '.join(broken[:3])}{f' and {len(broken) - 3} more' if len(broken) > 3 else ''} not finite"
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            scores = network(images)
    finally:
        network.train(was_training)
    return None if _is_finite(scores) else "the weights have grown so large that scores are not finite"


def _is_finite(values: Tensor) -> bool:
    return bool(values.isfinite().all())
