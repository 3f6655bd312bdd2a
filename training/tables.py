"""Tables of reports, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, the first row its header; every column but the first is right-aligned."""
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    rule = "|" + "|".join(["---", *["---:"] * (len(rows[0]) - 1)]) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def csv_table(rows: Sequence[Sequence[object]]) -> bytes:
    """A CSV file, the first row its header; lines end with a line feed alone."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
