"""From a trained bundle to an int8 one: ONNX Runtime's static quantisation, scored before and after.

Weights are quantised per output channel, to 7 of the 8 bits, as ONNX Runtime recommends for CPUs without VNNI
instructions: with 8 bits, their 16-bit sums of products may saturate. Activations are quantised per tensor, over their
range on the calibration frames. The result is a network with QuantizeLinear and DequantizeLinear nodes, which openvino
and onnxruntime turn into integer arithmetic. No PyTorch.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from lcr_seg_ros.backends import create_backend
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import BundleError, LcrSegError
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.preprocess import Preprocessor
from lcr_seg_ros.segmenter import Segmenter
from lcr_seg_ros.sources.folder import DatasetFolder
from lcr_seg_ros.training.evaluate import evaluate, without_trial
from lcr_seg_ros.training.trial import require_trial_of

INT8_BACKENDS = ("openvino", "onnxruntime")
SCORES = ("pixel_acc", "mean_acc", "mean_iou", "fw_iou")
RECORD = "quantization"
"""Key in a bundle's training record that marks it as int8, and tells how it was quantised."""

LEAST_AGREEMENT = 0.5
"""Share of a calibration frame's pixels that must keep their class; the shipped models are above 0.9."""

log = logging.getLogger(__name__)


class QuantizationError(LcrSegError, ValueError):
    """A network loses too much in int8, or cannot be quantised."""


@dataclass(frozen=True)
class Attempt:
    """One way to quantise.

    Args:
        float_layers: how many layers with weights, counted from the image, stay float. In ``fcn_lite`` these lose most:
            they have few channels, with very different ranges. The layer that scores classes and the softmax always
            stay float, because 256 levels are too few for confidences.
    """

    float_layers: int

    def __str__(self) -> str:
        return f"the first {self.float_layers} and the last layer float"


ATTEMPTS = (Attempt(3), Attempt(6), Attempt(12))
"""Tried in this order until one loses little enough."""


def write_quantized(
    model: str | Path,
    out: Path,
    calibration: DatasetFolder,
    split: str,
    frames: int = 64,
    val: DatasetFolder | None = None,
    val_split: str = "val",
    max_loss: float = 0.5,
    trial: str | Path | None = None,
) -> dict[str, Any]:
    """Quantise a bundle, and write it if it loses little enough.

    Args:
        model: shipped name or path of a bundle with float weights.
        out: bundle to write; its name without suffix becomes that of the model.
        calibration: frames of the kind that the model will see; annotation is not needed.
        split: name of their list, for the record.
        frames: how many of them to calibrate on, evenly spread.
        val: annotated frames to score on before and after; None: the first of :data:`ATTEMPTS` is taken, unscored.
        val_split: name of their list.
        max_loss: points of mean IU (of 100) that may be lost with any of the installed backends.
        trial: for a model that was trained on all frames: a bundle of the same recipe that was not trained on those of
            ``val``. It is quantised in the same way, its loss decides, and its scores become those of the result.

    Returns:
        The record, also in the bundle's training record under :data:`RECORD`: ``precision``, ``attempt``,
        ``calibration``, ``float_network_sha256`` and, with ``val``, ``scores``: by backend, ``float`` and ``int8``.

    Raises:
        QuantizationError: every attempt loses more, or one labels a calibration frame in an entirely different way;
            nothing is written.
        BundleError: the model is int8 already, or ``trial`` is not a trial of it.
        SourceError: a frame cannot be read, or has no label image, or HHA image that the model needs, to score with.
    """
    bundle = ModelBundle.load(model)
    if RECORD in bundle.training:
        raise BundleError(f"{model} is of int8 already: give the float model it was made of")
    judged = bundle
    if trial is not None:
        judged = ModelBundle.load(trial)
        require_trial_of(bundle, judged)
    if val is not None and judged.input.reads_hha:
        val.require_hha()
    measured_on = [name for name in INT8_BACKENDS if find_spec(name)]
    before = {} if val is None else {name: _scores(judged, name, val) for name in measured_on}
    record: dict[str, Any] = {
        "precision": "int8",
        "calibration": {"split": split, "frames": min(frames, len(calibration))},
        "float_network_sha256": hashlib.sha256(bundle.network).hexdigest(),
    }
    losses = []
    for attempt in ATTEMPTS:
        record["attempt"] = str(attempt)
        if val is None:
            log.warning("what int8 costs was not measured: give --val SPLIT, a list of annotated frames")
            break
        small = _quantized(judged, calibration, frames, attempt)
        after = {name: _scores(small, name, val) for name in measured_on}
        loss = 100 * max(before[name]["mean_iou"] - after[name]["mean_iou"] for name in measured_on)
        losses.append(f"{attempt}: {loss:.2f}")
        log.info("%s: loses %.2f points of mean IU", attempt, loss)
        if loss <= max_loss:
            record["scores"] = {
                val_split: {
                    name: {"float": _summary(before[name]), "int8": _summary(after[name])} for name in measured_on
                }
            }
            break
    else:
        raise QuantizationError(
            f"int8 costs {bundle.name!r} more than {max_loss:g} points of mean IU on {len(val or [])} frames of "
            f"{val_split} ({'; '.join(losses)}): nothing was written. Calibrate on more frames, or allow more with "
            "--max-loss"
        )
    result = small if val is not None and judged is bundle else _quantized(bundle, calibration, frames, attempt)
    scores = {} if val is None else {val_split: after[measured_on[0]]}
    training = bundle.training if trial is not None else without_trial(bundle.training)
    replace(result, name=out.stem, training=training | {RECORD: record}, scores=scores).save(out)
    return record


def _quantized(bundle: ModelBundle, calibration: DatasetFolder, frames: int, attempt: Attempt) -> ModelBundle:
    tensors = _calibration_tensors(bundle, calibration, frames)
    small = replace(bundle, network=quantize_network(bundle.network, tensors, attempt))
    _refuse_another_answer(bundle, small, tensors[0])
    return small


def _refuse_another_answer(bundle: ModelBundle, small: ModelBundle, tensor: npt.NDArray[np.float32]) -> None:
    """Refuse a network that quantisation broke without an error: a layer that was all zeros on every calibration frame
    has no range, which makes its integers meaningless.

    Raises:
        QuantizationError: on this frame its probabilities are not finite, or most pixels change class.
    """
    backend = next(name for name in INT8_BACKENDS[::-1] if find_spec(name))
    whole, rounded = (create_backend(model, backend, "cpu").infer(tensor).copy() for model in (bundle, small))
    same = float((whole.argmax(1) == rounded.argmax(1)).mean()) if np.isfinite(rounded).all() else 0.0
    if same < LEAST_AGREEMENT:
        raise QuantizationError(
            f"int8 labels {same:.0%} of a calibration frame as {bundle.name!r} does, at least {LEAST_AGREEMENT:.0%} "
            "are wanted: calibrate on more frames, of the kind that it will see"
        )


def quantize_network(network: bytes, tensors: Sequence[npt.NDArray[np.float32]], attempt: Attempt) -> bytes:
    """An ONNX network in int8.

    Args:
        network: ONNX with float weights and one input, ``image``.
        tensors: normalised images for calibration, (1, C, H, W) float32 each.
        attempt: says what stays float.

    Raises:
        QuantizationError: too few layers are left to quantise, or ONNX Runtime cannot quantise the network.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    with tempfile.TemporaryDirectory(prefix="lcr_seg_quantize_") as place:
        folded, result = Path(place) / "folded.onnx", Path(place) / "int8.onnx"
        _fold(network, folded)
        root = logging.getLogger()
        root.addFilter(_is_serious)  # it reports each quantised bias, on the root logger
        try:
            with np.errstate(divide="ignore", invalid="ignore"):  # in layers without a range
                quantize_static(
                    folded,
                    result,
                    _Reader(tensors),
                    quant_format=QuantFormat.QDQ,
                    per_channel=True,
                    reduce_range=True,  # weights of 7 bits
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                    nodes_to_exclude=_float_layers(folded, attempt),
                    calibrate_method=CalibrationMethod.MinMax,
                )
        except (RuntimeError, ValueError, TypeError) as error:
            raise QuantizationError(f"ONNX Runtime cannot quantise this network: {error}") from error
        finally:
            root.removeFilter(_is_serious)
        return result.read_bytes()


def _is_serious(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING


def _fold(network: bytes, path: Path) -> None:
    """Write the network with batch norms folded into convolutions, and with float32 weights."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    try:
        onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's errors have no common base class
        raise QuantizationError(f"onnxruntime cannot load the network: {error}") from error
    model = onnx.load(path)
    used = {node.domain for node in model.graph.node}
    opsets = [opset for opset in model.opset_import if opset.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(opsets)
    # Marks the network as preprocessed; else ONNX Runtime recommends to preprocess it.
    model.metadata_props.add(key="onnx.quant.pre_process", value="onnxruntime.quant")
    onnx.save(model, path)


def _float_layers(path: Path, attempt: Attempt) -> list[str]:
    """Names of the nodes that are not quantised."""
    import onnx

    nodes = list(onnx.load(path).graph.node)
    probabilities = next((k for k, node in enumerate(nodes) if node.op_type == "Softmax"), len(nodes))
    layers = [node.name for node in nodes[:probabilities] if node.op_type in ("Conv", "Gemm", "MatMul")]
    if len(layers) <= attempt.float_layers + 1:
        raise QuantizationError(f"the network has {len(layers)} layers with weights: too few for {attempt}")
    # After its softmax, a grouped network still sums up probabilities: that stays float too.
    return [*layers[: attempt.float_layers], layers[-1], *(node.name for node in nodes[probabilities:])]


class _Reader:
    """Gives calibration inputs to ONNX Runtime, one at a time."""

    def __init__(self, tensors: Sequence[npt.NDArray[np.float32]]) -> None:
        self._tensors = iter(tensors)

    def get_next(self) -> dict[str, npt.NDArray[np.float32]] | None:
        tensor = next(self._tensors, None)
        return None if tensor is None else {"image": tensor}


def _calibration_tensors(bundle: ModelBundle, folder: DatasetFolder, frames: int) -> list[npt.NDArray[np.float32]]:
    preprocessor, folder = Preprocessor(bundle.input), folder.with_hha(bundle.input.reads_hha)
    count = min(frames, len(folder))
    chosen = np.linspace(0, len(folder) - 1, count).round().astype(int)
    items = tqdm(chosen, desc="calibrate", unit="frame", leave=False, disable=None)
    return [preprocessor(folder[int(index)].frame).tensor for index in items]


def _scores(bundle: ModelBundle, backend: str, folder: DatasetFolder) -> dict[str, Any]:
    grouped = bundle.training.get("grouped")  # the label images have the finer classes then
    annotated = None
    if grouped is not None:  # old bundles hold only the name of the label set
        annotated = (
            LabelSet.from_dict(grouped["label_set"]) if "label_set" in grouped else LabelSet.load(grouped["labels"])
        )
    return evaluate(Segmenter(bundle, create_backend(bundle, backend, "cpu")), folder, annotated=annotated).scores()


def _summary(scores: dict[str, Any]) -> dict[str, Any]:
    return {name: scores[name] for name in (*SCORES, "frames")}
