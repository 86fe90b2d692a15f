"""When a growing segment is looked at, and what of it is settled."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.speech.hypothesis import join, split
from agent.speech.pcm import samples_in
from agent.speech.policy import Pace, Partials, PassKind, begin, finished, looked, next_pass, refused

ON = Partials()
OFF = Partials(enabled=False)
AT_ONCE = Partials(settle_s=0, settling_audio_s=0)
SECOND = Partials(settle_s=1.0, settling_audio_s=0)
FAST = Pace(audio_s=3.0, took_s=0.1)


@pytest.mark.parametrize(
    ("heard_s", "voiced_s", "covered_s", "pace", "chosen", "expected"),
    [
        (0.5, 0.5, 0.0, FAST, ON, None),  # too short to say anything
        (0.7, 0.7, 0.0, FAST, ON, None),
        (0.9, 0.9, 0.0, FAST, ON, "partial"),
        (0.9, 0.9, 0.0, FAST, OFF, None),  # the profile says no
        (0.9, 0.9, 0.0, Pace(), ON, "partial"),  # nothing was measured yet
        (1.3, 1.3, 1.0, FAST, ON, None),  # not enough new sound
        (1.5, 1.5, 1.0, FAST, ON, "partial"),
        (1.5, 1.5, 1.0, Pace(1.0, 0.6), ON, None),  # the last pass took longer than this is new
        (1.7, 1.7, 1.0, Pace(1.0, 0.6), ON, "partial"),
        (3.0, 3.0, 1.0, Pace(1.0, 0.6), ON, None),  # would take 1.8 s
        (3.0, 3.0, 1.0, Pace(3.0, 2.0), ON, None),  # the board is too slow
        (2.0, 1.9, 1.0, FAST, ON, "partial"),
        (2.0, 1.0, 1.0, FAST, ON, "early"),  # a pause, and no early pass yet
        (1.3, 1.06, 1.0, Pace(3.0, 0.3), ON, "early"),  # a slow board hears less of the silence, to be done in time
        (1.3, 1.06, 0.8, FAST, ON, "partial"),
        (1.35, 1.06, 0.8, FAST, ON, None),  # it would hold up the early pass
        (1.4, 1.06, 0.8, FAST, ON, None),
        (1.45, 1.06, 0.8, FAST, ON, "early"),
        (2.0, 1.0, 1.0, FAST, OFF, None),
    ],
)
def test_when_to_look(
    heard_s: float, voiced_s: float, covered_s: float, pace: Pace, chosen: Partials, expected: PassKind | None
) -> None:
    utterance = begin(0, 0)
    if covered_s:
        covered = samples_in(covered_s)
        said = min(covered, samples_in(voiced_s))
        utterance = looked(utterance, (), "partial", AT_ONCE, covered_to=covered, said_to=said)
    found = next_pass(utterance, pace, chosen, heard_to=samples_in(heard_s), voiced_end=samples_in(voiced_s), now=10.0)
    assert found == expected


def test_a_pause_is_looked_at_once() -> None:
    utterance = begin(0, 0)
    utterance = looked(utterance, split("stop"), "early", AT_ONCE, covered_to=20_000, said_to=16_000)
    assert next_pass(utterance, FAST, ON, heard_to=22_000, voiced_end=16_000, now=0.0) is None
    assert next_pass(utterance, FAST, ON, heard_to=40_000, voiced_end=30_000, now=0.0) == "early"


def test_after_a_refusal_no_pass_until_the_time_is_over() -> None:
    utterance = refused(begin(0, 0), 10.0, 2.0)
    assert next_pass(utterance, FAST, ON, heard_to=32_000, voiced_end=32_000, now=11.9) is None
    assert next_pass(utterance, FAST, ON, heard_to=32_000, voiced_end=32_000, now=12.0) == "partial"


@pytest.mark.parametrize(
    ("passes", "committed", "text"),
    [
        (["Turn"], "", "Turn"),
        (["Turn on.", "Turn on the"], "Turn on", "Turn on the"),
        (["Turn on", "turn on."], "turn", "turn on."),  # the last word may be cut: it stays open
        (["Turn on the", "Turn of the light", "Turn off the light please"], "Turn", "Turn off the light please"),
        (
            ["Turn on the light", "Turn on the light now", "Learn on the light now"],
            "Turn on the light",
            "Turn on the light now",
        ),
        (["Turn on", "", "Turn on the"], "Turn on", "Turn on the"),  # an empty hypothesis changes nothing
        (["Turn on", "on on on on on on on on", "Turn on the"], "Turn on", "Turn on the"),
    ],
)
def test_local_agreement(passes: list[str], committed: str, text: str) -> None:
    utterance = begin(0, 0)
    for number, hypothesis in enumerate(passes, 1):
        utterance = looked(utterance, split(hypothesis), "partial", AT_ONCE, covered_to=number, said_to=number)
    assert join(utterance.committed) == committed
    assert join(utterance.text_words) == text


@pytest.mark.parametrize(
    ("passes", "committed"),
    [
        ([(0.7, "Turn on the light"), (1.1, "Turn on the light")], ""),  # 0.4 s of new sound say little
        ([(0.7, "Turn on"), (1.1, "Turn on the"), (1.5, "Turn on the"), (1.9, "Turn on the light")], "Turn on"),
        ([(0.7, "Stop"), (1.1, "Turn on the"), (1.5, "Turn on the"), (1.9, "Turn on the light")], ""),
        ([(0.7, "Stop"), (1.1, "Turn on the"), (1.5, "Turn on a"), (2.2, "Turn on a light")], "Turn on"),
        ([(0.7, "Turn on the"), (2.2, "Turn on the light")], "Turn on the"),  # a slow board: two passes will do
        ([(0.7, "Turn on the"), (1.2, "Learn on"), (1.7, "Turn on the"), (2.2, "Turn on the light")], ""),
        ([(0.7, "Turn on the"), (1.2, ""), (1.7, "Turn on the light")], "Turn on the"),
    ],
)
def test_words_settle_when_passes_over_a_second_of_sound_agree(passes: list[tuple[float, str]], committed: str) -> None:
    utterance = begin(0, 0)
    for heard_s, hypothesis in passes:
        heard = samples_in(heard_s)
        utterance = looked(utterance, split(hypothesis), "partial", SECOND, covered_to=heard, said_to=heard)
        assert len(utterance.passes) <= 4, "what is too old to matter is forgotten"
    assert join(utterance.committed) == committed


def test_what_is_made_of_the_first_second_settles_nothing() -> None:
    utterance = begin(0, 0)
    for heard_s in (0.8, 1.2, 1.6, 2.0, 2.4):  # by 2.0 s, 1.2 s of sound agree, but only 0.4 s of it counts
        heard = samples_in(heard_s)
        utterance = looked(utterance, split("Three nine two"), "partial", ON, covered_to=heard, said_to=heard)
        assert join(utterance.text_words) == "Three nine two", "it is shown"
        assert join(utterance.committed) == ("" if heard_s < 2.4 else "Three nine")


@pytest.mark.parametrize(
    ("changes", "expected_s", "pause_s"),
    [
        ({}, 0.0, 0.38),
        ({}, 0.1, 0.35),
        ({}, 0.2, 0.25),
        ({}, 1.0, 0.22),  # late whatever happens: then as early as it makes sense
        ({"ready_silence_s": 0.9, "late_silence_s": 0.6}, 0.1, 0.6),
    ],
)
def test_an_early_pass_hears_as_much_of_the_silence_as_it_has_time_for(
    changes: dict[str, float], expected_s: float, pause_s: float
) -> None:
    assert Partials(**changes).pause_s(expected_s) == pytest.approx(pause_s)  # type: ignore[arg-type]


def test_silences_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="early_silence_s"):
        Partials(early_silence_s=0.5)
    with pytest.raises(ValueError, match="silences"):
        Partials(late_silence_s=0.5)


@pytest.mark.parametrize(
    ("passes", "final", "expected"),
    [
        ([], "Turn it off.", "Turn it off."),
        (["Turn it", "Turn it off"], "Turn it off.", "Turn it off."),
        (["Turn it off", "Turn it off now"], "Turn it on now.", "Turn it off now."),  # committed words never change
        (["Turn it off", "Turn it off now"], "", "Turn it off"),
        ([], "", ""),
        ([], "so so so so so so so", ""),
    ],
)
def test_final_words(passes: list[str], final: str, expected: str) -> None:
    utterance = begin(0, 0)
    for number, hypothesis in enumerate(passes, 1):
        utterance = looked(utterance, split(hypothesis), "partial", AT_ONCE, covered_to=number, said_to=number)
    assert join(finished(utterance, split(final))) == expected


words = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=6).map(lambda chosen: split(" ".join(chosen)))


@given(st.lists(words, max_size=8), words)
def test_committed_words_never_change(passes: list[tuple[str, ...]], final: tuple[str, ...]) -> None:
    utterance = begin(0, 0)
    for number, hypothesis in enumerate(passes, 1):
        before = utterance.committed
        utterance = looked(utterance, hypothesis, "partial", AT_ONCE, covered_to=number, said_to=number)
        assert utterance.committed[: len(before)] == before
        assert utterance.text_words[: len(utterance.committed)] == utterance.committed
    assert finished(utterance, final)[: len(utterance.committed)] == utterance.committed
