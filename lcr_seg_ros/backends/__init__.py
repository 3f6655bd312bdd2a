"""Runtimes that run a bundle's network, behind one small interface; each has a module of its own.

``auto`` takes the first one that works, in the order of :data:`ON_CUDA` (if there is a CUDA device) and then
:data:`ON_CPU`, and logs why it rejected the others; as a warning, if there is a CUDA device that none could use.
"""

from __future__ import annotations

import logging
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Protocol, cast

import numpy as np
import numpy.typing as npt

from lcr_seg_ros.backends.cuda import why_no_cuda
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import BackendError

log = logging.getLogger(__name__)


class Backend(Protocol):
    """A loaded network. ``name`` and ``device`` (``cpu`` or ``cuda``) say what actually runs it.

    A backend may also have ``max_batch``, the largest batch that is worthwhile; ``network``, the PyTorch module itself,
    which :mod:`lcr_seg_ros.device_pipeline` uses; ``release``, which gives back the memory of its device; and
    ``device_fallback``, why it is on the CPU of a machine that has a CUDA device, if that was not asked for.
    """

    name: str
    device: str

    def infer(self, tensor: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """(B, C, H, W) float32 normalised input -> (B, N, h, w) float32 class probabilities.

        The first call with a new shape may be slow (the network is compiled for it). The next call may overwrite the
        result.
        """
        ...


BACKENDS = {
    # name: (module that must be installed, class)
    "openvino": ("openvino", "lcr_seg_ros.backends.openvino:OpenVinoBackend"),
    "onnxruntime": ("onnxruntime", "lcr_seg_ros.backends.onnxruntime:OnnxRuntimeBackend"),
    "torch": ("torch", "lcr_seg_ros.backends.torch:TorchBackend"),
}
DEVICES = ("auto", "cpu", "cuda")
ON_CUDA = ("torch", "onnxruntime")
ON_CPU = ("openvino", "onnxruntime", "torch")


QUICK_IN_8_BITS = ("openvino", "onnxruntime")
"""The backends that run an int8 network, on a CPU, and sooner than the same in float32."""


def model_to_run(model: str, backend: str = "auto", device: str = "auto") -> str:
    """The model that is meant: ``auto`` stands for the shipped one for 40 classes, in int8 where that is quicker.

    Args:
        model: ``auto``, or any other name or path, which is returned as it is.
        backend, device: as for :func:`create_backend`.

    Returns:
        For ``auto``: ``nyu40-int8`` if a CPU will run it, and one of :data:`QUICK_IN_8_BITS`; else ``nyu40``.
    """
    if model != "auto":
        return model
    on_cpu = device == "cpu" or backend == "openvino" or (device == "auto" and bool(why_no_cuda()))
    quick = [name for name in QUICK_IN_8_BITS if backend in ("auto", name) and find_spec(BACKENDS[name][0])]
    return "nyu40-int8" if on_cpu and quick else "nyu40"


def create_backend(bundle: ModelBundle, backend: str = "auto", device: str = "auto", num_threads: int = 0) -> Backend:
    """Load a bundle's network.

    Args:
        bundle: the model.
        backend: ``auto`` or a key of :data:`BACKENDS`.
        device: ``auto``, ``cpu`` or ``cuda``. ``auto`` prefers CUDA, and takes the CPU if that does not work.
        num_threads: CPU threads; 0 for the runtime's own choice.

    Raises:
        BackendError: an argument is out of range, the backend is not installed or cannot use the device, or the network
            does not load. If several backends were tried, the error lists the reason of each.
    """
    if backend not in ("auto", *BACKENDS):
        raise BackendError(f"backend must be auto, {', '.join(BACKENDS)}, got {backend!r}")
    if device not in DEVICES:
        raise BackendError(f"device must be one of {', '.join(DEVICES)}, got {device!r}")
    if num_threads < 0:
        raise BackendError(f"num_threads must be 0 or more, got {num_threads}")
    reasons = []
    reasons_on_cuda = []
    for name, place in _candidates(backend, device):
        try:
            created: Any = _create(bundle, name, place, num_threads)
        except BackendError as error:
            reasons.append(str(error))
            if place == "cuda":
                reasons_on_cuda.append(str(error))
            log.info("not %s on %s: %s", name, place, error)
            continue
        if place == "cpu" and reasons_on_cuda:
            created.device_fallback = (
                f"{created.name} on cpu, as nothing runs the network on cuda ({'; '.join(reasons_on_cuda)}); "
                "set device cpu if that is intended"
            )
            log.warning("%s", created.device_fallback)
        log.info("the network runs on %s (%s)", created.name, created.device)
        return cast("Backend", created)
    raise BackendError("; ".join(reasons))


def _candidates(backend: str, device: str) -> list[tuple[str, str]]:
    """(name, ``cuda`` or ``cpu``) pairs, in the order in which they are tried."""
    if backend == "openvino":  # its class refuses cuda, with a reason
        return [(backend, "cuda" if device == "cuda" else "cpu")]
    on_cuda = [(name, "cuda") for name in (ON_CUDA if backend == "auto" else (backend,))]
    on_cpu = [(name, "cpu") for name in (ON_CPU if backend == "auto" else (backend,))]
    if device == "cpu":
        return on_cpu
    if reason := why_no_cuda():
        if device == "cuda":
            raise BackendError(f"device cuda cannot be had: {reason}; use device cpu or auto")
        log.info("device auto takes the CPU: %s", reason)
        return on_cpu
    return on_cuda if device == "cuda" else on_cuda + on_cpu


def _create(bundle: ModelBundle, name: str, device: str, num_threads: int) -> Backend:
    requirement, place = BACKENDS[name]
    if find_spec(requirement) is None:
        raise BackendError(f"backend {name!r} is not installed: pip install {requirement}, or use backend auto")
    module, _, class_name = place.partition(":")
    try:
        created: Backend = getattr(import_module(module), class_name)(bundle, device, num_threads)
    except BackendError:
        raise
    except Exception as error:  # such as a missing or broken library, or out of memory: another backend may work
        raise BackendError(f"backend {name!r} fails on {device}: {type(error).__name__}: {error}") from error
    return created
