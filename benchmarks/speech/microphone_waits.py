"""How long whoever speaks waits for text, by what a listener was sent and when."""

from __future__ import annotations

import statistics

from benchmarks.report import Row
from benchmarks.speech.microphone_bench import Event

END_SILENCE_S = 0.5


def latency(what: str, events: list[tuple[float, Event]]) -> Row:
    ends = {event["segment"]: event["time"] for _, event in events if event["type"] == "speech_end"}
    waits = sorted(
        at - ends[event["segment"]]
        for at, event in events
        if event["type"] == "final" and event["text"] and event["segment"] in ends
    )
    p50, p95 = statistics.median(waits), waits[round(0.95 * (len(waits) - 1))]
    return Row(
        what=f"{what}: end of speech to final text",
        bar=f"p50 <= {END_SILENCE_S + 0.25:.2f} s, p95 <= {END_SILENCE_S + 0.5:.2f} s",
        measured=f"p50 {p50:.3f} s, p95 {p95:.3f} s, most {waits[-1]:.3f} s ({len(waits)} texts)",
        passed=p50 <= END_SILENCE_S + 0.25 and p95 <= END_SILENCE_S + 0.5,
        numbers={"waits_s": waits},
    )


def cadence(events: list[tuple[float, Event]]) -> Row:
    """Between what is shown while someone speaks: speech_start or partial, and the next partial of the segment."""
    gaps: list[float] = []
    last: dict[int, float] = {}
    for at, event in events:
        if event["type"] == "partial":
            if event["segment"] in last:
                gaps.append(at - last[event["segment"]])
            last[event["segment"]] = at
    gaps.sort()
    p50, p95 = statistics.median(gaps), gaps[round(0.95 * (len(gaps) - 1))]
    return Row(
        what="live: partial cadence while speaking",
        bar="<= 0.6 s",
        measured=f"median {p50:.3f} s, p95 {p95:.3f} s, most {gaps[-1]:.3f} s ({len(gaps)})",
        passed=p95 <= 0.6,
        numbers={"gaps_s": gaps},
    )
