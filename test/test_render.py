"""Pictures: right colours in the right places."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.labels import UNLABELLED, LabelClass, LabelSet
from lcr_seg_ros.render import class_legend, colorize, legend, overlay, sheet, write_image

NYU40 = LabelSet.load("nyu40")
RGB = np.full((60, 80, 3), 100, np.uint8)


def labels_of(*ids: int) -> np.ndarray:
    """Vertical stripes of equal width."""
    return np.repeat(np.array(ids, np.uint8), 80 // len(ids))[None].repeat(60, 0)


def test_every_class_is_drawn_in_its_colour_and_everything_else_is_black() -> None:
    picture = colorize(labels_of(1, 2, 0, UNLABELLED), NYU40)
    colors = {c.id: list(c.color) for c in NYU40.classes}
    assert [picture[0, x].tolist() for x in (0, 20, 40, 60)] == [colors[1], colors[2], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(("opacity", "expected"), [(0.0, RGB), (1.0, colorize(labels_of(1, 5), NYU40))])
def test_an_overlay_goes_from_the_image_to_the_colours(opacity: float, expected: np.ndarray) -> None:
    assert np.array_equal(overlay(RGB, labels_of(1, 5), NYU40, opacity), expected)


def test_unlabelled_and_void_pixels_show_the_image_untouched() -> None:
    mixed = overlay(RGB, labels_of(1, 0, UNLABELLED, 1), NYU40)
    assert np.array_equal(mixed[:, 20:60], RGB[:, 20:60])
    assert not np.array_equal(mixed[:, :20], RGB[:, :20])


def test_a_legend_shows_the_colour_of_each_class_that_occurs_and_of_no_other() -> None:
    picture = legend(labels_of(1, 1, 1, 5), NYU40, 400).reshape(-1, 3).tolist()
    colors = {c.id: list(c.color) for c in NYU40.classes}
    assert colors[1] in picture
    assert colors[5] in picture
    assert colors[2] not in picture


def test_the_legend_of_a_sheet_has_the_classes_of_labels_and_of_the_annotation() -> None:
    colors = {c.id: list(c.color) for c in NYU40.classes}
    for truth, listed in ((None, False), (labels_of(7, 1), True)):
        picture = sheet(RGB, None, labels_of(1, 5), NYU40, truth)[26 + 60 :].reshape(-1, 3).tolist()
        assert colors[1] in picture and colors[5] in picture
        assert (colors[7] in picture) == listed


def test_the_legend_says_what_share_is_of_the_labels_and_what_of_the_annotation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written: list[str] = []
    monkeypatch.setattr(cv2, "putText", lambda picture, text, *_: written.append(text))
    labels, annotation = labels_of(1, 1, 1, 5), labels_of(7, 7, 7, 7)
    annotation[0, 0] = 5
    legend(labels, NYU40, 1000)
    assert written == ["wall 75%", "chair 25%"], "without an annotation there is but one share"
    written.clear()
    legend(labels, NYU40, 1000, annotation)
    assert written == ["labels / annotation:", "table 0% / 100%", "wall 75% / 0%", "chair 25% / <1%"]


def long_names(*names: str) -> LabelSet:
    return LabelSet("long", tuple(LabelClass(k, name, (200, 30 * k, 0)) for k, name in enumerate(names, 1)))


@pytest.mark.parametrize("name", ["x", "otherstructure", "a refrigerator or freezer, open or closed"])
def test_the_columns_of_a_legend_are_as_wide_as_the_longest_name(name: str) -> None:
    classes = long_names(name, "b")
    for picture in (legend(labels_of(1, 2), classes, 1000), class_legend(classes.classes)):
        of_second = np.flatnonzero((picture == (200, 60, 0)).all(2).any(0))[0]
        inked = np.flatnonzero((picture[:, : of_second - 1] < 200).any((0, 2)))
        assert of_second >= 190 and inked.max() < of_second - 4, "the first name ends before the second column"
        alone = class_legend(long_names(name).classes, columns=1)  # no other name cuts this one
        assert inked.max() >= np.flatnonzero((alone[..., 0] < 200).any(0)).max() - 20


@pytest.mark.parametrize(
    ("hha", "truth", "panels"), [(None, None, 3), (RGB, None, 4), (RGB, labels_of(1, 2), 5), (None, labels_of(1, 2), 4)]
)
def test_a_sheet_has_one_panel_for_each_image_there_is(
    hha: np.ndarray | None, truth: np.ndarray | None, panels: int
) -> None:
    picture = sheet(RGB, hha, labels_of(1, 2), NYU40, truth)
    assert picture.shape[1] == panels * 80
    assert picture.dtype == np.uint8


def test_large_images_are_shrunk_to_fit_a_sheet() -> None:
    tall = np.zeros((960, 1280, 3), np.uint8)
    assert sheet(tall, None, np.ones((960, 1280), np.uint8), NYU40).shape[1] == 3 * 400


def test_an_image_is_written_whole_with_red_first(tmp_path: Path) -> None:
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[..., 0] = 200
    write_image(tmp_path / "deep" / "a.png", picture)
    assert cv2.imread(str(tmp_path / "deep" / "a.png"))[0, 0].tolist() == [0, 0, 200]
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.png"]


def test_a_name_without_an_image_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"ends with \.png or \.jpg"):
        write_image(tmp_path / "a.txt", RGB)
