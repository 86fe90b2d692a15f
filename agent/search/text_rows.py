"""Rows of text files: each is cut into passages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.errors import RequestError
from agent.search.lines import lines_of
from agent.search.row import Row
from agent.search.splitting import Budget, paragraphs, split

SUFFIXES: Final = (".txt", ".md", ".markdown", ".rst")


def folder_rows(folder: Path, budget: Budget, *, encoding: str = "utf-8") -> Iterator[Row]:
    """The passages of all text files in a folder and below, in the order of their paths.

    Hidden files and folders are left out, and links to folders are not followed. Raises `RequestError` where there is
    no text file.
    """
    budget.check()
    files = sorted(_files(folder), key=lambda path: path.relative_to(folder).as_posix())
    if not files:
        raise RequestError(f"There is no text file in {folder} ({', '.join(SUFFIXES)}).")
    for path in files:
        yield from file_rows(path, budget, name=path.relative_to(folder).as_posix(), encoding=encoding)


def file_rows(path: Path, budget: Budget, *, name: str = "", encoding: str = "utf-8") -> Iterator[Row]:
    """The passages of one text file. A passage's id is the path and its position; both are metadata as well.

    `line` is that of the last line read, as passages do not begin with lines.
    """
    shown = name or path.name
    read = 0

    def counted() -> Iterator[str]:
        nonlocal read
        for line in lines_of(path, encoding):
            read += 1
            yield line

    for position, text in enumerate(split(paragraphs(counted()), budget), start=1):
        yield Row(id=f"{shown}#{position}", text=text, metadata={"path": shown, "position": position}, line=read)


def _files(folder: Path) -> Iterator[Path]:
    def failed(error: OSError) -> None:
        raise RequestError(f"{error.filename} cannot be read: {error.strerror}.") from error

    for here, folders, files in os.walk(folder, onerror=failed):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(here) / name
            if not name.startswith(".") and path.suffix.lower() in SUFFIXES and path.is_file():
                try:
                    name.encode()
                except UnicodeEncodeError:
                    raise RequestError(f"The file name {str(path)!a} is not valid Unicode.") from None
                yield path
