"""Downloads of large files over HTTP that can be resumed, with a check of size and SHA-256."""

from __future__ import annotations

import http.client
import json
import logging
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lcr_seg_ros.errors import SourceError
from lcr_seg_ros.files import replace_file
from lcr_seg_ros.training.datasets.manifest import sha256_of

_BLOCK_BYTES = 1 << 18
_TIMEOUT_S = 60.0
_BEGINNING_BYTES = 4096
"""How much of a file has to agree with the published one before what is missing is appended to it."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RemoteFile:
    """A published file: name, address and, if known, size in bytes and SHA-256."""

    name: str
    url: str
    size: int | None = None
    sha256: str | None = None


def download(remote: RemoteFile, folder: Path, attempts: int = 5, pause_s: float = 2.0) -> Path:
    """Download a file into ``folder``, resuming from ``NAME.part`` if an earlier run stopped (HTTP Range, RFC 9110).

    Args:
        remote: what to download. An existing file is kept if its size and SHA-256 are right or unknown. If it is
            shorter and begins as the published one, it is a download by other means that was cut off, and is renamed
            to ``NAME.part``.
        folder: where to write it; created.
        attempts: give up after so many connections in a row that broke without any progress.
        pause_s: seconds between connections.

    Returns:
        Path of the complete file.

    Raises:
        SourceError: the server does not answer or refuses, or size or SHA-256 are not those of the published file.
    """
    if not remote.url.startswith(("http://", "https://")):
        raise SourceError(f"can only download over http and https, got {remote.url!r}")
    path = folder / remote.name
    part = _Part(folder / f"{remote.name}.part")
    if path.is_file() and _is_cut_off(path, remote):
        log.warning("%s has %d of %d bytes: going on from there", path, path.stat().st_size, remote.size)
        part.take_over(path)
    elif path.is_file():
        _check(path, remote, f"remove {path} and run again, or give another file")
        return path
    folder.mkdir(parents=True, exist_ok=True)
    fruitless = 0
    while True:
        before = part.size
        try:
            _fetch(remote, part)
            break
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:  # from 500 on, the server may recover
                raise SourceError(f"{remote.url} answers {error.code} {error.reason}: is the address right?") from error
            fruitless = 0 if part.size > before else fruitless + 1
            if fruitless >= attempts:
                raise SourceError(
                    f"{remote.url} stopped after {part.size} bytes ({error or type(error).__name__}): "
                    f"run again to go on from there, or fetch it by other means as {path}"
                ) from error
            log.warning("%s: stopped after %d bytes (%s), going on", remote.name, part.size, error)
            time.sleep(pause_s)
    try:
        _check(part.path, remote, "what was fetched has been removed, run again")
    except SourceError:
        part.remove()
        raise
    part.path.replace(path)
    part.remove()
    return path


class _Part:
    """An incomplete file and, in another beside it, the validator that the server gave for it (ETag or date)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._note = path.with_name(path.name + ".json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.is_file() else 0

    @property
    def validator(self) -> str:
        try:
            return str(json.loads(self._note.read_text(encoding="utf-8"))["validator"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""

    def begin(self, validator: str) -> None:
        replace_file(self._note, json.dumps({"validator": validator}).encode())
        self.path.write_bytes(b"")

    def take_over(self, file: Path) -> None:
        """Go on from this file, unless there is more here already. No validator is known for it."""
        if file.stat().st_size > self.size:
            self._note.unlink(missing_ok=True)
            file.replace(self.path)

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)


def _is_cut_off(path: Path, remote: RemoteFile) -> bool:
    """Whether a file is shorter than the published one and begins as that does.

    Raises:
        SourceError: the server does not answer.
    """
    if remote.size is None or path.stat().st_size >= remote.size:
        return False
    with path.open("rb") as file:
        ours = file.read(_BEGINNING_BYTES)
    if not ours:
        return True
    headers = {"Accept-Encoding": "identity", "Range": f"bytes=0-{len(ours) - 1}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(remote.url, headers=headers), timeout=_TIMEOUT_S) as answer:
            return bool(answer.read(len(ours)) == ours)
    except (OSError, http.client.HTTPException) as error:
        raise SourceError(
            f"{path} has {path.stat().st_size} bytes, the published {remote.name} has {remote.size}, and {remote.url} "
            f"cannot be asked for the rest ({error or type(error).__name__}): run again, or give another file"
        ) from error


def _fetch(remote: RemoteFile, part: _Part) -> None:
    """Append what is missing to ``part``; returns only when the server has sent everything it announced."""
    start = part.size
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if part.validator:
            headers["If-Range"] = part.validator  # a file that has changed is sent from its beginning
    try:
        answer = urllib.request.urlopen(urllib.request.Request(remote.url, headers=headers), timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not start:
            raise
        if _total(error.headers.get("Content-Range", "")) == start:
            return None  # nothing is missing
        part.remove()
        return _fetch(remote, part)
    with answer:
        begins = answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        if start and not (answer.status == 206 and begins):
            start = 0  # the server sends the whole file
        if not start:
            part.begin(_validator(answer.headers))
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length is not None else remote.size
        with (
            part.path.open("ab") as file,
            tqdm(
                desc=remote.name, total=total, initial=start, unit="B", unit_scale=True, leave=False, disable=None
            ) as bar,
        ):
            while block := answer.read(_BLOCK_BYTES):
                file.write(block)
                bar.update(len(block))
    if total is not None and part.size < total:
        raise http.client.IncompleteRead(b"", total - part.size)
    return None


def _validator(headers: Any) -> str:
    """A validator that If-Range accepts: a strong ETag, else the file's date; empty if there is neither."""
    tag = headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")


def _total(content_range: str) -> int | None:
    size = content_range.rpartition("/")[2]
    return int(size) if size.isdigit() else None


def _check(path: Path, remote: RemoteFile, advice: str) -> None:
    size = path.stat().st_size
    if remote.size is not None and size != remote.size:
        raise SourceError(f"{path} has {size} bytes, the published {remote.name} has {remote.size}: {advice}")
    if remote.sha256 is not None:
        digest = sha256_of(path, f"checking {remote.name}")
        if digest != remote.sha256:
            raise SourceError(f"{path} has SHA-256 {digest}, the published {remote.name} has {remote.sha256}: {advice}")
