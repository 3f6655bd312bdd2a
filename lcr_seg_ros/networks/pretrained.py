"""Initialisation with ImageNet weights: the input normalisation that they need, their origin, and reading them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from lcr_seg_ros.errors import LcrSegError

Triple = tuple[float, float, float]


class WeightsError(LcrSegError, ValueError):
    """A file of weights that cannot be read, or does not fit the network."""


@dataclass(frozen=True)
class ImagenetStart:
    """Origin of a network's initial weights, and the input that they were trained on.

    Weights and normalisation belong together: a network that starts from these weights is trained with this
    normalisation, which its bundle stores.

    Args:
        origin: for the training record.
        mean, std: of R, G, B in 0..255: the network's input is (image - mean) / std.
        hha_std: what HHA (0..255, less its mean over the training set) is divided by; None: its own deviation.
        notice: authors and licence of the weights.
        untouched: layers that these weights do not cover. They start at random, or at zero in the case of some
            networks' score layer.
        scale: of R, G, B, or of all six channels if colour and HHA each have an encoder: the network's input times
            this is what the weights were trained on.
    """

    origin: str
    mean: Triple
    std: Triple
    hha_std: Triple | None = None
    notice: str = ""
    untouched: tuple[str, ...] = ()
    scale: tuple[float, ...] = (1.0, 1.0, 1.0)

    def normalisation(
        self, modality: str, hha_mean: Sequence[float], hha_std: Sequence[float]
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and deviation of each input channel in 0..255, for :class:`~lcr_seg_ros.bundle.InputSpec`.

        Args:
            modality: ``rgb``, ``hha`` or ``rgb_hha`` (colour first).
            hha_mean, hha_std: (3,) measured on the training set; ignored for ``rgb``.
        """
        mean, std = (self.mean, self.std) if modality != "hha" else ((), ())
        if modality != "rgb":
            mean = (*mean, *hha_mean)
            std = (*std, *(self.hha_std or hha_std))
        return tuple(mean), tuple(std)


def require_match(
    source: str,
    network: str,
    wanted: Mapping[str, Sequence[int]],
    given: Mapping[str, Sequence[int]],
    unexpected: Iterable[str] = (),
) -> None:
    """Refuse weights that do not fit. To be called before anything is loaded.

    Args:
        source: file or download, as the user named it.
        network: name of what the weights should fit.
        wanted: required shapes, by the file's names.
        given: shapes of those names that are in the file.
        unexpected: names in the file that fit nothing.

    Raises:
        WeightsError: lists what is missing, what has another shape, and what is unexpected.
    """
    missing = [name for name in wanted if name not in given]
    shapes = [
        f"{name} is {tuple(given[name])}, needs {tuple(shape)}"
        for name, shape in wanted.items()
        if name in given and tuple(given[name]) != tuple(shape)
    ]
    faults = [
        f"{len(found)} {what}: {', '.join(found[:5])}{', ...' if len(found) > 5 else ''}"
        for what, found in (
            ("missing", missing),
            ("of another shape", shapes),
            ("unexpected", list(unexpected)),
        )
        if found
    ]
    if faults:
        raise WeightsError(f"{source} does not fit {network}: {'; '.join(faults)}. Nothing was loaded")


def require_finite(source: str, state: Mapping[str, Tensor]) -> None:
    """Refuse weights that hold NaN or infinity. To be called before anything is loaded.

    Args:
        source: file or download, as the user named it.
        state: tensors of any shape, by the file's names.

    Raises:
        WeightsError: names the tensors concerned.
    """
    broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
    if broken:
        shown = ", ".join(broken[:5]) + (", ..." if len(broken) > 5 else "")
        raise WeightsError(f"{source} holds values that are not finite in {shown}: get it again. Nothing was loaded")


def read_state_file(path: Path) -> Mapping[str, Tensor]:
    """Read tensors by name from a .npz file or a state dict saved by PyTorch; no code in it can run.

    Raises:
        WeightsError: the file does not exist, is truncated, or holds something else.
    """
    if not path.is_file():
        raise WeightsError(f"no weights at {path}: give a state dict saved by PyTorch")
    try:
        if path.suffix == ".npz":
            with np.load(path) as arrays:  # refuses pickled objects
                return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # errors of damaged files have no common base
        raise WeightsError(f"{path} is cut or holds no weights ({loading_fault(error)}): get it again") from error
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"{path} holds a {type(state).__name__}, not tensors by name: save a state dict")
    return state


def loading_fault(error: Exception) -> str:
    """Why a file of tensors could not be read, in one line.

    For files that hold something else, PyTorch advises to load them with the code in them; that advice is left out.
    """
    text = str(error).partition("\n")[0]
    return "it is no file of tensors and plain values" if "weights_only" in text else text
