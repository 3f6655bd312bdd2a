"""Labels from labelling tools: what each export means in pixels, and what is said of exports that cannot be used."""

from __future__ import annotations

import base64
import json
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from test_cli import run
from turned_jpeg import quarter_turned

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.frame import CameraIntrinsics, RgbdFrame
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.sources.folder import DatasetFolder, write_folder
from lcr_seg_ros.sources.source import SourceFrame
from lcr_seg_ros.training.datasets.annotation_formats import detect_format
from lcr_seg_ros.training.datasets.annotations import ImportRules, import_annotations
from lcr_seg_ros.training.datasets.run_lengths import brush_mask, coco_mask

WIDTH, HEIGHT = 64, 48
WHOLE = {"x": 0, "y": 0, "width": 100, "height": 100}
INTRINSICS = CameraIntrinsics(60.0, 60.0, 31.5, 23.5, WIDTH, HEIGHT)
NYU40 = {c.name: c.id for c in LabelSet.load("nyu40").classes}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Five frames that nobody has labelled."""
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    depth = np.ones((HEIGHT, WIDTH), np.float32)
    frames = [SourceFrame(f"{k:06d}", RgbdFrame(rgb, depth, INTRINSICS)) for k in range(1, 6)]
    write_folder(frames, tmp_path / "mine")  # type: ignore[arg-type]
    return tmp_path / "mine"


def labels_of(data: Path, name: str = "000001") -> np.ndarray:
    image = cv2.imread(str(data / "label40" / f"{name}.png"), cv2.IMREAD_UNCHANGED)
    assert image is not None and image.dtype == np.uint8
    return image


def box(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def write_labelme(path: Path, *shapes: dict[str, Any], width: int = WIDTH, height: int = HEIGHT) -> Path:
    content = {"version": "5.5.0", "shapes": shapes, "imagePath": "x.png", "imageWidth": width, "imageHeight": height}
    path.write_text(json.dumps(content))
    return path


def polygon(label: str, *points: tuple[float, float]) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": "polygon"}


def rectangle(label: str, left: float, top: float, right: float, bottom: float) -> dict[str, Any]:
    return {"label": label, "points": [[left, top], [right, bottom]], "shape_type": "rectangle"}


def runs_of(mask: np.ndarray) -> list[int]:
    """Uncompressed counts of COCO, one pixel at a time."""
    counts, value = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    return counts


def coco_text(counts: list[int]) -> str:
    """As the COCO API packs counts into a text."""
    text = ""
    for i, count in enumerate(counts):
        value, more = count - (counts[i - 2] if i > 2 else 0), True
        while more:
            code = value & 31
            value >>= 5
            more = value != (-1 if code & 16 else 0)
            text += chr((code | 32 if more else code) + 48)
    return text


def brush_numbers(mask: np.ndarray) -> list[int]:
    """Label Studio's stream of bits: runs as equal values, single pixels as lists of values."""
    values = np.repeat(mask.ravel().astype(np.uint8) * 255, 4)
    bits = f"{values.size:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    place = 0
    while place < values.size:
        end = place
        while end < values.size and values[end] == values[place] and end - place < 65536:
            end += 1
        if end - place > 4:
            bits += f"1{3:02b}{end - place - 1:016b}{values[place]:08b}"
        else:
            end = min(place + 4, values.size)
            bits += f"0{0:02b}{end - place - 1:03b}" + "".join(f"{v:08b}" for v in values[place:end])
        place = end
    bits += "0" * (-len(bits) % 8)
    return [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]


masks = st.integers(0, 2**32).map(lambda seed: np.random.default_rng(seed).random((7, 9)) < (seed % 11) / 10)


@given(masks)
def test_run_lengths_of_coco_and_of_label_studio_give_the_mask_they_were_made_of(mask: np.ndarray) -> None:
    counts = runs_of(mask)
    assert np.array_equal(coco_mask(counts, 9, 7), mask)
    assert np.array_equal(coco_mask(coco_text(counts), 9, 7), mask)
    assert np.array_equal(brush_mask(brush_numbers(mask), 9, 7), mask)


def test_the_text_of_a_known_coco_mask() -> None:
    # The pair that tests of other readers of the format hold.
    assert coco_text([6, 1, 40, 4, 5, 4, 5, 4, 21]) == "61X13mN000`0"
    assert coco_mask("61X13mN000`0", 9, 10).sum() == 1 + 4 + 4 + 4


@given(st.binary(max_size=60))
def test_damaged_run_lengths_are_refused_and_never_crash(noise: bytes) -> None:
    for read, content in ((coco_mask, noise.decode("latin-1")), (brush_mask, list(noise))):
        with suppress(SourceError):
            assert read(content, 9, 7).shape == (7, 9)  # type: ignore[operator]


def test_labelme_paints_its_shapes_in_order_and_leaves_the_rest_void(data: Path) -> None:
    patch = np.zeros((6, 10), np.uint8)
    patch[2:4] = 255
    png = base64.b64encode(cv2.imencode(".png", patch)[1].tobytes()).decode()
    write_labelme(
        data / "rgb" / "000001.json",
        rectangle("wall", 0, 0, 64, 20),
        polygon("chair", (10, 10), (30, 10), (30, 40), (10, 40)),
        {"label": "lamp", "points": [[50, 30], [50, 35]], "shape_type": "circle"},
        {"label": "Books", "points": [[40, 40], [49, 45]], "shape_type": "mask", "mask": png},
        {"label": "wall", "points": [[1, 1], [5, 5]], "shape_type": "line"},
    )
    assert import_annotations(data, data / "rgb").frames == ["000001"]
    labels = labels_of(data)
    chair, lamp = labels == NYU40["chair"], labels == NYU40["lamp"]
    assert np.array_equal(labels == NYU40["wall"], box(0, 0, 64, 20) & ~chair)
    assert chair[box(11, 11, 29, 39)].all() and not chair[~box(9, 9, 32, 42)].any()
    assert lamp.sum() == pytest.approx(np.pi * 25, rel=0.15)
    assert np.array_equal(labels == NYU40["books"], box(40, 42, 50, 44))
    assert (labels[~(chair | lamp | box(0, 0, 64, 20) | box(40, 42, 50, 44))] == 0).all()


def coco_file(path: Path, annotations: list[dict[str, Any]]) -> Path:
    images = [{"id": k, "file_name": f"images/{k:06d}.png", "width": WIDTH, "height": HEIGHT} for k in (1, 2, 3)]
    categories = [{"id": 7, "name": "floor"}, {"id": 9, "name": "night_stand"}]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def test_coco_reads_polygons_and_both_run_lengths_and_small_things_lie_on_large_ones(data: Path) -> None:
    stand = box(20, 20, 30, 30)
    counts = {"size": [HEIGHT, WIDTH], "counts": runs_of(stand)}
    text = {"size": [HEIGHT, WIDTH], "counts": coco_text(runs_of(stand))}
    outline = [[0, 0, 63, 0, 63, 47, 0, 47]]
    source = coco_file(
        data.parent / "coco.json",
        [
            {"image_id": 1, "category_id": 9, "segmentation": counts, "area": 100, "iscrowd": 1},
            {"image_id": 1, "category_id": 7, "segmentation": outline, "area": 3000},
            {"image_id": 2, "category_id": 9, "segmentation": text, "area": 100},
        ],
    )
    done = import_annotations(data, source)
    assert (done.frames, done.without_regions) == (["000001", "000002"], 1)
    assert np.array_equal(labels_of(data) == NYU40["night stand"], stand)
    assert (labels_of(data)[~stand & box(1, 1, 63, 47)] == NYU40["floor"]).all()
    assert np.array_equal(labels_of(data, "000002"), np.where(stand, NYU40["night stand"], 0))


def test_coco_boxes_without_an_outline_are_filled_and_what_has_neither_is_told(
    data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source = coco_file(
        data.parent / "coco.json",
        [
            {"image_id": 1, "category_id": 9, "segmentation": [], "area": 100, "bbox": [20, 30, 10, 8]},
            {"image_id": 1, "category_id": 7, "bbox": [0, 0, 40, 40]},
            {"image_id": 2, "category_id": 7, "bbox": [5, 5, 3.0, 2.0], "segmentation": None},
            {"image_id": 2, "category_id": 7, "segmentation": [], "bbox": [5, 5, 0, 0]},
        ],
    )
    assert import_annotations(data, source).frames == ["000001", "000002"]
    stand = box(20, 30, 30, 38)
    assert np.array_equal(labels_of(data) == NYU40["night stand"], stand)
    assert np.array_equal(labels_of(data) == NYU40["floor"], box(0, 0, 40, 40) & ~stand)
    assert np.array_equal(labels_of(data, "000002") == NYU40["floor"], box(5, 5, 8, 7))
    assert "1 of kind bbox" in caplog.text


def test_a_folder_of_coco_is_read_as_cvat_and_others_lay_it_out(data: Path) -> None:
    """CVAT's "COCO 1.0", unpacked, has a file for each subset in annotations/."""
    outline = [[0, 0, 63, 0, 63, 47, 0, 47]]
    regions = [{"image_id": k, "category_id": 7, "segmentation": outline, "area": 3000} for k in (1, 2)]
    for layout in ("cvat/annotations", "plain"):
        folder = data.parent / layout
        folder.mkdir(parents=True)
        for subset, region in zip(("train", "val"), regions, strict=True):
            file = coco_file(folder / f"instances_{subset}.json", [region])
            content = json.loads(file.read_text())
            content["images"] = [image for image in content["images"] if image["id"] == region["image_id"]]
            file.write_text(json.dumps(content))
        assert import_annotations(data, data.parent / layout.split("/")[0]).frames == ["000001", "000002"]
        assert (labels_of(data, "000002") == NYU40["floor"]).mean() > 0.9


def test_labelme_without_sizes_has_those_of_the_images(data: Path) -> None:
    file = write_labelme(data / "rgb" / "000001.json", rectangle("wall", 0, 0, 64, 20))
    file.write_text(json.dumps(json.loads(file.read_text()) | {"imageWidth": None, "imageHeight": None}))
    import_annotations(data, data / "rgb")
    assert np.array_equal(labels_of(data) == NYU40["wall"], box(0, 0, 64, 20))
    file.rename(data / "rgb" / "elsewhere.json")
    with pytest.raises(SourceError, match=r"elsewhere\.json: image 'x\.png' is NonexNone px"):
        import_annotations(data, data / "rgb")


def test_exports_of_cvat_and_label_studio_that_are_not_read_are_named_with_the_one_to_choose(data: Path) -> None:
    folder = data.parent / "cvat"
    folder.mkdir()
    (folder / "annotations.xml").write_text("<annotations><version>1.1</version></annotations>")
    for source in (folder, folder / "annotations.xml"):
        with pytest.raises(SourceError, match=r"annotations\.xml is XML, as CVAT's own .* 'COCO 1\.0' or as 'Segm"):
            import_annotations(data, source)
    minimal = data.parent / "min.json"
    minimal.write_text(json.dumps([{"image": "000001.png", "id": 1, "label": [], "annotator": 1, "lead_time": 2.5}]))
    with pytest.raises(SourceError, match=r"is Label Studio's JSON-MIN, .*: export as JSON"):
        import_annotations(data, minimal)


def test_a_mistyped_name_of_map_or_ignore_is_told(data: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_labelme(data / "rgb" / "000001.json", rectangle("wall", 0, 0, 64, 20), rectangle("Floor", 0, 20, 64, 30))
    rules = ImportRules(renamed={"wal": "door", "wall": "wall"}, ignored=("floor", "night lamp"))
    import_annotations(data, data / "rgb", rules=rules)
    assert [record.getMessage() for record in caplog.records] == [
        "--map wal: the export has no such name; is 'wall' meant?",
        "--ignore 'night lamp': the export has no such name; the export has Floor, wall",
    ]


def labelstudio_task(file: str, *results: dict[str, Any]) -> dict[str, Any]:
    size = {"original_width": WIDTH, "original_height": HEIGHT}
    return {
        "id": 1,
        "data": {"image": file},
        "annotations": [
            {"result": [{**size, "type": next(k for k in r if k.endswith("labels")), "value": r} for r in results]}
        ],
    }


def test_label_studio_reads_brush_polygon_and_rectangle_and_strips_the_prefix_of_uploads(data: Path) -> None:
    brush = box(3, 4, 17, 9)
    task = labelstudio_task(
        "/data/upload/1/0a1b2c3d-000004.png",
        {"rectanglelabels": ["floor"], "x": 50, "y": 50, "width": 25, "height": 25, "rotation": 0},
        {"polygonlabels": ["chair"], "points": [[80, 80], [95, 80], [95, 95], [80, 95]]},
        {"brushlabels": ["wall"], "format": "rle", "rle": brush_numbers(brush)},
    )
    source = data.parent / "project.json"
    source.write_text(json.dumps([task, {"id": 2, "data": {"image": "000005.png"}, "annotations": []}]))
    assert import_annotations(data, source).frames == ["000004"]
    labels = labels_of(data, "000004")
    assert np.array_equal(labels == NYU40["wall"], brush)
    assert np.array_equal(labels == NYU40["floor"], box(32, 24, 48, 36))
    assert (labels == NYU40["chair"]).sum() == pytest.approx(0.15 * WIDTH * 0.15 * HEIGHT, rel=0.25)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("/data/local-files/?d=000001.png", "000001"),
        ("/data/local-files/?d=my%20room%2Frgb%2F000001.png", "000001"),
        ("/data/local-files/?d=rgb/my+room.png", "my+room"),
        ("/data/local-files/?d=rooms\\rgb\\my room.png", "my room"),
        ("http://127.0.0.1:9000/bucket/my%20room.png", "my room"),
        ("/data/upload/1/0a1b2c3d-my%20room.png", "my room"),
        ("s3://bucket/50%25.png", "50%"),
        ("50%25.png", "50%25"),
        ("[strange://000001.png", "000001"),
    ],
)
def test_files_of_label_studio_are_found_by_the_name_in_their_address(data: Path, file: str, name: str) -> None:
    """A name that is there as it stands goes before what it could be decoded to."""
    for other in ("my room", "my+room", "50%", *(["50%25"] if name == "50%25" else [])):
        (data / "rgb" / f"{other}.png").write_bytes((data / "rgb" / "000001.png").read_bytes())
    source = data.parent / "project.json"
    source.write_text(json.dumps([labelstudio_task(file, {"rectanglelabels": ["floor"], **WHOLE})]))
    assert import_annotations(data, source).frames == [name]


def test_label_studio_reads_ellipses_and_names_that_stand_apart_from_their_regions(data: Path) -> None:
    def part(kind: str, number: str, **value: Any) -> dict[str, Any]:
        return {"type": kind, "id": number, "original_width": WIDTH, "original_height": HEIGHT, "value": value}

    square = [[25, 25], [75, 25], [75, 75], [25, 75]]
    turned = {"x": 50, "y": 50, "radiusX": 25, "radiusY": 100 / 8, "rotation": 90}
    results = (
        part("polygon", "a", points=square),
        part("labels", "a", points=square, labels=["wall"]),
        part("ellipselabels", "b", **turned, ellipselabels=["chair"]),
        part("keypointlabels", "c", x=1, y=1, width=1, keypointlabels=["bed"]),
    )
    task = {"id": 1, "data": {"image": "/data/000001.png"}, "annotations": [{"result": results}]}
    (data / "export.json").write_text(json.dumps([task]))
    import_annotations(data, data / "export.json")
    labels = labels_of(data)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    # Of 16 by 6 pixels, turned: upright, and as long as percents of the width make it.
    inside = ((x - WIDTH / 2) / (HEIGHT / 8)) ** 2 + ((y - HEIGHT / 2) / (WIDTH / 4)) ** 2
    assert (labels[inside < 0.8] == NYU40["chair"]).all() and (labels[inside > 1.3] != NYU40["chair"]).all()
    assert (labels[13:35, 17:24] == NYU40["wall"]).all() and (labels[:, :15] == 0).all()
    assert NYU40["bed"] not in labels


def test_labelme_rectangles_of_four_corners_are_filled(data: Path) -> None:
    corners = [[10, 10], [30, 10], [30, 20], [10, 20]]
    shape = {"label": "wall", "points": corners, "shape_type": "rectangle"}
    import_annotations(data, write_labelme(data / "000001.json", shape))
    assert (labels_of(data)[11:19, 11:29] == NYU40["wall"]).all()


def test_masks_of_labelme2voc_are_read_by_vocs_palette(data: Path) -> None:
    export = data / "voc"
    (export / "SegmentationClassPNG" / "train").mkdir(parents=True)
    (export / "class_names.txt").write_text("_background_\nwall\nfloor\n")
    mask = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    mask[:10], mask[10:20], mask[20:25] = (128, 0, 0), (0, 128, 0), (224, 224, 192)  # ids 1, 2 and 255
    cv2.imwrite(str(export / "SegmentationClassPNG" / "train" / "000001.png"), mask[..., ::-1])
    import_annotations(data, export)
    rows = labels_of(data)[:, 0]
    assert rows.tolist() == [NYU40["wall"]] * 10 + [NYU40["floor"]] * 10 + [0] * (HEIGHT - 20)


def test_masks_of_one_name_in_two_subsets_are_refused(data: Path) -> None:
    for subset in ("train", "val"):
        folder = data.parent / "cvat" / "SegmentationClass" / subset
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "000001.png"), np.ones((HEIGHT, WIDTH), np.uint8))
    with pytest.raises(SourceError, match=r"has '000001' more than once, .*train/000001\.png and .*val/000001\.png"):
        import_annotations(data, data.parent / "cvat")
    assert not (data / "label40").exists()


def test_masks_are_read_by_cvats_colours_by_those_of_the_label_set_and_as_ids(data: Path) -> None:
    export = data.parent / "cvat"
    (export / "SegmentationClass").mkdir(parents=True)
    (export / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\nchair:10,20,30::\n")
    colored = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    colored[box(1, 2, 30, 40)] = (30, 20, 10)  # blue first
    cv2.imwrite(str(export / "SegmentationClass" / "000001.png"), colored)
    import_annotations(data, export)
    assert np.array_equal(labels_of(data), np.where(box(1, 2, 30, 40), NYU40["chair"], 0))

    plain = data.parent / "plain"
    plain.mkdir()
    ids = np.where(box(5, 5, 9, 9), NYU40["bed"], 0).astype(np.uint8)
    palette = LabelSet.load("nyu40").palette
    cv2.imwrite(str(plain / "000002.png"), palette[ids][:, :, ::-1])
    cv2.imwrite(str(plain / "000003.png"), ids)
    import_annotations(data, plain)
    assert np.array_equal(labels_of(data, "000002"), ids)
    assert np.array_equal(labels_of(data, "000003"), ids)


def test_new_classes_get_ids_that_stay_when_more_is_labelled(data: Path) -> None:
    write_labelme(data / "rgb" / "000001.json", rectangle("shelf", 0, 0, 9, 9), rectangle("pallet", 9, 9, 20, 20))
    import_annotations(data, data / "rgb", rules=ImportRules("new"))
    first = {c["name"]: c["id"] for c in yaml.safe_load((data / "labels.yaml").read_text())["classes"]}
    assert first == {"pallet": 1, "shelf": 2}
    write_labelme(data / "rgb" / "000002.json", rectangle("forklift", 0, 0, 9, 9), rectangle("Pallet", 9, 9, 20, 20))
    import_annotations(data, data / "rgb", rules=ImportRules("new"))
    again = LabelSet.load(data / "labels.yaml")
    assert {c.name: c.id for c in again.classes} == {"pallet": 1, "shelf": 2, "forklift": 3}
    assert len({c.color for c in again.classes}) == 3
    assert labels_of(data, "000002")[10, 10] == 1


def write_label_set_file(path: Path, void: int = 0, **ids: int) -> Path:
    classes = [{"id": i, "name": name, "color": [9, 9, i]} for name, i in ids.items()]
    path.write_text(yaml.safe_dump({"name": path.stem, "void": void, "classes": classes}))
    return path


def test_label_images_that_stay_keep_their_meaning_or_the_import_is_refused(data: Path) -> None:
    def label(number: int, name: str) -> Path:
        return write_labelme(data.parent / f"{number:06d}.json", rectangle(name, 0, 0, 9, 9))

    import_annotations(data, label(3, "wall"))  # nyu40, whose 1 it is
    other = str(write_label_set_file(data.parent / "other.yaml", sofa=1, robot=2))
    for rules in (ImportRules(other), ImportRules("new")):
        with pytest.raises(SourceError, match=r"1 label images .* first '000003', of label set 'nyu40', .*import all"):
            import_annotations(data, label(1, "robot"), rules=rules)
    assert not (data / "labels.yaml").exists() and not (data / "label40" / "000001.png").exists()
    import_annotations(data, label(3, "robot"), rules=ImportRules(other))  # all there are
    wider = str(write_label_set_file(data.parent / "wider.yaml", sofa=1, robot=2, lift=3))
    import_annotations(data, label(1, "lift"), rules=ImportRules(wider))
    assert labels_of(data)[5, 5] == 3 and labels_of(data, "000003")[5, 5] == 2


def test_new_classes_keep_the_void_of_those_before(data: Path) -> None:
    write_label_set_file(data / "labels.yaml", void=255, floor=0)
    source = write_labelme(data.parent / "000001.json", rectangle("lift", 0, 0, 9, 9))
    import_annotations(data, source, rules=ImportRules("new"))
    labels = LabelSet.load(data / "labels.yaml")
    assert (labels.void, {c.name: c.id for c in labels.classes}) == (255, {"floor": 0, "lift": 1})
    assert set(np.unique(labels_of(data)).tolist()) == {1, 255}


def test_names_without_a_class_stop_everything_and_are_mended_by_map_and_ignore(data: Path) -> None:
    for k in (1, 2):
        write_labelme(
            data / "rgb" / f"{k:06d}.json", rectangle("couch", 0, 0, 9, 9), rectangle("robot", 20, 20, 30, 30)
        )
    with pytest.raises(SourceError, match=r"no class for 'couch' \(2 regions.*'robot'.*--map couch=CLASS.*--ignore"):
        import_annotations(data, data / "rgb")
    assert not (data / "label40").exists()
    import_annotations(data, data / "rgb", rules=ImportRules(renamed={"couch": "sofa"}, ignored=("robot",)))
    assert set(np.unique(labels_of(data)).tolist()) == {0, NYU40["sofa"]}


def test_a_class_named_background_is_one_where_the_label_set_has_it_or_it_is_renamed(data: Path) -> None:
    def ids(rules: ImportRules) -> set[int]:
        import_annotations(data, source, rules=rules)
        return set(np.unique(labels_of(data)).tolist())

    source = write_labelme(
        data.parent / "000001.json", rectangle("Background", 0, 0, WIDTH, HEIGHT), rectangle("robot", 0, 0, 9, 9)
    )
    having = str(write_label_set_file(data.parent / "having.yaml", void=255, background=0, robot=1))
    lacking = str(write_label_set_file(data.parent / "lacking.yaml", void=255, robot=1))
    assert ids(ImportRules(having)) == {0, 1}
    assert ids(ImportRules(having, ignored=("background",))) == {1, 255}
    assert ids(ImportRules(lacking)) == {1, 255}
    assert ids(ImportRules(lacking, renamed={"Background": "robot"})) == {1}
    (data / "labels.yaml").unlink()
    assert ids(ImportRules("new")) == {0, 1}  # void, and the robot
    assert ids(ImportRules("new", renamed={"Background": "floor"})) == {1, 2}


def test_frames_stay_in_their_list_when_more_is_labelled(data: Path) -> None:
    for k in (1, 2, 3):
        write_labelme(data / "rgb" / f"{k:06d}.json", rectangle("wall", 0, 0, 9, 9))
    import_annotations(data, data / "rgb", rules=ImportRules(val_share=0.4))
    assert (data / "fit.txt").read_text().split() == ["000001", "000002"]
    assert (data / "val.txt").read_text().split() == ["000003"]
    for k in (4, 5):
        write_labelme(data / "rgb" / f"{k:06d}.json", rectangle("wall", 0, 0, 9, 9))
    done = import_annotations(data, data / "rgb", rules=ImportRules(val_share=0.4))
    assert (data / "fit.txt").read_text().split() == ["000001", "000002", "000004"]
    assert (data / "val.txt").read_text().split() == ["000003", "000005"]
    assert (done.fit, done.val) == (3, 2)
    assert all(item.labels is not None for item in DatasetFolder(data, "fit"))


def test_a_single_labelled_frame_goes_to_fit(data: Path) -> None:
    write_labelme(data / "rgb" / "000002.json", rectangle("wall", 0, 0, 9, 9))
    import_annotations(data, data / "rgb")
    assert (data / "fit.txt").read_text().split() == ["000002"]
    assert not (data / "val.txt").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ("{}", "is not the JSON of labelme, COCO or Label Studio"),
        ('{"shapes": [], "imageWidth": 99999999, "imageHeight": 9}', "1..16384 are read"),
        ('{"shapes": [{}], "imageWidth": 64, "imageHeight": 48}', "is damaged, or is no labelme export"),
        ('{"shapes": [{"label": "wall", "points": [[1, 2], [1e30, 3], [4, 5]]}], "imageWidth": 64, "imageHeight": 48}',
         "far outside of any image"),
        ('{"images": [], "annotations": [{}], "categories": []}', "is damaged, or is no coco export"),
        ('{"images": [{"id": 1, "file_name": "000001.png", "width": 64, "height": 48}], '
         '"categories": [{"id": 1, "name": "wall"}], "annotations": [{"image_id": 1, "category_id": 1, '
         '"segmentation": {"size": [48, 64], "counts": [7]}}]}',
         "cover 7 pixels, the image has 64x48"),
        ('[{"annotations": [{"result": [{"original_width": 64}]}]}]', "is damaged, or is no labelstudio export"),
    ],
)  # fmt: skip
def test_exports_that_cannot_be_used_get_one_line(data: Path, content: str, said: str) -> None:
    source = data.parent / "000001.json"
    source.write_text(content)
    with pytest.raises(SourceError, match=said.replace(".", r"\.")):
        import_annotations(data, source)
    assert not list(data.glob("label40/*"))


def test_an_archive_is_to_be_unpacked(data: Path) -> None:
    with zipfile.ZipFile(data.parent / "export.zip", "w") as archive:
        archive.writestr("labelmap.txt", "")
    with pytest.raises(SourceError, match="unpack it"):
        import_annotations(data, data.parent / "export.zip")


def test_labels_of_other_images_or_of_another_size_are_refused(data: Path) -> None:
    source = data.parent / "export"
    source.mkdir()
    write_labelme(source / "strange.json", rectangle("wall", 0, 0, 9, 9))
    with pytest.raises(SourceError, match="no image of the export"):
        import_annotations(data, source)
    write_labelme(source / "000001.json", rectangle("wall", 0, 0, 9, 9), width=640, height=480)
    with pytest.raises(SourceError, match="is 64x48, but was 640x480 when it was labelled"):
        import_annotations(data, source)
    with pytest.raises(SourceError, match=r"no file or folder .*: give --from what the annotation tool exported"):
        import_annotations(data, data.parent / "nowhere")


def test_regions_lie_over_photos_as_the_reader_turns_them(data: Path) -> None:
    photo = data / "rgb" / "000001.png"
    photo.with_suffix(".jpg").write_bytes(quarter_turned(cv2.imencode(".jpg", cv2.imread(str(photo)))[1].tobytes()))
    photo.unlink()
    upright = write_labelme(data.parent / "000001.json", rectangle("wall", 0, 0, 9, 9), width=HEIGHT, height=WIDTH)
    with pytest.raises(SourceError, match="is 64x48, but was 48x64 when it was labelled"):  # depth lies as it is stored
        import_annotations(data, upright)
    shutil.rmtree(data / "depth")
    import_annotations(data, upright)
    assert labels_of(data).shape == (WIDTH, HEIGHT)


def test_formats_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    write_labelme(tmp_path / "a" / "x.json")
    assert detect_format(tmp_path / "a") == detect_format(tmp_path / "a" / "x.json") == "labelme"
    assert detect_format(coco_file(tmp_path / "c.json", [])) == "coco"
    (tmp_path / "l.json").write_text(json.dumps([labelstudio_task("x.png")]))
    assert detect_format(tmp_path / "l.json") == "labelstudio"
    (tmp_path / "m").mkdir()
    with pytest.raises(SourceError, match=r"neither \.json files"):
        detect_format(tmp_path / "m")
    cv2.imwrite(str(tmp_path / "m" / "x.png"), np.zeros((2, 2), np.uint8))
    assert detect_format(tmp_path / "m") == "masks"


def test_the_command_tells_shares_lists_and_what_comes_next(data: Path) -> None:
    for k in (1, 2, 3, 4, 5):
        write_labelme(data / "rgb" / f"{k:06d}.json", rectangle("couch", 0, 0, 32, 48))
    answer = run("prepare", "annotations", "--data", data, "--from", data / "rgb", "--map", "couch=sofa").stdout
    assert "50.0% sofa" in answer and "50.0% void" in answer
    assert "5 frames labelled with nyu40; fit 4, val 1" in answer
    assert f"check-data {data}" in answer
    bad = run("prepare", "annotations", "--data", data, "--from", data / "rgb", code=1)
    assert "no class for 'couch'" in bad.stderr and "Traceback" not in bad.stderr
