"""A recording to be sent: a file of which the length is known."""

from __future__ import annotations

import shutil
import stat
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from agent.errors import RequestError


class Recording:
    """`with Recording(name) as file`; `-` is standard input. What has no length, such as a pipe, is copied to a
    temporary file first. Raises `RequestError` for what cannot be read."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._file: BinaryIO | None = None

    def __enter__(self) -> BinaryIO:
        try:
            self._file = _opened(self._name)
        except OSError as error:
            raise RequestError(f"{self._name} cannot be read: {error.strerror or error}.") from None
        return self._file

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def _opened(name: str) -> BinaryIO:
    if name == "-":
        return _copied(sys.stdin.buffer)
    path = Path(name)
    if path.is_dir():
        raise RequestError(f"{name} is a folder.", hint=f"Name the recordings in it: {name.rstrip('/')}/*.wav")
    if not stat.S_ISREG(path.stat().st_mode):
        with path.open("rb") as pipe:
            return _copied(pipe)
    return path.open("rb")


def _copied(source: BinaryIO) -> BinaryIO:
    copy = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    try:
        shutil.copyfileobj(source, copy)
        copy.seek(0)
    except BaseException:
        copy.close()
        raise
    return copy
