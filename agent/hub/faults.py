"""Where the exceptions of huggingface_hub, and of the HTTP library below it, become ours: one clear sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from agent.errors import ArtifactError, EdgeAgentError, RequestError, UnavailableError
from agent.store.probe_report import one_line

_NETWORK: Final = frozenset({"httpx", "httpx2", "httpcore", "httpcore2", "requests", "urllib3", "ssl", "socket"})
"""Packages whose exceptions mean that the connection failed; which of them is used depends on huggingface_hub."""
_BUSY: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
_LONGEST_WAIT_S: Final = 120.0
_AGAIN: Final = "Run it again: it goes on where it stopped."


class Interrupted(UnavailableError):
    """Nothing that is wrong for good: another try may help. `wait_s` is what the server asked for, else 0."""

    def __init__(self, message: str, *, hint: str = "", wait_s: float = 0.0) -> None:
        super().__init__(message, hint=hint)
        self.wait_s = wait_s


@contextmanager
def translated(repository: str, revision: str | None, endpoint: str, *, link: bool = False) -> Iterator[None]:
    """Exceptions inside become `Interrupted`, `ArtifactError`, `RequestError` or `UnavailableError`.

    Our own, and what writing to the disk raises, pass through. `link` says that storage is asked by a link of the
    hub's: where it refuses, the link has expired, and another try gets a fresh one.
    """
    try:
        yield
    except EdgeAgentError:
        raise
    except Exception as error:
        found = _translated(repository, revision, endpoint, error)
        if found is None:
            raise
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if link and status in (401, 403, 404, 410):
            found = Interrupted(f"The storage of {endpoint} refuses {repository} (status {status}).", hint=_AGAIN)
        raise found from error


def _translated(repository: str, revision: str | None, endpoint: str, error: Exception) -> EdgeAgentError | None:
    from huggingface_hub import errors

    chain = _chain(error)
    for one in chain:
        if isinstance(one, errors.OfflineModeIsEnabled):
            return UnavailableError(
                f"HF_HUB_OFFLINE forbids to ask {endpoint} for {repository}.", hint="Unset HF_HUB_OFFLINE."
            )
        if isinstance(one, errors.HFValidationError):
            return RequestError(f"{repository} is not the name of a repository: {_first_line(one)}")
        if isinstance(one, errors.GatedRepoError):
            return ArtifactError(
                f"{repository} is gated: its owner gives access to known accounts only.",
                hint=f"Accept the terms at {endpoint}/{repository}, then set HF_TOKEN to a token of that account.",
            )
        if isinstance(one, errors.RevisionNotFoundError):
            return ArtifactError(
                f"{repository} has no revision {revision or 'main'}.", hint="Look at its branches and tags."
            )
        if isinstance(one, errors.RepositoryNotFoundError):
            return _not_found(repository, endpoint)
        if isinstance(one, errors.EntryNotFoundError):
            return ArtifactError(f"A file that {endpoint} lists in {repository} is not there: {_first_line(one)}")
        if isinstance(one, errors.HfHubHTTPError):
            return _refused(repository, endpoint, one)
        if type(one).__name__ == "TooManyRedirects":
            return UnavailableError(
                f"{endpoint} redirects in circles when asked for {repository}.",
                hint="Check HF_ENDPOINT, and a proxy between here and the hub.",
            )
        if type(one).__name__ in ("UnsupportedProtocol", "InvalidURL", "InvalidSchema", "MissingSchema"):
            return RequestError(f"{endpoint} is no address to download from: {_first_line(one)}", param="HF_ENDPOINT")
    for one in chain:
        if _is_network(one):
            return Interrupted(
                f"{endpoint} cannot be reached for {repository}: {_first_line(one)}",
                hint=f"Check the network, and HF_ENDPOINT if it is set. {_AGAIN}",
            )
        if isinstance(one, ValueError):
            return UnavailableError(
                f"What answers at {endpoint} does not speak the hub's language: {_first_line(one)}",
                hint="Check HF_ENDPOINT.",
            )
    if isinstance(error, OSError) and error.errno is None and "Consistency check" in str(error):
        return Interrupted(f"{endpoint} sent less of {repository} than it promised.", hint=_AGAIN)
    if isinstance(error, OSError):
        return None
    return UnavailableError(f"{repository} could not be downloaded: {_first_line(error)}", hint=_AGAIN)


def _refused(repository: str, endpoint: str, error: Any) -> EdgeAgentError:
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", 0)
    if status == 404:
        return _not_found(repository, endpoint)
    if status in (401, 403):
        return ArtifactError(
            f"{endpoint} does not let us have {repository} (status {status}).",
            hint="Set HF_TOKEN to a token that may read it, and accept the repository's terms if it has any.",
        )
    message = f"{endpoint} answered with status {status} when asked for {repository}."
    if status in _BUSY or status == 416:
        said = str(response.headers.get("Retry-After", "")) if response is not None else ""
        wait_s = min(float(said), _LONGEST_WAIT_S) if said.isdecimal() else 0.0
        return Interrupted(message, hint=_AGAIN, wait_s=wait_s)
    return UnavailableError(message, hint=_AGAIN)


def _not_found(repository: str, endpoint: str) -> ArtifactError:
    return ArtifactError(
        f"There is no repository {repository} at {endpoint}, or it is private.",
        hint="Check the spelling; for a private repository set HF_TOKEN.",
    )


def _is_network(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] in _NETWORK or isinstance(error, ConnectionError | TimeoutError)


def _chain(error: BaseException) -> list[BaseException]:
    """The exception and what caused it."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in chain:
        chain.append(cause)
        cause = cause.__cause__ or cause.__context__
    return chain


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = one_line(lines[0], limit=300) if lines else type(error).__name__
    return text if text.endswith(".") else f"{text}."
