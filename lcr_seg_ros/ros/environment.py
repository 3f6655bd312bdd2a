"""What the process environment must hold before ROS 2 starts in it. Imports no rclpy."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.resources import CONFIG

FASTDDS_PROFILE = CONFIG / "fastdds.xml"
"""Transports that carry images between processes; stock ones do not."""

PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""What Fast DDS reads: the first since its version 3 (ROS 2 Kilted), the second before."""

PROFILE_SWITCH = "LCR_SEG_ROS_DDS_PROFILE"
"""Set to ``off``, it leaves Fast DDS as it is."""

_BEFORE_FASTDDS_3 = ("foxy", "galactic", "humble", "iron", "jazzy")


def profile_variable() -> str:
    """What the Fast DDS of the sourced ROS 2 reads; the newest one's where none is sourced."""
    return PROFILE_VARIABLES[1] if os.environ.get("ROS_DISTRO") in _BEFORE_FASTDDS_3 else PROFILE_VARIABLES[0]


def prepare_ros_environment() -> None:
    """Make rclpy importable and complete in this process; call it before rclpy is imported.

    A virtual environment with the PyPI wheels of ROS 2 is an ament prefix, but nobody sources it: it is
    appended to ``AMENT_PREFIX_PATH`` where it is missing. A sourced ROS installation keeps its place in front.

    Raises:
        LcrSegError: rclpy is not installed.
    """
    if find_spec("rclpy") is None:
        raise LcrSegError(
            "ROS 2's Python library rclpy is not found: source a ROS 2 installation "
            "(. /opt/ros/<distribution>/setup.sh), or pip install 'lcr_seg_ros[ros]'"
        )
    prefix = Path(sys.prefix)
    if not (prefix / "share/ament_index/resource_index/packages/rclpy").is_file():
        return
    known = [path for path in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if path]
    if str(prefix) not in known:
        os.environ["AMENT_PREFIX_PATH"] = os.pathsep.join([*known, str(prefix)])


def is_undone_by_profiles() -> bool:
    """Whether ``ROS_LOCALHOST_ONLY`` is set where rmw_fastrtps adds its transport to those of a profile, as up to
    Humble: the profile's would listen to the network all the same."""
    distribution = os.environ.get("ROS_DISTRO")
    return os.environ.get("ROS_LOCALHOST_ONLY") == "1" and distribution in ("foxy", "galactic", "humble")


def tuned_dds_environment() -> dict[str, str]:
    """Environment variables that give this process (before rclpy starts) or a child the shipped Fast DDS profile.

    Returns:
        Empty if the user has set a profile of their own, which then holds for the child as well, wants none
        (:data:`PROFILE_SWITCH`), or wants to stay on this machine in a way that a profile undoes
        (:func:`is_undone_by_profiles`).
    """
    if os.environ.get(PROFILE_SWITCH) == "off" or any(os.environ.get(variable) for variable in PROFILE_VARIABLES):
        return {}
    if is_undone_by_profiles():
        return {}
    # Newer releases load the file once for each variable, and complain about the second time.
    variables = PROFILE_VARIABLES if os.environ.get("ROS_DISTRO") in _BEFORE_FASTDDS_3 else PROFILE_VARIABLES[:1]
    return {variable: str(FASTDDS_PROFILE) for variable in variables}
