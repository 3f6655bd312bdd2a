"""Prepares the process environment before ROS 2 starts in it. Does not import rclpy."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.resources import CONFIG

FASTDDS_PROFILE = CONFIG / "fastdds.xml"
"""Profile with transports that can carry images between processes; the stock ones cannot."""

PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""Variables that name a profile for Fast DDS: the first since version 3 (ROS 2 Kilted), the second before."""

PROFILE_SWITCH = "LCR_SEG_ROS_DDS_PROFILE"
"""Variable that, set to ``off``, keeps the shipped profile from being used."""

_BEFORE_FASTDDS_3 = ("foxy", "galactic", "humble", "iron", "jazzy")


def profile_variable() -> str:
    """The variable that the Fast DDS of the sourced ROS 2 reads; that of the newest release if none is sourced."""
    return PROFILE_VARIABLES[1] if os.environ.get("ROS_DISTRO") in _BEFORE_FASTDDS_3 else PROFILE_VARIABLES[0]


def prepare_ros_environment() -> None:
    """Set the variables that rclpy needs in this process; call it before rclpy is imported.

    A virtual environment with the PyPI wheels of ROS 2 is an ament prefix, but nobody sources it. It is appended to
    ``AMENT_PREFIX_PATH`` if it is missing there, so a sourced ROS installation stays in front.

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
    """Whether a profile would undo ``ROS_LOCALHOST_ONLY``. Up to Humble, rmw_fastrtps adds its local transport to those
    of the profile, which would still listen to the network."""
    distribution = os.environ.get("ROS_DISTRO")
    return os.environ.get("ROS_LOCALHOST_ONLY") == "1" and distribution in ("foxy", "galactic", "humble")


def tuned_dds_environment() -> dict[str, str]:
    """Environment variables that give this process (before rclpy starts) or a child the shipped Fast DDS profile.

    Returns:
        Variables by name. Empty if the user has set another profile, which a child inherits, wants none
        (:data:`PROFILE_SWITCH`), or has set ``ROS_LOCALHOST_ONLY`` where a profile would undo it
        (:func:`is_undone_by_profiles`).
    """
    if os.environ.get(PROFILE_SWITCH) == "off" or any(os.environ.get(variable) for variable in PROFILE_VARIABLES):
        return {}
    if is_undone_by_profiles():
        return {}
    # Newer releases load the file once for each variable, and complain the second time.
    variables = PROFILE_VARIABLES if os.environ.get("ROS_DISTRO") in _BEFORE_FASTDDS_3 else PROFILE_VARIABLES[:1]
    return {variable: str(FASTDDS_PROFILE) for variable in variables}
