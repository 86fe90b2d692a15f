from __future__ import annotations

import pytest

from agent.runtime.wire.transcription import Segment
from agent.speech.subtitles import continuation, plain, srt, vtt


def segments(*cues: tuple[float, float, str]) -> list[Segment]:
    return [Segment(start_s=start_s, end_s=end_s, text=text) for start_s, end_s, text in cues]


def test_srt() -> None:
    assert srt(segments((0.304, 2.2, " Hello there."), (3661.5, 3662.9996, "Again."))) == (
        "1\n00:00:00,304 --> 00:00:02,200\nHello there.\n\n2\n01:01:01,500 --> 01:01:03,000\nAgain.\n\n"
    )


def test_vtt() -> None:
    assert vtt(segments((0.0, 2.5, " a < b & c"), (360_000.0, 360_001.0, "late"))) == (
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.500\na &lt; b &amp; c\n\n100:00:00.000 --> 100:00:01.000\nlate\n\n"
    )


def test_nothing_said_is_an_empty_file_of_its_kind() -> None:
    assert (srt([]), vtt([]), plain([])) == ("", "WEBVTT\n\n", "")


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_a_segment_without_text_is_no_cue_and_takes_no_number(text: str) -> None:
    assert srt(segments((0, 1, text), (1, 2, "x"))) == "1\n00:00:01,000 --> 00:00:02,000\nx\n\n"


@pytest.mark.parametrize("text", ["one\n\ntwo", "one\r\n2\r\n00:00:01,000 --> 00:00:02,000\r\ntwo", "one --> two"])
def test_text_cannot_break_out_of_its_cue(text: str) -> None:
    for made in (srt(segments((0, 1, text))), vtt(segments((0, 1, text)))):
        assert made.count("-->") == 1
        assert made.strip().count("\n\n") == made.count("WEBVTT")


def test_cues_last_and_never_go_back() -> None:
    made = srt(segments((2.0, 3.0, "a"), (1.0, 1.5, "b"), (4.0, 4.0, "c")))
    times = [line for line in made.splitlines() if "-->" in line]
    assert times == [
        "00:00:02,000 --> 00:00:03,000",
        "00:00:02,000 --> 00:00:02,020",
        "00:00:04,000 --> 00:00:04,020",
    ]


@pytest.mark.parametrize(
    ("texts", "whole"),
    [
        ((" Hello", " there."), "Hello there."),
        (("Hello", "there."), "Hello there."),
        ((" Hello ", "", "  there. "), "Hello there."),
        (("今日は", "いい天気。", "はい"), "今日はいい天気。はい"),
        (("สวัสดี", "ครับ"), "สวัสดีครับ"),
        (("안녕", "하세요"), "안녕 하세요"),
        (("one\ntwo", "three"), "one two three"),
    ],
)
def test_text_goes_on_with_a_space_where_the_script_has_spaces(texts: tuple[str, ...], whole: str) -> None:
    assert plain(segments(*((0, 1, text) for text in texts))) == whole
    grown = ""
    for text in texts:
        grown += continuation(grown, text)
    assert grown == whole
