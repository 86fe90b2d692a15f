"""A day of a device that does everything, as a list of requests that can be sent as fast as they are answered."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import wave
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp

from benchmarks.speech.stream_client import RATE_HZ, talk

MIX: Final[Mapping[str, int]] = {
    "chat": 70,
    "stream": 60,
    "cancelled": 40,
    "mistake": 30,
    "structured": 25,
    "embed": 45,
    "transcribe": 15,
    "search": 25,
    "passages": 5,
    "live": 10,
    "look": 29,
    "command": 4,
    "reload": 2,
}
"""One hour, a request each ten seconds: 360. `live` is a WebSocket with a sentence, `look` /status, /metrics and the
like, `command` one over MQTT, `reload` a model that is loaded, asked, and unloaded."""
AT_ONCE: Final = 3
CHAT: Final = "starter-chat"
EMBED: Final = "starter-embed"
SPARE: Final = "spare"
COLLECTION: Final = "notes"
PASSAGES: Final = 200
"""So many ids are in use; a passage that comes with one of them takes its place."""
QUIET_S: Final = 0.8

_WORDS: Final = (
    "turn the light in kitchen bedroom cellar garage on off up down what is weather timer minutes play music quiet"
    " louder battery door window heating morning evening remind me tomorrow please now and half past seven garden"
)
_SCHEMA: Final = {
    "type": "object",
    "properties": {"room": {"enum": ["kitchen", "cellar"]}, "level": {"type": "integer", "minimum": 0, "maximum": 9}},
    "required": ["room", "level"],
    "additionalProperties": False,
}
_MISTAKES: Final[tuple[tuple[str, bytes, int], ...]] = (
    ("/v1/chat/completions", b'{"messages": [', 400),
    ("/v1/completions", json.dumps({"model": "nobody", "prompt": "x"}).encode(), 404),
    ("/v1/completions", json.dumps({"model": CHAT, "prompt": "word " * 4000}).encode(), 400),
    ("/v1/completions", json.dumps({"model": CHAT, "prompt": "x", "temperature": "hot"}).encode(), 400),
    ("/v1/completions", json.dumps({"model": CHAT, "prompt": "x", "grammar": "root ::= ("}).encode(), 400),
    ("/v1/embeddings", json.dumps({"model": EMBED, "input": ""}).encode(), 400),
    ("/v1/embeddings", json.dumps({"model": CHAT, "input": "x"}).encode(), 400),
    ("/v1/search", json.dumps({"collection": "nowhere", "query": "x"}).encode(), 404),
    ("/v1/nothing", b"{}", 404),
)  # fmt: skip
_LOOKS: Final = (
    "/status",
    "/metrics",
    "/health",
    "/v1/models",
    "/",
    f"/v1/collections/{COLLECTION}",
    "/v1/audio/devices",
)


class Commands(Protocol):
    """The way over MQTT (`benchmarks.mqtt.command_rows.Sender`)."""

    async def ask(self, id: str, *, rpc: bool) -> None: ...


def an_hour(seed: int, mix: Mapping[str, int] = MIX) -> list[str]:
    """The kinds of one hour's requests, in the order in which they come."""
    kinds = [kind for kind, count in mix.items() for _ in range(count)]
    random.Random(seed).shuffle(kinds)
    return kinds


class Load:
    """Sends what it is told to. What was answered other than it should is in `problems`, by kind."""

    def __init__(self, port: int, recordings: Path, speech: str) -> None:
        """`speech` is the model that transcribes."""
        self.url = f"http://127.0.0.1:{port}"
        self.done: Counter[str] = Counter()
        self.problems: list[str] = []
        self._speech = speech
        self._sounds = sorted(recordings.glob("*.wav"))
        self.commands: Commands | None = None
        self._commanding = asyncio.Lock()
        self._reloading = asyncio.Lock()
        self._number = 0
        self._kinds: dict[str, Callable[[aiohttp.ClientSession, random.Random], Awaitable[str]]] = {
            "chat": self._chat,
            "stream": self._stream,
            "cancelled": self._cancelled,
            "mistake": self._mistake,
            "structured": self._structured,
            "embed": self._embed,
            "transcribe": self._transcribe,
            "search": self._search,
            "passages": self._passages,
            "live": self._live,
            "look": self._look,
            "command": self._command,
            "reload": self._reload,
        }

    async def prepare(self) -> None:
        """A collection to search in."""
        async with aiohttp.ClientSession() as http:
            await self._ask(http, "/v1/collections", {"name": COLLECTION, "model": EMBED}, 201)
            await self._fill(http, range(PASSAGES), random.Random(0))

    async def hour(self, kinds: list[str], seed: int) -> None:
        """All of them, `AT_ONCE` at a time, over connections that are closed in the end."""
        self._commanding, self._reloading = asyncio.Lock(), asyncio.Lock()
        dice = random.Random(seed)
        waiting = [(kind, random.Random(dice.random())) for kind in reversed(kinds)]
        timeout = aiohttp.ClientTimeout(total=600)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            await asyncio.gather(*(self._client(http, waiting) for _ in range(AT_ONCE)))

    async def _client(self, http: aiohttp.ClientSession, waiting: list[tuple[str, random.Random]]) -> None:
        while waiting:
            kind, dice = waiting.pop()
            try:
                wrong = await self._kinds[kind](http, dice)
            except (aiohttp.ClientError, OSError, TimeoutError, KeyError, ValueError) as error:
                wrong = f"{type(error).__name__}: {error}"
            self.done[kind] += 1
            if wrong:
                self.problems.append(f"{kind}: {wrong}")

    async def _ask(self, http: aiohttp.ClientSession, path: str, body: Any, expected: int = 200) -> Any:
        async with http.post(self.url + path, json=body) as answer:
            text = await answer.text()
            if answer.status != expected:
                raise ValueError(f"{path}: {answer.status} {text[:200]}")
            return json.loads(text)

    async def _chat(self, http: aiohttp.ClientSession, dice: random.Random) -> str:
        """Sometimes a conversation that goes on, whose beginning is in the prefix cache."""
        messages = [{"role": "user", "content": _sentence(dice)}]
        for _ in range(dice.choice((1, 1, 2))):
            body = {
                "model": CHAT,
                "messages": messages,
                "max_tokens": dice.randrange(8, 48),
                "n": dice.choice((1, 1, 2)),
            }
            answer = await self._ask(http, "/v1/chat/completions", body)
            said = answer["choices"][0]["message"]["content"]
            messages += [{"role": "assistant", "content": said}, {"role": "user", "content": _sentence(dice, 4)}]
        return "" if answer["usage"]["completion_tokens"] else "no tokens"

    async def _stream(self, http: aiohttp.ClientSession, dice: random.Random) -> str:
        lines = await self._events(http, _completion(dice, 64), None)
        return "" if lines[-1:] == [b"data: [DONE]"] else f"the stream ended with {lines[-1:]}"

    async def _cancelled(self, http: aiohttp.ClientSession, dice: random.Random) -> str:
        """The client goes after some events, or before the first."""
        await self._events(http, {**_completion(dice, 256), "ignore_eos": True}, dice.randrange(12))
        return ""

    async def _events(self, http: aiohttp.ClientSession, body: Any, most: int | None) -> list[bytes]:
        lines: list[bytes] = []
        answer = await http.post(f"{self.url}/v1/completions", json={**body, "stream": True})
        try:
            if answer.status != 200:
                raise ValueError(f"{answer.status} {(await answer.text())[:200]}")
            async for line in answer.content:
                if most is not None and len(lines) >= most:
                    break
                if line.strip():
                    lines.append(line.strip())
        finally:
            answer.close()
        return lines

    async def _mistake(self, http: aiohttp.ClientSession, dice: random.Random) -> str:
        path, body, expected = dice.choice(_MISTAKES)
        headers = {"Content-Type": "application/json"}
        async with http.post(self.url + path, data=body, headers=headers) as answer:
            await answer.read()
            return "" if answer.status == expected else f"{path} {body[:60]!r}: {answer.status}, not {expected}"

    async def _structured(self, http: aiohttp.ClientSession, dice: random.Random) -> str:
        wanted = {"type": "json_schema", "json_schema": {"name": "action", "schema": _schema(dice)}}
        messages = [{"role": "user", "content": _sentence(dice)}]
        body = {"model": CHAT, "messages": messages, "max_tokens": 64, "response_format": wanted}
        answer = await self._ask(http, "/v1/chat/completions", body)
        found = json.loads(answer["choices"][0]["message"]["content"])
        return "" if found["room"] in ("kitchen", "cellar") else f"not by the schema: {found}"

    async def _embed(self, http: aiohttp.ClientSession, dice: random.Random) -> str:
        texts = [_sentence(dice, dice.randrange(3, 40)) for _ in range(dice.choice((1, 1, 4, 16)))]
        answer = await self._ask(http, "/v1/embeddings", {"model": EMBED, "input": texts})
        return "" if len(answer["data"]) == len(texts) else f"{len(answer['data'])} vectors for {len(texts)} texts"

    async def _transcribe(self, http: aiohttp.ClientSession, dice: random.Random) -> str:
        form = aiohttp.FormData()
        form.add_field("model", self._speech)
        form.add_field("response_format", dice.choice(("json", "verbose_json", "srt")))
        form.add_field("file", dice.choice(self._sounds).read_bytes(), filename="sound.wav")
        async with http.post(f"{self.url}/v1/audio/transcriptions", data=form) as answer:
            text = await answer.text()
            return "" if answer.status == 200 and text else f"{answer.status} {text[:200]}"

    async def _search(self, http: aiohttp.ClientSession, dice: random.Random) -> str:
        mode = dice.choice(("vector", "text", "hybrid"))
        await self._ask(http, "/v1/search", {"collection": COLLECTION, "query": _sentence(dice, 5), "mode": mode})
        return ""

    async def _passages(self, http: aiohttp.ClientSession, dice: random.Random) -> str:
        await self._fill(http, dice.sample(range(PASSAGES), 8), dice)
        return ""

    async def _fill(self, http: aiohttp.ClientSession, ids: Any, dice: random.Random) -> None:
        rows = [{"id": f"note-{one}", "text": _sentence(dice, 20), "metadata": {"number": one}} for one in ids]
        await self._ask(http, f"/v1/collections/{COLLECTION}/passages", {"source": "bench", "rows": rows})

    async def _live(self, http: aiohttp.ClientSession, dice: random.Random) -> str:
        """One in four goes in the middle of its sentence."""
        url = f"{self.url.replace('http', 'ws', 1)}/v1/audio/stream?model={self._speech}"
        pcm = _pcm(dice.choice(self._sounds))
        if dice.random() < 0.25:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(talk(http, url, pcm, paced=False, finish=False), 0.2)
            return ""
        done = await talk(http, url, pcm, paced=False)
        return "" if done.ended_well or done.status == 429 else f"{done.status}, closed with {done.close_code}"

    async def _look(self, http: aiohttp.ClientSession, dice: random.Random) -> str:
        path = dice.choice(_LOOKS)
        async with http.get(self.url + path) as answer:
            await answer.read()
            return "" if answer.status == 200 else f"{path}: {answer.status}"

    async def _command(self, http: aiohttp.ClientSession, dice: random.Random) -> str:
        if self.commands is None:
            return await self._look(http, dice)
        async with self._commanding:
            self._number += 1
            await self.commands.ask(f"day-{self._number}", rpc=dice.random() < 0.5)
        return ""

    async def _reload(self, http: aiohttp.ClientSession, dice: random.Random) -> str:
        async with self._reloading:
            await self._ask(http, f"/models/{SPARE}/load", {})
            await self._ask(http, "/v1/completions", {"model": SPARE, "prompt": "Once", "max_tokens": 16})
            await self._ask(http, f"/models/{SPARE}/unload", {})
        return ""


def _completion(dice: random.Random, most: int) -> dict[str, Any]:
    return {"model": CHAT, "prompt": _sentence(dice), "max_tokens": dice.randrange(8, most)}


def _schema(dice: random.Random) -> dict[str, Any]:
    """Now and then one that was never seen: what is compiled is kept, and must not be kept for ever."""
    if dice.random() < 0.5:
        return _SCHEMA
    named = {**_SCHEMA["properties"], _sentence(dice, 2).replace(" ", "_"): {"type": "boolean"}}  # type: ignore[dict-item]
    return {**_SCHEMA, "properties": named}


def _sentence(dice: random.Random, words: int = 12) -> str:
    return " ".join(dice.choice(_WORDS.split()) for _ in range(words))


def _pcm(path: Path) -> bytes:
    """The recording with quiet around it. Raises `ValueError` for anything but 16-bit mono at 16 kHz."""
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE_HZ, 1, 2):
            raise ValueError(f"{path} is not 16-bit mono at 16 kHz")
        quiet = bytes(2 * round(QUIET_S * RATE_HZ))
        sound: bytes = file.readframes(file.getnframes())
        return quiet + sound + quiet
