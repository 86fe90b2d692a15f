"""Whether what is about to be pulled fits, said before the first byte; where not, the largest that does. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from agent.errors import DiskFullError, MemoryBudgetError
from agent.hub.catalog import KnownModel, gigabytes, largest_that_fits, shortage
from agent.hub.room import Room
from agent.hub.selection import Selection
from agent.hub.source import Source
from agent.store.manifest import Task


def check_room(source: Source, chosen: Selection, present_bytes: int, room: Room, known: Sequence[KnownModel]) -> None:
    """Raises `MemoryBudgetError` or `DiskFullError` with the arithmetic, and the largest that fits in the hint.

    `present_bytes` of it are on the disk already; `known` are the models to name where the repository has none.
    """
    short = shortage(chosen.need, chosen.bytes - present_bytes, room)
    if short:
        kind = DiskFullError if chosen.need.fits else MemoryBudgetError
        hint = f"With --force it is pulled all the same. {_smaller(source, chosen, room, known)}"
        raise kind(f"{chosen.name} does not fit: {short}.", hint=hint)


def _smaller(source: Source, chosen: Selection, room: Room, known: Sequence[KnownModel]) -> str:
    """The largest that fits: of the same repository, else of those that we know."""
    for label, file_bytes, need in chosen.alternatives:
        if file_bytes < chosen.bytes and not shortage(need, file_bytes, room):
            other = Source(repository=source.repository, revision=source.revision, choice=label)
            return f"The largest that fits is {label} ({gigabytes(file_bytes)}): edge-agent models pull {other}"
    task: Task = chosen.draft.task if chosen.draft is not None else "generate"
    found = largest_that_fits(known, task, room)
    if found is None:
        return "Nothing that we know fits (edge-agent models suggest)."
    return f"The largest that fits is {found.model.name} ({gigabytes(found.model.bytes)}): {found.command}"
