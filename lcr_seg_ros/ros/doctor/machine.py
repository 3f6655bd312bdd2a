"""Checks of the machine and of the environment that ROS would start in. Imports no rclpy."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from lcr_seg_ros.ros.doctor.report import Check
from lcr_seg_ros.ros.environment import FASTDDS_PROFILE, PROFILE_VARIABLES, is_undone_by_profiles

AREA = "machine"

MIB, GB = 1 << 20, 10**9
LEAST_MEMORY = GB
"""The node takes 0.5 GB with OpenVINO."""
LEAST_SHARED_MEMORY = 256 * MIB
"""Each process that sends images has a segment of 64 MiB."""
LEAST_SOCKET_BUFFER = 4 * MIB

CPU_INFO, MEMORY_INFO, SHARED_MEMORY = Path("/proc/cpuinfo"), Path("/proc/meminfo"), Path("/dev/shm")
SOCKET_BUFFER = Path("/proc/sys/net/core/rmem_max")


def check_machine() -> list[Check]:
    """CPU, memory, shared memory, socket buffers."""
    return [_cpu(), _memory(), _shared_memory(), _socket_buffer()]


def check_environment(rmw: str) -> list[Check]:
    """What the shell says about ROS.

    Args:
        rmw: middleware in use, e.g. ``rmw_fastrtps_cpp``.
    """
    return [_domain(), _dds_profile(rmw)]


def _cpu() -> Check:
    cores = len(os.sched_getaffinity(0))
    names = {line.partition(":")[2].strip() for line in _lines(CPU_INFO) if line.startswith("model name")}
    found = f"{cores} cores, {next(iter(names), platform.machine())}"
    if cores == 1:
        return Check(AREA, "cpu", "warn", found, "camera, node and DDS share one core: expect a few masks a second")
    return Check(AREA, "cpu", "ok", found)


def _memory() -> Check:
    values = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in _lines(MEMORY_INFO) if line.endswith(" kB")}
    if "MemAvailable" not in values:
        return Check(AREA, "memory", "ok", "unknown")
    free = values["MemAvailable"]
    found = f"{free / GB:.1f} of {values.get('MemTotal', 0) / GB:.1f} GB available"
    if free < LEAST_MEMORY:
        return Check(AREA, "memory", "warn", found, "the node takes about 0.5 GB: end something")
    return Check(AREA, "memory", "ok", found)


def _shared_memory() -> Check:
    name = "shared memory"
    try:
        state = os.statvfs(SHARED_MEMORY)
    except OSError as error:
        return Check(AREA, name, "warn", f"{SHARED_MEMORY}: {error.strerror}", "images go through slow sockets without")
    free = state.f_bavail * state.f_frsize
    found = f"{free / MIB:.0f} of {state.f_blocks * state.f_frsize / MIB:.0f} MiB free in {SHARED_MEMORY}"
    if free < LEAST_SHARED_MEMORY:
        advice = (
            "images travel through it, 64 MiB for each process: give a container --shm-size=1g or --ipc=host, and "
            f"remove what crashed processes have left ({SHARED_MEMORY}/fastrtps_* of nobody)"
        )
        return Check(AREA, name, "warn", found, advice)
    return Check(AREA, name, "ok", found)


def _socket_buffer() -> Check:
    try:
        limit = int(SOCKET_BUFFER.read_text())
    except (OSError, ValueError):
        return Check(AREA, "socket buffer", "ok", "unknown")
    found = f"net.core.rmem_max is {limit / MIB:.2f} MiB"
    if limit < LEAST_SOCKET_BUFFER:
        found += "; enough on this machine, too little for a camera on another: sysctl -w net.core.rmem_max=8388608"
    return Check(AREA, "socket buffer", "ok", found)


def _domain() -> Check:
    domain = os.environ.get("ROS_DOMAIN_ID") or "0"
    reach = os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "")
    local = reach.upper() in ("LOCALHOST", "OFF") or os.environ.get("ROS_LOCALHOST_ONLY") == "1"
    found = f"ROS_DOMAIN_ID {domain}, {'this machine only' if local else 'the whole network'}"
    if reach.upper() == "OFF":
        advice = "ROS_AUTOMATIC_DISCOVERY_RANGE=OFF hides every other process: use LOCALHOST or SUBNET"
        return Check(AREA, "discovery", "fail", found, advice)
    if not domain.isdigit() or not 0 <= int(domain) <= 232:
        advice = "it must be a number of 0 to 101 (up to 232 where the ports are free), the same as the camera's"
        return Check(AREA, "discovery", "fail", found, advice)
    return Check(AREA, "discovery", "ok", found)


def _dds_profile(rmw: str) -> Check:
    if "fastrtps" not in rmw:
        return Check(AREA, "DDS profile", "ok", f"{rmw} needs none of ours")
    given = {variable: os.environ[variable] for variable in PROFILE_VARIABLES if os.environ.get(variable)}
    if is_undone_by_profiles():
        if given:
            found = (
                f"{', '.join(given)} undoes ROS_LOCALHOST_ONLY=1: with a profile, this release listens to the network"
            )
            return Check(AREA, "DDS profile", "warn", found, f"unset {' '.join(given)}, or ROS_LOCALHOST_ONLY")
        found = "not used, since with one this release undoes ROS_LOCALHOST_ONLY=1"
        advice = (
            "640x480 sent best effort does not arrive so: let the driver send reliably, or unset ROS_LOCALHOST_ONLY"
        )
        return Check(AREA, "DDS profile", "warn", found, advice)
    if not given:
        found = "not set in this shell: the node and this program use the shipped one; has the camera's driver it, too?"
        return Check(AREA, "DDS profile", "ok", found)
    for variable, value in given.items():
        path = Path(value.removeprefix("file://"))
        if not path.is_file():
            return Check(
                AREA, "DDS profile", "fail", f"{variable} names {value}, which is not there", f"use {FASTDDS_PROFILE}"
            )
    shipped = all(_same_file(value) for value in given.values())
    return Check(AREA, "DDS profile", "ok", f"{'the shipped one' if shipped else ', '.join(given.values())}")


def _same_file(value: str) -> bool:
    return Path(value).read_bytes() == FASTDDS_PROFILE.read_bytes()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
