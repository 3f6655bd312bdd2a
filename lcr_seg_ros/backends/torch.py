"""PyTorch: the network is rebuilt from the registry of networks and the bundle's weights. Half precision on CUDA."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import BackendError, BundleError


class TorchBackend:
    """See :class:`lcr_seg_ros.backends.Backend`.

    Attributes:
        network: the ``torch.nn.Module`` on the device: (B, C, H, W) of ``dtype`` -> (B, N, h, w) scores.
        dtype: float32 on the CPU. float16 on CUDA, in the memory layout channels_last, in which convolutions are
            fastest; softmax is computed in float32.

    Raises:
        BackendError: PyTorch cannot use the device, or the network cannot be rebuilt, for example because it is int8.
    """

    name = "torch"
    device_fallback = ""

    def __init__(self, bundle: ModelBundle, device: str, num_threads: int) -> None:
        import torch

        if device == "cuda" and not torch.cuda.is_available():
            built_for = torch.version.cuda or "no CUDA at all"
            raise BackendError(
                f"PyTorch {torch.__version__}, built for {built_for}, cannot use the CUDA device: install a build "
                "that fits the driver"
            )
        if num_threads:
            torch.set_num_threads(num_threads)
        self._torch = torch
        self.device = device
        self.dtype = torch.float16 if device == "cuda" else torch.float32
        layout = torch.channels_last if device == "cuda" else torch.contiguous_format
        self.network: Any = _rebuild(bundle).eval().to(device, self.dtype, memory_format=layout)

    def infer(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        with self._torch.inference_mode():
            scores = self.network(self._torch.from_numpy(tensor).to(self.device, self.dtype))
            probabilities: npt.NDArray[np.float32] = scores.float().softmax(1).cpu().numpy()
        return probabilities

    def release(self) -> None:
        """Give the device's memory back; the backend cannot be used any more."""
        self.network = None
        with suppress(RuntimeError):  # the device may be lost
            self._torch.cuda.empty_cache()  # what PyTorch keeps for itself, other programs do not get


def _rebuild(bundle: ModelBundle) -> Any:
    from lcr_seg_ros.networks import create_network
    from lcr_seg_ros.weights import state_dict_from_onnx

    try:
        weights = state_dict_from_onnx(bundle.network)
    except ModuleNotFoundError as error:
        raise BackendError(f"backend torch reads weights with {error.name}: pip install {error.name}") from error
    except BundleError as error:
        raise BackendError(f"torch cannot run {bundle.name!r}: {error}; use backend openvino or onnxruntime") from error
    except Exception as error:  # protobuf's errors have no base class that all versions share
        raise BackendError(f"cannot read the network of {bundle.name!r}: {error}") from error
    try:
        network = create_network(bundle.architecture["name"], **bundle.architecture["arguments"])
        missing, unexpected = network.load_state_dict(weights, strict=False)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BackendError(f"cannot rebuild the network of {bundle.name!r}: {error}") from error
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    if missing or unexpected:
        raise BackendError(
            f"the weights of {bundle.name!r} do not fit: missing {missing[:3]}, unexpected {unexpected[:3]}"
        )
    return network
