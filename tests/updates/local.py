"""The parts of an update on one machine: a repository that is a folder, a trial that reads the candidate, a switch of
the store. They move real files; only networks and engines are left out."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from agent.errors import EdgeAgentError, ModelNotFoundError
from agent.store.layout import StoredModel
from agent.store.names import MANIFEST_NAME
from agent.store.store import Store
from agent.updates.journal import Journal
from agent.updates.parts import Allowance, Health, Limits, Progress, Resolved, TargetFile, Verdict, Wanted
from agent.updates.policy import Circumstances, Policy
from agent.updates.updater import Updater
from tests.store.material import artifact, small_store

PIECE_BYTES = 1000
NOON = datetime(2026, 5, 20, 12, 0)
BAD = b"BAD"
"""What a model begins with that does not pass its trial."""
Hook = Callable[[str], None]

LIMITS = Limits(
    speed_ratio=0.7,
    memory_ratio=1.5,
    load_timeout_s=5,
    trial_timeout_s=5,
    hang_timeout_s=5,
    probation_s=0,
    probation_requests=1000,
    probation_crashes=1,
    probation_error_ratio=0.2,
    probation_error_requests=5,
)
POLICY = Policy(
    windows=(),
    bytes_per_day=None,
    bytes_per_s=None,
    metered="no",
    metered_bytes=5000,
    battery_percent=30,
    while_speaking=False,
    attempts=3,
    retry_first_s=0.01,
    retry_cap_s=0.05,
    interruptions=3,
    keep_versions=2,
    limits=LIMITS,
)


def publish(folder: Path, name: str, version: str, content: bytes) -> None:
    """A version of a model of one file into a repository."""
    artifact(folder / name / version, {"model.gguf": content}, name=name, version=version)


@dataclass
class FolderRepository:
    """Copies PIECE_BYTES at a time, and goes on with what is there. The latest version is the last one by name."""

    folder: Path
    hook: Hook = lambda point: None
    errors: list[EdgeAgentError] = field(default_factory=list)
    """Raised, one after another, by `resolve` and `fetch`."""
    asked: list[Wanted] = field(default_factory=list)
    fetched_bytes: int = 0
    pause: asyncio.Event | None = None
    """Waited for after each piece."""

    async def resolve(self, wanted: Wanted) -> Resolved:
        self.asked.append(wanted)
        self._fail()
        versions = sorted(path.name for path in self.folder.glob(f"{wanted.name}/*"))
        version = wanted.version or (versions[-1] if versions else "")
        if version not in versions:
            raise ModelNotFoundError(f"There is no {wanted.name} {version}.")
        manifest = (self.folder / wanted.name / version / MANIFEST_NAME).read_bytes()
        files = tuple(TargetFile(**one) for one in json.loads(manifest)["files"])
        total = sum(file.bytes for file in files)
        return Resolved(
            name=wanted.name, version=version, manifest=manifest, files=files, bytes_total=total, bytes_missing=total
        )

    async def fetch(
        self, resolved: Resolved, into: Path, *, allowance: Callable[[], Allowance]
    ) -> AsyncGenerator[Progress, None]:
        self._fail()
        fetched = 0
        for file in resolved.files:
            target = into / file.path
            content = (self.folder / resolved.name / resolved.version / file.path).read_bytes()
            while (there := target.stat().st_size if target.exists() else 0) < file.bytes:
                while allowance().bytes_left == 0:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
                with target.open("ab") as out:
                    out.write(content[there : there + PIECE_BYTES])
                fetched += PIECE_BYTES
                self.fetched_bytes += PIECE_BYTES
                self.hook("piece")
                yield Progress(bytes_done=there, bytes_total=resolved.bytes_total, bytes_fetched=fetched)
                if self.pause is not None:
                    await self.pause.wait()
            assert hashlib.sha256(target.read_bytes()).hexdigest() == file.sha256
        (into / MANIFEST_NAME).write_bytes(resolved.manifest)
        self.hook("whole")
        yield Progress(bytes_done=resolved.bytes_total, bytes_total=resolved.bytes_total, bytes_fetched=fetched)

    def _fail(self) -> None:
        if self.errors:
            raise self.errors.pop(0)


@dataclass
class ReadingTrial:
    """A model that begins with BAD fails."""

    hook: Hook = lambda point: None
    judged: list[str] = field(default_factory=list)
    errors: list[EdgeAgentError] = field(default_factory=list)

    async def judge(self, candidate: StoredModel, running: StoredModel | None, limits: Limits) -> Verdict:
        self.judged.append(candidate.version)
        self.hook("judging")
        if self.errors:
            raise self.errors.pop(0)
        content = candidate.main_path.read_bytes()
        if content.startswith(BAD):
            return Verdict(passed=False, reasons=("1 of 1 answers are wrong",), figures={"right": 0})
        return Verdict(passed=True, figures={"right": 1})


@dataclass
class StoreSwitch:
    """The store's active version is what serves."""

    store: Store
    hook: Hook = lambda point: None
    errors: list[EdgeAgentError] = field(default_factory=list)
    """Raised by `switch`, one after another."""

    async def switch(self, name: str, version: str) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.hook("before the switch")
        self.store.activate(name, version)
        self.hook("after the switch")

    async def back(self, name: str, version: str | None) -> None:
        self.hook("before the way back")
        if version is not None:
            self.store.activate(name, version)
        else:
            self.store.layout.current(name).unlink(missing_ok=True)
        self.hook("after the way back")


@dataclass
class Watched:
    now: Health = field(default_factory=Health)

    def health(self, name: str) -> Health:
        return self.now


@dataclass
class Site:
    """A device with a store, a repository and an updater, which `start` makes anew, as a restart of the daemon does."""

    root: Path
    policy: Policy = POLICY
    around: Circumstances = field(default_factory=lambda: Circumstances(now=NOON))
    hook: Hook = lambda point: None

    def __post_init__(self) -> None:
        self.store = small_store(self.root / "models")
        self.repository = FolderRepository(self.root / "repository", hook=self.hook)
        self.trial = ReadingTrial(hook=self.hook)
        self.switch = StoreSwitch(self.store, hook=self.hook)
        self.watched = Watched()
        self.changes = 0

    def updater(self, **changes: Any) -> Updater:
        parts: dict[str, Any] = {
            "fetching": self.repository,
            "trying": self.trial,
            "switching": self.switch,
            "watching": self.watched,
            "policy": self.policy,
            "around": lambda: self.around,
            "changed": self._changed,
            "dice": lambda: 0.5,
        }
        return Updater(self.store, Journal(self.root / "updates.db"), **{**parts, **changes})

    def install(self, version: str, content: bytes, name: str = "m") -> None:
        """A version that is active, as if it had always been."""
        publish(self.root / "repository", name, version, content)
        self.store.import_folder(self.root / "repository" / name / version, activate=True)

    def publish(self, version: str, content: bytes, name: str = "m") -> None:
        publish(self.root / "repository", name, version, content)

    @property
    def active(self) -> str | None:
        return self.store.layout.active_version("m")

    def _changed(self) -> None:
        self.changes += 1
