"""Cost of the constraint by itself, ours compared with plain convolutions of every class: time, with both taking turns;
memory, each in a process of its own; and numerical error."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from lcr_seg_ros.training.lcr import ContextualRegularization
from lcr_seg_ros.training.step_benchmark import peak_resident_mib

Size = tuple[int, int, int, int]
"""Images, classes, height, width."""

SIZES: tuple[Size, ...] = ((4, 40, 200, 264), (1, 40, 480, 640))
"""SegNet's setting in the paper, and a whole frame."""

WAYS = ("ours", "plain")
RESULTS = ("value", "gradient_of_probabilities", "gradient_of_kernels")
"""Results of a step. The last sums millions of terms of both signs, which is the hardest for float32."""


class ConstraintSteps:
    """The constraint on random class probabilities, forward and backward: ``ours`` or ``plain``.

    Args:
        size: of the probabilities; the guide is an RGB image of the same size.
    """

    def __init__(self, size: Size) -> None:
        self.size = images, classes, height, width = size
        torch.manual_seed(0)
        self.module = ContextualRegularization()
        self.maps = torch.randn(images, classes, height, width).softmax(1).requires_grad_()
        self.guide = torch.rand(images, 3, height, width)

    def step(self, way: str) -> tuple[Tensor, Tensor, Tensor]:
        """:data:`RESULTS` of one of :data:`WAYS`: value, and gradients of probabilities and kernels."""
        self.maps.grad = self.module.kernels.grad = None
        value = self.module(self.maps, self.guide) if way == "ours" else self._plain()
        value.backward()
        assert self.maps.grad is not None and self.module.kernels.grad is not None
        return value.detach(), self.maps.grad, self.module.kernels.grad

    def _plain(self) -> Tensor:
        """Convolve every class with every kernel, as Eq. 7 is written, but take the mean, as ours does."""
        images, classes, height, width = self.maps.shape
        response = F.conv2d(self.maps.reshape(-1, 1, height, width), self.module.kernels[:, None])
        response = response.reshape(images, classes, -1, height - 2, width - 2)
        return self.module.weight * (self.module.contextual_weights(self.guide)[:, None] * response.abs()).mean()

    def cases(self) -> dict[str, Callable[[], object]]:
        """A function for each of :data:`WAYS`, to be timed."""
        return {way: lambda way=way: self.step(way) for way in WAYS}  # type: ignore[misc]

    def errors(self) -> dict[str, dict[str, float]]:
        """For each of :data:`WAYS`, the largest error of each of :data:`RESULTS` against plain convolutions in float64,
        relative to the largest value."""
        exact = ConstraintSteps(self.size)
        exact.module.double()
        exact.maps = self.maps.detach().double().requires_grad_()
        exact.guide = self.guide.double()
        truth = exact.step("plain")
        found = {way: zip(RESULTS, self.step(way), truth, strict=True) for way in WAYS}
        return {
            way: {name: float((a - b).abs().max() / b.abs().max()) for name, a, b in row} for way, row in found.items()
        }


def extra_memory_mib(size: Size, way: str) -> float:
    """Growth of peak memory, in MiB, that two steps cause in a process of their own."""
    arguments = [way, *map(str, size)]
    answer = subprocess.run([sys.executable, "-m", __name__, *arguments], capture_output=True, text=True, check=True)
    return float(answer.stdout)


def _growth_mib(way: str, size: Size) -> float:
    torch.set_num_threads(1)
    ConstraintSteps((1, 2, 16, 16)).step(way)  # loads what the first step loads
    steps = ConstraintSteps(size)
    before = peak_resident_mib()
    for _ in range(2):
        steps.step(way)
    return peak_resident_mib() - before


if __name__ == "__main__":
    which, *numbers = sys.argv[1:]
    images, classes, height, width = map(int, numbers)
    print(_growth_mib(which, (images, classes, height, width)))
