"""Child processes in a ROS domain of their own, which end when their parent is done with them; waiting beside them."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType

import click

from lcr_seg_ros.errors import LcrSegError
from lcr_seg_ros.ros.environment import tuned_dds_environment

KEPT_LINES = 400
HIGHEST_DOMAIN = 100
"""Up to this domain id, the UDP ports that DDS derives from it are below the ephemeral ports."""


def isolated_ros_environment(domain_id: int | None = None) -> dict[str, str]:
    """This process's environment, restricted to this machine and a ROS domain, with the shipped DDS profile.

    Args:
        domain_id: 0..100; None: :func:`free_domain_id`.
    """
    return {
        **os.environ,
        **tuned_dds_environment(),
        "ROS_DOMAIN_ID": str(free_domain_id() if domain_id is None else domain_id),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "PYTHONUNBUFFERED": "1",
    }


_ENDING_WITH_PARENT = """
import ctypes, os, signal, sys
parent, program = int(sys.argv[1]), sys.argv[2:]
PR_SET_PDEATHSIG = 1
getattr(ctypes.CDLL(None), "prctl", lambda *_: None)(PR_SET_PDEATHSIG, signal.SIGKILL)
if os.getppid() == parent:  # else it was killed before the line above
    os.execvp(program[0], program)
"""
"""Program that becomes another one, which Linux then kills as soon as the process that started it is gone. A function
that Python calls between fork and exec would do the same, but not safely in a process with threads."""

_calls = itertools.count()


def free_domain_id() -> int:
    """A domain id of 1..100 that no participant on this machine seems to use.

    The search starts at a number that depends on the process, and behind the id that the call before it gave: until a
    participant has started, nothing shows that an id is taken.
    """
    first = 37 * os.getpid() + next(_calls)  # processes that started one after the other search far apart
    for candidate in (1 + (first + i) % HIGHEST_DOMAIN for i in range(HIGHEST_DOMAIN)):
        # Port of the first participant in a domain (DDSI-RTPS 2.5, 9.6.2.3: 7400 + 250 domain + 10).
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("0.0.0.0", 7410 + 250 * candidate))
                return candidate
            except OSError:
                continue
    return 1 + first % HIGHEST_DOMAIN


class ChildProcess:
    """A process in its own session, whose output is gathered line by line.

    Args:
        name: for messages.
        command: program and arguments.
        env: its complete environment.
        on_line: called, in a thread, with each line that it writes to stdout or stderr.
        ends_with_parent: kill it, too, if this process is killed and so cannot end it (on Linux). To be made in a
            thread that lasts as long as the process.

    As a context manager it ends the process on exit: SIGINT, then SIGKILL to its process group after a grace period.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        env: dict[str, str],
        on_line: Callable[[str], None] = lambda line: None,
        *,
        ends_with_parent: bool = False,
    ) -> None:
        self.name = name
        if ends_with_parent:
            command = [sys.executable, "-I", "-S", "-c", _ENDING_WITH_PARENT, str(os.getpid()), *command]
        self.lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._on_line = on_line
        # Its own session: Ctrl-C in the terminal reaches only the parent, which ends its children in order.
        self._process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=f"{name}-output", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def last_lines(self, count: int = 12) -> str:
        """The last lines of its output."""
        return "\n".join(list(self.lines)[-count:])

    def wait_for_line(self, text: str, timeout_s: float) -> bool:
        """Wait for a line with ``text`` in it; returns whether one came within ``timeout_s`` and before the end."""
        deadline = time.monotonic() + timeout_s
        while not any(text in line for line in list(self.lines)):
            if self.exit_code is not None or time.monotonic() > deadline:
                self._reader.join(timeout=1.0)
                return any(text in line for line in list(self.lines))
            time.sleep(0.05)
        return True

    def wait(self, timeout_s: float) -> int | None:
        """The exit code, or None if it still runs after ``timeout_s``."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None
        self._reader.join(timeout=2.0)
        return code

    def end(self, grace_s: float = 8.0) -> int:
        """Ask it to stop (SIGINT), and kill its process group after ``grace_s`` seconds; returns the exit code."""
        if self.exit_code is None:
            self._process.send_signal(signal.SIGINT)
            if self.wait(grace_s) is None:
                os.killpg(self._process.pid, signal.SIGKILL)
        code = self._process.wait()
        self._reader.join(timeout=2.0)
        return code

    def __enter__(self) -> ChildProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))
            self._on_line(self.lines[-1])


class ProcessWatch:
    """Waits for conditions, until a process ends or the user interrupts.

    Args:
        stop: set when the user interrupts.
        children: processes that should not end meanwhile.
    """

    def __init__(self, stop: threading.Event, *children: ChildProcess) -> None:
        self._stop = stop
        self._children = children

    def until(self, happened: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for ``happened``; returns whether it did within ``timeout_s`` seconds.

        Raises:
            LcrSegError: a process ended.
            click.Abort: the user interrupted.
        """
        deadline = time.monotonic() + timeout_s
        while not happened():
            for child in self._children:
                if child.exit_code is not None:
                    raise LcrSegError(f"the {child.name} ended with exit code {child.end()}:\n{child.last_lines()}")
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            if self._stop.wait(min(0.05, left)):
                raise click.Abort
        return True

    def wait(self, seconds: float) -> None:
        """Wait for ``seconds``; raises as :meth:`until`."""
        self.until(lambda: False, seconds)

    def last_lines(self) -> str:
        """The last lines of all processes' output."""
        lines = [f"{child.name} | {line}" for child in self._children for line in child.last_lines().splitlines()]
        return "\n".join(lines)
