"""Learnable contextual regularisation (Chu et al., "Learnable contextual regularization for semantic
segmentation of indoor scene images"): the loss term that this package is named after.

Eight 3x3 kernels D_j are convolved with both the guide image I and the class probabilities f_n. Where a
kernel responds weakly to the image, its response to the probabilities is penalised:

    W_j = exp(-sum_c (D_j * I^c)^2 / (2 sigma^2))                                        (Eq. 6)
    l_c = lambda sum_n sum_j || W_j o (D_j * f_n) ||_1                                   (Eq. 7)
    l_k = sum_j alpha (sum d^2 - 1)^2 + beta sum d^2                                     (Eq. 9)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS_AT_ONCE = 8
"""Guide channels whose kernel responses are held in memory together."""

CLASSES_AT_ONCE = 8
"""Classes whose kernel responses are held in memory together (on other devices than the CPU): those of all 40 at
480x640 would take 375 MiB an image."""


class ContextualRegularization(nn.Module):
    """The contextual constraint l_c and the kernel loss l_k; see the module's docstring for the equations.

    Args:
        init: ``difference`` (centre +, one neighbour -, in eight directions) or ``kirsch`` (three adjacent
            neighbours +5, five -3, in eight directions).
        init_norm: sum of squares of each initial kernel. Eq. 9 has its minimum at 0.5 for alpha = beta.
        sigma: of Eq. 6, for a guide image in [0, 1].
        weight: lambda of Eq. 7. The paper has 100; our recipes take 20 with a mean cross-entropy.
        alpha, beta: of Eq. 9.
        reduction: ``sum`` is Eq. 7 as written; ``mean`` divides it by classes x kernels x valid windows, to
            match a mean cross-entropy.
        learnable: whether the kernels are trained.
        detach_weights: stop the gradient that reaches the kernels through W.

    Raises:
        ValueError: ``init`` or ``reduction`` is unknown, or ``sigma`` or ``init_norm`` is not positive.
    """

    def __init__(
        self,
        init: Literal["difference", "kirsch"] = "difference",
        init_norm: float = 0.5,
        sigma: float = 0.25,
        weight: float = 100.0,
        alpha: float = 1000.0,
        beta: float = 1000.0,
        reduction: Literal["mean", "sum"] = "mean",
        learnable: bool = True,
        detach_weights: bool = False,
    ) -> None:
        super().__init__()
        if init not in _BANKS:
            raise ValueError(f"init must be one of {', '.join(_BANKS)}, got {init!r}")
        if reduction not in ("mean", "sum"):
            raise ValueError(f"reduction must be mean or sum, got {reduction!r}")
        if not sigma > 0 or not init_norm > 0:
            raise ValueError(f"sigma and init_norm must be positive, got sigma={sigma}, init_norm={init_norm}")
        self.sigma, self.weight, self.alpha, self.beta = sigma, weight, alpha, beta
        self.reduction, self.detach_weights = reduction, detach_weights
        bank = _BANKS[init]()
        self.kernels = nn.Parameter(bank * (init_norm / bank.square().sum((1, 2), keepdim=True)).sqrt())
        self.kernels.requires_grad_(learnable)
        self.register_buffer("initial_kernels", self.kernels.detach().clone())

    def forward(self, probabilities: Tensor, image: Tensor, valid_mask: Tensor | None = None) -> Tensor:
        """l_c of Eq. 7, including the factor lambda.

        Args:
            probabilities: (B, N, H, W), softmax over N.
            image: (B, C, H, W) guide in [0, 1]: RGB or HHA divided by 255, or features of unit length.
            valid_mask: (B, H, W) or (B, 1, H, W) bool, False where the image is padding. A 3x3 window counts
                if all of its nine pixels are valid. Pixels without a label are valid.

        Returns:
            Scalar, float64 if the probabilities are, else float32, even under autocast: sums of 1e6 overflow
            half precision.

        Raises:
            ValueError: wrong number of dimensions, batches or sizes that differ, maps under 3x3 pixels, or a
                guide outside [0, 1] (not checked while ``torch.compile`` traces).
        """
        return self._constraint(weighted_absolute_sum, probabilities, image, valid_mask)

    def of_scores(self, scores: Tensor, image: Tensor, valid_mask: Tensor | None = None) -> Tensor:
        """``forward(scores.softmax(1), image, valid_mask)`` in less memory: probabilities and their gradient exist for
        one image at a time.

        Args:
            scores: (B, N, H, W), before the softmax over N.
            image, valid_mask: see :meth:`forward`, which also lists result and errors.
        """
        return self._constraint(weighted_absolute_sum_of_softmax, scores, image, valid_mask)

    def _constraint(
        self, operator: Callable[..., tuple[Tensor, ...]], maps: Tensor, image: Tensor, valid_mask: Tensor | None
    ) -> Tensor:
        _check(maps, image, valid_mask)
        with torch.autocast(maps.device.type, enabled=False):
            maps = maps if maps.dtype == torch.float64 else maps.float()
            kernels = self.kernels.to(maps.dtype)
            weights = self.contextual_weights(image.to(maps.dtype))
            windows = weights.new_tensor(weights.shape[0] * weights.shape[2] * weights.shape[3])
            if valid_mask is not None:
                mask = valid_mask.reshape(image.shape[0], 1, *image.shape[2:]).to(weights.dtype)
                mask = 1 - F.max_pool2d(1 - mask, 3, stride=1)  # windows whose nine pixels are all valid
                weights, windows = weights * mask, _mean_over_processes(mask.sum())
            differentiates = torch.is_grad_enabled()
            total = operator(
                maps,
                weights,
                kernels,
                differentiates and maps.requires_grad,
                differentiates and weights.requires_grad,
                differentiates and kernels.requires_grad,
            )[0]
            if self.reduction == "mean":
                total = total / (windows * maps.shape[1] * kernels.shape[0]).clamp(min=1)
            return self.weight * total

    def contextual_weights(self, image: Tensor) -> Tensor:
        """W of Eq. 6: one map per kernel, with the guide's channels summed in the exponent.

        Args:
            image: (B, C, H, W) guide in [0, 1].

        Returns:
            (B, 8, H - 2, W - 2) in 0..1, of the image's dtype.
        """
        kernels = self.kernels.detach() if self.detach_weights else self.kernels
        with torch.autocast(image.device.type, enabled=False):
            weights: Tensor = _ContextualWeights.apply(image, kernels, self.sigma)
        return weights

    def kernel_penalty(self) -> Tensor:
        """l_k of Eq. 9, a scalar to be added to the total loss with weight 1; without gradient if not learnable."""
        energy = self.kernels.square().sum((1, 2))
        return (self.alpha * (energy - 1) ** 2 + self.beta * energy).sum()

    @torch.no_grad()
    def diagnostics(self, image: Tensor | None = None) -> dict[str, float]:
        """Figures by which a degenerate kernel bank is recognised; K counts kernels from 0.

        Args:
            image: (B, C, H, W) guide in [0, 1], for ``mean_w``.

        Returns:
            ``kernel_energy_K``: sum d^2, which is 0.5 at the minimum of Eq. 9 for alpha = beta;
            ``kernel_energy_min`` and ``kernel_energy_max``: over the bank.
            ``kernel_dc_K``: sum d, which is 0 for a kernel that ignores brightness; ``kernel_dc_max``: largest |sum d|.
            ``kernel_cosine_K``: cosine of the angle to the initial kernel; ``kernel_cosine_min``: the smallest.
            ``kernel_overlap_max``: largest |cosine| between two kernels, 1 if two have become the same.
            ``mean_w``: mean of W, 0 if W has died; with an image only.
        """
        flat, start = self.kernels.flatten(1), self.initial_kernels.flatten(1)
        energies = flat.square().sum(1)
        directions = F.normalize(flat, dim=1)
        sums, cosines = flat.sum(1), F.cosine_similarity(flat, start)
        each = {"energy": energies, "dc": sums, "cosine": cosines}
        values = {f"kernel_{name}_{k}": value.item() for name, row in each.items() for k, value in enumerate(row)}
        values |= {
            "kernel_energy_min": energies.min().item(),
            "kernel_energy_max": energies.max().item(),
            "kernel_dc_max": sums.abs().max().item(),
            "kernel_cosine_min": cosines.min().item(),
            "kernel_overlap_max": (directions @ directions.T).fill_diagonal_(0).abs().max().item(),
        }
        if image is not None:
            values["mean_w"] = self.contextual_weights(image.float()).mean().item()
        return values


class _ContextualWeights(torch.autograd.Function):
    """W of Eq. 6 in double precision, one image at a time: what the kernels learn through W is a sum of millions of
    terms of either sign. Kernel responses are computed again for the gradients rather than kept.

    With E = sum_c r_c^2 and r_c = D * I^c: dW/dr_c = -W r_c / sigma^2.
    """

    @staticmethod
    def forward(ctx: Any, image: Tensor, kernels: Tensor, sigma: float) -> Tensor:
        b, _, h, w = image.shape
        weights = image.new_empty(b, kernels.shape[0], h - 2, w - 2)
        for i in range(b):
            energy = torch.zeros(weights.shape[1:], dtype=torch.float64, device=image.device)
            for part in _parts(image[i]):
                energy += F.conv2d(part, kernels.double()[:, None]).square_().sum(0)
            weights[i] = energy.mul_(-1 / (2 * sigma**2)).exp_()
        ctx.save_for_backward(image, kernels, weights)
        ctx.sigma = sigma
        return weights

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        image, kernels, weights = ctx.saved_tensors
        d = kernels.double()[:, None]
        grad_image = torch.zeros_like(image) if ctx.needs_input_grad[0] else None
        grad_kernels = torch.zeros_like(d) if ctx.needs_input_grad[1] else None
        for i in range(image.shape[0]):
            factor = grad[i].double() * weights[i] / -(ctx.sigma**2)
            for k, part in enumerate(_parts(image[i])):
                pulled = F.conv2d(part, d) * factor
                if grad_kernels is not None:
                    grad_kernels += torch.nn.grad.conv2d_weight(part, d.shape, pulled)
                if grad_image is not None:
                    channels = slice(k * CHANNELS_AT_ONCE, (k + 1) * CHANNELS_AT_ONCE)
                    grad_image[i, channels] = F.conv_transpose2d(pulled, d)[:, 0]
        return grad_image, None if grad_kernels is None else grad_kernels[:, 0].to(kernels.dtype), None


def _parts(image: Tensor) -> list[Tensor]:
    """A (C, H, W) guide in float64, some channels at a time, each as an image of its own: (c, 1, H, W)."""
    return [part.double()[:, None] for part in image.split(CHANNELS_AT_ONCE)]


def sum_by_classes(
    maps: Tensor, weights: Tensor, kernels: Tensor, for_maps: bool, for_weights: bool, for_kernels: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """s = sum_bnj W_bj |D_j * f_bn| and its gradients, a few classes at a time.

    s is a plain sum, so a response determines its share of all three gradients, up to the one factor that
    backpropagation brings. They are computed in the forward pass, and no response map outlives its chunk.
    :mod:`.lcr_cpu` does the same on a CPU.

    Args:
        maps: f, (B, N, H, W) float32 or float64.
        weights: W, (B, J, H - 2, W - 2), same dtype.
        kernels: D, (J, 3, 3), same dtype.
        for_maps, for_weights, for_kernels: which gradients are wanted.

    Returns:
        s, a scalar, then ds/df, ds/dW and ds/dD in the shapes of f, W and D, or of size 0 where not wanted.
    """
    b, n, h, w = maps.shape
    j = kernels.shape[0]
    total = maps.new_zeros(())
    grad_maps, grad_weights, grad_kernels = _empty_gradients(maps, weights, kernels, for_maps, for_weights, for_kernels)
    grad_weights.zero_()
    grad_kernels.zero_()
    for first in range(0, n, CLASSES_AT_ONCE):
        chunk = maps[:, first : first + CLASSES_AT_ONCE]
        count = chunk.shape[1]
        response = F.conv2d(chunk.reshape(b * count, 1, h, w), kernels[:, None]).reshape(b, count, j, h - 2, w - 2)
        size = response.abs().sum(1)
        total += (weights * size).sum()
        if for_weights:
            grad_weights += size
        if not (for_maps or for_kernels):
            continue
        signed = response.sign_().mul_(weights[:, None]).reshape(b * count, j, h - 2, w - 2)
        if for_maps:
            pulled = F.conv_transpose2d(signed, kernels[:, None])
            grad_maps[:, first : first + CLASSES_AT_ONCE] = pulled.reshape(b, count, h, w)
        if for_kernels:
            flat = chunk.reshape(b * count, 1, h, w)
            for y in range(3):
                for x in range(3):
                    grad_kernels[:, y, x] += (signed * flat[:, :, y : y + h - 2, x : x + w - 2]).sum((0, 2, 3))
    return total, grad_maps, grad_weights, grad_kernels


def sum_by_rows(
    maps: Tensor, weights: Tensor, kernels: Tensor, for_maps: bool, for_weights: bool, for_kernels: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same as :func:`sum_by_classes`, for tensors on a CPU."""
    from lcr_seg_ros.training import lcr_cpu

    f, w, d = (t.detach().contiguous().numpy() for t in (maps, weights, kernels))
    threads = torch.get_num_threads()
    results = lcr_cpu.weighted_absolute_sum(f, w, d, for_maps, for_weights, for_kernels, threads)
    total, grad_maps, grad_weights, grad_kernels = (torch.from_numpy(np.asarray(r)) for r in results)
    return total, grad_maps, grad_weights, grad_kernels


def _shapes(
    maps: Tensor, weights: Tensor, kernels: Tensor, for_maps: bool, for_weights: bool, for_kernels: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The operators' results without values, from which ``torch.compile`` takes shapes and dtypes."""
    return maps.new_empty(()), *_empty_gradients(maps, weights, kernels, for_maps, for_weights, for_kernels)


def _empty_gradients(
    maps: Tensor, weights: Tensor, kernels: Tensor, for_maps: bool, for_weights: bool, for_kernels: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients to fill, of size 0 where not wanted; in C order whatever the memory format of the inputs."""
    return (
        maps.new_empty(maps.shape if for_maps else (0, 0, 0, 0)),
        maps.new_empty(weights.shape if for_weights else (0, 0, 0, 0)),
        maps.new_empty(kernels.shape if for_kernels else (0, 0, 0)),
    )


def _keep_gradients(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.set_materialize_grads(False)  # of the four outputs only s is differentiated
    ctx.wanted = inputs[3:]
    ctx.save_for_backward(*output[1:])


def _scale_gradients(ctx: Any, grad: Tensor | None, *_: Tensor | None) -> tuple[Tensor | None, ...]:
    if grad is None:
        return None, None, None, None, None, None
    kept = zip(ctx.saved_tensors, ctx.wanted, strict=True)
    return *(grad * saved if wanted else None for saved, wanted in kept), None, None, None


def sum_by_images(
    scores: Tensor, weights: Tensor, kernels: Tensor, for_scores: bool, for_weights: bool, for_kernels: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """:func:`sum_by_classes` of f = softmax(z) over classes, z being the scores; one image at a time.

    With g = ds/df: ds/dz_n = f_n (g_n - sum_m f_m g_m).
    """
    total = scores.new_zeros(())
    grad_scores, grad_weights, grad_kernels = _empty_gradients(
        scores, weights, kernels, for_scores, for_weights, for_kernels
    )
    grad_kernels.zero_()
    for b in range(scores.shape[0]):
        image = slice(b, b + 1)
        f = scores[image].contiguous().softmax(1)
        of_image, g, by_weights, by_kernels = weighted_absolute_sum(
            f, weights[image], kernels, for_scores, for_weights, for_kernels
        )
        total += of_image
        if for_scores:
            g -= (f * g).sum(1, keepdim=True)
            torch.mul(f, g, out=grad_scores[image])
        if for_weights:
            grad_weights[image] = by_weights
        if for_kernels:
            grad_kernels += by_kernels
    return total, grad_scores, grad_weights, grad_kernels


def _operator(name: str, **kernels: Callable[..., tuple[Tensor, ...]]) -> Callable[..., tuple[Tensor, ...]]:
    """Register a custom PyTorch operator, which ``torch.compile`` does not look into, with a kernel for each device.

    It is registered step by step: ``torch.library.custom_op`` would load torch.compile, 150 MiB, at the first call.
    """
    full = f"lcr_seg_ros::{name}"
    flags = "bool for_maps, bool for_weights, bool for_kernels"
    schema = f"(Tensor maps, Tensor weights, Tensor kernels, {flags}) -> (Tensor, Tensor, Tensor, Tensor)"
    torch.library.define(full, schema, tags=torch.Tag.pt2_compliant_tag)
    for device, kernel in kernels.items():
        torch.library.impl(full, device, kernel)
    torch.library.register_fake(full, _shapes)
    torch.library.register_autograd(full, _scale_gradients, setup_context=_keep_gradients)
    return getattr(torch.ops.lcr_seg_ros, name)  # type: ignore[no-any-return]


weighted_absolute_sum = _operator("weighted_absolute_sum", default=sum_by_classes, cpu=sum_by_rows)
weighted_absolute_sum_of_softmax = _operator("weighted_absolute_sum_of_softmax", default=sum_by_images)


def _mean_over_processes(value: Tensor) -> Tensor:
    """Mean of a count over all processes. Dividing by it makes the mean of the processes' constraints that of their
    batches taken together."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return value
    value = value.clone()
    torch.distributed.all_reduce(value)
    return value / torch.distributed.get_world_size()


def _check(probabilities: Tensor, image: Tensor, valid_mask: Tensor | None) -> None:
    if probabilities.ndim != 4 or image.ndim != 4:
        raise ValueError(
            f"probabilities and image must be (B, N, H, W) and (B, C, H, W), got {tuple(probabilities.shape)} "
            f"and {tuple(image.shape)}"
        )
    if (probabilities.shape[0], *probabilities.shape[2:]) != (image.shape[0], *image.shape[2:]):
        raise ValueError(
            f"probabilities {tuple(probabilities.shape)} and image {tuple(image.shape)} differ in batch or size: "
            "resize the guide to the probabilities"
        )
    if min(probabilities.shape[2:]) < 3:
        raise ValueError(f"maps must be at least 3x3 for 3x3 kernels, got {tuple(probabilities.shape[2:])}")
    if valid_mask is not None and valid_mask.numel() != image.shape[0] * image.shape[2] * image.shape[3]:
        raise ValueError(f"valid_mask {tuple(valid_mask.shape)} does not fit image {tuple(image.shape)}")
    if torch.compiler.is_compiling():  # traced tensors have no values
        return
    lowest, highest = (float(v) for v in torch.aminmax(image.detach()))
    if not (lowest >= -1e-3 and highest <= 1.0 + 1e-3):
        raise ValueError(
            f"the guide must be in [0, 1], got {lowest:.3g}..{highest:.3g}: "
            "divide 8-bit images by 255, do not subtract a mean"
        )


_RING = ((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0))
"""The eight neighbours of the centre, clockwise from the top left."""


def _difference_bank() -> Tensor:
    bank = torch.zeros(8, 3, 3)
    bank[:, 1, 1] = 1.0
    for k, (y, x) in enumerate(_RING):
        bank[k, y, x] = -1.0
    return bank


def _kirsch_bank() -> Tensor:
    bank = torch.zeros(8, 3, 3)
    for k in range(8):
        for step, (y, x) in enumerate(_RING[k:] + _RING[:k]):
            bank[k, y, x] = 5.0 if step < 3 else -3.0
    return bank


_BANKS = {"difference": _difference_bank, "kirsch": _kirsch_bank}
