"""Large files of a hub repository, put into the hub's cache piece by piece.

`snapshot_download` of huggingface_hub 2 begins a file anew when the process that fetched half of it is gone: on a slow
line that is an evening lost. Here the half stays beside the blobs of the cache, and the next run asks for the rest. The
layout of the cache is documented: https://huggingface.co/docs/huggingface_hub/guides/manage-cache.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import IO, Final
from urllib.parse import urlsplit

from agent.errors import HashMismatchError
from agent.store.durable import hash_file

LARGE_BYTES: Final = 1_000_000
"""Smaller ones are left to `snapshot_download`."""
_PART: Final = ".edge-agent.part"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_OWN_BARS: Final = "huggingface_hub.http_get"

OnBytes = Callable[[int, int], None]


@dataclass(frozen=True)
class LargeFile:
    """`name` within the repository; `blob` where the cache has it once it is whole."""

    name: str
    bytes: int
    sha256: str
    blob: Path

    @property
    def part(self) -> Path:
        return self.blob.with_name(self.blob.name + _PART)


def large_files(hub_id: str, revision: str | None, patterns: Sequence[str]) -> tuple[str, list[LargeFile]]:
    """The commit, and the large files that match `patterns` and are not in the cache yet.

    Raises what huggingface_hub raises where it cannot ask the hub.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.file_download import repo_folder_name

    info = HfApi().model_info(hub_id, revision=revision, files_metadata=True)
    blobs = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=hub_id, repo_type="model") / "blobs"
    found = {}
    for file in info.siblings or ():
        wanted = any(fnmatch(file.rfilename, pattern) for pattern in patterns)
        if file.lfs is not None and (file.lfs.size or 0) >= LARGE_BYTES and wanted:
            digest = file.lfs.sha256.lower()
            if _SHA256.fullmatch(digest) and not (blobs / digest).exists():
                found[digest] = LargeFile(file.rfilename, file.lfs.size, digest, blobs / digest)
    return str(info.sha), list(found.values())


def fetch(hub_id: str, commit: str, files: Sequence[LargeFile], on_bytes: OnBytes) -> None:
    """Download `files`, going on where an earlier run stopped. A file appears in the cache whole or not at all.

    One at a time and in this thread, so that Ctrl-C ends it at once. Raises what huggingface_hub raises, `OSError`, and
    `HashMismatchError` where what came is not what the hub says.
    """
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    count = _Count(sum(file.bytes for file in files), on_bytes)
    quiet = are_progress_bars_disabled(_OWN_BARS)
    disable_progress_bars(_OWN_BARS)
    try:
        for file in files:
            _fetch_one(hub_id, commit, file, count)
    finally:
        if not quiet:
            enable_progress_bars(_OWN_BARS)


def _fetch_one(hub_id: str, commit: str, file: LargeFile, count: _Count) -> None:
    file.blob.parent.mkdir(parents=True, exist_ok=True)
    with file.part.open("ab+") as part:
        fcntl.flock(part, fcntl.LOCK_EX)  # another process may be at it: it is waited for
        if file.blob.exists():
            file.part.unlink(missing_ok=True)
            count.add(file.bytes)
            return
        have_bytes = min(part.seek(0, os.SEEK_END), file.bytes)
        part.truncate(have_bytes)
        count.add(have_bytes)
        if have_bytes < file.bytes:
            _download_rest(hub_id, commit, file, _Counted(part, count), have_bytes)
        part.flush()
        os.fsync(part.fileno())
        _, digest = hash_file(file.part, limit_bytes=file.bytes, on_bytes=lambda _: None)
        if digest != file.sha256:
            file.part.unlink()
            raise HashMismatchError(
                f"{file.name} of {hub_id} came damaged: its SHA-256 is {digest}, and the hub says {file.sha256}.",
                hint="Run it again: this file is downloaded anew.",
            )
        file.part.rename(file.blob)


def _download_rest(hub_id: str, commit: str, file: LargeFile, target: _Counted, have_bytes: int) -> None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # it is public all the same

    url = hf_hub_url(hub_id, file.name, revision=commit)
    place = get_hf_file_metadata(url).location
    # The token is for the hub, not for the storage that it points to.
    headers = build_hf_headers(token=None if urlsplit(place).netloc == urlsplit(url).netloc else False)
    http_get(place, target, resume_size=have_bytes, headers=headers, expected_size=file.bytes)  # type: ignore[arg-type]


class _Count:
    """Bytes of all files together."""

    def __init__(self, total_bytes: int, on_bytes: OnBytes) -> None:
        self._done_bytes = 0
        self._total_bytes = total_bytes
        self._on_bytes = on_bytes

    def add(self, count: int) -> None:
        self._done_bytes += count
        self._on_bytes(self._done_bytes, self._total_bytes)


class _Counted:
    """A file that tells how much is written to it, and takes it back where a server begins from the start again."""

    def __init__(self, file: IO[bytes], count: _Count) -> None:
        self._file = file
        self._count = count

    def write(self, data: bytes) -> int:
        self._count.add(len(data))
        return self._file.write(data)

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)

    def truncate(self) -> int:
        self._file.flush()
        before = os.fstat(self._file.fileno()).st_size
        after = self._file.truncate(self._file.tell())
        self._count.add(after - before)
        return after
