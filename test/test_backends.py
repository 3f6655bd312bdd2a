"""Which runtime is taken and why; that all give the same labels; that nothing is left behind or phones home."""

from __future__ import annotations

import logging
import os
import platform
import resource
import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from shared_data import ROOT, shared_data
from tiny_bundle import make_tiny_bundle, tiny_bundle

from lcr_seg_ros.backends import BACKENDS, Backend, create_backend, model_to_run
from lcr_seg_ros.backends import network_file as network_files
from lcr_seg_ros.backends.cache import cache_folder, prune
from lcr_seg_ros.backends.cuda import why_no_cuda
from lcr_seg_ros.backends.network_file import network_file
from lcr_seg_ros.backends.openvino import MAX_SIZES, OpenVinoBackend
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.decode import decode
from lcr_seg_ros.errors import BackendError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.preprocess import Preprocessor
from lcr_seg_ros.segmenter import Segmenter
from lcr_seg_ros.sources.folder import DatasetFolder
from lcr_seg_ros.sources.rooms import RenderedRoom

KITCHEN = CameraIntrinsics(585.0, 585.0, 320.0, 240.0, 640, 480)
SIZES = ((640, 480), (560, 425))

needs_no_cuda = pytest.mark.skipif(not why_no_cuda(), reason="this machine has a CUDA device")


@cache
def loaded(backend: str) -> Backend:
    pytest.importorskip(BACKENDS[backend][0])
    return create_backend(ModelBundle.load("nyu40"), backend, "cpu")


@cache
def frames(size: tuple[int, int], source: str) -> list[RgbdFrame]:
    """Four frames of a source, cut to a size from the top left."""
    if source == "rendered":
        whole = [item.frame for item in RenderedRoom(frames=4, seed=3)]
    elif source == "kitchen":
        kitchen = DatasetFolder(shared_data("kitchen"), intrinsics=KITCHEN)
        whole = [kitchen[index].frame for index in (0, 40, 80, 110)]
    else:
        nyudv2 = DatasetFolder(shared_data("nyudv2"), "val")
        whole = [nyudv2[index].frame for index in (0, 130, 260, 400)]
    return [_cut(frame, *size) for frame in whole]


def _cut(frame: RgbdFrame, width: int, height: int) -> RgbdFrame:
    assert frame.depth_m is not None and frame.intrinsics is not None
    camera = replace(frame.intrinsics, width=width, height=height)
    return RgbdFrame(frame.rgb[:height, :width].copy(), frame.depth_m[:height, :width].copy(), camera)


@pytest.mark.parametrize("source", ["rendered", "kitchen", "nyudv2"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_every_backend_gives_the_labels_of_openvino(backend: str, size: tuple[int, int], source: str) -> None:
    bundle = ModelBundle.load("nyu40")
    preprocessor = Preprocessor(bundle.input)
    for frame in frames(size, source):
        tensor = preprocessor(frame).tensor
        ours, theirs = (
            decode(loaded(name).infer(tensor)[0], bundle.labels.ids, *size)[0] for name in (backend, "openvino")
        )
        assert (ours == theirs).mean() >= 0.999


class TestTheChoice:
    @needs_no_cuda
    def test_auto_tells_why_it_takes_the_cpu(self, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.INFO, "lcr_seg_ros"):
            assert create_backend(tiny_bundle(), "auto", "auto").device == "cpu"
        assert f"device auto takes the CPU: {why_no_cuda()}" in caplog.messages
        assert "the network runs on openvino (cpu)" in caplog.messages

    @needs_no_cuda
    @pytest.mark.parametrize("backend", ["auto", "onnxruntime", "torch"])
    def test_cuda_that_is_not_there_is_refused_with_the_reason(self, backend: str) -> None:
        with pytest.raises(BackendError, match=r"device cuda cannot be had: .* use device cpu or auto"):
            create_backend(tiny_bundle(), backend, "cuda")

    def test_onnxruntime_names_what_each_of_its_providers_lacks(self) -> None:
        onnxruntime = pytest.importorskip("onnxruntime")
        if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            pytest.skip("this is the GPU build of onnxruntime")
        from lcr_seg_ros.backends.onnxruntime import OnnxRuntimeBackend

        with pytest.raises(BackendError, match=r"TensorRT: not in this build.*CUDA: not in this build"):
            OnnxRuntimeBackend(tiny_bundle(), "cuda", 0)

    def test_auto_goes_on_to_the_next_backend_and_tells_why(self, caplog: pytest.LogCaptureFixture) -> None:
        """ONNX Runtime's own operators are unknown to OpenVINO."""
        pytest.importorskip("onnxruntime")
        with caplog.at_level(logging.INFO, "lcr_seg_ros"):
            assert create_backend(_bundle_of_onnxruntimes_own_operator(), "auto", "cpu").name == "onnxruntime"
        assert any("not openvino on cpu: openvino cannot" in message for message in caplog.messages)

    def test_auto_passes_over_a_runtime_that_breaks_while_it_loads(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pytest.importorskip("onnxruntime")

        def broken(*arguments: object) -> None:
            raise ImportError("libtbb.so.12: cannot open shared object file")

        monkeypatch.setattr("lcr_seg_ros.backends.openvino.OpenVinoBackend", broken)
        with caplog.at_level(logging.INFO, "lcr_seg_ros"):
            assert create_backend(tiny_bundle(), "auto", "cpu").name == "onnxruntime"
        assert any("'openvino' fails on cpu: ImportError: libtbb" in message for message in caplog.messages)

    @needs_no_cuda
    def test_a_cuda_device_that_nothing_can_use_is_warned_of_unless_the_cpu_was_asked_for(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for backend in ("onnxruntime", "torch"):
            pytest.importorskip(BACKENDS[backend][0])
        monkeypatch.setattr("lcr_seg_ros.backends.why_no_cuda", lambda: "")  # it is there, as far as the driver knows
        segmenter = Segmenter.load("nyu4")
        assert (segmenter.backend_name, segmenter.device) == ("openvino", "cpu")
        said = segmenter.device_fallback
        assert said.startswith("openvino on cpu, as nothing runs the network on cuda (PyTorch")
        assert "cannot use the CUDA device" in said and "; onnxruntime cannot" in said and "set device cpu" in said
        assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [said]
        for asked_for in ({"device": "cpu"}, {"backend": "openvino"}):
            assert Segmenter.load("nyu4", **asked_for).device_fallback == ""

    def test_where_nothing_runs_a_network_the_error_lists_what_each_said(self) -> None:
        for backend in ("onnxruntime", "torch"):
            pytest.importorskip(BACKENDS[backend][0])
        with pytest.raises(BackendError, match=r"openvino cannot read .*; onnxruntime cannot load .*; cannot read"):
            create_backend(replace(tiny_bundle(), network=b"not a model"), "auto", "cpu")


def _bundle_of_onnxruntimes_own_operator() -> ModelBundle:
    import onnx
    from onnx import helper

    bundle = tiny_bundle()
    model = onnx.load_from_string(bundle.network)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.graph.node.insert(0, helper.make_node("Inverse", ["image"], ["upper"], domain="com.microsoft"))
    model.graph.node[1].input[0] = "upper"
    return replace(bundle, network=model.SerializeToString())


class TestOpenVinosCache:
    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        return tmp_path / "lcr_seg_ros" / "openvino"

    @pytest.fixture
    def tensor(self) -> npt.NDArray[np.float32]:
        return np.random.default_rng(0).normal(0, 1, (1, 6, 64, 96)).astype(np.float32)

    def test_what_was_compiled_is_found_again(self, folder: Path, tensor: npt.NDArray[np.float32]) -> None:
        first = create_backend(tiny_bundle(), "openvino").infer(tensor).copy()
        (kept,) = folder.iterdir()
        written = kept.stat().st_mtime_ns
        assert np.array_equal(create_backend(tiny_bundle(), "openvino").infer(tensor), first)
        assert [file.stat().st_mtime_ns for file in folder.iterdir()] == [written]
        assert folder.stat().st_mode & 0o077 == 0, "others may not put networks there"

    @pytest.mark.parametrize("size", [0, 100, 3000])
    def test_a_file_that_was_cut_is_compiled_anew(
        self, folder: Path, tensor: npt.NDArray[np.float32], size: int
    ) -> None:
        first = create_backend(tiny_bundle(), "openvino").infer(tensor).copy()
        (kept,) = folder.iterdir()
        whole = kept.read_bytes()
        kept.unlink()
        kept.write_bytes(whole[:size])
        assert np.array_equal(create_backend(tiny_bundle(), "openvino").infer(tensor), first)

    def test_without_a_place_to_write_it_runs_all_the_same(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        tensor: npt.NDArray[np.float32],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        with caplog.at_level(logging.INFO, "lcr_seg_ros"):
            assert create_backend(tiny_bundle(), "openvino").infer(tensor).shape == (1, 40, 16, 24)
        assert any("compiled networks are not kept" in message for message in caplog.messages)

    def test_a_relative_cache_home_is_ignored(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", "somewhere")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cache_folder("openvino") == tmp_path / ".cache" / "lcr_seg_ros" / "openvino"

    def test_the_oldest_files_go_first(self, tmp_path: Path) -> None:
        for age, name in enumerate(("new", "middle", "old")):
            (tmp_path / name).write_bytes(bytes(100))
            os.utime(tmp_path / name, (1000 - age, 1000 - age))
        prune(tmp_path, 250)
        assert sorted(file.name for file in tmp_path.iterdir()) == ["middle", "new"]

    def test_only_the_last_input_sizes_are_kept_in_memory(self, folder: Path) -> None:
        backend = create_backend(tiny_bundle(), "openvino")
        assert isinstance(backend, OpenVinoBackend)
        for side in range(32, 32 + 8 * (MAX_SIZES + 3), 8):
            assert backend.infer(np.zeros((1, 6, side, side), np.float32)).shape == (1, 40, side // 4, side // 4)
        assert len(backend._requests) == MAX_SIZES


SEALED = """
import ctypes, sys

def seal(socket_call):
    '''From here on the kernel kills this process at socket(AF_INET or AF_INET6), native code included.'''
    class Step(ctypes.Structure):
        _fields_ = [("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("k", ctypes.c_uint32)]
    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_uint16), ("steps", ctypes.POINTER(Step))]
    load, equal, give = 0x20, 0x15, 0x06
    steps = (Step * 7)(
        Step(load, 0, 0, 0), Step(equal, 0, 4, socket_call),
        Step(load, 0, 0, 16), Step(equal, 1, 0, 2), Step(equal, 0, 1, 10),
        Step(give, 0, 0, 0x80000000), Step(give, 0, 0, 0x7FFF0000),
    )
    libc = ctypes.CDLL(None, use_errno=True)
    assert not libc.prctl(38, 1, 0, 0, 0) and not libc.prctl(22, 2, ctypes.byref(Program(7, steps)), 0, 0)

seal(int(sys.argv[1]))
"""
"""PR_SET_NO_NEW_PRIVS, then PR_SET_SECCOMP with a filter (seccomp(2))."""


def run_sealed(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    number = {"x86_64": 41, "aarch64": 198}.get(platform.machine())
    if sys.platform != "linux" or number is None:
        pytest.skip("system calls are filtered on x86-64 and ARM Linux only")
    return subprocess.run(
        [sys.executable, "-c", SEALED + code, str(number), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )


class TestNothingPhonesHome:
    def test_the_seal_holds(self) -> None:
        assert run_sealed("import socket; socket.socket()").returncode < 0

    @pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
    def test_loading_and_running_a_network_opens_no_socket(self, backend: str, tmp_path: Path) -> None:
        pytest.importorskip(BACKENDS[backend][0])
        done = run_sealed(
            """
import numpy as np, time
from lcr_seg_ros.backends import create_backend
from lcr_seg_ros.bundle import ModelBundle
backend = create_backend(ModelBundle.load(sys.argv[2]), sys.argv[3])
backend.infer(np.zeros((1, 6, 64, 64), np.float32))
time.sleep(0.5)  # for threads that would send later
assert not [name for name in sys.modules if name.startswith("openvino_telemetry.")]
print("done")
""",
            make_tiny_bundle(tmp_path / "tiny.lcrseg"),
            backend,
        )
        assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


class TestNetworkFile:
    """The file that OpenVINO and ONNX Runtime read a network from."""

    def test_it_has_the_networks_bytes_until_it_is_left(self) -> None:
        network = os.urandom(3_000_000)
        with network_file(network) as file:
            assert isinstance(file, str) and Path(file).read_bytes() == network
            assert "memfd:network.onnx" in str(Path(file).readlink())
        assert not Path(file).exists()

    def test_none_is_left_open(self) -> None:
        before = len(list(network_files.OPEN_FILES.iterdir()))
        for _ in range(3):
            with pytest.raises(ValueError, match="x"), network_file(b"network"):
                raise ValueError("x")
        assert len(list(network_files.OPEN_FILES.iterdir())) == before

    def test_where_files_are_limited_to_less_it_is_the_bytes(self) -> None:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = len(list(network_files.OPEN_FILES.iterdir()))
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
            with network_file(bytes(1025)) as file:
                assert file == bytes(1025)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert len(list(network_files.OPEN_FILES.iterdir())) == before

    @pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
    def test_without_such_files_runtimes_take_the_bytes(self, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip(BACKENDS[backend][0])
        tensor = np.random.default_rng(0).random((1, 6, 60, 80), np.float32)
        expected = create_backend(tiny_bundle(), backend, "cpu").infer(tensor).copy()
        monkeypatch.setattr(network_files, "OPEN_FILES", Path("/no/such/folder"))
        np.testing.assert_allclose(create_backend(tiny_bundle(), backend, "cpu").infer(tensor), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("backend", "device", "no_cuda", "installed", "taken"),
    [
        ("auto", "auto", "no driver", {"openvino", "onnxruntime", "torch"}, "nyu40-int8"),
        ("auto", "auto", "no driver", {"onnxruntime"}, "nyu40-int8"),
        ("auto", "auto", "no driver", {"torch"}, "nyu40"),
        ("torch", "cpu", "no driver", {"openvino", "torch"}, "nyu40"),
        ("onnxruntime", "auto", "no driver", {"openvino", "torch"}, "nyu40"),
        ("auto", "auto", "", {"openvino", "torch"}, "nyu40"),
        ("auto", "cuda", "", {"openvino", "torch"}, "nyu40"),
        ("auto", "cpu", "", {"openvino", "torch"}, "nyu40-int8"),
        ("openvino", "auto", "", {"openvino", "torch"}, "nyu40-int8"),
    ],
)
def test_auto_is_the_model_in_8_bits_where_a_cpu_runs_it_and_can(
    backend: str, device: str, no_cuda: str, installed: set[str], taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lcr_seg_ros.backends.why_no_cuda", lambda: no_cuda)
    monkeypatch.setattr("lcr_seg_ros.backends.find_spec", lambda name: name if name in installed else None)
    assert model_to_run("auto", backend, device) == taken
    assert model_to_run("mine.lcrseg", backend, device) == "mine.lcrseg"
