"""Cost of the constraint in a training step: time, steps with and without it taking turns; peak memory, each in a
process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from lcr_seg_ros.networks import create_network
from lcr_seg_ros.training.lcr import ContextualRegularization

SETTINGS: dict[str, tuple[int, int, int, int]] = {
    # network: (images, classes, height, width), as the paper trains them
    "segnet": (4, 40, 200, 264),
    "fcn32s": (1, 40, 425, 560),
    "fcn_lite": (8, 40, 240, 320),
}


def training_steps(name: str) -> dict[bool, Callable[[], None]]:
    """Whole training steps of a network on random images: forward, loss, backward and SGD.

    Args:
        name: a key of :data:`SETTINGS`.

    Returns:
        By True the step with the constraint, by False the one without; both train the same network.
    """
    images, classes, height, width = SETTINGS[name]
    torch.manual_seed(0)
    network = create_network(name=name, in_channels=3, num_classes=classes).train()
    network = network.to(memory_format=torch.channels_last)
    constraint = ContextualRegularization()
    optimizer = torch.optim.SGD([*network.parameters(), constraint.kernels], lr=1e-5)
    image = torch.rand(images, 3, height, width).contiguous(memory_format=torch.channels_last)
    target = torch.randint(classes, (images, height, width))

    def step(constrained: bool) -> None:
        scores: Tensor = network(image)
        if scores.shape[-2:] == target.shape[-2:]:
            loss, guide = F.cross_entropy(scores, target), image
        else:
            large = F.interpolate(scores, size=target.shape[-2:], mode="bilinear", align_corners=False)
            loss, guide = F.cross_entropy(large, target), F.interpolate(image, size=scores.shape[-2:], mode="area")
        if constrained:
            loss = loss + constraint.of_scores(scores, guide) + constraint.kernel_penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return {constrained: lambda constrained=constrained: step(constrained) for constrained in (True, False)}  # type: ignore[misc]


def peak_memory_mib(name: str, constrained: bool, threads: int) -> float:
    """Peak resident memory, in MiB, of a process that takes three steps and has all libraries of a training loaded."""
    arguments = [name, "1" if constrained else "0", str(threads), *map(str, SETTINGS[name])]
    answer = subprocess.run([sys.executable, "-m", __name__, *arguments], capture_output=True, text=True, check=True)
    return float(answer.stdout)


def _take_three_steps(name: str, constrained: bool, threads: int) -> float:
    import lcr_seg_ros.training.train  # noqa: F401 - loads the libraries of every training

    torch.set_num_threads(threads)
    step = training_steps(name)[constrained]
    for _ in range(3):
        step()
    return peak_resident_mib()


def peak_resident_mib() -> float:
    """Peak resident memory of this process so far, in MiB. (``getrusage`` would include its parent's.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024


if __name__ == "__main__":
    which, with_constraint, thread_count, *setting = sys.argv[1:]
    images, classes, height, width = map(int, setting)
    SETTINGS[which] = images, classes, height, width
    print(_take_three_steps(which, with_constraint == "1", int(thread_count)))
