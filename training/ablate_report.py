"""Tables and charts of an ablation: means and deviations over seeds, differences, published figures beside ours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import yaml

from lcr_seg_ros.files import replace_file
from lcr_seg_ros.training.ablate import RunResult
from lcr_seg_ros.training.ablate_grid import RESULTS_OF_OTHERS, Grid, GridError, PlannedRun
from lcr_seg_ros.training.plots import Series, curves_png, dots_png
from lcr_seg_ros.training.tables import csv_table, markdown_table

SCORES = {
    # key: (heading, path of keys in the scores of a run)
    "pixel_acc": ("pixel acc", ("pixel_acc",)),
    "mean_acc": ("mean acc", ("mean_acc",)),
    "mean_iou": ("mean IU", ("mean_iou",)),
    "fw_iou": ("fw IU", ("fw_iou",)),
    "boundary3_iou": ("mean IU within 3 px", ("boundary", "3", "mean_iou")),
    "boundary7_iou": ("mean IU within 7 px", ("boundary", "7", "mean_iou")),
    "rare_iou": ("mean IU of rare classes", ("rare_iou",)),
    "flicker": ("flicker", ("flicker",)),
}
CHARTED = ("mean_iou", "boundary3_iou", "flicker")

_LEGEND = (
    "Within k px: pixels that have a pixel of another class within k px in the annotation. Rare: classes that hold "
    "less than 1 % of the annotated pixels. Flicker: pixels that change class from frame to frame, motion not "
    "compensated."
)

Results = Mapping[str, RunResult]
"""Finished runs by digest."""


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1) of n values, in per cent; deviation is None for a single value."""

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Of values that are fractions of 1; None if there are none."""
        if not values:
            return None
        percent = [100 * v for v in values]
        return cls(fmean(percent), stdev(percent) if len(percent) > 1 else None, len(percent))

    @property
    def text(self) -> str:
        return f"{self.mean:.2f}" + ("" if self.deviation is None else f" ± {self.deviation:.2f}")

    @property
    def difference_text(self) -> str:
        """The mean with its sign, and the standard error of the mean."""
        if self.deviation is None:
            return f"{self.mean:+.2f}"
        return f"{self.mean:+.2f} ± {self.deviation / math.sqrt(self.count):.2f}"


def write_ablation_report(
    out: Path, grid: Grid, runs: Sequence[PlannedRun], results: Results, failures: Mapping[str, str], how: Sequence[str]
) -> None:
    """Write ``report.md``, ``runs.csv`` (one line per run), ``summary.csv`` (one line per point) and charts.

    If the grid names published tables, these stand beside our figures in the report and in ``tables.csv``: one line per
    score and row of a table, with ``table``, ``row``, ``score``, ``published``, the axes of the grid, ``ours_mean``,
    ``ours_deviation`` (over seeds, n - 1) and ``runs``, how many of ours finished. Scores are in per cent. What a table
    or we do not have is empty.

    Args:
        out: the folder; existing files are replaced, each whole or not at all.
        grid, runs: what was planned.
        results: of the runs finished so far, by digest.
        failures: reasons by digest.
        how: lines for the head of the report.

    Raises:
        GridError: the grid names published tables that cannot be read.
    """
    replace_file(out / "runs.csv", _runs_csv(runs, results, failures))
    replace_file(out / "summary.csv", _summary_csv(grid, runs, results))
    charts = _write_charts(out, grid, runs, results)
    finished = len({r.digest for r in runs} & results.keys())
    parts = [f"# Ablation: {grid.name}", grid.about]
    lines = [*how, f"{finished} of {len({r.digest for r in runs})} runs finished", *_made_by(runs, results)]
    parts.append("\n".join(f"- {line}" for line in lines))
    parts += ["## Mean and standard deviation over seeds, in %", _summary_table(grid, runs, results), _LEGEND]
    if grid.baseline is not None:
        fixed = ", ".join(f"{axis} {value}" for axis, value in grid.baseline.items())
        parts += [
            f"## Difference to {fixed}, in points",
            "Taken seed by seed; ± is the standard error of the mean over seeds. Lower is better for flicker only.",
            _difference_table(grid, runs, results),
        ]
    if grid.published is not None:
        published = _read_published(grid.published)
        rows = list(_compared_rows(published, runs, results))
        parts += _published_tables(published, rows)
        replace_file(out / "tables.csv", _tables_csv(grid, rows))
    parts += [f"![{name}](figures/{name}.png)" for name in charts]
    if failures:
        titles = {r.digest: r.title for r in runs}
        parts += ["## Runs that failed", "\n".join(f"- {titles.get(d, d)}: {why}" for d, why in failures.items())]
    replace_file(out / "report.md", ("\n\n".join(p for p in parts if p) + "\n").encode())


def values_of(runs: Sequence[PlannedRun], results: Results, point: Mapping[str, str], score: str) -> dict[int, float]:
    """A score, as a fraction of 1, of the finished runs at a point, by seed."""
    found = {}
    for run in runs:
        if run.point == point and run.digest in results:
            value = _look_up(results[run.digest].scores, SCORES[score][1])
            if value is not None:
                found[run.recipe.seed] = value
    return found


def _look_up(scores: Any, keys: Sequence[str]) -> float | None:
    for key in keys:
        scores = scores.get(key) if isinstance(scores, dict) else None
    return None if scores is None else float(scores)


def _points(runs: Sequence[PlannedRun]) -> list[dict[str, str]]:
    return [dict(items) for items in dict.fromkeys(tuple(run.point.items()) for run in runs)]


def _measured(runs: Sequence[PlannedRun], results: Results) -> list[str]:
    """Scores that at least one run has."""
    return [s for s in SCORES if any(values_of(runs, results, point, s) for point in _points(runs))]


def _summary_table(grid: Grid, runs: Sequence[PlannedRun], results: Results) -> str:
    scores = _measured(runs, results)
    rows = [[*grid.axes, "seeds", *(SCORES[s][0] for s in scores)]]
    for point in _points(runs):
        seeds = len(values_of(runs, results, point, "mean_iou"))
        spreads = [Spread.of(list(values_of(runs, results, point, s).values())) for s in scores]
        rows.append([*point.values(), str(seeds), *("-" if s is None else s.text for s in spreads)])
    return markdown_table(rows)


def _difference_table(grid: Grid, runs: Sequence[PlannedRun], results: Results) -> str:
    scores = _measured(runs, results)
    rows = [[*grid.axes, "seeds", *(SCORES[s][0] for s in scores)]]
    for point in _points(runs):
        against = point | (grid.baseline or {})
        if against == point:
            continue
        cells, seeds = [], 0
        for score in scores:
            spread = Spread.of(paired_differences(runs, results, point, against, score))
            cells.append("-" if spread is None else spread.difference_text)
            seeds = max(seeds, spread.count if spread else 0)
        rows.append([*point.values(), str(seeds), *cells])
    return markdown_table(rows)


def paired_differences(
    runs: Sequence[PlannedRun], results: Results, point: Mapping[str, str], against: Mapping[str, str], score: str
) -> list[float]:
    """Score at ``point`` minus score at ``against`` for each seed that both have; fractions of 1."""
    here, there = (values_of(runs, results, p, score) for p in (point, against))
    return [here[seed] - there[seed] for seed in here if seed in there]


@dataclass(frozen=True)
class _ComparedRow:
    """One row of a published table, and one point of ours that stands beside it.

    Args:
        table: title of the table.
        method: name of the row.
        point: of the grid; None if it has none for this row.
        scores: by key of :data:`SCORES`, the published value in per cent and ours; None where there is none.
    """

    table: str
    method: str
    point: Mapping[str, str] | None
    scores: Mapping[str, tuple[float | None, Spread | None]]


def _compared_rows(
    published: Mapping[str, Any], runs: Sequence[PlannedRun], results: Results
) -> Iterator[_ComparedRow]:
    """Row by row; a row with several points of ours comes once for each."""
    for table in published["tables"]:
        for row in table["rows"]:
            points: list[dict[str, str] | None] = [p for p in _points(runs) if _agrees(p, row.get("ours"))]
            for point in points or [None]:
                scores = {
                    score: (
                        row["scores"].get(score),
                        None if point is None else Spread.of(list(values_of(runs, results, point, score).values())),
                    )
                    for score in table["scores"]
                }
                yield _ComparedRow(table["title"], row["method"], point, scores)


def _published_tables(published: Mapping[str, Any], compared: Sequence[_ComparedRow]) -> list[str]:
    """The published tables, each score in two columns: published and ours."""
    parts = [f"## Published figures and ours, in %\n\nPublished: {published['source']}"]
    for table in published["tables"]:
        rows = [["method", *(f"{SCORES[s][0]}: {who}" for s in table["scores"] for who in ("published", "ours"))]]
        for row in (r for r in compared if r.table == table["title"]):
            cells = [row.method]
            for theirs, ours in row.scores.values():
                cells += ["-" if theirs is None else f"{theirs:.1f}", "-" if ours is None else ours.text]
            rows.append(cells)
        parts += [f"### {table['title']}", markdown_table(rows)]
    return parts


def _tables_csv(grid: Grid, compared: Sequence[_ComparedRow]) -> bytes:
    rows: list[list[object]] = [
        ["table", "row", "score", "published", *grid.axes, "ours_mean", "ours_deviation", "runs"]
    ]
    for row in compared:
        point = ["" if row.point is None else row.point[axis] for axis in grid.axes]
        for score, (theirs, ours) in row.scores.items():
            said = "" if theirs is None else theirs
            count = 0 if ours is None else ours.count
            rows.append([row.table, row.method, score, said, *point, *_cells(ours), count])
    return csv_table(rows)


def _cells(spread: Spread | None) -> list[str]:
    """Mean and deviation, as far as there are any."""
    values = (None, None) if spread is None else (spread.mean, spread.deviation)
    return ["" if value is None else f"{value:.4f}" for value in values]


def _agrees(point: Mapping[str, str], wanted: Mapping[str, Any] | None) -> bool:
    return wanted is not None and all(point.get(axis) == str(value) for axis, value in wanted.items())


def _read_published(name: str) -> dict[str, Any]:
    path = RESULTS_OF_OTHERS / f"{name}.yaml"
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise GridError(f"cannot read the published tables {path}: {error}") from error
    return values  # type: ignore[no-any-return]


def _write_charts(out: Path, grid: Grid, runs: Sequence[PlannedRun], results: Results) -> list[str]:
    """Write a chart of curves for each axis of numbers, and one of dots for all points; returns their names."""
    written = []
    for score in (s for s in CHARTED if s in _measured(runs, results)):
        charts = {f"{score}_by_{axis}": _curves(grid, runs, results, axis, score) for axis in grid.axes}
        charts[f"{score}_of_all"] = _dots(runs, results, score)
        for name, picture in charts.items():
            if picture is not None:
                replace_file(out / "figures" / f"{name}.png", picture)
                written.append(name)
    return written


def _curves(grid: Grid, runs: Sequence[PlannedRun], results: Results, axis: str, score: str) -> bytes | None:
    values = list(grid.axes[axis])
    if len(values) < 3 or not all(_is_number(v) for v in values):
        return None
    lines: dict[str, list[tuple[float, Spread]]] = {}
    for point in _points(runs):
        spread = Spread.of(list(values_of(runs, results, point, score).values()))
        if spread is not None:
            others = [v for a, v in point.items() if a != axis and len(grid.axes[a]) > 1]
            lines.setdefault(" ".join(others) or grid.name, []).append((float(point[axis]), spread))
    series = [
        Series(name, [x for x, _ in dots], [s.mean for _, s in dots], [s.deviation or 0.0 for _, s in dots])
        for name, line in lines.items()
        if (dots := sorted(line, key=lambda dot: dot[0]))
    ]
    return curves_png(series, axis, SCORES[score][0]) if series else None


def _dots(runs: Sequence[PlannedRun], results: Results, score: str) -> bytes | None:
    spreads = {
        " ".join(point.values()): spread
        for point in _points(runs)
        if (spread := Spread.of(list(values_of(runs, results, point, score).values()))) is not None
    }
    if not spreads:
        return None
    means, deviations = [s.mean for s in spreads.values()], [s.deviation or 0.0 for s in spreads.values()]
    return dots_png(Series("", list(spreads), means, deviations), SCORES[score][0])


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _made_by(runs: Sequence[PlannedRun], results: Results) -> list[str]:
    records = [results[run.digest].record for run in runs if run.digest in results]
    heads = {"commit": "code", "machine": "scored on", "trained": "trained on", "fit_frames": "training frames"}
    return [
        f"{head}: {', '.join(sorted({str(r[key]) for r in records if r.get(key) is not None}))}"
        for key, head in heads.items()
        if any(r.get(key) is not None for r in records)
    ]


def _runs_csv(runs: Sequence[PlannedRun], results: Results, failures: Mapping[str, str]) -> bytes:
    axes = list(runs[0].point)
    rows: list[list[object]] = [[*axes, "seed", "state", *SCORES, "train_seconds", "fit", "val", "folder"]]
    for run in runs:
        result = results.get(run.digest)
        found = [_look_up(result.scores, keys) if result else None for _, keys in SCORES.values()]
        state = "finished" if result else "failed" if run.digest in failures else "open"
        cells = ["" if v is None else f"{v:.6f}" for v in found]
        seconds = f"{result.train_seconds:.0f}" if result and result.train_seconds is not None else ""
        rows.append([*run.point.values(), run.recipe.seed, state, *cells, seconds, run.fit, run.val, run.folder])
    return csv_table(rows)


def _summary_csv(grid: Grid, runs: Sequence[PlannedRun], results: Results) -> bytes:
    heads = [f"{score}_{what}" for score in SCORES for what in ("mean", "deviation")]
    rows: list[list[object]] = [[*grid.axes, "seeds", *heads]]
    for point in _points(runs):
        cells: list[object] = []
        for score in SCORES:
            cells += _cells(Spread.of(list(values_of(runs, results, point, score).values())))
        rows.append([*point.values(), len(values_of(runs, results, point, "mean_iou")), *cells])
    return csv_table(rows)
