"""PyTorch network definitions and their registry.

A network maps (B, C, H, W) normalised input to (B, N, h, w) scores (logits) at every ``stride``-th pixel: h = ceil(H /
stride), w = ceil(W / stride). Softmax and interpolation are the caller's. ``load_imagenet(source)`` starts it from
ImageNet weights and returns the :class:`~lcr_seg_ros.networks.pretrained.ImagenetStart` that belongs to them.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lcr_seg_ros.errors import LcrSegError

if TYPE_CHECKING:
    from torch import Tensor

    from lcr_seg_ros.networks.pretrained import ImagenetStart


class NetworkError(LcrSegError, ValueError):
    """A network that does not exist, or arguments that it does not take."""


class Network(Protocol):
    """What every network here has beside what ``torch.nn.Module`` gives it."""

    stride: int
    """Input pixels to a score, in rows and in columns."""

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, ceil(H / stride), ceil(W / stride)) scores."""

    def load_imagenet(self, source: str | Path | None = None) -> ImagenetStart:
        """Start from ImageNet weights; None takes the network's usual ones.

        Raises:
            WeightsError: they cannot be had, or do not fit: lists what did not match.
        """


NETWORKS: dict[str, str] = {
    "fcn_lite": "lcr_seg_ros.networks.fcn_lite:FcnLite",
    "fcn32s": "lcr_seg_ros.networks.fcn32s:Fcn32s",
    "segnet": "lcr_seg_ros.networks.segnet:SegNet",
    "fusion": "lcr_seg_ros.networks.fusion:Fusion",
    "grouped": "lcr_seg_ros.networks.grouped:Grouped",
}
"""Classes by registry name; each module is imported when asked for."""


def create_network(name: str, **arguments: Any) -> Any:
    """Build a network by registry name, randomly initialised: a ``torch.nn.Module`` that is a :class:`Network`.

    Args:
        name: a key of :data:`NETWORKS`.
        arguments: of the network, at least ``in_channels`` and ``num_classes``.

    Raises:
        NetworkError: unknown name, or arguments that it does not take or needs.
    """
    if name not in NETWORKS:
        raise NetworkError(f"network must be one of {', '.join(NETWORKS)}, got {name!r}")
    module, _, attribute = NETWORKS[name].partition(":")
    network = getattr(import_module(module), attribute)
    signature = inspect.signature(network)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise NetworkError(f"network {name}: {error}; it takes {', '.join(signature.parameters)}") from error
    try:
        return network(**arguments)
    except ValueError as error:
        raise NetworkError(f"network {name}: {error}") from error
