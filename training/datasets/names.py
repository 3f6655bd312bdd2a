"""Comparison of class names."""

from __future__ import annotations

import re


def plain_name(name: str) -> str:
    """The name in lower case, with single spaces for spaces, hyphens and underscores, for comparisons."""
    return " ".join(re.split(r"[\s_-]+", name.strip().lower()))
