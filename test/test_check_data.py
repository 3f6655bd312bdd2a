"""``check-data``: each fault that spoils training is found, named and answered with what to do."""

from __future__ import annotations

import io
import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from shared_data import shared_data
from turned_jpeg import quarter_turned

from lcr_seg_ros.cli import main
from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.labels import LabelClass, LabelSet
from lcr_seg_ros.training.check_data_command import command
from lcr_seg_ros.training.datasets.check import check_folder
from lcr_seg_ros.training.datasets.check_report import FolderReport

HEIGHT, WIDTH, FRAMES = 48, 64, 8
LABELS = LabelSet("five", tuple(LabelClass(i, f"class {i}", (i, i, i)) for i in range(1, 6)))


def labels_of(k: int) -> np.ndarray:
    """Void and all five classes, in blocks that differ from frame to frame."""
    blocks = np.random.default_rng(k).integers(0, 6, (6, 8))
    blocks[0, :6] = range(6)
    return blocks.repeat(8, 0).repeat(8, 1).astype(np.uint8)


def depth_of(k: int) -> np.ndarray:
    """A floor that goes from 4 m to 1 m, in millimetres."""
    noise = np.random.default_rng(100 + k).integers(0, 300, (HEIGHT, WIDTH))
    return (np.linspace(4000, 1000, HEIGHT)[:, None] + noise).astype(np.uint16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder without a fault."""
    for k in range(FRAMES):
        rgb = np.random.default_rng(200 + k).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        for name, image in (("rgb", rgb), ("depth", depth_of(k)), ("label40", labels_of(k))):
            (tmp_path / name).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / name / f"{k:02d}.png"), image)
    (tmp_path / "intrinsics.yaml").write_text("{fx: 60, fy: 60, cx: 31.5, cy: 23.5, width: 64, height: 48}")
    write_lists(tmp_path, train=range(6), fit=range(4), val=range(4, 6), test=range(6, 8))
    return tmp_path


def write_lists(folder: Path, **lists: range) -> None:
    for name, indices in lists.items():
        (folder / f"{name}.txt").write_text("".join(f"{k:02d}\n" for k in indices))


def change(folder: Path, kind: str, function: Callable[[np.ndarray], np.ndarray], frames: int = FRAMES) -> None:
    for k in range(frames):
        file = str(folder / kind / f"{k:02d}.png")
        cv2.imwrite(file, function(cv2.imread(file, cv2.IMREAD_UNCHANGED)))


def without_class_4(labels: np.ndarray) -> np.ndarray:
    return np.where(labels == 4, 1, labels).astype(np.uint8)


def codes(report: FolderReport, severity: str = "error") -> set[str]:
    return {f.code for f in report.findings if f.severity == severity}


def turn_photos(folder: Path) -> None:
    """The colour images as JPEGs that say by EXIF that they are to be turned."""
    for file in sorted((folder / "rgb").iterdir()):
        file.with_suffix(".jpg").write_bytes(quarter_turned(cv2.imencode(".jpg", cv2.imread(str(file)))[1].tobytes()))
        file.unlink()


def finding(report: FolderReport, code: str):
    return next(f for f in report.findings if f.code == code)


def test_photos_are_turned_by_their_exif_as_the_reader_does(folder: Path) -> None:
    turn_photos(folder)
    assert codes(check_folder(folder, LABELS)) == set()
    shutil.rmtree(folder / "depth")
    assert codes(check_folder(folder, LABELS)) == {"size_label40"}


def test_a_sound_folder_has_no_findings_and_its_classes_are_counted(folder: Path) -> None:
    report = check_folder(folder, LABELS)
    assert report.findings == []
    truth = np.stack([labels_of(k) for k in range(FRAMES)])
    for row in report.frequencies():
        assert row["pixels"] == (truth == row["id"]).sum()
        assert row["share"] == pytest.approx((truth == row["id"]).sum() / (truth > 0).sum())
        assert row["frames"] == FRAMES
    assert report.void_share == pytest.approx((truth == 0).mean())
    assert report.splits == {"train": 6, "fit": 4, "val": 2, "test": 2}
    assert report.to_dict()["verdict"] == "ok"


def test_void_written_as_255_is_an_error(folder: Path) -> None:
    change(folder, "label40", lambda x: np.where(x == 0, 255, x).astype(np.uint8))
    report = check_folder(folder, LABELS)
    assert codes(report) == {"void_is_255"}
    assert "write 0" in finding(report, "void_is_255").advice


def test_one_frame_with_255_is_named(folder: Path) -> None:
    change(folder, "label40", lambda x: np.where(x == 0, 255, x).astype(np.uint8), frames=1)
    assert finding(check_folder(folder, LABELS), "void_is_255").frames == ("00",)


def test_classes_counted_from_0_with_void_255_are_an_error(folder: Path) -> None:
    change(folder, "label40", lambda x: x - np.uint8(1))
    report = check_folder(folder, LABELS)
    assert codes(report) == {"shifted_labels"}
    assert "--shifted" in finding(report, "shifted_labels").advice


@pytest.mark.parametrize("count", [1, 5])
def test_a_binary_mask_is_called_one_and_255_is_to_become_the_id_of_its_class(folder: Path, count: int) -> None:
    change(folder, "label40", lambda x: np.where(x > 2, 255, 0).astype(np.uint8))
    report = check_folder(folder, replace(LABELS, classes=LABELS.classes[:count]))
    assert codes(report) == {"binary_mask"}
    assert "0 and 255 are the only ids" in finding(report, "binary_mask").text
    assert "class for 255: 1 where labels.yaml names that class alone" in finding(report, "binary_mask").advice
    assert "--shifted" not in finding(report, "binary_mask").advice


def test_classes_counted_from_0_without_void_are_suspected(folder: Path) -> None:
    change(folder, "label40", lambda x: np.maximum(x, 1) - np.uint8(1))
    assert "perhaps_shifted" in codes(check_folder(folder, LABELS), "warning")


def test_a_class_taken_for_void_is_suspected_where_void_covers_most(folder: Path) -> None:
    change(folder, "label40", lambda x: np.where(x > 2, 0, x).astype(np.uint8))
    assert "much_void" in codes(check_folder(folder, LABELS), "warning")


def test_zero_is_no_void_where_the_label_set_says_255(folder: Path) -> None:
    assert codes(check_folder(folder, replace(LABELS, void=255))) == {"zero_names_no_class"}


def test_ids_that_name_no_class_are_an_error(folder: Path) -> None:
    change(folder, "label40", lambda x: np.where(x == 3, 77, x).astype(np.uint8))
    report = check_folder(folder, LABELS)
    assert codes(report) == {"unknown_id"}
    assert "ids 77 name no class" in finding(report, "unknown_id").text


def test_where_nobody_says_what_ids_mean_few_classes_with_a_frequent_0_may_be_classes_of_ones_own(folder: Path) -> None:
    nyu40 = LabelSet.load("nyu40")
    report = check_folder(folder, nyu40, assumed=True)
    found = finding(report, "assumed_labels")
    assert found.severity == "warning"
    assert "ids are taken for the 40 classes of nyu40, of which only 5 occur (1 wall, 2 floor, " in found.text
    assert "and 0 for void (" in found.text
    assert "write them into labels.yaml" in found.advice
    assert "assumed_labels" not in codes(check_folder(folder, nyu40), "warning"), "the user has named them"
    assert "there is no labels.yaml" in CliRunner().invoke(command, [str(folder)]).output

    change(folder, "label40", lambda x: np.where(x == 0, 1, x).astype(np.uint8))
    assert "assumed_labels" not in codes(check_folder(folder, nyu40, assumed=True), "warning"), "there is no 0"


def test_nyudv2_itself_with_many_classes_and_its_gaps_needs_no_labels_yaml(folder: Path) -> None:
    change(folder, "label40", lambda x: np.arange(x.size).reshape(x.shape).astype(np.uint8) % np.uint8(41))
    assert "assumed_labels" not in codes(check_folder(folder, LabelSet.load("nyu40"), assumed=True), "warning")


@pytest.mark.parametrize(
    ("factor", "unit"),
    [
        *((0.1, "centimetres"), (0.001, "metres"), (10, "0.1 mm"), (8, "SUN RGB-D")),
        *((5, "0.2 mm (TUM RGB-D) or 0.25 mm (RealSense L515)"), (4, "RealSense L515")),
    ],
)
def test_depth_in_another_unit_is_an_error(folder: Path, factor: float, unit: str) -> None:
    change(folder, "depth", lambda x: np.rint(x * factor).astype(np.uint16))
    report = check_folder(folder, LABELS)
    assert codes(report) == {"depth_unit"}
    assert unit in finding(report, "depth_unit").text


@pytest.mark.parametrize(
    ("factor", "unit", "command"),
    [
        (0.1, "centimetres", "--depth-unit-mm 10)"),
        (10, "0.1 mm", "--depth-unit-mm 0.1)"),
        (5, "0.2 mm (TUM RGB-D)", "--depth-unit-mm 0.2)"),
        (4, "0.25 mm (RealSense L515)", "--depth-unit-mm 0.25)"),
        (8, "millimetres shifted by 3 bits", "--depth-unit-mm 0.125)"),
    ],
)
@pytest.mark.parametrize("frames", [3, 5])
def test_frames_in_different_units_are_an_error_that_names_them(
    folder: Path, factor: float, unit: str, command: str, frames: int
) -> None:
    change(folder, "depth", lambda x: np.rint(x * factor).astype(np.uint16), frames)
    report = check_folder(folder, LABELS)
    assert codes(report) == {"mixed_depth_units"}
    found = finding(report, "mixed_depth_units")
    assert unit in found.text
    assert command in found.advice
    assert f"{frames} of {FRAMES} depth images" in found.text
    assert found.frames == tuple(f"{k:02d}" for k in range(frames))


def test_frames_that_are_merely_nearer_than_others_are_only_a_warning(folder: Path) -> None:
    change(folder, "depth", lambda x: (x / 2.5).astype(np.uint16))  # a median of 1.06 m
    change(folder, "depth", lambda x: (x / 4).astype(np.uint16), frames=3)  # of 0.27 m
    report = check_folder(folder, LABELS)
    assert codes(report) == set()
    assert finding(report, "mixed_depth_units").frames == ("00", "01", "02")


def test_depth_of_a_near_scene_is_only_a_warning(folder: Path) -> None:
    change(folder, "depth", lambda x: (x / 4).astype(np.uint16))
    report = check_folder(folder, LABELS)
    assert codes(report) == set()
    assert "depth_unit" in codes(report, "warning")


def test_labels_and_depth_are_put_right_by_what_the_advice_says(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="prepare import needs the extra: pip install 'lcr_seg_ros[train]'")
    from lcr_seg_ros.training.prepare_command import command as prepare

    change(folder, "label40", lambda x: x - np.uint8(1))
    change(folder, "depth", lambda x: (x // 10).astype(np.uint16))
    report = check_folder(folder, LABELS)
    assert codes(report) == {"shifted_labels", "depth_unit"}
    assert "--depth-unit-mm 10" in finding(report, "depth_unit").advice
    options = ["--layout", "folder", "--from", folder, "--out", tmp_path / "mended", "--shifted", "--depth-unit-mm", 10]
    CliRunner().invoke(prepare, ["import", *map(str, options)], catch_exceptions=False)
    assert check_folder(tmp_path / "mended", LABELS).findings == []
    truth = np.stack([labels_of(k) for k in range(FRAMES)])
    assert np.array_equal(
        np.stack([cv2.imread(str(p), -1) for p in sorted((tmp_path / "mended/label40").iterdir())]), truth
    )


def test_8_bit_depth_is_an_error(folder: Path) -> None:
    change(folder, "depth", lambda x: (x / 40).astype(np.uint8))
    assert codes(check_folder(folder, LABELS)) == {"depth_type"}


def test_16_bit_depth_of_three_channels_is_an_error_with_its_own_reason(folder: Path) -> None:
    change(folder, "depth", lambda x: np.stack([x, x, x], -1))
    report = check_folder(folder, LABELS)
    assert codes(report) == {"depth_type"}
    found = finding(report, "depth_type")
    assert f"(uint16 ({HEIGHT}, {WIDTH}, 3)): a distance is one number" in found.text
    assert "8 bits" not in found.text
    assert "keeps one of them" in found.advice


def test_depth_that_was_8_bit_once_is_a_warning(folder: Path) -> None:
    change(folder, "depth", lambda x: (np.rint(x / 39.2) * 39.2).astype(np.uint16))
    assert codes(check_folder(folder, LABELS), "warning") == {"coarse_depth"}


def test_65535_for_holes_is_an_error(folder: Path) -> None:
    change(folder, "depth", lambda x: np.where(np.arange(WIDTH) < 4, 65535, x).astype(np.uint16))
    assert "depth_65535" in codes(check_folder(folder, LABELS))


def test_one_frame_in_another_unit_is_named(folder: Path) -> None:
    change(folder, "depth", lambda x: (x / 10).astype(np.uint16), frames=1)
    report = check_folder(folder, LABELS)
    assert codes(report) == set(), "a single frame may really be that near"
    assert finding(report, "mixed_depth_units").frames == ("00",)
    assert "1 of 8 depth images look like centimetres" in finding(report, "mixed_depth_units").text


def test_a_frame_much_farther_than_the_others_is_named_even_if_no_unit_explains_it(folder: Path) -> None:
    change(folder, "depth", lambda x: (x / 3).astype(np.uint16))
    change(folder, "depth", lambda x: (x * 9.5).astype(np.uint16), frames=1)
    assert finding(check_folder(folder, LABELS), "odd_depth").frames == ("00",)


@pytest.mark.parametrize("kind", ["depth", "label40"])
def test_another_size_than_the_colour_image_is_an_error(folder: Path, kind: str) -> None:
    change(folder, kind, lambda x: x[:-8], frames=2)
    report = check_folder(folder, LABELS)
    assert codes(report) == {f"size_{kind}"}
    assert finding(report, f"size_{kind}").frames == ("00", "01")


def test_frames_of_several_sizes_are_warned_of(folder: Path) -> None:
    for kind in ("rgb", "depth", "label40"):
        change(folder, kind, lambda image: image[::2, ::2], frames=2)
    report = check_folder(folder, LABELS)
    assert "several_sizes" in codes(report, "warning")
    found = finding(report, "several_sizes")
    assert f"2 sizes: {WIDTH // 2}x{HEIGHT // 2} (2), {WIDTH}x{HEIGHT} ({FRAMES - 2})" in found.text
    assert found.frames == ("00", "01")


def test_missing_partners_are_named(folder: Path) -> None:
    (folder / "label40" / "03.png").unlink()
    (folder / "depth" / "07.png").rename(folder / "depth" / "7.png")
    report = check_folder(folder, LABELS)
    errors = [f for f in report.errors if f.code == "missing_partner"]
    assert [f.frames for f in errors] == [("03",), ("07",)]
    assert any(f.code == "missing_partner" and f.frames == ("7",) for f in report.warnings)


def add_hha(folder: Path) -> None:
    (folder / "hha").mkdir()
    for k in range(FRAMES):
        image = np.random.default_rng(300 + k).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        cv2.imwrite(str(folder / "hha" / f"{k:02d}.png"), image)


def test_hha_that_a_folder_brings_along_is_looked_at_and_no_folder_needs_it(folder: Path) -> None:
    add_hha(folder)
    assert check_folder(folder, LABELS).findings == []
    change(folder, "hha", lambda x: x[:24, :32], frames=2)
    report = check_folder(folder, LABELS)
    assert codes(report) == {"size_hha"} and finding(report, "size_hha").frames == ("00", "01")
    change(folder, "hha", lambda x: x[:, :, 0])
    assert "8-bit with three channels (uint8 (" in finding(check_folder(folder, LABELS), "hha_type").text


def test_hha_without_a_partner_is_an_error_where_there_is_no_depth_to_compute_it_from(folder: Path) -> None:
    add_hha(folder)
    (folder / "hha" / "07.png").rename(folder / "hha" / "7.png")
    told = [(f.severity, f.frames) for f in check_folder(folder, LABELS).findings if f.code == "missing_partner"]
    assert told == [("warning", ("07",)), ("warning", ("7",))]
    shutil.rmtree(folder / "depth")
    report = check_folder(folder, LABELS)
    told = [(f.severity, f.frames) for f in report.findings if f.code == "missing_partner"]
    assert told == [("error", ("07",)), ("warning", ("7",))]
    assert "or train with input.hha_source=folder" in finding(report, "no_depth").advice


@pytest.mark.parametrize("kind", ["rgb", "depth", "label40", "hha"])
@pytest.mark.parametrize("keep", [0, 200])
def test_cut_files_are_an_error(folder: Path, kind: str, keep: int) -> None:
    if kind == "hha":
        add_hha(folder)
    file = folder / kind / "05.png"
    file.write_bytes(file.read_bytes()[:keep])
    report = check_folder(folder, LABELS)
    assert codes(report) == {f"unreadable_{kind}"}
    assert finding(report, f"unreadable_{kind}").frames == ("05",)


def test_a_cut_jpeg_is_an_error_even_if_a_decoder_fills_it_in(folder: Path) -> None:
    file = folder / "rgb" / "05.png"
    image = cv2.imread(str(file))
    file.unlink()
    data = cv2.imencode(".jpg", image)[1].tobytes()
    thumbnail = b"\xff\xe1" + (2 + len(data)).to_bytes(2, "big") + data  # which has an end of its own
    for cut in (data[: len(data) * 9 // 10], data[:2] + thumbnail + data[2 : len(data) * 9 // 10]):
        (folder / "rgb" / "05.jpg").write_bytes(cut)
        assert codes(check_folder(folder, LABELS)) == {"unreadable_rgb"}


def test_a_jpeg_may_have_a_film_behind_its_end_as_phones_write_it(folder: Path) -> None:
    file = folder / "rgb" / "05.png"
    whole = cv2.imencode(".jpg", cv2.imread(str(file)))[1].tobytes()
    file.unlink()
    (folder / "rgb" / "05.jpg").write_bytes(whole + b"\xff\xda film " * 1000)
    assert not codes(check_folder(folder, LABELS))


def test_two_images_of_one_name_are_an_error(folder: Path) -> None:
    image = cv2.imread(str(folder / "rgb" / "05.png"))
    cv2.imwrite(str(folder / "rgb" / "05.jpg"), image)
    assert codes(check_folder(folder, LABELS)) == {"ambiguous_image"}


def test_palette_and_colour_pictures_of_labels_are_errors(folder: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    picture = pillow.fromarray(labels_of(0))
    picture.putpalette(list(range(256)) * 3)
    data = io.BytesIO()
    picture.save(data, "png")
    (folder / "label40" / "00.png").write_bytes(data.getvalue())
    cv2.imwrite(str(folder / "label40" / "01.png"), np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    cv2.imwrite(str(folder / "label40" / "02.png"), labels_of(2).astype(np.uint16))
    report = check_folder(folder, LABELS)
    assert codes(report) == {"palette_labels", "label_type"}
    assert finding(report, "palette_labels").frames == ("00",)
    assert finding(report, "label_type").frames == ("01", "02")


def test_frames_without_annotation_or_depth_are_warned_of(folder: Path) -> None:
    change(folder, "label40", np.zeros_like, frames=1)
    change(folder, "depth", np.zeros_like, frames=1)
    assert {"all_void", "no_depth"} <= codes(check_folder(folder, LABELS), "warning")


def test_empty_lists_and_unknown_names_are_errors(folder: Path) -> None:
    (folder / "empty.txt").write_text("\n")
    (folder / "other.txt").write_text("00\n99\n")
    (folder / "suffixed.txt").write_text("rgb/00.png\n01.png\n")
    (folder / "README.txt").write_bytes("Recorded by G\u00fcnther in the kitchen.\n".encode("latin-1"))
    report = check_folder(folder, LABELS)
    assert codes(report) == {"empty_list", "unknown_frame"}
    assert [f.text.split()[0] for f in report.warnings if f.code == "no_list"] == ["README.txt"]
    unknown = {f.text.split()[0]: f for f in report.errors if f.code == "unknown_frame"}
    assert unknown["other.txt"].frames == ("99",)
    assert "without folder and suffix" in unknown["suffixed.txt"].advice


def test_a_list_as_powershell_writes_it_is_an_error_of_its_own_and_its_names_are_told_as_they_are(folder: Path) -> None:
    (folder / "fit.txt").write_text("00\n01\n02\n", encoding="utf-16")
    (folder / "mine.txt").write_text("00\n77\n", encoding="utf-16-le")
    report = check_folder(folder, LABELS)
    assert sorted(f.text.split()[0] for f in report.errors if f.code == "not_utf8") == ["fit.txt", "mine.txt"]
    assert finding(report, "not_utf8").advice == "save it as UTF-8"
    assert finding(report, "unknown_frame").frames == ("77",)
    assert report.splits["fit"] == 3


@pytest.mark.parametrize(("a", "b"), [("fit", "val"), ("train", "test"), ("fit", "test")])
def test_a_frame_that_is_trained_on_and_scored_is_an_error(folder: Path, a: str, b: str) -> None:
    write_lists(folder, **{a: range(4), b: range(3, 8)})
    overlaps = [f for f in check_folder(folder, LABELS).errors if f.code == "overlapping_lists"]
    assert any({f"{a}.txt", f"{b}.txt"} <= set(f.text.split()) and "03" in f.frames for f in overlaps)


def test_train_may_be_fit_and_val_together_but_val_alone_may_not_be_part_of_train(folder: Path) -> None:
    assert codes(check_folder(folder, LABELS)) == set()
    (folder / "fit.txt").unlink()
    assert codes(check_folder(folder, LABELS)) == {"overlapping_lists"}


def test_the_same_image_under_two_names_in_training_and_in_scores_is_an_error(folder: Path) -> None:
    (folder / "rgb" / "07.png").write_bytes((folder / "rgb" / "00.png").read_bytes())
    report = check_folder(folder, LABELS)
    assert codes(report) == {"same_image_in_two_lists"}
    assert finding(report, "same_image_in_two_lists").frames == ("00", "07")


def test_classes_that_are_scored_but_never_learnt_are_warned_of(folder: Path) -> None:
    change(folder, "label40", without_class_4, frames=4)
    report = check_folder(folder, LABELS)
    assert "class 4" in finding(report, "class_not_in_training").text


def test_without_intrinsics_the_assumption_is_said_and_broken_ones_are_an_error(folder: Path) -> None:
    for content, said in (
        ("{fx: 60, cx: 1, cy: 1, width: 64}", "has no fy and no height: it needs fx, fy, cx"),
        (
            "{fx: 60, fy: wide, cx: 1, cy: 1, width: 64, height: 48}",
            "fy must be a number of pixels, as in fx: 525.0; got 'wide'",
        ),
        ("60", "needs entries fx, fy, .* got 60"),
    ):
        (folder / "intrinsics.yaml").write_text(content)
        report = check_folder(folder, LABELS)
        assert codes(report) == {"intrinsics"}
        assert re.search(said, finding(report, "intrinsics").text)
    (folder / "intrinsics.yaml").unlink()
    assert codes(check_folder(folder, LABELS), "warning") == {"no_intrinsics"}


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ("fx: 5, fy: 60", r"fx 5, fy 60 .* fx / fy is 0\.0833 .*; the horizontal field of view is 162 degrees"),
        ("fx: 519, fy: 519", r"field of view is 7 degrees \(usually 30\.\.120\)"),
    ],
)
def test_intrinsics_that_hardly_a_camera_has_are_warned_of(folder: Path, entries: str, said: str) -> None:
    (folder / "intrinsics.yaml").write_text(f"{{{entries}, cx: 31.5, cy: 23.5, width: 64, height: 48}}")
    report = check_folder(folder, LABELS)
    assert codes(report) == set()
    assert re.search(said, finding(report, "odd_intrinsics").text)


def test_the_command_prints_a_table_and_a_verdict_and_exits_with_1_on_errors(folder: Path, tmp_path: Path) -> None:
    (folder / "labels.yaml").write_text(json.dumps(LABELS.to_dict()))  # JSON is YAML
    answer = CliRunner().invoke(command, [str(folder), "--json", str(tmp_path / "report.json")])
    assert answer.exit_code == 0, answer.output
    assert "class 5" in answer.output
    assert answer.output.rstrip().endswith("no faults found")

    change(folder, "label40", lambda x: x - np.uint8(1))
    answer = CliRunner().invoke(command, [str(folder), "--json", str(tmp_path / "report.json")])
    assert answer.exit_code == 1
    assert "mend the errors before training" in answer.output
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["verdict"] == "error"
    assert [f["code"] for f in written["findings"] if f["severity"] == "error"] == ["shifted_labels"]
    assert set(written) == {
        *("verdict", "frames", "label_set", "splits", "findings", "classes", "void_share", "depth"),
    }


def test_a_folder_that_nobody_labelled_is_told_so_in_place_of_a_table_of_zeros(folder: Path) -> None:
    shutil.rmtree(folder / "label40")
    lines = CliRunner().invoke(command, [str(folder)]).output.splitlines()
    assert lines[0] == f"{FRAMES} frames, no pixel annotated with a class of nyu40"
    assert not [line for line in lines if "0.00 %" in line]
    assert "    do: label the images and bring that in with `prepare annotations`, to train and to evaluate" in lines
    assert lines[-1].endswith(": 1 error, 0 warnings: mend the errors before training")


def test_the_front_door_knows_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["check-data", str(folder / "nowhere")])
    assert stop.value.code == 1
    assert "no folder" in capsys.readouterr().err
    with pytest.raises(SourceError, match="has no rgb/"):
        check_folder(folder / "rgb", LABELS)


def test_a_sample_reads_few_images_but_all_lists(folder: Path) -> None:
    report = check_folder(folder, LABELS, limit=3)
    assert codes(report, "note") == {"sampled"}
    assert report.id_frames.max() == 3
    assert report.splits["train"] == 6


def test_a_sample_says_nothing_of_classes_that_may_be_in_the_frames_not_read(folder: Path) -> None:
    change(folder, "label40", without_class_4)
    cv2.imwrite(str(folder / "label40" / "01.png"), labels_of(1))  # of fit, which a sample of four leaves out
    cv2.imwrite(str(folder / "label40" / "05.png"), labels_of(5))  # of val, which is in it
    assert check_folder(folder, LABELS).findings == []
    assert [f.text for f in check_folder(folder, LABELS, limit=4).findings] == ["only 4 of 8 frames were read"]
    assert [f.text for f in check_folder(folder, LABELS, limit=2).findings if f.code != "sampled"] == [
        "1 classes do not occur in the frames that were read: class 4"
    ]


def test_what_never_occurs_is_said_to_where_all_frames_were_read(folder: Path) -> None:
    change(folder, "label40", without_class_4)
    for limit in (None, FRAMES):
        assert finding(check_folder(folder, LABELS, limit), "absent_class").text == "1 classes never occur: class 4"


def test_a_sample_without_any_class_says_that_it_is_one(folder: Path) -> None:
    change(folder, "label40", lambda x: x * np.uint8(0))
    text = finding(check_folder(folder, LABELS, limit=2), "no_class").text
    assert text == "no class of label set 'five' occurs in the frames that were read"


def test_the_real_training_frames_pass_and_their_coarse_depth_is_noticed() -> None:
    report = check_folder(shared_data("nyudv2"), LabelSet.load("nyu40"), limit=25)
    assert codes(report) == set()
    assert "coarse_depth" in codes(report, "warning")
