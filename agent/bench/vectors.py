"""How fast a model makes vectors: many texts in a request, and one."""

from __future__ import annotations

import time
from typing import Final

from agent.bench.completion import check
from agent.bench.prompts import Prompts
from agent.bench.report import Row
from agent.bench.run import Run
from agent.bench.server import Model
from agent.errors import UnavailableError

TEXTS: Final = 64
QUICK_TEXTS: Final = 16
WORDS: Final = 16


async def embeddings(run: Run, model: Model) -> None:
    """Texts per second of requests with many, and the latency of requests with one."""
    prompts = Prompts(run.options.seed)
    count = run.times(TEXTS, QUICK_TEXTS)

    async def once(texts: int = count) -> float:
        """Seconds of one request."""
        body = {"model": model.name, "input": [prompts.text(WORDS) for _ in range(texts)]}
        exchange = await run.http.post("/v1/embeddings", body)
        check(exchange)
        try:
            made = len(exchange.json()["data"])
        except (ValueError, KeyError, TypeError, RecursionError):
            made = 0
        if made != texts:
            raise UnavailableError(f"{made} vectors came for {texts} texts.")
        return exchange.ended_s - exchange.sent_s

    async def single() -> float:
        return await once(1)

    taken_s = await run.repeat(once, full=10, quick=3)
    case: dict[str, str | int | float] = {"texts": count, "words": WORDS}
    run.add(Row(measure="embed", unit="texts/s", values=[count / one for one in taken_s], case=case))
    waits_s = await run.repeat(single, full=40, quick=8)
    run.add(
        Row(
            measure="embed one text",
            unit="s",
            values=waits_s,
            case={"words": WORDS},
            higher_is_better=False,
            tail=True,
        )
    )
    if run.energy.power.source:
        began_s, texts = time.monotonic(), 0
        await run.energy.begin()
        while time.monotonic() - began_s < run.times(15, 5):
            await once()
            texts += count
        joules = await run.energy.end()
        if joules is not None:
            run.add(
                Row(measure="energy of a text", unit="J", values=[joules / texts], case=case, higher_is_better=False)
            )
    await run.cool_down()
