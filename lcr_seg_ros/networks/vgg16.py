"""The convolution stages of VGG-16 (Simonyan and Zisserman, ICLR 2015), and their ImageNet weights."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcr_seg_ros.networks.pretrained import (
    ImagenetStart,
    Triple,
    WeightsError,
    read_state_file,
    require_finite,
    require_match,
)

STAGES = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))
"""(channels as a multiple of the first stage's, number of convolutions) of each stage; each is followed by a 2x2
pooling."""

WIDTH = 64
"""Channels of the first stage."""


class Vgg16(nn.Module):
    """The 13 convolutions in five stages, without the poolings, which are left to the caller, who may need indices.

    Args:
        in_channels: 3, or 6 for colour and HHA.
        width: channels of the first stage; ImageNet weights need 64.
        batch_norm: whether there is batch norm between each convolution and its ReLU.
        padding: of the first convolution of all.

    Attributes:
        stages: five ``nn.Sequential`` of layers with the original names, ``conv1_1`` to ``conv5_3``.
        channels: number of output channels of each stage.
    """

    def __init__(self, in_channels: int, width: int = WIDTH, batch_norm: bool = False, padding: int = 1) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.batch_norm = batch_norm
        self.channels = [width * scale for scale, _ in STAGES]
        self.stages = nn.ModuleList()
        before = in_channels
        for s, (channels, (_, depth)) in enumerate(zip(self.channels, STAGES, strict=True), start=1):
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            for k in range(1, depth + 1):
                first = s == k == 1
                layers[f"conv{s}_{k}"] = conv_layer(before, channels, batch_norm, padding if first else 1)
                before = channels
            self.stages.append(nn.Sequential(layers))
        init_he(self)

    def layers(self) -> list[nn.Sequential]:
        """All 13 layers, from input to output."""
        return [layer for stage in self.stages for layer in stage]

    @torch.no_grad()
    def start_batch_norms(self, images: Tensor, scale: Sequence[float]) -> None:
        """Initialise batch norms for the convolutions of a VGG-16 without them, so that layers still work together.

        Fresh batch norms would give all channels of a layer the same deviation and open half of its ReLUs, which is not
        what the next layer was trained on. Therefore each channel's scale and offset are set to the deviation and mean
        that it has in the original VGG-16. One factor for the whole layer is left free; it makes no difference to the
        layers behind.

        Args:
            images: (B, C, H, W) network input, a few typical images.
            scale: of three channels; the input times this is what the weights were trained on.
        """
        plain = images * images.new_tensor(tuple(scale) * (self.in_channels // 3))[:, None, None]
        for stage in self.stages:
            for layer in stage:
                wanted = layer.conv(plain)
                deviation = wanted.std(dim=(0, 2, 3))
                strength = deviation.square().mean().sqrt()
                layer.norm.weight.copy_(deviation / strength)
                layer.norm.bias.copy_(wanted.mean(dim=(0, 2, 3)) / strength)
                plain = wanted.relu_()

                got = layer.conv(images)
                layer.norm.running_mean.copy_(got.mean(dim=(0, 2, 3)))
                layer.norm.running_var.copy_(got.var(dim=(0, 2, 3)))
                factor = layer.norm.weight * (layer.norm.running_var + layer.norm.eps).rsqrt()
                images = got.sub_(layer.norm.running_mean[:, None, None]).mul_(factor[:, None, None])
                images = images.add_(layer.norm.bias[:, None, None]).relu_()
            plain = F.max_pool2d(plain, 2, 2, ceil_mode=True)
            images = F.max_pool2d(images, 2, 2, ceil_mode=True)


def conv_layer(in_channels: int, out_channels: int, batch_norm: bool, padding: int = 1) -> nn.Sequential:
    """3x3 convolution ``conv``, batch norm ``norm`` if wanted, and ReLU ``relu``."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=nn.Conv2d(in_channels, out_channels, 3, padding=padding),
    )
    if batch_norm:
        layers["norm"] = nn.BatchNorm2d(out_channels)
    layers["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(layers)


def init_he(module: nn.Module) -> None:
    """Initialise all convolutions as in He et al., ICCV 2015: weights from N(0, 2 / fan_in), biases 0."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, nonlinearity="relu")
            if m.bias is not None:
                nn.init.zeros_(m.bias)


@dataclass(frozen=True)
class Vgg16Weights:
    """ImageNet weights that have been read, but not yet loaded into a network.

    Args:
        source: as the user named it.
        origin: for the training record.
        state: float32 tensors by torchvision's names; the first layer's channels are in RGB order.
        mean, std: of R, G, B in 0..255, as in the training on ImageNet.
        notice: authors and licence.
    """

    source: str
    origin: str
    state: Mapping[str, Tensor]
    mean: Triple
    std: Triple
    notice: str

    @classmethod
    def read(cls, source: str | Path | None = None) -> Vgg16Weights:
        """Download weights, or read them from a local file.

        Args:
            source: one of

                - None or ``torchvision``: torchvision's VGG-16, downloaded once and kept in torchvision's cache;
                - ``torchvision_bn``: torchvision's VGG-16 with batch norm;
                - ``oxford``: the convolutions of the Oxford group, also from torchvision's servers;
                - a path: ``.npz`` with arrays of a network trained in Caffe (BGR in 0..255, less the mean), or
                  ``.pth`` / ``.pt`` in the convention of torchvision (RGB, mean and deviation of ImageNet);
                - ``caffe:PATH`` or ``torchvision:PATH``, if the extension does not say which convention it is.

                All files use torchvision's names, ``features.N.weight``, ``classifier.N.weight``.

        Raises:
            WeightsError: the file does not exist or holds something else, or the download failed.
        """
        named = _named_file(source)
        return _download("torchvision" if source is None else str(source)) if named is None else _read_file(*named)

    @property
    def has_batch_norm(self) -> bool:
        return "features.1.weight" in self.state

    def require_fit(self, encoder: Vgg16, classifier: Mapping[str, Sequence[int]] = MappingProxyType({})) -> None:
        """Refuse weights that do not fit, or are not finite. To be called before anything is loaded.

        Args:
            encoder: what the convolutions, and batch norms, are for.
            classifier: shapes of further tensors that are needed, by the names of this file.

        Raises:
            WeightsError: lists all that did not match, or what is not finite.
        """
        if self.has_batch_norm and not encoder.batch_norm:
            raise WeightsError(f"{self.source} is a VGG-16 with batch norm, this network has none: choose torchvision")
        wanted: dict[str, Sequence[int]] = {name: tuple(t.shape) for name, t in self._targets(encoder).items()}
        wanted[_FIRST] = (wanted[_FIRST][0], 3, *wanted[_FIRST][2:])
        wanted |= classifier
        given = {name: tuple(t.shape) for name, t in self.state.items() if name in wanted}
        unexpected = [n for n in self.state if n not in wanted and n not in _CLASSIFIER and not n.endswith("_tracked")]
        require_match(self.source, "VGG-16 with fc6 and fc7" if classifier else "VGG-16", wanted, given, unexpected)
        require_finite(self.source, {n: self.state[n] for n in wanted})

    def load_into(self, encoder: Vgg16) -> None:
        """Load the convolutions, and the batch norms if both sides have them.

        The filters of HHA's channels start as those of colour at half strength, as in ``fcn_lite``.

        Raises:
            WeightsError: see :meth:`require_fit`. The encoder is unchanged.
        """
        self.require_fit(encoder)
        with torch.no_grad():
            for name, target in self._targets(encoder).items():
                value = self.state[name]
                target.copy_(widen_first_layer(value, encoder.in_channels) if name == _FIRST else value)

    def _targets(self, encoder: Vgg16) -> dict[str, Tensor]:
        """The encoder's parameters and buffers, by their names in this file."""
        targets: dict[str, Tensor] = {}
        number = 0
        for s, stage in enumerate(encoder.stages):
            for layer in stage:
                targets[f"features.{number}.weight"] = layer.conv.weight
                targets[f"features.{number}.bias"] = layer.conv.bias
                number += 1
                if self.has_batch_norm:
                    for name in ("weight", "bias", "running_mean", "running_var"):
                        targets[f"features.{number}.{name}"] = getattr(layer.norm, name)
                    number += 1
                number += 1  # ReLU
            number += s < len(STAGES)  # pooling
        return targets

    def start(self, std: Triple | None = None, untouched: tuple[str, ...] = ()) -> ImagenetStart:
        """The start to record. HHA is divided by the same deviations as colour, as its filters start from colour's.

        Args:
            std: replaces the weights' own deviations, for a network that undoes any scale.
            untouched: layers that these weights do not cover.
        """
        deviation = std or self.std
        scale = tuple(d / s for d, s in zip(deviation, self.std, strict=True))
        return ImagenetStart(self.origin, self.mean, deviation, deviation, self.notice, untouched, scale)  # type: ignore[arg-type]


def weights_file(source: str | Path | None) -> Path | None:
    """The local file that a ``source`` of :meth:`Vgg16Weights.read` names, with ``~`` expanded; None for a download.

    It is not checked whether the file exists.
    """
    named = _named_file(source)
    return None if named is None else named[0]


def _named_file(source: str | Path | None) -> tuple[Path, str] | None:
    """Path and convention (``caffe`` or ``torchvision``) of a local file; None for a download."""
    if source is None or str(source) in _DOWNLOADS:
        return None
    convention, separator, path = str(source).partition(":")
    if not separator or convention not in ("caffe", "torchvision"):
        path = str(source)
        convention = "caffe" if Path(path).suffix == ".npz" else "torchvision"
    return Path(path).expanduser(), convention


CAFFE_MEAN: Triple = (123.68, 116.779, 103.939)
CAFFE_STD: Triple = (1.0, 1.0, 1.0)
TORCHVISION_MEAN: Triple = (123.675, 116.28, 103.53)
TORCHVISION_STD: Triple = (58.395, 57.12, 57.375)

_OXFORD_NOTICE = """\
This network started from ImageNet weights of VGG-16 by the Visual Geometry Group, University of Oxford (K. Simonyan and
A. Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015; CC BY 4.0).
"""
_TORCHVISION_NOTICE = """\
This network started from ImageNet weights of VGG-16 (K. Simonyan and A. Zisserman, "Very deep convolutional networks
for large-scale image recognition", ICLR 2015) as trained and distributed by torchvision (BSD 3-Clause).
"""
_DOWNLOADS = {
    # name: (function of torchvision, its weights, mean, std, notice)
    "torchvision": ("vgg16", "IMAGENET1K_V1", TORCHVISION_MEAN, TORCHVISION_STD, _TORCHVISION_NOTICE),
    "torchvision_bn": ("vgg16_bn", "IMAGENET1K_V1", TORCHVISION_MEAN, TORCHVISION_STD, _TORCHVISION_NOTICE),
    "oxford": ("vgg16", "IMAGENET1K_FEATURES", CAFFE_MEAN, CAFFE_STD, _OXFORD_NOTICE),
}
_FIRST = "features.0.weight"
_CLASSIFIER = tuple(f"classifier.{n}.{what}" for n in (0, 3, 6) for what in ("weight", "bias"))


def _download(name: str) -> Vgg16Weights:
    from torchvision.models import get_model_weights

    function, version, mean, std, notice = _DOWNLOADS[name]
    weights = get_model_weights(function)[version]
    try:
        state = weights.get_state_dict(check_hash=True, map_location="cpu", weights_only=True)
    except Exception as error:  # network, disk, a truncated file: no common base
        reason = str(error).partition("\n")[0]
        raise WeightsError(
            f"{name}: cannot get {weights.url} ({reason}): check the network, or delete a cut file in "
            f"{torch.hub.get_dir()}/checkpoints, or name a local file (.npz, .pth) as the source"
        ) from error
    if version == "IMAGENET1K_FEATURES":  # its classifier is filled with NaN, as there is none
        state = {n: v for n, v in state.items() if n not in _CLASSIFIER}
    return Vgg16Weights(name, f"ImageNet, torchvision {function} {version}", _as_float32(state), mean, std, notice)


def _read_file(path: Path, convention: str) -> Vgg16Weights:
    if not path.is_file():
        raise WeightsError(
            f"no weights at {path}: give a .npz or .pth file, or one of {', '.join(_DOWNLOADS)} to download them"
        )
    state = _as_float32(read_state_file(path))
    origin = f"ImageNet, {path.name} ({convention} convention)"
    if convention == "torchvision":
        return Vgg16Weights(str(path), origin, state, TORCHVISION_MEAN, TORCHVISION_STD, _TORCHVISION_NOTICE)
    if _FIRST in state and state[_FIRST].ndim == 4:
        state[_FIRST] = state[_FIRST].flip(1)  # BGR -> RGB
    return Vgg16Weights(str(path), origin, state, CAFFE_MEAN, CAFFE_STD, _OXFORD_NOTICE)


def _as_float32(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.float() for name, value in state.items()}


def widen_first_layer(weight: Tensor, in_channels: int) -> Tensor:
    """(F, 3, k, k) -> (F, C, k, k): the colour filters, repeated at half strength for each further three channels."""
    triples = [weight if k == 0 else 0.5 * weight for k in range(in_channels // 3)]
    return torch.cat(triples, dim=1)
