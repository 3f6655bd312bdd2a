"""The parameters of the node ``map``: types, descriptions and ranges. Their defaults are in ``config/map.yaml``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from lcr_seg_ros.mapping.settings import RANGES, MapSettings
from lcr_seg_ros.resources import CONFIG
from lcr_seg_ros.ros.parameter_specs import (
    ParameterSpec,
    declare_parameters,
    read_defaults_file,
    warn_of_unknown_parameters,
)

if TYPE_CHECKING:
    from rclpy.node import Node

MAP_DEFAULTS_FILE = CONFIG / "map.yaml"
POSE_SOURCES = ("tf", "odometry", "depth")


@dataclass(frozen=True)
class MapParameters:
    """The values in use; units and meaning as in ``config/map.yaml``."""

    model: str
    max_rate_hz: float
    pose_source: str
    map_frame: str
    pose_patience: float
    camera_xyz: tuple[float, float, float]
    camera_rpy: tuple[float, float, float]
    voxel_size: float
    min_range: float
    max_range: float
    min_confidence: float
    min_views: int
    max_voxels: int
    class_filter: tuple[str | int, ...]
    publish_period: float
    file: str

    @property
    def settings(self) -> MapSettings:
        """The settings of the voxel map.

        Raises:
            MapError: ranges that contradict each other.
        """
        return MapSettings(**{field.name: getattr(self, field.name) for field in fields(MapSettings)})


MAP_SPECS = {
    "model": ParameterSpec(str, "Shipped name or .lcrseg file: its classes are used until the node tells its own."),
    "max_rate_hz": ParameterSpec(float, "Clouds used per second, at most; 0: as many as arrive.", (0.0, 1000.0)),
    "pose_source": ParameterSpec(str, "Where the camera's pose comes from.", choices=POSE_SOURCES),
    "map_frame": ParameterSpec(str, "For tf: frame of the map; for depth: its name."),
    "pose_patience": ParameterSpec(float, "Time in s that a cloud may wait for its pose.", (0.0, 60.0)),
    "camera_xyz": ParameterSpec(
        tuple, "For odometry: where the optical frame is in the frame that moves, in m.", (-100.0, 100.0)
    ),
    "camera_rpy": ParameterSpec(
        tuple, "For odometry: roll, pitch, yaw in rad of the optical frame in the frame that moves.", (-6.2832, 6.2832)
    ),
    "voxel_size": ParameterSpec(float, "Edge of a voxel in m.", RANGES["voxel_size"]),
    "min_range": ParameterSpec(float, "Nearer points are left out, in m.", RANGES["min_range"]),
    "max_range": ParameterSpec(float, "Farther points are left out, in m.", RANGES["max_range"]),
    "min_confidence": ParameterSpec(float, "Less certain points are left out.", RANGES["min_confidence"]),
    "min_views": ParameterSpec(int, "Clouds that must have seen a voxel before it is shown.", RANGES["min_views"]),
    "max_voxels": ParameterSpec(
        int, "Limits the memory: when all are in use, those seen longest ago are dropped.", RANGES["max_voxels"]
    ),
    "class_filter": ParameterSpec(tuple, "Classes, by name or id, to show and save; none: all.", items=str),
    "publish_period": ParameterSpec(float, "Time between messages of the map in s.", (0.05, 3600.0)),
    "file": ParameterSpec(str, "PLY file that is written by ~/save and at the end; empty: none.", optional=True),
}


def read_map_defaults() -> dict[str, Any]:
    """The defaults of ``config/map.yaml``, by name."""
    return read_defaults_file(MAP_DEFAULTS_FILE, MAP_SPECS, MapParameters)


def declare_map_parameters(node: Node) -> MapParameters:
    """Declare the parameters on a node, read-only after its start, and return their values.

    Raises:
        ParameterError: a value has the wrong type or is out of range.
    """
    values = MapParameters(**declare_parameters(node, read_map_defaults(), MAP_SPECS, all_fixed=True))
    warn_of_unknown_parameters(node, MAP_SPECS)
    return values
