"""Label sets: what ships, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from lcr_seg_ros.errors import LabelSetError
from lcr_seg_ros.labels import LabelSet


def test_nyu40_has_the_forty_classes_in_the_order_of_the_data_set() -> None:
    labels = LabelSet.load("nyu40")
    assert labels.ids.tolist() == list(range(1, 41))
    assert labels.void == 0
    assert labels.names[:3] == ["wall", "floor", "cabinet"]
    assert labels.names[-1] == "otherprop"


def test_every_class_has_a_colour_of_its_own() -> None:
    for name in ("nyu40", "nyu4"):
        classes = LabelSet.load(name).classes
        assert len({c.color for c in classes}) == len(classes)


def test_the_groups_of_nyu40_are_the_classes_of_nyu4() -> None:
    assert {c.group for c in LabelSet.load("nyu40").classes} == set(LabelSet.load("nyu4").names)


def test_channels_and_ids_are_inverse_and_everything_else_maps_to_minus_one() -> None:
    labels = LabelSet.load("nyu40")
    table = labels.channel_of_id()
    assert table[labels.ids].tolist() == list(range(40))
    assert table[0] == table[255] == table[41] == -1


def test_a_label_set_survives_the_way_through_plain_values() -> None:
    labels = LabelSet.load("nyu4")
    assert LabelSet.from_dict(labels.to_dict()) == labels


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": []}, "has no classes"),
        ({"classes": [{"id": 0, "name": "a", "color": [0, 0, 0]}]}, "differ from void"),
        ({"classes": [{"id": 255, "name": "a", "color": [0, 0, 0]}]}, "ids are 0..254"),
        ({"classes": [{"id": 1, "name": "a", "color": [0, 300, 0]}]}, "three values"),
        ({"classes": [{"id": 1, "name": "a", "color": [0, 0]}]}, "three values"),
        (
            {"classes": [{"id": 1, "name": "a", "color": [0, 0, 0]}, {"id": 1, "name": "b", "color": [0, 0, 0]}]},
            "id 1 is used twice",
        ),
        ({"classes": [{"id": 1, "name": "a"}]}, "color"),
        ({"classes": 3}, "a label set needs"),
        ({"void": 1000, "classes": [{"id": 1, "name": "a", "color": [0, 0, 0]}]}, "void is 1000"),
        ({"void": -1, "classes": [{"id": 1, "name": "a", "color": [0, 0, 0]}]}, "void is -1"),
    ],
)
def test_contradictions_are_refused_and_named(change: dict[str, object], message: str) -> None:
    with pytest.raises(LabelSetError, match=message):
        LabelSet.from_dict({"name": "x", "void": 0, **change})


def test_an_unknown_name_lists_those_that_ship() -> None:
    with pytest.raises(LabelSetError, match="no label set 'cityscapes': give a YAML file or one of nyu4, nyu40"):
        LabelSet.load("cityscapes")


def test_a_file_that_is_not_yaml_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: [")
    with pytest.raises(LabelSetError, match=r"x\.yaml is not YAML"):
        LabelSet.load(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name: büro\nclasses: []".encode("latin-1"), r"mine\.yaml is not UTF-8 text: save it as UTF-8"),
        (b"name: a\nclasses: []\nclasses: []\n", r"mine\.yaml, line 3: 'classes' is there already, in line 2"),
        (b"name: [a", r"mine\.yaml is not YAML: line 1, column 9: .*; look for a bracket, quote, colon or indentation"),
        (b"name: a\x07", r"mine\.yaml is not YAML: unacceptable character #x0007: [^\n]* at position 7$"),
    ],
)
def test_a_file_that_cannot_be_read_as_meant_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_bytes(content)
    with pytest.raises(LabelSetError, match=message) as told:
        LabelSet.load(tmp_path / "mine.yaml")
    assert "\n" not in str(told.value), "one line"
