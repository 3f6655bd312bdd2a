"""Dataset folders: what is read, what is assumed, and what a beginner's mistakes are answered with."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from turned_jpeg import quarter_turned

from lcr_seg_ros.errors import FrameError, SourceError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame, UnsizedIntrinsics
from lcr_seg_ros.sources.folder import NYUDV2_INTRINSICS, DatasetFolder, parse_intrinsics, write_folder, write_png
from lcr_seg_ros.sources.source import SourceFrame

INTRINSICS = CameraIntrinsics(60.0, 61.0, 39.5, 29.25, 80, 60)


def frames(count: int = 3) -> list[SourceFrame]:
    random = np.random.default_rng(0)
    made = []
    for k in range(count):
        depth = (random.integers(0, 5000, (60, 80)) / 1000).astype(np.float32)
        rgb = random.integers(0, 256, (60, 80, 3), np.uint8)
        made.append(
            SourceFrame(f"{k:03d}", RgbdFrame(rgb, depth, INTRINSICS), random.integers(0, 41, (60, 80), np.uint8))
        )
    return made


def test_what_was_written_is_read_back_without_loss(tmp_path: Path) -> None:
    written = frames()
    write_folder(written, tmp_path, split="all")
    folder = DatasetFolder(tmp_path, "all")
    assert len(folder) == 3
    for before, after in zip(written, folder, strict=True):
        assert after.name == before.name
        assert np.array_equal(after.frame.rgb, before.frame.rgb)
        assert np.abs(after.frame.depth_m - before.frame.depth_m).max() < 1e-6
        assert np.array_equal(after.labels, before.labels)
        assert after.frame.intrinsics == INTRINSICS


def test_intrinsics_may_be_numpy_numbers_as_those_of_messages_are(tmp_path: Path) -> None:
    item = frames(1)[0]
    camera = CameraIntrinsics(*np.array([60, 61, 39.5, 29.25]), *np.array([80, 60]))
    write_folder([replace(item, frame=replace(item.frame, intrinsics=camera))], tmp_path)
    assert DatasetFolder(tmp_path).intrinsics == INTRINSICS


def test_without_intrinsics_the_camera_of_nyudv2_is_assumed_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_folder(frames(1), tmp_path)
    (tmp_path / "intrinsics.yaml").unlink()
    with caplog.at_level(logging.WARNING):
        assert DatasetFolder(tmp_path)[0].frame.intrinsics == NYUDV2_INTRINSICS.scaled_to(80, 60)
    assert "Kinect of NYUDv2" in caplog.text


def test_a_split_gives_the_order_and_a_limit_cuts_it(tmp_path: Path) -> None:
    write_folder(frames(), tmp_path)
    (tmp_path / "few.txt").write_text("002\n000\n001\n")
    assert DatasetFolder(tmp_path, "few", limit=2).names == ["002", "000"]


def test_colour_alone_is_a_dataset_too(tmp_path: Path) -> None:
    write_folder([SourceFrame("a", RgbdFrame(np.zeros((6, 8, 3), np.uint8)))], tmp_path)
    item = DatasetFolder(tmp_path)[0]
    assert item.frame.depth_m is None
    assert item.labels is None


def test_of_a_folder_that_is_partly_labelled_every_frame_is_read(tmp_path: Path) -> None:
    written = frames()
    write_folder(written, tmp_path)
    (tmp_path / "label40" / "001.png").unlink()
    assert [item.labels is None for item in DatasetFolder(tmp_path)] == [False, True, False]
    (tmp_path / "label40" / "000.png").write_bytes(b"no image")
    with pytest.raises(SourceError, match=r"cannot read the label image .*000\.png"):
        DatasetFolder(tmp_path)[0]
    assert np.array_equal(DatasetFolder(tmp_path).frame(0).rgb, written[0].frame.rgb)  # labels do not matter to it


@pytest.mark.parametrize(("with_depth", "shape"), [(True, (60, 80)), (False, (80, 60))])
def test_a_photo_that_says_how_it_was_held_is_turned_unless_it_lies_under_depth(
    tmp_path: Path, with_depth: bool, shape: tuple[int, int]
) -> None:
    write_folder([SourceFrame("a", replace(frames(1)[0].frame, depth_m=None))], tmp_path)
    (tmp_path / "rgb" / "a.png").unlink()
    photo = cv2.imencode(".jpg", np.zeros((60, 80, 3), np.uint8))[1].tobytes()
    (tmp_path / "rgb" / "a.jpg").write_bytes(quarter_turned(photo))
    if with_depth:
        write_png(tmp_path / "depth" / "a.png", np.full((60, 80), 2000, np.uint16))
    assert DatasetFolder(tmp_path)[0].frame.rgb.shape[:2] == shape


def test_beginners_mistakes_are_answered_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="it has no rgb/"):
        DatasetFolder(tmp_path)
    write_folder(frames(2), tmp_path, split="all")
    with pytest.raises(SourceError, match=r"no split 'val'.*splits here: all"):
        DatasetFolder(tmp_path, "val")
    (tmp_path / "bad.txt").write_text("000\n777\n")
    with pytest.raises(SourceError, match="lists 1 frames without an image in rgb/, first '777'"):
        DatasetFolder(tmp_path, "bad")
    with pytest.raises(SourceError, match="limit must be at least 1"):
        DatasetFolder(tmp_path, limit=0)
    (tmp_path / "depth" / "001.png").unlink()
    with pytest.raises(SourceError, match=r"there is no .*depth/001\.png for the image 001: `check-data .*` lists"):
        DatasetFolder(tmp_path)[1]
    (tmp_path / "depth" / "001.png").write_bytes(b"no image")
    with pytest.raises(SourceError, match=r"depth/001\.png cannot be read: `check-data"):
        DatasetFolder(tmp_path)[1]
    cv2.imwrite(str(tmp_path / "depth" / "000.png"), np.zeros((60, 80), np.uint8))
    with pytest.raises(SourceError, match="16-bit PNG in millimetres, got uint8"):
        DatasetFolder(tmp_path)[0]


def test_depth_of_another_size_names_the_frame(tmp_path: Path) -> None:
    write_folder(frames(1), tmp_path)
    cv2.imwrite(str(tmp_path / "depth" / "000.png"), np.zeros((30, 40), np.uint16))
    with pytest.raises(SourceError, match=r"frame 000 of .*rgb is 80x60 but depth is 40x30"):
        DatasetFolder(tmp_path)[0]


@pytest.mark.parametrize("text", ["", "1,2,3", "a,b,c,d", "1,2,3,4,5"])
def test_intrinsics_on_the_command_line_are_four_or_six_numbers(text: str) -> None:
    with pytest.raises(SourceError, match="fx,fy,cx,cy"):
        parse_intrinsics(text)


def test_intrinsics_on_the_command_line_are_checked_like_all_others() -> None:
    assert parse_intrinsics("585,585,320,240") == UnsizedIntrinsics(585, 585, 320, 240)
    assert parse_intrinsics("585,585,320,240,640,480") == CameraIntrinsics(585, 585, 320, 240, 640, 480)
    with pytest.raises(FrameError):
        parse_intrinsics("0,585,320,240")


def test_four_numbers_are_in_pixels_of_the_first_image_and_six_in_those_of_their_size(tmp_path: Path) -> None:
    write_folder(frames(2), tmp_path)
    for kind in ("rgb", "depth"):  # the second image is of half the size
        file = tmp_path / kind / "001.png"
        write_png(file, cv2.imread(str(file), cv2.IMREAD_UNCHANGED)[::2, ::2])
    (tmp_path / "label40" / "001.png").write_bytes((tmp_path / "label40" / "000.png").read_bytes())
    four = [item.frame.intrinsics for item in DatasetFolder(tmp_path, intrinsics=parse_intrinsics("60,61,39.5,29.25"))]
    assert four == [INTRINSICS, INTRINSICS.scaled_to(40, 30)]
    six = DatasetFolder(tmp_path, intrinsics=parse_intrinsics("120,122,79.5,59,160,120"))
    assert six[0].frame.intrinsics == INTRINSICS


@pytest.mark.parametrize(
    ("given", "answer"),
    [
        ("nowhere", "there is nothing of that name"),
        ("flat", "the images in it belong into .*flat/rgb/"),
        ("flat/a.png", "it is a file; give the folder"),
        ("good/rgb", "is one itself: give the folder that it lies in"),
        ("good/depth", "it has no rgb/ with images$"),
    ],
)
def test_who_points_beside_a_dataset_folder_is_told_where_it_would_be(tmp_path: Path, given: str, answer: str) -> None:
    for folder in ("flat", "good/rgb", "good/depth"):
        (tmp_path / folder).mkdir(parents=True)
    for image in ("flat/a.png", "good/rgb/a.png"):
        write_png(tmp_path / image, np.zeros((4, 4), np.uint8))
    with pytest.raises(SourceError, match=f"is not a dataset folder: .*{answer}"):
        DatasetFolder(tmp_path / given)


def test_a_list_that_windows_wrote_is_read_if_it_is_utf8_and_refused_if_not(tmp_path: Path) -> None:
    write_folder(frames(), tmp_path)
    (tmp_path / "few.txt").write_text("002\r\n000\r\n", encoding="utf-8-sig")
    assert DatasetFolder(tmp_path, "few").names == ["002", "000"]
    for encoding in ("utf-16", "utf-16-le"):
        (tmp_path / "few.txt").write_text("002\n000\n", encoding=encoding)
        with pytest.raises(SourceError, match=r"few\.txt is not UTF-8 text: save it as UTF-8"):
            DatasetFolder(tmp_path, "few")
