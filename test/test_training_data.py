"""What a network in training sees: images, labels, guides and weights of classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lightning", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")
import torch

from lcr_seg_ros.bundle import InputSpec
from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.hha import HhaSettings
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.sources.folder import DatasetFolder, write_folder
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.training.data import IGNORED, PADDED, SegmentationDataset
from lcr_seg_ros.training.examples import Example, channel_statistics, class_weights, folder_examples
from lcr_seg_ros.training.recipe import LossRecipe, Recipe

NYU40 = LabelSet.load("nyu40")


def constant_example(label: int, value: int = 100) -> Example:
    image = np.full((48, 64, 3), value, np.uint8)
    return Example(image, image.copy(), np.full((48, 64), label, np.uint8))


def test_void_becomes_ignored_and_ids_become_channels() -> None:
    recipe = Recipe.load("nyu40", {"input.height": 32, "input.width": 48})
    for label, channel in ((0, IGNORED), (1, 0), (40, 39)):
        _, _, target = SegmentationDataset([constant_example(label)], recipe, NYU40)[0]
        assert target.unique().tolist() == [channel]


def test_geometry_moves_colour_hha_labels_and_guide_together() -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8)[None, :] * 2, (48, 1))
    labels = (ramp > 64).astype(np.uint8) + 1
    example = Example(np.stack([ramp] * 3, 2), np.stack([ramp] * 3, 2), labels)
    still = {
        "augmentation.brightness": 0,
        "augmentation.contrast": 0,
        "augmentation.saturation": 0,
        "augmentation.hue": 0,
        "augmentation.no_depth": 0,
    }
    recipe = Recipe.load("nyu40", {"input.height": 48, "input.width": 64, **still})
    for seed in range(5):
        torch.manual_seed(seed)
        image, guide, target = SegmentationDataset([example], recipe, NYU40)[0]
        assert torch.allclose(image[:3], image[3:])
        assert torch.allclose(image[:3] / 255, guide)
        sure = (image[0] - 65).abs() > 3
        assert ((image[0] > 65).long() == target)[sure].all()


@pytest.mark.parametrize("axis", [0, 1])
def test_labels_lie_where_the_image_does_to_a_fraction_of_a_pixel(axis: int) -> None:
    """An edge is compared by the share of the picture on its bright side; over many crops, none may be favoured."""
    size = (97, 131)
    bright = np.arange(size[axis]) > 50
    plane = np.broadcast_to(bright[:, None] if axis == 0 else bright, size).astype(np.uint8)
    example = Example(np.stack([200 * plane] * 3, 2), np.stack([200 * plane] * 3, 2), plane + 1)
    still = {f"augmentation.{name}": 0 for name in ("brightness", "contrast", "saturation", "hue", "no_depth", "flip")}
    entries = {"input.height": 32, "input.width": 48, "augmentation.crop_area": [0.5, 1.0], **still}
    dataset = SegmentationDataset([example], Recipe.load("nyu40", entries), NYU40)
    torch.manual_seed(0)
    apart = []
    for _ in range(200):
        image, _, target = dataset[0]
        apart.append(float((target == 1).float().mean() - image[0].mean() / 200) * target.shape[axis])
    assert abs(np.mean(apart)) < 0.1  # of a pixel; corners instead of middles would make it 0.5


def test_scaled_down_images_get_a_void_border_that_the_constraint_leaves_out() -> None:
    recipe = Recipe.load("nyu40", {"input.height": 48, "input.width": 64, "augmentation.scale": [0.5, 0.5]})
    torch.manual_seed(0)
    _, _, target = SegmentationDataset([constant_example(3)], recipe, NYU40)[0]
    assert set(target.unique().tolist()) == {PADDED, 2}
    assert (target == 2).float().mean() == pytest.approx(0.25, abs=0.02)


def test_scaled_up_images_show_a_part_enlarged_without_border() -> None:
    recipe = Recipe.load("nyu40", {"input.height": 48, "input.width": 64, "augmentation.scale": [2.0, 2.0]})
    ramp = np.tile(np.arange(64, dtype=np.uint8)[None, :] * 2, (48, 1))
    example = Example(np.stack([ramp] * 3, 2), np.stack([ramp] * 3, 2), np.ones((48, 64), np.uint8))
    torch.manual_seed(0)
    image, _, target = SegmentationDataset([example], recipe, NYU40)[0]
    assert target.unique().tolist() == [0]
    assert float(image[3].max() - image[3].min()) == pytest.approx(64, abs=3)


def test_an_item_asked_for_by_epoch_is_always_the_same_and_leaves_the_random_numbers_alone() -> None:
    recipe = Recipe.load("nyu40", {"input.height": 48, "input.width": 64})
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    dataset = SegmentationDataset([Example(noise, noise, np.ones((48, 64), np.uint8))], recipe, NYU40)
    before = torch.get_rng_state()
    first, again, later = dataset[0, 0][0], dataset[0, 0][0], dataset[1, 0][0]
    assert torch.equal(first, again)
    assert not torch.equal(first, later)
    assert torch.equal(torch.get_rng_state(), before)


def test_colour_jitter_never_touches_hha_nor_the_guide() -> None:
    recipe = Recipe.load("nyu40", {"input.height": 32, "input.width": 48})
    torch.manual_seed(1)
    image, guide, _ = SegmentationDataset([constant_example(1)], recipe, NYU40)[0]
    assert (image[3:] == 100).all()
    assert torch.allclose(guide, torch.full_like(guide, 100 / 255))
    assert not (image[:3] == 100).all()


@pytest.mark.parametrize("entry", ["no_depth", "worn_depth"])
def test_a_guide_of_hha_is_that_of_the_frame_as_it_was_moved_alike(entry: str) -> None:
    ramp = np.tile(np.arange(64, dtype=np.uint8)[None, :] * 2, (48, 1))
    image = np.stack([ramp] * 3, 2)
    depth_mm, camera = np.full((48, 64), 2000, np.uint16), CameraIntrinsics(50, 50, 32, 24, 64, 48)
    example = Example(image, image, (ramp > 64).astype(np.uint8) + 1, depth_mm, camera)
    lost = {"augmentation.worn_depth": 0, "augmentation.no_depth": 0} | {f"augmentation.{entry}": 1}
    size = {"input.modality": "hha", "input.height": 48, "input.width": 64, "input.early_share": 0}
    dataset = SegmentationDataset([example], Recipe.load("nyu40", size | lost), NYU40)
    for epoch in range(5):
        seen, guide, target = dataset[epoch, 0]
        assert (seen / 255 - guide).abs().mean() > 0.1
        sure = (255 * guide[0] - 65).abs() > 3
        assert ((255 * guide[0] > 65).long() == target)[sure].all()


def test_half_of_the_classes_of_another_frame_are_laid_over_image_guide_label_and_teacher_alike() -> None:
    still = {f"augmentation.{name}": 0 for name in ("brightness", "contrast", "saturation", "hue", "no_depth", "flip")}
    whole = {"augmentation.crop_area": (1, 1), "augmentation.crop_aspect": (4 / 3, 4 / 3), "augmentation.mix": 1}
    size = {"input.height": 48, "input.width": 64, "input.early_share": 0}
    recipe = Recipe.load("nyu40", {**size, **still, **whole})
    two = np.where(np.arange(128) < 64, 100, 200).astype(np.uint8) * np.ones((96, 1), np.uint8)
    image = np.stack([two] * 3, 2)
    examples = [constant_example(1, 50), Example(image, image.copy(), two // 100 + 1)]
    teacher = InputSpec("rgb_hha", 96, 128, (0.0,) * 6, (1.0,) * 6, recipe.input.hha_settings)
    dataset = SegmentationDataset(examples, recipe, NYU40, teacher=teacher)
    seen = set()
    for epoch in range(20):
        mixed, guide, target, of_teacher = dataset[(epoch, 0)]
        value = torch.tensor([50.0, 100, 200])[target]
        assert torch.equal(mixed, value.expand(6, -1, -1))
        assert torch.allclose(guide * 255, value.expand(3, -1, -1))
        assert torch.equal(of_teacher[:, ::2, ::2], mixed)
        seen.add(tuple(target.unique().tolist()))
    assert seen == {(0,), (0, 1), (0, 2)}, "itself, or one of the other's two classes"


@pytest.mark.parametrize("height", [240, 120])
def test_training_and_robot_see_the_same_tensor_of_smaller_frames_the_same_colour(tmp_path: Path, height: int) -> None:
    from lcr_seg_ros.preprocess import Preprocessor

    width = height * 4 // 3
    write_folder(RenderedRoom(frames=1, seed=1, width=320, height=240, noise=False), tmp_path / "rooms")
    folder = DatasetFolder(tmp_path / "rooms")
    recipe = Recipe.load("nyu40", {"input.height": height, "input.width": width})
    examples = folder_examples(folder, tmp_path, recipe.input.hha_settings)
    image, _, _ = SegmentationDataset(examples, recipe, NYU40, augment=False)[0]
    spec = InputSpec("rgb_hha", height, width, (0.0,) * 6, (1.0,) * 6, recipe.input.hha_settings)
    robot = Preprocessor(spec, hha_mode="exact")(folder[0].frame).tensor[0]
    off = np.abs(image.numpy() - robot)
    assert off[:3].max() == 0
    assert (off.max() == 0) if height == 240 else (np.median(off, (1, 2)) <= 1).all(), "HHA there is of sampled depth"


WITHOUT_JITTER = {f"augmentation.{name}": 0 for name in ("brightness", "contrast", "saturation", "hue", "flip")}


@pytest.mark.parametrize(
    ("entries", "augment"),
    [
        ({}, False),
        ({"augmentation.enabled": False}, True),
        ({"augmentation.scale": [1.0, 1.0], **WITHOUT_JITTER}, True),
    ],
)
@pytest.mark.parametrize(("width", "height"), [(256, 144), (144, 256), (192, 144)])
def test_frames_of_one_aspect_keep_it_wherever_none_is_cut_as_on_the_robot(
    width: int, height: int, entries: dict[str, object], augment: bool
) -> None:
    from lcr_seg_ros.preprocess import Preprocessor

    rgb = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    example = Example(rgb, rgb, np.ones((height, width), np.uint8))
    recipe = Recipe.load("nyu40-rgb", {"input.height": 72, "input.width": 96, **entries})
    teacher = InputSpec("rgb", 48, 64, (0.0,) * 3, (1.0,) * 3)
    image, guide, target, of_teacher = SegmentationDataset([example], recipe, NYU40, (), augment, teacher)[0]
    frame = RgbdFrame(rgb, None, None)
    for seen, (h, w) in ((image, (72, 96)), (of_teacher, (48, 64))):
        robot = Preprocessor(InputSpec("rgb", h, w, (0.0,) * 3, (1.0,) * 3))(frame).tensor[0]
        assert np.array_equal(seen.numpy(), robot)
    assert guide.shape[1:] == target.shape == image.shape[1:]


@pytest.mark.parametrize(("network", "rows"), [("fcn32s", 425), ("segnet", 425), ("fcn_lite", 424)])
def test_networks_that_score_every_pixel_get_the_papers_crop_row_by_row_as_on_the_robot(
    network: str, rows: int
) -> None:
    from lcr_seg_ros.preprocess import Preprocessor

    rgb = np.random.default_rng(0).integers(0, 255, (425, 560, 3), np.uint8)
    example = Example(rgb, rgb, np.ones((425, 560), np.uint8))
    size = {"input.height": 425, "input.width": 560, "augmentation.enabled": False, "input.early_share": 0}
    recipe = Recipe.load("nyu40-rgb", {"network.name": network, "network.arguments": {}, "loss.teacher": None, **size})
    image, _, target = SegmentationDataset([example], recipe, NYU40)[0]
    assert image.shape == (3, rows, 560) and target.shape == (rows, 560)
    spec = InputSpec("rgb", 425, 560, (0.0,) * 3, (1.0,) * 3, is_exact=recipe.is_exact)
    assert np.array_equal(image.numpy(), Preprocessor(spec)(RgbdFrame(rgb)).tensor[0])


def test_a_teacher_gets_the_size_of_its_own_training_whatever_the_student_takes() -> None:
    rgb = np.zeros((425, 560, 3), np.uint8)
    example = Example(rgb, rgb, np.ones((425, 560), np.uint8))
    recipe = Recipe.load("nyu40-rgb", {"input.height": 48, "input.width": 64, "augmentation.enabled": False})
    for is_exact, rows in ((True, 425), (False, 424)):
        teacher = InputSpec("rgb", 425, 560, (0.0,) * 3, (1.0,) * 3, is_exact=is_exact)
        *_, of_teacher = SegmentationDataset([example], recipe, NYU40, teacher=teacher)[0]
        assert of_teacher.shape == (3, rows, 560)


def test_frames_of_several_aspects_get_the_recipes_size_and_a_warning_once(caplog: pytest.LogCaptureFixture) -> None:
    recipe = Recipe.load("nyu40-rgb", {"input.height": 72, "input.width": 96})
    shapes = ((144, 256), (150, 200), (96, 256))
    examples = [
        Example(np.zeros((*shape, 3), np.uint8), np.zeros((*shape, 3), np.uint8), np.ones(shape, np.uint8))
        for shape in shapes
    ]
    for _ in range(2):
        dataset = SegmentationDataset(examples, recipe, NYU40, augment=False)
        assert {tuple(dataset[k][0].shape[1:]) for k in range(3)} == {(72, 96)}
    (told,) = (record.getMessage() for record in caplog.records)
    assert "from 200x150 to 256x96 px, are all resized to 96x72 px" in told


def test_channel_statistics_keep_the_colour_normalisation_of_the_start_and_measure_hha() -> None:
    mean, std = channel_statistics([constant_example(1, 80), constant_example(1, 120)], "rgb_hha")
    assert mean == (127.5, 127.5, 127.5, 100.0, 100.0, 100.0)
    assert std == (127.5, 127.5, 127.5, 20.0, 20.0, 20.0)


def test_class_weights_lift_rare_classes_and_average_to_one_over_pixels() -> None:
    examples = [constant_example(1)] * 9 + [constant_example(2)]
    labels = np.ones((48, 64), np.uint8)
    labels[:8, :8] = 3
    examples.append(Example(examples[0].rgb, examples[0].hha, labels))
    weights = class_weights(examples, NYU40, LossRecipe(class_balance=0.5))
    assert weights[2] > weights[1]
    assert torch.allclose(class_weights(examples, NYU40, LossRecipe()), torch.ones(40))
    assert torch.equal(
        class_weights(examples, NYU40, LossRecipe(class_weights="none", class_balance=1)), torch.ones(40)
    )


def test_class_weights_of_the_paper_are_median_frequency_over_frequency() -> None:
    labels = np.ones((48, 64), np.uint8)
    labels[:24, :] = 2
    labels[:24, :16] = 3
    blank = np.zeros((48, 64, 3), np.uint8)
    weights = class_weights([Example(blank, blank, labels)], NYU40, LossRecipe(class_weights="paper"))
    # Frequencies 1/2, 3/8 and 1/8; the median is 3/8.
    assert weights[:4].tolist() == pytest.approx([0.75, 1.0, 3.0, 1.0])


def test_frames_without_labels_or_depth_say_so(tmp_path: Path) -> None:
    from lcr_seg_ros.sources.source import SourceFrame

    frame = RgbdFrame(np.zeros((48, 64, 3), np.uint8), None, CameraIntrinsics(50, 50, 32, 24, 64, 48))
    write_folder([SourceFrame("a", frame)], tmp_path / "bare")
    with pytest.raises(SourceError, match=r"training needs label40/a\.png"):
        folder_examples(DatasetFolder(tmp_path / "bare"), tmp_path, HhaSettings())
    partly = [SourceFrame("a", frame, np.ones((48, 64), np.uint8)), SourceFrame("b", frame)]
    write_folder(partly, tmp_path / "partly")
    with pytest.raises(SourceError, match=r"frame b of .*training needs label40/b\.png"):
        folder_examples(DatasetFolder(tmp_path / "partly"), tmp_path, None)
    write_folder(partly[:1], tmp_path / "flat")
    with pytest.raises(SourceError, match=r"add depth/, or train on colour alone: with input\.modality=rgb"):
        folder_examples(DatasetFolder(tmp_path / "flat"), tmp_path, HhaSettings())


def test_label_images_of_another_size_are_refused_with_the_file_and_both_sizes(tmp_path: Path) -> None:
    from lcr_seg_ros.sources.source import SourceFrame

    frame = RgbdFrame(np.zeros((48, 64, 3), np.uint8), None, CameraIntrinsics(50, 50, 32, 24, 64, 48))
    write_folder([SourceFrame("a", frame, np.ones((24, 32), np.uint8))], tmp_path / "half")
    with pytest.raises(SourceError, match=r"label image is 32x24 pixels \(.*label40/a\.png\), the colour image 64x48"):
        folder_examples(DatasetFolder(tmp_path / "half"), tmp_path, None)
