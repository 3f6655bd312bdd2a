"""Networks: their sizes, their start from ImageNet weights, and that every runtime reads what was exported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shared_data import shared_data

pytest.importorskip("torchvision", reason="networks need the extra: pip install 'lcr_seg_ros[train]'")
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lcr_seg_ros.backends import create_backend
from lcr_seg_ros.bundle import InputSpec, ModelBundle
from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.networks import create_network
from lcr_seg_ros.networks.fcn32s import upscore
from lcr_seg_ros.networks.pretrained import WeightsError
from lcr_seg_ros.networks.segnet import max_pool, max_unpool
from lcr_seg_ros.networks.vgg16 import CAFFE_MEAN, TORCHVISION_MEAN, TORCHVISION_STD, Vgg16, Vgg16Weights
from lcr_seg_ros.weights import state_dict_from_onnx

NYU4 = LabelSet.load("nyu4")
FCN32S = {"name": "fcn32s", "head": "light", "width": 4, "head_channels": 16}
SEGNET = {"name": "segnet", "width": 4}
TINY = {
    "fcn32s, pad 100, fc6 7x7": {**FCN32S, "head": "fc"},
    "fcn32s, pad 100, light": FCN32S,
    "fcn32s, same": {**FCN32S, "border": "same"},
    "segnet": SEGNET,
    "fusion of two fcn32s": {"name": "fusion", "rgb": FCN32S, "hha": FCN32S},
    "fusion of segnet and fcn32s": {"name": "fusion", "rgb": SEGNET, "hha": {**FCN32S, "border": "same"}},
}


def in_channels(architecture: dict[str, Any]) -> int:
    return 6 if architecture["name"] == "fusion" else 3


def create(architecture: dict[str, Any], **more: Any) -> Any:
    return create_network(**{"in_channels": in_channels(architecture), "num_classes": 4, **architecture, **more})


def settle(network: nn.Module, channels: int) -> nn.Module:
    """Random weights, statistics of batch norms from blobs of colour, and scores that differ from pixel to pixel."""
    torch.manual_seed(0)
    for name, p in network.named_parameters():
        if "score" in name:
            nn.init.normal_(p)
    blobs = F.interpolate(torch.randn(4, channels, 6, 8), size=(96, 128))
    with torch.no_grad():
        for m in network.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.momentum = None  # average over all that it sees
        network.train()(blobs)
        network.eval()
        last = network.rgb if hasattr(network, "rgb") else network
        last.score.bias -= (blobs.shape[1] // 3) * network(blobs).mean((0, 2, 3))
    return network


# --- the registry


def test_every_network_scores_each_pixel_at_its_stride_and_its_architecture_is_plain_json() -> None:
    for architecture in (*TINY.values(), {"name": "fcn_lite"}):
        network = create(json.loads(json.dumps(architecture))).eval()
        with torch.inference_mode():
            scores = network(torch.zeros(2, in_channels(architecture), 45, 70))
        assert scores.shape == (2, 4, -(-45 // network.stride), -(-70 // network.stride)), architecture


def test_an_unknown_network_or_argument_is_named_with_what_there_is() -> None:
    with pytest.raises(ValueError, match=r"network must be one of fcn_lite, .*, grouped, got 'unet'"):
        create_network("unet")
    with pytest.raises(LcrSegError, match=r"segnet: got an unexpected keyword argument 'depth'; it takes in_channels,"):
        create_network("segnet", in_channels=3, num_classes=4, depth=3)
    with pytest.raises(LcrSegError, match="head must be one of fc, light, got 'big'"):
        create_network("fcn32s", in_channels=3, num_classes=4, head="big")
    with pytest.raises(LcrSegError, match="fusion takes 6 channels"):
        create_network("fusion", in_channels=3, num_classes=4, rgb=SEGNET, hha=SEGNET)


# --- fcn32s


def layer_rows(network: Any, height: int, width: int) -> dict[str, int]:
    """Rows of what leaves each stage's convolutions, fc6 and the upscore."""
    rows = {}
    watched = {f"conv{s}": stage for s, stage in enumerate(network.encoder.stages, start=1)} | {"fc6": network.head.fc6}
    hooks = [m.register_forward_hook(lambda _m, _i, o, n=n: rows.update({n: o.shape[-2]})) for n, m in watched.items()]
    with torch.inference_mode():
        rows["crop"] = network(torch.zeros(1, 3, height, width)).shape[-2]
        rows["upscore"] = upscore(torch.zeros(1, 1, rows["fc6"], 1)).shape[-2]
    for hook in hooks:
        hook.remove()
    return rows


@pytest.mark.parametrize("head", ["fc", "light"])
def test_fcn32s_has_the_sizes_of_the_authors_network(head: str) -> None:
    network = create(FCN32S, head=head).eval()
    rows = layer_rows(network, 425, 560)
    assert [rows[f"conv{s}"] for s in range(1, 6)] == [623, 312, 156, 78, 39]
    assert (rows["fc6"], rows["upscore"], rows["crop"]) == (14, 480, 425)


@pytest.mark.parametrize("border", ["pad100", "same"])
@pytest.mark.parametrize("size", [(480, 640), (200, 264), (37, 101), (33, 32)])
def test_fcn32s_scores_every_pixel_at_any_size(size: tuple[int, int], border: str) -> None:
    network = create(FCN32S, border=border).eval()
    with torch.inference_mode():
        assert network(torch.zeros(1, 3, *size)).shape == (1, 4, *size)


def test_upscore_is_caffes_bilinear_deconvolution() -> None:
    coarse = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    ramp = 1 - (torch.arange(64, dtype=torch.float64) - 31.5).abs() / 32  # Caffe's filler, factor 32, centre 31.5
    kernel = (ramp[:, None] * ramp[None, :]).expand(3, 1, 64, 64)
    torch.testing.assert_close(upscore(coarse), F.conv_transpose2d(coarse, kernel, stride=32, groups=3))


@pytest.mark.parametrize(("border", "width"), [("pad100", 90), ("same", 96)])  # the pooling grid is symmetric there
def test_fcn32s_scores_lie_over_the_pixels_that_they_look_at(border: str, width: int) -> None:
    network = create(FCN32S, border=border).double().eval()
    with torch.no_grad():
        nn.init.normal_(network.score.weight)
        for p in network.parameters():
            if p.ndim == 4:
                p.copy_((p + p.flip(-1)) / 2)
        image = torch.randn(1, 3, 64, width, dtype=torch.float64)
        torch.testing.assert_close(network(image.flip(-1)).flip(-1), network(image))


def test_fcn32s_starts_from_zero_scores_and_learns_through_them() -> None:
    network = create(FCN32S)
    scores = network(torch.randn(1, 3, 64, 64))
    assert (scores == 0).all()
    F.cross_entropy(scores, torch.zeros(1, 64, 64, dtype=torch.long)).backward()
    assert network.score.weight.grad.abs().sum() > 0


def test_fcn32s_drops_single_values_not_channels() -> None:
    dropped = create(FCN32S).head.drop6.train()(torch.ones(1, 8, 16, 16))
    assert 0.4 < (dropped == 0).float().mean() < 0.6
    assert ((dropped == 0).float().mean((2, 3)) < 1).all()


# --- segnet


def test_segnet_goes_back_through_the_sizes_it_came_by() -> None:
    sizes = []
    network = create(SEGNET).eval()
    for stage in (*network.encoder.stages, *network.decoder):
        stage.register_forward_hook(lambda _m, _i, o: sizes.append(tuple(o.shape[-2:])))
    pooled: list[tuple[int, ...]] = []
    network.decoder[0].register_forward_pre_hook(lambda _m, i: pooled.append(tuple(i[0].shape[-2:])))
    with torch.inference_mode():
        network(torch.zeros(1, 3, 200, 264))
    down = [(200, 264), (100, 132), (50, 66), (25, 33), (13, 17)]
    assert sizes == down + down[::-1]
    assert pooled == [(13, 17)]  # unpooled from 7x9
    assert max_pool(torch.zeros(1, 1, 13, 17))[0].shape[-2:] == (7, 9)


def test_unpooling_puts_each_value_where_its_maximum_was() -> None:
    x = torch.tensor([[1.0, 5, 2], [3, 4, 9], [7, 0, 6]]).reshape(1, 1, 3, 3)
    pooled, place = max_pool(x)
    assert pooled.flatten().tolist() == [5, 9, 7, 6]
    assert max_unpool(10 * pooled, place).reshape(3, 3).tolist() == [[0, 50, 0], [0, 0, 90], [70, 0, 60]]


@pytest.mark.parametrize("size", [(8, 10), (7, 9), (13, 17), (1, 1)])
def test_what_is_exported_unpools_as_training_does_ties_included(size: tuple[int, int]) -> None:
    x = torch.randint(0, 3, (2, 5, *size)).float()  # most blocks have equal maxima, as after a ReLU
    pooled, place = max_pool(x)
    same, selected = max_pool(x, by_selection=True)
    assert torch.equal(pooled, same)
    y = torch.randn_like(pooled)
    assert torch.equal(max_unpool(y, selected), max_unpool(y, place))


def test_where_the_image_is_flat_rounding_does_not_decide_where_a_maximum_is() -> None:
    flat = torch.full((1, 1, 4, 4), 3.0)
    rounded = flat * (1 + 1e-6 * torch.randn_like(flat))
    _, place = max_pool(flat, by_selection=True)
    _, other = max_pool(rounded, by_selection=True)
    y = torch.randn(1, 1, 2, 2)
    assert torch.equal(max_unpool(y, place), max_unpool(y, other))


def test_segnets_decoder_mirrors_all_of_vgg16() -> None:
    network = create_network("segnet", in_channels=3, num_classes=40)
    encoder = 14_710_464  # convolutions of VGG-16; the decoder mirrors them, but ends in 40 classes, not 3 colours
    assert sum(p.numel() for p in network.parameters() if p.ndim == 4) == 2 * encoder + (40 - 3) * 64 * 9


def test_segnet_starts_as_he_et_al() -> None:
    weight = create_network("segnet", in_channels=3, num_classes=4).decoder[0].conv5_3_d.conv.weight
    assert float(weight.std()) == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.01)


# --- fusion


def test_fusion_averages_the_scores_of_an_rgb_and_an_hha_network() -> None:
    rgb, hha = (settle(create(a), 3) for a in (SEGNET, {**FCN32S, "border": "same"}))
    fusion = create(TINY["fusion of segnet and fcn32s"]).eval()
    fusion.load_members(rgb.state_dict(), hha.state_dict())
    x = torch.randn(1, 6, 40, 56)
    with torch.inference_mode():
        torch.testing.assert_close(fusion(x), (rgb(x[:, :3]) + hha(x[:, 3:])) / 2)


# --- the start from ImageNet


def vgg16_state(classifier: tuple[int, int] | None = None, seed: int = 0) -> dict[str, Tensor]:
    """Random weights by torchvision's names; with fc6 and fc7 of the given (width, channels) where asked for."""
    torch.manual_seed(seed)
    state, before, number = {}, 3, 0
    for channels, depth in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(depth):
            state[f"features.{number}.weight"] = 0.01 * torch.randn(channels, before, 3, 3)
            state[f"features.{number}.bias"] = 0.01 * torch.randn(channels)
            before, number = channels, number + 2
        number += 1
    if classifier:
        width, channels = classifier
        state |= {
            "classifier.0.weight": torch.randn(channels, width * 8 * 49),
            "classifier.0.bias": torch.ones(channels),
        }
        state |= {"classifier.3.weight": torch.randn(channels, channels), "classifier.3.bias": torch.ones(channels)}
        state |= {"classifier.6.weight": torch.randn(1000, channels), "classifier.6.bias": torch.ones(1000)}
    return state


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of random weights in both conventions, in the layout of the real ones."""
    folder = tmp_path_factory.mktemp("weights")
    state = vgg16_state()
    torch.save(state, folder / "convolutions.pth")
    np.savez(folder / "convolutions.npz", **{n: v.numpy().astype(np.float16) for n, v in state.items()})
    torch.save(vgg16_state(classifier=(64, 24)), folder / "all.pth")
    return folder


def first_filters(network: Any) -> Tensor:
    return network.encoder.stages[0].conv1_1.conv.weight


def test_caffes_weights_are_turned_from_bgr_to_rgb_and_bring_their_mean(weights: Path) -> None:
    network = create_network("fcn32s", in_channels=3, num_classes=4, head="light")
    start = network.load_imagenet(weights / "convolutions.npz")
    stored = torch.from_numpy(np.load(weights / "convolutions.npz")["features.0.weight"]).float()
    assert torch.equal(first_filters(network), stored[:, [2, 1, 0]])
    assert (start.mean, start.std) == ((123.68, 116.779, 103.939), (1, 1, 1))
    assert "convolutions.npz" in start.origin
    assert start.untouched == ("fc6", "fc7", "score")
    last = network.encoder.stages[4].conv5_3.conv
    torch.testing.assert_close(last.weight, vgg16_state()["features.28.weight"], atol=1e-4, rtol=1e-3)


def test_torchvisions_weights_keep_their_order_and_bring_their_own_normalisation(weights: Path) -> None:
    network = create_network("segnet", in_channels=3, num_classes=4)
    start = network.load_imagenet(weights / "convolutions.pth")
    assert torch.equal(first_filters(network), vgg16_state()["features.0.weight"])
    assert (start.mean, start.std) == (TORCHVISION_MEAN, TORCHVISION_STD)
    assert start.untouched == ("batch norms", "decoder", "score")


@pytest.mark.parametrize(("file", "scale"), [("convolutions.npz", (57.63,) * 3), ("convolutions.pth", (1, 1, 1))])
@pytest.mark.parametrize("in_channels", [3, 6])
def test_batch_norms_can_start_where_the_weights_without_them_were(
    weights: Path, file: str, scale: tuple[float, ...], in_channels: int
) -> None:
    network = create_network("segnet", in_channels=in_channels, num_classes=4)
    start = network.load_imagenet(weights / file)
    assert start.scale == pytest.approx(scale, rel=1e-4)
    plain = Vgg16(in_channels)
    Vgg16Weights.read(weights / file).load_into(plain)
    images = torch.randn(2, in_channels, 64, 96, generator=torch.Generator().manual_seed(0))
    network.start_batch_norms(images, start.scale)
    network.eval()
    ours, theirs = images, images * torch.tensor(scale * (in_channels // 3))[:, None, None]
    with torch.no_grad():
        for with_norms, without in zip(network.encoder.stages, plain.stages, strict=True):
            ours, theirs = with_norms(ours), without(theirs)
            factor = theirs.norm() / ours.norm()  # one for the whole layer
            torch.testing.assert_close(ours * factor, theirs, rtol=1e-3, atol=2e-3 * float(theirs.abs().max()))
            ours, theirs = (F.max_pool2d(x, 2, ceil_mode=True) for x in (ours, theirs))


@pytest.mark.parametrize("with_norms", [("rgb", "hha"), ("rgb",), ("hha",)])
def test_batch_norms_of_a_fusion_start_as_those_of_each_network_alone(
    weights: Path, with_norms: tuple[str, ...]
) -> None:
    sides = {s: {"name": "segnet"} if s in with_norms else {"name": "fcn32s", "head": "light"} for s in ("rgb", "hha")}
    fusion = create_network("fusion", in_channels=6, num_classes=4, **sides)
    start = fusion.load_imagenet(weights / "convolutions.npz")
    assert [name for name in start.untouched if name.endswith("batch norms")] == [
        f"{s}.batch norms" for s in with_norms
    ]
    images = torch.randn(2, 6, 64, 96, generator=torch.Generator().manual_seed(0))
    fusion.start_batch_norms(images, start.scale)
    for side in with_norms:
        alone = create_network("segnet", in_channels=3, num_classes=4)
        its_own = alone.load_imagenet(weights / "convolutions.npz")
        alone.start_batch_norms(images[:, :3] if side == "rgb" else images[:, 3:], its_own.scale)
        for name, value in alone.encoder.state_dict().items():
            assert torch.equal(value, getattr(fusion, side).encoder.state_dict()[name]), name


def test_the_convention_can_be_named_where_the_ending_does_not_tell(weights: Path) -> None:
    network = create_network("fcn32s", in_channels=3, num_classes=4, head="light")
    start = network.load_imagenet(f"caffe:{weights / 'convolutions.pth'}")
    assert start.mean == CAFFE_MEAN
    assert torch.equal(first_filters(network), vgg16_state()["features.0.weight"].flip(1))


def test_filters_for_hha_start_as_those_for_colour(weights: Path) -> None:
    network = create_network("segnet", in_channels=6, num_classes=4)
    start = network.load_imagenet(weights / "convolutions.pth")
    filters = first_filters(network)
    assert torch.equal(filters[:, 3:], 0.5 * filters[:, :3])
    mean, std = start.normalisation("rgb_hha", (1, 2, 3), (4, 5, 6))
    assert mean == (*TORCHVISION_MEAN, 1, 2, 3)
    assert std == TORCHVISION_STD * 2
    assert start.normalisation("hha", (1, 2, 3), (4, 5, 6)) == ((1, 2, 3), TORCHVISION_STD)


def test_hha_is_divided_by_its_own_deviation_where_the_start_says_nothing() -> None:
    start = create_network("fcn_lite", in_channels=6, num_classes=4).load_imagenet()
    assert start.normalisation("rgb", (1, 2, 3), (4, 5, 6)) == ((127.5,) * 3, (127.5,) * 3)
    assert start.normalisation("rgb_hha", (1, 2, 3), (4, 5, 6)) == ((*(127.5,) * 3, 1, 2, 3), (*(127.5,) * 3, 4, 5, 6))


def test_fc6_and_fc7_come_from_the_classifier(weights: Path) -> None:
    network = create_network("fcn32s", in_channels=3, num_classes=4, head_channels=24)
    start = network.load_imagenet(weights / "all.pth")
    state = vgg16_state(classifier=(64, 24))
    assert start.untouched == ("score",)
    assert (network.score.weight == 0).all()
    features = torch.randn(1, 512, 7, 7)
    wanted = F.linear(features.flatten(1), state["classifier.0.weight"], state["classifier.0.bias"])
    torch.testing.assert_close(network.head.fc6(features).flatten(1), wanted, rtol=1e-4, atol=1e-3)


ENTRIES_OF_THE_SMALLER_HEAD = "network.arguments.head=light optimizer.learning_rate=1e-4"


def test_without_fc6_and_fc7_the_smaller_head_is_offered_as_entries_to_paste(weights: Path) -> None:
    network = create_network("fcn32s", in_channels=3, num_classes=4, head_channels=24)
    with pytest.raises(WeightsError, match=r"4 missing: classifier\.0\.weight, .*starts at random") as refusal:
        network.load_imagenet(weights / "convolutions.npz")
    assert str(refusal.value).endswith(f": {ENTRIES_OF_THE_SMALLER_HEAD}")


def test_the_smaller_head_takes_the_weights_that_it_was_offered_for(weights: Path) -> None:
    pytest.importorskip("lightning", reason="recipes need the extra: pip install 'lcr_seg_ros[train]'")
    from lcr_seg_ros.training.recipe import Recipe
    from lcr_seg_ros.training.train_command import parse_setting

    recipe = Recipe.load("fcn32s_paper", dict(parse_setting(entry) for entry in ENTRIES_OF_THE_SMALLER_HEAD.split()))
    assert recipe.optimizer.learning_rate == 1e-4
    network = create_network("fcn32s", in_channels=3, num_classes=4, **recipe.network.arguments)
    assert network.load_imagenet(weights / "convolutions.npz").untouched == ("fc6", "fc7", "score")


@pytest.mark.parametrize("file", ["without fc6 and fc7", "with fc6 and fc7"])
def test_convolutions_that_do_not_fit_are_listed_beside_fc6_and_fc7(file: str, tmp_path: Path) -> None:
    state = vgg16_state() if file == "without fc6 and fc7" else vgg16_state(classifier=(64, 24))
    del state["features.28.weight"]
    state["fc.weight"] = torch.zeros(2)
    state.pop("classifier.3.bias", None)
    torch.save(state, tmp_path / "partial.pth")
    network = create_network("fcn32s", in_channels=3, num_classes=4, head_channels=24)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(WeightsError) as refusal:
        network.load_imagenet(tmp_path / "partial.pth")
    message = str(refusal.value)
    if file == "without fc6 and fc7":
        assert "5 missing: features.28.weight, classifier.0.weight, classifier.0.bias, classifier.3.weight" in message
    else:
        assert "2 missing: features.28.weight, classifier.3.bias" in message
    assert "1 unexpected: fc.weight" in message
    assert (ENTRIES_OF_THE_SMALLER_HEAD in message) == (file == "without fc6 and fc7")
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_vgg16_with_batch_norm_is_not_answered_with_a_head_that_could_not_take_it_either(tmp_path: Path) -> None:
    torch.save({"features.1.weight": torch.ones(64)}, tmp_path / "bn.pth")
    network = create_network("fcn32s", in_channels=3, num_classes=4, head_channels=24)
    with pytest.raises(WeightsError, match=r"is a VGG-16 with batch norm, this network has none: choose torchvision$"):
        network.load_imagenet(tmp_path / "bn.pth")


@pytest.mark.parametrize("name", ["features.28.bias", "classifier.3.weight"])
def test_values_that_are_not_finite_are_named_in_fc7_as_in_a_convolution(name: str, tmp_path: Path) -> None:
    state = vgg16_state(classifier=(64, 24))
    state[name].view(-1)[3] = torch.nan
    torch.save(state, tmp_path / "nan.pth")
    network = create_network("fcn32s", in_channels=3, num_classes=4, head_channels=24)
    before = first_filters(network).clone()
    with pytest.raises(WeightsError, match=rf"nan\.pth holds values that are not finite in {name}: get it again"):
        network.load_imagenet(tmp_path / "nan.pth")
    assert torch.equal(first_filters(network), before)


def test_a_file_that_does_not_fit_lists_what_did_not_match_and_changes_nothing(weights: Path, tmp_path: Path) -> None:
    state = vgg16_state()
    del state["features.2.bias"], state["features.28.weight"]
    state["features.5.weight"] = state["features.5.weight"][:7]
    state["fc.weight"] = torch.zeros(2)
    torch.save(state, tmp_path / "partial.pth")
    network = create_network("segnet", in_channels=3, num_classes=4)
    before = first_filters(network).clone()
    with pytest.raises(WeightsError) as caught:
        network.load_imagenet(tmp_path / "partial.pth")
    message = str(caught.value)
    assert "2 missing: features.2.bias, features.28.weight" in message
    assert "1 of another shape: features.5.weight is (7, 64, 3, 3), needs (128, 64, 3, 3)" in message
    assert "1 unexpected: fc.weight" in message
    assert torch.equal(first_filters(network), before)


def test_weights_of_another_head_size_are_listed(weights: Path) -> None:
    network = create_network("fcn32s", in_channels=3, num_classes=4, head_channels=8)
    with pytest.raises(WeightsError, match=r"classifier\.0\.weight is \(24, 25088\), needs \(8, 25088\)"):
        network.load_imagenet(weights / "all.pth")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("cut.npz", b"PK\x03\x04 cut", "is cut or holds no weights"),
        ("cut.pth", b"PK\x03\x04 cut", "is cut or holds no weights"),
        ("absent.npz", None, "no weights at"),
    ],
)
def test_a_damaged_or_absent_file_says_so(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    for network in ("segnet", "fcn_lite"):
        with pytest.raises(WeightsError, match=message):
            create_network(network, in_channels=3, num_classes=4).load_imagenet(tmp_path / name)


def test_pytorchs_advice_to_run_what_is_in_a_file_is_not_passed_on(tmp_path: Path) -> None:
    (tmp_path / "labels.pth").write_text("name: mine\n")
    with pytest.raises(WeightsError, match="it is no file of tensors and plain values") as refusal:
        create(SEGNET).load_imagenet(tmp_path / "labels.pth")
    assert "weights_only" not in str(refusal.value)


def test_pickled_objects_in_a_weight_file_are_not_run(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", **{"features.0.weight": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(WeightsError, match="allow_pickle"):
        create(SEGNET).load_imagenet(tmp_path / "objects.npz")


def test_a_download_is_read_from_torchvisions_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    network = create_network("fcn32s", in_channels=3, num_classes=4, head="light")
    name = "vgg16_features-amdegroot-88682ab5.pth"
    nan = {"classifier.0.weight": torch.full((4, 4), torch.nan)}  # the real file marks its lack of a classifier so
    torch.save(vgg16_state() | nan, tmp_path / "checkpoints" / name)
    start = network.load_imagenet("oxford")
    assert (start.mean, start.std) == (CAFFE_MEAN, (1, 1, 1))
    assert torch.equal(first_filters(network), vgg16_state()["features.0.weight"])
    assert "IMAGENET1K_FEATURES" in start.origin


def test_the_real_oxford_weights_see_what_they_were_taught() -> None:
    file = shared_data("..", "weights", "vgg16_conv_imagenet_fp16.npz")
    network = create_network("fcn32s", in_channels=3, num_classes=4, head="light", border="same").eval()
    start = network.load_imagenet(file)
    stored = np.load(file)
    assert torch.equal(first_filters(network)[:, 0], torch.from_numpy(stored["features.0.weight"][:, 2]).float())
    image = torch.full((1, 3, 64, 64), 255.0) * torch.tensor([1.0, 0, 0]).reshape(1, 3, 1, 1)
    with torch.inference_mode():
        mean = torch.tensor(start.mean).reshape(1, 3, 1, 1)
        deep = network.encoder.stages[0](image - mean)
    assert torch.isfinite(deep).all()
    assert deep.max() > 10


# --- recipes


@pytest.mark.parametrize("name", ["fcn32s_paper", "fcn32s_modern", "segnet_paper", "segnet_modern"])
@pytest.mark.parametrize(("modality", "labels"), [("rgb", "nyu40"), ("hha", "nyu40"), ("rgb", "nyu4"), ("hha", "nyu4")])
def test_recipes_turn_to_other_modalities_and_classes_by_one_key(name: str, modality: str, labels: str) -> None:
    pytest.importorskip("lightning", reason="recipes need the extra: pip install 'lcr_seg_ros[train]'")
    from lcr_seg_ros.training.module import architecture
    from lcr_seg_ros.training.recipe import Recipe

    recipe = Recipe.load(name, {"input.modality": modality, "labels": labels})
    assert recipe.name == name
    assert recipe.loss.constraint is not None
    assert recipe.loss.constraint.guide == modality
    assert Recipe.load(name, {"loss.constraint": None}).loss.constraint is None
    with torch.device("meta"):  # shapes without memory: fc6 alone has 103 million weights
        network = create_network(**architecture(recipe, LabelSet.load(recipe.labels)))
        scores = network(torch.zeros(2, 3, recipe.input.height, recipe.input.width))
    assert scores.shape == (2, len(LabelSet.load(labels)), recipe.input.height, recipe.input.width)


# --- export


def bundle_of(network: nn.Module, architecture: dict[str, Any]) -> ModelBundle:
    pytest.importorskip("onnx", reason="export needs the extra: pip install 'lcr_seg_ros[train]'")
    from lcr_seg_ros.training.export import bundle_network

    channels = in_channels(architecture)
    spec = InputSpec("rgb_hha" if channels == 6 else "rgb", 96, 128, (127.5,) * channels, (127.5,) * channels)
    arguments = {"in_channels": channels, "num_classes": len(NYU4), **architecture}
    return bundle_network(network, "tiny", arguments, spec, NYU4, training={})


@pytest.mark.parametrize("architecture", TINY.values(), ids=TINY.keys())
def test_every_runtime_labels_alike_at_several_sizes(architecture: dict[str, Any]) -> None:
    channels = in_channels(architecture)
    network = settle(create(architecture), channels)
    bundle = bundle_of(network, architecture)
    stored = state_dict_from_onnx(bundle.network)
    floats = {n: v for n, v in network.state_dict().items() if v.is_floating_point()}
    assert stored.keys() == floats.keys()
    network.load_state_dict(stored, strict=False)  # what float16 left of them

    for size in ((96, 128), (72, 104), (63, 85)):
        image = torch.randn(1, channels, *size)
        with torch.inference_mode():
            wanted = network(image).softmax(1).numpy()
        for name in ("torch", "openvino", "onnxruntime"):
            pytest.importorskip(name)
            answer = create_backend(bundle, name, "cpu", 1).infer(image.numpy())
            assert answer.shape == wanted.shape, (name, size)
            assert np.allclose(answer.sum(1), 1, atol=1e-4)
            agreement = (answer.argmax(1) == wanted.argmax(1)).mean()
            assert agreement >= 0.999, (name, size, agreement)
            assert len(np.unique(wanted.argmax(1))) > 1, "a constant answer would prove nothing"


def test_equal_weights_of_the_two_members_of_a_fusion_stay_in_the_bundle_under_both_names() -> None:
    architecture = TINY["fusion of two fcn32s"]
    network = create(architecture).eval()
    network.load_members(network.rgb.state_dict(), network.rgb.state_dict())
    bundle = bundle_of(network, architecture)
    stored = state_dict_from_onnx(bundle.network)
    assert stored.keys() == network.state_dict().keys()
    image = torch.randn(1, 6, 96, 128)
    answers = [create_backend(bundle, name, "cpu", 1).infer(image.numpy()).copy() for name in ("torch", "openvino")]
    np.testing.assert_allclose(*answers, atol=1e-5)


def test_a_segnet_bundle_takes_59_megabytes() -> None:
    network = create_network("segnet", in_channels=3, num_classes=4)
    bundle = bundle_of(network, {"name": "segnet"})
    assert len(bundle.network) / 1e6 == pytest.approx(59, abs=0.5)
