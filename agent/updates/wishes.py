"""Who wants which version: the fleet's desired state, its commands, somebody at the device. The last word counts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from agent.errors import RequestError
from agent.updates.desired import Desired, Target, check_wanted, read_desired
from agent.updates.policy import Terms
from agent.updates.record import Origin, Record
from agent.updates.register import Register
from agent.updates.states import IllegalMoveError, Move, State, may

DESIRED: Final = "desired"
"""The journal's fact with the desired state's bytes."""


class Wishes:
    """Turns wishes into updates, and takes updates back. Everything raises what the journal raises.

    Within `hold` no step of an update is taken, and nothing is left of one that was; `added` is called when there is
    something new to do.
    """

    def __init__(
        self,
        register: Register,
        *,
        hold: Callable[[int], AbstractAsyncContextManager[None]],
        added: Callable[[], None],
    ) -> None:
        self._register = register
        self._hold = hold
        self._added = added
        self._asking = asyncio.Lock()
        self.desired = Desired()
        self.unreadable: str | None = None
        """What is wrong with the last desired state that came."""

    async def recall(self) -> None:
        """The desired state as it was when the process ended."""
        payload = await self._register.fact(DESIRED)
        with contextlib.suppress(RequestError):
            self.desired = read_desired(payload or b"")

    async def ask(self, name: str, version: str | None, *, origin: Origin, terms: Terms, rev: str = "") -> Record:
        """The update, which may be one that is under way already; older ones of the model are taken back. Raises
        `RequestError` for what cannot be a name."""
        check_wanted(name, version)
        async with self._asking:
            for record in self._of(name):
                if (record.target, record.terms) == (version, terms) and not _goes(record):
                    return await self._renew(record, origin, rev)
            added = await self._register.add(Record(name=name, target=version, origin=origin, rev=rev, terms=terms))
            for record in self._of(name):
                if record.id != added.id:
                    await self._replace(record, added)
        self._added()
        return added

    async def cancel(self, name: str) -> list[Record]:
        """Raises `RequestError` if nothing of the model can be taken back."""
        async with self._asking:
            found = [record for record in self._of(name) if may(record.state, Move.WITHDRAW)]
            if not found:
                raise RequestError(f"No update of {name[:100]} is under way.", param="model")
            for record in found:
                await self._withdraw(record, "it was cancelled")
        return found

    async def withdraw(self, name: str, version: str | None, terms: Terms, spared: Collection[int]) -> None:
        """A command is taken back: what commands alone have asked for is not wanted any more, but for `spared`."""
        async with self._asking:
            await self._register.settle()  # it may have been broken off in the middle of asking
            for record in self._of(name):
                found = record.origin, record.target, record.terms
                if found == ("command", version, terms) and record.id not in spared:
                    await self._withdraw(record, "its command was taken back")

    async def strive(self, payload: bytes) -> None:
        """The fleet's word, which may be the same as before. On the disk when this returns; one that cannot be read
        changes nothing."""
        try:
            wanted = read_desired(payload)
        except RequestError as error:
            self.unreadable = error.message
            return
        self.unreadable = None
        await self._register.set_fact(DESIRED, payload or None)
        self.desired = wanted
        for name, target in wanted.models.items():
            if not self._was_asked(name, target):
                await self.ask(name, target.version, origin="desired", terms=target.terms, rev=wanted.rev)
        async with self._asking:
            for record in list(self._register.records.values()):
                if record.origin == "desired" and record.name not in wanted.models:
                    await self._withdraw(record, "the fleet does not want it any more")

    def _was_asked(self, name: str, target: Target) -> bool:
        """Whether this revision has asked for it before. What failed is tried again by the next revision."""
        return any(
            (one.origin, one.name, one.rev) == ("desired", name, self.desired.rev)
            and (one.target, one.terms) == (target.version, target.terms)
            for one in (*self._register.records.values(), *self._register.ended)
        )

    async def _renew(self, record: Record, origin: Origin, rev: str) -> Record:
        """It is asked for once more: by somebody who does not want to wait for the next attempt, or by a new revision
        of the desired state."""
        changes: dict[str, Any] = {}
        if origin != "desired":
            changes = {"attempts": 0, "retry_at": None}
        elif record.origin != "person":
            changes = {"rev": rev}
        if record.origin == "command":  # it has another one who wants it
            changes |= {"origin": origin}
        renewed = await self._register.change(record.id, **changes)
        self._added()
        return renewed

    async def _replace(self, record: Record, by: Record) -> None:
        """An older one of the same model: what serves on probation goes on, unless the version before it is what is
        wanted now."""
        if record.state is not State.PROBATION or by.target == record.previous is not None:
            await self._withdraw(record, f"{by.label} is wanted instead")

    async def _withdraw(self, record: Record, why: str) -> None:
        if not may(record.state, Move.WITHDRAW):
            return
        async with self._hold(record.id):
            now = self._register.records.get(record.id)
            if now is not None and may(now.state, Move.WITHDRAW):
                with contextlib.suppress(IllegalMoveError):  # it has proved itself at this very moment
                    await self._register.move(record.id, Move.WITHDRAW, reason=why)
        self._added()

    def _of(self, name: str) -> list[Record]:
        """Under way, in order."""
        return [record for record in self._register.records.values() if record.name == name]


def _goes(record: Record) -> bool:
    """Whether it is on its way out."""
    return record.state in (State.REVERTING, State.RETURNING, State.REJECTING, State.CANCELLING)
