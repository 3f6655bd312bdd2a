"""The whole chain on the device, here on the CPU in float32: the labels are those of the stages one by one, and no
frame is lost whatever happens to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from shared_data import shared_data
from tiny_bundle import tiny_bundle

torch = pytest.importorskip("torch")

from lcr_seg_ros.backends import create_backend  # noqa: E402
from lcr_seg_ros.backends.torch import TorchBackend  # noqa: E402
from lcr_seg_ros.bundle import ModelBundle  # noqa: E402
from lcr_seg_ros.device_pipeline import DevicePipeline  # noqa: E402
from lcr_seg_ros.errors import BackendError, BundleError, FrameError  # noqa: E402
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame  # noqa: E402
from lcr_seg_ros.hha import GravityTracker, HhaSettings  # noqa: E402
from lcr_seg_ros.labels import LabelSet  # noqa: E402
from lcr_seg_ros.segmenter import MAX_BATCH, Segmentation, Segmenter  # noqa: E402
from lcr_seg_ros.sources.folder import DatasetFolder  # noqa: E402
from lcr_seg_ros.sources.rooms import RenderedRoom  # noqa: E402

KITCHEN = CameraIntrinsics(585.0, 585.0, 320.0, 240.0, 640, 480)

LIVE = HhaSettings(floor="robust", gravity_estimate="refined", smoothing="auto")
"""As the node has them."""


@cache
def segmenters(model: str, settings: HhaSettings | None = None) -> tuple[Segmenter, Segmenter]:
    """Stage by stage, and through the pipeline; of one network."""
    bundle = ModelBundle.load(model)
    backend = create_backend(bundle, "torch", "cpu")
    stages, pipeline = (Segmenter(bundle, backend, hha_settings=settings, device_pipeline=way) for way in (False, True))
    return stages, pipeline


@cache
def frames(source: str) -> list[RgbdFrame]:
    """Three that follow each other at 10 Hz."""
    if source == "kitchen":
        kitchen = DatasetFolder(shared_data("kitchen"), intrinsics=KITCHEN)
        found = [kitchen[index].frame for index in (40, 43, 46)]
    else:
        room = RenderedRoom(frames=90, seed=3)
        found = [room[index].frame for index in (0, 3, 6)]
    return [replace(frame, stamp_s=0.1 * n) for n, frame in enumerate(found)]


def assert_same(got: Segmentation, wanted: Segmentation) -> None:
    assert (got.labels == wanted.labels).mean() >= 0.999
    assert np.abs(got.confidence - wanted.confidence).max() <= 0.01
    assert (got.gravity is None) == (wanted.gravity is None)
    if got.gravity is not None and wanted.gravity is not None:
        np.testing.assert_allclose(got.gravity.down, wanted.gravity.down, atol=1e-12)
        assert got.gravity.doubt == wanted.gravity.doubt


class TestLabels:
    @pytest.mark.parametrize("source", ["rendered", "kitchen"])
    def test_gravity_that_a_tracker_remembers(self, source: str) -> None:
        stages, pipeline = segmenters("nyu40", LIVE)
        trackers = GravityTracker(), GravityTracker()
        for frame in frames(source):
            wanted, got = stages.segment(frame, trackers[0]), pipeline.segment(frame, trackers[1])
            assert_same(got, wanted)
            assert got.hha is not None and wanted.hha is not None
            assert np.abs(got.hha.astype(int) - wanted.hha).max() <= 1
        assert pipeline.is_on_device and pipeline.device_fallback == ""
        assert set(got.stage_ms) == {"gravity", "device"}

    def test_gravity_of_one_frame_by_itself(self) -> None:
        stages, pipeline = segmenters("nyu40")
        assert_same(pipeline.segment(frames("rendered")[0]), stages.segment(frames("rendered")[0]))

    def test_gravity_and_camera_height_that_are_known(self) -> None:
        stages, pipeline = segmenters("nyu40")
        frame = replace(frames("rendered")[0], gravity=(0.2, 9.0, 1.5), camera_height_m=1.2)
        assert_same(pipeline.segment(frame), stages.segment(frame))

    def test_a_model_of_fewer_classes(self) -> None:
        stages, pipeline = segmenters("nyu4")
        assert_same(pipeline.segment(frames("rendered")[1]), stages.segment(frames("rendered")[1]))

    def test_millimetres_are_metres(self) -> None:
        bundle = ModelBundle.load("nyu40")
        pipeline = DevicePipeline(bundle, create_backend(bundle, "torch", "cpu"))  # type: ignore[arg-type]
        frame = frames("rendered")[0]
        assert frame.depth_m is not None
        millimetres = np.round(1000 * np.nan_to_num(frame.depth_m)).astype(np.uint16)
        metres, same = (
            pipeline.segment_arrays(frame.rgb, depth, frame.intrinsics, (0, 1, 0))
            for depth in (frame.depth_m, millimetres)
        )
        assert (metres.labels == same.labels).mean() >= 0.99
        assert metres.hha is None


# A network of one layer, so that what follows takes no time


class TinyTorch(TorchBackend):
    """The network of :func:`tiny_bundle.tiny_bundle` in PyTorch. The pipeline calls ``network``, the stages ``infer``.

    Args:
        spoil: what becomes of the scores that the pipeline sees, from the frame after ``good`` ones on.
    """

    device, dtype = "cpu", torch.float32

    def __init__(self, bundle: ModelBundle, spoil: Callable[[Any], Any] | None = None, good: int = 0) -> None:
        (weight,) = (numpy_helper.to_array(one) for one in onnx.load_from_string(bundle.network).graph.initializer)
        classes, channels = weight.shape[:2]
        convolution = torch.nn.Conv2d(channels, classes, 1, bias=False)
        convolution.weight.data = torch.from_numpy(weight.copy())
        self._layers = torch.nn.Sequential(torch.nn.AvgPool2d(4), convolution)
        self._spoil, self._good = spoil, good
        self.frames = 0

    def network(self, tensor: Any) -> Any:  # type: ignore[override]
        self.frames += 1
        scores = self._layers(tensor)
        return self._spoil(scores) if self._spoil and self.frames > self._good else scores

    def infer(self, tensor: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self._layers(torch.from_numpy(tensor)).softmax(1).numpy()


def small_frame(seed: int = 0, width: int = 160, height: int = 120) -> RgbdFrame:
    random = np.random.default_rng(seed)
    rgb = np.kron(random.integers(0, 256, (height // 8, width // 8, 3), np.uint8), np.ones((8, 8, 1), np.uint8))
    depth = np.kron(random.uniform(0.8, 4.0, (height // 8, width // 8)), np.ones((8, 8))).astype(np.float32)
    return RgbdFrame(rgb, depth, CameraIntrinsics(130.0, 130.0, width / 2, height / 2, width, height))


def on_device(bundle: ModelBundle, **faults: Any) -> Segmenter:
    return Segmenter(bundle, TinyTorch(bundle, **faults), device_pipeline=True)


def by_stages(bundle: ModelBundle) -> Segmenter:
    return Segmenter(bundle, TinyTorch(bundle))


class TestFrames:
    def test_a_colour_model_needs_no_depth_and_looks_at_none(self) -> None:
        bundle = tiny_bundle("rgb")
        colour, both = RgbdFrame(small_frame().rgb), small_frame()
        for frame in (colour, both):
            got = on_device(bundle).segment(frame)
            assert_same(got, by_stages(bundle).segment(frame))
            assert got.hha is None and set(got.stage_ms) == {"device"}

    @pytest.mark.parametrize("depth", [0.0, np.nan, np.inf, -1.0])
    @pytest.mark.parametrize("gravity", [None, (0.0, 1.0, 0.1)])
    def test_without_one_valid_depth_labels_rest_on_colour(self, depth: float, gravity: object) -> None:
        bundle = tiny_bundle()
        frame = replace(small_frame(), depth_m=np.full((120, 160), depth, np.float32), gravity=gravity)
        got = on_device(bundle).segment(frame, GravityTracker())
        assert_same(got, by_stages(bundle).segment(frame, GravityTracker()))
        assert got.gravity is not None and got.gravity.doubt == "no depth is valid"
        assert got.hha is not None and not got.hha.any()

    def test_the_hha_image_is_fetched_only_when_it_is_wanted(self) -> None:
        segmenter = on_device(tiny_bundle())
        assert segmenter.segment(small_frame(), with_hha=False).hha is None
        first = segmenter.segment(small_frame(1))
        kept = first.labels.copy(), first.hha.copy()  # type: ignore[union-attr]
        segmenter.segment(small_frame(2))
        np.testing.assert_array_equal(first.labels, kept[0])
        np.testing.assert_array_equal(first.hha, kept[1])

    def test_a_batch_of_frames_of_several_sizes_and_cameras(self) -> None:
        bundle = tiny_bundle()
        batch = [small_frame(1), small_frame(2, 96, 160), small_frame(3), small_frame(4, 320, 240)]
        segmenter = on_device(bundle)
        assert segmenter.max_batch == 1
        together = segmenter.segment_batch(batch, [GravityTracker() for _ in batch])
        for got, frame in zip(together, batch, strict=True):
            assert_same(got, by_stages(bundle).segment(frame))
        assert segmenter.segment_batch([]) == []

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"depth_m": None}, "needs depth"),
            ({"intrinsics": None}, "needs depth and the camera's intrinsics"),
            ({"gravity": (0, 0, 0)}, "gravity must be three finite numbers, not all 0"),
            ({"gravity": (0, np.nan, 1)}, "gravity must be three finite numbers"),
            ({"camera_height_m": -1.0}, "camera_height_m must be > 0"),
        ],
    )
    def test_a_frame_that_cannot_be_used_is_refused_and_the_next_goes_the_same_way(
        self, changes: dict[str, object], message: str
    ) -> None:
        segmenter = on_device(tiny_bundle())
        with pytest.raises(FrameError, match=message):
            segmenter.segment(replace(small_frame(), **changes))  # type: ignore[arg-type]
        segmenter.segment(small_frame())
        assert segmenter.is_on_device

    @pytest.mark.parametrize(
        ("depth", "message"),
        [
            (np.ones((120, 160)), "uint16 millimetres or float32 metres, got float64"),
            (np.ones((60, 80), np.float32), "registered"),
        ],
    )
    def test_arrays_of_another_kind_are_refused(self, depth: np.ndarray, message: str) -> None:
        bundle, frame = tiny_bundle(), small_frame()
        with pytest.raises(FrameError, match=message):
            DevicePipeline(bundle, TinyTorch(bundle)).segment_arrays(frame.rgb, depth, frame.intrinsics)


class TestFaults:
    def test_a_pipeline_that_fails_is_given_up_once_and_for_all_and_no_frame_with_it(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def fail(scores: object) -> object:
            raise RuntimeError("CUDA error:\n  out of memory")

        bundle = tiny_bundle()
        segmenter = on_device(bundle, spoil=fail, good=2)  # the test image and a frame
        first = segmenter.segment(small_frame(0))
        assert set(first.stage_ms) == {"gravity", "device"} and not caplog.messages
        for seed in (1, 2):
            assert_same(segmenter.segment(small_frame(seed)), by_stages(bundle).segment(small_frame(seed)))
        assert not segmenter.is_on_device and segmenter.device == "cpu"
        assert segmenter.device_fallback == (
            "the device pipeline failed on cpu (CUDA error: out of memory); stage by stage instead"
        )
        assert caplog.messages == [segmenter.device_fallback]

    def test_it_is_not_used_unless_it_labels_a_test_image_as_the_stages_do(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        bundle = tiny_bundle()
        segmenter = on_device(bundle, spoil=lambda scores: scores.flip(1))
        assert_same(segmenter.segment(small_frame()), by_stages(bundle).segment(small_frame()))
        assert "pixels of a test image otherwise than the stages do" in segmenter.device_fallback
        assert len(caplog.messages) == 1

    def test_a_device_that_warms_up_badly_is_ready_all_the_same(self) -> None:
        segmenter = on_device(tiny_bundle(), spoil=lambda scores: scores * np.nan)
        segmenter.warm_up(160, 120, batch=2)
        assert not segmenter.is_on_device

    def test_a_network_of_another_number_of_classes_is_no_failure_of_the_device(self) -> None:
        bundle = replace(tiny_bundle(), labels=LabelSet.load("nyu4"))
        with pytest.raises(BundleError, match="scores 40 classes, its label set 'nyu4' names 4"):
            on_device(bundle).segment(small_frame())


class TestChoice:
    def test_on_the_cpu_it_is_not_taken_unless_asked_for(self) -> None:
        assert not by_stages(tiny_bundle()).is_on_device
        assert not Segmenter.load("nyu4", "torch", "cpu").is_on_device
        assert Segmenter.load("nyu4", "torch", "cpu", device_pipeline=True).is_on_device

    def test_on_cuda_it_is_unless_the_reference_of_hha_is_asked_for(self) -> None:
        backend = TinyTorch(tiny_bundle())
        backend.device = "cuda"  # nothing is run
        assert Segmenter(tiny_bundle(), backend).is_on_device
        assert Segmenter(tiny_bundle(), backend, device_pipeline=False).max_batch == MAX_BATCH
        assert not Segmenter(tiny_bundle(), backend, hha_mode="exact").is_on_device

    def test_it_needs_pytorch(self) -> None:
        with pytest.raises(BackendError, match="the device pipeline needs backend torch, got onnxruntime"):
            Segmenter(tiny_bundle(), create_backend(tiny_bundle(), "onnxruntime", "cpu"), device_pipeline=True)

    def test_a_cuda_graph_needs_cuda(self) -> None:
        with pytest.raises(BackendError, match="needs device cuda"):
            DevicePipeline(tiny_bundle(), TinyTorch(tiny_bundle()), graphed=True)


@pytest.mark.ros
def test_the_node_publishes_its_labels_and_tells_its_times(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")
    from node_under_test import node_here
    from ros_peer import HEIGHT, WIDTH, peer_in_domain, rgb_image

    from lcr_seg_ros.image_encodings import color_to_array
    from lcr_seg_ros.ros.processes import free_domain_id

    bundle, domain = tiny_bundle(), free_domain_id()
    model = bundle.save(tmp_path / "tiny.lcrseg")
    parameters = f"model:={model}", "max_age:=0.0", "diagnostics_period:=0.2", "confidence_threshold:=0.3"
    with node_here(domain, *parameters) as node, peer_in_domain(domain) as peer:
        assert node._engine is not None
        with node._engine.between_frames(5.0):
            node._engine.segmenter = on_device(bundle)  # which the node itself takes on CUDA only
        assert peer.gets_masks()
        values = peer.diagnostics(lambda values, _: {"gravity_ms_p95", "device_ms_p95"} <= values.keys())
        mask = np.frombuffer(peer.masks[-1].data, np.uint8).reshape(HEIGHT, WIDTH)
    assert float(values["device_ms_p50"]) > 0 and "network_ms_p50" not in values and values["device_fallback"] == ""
    depth = np.full((HEIGHT, WIDTH), 2.0, np.float32)
    camera = CameraIntrinsics(70.0, 70.0, (WIDTH - 1) / 2, (HEIGHT - 1) / 2, WIDTH, HEIGHT)
    expected = by_stages(bundle).segment(RgbdFrame(color_to_array(rgb_image()), depth, camera), GravityTracker())
    is_sure = expected.confidence >= 0.3
    assert (mask == np.where(is_sure, expected.labels, 255)).mean() >= 0.999 and not is_sure.all()
