"""From frame to labels: preprocessing, the backends and decoding."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_bundle import make_tiny_bundle, tiny_bundle

from lcr_seg_ros.backends import BACKENDS, Backend, create_backend
from lcr_seg_ros.bundle import InputSpec, ModelBundle
from lcr_seg_ros.decode import decode
from lcr_seg_ros.errors import BackendError, FrameError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.hha import HhaEncoder
from lcr_seg_ros.preprocess import Preprocessor, network_size, resize_image
from lcr_seg_ros.segmenter import MAX_BATCH, Segmenter
from lcr_seg_ros.sources.rooms import RenderedRoom

SPEC = InputSpec("rgb_hha", 240, 320, (127.5,) * 3 + (100.0, 90.0, 120.0), (127.5,) * 3 + (50.0, 60.0, 70.0))


def random_frame(width: int = 160, height: int = 120, seed: int = 0) -> RgbdFrame:
    random = np.random.default_rng(seed)
    rgb = random.integers(0, 256, (height, width, 3), np.uint8)
    depth = random.uniform(0.8, 4.0, (height, width)).astype(np.float32)
    return RgbdFrame(rgb, depth, CameraIntrinsics(130.0, 130.0, width / 2, height / 2, width, height))


@pytest.mark.parametrize(
    ("camera", "network"),
    [((640, 480), (320, 240)), ((1280, 720), (424, 240)), ((480, 640), (240, 320)), ((320, 240), (320, 240))],
)
def test_the_network_sees_the_frame_in_its_own_shape(camera: tuple[int, int], network: tuple[int, int]) -> None:
    assert network_size(*camera, SPEC) == network


@pytest.mark.parametrize(
    ("camera", "rounded", "exact"),
    [
        ((560, 425), (560, 424), (560, 425)),
        ((1120, 850), (560, 424), (560, 425)),
        ((640, 480), (568, 424), (568, 424)),  # of another shape: as ever, the shape is kept to 8 pixels
        ((425, 560), (424, 560), (424, 560)),
    ],
)
def test_a_network_of_any_size_takes_frames_of_its_shape_at_exactly_the_size_of_training(
    camera: tuple[int, int], rounded: tuple[int, int], exact: tuple[int, int]
) -> None:
    spec = InputSpec("rgb", 425, 560, (0.0,) * 3, (1.0,) * 3)
    assert network_size(*camera, spec) == rounded
    assert network_size(*camera, replace(spec, is_exact=True)) == exact


@pytest.mark.parametrize("size", [(320, 240), (264, 200), (424, 240)])
def test_sizes_of_training_that_are_multiples_of_8_mean_the_same_to_every_network(size: tuple[int, int]) -> None:
    spec = InputSpec("rgb", size[1], size[0], (0.0,) * 3, (1.0,) * 3)
    for camera in ((640, 480), (560, 425), (1280, 720), (480, 640)):
        assert network_size(*camera, replace(spec, is_exact=True)) == network_size(*camera, spec)


def test_channels_are_colour_then_hha_normalised_one_by_one() -> None:
    frame = random_frame(320, 240)
    seen = Preprocessor(SPEC)(frame)
    assert seen.hha is not None
    stacked = np.concatenate([frame.rgb, seen.hha], axis=2).astype(np.float64)
    expected = ((stacked - SPEC.mean) / SPEC.std).transpose(2, 0, 1)[None]
    np.testing.assert_allclose(seen.tensor, expected, atol=1e-5)


def test_halving_an_image_averages_its_blocks() -> None:
    spec = InputSpec("rgb", 48, 64, (0.0,) * 3, (1.0,) * 3)
    frame = random_frame(128, 96)
    blocks = frame.rgb.reshape(48, 2, 64, 2, 3).mean((1, 3))
    np.testing.assert_allclose(Preprocessor(spec)(RgbdFrame(frame.rgb)).tensor[0].transpose(1, 2, 0), blocks, atol=0.51)


def test_hha_of_sampled_depth_is_that_of_all_of_it_made_smaller() -> None:
    """But along edges: what is a mean of two surfaces there is one of them here."""
    frame = RenderedRoom(frames=1, seed=3, noise=False)[0].frame
    assert frame.rgb.shape == (480, 640, 3) and frame.depth_m is not None and frame.intrinsics is not None
    seen = Preprocessor(SPEC)(frame).hha
    assert seen is not None and seen.shape == (240, 320, 3)
    whole = HhaEncoder("fast", SPEC.hha).encode(frame.depth_m, frame.intrinsics)
    off = np.abs(seen.astype(int) - resize_image(whole, (320, 240)))
    assert (np.median(off, (0, 1)) <= 1).all()
    assert ((off <= 3).mean((0, 1)) > 0.8).all()


def test_hha_of_a_frame_smaller_than_the_network_wants_is_of_all_its_depth() -> None:
    seen = Preprocessor(SPEC)(random_frame(160, 120))
    assert seen.hha is not None and seen.hha.shape == (120, 160, 3) and seen.tensor.shape == (1, 6, 240, 320)


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (RgbdFrame(np.zeros((60, 80, 3), np.uint8)), "needs depth"),
        (RgbdFrame(np.zeros((60, 80, 3), np.uint8), np.ones((60, 80), np.float32)), "intrinsics"),
    ],
)
def test_a_model_that_sees_depth_says_what_the_frame_lacks(frame: RgbdFrame, message: str) -> None:
    with pytest.raises(FrameError, match=message):
        Preprocessor(SPEC)(frame)


def test_a_colour_model_needs_neither_depth_nor_intrinsics(tmp_path: Path) -> None:
    segmenter = Segmenter.load(make_tiny_bundle(tmp_path / "t.lcrseg", "rgb"), backend="onnxruntime")
    result = segmenter.segment(RgbdFrame(random_frame().rgb))
    assert result.hha is None
    assert result.labels.shape == (120, 160)


@pytest.mark.parametrize("size", [(640, 1), (1, 640), (161, 20)])
def test_a_frame_too_thin_for_any_camera_is_refused_before_memory_is_taken(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    segmenter = Segmenter.load(make_tiny_bundle(tmp_path / "t.lcrseg", "rgb"))
    with pytest.raises(FrameError, match="too thin"):
        segmenter.segment(RgbdFrame(np.zeros((size[1], size[0], 3), np.uint8)))


@pytest.mark.parametrize("size", [(160, 120), (161, 97), (97, 161), (33, 40), (160, 20)])
def test_labels_and_confidence_have_the_size_of_the_frame(tmp_path: Path, size: tuple[int, int]) -> None:
    segmenter = Segmenter.load(make_tiny_bundle(tmp_path / "t.lcrseg"))
    result = segmenter.segment(random_frame(*size))
    assert result.labels.shape == result.confidence.shape == (size[1], size[0])
    assert set(np.unique(result.labels)) <= set(segmenter.labels.ids.tolist())
    assert 0 < result.confidence.min() <= result.confidence.max() <= 1
    assert set(result.stage_ms) == {"hha", "preprocess", "network", "decode"}


def test_a_frame_has_the_same_labels_whatever_came_before(tmp_path: Path) -> None:
    segmenter = Segmenter.load(make_tiny_bundle(tmp_path / "t.lcrseg"))
    first = segmenter.segment(random_frame(seed=1))
    labels, confidence = first.labels.copy(), first.confidence.copy()
    segmenter.segment(random_frame(96, 64, seed=2))
    again = segmenter.segment(random_frame(seed=1))
    assert np.array_equal(labels, again.labels)
    assert np.array_equal(confidence, again.confidence)


def test_a_result_is_not_overwritten_by_the_next_frame(tmp_path: Path) -> None:
    segmenter = Segmenter.load(make_tiny_bundle(tmp_path / "t.lcrseg"))
    first = segmenter.segment(random_frame(seed=1))
    kept = (first.labels.copy(), first.hha.copy())  # type: ignore[union-attr]
    segmenter.segment(random_frame(seed=2))
    assert np.array_equal(first.labels, kept[0])
    assert np.array_equal(first.hha, kept[1])


@pytest.mark.parametrize("depth", [0.0, np.nan, np.inf, -1.0])
def test_a_frame_without_one_valid_depth_is_labelled_all_the_same(tmp_path: Path, depth: float) -> None:
    frame = random_frame()
    blind = RgbdFrame(frame.rgb, np.full((120, 160), depth, np.float32), frame.intrinsics)
    result = Segmenter.load(make_tiny_bundle(tmp_path / "t.lcrseg")).segment(blind)
    assert np.isfinite(result.confidence).all()


@pytest.mark.parametrize("backend", ["onnxruntime", "torch"])
def test_every_backend_gives_the_labels_of_openvino(backend: str) -> None:
    pytest.importorskip(BACKENDS[backend][0])
    from lcr_seg_ros.sources.rooms import RenderedRoom

    room = RenderedRoom(frames=4, seed=3)
    for item in room:
        ours = Segmenter.load("nyu40", backend=backend, device="cpu").segment(item.frame).labels
        assert (ours == Segmenter.load("nyu40", backend="openvino").segment(item.frame).labels).mean() >= 0.999


def test_frames_in_a_batch_have_the_labels_that_each_has_alone_whatever_their_sizes(tmp_path: Path) -> None:
    segmenter = Segmenter.load(make_tiny_bundle(tmp_path / "t.lcrseg"))
    frames = [
        random_frame(*size, seed=seed) for seed, size in enumerate([(160, 120), (97, 161), (160, 120), (320, 240)])
    ]
    for together, frame in zip(segmenter.segment_batch(frames), frames, strict=True):
        alone = segmenter.segment(frame)
        np.testing.assert_array_equal(together.labels, alone.labels)
        np.testing.assert_allclose(together.confidence, alone.confidence, atol=1e-6)
        np.testing.assert_array_equal(together.hha, alone.hha)


class LostDevice:
    """A GPU that is there for ``good`` frames."""

    name, device = "torch", "cuda"

    def __init__(self, good: int) -> None:
        self._left = good
        self._backend = create_backend(tiny_bundle(), device="cpu")

    def infer(self, tensor: np.ndarray) -> np.ndarray:
        self._left -= 1
        if self._left < 0:
            raise RuntimeError("CUDA error: the device is lost\n")
        return self._backend.infer(tensor)


def test_a_device_that_is_lost_is_left_for_the_cpu_and_no_frame_with_it(caplog: pytest.LogCaptureFixture) -> None:
    made: list[str] = []

    def fall_back() -> Backend:
        made.append("cpu")
        return create_backend(tiny_bundle(), device="cpu")

    segmenter = Segmenter(tiny_bundle(), LostDevice(good=1), fall_back=fall_back)
    expected = segmenter.segment(random_frame()).labels
    assert (segmenter.device, segmenter.device_fallback, segmenter.max_batch) == ("cuda", "", MAX_BATCH)
    for _ in range(2):
        np.testing.assert_array_equal(segmenter.segment(random_frame()).labels, expected)
    assert made == ["cpu"] and (segmenter.device, segmenter.max_batch) == ("cpu", 1)
    assert segmenter.device_fallback == (
        "torch failed on cuda (CUDA error: the device is lost); openvino on cpu instead"
    )
    assert caplog.messages == [segmenter.device_fallback]


def test_where_the_cpu_fails_at_first_it_is_tried_again_for_the_next_frame() -> None:
    made: list[int] = []

    def fall_back() -> Backend:
        made.append(1)
        if len(made) == 1:
            raise MemoryError("no memory left")
        return create_backend(tiny_bundle(), device="cpu")

    segmenter = Segmenter(tiny_bundle(), LostDevice(good=0), fall_back=fall_back)
    message = "torch failed on cuda .CUDA error: the device is lost., and the CPU cannot replace it: no memory left"
    with pytest.raises(BackendError, match=message):
        segmenter.segment(random_frame())
    assert (segmenter.device, segmenter.device_fallback) == ("cuda", "")
    segmenter.segment(random_frame())
    assert segmenter.device == "cpu" and segmenter.device_fallback.endswith("openvino on cpu instead")
    assert len(made) == 2


def test_a_device_that_is_left_gets_its_memory_back() -> None:
    pytest.importorskip("torch")
    from lcr_seg_ros.backends.torch import TorchBackend

    bundle = ModelBundle.load("nyu4")
    lost = TorchBackend(bundle, "cpu", 0)
    network = weakref.ref(lost.network)
    lost.device = "cuda"  # which is not there, so that every call fails
    segmenter = Segmenter(bundle, lost, fall_back=lambda: create_backend(bundle, device="cpu"), device_pipeline=False)
    segmenter.segment(random_frame())
    gc.collect()
    assert segmenter.device == "cpu" and network() is None


def test_a_device_that_is_lost_is_said_where_there_is_no_other() -> None:
    with pytest.raises(RuntimeError, match="the device is lost"):
        Segmenter(tiny_bundle(), LostDevice(good=0)).segment(random_frame())
    again = Segmenter(tiny_bundle(), LostDevice(good=0), fall_back=lambda: LostDevice(good=0))
    with pytest.raises(RuntimeError, match="the device is lost"):
        again.segment(random_frame())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "tflite"}, "backend must be auto, openvino, onnxruntime, torch, got 'tflite'"),
        ({"device": "tpu"}, "device must be one of auto, cpu, cuda, got 'tpu'"),
        ({"backend": "openvino", "device": "cuda"}, "CPU only"),
        ({"num_threads": -1}, "num_threads must be 0 or more"),
    ],
)
def test_unknown_backends_and_devices_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(BackendError, match=message):
        create_backend(tiny_bundle(), **arguments)  # type: ignore[arg-type]


def test_a_network_that_is_no_onnx_model_is_refused() -> None:
    from dataclasses import replace

    for backend in ("openvino", "onnxruntime"):
        with pytest.raises(BackendError, match="cannot"):
            create_backend(replace(tiny_bundle(), network=b"not a model"), backend)


@given(
    st.integers(1, 9), st.integers(1, 9), st.integers(2, 7), st.integers(1, 40), st.integers(1, 40), st.integers(0, 999)
)
@settings(max_examples=40, deadline=None)
def test_decoding_equals_bilinear_interpolation_then_argmax(
    h: int, w: int, n: int, height: int, width: int, seed: int
) -> None:
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(seed)
    maps = random.dirichlet(np.ones(n), (h, w)).astype(np.float32).transpose(2, 0, 1)
    ids = random.permutation(np.arange(1, 1 + n)).astype(np.uint8)
    labels, confidence = decode(maps, ids, width, height)
    wanted = torch.nn.functional.interpolate(
        torch.from_numpy(maps)[None], (height, width), mode="bilinear", align_corners=False
    )[0].numpy()
    np.testing.assert_allclose(confidence, wanted.max(0), atol=2e-6)
    chosen = np.take_along_axis(wanted, (np.argsort(ids)[labels.astype(int) - 1])[None], 0)[0]
    np.testing.assert_allclose(chosen, wanted.max(0), atol=2e-6)


def test_of_equally_probable_classes_the_first_wins() -> None:
    labels, _ = decode(np.full((3, 2, 2), 1 / 3, np.float32), np.array([5, 6, 7], np.uint8), 4, 4)
    assert (labels == 5).all()
