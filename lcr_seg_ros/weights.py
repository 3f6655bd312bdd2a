"""The PyTorch weights that a bundle's ONNX model carries under their own names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "network."
HALF = "/float16"


def state_dict_from_onnx(network: bytes) -> dict[str, Tensor]:
    """The state dict, as float32 tensors by PyTorch name. Needs ``onnx`` and ``torch``.

    Args:
        network: serialised ONNX model, as in a bundle.
    """
    import onnx
    import torch
    from onnx import numpy_helper

    return {
        i.name.removeprefix(PREFIX).removesuffix(HALF): torch.from_numpy(numpy_helper.to_array(i).astype(np.float32))
        for i in onnx.load_from_string(network).graph.initializer
        if i.name.startswith(PREFIX)
    }
