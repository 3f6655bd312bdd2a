"""Late fusion of two trained models: one bundle whose network averages the scores of an RGB and an HHA network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lcr_seg_ros.bundle import InputSpec, ModelBundle
from lcr_seg_ros.errors import BundleError
from lcr_seg_ros.networks import create_network
from lcr_seg_ros.training.evaluate import write_scored
from lcr_seg_ros.training.export import bundle_network
from lcr_seg_ros.weights import state_dict_from_onnx


def fuse_bundles(rgb: str | Path, hha: str | Path, name: str) -> ModelBundle:
    """A bundle of the network ``fusion``, the mean of both networks' scores (Long et al., CVPR 2015).

    Args:
        rgb, hha: shipped names or paths of bundles of these modalities, with the same classes and input size.
        name: of the new bundle.

    Raises:
        BundleError: modalities, classes or input sizes do not fit together.
    """
    first, second = ModelBundle.load(rgb), ModelBundle.load(hha)
    if (first.input.modality, second.input.modality) != ("rgb", "hha"):
        raise BundleError(
            f"fusion takes a model of rgb and one of hha, got {first.input.modality} and {second.input.modality}"
        )
    if first.labels != second.labels:
        raise BundleError(f"fusion needs the same classes, got {first.labels.name!r} and {second.labels.name!r}")
    sizes = [(bundle.input.height, bundle.input.width) for bundle in (first, second)]
    if sizes[0] != sizes[1]:
        raise BundleError(f"fusion needs the same input size, got {sizes[0]} and {sizes[1]} (rows, columns)")
    architecture: dict[str, Any] = {
        "name": "fusion",
        "in_channels": 6,
        "num_classes": len(first.labels),
        "rgb": _member(first),
        "hha": _member(second),
    }
    network = create_network(**architecture)
    network.load_members(state_dict_from_onnx(first.network), state_dict_from_onnx(second.network))
    spec = InputSpec(
        "rgb_hha",
        *sizes[0],
        first.input.mean + second.input.mean,
        first.input.std + second.input.std,
        second.input.hha,
        second.input.hha_source,
        first.input.is_exact and second.input.is_exact,
    )
    record = {"rgb": first.training, "hha": second.training}
    fused = bundle_network(network, name, architecture, spec, first.labels, record, start_notice="")
    return ModelBundle(**{**vars(fused), "notice": f"Colour: {first.notice}\nHHA: {second.notice}"})


def write_fused(rgb: str | Path, hha: str | Path, out: Path, data: Path | None, val: str) -> dict[str, Any]:
    """Write the fusion of two bundles, with its scores on a split if there is data.

    Args:
        rgb, hha: see :func:`fuse_bundles`.
        out: bundle to write; its name without suffix becomes that of the model.
        data: dataset folder, or None.
        val: its split.

    Returns:
        Scores by split; empty where nothing was scored.

    Raises:
        BundleError: see :func:`fuse_bundles`.
    """
    return write_scored(fuse_bundles(rgb, hha, out.stem), out, data, val)


def _member(bundle: ModelBundle) -> dict[str, Any]:
    arguments = bundle.architecture["arguments"]
    filled_in = ("in_channels", "num_classes")
    return {"name": bundle.architecture["name"], **{k: v for k, v in arguments.items() if k not in filled_in}}
