"""The model card: what starter-whisper is, what it was measured to do, and what it cannot."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final


@dataclass(frozen=True, kw_only=True)
class Facts:
    """`measured` is what `evaluation.measure` says; `computed_s` the time of all threads together, by one clock."""

    parameters: int
    graph_bytes: int
    words: int
    utterances: int
    hours: float
    seed: int
    minutes: float
    computed_s: float
    measured: Mapping[str, Any]


def card(facts: Facts) -> str:
    """In Markdown."""
    return _CARD.format(
        millions=facts.parameters / 1e6,
        megabytes=facts.graph_bytes / 1e6,
        words=facts.words,
        utterances=facts.utterances,
        hours=facts.hours,
        seed=facts.seed,
        minutes=facts.minutes,
        computed=facts.computed_s / 60,
        measured=facts.measured,
    )


_CARD: Final = """\
# starter-whisper

A speech recognizer for spoken device commands in English that comes with edge-agent: a Whisper of {millions:.1f}
million parameters, {megabytes:.1f} MB in INT8, trained from nothing on synthetic speech.

## Measured

As shipped, in INT8 in the ONNX engine, greedily, on {measured[recordings]} sentences that training never said, in
voices that it never used, with noise at 12 to 35 dB and a third of them in a room:

| what | result |
|---|---|
| word error rate, windows as long as the sentence | {measured[wer_short_percent]:.1f}% |
| word error rate, windows of 30 s | {measured[wer_full_percent]:.1f}% |
| clips of silence or noise alone ({measured[silent_clips]}) in which it finds words | {measured[silence_written]:.1%} |

The voices are those of synthesizers (six of espeak-ng, one of flite). How it does on people was not measured: expect
it to be worse.

## What it can and cannot do

- It knows {words} words: devices, rooms, numbers to a hundred, shopping and reminders, a few phrases. What starter-chat
  makes actions of, it writes.
- Any other word becomes one that it knows, confidently wrong. It is no dictation.
- English alone. Names, places and free text: no.
- For more: `edge-convert whisper openai/whisper-tiny`, or larger.

## Made by

`python -m convert.starter.whisper --out DIR --seed {seed} --minutes {minutes:g}`: {utterances:,} utterances
({hours:.1f} hours) spoken by espeak-ng, flite and Festival, {computed:.0f} minutes of computing on two cores. It heard
these programs alone, never a person.

License: MIT (`LICENSE`).
"""
