"""``evaluate``: the same path as the robot's, and the options that change what is seen or measured."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from test_folder import frames
from tiny_bundle import make_tiny_bundle

from lcr_seg_ros.backends import create_backend
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.errors import LcrSegError, SourceError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.hha import HhaEncoder
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.segmenter import Segmenter
from lcr_seg_ros.sources.folder import DatasetFolder, write_folder
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.sources.source import SourceFrame
from lcr_seg_ros.training import evaluate_report, plots
from lcr_seg_ros.training.datasets.folder_labels import write_label_set
from lcr_seg_ros.training.datasets.nyudv2_crop import NYUDV2_WINDOW
from lcr_seg_ros.training.evaluate import (
    FlipTest,
    cut,
    evaluate,
    evaluate_bundle,
    load_segmenter,
    measure_flicker,
)
from lcr_seg_ros.training.evaluate_command import command
from lcr_seg_ros.training.metrics import scores_from_confusion

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NYU40 = LabelSet.load("nyu40")
STABLE = {"pixel_acc", "mean_acc", "mean_iou", "fw_iou", "per_class_iou", "frames", "calibration_error", "reliability"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_bundle(tmp_path_factory.mktemp("model") / "tiny.lcrseg", modality="rgb")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    room = RenderedRoom(frames=6, seed=3, width=160, height=120)
    write_folder([room[i] for i in range(6)], folder, split="val")
    return folder


def run(*arguments: object, fails: bool = False) -> Result:
    result = CliRunner().invoke(command, [str(a) for a in arguments])
    if fails:
        assert isinstance(result.exception, LcrSegError)
    elif result.exception is not None:
        raise result.exception
    return result


def test_the_stable_keys_are_all_there_is_unless_more_is_asked_for(model: Path, data: Path, tmp_path: Path) -> None:
    run("--model", model, "--data", data, "--json", tmp_path / "plain.json")
    run("--model", model, "--data", data, "--boundary", "--flicker", "--json", tmp_path / "more.json")
    plain, more = (json.loads((tmp_path / name).read_text()) for name in ("plain.json", "more.json"))
    assert set(plain) == STABLE
    assert set(more) == STABLE | {"boundary", "rare_iou", "flicker"}
    assert {k: more[k] for k in STABLE} == plain == evaluate_bundle(model, DatasetFolder(data))
    assert set(more["boundary"]) == {"3", "7"}
    assert 0 < more["boundary"]["3"]["share"] < more["boundary"]["7"]["share"] < 1


def test_a_perfect_answer_scores_one_everywhere_and_along_boundaries(model: Path, data: Path, tmp_path: Path) -> None:
    segmenter = Segmenter.load(model)
    perfect = [replace(item, labels=segmenter.segment(item.frame).labels) for item in DatasetFolder(data)]
    write_folder(perfect, tmp_path)
    scores = evaluate_bundle(model, DatasetFolder(tmp_path), boundary_radii_px=(3,))
    assert scores["pixel_acc"] == scores["mean_iou"] == 1.0
    assert scores["boundary"]["3"]["mean_iou"] == scores["boundary"]["3"]["pixel_acc"] == 1.0


def test_the_report_shows_tables_charts_and_the_best_and_worst_frames(model: Path, data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="charts need the extra: pip install 'lcr_seg_ros[train]'")
    run("--model", model, "--data", data, "--split", "val", "--report", tmp_path, "--json", tmp_path / "s.json")
    scores = json.loads((tmp_path / "s.json").read_text())
    assert json.loads((tmp_path / "scores.json").read_text()) == scores
    text = (tmp_path / "report.md").read_text()
    assert f"| mean IU | {100 * scores['mean_iou']:.2f} |" in text
    assert f"| mean IU within 3 px of a boundary | {100 * scores['boundary']['3']['mean_iou']:.2f} |" in text
    for picture in ("confusion.png", "classes.png", "best_frames.jpg", "worst_frames.jpg"):
        assert f"({picture})" in text
        image = cv2.imread(str(tmp_path / picture))
        assert image is not None
        assert image.std() > 5

    with (tmp_path / "confusion.csv").open() as file:
        rows = list(csv.reader(file))
    counts = np.array([[int(v) for v in row[1:]] for row in rows[1:]])
    assert counts.shape == (40, 41)
    assert np.trace(counts) / counts.sum() == pytest.approx(scores["pixel_acc"])
    with (tmp_path / "classes.csv").open() as file:
        table = list(csv.DictReader(file))
    shown = [None if row["IU"] == "-" else float(row["IU"]) / 100 for row in table]
    assert shown == pytest.approx(scores["per_class_iou"], abs=1e-4, nan_ok=True)


@pytest.mark.parametrize(("frames", "worst", "best"), [(1, 1, 0), (2, 1, 1), (5, 3, 2), (6, 3, 3)])
def test_no_frame_of_a_small_set_is_both_among_the_best_and_the_worst(
    frames: int, worst: int, best: int, model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib", reason="charts need the extra: pip install 'lcr_seg_ros[train]'")
    (tmp_path / "best_frames.jpg").touch()  # of an earlier report
    titles: list[str] = []
    monkeypatch.setattr(evaluate_report, "sheet", lambda *a: titles.append(a[-1]) or np.zeros((9, 9, 3), np.uint8))
    run("--model", model, "--data", data, "--limit", frames, "--report", tmp_path)
    names = [title.partition(":")[0] for title in titles]
    assert len(names) == len(set(names)) == worst + best
    scores = [float(title.rpartition(" ")[2]) for title in titles]
    assert scores[:worst] == sorted(scores[:worst]), "the worst comes first"
    assert scores[worst:] == sorted(scores[worst:], reverse=True), "the best comes first"
    assert (tmp_path / "best_frames.jpg").is_file() == ("best_frames" in (tmp_path / "report.md").read_text())
    assert (tmp_path / "best_frames.jpg").is_file() == (best > 0)


def test_the_charts_tell_classes_that_are_not_there_from_those_never_recognised(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("matplotlib", reason="charts need the extra: pip install 'lcr_seg_ros[train]'")
    drawn: list[Figure] = []
    monkeypatch.setattr(plots, "_png", lambda figure: drawn.append(figure) or b"")
    labels = LabelSet.load("nyu4")
    #                  ground, structure, furniture, props; no class
    counts = np.array([[8, 2, 0, 0, 0], [3, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    counts[0, 2] = 1  # furniture is predicted only, props do not occur at all, structure is never recognised
    iou = scores_from_confusion(counts)["per_class_iou"]
    plots.confusion_matrix_png(counts, labels)
    plots.class_bars_png({"IU": iou}, labels, counts)
    matrix, bars = (figure.axes[0] for figure in drawn)
    ground, structure, furniture, _ = labels.names
    assert [t.get_text() for t in matrix.get_xticklabels()] == [ground, structure, furniture]
    assert matrix.images[0].get_array().mask.tolist() == [[False] * 3, [False] * 3, [True] * 3]
    assert [t.get_text() for t in bars.get_yticklabels()] == [furniture, f"{structure}  21.4 %", f"{ground}  78.6 %"]
    inks = [[t.get_color() for t in labels_] for labels_ in (matrix.get_yticklabels(), bars.get_yticklabels()[::-1])]
    assert all(one[0] == one[1] != one[2] for one in inks), "what is predicted only is grey"
    assert [t.get_text() for t in bars.texts] == ["0", "0"]
    for axes in (matrix, bars):
        text = axes.get_xlabel()
        assert "not annotated, but predicted (1 of 4 classes)" in text
        assert "left out: neither annotated nor predicted (1 of 4 classes)" in text
    everything = np.eye(4, 5, dtype=np.int64)
    plots.confusion_matrix_png(everything, labels)
    assert drawn[-1].axes[0].get_xlabel() == "predicted", "nothing to say where every class occurs"


def test_the_report_shows_frames_with_the_depth_that_they_were_scored_with(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="charts need the extra: pip install 'lcr_seg_ros[train]'")
    sees_depth = make_tiny_bundle(tmp_path / "tiny.lcrseg")
    pictures = []
    for depth in ("given", "worn"):
        run("--model", sees_depth, "--data", data, "--depth", depth, "--report", tmp_path / depth)
        pictures.append(cv2.imread(str(tmp_path / depth / "worst_frames.jpg")))
    given, worn = pictures
    assert given.shape != worn.shape or np.abs(given.astype(int) - worn).max() > 50


def test_depth_of_another_kind_is_refused_for_a_model_that_looks_at_none(model: Path, data: Path) -> None:
    result = CliRunner().invoke(command, ["--model", str(model), "--data", str(data), "--depth", "none"])
    assert result.exit_code == 2 and "looks at no depth: --depth none would change nothing" in result.output


def test_the_worst_frame_is_the_one_with_the_least_iou(model: Path, data: Path, tmp_path: Path) -> None:
    segmenter = Segmenter.load(model)
    items = list(DatasetFolder(data))
    items[4] = replace(items[4], labels=segmenter.segment(items[4].frame).labels)
    write_folder(items, tmp_path)
    result = evaluate(segmenter, DatasetFolder(tmp_path))
    assert max(result.frames, key=lambda f: f.mean_iou).name == items[4].name
    alone = evaluate(segmenter, DatasetFolder(data, limit=1))
    assert result.frames[0].mean_iou == alone.scores()["mean_iou"] == alone.frames[0].mean_iou


def test_the_flip_test_averages_the_image_and_its_mirror_image(model: Path, data: Path) -> None:
    bundle = ModelBundle.load(model)
    plain = create_backend(bundle, "onnxruntime")
    flipped = FlipTest(create_backend(bundle, "onnxruntime"))
    tensor = np.random.default_rng(0).normal(size=(1, 3, 64, 96)).astype(np.float32)
    mirrored = np.ascontiguousarray(tensor[..., ::-1])
    expected = (plain.infer(tensor).copy() + plain.infer(mirrored)[..., ::-1]) / 2
    np.testing.assert_allclose(flipped.infer(tensor), expected, atol=1e-6)

    # A frame and its mirror image then get the same labels, mirrored.
    segmenter = load_segmenter(model, flip_test=True)
    item = DatasetFolder(data)[0]
    other = replace(item.frame, rgb=np.ascontiguousarray(item.frame.rgb[:, ::-1]), depth_m=None, intrinsics=None)
    labels = segmenter.segment(item.frame).labels
    assert (segmenter.segment(other).labels[:, ::-1] == labels).mean() > 0.999


def test_hha_of_a_mirrored_camera_is_the_mirror_image_of_hha(data: Path) -> None:
    frame = DatasetFolder(data)[0].frame
    assert frame.depth_m is not None
    camera = frame.intrinsics
    assert camera is not None
    gravity = np.array([0.2, 0.95, 0.1])
    encoder = HhaEncoder("exact")
    straight = encoder.encode(frame.depth_m, camera, gravity=gravity)
    turned = replace(camera, cx=camera.width - 1 - camera.cx)
    mirrored = encoder.encode(
        np.ascontiguousarray(frame.depth_m[:, ::-1]), turned, gravity=gravity * np.array([-1, 1, 1])
    )
    assert (np.abs(mirrored[:, ::-1].astype(int) - straight.astype(int)) <= 1).mean() > 0.99


def test_the_crop_takes_rows_46_to_470_and_columns_41_to_600_and_moves_the_camera_along() -> None:
    rows, columns = np.mgrid[1:481, 1:641]
    rgb = np.stack([rows % 256, columns % 256, rows * 0], 2).astype(np.uint8)
    depth = rows.astype(np.float32)
    camera = CameraIntrinsics(518.9, 519.5, 324.6, 252.7, 640, 480)
    item = cut(SourceFrame("a", RgbdFrame(rgb, depth, camera), (columns % 256).astype(np.uint8)), NYUDV2_WINDOW)
    assert item.frame.rgb.shape == (425, 560, 3)
    assert item.frame.depth_m is not None
    assert item.labels is not None
    assert (item.frame.depth_m[0, 0], item.frame.depth_m[-1, -1]) == (46, 470)
    assert (item.labels[0, 0], item.labels[-1, -1]) == (41, 600 % 256)
    assert item.frame.rgb[0, 0].tolist() == [46, 41, 0]
    # What was seen at a pixel lies in the same direction as before.
    moved = item.frame.intrinsics
    assert moved is not None
    assert (0 - moved.cx) / moved.fx == pytest.approx((40 - camera.cx) / camera.fx)
    assert (0 - moved.cy) / moved.fy == pytest.approx((45 - camera.cy) / camera.fy)


def test_the_crop_is_for_frames_of_640x480_only(model: Path, data: Path) -> None:
    with pytest.raises(SourceError, match="160x120; the crop is that of 640x480"):
        evaluate(Segmenter.load(model), DatasetFolder(data), window=NYUDV2_WINDOW)


def test_a_folder_of_other_classes_is_not_scored_by_ids_that_happen_to_exist(
    model: Path, data: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own"
    shutil.copytree(data, own)
    write_label_set(own, LabelSet("rooms", tuple(replace(c, name=f"my {c.name}") for c in NYU40.classes)))
    message = r"own has classes of its own: 1 is 'my wall' in its labels.yaml and is 'wall' in label set nyu40: take"
    with pytest.raises(SourceError, match=message):
        evaluate_bundle(model, DatasetFolder(own))
    write_label_set(own, NYU40)
    assert evaluate_bundle(model, DatasetFolder(own)) == evaluate_bundle(model, DatasetFolder(data))


def test_a_frame_that_is_not_labelled_yet_is_not_scored_but_named(model: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / "label40" / "00002.png").unlink()
    told = run("--data", tmp_path / "data", "--model", model, fails=True)
    assert "1 of 6 frames of" in str(told.exception) and "this needs label40/00002.png" in str(told.exception)


def test_a_report_that_cannot_be_written_is_refused_before_the_work(model: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    result = run("--model", model, "--data", data, "--report", tmp_path / "taken", fails=True)
    assert "taken cannot be made a folder to write to (there is a file of that name)" in str(result.exception)
    assert "pixel accuracy" not in result.output


def test_flicker_is_the_mean_share_of_pixels_that_change_class(model: Path, data: Path, tmp_path: Path) -> None:
    segmenter = Segmenter.load(model)
    labels = [segmenter.segment(item.frame).labels for item in DatasetFolder(data)]
    expected = np.mean([(a != b).mean() for a, b in pairwise(labels)])
    assert measure_flicker(segmenter, DatasetFolder(data)) == pytest.approx(expected)

    item = DatasetFolder(data)[0]
    write_folder([replace(item, name=name) for name in "abc"], tmp_path)
    assert measure_flicker(segmenter, DatasetFolder(tmp_path)) == 0.0


def test_flicker_needs_no_annotation_but_scores_do(model: Path, tmp_path: Path) -> None:
    bare = [replace(item, labels=None) for item in frames()]
    write_folder(bare, tmp_path / "bare")
    run("--model", model, "--data", tmp_path / "bare", "--flicker", "--json", tmp_path / "f.json")
    assert set(json.loads((tmp_path / "f.json").read_text())) == {"flicker", "frames"}
    failed = run("--model", model, "--data", tmp_path / "bare", fails=True)
    assert "only --flicker can be measured" in str(failed.exception)
    failed = run("--model", model, "--data", tmp_path / "bare", "--flicker", "--limit", "1", fails=True)
    assert "at least two consecutive frames" in str(failed.exception)


def test_only_the_frames_that_are_scored_need_labels(model: Path, tmp_path: Path) -> None:
    first, *rest = frames()
    write_folder([first, *(replace(item, labels=None) for item in rest)], tmp_path)
    run("--model", model, "--data", tmp_path, "--limit", "1")
    failed = run("--model", model, "--data", tmp_path, fails=True)
    assert f"{len(rest)} of {len(rest) + 1} frames" in str(failed.exception)


def test_a_model_can_be_scored_as_if_its_depth_were_poor_or_absent(data: Path, tmp_path: Path) -> None:
    model = make_tiny_bundle(tmp_path / "deep.lcrseg")
    segmenter, folder = load_segmenter(model), DatasetFolder(data, "val")
    given, worn, again, none = (evaluate(segmenter, folder, depth=d) for d in ("given", "worn", "worn", "none"))
    assert (worn.confusion.counts == again.confusion.counts).all()
    assert (worn.confusion.counts != given.confusion.counts).any()
    frame = folder[0].frame
    blind = segmenter.segment(replace(frame, depth_m=np.zeros_like(frame.depth_m))).labels
    one = evaluate(segmenter, DatasetFolder(data, "val", limit=1), depth="none")
    assert none.confusion.counts.sum() == given.confusion.counts.sum()
    assert one.confusion.counts[:, :-1].sum(0).nonzero()[0].size <= np.unique(blind).size
