"""OpenVINO on the CPU: the fastest of the three runtimes there, and the default.

A network is compiled for each input size. The result is kept in the user's cache for the next start. OpenVINO itself
detects files that are truncated or belong to another version, processor or network, and compiles again.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.backends.cache import cache_folder, prune
from lcr_seg_ros.backends.network_file import network_file
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import BackendError

MAX_SIZES = 4
"""Number of compiled input sizes that are kept in memory."""

LARGEST_CACHED_BYTES = 64 << 20
"""Larger networks are not cached on disk: reading them back takes as long as compiling them."""

log = logging.getLogger(__name__)


class OpenVinoBackend:
    """See :class:`lcr_seg_ros.backends.Backend`. Compiles the network once for each input shape.

    Raises:
        BackendError: the device is cuda, or the network cannot be read.
    """

    name = "openvino"
    device_fallback = ""
    device = "cpu"

    def __init__(self, bundle: ModelBundle, device: str, num_threads: int) -> None:
        if device == "cuda":
            raise BackendError("openvino runs on the CPU only: use backend onnxruntime or torch for cuda")
        # On import, openvino reports usage to its makers through this module. It works without the module.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
        import openvino

        self._core = openvino.Core()
        try:
            with network_file(bundle.network) as file:
                self._model = self._core.read_model(file)
        except RuntimeError as error:
            reason = " ".join(str(error).split())
            raise BackendError(f"openvino cannot read the network of {bundle.name!r}: {reason}") from error
        # float32 whatever the CPU prefers, for the same labels on every machine. int8 layers stay int8.
        self._options: dict[str, Any] = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if num_threads:
            self._options["INFERENCE_NUM_THREADS"] = num_threads
        self._cache = cache_folder("openvino") if len(bundle.network) <= LARGEST_CACHED_BYTES else None
        self._requests: dict[tuple[int, ...], Any] = {}

    def infer(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        request = self._requests.get(tensor.shape)
        if request is None:
            while len(self._requests) >= MAX_SIZES:
                del self._requests[next(iter(self._requests))]
            request = self._requests[tensor.shape] = self._compile(tensor.shape).create_infer_request()
        request.infer({0: tensor}, share_inputs=True, share_outputs=True)
        probabilities: npt.NDArray[np.float32] = request.get_output_tensor(0).data
        return probabilities

    def _compile(self, shape: tuple[int, ...]) -> Any:
        model = self._model.clone()
        model.reshape(list(shape))
        if self._cache is not None:
            try:
                compiled = self._core.compile_model(model, "CPU", self._options | {"CACHE_DIR": str(self._cache)})
                prune(self._cache)
                return compiled
            except RuntimeError as error:
                log.info("openvino's cache %s cannot be used (%s): compiling without it", self._cache, error)
        return self._core.compile_model(model, "CPU", self._options)
