"""The hub over the network, through `huggingface_hub`.

HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE and the timeouts mean what they mean everywhere else. Only the hub's address is
asked, and the storage that it points to; its usage statistics are off, and files come over plain HTTP, which can be
gone on with in the middle (Xet, the other way, begins anew).
"""

from __future__ import annotations

import io
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Final, Protocol
from urllib.parse import urljoin, urlsplit

from agent.errors import ArtifactError, HashMismatchError, UnavailableError
from agent.hub.faults import Interrupted, translated
from agent.hub.repository import Digest, RemoteFile, Repository
from agent.hub.source import Source
from agent.store.names import path_fault
from agent.store.probe_report import one_line

LOOK_TIMEOUT_S: Final = 30.0
BLOCK_BYTES: Final = 256 * 1024
"""What is lost of a connection that breaks; huggingface_hub's own 10 MB would never arrive over a bad link."""
SMALL_WAITS_S: Final = (1.0, 2.0)
"""Before another try at a small file."""
_OWN_BARS: Final = "huggingface_hub.http_get"
_HEX: Final = frozenset("0123456789abcdef")
_WEIGHTS: Final = (".safetensors", ".bin", ".pt", ".h5", ".msgpack")
"""Never brought; that they are there says what to do instead."""
_ENDINGS: Final = (".gguf", ".onnx", ".json", ".txt", ".model", *_WEIGHTS)


class Sink(Protocol):
    """Where the bytes of a file go. A server that begins anew makes it `seek` and `truncate`."""

    def write(self, data: bytes, /) -> int: ...
    def tell(self) -> int: ...
    def seek(self, offset: int, /) -> int: ...
    def truncate(self) -> int: ...


def look(source: Source) -> Repository:
    """What is in a repository. Raises `ArtifactError` (no such repository or revision, or not for us),
    `UnavailableError` (the hub cannot be reached, `huggingface_hub` is not installed).
    """
    hub = _library()
    endpoint = str(hub.constants.ENDPOINT)
    with translated(source.repository, source.revision, endpoint):
        info = hub.HfApi().model_info(
            source.repository, revision=source.revision, files_metadata=True, timeout=LOOK_TIMEOUT_S
        )
    if not info.sha:
        raise UnavailableError(f"{endpoint} does not say which commit {source.repository} is at.")
    repository = Repository(
        name=source.repository,
        revision=one_line(str(info.sha), limit=64),
        license=_license(info),
        endpoint=endpoint,
        files=tuple(_remote_file(sibling) for sibling in info.siblings or ()),
    )
    return replace(repository, files=tuple(_known(hub, repository, file) for file in repository.files if _counts(file)))


def _counts(file: RemoteFile) -> bool:
    """Whether a model could need it, or it tells what kind of repository this is. Names that are not safe are not."""
    if path_fault(file.path) is not None:
        return False
    return PurePosixPath(file.path).suffix.lower() in _ENDINGS or ".onnx" in file.path or "/" not in file.path


def _known(hub: _Hub, repository: Repository, file: RemoteFile) -> RemoteFile:
    """`file` with its size and hash, which some mirrors tell only when they are asked for the file itself."""
    if (file.bytes >= 0 and file.digest) or PurePosixPath(file.path).suffix.lower() in _WEIGHTS:
        return file
    with translated(repository.name, repository.revision, repository.endpoint):
        found = hub.get_hf_file_metadata(_address(hub, repository, file), timeout=LOOK_TIMEOUT_S)
    size = file.bytes if file.bytes >= 0 else found.size
    tag = str(found.etag or "").lower()
    if size is None or len(tag) not in (40, 64) or not _HEX.issuperset(tag):
        raise UnavailableError(
            f"{repository.endpoint} does not say how large {file.path} of {repository.name} is, or what its hash is.",
            hint="Without a hash a damaged file cannot be told: use the hub itself, or another mirror.",
        )
    return replace(file, bytes=size, sha256=tag if len(tag) == 64 else "", blob_sha1=tag if len(tag) == 40 else "")


def fetch(repository: Repository, file: RemoteFile, sink: Sink, have_bytes: int) -> None:
    """The bytes of `file` from `have_bytes` on into `sink`, in one go.

    Raises `Interrupted` where another try may help, `ArtifactError` where it will not, and what `sink` raises.
    """
    hub = _library()
    with _quietly(hub), translated(repository.name, repository.revision, repository.endpoint):
        address = _address(hub, repository, file)
        # Storage is addressed by links that expire: a fresh one each time.
        place = urljoin(address, hub.get_hf_file_metadata(address, timeout=LOOK_TIMEOUT_S).location)
        # The token is for the hub, not for the storage.
        same = urlsplit(place)[:2] == urlsplit(address)[:2]
        with translated(repository.name, repository.revision, repository.endpoint, link=not same):
            hub.http_get(
                place,
                sink,
                resume_size=have_bytes,
                headers=hub.build_hf_headers(token=None if same else False),
                expected_size=file.bytes,
                _nb_retries=0,  # we wait longer each time, and ask for a fresh link
            )


def read_small(repository: Repository, file: RemoteFile) -> bytes:
    """The bytes of a small file. Raises as `fetch` does, and `HashMismatchError`."""
    sink = _patiently(repository, file)
    digest = Digest(file)
    digest.update(sink.getvalue())
    if not digest.right:
        raise HashMismatchError(
            f"{file.path} of {repository.name} came damaged: its hash is {digest.found}, and the hub says "
            f"{file.digest}.",
            hint="Try again; if it happens again, something between here and the hub changes what it sends.",
        )
    return sink.getvalue()


def _patiently(repository: Repository, file: RemoteFile) -> _Memory:
    for wait_s in SMALL_WAITS_S:
        sink = _Memory(file.bytes)
        try:
            fetch(repository, file, sink, 0)
            return sink
        except Interrupted as error:
            time.sleep(max(wait_s, error.wait_s))
    sink = _Memory(file.bytes)
    fetch(repository, file, sink, 0)
    return sink


class _Memory(io.BytesIO):
    """Takes no more than was promised."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__()
        self._limit_bytes = limit_bytes

    def write(self, data: Any, /) -> int:
        if self.tell() + len(data) > self._limit_bytes:
            raise ArtifactError(f"The hub sends more than the {self._limit_bytes} bytes that it promised.")
        return super().write(data)


class _Hub:
    """What is used of huggingface_hub 0.30 to 2; some of it is not in its index, but in all of these versions."""

    def __init__(self) -> None:
        from huggingface_hub import HfApi, constants, get_hf_file_metadata, hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # it is public all the same

        self.HfApi = HfApi
        self.constants: Any = constants
        self.get_hf_file_metadata, self.hf_hub_url = get_hf_file_metadata, hf_hub_url
        self.http_get: Any = http_get
        self.build_hf_headers = build_hf_headers


def _library() -> _Hub:
    # Read when it is imported. With statistics on it asks the hub which programs to look for in our environment.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    try:
        return _Hub()
    except ImportError as error:
        missing = error.name or "huggingface_hub"
        raise UnavailableError(
            f"Pulling models needs {missing.partition('.')[0]}, which is not installed.",
            hint="Install it: pip install 'edge-agent[hub]'. Without it: download the file, then "
            "edge-agent models import FILE.",
        ) from None


def _address(hub: _Hub, repository: Repository, file: RemoteFile) -> str:
    return hub.hf_hub_url(repository.name, file.path, revision=repository.revision, endpoint=repository.endpoint)


def _remote_file(sibling: Any) -> RemoteFile:
    large = sibling.lfs
    size = sibling.size if large is None else large.size
    return RemoteFile(
        path=str(sibling.rfilename),
        bytes=size if isinstance(size, int) and size >= 0 else -1,
        sha256=_hash(large.sha256, 64) if large is not None else "",
        blob_sha1=_hash(sibling.blob_id, 40) if large is None else "",
    )


def _hash(text: Any, digits: int) -> str:
    lower = text.lower() if isinstance(text, str) else ""
    return lower if len(lower) == digits and _HEX.issuperset(lower) else ""


def _license(info: Any) -> str | None:
    """The model card's: its name where it is one of its own ("other"); else the hub's tag."""
    card = info.card_data.to_dict() if info.card_data is not None else {}
    said = card.get("license")
    named = card.get("license_name")
    if said == "other" and isinstance(named, str):
        said = named
    if not isinstance(said, str):
        said = next((tag.partition(":")[2] for tag in info.tags or () if str(tag).startswith("license:")), None)
    return one_line(said) if said else None


@contextmanager
def _quietly(hub: _Hub) -> Iterator[None]:
    """Without its bars and its warnings of what we do about; in blocks of our size."""
    from huggingface_hub.utils.logging import get_verbosity, set_verbosity
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    verbosity, quiet = get_verbosity(), are_progress_bars_disabled(_OWN_BARS)
    block_bytes = hub.constants.DOWNLOAD_CHUNK_SIZE
    set_verbosity(logging.CRITICAL)
    disable_progress_bars(_OWN_BARS)
    hub.constants.DOWNLOAD_CHUNK_SIZE = BLOCK_BYTES
    try:
        yield
    finally:
        hub.constants.DOWNLOAD_CHUNK_SIZE = block_bytes
        set_verbosity(verbosity)
        if not quiet:
            enable_progress_bars(_OWN_BARS)
