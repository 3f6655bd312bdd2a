"""Where the real data is that some tests need, and how they step aside without it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def shared_data(*parts: str) -> Path:
    """A path in the data folder, or a skip that says what is missing.

    The folder is ``$LCR_SEG_DATA``, or ``../shared/data`` beside the checkout.
    """
    path = Path(os.environ.get("LCR_SEG_DATA", ROOT.parent / "shared" / "data")).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"needs {path}: set LCR_SEG_DATA to the folder that holds nyudv2/, kitchen/ and hha/")
    return path


def shared_image(*parts: str) -> Any:
    """The pixels of one of its images, as they are in the file (colours in the order of OpenCV), or a skip."""
    import cv2

    image = cv2.imread(str(shared_data(*parts)), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image
