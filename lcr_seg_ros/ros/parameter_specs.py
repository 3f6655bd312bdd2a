"""Specifications of a node's parameters, and how they are declared; shared by the nodes ``segment`` and ``map``.

Defaults are only in the YAML files of ``config/``, which are ROS parameter files.
"""

from __future__ import annotations

import array
import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, ParameterType
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException

from lcr_seg_ros.errors import LcrSegError

if TYPE_CHECKING:
    from rclpy.node import Node

MAX_NAMES = 256

NONE = ("",)
"""Stands for an empty list: in a parameter file, the type of an empty one is unknown."""


class ParameterError(LcrSegError, ValueError):
    """A parameter that has the wrong type or is out of range."""


@dataclass(frozen=True)
class ParameterSpec:
    """The meaning, type and allowed values of a parameter.

    Args:
        type: bool, int, float, str, or tuple for several values; a float may be given as an int.
        description: one sentence.
        range: smallest and largest number allowed, for each member of a tuple of three.
        choices: the strings allowed; empty: any.
        live: whether it can change while the node is configured.
        items: members of a tuple: float for exactly three numbers, str for any number of names or ids.
        pattern: regular expression that each name must match.
        optional: whether a string may be empty.
        fixed: whether it cannot change after the start.
        per_camera: whether each of several cameras may have its own value, as CAMERA.NAME.
    """

    type: type[Any]
    description: str
    range: tuple[float, float] | None = None
    choices: tuple[str, ...] = ()
    live: bool = False
    items: Any = float
    pattern: str = ""
    optional: bool = False
    fixed: bool = False
    per_camera: bool = False

    def checked(self, name: str, value: Any) -> Any:
        """The value, converted to the parameter's type.

        Args:
            name: of the parameter, for the message of an error.
            value: as ROS or YAML has it.

        Raises:
            ParameterError: wrong type, out of range, or none of the choices.
        """
        if self.type is tuple:
            return self._checked_vector(name, value) if self.items is float else self._checked_names(name, value)
        if type(value) is bool and ("on" if value else "off") in self.choices:
            value = "on" if value else "off"  # YAML reads an unquoted on or off as a bool
        if self.type is float and type(value) is int:
            value = float(value)
        if type(value) is not self.type:
            raise ParameterError(f"{name} must be {self.type.__name__}, got {value!r} ({type(value).__name__})")
        if self.range and not (math.isfinite(value) and self.range[0] <= value <= self.range[1]):
            raise ParameterError(f"{name} must be {self.range[0]:g}..{self.range[1]:g}, got {value!r}")
        if self.choices and value not in self.choices:
            raise ParameterError(f"{name} must be one of {', '.join(self.choices)}, got {value!r}")
        if self.type is str and not (value or self.optional):
            raise ParameterError(f"{name} must not be empty")
        return value

    def _checked_vector(self, name: str, value: Any) -> tuple[float, ...]:
        low, high = self.range or (-math.inf, math.inf)
        if (
            not isinstance(value, list | tuple | array.array)
            or len(value) != 3
            or not all(type(v) in (int, float) and math.isfinite(v) and low <= v <= high for v in value)
        ):
            shown = list(value) if isinstance(value, tuple | array.array) else value
            raise ParameterError(
                f"{name} must be three numbers of {low:g}..{high:g}, like [0.0, 1.0, 0.0], got {shown!r}"
            )
        return tuple(float(v) for v in value)

    def _checked_names(self, name: str, value: Any) -> tuple[str | int, ...]:
        members = [] if value is None else value  # None: what ROS makes of [] in a parameter file
        if not isinstance(members, list | tuple | array.array) or not all(type(v) in (str, int) for v in members):
            raise ParameterError(f"{name} must be a list of names, like [one, two], got {value!r}")
        names = tuple(v for v in members if v != "")
        if len(names) > MAX_NAMES:
            raise ParameterError(f"{name} must have at most {MAX_NAMES} members, got {len(names)}")
        if len(set(names)) < len(names):
            raise ParameterError(f"{name} must name each once, got {list(names)}")
        for member in names if self.pattern else ():
            if not re.fullmatch(self.pattern, str(member), re.ASCII):
                raise ParameterError(
                    f"{name} must be names of letters, digits and _ that begin with a letter, got {member!r}"
                )
        return names


def read_defaults_file(file: Path, specs: Mapping[str, ParameterSpec], values: type[Any]) -> dict[str, Any]:
    """The defaults in a YAML file, by name; lists become tuples.

    Args:
        file: holds a value for each spec, under ``/**``.
        specs: of the parameters, by name.
        values: dataclass with a field for each parameter.

    Raises:
        RuntimeError: the three do not have the same names.
    """
    import yaml

    defaults = yaml.safe_load(file.read_text(encoding="utf-8"))["/**"]["ros__parameters"]
    names = {field.name for field in fields(values)}
    if not defaults.keys() == specs.keys() == names:
        odd = sorted((defaults.keys() ^ specs.keys()) | (specs.keys() ^ names))
        raise RuntimeError(f"{file}, the specs and {values.__name__} disagree about {', '.join(odd)}")
    return {
        name: tuple(member for member in value if member != "") if isinstance(value, list) else value
        for name, value in defaults.items()
    }


def declare_parameters(
    node: Node, defaults: Mapping[str, Any], specs: Mapping[str, ParameterSpec], all_fixed: bool = False
) -> dict[str, Any]:
    """Declare parameters on a node; returns their checked values, by name.

    Args:
        node: on which to declare.
        defaults: by name.
        specs: by name.
        all_fixed: make all of them read-only after the start, whatever their specs say.

    Raises:
        ParameterError: a value that the user gave at start has the wrong type or is out of range.
    """
    values = {}
    for name, default in defaults.items():
        try:
            given = NONE if default == () else default
            declared = node.declare_parameter(
                name, given, _descriptor(name, specs[name], all_fixed or specs[name].fixed)
            )
        except (InvalidParameterValueException, InvalidParameterTypeException) as error:
            raise _refused(node, name, specs[name], error) from error
        values[name] = specs[name].checked(name, declared.value)
    return values


def declare_own_parameters(
    node: Node, camera: str, specs: Mapping[str, ParameterSpec], known: set[str]
) -> dict[str, Any]:
    """Declare a camera's own parameters, as CAMERA.NAME, without values; one that is not set follows the node's NAME.

    Args:
        node: on which to declare; what was declared before stays.
        camera: its name.
        specs: by name; only those that are ``per_camera`` are used.
        known: full names that earlier calls have declared on this node; this call adds to it. In ROS, removing a
            parameter's value undeclares it. A known name that is gone is declared again, without the value that the
            user gave at start.

    Returns:
        By NAME, the values that the user gave at start or has set since, checked.

    Raises:
        ParameterError: as :func:`declare_parameters`.
    """
    values = {}
    for base, spec in specs.items():
        if not spec.per_camera:
            continue
        name = f"{camera}.{base}"
        if not node.has_parameter(name):
            descriptor = _descriptor(name, spec, spec.fixed)
            descriptor.description += f" Of camera {camera} alone; not set: as {base}."
            # ROS refuses to declare a parameter that has a range but no value.
            descriptor.floating_point_range, descriptor.integer_range = [], []
            try:
                node.declare_parameter(name, None, descriptor, ignore_override=name in known)
            except (InvalidParameterValueException, InvalidParameterTypeException) as error:
                raise _refused(node, name, spec, error) from error
        known.add(name)
        value = node.get_parameter(name).value
        if not is_unset(value):
            values[base] = spec.checked(name, value)
    return values


def _refused(node: Node, name: str, spec: ParameterSpec, error: Exception) -> ParameterError:
    """What is wrong with a value given at start: in the words of :meth:`ParameterSpec.checked`, or in rclpy's if that
    finds nothing."""
    given = getattr(node, "_parameter_overrides", {}).get(name)
    if given is not None:
        try:
            spec.checked(name, given.value)
        except ParameterError as own:
            return own
    return ParameterError(f"{name}: {error}")


def is_unset(value: Any) -> bool:
    """Whether a parameter has no value. ``ros2 param dump`` writes that as null, which ROS reads back as a string."""
    return value is None or value == "null"


def warn_of_unknown_parameters(node: Node, specs: Mapping[str, ParameterSpec], cameras: Iterable[str] = ()) -> None:
    """Log a warning for each parameter given at start that the node does not have; ROS ignores them silently."""
    cameras = tuple(cameras)
    for name in unknown_parameters(getattr(node, "_parameter_overrides", {}), specs, cameras):
        node.get_logger().warning(f"there is no parameter {name}, it is ignored: {why_unknown(name, specs, cameras)}")


def unknown_parameters(
    given: Iterable[str], specs: Mapping[str, ParameterSpec], cameras: Iterable[str] = ()
) -> list[str]:
    """The given names that belong neither to the specs, nor to a camera's own parameters, nor to ROS itself; sorted."""
    of_ros = ("qos_overrides.", "use_sim_time", "start_type_description_service")
    known = {*specs, *(f"{camera}.{name}" for camera in cameras for name, spec in specs.items() if spec.per_camera)}
    return sorted(name for name in given if name not in known and not name.startswith(of_ros))


def why_unknown(name: str, specs: Mapping[str, ParameterSpec], cameras: Iterable[str] = ()) -> str:
    """Why a name of :func:`unknown_parameters` is unknown: wrong camera, not per camera, or perhaps misspelt."""
    camera, _, base = name.rpartition(".")
    cameras = tuple(cameras)
    if camera and "cameras" in specs and base in specs:
        if camera in cameras:
            return f"`{base}` is the same for all cameras"
        listed = f"there are {', '.join(cameras)}" if cameras else "it is empty"
        return f"no camera `{camera}` in cameras, {listed}"
    known = [*specs, *(f"{one}.{own}" for one in cameras for own, spec in specs.items() if spec.per_camera)]
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else "no name is like it"


def _descriptor(name: str, spec: ParameterSpec, is_fixed: bool) -> ParameterDescriptor:
    kinds = {
        bool: ParameterType.PARAMETER_BOOL,
        int: ParameterType.PARAMETER_INTEGER,
        float: ParameterType.PARAMETER_DOUBLE,
        str: ParameterType.PARAMETER_STRING,
        tuple: ParameterType.PARAMETER_DOUBLE_ARRAY,
    }
    descriptor = ParameterDescriptor(
        name=name,
        type=ParameterType.PARAMETER_STRING_ARRAY if spec.items is str else kinds[spec.type],
        description=spec.description,
        additional_constraints=f"One of {', '.join(spec.choices)}." if spec.choices else "",
        read_only=is_fixed,
        # We check the types ourselves, so that `-p max_rate_hz:=10` works for a float, and so that the error for
        # a wrong type says what was expected.
        dynamic_typing=True,
    )
    if spec.range and spec.type is int:
        descriptor.integer_range = [IntegerRange(from_value=int(spec.range[0]), to_value=int(spec.range[1]))]
    elif spec.range and spec.type is float:
        descriptor.floating_point_range = [FloatingPointRange(from_value=spec.range[0], to_value=spec.range[1])]
    return descriptor
