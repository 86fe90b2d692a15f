"""How long a model takes to load, and what it holds in memory."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from agent.bench.completion import check
from agent.bench.report import Row
from agent.bench.run import Run
from agent.bench.server import Model, look


async def load_time(run: Run, model: Model) -> None:
    """Unloads the model and loads it again; left alone where anybody else uses the server."""
    if not run.server.ours:
        run.say("Load time and memory are only measured of an edge-agent: others do not say when a model is loaded.")
        return
    if (await look(run.http)).busy:
        run.problem("Load time is not measured: other requests run on this server.")
        return
    taken_s: list[float] = []
    for _ in range(run.times(3, 1)):
        await _change(run, model, "unload")
        began_s = time.perf_counter()
        await _change(run, model, "load")
        taken_s.append(time.perf_counter() - began_s)
    run.add(Row(measure="load", unit="s", values=taken_s, case={"task": model.task}, higher_is_better=False))


async def memory(run: Run, model: Model) -> None:
    """What the worker holds, as measured by the server, and what the ledger charges for it."""
    now = (await look(run.http)).named(model.name) if run.server.ours else None
    if now is None or not now.resident_bytes:
        return
    counts = {"charged_bytes": float(now.charged_bytes), "weights_bytes": float(now.weights_bytes)}
    run.add(
        Row(
            measure="memory",
            unit="bytes",
            values=[now.resident_bytes],
            case={"task": model.task},
            higher_is_better=False,
            counts=counts,
        )
    )


async def _change(run: Run, model: Model, action: str) -> Any:
    exchange = await run.http.post(f"/models/{quote(model.name, safe='/')}/{action}", {})
    check(exchange)
    return exchange.json()
