"""What ties a result to the data that it was made on."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from lcr_seg_ros.sources.folder import LABEL_FOLDER, DatasetFolder


def digest_split(data: Path, split: str) -> dict[str, Any]:
    """Number of ``frames`` of a split and ``sha256`` of their names and label images.

    Args:
        data: dataset folder with labels.
        split: name of its list.

    Raises:
        SourceError: no such split.
    """
    folder = DatasetFolder(data, split)
    digest = hashlib.sha256()
    for name in folder.names:
        digest.update(name.encode())
        digest.update((data / LABEL_FOLDER / f"{name}.png").read_bytes())
    return {"frames": len(folder), "sha256": digest.hexdigest()}
