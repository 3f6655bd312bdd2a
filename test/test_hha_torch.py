"""HHA in PyTorch: close to exact, whole batches, and nothing that would keep it out of a CUDA graph."""

from __future__ import annotations

import copy
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared_data import shared_data, shared_image

from lcr_seg_ros.errors import BackendError, FrameError
from lcr_seg_ros.frame import CameraIntrinsics, depth_to_metres
from lcr_seg_ros.hha import GravityTracker, HhaEncoder, HhaSettings
from lcr_seg_ros.hha.gravity import angle_deg, refit
from lcr_seg_ros.sources.rooms import RenderedRoom

torch = pytest.importorskip("torch", reason="HHA mode torch needs PyTorch")

from torch._subclasses.fake_tensor import FakeTensorMode  # noqa: E402

from lcr_seg_ros.hha.torch import GraphedHha, TorchHha  # noqa: E402
from lcr_seg_ros.hha.torch.gravity import refit as refit_batch  # noqa: E402

# Published for 1-based pixels, here for pixels counted from 0.
NYUDV2 = CameraIntrinsics(518.857901, 519.469611, 325.582449 - 1, 253.736166 - 1, 640, 480)
KITCHEN = CameraIntrinsics(585.0, 585.0, 320.0, 240.0, 640, 480)
SMALL = CameraIntrinsics(60.0, 62.0, 23.0, 18.5, 48, 36)

EXACT = HhaEncoder("exact")
DISPARITY, HEIGHT, ANGLE = 0, 1, 2

Depth = npt.NDArray[np.floating]
Hha = npt.NDArray[np.uint8]


class TestClosenessToExact:
    @pytest.mark.parametrize("masked", [False, True], ids=["all measured", "holes masked"])
    def test_on_the_golden_files(self, masked: bool) -> None:
        valid = shared_image("hha", "depth_raw.png") > 0 if masked else None
        _assert_close(shared_image("hha", "depth_filled.png") / 10000.0, NYUDV2, valid)

    @pytest.mark.parametrize("share", [0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    def test_on_nyudv2(self, share: float) -> None:
        paths = sorted(shared_data("nyudv2", "depth").glob("*.png"))
        _assert_close(_metres("nyudv2", "depth", paths[round(share * (len(paths) - 1))].name), NYUDV2)

    @pytest.mark.parametrize("name", ["000000", "000040", "000080", "000110"])
    def test_on_live_depth_with_holes(self, name: str) -> None:
        depth = _metres("kitchen", "depth", f"{name}.png")
        assert (depth == 0).mean() > 0.03
        _assert_close(depth, KITCHEN)

    @pytest.mark.parametrize("noise", [False, True], ids=["clean", "as a Kinect sees it"])
    @pytest.mark.parametrize(
        "choices",
        [HhaSettings(), HhaSettings(floor="robust", gravity_estimate="refined")],
        ids=["reference", "robust and refined"],
    )
    def test_on_a_rendered_room(self, choices: HhaSettings, noise: bool) -> None:
        depth, camera = _rendered(noise)
        _assert_close(depth, camera, choices=choices)

    @given(seed=st.integers(0, 2**32 - 1), share=st.floats(0.0, 0.97))
    @settings(max_examples=30, deadline=None)
    def test_on_any_depth_with_any_holes(self, seed: int, share: float) -> None:
        random = np.random.default_rng(seed)
        depth = 2.0 + 0.01 * random.normal(size=(36, 48)) + np.linspace(0, random.uniform(0, 3), 48)
        depth[random.random(depth.shape) < share] = random.choice([0.0, np.nan, np.inf, -1.0, 1e4])
        down = random.normal(size=3)
        down /= np.linalg.norm(down)
        got = _encode(depth.astype(np.float32), SMALL, gravity=down)
        assert _difference(EXACT.encode(depth.astype(np.float32), SMALL, gravity=down), got).max() <= 1

    @pytest.mark.parametrize("size", [(1, 1), (3, 5), (9, 1), (1, 9), (2, 2), (7, 7), (23, 65), (130, 3)])
    def test_at_any_size(self, size: tuple[int, int]) -> None:
        camera = CameraIntrinsics(50.0, 50.0, size[1] / 3, size[0] / 2, size[1], size[0])
        random = np.random.default_rng(0)
        depth = random.uniform(1.9, 2.1, size).astype(np.float32)
        for kept in (1.0, 0.6, 0.0):
            depth[random.random(size) >= kept] = np.nan
            depth.flat[0] = 2.0
            for choices in (HhaSettings(), HhaSettings(floor="robust")):
                got = _encode(depth, camera, choices=choices, gravity=(0.1, 0.9, 0.2))
                wanted = HhaEncoder("exact", choices).encode(depth, camera, gravity=(0.1, 0.9, 0.2))
                assert _difference(wanted, got).max() <= 1

    def test_float64_depth_is_not_rounded_before_disparity(self) -> None:
        depth = np.full((36, 48), 310.0 / 154.5)  # in float32 this is farther away by a hair, and a level less
        np.testing.assert_array_equal(_encode(depth, SMALL)[..., DISPARITY], EXACT.encode(depth, SMALL)[..., DISPARITY])


class TestBatches:
    def test_a_batch_gives_what_its_frames_give_alone(self) -> None:
        random = np.random.default_rng(0)
        depth = torch.from_numpy(random.uniform(0, 5, (3, 36, 48)).astype(np.float32))
        cameras = torch.tensor([[60.0, 62.0, 23.0, 18.5], [70.0, 70.0, 20.0, 10.0], [30.0, 31.0, -9.0, 40.0]])
        valid = torch.from_numpy(random.random((3, 36, 48)) < 0.8)
        gravity = torch.tensor([[0.0, 1.0, 0.0], [0.5, 7.0, -2.0], [0.0, 0.1, 0.9]])
        heights = torch.tensor([0.4, 1.5, 2.5])
        for optional in ({}, {"valid": valid, "gravity": gravity, "camera_height_m": heights}):
            images, down = TorchHha().encode_batch(depth, cameras, **optional)
            assert images.shape == (3, 3, 36, 48) and images.dtype == torch.uint8
            assert down.shape == (3, 3) and down.dtype == torch.float64
            for k in range(3):
                part = slice(k, k + 1)
                alone = TorchHha().encode_batch(depth[part], cameras[part], **{n: t[part] for n, t in optional.items()})
                assert torch.equal(images[part], alone[0])
                assert torch.equal(down[part], alone[1])

    def test_a_frame_without_depth_is_zeros_and_leaves_the_others_alone(self) -> None:
        depth = torch.from_numpy(np.random.default_rng(0).uniform(1, 5, (4, 36, 48)).astype(np.float32))
        depth[1], depth[3] = 0.0, float("nan")
        choices = HhaSettings(upright=(0.0, -3.0, 4.0))
        images, down = TorchHha(choices).encode_batch(depth, SMALL)
        assert not images[[1, 3]].any()
        np.testing.assert_allclose(down[[1, 3]], [[0.0, -0.6, 0.8]] * 2, rtol=1e-15)
        whole, its_down = TorchHha(choices).encode_batch(depth[[0, 2]], SMALL)
        assert torch.equal(images[[0, 2]], whole)
        assert torch.equal(down[[0, 2]], its_down)

    def test_one_camera_may_stand_for_all(self) -> None:
        depth = torch.rand(2, 36, 48, generator=torch.Generator().manual_seed(0)) + 1
        rows = torch.tensor([[SMALL.fx, SMALL.fy, SMALL.cx, SMALL.cy]], dtype=torch.float64).repeat(2, 1)
        for one, each in zip(TorchHha().encode_batch(depth, SMALL), TorchHha().encode_batch(depth, rows), strict=True):
            assert torch.equal(one, each)

    def test_the_depth_is_not_changed(self) -> None:
        depth = torch.tensor([[[1.0, 0.0, float("nan")], [2.0, -1.0, 1e9]]])
        before = depth.clone()
        TorchHha().encode_batch(depth, torch.tensor([[2.0, 2.0, 1.0, 1.0]]))
        assert torch.equal(depth.nan_to_num(7.0), before.nan_to_num(7.0))


class TestChoices:
    def test_a_given_gravity_counts_by_direction_only_and_comes_back_as_a_unit_vector(self) -> None:
        depth = torch.full((1, 36, 48), 2.0)
        newton = torch.tensor([[0.3, 9.7, 1.1]])
        images, down = TorchHha().encode_batch(depth, SMALL, gravity=newton)
        assert torch.equal(images, TorchHha().encode_batch(depth, SMALL, gravity=0.01 * newton)[0])
        np.testing.assert_allclose(down, newton / newton.norm(), atol=1e-7)

    def test_height_counts_from_a_floor_known_to_be_below_the_camera(self) -> None:
        depth = np.full((36, 48), 2.0, np.float32)
        got, _ = TorchHha().encode_batch(
            torch.from_numpy(depth)[None],
            SMALL,
            camera_height_m=torch.tensor([1.2]),
            gravity=torch.tensor([[0.0, 1, 0]]),
        )
        wanted = EXACT.encode(depth, SMALL, camera_height_m=1.2, gravity=(0, 1, 0))
        np.testing.assert_array_equal(got[0, HEIGHT], wanted[..., HEIGHT])

    @pytest.mark.parametrize("floor", ["min", "robust"])
    def test_a_height_of_nan_is_one_that_is_not_known(self, floor: str) -> None:
        depth = torch.from_numpy(np.random.default_rng(2).uniform(0.8, 4.0, (2, 36, 48)).astype(np.float32))
        encode = TorchHha(HhaSettings(floor=floor)).encode_batch
        found, _ = encode(depth, SMALL)
        known, _ = encode(depth, SMALL, camera_height_m=torch.tensor([0.7, 0.9], dtype=torch.float64))
        mixed, _ = encode(depth, SMALL, camera_height_m=torch.tensor([torch.nan, 0.9], dtype=torch.float64))
        assert torch.equal(mixed[0], found[0]) and torch.equal(mixed[1], known[1])
        assert not torch.equal(found, known)

    def test_depth_out_of_the_range_of_the_settings_is_a_hole(self) -> None:
        depth = np.random.default_rng(0).uniform(0.1, 6.0, (36, 48)).astype(np.float32)
        punched = np.where((depth >= 0.5) & (depth <= 4.0), depth, 0.0).astype(np.float32)
        got = _encode(depth, SMALL, choices=HhaSettings(min_depth_m=0.5, max_depth_m=4.0))
        np.testing.assert_array_equal(got, _encode(punched, SMALL))

    def test_a_camera_that_hangs_upside_down_sees_the_room_the_right_way_up(self) -> None:
        depth, camera = _rendered(noise=False)
        turned = CameraIntrinsics(
            camera.fx,
            camera.fy,
            camera.width - 1 - camera.cx,
            camera.height - 1 - camera.cy,
            camera.width,
            camera.height,
        )
        upright = _encode(depth, camera)
        hanging = _encode(depth[::-1, ::-1].copy(), turned, choices=HhaSettings(upright=(0.0, -1.0, 0.0)))
        assert _difference(upright, hanging[::-1, ::-1]).mean() < 0.25


class TestSmoothing:
    """Of depth in coarse steps, as exact does it; here those of 8 bits over 10 m."""

    @pytest.mark.parametrize("smoothing", ["on", "auto"])
    def test_angles_on_a_staircase_are_those_of_exact(self, smoothing: str) -> None:
        depth, camera = _rendered(noise=False)
        depth, choices = _in_8_bits(depth), HhaSettings(smoothing=smoothing)
        wanted, got = HhaEncoder("exact", choices).encode(depth, camera), _encode(depth, camera, choices=choices)
        off = _difference(wanted, got)[..., ANGLE]
        assert off.mean() <= 0.25 and (off > 1).mean() < 1e-3  # on a gate, float32 may decide otherwise
        rough = EXACT.encode(depth, camera)
        assert _difference(rough, wanted)[..., ANGLE].mean() > 3.0

    def test_each_frame_of_a_batch_is_smoothed_by_its_own_steps(self) -> None:
        fine, camera = _rendered(noise=False)
        coder = TorchHha(HhaSettings(smoothing="auto"))
        depth = torch.from_numpy(np.stack((_in_8_bits(fine), fine)))
        images, _ = coder.encode_batch(depth, camera)
        for k in range(2):
            assert torch.equal(images[k : k + 1], coder.encode_batch(depth[k : k + 1], camera)[0])
        np.testing.assert_array_equal(_image(images[1:]), _encode(fine, camera))


class TestRefit:
    """Against the eigenvectors of LAPACK."""

    @given(seed=st.integers(0, 2**32 - 1), gap=st.floats(-4.0, 0.0), scale=st.floats(-9.0, 9.0))
    @settings(max_examples=200, deadline=None)
    def test_it_is_the_eigenvector_of_the_smallest_eigenvalue_on_the_side_of_the_previous(
        self, seed: int, gap: float, scale: float
    ) -> None:
        random = np.random.default_rng(seed)
        axes, _ = np.linalg.qr(random.normal(size=(3, 3)))
        lowest = random.uniform(-1, 1)
        values = [lowest, lowest + 10**gap, lowest + 10**gap + random.uniform(0, 2)]
        scatter = 10**scale * (axes * values) @ axes.T
        previous = random.normal(size=3)
        previous /= np.linalg.norm(previous)
        if abs(previous @ axes[:, 0]) > 0.1:
            assert angle_deg(_refit_one(scatter, previous), refit(scatter, previous)) < 0.02

    @pytest.mark.parametrize("noise", [0.0, 1e-15, 1e-8, 3e-7])
    def test_one_bare_wall_leaves_the_previous_estimate_as_near_as_it_can(self, noise: float) -> None:
        random = np.random.default_rng(0)
        for _ in range(50):
            wall = random.normal(size=3)
            wall /= np.linalg.norm(wall)
            spoilt = noise * random.normal(size=(3, 3))
            previous = random.normal(size=3)
            previous /= np.linalg.norm(previous)
            got = _refit_one(5e4 * (np.outer(wall, wall) + (spoilt + spoilt.T) / 4), previous)
            along_wall = previous - (previous @ wall) * wall
            assert angle_deg(got, along_wall / np.linalg.norm(along_wall)) < 0.2

    @pytest.mark.parametrize("scatter", [np.zeros((3, 3)), np.eye(3), np.full((3, 3), np.nan), np.full((3, 3), np.inf)])
    def test_what_has_no_direction_leaves_the_previous_estimate(self, scatter: npt.NDArray[np.float64]) -> None:
        previous = np.array([0.6, 0.0, -0.8])
        np.testing.assert_allclose(_refit_one(scatter, previous), previous, atol=1e-12)


class TestFitForGraphs:
    """What a CUDA graph needs can be shown without a GPU."""

    @pytest.mark.parametrize("given_gravity", [False, True], ids=["estimated", "given"])
    def test_it_compiles_as_one_graph_without_a_branch_on_values(self, given_gravity: bool) -> None:
        random = np.random.default_rng(0)
        depth = torch.from_numpy(random.uniform(0, 5, (2, 20, 33)).astype(np.float32))
        cameras = torch.tensor([[60.0, 62.0, 23.0, 18.5]]).repeat(2, 1)
        given = {"gravity": torch.tensor([[0.0, 1.0, 0.1]] * 2)} if given_gravity else {}
        encode = TorchHha(HhaSettings(floor="robust", smoothing="auto")).encode_batch
        torch.compiler.reset()
        compiled = torch.compile(encode, fullgraph=True, backend="eager", dynamic=False)
        for whole in (depth, torch.zeros_like(depth)):  # no valid depth takes the same way
            for got, wanted in zip(compiled(whole, cameras, **given), encode(whole, cameras, **given), strict=True):
                assert torch.equal(got, wanted)

    def test_no_value_leaves_the_gpu_and_nothing_is_computed_off_it(self) -> None:
        # Tensors without values: asking for one, or mixing devices, is an error.
        with FakeTensorMode():
            depth = torch.empty(2, 480, 640, device="cuda")
            valid = torch.empty(2, 480, 640, device="cuda", dtype=torch.bool)
            choices = HhaSettings(floor="robust", smoothing="auto", gravity_estimate="refined")
            for camera in (NYUDV2, torch.empty(2, 4, device="cuda")):
                image, down = TorchHha(choices).encode_batch(depth, camera, valid)
                assert (image.device.type, down.device.type) == ("cuda", "cuda")

    def test_autocast_around_it_takes_no_precision(self) -> None:
        depth, camera = _rendered(noise=True)
        wanted = _encode(depth, camera)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            np.testing.assert_array_equal(_encode(depth, camera), wanted)

    def test_a_graph_without_cuda_is_refused(self) -> None:
        with pytest.raises(BackendError, match="needs a CUDA device, and cpu is none here"):
            GraphedHha(1, 36, 48, SMALL, "cpu")

    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device to capture a graph on")
    @pytest.mark.parametrize("compiled", [False, True])
    def test_a_replayed_graph_gives_what_the_batch_gives(self, compiled: bool) -> None:
        graph = GraphedHha(2, 36, 48, SMALL, "cuda", compiled=compiled)
        for seed in range(3):
            depth = torch.rand(2, 36, 48, generator=torch.Generator().manual_seed(seed)).cuda() * 4
            image, down = graph(depth)
            wanted, its_down = TorchHha().encode_batch(depth, SMALL)
            assert (image.int() - wanted.int()).abs().max() <= 1
            torch.testing.assert_close(down, its_down, atol=1e-4, rtol=0)
        with pytest.raises(FrameError, match="captured for gravity of shape None"):
            graph(depth, gravity=down)


class TestMode:
    """``HhaEncoder("torch")``, one frame at a time."""

    def test_it_gives_what_a_batch_of_one_gives(self) -> None:
        depth, camera = _rendered(noise=True)
        encoder = HhaEncoder("torch", HhaSettings(floor="robust"))
        image = encoder.encode(depth, camera)
        assert image.shape == (*depth.shape, 3) and image.dtype == np.uint8 and image.flags.c_contiguous
        np.testing.assert_array_equal(image, _encode(depth, camera, choices=HhaSettings(floor="robust")))

    def test_what_it_says_of_gravity_is_what_exact_says(self) -> None:
        depth, camera = _rendered(noise=True)
        ours, its = (HhaEncoder(mode) for mode in ("torch", "exact"))
        tracker = GravityTracker()
        for stamp_s in (0.0, 0.03):
            got = ours.encode_frame(depth, camera, tracker=tracker, stamp_s=stamp_s)
            wanted = its.encode_frame(depth, camera)
            assert got.gravity.doubt == wanted.gravity.doubt
            assert angle_deg(got.gravity.down, wanted.gravity.down) < 0.2
        for encoder in (ours, its):
            encoder.estimate_gravity(depth, camera)
        evidence = [e._execution.evidence(wanted.gravity.down) for e in (ours, its)]
        assert evidence[0].lowest_m == pytest.approx(evidence[1].lowest_m, abs=0.001)
        for name in ("support", "ceiling", "walls", "largest_wall"):
            assert getattr(evidence[0], name) == pytest.approx(getattr(evidence[1], name), abs=0.01)

    def test_depth_may_be_read_only_or_a_view_and_the_result_is_the_callers_to_keep(self) -> None:
        depth = np.random.default_rng(0).uniform(0, 4, (72, 96)).astype(np.float32)
        view, valid = depth[::2, ::-2], (depth > 1)[::2, ::-2]
        encoder = HhaEncoder("torch")
        wanted = encoder.encode(view.copy(), SMALL, valid.copy())
        depth.flags.writeable = False
        kept = encoder.encode(view, SMALL, valid)
        encoder.encode(np.full((36, 48), 1.0, np.float32), SMALL)
        np.testing.assert_array_equal(kept, wanted)

    def test_no_valid_depth_gives_zeros(self) -> None:
        encoder = HhaEncoder("torch")
        depth = np.full((36, 48), np.nan, np.float32)
        assert not encoder.encode(depth, SMALL).any()
        np.testing.assert_array_equal(encoder.estimate_gravity(depth, SMALL), [0.0, 1.0, 0.0])

    def test_it_is_copied_as_its_mode_and_settings(self) -> None:
        depth = np.full((36, 48), 2.0, np.float32)
        encoder = HhaEncoder("torch", HhaSettings(floor="robust"))
        twin = copy.deepcopy(encoder)
        assert (twin.mode, twin.settings) == (encoder.mode, encoder.settings)
        np.testing.assert_array_equal(twin.encode(depth, SMALL), encoder.encode(depth, SMALL))


class TestErrors:
    @pytest.mark.parametrize(
        "depth", [torch.zeros(36, 48), torch.zeros(1, 36, 48).half(), torch.zeros(0, 36, 48), torch.zeros(1, 0, 48)]
    )
    def test_depth_of_another_shape_or_type(self, depth: torch.Tensor) -> None:
        with pytest.raises(FrameError, match=r"\(B, H, W\) float32 or float64 in metres, none of them 0, got \("):
            TorchHha().encode_batch(depth, SMALL)

    def test_a_camera_of_another_size(self) -> None:
        with pytest.raises(FrameError, match="depth is 8x6 but the intrinsics are for 48x36"):
            TorchHha().encode_batch(torch.ones(1, 6, 8), SMALL)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("intrinsics", torch.ones(4)),
            ("valid", torch.ones(2, 36, 48)),
            ("gravity", torch.ones(3)),
            ("gravity", torch.ones(2, 3, dtype=torch.int64)),
            ("camera_height_m", torch.ones(1)),
        ],
    )
    def test_other_arguments_that_do_not_fit_the_batch(self, name: str, value: torch.Tensor) -> None:
        with pytest.raises(FrameError, match=rf"{name} must be \(2, ?.*got \("):
            TorchHha().encode_batch(torch.ones(2, 36, 48), **{"intrinsics": SMALL, name: value})


def _assert_close(
    depth: Depth,
    camera: CameraIntrinsics,
    valid: npt.NDArray[np.bool_] | None = None,
    choices: HhaSettings | None = None,
) -> None:
    encoder = HhaEncoder("exact", choices)
    batch = torch.from_numpy(depth)[None]
    images, down = TorchHha(choices).encode_batch(
        batch, camera, None if valid is None else torch.from_numpy(valid)[None]
    )
    off = _difference(encoder.encode(depth, camera, valid), _image(images))
    assert off[depth > 0, DISPARITY].max() == 0
    assert off[..., DISPARITY].max() <= 1 and (off[..., DISPARITY] > 0).mean() < 1e-4  # filled in float32
    assert off[..., HEIGHT].mean() <= 0.25
    assert off[..., ANGLE].mean() <= 0.25 and off[..., ANGLE].max() <= 1
    assert angle_deg(down[0].numpy(), encoder.estimate_gravity(depth, camera, valid)) <= 0.2


def _encode(
    depth: Depth, camera: CameraIntrinsics, choices: HhaSettings | None = None, gravity: npt.ArrayLike | None = None
) -> Hha:
    down = None if gravity is None else torch.tensor([list(np.asarray(gravity, np.float64))])
    return _image(TorchHha(choices).encode_batch(torch.from_numpy(depth)[None], camera, gravity=down)[0])


def _image(images: torch.Tensor) -> Hha:
    return images[0].permute(1, 2, 0).numpy()


def _refit_one(scatter: npt.NDArray[np.float64], previous: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    upper = torch.from_numpy(scatter[np.triu_indices(3)])[None]
    return refit_batch(upper, torch.from_numpy(previous)[None])[0].numpy()


@cache
def _rendered(noise: bool) -> tuple[npt.NDArray[np.float32], CameraIntrinsics]:
    frame = RenderedRoom(frames=3, seed=0, noise=noise, width=320, height=240)[1].frame
    assert frame.depth_m is not None and frame.intrinsics is not None
    return frame.depth_m, frame.intrinsics


def _in_8_bits(depth: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    step = np.float32(10.0 / 255.0)
    return (np.round(depth / step) * step).astype(np.float32)


def _metres(*parts: str) -> npt.NDArray[np.float32]:
    return depth_to_metres(shared_image(*parts))


def _difference(a: Hha, b: Hha) -> npt.NDArray[np.int16]:
    return np.abs(a.astype(np.int16) - b)
