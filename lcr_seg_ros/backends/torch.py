"""PyTorch: the network rebuilt from its registry and the weights kept in the bundle."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import BackendError


class TorchBackend:
    """See :class:`lcr_seg_ros.backends.Backend`."""

    name = "torch"

    def __init__(self, bundle: ModelBundle, device: str, num_threads: int) -> None:
        import torch

        from lcr_seg_ros.networks import create_network
        from lcr_seg_ros.weights import state_dict_from_onnx

        if device == "cuda" and not torch.cuda.is_available():
            raise BackendError("PyTorch sees no CUDA device here: check the driver, or use device cpu")
        self.device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        if num_threads:
            torch.set_num_threads(num_threads)
        try:
            network = create_network(bundle.architecture["name"], **bundle.architecture["arguments"])
            missing, unexpected = network.load_state_dict(state_dict_from_onnx(bundle.network), strict=False)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise BackendError(f"cannot rebuild the network of {bundle.name!r}: {error}") from error
        missing = [k for k in missing if not k.endswith("num_batches_tracked")]
        if missing or unexpected:
            raise BackendError(
                f"the weights of {bundle.name!r} do not fit: missing {missing[:3]}, unexpected {unexpected[:3]}"
            )
        self._torch = torch
        self._network = network.eval().to(self.device)

    def infer(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with self._torch.inference_mode():
            scores = self._network(self._torch.from_numpy(tensor).to(self.device))
            probabilities: npt.NDArray[np.float32] = scores.softmax(1).cpu().numpy()
        return probabilities
