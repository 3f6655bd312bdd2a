"""Runs training commands in real processes that need not import PyTorch and Lightning again.

These imports take ten seconds of CPU time, more than a training run of test size. A server imports them once
(multiprocessing's forkserver); each command is a fork of it, with its own memory, signals and exit code. That the same
commands also start from a fresh interpreter is tested by the documentation that is run as written (test_docs.py,
test_prepare.py) and by the training runs that `ablate` starts.
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
        # What a run imports later on:
        *("lcr_seg_ros.backends.openvino", "lcr_seg_ros.hha.exact", "lcr_seg_ros.hha.fast", "onnx", "openvino"),
        *("matplotlib.figure", "matplotlib.backends.backend_agg", "timm", "torch.utils.tensorboard"),
    ]
)


@dataclass(frozen=True)
class Finished:
    """The result of a process: its exit code, negative for a signal, and all that it printed."""

    returncode: int
    output: str


def start_function(function: Callable[[list[str]], None], arguments: Sequence[object], log: Path) -> BaseProcess:
    """Start a process that calls a module's ``function`` with the arguments as strings; its output goes to ``log``."""
    process = _CONTEXT.Process(target=_work, args=(function, [str(a) for a in arguments], log))
    process.start()
    return process


def ended(process: BaseProcess, log: Path, timeout: float = 250) -> Finished:
    """Wait for a process to end.

    Raises:
        TimeoutError: it took longer than ``timeout`` seconds; it is killed.
    """
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise TimeoutError(f"a process took more than {timeout} s:\n{log.read_text()[-3000:]}")
    return Finished(process.exitcode, log.read_text())


def run_function(function: Callable[[list[str]], None], arguments: Sequence[object], log: Path) -> Finished:
    """:func:`start_function`, then :func:`ended`."""
    return ended(start_function(function, arguments, log), log)


def start_command(arguments: Sequence[object], log: Path) -> BaseProcess:
    """Start ``python -m lcr_seg_ros ARGUMENTS``."""
    return start_function(_command, arguments, log)


def run_command(arguments: Sequence[object], log: Path) -> Finished:
    """:func:`start_command`, then :func:`ended`."""
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
