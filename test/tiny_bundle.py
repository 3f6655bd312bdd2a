"""A model bundle that takes milliseconds to make: a fixed 1x1 convolution and softmax at stride 4, as real ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lcr_seg_ros.bundle import CHANNELS, InputSpec, Modality, ModelBundle
from lcr_seg_ros.labels import LabelSet


def tiny_bundle(modality: Modality = "rgb_hha", labels: str = "nyu40") -> ModelBundle:
    """A bundle whose labels depend on the mean colours and HHA of each 4x4 block."""
    label_set = LabelSet.load(labels)
    channels = CHANNELS[modality]
    random = np.random.default_rng(7)
    weight = random.normal(0, 2, (len(label_set), channels, 1, 1)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[4, 4], strides=[4, 4]),
            helper.make_node("Conv", ["pooled", "network.weight"], ["scores"]),
            helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", channels, "height", "width"])],
        [
            helper.make_tensor_value_info(
                "probabilities", TensorProto.FLOAT, ["batch", len(label_set), "rows", "columns"]
            )
        ],
        [numpy_helper.from_array(weight, "network.weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return ModelBundle(
        name="tiny",
        architecture={"name": "tiny", "arguments": {}},
        input=InputSpec(modality, 60, 80, (127.5,) * channels, (127.5,) * channels),
        labels=label_set,
        network=model.SerializeToString(),
        notice="made by the tests",
    )


def make_tiny_bundle(path: Path, modality: Modality = "rgb_hha", labels: str = "nyu40") -> Path:
    return tiny_bundle(modality, labels).save(path)
