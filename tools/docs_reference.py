"""Generates the reference pages of the site from the code: a hook of MkDocs (``mkdocs.yml``), run at each build.

The build fails if something cannot be found, read or imported. Needs the extras ``ros`` and ``docs``.
"""

from __future__ import annotations

import inspect
import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parent.parent
HELP_WIDTH = 110
SECTIONS = {"Args:": "Fields:", "Raises:": "Refused, with an error:"}
"""Headings of sections in docstrings, and their names on a page about files."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages to those in ``docs/``."""
    from lcr_seg_ros.ros.environment import prepare_ros_environment

    prepare_ros_environment()
    for uri, make in PAGES.items():
        files.append(File.generated(config, uri, content=make()))
    return files


# ---------------------------------------------------------------------------------------------------- the node


def parameters_page() -> str:
    from lcr_seg_ros.ros.parameters import DEFAULTS_FILE, SPECS

    intro = (
        "These are the parameters of the node `segment`; the node `map` has [a page of its "
        "own](map_parameters.md). Give them on the command line (`ros2 run ... --ros-args -p NAME:=VALUE`), in a "
        "parameter file (`params_file:=FILE` of the launch file) or, for the most common, as arguments of the launch "
        "file (`--show-args` lists these). Those marked *live* can also be changed while the node runs (`ros2 param "
        "set /segment NAME VALUE`), those marked *start only* not after the start, and the others only while the node "
        "is unconfigured. With [several cameras](../how_to/several_cameras.md), those marked *each camera* may differ "
        "from camera to camera, as `CAMERA.NAME`."
    )
    return _parameters("Parameters", intro, DEFAULTS_FILE, SPECS)


def map_parameters_page() -> str:
    from lcr_seg_ros.ros.map_parameters import MAP_DEFAULTS_FILE, MAP_SPECS

    intro = (
        "These are the parameters of the node `map`, which `map:=true` of the launch file or the command `map-node` "
        "starts ([A semantic map](../how_to/map.md)). They are read once, at its start, from the command line or from "
        "a parameter file (`map_params_file:=FILE` of the launch file)."
    )
    return _parameters("Parameters of the map", intro, MAP_DEFAULTS_FILE, MAP_SPECS)


def _parameters(title: str, intro: str, file: Path, specs: dict[str, Any]) -> str:
    """A page about one node's parameters: a table for each section of its file of defaults, and that file."""
    text = file.read_text(encoding="utf-8")
    defaults = yaml.safe_load(text)["/**"]["ros__parameters"]
    lines = [f"# {title}", "", intro]
    for heading, names in _sections_of(text, list(specs)):
        rows = [
            (
                f"`{name}`",
                f"`{json.dumps(defaults[name])}`",
                _allowed(specs[name]),
                _when(specs[name]),
                specs[name].description,
            )
            for name in names
        ]
        lines += [
            "",
            f"## {heading or 'Input'}",
            "",
            *_table(("name", "default", "type and range", "", "meaning"), rows),
        ]
    return "\n".join([*lines, "", "## The file of defaults", "", "```yaml", text.rstrip(), "```", ""])


def _sections_of(text: str, known: list[str]) -> Iterator[tuple[str, list[str]]]:
    """(heading, parameter names) in the order of the file, where a comment line by itself is a heading."""
    heading, names = "", []
    for line in text.splitlines():
        if comment := re.fullmatch(r" {4}# (.+)", line):
            if names:
                yield heading, names
            heading, names = comment[1].split(",")[0], []
        elif (entry := re.match(r" {4}(\w+):", line)) and entry[1] in known:
            names.append(entry[1])
    yield heading, names


def _when(spec: Any) -> str:
    """When a parameter can change, other than while the node is unconfigured, and whether cameras may differ in it."""
    marks = {"live": spec.live, "start only": spec.fixed, "each camera": spec.per_camera}
    return ", ".join(mark for mark, is_set in marks.items() if is_set)


def _allowed(spec: Any) -> str:
    if spec.choices:
        return ", ".join(f"`{choice}`" for choice in spec.choices)
    tuples = "list of str" if getattr(spec, "items", None) is str else "three float"
    kind = tuples if spec.type is tuple else spec.type.__name__
    return kind + (f", {spec.range[0]:g}..{spec.range[1]:g}" if spec.range else "")


def diagnostics_page() -> str:
    from lcr_seg_ros.ros import diagnostics

    return f"""# Diagnostics

Every `diagnostics_period` seconds, the node publishes a `diagnostic_msgs/DiagnosticArray` on `{diagnostics.TOPIC}`. Its
level is WARN while something is wrong, and the message says what; otherwise it is OK. `ros2 topic echo
{diagnostics.TOPIC}`, `rqt_runtime_monitor` and Foxglove show it (`rqt_robot_monitor` shows only what passed through a
`diagnostic_aggregator`). With several cameras, each has a status of its own.

{_markdown(diagnostics.__doc__.split(chr(10), 1)[1])}
"""


def cameras_page() -> str:
    from lcr_seg_ros.ros.camera_presets import CAMERAS

    columns = ("camera", "start the driver with", "colour", "depth", "camera_info", "IMU")
    rows = []
    for name, preset in CAMERAS.items():
        if name != "none":
            topics = (preset.rgb, preset.depth, preset.camera_info, preset.imu)
            given = [f"`{topic}`" if topic else "" for topic in topics]
            rows.append((f"`{name}`", f"`{preset.start}`" if preset.start else "", *given))
    namespaces = [
        f"`ros2 launch lcr_seg_ros segment.launch.py camera:={name}"
        + (f" namespace:={preset.namespace}`" if preset.namespace else "`")
        for name, preset in CAMERAS.items()
        if name != "none"
    ]
    return "\n".join(
        [
            "# Cameras",
            "",
            "What `camera:=NAME` of `segment.launch.py` stands for, and how to start the driver so that depth comes "
            "registered to colour. Topics are relative to the driver's namespace.",
            "",
            *_table(columns, rows),
            "",
            "To launch the node with each driver in its usual namespace:",
            "",
            *(f"- {line}" for line in namespaces),
            "",
            "For another driver, name the topics: `rgb:=/my/image depth:=/my/depth camera_info:=/my/camera_info`.",
            "",
        ]
    )


# ---------------------------------------------------------------------------------------------------- commands


def commands_page() -> str:
    from lcr_seg_ros.cli import COMMANDS, PROGRAM, group

    lines = [
        "# Commands",
        "",
        f"Each is `{PROGRAM} NAME`, `python -m {PROGRAM} NAME` or, in a workspace, `ros2 run {PROGRAM} NAME`.",
        "",
        "| exit code | |",
        "|---|---|",
        "| 0 | done |",
        "| 1 | something that you can fix: one line on stderr, `error: ...`, says what and how |",
        "| 2 | wrong usage: an option or a command that does not exist, a value out of range |",
        "| 130 | stopped by Ctrl-C before it was done; a last line says whether the same command goes on |",
        "",
        'Completion of commands and options: `eval "$(lcr_seg_ros --completion bash)"` in `~/.bashrc`, the same with '
        "`zsh` in `~/.zshrc`, and `lcr_seg_ros --completion fish > ~/.config/fish/completions/lcr_seg_ros.fish`.",
    ]
    front = click.Context(group, info_name=PROGRAM)
    for name, (_, extra, line) in COMMANDS.items():
        command = group.get_command(front, name)
        assert command is not None
        needs = f" Needs `pip install 'lcr_seg_ros[{extra}]'`." if extra else ""
        lines += ["", f"## {name}", "", f"{line[0].upper()}{line[1:]}.{needs}", "", *_help(command, name, front)]
        if isinstance(command, click.Group):
            parent = click.Context(command, info_name=name, parent=front)
            for sub_name in command.list_commands(parent):
                below = command.get_command(parent, sub_name)
                assert below is not None
                lines += ["", f"### {name} {sub_name}", "", *_help(below, sub_name, parent)]
    return "\n".join([*lines, ""])


def _help(command: click.Command, name: str, parent: click.Context) -> list[str]:
    context = click.Context(
        command, info_name=name, parent=parent, terminal_width=HELP_WIDTH, max_content_width=HELP_WIDTH
    )
    return ["```text", command.get_help(context), "```"]


# ---------------------------------------------------------------------------------------------------- training


def recipes_page() -> str:
    from lcr_seg_ros.resources import CONFIG
    from lcr_seg_ros.training.recipe import Recipe

    lines = [
        "# Recipes",
        "",
        "A recipe is a YAML file that decides everything about how a network turns out. Entries that it leaves out "
        "have the defaults below. On the command line of `train`, `SECTION.ENTRY=VALUE` changes an entry, as in "
        "`optimizer.epochs=30` (`--set SECTION.ENTRY=VALUE` is the same). A recipe that begins with `base: NAME` holds "
        "only what differs from that recipe. `train --recipe` takes the name of a recipe that ships, or your own file.",
    ]
    for section, model in _sections(Recipe):
        rows = [(f"`{name}`", *_field(field)) for name, field in model.model_fields.items() if not _model_of(field)]
        lines += ["", f"## {section or 'At the top'}", ""]
        lines += [_markdown(model.__doc__), ""] if model.__doc__ else []
        lines += _table(("entry", "type", "default", "range", "meaning"), rows)
    lines += ["", "## Recipes that ship with the package"]
    for path in sorted((CONFIG / "recipes").glob("*.yaml")):
        lines += ["", f"### {path.stem}", "", "```yaml", path.read_text(encoding="utf-8").rstrip(), "```"]
    return "\n".join([*lines, ""])


def _sections(model: type[BaseModel], name: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """(dotted name, model) of a recipe and, recursively, of its sections."""
    yield name, model
    for entry, field in model.model_fields.items():
        if below := _model_of(field):
            yield from _sections(below, f"{name}.{entry}".lstrip("."))


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    kinds = (field.annotation, *typing.get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)


def _field(field: FieldInfo) -> tuple[str, str, str, str]:
    kind = field.annotation.__name__ if isinstance(field.annotation, type) else str(field.annotation)
    kind = re.sub(r"\btyping\.|\bLiteral\[([^]]*)\]", lambda found: (found[1] or "").replace("'", ""), kind)
    default = "" if field.is_required() else f"`{_as_yaml(field.get_default(call_default_factory=True))}`"
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    bounds = [
        f"{sign} {getattr(limit, name):g}"
        for limit in field.metadata
        for name, sign in signs.items()
        if getattr(limit, name, None) is not None
    ]
    return f"`{kind}`", default, ", ".join(bounds), field.description or ""


def _as_yaml(value: Any) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def bundle_page() -> str:
    from lcr_seg_ros import bundle

    manifest = _shortened(bundle.ModelBundle.load("nyu40").manifest())
    return "\n".join(
        [
            "# Model bundles",
            "",
            _markdown(bundle.__doc__),
            "",
            f"The file's suffix is `{bundle.SUFFIX}`. The format is `{bundle.FORMAT}`; a manifest is at most "
            f"{bundle.MAX_MANIFEST_BYTES >> 20} MiB, a network {bundle.MAX_NETWORK_BYTES >> 30} GiB.",
            "",
            "## What it holds",
            "",
            _markdown(bundle.ModelBundle.__doc__),
            "",
            "## The input",
            "",
            _markdown(bundle.InputSpec.__doc__),
            "",
            "## A manifest",
            "",
            "That of the model `nyu40`, lists and records shortened:",
            "",
            "```json",
            json.dumps(manifest, indent=1),
            "```",
            "",
            "```python",
            "from lcr_seg_ros.bundle import ModelBundle",
            "",
            'bundle = ModelBundle.load("nyu40")  # or the path of a file',
            'print(bundle.scores["val"]["mean_iou"], bundle.notice)',
            "```",
            "",
        ]
    )


def _shortened(value: Any, depth: int = 0) -> Any:
    """A value with lists of more than six entries cut to two, and mappings from the fourth level on cut to four."""
    if isinstance(value, dict):
        cut = list(value.items()) if depth < 3 else list(value.items())[:4]
        shown = {name: _shortened(below, depth + 1) for name, below in cut}
        return shown | ({"...": "..."} if len(cut) < len(value) else {})
    if isinstance(value, list):
        return [_shortened(v, depth + 1) for v in value[: 2 if len(value) > 6 else 6]] + ["..."] * (len(value) > 6)
    return value


def classes_page() -> str:
    from lcr_seg_ros.labels import LabelSet
    from lcr_seg_ros.resources import CONFIG

    lines = [
        "# Classes",
        "",
        "Ids are the values of pixels in label images and in `segmentation/mask`; in the mask, 255 is a pixel without "
        "a label.",
    ]
    for path in sorted((CONFIG / "labels").glob("*.yaml"), key=lambda path: -path.stat().st_size):
        labels = LabelSet.load(path.stem).to_dict()
        lines += ["", f"## {labels['name']}", "", f"In annotations, {labels['void']} stands for no label.", ""]
        rows = [
            (str(entry["id"]), entry["name"], _swatch(entry["color"]), ", ".join(map(str, entry["color"])))
            for entry in labels["classes"]
        ]
        lines += _table(("id", "name", "", "colour (red, green, blue)"), rows)
    return "\n".join([*lines, ""])


def _swatch(color: list[int]) -> str:
    return f'<span style="background: rgb({", ".join(map(str, color))}); padding: 0 1.5em;"></span>'


def class_scores_page() -> str:
    from lcr_seg_ros.bundle import ModelBundle, shipped_models

    lines = [
        "# Class by class",
        "",
        "IU (intersection over union) of each class, as stored in the model files. A model that was trained on every "
        "frame has the scores of its trial, which was not: [The models that ship](../models.md).",
    ]
    for name in shipped_models():
        bundle = ModelBundle.load(name)
        for split, scores in bundle.scores.items():
            if "per_class_iou" not in scores:
                continue
            ranked = sorted(
                zip(bundle.labels.names, scores["per_class_iou"], strict=True), key=lambda row: -(row[1] or 0)
            )
            lines += [
                "",
                f"`{name}`, {scores['frames']} frames of `{split}`:",
                "",
                *_table(("class", "IU in %"), [(label, f"{100 * (iu or 0):.1f}") for label, iu in ranked]),
            ]
    return "\n".join([*lines, ""])


# ---------------------------------------------------------------------------------------------------- Markdown


def _table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in (columns, ["---"] * len(columns), *cells)]


def _markdown(docstring: str | None) -> str:
    """A docstring as Markdown, with its literals, references and sections converted."""
    if not docstring:
        raise ValueError("a docstring that a page of the site is made of is missing")
    text = inspect.cleandoc(docstring)
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", text)
    text = re.sub(r"``(.+?)``", r"`\1`", text)
    lines, inside = [], False
    for line in text.splitlines():
        if line in SECTIONS:
            lines, inside = [*lines, f"**{SECTIONS[line]}**", ""], True
        elif inside and (entry := re.fullmatch(r" {4}(\w[\w, ]*): (.+)", line)):
            lines.append(f"- *{entry[1]}*: {entry[2]}")
        else:
            inside = inside and (not line or line.startswith(" "))
            lines.append(line if not inside else line[4:] if line.startswith("        ") else line.strip())
    return "\n".join(lines)


PAGES = {
    "reference/parameters.md": parameters_page,
    "reference/map_parameters.md": map_parameters_page,
    "reference/diagnostics.md": diagnostics_page,
    "reference/cameras.md": cameras_page,
    "reference/commands.md": commands_page,
    "reference/recipes.md": recipes_page,
    "reference/bundle.md": bundle_page,
    "reference/classes.md": classes_page,
    "reference/class_scores.md": class_scores_page,
}
