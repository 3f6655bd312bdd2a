"""Commands of the training in real processes that need not import PyTorch and Lightning again.

Those imports take ten seconds of CPU time, more than a training of the size that tests have. A server imports them
once (multiprocessing's forkserver); each command is a fork of it, with its own memory, signals and exit code. That
the same commands start from a cold interpreter is shown by the pages that are run word for word (test_docs.py,
test_prepare.py) and by the trainings that `ablate` starts.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        *("lcr_seg_ros.training.train", "lcr_seg_ros.training.train_command", "lcr_seg_ros.training.export_command"),
        # What a run imports on its way:
        *("lcr_seg_ros.backends.openvino", "lcr_seg_ros.hha.exact", "lcr_seg_ros.hha.fast", "onnx", "openvino"),
        *("matplotlib.figure", "matplotlib.backends.backend_agg", "timm", "torch.utils.tensorboard"),
    ]
)


@dataclass(frozen=True)
class Finished:
    """How a process ended: its exit code, negative for a signal, and all that it printed."""

    returncode: int
    output: str


def start_function(function: Callable[[list[str]], None], arguments: Sequence[object], log: Path) -> BaseProcess:
    """A process that calls ``function`` of a module with the arguments as words, and prints into ``log``."""
    process = _CONTEXT.Process(target=_work, args=(function, [str(a) for a in arguments], log))
    process.start()
    return process


def ended(process: BaseProcess, log: Path, timeout: float = 250) -> Finished:
    """Wait for its end.

    Raises:
        TimeoutError: it took longer; it is killed.
    """
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f"a process took more than {timeout} s:\n{log.read_text()[-3000:]}")
    return Finished(process.exitcode, log.read_text())


def run_function(function: Callable[[list[str]], None], arguments: Sequence[object], log: Path) -> Finished:
    """Both; raises as :func:`ended`."""
    return ended(start_function(function, arguments, log), log)


def start_command(arguments: Sequence[object], log: Path) -> BaseProcess:
    """``python -m lcr_seg_ros ARGUMENTS``."""
    return start_function(_command, arguments, log)


def run_command(arguments: Sequence[object], log: Path) -> Finished:
    """The same, to its end; raises as :func:`ended`."""
    return run_function(_command, arguments, log)


def _command(arguments: list[str]) -> None:
    from lcr_seg_ros.cli import main

    main(arguments)


def _work(function: Callable[[list[str]], None], arguments: list[str], log: Path) -> None:
    with log.open("wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = [sys.argv[0], *arguments]
    function(arguments)
