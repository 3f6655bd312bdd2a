"""Read PyTorch weights from a bundle's ONNX model, which stores them under their PyTorch names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from lcr_seg_ros.errors import BundleError

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "network."
HALF = "/float16"


def state_dict_from_onnx(network: bytes) -> dict[str, Tensor]:
    """The state dict: float32 tensors by PyTorch name. Needs ``onnx`` and ``torch``.

    Args:
        network: serialised ONNX model, as in a bundle.

    Raises:
        BundleError: the network is quantised, so that its weights are no longer those of the PyTorch network.
    """
    import onnx
    import torch
    from onnx import numpy_helper

    graph = onnx.load_from_string(network).graph
    if any(node.op_type == "DequantizeLinear" for node in graph.node):
        raise BundleError("its weights are int8 and cannot be rebuilt in PyTorch; take the float model it was made of")
    return {
        i.name.removeprefix(PREFIX).removesuffix(HALF): torch.from_numpy(numpy_helper.to_array(i).astype(np.float32))
        for i in graph.initializer
        if i.name.startswith(PREFIX)
    }
