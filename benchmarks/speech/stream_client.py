"""A client of `/v1/audio/stream`: sends sound, at the pace of a microphone or as fast as it is taken, and keeps all."""

from __future__ import annotations

import asyncio
import json
import time
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Any

import aiohttp

RATE_HZ = 16_000
BLOCK_S = 0.1
BLOCK_BYTES = round(BLOCK_S * RATE_HZ) * 2


@dataclass
class Talk:
    """What one stream sent and got. `events` are (arrival, event); times are `time.perf_counter()` seconds."""

    events: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    sent: list[tuple[float, float]] = field(default_factory=list)
    """(seconds of sound sent so far, when), after each message"""
    status: int = 101
    retry_after_s: float | None = None
    close_code: int | None = None

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for _, event in self.events if event["type"] == kind]

    @property
    def text(self) -> str:
        return " ".join(final["text"] for final in self.of("final"))

    @property
    def ended_well(self) -> bool:
        """All came that was due: `end` is last, nothing failed or was left out, and the close was a regular one."""
        kinds = [event["type"] for _, event in self.events]
        return kinds[-1:] == ["end"] and not {"error", "overload", "lost"} & set(kinds) and self.close_code == 1000

    @property
    def ordered(self) -> bool:
        """Times of a kind never go back; of each segment its start, growing partials, its end, its final."""
        kinds = ("level", "speech_start", "speech_end")
        times = [[event["at_s"] for event in self.of(kind)] for kind in kinds]
        ranks = {"speech_start": 0, "partial": 1, "speech_end": 2, "final": 3}
        seen: dict[int, int] = {}
        committed: dict[int, str] = {}
        for _, event in self.events:
            if event["type"] not in ranks:
                continue
            segment, rank = event["segment"], ranks[event["type"]]
            if rank < seen.get(segment, 0) or (segment not in seen and rank):
                return False
            seen[segment] = rank
            if event["type"] in ("partial", "final"):
                if not event["text"].startswith(committed.get(segment, "")):
                    return False
                committed[segment] = event.get("committed", "")
        finals = [final["segment"] for final in self.of("final")]
        return all(one == sorted(one) for one in times) and finals == sorted(set(finals))

    def waits_s(self) -> list[float]:
        """From the end of speech, as it left the client, to the final text, as it came back: of each segment."""
        ends = {event["segment"]: event["at_s"] for event in self.of("speech_end")}
        sent_s = [sound_s for sound_s, _ in self.sent]
        return [
            arrived - self.sent[min(bisect_left(sent_s, ends[event["segment"]]), len(sent_s) - 1)][1]
            for arrived, event in self.events
            if event["type"] == "final"
        ]


async def talk(
    http: aiohttp.ClientSession, url: str, pcm: bytes, *, paced: bool = True, wait_s: float = 0.0, finish: bool = True
) -> Talk:
    """The whole of one stream. Without `finish` it is left open until it is cancelled, or the other side closes."""
    await asyncio.sleep(wait_s)
    done = Talk()
    try:
        socket = await http.ws_connect(url)
    except aiohttp.WSServerHandshakeError as error:
        done.status = error.status
        after = None if error.headers is None else error.headers.get("Retry-After")
        done.retry_after_s = None if after is None else float(after)
        return done
    async with socket:
        sending = asyncio.create_task(_send(socket, pcm, done, paced=paced, finish=finish))
        try:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    done.events.append((time.perf_counter(), json.loads(message.data)))
        finally:
            sending.cancel()
    done.close_code = socket.close_code
    return done


async def _send(socket: aiohttp.ClientWebSocketResponse, pcm: bytes, done: Talk, *, paced: bool, finish: bool) -> None:
    began = time.perf_counter()
    for start in range(0, len(pcm), BLOCK_BYTES):
        block = pcm[start : start + BLOCK_BYTES]
        sound_s = (start + len(block)) / 2 / RATE_HZ
        if paced:
            # As a microphone: a block leaves when its last sample has been heard.
            await asyncio.sleep(max(0.0, began + sound_s - time.perf_counter()))
        await socket.send_bytes(block)
        done.sent.append((sound_s, time.perf_counter()))
    if finish:
        await socket.send_str('{"type": "finish"}')
