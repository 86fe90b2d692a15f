"""From tokens with timestamps to segments, as openai/whisper's `transcribe.py` cuts them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

STEP_S: Final = 0.02
"""Between two timestamps."""


@dataclass(frozen=True)
class Piece:
    """Tokens that stand together, with their timestamps. Times are seconds from the start of the window."""

    start_s: float
    end_s: float
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Cut:
    """`heard_s`: how far the text reaches; what comes after it in the window has to be decoded again. None: all."""

    pieces: tuple[Piece, ...]
    heard_s: float | None


def cut(tokens: Sequence[int], *, timestamp_begin: int, duration_s: float) -> Cut:
    """`tokens` of one window whose audio is `duration_s` long.

    Two timestamps in a row close a segment and open the next; what stands after the last pair is unfinished, and is
    left to the next window, unless a single timestamp ends it: then nothing more was said.
    """
    stamped = [token >= timestamp_begin for token in tokens]
    pairs = [index for index in range(1, len(tokens)) if stamped[index - 1] and stamped[index]]
    ended = len(tokens) >= 2 and stamped[-1] and not stamped[-2]
    if not pairs:
        # A single timestamp in front says when speech begins: openai/whisper takes it for the end.
        times = [token for token, is_time in zip(tokens, stamped, strict=True) if is_time]
        text = any(not is_time for is_time in stamped)
        start_s = _seconds(times[0], timestamp_begin) if times and stamped[0] and text else 0.0
        end_s = _seconds(times[-1], timestamp_begin) if ended else duration_s
        return Cut((_piece(start_s, end_s, tokens, duration_s),), None)
    ends = [*pairs, len(tokens)] if ended else pairs
    pieces = []
    start = 0
    for end in ends:
        part = tokens[start:end]
        first_s, last_s = (_seconds(token, timestamp_begin) for token in (part[0], part[-1]))
        pieces.append(_piece(first_s, last_s, part, duration_s))
        start = end
    return Cut(tuple(pieces), None if ended else _seconds(tokens[ends[-1] - 1], timestamp_begin))


def _piece(start_s: float, end_s: float, tokens: Sequence[int], duration_s: float) -> Piece:
    """A model may stamp what lies in the silence that pads the audio."""
    start_s = min(start_s, duration_s)
    return Piece(start_s, min(max(start_s, end_s), duration_s), tuple(tokens))


def _seconds(token: int, timestamp_begin: int) -> float:
    return (token - timestamp_begin) * STEP_S
