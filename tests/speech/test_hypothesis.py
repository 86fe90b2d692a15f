"""Hypotheses as words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.runtime.wire.transcription import Segment, Transcribed
from agent.speech.hypothesis import Words, continued, join, repeats, shared_prefix, split, spoken, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ()),
        ("  Turn on  the light. ", ("Turn", " on", "  the", " light.")),
        ("打开灯", ("打", "开", "灯")),
        ("OK 打开 lights", ("OK", " 打", "开", " lights")),
    ],
)
def test_words(text: str, words: Words) -> None:
    assert split(text) == words
    assert join(words) == text.strip()


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [
        ("turn on the", "Turn on, the light", 3),
        ("turn on the", "turn of the", 1),
        ("", "turn", 0),
        ("Straße", "STRASSE", 1),
    ],
)
def test_agreement_does_not_look_at_case_and_punctuation(one: str, other: str, count: int) -> None:
    assert shared_prefix(split(one), split(other)) == count


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("you you you you you you you", True),
        ("no no no", False),
        ("seven seven seven seven seven", False),
        ("thank you thank you thank you thank you", True),
        ("turn it on and turn it off", False),
        ("I like the sea. I like the sea. I like the sea. I like the sea.", True),
        ("", False),
    ],
)
def test_repeats(text: str, expected: bool) -> None:
    assert repeats(split(text)) == expected


@pytest.mark.parametrize(
    ("committed", "words", "expected"),
    [
        ("", "turn on", "turn on"),
        ("turn on", "turn on the light", "turn on the light"),
        ("turn on", "turn off the light", "turn on the light"),  # what is committed stays
        ("please turn", "turn on", "please turn on"),  # the newest pass lost a word
        ("turn on", "please turn on the light", "turn on the light"),  # and here it found one before
        ("turn on the light", "turn", "turn on the light"),
        ("turn on the light", "", "turn on the light"),
    ],
)
def test_a_hypothesis_continues_what_is_committed(committed: str, words: str, expected: str) -> None:
    assert join(continued(split(committed), split(words))) == expected


@given(st.lists(st.sampled_from("abc"), max_size=6), st.lists(st.sampled_from("abc"), max_size=8))
def test_what_is_committed_is_always_the_beginning(committed: list[str], words: list[str]) -> None:
    before, after = split(" ".join(committed)), split(" ".join(words))
    assert continued(before, after)[: len(before)] == before
    assert len(continued(before, after)) <= len(before) + len(after)


def segment(text: str, **fields: float) -> Segment:
    return Segment(start_s=0.0, end_s=1.0, text=text, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (segment(" Turn it on."), True),
        (segment(""), False),
        (segment(" ... "), False),
        (segment(" [BLANK_AUDIO]"), False),
        (segment(" (wind blowing)"), False),
        (segment(" ♪♪"), False),
        (segment(" [door] Stop."), True),
        (segment(" Thanks.", no_speech_prob=0.9, avg_logprob=-1.4), False),
        (segment(" Thanks.", no_speech_prob=0.9, avg_logprob=-0.2), True),
        (segment(" la la", compression_ratio=3.1), False),
        (segment(" bye bye bye bye bye bye bye"), False),
    ],
)
def test_what_is_no_speech_is_left_out(said: Segment, kept: bool) -> None:
    transcribed = Transcribed(
        id=1,
        language=None,
        language_probability=0.0,
        audio_s=1.0,
        segments=(said,),
        completion_tokens=1,
        encode_s=0.0,
        decode_s=0.0,
    )
    assert bool(spoken(transcribed)) == kept
    assert bool(words_of(spoken(transcribed))) == kept
