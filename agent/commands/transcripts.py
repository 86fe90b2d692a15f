"""Where transcriptions go: to standard output, or into a folder, one file for each recording."""

from __future__ import annotations

import contextlib
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from agent.commands.transcription import Format, Transcription
from agent.errors import EdgeAgentError, RequestError, StoreError
from agent.terminal import print_json, write_text


class Transcripts:
    """`with Transcripts(...) as output`: for each recording `begin`, its `line`s, and one of `end`, `failed` and
    `interrupted`. Lines of plain text are printed at once, several recordings under headings; JSON at the end."""

    def __init__(self, names: Sequence[str], format: Format, *, out: Path | None, words: bool) -> None:
        self._many = len(names) > 1
        self._format = format
        self._words = words
        self._paths = {} if out is None else places(names, out.expanduser(), format)
        self._inputs = {Path(name).resolve() for name in names if name != "-"}
        self._values: list[dict[str, Any]] = []
        self._heading = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._format == "json" and not self._paths and self._values:
            print_json(self._values if self._many else self._values[0])

    def path_of(self, name: str) -> Path | None:
        """The file that is written for a recording."""
        return self._paths.get(name)

    def begin(self, name: str) -> None:
        """Raises `RequestError` where the recording itself would be written over."""
        path = self.path_of(name)
        if path is not None and path.resolve() in self._inputs:
            raise RequestError(f"{path} is a recording, and would be written over.", hint="Choose another --out.")
        self._heading = f"==> {'standard input' if name == '-' else name} <==\n" if self._many else ""

    def line(self, text: str) -> None:
        if self._streams:
            self._put(f"{text}\n")

    def end(self, name: str, transcription: Transcription, *, elapsed_s: float) -> None:
        """Raises `StoreError`."""
        value = self._value(name, transcription, elapsed_s=round(elapsed_s, 3))
        path = self.path_of(name)
        if path is not None:
            _write(path, _json(value) if self._format == "json" else self._written(transcription))
        elif self._format == "json":
            self._values.append(value)
        else:
            self._print(transcription)
            self._put("\n" if self._many else "")

    def failed(self, name: str, transcription: Transcription, error: EdgeAgentError) -> None:
        if self._many:
            failure = {"code": error.code, "message": error.message, "hint": error.hint}
            self._values.append({"file": name, "error": failure})

    def interrupted(self, name: str, transcription: Transcription) -> None:
        """Prints what there is; a file is written whole or not at all."""
        if self.path_of(name) is not None or not transcription.position_s:
            return
        if self._format == "json":
            self._values.append(self._value(name, transcription))
        else:
            self._print(transcription)

    @property
    def _streams(self) -> bool:
        return self._format == "txt" and not self._words and not self._paths

    def _print(self, transcription: Transcription) -> None:
        if not self._streams:
            self._put(self._written(transcription))

    def _put(self, text: str) -> None:
        """Below the heading, which a recording that says nothing at all does not get."""
        if text:
            write_text(self._heading + text)
            self._heading = ""

    def _written(self, transcription: Transcription) -> str:
        return transcription.written(self._format, words=self._words)

    def _value(self, name: str, transcription: Transcription, **more: float) -> dict[str, Any]:
        return {"file": name, **transcription.value(), **more}


def places(names: Sequence[str], folder: Path, format: Format) -> dict[str, Path]:
    """The file for each recording: its name with another suffix; with both where two would meet, or with a number."""
    own = {name: Path(name).name if name != "-" else "stdin" for name in names}
    stems = Counter(Path(name).stem.casefold() for name in own.values())
    taken: set[str] = set()
    found = {}
    for name, file in own.items():
        stem = Path(file).stem if stems[Path(file).stem.casefold()] == 1 else file
        chosen, number = stem, 1
        while chosen.casefold() in taken:
            number += 1
            chosen = f"{stem}-{number}"
        taken.add(chosen.casefold())
        found[name] = folder / f"{chosen}.{format}"
    return found


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _write(path: Path, text: str) -> None:
    """The file is there whole or not at all: it is written beside its place, and renamed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with beside.open("w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
