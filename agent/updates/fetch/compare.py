"""The job "compare": what local files hold of the wanted ones. Cutting needs numpy, which is only loaded for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agent.updates.fetch.held import HeldChunks
from agent.updates.fetch.listing import Listing
from agent.updates.fetch.places import HELD, index_path
from agent.updates.fetch.wire import Compare, Compared


def compare(job: Compare) -> Compared:
    """Raises `OSError`, `UntrustedError`."""
    folder = Path(job.folder)
    missing_bytes = 0
    with HeldChunks(folder / HELD) as held:
        held.look(Path(job.models), cut_chunks)
        for file in job.files:
            with Listing(index_path(folder, file.sha256), size_bytes=file.bytes, sha256=file.sha256) as listing:
                missing_bytes += sum(chunk.length for chunk in listing if not held.holds(chunk))
    return Compared(missing_bytes)


def cut_chunks(path: Path) -> Iterator[tuple[int, bytes]]:
    import hashlib

    from agent.chunks.cutting import pieces

    offset = 0
    with path.open("rb") as file:
        for piece in pieces(file):
            yield offset, hashlib.sha256(piece).digest()
            offset += len(piece)
