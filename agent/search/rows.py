"""Sources: what rows are read from, whatever kind of file they are in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.errors import NotFoundError, RequestError
from agent.search.csv_rows import csv_rows
from agent.search.jsonl_rows import jsonl_rows
from agent.search.lines import check_encoding
from agent.search.row import Row
from agent.search.splitting import LIMIT, OVERLAP, Budget
from agent.search.text_rows import SUFFIXES, file_rows, folder_rows

ID_LIMIT: Final = 1_000
TEXT_LIMIT: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Source:
    """What to read and how. `text` and `key` name columns or keys; text files have neither.

    `kind`: csv, jsonl or text; None goes by the name: .csv .tsv, .jsonl .ndjson, a folder or .txt .md .rst.
    `passage` and `overlap` are characters (`splitting.Budget`).
    """

    path: Path
    text: tuple[str, ...] = ()
    key: str | None = None
    encoding: str = "utf-8"
    kind: str | None = None
    passage: int = LIMIT
    overlap: int = OVERLAP

    @property
    def name(self) -> str:
        """What the collection remembers the source by: the name without the folders above."""
        return self.path.absolute().name


_KINDS: Final = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


def read(source: Source) -> Iterator[Row]:
    """The source's rows, one at a time, in bounded memory.

    Raises `NotFoundError` where it is not there and `RequestError` where it cannot be read, naming the line; what comes
    from the file's content is raised when that row is reached.
    """
    path, encoding = source.path, check_encoding(source.encoding)
    kind = _kind(source)
    if kind != "text" and not source.text:
        raise RequestError(f"Say which column of {path.name} holds the text.", hint="--text COLUMN", param="text")
    if kind == "csv":
        rows = csv_rows(path, source.text, key=source.key, encoding=encoding)
    elif kind == "jsonl":
        rows = jsonl_rows(path, source.text, key=source.key, encoding=encoding)
    elif source.text or source.key is not None:
        raise RequestError(f"{path.name} holds text files, which have no columns.", param="text")
    else:
        budget = Budget(source.passage, source.overlap)
        budget.check()
        rows = (folder_rows if path.is_dir() else file_rows)(path, budget, encoding=encoding)
    return _checked(path, rows)


def _kind(source: Source) -> str:
    path = source.path
    if not path.exists():
        raise NotFoundError(f"There is no file or folder {path}.")
    if source.kind is not None:
        if source.kind not in ("csv", "jsonl", "text"):
            raise RequestError(f"kind: {source.kind!a}; expected csv, jsonl or text.", param="kind")
        return source.kind
    if path.is_dir():
        return "text"
    suffix = path.suffix.lower()
    if suffix not in _KINDS and suffix not in SUFFIXES:
        raise RequestError(
            f"What {path.name} holds is not known from its name.",
            hint="Give a .csv, .tsv, .jsonl, .ndjson, .txt, .md or .rst file, or a folder of text files.",
        )
    return _KINDS.get(suffix, "text")


def _checked(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    for row in rows:
        if len(row.id) > ID_LIMIT:
            raise RequestError(f"{path}: line {row.line}: the id is longer than {ID_LIMIT:,} characters.", param="id")
        if len(row.text) > TEXT_LIMIT:
            raise RequestError(
                f"{path}: line {row.line}: the text has {len(row.text):,} characters; {TEXT_LIMIT:,} are possible.",
                hint="Cut it into passages first, or put it into a folder of text files.",
            )
        yield row
