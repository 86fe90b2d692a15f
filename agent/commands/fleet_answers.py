"""What devices answer to a command, as it comes and in the end: a table, one result, or JSON."""

from __future__ import annotations

import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from agent.commands.printable import json_text, printable
from agent.fleet.remote.answers import Answer, Answers, Status
from agent.fleet.remote.errand import ErrandEvent, Notice, Piece
from agent.fleet.remote.order import Order
from agent.terminal import Progress, duration, table

FEW: Final = 8
"""Of so many devices each step is told in a line."""
NAMED: Final = 20
NAME_COLUMNS: Final = 40
OTHER_COLUMNS: Final = 24
ANSWER_COLUMNS: Final = 200
"""Where it is not a terminal that says how wide it is."""


class AnswerView:
    """`down` are devices that were left out."""

    def __init__(self, order: Order, answers: Answers, down: Sequence[str], *, json: bool) -> None:
        self._order = order
        self._answers = answers
        self._down = [Answer(device=name, status=Status.UNSENT, reason="it is down") for name in down]
        self._json = json
        self._terminal = sys.stderr.isatty()
        self._progress = Progress(order.operation, unit="answers") if len(order.devices) > FEW else None
        self._texting: str | None = None
        """The device whose text is being written in the line where the cursor is."""

    def show(self, event: ErrandEvent) -> None:
        if isinstance(event, Notice):
            self._say(f"MQTT: {printable(event.text)}")
        elif isinstance(event, Piece):
            self._piece(event)
        elif self._progress is not None:
            self._progress(self._answers.answered, len(self._answers))
        elif event.status is Status.EXECUTING and not self._json:
            self._say(f"{printable(event.device)}: executing")

    @property
    def all_successful(self) -> bool:
        return all(answer.status is Status.SUCCESSFUL for answer in self._all)

    def finish(self, uncleared: Sequence[str]) -> None:
        """The answers on standard output, what went wrong on standard error."""
        if self._progress is not None:
            self._progress.__exit__(None, None, None)
        self._end_text()
        if self._json:
            print(json_text(self._document(), indent=None if self._order.stream else 2))
        elif len(self._all) == 1:
            self._one(self._all[0])
        else:
            names = max((len(answer.device) for answer in self._all), default=0)
            columns = self._answer_columns(min(NAME_COLUMNS, names))
            rows = [self._row(answer, columns) for answer in self._all]
            print(table(rows, ("DEVICE", "STATUS", "TIME", "ANSWER"), right=(2,)))
        sys.stdout.flush()
        if len(self._all) > 1:
            print(self._summary(), file=sys.stderr)
        self._tell_what_stays(uncleared)

    @property
    def _all(self) -> list[Answer]:
        return sorted([*self._answers, *self._down], key=lambda answer: answer.device)

    def _piece(self, piece: Piece) -> None:
        fields = {name: value for name, value in piece.fields.items() if name != "n"}
        text = fields.get("text")
        if self._json:
            print(json_text({"device": piece.device, "piece": piece.fields}), flush=True)
        elif len(self._order.devices) == 1 and isinstance(text, str):
            self._texting = piece.device
            sys.stderr.write("".join(f"{printable(line)}" if line != "\n" else line for line in _lines(text)))
            sys.stderr.flush()
        else:
            shown = printable(text) if isinstance(text, str) else json_text(fields)[:ANSWER_COLUMNS]
            self._say(f"{printable(piece.device)}: {shown}")

    def _say(self, text: str) -> None:
        self._end_text()
        print(f"\r\x1b[K{text}" if self._terminal and self._progress else text, file=sys.stderr, flush=True)

    def _end_text(self) -> None:
        if self._texting is not None:
            self._texting = None
            print(file=sys.stderr, flush=True)

    def _one(self, answer: Answer) -> None:
        if answer.status is Status.SUCCESSFUL and not (answer.result is None and answer.reason):
            print(json_text(answer.result, indent=2))
        else:
            print(f"{printable(answer.device)}: {answer.status.value}: {printable(_reason(answer))}", file=sys.stderr)

    def _answer_columns(self, name_columns: int) -> int:
        """What is left of a line beside a device's name, its status and its time."""
        if not sys.stdout.isatty():
            return ANSWER_COLUMNS
        return max(20, shutil.get_terminal_size().columns - name_columns - OTHER_COLUMNS)

    def _row(self, answer: Answer, columns: int) -> list[str]:
        took = "-" if answer.took_s is None else f"{answer.took_s:.2f} s"
        succeeded = answer.status is Status.SUCCESSFUL and answer.result is not None
        shown = json_text(answer.result) if succeeded else printable(_reason(answer))
        return [
            printable(answer.device, NAME_COLUMNS),
            answer.status.value,
            took,
            printable(shown[: 4 * ANSWER_COLUMNS], columns),
        ]

    def _document(self) -> dict[str, Any]:
        return {
            "id": self._order.id,
            "operation": self._order.operation,
            "successful": [one.device for one in self._all if one.status is Status.SUCCESSFUL],
            "failed": [one.device for one in self._all if one.status is Status.FAILED],
            "missing": [one.device for one in self._all if not one.status.answered],
            "devices": {one.device: _as_json(one) for one in self._all},
        }

    def _summary(self) -> str:
        counts = Counter(answer.status for answer in self._all)
        parts = [f"{counts[status]:,} {status.value}{self._names(status)}" for status in Status if counts[status]]
        return f"{len(self._all):,} devices: {', '.join(parts)}."

    def _names(self, status: Status) -> str:
        if status is Status.SUCCESSFUL:
            return ""
        names = [printable(answer.device, NAME_COLUMNS) for answer in self._all if answer.status is status]
        more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
        return f" ({', '.join(names[:NAMED])}{more})"

    def _tell_what_stays(self, uncleared: Sequence[str]) -> None:
        waiting = [answer.device for answer in self._answers if answer.status is Status.MISSING]
        stays = waiting if self._order.leave else list(uncleared)
        if not stays:
            return
        names = ", ".join(printable(name, NAME_COLUMNS) for name in stays[:NAMED])
        more = f" and {len(stays) - NAMED:,} more" if len(stays) > NAMED else ""
        why = "stays with the broker" if self._order.leave else "could not be cleared and stays with the broker"
        expires = duration(self._order.expires_s)
        print(f"The command {self._order.id} {why} for {names}{more}; it expires in {expires}.", file=sys.stderr)


def _lines(text: str) -> list[str]:
    """Its lines, and the line breaks between them."""
    parts = text.split("\n")
    return [part for at, line in enumerate(parts) for part in (["\n", line] if at else [line])]


def _reason(answer: Answer) -> str:
    reason = answer.reason or answer.garbled
    return f"{reason} [{answer.code}]" if answer.code else reason


def _as_json(answer: Answer) -> dict[str, Any]:
    found: dict[str, Any] = {
        "status": answer.status.value,
        "seconds": None if answer.took_s is None else round(answer.took_s, 3),
    }
    if answer.status is Status.SUCCESSFUL:
        found["result"] = answer.result
    if answer.reason:
        found["reason"] = answer.reason
    if answer.code:
        found["code"] = answer.code
    return found
