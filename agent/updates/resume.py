"""What the start of the daemon makes of what it finds: it may have been killed at any moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from agent.store.store import Store
from agent.updates.leftovers import sweep
from agent.updates.policy import Policy
from agent.updates.record import Record
from agent.updates.register import Register
from agent.updates.states import Move, State

STOPPED: Final = "stopped"
"""The journal's fact that says that the daemon ended in order."""
_RAN: Final = {
    State.TRYING: (Move.REFUSE, "tried"),
    State.SWITCHING: (Move.REFUSE, "switched to"),
    State.PROBATION: (Move.CONDEMN, "on probation"),
}
"""States in which the candidate may run, and so be what ended the daemon."""


async def resume(
    register: Register, store: Store, *, policy: Callable[[Record], Policy], waits: Callable[[Record], bool], now: float
) -> None:
    """`waits`: the policy holds the update up, so its candidate did not run. `now` is Unix time."""
    if await register.fact(STOPPED):
        await register.set_fact(STOPPED, None)
    else:
        for record in list(register.records.values()):
            rested = record.retry_at is not None and record.retry_at > now
            if record.state in _RAN and not rested and not waits(record):
                await _count(register, record, policy(record).interruptions)
    await sweep(register, store, now)


async def stopped(register: Register) -> None:
    """The daemon ends in order."""
    await register.set_fact(STOPPED, 1)


async def _count(register: Register, record: Record, limit: int) -> None:
    count = record.interruptions + 1
    move, doing = _RAN[record.state]
    if count < limit:
        await register.change(record.id, interruptions=count)
    else:
        await register.move(record.id, move, reason=f"the daemon was lost {count} times while it was {doing}")
