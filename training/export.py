"""From a trained PyTorch network to a model bundle: ONNX with float16 weights, for any input size."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from lcr_seg_ros.bundle import InputSpec, ModelBundle
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.networks.fcn_lite import NOTICE as FCN_LITE_NOTICE
from lcr_seg_ros.weights import HALF

OPSET = 17
DATA_NOTICE = """\
It was trained on NYU Depth V2 (N. Silberman, D. Hoiem, P. Kohli and R. Fergus, "Indoor segmentation and support
inference from RGBD images", ECCV 2012; classes of S. Gupta, P. Arbelaez and J. Malik, CVPR 2013), which its authors
published for research. The licence of the code does not cover these weights: ask the data's owners before you use them
for anything else. Please cite both.
"""
"""Notice of bundles with the classes of NYU Depth V2."""
OWN_DATA_NOTICE = (
    "The licence of the code does not cover these weights: they are under the terms of their training data.\n"
)


def bundle_network(
    network: nn.Module,
    name: str,
    architecture: dict[str, Any],
    spec: InputSpec,
    labels: LabelSet,
    training: dict[str, Any],
    scores: dict[str, Any] | None = None,
    start_notice: str | None = None,
) -> ModelBundle:
    """Wrap a trained network as a bundle.

    Args:
        network: (B, C, H, W) normalised input -> (B, N, h, w) scores.
        name: of the bundle.
        architecture: arguments of ``create_network``.
        spec: describes the network's input.
        labels: one class per score channel.
        training: record of how the model was made.
        scores: measured scores by split.
        start_notice: authors and licence of the initial weights; None: those of fcn_lite's encoder.
    """
    arguments = {k: v for k, v in architecture.items() if k != "name"}
    return ModelBundle(
        name=name,
        architecture={"name": architecture["name"], "arguments": arguments},
        input=spec,
        labels=labels,
        network=to_onnx(network, spec),
        training=training,
        scores=scores or {},
        notice=(_notice_of_fcn_lite(arguments) if start_notice is None else start_notice)
        + (DATA_NOTICE if labels.name in ("nyu40", "nyu4") else OWN_DATA_NOTICE),
    )


def _notice_of_fcn_lite(arguments: dict[str, Any]) -> str:
    return FCN_LITE_NOTICE.format(encoder=str(arguments.get("encoder", "lite0")).title())


def to_onnx(network: nn.Module, spec: InputSpec) -> bytes:
    """ONNX model ``image`` (B, C, H, W) float32 -> ``probabilities`` (B, N, h, w) float32, for any B, H and W.

    Weights keep the names of the PyTorch state dict, batch norms included, so that the network can be rebuilt for
    training from the bundle alone. They are stored as float16, each with a cast to float32, which every runtime
    performs once, when it loads the model.
    """
    model = _Probabilities(network).eval()
    image = torch.zeros(1, spec.channels, spec.height, spec.width)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (image,),
            buffer,
            input_names=["image"],
            output_names=["probabilities"],
            dynamic_axes={
                "image": {0: "batch", 2: "height", 3: "width"},
                "probabilities": {0: "batch", 2: "rows", 3: "columns"},
            },
            opset_version=OPSET,
            dynamo=False,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,  # else batch norms are fused, and the state dict is lost
        )
    exported = onnx.load_from_string(buffer.getvalue())
    _restore_shared_weights(exported, model)
    _store_weights_as_float16(exported)
    onnx.checker.check_model(exported)
    return exported.SerializeToString()


class _Probabilities(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        return self.network(image).softmax(1)


def _restore_shared_weights(exported: onnx.ModelProto, model: nn.Module) -> None:
    """Give each weight of the state dict its own tensor again.

    Of equal tensors the exporter keeps one; the others become ``Identity`` nodes or vanish.
    """
    stored = {i.name for i in exported.graph.initializer}
    dropped = {n: t for n, t in model.state_dict().items() if n not in stored and t.is_floating_point()}
    nodes = [n for n in exported.graph.node if n.output[0] not in dropped]
    del exported.graph.node[:]
    exported.graph.node.extend(nodes)
    for name, tensor in dropped.items():
        exported.graph.initializer.append(numpy_helper.from_array(tensor.cpu().numpy(), name))


def _store_weights_as_float16(model: onnx.ModelProto) -> None:
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or int(np.prod(tensor.dims)) < 64:
            continue
        full = numpy_helper.to_array(tensor)
        if np.abs(full).max() > np.finfo(np.float16).max:
            continue  # stays float32, e.g. a variance in a network with inputs in 0..255
        half = full.astype(np.float16)
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(half, name + HALF))
        casts.append(helper.make_node("Cast", [name + HALF], [name], to=TensorProto.FLOAT))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend(casts + nodes)
