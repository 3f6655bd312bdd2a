"""ONNX Runtime: CPU everywhere, CUDA where its GPU build is installed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import BackendError


class OnnxRuntimeBackend:
    """See :class:`lcr_seg_ros.backends.Backend`."""

    name = "onnxruntime"

    def __init__(self, bundle: ModelBundle, device: str, num_threads: int) -> None:
        import onnxruntime

        has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        if device == "cuda" and not has_cuda:
            raise BackendError("this onnxruntime has no CUDA: pip install onnxruntime-gpu, or use device cpu")
        providers = ["CPUExecutionProvider"]
        if has_cuda and device != "cpu":
            providers.insert(0, "CUDAExecutionProvider")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(bundle.network, options, providers=providers)
        except Exception as error:  # the runtime has no common base for its errors
            raise BackendError(f"onnxruntime cannot load the network of {bundle.name!r}: {error}") from error
        self.device = "cuda" if self._session.get_providers()[0].startswith("CUDA") else "cpu"

    def infer(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        probabilities: npt.NDArray[np.float32] = self._session.run(None, {"image": tensor})[0]
        return probabilities
