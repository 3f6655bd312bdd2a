"""PyTorch network definitions and their registry.

A network maps (B, C, H, W) normalised input to (B, N, h, w) scores (logits) at every ``stride``-th pixel: h = ceil(H /
stride), w = ceil(W / stride). Softmax and interpolation are left to the caller. ``load_imagenet(source)`` initialises
it with ImageNet weights and returns the :class:`~lcr_seg_ros.networks.pretrained.ImagenetStart` that goes with them.
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
    """A network that does not exist, or arguments that it does not accept."""


class Network(Protocol):
    """What every network here has, in addition to a ``torch.nn.Module``'s attributes."""

    stride: int
    """Input pixels per score, in rows and in columns."""

    def __call__(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, ceil(H / stride), ceil(W / stride)) scores."""

    def load_imagenet(self, source: str | Path | None = None) -> ImagenetStart:
        """Initialise with ImageNet weights. Default: those that are usual for the network.

        Raises:
            WeightsError: the weights cannot be obtained, or do not fit: lists what did not match.
        """


NETWORKS: dict[str, str] = {
    "fcn_lite": "lcr_seg_ros.networks.fcn_lite:FcnLite",
    "fcn32s": "lcr_seg_ros.networks.fcn32s:Fcn32s",
    "segnet": "lcr_seg_ros.networks.segnet:SegNet",
    "fusion": "lcr_seg_ros.networks.fusion:Fusion",
    "grouped": "lcr_seg_ros.networks.grouped:Grouped",
}
"""Classes by registry name; a module is imported when its network is created."""

SCORING_EVERY_PIXEL = frozenset({"fcn32s", "segnet"})
"""Networks that take images of any size as well as any other: they round up where they halve, and crop what is too much
at the end. The others score every fourth pixel. Their last score would stand for fewer pixels where a side is no
multiple of 4, and all would be interpolated a little beside their place."""


def create_network(name: str, **arguments: Any) -> Any:
    """Build a network by registry name, randomly initialised: a ``torch.nn.Module`` that is a :class:`Network`.

    Args:
        name: a key of :data:`NETWORKS`.
        arguments: of the network, at least ``in_channels`` and ``num_classes``.

    Raises:
        NetworkError: the name is unknown, or arguments are missing or not accepted.
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
