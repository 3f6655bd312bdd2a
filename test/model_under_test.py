"""The model that end-to-end tests run: the one that ships, or another named by the environment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lcr_seg_ros.bundle import find_model
from lcr_seg_ros.errors import BundleError


def model_under_test() -> Path:
    """Path of the shipped model ``nyu40``, or of ``$LCR_SEG_TEST_MODEL``; skips where there is none."""
    try:
        return find_model(os.environ.get("LCR_SEG_TEST_MODEL", "nyu40")).resolve()
    except BundleError as error:
        pytest.skip(f"needs a model ({error}); name one in LCR_SEG_TEST_MODEL")
