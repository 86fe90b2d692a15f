from __future__ import annotations

from agent.runtime.child_log import BURST_LINES, LINE_CHARACTERS, LINES_PER_SECOND, TAIL_LINES, ChildLog


def test_lines_are_put_together_from_pieces() -> None:
    log = ChildLog()
    assert log.feed(b"one\ntw", 0) == ["one"]
    assert log.feed(b"o\n\n  \nthree", 0) == ["two"]
    assert log.flush(0) == ["three"]
    assert log.flush(0) == []
    assert list(log.tail) == ["one", "two", "three"]


def test_a_line_cannot_grow_without_bound_nor_control_the_terminal() -> None:
    log = ChildLog()
    (line,) = log.feed(b"x" * 100_000, 0)
    assert len(line) == LINE_CHARACTERS
    assert log.feed(b"\x1b[31mred\x07\r\xff\n", 0) == [" [31mred  \ufffd"]


def test_a_flood_is_thinned_out_and_the_tail_is_kept() -> None:
    log = ChildLog()
    burst = int(BURST_LINES)
    lines = log.feed(b"".join(b"%d\n" % n for n in range(burst + 100)), 0)
    assert lines == [str(n) for n in range(burst)]
    assert log.tail[-1] == str(burst + 99)
    assert len(log.tail) == TAIL_LINES
    assert log.feed(b"later\n", 1 / LINES_PER_SECOND + 0.001) == ["(100 lines left out)", "later"]
