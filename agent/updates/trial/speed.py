"""How fast a version answers, measured in moments when nobody else is served. What it takes of them is given back at
once when somebody comes."""

from __future__ import annotations

import array
import asyncio
import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Final

from agent.runtime.crowding import waited_s
from agent.runtime.service import Runtime
from agent.runtime.spec import Task
from agent.runtime.wire.embedding import Embed
from agent.runtime.wire.generation import Delta, Generate, Sampling
from agent.runtime.wire.messages import Event, Request
from agent.runtime.wire.transcription import Transcribe
from agent.updates.trial.asking import Ask, collect

SAMPLES: Final = 3
"""The best of so many counts, or of more where each is short: whatever disturbs makes it slower, nothing makes it
faster. Other programs on the board take turns of some milliseconds."""
LEAST_S: Final = 0.25
"""So long in all."""
LOOK_S: Final = 0.02
TOKENS: Final = 24
SOUND_S: Final = 3
_RATE_HZ: Final = 16_000
_NOUNS: Final = ("lamp", "table", "chair", "box")
_TEXTS: Final = tuple(f"The {noun} was moved to the other room before noon." for noun in _NOUNS)
UNITS: Final[dict[Task, str]] = {"generate": "tokens", "embed": "texts", "transcribe": "seconds of sound"}
WORK_UNITS: Final[dict[Task, str]] = {**UNITS, "embed": "tokens"}
"""What the runtime counts for requests that it serves."""


@dataclass(frozen=True)
class Rate:
    """Units per second. `best` is what it was seen to make. `most` is what it might make if no other program wanted the
    processors: all samples together, without the time in which a thread was ready to run and could not. It is not less
    than that, because a step waits for its slowest thread; it may be infinite."""

    best: float
    most: float

    def __or__(self, other: Rate) -> Rate:
        """Of both measurements."""
        return Rate(max(self.best, other.best), max(self.most, other.most))


@dataclass(frozen=True)
class Probe:
    """The same question for both versions; `units` are what its answer is counted in."""

    request: Request
    units: Callable[[list[Event]], float]


def probe_of(task: Task) -> Probe:
    """Short: a few seconds on the slowest board."""
    if task == "generate":
        greedy = Sampling(temperature=0)
        text = "The old man sat by the sea and told a long story about the winter when the harbor froze."
        request: Request = Generate(
            prompt=text, max_tokens=TOKENS, sampling=greedy, ignore_eos=True, cache_prompt=False
        )
        return Probe(request, lambda events: float(sum(e.tokens for e in events if isinstance(e, Delta))))
    if task == "embed":
        return Probe(Embed(inputs=_TEXTS), lambda events: float(len(_TEXTS)))
    return Probe(Transcribe(audio=_noise(), temperatures=(0.0,), max_tokens=TOKENS), lambda events: float(SOUND_S))


async def rate(
    runtime: Runtime,
    ask: Ask,
    probe: Probe,
    *,
    own: str | None,
    timeout_s: float,
    worker: Callable[[], int | None] = lambda: None,
) -> Rate | None:
    """From some samples; None if no quiet moment has begun within `timeout_s`.

    `own` is the name of the model that is asked, where it is one that serves: its requests count as ours. `worker` is
    the process that answers. Raises the `EdgeAgentError` of a request that fails.
    """
    best = units_in_all = held_s = 0.0
    taken, taken_s = 0, 0.0
    give_up = time.monotonic() + timeout_s
    while (taken < SAMPLES or taken_s < LEAST_S) and (left_s := give_up - time.monotonic()) > 0:
        if _others(runtime):
            await asyncio.sleep(min(LOOK_S, left_s))
            continue
        before_s = waited_s(worker())
        started = time.monotonic()
        asking = asyncio.create_task(collect(ask(probe.request)))
        try:
            if not await _disturbed(runtime, asking, own):
                units = probe.units(asking.result())
                took_s = max(1e-9, time.monotonic() - started)
                taken, taken_s = taken + 1, taken_s + took_s
                best, units_in_all = max(best, units / took_s), units_in_all + units
                held_s += max(0.0, waited_s(worker()) - before_s)
        finally:
            asking.cancel()
            await asyncio.wait([asking])
    if best <= 0:
        return None
    own_s = taken_s - held_s
    return Rate(best, max(best, units_in_all / own_s) if own_s > 0 else math.inf)


async def _disturbed(runtime: Runtime, asking: asyncio.Task[list[Event]], own: str | None) -> bool:
    while not asking.done():
        await asyncio.wait([asking], timeout=LOOK_S)
        if not asking.done() and _others(runtime, own):
            return True
    return False


def _others(runtime: Runtime, own: str | None = None) -> int:
    """Requests of others that run, and models that load."""
    models = runtime.models()
    running = sum(max(0, model.running - (model.name == own)) for model in models)
    return running + sum(model.state == "loading" for model in models)


@cache
def _noise() -> bytes:
    """Quiet noise, the same each time: float32, mono, 16 kHz."""
    dice = random.Random(0)
    return array.array("f", (dice.uniform(-0.01, 0.01) for _ in range(SOUND_S * _RATE_HZ))).tobytes()
