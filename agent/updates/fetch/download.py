"""The job "download": local chunks first, then the missing ones from the repository; each file checked as a whole."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from agent.errors import EdgeAgentError, HashMismatchError, UpdateError
from agent.store.durable import Filesystem
from agent.store.names import MANIFEST_NAME, path_fault
from agent.updates.fetch.faults import HeldError, InterruptedFetchError, disk_fault
from agent.updates.fetch.held import HeldChunks
from agent.updates.fetch.listing import Listing
from agent.updates.fetch.meter import Meter
from agent.updates.fetch.part import PartialFile, boot_id
from agent.updates.fetch.places import HELD, WORK, index_path, locked
from agent.updates.fetch.transport import Place, Transport, Wanted
from agent.updates.fetch.wire import Advanced, Download, Signed

REPORT_S: Final = 0.5
FAILURES: Final = 5
"""Interruptions in a row without a single new chunk."""
BAD_CHUNKS: Final = 8
"""Chunks of a file that came with a wrong hash: so many are thrown away, at most 1 MiB, before it is given up."""
PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0


class Downloading:
    """One job. `report` is told how far it is. `pause` waits so many seconds."""

    def __init__(
        self,
        job: Download,
        transport: Transport,
        meter: Meter,
        report: Callable[[Advanced], None],
        *,
        pause: Callable[[float], object] = time.sleep,
        files: Filesystem | None = None,
    ) -> None:
        self._job = job
        self._into = Path(job.into)
        self._work = self._into / WORK
        self._folder = Path(job.repository.folder)
        self._transport = transport
        self._meter = meter
        self._report = report
        self._pause = pause
        self._files = files or Filesystem()
        self._done_bytes = 0
        self._reported_at = 0.0

    def run(self) -> None:
        """Raises `EdgeAgentError`; what is there stays there for the next time."""
        try:
            with locked(self._work), HeldChunks(self._folder / HELD) as held:
                for file in self._job.files:
                    if fault := path_fault(file.path):
                        raise UpdateError(f"{file.path!a} cannot be a file: it {fault}.")
                    self._bring(file, held)
            self._files.replace_file(
                self._into / MANIFEST_NAME, self._job.manifest, temporary=self._work / MANIFEST_NAME
            )
            shutil.rmtree(self._work)
            self._files.sync_folder(self._into)
        except OSError as error:
            raise disk_fault(error, "bringing the files together", self._into) from error
        self._tell(now=True)

    def _bring(self, file: Signed, held: HeldChunks) -> None:
        target = self._into / file.path
        if target.is_file() and target.stat().st_size == file.bytes:  # gets its name after its hash was checked
            self._done_bytes += file.bytes
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        index = index_path(self._folder, file.sha256)
        with (
            Listing(index, size_bytes=file.bytes, sha256=file.sha256) as listing,
            PartialFile(
                target,
                self._work,
                size_bytes=file.bytes,
                sha256=file.sha256,
                count=listing.count,
                boot=boot_id(),
                files=self._files,
            ) as part,
        ):
            if not part.believed:
                part.check(listing, lambda count: self._tell())
            self._advance(sum(chunk.length for chunk in listing if chunk.number in part))
            self._copy(part, listing, held)
            self._fetch(file, part, listing)
            self._judge(file, part, listing)
            with contextlib.suppress(OSError):
                held.add(target, ((chunk.offset, chunk.sha256) for chunk in listing))

    def _copy(self, part: PartialFile, listing: Listing, held: HeldChunks) -> None:
        for chunk in _missing(part, listing):
            data = None
            with contextlib.suppress(OSError):  # a broken database: then it comes over the network
                data = held.take(chunk)
            if data is not None:
                part.put(chunk, data)
                self._advance(chunk.length)

    def _fetch(self, file: Signed, part: PartialFile, listing: Listing) -> None:
        place = Place.target(file.target, file.sha256)
        failures = bad = 0
        while any(True for _ in _missing(part, listing)):
            try:
                for chunk, data in self._transport.chunks(place, file.bytes, _missing(part, listing)):
                    if chunk.number in part:
                        continue
                    if hashlib.sha256(data).digest() == chunk.sha256:
                        part.put(chunk, data)
                        self._advance(chunk.length)
                        failures = 0
                        continue
                    bad += 1
                    if bad >= BAD_CHUNKS:
                        raise _damaged(file, f"{bad} of its chunks came with a wrong SHA-256")
                if any(True for _ in _missing(part, listing)):
                    why = f"{bad} chunks came with a wrong SHA-256" if bad else "chunks did not come"
                    raise InterruptedFetchError(f"{file.path} is not complete: {why}.")
            except HeldError:
                self._tell(now=True)
                self._hold()
            except InterruptedFetchError as error:
                failures += 1
                if failures >= FAILURES:
                    raise
                self._tell(now=True)
                self._pause(max(error.wait_s, min(PAUSE_S * 2 ** (failures - 1), LONGEST_PAUSE_S)))

    def _hold(self) -> None:
        """Until there is some allowance again."""
        while True:
            with contextlib.suppress(HeldError):
                self._meter.wait()
                return

    def _judge(self, file: Signed, part: PartialFile, listing: Listing) -> None:
        """Raises `HashMismatchError`; then chunks that are not as listed are forgotten, or everything is."""
        if part.sha256_of_all(lambda count: self._tell()) == file.sha256:
            part.finish()
            return
        if part.check(listing) == 0:  # all are as listed: the list is wrong
            part.discard()
            raise _damaged(file, "its chunks are as listed, but together they are another file", retry=False)
        raise _damaged(file, "the disk did not keep what was written to it")

    def _advance(self, count: int) -> None:
        self._done_bytes += count
        self._tell()

    def _tell(self, now: bool = False) -> None:
        at = time.monotonic()
        if now or at - self._reported_at >= REPORT_S:
            self._reported_at = at
            self._report(Advanced(bytes_done=self._done_bytes, bytes_fetched=self._meter.fetched_bytes))


def _missing(part: PartialFile, listing: Listing) -> Iterator[Wanted]:
    return (chunk for chunk in listing if chunk.number not in part)


def _damaged(file: Signed, why: str, *, retry: bool = True) -> EdgeAgentError:
    if retry:
        return DamagedError(f"{file.path} is damaged: {why}.")
    return HashMismatchError(f"{file.path} is damaged: {why}.", hint="Publish the artifact again.")


class DamagedError(UpdateError):
    """May be another file by the next time."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry=True, hint="It is fetched again later.")
