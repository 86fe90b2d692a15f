"""The next thing that somebody says into the device's microphone, as text."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass

from agent.errors import EngineError
from agent.speech.events import Failure, Final, LiveEvent, SpeechEnd, SpeechStart

LONGEST_S = 60.0
"""Once somebody speaks, they are waited for beyond the limit: the longest segment, and its pass."""


@dataclass(frozen=True, kw_only=True)
class Said:
    """`speech_s` is how long the speech was, with the sound kept before it; `waited_s` how long its text took from the
    end of speech on. `speech_ended` is the monotonic time at that end."""

    text: str
    speech_s: float
    waited_s: float
    speech_ended: float


async def next_said(events: AsyncIterable[Sequence[LiveEvent]], *, timeout_s: float) -> Said | None:
    """The first text of speech that begins from now on; None if nobody began within `timeout_s`, or at the end.

    Raises `EngineError` where it could not be transcribed.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_s
    open_segments: set[int] = set()
    ends_s: dict[int, float] = {}
    try:
        async with asyncio.timeout_at(deadline) as limit:
            async for batch in events:
                for event in batch:
                    match event:
                        case SpeechStart(segment=segment):
                            open_segments.add(segment)
                            limit.reschedule(max(deadline, loop.time() + LONGEST_S))
                        case SpeechEnd(segment=segment, at_s=at_s):
                            ends_s[segment] = at_s
                        case Final(segment=segment, text=text) if segment in open_segments:
                            if text:
                                return _said(event, ends_s.get(segment, event.end_s))
                            open_segments.discard(segment)  # a noise
                            if not open_segments:
                                limit.reschedule(max(deadline, loop.time()))
                        case Failure(segment=segment) if segment in open_segments:
                            raise EngineError(event.message, hint=event.hint)
    except TimeoutError:
        return None
    return None


def _said(final: Final, speech_end_s: float) -> Said:
    return Said(
        text=final.text,
        speech_s=speech_end_s - final.start_s,
        waited_s=final.latency_s,
        speech_ended=time.monotonic() - final.latency_s,
    )
