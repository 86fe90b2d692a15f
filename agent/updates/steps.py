"""What is done in each state before the switch is over. Every step may have been done before, in part or in whole."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.errors import (
    ArtifactError,
    ModelFailedError,
    ModelLoadError,
    ModelNotFoundError,
    UpdateError,
    WorkerCrashedError,
)
from agent.store.layout import StoredModel
from agent.store.names import MANIFEST_NAME
from agent.store.store import Store
from agent.updates.leftovers import key_of, make_room
from agent.updates.parts import Allowance, Fetching, Resolved, Switching, Trying, Wanted
from agent.updates.policy import Policy, Step, Wait
from agent.updates.record import Record
from agent.updates.register import Register
from agent.updates.states import Move, State

LOOK_S: Final = 1.0
"""How often a fetch that runs is compared with the policy."""
OVERTIME_S: Final = 30.0
"""A trial ends itself in time; one that does not is cut off so much later."""
NEW_BEGINNING: Final = 1 / 16
"""So much of the whole that is newly in place lets the attempts begin anew: there are at most 16 such beginnings."""
UNFIT: Final = (ModelLoadError, ModelFailedError, WorkerCrashedError)
"""What the candidate itself is to blame for, when it should serve and does not."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What the policy says of one update, now."""

    policy: Callable[[Record], Policy]
    wait: Callable[[Step, Record], Wait | None]
    allowance: Callable[[Record], Allowance]
    served_from: Callable[[str], Path | None]
    """The file that a model is served from in place of the store: no version of the store would be served."""


class Steps:
    """`fetching` None: there is no repository. Each step raises `EdgeAgentError`; cancelled, it can be done again."""

    def __init__(
        self,
        register: Register,
        store: Store,
        rules: Rules,
        *,
        fetching: Fetching | None,
        trying: Trying,
        switching: Switching,
    ) -> None:
        self._register = register
        self._store = store
        self._rules = rules
        self._fetching = fetching
        self._trying = trying
        self._switching = switching
        self._resolved: dict[int, Resolved] = {}
        """What this process has asked the repository for, by update."""
        self._table: dict[State, tuple[Step | None, Callable[[Record], Awaitable[None]]]] = {
            State.WANTED: (Step.RESOLVE, self._resolve),
            State.FETCHING: (Step.FETCH, self._fetch),
            State.STAGED: (None, self._adopt),
            State.TRYING: (Step.TRY, self._try),
            State.PASSED: (Step.SWITCH, self._begin),
            State.SWITCHING: (None, self._switch),
        }

    def does(self, state: State) -> bool:
        return state in self._table

    def asks(self, state: State) -> Step | None:
        """What the policy is asked before the step of `state`; None: it has no say any more."""
        return self._table[state][0] if state in self._table else None

    async def take(self, record: Record) -> None:
        """The next step."""
        await self._table[record.state][1](record)

    def forget(self, id: int) -> None:
        self._resolved.pop(id, None)

    async def _resolve(self, record: Record) -> None:
        if (file := self._rules.served_from(record.name)) is not None:
            raise UpdateError(
                f"{record.name} is served from the file {file}, which an update does not change.",
                hint=f"Import it (edge-agent models import), and take models.{record.name}.path out of agent.toml.",
            )
        if record.target is not None and (stored := await self._stored(record.name, record.target)) is not None:
            await self._present(record, stored, await asyncio.to_thread(_digest_of, stored))
            return
        resolved = await self._ask(record, record.target)
        digest = hashlib.sha256(resolved.manifest).hexdigest()
        if (stored := await self._stored(resolved.name, resolved.version)) is not None:
            if await asyncio.to_thread(_digest_of, stored) != digest:
                raise ArtifactError(
                    f"Version {stored.version} of {stored.name} is in the store and is not the repository's.",
                    hint=f"Remove it (edge-agent models rm {stored.name} --version {stored.version}).",
                )
            await self._present(record, stored, digest)
            return
        found = {"version": resolved.version, "digest": digest}
        if (why := await self._known_bad(record, digest)) is not None:
            await self._register.move(record.id, Move.KNOWN_BAD, reason=why, **found)
            return
        await self._register.move(record.id, Move.RESOLVE, **found, **_sizes(resolved))

    async def _present(self, record: Record, stored: StoredModel, digest: str) -> None:
        found = {"version": stored.version, "digest": digest}
        if stored.active:
            await self._register.move(record.id, Move.CURRENT, reason="it is active already", **found)
        elif (why := await self._known_bad(record, digest)) is not None:
            await self._register.move(record.id, Move.KNOWN_BAD, reason=why, **found)
        else:
            await self._register.move(record.id, Move.PRESENT, reason="it is in the store already", **found)

    async def _fetch(self, record: Record) -> None:
        resolved = self._resolved.get(record.id)
        if resolved is None:
            resolved = await self._ask(record, record.version)
            digest = hashlib.sha256(resolved.manifest).hexdigest()
            found = {"version": resolved.version, "digest": digest}
            if (why := await self._known_bad(record, digest)) is not None:
                await self._register.move(record.id, Move.KNOWN_BAD, reason=why, **found)
                return
            if digest != record.digest and record.digest is not None:
                await asyncio.to_thread(self._store.incoming.remove, key_of(record.digest))
                record = await self._register.move(record.id, Move.RESOLVE, **found, **_sizes(resolved))
            else:
                self._register.progress(record.id, bytes_missing=resolved.bytes_missing)
        if await self._bring(self._register.records[record.id], resolved):
            await self._register.move(record.id, Move.FETCH, bytes_done=resolved.bytes_total)
            self.forget(record.id)

    async def _bring(self, record: Record, resolved: Resolved) -> bool:
        """Whether all of it is here. False: the policy has something against it for now."""
        assert record.digest is not None
        if self._rules.wait(Step.FETCH, record) is not None:
            return False
        key = key_of(record.digest)
        into = await asyncio.to_thread(self._store.incoming.folder, key)
        await make_room(self._register, self._store, key, resolved.bytes_total)
        fetching = asyncio.create_task(self._consume(record, resolved, into), name=f"fetch:{record.name}")
        try:
            while not fetching.done():
                await asyncio.wait([fetching], timeout=LOOK_S)
                if not fetching.done() and self._rules.wait(Step.FETCH, self._register.records[record.id]) is not None:
                    return False
            fetching.result()
            return True
        finally:
            if not fetching.done():
                fetching.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await fetching
            await self._register.note(record.id, force=True)

    async def _consume(self, record: Record, resolved: Resolved, into: Path) -> None:
        assert self._fetching is not None
        id, fetched_bytes = record.id, 0
        stream = self._fetching.fetch(
            resolved, into, allowance=lambda: self._rules.allowance(self._register.records[id])
        )
        async with aclosing(stream) as progress:
            async for seen in progress:
                now = self._register.records[id]
                changes = {"bytes_done": seen.bytes_done, "bytes_total": seen.bytes_total}
                if seen.bytes_done >= now.bytes_best + max(1.0, seen.bytes_total * NEW_BEGINNING):
                    changes |= {"bytes_best": seen.bytes_done, "attempts": 0}
                self._register.progress(id, fetched_bytes=max(0, seen.bytes_fetched - fetched_bytes), **changes)
                fetched_bytes = max(fetched_bytes, seen.bytes_fetched)
                await self._register.note(id)

    async def _adopt(self, record: Record) -> None:
        assert record.digest is not None
        assert record.version is not None
        try:
            await asyncio.to_thread(self._store.incoming.adopt, key_of(record.digest), record.name, record.version)
        except ArtifactError as error:
            if error.param == "version":  # not its own fault: something else has its name
                raise
            await self._register.move(record.id, Move.REFUSE, reason=error.message)
        else:
            await self._register.move(record.id, Move.ADOPT, adopted=True)

    async def _try(self, record: Record) -> None:
        assert record.version is not None
        limits = self._rules.policy(record).limits
        candidate = await asyncio.to_thread(self._store.get, record.name, record.version)
        try:
            running: StoredModel | None = await asyncio.to_thread(self._store.active, record.name)
        except ModelNotFoundError:
            running = None
        try:
            async with asyncio.timeout(limits.trial_timeout_s + OVERTIME_S):
                verdict = await self._trying.judge(candidate, running, limits)
        except TimeoutError:
            why = f"its trial did not end within {limits.trial_timeout_s:g} s"
            await self._register.move(record.id, Move.REFUSE, reason=why)
            return
        reason = " ".join(verdict.reasons)
        move = Move.PASS if verdict.passed else Move.REFUSE
        await self._register.move(record.id, move, reason=reason, figures=verdict.figures)

    async def _begin(self, record: Record) -> None:
        """Written down first: from here on either version may be the active one."""
        previous = self._store.layout.active_version(record.name)
        if previous == record.version:  # somebody was faster
            previous = self._store.previous_version(record.name)
        await self._register.move(record.id, Move.BEGIN, previous=previous)

    async def _switch(self, record: Record) -> None:
        assert record.version is not None
        try:
            await self._switching.switch(record.name, record.version)
        except UNFIT as error:
            await self._register.move(record.id, Move.REFUSE, reason=f"it does not serve: {error.message}")
        else:
            await self._register.move(record.id, Move.SWITCH)

    async def _ask(self, record: Record, version: str | None) -> Resolved:
        if self._fetching is None:
            raise UpdateError(
                f"{record.label} is not in the store, and no repository of models is set.",
                hint="Set updates.url and updates.root_file; docs/updates.md tells how.",
            )
        resolved = await self._fetching.resolve(Wanted(name=record.name, version=version))
        self._resolved[record.id] = resolved
        return resolved

    async def _known_bad(self, record: Record, digest: str) -> str | None:
        """Why it was rejected before, unless it shall be tried again."""
        bad = self._register.rejected.get(digest)
        if bad is None:
            return None
        if record.terms.again:
            await self._register.forgive(digest)
            return None
        return f"rejected before: {bad.reason}"

    async def _stored(self, name: str, version: str) -> StoredModel | None:
        return await asyncio.to_thread(self._store.layout.whole, name, version)


def _sizes(resolved: Resolved) -> dict[str, int]:
    return {"bytes_total": resolved.bytes_total, "bytes_missing": resolved.bytes_missing, "bytes_done": 0}


def _digest_of(stored: StoredModel) -> str:
    return hashlib.sha256((stored.path / MANIFEST_NAME).read_bytes()).hexdigest()
