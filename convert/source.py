"""Where a checkpoint comes from: a folder of this machine, or a repository of the Hugging Face hub.

`huggingface_hub` downloads into its own cache, keeps what is whole, and goes on after a broken connection where it
stopped. HF_ENDPOINT, HF_TOKEN, HF_HOME and HF_HUB_OFFLINE mean what they mean everywhere else.
"""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from agent.errors import ArtifactError, DiskFullError, EdgeAgentError, RequestError, UnavailableError
from agent.terminal import Progress
from convert.large_files import fetch, large_files

EVERYTHING_BUT_WEIGHTS: Final = ("*.json", "*.txt", "*.model", "*.tiktoken", "*.jinja", "README.md")
"""What describes a model and its tokenizer."""
SAFETENSORS: Final = ("model*.safetensors",)
"""The weights, but not a second copy in another layout, such as Mistral's `consolidated.safetensors`."""

_HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?", re.ASCII)
_NETWORK: Final = frozenset({"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "hf_xet"})
"""Packages whose exceptions mean that the connection failed; which of them is used depends on huggingface_hub."""
_AGAIN: Final = "Run it again: it goes on where it stopped."


def is_hub_id(source: str) -> bool:
    """Whether `source` is no folder here, and can be the name of a hub repository: `org/model` or `model`."""
    return not Path(source).expanduser().exists() and _HUB_ID.fullmatch(source) is not None


def source_name(source: str) -> str:
    """What people call it: the last part of the hub id or of the folder's path."""
    return source.rsplit("/", 1)[-1] if is_hub_id(source) else Path(source).expanduser().resolve().name


def label(source: str, folder: Path) -> str:
    """Where it came from, in one line for a manifest: the hub id and its commit, or the folder's name."""
    return f"{source}@{folder.name}" if is_hub_id(source) else source_name(source)


def resolve(
    source: str, *, revision: str | None = None, files: Sequence[str] = (*EVERYTHING_BUT_WEIGHTS, *SAFETENSORS)
) -> Path:
    """The folder of a checkpoint: `source` itself, or what is downloaded for a hub id.

    `files` are the patterns to download, as `fnmatch` has them; `revision` is a branch, a tag or a commit of the hub.

    Raises `RequestError` where `source` is neither a folder nor a hub id; `ArtifactError` where the hub has no such
    repository or revision, or does not let us have it; `UnavailableError` where the hub cannot be reached;
    `DiskFullError`.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise RequestError(f"{source} is a folder, which has no revision {revision!r}.", hint="Leave it out.")
    elif folder.exists():
        raise RequestError(f"{source} is a file.", hint="Give the folder of a Hugging Face checkpoint, or a hub id.")
    elif is_hub_id(source):
        folder = _download(source, revision, files)
    else:
        raise RequestError(
            f"{source} is neither a folder nor a hub id.", hint="A hub id looks like Qwen/Qwen2.5-0.5B-Instruct."
        )
    return folder


def _download(hub_id: str, revision: str | None, files: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.logging import get_verbosity, set_verbosity

    verbosity = get_verbosity()
    set_verbosity(logging.ERROR)  # it warns of each retry; what matters is raised
    try:
        _fetch_large_files(hub_id, revision, files)
        with Progress(hub_id) as progress:
            found = snapshot_download(
                hub_id,
                revision=revision,
                allow_patterns=list(files),
                tqdm_class=_bar_class(progress),
            )
    except EdgeAgentError:
        raise
    except Exception as error:
        raise _translated(hub_id, revision, error) from error
    finally:
        set_verbosity(verbosity)
    return Path(found)


def _fetch_large_files(hub_id: str, revision: str | None, files: Sequence[str]) -> None:
    """Into the cache, where `snapshot_download` finds them."""
    try:
        commit, large = large_files(hub_id, revision, files)
    except Exception:  # no network, no such repository, ...: it asks the same, looks into its cache, and says so
        return
    if large:
        with Progress(hub_id) as progress:
            fetch(hub_id, commit, large, progress)


def _bar_class(progress: Callable[[int, int], None]) -> type[Any]:
    """A tqdm class that draws nothing and tells `progress` how many bytes are here, of how many.

    The hub counts files, bytes received and bytes written in bars of their own, which ones depends on its version.
    """
    from huggingface_hub.utils.tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.counts_bytes = kwargs.get("unit") == "B"
            super().__init__(*args, **{**kwargs, "disable": True})  # type: ignore[no-untyped-call]
            self.n = kwargs.get("initial") or 0

        def update(self, n: float | None = 1) -> None:
            self.n += n or 0
            if self.counts_bytes and self.total and self.n <= self.total:
                progress(int(self.n), int(self.total))

    return Bar


def _translated(hub_id: str, revision: str | None, error: Exception) -> EdgeAgentError:
    """What went wrong, in one sentence."""
    from huggingface_hub import constants, errors

    cause: BaseException | None = error
    chain: list[BaseException] = []
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    for one in chain:
        if isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT):
            return DiskFullError(
                f"The disk filled up while {hub_id} was downloaded to {constants.HF_HUB_CACHE}.",
                hint="Make room, or set HF_HOME to another place. What is whole is kept.",
            )
        if isinstance(one, errors.GatedRepoError):
            return ArtifactError(
                f"{hub_id} is gated: its owner gives access to known accounts only.",
                hint=f"Accept the terms at {constants.ENDPOINT}/{hub_id}, then set HF_TOKEN, or run hf auth login.",
            )
        if isinstance(one, errors.RevisionNotFoundError):
            return ArtifactError(
                f"{hub_id} has no revision {revision or 'main'}.", hint="Look at its branches and tags."
            )
        if isinstance(one, errors.RepositoryNotFoundError):
            return _not_found(hub_id)
    for one in chain:
        if isinstance(one, errors.OfflineModeIsEnabled):
            return UnavailableError(
                f"{hub_id} is not downloaded yet, and HF_HUB_OFFLINE forbids to do it now.",
                hint="Unset HF_HUB_OFFLINE once, or give a folder.",
            )
        if isinstance(one, errors.HFValidationError):
            return RequestError(f"{hub_id} is not a hub id: {_first_line(one)}")
        if isinstance(one, errors.HfHubHTTPError):
            return _refused(hub_id, constants.ENDPOINT, one)
    for one in chain:
        if type(one).__module__.partition(".")[0] in _NETWORK or isinstance(one, ConnectionError | TimeoutError):
            return UnavailableError(
                f"{hub_id} could not be downloaded from {constants.ENDPOINT}: {_first_line(one)}",
                hint=f"Check the network. {_AGAIN}",
            )
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return ArtifactError(f"{error.filename}: {error.strerror}.", hint="Set HF_HOME to a place that can be written.")
    return UnavailableError(f"{hub_id} could not be downloaded: {_first_line(error)}", hint=_AGAIN)


def _not_found(hub_id: str) -> ArtifactError:
    from huggingface_hub import constants

    return ArtifactError(
        f"There is no folder {hub_id} here, and no repository {hub_id} at {constants.ENDPOINT}, or it is private.",
        hint="Check the spelling; for a private repository set HF_TOKEN, or run hf auth login.",
    )


def _refused(hub_id: str, endpoint: str, error: Any) -> EdgeAgentError:
    status = getattr(getattr(error, "response", None), "status_code", 0)
    if status == 404:
        return _not_found(hub_id)
    if status in (401, 403):
        return ArtifactError(
            f"{endpoint} does not let us have {hub_id} (status {status}).",
            hint="Set HF_TOKEN to a token that may read it, or run hf auth login.",
        )
    return UnavailableError(f"{endpoint} answered with status {status} when asked for {hub_id}.", hint=_AGAIN)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else type(error).__name__
    return text if text.endswith(".") else f"{text}."
