"""``segnet``: encoder and mirrored decoder that unpools to where the maxima were (Badrinarayanan et al., PAMI 2017)."""

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

    VGG-16 with batch norm, 2x2 poolings that round up and keep where each maximum was, and a decoder that puts
    values back there and convolves. Of 200x264 the poolings leave 100x132, 50x66, 25x33, 13x17 and 7x9, and
    unpooling goes back through the same sizes, so any input size will do.

    Args:
        in_channels: 3, or 6 for colour and HHA.
        num_classes: N.
        width: channels of the first stage; ImageNet weights need 64.
        dropout: probability of dropping each value after the three inner encoder and decoder stages, as Bayesian
            SegNet does (Kendall et al., BMVC 2017) with 0.5; 0 is SegNet.

    Attributes:
        inner_channels: of :meth:`inner_maps`.
    """

    stride = 1

    def __init__(self, in_channels: int, num_classes: int, width: int = WIDTH, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = Vgg16(in_channels, width, batch_norm=True)
        self.decoder = nn.ModuleList()
        """Stages 5 to 1, of layers ``conv5_3_d`` to ``conv1_2_d``."""
        channels = self.encoder.channels
        for s in range(len(STAGES), 0, -1):
            depth = STAGES[s - 1][1]
            layers: OrderedDict[str, nn.Module] = OrderedDict()
            for k in range(depth, 1 if s == 1 else 0, -1):
                narrows = k == 1  # the last layer of a stage leaves as many channels as the next one has
                after = channels[s - 2] if narrows else channels[s - 1]
                layers[f"conv{s}_{k}_d"] = conv_layer(channels[s - 1], after, batch_norm=True)
            self.decoder.append(nn.Sequential(layers))
        self.score = nn.Conv2d(channels[0], num_classes, 3, padding=1)  # conv1_1_d
        self.inner_channels = (channels[4], channels[3], channels[2], channels[1])
        self.dropout = nn.Dropout(dropout)
        init_he(self.decoder)
        init_he(self.score)

    def forward(self, x: Tensor) -> Tensor:
        return self.scores_and_inner(x)[0]

    def scores_and_inner(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Scores, and what deep supervision looks at: see :meth:`inner_maps`."""
        inner, places = self._inner_maps_and_places(x)
        x = inner[-1]
        for stage in self.decoder[len(inner) - 1 :]:
            x = stage(max_unpool(x, places.pop()))
        return self.score(x), inner

    def inner_maps(self, x: Tensor) -> list[Tensor]:
        """What leaves the encoder and the decoder's stages 5 to 3: ``inner_channels`` maps of strides 32, 16, 8 and 4.

        The stages after them are not computed.
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
        """Start the encoder from VGG-16, with or without batch norm; see :meth:`Vgg16Weights.read` for ``source``.

        Returns:
            The normalisation to use, and where the weights came from. Caffe's weights saw images in 0..255, not
            divided by anything. Batch norm undoes any scale, so colour is divided by its deviation here too: the
            first batch norm's variance, a hundred thousand else, would not fit the float16 of a bundle.

        Raises:
            WeightsError: the source cannot be read, or does not fit: lists what did not match.
        """
        weights = Vgg16Weights.read(source)
        weights.load_into(self.encoder)
        fresh = ("decoder", "score") if weights.has_batch_norm else ("batch norms", "decoder", "score")
        one_for_all = (fmean(TORCHVISION_STD),) * 3  # channels keep their proportions
        return weights.start(weights.std if weights.std == TORCHVISION_STD else one_for_all, untouched=fresh)

    def start_batch_norms(self, images: Tensor, scale: Sequence[float]) -> None:
        """Those of the encoder, after weights that had none; see :meth:`Vgg16.start_batch_norms`."""
        self.encoder.start_batch_norms(images, scale)


class Place:
    """Where the maxima of one pooling were: in training as indices, afterwards as one mask for each corner."""

    def __init__(self, size: tuple[int, int], indices: Tensor | None, masks: list[Tensor]) -> None:
        self.size, self.indices, self.masks = size, indices, masks


def max_pool(x: Tensor, by_selection: bool = False) -> tuple[Tensor, Place]:
    """2x2 pooling of (B, C, H, W) that rounds up; of equal values the first in reading order wins.

    Args:
        x: values.
        by_selection: the form that every runtime computes alike; False is PyTorch's own, quicker to train with.
    """
    size = (x.shape[-2], x.shape[-1])
    if by_selection:
        pooled, masks = _max_pool_by_selection(x)
        return pooled, Place(size, None, masks)
    pooled, indices = F.max_pool2d(x, 2, 2, ceil_mode=True, return_indices=True)
    return pooled, Place(size, indices, [])


def max_unpool(x: Tensor, place: Place) -> Tensor:
    """(B, C, h, w) back to the size before the pooling: each value where its maximum was, 0 elsewhere."""
    if place.indices is None:
        return _max_unpool_by_selection(x, place)
    return F.max_unpool2d(x, place.indices, 2, 2, output_size=place.size)


TIE = 1e-5
"""Relative difference below which two values count as equal in the form without indices."""

# ONNX has no max-unpooling that runtimes agree on. A scatter to the pooling's indices is right everywhere, and OpenVINO
# takes seven times as long for it as for what follows: compare, select and interleave, nothing but elementwise work.


def _max_pool_by_selection(x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Maximum of the four corners of each 2x2 block, and for each corner the 0 or 1 of whether it was taken.

    Where the image is flat all four are equal, but runtimes round by position. So a corner within ``TIE`` of the
    maximum is as good as it, and the first of these wins, as it does where rounding is alike everywhere.
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
