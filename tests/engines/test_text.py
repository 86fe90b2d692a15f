"""Stop strings and characters that are split over tokens."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.engines.llama.text import TextStream


def run(pieces: list[bytes], stop: tuple[str, ...]) -> tuple[list[str], str | None]:
    stream = TextStream(stop)
    shown = [stream.feed(piece) for piece in pieces]
    shown.append(stream.flush())
    return shown, stream.stopped


@pytest.mark.parametrize(
    ("name", "pieces", "stop", "text", "stopped"),
    [
        ("no stop", [b"ab", b"cd"], (), "abcd", None),
        ("whole in one token", [b"ab", b"STOP", b"x"], ("STOP",), "ab", "STOP"),
        ("split over tokens", [b"abS", b"T", b"OPx"], ("STOP",), "ab", "STOP"),
        ("almost, then not", [b"abST", b"OR"], ("STOP",), "abSTOR", None),
        ("begun at the end", [b"abSTO"], ("STOP",), "abSTO", None),
        ("the earliest wins", [b"a two one"], ("one", "two"), "a ", "two"),
        ("the longer of two at one place", [b"abcd"], ("ab", "abc"), "", "abc"),
        ("overlapping beginnings", [b"aaab"], ("aab",), "a", "aab"),
        ("a character of three bytes", [b"\xe2", b"\x82", b"\xac!"], (), "\u20ac!", None),
        (
            "a stop string of such characters",
            [b"x\xe2\x82", b"\xac", b"\xe2\x82\xac"],
            ("\u20ac\u20ac",),
            "x",
            "\u20ac\u20ac",
        ),
        ("never finished character", [b"ok\xf0\x9f"], (), "ok\ufffd", None),
        ("not UTF-8", [b"a\xffb"], (), "a\ufffdb", None),
        ("an empty stop string is none", [b"abc"], ("",), "abc", None),
    ],
)
def test_shown_text(name: str, pieces: list[bytes], stop: tuple[str, ...], text: str, stopped: str | None) -> None:
    shown, found = run(pieces, stop)
    assert ("".join(shown), found) == (text, stopped), name


def test_text_is_held_back_no_longer_than_it_must_be() -> None:
    stream = TextStream(("END",))
    assert [stream.feed(p) for p in (b"abc", b"E", b"N", b"x")] == ["abc", "", "", "ENx"]


@given(
    st.text(alphabet="ab\u20ac\U0001f600", max_size=30),
    st.lists(st.text(alphabet="ab\u20ac", min_size=1, max_size=4), max_size=3),
    st.integers(0, 2**32),
)
def test_any_split_shows_all_up_to_a_stop_string_and_nothing_of_it(text: str, stops: list[str], seed: int) -> None:
    data, rng = text.encode(), random.Random(seed)
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(5)) if data else []
    pieces = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    shown, stopped = run(pieces, tuple(stops))
    whole = "".join(shown)
    assert (stopped is not None) == any(stop in text for stop in stops)
    assert text.startswith(whole + (stopped or "")) if stopped is not None else whole == text
    assert not any(stop in whole for stop in stops)
