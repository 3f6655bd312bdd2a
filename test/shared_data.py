"""Locates the real data that some tests need, and skips them without it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def shared_data(*parts: str) -> Path:
    """A path in the data folder; skips the test if it does not exist.

    The folder is ``$LCR_SEG_DATA``, or ``../shared/data`` beside the checkout.
    """
    path = Path(os.environ.get("LCR_SEG_DATA", ROOT.parent / "shared" / "data")).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {path}: set LCR_SEG_DATA to the folder that holds nyudv2/, kitchen/ and hha/")
    return path


def keep_picture(path: Path, name: str) -> None:
    """Copy a picture into ``$LCR_SEG_SCREENSHOTS``, for people to look at; does nothing where that is not set."""
    if folder := os.environ.get("LCR_SEG_SCREENSHOTS"):
        shutil.copyfile(path, Path(folder) / name)


def shared_image(*parts: str) -> Any:
    """Pixels of an image in the data folder, as in the file (colours in OpenCV's order); skips without the file."""
    import cv2

    image = cv2.imread(str(shared_data(*parts)), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image
