"""ONNX Runtime: on any CPU and, with its GPU build, on TensorRT and CUDA.

TensorRT is tried before CUDA. It builds an engine for each input size, which takes minutes; engines are kept in the
user's cache.
"""

from __future__ import annotations

import ctypes
import logging
from contextlib import nullcontext, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.backends.cache import cache_folder, prune
from lcr_seg_ros.backends.network_file import network_file
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import BackendError

PROVIDERS = {"TensorRT": "TensorrtExecutionProvider", "CUDA": "CUDAExecutionProvider"}
"""Execution providers for a CUDA device, the faster one first."""

log = logging.getLogger(__name__)


class OnnxRuntimeBackend:
    """See :class:`lcr_seg_ros.backends.Backend`. ``provider`` (TensorRT, CUDA or CPU) runs the network.

    Raises:
        BackendError: the network does not load, or neither provider for CUDA works; says why.
    """

    name = "onnxruntime"
    device_fallback = ""

    def __init__(self, bundle: ModelBundle, device: str, num_threads: int) -> None:
        import onnxruntime

        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = num_threads
        self._options.log_severity_level = 3
        self._bundle = bundle
        self.device = device
        if device == "cuda":
            self.provider, self._session = self._on_cuda()
        else:
            self.provider, self._session = "CPU", self._create([])
        if self.provider == "TensorRT":
            self.max_batch = 1  # each batch size would need an engine of its own

    def infer(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        probabilities: npt.NDArray[np.float32] = self._session.run(None, {"image": tensor})[0]
        return probabilities

    def _on_cuda(self) -> tuple[str, Any]:
        """The first provider that works, and its session."""
        import onnxruntime

        if hasattr(onnxruntime, "preload_dlls"):  # libraries of CUDA and cuDNN that were installed by pip
            with redirect_stdout(StringIO()):  # it prints what it does not find
                onnxruntime.preload_dlls()
        reasons: list[str] = []
        for k, (title, provider) in enumerate(PROVIDERS.items()):
            if provider not in onnxruntime.get_available_providers():
                reason = "not in this build of onnxruntime, pip install onnxruntime-gpu"
            elif not (reason := _why_not_loadable(title)):
                try:
                    session = self._create(list(PROVIDERS)[k:])
                except BackendError as error:
                    reason = str(error)
                else:
                    if session.get_providers()[0] == provider:
                        if reasons:
                            log.info("onnxruntime takes %s: %s", title, "; ".join(reasons))
                        return title, session
                    reason = "onnxruntime left it out; its own log says why"
            reasons.append(f"{title}: {reason}")
        raise BackendError(f"onnxruntime cannot use the CUDA device ({'; '.join(reasons)})")

    def _create(self, titles: list[str]) -> Any:
        import onnxruntime

        providers = [(PROVIDERS[title], _provider_options(title)) for title in titles]
        try:
            # On a GPU, pass bytes: TensorRT names cached engines after the file, whose name differs at each start.
            with nullcontext(self._bundle.network) if titles else network_file(self._bundle.network) as network:
                # The runtime's own fallback would print a message and hide the error from us.
                return onnxruntime.InferenceSession(
                    network, self._options, providers=[*providers, "CPUExecutionProvider"], enable_fallback=0
                )
        except Exception as error:  # the runtime's errors have no common base
            reason = " ".join(str(error).split())
            raise BackendError(f"onnxruntime cannot load the network of {self._bundle.name!r}: {reason}") from error


def _provider_options(title: str) -> dict[str, Any]:
    if title != "TensorRT":
        # TF32 would change labels. An exhaustive search for the best convolutions takes seconds at each new size.
        return {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}
    if (folder := cache_folder("tensorrt")) is None:
        return {}
    prune(folder)
    cached = {f"trt_{kind}_cache_enable": True for kind in ("engine", "timing")}
    return cached | {"trt_engine_cache_path": str(folder), "trt_timing_cache_path": str(folder)}


def _why_not_loadable(title: str) -> str:
    """Load a provider's library as ONNX Runtime would; returns what is missing, or ""."""
    import onnxruntime

    folder = Path(onnxruntime.__file__).parent / "capi"
    try:
        for part in ("shared", title.lower()):
            library = folder / f"libonnxruntime_providers_{part}.so"
            if library.is_file():  # other builds keep them elsewhere; then the session itself reports what is missing
                ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        return f"{error}, see https://onnxruntime.ai/docs/execution-providers"
    return ""
