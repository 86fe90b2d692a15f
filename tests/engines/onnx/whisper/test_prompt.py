"""What a decoder is told before it writes: text that came before, hotwords, and how it is decoded then."""

from __future__ import annotations

import pytest

from agent.engines.onnx.whisper.decode import DecodingOptions, decode
from agent.engines.onnx.whisper.prompt import previous_tokens
from agent.errors import ContextOverflowError, RequestError
from tests.engines.onnx.whisper.spec import SPEC, make_spec
from tests.engines.onnx.whisper.test_greedy import DE, EN, EOT, NO_TIMESTAMPS, NOTHING, SOT, TRANSCRIBE, Script

SOT_PREV = 47
ROOM = SPEC["max_target_positions"] // 2 - 1


def encode(text: str) -> list[int]:
    return [ord(character) % 32 for character in text]


@pytest.mark.parametrize(
    ("prompt", "hotwords", "tokens"),
    [
        ("", "", ""),
        ("  ", " ", ""),
        ("abc", "", " abc"),
        ("", " ab ", " ab"),
        ("abc", "xy", " xy abc"),
        ("abcdefghijklmnop", "", "fghijklmnop"),  # the end of it
        ("", "abcdefghijklmnop", " abcdefghij"),  # the beginning
        ("abcdefghijklmnop", "xyz", " xyzjklmnop"),
        ("abc", "abcdefghijklmnop", " abcdefghij"),
    ],
)
def test_hotwords_and_the_end_of_what_came_before(prompt: str, hotwords: str, tokens: str) -> None:
    found = previous_tokens(make_spec(), encode, prompt=prompt, hotwords=hotwords)
    assert list(found) == encode(tokens)
    assert len(found) <= ROOM


def test_a_model_without_a_place_for_it_says_so() -> None:
    spec = make_spec(tokens=SPEC["tokens"] | {"sot_prev": None})
    assert previous_tokens(spec, encode, prompt="", hotwords="") == ()
    for given in ({"prompt": "a", "hotwords": ""}, {"prompt": "", "hotwords": "a"}):
        with pytest.raises(RequestError) as caught:
            previous_tokens(spec, encode, **given)
        assert caught.value.param == next(name for name, text in given.items() if text)


def test_previous_text_stands_before_the_start() -> None:
    script = Script([{}, {5: 9}, {EOT: 9}])
    decode(script, make_spec(), NOTHING, DecodingOptions(language="en", previous=(7, 8)))
    assert script.fed == [[SOT_PREV, 7, 8, SOT], [EN, TRANSCRIBE, NO_TIMESTAMPS], [5]]


def test_the_language_is_told_from_the_sound_without_the_previous_text() -> None:
    script = Script([{DE: 9}, {EN: 9}, {5: 9}, {EOT: 9}])
    heard = decode(script, make_spec(), NOTHING, DecodingOptions(previous=(7,)))
    assert heard.language == "de"
    assert script.fed == [[SOT], [SOT_PREV, 7, SOT], [DE, TRANSCRIBE, NO_TIMESTAMPS], [5]]


def test_previous_text_that_leaves_no_room_is_refused() -> None:
    script = Script([{}, {}], capacity=6)
    with pytest.raises(ContextOverflowError):
        decode(script, make_spec(), NOTHING, DecodingOptions(language="en", previous=(7,)))
