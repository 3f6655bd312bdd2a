"""Runtimes that carry a bundle's network: one small interface, one file each.

``auto`` takes the first that is installed, in the order of :data:`BACKENDS`.
"""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.util import find_spec
from typing import Protocol

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import BackendError

log = logging.getLogger(__name__)


class Backend(Protocol):
    """A loaded network. ``name`` and ``device`` say what really runs it."""

    name: str
    device: str

    def infer(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(B, C, H, W) normalised input -> (B, N, h, w) class probabilities.

        The first call at a new size may be slow (the network is compiled for it). The result may be
        overwritten by the next call.
        """
        ...


BACKENDS = {
    # name: (module that must be installed, class)
    "openvino": ("openvino", "lcr_seg_ros.backends.openvino:OpenVinoBackend"),
    "onnxruntime": ("onnxruntime", "lcr_seg_ros.backends.onnxruntime:OnnxRuntimeBackend"),
    "torch": ("torch", "lcr_seg_ros.backends.torch:TorchBackend"),
}
DEVICES = ("auto", "cpu", "cuda")


def create_backend(bundle: ModelBundle, backend: str = "auto", device: str = "auto", num_threads: int = 0) -> Backend:
    """Load a bundle's network.

    Args:
        bundle: the model.
        backend: ``auto`` or a key of :data:`BACKENDS`.
        device: ``auto``, ``cpu`` or ``cuda``. ``auto`` prefers CUDA where the backend has it.
        num_threads: CPU threads, 0 for the runtime's own choice.

    Raises:
        BackendError: unknown name, not installed, cannot use the device, or the network does not load.
    """
    if backend not in ("auto", *BACKENDS):
        raise BackendError(f"backend must be auto, {', '.join(BACKENDS)}, got {backend!r}")
    if device not in DEVICES:
        raise BackendError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    if num_threads < 0:
        raise BackendError(f"num_threads must be 0 or more, got {num_threads}")
    installed = [name for name, (module, _) in BACKENDS.items() if find_spec(module) is not None]
    if backend == "auto":
        candidates = [n for n in installed if not (n == "openvino" and device == "cuda")]
        if not candidates:
            raise BackendError(
                f"no backend for device {device!r} is installed: pip install openvino, onnxruntime-gpu or torch"
            )
        backend = candidates[0]
        log.info("backend auto: taking %s (installed: %s)", backend, ", ".join(installed))
    elif backend not in installed:
        raise BackendError(
            f"backend {backend!r} is not installed: pip install {BACKENDS[backend][0]}, or use backend auto"
        )
    module, _, name = BACKENDS[backend][1].partition(":")
    created: Backend = getattr(import_module(module), name)(bundle, device, num_threads)
    return created
