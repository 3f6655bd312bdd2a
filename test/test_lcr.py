"""The contextual constraint against closed forms, invariances and numerical gradients."""

from __future__ import annotations

import math
import os
import shutil

import pytest

torch = pytest.importorskip("torch", reason="the constraint is a training loss: pip install 'lcr_seg_ros[train]'")
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from lcr_seg_ros.training.lcr import (  # noqa: E402
    ContextualRegularization,
    sum_by_classes,
    weighted_absolute_sum,
    weighted_absolute_sum_of_softmax,
)


def split_image_and_maps() -> tuple[torch.Tensor, torch.Tensor]:
    """An image with one vertical edge of 0.5 and two one-hot maps that split at the same column."""
    image = torch.zeros(1, 3, 8, 8, dtype=torch.float64)
    image[..., 4:] = 0.5
    maps = torch.zeros(1, 2, 8, 8, dtype=torch.float64)
    maps[:, 0, :, :4] = 1
    maps[:, 1, :, 4:] = 1
    return image, maps


def random_case(seed: int, n: int = 5, h: int = 7, w: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(2, 3, h, w, generator=generator, dtype=torch.float64)
    maps = torch.randn(2, n, h, w, generator=generator, dtype=torch.float64).softmax(1)
    return image, maps


def plain_constraint(module: ContextualRegularization, maps: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    """Eqs. 6 and 7 written out pixel by pixel and kernel by kernel, every response map kept."""
    total = torch.zeros((), dtype=maps.dtype)
    for kernel in module.kernels:

        def respond(x: torch.Tensor, kernel: torch.Tensor = kernel) -> torch.Tensor:
            h, w = x.shape[-2] - 2, x.shape[-1] - 2
            return sum(kernel[y, k] * x[..., y : y + h, k : k + w] for y in range(3) for k in range(3))  # type: ignore[return-value]

        weights = torch.exp(-respond(image).square().sum(1, keepdim=True) / (2 * module.sigma**2))
        total = total + (weights * respond(maps).abs()).sum()
    return module.weight * total


@pytest.mark.parametrize(("reduction", "value"), [("sum", 803.2685765343475), ("mean", 1.3945635009276864)])
def test_the_split_image_has_the_value_known_in_closed_form(reduction: str, value: float) -> None:
    image, maps = split_image_and_maps()
    assert ContextualRegularization(reduction=reduction).double()(maps, image).item() == pytest.approx(value, rel=1e-13)  # type: ignore[arg-type]


@pytest.mark.parametrize(("norm", "value"), [(0.5, 6000.0), (1.0, 8000.0)])
@pytest.mark.parametrize("init", ["difference", "kirsch"])
def test_the_kernel_loss_of_both_banks_follows_equation_9(init: str, norm: float, value: float) -> None:
    module = ContextualRegularization(init=init, init_norm=norm).double()  # type: ignore[arg-type]
    assert module.kernel_penalty().item() == pytest.approx(value, rel=1e-6)


def test_the_start_norm_of_a_half_is_the_minimum_of_the_kernel_loss() -> None:
    module = ContextualRegularization().double()
    module.kernel_penalty().backward()
    assert module.kernels.grad is not None
    assert module.kernels.grad.abs().max() < 1e-3  # of terms of size 4000: zero up to the float32 start values


def test_kirsch_kernels_are_eight_different_compass_directions_without_dc_part() -> None:
    kernels = ContextualRegularization(init="kirsch").kernels
    assert len({tuple(k.flatten().tolist()) for k in kernels}) == 8
    assert kernels.sum((1, 2)).abs().max() < 1e-6


def test_constant_maps_cost_nothing() -> None:
    image, _ = split_image_and_maps()
    assert (
        ContextualRegularization().double()(torch.full((1, 4, 8, 8), 0.25, dtype=torch.float64), image).item() < 1e-12
    )


def test_on_a_constant_image_every_weight_is_one() -> None:
    weights = ContextualRegularization().contextual_weights(torch.full((1, 3, 6, 6), 0.7))
    assert torch.allclose(weights, torch.ones_like(weights), atol=1e-6)


def test_the_weight_across_an_edge_is_that_of_equation_6() -> None:
    image, _ = split_image_and_maps()
    weights = ContextualRegularization().double().contextual_weights(image)
    # c = 0.5, so the response at the edge is 0.5 * 0.5 in each of three channels.
    assert weights.min().item() == pytest.approx(math.exp(-3 * 0.25**2 / (2 * 0.25**2)), rel=1e-6)


@given(seed=st.integers(0, 10**6), init=st.sampled_from(["difference", "kirsch"]), classes=st.integers(1, 19))
@settings(max_examples=20, deadline=None)
def test_working_in_chunks_equals_the_equations_written_out(seed: int, init: str, classes: int) -> None:
    image, maps = random_case(seed, n=classes)
    module = ContextualRegularization(init=init, reduction="sum").double()  # type: ignore[arg-type]
    chunked_maps, plain_maps = maps.clone().requires_grad_(), maps.clone().requires_grad_()
    value, expected = module(chunked_maps, image), plain_constraint(module, plain_maps, image)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    gradients = torch.autograd.grad(value, [chunked_maps, module.kernels])
    wanted = torch.autograd.grad(expected, [plain_maps, module.kernels])
    for got, want in zip(gradients, wanted, strict=True):
        assert torch.allclose(got, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("detach", [False, True])
def test_both_gradient_paths_agree_with_finite_differences(detach: bool) -> None:
    image, maps = random_case(3, n=3, h=5, w=5)
    module = ContextualRegularization(detach_weights=detach).double()

    def loss(kernels: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(module, {"kernels": kernels}, (values, image))

    arguments = (module.kernels.detach().clone().requires_grad_(), maps.clone().requires_grad_())
    if detach:  # then the true derivative by the kernels has a part that is cut on purpose
        arguments = (arguments[0].detach(), arguments[1])
    assert torch.autograd.gradcheck(loss, arguments, eps=1e-7, atol=1e-4)


def test_detached_weights_change_the_kernels_gradient_and_nothing_else() -> None:
    image, maps = random_case(5)
    results = []
    for detach in (False, True):
        module = ContextualRegularization(detach_weights=detach).double()
        leaf = maps.clone().requires_grad_()
        value = module(leaf, image)
        results.append((value.item(), *torch.autograd.grad(value, [leaf, module.kernels])))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])
    assert not torch.allclose(results[0][2], results[1][2])


@given(seed=st.integers(0, 10**6))
@settings(max_examples=15, deadline=None)
def test_permuting_classes_flipping_everything_or_negating_the_bank_changes_nothing(seed: int) -> None:
    image, maps = random_case(seed)
    module = ContextualRegularization(init="kirsch").double()
    value = module(maps, image).item()
    assert module(maps[:, torch.randperm(maps.shape[1])], image).item() == pytest.approx(value, rel=1e-12)
    with torch.no_grad():
        module.kernels.neg_()
        assert module(maps, image).item() == pytest.approx(value, rel=1e-12)
        module.kernels.copy_(module.kernels.flip(2))
        assert module(maps.flip(3), image.flip(3)).item() == pytest.approx(value, rel=1e-12)


def test_the_sum_is_the_mean_times_the_count() -> None:
    image, maps = random_case(11)
    ratio = ContextualRegularization(reduction="sum").double()(maps, image) / ContextualRegularization().double()(
        maps, image
    )
    assert ratio.item() == pytest.approx(2 * 5 * 8 * 5 * 7)


def test_padding_is_masked_out_windows_and_all() -> None:
    image, maps = random_case(2, h=8, w=12)
    mask = torch.ones(2, 8, 12, dtype=torch.bool)
    mask[:, :, 9:] = False
    garbage_image, garbage_maps = image.clone(), maps.clone()
    garbage_image[..., 9:], garbage_maps[..., 9:] = 1.0, 0.5
    module = ContextualRegularization().double()
    assert module(garbage_maps, garbage_image, mask).item() == pytest.approx(
        module(maps[..., :9], image[..., :9]).item()
    )


def test_training_drives_every_kernel_towards_energy_one_half() -> None:
    image, maps = random_case(1)
    module = ContextualRegularization(init_norm=1.0).double()
    optimizer = torch.optim.SGD(module.parameters(), lr=5e-5)
    for _ in range(80):
        optimizer.zero_grad()
        (module(maps, image) + module.kernel_penalty()).backward()
        optimizer.step()
    assert torch.allclose(module.kernels.square().sum((1, 2)), torch.full((8,), 0.5, dtype=torch.float64), atol=5e-3)


def test_the_loss_stays_float32_inside_autocast() -> None:
    image, maps = random_case(4)
    with torch.autocast("cpu", torch.bfloat16):
        value = ContextualRegularization()(maps.bfloat16(), image.float())
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(ContextualRegularization()(maps.bfloat16().float(), image.float()).item())


def test_what_the_kernels_learn_through_w_is_exact_although_it_is_a_sum_of_many_terms() -> None:
    image, maps = random_case(8, n=12, h=120, w=160)
    exact, single = ContextualRegularization().double(), ContextualRegularization()
    exact(maps, image).backward()
    single(maps.float(), image.float()).backward()
    assert exact.kernels.grad is not None and single.kernels.grad is not None
    error = (single.kernels.grad - exact.kernels.grad).abs().max() / exact.kernels.grad.abs().max()
    assert error < 2e-6


def test_w_is_single_precision_inside_autocast_whoever_asks_for_it() -> None:
    image, _ = random_case(9, h=40, w=40)
    module = ContextualRegularization()
    alone = module.diagnostics(image.float())["mean_w"]
    with torch.autocast("cpu", torch.bfloat16):
        assert module.diagnostics(image.float())["mean_w"] == alone


def test_w_passes_gradients_to_features_that_are_the_guide() -> None:
    image = random_case(10)[0][:, :2].requires_grad_()
    module = ContextualRegularization().double()
    assert torch.autograd.gradcheck(module.contextual_weights, (image,))


def test_fixed_kernels_receive_no_gradient() -> None:
    image, maps = random_case(6)
    module = ContextualRegularization(learnable=False).double()
    module(maps.requires_grad_(), image).backward()
    assert module.kernels.grad is None
    assert maps.grad is not None


@pytest.mark.parametrize(
    ("image_scale", "shape", "message"),
    [(255.0, (7, 9), "divide 8-bit images by 255"), (1.0, (7, 8), "resize the guide"), (1.0, (2, 2), "at least 3x3")],
)
def test_wrong_guides_are_refused_with_the_reason(image_scale: float, shape: tuple[int, int], message: str) -> None:
    maps = torch.rand(1, 2, *((7, 9) if shape != (2, 2) else shape)).softmax(1)
    image = torch.rand(1, 3, *shape) * image_scale
    if shape == (2, 2):
        image = torch.rand(1, 3, 2, 2)
    with pytest.raises(ValueError, match=message):
        ContextualRegularization()(maps, image)


@pytest.mark.parametrize("arguments", [{"init": "sobel"}, {"reduction": "max"}, {"sigma": 0.0}, {"init_norm": -1.0}])
def test_unknown_switches_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        ContextualRegularization(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compiled_it_gives_the_same_value_and_gradients_as_one_graph(backend: str) -> None:
    if backend == "inductor" and shutil.which(os.environ.get("CXX", "g++")) is None:
        pytest.skip("torch.compile's inductor needs a C++ compiler on this machine")
    image, maps = (x.float() for x in random_case(7, n=11, h=20, w=24))
    module = ContextualRegularization()
    results = []
    for run in (module, torch.compile(module, backend=backend, fullgraph=True)):
        leaf = maps.clone().requires_grad_()
        value = run(leaf, image)
        results.append((value.detach(), *torch.autograd.grad(value, [leaf, module.kernels])))
    for eager, compiled in zip(*results, strict=True):
        assert torch.allclose(eager, compiled, rtol=1e-5, atol=1e-6)


def test_the_operator_obeys_the_rules_that_compilers_rely_on() -> None:
    image, maps = random_case(8, n=3, h=6, w=7)
    module = ContextualRegularization().double()
    arguments = (
        maps.requires_grad_(),
        module.contextual_weights(image).detach().requires_grad_(),
        module.kernels,
        *(True, True, True),
    )
    torch.library.opcheck(weighted_absolute_sum, arguments, test_utils=("test_schema", "test_faketensor"))


@pytest.mark.parametrize("shape", [(2, 9, 70, 33), (1, 3, 64, 20), (1, 3, 65, 3), (1, 1, 3, 3)])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_the_compiled_loops_and_the_operator_for_other_devices_agree(
    shape: tuple[int, int, int, int], kind: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(1)
    maps = torch.randn(shape, generator=generator, dtype=kind).softmax(1)
    image = torch.rand(shape[0], 3, *shape[2:], generator=generator, dtype=kind)
    module = ContextualRegularization().to(kind)
    weights, kernels = module.contextual_weights(image).detach(), module.kernels.detach()
    ours = weighted_absolute_sum(maps, weights, kernels, True, True, True)
    others = sum_by_classes(maps, weights, kernels, True, True, True)
    for mine, other in zip(ours, others, strict=True):
        assert torch.allclose(mine, other, rtol=1e-4 if kind == torch.float32 else 1e-12, atol=1e-5)


def test_the_result_does_not_depend_on_the_number_of_threads() -> None:
    image, maps = (x.float() for x in random_case(9, n=6, h=150, w=90))
    module = ContextualRegularization()
    values, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            leaf = maps.clone().requires_grad_()
            arguments = (leaf, module.contextual_weights(image).detach(), module.kernels.detach(), True, True, True)
            values.append(weighted_absolute_sum(*arguments))
    finally:
        torch.set_num_threads(before)
    for one, two in zip(*values, strict=True):
        assert torch.equal(one, two)


def test_a_map_that_is_not_a_number_shows_in_the_loss() -> None:
    image, maps = random_case(10)
    maps[0, 0, 3, 3] = math.nan
    assert math.isnan(ContextualRegularization().double()(maps, image).item())


def test_maps_in_channels_last_order_give_the_same() -> None:
    image, maps = random_case(12)
    module = ContextualRegularization().double()
    grads = []
    for values in (maps, maps.contiguous(memory_format=torch.channels_last)):
        leaf = values.clone().requires_grad_()
        grads.append(torch.autograd.grad(module(leaf, image), leaf)[0])
    assert torch.equal(*grads)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_of_scores_it_is_the_constraint_of_their_softmax_with_all_gradients(
    reduction: str, memory_format: torch.memory_format
) -> None:
    image, maps = random_case(13, n=5, h=12, w=9)
    module = ContextualRegularization(reduction=reduction).double()  # type: ignore[arg-type]
    valid = torch.ones(image.shape[0], 1, *image.shape[2:], dtype=torch.bool)
    valid[:, :, :, 6:] = False
    guide = image.clone().requires_grad_()
    results = []
    for term in (lambda z: module(z.softmax(1), guide, valid), lambda z: module.of_scores(z, guide, valid)):
        leaf = (5 * maps).contiguous(memory_format=memory_format).requires_grad_()
        value = term(leaf)
        results.append((value.detach(), *torch.autograd.grad(3 * value, [leaf, module.kernels, guide])))
    for expected, found in zip(*results, strict=True):
        assert torch.allclose(expected, found, rtol=1e-10, atol=1e-12)


def test_of_scores_it_obeys_the_rules_that_compilers_rely_on_and_compiles_to_one_graph() -> None:
    image, maps = random_case(14, n=3, h=6, w=7)
    module = ContextualRegularization().double()
    weights = module.contextual_weights(image).detach()
    arguments = (maps.requires_grad_(), weights.requires_grad_(), module.kernels, True, True, True)
    torch.library.opcheck(weighted_absolute_sum_of_softmax, arguments, test_utils=("test_schema", "test_faketensor"))
    compiled = torch.compile(module.of_scores, backend="aot_eager", fullgraph=True)
    values = [run(maps, image) for run in (module.of_scores, compiled)]
    gradients = [torch.autograd.grad(value, [maps, module.kernels]) for value in values]
    assert torch.allclose(*values)
    for eager, of_graph in zip(*gradients, strict=True):
        assert torch.allclose(eager, of_graph)


def test_diagnostics_tell_two_kernels_that_became_one() -> None:
    module = ContextualRegularization(init="kirsch")
    assert module.diagnostics()["kernel_overlap_max"] < 0.99
    with torch.no_grad():
        module.kernels[1] = -module.kernels[0]
    values = module.diagnostics()
    assert values["kernel_overlap_max"] == pytest.approx(1)
    assert values["kernel_energy_3"] == pytest.approx(0.5)
    assert abs(values["kernel_dc_max"]) < 1e-5
