"""Which temperature's text is kept."""

from __future__ import annotations

import pytest

from agent.engines.onnx.whisper.decode import Hypothesis
from agent.engines.onnx.whisper.fallback import Attempt, Thresholds, best_attempt, compression_ratio, is_silence

GOOD, POOR, REPEATS = (-0.3, 1.2, 0.1), (-1.5, 1.2, 0.1), (-0.2, 5.0, 0.1)
SILENCE = (-1.5, 1.2, 0.9)
LOUD_NO_SPEECH = (-0.3, 1.2, 0.9)


def attempt(facts: tuple[float, float, float], temperature: float = 0.0) -> Attempt:
    logprob, ratio, no_speech = facts
    heard = Hypothesis((5,), "en", None, no_speech, logprob, True, (logprob,), temperature)
    return Attempt(heard, "text", ratio)


@pytest.mark.parametrize(
    ("outcomes", "kept", "tried"),
    [
        ([GOOD, GOOD], 0, 1),
        ([POOR, GOOD, GOOD], 1, 2),
        ([REPEATS, REPEATS, GOOD], 2, 3),
        ([SILENCE, GOOD], 0, 1),  # silence is not improved by drawing
        ([LOUD_NO_SPEECH, GOOD], 0, 1),
        ([POOR, (-1.2, 1.2, 0.1), (-1.9, 1.2, 0.1)], 1, 3),  # all poor: the likeliest
        ([REPEATS, POOR, REPEATS], 1, 3),  # of those that do not repeat themselves
        ([REPEATS, (-0.1, 3.0, 0.1)], 1, 2),  # or of all
    ],
)
def test_temperatures_are_tried_until_one_is_good(
    outcomes: list[tuple[float, float, float]], kept: int, tried: int
) -> None:
    asked: list[float] = []

    def decode(temperature: float) -> Attempt:
        asked.append(temperature)
        return attempt(outcomes[len(asked) - 1], temperature)

    temperatures = [0.2 * index for index in range(len(outcomes))]
    assert best_attempt(temperatures, decode, Thresholds()).heard.temperature == temperatures[kept]
    assert asked == temperatures[:tried]


@pytest.mark.parametrize(("facts", "silent"), [(SILENCE, True), (LOUD_NO_SPEECH, False), (POOR, False), (GOOD, False)])
def test_silence_is_a_poor_text_and_no_speech(facts: tuple[float, float, float], silent: bool) -> None:
    assert is_silence(attempt(facts).heard, Thresholds()) == silent


def test_a_model_without_the_token_never_says_silence() -> None:
    assert not is_silence(Hypothesis((), "en", None, None, -9.0, True), Thresholds())


def test_text_that_repeats_itself_compresses() -> None:
    assert compression_ratio("") == 0
    assert compression_ratio("Turn the light in the kitchen on, please.") < 1.2
    assert compression_ratio("thank you " * 40) > 2.4
