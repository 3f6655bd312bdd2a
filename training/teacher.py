"""Distillation: the network also learns the class probabilities that a trained model, the teacher, gives each pixel."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from lcr_seg_ros.backends import create_backend
from lcr_seg_ros.bundle import HHA_OF_TRAINING, InputSpec, ModelBundle, ModelDescription
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.training.recipe import InputRecipe, RecipeError

SMALLEST = 1e-7
"""Smaller probabilities are raised to this one before their logarithm is taken."""


class Teacher:
    """A model bundle as a teacher, run by the fastest backend: PyTorch would take as long as for a training step.

    Labels leave pixels void and name one class each; a teacher labels every pixel and gives the probabilities of all
    classes. A teacher with depth input also passes on what it sees in depth to a network that gets colour only (Hinton
    et al., 2015; Vapnik and Vashist, 2009).

    Attributes:
        sees: its input.
        origin: for the run's record.
        trained_on: ``sha256`` of the split that it was trained on, see
            :func:`~lcr_seg_ros.training.datasets.split_digest.digest_split`; None if its bundle does not say.
    """

    def __init__(self, bundle: ModelBundle) -> None:
        self.sees: InputSpec = bundle.input
        self.origin = bundle.origin
        data = bundle.training.get("data", {})
        self.trained_on: str | None = data.get("splits", {}).get(data.get("fit"), {}).get("sha256")
        self._bundle = bundle
        self._backend = create_backend(bundle, device="cpu")
        self._mean, self._std = (np.array(v, np.float32).reshape(1, -1, 1, 1) for v in (self.sees.mean, self.sees.std))

    def __deepcopy__(self, memo: dict[int, object]) -> Teacher:
        """Itself: it is never changed, and a backend cannot be copied."""
        return self

    @classmethod
    def load(cls, model: str, labels: LabelSet, student: InputRecipe) -> Teacher:
        """Load a teacher for a student.

        Args:
            model: shipped name or path of a bundle.
            labels: the student's classes.
            student: the student's input; HHA is computed or read once for both, as it says.

        Raises:
            RecipeError: the model has other classes, or was trained with HHA from another source or of other settings.
            BundleError: there is no such model, or it cannot be read.
            BackendError: no backend can run its network.
        """
        bundle = ModelBundle.load(model)
        require_teacher(bundle, model, labels, student)
        return cls(bundle)

    def to(self, device: torch.device) -> None:
        """Move it to the device that the student is trained on.

        Raises:
            BackendError: no backend can run it there.
        """
        if device.type == "cuda":
            self._backend = create_backend(self._bundle, device="cuda")

    def scores(self, images: Tensor) -> Tensor:
        """(B, C, H, W) float32 images in 0..255, as in ``sees`` -> (B, N, h, w) log probabilities at its stride, on the
        images' device."""
        probabilities = self._backend.infer((images.cpu().numpy() - self._mean) / self._std)
        return torch.from_numpy(probabilities).to(images.device).clamp(min=SMALLEST).log()


def require_teacher(taught: ModelDescription, model: str, labels: LabelSet, student: InputRecipe) -> None:
    """Check that a model can teach a student, without loading its network.

    Args:
        taught: the model's description.
        model: its name in the recipe.
        labels, student: see :meth:`Teacher.load`.

    Raises:
        RecipeError: the model has other classes, or was trained with HHA from another source or of other settings.
    """
    if taught.labels.names != labels.names:
        raise RecipeError(
            f"loss.teacher.model {model} has the {len(taught.labels)} classes of {taught.labels.name}, the recipe "
            f"the {len(labels)} of {labels.name}: a teacher needs the same classes in the same order"
        )
    if not taught.input.uses_depth:
        return
    if taught.input.hha_source != student.hha_source:
        raise RecipeError(
            f"loss.teacher.model {model} was trained with HHA from another source: set "
            f"input.hha_source={taught.input.hha_source}"
        )
    mine = student.hha_settings
    differ = [k for k in HHA_OF_TRAINING if getattr(taught.input.hha, k) != getattr(mine, k)]
    if differ and not taught.input.reads_hha:
        entries = " ".join(f"input.hha.{k}={getattr(taught.input.hha, k)}" for k in differ)
        raise RecipeError(f"loss.teacher.model {model} wants HHA computed in another way: set {entries}")


def distillation_loss(scores: Tensor, taught: Tensor, temperature: float, valid: Tensor | None = None) -> Tensor:
    """Kullback-Leibler divergence KL(teacher || student) of class probabilities, mean over pixels.

    Both are softened by the temperature T, and the loss is multiplied by T^2, so that gradients keep their magnitude
    (Hinton et al., Distilling the knowledge in a neural network, 2015, section 2.1).

    Args:
        scores: (B, N, h, w) scores of the student.
        taught: (B, N, h', w') scores or log probabilities of the teacher, same classes; interpolated to h x w.
        temperature: T > 0.
        valid: (B, h, w) bool; where False, the divergence counts as 0.

    Returns:
        A scalar >= 0.
    """
    if taught.shape[-2:] != scores.shape[-2:]:
        taught = F.interpolate(taught, size=scores.shape[-2:], mode="bilinear", align_corners=False)
    wanted = (taught / temperature).softmax(1)
    got = (scores / temperature).log_softmax(1)
    divergence = F.kl_div(got, wanted, reduction="none").sum(1)
    if valid is not None:
        divergence = divergence * valid
    return divergence.mean() * temperature**2
