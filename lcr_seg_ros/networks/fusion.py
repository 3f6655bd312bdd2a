"""``fusion``: late fusion of a colour and an HHA network by averaging their scores (Long et al., CVPR 2015)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from lcr_seg_ros.networks.pretrained import ImagenetStart


class Fusion(nn.Module):
    """(B, 6, H, W), colour first -> (B, N, h, w): the mean of both networks' scores, at the finer one's stride.

    Args:
        in_channels: 6.
        num_classes: N.
        rgb, hha: each a registry name and arguments, e.g. ``{"name": "fcn32s", "head": "light"}``; ``in_channels`` and
            ``num_classes`` are filled in.

    Raises:
        ValueError: other than 6 channels, or one of the two networks has no name or is itself a fusion.
    """

    def __init__(self, in_channels: int, num_classes: int, rgb: Mapping[str, Any], hha: Mapping[str, Any]) -> None:
        super().__init__()
        from lcr_seg_ros.networks import create_network

        if in_channels != 6:
            raise ValueError(f"fusion takes 6 channels (input.modality rgb_hha), got {in_channels}")
        for side in (rgb, hha):
            if side.get("name") in (None, "fusion"):
                raise ValueError(f"fusion needs the name of a single network for rgb and for hha, got {dict(side)}")
        self.rgb = create_network(**{**rgb, "in_channels": 3, "num_classes": num_classes})
        self.hha = create_network(**{**hha, "in_channels": 3, "num_classes": num_classes})
        self.stride: int = min(self.rgb.stride, self.hha.stride)

    def forward(self, x: Tensor) -> Tensor:
        colour, geometry = self.rgb(x[:, :3]), self.hha(x[:, 3:])
        if self.rgb.stride < self.hha.stride:
            geometry = _resize_to(geometry, colour)
        elif self.rgb.stride > self.hha.stride:
            colour = _resize_to(colour, geometry)
        return 0.5 * (colour + geometry)

    def load_imagenet(self, source: str | Path | None = None) -> ImagenetStart:
        """Initialise both networks with ``source``, each in its own way.

        Returns:
            The normalisation of colour is that of the ``rgb`` network, HHA's deviation that of the ``hha`` network.

        Raises:
            WeightsError: the source does not fit one of them: lists what did not match.
        """
        rgb, hha = self.rgb.load_imagenet(source), self.hha.load_imagenet(source)
        untouched = tuple(f"rgb.{n}" for n in rgb.untouched) + tuple(f"hha.{n}" for n in hha.untouched)
        notice = rgb.notice if rgb.notice == hha.notice else rgb.notice + hha.notice
        scale = (*rgb.scale, *hha.scale)
        return ImagenetStart(rgb.origin, rgb.mean, rgb.std, hha.hha_std, notice, untouched, scale)

    def start_batch_norms(self, images: Tensor, scale: Sequence[float]) -> None:
        """Initialise batch norms that the weights did not have, in both networks; see :meth:`Vgg16.start_batch_norms`.

        Args:
            images: (B, 6, H, W) network input, a few typical images.
            scale: of all six channels, from the result of :meth:`load_imagenet`.
        """
        for network, channels in ((self.rgb, slice(0, 3)), (self.hha, slice(3, 6))):
            if hasattr(network, "start_batch_norms"):
                network.start_batch_norms(images[:, channels], scale[channels])

    def load_members(self, rgb: Mapping[str, Tensor], hha: Mapping[str, Tensor]) -> None:
        """Load the state dicts of two trained networks (from a bundle: ``state_dict_from_onnx``).

        Raises:
            RuntimeError: one of them does not fit; lists what did not match.
        """
        self.rgb.load_state_dict(rgb)
        self.hha.load_state_dict(hha)


def _resize_to(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
