"""Whether a network can still answer. A loss tells at the step after, which the weights that a run ends with lack."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def divergence(network: nn.Module, images: Tensor) -> str | None:
    """What of a network is not finite any more: weights, statistics, or the scores that it gives.

    Weights of 1e20 are finite still; that they are absurd shows in scores.

    Args:
        network: in evaluation while it is asked, then as it was; no random number is drawn.
        images: (B, C, H, W) typical input.

    Returns:
        Words for a message; None where all is well.
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
