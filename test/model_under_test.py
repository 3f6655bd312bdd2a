"""The model for end-to-end tests: a shipped one, or another named by the environment."""

from __future__ import annotations

import os
from pathlib import Path

from lcr_seg_ros.bundle import find_model


def model_under_test() -> Path:
    """Path of the shipped model ``nyu40``, or of ``$LCR_SEG_TEST_MODEL``; a checkout without it fails the tests."""
    return find_model(os.environ.get("LCR_SEG_TEST_MODEL", "nyu40")).resolve()
