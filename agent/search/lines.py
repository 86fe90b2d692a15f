"""Lines of a text file, one at a time: any size of file in the memory of one line."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.errors import NotFoundError, RequestError

LINE_LIMIT_BYTES: Final = 16 * 1024 * 1024
_OTHER_MARKS: Final = {
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}


def lines_of(path: Path, encoding: str = "utf-8") -> Iterator[str]:
    """The file's lines with their ends; a UTF-8 byte order mark is dropped. `encoding`: one in which a line ends with
    the byte 10 (UTF-8 and the 8-bit ones).

    Raises `NotFoundError`, and `RequestError` naming the line: another encoding, a NUL byte, a line beyond 16 MiB.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(LINE_LIMIT_BYTES + 1), b""), start=1):
                if number == 1:
                    line = _without_mark(path, line)
                yield _decoded(path, number, line, encoding)
    except FileNotFoundError:
        raise NotFoundError(f"There is no file {path}.") from None
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror or error}.") from error


def check_encoding(encoding: str) -> str:
    """The encoding's usual name. Raises `RequestError` for one that is unknown or cannot be cut into lines."""
    try:
        name = codecs.lookup(encoding).name
        usable = "\n".encode(name) == b"\n" and b"\n".decode(name) == "\n"
    except (LookupError, UnicodeError, ValueError, TypeError, AttributeError):
        usable = False
    if not usable:
        raise RequestError(f"encoding: {encoding!a} cannot be read; utf-8, latin-1 and cp1252 can.")
    return name


def _without_mark(path: Path, line: bytes) -> bytes:
    for mark, name in _OTHER_MARKS.items():
        if line.startswith(mark):
            raise RequestError(f"{path} is {name}.", hint=f"Convert it: iconv -f {name} -t UTF-8 {path.name}.")
    return line.removeprefix(codecs.BOM_UTF8)


def _decoded(path: Path, number: int, line: bytes, encoding: str) -> str:
    if len(line) > LINE_LIMIT_BYTES:
        raise RequestError(f"{path}: line {number} is longer than {LINE_LIMIT_BYTES // 2**20} MiB; is it a text file?")
    if b"\0" in line:
        raise RequestError(f"{path}: line {number} has a NUL byte; is it a text file?")
    try:
        return line.decode(encoding)
    except UnicodeDecodeError as error:
        raise RequestError(
            f"{path}: line {number} is not {encoding.upper()} (byte {line[error.start]:#04x}, the {error.start + 1}.).",
            hint="Save the file as UTF-8, or say what it is, such as --encoding cp1252.",
        ) from None
