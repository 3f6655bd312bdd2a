"""``prepare``: official files, downloads and other projects' folders become dataset folders; stopped runs go on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

pytest.importorskip("h5py", reason="preparing NYUDv2 needs the extra: pip install 'lcr_seg_ros[train]'")
import scipy.io
import scipy.sparse
from click.testing import CliRunner
from command_line import run
from nyudv2_files import CLASS_OF_RAW, OfficialFiles, raw_name, write_files, write_official_files
from shared_data import ROOT, shared_data
from test_folder import frames as folder_frames
from tiny_bundle import make_tiny_bundle
from turned_jpeg import quarter_turned

from lcr_seg_ros.errors import LabelSetError, LcrSegError, SourceError
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.sources.folder import NYUDV2_INTRINSICS, DatasetFolder, parse_intrinsics, write_folder
from lcr_seg_ros.sources.rooms import RenderedRoom
from lcr_seg_ros.training.datasets.check import check_folder
from lcr_seg_ros.training.datasets.download import RemoteFile, download
from lcr_seg_ros.training.datasets.folder_labels import write_label_set
from lcr_seg_ros.training.datasets.grouping import load_grouping, relabel_folder
from lcr_seg_ros.training.datasets.layouts import ImportSettings, import_folder
from lcr_seg_ros.training.datasets.nyudv2 import LABELED, LabeledFile, prepare_nyudv2, read_mapping, read_splits
from lcr_seg_ros.training.datasets.nyudv2_crop import NYUDV2_WINDOW
from lcr_seg_ros.training.prepare_command import command

NYU40 = LabelSet.load("nyu40")


@pytest.fixture(scope="module")
def official(tmp_path_factory: pytest.TempPathFactory) -> OfficialFiles:
    return write_official_files(tmp_path_factory.mktemp("official"))


def prepare(files: OfficialFiles, out: Path, **choices: object) -> dict[str, list[str]]:
    return prepare_nyudv2(files.mat, files.splits, files.mapping, out, **choices)  # type: ignore[arg-type]


def files_in(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


# --- The official files -------------------------------------------------------------------------------------------


def test_frames_come_out_upright_by_their_official_index_in_our_units(official: OfficialFiles, tmp_path: Path) -> None:
    lists = prepare(official, tmp_path)
    assert lists == {"train": ["00001", "00003", "00005"], "test": ["00002", "00004", "00006"]}
    for split, names in lists.items():
        folder = DatasetFolder(tmp_path, split)
        assert folder.names == names
        for item in folder:
            k = int(item.name) - 1
            assert np.array_equal(item.frame.rgb, official.rgb[k])
            assert np.abs(item.frame.depth_m - official.depth_m[k]).max() <= 0.000501
            assert np.array_equal(item.labels, official.label40[k])
            assert item.frame.intrinsics == NYUDV2_INTRINSICS.scaled_to(64, 48)


def test_the_crop_is_what_fcns_authors_cut_out_with_its_own_camera(tmp_path: Path) -> None:
    official = write_official_files(tmp_path / "official", frames=2, width=640, height=480)
    prepare(official, tmp_path / "out", crop=True)
    item = DatasetFolder(tmp_path / "out", "train")[0]
    assert np.array_equal(item.frame.rgb, official.rgb[0, 45:470, 40:600])
    assert np.array_equal(item.labels, official.label40[0, 45:470, 40:600])
    assert item.frame.depth_m.shape == (425, 560)
    assert item.frame.intrinsics == NYUDV2_WINDOW.of_camera(NYUDV2_INTRINSICS)
    with pytest.raises(SourceError, match="settings"):
        prepare(official, tmp_path / "out")
    small = write_official_files(tmp_path / "small", frames=2)
    with pytest.raises(SourceError, match="has images of 64x48; the crop is of 640x480"):
        prepare(small, tmp_path / "none", crop=True)


def test_the_four_classes_are_the_groups_of_the_forty(official: OfficialFiles, tmp_path: Path) -> None:
    prepare(official, tmp_path)
    group = {c.id: c.group for c in NYU40.classes}
    name4 = {c.id: c.name for c in LabelSet.load("nyu4").classes}
    for k in range(6):
        fine, coarse = (cv2.imread(str(tmp_path / f / f"{k + 1:05d}.png"), -1) for f in ("label40", "label4"))
        for id40 in range(1, 41):
            assert {name4[i] for i in np.unique(coarse[fine == id40])} == {group[id40]}
        assert not coarse[fine == 0].any()


def test_a_folder_of_four_classes_is_read_by_every_command_and_says_what_it_holds(
    official: OfficialFiles, tmp_path: Path
) -> None:
    prepare(official, tmp_path / "forty")
    prepare(official, tmp_path / "four", classes=4)
    for item in DatasetFolder(tmp_path / "four"):
        beside = cv2.imread(str(tmp_path / "forty" / "label4" / f"{item.name}.png"), -1)
        assert np.array_equal(item.labels, beside)
    assert "structure" in run("check-data", tmp_path / "four").stdout
    assert not (tmp_path / "four" / "label4").exists()


def test_our_groups_are_the_published_four_classes() -> None:
    table = load_grouping("nyu4", NYU40)[1]
    rows = np.genfromtxt(shared_data("nyudv2", "classes.csv"), delimiter=",", skip_header=1, usecols=(0, 2), dtype=int)
    assert len(rows) == 40
    assert all(table[id40] == id4 for id40, id4 in rows)


def test_prepared_data_is_checked_scored_and_read_like_any_other(tmp_path: Path) -> None:
    """At the official size, from the command line: prepare, check-data, evaluate."""
    room = RenderedRoom(frames=4, seed=3, noise=False)
    shown = [room[k] for k in range(4)]
    depth = np.stack([item.frame.depth_m for item in shown])
    labels = np.stack([item.labels for item in shown])
    files = write_files(tmp_path / "official", np.stack([item.frame.rgb for item in shown]), depth, labels)
    out = tmp_path / "nyudv2"
    answer = run("prepare", "nyudv2", *files.options, "--out", out)
    assert f"{out}: train 2, test 2" in answer.stdout
    assert DatasetFolder(out)[0].frame.intrinsics == NYUDV2_INTRINSICS

    assert "can be trained on" in run("check-data", out).stdout
    model = make_tiny_bundle(tmp_path / "tiny.lcrseg")
    run("evaluate", "--data", out, "--split", "test", "--model", model, "--json", tmp_path / "scores.json")
    assert json.loads((tmp_path / "scores.json").read_text())["frames"] == 2


def test_raw_depth_keeps_its_holes(official: OfficialFiles, tmp_path: Path) -> None:
    prepare(official, tmp_path, depth="raw")
    depth = DatasetFolder(tmp_path)[0].frame.depth_m
    assert not depth[:4, :4].any()
    assert depth[4:, 4:].all()


def test_a_list_of_fcns_divides_the_training_frames(official: OfficialFiles, tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text("5003\n")
    lists = prepare(official, tmp_path / "out", validation=tmp_path / "val.txt")
    assert lists["fit"] == ["00001", "00005"]
    assert lists["val"] == ["00003"]
    assert lists["train"] == ["00001", "00003", "00005"]
    (tmp_path / "val.txt").write_text("00002\n")
    with pytest.raises(SourceError, match="1 frames that are not training frames, first 2"):
        prepare(official, tmp_path / "out", validation=tmp_path / "val.txt")


def test_the_large_file_is_read_frame_by_frame(tmp_path: Path) -> None:
    files = write_official_files(tmp_path, frames=60, width=160, height=120)
    frame_bytes = 160 * 120 * (3 + 4 + 2)
    with LabeledFile(files.mat) as data:
        tracemalloc.start()
        for index in range(1, 61):
            data[index]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 5 * frame_bytes


def prepare_with_hha(files: OfficialFiles, folder: Path, *recipes: str) -> str:
    """Prints of a `prepare nyudv2 --hha` that writes to ``folder / "out"``, and HHA to ``folder / "cache"``."""
    arguments = ["nyudv2", *files.options, "--out", str(folder / "out"), "--hha", "--cache", str(folder / "cache")]
    for recipe in recipes:
        arguments += ["--recipe", recipe]
    return CliRunner().invoke(command, arguments, catch_exceptions=False).output


@pytest.mark.parametrize("given", [(), ("nyu40",), ("fcn32s_paper",), ("segnet_modern", "segnet_paper")])
def test_hha_that_was_computed_ahead_is_what_training_by_these_recipes_looks_for(
    given: tuple[str, ...], official: OfficialFiles, tmp_path: Path
) -> None:
    pytest.importorskip("torchvision", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")
    from lcr_seg_ros.training.examples import folder_examples
    from lcr_seg_ros.training.recipe import Recipe

    said = prepare_with_hha(official, tmp_path, *given)
    ahead = files_in(tmp_path / "cache")
    assert len(ahead) == 6 * max(1, len(given))
    for recipe in given or ("nyu40",):
        assert re.search(rf"HHA of 6 frames in .*, for {recipe}$", said, re.MULTILINE)
        folder_examples(DatasetFolder(tmp_path / "out"), tmp_path / "cache", Recipe.load(recipe).input.hha_settings)
    assert files_in(tmp_path / "cache") == ahead


def test_recipes_that_compute_hha_alike_share_it(official: OfficialFiles, tmp_path: Path) -> None:
    said = prepare_with_hha(official, tmp_path, "fcn32s_paper", "segnet_paper", "fcn32s_paper")
    assert said.count("HHA of 6 frames") == 1
    assert said.rstrip().endswith("for fcn32s_paper and segnet_paper")
    assert len(files_in(tmp_path / "cache")) == 6


def test_a_recipe_that_there_is_not_or_that_nothing_is_computed_for_is_refused_before_any_work(
    official: OfficialFiles, tmp_path: Path
) -> None:
    with pytest.raises(LcrSegError, match=r"no recipe 'segnet_papr': give a YAML file or one of .*segnet_paper"):
        prepare_with_hha(official, tmp_path, "nyu40", "segnet_papr")
    arguments = ["nyudv2", *official.options, "--out", str(tmp_path / "out"), "--recipe", "segnet_paper"]
    answer = CliRunner().invoke(command, arguments)
    assert answer.exit_code == 2
    assert "--recipe segnet_paper says what HHA to compute: give --hha, too, or leave it out" in answer.output
    assert not (tmp_path / "out").exists()


# --- Stopped runs -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_files(tmp_path: Path) -> None:
    files = write_official_files(tmp_path / "official", frames=200, width=160, height=120)
    out, whole = tmp_path / "out", tmp_path / "whole"
    arguments = [sys.executable, "-m", "lcr_seg_ros", "prepare", "nyudv2", *files.options, "--out", str(out)]
    process = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list((out / "label4").glob("0*.png"))) < 45 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "train.txt").exists(), "a list says that all its frames are there"
    noted = json.loads((out / "manifest.json").read_text())["frames"]
    assert 20 <= len(noted) < 200
    before = {name: (out / "rgb" / f"{name}.png").stat().st_mtime_ns for name in noted}

    answer = run("prepare", "nyudv2", *files.options, "--out", out)
    assert f"{len(noted)} of 200 frames were there already" in answer.stderr
    assert {name: (out / "rgb" / f"{name}.png").stat().st_mtime_ns for name in noted} == before
    prepare(files, whole)
    assert files_in(out) == files_in(whole)


def test_images_that_are_cut_or_missing_are_made_again(official: OfficialFiles, tmp_path: Path) -> None:
    prepare(official, tmp_path)
    whole = files_in(tmp_path)
    (tmp_path / "rgb" / "00002.png").write_bytes(whole["rgb/00002.png"][:100])
    (tmp_path / "label40" / "00005.png").unlink()
    (tmp_path / "depth" / ".00001.png.x.part").write_bytes(b"half")
    prepare(official, tmp_path)
    assert files_in(tmp_path) == whole


def test_check_data_notices_files_that_changed_since(official: OfficialFiles, tmp_path: Path) -> None:
    prepare(official, tmp_path)
    labels = cv2.imread(str(tmp_path / "label40" / "00002.png"), -1)
    cv2.imwrite(str(tmp_path / "label40" / "00002.png"), labels[::-1])
    report = check_folder(tmp_path, NYU40)
    assert [(f.code, f.frames) for f in report.errors] == [("changed", ("00002",))]


def test_a_folder_made_of_other_files_is_not_gone_on_with(official: OfficialFiles, tmp_path: Path) -> None:
    prepare(official, tmp_path / "out")
    others = write_official_files(tmp_path / "others", seed=1)
    with pytest.raises(SourceError, match=r"holds frames with other inputs.*--start-over"):
        prepare(others, tmp_path / "out")
    with pytest.raises(SourceError, match="other settings"):
        prepare(official, tmp_path / "out", rgb_format="jpg")
    prepare(others, tmp_path / "out", start_over=True)
    assert np.array_equal(DatasetFolder(tmp_path / "out")[0].frame.rgb, others.rgb[0])


# --- What is wrong with official files ------------------------------------------------------------------------------


def test_a_cut_or_foreign_file_is_answered_with_what_to_do(official: OfficialFiles, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mat"
    cut.write_bytes(official.mat.read_bytes()[: official.mat.stat().st_size // 2])
    said = rf"no whole HDF5 file .* it has {cut.stat().st_size} bytes, the published one 2972037809.*download cut off"
    with pytest.raises(SourceError, match=said):
        prepare(replace(official, mat=cut), tmp_path / "out")
    with pytest.raises(SourceError, match="no whole HDF5 file"):
        prepare(replace(official, mat=official.splits), tmp_path / "out")
    with pytest.raises(SourceError, match=r"has no trainNdxs, testNdxs; it holds mapClass.* Is it splits\.mat\?"):
        prepare(replace(official, splits=official.mapping), tmp_path / "out")
    with pytest.raises(SourceError, match=r"not a MATLAB 5 file .*remove it and let --download"):
        prepare(replace(official, mapping=official.mat), tmp_path / "out")
    with pytest.raises(SourceError, match="let --download fetch it"):
        prepare(replace(official, mapping=tmp_path / "nowhere.mat"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_splits_of_another_data_set_are_refused(official: OfficialFiles, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"the test frames are 2\.\.6, the data holds 1\.\.5"):
        read_splits(official.splits, 5)
    scipy.io.savemat(tmp_path / "both.mat", {"trainNdxs": [[1], [2]], "testNdxs": [[2], [3]]})
    with pytest.raises(SourceError, match="1 frames in both train and test, first 2"):
        read_splits(tmp_path / "both.mat", 6)


@pytest.mark.parametrize(
    ("train", "said"),
    [
        ([[1], [3], [3]], r"trainNdxs lists frame 3 twice \(1 repetitions\)"),
        ([[1.0], [2.5]], r"trainNdxs must hold frame indices, whole numbers, got 2\.5"),
        ([[1.0], [np.nan]], r"trainNdxs must hold frame indices, whole numbers, got nan"),
        ([[1.0], [np.inf]], r"trainNdxs must hold frame indices, whole numbers, got inf"),
        ("00001", r"trainNdxs must hold frame indices, whole numbers, got '00001' of type <U5"),
        (np.array([["1", "3"]], object), r"trainNdxs must hold frame indices, whole numbers, got .*1.* of type object"),
        (scipy.sparse.eye(3).tocsc(), r"trainNdxs must hold frame indices, whole numbers, got a csc_"),
    ],
)
def test_splits_that_are_no_frame_indices_are_refused_with_the_value(tmp_path: Path, train: object, said: str) -> None:
    file = tmp_path / "splits.mat"
    scipy.io.savemat(file, {"trainNdxs": train, "testNdxs": [[2], [4]]})
    with pytest.raises(SourceError, match=rf"splits\.mat: {said}"):
        read_splits(file, 6)


def test_indices_may_be_doubles_as_matlab_stores_numbers_and_other_lists_than_the_official_are_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, order = tmp_path / "splits.mat", np.random.default_rng(0).permutation(np.arange(1.0, 1450.0))
    scipy.io.savemat(file, {"trainNdxs": order[:795, None], "testNdxs": order[795:, None]})
    splits = read_splits(file, 1449)
    assert splits["train"] == sorted(order[:795].astype(int).tolist())
    assert not caplog.records
    scipy.io.savemat(file, {"trainNdxs": order[:794, None], "testNdxs": order[795:, None]})
    read_splits(file, 1449)
    assert "has 794 train and 654 test frames, the official one has 795 and 654" in caplog.text


def test_a_mapping_of_other_classes_is_refused(official: OfficialFiles, tmp_path: Path) -> None:
    names = [raw_name(i) for i in range(1, 895)]
    assert np.array_equal(read_mapping(official.mapping, names), [0, *CLASS_OF_RAW])
    with pytest.raises(SourceError, match="maps raw class 2 as 'thing 2', but the data calls it 'thing 1'"):
        read_mapping(official.mapping, ["thing 1", *names[:-1]])
    content = scipy.io.loadmat(official.mapping)
    swapped = content["className"].copy()
    swapped[0, [0, 1]] = swapped[0, [1, 0]]
    scipy.io.savemat(tmp_path / "swapped.mat", {"mapClass": content["mapClass"], "className": swapped})
    with pytest.raises(SourceError, match="class 1 is 'floor' there and 'wall' here"):
        read_mapping(tmp_path / "swapped.mat")
    scipy.io.savemat(tmp_path / "zero.mat", {"mapClass": content["mapClass"] - 1})
    with pytest.raises(SourceError, match=r"one of 1\.\.40, got 894 values of 0\.\.39"):
        read_mapping(tmp_path / "zero.mat")


def test_files_that_were_not_given_are_asked_for(tmp_path: Path) -> None:
    answer = run("prepare", "nyudv2", "--out", tmp_path, code=1)
    assert "give --mat nyu_depth_v2_labeled.mat, or let --download fetch it from http" in answer.stderr


# --- Downloads ------------------------------------------------------------------------------------------------------


class Publisher:
    """A web server on this machine that can hang up early, ignore ranges, or change its file."""

    def __init__(self, content: bytes) -> None:
        self.content, self.tag = content, '"1"'
        self.ranges, self.hang_up_after = True, None
        self.asked: list[str | None] = []
        self.busy = 0
        publisher = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                publisher._answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    hang_up_after: int | None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        wanted = request.headers["Range"]
        self.asked.append(wanted)
        if self.busy:
            self.busy -= 1
            request.send_error(503)
            return
        if request.path == "/missing":
            request.send_error(404)
            return
        start, end = 0, len(self.content)
        if wanted and self.ranges and request.headers.get("If-Range", self.tag) == self.tag:
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            start, end = int(first), int(last or len(self.content) - 1) + 1
            if start >= len(self.content):
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{len(self.content)}")
                request.send_header("Content-Length", "0")
                request.end_headers()
                return
            request.send_response(206)
            request.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(self.content)}")
        else:
            request.send_response(200)
        body = self.content[start:end]
        request.send_header("Content-Length", str(len(body)))
        request.send_header("ETag", self.tag)
        request.end_headers()
        request.wfile.write(body if self.hang_up_after is None else body[: self.hang_up_after])
        request.close_connection = True


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    server = Publisher(np.random.default_rng(5).bytes(1_000_000))
    yield server
    server.close()


def remote(publisher: Publisher, path: str = "data.mat") -> RemoteFile:
    return RemoteFile(
        "data.mat",
        f"{publisher.address}/{path}",
        len(publisher.content),
        hashlib.sha256(publisher.content).hexdigest(),
    )


def test_a_download_is_whole_and_leaves_nothing_else(publisher: Publisher, tmp_path: Path) -> None:
    assert download(remote(publisher), tmp_path).read_bytes() == publisher.content
    assert [p.name for p in tmp_path.iterdir()] == ["data.mat"]
    download(remote(publisher), tmp_path)
    assert publisher.asked == [None], "what is there is checked, not fetched again"


def test_a_connection_that_breaks_is_taken_up_where_it_broke(publisher: Publisher, tmp_path: Path) -> None:
    publisher.hang_up_after = 300_000
    assert download(remote(publisher), tmp_path, pause_s=0).read_bytes() == publisher.content
    assert publisher.asked == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]


def test_a_stopped_download_goes_on_in_the_next_run(publisher: Publisher, tmp_path: Path) -> None:
    publisher.hang_up_after = 400_000
    with pytest.raises(SourceError, match=r"stopped after 400000 bytes .*run again to go on"):
        download(remote(publisher), tmp_path, attempts=0, pause_s=0)
    publisher.hang_up_after = None
    assert download(remote(publisher), tmp_path).read_bytes() == publisher.content
    assert publisher.asked[-1] == "bytes=400000-"


def test_a_file_that_changed_meanwhile_comes_anew(publisher: Publisher, tmp_path: Path) -> None:
    publisher.hang_up_after = 400_000
    with pytest.raises(SourceError, match="stopped after"):
        download(remote(publisher), tmp_path, attempts=0)
    publisher.hang_up_after, publisher.tag, publisher.content = None, '"2"', publisher.content[::-1]
    assert download(remote(publisher), tmp_path).read_bytes() == publisher.content


def test_a_server_without_ranges_sends_it_all_again(publisher: Publisher, tmp_path: Path) -> None:
    publisher.hang_up_after = 400_000
    with pytest.raises(SourceError, match="stopped after"):
        download(remote(publisher), tmp_path, attempts=0)
    publisher.hang_up_after, publisher.ranges = None, False
    assert download(remote(publisher), tmp_path).read_bytes() == publisher.content


def test_a_part_that_was_complete_is_taken_as_it_is(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "data.mat.part").write_bytes(publisher.content)
    assert download(remote(publisher), tmp_path).read_bytes() == publisher.content


@pytest.mark.parametrize("kept", [0, 1000, 600_000])
def test_a_file_that_other_means_left_short_is_gone_on_with(publisher: Publisher, tmp_path: Path, kept: int) -> None:
    (tmp_path / "data.mat").write_bytes(publisher.content[:kept])
    (tmp_path / "data.mat.part.json").write_text('{"validator": "of another file"}')
    assert download(remote(publisher), tmp_path).read_bytes() == publisher.content
    assert publisher.asked[-1] == (f"bytes={kept}-" if kept else None)
    assert [p.name for p in tmp_path.iterdir()] == ["data.mat"]


def test_a_longer_part_of_our_own_is_gone_on_with_instead(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "data.mat").write_bytes(publisher.content[:1000])
    (tmp_path / "data.mat.part").write_bytes(publisher.content[:600_000])
    assert download(remote(publisher), tmp_path).read_bytes() == publisher.content
    assert publisher.asked[-1] == "bytes=600000-"


def test_a_short_file_stays_as_it_is_where_the_server_cannot_be_asked(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "data.mat").write_bytes(publisher.content[:1000])
    with pytest.raises(SourceError, match=r"has 1000 bytes, the published data\.mat has 1000000, and http.* 404"):
        download(remote(publisher, "missing"), tmp_path)
    assert (tmp_path / "data.mat").read_bytes() == publisher.content[:1000]


def test_another_content_than_the_published_does_not_stay(publisher: Publisher, tmp_path: Path) -> None:
    wrong = replace(remote(publisher), sha256="0" * 64)
    with pytest.raises(SourceError, match=r"SHA-256 .* has been removed, run again"):
        download(wrong, tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "data.mat").write_bytes(b"my own")
    with pytest.raises(SourceError, match=r"has 6 bytes, the published data\.mat has 1000000"):
        download(remote(publisher), tmp_path)
    assert (tmp_path / "data.mat").read_bytes() == b"my own"


def test_a_server_that_is_busy_is_asked_again(publisher: Publisher, tmp_path: Path) -> None:
    publisher.busy = 3
    assert download(remote(publisher), tmp_path, pause_s=0).read_bytes() == publisher.content
    publisher.busy = 3
    with pytest.raises(SourceError, match=r"stopped after 0 bytes \(HTTP Error 503"):
        download(remote(publisher), tmp_path / "other", attempts=2, pause_s=0)


def test_no_such_file_and_no_such_server_are_answered(publisher: Publisher, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="answers 404"):
        download(remote(publisher, "missing"), tmp_path)
    with pytest.raises(SourceError, match=r"stopped after 0 bytes .*fetch it by other means"):
        download(RemoteFile("x", "http://127.0.0.1:9/x"), tmp_path, attempts=1, pause_s=0)
    with pytest.raises(SourceError, match="only download over http"):
        download(RemoteFile("x", "file:///etc/hostname"), tmp_path)


def test_the_command_fetches_what_is_not_given_and_checks_it(
    official: OfficialFiles, publisher: Publisher, tmp_path: Path
) -> None:
    """Only the mapping has no published checksum, so a mirror may serve ours; the others must be the real ones."""
    publisher.content = official.mapping.read_bytes()
    given = ["--mat", official.mat, "--splits", official.splits]
    run("prepare", "nyudv2", *given, "--download", "--mirror", publisher.address, "--out", tmp_path / "out")
    assert (tmp_path / "out" / "official" / "classMapping40.mat").read_bytes() == publisher.content
    assert len(DatasetFolder(tmp_path / "out", "train")) == 3
    answer = run("prepare", "nyudv2", "--download", "--mirror", publisher.address, "--out", tmp_path / "other", code=1)
    assert f"the published {LABELED.name} has {LABELED.size}" in answer.stderr


# --- Folders of other projects --------------------------------------------------------------------------------------


DEPTH_MM = np.tile(np.linspace(1500, 3500, 80).astype(np.uint16), (60, 1))
"""A slanted wall."""


def hha_of_depth() -> np.ndarray:
    """(60, 80, 3) disparity, height, angle, as far as these tests look at them."""
    rows = np.linspace(0, 1, 60)[:, None] * np.ones(80)
    return np.stack([310000 / DEPTH_MM, 250 - 250 * rows, 38 + 90 * rows], -1).astype(np.uint8)


def fcn_folder(root: Path) -> list[np.ndarray]:
    for part in ("data/images", "data/depth", "data/hha", "segmentation"):
        (root / part).mkdir(parents=True)
    labels = []
    for k, item in enumerate(folder_frames(4)):
        number = 5001 + k
        labels.append(item.labels)
        cv2.imwrite(str(root / f"data/images/img_{number}.png"), item.frame.rgb[:, :, ::-1])
        cv2.imwrite(str(root / f"data/depth/img_{number}.png"), DEPTH_MM)
        cv2.imwrite(str(root / f"data/hha/img_{number}.png"), hha_of_depth()[:, :, ::-1])
        scipy.io.savemat(root / f"segmentation/img_{number}.mat", {"segmentation": item.labels})
    for name, numbers in (("train", "5001\n5003\n"), ("val", "5002\n"), ("test", "5004\n")):
        (root / f"{name}.txt").write_text(numbers)
    return labels


def test_fcns_folder_becomes_ours_with_official_names(tmp_path: Path) -> None:
    labels = fcn_folder(tmp_path / "nyud")
    import_folder(tmp_path / "nyud", "fcn", tmp_path / "out")
    assert {s: DatasetFolder(tmp_path / "out", s).names for s in ("fit", "val", "train", "test")} == {
        "fit": ["00001", "00003"],
        "val": ["00002"],
        "train": ["00001", "00002", "00003"],
        "test": ["00004"],
    }
    for item, truth, original in zip(DatasetFolder(tmp_path / "out"), labels, folder_frames(4), strict=True):
        assert np.array_equal(item.labels, truth)
        assert np.array_equal(item.frame.rgb, original.frame.rgb)
        assert item.frame.depth_m[0, 0] == pytest.approx(1.5)
    assert (tmp_path / "out" / "hha" / "00004.png").is_file()
    assert check_folder(tmp_path / "out", NYU40).errors == []


def test_gupta_s_crop_moves_the_principal_point(tmp_path: Path) -> None:
    fcn_folder(tmp_path / "nyud")
    for path in (tmp_path / "nyud" / "data" / "images").iterdir():
        cv2.imwrite(str(path), np.zeros((425, 560, 3), np.uint8))
    import_folder(tmp_path / "nyud", "fcn", tmp_path / "out", ImportSettings(depth=False, hha=False))
    values = yaml.safe_load((tmp_path / "out" / "intrinsics.yaml").read_text())
    assert values["cx"] == pytest.approx(NYUDV2_INTRINSICS.cx - 40)
    assert values["cy"] == pytest.approx(NYUDV2_INTRINSICS.cy - 45)
    assert values["fx"] == NYUDV2_INTRINSICS.fx


def test_intrinsics_without_a_size_are_written_down_as_of_the_first_image(tmp_path: Path) -> None:
    fcn_folder(tmp_path / "nyud")
    given = parse_intrinsics("500,501,31.5,23.5")
    import_folder(tmp_path / "nyud", "fcn", tmp_path / "out", ImportSettings(depth=False, hha=False, intrinsics=given))
    first = DatasetFolder(tmp_path / "out")[0].frame
    assert first.intrinsics == given.scaled_to(first.rgb.shape[1], first.rgb.shape[0])


def test_intrinsics_are_of_photos_as_they_are_stored_where_depth_lies_over_them(tmp_path: Path) -> None:
    rgbx_folder(tmp_path / "theirs")
    for photo in (tmp_path / "theirs" / "RGB").iterdir():
        photo.write_bytes(quarter_turned(photo.read_bytes()))
    stored = cv2.imread(str(photo), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION).shape[:2]
    for depth, size in ((True, stored), (False, stored[::-1])):
        out = tmp_path / f"depth_{depth}"
        settings = ImportSettings(depth=depth, hha=False, intrinsics=parse_intrinsics("60,60,31.5,23.5"))
        import_folder(tmp_path / "theirs", "rgb_hha_label", out, settings)
        values = yaml.safe_load((out / "intrinsics.yaml").read_text())
        assert (values["height"], values["width"]) == size


def rgbx_folder(root: Path, shifted: bool = False, reversed_hha: bool = False) -> None:
    for part in ("RGB", "HHA", "Depth", "Label"):
        (root / part).mkdir(parents=True)
    for k, item in enumerate(folder_frames(3)):
        hha = hha_of_depth()
        cv2.imwrite(str(root / f"RGB/{k}.jpg"), item.frame.rgb[:, :, ::-1])
        cv2.imwrite(str(root / f"HHA/{k}.jpg"), hha if reversed_hha else hha[:, :, ::-1])
        cv2.imwrite(str(root / f"Depth/{k}.png"), DEPTH_MM)
        cv2.imwrite(str(root / f"Label/{k}.png"), item.labels - np.uint8(shifted))
    (root / "train.txt").write_text("RGB/0.jpg Label/0.png\nRGB/2.jpg Label/2.png\n")
    (root / "test.txt").write_text("RGB/1.jpg\n")


def test_rgb_hha_label_folders_become_ours(tmp_path: Path) -> None:
    rgbx_folder(tmp_path / "theirs")
    answer = CliRunner().invoke(
        command,
        ["import", "--layout", "rgb_hha_label", "--from", str(tmp_path / "theirs"), "--out", str(tmp_path / "out")],
        catch_exceptions=False,
    )
    assert "3 frames; test 1, train 2" in answer.output
    assert DatasetFolder(tmp_path / "out", "train").names == ["0", "2"]
    for k, item in enumerate(DatasetFolder(tmp_path / "out")):
        assert np.array_equal(item.labels, folder_frames(3)[k].labels)
    assert (tmp_path / "out/rgb/0.jpg").read_bytes() == (tmp_path / "theirs/RGB/0.jpg").read_bytes()


def test_labels_counted_from_0_are_not_guessed_at(tmp_path: Path) -> None:
    rgbx_folder(tmp_path / "theirs", shifted=True)
    with pytest.raises(SourceError, match=r"has 255, so void is 255 .* import with --shifted"):
        import_folder(tmp_path / "theirs", "rgb_hha_label", tmp_path / "out")
    import_folder(tmp_path / "theirs", "rgb_hha_label", tmp_path / "out2", ImportSettings(shifted=True))
    assert np.array_equal(DatasetFolder(tmp_path / "out2")[0].labels, folder_frames(1)[0].labels)


def test_hha_in_reversed_order_is_noticed_where_depth_is_known(tmp_path: Path) -> None:
    rgbx_folder(tmp_path / "theirs", reversed_hha=True)
    with pytest.raises(SourceError, match="import with --hha-order bgr"):
        import_folder(tmp_path / "theirs", "rgb_hha_label", tmp_path / "out")
    import_folder(tmp_path / "theirs", "rgb_hha_label", tmp_path / "out2", ImportSettings(hha_order="bgr"))
    red = cv2.imread(str(tmp_path / "out2" / "hha" / "0.png"))[:, :, 2]
    assert np.abs(red.astype(int) - hha_of_depth()[:, :, 0]).mean() < 5


def test_8_bit_depth_needs_its_unit(tmp_path: Path) -> None:
    rgbx_folder(tmp_path / "theirs")
    for path in (tmp_path / "theirs" / "Depth").iterdir():
        cv2.imwrite(str(path), np.full((60, 80), 51, np.uint8))
    with pytest.raises(SourceError, match="how many millimetres is one unit"):
        import_folder(tmp_path / "theirs", "rgb_hha_label", tmp_path / "out")
    settings = ImportSettings(depth_unit_mm=10_000 / 255, hha=False)
    import_folder(tmp_path / "theirs", "rgb_hha_label", tmp_path / "out2", settings)
    assert DatasetFolder(tmp_path / "out2")[0].frame.depth_m[0, 0] == pytest.approx(2.0)


def test_palette_label_images_are_read_as_ids(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    rgbx_folder(tmp_path / "theirs")
    for k, item in enumerate(folder_frames(3)):
        picture = pillow.fromarray(item.labels)
        picture.putpalette([255 - i // 3 for i in range(768)])
        picture.save(tmp_path / "theirs" / "Label" / f"{k}.png")
    import_folder(tmp_path / "theirs", "rgb_hha_label", tmp_path / "out")
    assert np.array_equal(DatasetFolder(tmp_path / "out")[2].labels, folder_frames(3)[2].labels)


def test_esanets_folder_becomes_ours(official: OfficialFiles, tmp_path: Path) -> None:
    prepare(official, tmp_path / "ours")
    for split in ("train", "test"):
        names = DatasetFolder(tmp_path / "ours", split).names
        for ours, theirs in (("rgb", "rgb"), ("depth", "depth"), ("label40", "labels_40")):
            (tmp_path / "theirs" / split / theirs).mkdir(parents=True)
            for name in names:
                target = tmp_path / "theirs" / split / theirs / f"{int(name):04d}.png"
                target.write_bytes((tmp_path / "ours" / ours / f"{name}.png").read_bytes())
        (tmp_path / "theirs" / f"{split}.txt").write_text("".join(f"{int(n):04d}\n" for n in names))
    import_folder(tmp_path / "theirs", "esanet", tmp_path / "out")
    for before, after in zip(DatasetFolder(tmp_path / "ours"), DatasetFolder(tmp_path / "out"), strict=True):
        assert before.name == after.name
        assert np.array_equal(before.frame.rgb, after.frame.rgb)
        assert np.array_equal(before.labels, after.labels)
    for split in ("train", "test"):
        assert (tmp_path / "out" / f"{split}.txt").read_text() == (tmp_path / "ours" / f"{split}.txt").read_text()


OWN_255 = {
    "name": "mine",
    "void": 255,
    "classes": [{"id": k, "name": name, "color": [k, 9, 9]} for k, name in enumerate(("wall", "floor"))],
}


def own_folder(root: Path) -> None:
    """Names with dots, ids from 0, 255 for void, and a label set that says so."""
    write_folder([replace(f, name=f"1305.{k}") for k, f in enumerate(folder_frames(2))], root, split="val")
    for path in (root / "label40").glob("*.png"):
        labels = np.zeros((60, 80), np.uint8)
        labels[:20], labels[20:40] = 1, 255
        cv2.imwrite(str(path), labels)
    (root / "labels.yaml").write_text(yaml.safe_dump(OWN_255))


@pytest.mark.parametrize("shifted", [False, True])
def test_a_folder_of_ours_keeps_its_void_its_label_set_and_names_with_dots(tmp_path: Path, shifted: bool) -> None:
    own_folder(tmp_path / "theirs")
    settings = ImportSettings(shifted=shifted)
    import_folder(tmp_path / "theirs", "folder", tmp_path / "out", settings)
    labels = LabelSet.load(tmp_path / "out" / "labels.yaml")
    by_name = {c.name: c.id for c in labels.classes} | {"void": labels.void}
    assert by_name == ({"wall": 1, "floor": 2, "void": 0} if shifted else {"wall": 0, "floor": 1, "void": 255})
    items = list(DatasetFolder(tmp_path / "out", "val"))
    assert [item.name for item in items] == ["1305.0", "1305.1"]
    for item in items:
        rows = item.labels[:, 0].tolist()
        assert rows == [by_name["floor"]] * 20 + [by_name["void"]] * 20 + [by_name["wall"]] * 20
    assert check_folder(tmp_path / "out", labels).errors == []


@pytest.mark.parametrize("labelled", [0, 1])
def test_a_folder_of_ours_may_be_labelled_in_part_or_not_at_all(tmp_path: Path, labelled: int) -> None:
    own_folder(tmp_path / "theirs")
    files = sorted((tmp_path / "theirs" / "label40").iterdir())
    for file in files[labelled:]:
        file.unlink()
    import_folder(tmp_path / "theirs", "folder", tmp_path / "out", ImportSettings(depth_unit_mm=10))
    items = list(DatasetFolder(tmp_path / "out"))
    assert len(items) == len(files) and sum(item.labels is not None for item in items) == labelled


def test_lines_to_paste_survive_a_folder_with_a_space(tmp_path: Path) -> None:
    own_folder(tmp_path / "theirs")
    said = run("prepare", "import", "--layout", "folder", "--from", tmp_path / "theirs", "--out", tmp_path / "my room")
    (line,) = [line for line in said.stdout.splitlines() if line.startswith("next: ")]
    assert shlex.split(line)[1:] == ["python", "-m", "lcr_seg_ros", "check-data", str(tmp_path / "my room")]


def test_an_import_goes_on_and_takes_up_what_changed(tmp_path: Path) -> None:
    rgbx_folder(tmp_path / "theirs")
    import_folder(tmp_path / "theirs", "rgb_hha_label", tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.png")}
    cv2.imwrite(str(tmp_path / "theirs" / "Label" / "1.png"), np.full((60, 80), 7, np.uint8))
    import_folder(tmp_path / "theirs", "rgb_hha_label", tmp_path / "out")
    changed = {p for p in before if p.stat().st_mtime_ns != before[p]}
    assert {p.stem for p in changed} == {"1"}
    assert (DatasetFolder(tmp_path / "out")[1].labels == 7).all()


def test_folders_that_are_not_what_they_are_called_are_answered(tmp_path: Path) -> None:
    write_folder(folder_frames(1), tmp_path / "ours")
    for layout, said in (("fcn", "no data/images/"), ("rgb_hha_label", "no RGB/ and Label/"), ("esanet", "train/rgb")):
        with pytest.raises(SourceError, match=said):
            import_folder(tmp_path / "ours", layout, tmp_path / "out")
    with pytest.raises(SourceError, match="no folder"):
        import_folder(tmp_path / "nowhere", "fcn", tmp_path / "out")
    rgbx_folder(tmp_path / "theirs")
    with pytest.raises(SourceError, match="is the folder that is read"):
        import_folder(tmp_path / "theirs", "rgb_hha_label", tmp_path / "theirs")
    (tmp_path / "theirs" / "Label" / "2.png").unlink()
    with pytest.raises(SourceError, match="every image needs its labels"):
        import_folder(tmp_path / "theirs", "rgb_hha_label", tmp_path / "out")


# --- Own classes ----------------------------------------------------------------------------------------------------


def test_relabelled_folders_share_their_images_and_carry_their_label_set(tmp_path: Path) -> None:
    write_folder(folder_frames(3), tmp_path / "fine", split="val")
    run("prepare", "relabel", "--data", tmp_path / "fine", "--labels", "nyu4", "--out", tmp_path / "coarse")
    table = load_grouping("nyu4", NYU40)[1]
    folder = DatasetFolder(tmp_path / "coarse", "val")
    for before, after in zip(DatasetFolder(tmp_path / "fine"), folder, strict=True):
        assert np.array_equal(after.labels, table[before.labels])
        assert np.array_equal(after.frame.depth_m, before.frame.depth_m)
    assert LabelSet.load(tmp_path / "coarse" / "labels.yaml") == LabelSet.load("nyu4")
    answer = run(
        "prepare", "relabel", "--data", tmp_path / "fine", "--labels", "nyu4", "--out", tmp_path / "fine", code=1
    )
    assert "is the folder that is read" in answer.stderr


def test_a_relabelled_folder_keeps_hha_images_but_not_a_manifest_of_the_former_labels(tmp_path: Path) -> None:
    rgbx_folder(tmp_path / "theirs")
    import_folder(tmp_path / "theirs", "rgb_hha_label", tmp_path / "fine")
    assert (tmp_path / "fine" / "manifest.json").is_file()
    labels, table = load_grouping("nyu4", NYU40)
    relabel_folder(tmp_path / "fine", tmp_path / "coarse", labels, table)
    before, after = (files_in(tmp_path / folder) for folder in ("fine", "coarse"))
    hha = {name for name in before if name.startswith("hha/")}
    assert hha and {name: after.get(name) for name in hha} == {name: before[name] for name in hha}
    assert not {f.code for f in check_folder(tmp_path / "coarse", labels).findings} & {"changed", "manifest"}
    # Nor one that an earlier import left where the folder is written.
    import_folder(tmp_path / "theirs", "rgb_hha_label", tmp_path / "again")
    relabel_folder(tmp_path / "fine", tmp_path / "again", labels, table)
    assert not {f.code for f in check_folder(tmp_path / "again", labels).findings} & {"changed", "manifest"}


def test_a_folder_is_relabelled_from_its_own_classes(tmp_path: Path) -> None:
    write_folder(folder_frames(2), tmp_path / "own")
    swapped = {1: NYU40.classes[1].name, 2: NYU40.classes[0].name}  # wall and floor the other way round
    classes = tuple(replace(c, name=swapped.get(c.id, c.name)) for c in NYU40.classes)
    write_label_set(tmp_path / "own", LabelSet("rooms", classes))
    (tmp_path / "two.yaml").write_text(
        "name: two\nclasses: [{id: 7, name: a, color: [1, 2, 3], from: [wall]}, {id: 8, name: b, color: [3, 2, 1], "
        "from: [floor]}]\n"
    )
    own, two = tmp_path / "own", tmp_path / "two.yaml"
    words = ("prepare", "relabel", "--data", own, "--labels", two, "--out", tmp_path / "2")
    run(*words)
    for before, after in zip(DatasetFolder(own), DatasetFolder(tmp_path / "2"), strict=True):
        assert before.labels is not None and after.labels is not None
        for made, of in ((7, 2), (8, 1)):
            assert np.array_equal(after.labels == made, before.labels == of)
    answer = run(*words, "--data-labels", "nyu40", code=1)
    assert "1 is 'floor' in its labels.yaml and is 'wall' in label set nyu40: leave out --data-labels" in answer.stderr


def test_rooms_are_not_rendered_into_a_folder_of_other_frames(tmp_path: Path) -> None:
    words = ("prepare", "rooms", "--out", tmp_path, "--rooms", 1, "--frames", 2, "--width", 32, "--height", 24)
    run(*words)
    run(*words, "--labels", "nyu4")
    assert LabelSet.load(tmp_path / "labels.yaml") == LabelSet.load("nyu4")
    run(*words)
    assert not (tmp_path / "labels.yaml").exists(), "the same rooms again, in the 40 classes"
    (tmp_path / "rgb" / "recorded.png").write_bytes((tmp_path / "rgb" / "0000_00000.png").read_bytes())
    answer = run(*words, code=1)
    assert "holds 1 frames that are not of these rooms, first 'recorded': choose another --out" in answer.stderr


def test_rooms_are_not_rendered_over_others_of_another_size_and_leave_no_lists_of_an_earlier_division(
    tmp_path: Path,
) -> None:
    words = ["rooms", "--out", str(tmp_path), "--rooms", "2", "--frames", "1", "--height", "24"]
    assert CliRunner().invoke(command, [*words, "--width", "32", "--val-rooms", "1"]).exit_code == 0
    assert {p.name for p in tmp_path.glob("*.txt")} == {"all.txt", "fit.txt", "val.txt"}
    answer = CliRunner().invoke(command, [*words, "--width", "48"])
    assert "holds frames of 32x24, not 48x24: give --width 32 --height 24 to render these" in str(answer.exception)
    assert DatasetFolder(tmp_path)[0].frame.rgb.shape == (24, 32, 3), "they are as they were"
    assert CliRunner().invoke(command, [*words, "--width", "32"]).exit_code == 0
    assert {p.name for p in tmp_path.glob("*.txt")} == {"all.txt"}, "fit.txt would miss half of the rooms"


def test_the_list_of_what_can_be_prepared_has_whole_lines() -> None:
    listed = CliRunner().invoke(command, ["--help"]).output
    assert "Commands:" in listed and "..." not in listed.partition("Commands:")[2].partition("Examples:")[0]


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ("{id: 1, name: a, color: [1, 2, 3], from: [wal]}", "is to take 'wal', which 'nyu40' lacks"),
        ("{id: 1, name: a, color: [1, 2, 3], from: wall}", "must be a list"),
        ("{id: 1, name: a, color: [1, 2, 3]}", "'a' is made of no class"),
        (
            "{id: 1, name: a, color: [1, 2, 3], from: [wall]}, {id: 2, name: b, color: [1, 2, 3], from: [wall]}",
            "'wall' is taken by both 'a' and 'b'",
        ),
    ],
)
def test_a_grouping_that_cannot_be_is_answered(tmp_path: Path, classes: str, said: str) -> None:
    (tmp_path / "mine.yaml").write_text(f"name: mine\nclasses: [{classes}]\n")
    with pytest.raises(LabelSetError, match=re.escape(said)):
        load_grouping(str(tmp_path / "mine.yaml"), NYU40)


@pytest.mark.slow
def test_the_page_about_own_data_works_as_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/own_data.md: its label set and the commands of its example, word for word, on small images."""
    pytest.importorskip("lightning", reason="training needs the extra: pip install 'lcr_seg_ros[train]'")
    page = (ROOT / "docs" / "own_data.md").read_text()
    blocks = re.findall(r"```(\w+)\n(.*?)```", page, re.DOTALL)
    (tmp_path / "my_classes.yaml").write_text(next(text for kind, text in blocks if kind == "yaml"))
    example = next(text for kind, text in blocks if kind == "sh")
    smaller = "--set input.height=64 --set input.width=96 --set optimizer.batch_size=4 --threads 1"
    for line in example.strip().splitlines():
        words = shlex.split(line + (f" {smaller}" if " train " in line else ""))
        assert words[:3] == ["python", "-m", "lcr_seg_ros"]
        done = subprocess.run(
            [sys.executable, *words[1:]],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=200,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr[-3000:]}"
        if "check-data" in line:
            assert "free floor" in done.stdout
            assert "can be trained on" in done.stdout or "no faults" in done.stdout
        if "evaluate" in line:
            assert "obstacle" in done.stdout
    masks = [cv2.imread(str(p), -1) for p in (tmp_path / "runs" / "mine" / "labels" / "labels").glob("*.png")]
    assert len(masks) == 4
    assert set(np.unique(masks)) <= {1, 2, 3, 4}
