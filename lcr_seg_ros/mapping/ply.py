"""Write a map as a PLY file, which MeshLab, CloudCompare, Blender, Open3D and PCL can read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lcr_seg_ros.files import replace_file
from lcr_seg_ros.labels import LabelSet
from lcr_seg_ros.mapping.voxels import Voxels

PLY_VERTEX = np.dtype(
    [
        *[(axis, "<f4") for axis in "xyz"],
        *[(channel, "u1") for channel in ("red", "green", "blue")],
        ("label", "u1"),
        ("confidence", "<f4"),
        ("views", "<i4"),
    ]
)
_PLY_TYPES = {"<f4": "float", "|u1": "uchar", "<i4": "int"}


def write_ply(path: str | Path, voxels: Voxels, labels: LabelSet) -> Path:
    """Write voxels as a binary PLY file, whole or not at all.

    Each voxel is a vertex: centre in metres, colour of its class, mask id, that class's share of the votes, number of
    frames that voted. Comments in the header name the classes.

    Args:
        path: the file; replaced if it exists.
        voxels: any number of voxels.
        labels: names and colours of the classes.
    """
    vertices = np.empty(len(voxels), PLY_VERTEX)
    for k, axis in enumerate("xyz"):
        vertices[axis] = voxels.centers[:, k]
    colors = labels.palette[voxels.labels]
    for k, channel in enumerate(("red", "green", "blue")):
        vertices[channel] = colors[:, k]
    vertices["label"], vertices["confidence"], vertices["views"] = voxels.labels, voxels.confidence, voxels.views
    present = set(np.unique(voxels.labels).tolist())
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment semantic map, labels {' '.join(labels.name.split())}, voxel size {voxels.size:g} m",
        *(f"comment class {c.id} {' '.join(c.name.split())}" for c in labels.classes if c.id in present),
        f"element vertex {len(vertices)}",
        *(f"property {_PLY_TYPES[PLY_VERTEX[name].str]} {name}" for name in PLY_VERTEX.names or ()),
        "end_header",
    ]
    return replace_file(path, ("\n".join(header) + "\n").encode("ascii", "replace") + vertices.tobytes())
