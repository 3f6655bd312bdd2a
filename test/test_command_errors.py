"""Mistakes on a command line are answered with the value that was given and the next step. All run in this process."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from test_folder import frames
from tiny_bundle import make_tiny_bundle

from lcr_seg_ros.cli import COMMANDS, main
from lcr_seg_ros.errors import LcrSegError, SourceError
from lcr_seg_ros.progress import tell_of_few_runs
from lcr_seg_ros.sources.folder import DatasetFolder, write_folder
from lcr_seg_ros.training.ablate_grid import Grid


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a command line."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write_folder(frames(), tmp_path / "data", split="val")
    return tmp_path / "data"


@pytest.mark.parametrize("group", [[], ["prepare"]])
def test_without_a_command_the_list_of_commands_goes_to_standard_output(
    group: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = answer(capsys, *group)
    assert (code, err) == (0, "")
    assert all(name in out for name in (["rooms", "nyudv2"] if group else COMMANDS))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("predict room", "Missing option '--data'. Did you mean --data room?"),
        ("prepare relabel room --labels nyu4", "Missing option '--data'. Did you mean --data room?"),
        ("predict --model nyu4", "Missing option '--data'.\n"),
        ("train optimizer.epochs=2", "Missing option '--data'.\n"),
        (
            "export --model nyu40 --out x.lcrseg",
            "--model nyu40 is to be changed in one way, and none are given: add one",
        ),
        ("export --run x --height 64 --out x.lcrseg", "--temperature, --height and --trial need --model"),
        ("benchmark frame --plot x.txt", "--plot draws a PNG image: give a name that ends with .png, not 'x.txt'"),
    ],
)
def test_wrong_usage_is_answered_with_what_was_given_and_what_is_missing(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = answer(capsys, *line.split())
    assert code == 2 and said in err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("check-data nowhere", "there is no folder nowhere: give a dataset folder, whose rgb/ holds the images"),
        (
            "export --run runs --out x.onnx",
            "is a model bundle, which holds the ONNX file: give --out x.lcrseg, not x.onnx",
        ),
        ("quantize --data DATA --out x.onnx", "give --out x.lcrseg, not x.onnx"),
        ("predict --data DATA --model MODEL --out FILE", "cannot be made a folder to write to"),
    ],
)
def test_what_cannot_be_used_is_answered_in_one_line_with_the_next_step(
    line: str, said: str, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    places = {"DATA": dataset, "MODEL": make_tiny_bundle(tmp_path / "tiny.lcrseg"), "FILE": tmp_path / "file"}
    code, _, err = answer(capsys, *(places.get(word, word) for word in line.split()))
    assert code == 1 and said in err and "labels: Not a directory" not in err
    (_,) = (text for text in err.splitlines() if not text.startswith(("INFO", "WARNING")))


def test_an_option_of_two_values_shows_how_they_are_given(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")
    code, _, err = answer(capsys, "play", "room", "--size", "640")
    assert code == 2 and "Option '--size' requires 2 arguments. E.g. --size 640 480" in err


def test_a_mistyped_grid_is_repeated_as_it_was_typed() -> None:
    with pytest.raises(LcrSegError, match=r"^no grid 'papers': give a YAML file or one of .*paper"):
        Grid.load("papers")


def test_an_image_that_cannot_be_read_names_the_command_that_lists_all_of_them(dataset: Path) -> None:
    for folder, what in (("label40", "label image"), ("rgb", "image")):
        broken = sorted((dataset / folder).iterdir())[0]
        broken.write_bytes(broken.read_bytes()[:40])
        with pytest.raises(
            SourceError, match=rf"cannot read the {what} .*: is it whole\? .*`check-data {dataset}` lists"
        ):
            DatasetFolder(dataset)[0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("fx: abc", "fx must be a number of pixels, as in fx: 525.0; got 'abc'"),
        (
            "cx: 3200",
            "cx=3200, cy=[^ ]* is far outside of the [0-9]*x[0-9]* image: give the values in pixels of an image",
        ),
        ("fx: -1", "intrinsics need finite values and fx, fy > 0, got fx=-1"),
    ],
)
def test_a_value_of_intrinsics_that_cannot_be_is_named_with_its_file(line: str, said: str, dataset: Path) -> None:
    name = line.partition(":")[0]
    file = dataset / "intrinsics.yaml"
    others = [text for text in file.read_text().splitlines() if not text.startswith(f"{name}:")]
    file.write_text("\n".join([*others, line]))
    with pytest.raises(SourceError, match=rf"intrinsics\.yaml: .*{said}"):
        DatasetFolder(dataset)


def test_a_benchmark_of_few_runs_says_how_long_it_should_take(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tell_of_few_runs(5, 3.0)
        assert not caplog.messages
        tell_of_few_runs(1, 3.0)
    assert caplog.messages == ["a median of 1 run says little: --seconds 15 should give 5 of each case"]
