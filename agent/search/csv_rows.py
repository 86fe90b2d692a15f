"""Rows of a CSV file. Strict: what does not parse is an error with its line, never a guess."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, Final

from agent.errors import RequestError
from agent.search.lines import lines_of
from agent.search.row import Row

DELIMITERS: Final = (",", ";", "\t", "|")
SAMPLE_LINES: Final = 50
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]{0,14})(\.[0-9]{1,15})?")


def csv_rows(
    path: Path, text: Sequence[str], *, key: str | None = None, encoding: str = "utf-8", delimiter: str | None = None
) -> Iterator[Row]:
    """The file's rows. The text is that of the columns `text`, one below the other; the id that of the column `key`, or
    the file's name and the row's number. The other columns are metadata; numbers written plainly become numbers.

    Raises `RequestError` naming the line: a broken quote, a missing column, more or fewer fields than the header has.
    """
    lines = _Counted(lines_of(path, encoding))
    sample = list(islice(lines, SAMPLE_LINES))
    if not "".join(sample).strip():
        raise RequestError(f"{path} is empty.")
    found = delimiter or sniff(sample, [*text, *([key] if key else [])])
    lines.number = 0
    records = csv.reader(lines.again(sample), delimiter=found, strict=True)
    header = _header(path, next(_records(path, records, lines))[1])
    for column in [*text, *([key] if key is not None else [])]:
        if column not in header:
            raise RequestError(f"{path} has no column {column!a}; it has: {', '.join(header)}.", param="text")
    rest = [index for index, name in enumerate(header) if name not in text and name != key]
    for number, (line, fields) in enumerate(_records(path, records, lines), start=1):
        if len(fields) != len(header):
            raise RequestError(f"{path}: line {line} has {len(fields)} fields, the header has {len(header)}.")
        values = dict(zip(header, fields, strict=True))
        yield Row(
            id=_key(path, line, values[key]) if key is not None else f"{path.name}:{number}",
            text="\n".join(part for column in text if (part := values[column].strip())),
            metadata={header[index]: typed(fields[index]) for index in rest if fields[index]},
            line=line,
        )


def sniff(sample: Sequence[str], wanted: Sequence[str] = ()) -> str:
    """The delimiter of a CSV file's first lines: the one that gives the wanted columns, and then the most even rows.

    Ties go to the earlier one in `DELIMITERS`; a single column has a comma.
    """

    def quality(delimiter: str) -> tuple[int, bool, int]:
        try:
            rows = [row for row in csv.reader(sample, delimiter=delimiter) if row]
        except csv.Error:
            return 0, False, 0
        header = [name.strip() for name in rows[0]] if rows else []
        # The last one may be cut off by the end of the sample.
        even = len({len(row) for row in rows[:-1]}) <= 1
        return sum(name in header for name in wanted), even and len(header) > 1, len(header)

    return max(DELIMITERS, key=lambda delimiter: (quality(delimiter), -DELIMITERS.index(delimiter)))


def typed(value: str) -> Any:
    """A number where the text is how JSON writes one ("2020", "-1.5", not "007" nor "1.50"), else the text."""
    if _NUMBER.fullmatch(value):
        number = json.loads(value)
        if json.dumps(number) == value:
            return number
    return value


class _Counted:
    """An iterator that knows how many lines it has handed out."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.number += 1
        return line

    def again(self, sample: Sequence[str]) -> Iterator[str]:
        self._lines = chain(sample, self._lines)
        return self


def _records(path: Path, records: Iterator[list[str]], lines: _Counted) -> Iterator[tuple[int, list[str]]]:
    """(the line on which it begins, fields) of each record that is not blank."""
    while True:
        line = lines.number + 1
        try:
            fields = next(records)
        except StopIteration:
            return
        except csv.Error as error:
            raise RequestError(
                f"{path}: the row at line {line} cannot be read: {_reason(error)}",
                hint='A field with a quote in it is written "like ""this"""; every quote that opens must close.',
            ) from None
        if fields:
            yield line, fields


def _reason(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end of data" in text:
        return "a quote is opened and never closed."
    if "field larger than field limit" in text:
        return f"a field is longer than {csv.field_size_limit():,} characters, or a quote is never closed."
    return f"{text}."


def _header(path: Path, fields: Sequence[str]) -> list[str]:
    header = [field.strip() for field in fields]
    if twice := [name for name, count in Counter(header).items() if count > 1]:
        raise RequestError(f"{path}: the header has {twice[0]!a} more than once.")
    return header


def _key(path: Path, line: int, value: str) -> str:
    if not value.strip():
        raise RequestError(f"{path}: the row at line {line} has no id.", param="id")
    return value.strip()
