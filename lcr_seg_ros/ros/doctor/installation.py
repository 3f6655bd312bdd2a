"""Checks of what is installed. Libraries are tried out in a process of their own: a broken one may crash it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lcr_seg_ros import __version__
from lcr_seg_ros.progress import each
from lcr_seg_ros.ros.doctor.report import Check, Level

AREA = "installation"

OLDEST_PYTHON, NEWEST_PYTHON = (3, 10), (3, 14)
PROBE_TIMEOUT_S = 60.0

_PROBES = {
    # What a process of its own prints as JSON: {"version": str, "devices": [str, ...]}.
    "openvino": "import openvino; d = openvino.Core().available_devices; v = openvino.__version__",
    "onnxruntime": "import onnxruntime; d = onnxruntime.get_available_providers(); v = onnxruntime.__version__",
    "torch": "import torch; v = torch.__version__; "
    "d = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]",
}
_REPORT = "; import json; print('PROBE ' + json.dumps({'version': str(v), 'devices': list(d)}))"


class RuntimeProbes:
    """Imports the inference runtimes beside what else is going on; :meth:`checks` waits for them."""

    def __init__(self) -> None:
        self._running = {
            name: subprocess.Popen(
                [sys.executable, "-c", code + _REPORT],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            for name, code in _PROBES.items()
            if find_spec(name) is not None
        }

    def checks(self) -> list[Check]:
        """One check for each runtime, one for the GPU, and a failure if there is none to run a network."""
        running = each(self._running.items(), "trying out", "runtime")
        answers = {name: _answer(process) for name, process in running}
        checks = [_runtime(name, answers.get(name)) for name in _PROBES]
        if not any("version" in answer or _is_late(answer) for answer in answers.values()):
            advice = "install one: pip install openvino (fastest on CPUs), or onnxruntime"
            checks.append(Check(AREA, "inference", "fail", "nothing here can run a network", advice))
        return [*checks, *_gpu(answers)]

    def end(self) -> None:
        """End those that still run."""
        for process in self._running.values():
            if process.poll() is None:
                process.kill()
                process.communicate()


def check_python() -> list[Check]:
    """Interpreter, this package, NumPy, OpenCV."""
    found = ".".join(map(str, sys.version_info[:3]))
    name = f"python {found}"
    if not OLDEST_PYTHON <= sys.version_info[:2] <= NEWEST_PYTHON:
        python = Check(AREA, "python", "warn", name, "tested with 3.10 to 3.14")
    else:
        python = Check(AREA, "python", "ok", name)
    packages = {"numpy": _version("numpy"), "opencv": _version("opencv-python-headless", "opencv-python", "opencv")}
    listed = ", ".join(f"{package} {number}" for package, number in packages.items())
    return [python, Check(AREA, "lcr_seg_ros", "ok", f"{__version__}; {listed}")]


def check_ros() -> list[Check]:
    """The ROS packages beside rclpy: used where they work, replaced where they do not."""
    from lcr_seg_ros.ros.compat.cv_bridge import choose_image_readers
    from lcr_seg_ros.ros.compat.message_filters import choose_stamp_pairs
    from lcr_seg_ros.ros.compat.tf2 import TransformError, import_tf2
    from lcr_seg_ros.ros.compat.vision_msgs import choose_label_info

    distribution = os.environ.get("ROS_DISTRO") or f"rclpy {_version('ros-rclpy', 'rclpy')} without a ROS installation"
    checks = [Check(AREA, "ROS", "ok", distribution)]
    for _, choice in (choose_stamp_pairs(), choose_label_info(), choose_image_readers()):
        broken = not choice.used and choice.reason != "not installed"
        if not broken:
            checks.append(Check(AREA, choice.package, "ok", "in use" if choice.used else _not_needed(choice.package)))
        elif choice.package == "cv_bridge":
            checks.append(_cv_bridge(choice.reason))
        else:
            advice = "the node does without it; other nodes may not: reinstall it, or update the distribution"
            checks.append(Check(AREA, choice.package, "warn", choice.reason, advice))
    try:
        import_tf2()
        checks.append(Check(AREA, "tf2_ros", "ok", "in use for gravity_source tf, registration and the map's poses"))
    except TransformError as error:
        level: Level = "ok" if find_spec("tf2_ros") is None else "warn"
        advice = "" if level == "ok" else f"reinstall it; {error}"
        found = "missing: gravity_source tf and registration from TF need it, and so does map-node, but for "
        found += "pose_source odometry or depth"
        checks.append(Check(AREA, "tf2_ros", level, found, advice))
    return checks


def _not_needed(package: str) -> str:
    use = ", but by Nav2's semantic layer (segmentation/label_info)" if package == "vision_msgs" else ""
    return f"not installed: not needed{use}"


def _cv_bridge(reason: str) -> Check:
    advice = "this node reads images without it; other nodes of this Python break: "
    numpy = _version("numpy")
    if int(numpy.partition(".")[0]) >= 2:
        advice += f"cv_bridge was built for NumPy 1, and pip has brought {numpy}: pip install 'numpy<2'"
    else:
        advice += "reinstall it (apt install --reinstall ros-$ROS_DISTRO-cv-bridge)"
    return Check(AREA, "cv_bridge", "warn", reason, advice)


def _runtime(name: str, answer: dict[str, Any] | None) -> Check:
    if answer is None:
        return Check(AREA, name, "ok", "not installed")
    if _is_late(answer):
        advice = f"is the machine busy? try: {Path(sys.executable).name} -c 'import {name}'"
        return Check(AREA, name, "warn", answer["late"], advice)
    if "version" not in answer:
        advice = f"pip install --force-reinstall {name}, or uninstall it"
        return Check(AREA, name, "warn", f"broken: {answer['error']}", advice)
    devices = ", ".join(answer["devices"]) or "CPU only"
    return Check(AREA, name, "ok", f"{answer['version']}: {devices}")


def _gpu(answers: dict[str, dict[str, Any]]) -> list[Check]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return [Check(AREA, "GPU", "ok", "none of NVIDIA: the network runs on the CPU")]
    try:
        listing = subprocess.run([program, "-L"], capture_output=True, text=True, timeout=15)
    except (OSError, subprocess.TimeoutExpired) as error:
        return [Check(AREA, "GPU", "warn", f"nvidia-smi does not answer: {error}", "reinstall the driver of the GPU")]
    if listing.returncode:
        return [Check(AREA, "GPU", "warn", listing.stdout.strip() or listing.stderr.strip(), "mend the GPU's driver")]
    found = "; ".join(line.partition(" (UUID")[0] for line in listing.stdout.splitlines())
    usable = bool(answers.get("torch", {}).get("devices")) or any(
        "CUDA" in provider for provider in answers.get("onnxruntime", {}).get("devices", ())
    )
    if usable:
        return [Check(AREA, "GPU", "ok", found)]
    if any(_is_late(answer) for answer in answers.values()):
        found += "; whether a runtime uses it is not known"
        return [Check(AREA, "GPU", "warn", found, "not all of them answered in time: try again on a quieter machine")]
    advice = "no runtime here uses it: pip install onnxruntime-gpu, or PyTorch with CUDA"
    return [Check(AREA, "GPU", "warn", found, advice)]


def _answer(process: subprocess.Popen[str]) -> dict[str, Any]:
    try:
        out, err = process.communicate(timeout=PROBE_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return {"late": f"no answer within {PROBE_TIMEOUT_S:.0f} s"}
    for line in out.splitlines():
        if line.startswith("PROBE "):
            return dict(json.loads(line.removeprefix("PROBE ")))
    lines = [line for line in err.splitlines() if line.strip()]
    return {"error": lines[-1].strip() if lines else f"its process ended with code {process.returncode}"}


def _is_late(answer: dict[str, Any]) -> bool:
    """Nothing is known of it then, other than of one that is broken."""
    return "late" in answer


def _version(*distributions: str) -> str:
    for name in distributions:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "of unknown version"
