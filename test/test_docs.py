"""The documentation: the site builds with strict links and asks nobody for anything, tutorials work as they stand."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import click
import pytest
import yaml
from shared_data import ROOT

import lcr_seg_ros
from lcr_seg_ros.bundle import ModelBundle
from lcr_seg_ros.cli import COMMANDS, group
from lcr_seg_ros.image_encodings import DEPTH_ENCODINGS
from lcr_seg_ros.ros.processes import ChildProcess, isolated_ros_environment

DOCS = ROOT / "docs"
TUTORIALS = sorted(p.stem for p in (DOCS / "tutorial").glob("*.md") if p.stem != "index")


# ------------------------------------------------------------------------------------------------ the site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    pytest.importorskip("mkdocs", reason="needs the pip extra docs")
    pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(ROOT / "mkdocs.yml"), "-d", str(folder)]
    with ChildProcess("mkdocs", command, os.environ | {"NO_MKDOCS_2_WARNING": "1"}) as mkdocs:
        assert mkdocs.wait(100) == 0, mkdocs.last_lines(40)
    return folder


class Requests(HTMLParser):
    """What a browser fetches for a page by itself: all but the links that a reader may follow."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        names = dict(attributes)
        followed = tag in ("a", "form") or names.get("rel") in ("canonical", "prev", "next")
        self.urls += [] if followed else [names[n] or "" for n in ("src", "href", "srcset", "data") if n in names]


def test_a_reader_of_the_site_sends_no_request_to_another_host(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        requests = Requests()
        requests.feed(page.read_text(encoding="utf-8"))
        elsewhere = [url for url in requests.urls if re.match(r"(\w+:)?//", url)]
        assert not elsewhere, f"{page}: {elsewhere}"
        # The theme's script would load these from elsewhere when a page has them.
        assert not re.search(r'class="mermaid"|data-md-component="source"', page.read_text(encoding="utf-8")), page
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(\w+:)?//", style.read_text(encoding="utf-8")), style


def test_the_reference_names_every_parameter_command_recipe_and_class(site: Path) -> None:
    from lcr_seg_ros.labels import LabelSet

    expected = {
        "parameters": yaml.safe_load((ROOT / "config/segment.yaml").read_text())["/**"]["ros__parameters"],
        "map_parameters": yaml.safe_load((ROOT / "config/map.yaml").read_text())["/**"]["ros__parameters"],
        "commands": COMMANDS,
        "recipes": [p.stem for p in (ROOT / "config" / "recipes").glob("*.yaml")],
        "classes": LabelSet.load("nyu40").names,
        "bundle": ["manifest.json", "network.onnx", "NOTICE.txt", "per_class_iou"],
        "diagnostics": ["masks_out_hz", "latency_ms_p95", "gravity_doubt"],
    }
    for page, names in expected.items():
        text = (site / "reference" / f"{page}.html").read_text(encoding="utf-8")
        assert not [name for name in names if name not in text], page


def test_every_entry_of_a_recipe_has_a_meaning(site: Path) -> None:
    rows = re.findall(r"<tr>(.*?)</tr>", (site / "reference" / "recipes.html").read_text(encoding="utf-8"), re.DOTALL)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in rows]
    entries = [row for row in cells if len(row) == 5]
    assert len(entries) > 60
    assert not [row[0] for row in entries if not row[4].strip()]


def test_the_page_of_topics_has_every_topic_that_the_node_names() -> None:
    page = (DOCS / "reference" / "topics.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([\w/~]+)`", page, re.MULTILINE))
    named = {
        topic
        for path in (ROOT / "lcr_seg_ros" / "ros").rglob("*.py")
        for topic in re.findall(r"\"(segmentation/\w+|~/\w+)\"", path.read_text(encoding="utf-8"))
    }
    assert named <= listed, f"docs/reference/topics.md lacks {sorted(named - listed)}"


def test_the_foxglove_layout_shows_topics_of_the_node_and_each_panel_once() -> None:
    text = (ROOT / "config" / "foxglove_layout.json").read_text()
    layout = json.loads(text)
    page = (DOCS / "reference" / "topics.md").read_text(encoding="utf-8")
    topics = set(re.findall(r"\"/([a-z_]+/[a-z_]+)\"", text))
    assert {"segmentation/overlay", "segmentation/points"} <= topics
    assert not [topic for topic in topics if f"`{topic}`" not in page]

    def panels(tree: dict | str) -> Iterator[str]:
        if isinstance(tree, str):
            yield tree
        else:
            yield from panels(tree["first"])
            yield from panels(tree["second"])

    assert sorted(panels(layout["layout"])) == sorted(layout["configById"])


def test_the_citation_file_names_this_version_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == lcr_seg_ros.__version__
    assert "Learnable contextual regularization" in citation["references"][0]["title"]


def test_every_link_to_a_file_in_the_texts_at_the_top_leads_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / name).read_text(encoding="utf-8"))
        assert not [target for target in targets if not (ROOT / target).exists()], name


@pytest.mark.parametrize("name", ["README.md", "docs/reference/topics.md"])
def test_every_encoding_that_depth_may_have_is_listed(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    (row,) = (line for line in lines if line.startswith("|") and "`depth_registered/image_rect`" in line)
    assert not [encoding for encoding in DEPTH_ENCODINGS if encoding not in row]


# ------------------------------------------------------------------------------------------------ command lines

CALL = re.compile(r"(?:python -m|ros2 run) lcr_seg_ros ([^`\n|]+)")
TEXTS = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "models" / "README.md", *sorted(DOCS.rglob("*.md"))]


def command_lines(text: str) -> list[list[str]]:
    """The arguments of each call of a command in a text, or in the examples of another's help."""
    joined = re.sub(r"\\\n\s*", " ", text)
    calls = [shlex.split(call, comments=True) for call in CALL.findall(joined)]
    return [call for call in calls if call[0] != "--version" and "NAME" not in call[:2]]


def parse(arguments: list[str]) -> None:
    """Let click read a command line, without running it.

    Raises:
        click.UsageError: no such command, option or choice.
    """
    command: click.Command = group
    name: str | None = "lcr_seg_ros"
    while isinstance(command, click.Group):
        name, found, arguments = command.resolve_command(click.Context(command), arguments)
        assert found is not None
        command = found
    command.make_context(name, arguments)


def test_the_camera_that_the_readme_plays_is_the_one_that_it_launches_the_node_for() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (play,) = (words for words in command_lines(text) if words[0] == "play")
    (namespace,) = (word.removeprefix("__ns:=") for word in play if word.startswith("__ns:="))
    assert "--loop" in play
    assert f"segment.launch.py camera:={play[play.index('--camera') + 1]} namespace:={namespace}" in text


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_line_in_the_texts_is_one_that_the_commands_take(path: Path) -> None:
    for arguments in command_lines(path.read_text(encoding="utf-8")):
        try:
            parse(arguments)
        except (click.UsageError, click.exceptions.Exit) as error:
            pytest.fail(f"{path.name}: {' '.join(arguments)}: {getattr(error, 'message', 'shows its help')}")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_example_in_a_commands_help_is_one_that_it_takes(name: str) -> None:
    _, command, _ = group.resolve_command(click.Context(group), [name])
    assert command is not None
    examples = command_lines(command.epilog or "")
    assert examples, f"{name} has no example"
    for arguments in examples:
        parse(arguments)


# ------------------------------------------------------------------------------------------------ tutorials

BLOCK = re.compile(r"^<!-- (run|save (\S+)) -->\n```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def script_of(page: Path, folder: Path) -> str:
    """A shell script of a page's blocks below `<!-- run -->`; what is below `<!-- save NAME -->` is in ``folder``."""
    # What a page leaves in the background ends with it.
    lines = ["set -euo pipefail", "trap 'jobs=$(jobs -p); [ -z \"$jobs\" ] || { kill $jobs; wait; }' EXIT"]
    for what, name, language, text in BLOCK.findall(page.read_text(encoding="utf-8")):
        if name:
            (folder / name).write_text(text)
        else:
            assert language == "sh", f"{page.name}: {what} is for sh"
            lines.append(text)
    return "\n".join(lines)


def made_by_first_labels(folder: Path, said: str) -> None:
    assert list((folder / "demo_output").glob("*.*"))
    assert len(list((folder / "room_labels" / "labels").glob("*.png"))) == 2
    assert "(480, 640) uint8" in said
    assert re.search(r"^\w+: \d+%, confidence 0\.\d+$", said, re.MULTILINE)


def made_by_own_camera(folder: Path, said: str) -> None:
    masks = re.findall(r"^[a-z ]+ \d+%, [a-z ]+ \d+%, [a-z ]+ \d+%$", said, re.MULTILINE)
    assert len(masks) == 3, said


def made_by_own_data(folder: Path, said: str) -> None:
    bundle = ModelBundle.load(folder / "runs" / "mine" / "model.lcrseg")
    assert bundle.labels.names == ["free floor", "wall", "seat", "obstacle"]
    assert "finetune" in json.dumps(bundle.training), "it started from the shipped model"
    assert [p.name for p in (folder / "copy" / "label40").iterdir()] == ["0000_00000.png"]
    assert "mean IU" in said
    assert list((folder / "runs" / "mine" / "pictures" / "sheets").glob("*.jpg"))


@pytest.mark.slow
@pytest.mark.parametrize("name", TUTORIALS)
def test_a_tutorial_works_as_it_stands(name: str, tmp_path: Path) -> None:
    pytest.importorskip("rclpy", reason="needs ROS 2's rclpy")
    if name == "own_data":
        pytest.importorskip("lightning", reason="needs the pip extra train")
    environment = isolated_ros_environment() | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    script = tmp_path / "page.sh"
    script.write_text(f"cd '{tmp_path}'\n{script_of(DOCS / 'tutorial' / f'{name}.md', tmp_path)}")
    with ChildProcess(name, ["bash", str(script)], environment) as page:
        assert page.wait(280) == 0, page.last_lines(60)
    globals()[f"made_by_{name}"](tmp_path, "\n".join(page.lines))
