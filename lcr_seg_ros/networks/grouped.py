"""``grouped``: a trained network whose classes are merged into fewer ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcr_seg_ros.networks.pretrained import ImagenetStart


class Grouped(nn.Module):
    """(B, C, H, W) -> (B, N, h, w) scores: for each group, the logarithm of the sum of its members' probabilities.

    As every class belongs to exactly one group, softmax over these scores returns the sums.

    Args:
        in_channels: channels of the network's input.
        num_classes: N, the number of groups.
        network: registry name and arguments, e.g. ``{"name": "fcn_lite", "num_classes": 40}``.
        groups: for each group, the score channels of its members.

    Raises:
        ValueError: there are not N groups, a group is empty, groups overlap, or a channel is in none of them.
    """

    def __init__(
        self, in_channels: int, num_classes: int, network: Mapping[str, Any], groups: Sequence[Sequence[int]]
    ) -> None:
        super().__init__()
        from lcr_seg_ros.networks import create_network

        members = sorted(channel for group in groups for channel in group)
        if len(groups) != num_classes or not all(groups):
            raise ValueError(f"grouped needs {num_classes} groups with members, got {[len(g) for g in groups]}")
        if members != list(range(int(network["num_classes"]))):
            raise ValueError(f"every channel of the network belongs to one group, got {members}")
        self.network = create_network(**{**network, "in_channels": in_channels})
        self.stride: int = self.network.stride
        self._members = [[float(channel in group) for channel in members] for group in groups]

    def forward(self, x: Tensor) -> Tensor:
        probabilities = self.network(x).softmax(1)
        # Not a buffer, which would add an entry to the state dict; not logsumexp, which not every runtime supports.
        sums = F.conv2d(probabilities, torch.tensor(self._members, device=x.device, dtype=x.dtype)[:, :, None, None])
        return sums.clamp(min=1e-30).log()

    def load_imagenet(self, source: str | Path | None = None) -> ImagenetStart:
        """Initialise the network within."""
        start: ImagenetStart = self.network.load_imagenet(source)
        return start
