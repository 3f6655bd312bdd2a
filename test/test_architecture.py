"""The arrows between rooms, in more detail than the contracts in pyproject.toml can say.

``lint-imports`` reads every import statement, also those inside functions. The tests here add which room
may know which, which room may know which library, and what is really loaded when a module is imported.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest
from tiny_bundle import make_tiny_bundle

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "lcr_seg_ros"

ANY = {"compiled", "completion", "errors", "extras", "files", "progress", "resources", "yaml_files"}
FOUNDATION = {"frame", "labels", "bundle"}
RUN_TIME = FOUNDATION | {"hha", "preprocess", "backends", "decode", "segmenter", "render", "sources", "image_encodings"}
RUN_TIME |= {"compressed_images", "drawing", "json_output"}

MAY_IMPORT_ROOMS = {
    "__init__": {"frame", "labels", "segmenter"},  # the public names, on first use
    "__main__": {"cli"},
    "cli": set(),  # commands are named, and imported when called
    "compiled": set(),
    "completion": set(),
    "errors": set(),
    "extras": set(),
    "files": set(),
    "progress": set(),
    "resources": set(),
    "yaml_files": set(),
    "frame": set(),
    "labels": set(),
    "bundle": {"labels", "hha"},
    "hha": {"frame"},
    "preprocess": {"frame", "hha", "bundle"},
    "registration": {"frame"},
    "networks": set(),
    "weights": set(),
    "decode": set(),
    "backends": {"bundle", "networks", "weights"},
    "drawing": {"labels"},
    "device_buffers": set(),
    "device_pipeline": FOUNDATION | {"hha", "preprocess", "backends", "drawing", "device_buffers"},
    "segmenter": FOUNDATION | {"hha", "preprocess", "backends", "decode", "drawing", "device_pipeline"},
    "render": {"labels"},
    "image_encodings": {"frame"},
    "compressed_images": {"frame"},
    "json_output": set(),
    "sources": {"frame", "labels", "render", "compressed_images", "image_encodings"},
    "hha_pictures": {"frame", "hha"},
    "hha_command": {"frame", "hha", "hha_pictures", "render", "sources"},
    "viewer": {"frame", "labels", "segmenter"},
    "video": set(),
    "mapping": {"frame", "labels", "render"},
    "map_command": RUN_TIME | {"mapping"},
    "predict": RUN_TIME | {"video", "viewer"},
    "ros": RUN_TIME | {"mapping", "predict", "registration", "viewer"},
    "training": RUN_TIME | {"networks", "weights", "predict"},
    "frame_benchmark": RUN_TIME,
    "benchmark": RUN_TIME | {"frame_benchmark", "networks", "predict", "ros", "training"},
}

ROS = {
    *("action_msgs", "ament_index_python", "builtin_interfaces", "cv_bridge", "diagnostic_msgs", "geometry_msgs"),
    *("launch", "launch_ros", "lifecycle_msgs", "message_filters", "nav_msgs", "rcl_interfaces", "rclpy"),
    *("rosgraph_msgs", "sensor_msgs", "std_msgs", "std_srvs", "tf2_msgs", "tf2_ros", "vision_msgs"),
}
TORCH = {"lightning", "onnx", "onnxscript", "timm", "torch", "torchmetrics", "torchvision"}

MAY_IMPORT_HEAVY_LIBRARIES = {
    "hha": {"torch"},
    "ros": ROS,
    "backends": {"openvino", "onnxruntime", "torch"},
    "viewer": {"rerun"},
    "networks": TORCH,
    "weights": TORCH,
    "device_buffers": {"torch"},
    "device_pipeline": {"torch"},
    "training": TORCH | {"onnxruntime"},
    "benchmark": TORCH,
}
HEAVY = ROS | TORCH | {"openvino", "onnxruntime", "rerun"}


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("lcr_seg_ros", include_external_packages=True, cache_dir=None)


def room_of(module: str) -> str:
    return "__init__" if module == "lcr_seg_ros" else module.split(".")[1]


def arrows(graph: grimp.ImportGraph) -> Iterator[tuple[str, str]]:
    """(module of ours, what it imports), inside functions as well; ``TYPE_CHECKING`` counts."""
    for module in graph.modules:
        if module.split(".")[0] == "lcr_seg_ros":
            for imported in graph.find_modules_directly_imported_by(module):
                yield module, imported


def test_every_module_belongs_to_a_room(graph):
    rooms = {room_of(m) for m in graph.modules if m.split(".")[0] == "lcr_seg_ros"}
    assert rooms <= MAY_IMPORT_ROOMS.keys(), "a new room needs its line in MAY_IMPORT_ROOMS and in pyproject.toml"


def test_each_room_imports_only_the_rooms_it_may_know(graph):
    wrong = sorted(
        f"{module} -> {imported}"
        for module, imported in arrows(graph)
        if imported.split(".")[0] == "lcr_seg_ros"
        and room_of(imported) not in {room_of(module), "__init__"} | ANY | MAY_IMPORT_ROOMS[room_of(module)]
    )
    assert not wrong


def test_only_the_torch_execution_of_hha_knows_torch(graph):
    knowing = {m for m, imported in arrows(graph) if room_of(m) == "hha" and imported.split(".")[0] == "torch"}
    assert knowing and all(m.startswith("lcr_seg_ros.hha.torch.") for m in knowing)


def test_each_room_imports_only_the_heavy_libraries_it_may_know(graph):
    wrong = sorted(
        f"{module} -> {imported}"
        for module, imported in arrows(graph)
        if imported.split(".")[0] in HEAVY - MAY_IMPORT_HEAVY_LIBRARIES.get(room_of(module), set())
    )
    assert not wrong


def test_only_the_torch_backend_knows_torch_among_backends(graph):
    knowing = {m for m, imported in arrows(graph) if room_of(m) == "backends" and imported.split(".")[0] == "torch"}
    assert knowing == {"lcr_seg_ros.backends.torch"}


def loaded_by(code: str, *arguments: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after ``code``."""
    report = "import json, sys; print('\\n' + json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}", *arguments],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=120,
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_the_package_loads_no_library():
    assert not loaded_by("import lcr_seg_ros") & (HEAVY | {"numpy", "cv2", "numba", "yaml", "click"})


@pytest.mark.parametrize("name", ["segmenter", "predict", "preprocess", "render", "sources.rooms", "training.metrics"])
def test_importing_what_runs_offline_loads_neither_torch_nor_ros(name):
    assert not loaded_by(f"import lcr_seg_ros.{name}") & (ROS | TORCH)


def test_evaluating_a_bundle_loads_neither_torch_nor_ros():
    assert not loaded_by("import lcr_seg_ros.training.evaluate_command") & (ROS | TORCH)


@pytest.mark.ros
def test_importing_the_node_loads_no_torch():
    code = "from lcr_seg_ros.ros.environment import prepare_ros_environment\nprepare_ros_environment()\n"
    assert not loaded_by(code + "import lcr_seg_ros.ros.segment_node") & TORCH


def test_listing_the_commands_loads_no_library_but_click():
    code = "import sys, lcr_seg_ros.cli as c\ntry: c.main(['--help'])\nexcept SystemExit as e: assert not e.code"
    assert not loaded_by(code) & (HEAVY | {"numpy", "cv2", "numba"})


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_labelling_a_frame_loads_no_torch_unless_its_backend_is_chosen(tmp_path, backend):
    pytest.importorskip(backend)
    bundle = make_tiny_bundle(tmp_path / "tiny.lcrseg", modality="rgb_hha")
    code = """
import sys
import numpy as np
from lcr_seg_ros import CameraIntrinsics, RgbdFrame, Segmenter
segmenter = Segmenter.load(sys.argv[1], backend=sys.argv[2])
camera = CameraIntrinsics(130, 130, 80, 60, 160, 120)
frame = RgbdFrame(np.full((120, 160, 3), 90, np.uint8), np.full((120, 160), 2, np.float32), camera)
assert segmenter.segment(frame).labels.shape == (120, 160)
"""
    assert not loaded_by(code, str(bundle), backend) & (ROS | TORCH)


def sources() -> list[Path]:
    """Python files of the package, training included, each once."""
    below_link = PACKAGE / "training"
    return sorted(
        p for top in (PACKAGE, ROOT / "training") for p in top.rglob("*.py") if not p.is_relative_to(below_link)
    )


def test_training_and_config_are_one_folder_under_two_names():
    for name in ("training", "config"):
        link = PACKAGE / name
        assert link.is_symlink(), f"{link} must be a symbolic link to ../{name} (git needs core.symlinks=true)"
        assert str(link.readlink()) == f"../{name}"


def test_no_pickle_is_ever_loaded():
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            where = f"{path}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] + ([node.module] if isinstance(node, ast.ImportFrom) else [])
                assert not {"pickle", "cPickle", "dill", "joblib", "shelve"} & set(names), where
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "load":
                keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
                assert ast.unparse(node.func.value) != "torch" or keywords.get("weights_only") == "True", where
                assert "allow_pickle" not in keywords, where


def test_files_are_named_for_what_is_in_them():
    vague = {"utils", "util", "helpers", "misc", "common", "tools", "stuff"}
    assert not [p for p in sources() if p.stem in vague]


def test_no_class_is_a_named_tuple_and_something_else():
    """Python allows that from 3.11 on; type checkers do not mind, and ROS 2 Humble has 3.10."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
        for folder in ("lcr_seg_ros", "training", "launch")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and len(node.bases) > 1 and "NamedTuple" in map(ast.unparse, node.bases)
    ]
    assert not wrong
