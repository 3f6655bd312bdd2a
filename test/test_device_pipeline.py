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
from lcr_seg_ros.device_pipeline import MAX_KINDS, DeviceFrame, DevicePipeline, batch_sizes  # noqa: E402
from lcr_seg_ros.drawing import Drawing  # noqa: E402
from lcr_seg_ros.errors import BackendError, BundleError, FrameError  # noqa: E402
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame  # noqa: E402
from lcr_seg_ros.hha import GravityTracker, HhaSettings  # noqa: E402
from lcr_seg_ros.hha.tracking import FRAME_PERIOD_S  # noqa: E402
from lcr_seg_ros.labels import LabelSet  # noqa: E402
from lcr_seg_ros.render import colorize, overlay  # noqa: E402
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
            pipeline.segment(DeviceFrame(frame.rgb, depth, frame.intrinsics, (0, 1, 0)))
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

    batches: list[int]
    """How many frames each call of ``network`` had."""

    def __init__(self, bundle: ModelBundle, spoil: Callable[[Any], Any] | None = None, good: int = 0) -> None:
        (weight,) = (numpy_helper.to_array(one) for one in onnx.load_from_string(bundle.network).graph.initializer)
        classes, channels = weight.shape[:2]
        convolution = torch.nn.Conv2d(channels, classes, 1, bias=False)
        convolution.weight.data = torch.from_numpy(weight.copy())
        self._layers = torch.nn.Sequential(torch.nn.AvgPool2d(4), convolution)
        self._spoil, self._good = spoil, good
        self.frames = 0
        self.batches = []

    def network(self, tensor: Any) -> Any:  # type: ignore[override]
        self.frames += len(tensor)
        self.batches.append(len(tensor))
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
            DevicePipeline(bundle, TinyTorch(bundle)).segment(DeviceFrame(frame.rgb, depth, frame.intrinsics))


class TestBatches:
    def test_frames_of_a_kind_go_through_the_network_together_in_powers_of_two(self) -> None:
        bundle = tiny_bundle()
        backend = TinyTorch(bundle)
        segmenter = Segmenter(bundle, backend, device_pipeline=True)
        batch = [small_frame(n) if n != 2 else small_frame(n, 96, 160) for n in range(8)]
        segmenter.segment(batch[0])  # and a test image
        together = segmenter.segment_batch(batch)
        assert backend.batches == [1, 1, 4, 2, 1, 1]
        for got, frame in zip(together, batch, strict=True):
            assert_same(got, by_stages(bundle).segment(frame))
            assert got.hha is not None and got.stage_ms["device"] == together[0].stage_ms["device"]

    def test_each_keeps_its_own_camera_gravity_and_height(self) -> None:
        bundle = tiny_bundle()
        tilted = {"gravity": (0.4, 0.8, 0.3), "camera_height_m": 0.7}
        batch = [replace(small_frame(1), camera_height_m=1.9), replace(small_frame(2), **tilted)]
        other = CameraIntrinsics(90.0, 95.0, 70.0, 66.0, 160, 120)
        batch.append(replace(batch[1], intrinsics=other, camera_height_m=1.2))
        batch.append(replace(batch[0], rgb=batch[1].rgb))
        for got, frame in zip(on_device(bundle).segment_batch(batch), batch, strict=True):
            assert_same(got, by_stages(bundle).segment(frame))

    def test_one_that_cannot_be_used_is_found_before_the_others_are_begun(self) -> None:
        bundle = tiny_bundle()
        backend = TinyTorch(bundle)
        pipeline = DevicePipeline(bundle, backend)
        good = small_frame()
        frames = [DeviceFrame(good.rgb, good.depth_m, good.intrinsics), DeviceFrame(good.rgb)]
        with pytest.raises(FrameError, match="needs depth and the camera's intrinsics"):
            pipeline.segment_batch(frames)
        assert backend.batches == []

    def test_what_a_number_of_cameras_can_lead_to_is_warmed_up_and_kept(self) -> None:
        bundle = tiny_bundle()
        backend = TinyTorch(bundle)
        Segmenter(bundle, backend, device_pipeline=True).warm_up(160, 120, MAX_BATCH)
        assert set(backend.batches) == {1, 2, 4, 8} and len(set(backend.batches)) <= MAX_KINDS

    def test_what_was_warmed_up_serves_cameras_of_known_height_as_well(self) -> None:
        bundle = tiny_bundle()
        segmenter = on_device(bundle)
        segmenter.warm_up(160, 120)
        assert segmenter._pipeline is not None
        kinds = set(segmenter._pipeline._buffers)
        for frame in (small_frame(), replace(small_frame(), camera_height_m=1.4, gravity=(0.1, 1.0, 0.0))):
            assert_same(segmenter.segment(frame), by_stages(bundle).segment(frame))
        assert set(segmenter._pipeline._buffers) == kinds

    def test_the_kind_that_was_used_least_recently_makes_room(self) -> None:
        bundle = tiny_bundle("rgb")
        pipeline = DevicePipeline(bundle, TinyTorch(bundle))
        for width in (160, *range(168, 168 + 8 * MAX_KINDS, 8)):
            for each in (160, width):
                pipeline.segment(DeviceFrame(small_frame(width=each).rgb))
        assert [kind.width for kind in pipeline._buffers][-2:] == [160, 160 + 8 * MAX_KINDS]
        assert len(pipeline._buffers) == MAX_KINDS

    @pytest.mark.parametrize(
        ("count", "sizes"), [(0, []), (1, [1]), (3, [2, 1]), (4, [4]), (7, [4, 2, 1]), (8, [8]), (9, [8, 1])]
    )
    def test_sizes_are_powers_of_two(self, count: int, sizes: list[int]) -> None:
        assert batch_sizes(count) == sizes


DRAWINGS = [
    Drawing(),
    Drawing(opacity=0.0),
    Drawing(opacity=1.0),
    Drawing(confidence_threshold=0.4, opacity=0.35),
    Drawing(kept_ids=frozenset({1, 2, 5, 11, 22, 39}), opacity=0.7),
    Drawing(confidence_threshold=0.3, kept_ids=frozenset(range(1, 30)), opacity=0.123),
]


class TestPictures:
    """Compared with what the CPU draws of the labels that the pipeline itself has found."""

    @pytest.mark.parametrize("drawing", DRAWINGS)
    @pytest.mark.parametrize("modality", ["rgb", "rgb_hha"])
    def test_overlay_and_colours_are_those_of_the_cpu(self, modality: Any, drawing: Drawing) -> None:
        bundle = tiny_bundle(modality)
        batch = [small_frame(1), small_frame(2, 96, 160), small_frame(3), small_frame(4)]
        for got, frame in zip(on_device(bundle).segment_batch(batch, drawing=drawing), batch, strict=True):
            assert got.pictures is not None and got.pictures.drawing == drawing
            shown = drawing.shown(got.labels, got.confidence)
            np.testing.assert_array_equal(got.pictures.color, colorize(shown, bundle.labels))
            difference = got.pictures.overlay.astype(int) - overlay(frame.rgb, shown, bundle.labels, drawing.opacity)
            assert np.abs(difference).max() <= 1 and (difference == 0).mean() > 0.99

    def test_of_a_network_that_was_trained(self) -> None:
        _, pipeline = segmenters("nyu40")
        drawing, frame = DRAWINGS[-1], frames("rendered")[0]
        (got,) = pipeline.segment_batch([frame], with_hha=False, drawing=drawing)
        assert got.pictures is not None and got.hha is None
        shown = drawing.shown(got.labels, got.confidence)
        assert 255 in shown and len(np.unique(shown)) > 3
        np.testing.assert_array_equal(got.pictures.color, colorize(shown, pipeline.labels))
        expected = overlay(frame.rgb, shown, pipeline.labels, drawing.opacity)
        assert np.abs(got.pictures.overlay.astype(int) - expected).max() <= 1

    def test_labels_hha_and_gravity_are_the_same_with_and_without(self) -> None:
        segmenter = on_device(tiny_bundle())
        for with_hha in (True, False):
            (plain,) = segmenter.segment_batch([small_frame()], None, with_hha)
            (drawn,) = segmenter.segment_batch([small_frame()], None, with_hha, Drawing())
            assert plain.pictures is None and drawn.pictures is not None
            assert_same(drawn, plain)
            assert (drawn.hha is None) is (plain.hha is None) is not with_hha
            if drawn.hha is not None and plain.hha is not None:
                np.testing.assert_array_equal(drawn.hha, plain.hha)

    def test_the_next_frame_does_not_overwrite_them(self) -> None:
        segmenter = on_device(tiny_bundle())
        (first,) = segmenter.segment_batch([small_frame(1)], drawing=Drawing())
        assert first.pictures is not None
        kept = first.pictures.overlay.copy(), first.pictures.color.copy()
        segmenter.segment_batch([small_frame(2)], drawing=Drawing())
        np.testing.assert_array_equal(first.pictures.overlay, kept[0])
        np.testing.assert_array_equal(first.pictures.color, kept[1])

    def test_stage_by_stage_none_are_drawn(self) -> None:
        (got,) = by_stages(tiny_bundle()).segment_batch([small_frame()], drawing=Drawing())
        assert got.pictures is None


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

    def test_a_frame_that_the_device_gives_back_is_tracked_once(self) -> None:
        def fail(scores: object) -> object:
            raise RuntimeError("CUDA error: out of memory")

        bundle = tiny_bundle()
        failing, stages = on_device(bundle, spoil=fail, good=2), by_stages(bundle)  # the test image and a frame
        trackers = GravityTracker(), GravityTracker()
        for seed in range(3):
            got, wanted = (
                one.segment(small_frame(seed), t) for one, t in zip((failing, stages), trackers, strict=True)
            )
            assert_same(got, wanted)
            assert trackers[0]._now_s == trackers[1]._now_s == pytest.approx((seed + 1) * FRAME_PERIOD_S)
        assert not failing.is_on_device

    def test_a_frame_that_is_not_labelled_is_not_tracked_so_it_may_be_given_again(self) -> None:
        def fail(scores: object) -> object:
            raise BundleError("not these")

        bundle, tracker = tiny_bundle(), GravityTracker()
        bundle_of_four = replace(bundle, labels=LabelSet.load("nyu4"))
        for segmenter in (on_device(bundle, spoil=fail, good=1), by_stages(bundle_of_four)):
            with pytest.raises(BundleError):
                segmenter.segment(small_frame(), tracker)
            assert tracker._now_s == 0.0

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
        assert Segmenter(tiny_bundle(), backend).max_batch == MAX_BATCH
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


@pytest.mark.ros
def test_the_node_publishes_what_the_device_has_drawn_for_those_who_listen(tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")
    from node_under_test import node_here
    from ros_peer import peer_in_domain, rgb_image
    from sensor_msgs.msg import Image

    from lcr_seg_ros.image_encodings import color_to_array
    from lcr_seg_ros.ros.processes import free_domain_id

    drawn: list[Any] = []

    class Watched(Segmenter):
        def segment_batch(self, *arguments: Any) -> list[Segmentation]:
            results = super().segment_batch(*arguments)
            drawn.extend(one.pictures for one in results)
            return results

    bundle, domain = tiny_bundle(), free_domain_id()
    model = bundle.save(tmp_path / "tiny.lcrseg")
    with node_here(domain, f"model:={model}", "max_age:=0.0") as node, peer_in_domain(domain) as peer:
        assert node._engine is not None
        with node._engine.between_frames(5.0):
            node._engine.segmenter = Watched(bundle, TinyTorch(bundle), device_pipeline=True)
        assert peer.gets_masks()
        assert drawn and not any(drawn)
        overlays = peer.listen(Image, "segmentation/overlay")
        assert peer.send_until(lambda: bool(overlays), peer.send_good_frame)
        assert drawn[-1].drawing == Drawing()
        assert peer.set_parameter("overlay_opacity", 0.125).successful
        assert peer.set_parameter("class_filter", ["wall", "floor", "chair"]).successful
        drawing = Drawing(opacity=0.125, kept_ids=frozenset(bundle.labels.classes[k].id for k in (0, 1, 4)))
        assert peer.send_until(lambda: drawn[-1] is not None and drawn[-1].drawing == drawing, peer.send_good_frame)
        count = len(overlays)
        assert peer.send_until(lambda: len(overlays) > count + 1, peer.send_good_frame)
        got = color_to_array(overlays[-1])
    np.testing.assert_array_equal(got, drawn[-1].overlay)
    shown = drawing.shown(np.frombuffer(peer.masks[-1].data, np.uint8).reshape(got.shape[:2]), np.ones(got.shape[:2]))
    assert np.abs(got.astype(int) - overlay(color_to_array(rgb_image()), shown, bundle.labels, 0.125)).max() <= 1
