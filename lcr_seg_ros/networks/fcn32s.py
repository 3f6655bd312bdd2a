"""``fcn32s``: the fully convolutional VGG-16 of Long, Shelhamer and Darrell (CVPR 2015), with scores of stride 32."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from lcr_seg_ros.networks.pretrained import ImagenetStart, WeightsError
from lcr_seg_ros.networks.vgg16 import WIDTH, Vgg16, Vgg16Weights, init_he

STRIDE = 32
FIRST_PADDING = 100
CROP = 19
"""Rows and columns of the interpolated scores that precede the first pixel's, because of ``FIRST_PADDING``."""

HEAD_CHANNELS = {"fc": 4096, "light": 512}


class Fcn32s(nn.Module):
    """(B, C, H, W) -> (B, N, H, W) scores: coarse ones of stride 32, interpolated bilinearly.

    With ``border="pad100"``, sizes are those of the authors' Caffe network. For 425 rows: conv1 623, pools 312, 156,
    78, 39, 20 (rounded up), fc6 14, upscore 480, crop 425.

    Args:
        in_channels: 3, or 6 for colour and HHA.
        num_classes: N.
        head: ``fc``: fc6 7x7 and fc7, 4096 channels, which must start from ImageNet (120 million weights that cannot be
            learned from a few hundred frames). ``light``: fc6 3x3 with dilation 3, which has the same 7x7 field, and
            fc7, 512 channels (2.6 million weights), for ImageNet weights without fc6 and fc7.
        border: ``pad100``: the image is padded by 100 pixels, as by the authors. ``same``: it is padded by 1 and fc6 by
            3, which gives the same grid of predictions in a half to a third of the time.
        width: channels of the first stage; ImageNet weights need 64.
        head_channels: channels of fc6 and fc7. Default: see ``head``.
        dropout: probability of dropping each value after fc6 and after fc7.

    Raises:
        ValueError: unknown ``head`` or ``border``.
    """

    stride = 1

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        head: Literal["fc", "light"] = "fc",
        border: Literal["pad100", "same"] = "pad100",
        width: int = WIDTH,
        head_channels: int | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if head not in HEAD_CHANNELS:
            raise ValueError(f"head must be one of {', '.join(HEAD_CHANNELS)}, got {head!r}")
        if border not in ("pad100", "same"):
            raise ValueError(f"border must be pad100 or same, got {border!r}")
        self.head_name, self._is_padded = head, border == "pad100"
        self.encoder = Vgg16(in_channels, width, padding=FIRST_PADDING if self._is_padded else 1)
        channels = head_channels or HEAD_CHANNELS[head]
        kernel, dilation = (7, 1) if head == "fc" else (3, 3)
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            fc6=nn.Conv2d(
                self.encoder.channels[-1], channels, kernel, dilation=dilation, padding=0 if self._is_padded else 3
            ),
            relu6=nn.ReLU(inplace=True),
            drop6=nn.Dropout(dropout),
            fc7=nn.Conv2d(channels, channels, 1),
            relu7=nn.ReLU(inplace=True),
            drop7=nn.Dropout(dropout),
        )
        self.head = nn.Sequential(layers)
        init_he(self.head)
        self.score = nn.Conv2d(channels, num_classes, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    @property
    def first_stage(self) -> nn.Module:
        """The layer with which the encoder's first stage ends: conv1_2."""
        return self.encoder.stages[0][-1]  # type: ignore[index,no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        coarse = self.score_coarse(x)
        height, width = x.shape[-2:]
        if self._is_padded:
            return upscore(coarse)[:, :, CROP : CROP + height, CROP : CROP + width]
        # Each coarse score already lies at the centre of its 32x32 pixels; at the border, the nearest one is used.
        fine = F.interpolate(coarse, scale_factor=float(STRIDE), mode="bilinear", align_corners=False)
        return fine[:, :, :height, :width]

    def score_coarse(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, N, h, w) coarse scores, not yet interpolated."""
        for stage in self.encoder.stages:
            x = F.max_pool2d(stage(x), 2, 2, ceil_mode=True)
        return self.score(self.head(x))

    def load_imagenet(self, source: str | Path | None = None) -> ImagenetStart:
        """Initialise with VGG-16; see :meth:`Vgg16Weights.read` for ``source``. The score layer stays zero.

        Returns:
            The normalisation that these weights need, and their origin.

        Raises:
            WeightsError: the source cannot be read, or does not fit: lists what did not match. ``head="fc"`` also needs
                fc6 and fc7 (``classifier.0`` and ``classifier.3``).
        """
        weights = Vgg16Weights.read(source)
        if self.head_name == "fc":
            fc = self._fc_from(weights)
            weights.load_into(self.encoder)
            self.head.load_state_dict(fc)
            return weights.start(untouched=("score",))
        weights.load_into(self.encoder)
        return weights.start(untouched=("fc6", "fc7", "score"))

    def _fc_from(self, weights: Vgg16Weights) -> dict[str, Tensor]:
        """The first two layers of VGG's classifier as convolutions; their input is the 7x7 map of a 224x224 image.

        Raises:
            WeightsError: these layers, or the convolutions before them, do not fit: lists what did not match.
        """
        state = self.head.state_dict()
        ours = {
            f"{theirs}.{what}": f"{layer}.{what}"
            for theirs, layer in (("classifier.0", "fc6"), ("classifier.3", "fc7"))
            for what in ("weight", "bias")
        }
        flat = {name: state[own].flatten(1) if own.endswith("weight") else state[own] for name, own in ours.items()}
        try:
            weights.require_fit(self.encoder, {name: tuple(value.shape) for name, value in flat.items()})
        except WeightsError as error:
            if weights.has_batch_norm or any(name in weights.state for name in ours):
                raise
            raise WeightsError(
                f"{error}. Start from torchvision, which has fc6 and fc7 (classifier.0, classifier.3), or train the "
                "smaller head, which starts at random and needs this rate: network.arguments.head=light "
                "optimizer.learning_rate=1e-4"
            ) from error
        return {own: weights.state[name].reshape(state[own].shape) for name, own in ours.items()}


def upscore(coarse: Tensor) -> Tensor:
    """(B, N, h, w) -> (B, N, 32 (h + 1), 32 (w + 1)): Caffe's fixed bilinear 64x64 deconvolution of stride 32.

    That deconvolution blends each score with its neighbours, and with zeros outside the map. Interpolating the map with
    a rim of zeros computes the same sum, without a 64x64 kernel for each class, and is fast in every runtime.
    """
    rim = F.pad(coarse, (1, 1, 1, 1))
    fine = F.interpolate(rim, scale_factor=float(STRIDE), mode="bilinear", align_corners=False)
    half = STRIDE // 2
    return fine[:, :, half:-half, half:-half]
