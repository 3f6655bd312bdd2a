"""Runs commands as a user does, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from shared_data import ROOT


def run(*arguments: str | Path, code: int = 0, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run ``python -m lcr_seg_ros`` with these arguments; fails unless the exit code is ``code``."""
    answer = subprocess.run(
        [sys.executable, "-m", "lcr_seg_ros", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert answer.returncode == code, answer.stdout + answer.stderr
    return answer
