"""PyTorch network definitions and their registry.

A network maps (B, C, H, W) normalised input to (B, N, h, w) scores (logits); h and w may be smaller than
H and W by a fixed stride. Softmax and interpolation are the caller's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def _fcn_lite(**arguments: Any) -> nn.Module:
    from lcr_seg_ros.networks.fcn_lite import FcnLite

    return FcnLite(**arguments)


NETWORKS: dict[str, Callable[..., Any]] = {"fcn_lite": _fcn_lite}
"""Builders by registry name; each imports its module when called."""


def create_network(name: str, **arguments: Any) -> nn.Module:
    """Build a network by registry name, randomly initialised.

    Args:
        name: a key of :data:`NETWORKS`.
        arguments: of the network, at least ``in_channels`` and ``num_classes``.

    Raises:
        ValueError: unknown name.
    """
    if name not in NETWORKS:
        raise ValueError(f"network must be one of {', '.join(NETWORKS)}, got {name!r}")
    return NETWORKS[name](**arguments)
