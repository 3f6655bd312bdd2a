"""``check-data``: find faults of a dataset folder before training."""

from __future__ import annotations

from pathlib import Path

import click

from lcr_seg_ros.completion import complete_labels
from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.json_output import JsonOutput, json_option
from lcr_seg_ros.labels import LABELS_FILE, LabelSet, folder_label_set
from lcr_seg_ros.training.datasets.check import check_folder
from lcr_seg_ros.training.datasets.check_report import Finding, FolderReport

_SHOWN_FRAMES = 5
_BAR_WIDTH = 24


@click.command(
    epilog="""\b
Examples:
  python -m lcr_seg_ros check-data nyudv2
  python -m lcr_seg_ros check-data mine --labels mine/labels.yaml --json report.json"""
)
@click.argument("data", type=click.Path(path_type=Path), metavar="DIR")
@click.option(
    "--labels",
    shell_complete=complete_labels,
    help=f"shipped name or YAML file of the label set  [default: DIR/{LABELS_FILE}, else nyu40]",
)
@click.option("--limit", type=click.IntRange(min=1), help="read only so many frames, evenly spread")
@json_option("the report")
def command(data: Path, labels: str | None, limit: int | None, json_output: JsonOutput | None) -> None:
    """Look for faults that training would suffer from silently, and count the classes.

    Void confused with a class, ids that name no class, depth in another unit, sizes that differ, missing partners,
    empty or overlapping lists, unreadable images. Exit code 1 if there is an error.
    """
    chosen = _named_label_set(data, labels)
    report = check_folder(data, chosen or LabelSet.load("nyu40"), limit, assumed=chosen is None)
    click.echo(_table(report))
    for finding in report.findings:
        click.echo(_shown(finding))
    click.echo(_verdict(report))
    if json_output is not None:
        json_output.write(report.to_dict())
    if report.errors:
        raise click.exceptions.Exit(1)


def _named_label_set(data: Path, labels: str | None) -> LabelSet | None:
    """The label set that the user or the folder names; None if neither does."""
    if labels is not None:
        return LabelSet.load(labels)
    if not data.is_dir():
        raise SourceError(f"there is no folder {data}: give a dataset folder, whose rgb/ holds the images")
    return folder_label_set(data)


def _table(report: FolderReport) -> str:
    rows = report.frequencies()
    most = max((row["share"] for row in rows), default=0) or 1
    frames = _counted(report.frames, "frame")
    if not any(row["pixels"] for row in rows):
        lines, rows = [f"{frames}, no pixel annotated with a class of {report.labels.name}"], []
    else:
        lines = [f"{frames}; classes of {report.labels.name}, share of the annotated pixels:"]
    for row in rows:
        bar = "#" * round(_BAR_WIDTH * row["share"] / most)
        lines.append(
            f"  {row['id']:>3} {row['name']:<16} {100 * row['share']:6.2f} %  {row['frames']:>6} frames  {bar}".rstrip()
        )
    if rows:
        lines.append(f"  {report.labels.void:>3} {'(void)':<16} {100 * report.void_share:6.2f} % of all pixels")
    if report.depth:
        d = report.depth
        lines.append(
            f"depth, read as mm: median {d['median']:.0f}, 98 % within {d['percentile_1']:.0f}.."
            f"{d['percentile_99']:.0f}, holes {100 * d['holes']:.1f} %, {d['levels']:.0f} different values"
        )
    if report.splits:
        lines.append("lists: " + ", ".join(f"{name} {count}" for name, count in report.splits.items()))
    return "\n".join(lines)


def _shown(finding: Finding) -> str:
    text = f"{finding.severity}: {finding.text}"
    if finding.advice:
        text += f"\n    do: {finding.advice}"
    if finding.frames:
        more = len(finding.frames) - _SHOWN_FRAMES
        frames = ", ".join(finding.frames[:_SHOWN_FRAMES]) + (f" and {more} more" if more > 0 else "")
        text += f"\n    in: {frames}"
    return text


def _verdict(report: FolderReport) -> str:
    errors, warnings = _counted(len(report.errors), "error"), _counted(len(report.warnings), "warning")
    if report.errors:
        return f"{report.path}: {errors}, {warnings}: mend the errors before training"
    if report.warnings:
        return f"{report.path}: no errors, {warnings}: can be trained on"
    return f"{report.path}: no faults found"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
