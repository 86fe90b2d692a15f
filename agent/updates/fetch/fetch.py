"""`Fetch`: what the updater asks for verified files."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.errors import ConfigError, EdgeAgentError, UntrustedError, UpdateError
from agent.updates.fetch.child import Child
from agent.updates.fetch.places import index_path
from agent.updates.fetch.wire import (
    Advanced,
    Allow,
    Answer,
    Ask,
    AskFailed,
    Compare,
    Compared,
    Done,
    Download,
    Found,
    FromChild,
    Job,
    Repository,
    Resolve,
    Signed,
)
from agent.updates.parts import Allowance, BlockPipe, Progress, Resolved, TargetFile, Wanted

ALLOWANCE_S: Final = 0.5
"""The allowance is looked at so often."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """`url` is the repository's (http:// or https://), None for blocks over MQTT. `folder` is for what the fetch
    remembers, `models` the store's folder; `root_file` the root of trust, as it was when the device was set up."""

    url: str | None
    root_file: Path
    folder: Path
    models: Path
    device_class: str | None = None


class Fetch:
    """Implements `Fetching`. One job at a time: a second waits. `blocks` is needed where there is no `url`."""

    def __init__(self, options: FetchOptions, blocks: BlockPipe | None = None) -> None:
        if options.url is None and blocks is None:
            raise ConfigError("updates.url is not set, and there is no broker to fetch over.", param="updates.url")
        self._options = options
        self._blocks = blocks
        self._alone = asyncio.Lock()
        self._targets: dict[str, tuple[Signed, ...]] = {}
        self._repository = Repository(
            url=options.url,
            root_file=str(options.root_file.absolute()),
            folder=str(options.folder.absolute()),
            device_class=options.device_class,
        )

    async def resolve(self, wanted: Wanted) -> Resolved:
        async with self._alone:
            found = await self._find(wanted.name, wanted.version)
            missing_bytes = await self._compare(found.files)
        return Resolved(
            name=wanted.name,
            version=found.version,
            manifest=found.manifest,
            files=tuple(TargetFile(path=file.path, bytes=file.bytes, sha256=file.sha256) for file in found.files),
            bytes_total=sum(file.bytes for file in found.files),
            bytes_missing=missing_bytes,
        )

    async def fetch(
        self, resolved: Resolved, into: Path, *, allowance: Callable[[], Allowance]
    ) -> AsyncGenerator[Progress, None]:
        async with self._alone:
            files = await self._signed(resolved)
            told = Progress(bytes_done=0, bytes_total=resolved.bytes_total, bytes_fetched=0)
            first = _allow(allowance(), told)
            job = Download(
                repository=self._repository,
                into=os.path.abspath(into),  # noqa: PTH100, ASYNC240 (touches no disk)
                manifest=resolved.manifest,
                files=files,
                limit_bytes=first.limit_bytes,
                bytes_per_s=first.bytes_per_s,
            )
            await asyncio.to_thread(into.mkdir, parents=True, exist_ok=True)
            async with self._working(job) as (child, messages):
                asking = asyncio.create_task(self._allow(child, allowance, lambda: told), name="updates:allowance")
                try:
                    async for message in messages:
                        if isinstance(message, Advanced):
                            told = dataclasses.replace(
                                told, bytes_done=message.bytes_done, bytes_fetched=message.bytes_fetched
                            )
                            yield told
                        elif isinstance(message, Done):
                            return
                finally:
                    asking.cancel()

    async def _find(self, name: str, version: str | None) -> Found:
        found = await self._result(Resolve(repository=self._repository, name=name, version=version))
        assert isinstance(found, Found)
        self._targets = {f"{name}@{found.version}": found.files}
        return found

    async def _compare(self, files: tuple[Signed, ...]) -> int:
        """How much no local file holds; all of it where that cannot be found out."""
        folder, models = self._repository.folder, str(self._options.models.absolute())
        try:
            compared = await self._result(Compare(folder=folder, models=models, files=files))
        except UntrustedError:
            raise
        except EdgeAgentError as error:
            _log.warning("what local files hold could not be found out: %s", error)
            return sum(file.bytes for file in files)
        assert isinstance(compared, Compared)
        return compared.bytes_missing

    async def _signed(self, resolved: Resolved) -> tuple[Signed, ...]:
        """The files with their places in the repository; found once more where that was in another life."""
        files = self._targets.get(f"{resolved.name}@{resolved.version}")
        if files is None or not all(index_path(self._options.folder, file.sha256).exists() for file in files):
            found = await self._find(resolved.name, resolved.version)
            await self._compare(found.files)
            files = found.files
        signed = {(file.path, file.bytes, file.sha256) for file in files}
        if signed != {(file.path, file.bytes, file.sha256) for file in resolved.files}:
            raise UntrustedError(
                f"{resolved.name}@{resolved.version} is no longer what it was when it was found.", retry=True
            )
        return files

    async def _result(self, job: Job) -> FromChild:
        async with self._working(job) as (_, messages):
            async for message in messages:
                return message
        raise UpdateError("The process that fetches said nothing.", retry=True)

    @contextlib.asynccontextmanager
    async def _working(self, job: Job) -> AsyncIterator[tuple[Child, AsyncIterator[FromChild]]]:
        """A child that does `job`, and what it says besides its requests for blocks."""
        async with Child(job) as child, contextlib.AsyncExitStack() as stack:
            asking: set[asyncio.Task[None]] = set()

            async def messages() -> AsyncIterator[FromChild]:
                async for message in child.messages():
                    if isinstance(message, Ask):
                        task = asyncio.create_task(self._ask(child, message.payload), name="updates:ask")
                        asking.add(task)
                        task.add_done_callback(asking.discard)
                    else:
                        yield message

            if self._options.url is None:
                stack.enter_context(self._answers(child))
            try:
                yield child, messages()
            finally:
                for task in asking:
                    task.cancel()

    @contextlib.contextmanager
    def _answers(self, child: Child) -> Iterator[None]:
        assert self._blocks is not None
        with self._blocks.answers(lambda rest, payload: child.send(Answer(rest, payload), droppable=True)):
            yield

    async def _ask(self, child: Child, payload: bytes) -> None:
        assert self._blocks is not None
        try:
            await self._blocks.ask(payload)
        except EdgeAgentError as error:
            child.send(AskFailed(error.message))

    async def _allow(self, child: Child, allowance: Callable[[], Allowance], told: Callable[[], Progress]) -> None:
        sent: Allow | None = None
        while True:
            await asyncio.sleep(ALLOWANCE_S)
            now = _allow(allowance(), told())
            if now != sent:
                child.send(now)
                sent = now


def _allow(allowance: Allowance, told: Progress) -> Allow:
    """The updater counts what it was told of; what has come since is within the same budget."""
    left_bytes = allowance.bytes_left
    return Allow(
        limit_bytes=None if left_bytes is None else told.bytes_fetched + max(0, left_bytes),
        bytes_per_s=allowance.bytes_per_s,
    )
