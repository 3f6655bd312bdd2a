"""``explain-constraint``: pictures of what the contextual constraint learned and changed."""

from __future__ import annotations

from pathlib import Path

import click

from lcr_seg_ros.completion import complete_splits


@click.command(
    epilog="""\b
Examples:
  python -m lcr_seg_ros explain-constraint --run runs/with --against runs/without --data rooms --out pictures
  python -m lcr_seg_ros explain-constraint --run runs/with --against runs/without --data nyudv2 --split val \\
      --frames 6 --out pictures"""
)
@click.option(
    "--run", type=click.Path(path_type=Path), required=True, help="run folder of `train`, with the constraint"
)
@click.option("--against", type=click.Path(path_type=Path), help="run folder of the same recipe without it")
@click.option("--data", type=click.Path(path_type=Path), required=True, help="annotated dataset folder")
@click.option(
    "--split", shell_complete=complete_splits, help="name of a list, e.g. val for DATA/val.txt  [default: every image]"
)
@click.option("--frames", type=click.IntRange(1, 20), default=3, show_default=True, help="rows of boundary crops")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="folder for the pictures")
def command(run: Path, against: Path | None, data: Path, split: str | None, frames: int, out: Path) -> None:
    """Write kernels.png (start, learned, difference), weights.png (W of Eq. 6 on the first frame) and, with --against,
    boundaries.png (where two models disagree most, beside the annotation)."""
    from lcr_seg_ros.errors import SourceError
    from lcr_seg_ros.extras import require
    from lcr_seg_ros.files import replace_file
    from lcr_seg_ros.segmenter import Segmenter
    from lcr_seg_ros.sources.folder import DatasetFolder

    require("`explain-constraint`", "torch", "matplotlib")
    from lcr_seg_ros.training.constraint_pictures import (
        LearnedConstraint,
        boundaries_png,
        directions,
        kernels_png,
        weights_png,
    )

    learned = LearnedConstraint.of_run(run)
    model = Segmenter.load(run / "model.lcrseg")
    folder = DatasetFolder(data, split).with_hha(model.bundle.input.reads_hha)
    if against is not None:
        if not folder.has_labels:
            raise SourceError(f"{data} has no label40/ folder: boundaries are shown beside the annotation")
        learned.refuse_as_baseline(against)
        items = [folder[k] for k in range(0, len(folder), max(1, len(folder) // frames))][:frames]
        if bare := [item.name for item in items if item.labels is None]:
            raise SourceError(f"frame {bare[0]} of {data} has no label image: name a --split whose frames are labelled")
    first = folder[0].frame
    weights = learned.weights(first, model.segment(first).hha)
    replace_file(out / "kernels.png", kernels_png(learned.constraint))
    replace_file(out / "weights.png", weights_png(first, weights, directions(learned.constraint)))
    if against is not None:
        without = Segmenter.load(against / "model.lcrseg")
        replace_file(out / "boundaries.png", boundaries_png(items, without, model))
    values = learned.constraint.diagnostics()
    click.echo(
        f"kernels: energy {values['kernel_energy_min']:.3f}..{values['kernel_energy_max']:.3f}, least cosine to their "
        f"start {values['kernel_cosine_min']:.4f}, largest overlap of two {values['kernel_overlap_max']:.2f}; "
        f"mean W of the first frame {weights.mean():.3f}"
    )
    click.echo(f"pictures: {out}")
