"""``segnet``: an encoder and a mirrored decoder, which unpools with the encoder's pooling indices (Badrinarayanan et
al., PAMI 2017)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcr_seg_ros.networks.pretrained import ImagenetStart
from lcr_seg_ros.networks.vgg16 import STAGES, TORCHVISION_STD, WIDTH, Vgg16, Vgg16Weights, conv_layer, init_he


class SegNet(nn.Module):
    """(B, C, H, W) -> (B, N, H, W) scores.

    VGG-16 with batch norm, 2x2 poolings that round up and remember the place of each maximum, and a decoder that puts
    values back in these places and convolves. The poolings reduce 200x264 to 100x132, 50x66, 25x33, 13x17 and 7x9, and
    unpooling goes back through the same sizes, so that every input size is possible.

    Args:
        in_channels: 3, or 6 for colour and HHA.
        num_classes: N.
        width: channels of the first stage; ImageNet weights need 64.
        dropout: probability of dropping each value after the three innermost encoder and decoder stages. Bayesian
            SegNet (Kendall et al., BMVC 2017) has 0.5, SegNet 0.

    Attributes:
        inner_channels: numbers of channels of :meth:`inner_maps`.
    """

    stride = 1

    def __init__(self, in_channels: int, num_classes: int, width: int = WIDTH, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = Vgg16(in_channels, width, batch_norm=True)
        self.decoder = nn.ModuleList()
        """Stages 5 to 1, with layers ``conv5_3_d`` to ``conv1_2_d``."""
        channels = self.encoder.channels
        for s in range(len(STAGES), 0, -1):
            depth = STAGES[s - 1][1]
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            for k in range(depth, 1 if s == 1 else 0, -1):
                narrows = k == 1  # the last layer of a stage has as many output channels as the next stage
                after = channels[s - 2] if narrows else channels[s - 1]
                layers[f"conv{s}_{k}_d"] = conv_layer(channels[s - 1], after, batch_norm=True)
            self.decoder.append(nn.Sequential(layers))
        self.score = nn.Conv2d(channels[0], num_classes, 3, padding=1)  # conv1_1_d
        self.inner_channels = (channels[4], channels[3], channels[2], channels[1])
        self.dropout = nn.Dropout(dropout)
        init_he(self.decoder)
        init_he(self.score)

    @property
    def first_stage(self) -> nn.Module:
        """The layer with which the encoder's first stage ends: conv1_2."""
        return self.encoder.stages[0][-1]  # type: ignore[index,no-any-return]

    def forward(self, x: Tensor) -> Tensor:
        return self.scores_and_inner(x)[0]

    def scores_and_inner(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores, and the maps for deep supervision, see :meth:`inner_maps`."""
        inner, places = self._inner_maps_and_places(x)
        x = inner[-1]
        for stage in self.decoder[len(inner) - 1 :]:
            x = stage(max_unpool(x, places.pop()))
        return self.score(x), inner

    def inner_maps(self, x: Tensor) -> list[Tensor]:
        """Outputs of the encoder and of the decoder's stages 5 to 3: (B, ``inner_channels[k]``, h, w) of stride 32, 16,
        8 and 4.

        The later stages are not computed.
        """
        return self._inner_maps_and_places(x)[0]

    def _inner_maps_and_places(self, x: Tensor) -> tuple[list[Tensor], list[Place]]:
        places = []
        for s, stage in enumerate(self.encoder.stages, start=1):
            x, place = max_pool(stage(x), by_selection=not self.training)
            places.append(place)
            x = self.dropout(x) if s >= 3 else x
        inner = [x]
        for stage in self.decoder[: len(self.inner_channels) - 1]:
            x = self.dropout(stage(max_unpool(x, places.pop())))
            inner.append(x)
        return inner, places

    def load_imagenet(self, source: str | Path | None = None) -> ImagenetStart:
        """Initialise the encoder with VGG-16, with or without batch norm; see :meth:`Vgg16Weights.read` for ``source``.

        Returns:
            The normalisation to use, and the weights' origin. Caffe's weights were trained on images in 0..255 that
            were not divided by anything. As batch norm undoes any scale, colour is divided by its deviation here too:
            the variance of the first batch norm, otherwise a hundred thousand, would not fit a bundle's float16.

        Raises:
            WeightsError: the source cannot be read, or does not fit: lists what did not match.
        """
        weights = Vgg16Weights.read(source)
        weights.load_into(self.encoder)
        fresh = ("decoder", "score") if weights.has_batch_norm else ("batch norms", "decoder", "score")
        one_for_all = (fmean(TORCHVISION_STD),) * 3  # one value, so that channels keep their proportions
        return weights.start(weights.std if weights.std == TORCHVISION_STD else one_for_all, untouched=fresh)

    def start_batch_norms(self, images: Tensor, scale: Sequence[float]) -> None:
        """Initialise the encoder's batch norms if the weights had none; see :meth:`Vgg16.start_batch_norms`."""
        self.encoder.start_batch_norms(images, scale)


class Place:
    """The places of one pooling's maxima: indices in training, otherwise one mask for each corner of the blocks.

    ``size`` is the (height, width) before the pooling.
    """

    def __init__(self, size: tuple[int, int], indices: Tensor | None, masks: list[Tensor]) -> None:
        self.size, self.indices, self.masks = size, indices, masks


def max_pool(x: Tensor, by_selection: bool = False) -> tuple[Tensor, Place]:
    """2x2 max-pooling that rounds up; of equal values, the first in reading order wins.

    Args:
        x: (B, C, H, W) values.
        by_selection: use the form that gives the same result in every runtime; False: PyTorch's own, which is faster to
            train with.

    Returns:
        (B, C, ceil(H / 2), ceil(W / 2)) maxima, and their places.
    """
    size = (x.shape[-2], x.shape[-1])
    if by_selection:
        pooled, masks = _max_pool_by_selection(x)
        return pooled, Place(size, None, masks)
    pooled, indices = F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
    return pooled, Place(size, indices, [])


def max_unpool(x: Tensor, place: Place) -> Tensor:
    """(B, C, h, w) -> (B, C, H, W), the size before the pooling: each value in its maximum's place, 0 elsewhere."""
    if place.indices is None:
        return _max_unpool_by_selection(x, place)
    return F.max_unpool2d(x, place.indices, 2, 2, output_size=place.size)


TIE = 1e-5
"""Relative difference below which two values count as equal when pooling by selection."""

# ONNX has no max-unpooling that all runtimes implement alike. A scatter to the pooling's indices is correct everywhere,
# but takes OpenVINO seven times as long as the elementwise operations below: compare, select and interleave.


def _max_pool_by_selection(x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Maximum of the four corners of each 2x2 block, and for each corner a mask that is 1 where it was selected.

    Where the image is flat, all four are equal, but runtimes round differently at different positions. Therefore all
    corners within ``TIE`` of the maximum count as equal, and the first of them wins, as it does without such rounding.
    """
    height, width = x.shape[-2:]
    even = F.pad(x, (0, width % 2, 0, height % 2), value=-torch.inf)
    corners = [even[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)]
    pooled = torch.maximum(torch.maximum(corners[0], corners[1]), torch.maximum(corners[2], corners[3]))
    enough = pooled - TIE * pooled.abs()
    free = torch.ones_like(pooled)
    masks = []
    for corner in corners:
        mask = (corner >= enough).to(x.dtype) * free
        free = free - mask
        masks.append(mask)
    return pooled, masks


def _max_unpool_by_selection(x: Tensor, place: Place) -> Tensor:
    corners = torch.stack([x * mask for mask in place.masks], dim=2)  # (B, C, 4, h, w)
    height, width = place.size
    return F.pixel_shuffle(corners.flatten(1, 2), 2)[:, :, :height, :width]
