"""The package installs, and its executables run, in each way that people install it; set-up speaks plainly.

Nothing here needs a network: dependencies come from the environment that runs the tests.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import textwrap
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import lcr_seg_ros

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {
    "segment",
    "play",
    "doctor",
    "record",
    "view",
    "demo",
    "predict",
    "map",
    "map-node",
    "hha",
    "train",
    "ablate",
    "explain-constraint",
    "reproduce",
    "evaluate",
    "export",
    "quantize",
    "prepare",
    "check-data",
    "benchmark",
}
MODES = ("pip install", "pip install -e", "colcon build", "colcon build --symlink-install")

pytestmark = pytest.mark.slow


def clean_environment(**extra: str) -> dict[str, str]:
    """The caller's environment without what would let this checkout or a ROS installation show through."""
    hidden = {"PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "_ROS_WHEELS_BOOTSTRAP_COMPLETE"}
    ros = ("AMENT_", "COLCON_", "CMAKE_PREFIX")
    return {k: v for k, v in os.environ.items() if k not in hidden and not k.startswith(ros)} | extra


def run(*command: object, cwd: Path | None = None, environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=clean_environment() if environment is None else environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout[-4000:]}"
    return done.stdout


def copy_of_the_tree(target: Path) -> Path:
    """What a clone of the present state would hold: tracked files and new ones that git does not ignore."""
    git = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(git, stdout=subprocess.PIPE, check=True).stdout.decode().split("\0")
    for name in filter(None, names):
        if os.path.lexists(ROOT / name):  # a deleted file may still be in the index
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name, follow_symlinks=False)
    return target


@dataclass(frozen=True)
class Install:
    mode: str
    tree: Path
    python: Path
    executables: Path
    prefix: Path
    environment: dict[str, str]

    @property
    def linked_to_tree(self) -> bool:
        return self.mode in ("pip install -e", "colcon build --symlink-install")


@pytest.fixture(scope="module", params=MODES)
def install(request, tmp_path_factory) -> Install:
    folder = tmp_path_factory.mktemp(re.sub(r"\W+", "_", request.param))
    tree = copy_of_the_tree(folder / "src" / "lcr_seg_ros")
    return (install_with_pip if "pip" in request.param else install_with_colcon)(request.param, folder, tree)


def install_with_pip(mode: str, folder: Path, tree: Path) -> Install:
    """Into a fresh environment that sees the dependencies of the one that runs the tests."""
    prefix = folder / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", prefix)
    python = prefix / "bin" / "python"
    site_packages = Path(sysconfig.get_path("purelib", vars={"base": str(prefix)}))
    dependencies = sysconfig.get_path("purelib")
    (site_packages / "dependencies.pth").write_text(f"import site; site.addsitedir({dependencies!r})\n")
    offline = ("--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check")
    run(python, "-m", "pip", "install", *offline, *mode.split()[2:], tree)
    return Install(mode, tree, python, prefix / "bin", prefix, clean_environment())


def install_with_colcon(mode: str, folder: Path, tree: Path) -> Install:
    pytest.importorskip("colcon_core", reason="needs colcon-common-extensions (pip extra dev)")
    run(sys.executable, "-m", "colcon", *mode.split()[1:], "--event-handlers", "console_direct+", cwd=folder)
    prefix = folder / "install" / "lcr_seg_ros"
    sourced = run("bash", "-c", f". '{folder}/install/setup.bash' && env -0", cwd=folder)
    environment = dict(entry.split("=", 1) for entry in sourced.split("\0") if "=" in entry)
    return Install(mode, tree, Path(sys.executable), prefix / "lib" / "lcr_seg_ros", prefix, environment)


def told_by(install: Install, code: str) -> object:
    """What ``code`` prints as JSON in a Python that uses the install, far from the source tree."""
    return json.loads(
        run(install.python, "-c", textwrap.dedent(code), cwd=install.prefix, environment=install.environment)
    )


def test_every_executable_runs(install):
    for command in sorted(COMMANDS):
        said = run(install.executables / command, "--help", cwd=install.prefix, environment=install.environment)
        assert said.startswith("Usage: "), f"{command}: {said}"


def test_the_package_in_use_is_the_installed_one(install):
    used = Path(str(told_by(install, "import json, lcr_seg_ros; print(json.dumps(lcr_seg_ros.__file__))"))).resolve()
    where = install.tree if install.linked_to_tree else install.prefix
    assert used.is_relative_to(where), f"{used} is not below {where}"


def test_all_modules_config_and_models_are_there(install):
    found = told_by(
        install,
        """
        import json, os, lcr_seg_ros
        top = os.path.dirname(lcr_seg_ros.__file__)
        files = [os.path.relpath(os.path.join(d, n), top) for d, _, ns in os.walk(top, followlinks=True) for n in ns]
        print(json.dumps(files))
        """,
    )
    top = install.tree / "lcr_seg_ros"
    wanted = {os.path.relpath(Path(d, n), top) for d, _, names in os.walk(top, followlinks=True) for n in names}
    assert {n for n in wanted if "__pycache__" not in n} == {n for n in found if "__pycache__" not in n}
    assert {"training/lcr.py", "config/labels/nyu40.yaml"} <= set(found)


def test_training_and_labels_can_be_used(install):
    code = """
        import json
        from lcr_seg_ros.labels import LabelSet
        from lcr_seg_ros.training.metrics import scores_from_confusion
        print(json.dumps([len(LabelSet.load("nyu40").classes), scores_from_confusion([[3, 1], [0, 4]])["pixel_acc"]]))
    """
    assert told_by(install, code) == [40, 0.875]


def test_a_shipped_model_can_be_named(install):
    shipped = sorted(p.stem for p in (install.tree / "lcr_seg_ros" / "models").glob("*.lcrseg"))
    code = "import json; from lcr_seg_ros.bundle import shipped_models; print(json.dumps(shipped_models()))"
    assert told_by(install, code) == shipped


@pytest.mark.parametrize("install", [m for m in MODES if "colcon" in m], indirect=True, scope="module")
def test_ros2_finds_the_package_and_its_executables(install):
    """As ``ros2 pkg executables`` does: the index gives the prefix, lib/<package> the executable files.

    `ros2 run` is for colcon workspaces; pip puts the commands on PATH.
    """
    pytest.importorskip("ament_index_python")
    prefix = told_by(
        install,
        """
        import json
        from ament_index_python.packages import get_package_prefix, get_package_share_directory
        print(json.dumps([get_package_prefix("lcr_seg_ros"), get_package_share_directory("lcr_seg_ros")]))
        """,
    )
    assert prefix == [str(install.prefix), str(install.prefix / "share" / "lcr_seg_ros")]
    folder = install.prefix / "lib" / "lcr_seg_ros"
    assert {p.name for p in folder.iterdir() if os.access(p, os.X_OK)} == {*COMMANDS, "lcr_seg_ros"}


def files_below(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts}


@pytest.mark.parametrize("install", [m for m in MODES if m != "pip install -e"], indirect=True, scope="module")
def test_share_holds_what_ros_tools_look_for(install):
    """An editable install has no share folder; there the files are found in the source tree."""
    share = install.prefix / "share"
    assert (share / "ament_index" / "resource_index" / "packages" / "lcr_seg_ros").is_file()
    for name in ("launch", "config"):
        assert files_below(share / "lcr_seg_ros" / name) == files_below(install.tree / name)
    manifest = ElementTree.parse(share / "lcr_seg_ros" / "package.xml").getroot()
    assert manifest.findtext("name") == "lcr_seg_ros"


def test_the_version_is_the_same_everywhere():
    setup = run(sys.executable, ROOT / "setup.py", "--version", cwd=ROOT).split()[-1]
    manifest = ElementTree.parse(ROOT / "package.xml").getroot().findtext("version")
    assert setup == manifest == lcr_seg_ros.__version__
    assert f"## {setup}" in (ROOT / "CHANGELOG.md").read_text()


def test_package_xml_is_valid_and_names_what_is_imported():
    parse_package = pytest.importorskip("catkin_pkg.package").parse_package
    package = parse_package(str(ROOT / "package.xml"), warnings=(warnings := []))
    assert not warnings
    assert package.get_build_type() == "ament_python"
    named = {d.name for d in package.exec_depends}
    imported: set[str] = set()
    for path in [*(ROOT / "lcr_seg_ros" / "ros").rglob("*.py"), *(ROOT / "launch").glob("*.py")]:
        imported |= set(re.findall(r"^\s*(?:from|import) (\w+)", path.read_text(), re.MULTILINE))
    ros = {d for d in imported if d in ROS_PACKAGES or d.endswith("_msgs")}
    assert ros <= named, f"package.xml does not name {sorted(ros - named)}"


def test_package_xml_names_what_pip_would_install():
    requirements = re.findall(r"^[\w-]+", "\n".join(value_in_setup("BASE")), re.MULTILINE)
    keys = {"PyYAML": "yaml", "opencv-python-headless": "opencv", "rosbags": "rosbags-pip"}
    wanted = {f"python3-{keys.get(name, name)}" for name in requirements if name != "openvino"}  # rosdep has no key
    named = {one.text for one in ElementTree.parse(ROOT / "package.xml").getroot().iter("exec_depend")}
    assert "python3-tqdm" in wanted and wanted <= named, f"package.xml does not name {sorted(wanted - named)}"


def value_in_setup(name: str) -> Any:
    """The constant that setup.py gives this name."""
    assigned = (node for node in ast.parse((ROOT / "setup.py").read_text()).body if isinstance(node, ast.Assign))
    return next(ast.literal_eval(node.value) for node in assigned if node.targets[0].id == name)  # type: ignore[attr-defined]


ROS_PACKAGES = {
    *("ament_index_python", "builtin_interfaces", "cv_bridge", "launch", "launch_ros", "message_filters", "rclpy"),
    *("rcl_interfaces", "sensor_msgs_py", "std_srvs", "tf2_ros"),
}


class TestSetUp:
    """``tools/setup_venv.py``, which make runs before anything is installed."""

    @pytest.fixture(scope="class")
    @staticmethod
    def tree(tmp_path_factory) -> Path:
        return copy_of_the_tree(tmp_path_factory.mktemp("setup") / "lcr_seg_ros")

    @pytest.fixture
    @staticmethod
    def stand_in(tmp_path) -> Iterator[Path]:
        """A folder on PYTHONPATH whose modules take the place of the interpreter's own."""
        yield tmp_path

    @staticmethod
    def complaint(tree: Path, *extras: str, **environment: str) -> str:
        """The one line that a set-up which cannot go on leaves on stderr."""
        done = subprocess.run(
            [sys.executable, str(tree / "tools" / "setup_venv.py"), *(extras or ("ros",))],
            env=clean_environment(**environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 1, done.stdout + done.stderr
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    def test_says_that_python_is_too_old(self, tree, stand_in):
        (stand_in / "sitecustomize.py").write_text("import sys\nsys.version_info = (3, 8, 18)\n")
        line = self.complaint(tree, PYTHONPATH=str(stand_in))
        assert "is Python 3.8, but lcr_seg_ros needs 3.10 to 3.14" in line
        assert "PYTHON=" in line

    @pytest.mark.parametrize("module", ["venv", "ensurepip"])
    def test_says_that_the_venv_module_is_missing(self, tree, stand_in, module):
        (stand_in / f"{module}.py").write_text("raise ImportError\n")
        line = self.complaint(tree, PYTHONPATH=str(stand_in))
        assert f"lacks the {module} module" in line
        assert "python3-venv" in line

    @pytest.mark.parametrize(("extras", "need"), [(("ros",), "1.5 GB"), (("ros", "train", "dev"), "9.0 GB")])
    def test_says_that_the_disk_is_too_small(self, tree, extras, need):
        line = self.complaint(tree, *extras, LCR_SEG_FREE_GB="1.4")
        assert "not enough disk" in line
        assert f"1.4 GB are free, {need} are needed" in line
        assert not (tree / ".venv").exists()

    def test_says_which_extras_there_are_when_given_another(self, tree):
        line = self.complaint(tree, "ros", "trian")
        assert line.startswith("setup: there is no extra trian; the extras are: ")
        assert sorted(line.strip().partition("are: ")[2].split(", ")) == sorted(value_in_setup("EXTRAS"))

    def test_says_that_the_machine_is_of_another_kind(self, tree, stand_in):
        code = "import platform\nplatform.machine = lambda: 'aarch64'\n"
        (stand_in / "sitecustomize.py").write_text(code)
        assert "aarch64" in self.complaint(tree, PYTHONPATH=str(stand_in))

    def test_says_that_there_is_no_network(self, tree):
        nowhere = "http://127.0.0.1:9/simple"  # the discard port: nothing answers
        settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_INDEX_URL": nowhere, "PIP_RETRIES": "0", "PIP_FIND_LINKS": ""}
        line = self.complaint(tree, **settings, PIP_EXTRA_INDEX_URL="", PIP_CONSTRAINT="")
        assert "no package index could be reached" in line
        assert (tree / ".venv" / "setup.log").is_file()

    def test_has_nothing_to_do_when_all_is_there(self, tree):
        inputs = (tree / name for name in ("setup.py", "setup.cfg", "pyproject.toml"))
        digest = hashlib.sha256(b"".join(p.read_bytes() for p in inputs)).hexdigest()
        (tree / ".venv" / "bin").mkdir(parents=True, exist_ok=True)
        (tree / ".venv" / "bin" / "python").unlink(missing_ok=True)
        (tree / ".venv" / "bin" / "python").symlink_to(sys.executable)
        stamp = {"root": str(tree), "digest": digest, "extras": ["dev", "ros", "train"]}
        (tree / ".venv" / "lcr_seg_ros.json").write_text(json.dumps(stamp))
        assert run(sys.executable, tree / "tools" / "setup_venv.py", "ros") == ""

    def test_make_says_that_there_is_no_python(self, tree):
        done = subprocess.run(
            ["make", "demo", "PYTHON=no-such-python"], cwd=tree, env=clean_environment(), capture_output=True, text=True
        )
        assert done.returncode == 2
        assert "there is no no-such-python here: install Python 3.10 or newer" in done.stderr

    def test_is_written_for_pythons_that_are_too_old_to_run_anything_else(self):
        """No syntax newer than Python 3.3 (Python 2.7 reads it as well; 3.3 is as far back as ``ast`` goes)."""
        import ast

        ast.parse((ROOT / "tools" / "setup_venv.py").read_text(), feature_version=(3, 4))
