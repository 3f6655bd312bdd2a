"""What is said where an optional part is not installed: one line that names the extra, before any work is done."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from shared_data import ROOT
from test_folder import frames
from test_packaging import value_in_setup
from tiny_bundle import make_tiny_bundle

from lcr_seg_ros.cli import group, main
from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.extras import MODULES_OF_EXTRAS, explain_missing, require
from lcr_seg_ros.sources.folder import write_folder

WITHOUT = """
import json, sys
blocked, lines = json.loads(sys.argv[1])
sys.modules.update(dict.fromkeys(blocked))  # as if they were not installed
from lcr_seg_ros.cli import main
for line in lines:
    try:
        main(line)
    except SystemExit as ended:
        print("ended with", ended.code, file=sys.stderr)
"""


def said_without(blocked: list[str], lines: list[list[str]], folder: Path) -> list[str]:
    """What the command lines say, one after the other in one process in which the modules cannot be imported."""
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT, json.dumps([blocked, lines])],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert ended.returncode == 0, ended.stderr
    return [line for line in ended.stderr.splitlines() if not line.startswith(("WARNING", "INFO"))]


def test_a_command_whose_extra_is_missing_names_it_in_one_line_though_it_imports_late(tmp_path: Path) -> None:
    data, model = tmp_path / "data", make_tiny_bundle(tmp_path / "tiny.lcrseg")
    write_folder(frames(), data, split="val")
    lines = {
        ("train", "--data", "data"): "lightning",
        ("export", "--fuse", "nyu4", "nyu4", "--out", "x.lcrseg"): "onnx",
        ("export", "--run", "data", "--out", "x.lcrseg"): "torch",
        ("quantize", "--data", "data", "--model", model.name, "--out", "x.lcrseg"): "onnx",
        ("explain-constraint", "--run", "a", "--data", "data", "--out", "x"): "torch",
        ("benchmark", "constraint"): "torch",
        ("benchmark", "training"): "torch",
        ("hha", "--data", "data", "--mode", "torch", "--out", "x"): "torch",
        ("evaluate", "--data", "data", "--model", model.name, "--report", "x"): "matplotlib",
        ("benchmark", "frame", "--plot", "x.png"): "matplotlib",
    }
    said = said_without(["torch", "lightning", "onnx", "matplotlib"], [list(line) for line in lines], tmp_path)
    expected = []
    for line, module in lines.items():
        task = " ".join((line[0], *({"--report", "--plot"} & set(line))))
        expected.append(
            f"error: `{task}` needs the Python module {module!r}, which is not installed: "
            "pip install 'lcr_seg_ros[train]'"
        )
    assert said[::2] == expected
    assert set(said[1::2]) == {"ended with 1"}
    assert not (tmp_path / "x").exists(), "nothing is left behind"


def test_a_missing_module_of_no_extra_is_a_fault_of_code_and_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def of_a_bug(*_: object, **__: object) -> None:
        import lcr_seg_ros.no_such_module  # noqa: F401

    monkeypatch.setattr(group, "main", of_a_bug)
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        main(["predict"])
    for name in ("torch.no_such_part", "json5", None):
        assert explain_missing(ModuleNotFoundError(name=name), "`predict`") is None


def test_a_command_with_several_extras_names_all_of_them_and_one_of_ros_its_other_source() -> None:
    said = str(explain_missing(ModuleNotFoundError(name="rclpy"), "`view`", "ros,rerun"))
    assert said.endswith("pip install 'lcr_seg_ros[ros,rerun]', or source your ROS 2 installation first")


def test_what_is_looked_for_is_found_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    require("`train`", "json")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(LcrSegError, match=r"fcn_lite needs .*'timm'.*: pip install 'lcr_seg_ros\[train\]'"):
        require("fcn_lite", "timm")


def test_every_module_stands_with_the_extra_of_setup_py_that_brings_it() -> None:
    extras = value_in_setup("EXTRAS")
    installed = {module: set(map(canonicalize_name, names)) for module, names in packages_distributions().items()}
    for extra, modules in MODULES_OF_EXTRAS.items():
        brought = {canonicalize_name(Requirement(line).name) for line in extras[extra]} - {"ros-rmw-fastrtps-cpp"}
        named = set().union(*(installed.get(module, set()) for module in modules))
        here = brought & set().union(*installed.values())
        assert here <= named, f"extras.py names no module of {sorted(here - named)}, which {extra} brings"


@pytest.mark.parametrize("module", ["matplotlib", "torch"])
def test_an_ablation_without_what_its_runs_need_starts_none(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pydantic")
    write_folder(frames(), tmp_path / "data", split="val")
    (tmp_path / "data" / "fit.txt").write_text((tmp_path / "data" / "val.txt").read_text())
    monkeypatch.setitem(sys.modules, module, None)
    command = ["ablate", "--grid", "fcn_lite_losses", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out")]
    answer = CliRunner().invoke(group, command)
    assert isinstance(answer.exception, LcrSegError)
    assert f"needs the Python module {module!r}, which is not installed: pip install" in str(answer.exception)
    assert not (tmp_path / "out").exists()
