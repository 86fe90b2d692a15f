"""What a listener is told besides the text, and what is said at the end. Pure: events in, sentences out."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from agent.commands.audio_progress import clock_time

SAMPLES_PER_S = 16_000
_LOST = {
    "overrun": "this machine was too busy to take it",
    "device": "the device did not deliver it",
    "reopened": "nobody listened until the microphone was open again",
}


class LiveNotices:
    """One sentence for each event that a person should know of; a device that keeps failing is told once."""

    def __init__(self) -> None:
        self.closed = False
        self._told: tuple[str, str] | None = None

    def feed(self, event: Mapping[str, Any]) -> str:
        """Empty where there is nothing to tell."""
        match event["type"]:
            case "device":
                self.closed = event["state"] == "closed"
                return self._device(event)
            case "lost":
                why = _LOST.get(event["reason"], event["reason"])
                return f"Lost {event['samples'] / SAMPLES_PER_S:.2f} s of sound ({event['samples']} samples): {why}."
            case "overload":
                return (
                    f"{_stretch(event)} was not transcribed: {event['queued_s']:.0f} s of speech were waiting already."
                )
            case "error":
                what = f"{event['message']} {event['hint']}".strip()
                return what if event["segment"] is None else f"{_stretch(event)} could not be transcribed: {what}"
        return ""

    def _device(self, event: Mapping[str, Any]) -> str:
        state, name = event["state"], f' "{event["name"]}"' if event.get("name") else ""
        if state == "opening":
            return ""
        if (state, event["reason"]) == self._told:
            return ""
        self._told = (state, event["reason"])
        if state == "open":
            return f"Listening to{name or ' the microphone'}. Ctrl-C stops."
        if state == "closed":
            return "The microphone was closed."
        again = " It is tried again until it works." if event.get("retry_s") is not None else ""
        reason = event["reason"] or f"The microphone{name} is {'gone' if state == 'lost' else 'not available'}."
        return " ".join(filter(None, (reason, event["hint"]))) + again


class Tally:
    """Counts for the summary."""

    def __init__(self) -> None:
        self.events = 0
        self._latencies_s: list[float] = []
        self._speech_s = 0.0
        self._lost_samples = 0
        self._missed = 0

    def count(self, event: Mapping[str, Any]) -> None:
        self.events += 1
        match event["type"]:
            case "final" if event["text"]:
                self._latencies_s.append(event["latency_s"])
                self._speech_s += event["end_s"] - event["start_s"]
            case "lost":
                self._lost_samples += event["samples"]
            case "overload" | "error":
                self._missed += event["segment"] is not None

    def summary(self) -> str:
        count = len(self._latencies_s)
        parts = [f"{count} {'utterance' if count == 1 else 'utterances'}", f"{self._speech_s:.1f} s of speech"]
        if self._missed:
            parts.append(f"{self._missed} not transcribed")
        lost = f"{self._lost_samples} samples lost ({self._lost_samples / SAMPLES_PER_S:.2f} s)"
        parts.append(lost if self._lost_samples else "no samples lost")
        if count:
            parts.append(f"median latency {statistics.median(self._latencies_s):.2f} s")
        return ", ".join(parts) + "."


def _stretch(event: Mapping[str, Any]) -> str:
    return f"Speech of {event['end_s'] - event['start_s']:.1f} s at {clock_time(event['start_s'])}"
