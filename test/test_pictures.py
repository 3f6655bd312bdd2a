"""The pictures that commands make of their results: videos, curves of a run, times of stages."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from small_disk import files_of_at_most
from test_folder import frames
from tiny_bundle import make_tiny_bundle

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.predict import VIDEO_HEIGHT
from lcr_seg_ros.predict import command as predict
from lcr_seg_ros.sources.folder import write_folder
from lcr_seg_ros.training.datasets.folder_labels import write_label_set
from lcr_seg_ros.video import CODECS, VideoFile


def read_video(path: Path) -> list[np.ndarray]:
    capture, pictures = cv2.VideoCapture(str(path)), []
    while (answer := capture.read())[0]:
        pictures.append(cv2.cvtColor(answer[1], cv2.COLOR_BGR2RGB))
    return pictures


def a_picture(value: int, height: int = 60, width: int = 81) -> np.ndarray:
    return np.full((height, width, 3), (value, 128, 255 - value), np.uint8)


class TestVideo:
    @pytest.mark.parametrize("suffix", CODECS)
    def test_holds_every_picture_in_order_in_its_colours(self, tmp_path, suffix):
        with VideoFile(tmp_path / f"v{suffix}", fps=10) as video:
            for value in (40, 120, 200):
                video.add(a_picture(value))
        pictures = read_video(tmp_path / f"v{suffix}")
        assert [p.shape for p in pictures] == [(60, 82, 3)] * 3
        for value, picture in zip((40, 120, 200), pictures, strict=True):
            assert np.abs(picture[20:40, 20:60].mean((0, 1)) - (value, 128, 255 - value)).max() < 12
        assert [p.name for p in tmp_path.iterdir()] == [f"v{suffix}"]

    def test_pictures_of_other_heights_are_cut_or_filled_up(self, tmp_path):
        with VideoFile(tmp_path / "v.avi", height=50) as video:
            for height in (30, 50, 70):
                video.add(a_picture(0, height))
        low, _, high = read_video(tmp_path / "v.avi")
        assert low.shape == high.shape == (50, 82, 3)
        assert low[40:].min() > 200 and high[40:45, 10:70].mean((0, 1))[0] < 30

    def test_an_error_on_the_way_leaves_the_old_video_and_nothing_else(self, tmp_path):
        (tmp_path / "v.mp4").write_bytes(b"old")
        with pytest.raises(SourceError, match="width"), VideoFile(tmp_path / "v.mp4") as video:
            video.add(a_picture(0))
            video.add(a_picture(0, width=40))
        assert (tmp_path / "v.mp4").read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1

    @pytest.mark.parametrize("suffix", CODECS)
    def test_a_full_disk_leaves_the_old_video_and_is_told(self, tmp_path, suffix):
        video = tmp_path / f"v{suffix}"
        video.write_bytes(b"old")
        random = np.random.default_rng(0)
        with (
            pytest.raises(SourceError, match=r"\d of its 60 pictures can be read: is the disk full"),
            files_of_at_most(60_000),
            VideoFile(video) as writer,
        ):
            for _ in range(60):
                writer.add(random.integers(0, 255, (120, 160, 3), np.uint8))
        assert video.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1

    def test_other_endings_are_refused_before_any_work(self, tmp_path):
        with pytest.raises(SourceError, match=r"\.mp4"):
            VideoFile(tmp_path / "v.gif")

    def test_predict_films_its_sheets(self, tmp_path):
        write_folder(frames(), tmp_path / "data")
        model = make_tiny_bundle(tmp_path / "tiny.lcrseg")
        arguments = ["--data", tmp_path / "data", "--model", model, "--out", tmp_path, "--video", tmp_path / "v.mp4"]
        answer = CliRunner().invoke(predict, [str(a) for a in arguments], catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
        pictures = read_video(tmp_path / "v.mp4")
        assert len(pictures) == 3 and pictures[0].shape[0] == VIDEO_HEIGHT and pictures[0].std() > 20
        assert not (tmp_path / "sheets").exists()

    @pytest.mark.parametrize("annotated", ["nyu4", None])
    def test_annotations_have_the_colours_of_their_label_set(self, tmp_path, annotated):
        """Wall is 1 of 40, and 1 of 4 is floor; a folder without a label set is of the 40."""
        write_folder([replace(frames(1)[0], labels=np.full((60, 80), 1, np.uint8))], tmp_path / "data")
        if annotated:
            write_label_set(tmp_path / "data", LabelSet.load(annotated))
        model = make_tiny_bundle(tmp_path / "tiny.lcrseg", labels=annotated or "nyu40")
        arguments = ["--data", tmp_path / "data", "--model", model, "--out", tmp_path, "--sheets"]
        answer = CliRunner().invoke(predict, [str(a) for a in arguments], catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
        picture = cv2.imread(str(tmp_path / "sheets" / "000.jpg"))[..., ::-1]
        color = LabelSet.load(annotated or "nyu40").palette[1]
        assert np.abs(picture[40:80, 3 * 80 + 10 : 4 * 80 - 10].mean((0, 1)) - color).max() < 12


def is_drawn(png: bytes) -> bool:
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    return picture is not None and min(picture.shape[:2]) > 100 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 10


class TestCurves:
    HEAD = "epoch,loss/labels,lr-AdamW/pg1,step,val/mean_iou"

    def log(self, run: Path, number: int, *rows: str) -> None:
        folder = run / "log" / f"version_{number}"
        folder.mkdir(parents=True)
        (folder / "metrics.csv").write_text("\n".join([self.HEAD, *rows]) + "\n")

    def test_of_a_resumed_run_are_one_curve_in_which_the_later_log_counts(self, tmp_path):
        curves = pytest.importorskip("lcr_seg_ros.training.curves")
        self.log(tmp_path, 0, "0,3.0,,19,", ",,0.1,19,", "0,2.0,,39,", "0,1.9,,59,", "0,,,59,0.2")
        self.log(tmp_path, 10, "1,1.0,,79,")
        self.log(tmp_path, 2, "0,1.8,,59,", "0,nan,,69,", "")
        read = curves.read_curves(tmp_path)
        assert read["loss/labels"] == [(19, 3.0), (39, 2.0), (59, 1.8), (79, 1.0)]
        assert read["lr-AdamW/pg1"] == [(19, 0.1)] and read["val/mean_iou"] == []

    def test_are_drawn_into_the_run(self, tmp_path):
        pytest.importorskip("matplotlib")
        from lcr_seg_ros.training.curves import write_curves

        self.log(tmp_path, 0, "0,3.0,,19,", ",,0.1,19,", "0,2.0,,39,", "0,,,39,0.2")
        assert is_drawn(write_curves(tmp_path).read_bytes())

    def test_of_no_run_are_refused(self, tmp_path):
        from lcr_seg_ros.training.curves import read_curves

        with pytest.raises(SourceError, match=r"metrics\.csv"):
            read_curves(tmp_path)


class TestStageTimes:
    @pytest.fixture(autouse=True)
    def matplotlib(self):
        pytest.importorskip("matplotlib")

    def test_are_drawn_as_one_bar_a_row(self):
        from lcr_seg_ros.training.plots import stage_times_png

        png = stage_times_png(
            {"openvino": {"hha": 4.0, "network": 20.0}, "torch": {"network": 90.0, "decode": 3.0}}, "t"
        )
        assert is_drawn(png)
        picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
        network = (picture == (0xCC, 0x66, 0x77)).all(2)  # the second colour; the longer bar has 4.5 times its length
        lengths = sorted(n for n in network[:-60].sum(1).tolist() if n > 10)
        assert lengths[-1] / lengths[0] == pytest.approx(90 / 20, rel=0.25)

    def test_benchmark_plots_what_it_measured(self, tmp_path):
        from lcr_seg_ros.benchmark import command as benchmark

        model = make_tiny_bundle(tmp_path / "tiny.lcrseg")
        arguments = [
            "frame",
            "--model",
            model,
            "--seconds",
            0.1,
            "--plot",
            tmp_path / "p.png",
            "--json",
            tmp_path / "f.json",
        ]
        answer = CliRunner().invoke(benchmark, [str(a) for a in arguments], catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
        assert is_drawn((tmp_path / "p.png").read_bytes())
        figures = json.loads((tmp_path / "f.json").read_text())["figures"]
        assert figures and all(set(row) >= {"hha", "network", "decode"} for row in figures.values())

    def test_benchmark_frame_shows_the_device_pipeline_beside_the_stages_of_pytorch(self, tmp_path):
        pytest.importorskip("torch")
        from lcr_seg_ros.benchmark import command as benchmark

        arguments = ["frame", "--backend", "torch", "--device", "cpu", "--model", "nyu4", "--seconds", "0.1"]
        answer = CliRunner().invoke(benchmark, [*arguments, "--json", str(tmp_path / "f.json")], catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
        figures = json.loads((tmp_path / "f.json").read_text())["figures"]
        assert {name: set(row) for name, row in figures.items()} == {
            "torch cpu": {"hha", "preprocess", "network", "decode"},
            "torch cpu, device pipeline": {"gravity", "device"},
        }
