"""``hha``: HHA files for other people's training code, and the pictures of docs/hha.md."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from test_cli import run

from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.hha import GravityEstimate, HhaEncoder, HhaImage, HhaSettings
from lcr_seg_ros.hha_command import page_pictures
from lcr_seg_ros.hha_pictures import describe, explain_frame, grid, panel, with_plumb_line
from lcr_seg_ros.sources.folder import DatasetFolder, write_folder
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.sources.rooms.camera import look

DOCS = Path(__file__).resolve().parent.parent / "docs"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_folder(RenderedRoom(frames=3, seed=1, width=160, height=120), folder, split="all")
    (folder / "val.txt").write_text("00002\n00000\n")
    return folder


def read_rgb(path: Path) -> npt.NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None and image.dtype == np.uint8 and image.shape[2] == 3
    return image[:, :, ::-1]


class TestFiles:
    def test_red_is_disparity_green_height_blue_angle(self, dataset: Path, tmp_path: Path) -> None:
        said = run("hha", "--data", dataset, "--out", tmp_path).stdout
        assert f"3 HHA images in {tmp_path}" in said
        for item in DatasetFolder(dataset):
            expected = HhaEncoder("fast").encode(item.frame.depth_m, item.frame.intrinsics)
            np.testing.assert_array_equal(read_rgb(tmp_path / f"{item.name}.png"), expected)

    def test_mode_and_settings_are_those_asked_for(self, dataset: Path, tmp_path: Path) -> None:
        run("hha", "--data", dataset, "--out", tmp_path, "--frame", "00001", "--mode", "exact", "--floor", "robust",
            "--smoothing", "on", "--gravity-estimate", "refined")  # fmt: skip
        assert [p.name for p in tmp_path.iterdir()] == ["00001.png"]
        frame = DatasetFolder(dataset)[1].frame
        encoder = HhaEncoder("exact", HhaSettings(floor="robust", smoothing="on", gravity_estimate="refined"))
        expected = encoder.encode(frame.depth_m, frame.intrinsics)
        np.testing.assert_array_equal(read_rgb(tmp_path / "00001.png"), expected)

    def test_a_split_or_the_first_frames_alone(self, dataset: Path, tmp_path: Path) -> None:
        run("hha", "--data", dataset, "--split", "val", "--out", tmp_path / "val")
        assert {p.stem for p in (tmp_path / "val").iterdir()} == {"00000", "00002"}
        run("hha", "--data", dataset, "--split", "val", "--limit", "1", "--out", tmp_path / "one")
        assert {p.stem for p in (tmp_path / "one").iterdir()} == {"00002"}

    def test_explain_adds_a_sheet_for_each_frame(self, dataset: Path, tmp_path: Path) -> None:
        run("hha", "--data", dataset, "--frame", "00000", "--out", tmp_path, "--explain")
        assert (tmp_path / "00000.png").is_file()
        sheet = cv2.imread(str(tmp_path / "explained" / "00000.jpg"))
        assert sheet is not None and sheet.shape[0] > 600 and sheet.shape[1] > 1200

    def test_without_data_it_takes_the_rendered_room(self, tmp_path: Path) -> None:
        run("hha", "--out", tmp_path, "--frame", "00007")
        frame = RenderedRoom()[7].frame
        expected = HhaEncoder("fast").encode(frame.depth_m, frame.intrinsics)
        np.testing.assert_array_equal(read_rgb(tmp_path / "00007.png"), expected)


class TestMistakes:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (["--data", "nowhere"], "nowhere is not a dataset folder"),
            (["--data", "DATA", "--frame", "7"], "no frame is called '7': there are 3, 00000 to 00002"),
            (["--data", "DATA", "--out", "DATA/depth"], "holds the dataset's own images"),
            (["--split", "val"], "belong to a dataset folder: give --data as well"),
        ],
    )
    def test_one_line_and_exit_code_1(self, arguments: list[str], said: str, dataset: Path, tmp_path: Path) -> None:
        answer = run("hha", *(a.replace("DATA", str(dataset)) for a in arguments), code=1, cwd=tmp_path)
        assert said in answer.stderr
        assert "Traceback" not in answer.stderr

    def test_a_folder_without_depth(self, dataset: Path, tmp_path: Path) -> None:
        (tmp_path / "rgb").symlink_to(dataset / "rgb")
        assert "has no depth/ to make HHA from" in run("hha", "--data", tmp_path, code=1, cwd=tmp_path).stderr


class TestPictures:
    CAMERA = CameraIntrinsics(130.0, 130.0, 79.5, 59.5, 160, 120)

    def gravity(self, pitch_deg: float, roll_deg: float, doubt: str = "") -> GravityEstimate:
        return GravityEstimate(look(0.0, *np.radians([pitch_deg, roll_deg])).T @ [0.0, 0.0, -1.0], doubt)

    @pytest.mark.parametrize(
        ("pitch_deg", "roll_deg", "words"),
        [
            (-20, 0, "looks 20 deg down, rolled by 0 deg"),
            (35, 4, "looks 35 deg up, rolled by 4 deg"),
            (0, 180, "looks 0 deg down, rolled by 180 deg"),
            (-10, -90, "looks 10 deg down, rolled by -90 deg"),
            (-90, 50, "looks 90 deg down"),
        ],
    )
    def test_gravity_in_words(self, pitch_deg: float, roll_deg: float, words: str) -> None:
        assert describe(self.gravity(pitch_deg, roll_deg)) == words

    @pytest.mark.parametrize(("roll_deg", "side"), [(0, "below"), (180, "above"), (90, "right"), (-90, "left")])
    def test_the_plumb_line_points_down_whichever_way_the_camera_is_turned(self, roll_deg: float, side: str) -> None:
        grey = np.full((120, 160, 3), 128, np.uint8)
        drawn = np.argwhere(with_plumb_line(grey, self.CAMERA, self.gravity(0, roll_deg))[:95, :, 2] < 20)
        v, u = drawn.mean(axis=0) - [59.5, 79.5]  # the head of the arrow has more pixels than its tail
        assert {"below": v > 1, "above": v < -1, "right": u > 1, "left": u < -1}[side]

    def test_doubt_is_written_on_the_picture(self) -> None:
        grey = np.full((120, 160, 3), 128, np.uint8)
        sure, unsure = (with_plumb_line(grey, self.CAMERA, self.gravity(0, 0, d)) for d in ("", "no floor in view"))
        assert (sure != unsure).any()

    def test_a_sheet_does_not_change_its_frame(self) -> None:
        rgb, depth = np.full((120, 160, 3), 90, np.uint8), np.full((120, 160), 2, np.float32)
        depth[:9] = np.nan
        hha = HhaImage(np.zeros((120, 160, 3), np.uint8), self.gravity(0, 0))
        sheet = explain_frame(RgbdFrame(rgb, depth, self.CAMERA), hha, "00001")
        assert sheet.dtype == np.uint8 and sheet.ndim == 3
        assert (rgb == 90).all() and np.isnan(depth[:9]).all()

    @pytest.mark.parametrize("size", [(120, 160), (480, 640), (640, 480), (8, 9)])
    def test_panels_of_any_image_are_of_one_height(self, size: tuple[int, int]) -> None:
        picture = np.zeros((*size, 3), np.uint8)
        one = panel("title", picture, cv2.COLORMAP_VIRIDIS, [(0, "0"), (255, "255")])
        assert one.shape[0] == panel("", np.zeros((48, 64, 3), np.uint8)).shape[0]
        assert grid([[one, one], [one]]).shape == (2 * one.shape[0], 2 * one.shape[1], 3)


class TestPage:
    def test_every_picture_of_the_page_is_made_by_the_command_and_shown(self) -> None:
        page = (DOCS / "hha.md").read_text()
        made = page_pictures(RenderedRoom(width=160, height=120))
        for name in made:
            assert f"images/{name}.jpg" in page
            assert (DOCS / "images" / f"{name}.jpg").is_file()
        assert page.count("](images/") == len(made)

    def test_the_command_writes_them(self, tmp_path: Path) -> None:
        said = run("hha", "--explain", "--out", tmp_path).stdout
        assert {p.name for p in tmp_path.iterdir()} == {p.name for p in (DOCS / "images").glob("hha_*.jpg")}
        assert "4 pictures" in said
