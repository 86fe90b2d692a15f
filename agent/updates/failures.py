"""What becomes of an update whose step has failed: another attempt later, or none."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from agent.errors import (
    DiskFullError,
    EdgeAgentError,
    ModelNotFoundError,
    ShuttingDownError,
    UnavailableError,
    UpdateError,
)
from agent.store.store import Store
from agent.updates.conditions import Conditions
from agent.updates.leftovers import key_of
from agent.updates.policy import retry_s
from agent.updates.record import Record
from agent.updates.register import Register
from agent.updates.states import IllegalMoveError, Move, State, may

_log = logging.getLogger("agent.updates")


class Failures:
    """`dice` is uniform in [0, 1), `wall` gives Unix time."""

    def __init__(
        self,
        register: Register,
        store: Store,
        conditions: Conditions,
        *,
        dice: Callable[[], float],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._register = register
        self._store = store
        self._conditions = conditions
        self._dice = dice
        self._wall = wall

    async def take(self, taken: Record, error: Exception) -> None:
        """`error` ended a step of `taken`. The way back is tried for ever. Raises what the journal raises."""
        id = taken.id
        record = self._register.records.get(id)
        if record is None or isinstance(error, ShuttingDownError):
            return
        if isinstance(error, IllegalMoveError) and record.state is not taken.state:
            return  # its course was changed meanwhile
        known = isinstance(error, EdgeAgentError)
        if not known:
            _log.error("the update of %s failed at %s", record.label, record.state, exc_info=error)
        reason = str(error) if known else f"internal error: {error!r}"
        policy, attempts = self._conditions.policy_of(record), record.attempts + 1
        if may(record.state, Move.GIVE_UP) and (attempts >= policy.attempts or not may_mend(error, record.state)):
            _log.error("%s is given up after attempt %d: %s", record.label, attempts, reason)
            if isinstance(error, DiskFullError) and record.digest is not None:
                await asyncio.to_thread(self._store.incoming.remove, key_of(record.digest))
            await self._register.move(id, Move.GIVE_UP, reason=reason, attempts=attempts)
        else:
            pause_s = retry_s(policy, attempts, self._dice())
            _log.warning("%s: attempt %d failed (%s); again in %.0f s", record.label, attempts, reason, pause_s)
            await self._register.change(id, attempts=attempts, retry_at=self._wall() + pause_s, reason=reason)


def may_mend(error: Exception, state: State) -> bool:
    """Whether the same may work later. What the repository does not have may be published a moment later."""
    if isinstance(error, UpdateError):
        return error.retry
    if isinstance(error, ModelNotFoundError):
        return state in (State.WANTED, State.FETCHING)
    return isinstance(error, UnavailableError | DiskFullError) or not isinstance(error, EdgeAgentError)
