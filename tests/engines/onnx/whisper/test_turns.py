"""In which order requests are served."""

from __future__ import annotations

import pytest

from agent.engines.onnx.whisper.turns import Turns


@pytest.mark.parametrize(
    ("arrived", "served"),
    [
        ("", ""),
        ("ABC", "ABC"),
        ("abc", "abc"),
        ("ABc", "cAB"),
        ("AbCd", "bdAC"),
        ("AbcdefB", "bcdAefB"),  # after three live passes the file has its turn
        ("ABcdefghij", "cdeAfghBij"),
    ],
)
def test_live_passes_go_first_and_files_are_not_starved(arrived: str, served: str) -> None:
    turns: Turns[str] = Turns()
    for index, item in enumerate(arrived):
        turns.add(index, item, live=item.islower())
    found = [turns.next() for _ in arrived]
    assert "".join(item or "?" for item in found) == served
    assert turns.next() is None


def test_what_is_dropped_is_not_served() -> None:
    turns: Turns[str] = Turns()
    for index, item in enumerate("ABC"):
        turns.add(index, item, live=False)
    assert turns.drop(1) == "B"
    assert turns.drop(1) is None
    assert len(turns) == 2
    assert [turns.next(), turns.next(), turns.next()] == ["A", "C", None]
