"""OpenVINO on the CPU: the fastest of the three there, and the default."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import BackendError


class OpenVinoBackend:
    """See :class:`lcr_seg_ros.backends.Backend`. Compiles the network once for each input size."""

    name = "openvino"
    device = "cpu"

    def __init__(self, bundle: ModelBundle, device: str, num_threads: int) -> None:
        import openvino

        if device == "cuda":
            raise BackendError("openvino runs on the CPU only: use backend onnxruntime or torch for cuda")
        self._core = openvino.Core()
        try:
            self._model = self._core.read_model(bundle.network)
        except RuntimeError as error:
            raise BackendError(f"openvino cannot read the network of {bundle.name!r}: {error}") from error
        # float32 whatever the CPU prefers: the same labels on every machine.
        self._options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if num_threads:
            self._options["INFERENCE_NUM_THREADS"] = num_threads
        self._requests: dict[tuple[int, ...], Any] = {}

    def infer(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        if tensor.shape not in self._requests:
            model = self._model.clone()
            model.reshape(list(tensor.shape))
            self._requests[tensor.shape] = self._core.compile_model(model, "CPU", self._options).create_infer_request()
        request = self._requests[tensor.shape]
        request.infer({0: tensor}, share_inputs=True, share_outputs=True)
        probabilities: npt.NDArray[np.float32] = request.get_output_tensor(0).data
        return probabilities
