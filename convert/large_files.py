"""Large files of a hub repository, put into the hub's cache piece by piece.

`snapshot_download` of huggingface_hub 2 begins a file anew when the process that fetched half of it is gone: on a slow
line that is an evening lost. Here the half stays beside the blobs of the cache, and the next run asks for the rest. The
layout of the cache is documented: https://huggingface.co/docs/huggingface_hub/guides/manage-cache.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from agent.errors import HashMismatchError
from agent.hub.part import Part, TooMuchError
from agent.hub.repository import RemoteFile
from agent.hub.tally import OnBytes, Tally

LARGE_BYTES: Final = 1_000_000
"""Smaller ones are left to `snapshot_download`."""
_PART: Final = ".edge-agent.part"
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_OWN_BARS: Final = "huggingface_hub.http_get"


@dataclass(frozen=True)
class LargeFile:
    """A file of the repository; `blob` is where the cache has it once it is whole."""

    file: RemoteFile
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
                remote = RemoteFile(path=file.rfilename, bytes=file.lfs.size, sha256=digest)
                found[digest] = LargeFile(remote, blobs / digest)
    return str(info.sha), list(found.values())


def fetch(hub_id: str, commit: str, files: Sequence[LargeFile], on_bytes: OnBytes) -> None:
    """Download `files`, going on where an earlier run stopped. A file appears in the cache whole or not at all.

    One at a time and in this thread, so that Ctrl-C ends it at once. Raises what huggingface_hub raises, `OSError`, and
    `HashMismatchError` where what came is not what the hub says.
    """
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    tally = Tally(sum(large.file.bytes for large in files), on_bytes)
    quiet = are_progress_bars_disabled(_OWN_BARS)
    disable_progress_bars(_OWN_BARS)
    try:
        for large in files:
            _fetch_one(hub_id, commit, large, tally)
    finally:
        if not quiet:
            enable_progress_bars(_OWN_BARS)


def _fetch_one(hub_id: str, commit: str, large: LargeFile, tally: Tally) -> None:
    large.blob.parent.mkdir(parents=True, exist_ok=True)
    file = large.file
    with large.part.open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another process may be at it: it is waited for
        if large.blob.exists():
            large.part.unlink(missing_ok=True)
            tally.add(file.bytes)
            return
        with Part(large.part, file, on_bytes=tally.add, before_write=lambda: None) as part:
            try:
                if not part.whole:
                    _download_rest(hub_id, commit, part)
            except TooMuchError:
                large.part.unlink()
                raise
            part.sync()
            if not part.right:
                large.part.unlink()
                raise HashMismatchError(
                    f"{file.path} of {hub_id} came damaged: its SHA-256 is {part.sha256}, and the hub says "
                    f"{file.sha256}.",
                    hint="Run it again: this file is downloaded anew.",
                )
        large.part.rename(large.blob)


def _download_rest(hub_id: str, commit: str, part: Part) -> None:
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # it is public all the same

    url = hf_hub_url(hub_id, part.file.path, revision=commit)
    place = get_hf_file_metadata(url).location
    # The token is for the hub, not for the storage that it points to.
    headers = build_hf_headers(token=None if urlsplit(place).netloc == urlsplit(url).netloc else False)
    http_get(place, part, resume_size=part.done_bytes, headers=headers, expected_size=part.file.bytes)  # type: ignore[arg-type]
