"""Calibrated confidence: scores divided by a temperature (Guo et al., ICML 2017), which is built into the weights."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from tqdm import tqdm

from lcr_seg_ros.backends import create_backend
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import BundleError, SourceError
from lcr_seg_ros.files import refuse_folder
from lcr_seg_ros.labels import UNLABELLED
from lcr_seg_ros.networks import create_network
from lcr_seg_ros.preprocess import Preprocessor
from lcr_seg_ros.sources.folder import DatasetFolder
from lcr_seg_ros.training.datasets.folder_labels import refuse_other_classes
from lcr_seg_ros.training.export import bundle_network
from lcr_seg_ros.weights import state_dict_from_onnx

PIXELS_PER_FRAME = 1000
RANGE = (0.2, 5.0)
"""Temperatures that are searched."""


def find_temperature(bundle: ModelBundle, folder: DatasetFolder) -> float:
    """The temperature, within :data:`RANGE`, at which the annotation is most likely under the network's probabilities.

    :data:`PIXELS_PER_FRAME` annotated pixels are drawn from each frame, at random but the same in every call.

    Args:
        bundle: the model to calibrate.
        folder: annotated frames that the network was not trained on, with HHA if it was trained with HHA of a folder.

    Raises:
        SourceError: a frame has no label image, or one with other classes, or nothing is annotated.
    """
    refuse_other_classes(folder.path, bundle.labels, "calibrate with frames of the model's own classes")
    folder = folder.with_hha(bundle.input.reads_hha)
    backend, prepare = create_backend(bundle), Preprocessor(bundle.input)
    channel = bundle.labels.channel_of_id()
    known = channel >= 0
    known[[bundle.labels.void, UNLABELLED]] = True
    rng = np.random.default_rng(0)
    scores: list[npt.NDArray[np.float32]] = []
    truth: list[npt.NDArray[np.int64]] = []
    for item in tqdm(folder, desc="calibrate", unit="frame", leave=False, disable=None):
        if item.labels is None:
            raise SourceError(f"frame {item.name} of {folder.path} has no label image to calibrate with")
        if not known[item.labels].all():
            strange = np.unique(item.labels[~known[item.labels]])[:8].tolist()
            raise SourceError(
                f"frame {item.name}: the label image has ids {strange}, which the model's label set "
                f"{bundle.labels.name} does not have: calibrate with frames of its own classes"
            )
        probabilities = backend.infer(prepare(item.frame).tensor)[0]
        rows, columns = np.nonzero(channel[item.labels] >= 0)
        if not len(rows):
            continue
        chosen = rng.integers(len(rows), size=PIXELS_PER_FRAME)
        v, u = rows[chosen], columns[chosen]
        height, width = item.labels.shape
        i, j = v * probabilities.shape[1] // height, u * probabilities.shape[2] // width
        scores.append(np.log(np.maximum(probabilities[:, i, j], 1e-12)).T)
        truth.append(channel[item.labels[v, u]])
    if not scores:
        raise SourceError(f"no pixel of {folder.path} is annotated with a class of {bundle.labels.name}")
    return _most_likely(np.concatenate(scores), np.concatenate(truth))


def _most_likely(scores: npt.NDArray[np.float32], truth: npt.NDArray[np.int64]) -> float:
    """The temperature of least cross-entropy for (P, N) log probabilities and (P,) true channels."""

    def surprise(log_temperature: float) -> float:
        divided = scores / np.float32(np.exp(log_temperature))
        divided -= divided.max(1, keepdims=True)
        chosen = np.take_along_axis(divided, truth[:, None], 1)[:, 0]
        return float((np.log(np.exp(divided).sum(1)) - chosen).mean())

    bounds = tuple(np.log(RANGE))
    return float(np.exp(minimize_scalar(surprise, bounds=bounds, method="bounded").x))


def with_temperature(bundle: ModelBundle, temperature: float) -> ModelBundle:
    """The same model with its scores divided by a temperature: the weights of its last layer are, at no cost at run
    time.

    The recorded scores are kept, because labels change only where probabilities are interpolated; but those of
    confidence are removed.

    Args:
        bundle: of a network that ends in a linear layer ``score``; not a grouped or fused one.
        temperature: > 0; above 1, confidence becomes lower.

    Raises:
        BundleError: the network has no such layer, or the temperature is not a finite number > 0.
    """
    if not 0 < temperature < float("inf"):
        raise BundleError(f"a temperature is > 0, got {temperature}")
    architecture = {"name": bundle.architecture["name"], **bundle.architecture["arguments"]}
    state = state_dict_from_onnx(bundle.network)
    if "score.weight" not in state:
        raise BundleError(
            f"a {architecture['name']} has no last layer of its own to calibrate: calibrate the models it is made of"
        )
    for name in ("score.weight", "score.bias"):
        state[name] = state[name] / temperature
    network = create_network(**architecture)
    network.load_state_dict(state, strict=False)  # counters of batch norms are not stored
    before = float(bundle.training.get("temperature", 1.0))
    record = bundle.training | {"temperature": before * temperature}
    scores = {
        split: {name: value for name, value in of_split.items() if name not in ("calibration_error", "reliability")}
        for split, of_split in bundle.scores.items()
    }
    made = bundle_network(network, bundle.name, architecture, bundle.input, bundle.labels, record, scores)
    return replace(made, notice=bundle.notice)


def write_calibrated(model: str | Path, out: Path, data: Path, split: str) -> tuple[float, dict[str, Any]]:
    """Calibrate a bundle on a split and write it with its scores there.

    Args:
        model: shipped name or path of the bundle.
        out: bundle to write.
        data, split: annotated frames that it was not trained on.

    Returns:
        The temperature, and the scores by split.

    Raises:
        BundleError, SourceError: as :func:`find_temperature` and :func:`with_temperature`.
    """
    from lcr_seg_ros.training.datasets.split_digest import tell_of_frames_seen
    from lcr_seg_ros.training.evaluate import write_scored

    refuse_folder(out)
    bundle = ModelBundle.load(model)
    folder = DatasetFolder(data, split)
    folder.require_labels()
    if bundle.input.reads_hha:
        folder.require_hha()
    tell_of_frames_seen(bundle, data, split)
    with_temperature(bundle, 1.0)  # refuses what cannot be calibrated, before the frames are labelled
    temperature = find_temperature(bundle, folder)
    return temperature, write_scored(with_temperature(bundle, temperature), out, data, split, told=True)
