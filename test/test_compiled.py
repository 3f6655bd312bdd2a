"""Compiled loops: the same from disk as from the compiler, and at work where nothing can be kept on disk, or where what
was kept there is broken."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numba
import pytest
from small_disk import files_of_at_most

from lcr_seg_ros.compiled import compiled

PACKAGE = Path(__file__).resolve().parent.parent / "lcr_seg_ros"

WITH_COMPILED_LOOPS = [
    *("decode", "hha.kernels", "mapping.pictures", "mapping.voxels", "registration", "compressed_images"),
    *("sources.rooms.camera", "sources.rooms.raycast", "sources.rooms.shading"),
]


@pytest.fixture(scope="module")
def frozen_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, in folders where not even root can make a ``__pycache__``: a file has its name."""
    top = tmp_path_factory.mktemp("read_only")
    shutil.copytree(PACKAGE, top / "lcr_seg_ros", ignore=shutil.ignore_patterns("__pycache__", "models"))
    for folder in [path.parent for path in top.rglob("__init__.py")]:
        (folder / "__pycache__").touch()
    return top


def run_in(frozen_copy: Path, code: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=frozen_copy,
        env=environment | {"HOME": os.devnull, "PYTHONPATH": str(frozen_copy), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_numba_itself_refuses_there(frozen_copy: Path) -> None:
    (frozen_copy / "plain.py").write_text("import numba\n\n@numba.njit(cache=True)\ndef twice(x):\n    return x + x\n")
    (frozen_copy / "__pycache__").touch()
    said = run_in(frozen_copy, "try:\n    import plain\nexcept RuntimeError as error:\n    print(error)")
    assert "cannot cache function" in said


def test_everything_is_imported_and_works_all_the_same(frozen_copy: Path) -> None:
    code = f"""
import importlib
import numpy as np
import lcr_seg_ros
assert lcr_seg_ros.__file__.startswith({str(frozen_copy)!r})
for name in {WITH_COMPILED_LOOPS!r}:
    importlib.import_module("lcr_seg_ros." + name)
from lcr_seg_ros.decode import decode
labels, confidence = decode(np.array([[[0.2]], [[0.8]]], np.float32), np.array([3, 7], np.uint8), 4, 2)
print(labels.tolist(), confidence.round(2).min())
"""
    assert run_in(frozen_copy, code) == "[[7, 7, 7, 7], [7, 7, 7, 7]] 0.8\n"
    assert not list(frozen_copy.rglob("*.nbi"))


def test_the_process_that_compiles_sees_what_those_see_that_read_its_files(tmp_path: Path) -> None:
    code = """
import hashlib
import numpy as np
from lcr_seg_ros.frame import CameraIntrinsics
from lcr_seg_ros.hha import HhaEncoder
camera = CameraIntrinsics(fx=525.0, fy=525.0, cx=319.5, cy=239.5, width=640, height=480)
random = np.random.default_rng(0)
v = (np.arange(480.0) - camera.cy)[:, None] / camera.fy
depth = np.minimum(1.2 / np.maximum(v, 1e-3), 4.0 + 0.3 * np.sin(np.arange(640.0) / 40))
depth += random.normal(0, 0.004, depth.shape)
depth[random.random(depth.shape) < 0.05] = 0
print(hashlib.sha256(HhaEncoder("fast").encode(depth.astype(np.float32), camera)).hexdigest())
"""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(PACKAGE.parent)}
    said = [subprocess.check_output([sys.executable, "-c", code], env=environment, text=True) for _ in range(2)]
    assert list(tmp_path.rglob("*.nbi"))
    assert said[0] == said[1]


# Broken files, and no room for them


def twice(x):
    return x + x


def thrice(x):
    return x + x + x


@pytest.fixture()
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Path:
    """The folder of compiled code, for the functions that are compiled from now on."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("lcr_seg_ros.compiled._Cache.has_told", False)
    caplog.set_level(logging.INFO, "lcr_seg_ros.compiled")
    return tmp_path


def read_from_disk() -> int:
    """Call both functions as a new process would, one of them with two types; returns how many of the three calls
    found compiled code on disk."""
    functions = [compiled()(one) for one in (twice, thrice)]
    assert (functions[0](21), functions[0](1.5), functions[1](1)) == (42, 3.0, 3)
    return sum(sum(one.stats.cache_hits.values()) for one in functions)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def zeroed(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))  # as some file systems leave it when the power goes


@pytest.mark.parametrize("spoil", [emptied, cut, zeroed])
@pytest.mark.parametrize("name", ["*twice-*.nbi", "*twice-*.1.nbc"])
def test_a_broken_file_is_replaced_and_that_of_another_function_is_still_read(
    name: str, spoil: Callable[[Path], None], cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_from_disk() == 0 and not caplog.messages
    (path,) = cache.rglob(name)
    spoil(path)
    assert read_from_disk() == 1
    assert len(caplog.records) == 1 and caplog.records[0].levelno == logging.INFO
    assert "cannot be read" in caplog.messages[0] and "compiling anew" in caplog.messages[0]
    assert read_from_disk() == 3


@pytest.mark.parametrize("largest_file", [0, 1000])  # the second has room for an index, but not for what it names
def test_on_a_full_disk_code_is_compiled_all_the_same_and_that_is_said_once(
    largest_file: int, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with files_of_at_most(largest_file):
        assert read_from_disk() == read_from_disk() == 0
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert caplog.messages[0].startswith(f"compiled code cannot be written to {cache}")
    assert read_from_disk() == 0  # and now there is room
    assert read_from_disk() == 3


def test_broken_files_on_a_full_disk_are_survived_as_well(cache: Path) -> None:
    read_from_disk()
    for path in cache.rglob("*.nb?"):
        cut(path)
    with files_of_at_most(0):
        assert read_from_disk() == 0


def test_a_broken_file_that_cannot_be_removed_is_named(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_from_disk()
    (path,) = cache.rglob("*twice-*.nbi")
    path.unlink()
    path.mkdir()  # which not even root removes as a file
    assert read_from_disk() == 1
    assert f"{str(path)!r}: remove it" in caplog.text


def test_no_module_asks_numba_by_itself() -> None:
    asking = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if "njit(" in path.read_text() and "training" not in path.parts
    }
    assert asking == {"compiled.py"}
