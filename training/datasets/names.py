"""Class names as people write them."""

from __future__ import annotations

import re


def plain_name(name: str) -> str:
    """Without what does not matter: case, and whether words are parted by spaces, hyphens or underscores."""
    return " ".join(re.split(r"[\s_-]+", name.strip().lower()))
