"""Where tokens with timestamps are cut."""

from __future__ import annotations

import pytest

from agent.engines.onnx.whisper.segments import cut

B = 100  # <|0.00|>


@pytest.mark.parametrize(
    ("tokens", "pieces", "heard_s"),
    [
        ([B, 5, 6, B + 100], [(0.0, 2.0, 4)], None),  # one segment
        ([B + 50, 5, 6, B + 100], [(1.0, 2.0, 4)], None),
        ([B, 5, 6], [(0.0, 5.0, 3)], None),  # without an end: to the end of the audio
        ([B + 20, 5], [(0.4, 5.0, 2)], None),
        ([5, 6], [(0.0, 5.0, 2)], None),
        ([], [(0.0, 5.0, 0)], None),
        ([B, 5, B + 50, B + 50, 6, B + 90], [(0.0, 1.0, 3), (1.0, 1.8, 3)], None),
        ([B, 5, B + 50, B + 60, 6, 7], [(0.0, 1.0, 3)], 1.0),  # the second is unfinished: from there again
        ([B, 5, B + 50, B + 50], [(0.0, 1.0, 3)], 1.0),
        ([B, 5, B + 50, B + 60, 6, B + 70, B + 80], [(0.0, 1.0, 3), (1.2, 1.4, 3)], 1.4),
        ([B, 5, B + 999], [(0.0, 5.0, 3)], None),  # beyond the audio
        ([B + 999, 5, B + 1200], [(5.0, 5.0, 3)], None),
        ([B + 70, 5, B + 60], [(1.4, 1.4, 3)], None),  # a text that ends before it begins
    ],
)
def test_segments(tokens: list[int], pieces: list[tuple[float, float, int]], heard_s: float | None) -> None:
    found = cut(tokens, timestamp_begin=B, duration_s=5.0)
    assert [(piece.start_s, piece.end_s, len(piece.tokens)) for piece in found.pieces] == [
        (pytest.approx(start), pytest.approx(end), count) for start, end, count in pieces
    ]
    assert found.heard_s == (None if heard_s is None else pytest.approx(heard_s))
