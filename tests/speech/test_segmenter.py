"""Where speech is cut: tables of probabilities, and what holds for any."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.speech.pcm import FRAME_SAMPLES, samples_in
from agent.speech.segmenter import Cut, Piece, Segmentation, Segmenter, SpeechEnd, SpeechStart

FRAME = FRAME_SAMPLES
# Times in whole frames, so that tables can be read: 2 before, 1 after, 3 of speech, 4 of silence, 40 at most.
TABLE_SETTINGS = Segmentation(
    preroll_s=2 * 0.032,
    postroll_s=0.032,
    min_speech_s=3 * 0.032,
    end_silence_s=4 * 0.032,
    max_segment_s=40 * 0.032,
)


def run(frames: Sequence[tuple[float, float]], chosen: Segmentation, *, flush: bool = True) -> list[Cut]:
    segmenter = Segmenter(chosen)
    cuts = [cut for probability, level in frames for cut in segmenter.feed(probability, level)]
    return cuts + (segmenter.flush() if flush else [])


def drawn(picture: str) -> list[tuple[float, float]]:
    """`#` is speech, `-` between the thresholds, `.` silence."""
    return [({"#": 0.9, "-": 0.4, ".": 0.0}[sign], 0.1) for sign in picture]


def in_frames(cuts: Sequence[Cut]) -> list[tuple[object, ...]]:
    named: list[tuple[object, ...]] = []
    for cut in cuts:
        if isinstance(cut, Piece):
            named.append(("piece", cut.start / FRAME, cut.end / FRAME, cut.reason))
        else:
            named.append(("start" if isinstance(cut, SpeechStart) else "end", cut.at / FRAME))
    return named


@pytest.mark.parametrize(
    ("picture", "expected"),
    [
        ("..........", []),
        ("...----...", []),  # never above the upper threshold
        ("...##.....", []),  # a click
        ("....##..#......", [("start", 2), ("piece", 2, 10, "silence"), ("end", 9)]),  # a short pause inside
        ("....##....#....", []),  # two clicks with a long pause between them
        ("....####....", [("start", 2), ("piece", 2, 9, "silence"), ("end", 8)]),
        ("....#---....", [("start", 2), ("piece", 2, 9, "silence"), ("end", 8)]),  # goes on above the lower threshold
        ("####....", [("start", 0), ("piece", 0, 5, "silence"), ("end", 4)]),  # no preroll before the beginning
        ("....####", [("start", 2), ("piece", 2, 8, "end"), ("end", 8)]),
        ("....####..", [("start", 2), ("piece", 2, 9, "end"), ("end", 8)]),
        (
            "###....###....",  # the second preroll begins where the first segment ended
            [
                ("start", 0),
                ("piece", 0, 4, "silence"),
                ("end", 3),
                ("start", 5),
                ("piece", 5, 11, "silence"),
                ("end", 10),
            ],
        ),
        ("###.....", [("start", 0), ("piece", 0, 4, "silence"), ("end", 3)]),
    ],
)
def test_cuts(picture: str, expected: list[tuple[object, ...]]) -> None:
    assert in_frames(run(drawn(picture), TABLE_SETTINGS)) == expected


def test_long_speech_is_cut_at_its_quietest_place_and_the_pieces_abut() -> None:
    frames = [(0.9, 0.01 if 29 <= number <= 31 else 0.2) for number in range(60)]
    assert in_frames(run(frames, TABLE_SETTINGS)) == [
        ("start", 0),
        ("piece", 0, 30.5, "cap"),
        ("piece", 30.5, 60, "end"),
        ("end", 60),
    ]


def test_silence_after_a_cut_makes_no_piece() -> None:
    frames = [(0.9, 0.2)] * 37 + [(0.0, 0.001)] * 10
    assert in_frames(run(frames, TABLE_SETTINGS)) == [("start", 0), ("piece", 0, 38.5, "cap"), ("end", 37)]


def test_lost_sound_ends_a_segment_and_positions_go_on_behind_it() -> None:
    segmenter = Segmenter(TABLE_SETTINGS)
    cuts = [cut for probability, level in drawn("####") for cut in segmenter.feed(probability, level)]
    cuts += segmenter.lost(1000)
    cuts += [cut for probability, level in drawn("####....") for cut in segmenter.feed(probability, level)]
    after = 4 * FRAME + 1000
    assert cuts == [
        SpeechStart(0),
        Piece(0, 4 * FRAME, 4 * FRAME, "lost"),
        SpeechEnd(4 * FRAME),
        SpeechStart(after),
        Piece(after, after + 5 * FRAME, after + 4 * FRAME, "silence"),
        SpeechEnd(after + 4 * FRAME),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"on_threshold": 0.3, "off_threshold": 0.5},
        {"off_threshold": 0.0},
        {"on_threshold": 1.5},
        {"preroll_s": -0.1},
        {"end_silence_s": 0.0},
        {"max_segment_s": 31.0},
        {"max_segment_s": 1.0, "end_silence_s": 0.9},
    ],
)
def test_settings_that_cannot_be(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Segmentation(**wrong)


levels = st.floats(0, 1)
frames = st.lists(st.tuples(st.sampled_from([0.0, 0.4, 0.9]), levels, st.integers(1, 30)), max_size=30).map(
    lambda runs: [(probability, level) for probability, level, count in runs for _ in range(count)]
)
chosen = st.builds(
    Segmentation,
    preroll_s=st.floats(0, 0.5),
    postroll_s=st.floats(0, 0.5),
    min_speech_s=st.floats(0, 0.5),
    end_silence_s=st.floats(0.05, 0.9),
    max_segment_s=st.floats(4, 8),
)


@given(frames, chosen)
@settings(max_examples=300, deadline=None)
def test_whatever_comes(frames: list[tuple[float, float]], chosen: Segmentation) -> None:
    segmenter = Segmenter(chosen)
    cuts: list[Cut] = []
    for probability, level in frames:
        held_from = segmenter.keep_from
        fresh = segmenter.feed(probability, level)
        pieces = [cut for cut in fresh if isinstance(cut, Piece)]
        assert all(piece.start >= held_from for piece in pieces), "a piece asks for sound that was given up"
        assert segmenter.position - segmenter.keep_from <= samples_in(chosen.max_segment_s) + FRAME
        cuts += fresh
    cuts += segmenter.flush()
    pieces = [cut for cut in cuts if isinstance(cut, Piece)]

    assert all(0 <= piece.start < piece.voiced_end <= piece.end <= len(frames) * FRAME for piece in pieces)
    assert all(piece.end - piece.start <= samples_in(chosen.max_segment_s) for piece in pieces)
    for before, after in pairwise(pieces):
        assert before.end <= after.start
        assert before.reason != "cap" or before.end == after.start or not _voice(frames, before.end, after.start)

    kinds = ["start" if isinstance(c, SpeechStart) else "end" if isinstance(c, SpeechEnd) else "piece" for c in cuts]
    assert kinds.count("start") == kinds.count("end")
    spans = zip(
        (cut.at for cut in cuts if isinstance(cut, SpeechStart)),
        (cut.at for cut in cuts if isinstance(cut, SpeechEnd)),
        strict=True,
    )
    for start, end in spans:  # between start and end of speech, every voiced frame is in a piece
        for number in range(start // FRAME, end // FRAME):
            if frames[number][0] == 0.9 and number * FRAME >= start:
                middle = number * FRAME + FRAME // 2
                assert any(piece.start <= middle <= piece.end for piece in pieces)


def _voice(frames: list[tuple[float, float]], start: int, end: int) -> bool:
    return any(frames[number][0] == 0.9 for number in range(-(-start // FRAME), end // FRAME))


@given(st.lists(st.sampled_from([0.0, 0.9]), min_size=20, max_size=200), st.integers(0, 100_000))
def test_speech_that_is_long_enough_is_never_missed(probabilities: list[float], lost: int) -> None:
    segmenter = Segmenter(TABLE_SETTINGS)
    segmenter.lost(lost)
    cuts = [cut for probability in probabilities for cut in segmenter.feed(probability, 0.1)]
    cuts += segmenter.flush()
    pieces = [cut for cut in cuts if isinstance(cut, Piece)]
    for number in range(2, len(probabilities)):
        if all(probability == 0.9 for probability in probabilities[number - 2 : number + 1]):
            middle = lost + number * FRAME - FRAME // 2
            assert any(piece.start <= middle <= piece.end for piece in pieces)
