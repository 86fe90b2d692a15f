"""What an update is made of, as the updater sees it: who fetches, who tries, who switches, who watches.

The updater (`updater.py`) decides what comes next (`states.py`, `policy.py`), writes it down (`journal.py`) and asks
these parts to do it. Each may be asked again for the same thing, because the process was killed in between: it goes on
where it was, or does it once more.

Errors are those of `agent.errors`. `UpdateError` says by `retry` whether the same may work later; every other
`EdgeAgentError` is taken as one that will not, but for `UnavailableError` and `DiskFullError`. What is not an
`EdgeAgentError` is a mistake in the program: it is logged, counts as an attempt, and is tried again.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from agent.store.layout import StoredModel


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A model that shall run. `version` None is what the repository calls the latest."""

    name: str
    version: str | None = None


@dataclass(frozen=True, kw_only=True)
class TargetFile:
    """A file of the artifact, as signed. `path` is relative to the artifact's folder; SHA-256 in lower-case hex."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What `Wanted` comes to, by metadata that was verified just now.

    `manifest` are the bytes of manifest.json as signed; `files` are all the others, with the sizes and hashes that are
    signed (those of the manifest have been compared with them). `bytes_total` is what `files` take on the disk,
    `bytes_missing` about how much of it must come over the network: no local file holds it.
    """

    name: str
    version: str
    manifest: bytes
    files: tuple[TargetFile, ...]
    bytes_total: int
    bytes_missing: int


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Bytes of files that are in place and checked, of how many; `bytes_fetched` is what has come over the network
    since this `fetch` was begun, all of it: metadata, chunks thrown away, headers as far as known."""

    bytes_done: int
    bytes_total: int
    bytes_fetched: int


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What the policy allows at this moment. None: as much as there is."""

    bytes_per_s: float | None = None
    bytes_left: int | None = None
    """Of today's budget, from now on. At 0 the fetch holds until there is more, or until it is closed."""


TELLING_REQUESTS: Final = 10
"""The speed of fewer says nothing."""


class Fetching(Protocol):
    """Gets verified files from the repository. Raises `UpdateError` (`UntrustedError` for what is not as signed),
    `DiskFullError`, `ModelNotFoundError` for a name or a version that the repository does not have."""

    async def resolve(self, wanted: Wanted) -> Resolved:
        """Refreshes the metadata and finds the version. Fetches the manifest and the chunk indices, no model file."""

    def fetch(
        self, resolved: Resolved, into: Path, *, allowance: Callable[[], Allowance]
    ) -> AsyncGenerator[Progress, None]:
        """Brings the files into the folder `into`, which may hold what an earlier `fetch` of the same brought.

        `allowance` is asked again at least once a second. Progress comes at least once a second while bytes come, and
        at the end. When the generator is exhausted, `into` holds manifest.json and the files, each checked as a whole
        and synced, and nothing else. Closed before (`aclose`), it stops within a second and keeps what it has; what it
        leaves in `into` is its own affair, and is deleted with the folder when nobody wants it any more.
        """


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a candidate must keep to; the manifest's gates may ask for more, never for less.

    `speed_ratio`: its tokens (texts, seconds of sound) per second over those of the running version, at least.
    `memory_ratio`: its measured memory over that of the running version, at most. None of the two counts when there is
    no running version of the same task. Probation ends well after `probation_s`, or sooner after `probation_requests`
    that went well; it ends badly at `probation_crashes` crashes, or at more than `probation_error_ratio` of its
    requests failed, of at least `probation_error_requests`.
    """

    speed_ratio: float
    memory_ratio: float
    load_timeout_s: float
    trial_timeout_s: float
    """For the whole trial, the loading included."""
    hang_timeout_s: float
    """For one answer of the candidate."""
    probation_s: float
    probation_requests: int
    probation_crashes: int
    probation_error_ratio: float
    probation_error_requests: int


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`reasons` are sentences: why it failed, or what was not looked at. `figures` are plain values for the fleet:
    what was measured of the candidate and of the running version."""

    passed: bool
    reasons: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)


class Trying(Protocol):
    """Loads a candidate in a worker of its own and runs its tests."""

    async def judge(self, candidate: StoredModel, running: StoredModel | None, limits: Limits) -> Verdict:
        """A candidate that crashes, hangs or cannot be loaded has failed: that is a verdict, not an error. Raises
        `EdgeAgentError` for what is not the candidate's doing (no memory while others are busy, shutting down): it
        is tried again later. Cancelled, it leaves nothing running, and the running version serves."""


class Switching(Protocol):
    """Puts versions of a model into service, without a failed request. Both are idempotent."""

    async def switch(self, name: str, version: str) -> None:
        """`version`, which is in the store, becomes the active one, and serves when this returns. Raises
        `EdgeAgentError`; then the one before is active and serves."""

    async def back(self, name: str, version: str | None) -> None:
        """The version that was active before serves again. None: there was none; then the model is out of service."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """Of the active version, counted since `switch` (or since the start of the daemon, if that was later). `units` and
    `work_s` as in `agent.runtime.snapshot.Health`, and `worked` how many requests they are of: all since the start of
    this process. `under_way`: requests that run or wait now. `held_up`: the share of its work, at most, in which it
    waited for the processors that other programs had."""

    requests_ok: int = 0
    requests_failed: int = 0
    crashes: int = 0
    under_way: int = 0
    worked: int = 0
    units: float = 0.0
    work_s: float = 0.0
    held_up: float = 0.0

    @property
    def rate_per_s(self) -> float | None:
        """Units per second of one request; None of too few requests."""
        return self.units / self.work_s if self.worked >= TELLING_REQUESTS and self.work_s > 0 else None

    @property
    def most_rate_per_s(self) -> float | None:
        """The same, as it might be without other programs."""
        rate = self.rate_per_s
        return None if rate is None else rate / (1.0 - self.held_up) if self.held_up < 1.0 else math.inf


class Watching(Protocol):
    def health(self, name: str) -> Health: ...


class BlockPipe(Protocol):
    """The broker, as a fetch that has nothing else sees it. For use in the event loop."""

    @property
    def connected(self) -> bool: ...

    async def ask(self, payload: bytes) -> None:
        """Publishes on `P/blk/req`. Raises `NotConnectedError`, `PublishRefusedError`."""

    def answers(self, take: Callable[[str, bytes], None]) -> AbstractContextManager[None]:
        """While entered, what comes on `P/blk/REST` is given to `take(REST, payload)`: "SHA256/INDEX" for blocks.
        One at a time; what comes while nobody has entered is dropped."""
