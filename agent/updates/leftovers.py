"""What was fetched for updates that have ended: kept for a while, as it may be asked for again; removed for room."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Final

from agent.errors import DiskFullError
from agent.store.store import Store
from agent.updates.record import Record
from agent.updates.register import Register
from agent.updates.states import State

KEEP_S: Final = 7 * 86_400.0
"""What was fetched for an update that failed or was taken back is kept so long."""
KEPT: Final = frozenset({State.FAILED, State.CANCELLED})


def key_of(digest: str) -> str:
    """The name of the folder in which it comes."""
    return digest[:32]


async def sweep(register: Register, store: Store, now: float) -> None:
    """Removes what nobody will go on with. `now` is Unix time."""
    recent = [one for one in register.ended if one.state in KEPT and now - one.changed_at < KEEP_S]
    await _remove_others(store, [*register.records.values(), *recent])


async def make_room(register: Register, store: Store, key: str, total_bytes: int) -> None:
    """The folder `key` can grow to `total_bytes` when this returns, if what is left of other updates stood in its way.
    Raises `DiskFullError`."""
    try:
        await asyncio.to_thread(store.incoming.check_room, key, total_bytes)
    except DiskFullError:
        if not await _remove_others(store, register.records.values()):
            raise
        await asyncio.to_thread(store.incoming.check_room, key, total_bytes)


async def _remove_others(store: Store, records: Collection[Record]) -> bool:
    """Whether there was anything but what these records have fetched."""
    kept = {key_of(record.digest) for record in records if record.digest}
    others = [key for key in await asyncio.to_thread(store.incoming.keys) if key not in kept]
    for key in others:
        await asyncio.to_thread(store.incoming.remove, key)
    return bool(others)
