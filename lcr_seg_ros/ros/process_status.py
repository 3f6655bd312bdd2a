"""What Linux tells about a process in /proc/PID/status."""

from __future__ import annotations

from pathlib import Path

SELF = Path("/proc/self/status")


def read_process_status(file: Path = SELF) -> dict[str, str]:
    """The entries of ``/proc/PID/status``, such as ``{"VmRSS": "123456 kB", "Threads": "12"}``.

    Raises:
        OSError: there is no /proc, or no such process.
    """
    lines = file.read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def megabytes(amount: str) -> float:
    """An amount of memory, such as ``"123456 kB"``, in MB of 10^6 bytes. These kB are 1024 bytes each (proc(5))."""
    return int(amount.split()[0]) * 1024 / 1e6
