"""A multipart body: its file goes to the disk as it comes in, its other fields are small."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from aiohttp import BodyPartReader, MultipartReader, web
from aiohttp.http_exceptions import BadHttpMessage

from agent.api.decode import Body, takes, unknown_field
from agent.api.openai_errors import SlowClientError
from agent.api.parts import SETTINGS
from agent.errors import DiskFullError, RequestError, StoreError, TooLargeError
from agent.store.faults import FULL

PROGRESS_BYTES = 64 * 1024
"""So much must come in within every `body_timeout_s`: 1 KB/s by default, whatever the size of the whole."""
FIELD_BYTES = 64 * 1024
FIELDS = 64
MARGIN_BYTES = 64 * 1024 * 1024
"""Stays free on the disk: models and databases are there too."""
_WRITE_BYTES = 1024 * 1024
_READ_BYTES = 128 * 1024
_NAME_CHARACTERS = 60
_OVERHEAD_BYTES = 256 * 1024
"""What a body may have besides its file before it is refused by its length alone."""


@dataclass
class Upload:
    """`fields` by name in the order they came, `[]` at the end of a name left out. `file` stands at its beginning."""

    file: IO[bytes]
    file_bytes: int | None = None
    fields: dict[str, list[str]] = field(default_factory=dict)


@asynccontextmanager
async def receive(
    request: web.Request, kind: type[Body], *, file_field: str, limit_bytes: int
) -> AsyncIterator[Upload]:
    """The whole body. Its file has no name on the disk, and is gone when the context ends. A field besides the file
    that is none of `kind`'s is refused before it is read: it may be the file by another name.

    Raises `RequestError`, `TooLargeError`, `SlowClientError`, `DiskFullError`, `StoreError`.
    """
    if request.content_type != "multipart/form-data":
        raise RequestError(
            f"The body is {request.content_type}; expected multipart/form-data.",
            hint=f"With curl: -F {file_field}=@recording.wav -F model=NAME",
        )
    if (request.content_length or 0) > limit_bytes + _OVERHEAD_BYTES:
        raise _too_large(limit_bytes)
    with _unnamed_file(request.app[SETTINGS].upload_folder) as file:
        _check_space(file, min(request.content_length or 0, limit_bytes))
        upload = Upload(file)
        await _Intake(request, upload, kind, file_field, limit_bytes).run()
        if upload.file_bytes is None:
            raise RequestError(f"`{file_field}` is missing.", hint="Send the audio file in it.", param=file_field)
        if not upload.file_bytes:
            raise RequestError("The audio file is empty.", param=file_field)
        file.seek(0)
        yield upload


class _Intake:
    """The parts of one body, in whatever order they come."""

    def __init__(
        self, request: web.Request, upload: Upload, kind: type[Body], file_field: str, limit_bytes: int
    ) -> None:
        self._request = request
        self._kind = kind
        self._upload = upload
        self._file_field = file_field
        self._limit_bytes = limit_bytes
        self._timeout_s = request.app[SETTINGS].body_timeout_s
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + self._timeout_s
        self._since_due = 0

    async def run(self) -> None:
        try:
            await self._parts(await self._request.multipart())
        except TimeoutError:
            raise SlowClientError(
                f"Less than {PROGRESS_BYTES} bytes of the body came in within {self._timeout_s:g} s."
            ) from None
        except (ValueError, AssertionError, RuntimeError, BadHttpMessage) as error:  # aiohttp's, for broken multipart
            reason = str(getattr(error, "message", error)).splitlines()
            raise RequestError(
                f"The multipart body is broken: {(reason or ['it makes no sense'])[0][:120]}.",
                hint="Let an HTTP library build it; it must end with its boundary.",
            ) from None

    async def _parts(self, reader: MultipartReader) -> None:
        count = 0
        while True:
            async with asyncio.timeout_at(self._due):
                part = await reader.next()
            if part is None:
                return
            count += 1
            if count > FIELDS:
                raise RequestError(f"The body has more than {FIELDS} parts.")
            if not isinstance(part, BodyPartReader) or not part.name:
                raise RequestError("A part of the body has no name.", hint="Each part needs a Content-Disposition.")
            name = part.name.removesuffix("[]")[:_NAME_CHARACTERS]
            encoding = part.headers.get("Content-Transfer-Encoding", "binary").lower()
            if encoding not in ("binary", "8bit", "7bit"):
                raise RequestError(f"`{name}` is sent as {encoding[:20]!r}.", hint="Send it as it is.", param=name)
            if name != self._file_field and not takes(self._kind, name):
                raise unknown_field(name, self._kind, self._file_field)
            if name != self._file_field:
                self._upload.fields.setdefault(name, []).append(await self._text(name, part))
            elif self._upload.file_bytes is None:
                self._upload.file_bytes = await self._file(part)
            else:
                raise RequestError(f"`{name}` is there twice.", hint="Send one file per request.", param=name)

    async def _text(self, name: str, part: BodyPartReader) -> str:
        data = bytearray()
        while chunk := await self._chunk(part):
            data += chunk
            if len(data) > FIELD_BYTES:
                raise TooLargeError(f"`{name}` is longer than {FIELD_BYTES} bytes.", param=name)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise RequestError(f"`{name}` is not UTF-8 text (byte {error.start}).", param=name) from None

    async def _file(self, part: BodyPartReader) -> int:
        """Its size in bytes."""
        waiting, written = bytearray(), 0
        while chunk := await self._chunk(part):
            waiting += chunk
            if written + len(waiting) > self._limit_bytes:
                raise _too_large(self._limit_bytes)
            if len(waiting) >= _WRITE_BYTES:
                await self._write(bytes(waiting))
                written += len(waiting)
                waiting.clear()
        await self._write(bytes(waiting))
        return written + len(waiting)

    async def _chunk(self, part: BodyPartReader) -> bytes:
        """Some bytes of the part; empty at its end."""
        while not part.at_eof():
            async with asyncio.timeout_at(self._due):
                chunk = await part.read_chunk(_READ_BYTES)
            self._since_due += len(chunk)
            if self._since_due >= PROGRESS_BYTES:
                self._since_due = 0
                self._due = self._loop.time() + self._timeout_s
            if chunk:
                return chunk
        return b""

    async def _write(self, data: bytes) -> None:
        """In a thread: a slow card may take seconds. It ends before the file is closed, also when we are cancelled."""
        began = self._loop.time()
        writing = self._loop.run_in_executor(None, _append, self._upload.file, data)
        try:
            await asyncio.shield(writing)
        except asyncio.CancelledError:
            with suppress(Exception):
                await writing
            raise
        self._due += self._loop.time() - began


def _unnamed_file(folder: Path | None) -> IO[bytes]:
    try:
        return tempfile.TemporaryFile(dir=folder, buffering=0)
    except OSError as error:
        raise StoreError(f"No file can be made for the upload: {error.strerror}.") from error


def _append(file: IO[bytes], data: bytes) -> None:
    _check_space(file, len(data))
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[file.write(rest) :]
    except OSError as error:
        if error.errno in FULL:
            raise _disk_full(0) from None
        raise StoreError(f"The upload cannot be written: {error.strerror}.") from error


def _check_space(file: IO[bytes], needed_bytes: int) -> None:
    """Raises `DiskFullError` unless `needed_bytes` fit and `MARGIN_BYTES` stay free."""
    disk = os.fstatvfs(file.fileno())
    free_bytes = disk.f_bavail * disk.f_frsize
    if needed_bytes + MARGIN_BYTES > free_bytes:
        raise _disk_full(free_bytes)


def _disk_full(free_bytes: int) -> DiskFullError:
    return DiskFullError(
        f"There is no room for the upload: {free_bytes >> 20} MB of disk are free, "
        f"of which {MARGIN_BYTES >> 20} MB are kept.",
        hint="Free some disk space, or send a compressed file.",
    )


def _too_large(limit_bytes: int) -> TooLargeError:
    return TooLargeError(
        f"The audio file is larger than {limit_bytes} bytes.",
        hint="Send it compressed (ogg, mp3), in parts, or raise max_audio_mb in agent.toml.",
        param="file",
    )
