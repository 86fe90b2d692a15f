"""What a terminal shows of what was written to it: enough of one for our own output, and strict about the rest."""

from __future__ import annotations

import re
from dataclasses import dataclass

from agent.commands.columns import width_of

_ESCAPE = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])")


@dataclass
class Cell:
    text: str = " "
    dim: bool = False


class Screen:
    """Rows without end, `columns` wide. Wide characters take a cell and an empty one."""

    def __init__(self, columns: int) -> None:
        self.columns = columns
        self.rows: list[list[Cell]] = [[]]
        self.row = self.column = 0
        self._dim = False
        self._rest = ""

    def feed(self, text: str) -> None:
        text = self._rest + text
        position = 0
        while position < len(text):
            character = text[position]
            if character == "\x1b":
                found = _ESCAPE.match(text, position)
                if found is None:
                    break  # the rest of it comes later
                self._obey(found[1], found[2])
                position = found.end()
                continue
            self._put(character)
            position += 1
        self._rest = text[position:]

    @property
    def lines(self) -> list[str]:
        """What is to be seen, without the spaces at the right and the empty lines below."""
        lines = ["".join(cell.text for cell in row).rstrip() for row in self.rows]
        while lines and not lines[-1]:
            lines.pop()
        return lines

    @property
    def dim(self) -> str:
        """All that is dim, one line."""
        rows = ["".join(cell.text for cell in row if cell.dim) for row in self.rows]
        return " ".join(" ".join(rows).split())

    def _put(self, character: str) -> None:
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self._down()
        else:
            assert character >= " ", f"a control character was sent: {character!r}"
            width = width_of(character)
            if width == 0:
                self.rows[self.row][self.column - 1].text += character
                return
            if self.column + width > self.columns:
                self.column = 0
                self._down()
            row = self.rows[self.row]
            row += [Cell() for _ in range(self.column + width - len(row))]
            row[self.column] = Cell(character, self._dim)
            if width == 2:
                row[self.column + 1] = Cell("", self._dim)
            self.column += width

    def _down(self) -> None:
        self.row += 1
        while len(self.rows) <= self.row:
            self.rows.append([])

    def _obey(self, argument: str, letter: str) -> None:
        match (letter, argument):
            case ("m", "2"):
                self._dim = True
            case ("m", "0"):
                self._dim = False
            case ("K", ""):
                del self.rows[self.row][self.column :]
            case ("J", ""):
                del self.rows[self.row][self.column :]
                del self.rows[self.row + 1 :]
            case ("A", number):
                assert self.row >= int(number), "above the first row"
                self.row -= int(number)
            case _:
                raise AssertionError(f"unknown escape: {argument}{letter}")
