"""The node's parameters: types, descriptions and ranges. Their defaults are in ``config/segment.yaml`` only."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from rcl_interfaces.msg import SetParametersResult

from lcr_seg_ros.compressed_images import COLOR_TRANSPORTS, DEPTH_TRANSPORTS
from lcr_seg_ros.errors import FrameError, LcrSegError
from lcr_seg_ros.hha.settings import FLOORS, SMOOTHINGS, HhaSettings
from lcr_seg_ros.image_encodings import LABEL_ENCODINGS
from lcr_seg_ros.labels import LabelClass, LabelSet
from lcr_seg_ros.resources import CONFIG
from lcr_seg_ros.ros.orientation import down_of_tilt
from lcr_seg_ros.ros.parameter_specs import (
    ParameterError,
    ParameterSpec,
    declare_own_parameters,
    declare_parameters,
    is_unset,
    read_defaults_file,
)

if TYPE_CHECKING:
    from rclpy.node import Node
    from rclpy.parameter import Parameter

DEFAULTS_FILE = CONFIG / "segment.yaml"

GRAVITY_SOURCES = ("estimate", "imu", "tf", "fixed")

REGISTRATIONS = ("auto", "off", "parameters")

MAX_CAMERA_HEIGHT_M = 100.0

CAMERA_NAME = r"[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*"
"""Regular expression of a camera's name, a relative ROS namespace."""


class ModelChoice(NamedTuple):
    """The parameters that select the model and how it runs; a model switch changes them together."""

    model: str
    backend: str
    device: str
    num_threads: int


@dataclass(frozen=True)
class SegmentParameters:
    """The values in use; units and meaning as in ``config/segment.yaml``."""

    model: str
    model_folder: str
    backend: str
    device: str
    num_threads: int
    autostart: bool
    enabled: bool
    cameras: tuple[str, ...]
    rgb_transport: str
    depth_transport: str
    slop: float
    queue_size: int
    max_age: float
    max_rate_hz: float
    confidence_threshold: float
    label_encoding: str
    overlay_opacity: float
    class_filter: tuple[str | int, ...]
    gravity_source: str
    gravity_roll: float
    gravity_pitch: float
    gravity_vector: tuple[float, float, float]
    gravity_frame: str
    imu_time_constant: float
    imu_axes: str
    imu_rotation_rpy: tuple[float, float, float]
    camera_height: float
    camera_height_from_tf: bool
    registration: str
    registration_xyz: tuple[float, float, float]
    registration_rpy: tuple[float, float, float]
    min_depth: float
    max_depth: float
    floor: str
    depth_smoothing: str
    diagnostics_period: float
    silence_timeout: float

    @property
    def choice(self) -> ModelChoice:
        """The parameters that select the model and how it runs."""
        return ModelChoice(self.model, self.backend, self.device, self.num_threads)

    @property
    def mounted_down(self) -> npt.NDArray[np.float64]:
        """(3,) float64 unit direction of gravity in the optical frame, from ``gravity_vector`` or roll and pitch."""
        vector = np.array(self.gravity_vector)
        if vector.any():
            return vector / np.linalg.norm(vector)
        return down_of_tilt(self.gravity_roll, self.gravity_pitch)

    def hha_settings(self, trained: HhaSettings) -> HhaSettings:
        """The settings that the model was trained with, except where these parameters override them.

        Raises:
            ParameterError: values that contradict each other.
        """
        changes: dict[str, Any] = {}
        if self.min_depth:
            changes["min_depth_m"] = self.min_depth
        if self.max_depth:
            changes["max_depth_m"] = self.max_depth
        if self.floor != "model":
            changes["floor"] = self.floor
        if self.depth_smoothing != "model":
            changes["smoothing"] = self.depth_smoothing
        if any((self.gravity_roll, self.gravity_pitch, *self.gravity_vector)):
            changes["upright"] = tuple(self.mounted_down.tolist())
        try:
            return replace(trained, **changes)
        except FrameError as error:
            raise ParameterError(f"min_depth, max_depth, floor or depth_smoothing cannot be used: {error}") from error


def keeps(class_filter: tuple[str | int, ...], one: LabelClass) -> bool:
    """Whether the parameter ``class_filter`` lets a class through, by name or id; an empty filter lets all through."""
    return not class_filter or one.name in class_filter or one.id in class_filter or str(one.id) in class_filter


def check_class_filter(class_filter: tuple[str | int, ...], labels: LabelSet, is_older: bool = False) -> None:
    """Check that each member of a class filter is a class of the model.

    Args:
        class_filter: names or ids.
        labels: of the model.
        is_older: it is the model that changes, not the filter; the error then adds what to do about the filter.

    Raises:
        ParameterError: a member is not a class; the message lists similar ones, or all.
    """
    known = {key for one in labels.classes for key in (one.name, one.id, str(one.id))}
    for member in class_filter:
        if member not in known:
            near = difflib.get_close_matches(str(member), labels.names, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(labels.names)}"
            remedy = "; clear class_filter first, or set both at once (~/set_parameters_atomically)" * is_older
            raise ParameterError(
                f"class_filter names {member!r}, which label set {labels.name!r} does not have; {hint}{remedy}"
            )


SPECS = {
    "model": ParameterSpec(
        str,
        "Name of a model that ships with the package, or path of a .lcrseg file; auto: nyu40, in int8 on a CPU.",
        live=True,
    ),
    "model_folder": ParameterSpec(
        str, "Models given by path must be below this folder; empty: anywhere.", optional=True, fixed=True
    ),
    "backend": ParameterSpec(
        str, "What runs the network.", choices=("auto", "openvino", "onnxruntime", "torch"), live=True
    ),
    "device": ParameterSpec(
        str, "Where the network runs; auto: on CUDA if that works.", choices=("auto", "cpu", "cuda"), live=True
    ),
    "num_threads": ParameterSpec(
        int, "CPU threads of the network, and of HHA up to 4; 0: as many as seem best.", (0, 256), live=True
    ),
    "autostart": ParameterSpec(bool, "Configure and activate at start, without a lifecycle manager.", fixed=True),
    "enabled": ParameterSpec(bool, "Label frames; false: unsubscribe and rest.", live=True),
    "cameras": ParameterSpec(
        tuple,
        "Cameras that share the network; the topics of each are below its name. None: one camera, without prefix.",
        items=str,
        pattern=CAMERA_NAME,
    ),
    "rgb_transport": ParameterSpec(
        str, "How colour images are sent, in the terms of image_transport.", choices=COLOR_TRANSPORTS, per_camera=True
    ),
    "depth_transport": ParameterSpec(
        str, "How depth images are sent, in the terms of image_transport.", choices=DEPTH_TRANSPORTS, per_camera=True
    ),
    "slop": ParameterSpec(
        float,
        "Largest distance between the stamps of a pair in s; keep it under half a frame period.",
        (0.0001, 1.0),
        live=True,
    ),
    "queue_size": ParameterSpec(int, "Images of each kind that may wait for their partner.", (1, 1000), live=True),
    "max_age": ParameterSpec(float, "Pairs older than this many s are dropped; 0: never.", (0.0, 3600.0), live=True),
    "max_rate_hz": ParameterSpec(
        float,
        "Frames labelled per second of the node's clock, at most; 0: as many as arrive.",
        (0.0, 1000.0),
        live=True,
    ),
    "confidence_threshold": ParameterSpec(
        float, "Pixels with a lower class probability become 255 in the mask.", (0.0, 1.0), live=True
    ),
    "label_encoding": ParameterSpec(str, "Encoding of segmentation/mask.", choices=tuple(LABEL_ENCODINGS)),
    "overlay_opacity": ParameterSpec(float, "Opacity of class colours in the overlay.", (0.0, 1.0), live=True),
    "class_filter": ParameterSpec(
        tuple, "Classes, by name or id, that are published; all others become 255. None: all.", items=str, live=True
    ),
    "gravity_source": ParameterSpec(
        str, "Where the direction of gravity comes from.", choices=GRAVITY_SOURCES, per_camera=True
    ),
    "gravity_roll": ParameterSpec(
        float, "Roll of the camera in rad, positive clockwise as seen from behind.", (-3.1416, 3.1416), per_camera=True
    ),
    "gravity_pitch": ParameterSpec(
        float, "Pitch of the camera in rad, positive looking down.", (-1.5708, 1.5708), per_camera=True
    ),
    "gravity_vector": ParameterSpec(
        tuple,
        "Direction of gravity in the optical frame (x right, y down, z forward), instead of roll and pitch; 0: none.",
        (-1000.0, 1000.0),
        per_camera=True,
    ),
    "gravity_frame": ParameterSpec(str, "For tf: a frame whose z axis points up.", per_camera=True),
    "imu_time_constant": ParameterSpec(
        float, "For imu: time constant of the low-pass filter of the acceleration, in s.", (0.01, 60.0), per_camera=True
    ),
    "imu_axes": ParameterSpec(
        str,
        "For imu: auto, its orientation comes from frame_ids or TF; same, it is that of the optical frame.",
        choices=("auto", "same"),
        per_camera=True,
    ),
    "imu_rotation_rpy": ParameterSpec(
        tuple,
        "For imu: roll, pitch, yaw in rad of its frame in the optical frame, instead of imu_axes; 0: none.",
        (-6.2832, 6.2832),
        per_camera=True,
    ),
    "camera_height": ParameterSpec(
        float, "Height of the camera above the floor in m; 0: not known.", (0.0, MAX_CAMERA_HEIGHT_M), per_camera=True
    ),
    "camera_height_from_tf": ParameterSpec(
        bool, "For tf: the camera's z in gravity_frame is its height, unless camera_height is given.", per_camera=True
    ),
    "registration": ParameterSpec(
        str,
        "Whether the node registers depth to colour: auto, where frame_ids differ and TF has the extrinsics.",
        choices=REGISTRATIONS,
        per_camera=True,
    ),
    "registration_xyz": ParameterSpec(
        tuple,
        "For parameters: position of the depth optical frame in the colour optical frame in m.",
        (-10.0, 10.0),
        per_camera=True,
    ),
    "registration_rpy": ParameterSpec(
        tuple,
        "For parameters: roll, pitch, yaw of it in rad, about the fixed axes x, y, z.",
        (-6.2832, 6.2832),
        per_camera=True,
    ),
    "min_depth": ParameterSpec(float, "Depth nearer than this many m counts as a hole; 0: no limit.", (0.0, 1000.0)),
    "max_depth": ParameterSpec(float, "Depth farther than this many m counts as a hole; 0: no limit.", (0.0, 1000.0)),
    "floor": ParameterSpec(
        str, "How the floor is found if the camera's height is not known.", choices=("model", *FLOORS)
    ),
    "depth_smoothing": ParameterSpec(
        str, "Smoothing of depth whose steps are coarser than its noise.", choices=("model", *SMOOTHINGS)
    ),
    "diagnostics_period": ParameterSpec(float, "Time between messages on /diagnostics in s.", (0.1, 60.0)),
    "silence_timeout": ParameterSpec(
        float, "Time without a pair in s before the node says why.", (0.5, 3600.0), live=True
    ),
}


class ParameterHandler:
    """Declares the parameters on a node and keeps their checked values.

    Args:
        node: on which to declare.
        is_configured: whether parameters that are not live are in use and must not change.
        on_change: called with the old and the new values once a change has been made, and whether ``model`` was set,
            if only to the value that it had: its file may be another. Humble's rclpy does not report changes: there it
            is called when we accept one, which a callback added by others may still refuse.
        check: called with the same before the change; an LcrSegError that it raises refuses it.

    Raises:
        ParameterError: a value that the user gave at start has the wrong type or is out of range.
    """

    def __init__(
        self,
        node: Node,
        is_configured: Callable[[], bool],
        on_change: Callable[[SegmentParameters, SegmentParameters, bool], None],
        check: Callable[[SegmentParameters, SegmentParameters, bool], None] = lambda before, now, names_model: None,
    ) -> None:
        self._is_configured = is_configured
        self._on_change = on_change
        self._check = check
        self._node = node
        self._own: dict[str, dict[str, Any]] = {}
        self._known: set[str] = set()  # names CAMERA.NAME that have ever been declared
        self._of_cameras: dict[str, SegmentParameters] = {}
        self.values = SegmentParameters(**declare_parameters(node, read_defaults(), SPECS))
        self.declare_for_cameras()
        tell_when_set = getattr(node, "add_post_set_parameters_callback", None)  # since Iron
        self._is_told_when_set = tell_when_set is not None
        if tell_when_set is not None:
            tell_when_set(self._use)
        node.add_on_set_parameters_callback(self._accept_or_refuse)

    def of_camera(self, camera: str) -> SegmentParameters:
        """The values in use for a camera: the node's, except those that are set for the camera itself."""
        return self._of_cameras.get(camera, self.values)

    def declare_for_cameras(self) -> None:
        """Declare the parameters CAMERA.NAME of each camera; to be repeated after ``cameras`` has changed.

        Raises:
            ParameterError: a value that the user gave at start has the wrong type or is out of range.
        """
        self._own = {
            camera: declare_own_parameters(self._node, camera, SPECS, self._known) for camera in self.values.cameras
        }
        self._combine()

    def _combine(self) -> None:
        self._of_cameras = {camera: replace(self.values, **own) for camera, own in self._own.items()}

    def _accept_or_refuse(self, parameters: Iterable[Parameter[Any]]) -> SetParametersResult:
        """Accept or refuse parameters that are to be set together: if one is refused, none is set."""
        parameters = list(parameters)
        try:
            now = self._values_with(parameters)
            self._camera_values_with(parameters)
            if now != self.values or _names_model(parameters):
                self._check(self.values, now, _names_model(parameters))
        except Exception as error:  # a strange model file may raise anything; the node must go on as it was
            kind = "" if isinstance(error, LcrSegError) else f"{type(error).__name__}: "
            return SetParametersResult(successful=False, reason=f"{kind}{error}")
        if not self._is_told_when_set:
            self._use(parameters)
        return SetParametersResult(successful=True)

    def _use(self, parameters: Iterable[Parameter[Any]]) -> None:
        parameters = list(parameters)
        before, now = self.values, self._values_with(parameters)
        self.values, self._own = now, self._camera_values_with(parameters)
        self._combine()
        if now != before or _names_model(parameters):
            self._on_change(before, now, _names_model(parameters))

    def _values_with(self, parameters: Iterable[Parameter[Any]]) -> SegmentParameters:
        """The values in use, with these parameters changed.

        Raises:
            ParameterError: one has the wrong type, is out of range, or must not change now.
        """
        changed = {}
        for parameter in parameters:
            spec = SPECS.get(parameter.name)
            if spec is None:  # not one of ours: use_sim_time, qos_overrides
                continue
            value = spec.checked(parameter.name, parameter.value)
            if value == getattr(self.values, parameter.name):
                continue
            if not spec.live and self._is_configured():
                raise ParameterError(_in_use(parameter.name))
            changed[parameter.name] = value
        return replace(self.values, **changed)

    def _camera_values_with(self, parameters: Iterable[Parameter[Any]]) -> dict[str, dict[str, Any]]:
        """The values set for single cameras, with these parameters changed.

        Raises:
            ParameterError: as :meth:`_values_with`.
        """
        own = {camera: dict(values) for camera, values in self._own.items()}
        for parameter in parameters:
            camera, _, name = parameter.name.rpartition(".")
            spec = SPECS.get(name)
            if camera not in own or spec is None or not spec.per_camera:
                continue
            if is_unset(parameter.value):
                own[camera].pop(name, None)
            else:
                own[camera][name] = spec.checked(parameter.name, parameter.value)
            if own[camera] != self._own[camera] and self._is_configured():
                raise ParameterError(_in_use(parameter.name))
        return own


def _names_model(parameters: Iterable[Parameter[Any]]) -> bool:
    return any(parameter.name == "model" for parameter in parameters)


def _in_use(name: str) -> str:
    return f"{name} is in use: deactivate and clean up the node, set it, then configure again"


def read_defaults() -> dict[str, Any]:
    """The defaults of ``config/segment.yaml``, by name."""
    return read_defaults_file(DEFAULTS_FILE, SPECS, SegmentParameters)
