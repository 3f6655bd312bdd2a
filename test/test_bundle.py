"""Model bundles: what goes in comes out, and no damaged or foreign file is believed."""

from __future__ import annotations

import hashlib
import json
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_bundle import make_tiny_bundle, tiny_bundle

from lcr_seg_ros.bundle import InputSpec, ModelBundle, StoredModel, describe_model, find_model, shipped_models
from lcr_seg_ros.errors import BundleError
from lcr_seg_ros.preprocess import network_size


def rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The same bundle with a changed manifest."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(members["manifest.json"])
    change(manifest)
    members["manifest.json"] = json.dumps(manifest).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_a_bundle_survives_saving_and_loading(tmp_path: Path) -> None:
    bundle = replace(
        tiny_bundle(), training={"seed": 3}, scores={"val": {"mean_iou": 0.5, "per_class_iou": [None, 0.25]}}
    )
    assert ModelBundle.load(bundle.save(tmp_path / "a.lcrseg")) == bundle


def test_a_bundle_says_whether_its_network_takes_its_size_exactly_and_old_ones_say_no(tmp_path: Path) -> None:
    bundle = tiny_bundle()
    exact = replace(bundle, input=replace(bundle.input, is_exact=True))
    assert ModelBundle.load(exact.save(tmp_path / "exact.lcrseg")).input.is_exact
    assert not ModelBundle.load("nyu40").input.is_exact, "the file does not say"


class TestAnotherHeight:
    def test_the_width_follows_and_the_network_stays(self) -> None:
        bundle = replace(
            tiny_bundle(), scores={"val": {"mean_iou": 0.5}}, training={"seed": 3, "trial": {"data": None}}
        )
        before = bundle.input
        other = bundle.at_height(2 * before.height)
        assert other.input == replace(before, height=2 * before.height, width=2 * before.width)
        assert other.network == bundle.network and other.labels == bundle.labels

    def test_scores_of_the_size_before_are_dropped_and_that_size_is_recorded(self) -> None:
        bundle = replace(
            tiny_bundle(), scores={"val": {"mean_iou": 0.5}}, training={"seed": 3, "trial": {"data": None}}
        )
        trained_at = [bundle.input.height, bundle.input.width]
        for other in (bundle.at_height(64), bundle.at_height(64).at_height(96)):
            assert other.scores == {} and other.training == {"seed": 3, "trained_at": trained_at}

    @pytest.mark.parametrize("height", [0, 8, 5000])
    def test_one_that_no_network_takes_is_refused(self, height: int) -> None:
        with pytest.raises(BundleError, match=r"must be 32\.\.4096 px a side, got"):
            tiny_bundle().at_height(height)

    def test_frames_enter_the_network_at_it(self) -> None:
        bundle = tiny_bundle()
        for height in (48, 96):
            size = network_size(640, 480, bundle.at_height(height).input)
            assert min(size) == height and size[0] / size[1] == pytest.approx(4 / 3, rel=0.1)


def test_a_description_says_what_the_bundle_does_without_its_network(tmp_path: Path) -> None:
    bundle = tiny_bundle()
    described = describe_model(bundle.save(tmp_path / "a.lcrseg"))
    digest = hashlib.sha256(bundle.network).hexdigest()
    assert described == StoredModel(bundle.name, bundle.architecture, bundle.input, bundle.labels, digest)


def test_a_description_does_not_read_the_network(tmp_path: Path) -> None:
    path = make_tiny_bundle(tmp_path / "a.lcrseg")
    path.write_bytes(path.read_bytes().replace(b"probabilities", b"possibilities"))
    assert describe_model(path).name == "tiny"
    with pytest.raises(BundleError, match="CRC"):
        ModelBundle.load(path)


@pytest.mark.parametrize("missing", ["manifest.json", "network.onnx"])
def test_what_lacks_a_part_is_not_even_described(tmp_path: Path, missing: str) -> None:
    path = make_tiny_bundle(tmp_path / "a.lcrseg")
    path.write_bytes(path.read_bytes().replace(missing.encode(), missing.upper().encode()))
    with pytest.raises(BundleError, match=f"{missing} is missing: this is not a model bundle"):
        describe_model(path)


def test_the_same_bundle_is_written_with_the_same_bytes(tmp_path: Path) -> None:
    first, second = make_tiny_bundle(tmp_path / "a.lcrseg"), make_tiny_bundle(tmp_path / "b.lcrseg")
    assert first.read_bytes() == second.read_bytes()


def test_saving_leaves_no_draft_behind(tmp_path: Path) -> None:
    make_tiny_bundle(tmp_path / "a.lcrseg")
    assert [p.name for p in tmp_path.iterdir()] == ["a.lcrseg"]


@pytest.mark.parametrize("kept", [0, 1, 100, 0.5, -1])
def test_a_cut_file_is_refused_wherever_it_was_cut(tmp_path: Path, kept: float) -> None:
    path = make_tiny_bundle(tmp_path / "a.lcrseg")
    data = path.read_bytes()
    path.write_bytes(data[: int(kept * len(data))] if isinstance(kept, float) else data[:kept])
    with pytest.raises(BundleError, match=r"a\.lcrseg is not a model bundle or is cut"):
        ModelBundle.load(path)


def test_a_changed_network_is_noticed(tmp_path: Path) -> None:
    path = make_tiny_bundle(tmp_path / "a.lcrseg")
    with pytest.raises(BundleError, match="SHA-256"):
        ModelBundle.load(rewrite(path, lambda m: m.update(network_sha256="0" * 64)))


def test_a_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    witness = tmp_path / "ran"

    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return (witness.touch, ())

    path = tmp_path / "model.lcrseg"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(BundleError, match="is not a model bundle"):
        ModelBundle.load(path)
    assert not witness.exists()


def test_another_zip_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.lcrseg", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(BundleError, match=r"manifest\.json is missing"):
        ModelBundle.load(tmp_path / "x.lcrseg")


def test_a_list_of_members_of_any_size_is_not_read(tmp_path: Path) -> None:
    many, huge = tmp_path / "many.lcrseg", tmp_path / "huge.lcrseg"
    with zipfile.ZipFile(many, "w") as archive:
        for number in range(4000):
            archive.writestr(f"{number:08d}", b"")
    with huge.open("wb") as file:  # sparse: it claims a list of 4 GB and takes a few kB
        size = (4 << 30) - 2
        file.seek(size)
        file.write(struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, size, 0, 0))
    for path in (many, huge):
        tracemalloc.start()
        with pytest.raises(BundleError, match="list of members is longer than 131072 bytes"):
            describe_model(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
        tracemalloc.stop()


def test_a_zip_bomb_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.lcrseg", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", b" " * (64 << 20))
    with pytest.raises(BundleError, match="stored uncompressed"):
        ModelBundle.load(tmp_path / "x.lcrseg")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(format="lcr_seg_ros bundle 99"), "this version reads 'lcr_seg_ros bundle 1'"),
        (lambda m: m["labels"]["classes"].append(m["labels"]["classes"][0]), "id 1 is used twice"),
        (lambda m: m["labels"]["classes"][4].update(id=300), "ids are 0..254"),
        (lambda m: m.pop("labels"), "manifest is damaged"),
        (lambda m: m["input"].update(modality="thermal"), "modality must be one of rgb, hha, rgb_hha, got 'thermal'"),
        (lambda m: m["input"].update(mean=[0.0]), "6 means and 6 deviations"),
        (lambda m: m["input"].update(height=10**9), "px a side"),
        (lambda m: m["input"].update(height="tall"), "manifest is damaged"),
        (lambda m: m["input"].update(height=float("inf")), "manifest is damaged"),
        (lambda m: m["labels"]["classes"][4].update(id=float("inf")), "OverflowError"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused_with_the_reason(
    tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    path = rewrite(make_tiny_bundle(tmp_path / "a.lcrseg"), change)
    with pytest.raises(BundleError, match=message):
        ModelBundle.load(path)


def test_a_member_that_claims_more_than_the_file_has_is_refused(tmp_path: Path) -> None:
    whole = bytearray(make_tiny_bundle(tmp_path / "a.lcrseg").read_bytes())
    at = whole.rindex(b"PK\x01\x02", 0, whole.rindex(b"network.onnx"))
    whole[at + 20 : at + 28] = (1 << 30).to_bytes(4, "little") * 2  # within what may be read
    (tmp_path / "a.lcrseg").write_bytes(whole)
    with pytest.raises(BundleError, match=r"a\.lcrseg"):
        ModelBundle.load(tmp_path / "a.lcrseg")


@pytest.mark.parametrize("name", ["~nosuchuser/x.lcrseg", "x" * 5000, "a\0b.lcrseg"])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    with pytest.raises(BundleError, match="no model at"):
        ModelBundle.load(name)


def test_a_missing_model_lists_those_that_ship() -> None:
    with pytest.raises(BundleError, match="no model at nowhere; give the path"):
        find_model("nowhere")


def test_the_folder_of_a_run_and_a_checkpoint_are_answered_with_where_the_model_is(tmp_path: Path) -> None:
    make_tiny_bundle(tmp_path / "model.lcrseg")
    (tmp_path / "last.ckpt").write_bytes(b"PK")
    with pytest.raises(BundleError, match=r"is the folder of a run: its model is .*/model\.lcrseg"):
        ModelBundle.load(tmp_path)
    with pytest.raises(BundleError, match=r"is a checkpoint: make a model of it with `export --run .* --out NAME"):
        ModelBundle.load(tmp_path / "last.ckpt")


def test_the_shipped_models_load_and_carry_scores_recipe_and_notice() -> None:
    assert "nyu40" in shipped_models()
    for name in shipped_models():
        bundle = ModelBundle.load(name)
        assert find_model(name).stat().st_size <= 12 * 2**20
        assert bundle.training["recipe"]["loss"]["constraint"]["learnable"]
        assert bundle.scores["val"]["frames"] == 414
        assert "Silberman" in bundle.notice


def test_the_default_model_reaches_the_accuracy_that_was_asked_of_it() -> None:
    scores = ModelBundle.load("nyu40").scores["val"]
    assert scores["mean_iou"] >= 0.23
    assert scores["pixel_acc"] >= 0.60


def test_an_input_spec_knows_its_channels() -> None:
    spec = InputSpec("rgb_hha", 240, 320, (0,) * 6, (1,) * 6)
    assert (spec.channels, spec.uses_rgb, spec.uses_depth) == (6, True, True)
