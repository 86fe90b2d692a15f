"""Latency while requests come on their own time, as users do: what a busy server makes of its promises.

Requests are sent at times that were drawn beforehand, whether the ones before are answered or not, and each latency is
counted from the time at which its request was due. A server that stalls is charged for everyone who waits meanwhile: no
coordinated omission (Gil Tene, "How NOT to Measure Latency").
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final

from agent.bench.arrivals import poisson_s
from agent.bench.completion import read_completion
from agent.bench.generation import ask_together
from agent.bench.http import Exchange
from agent.bench.report import Case, Row
from agent.bench.run import Run, together
from agent.bench.server import Model
from agent.bench.writer import Writer
from agent.errors import EdgeAgentError, QueueFullError

PROMPT_TOKENS: Final = 64
ANSWER_TOKENS: Final = 32
REQUESTS: Final = 100
"""So many that one of them is slower than the 99th percentile."""

_LONGEST_S: Final = 300.0
_LOAD: Final = 0.5


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Latencies from when each request was due, in seconds, of those that were answered; how many were refused (429)
    or failed, and the worst delay of this client itself, which the latencies include."""

    first_s: tuple[float, ...]
    whole_s: tuple[float, ...]
    refused: int
    failed: int
    late_s: float


def outcome_of(due_s: list[float], exchanges: list[Exchange]) -> Outcome:
    """`due_s` are times of `time.perf_counter()`."""
    first_s, whole_s = [], []
    refused = failed = 0
    for due, exchange in zip(due_s, exchanges, strict=True):
        try:
            answer = read_completion(exchange)
        except QueueFullError:
            refused += 1
        except EdgeAgentError:
            failed += 1
        else:
            if answer.text_s:
                first_s.append(answer.text_s[0] - due)
                whole_s.append(answer.ended_s - due)
            else:
                failed += 1
    return Outcome(
        first_s=tuple(first_s),
        whole_s=tuple(whole_s),
        refused=refused,
        failed=failed,
        late_s=max((exchange.began_s - due for due, exchange in zip(due_s, exchanges, strict=True)), default=0.0),
    )


async def under_load(run: Run, writer: Writer, model: Model) -> None:
    """First-token time and the time of whole answers, at `--rate` or at half of what the server can do."""
    rate_per_s = run.options.rate_per_s or _LOAD * await _capacity_per_s(run, writer, model)
    count = run.times(REQUESTS, REQUESTS // 5)
    longest_s = _LONGEST_S / (10 if run.options.quick else 1)
    count = max(10, min(count, int(rate_per_s * longest_s)))
    bodies = [writer.body(writer.prompt(PROMPT_TOKENS), ANSWER_TOKENS) for _ in range(count)]
    origin_s = time.perf_counter() + 0.05
    due_s = [origin_s + at_s for at_s in poisson_s(rate_per_s, count, run.options.seed)]

    async def one(due: float, body: dict[str, object]) -> Exchange:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        return await writer.http.post(writer.route, body)

    exchanges = await together([one(due, body) for due, body in zip(due_s, bodies, strict=True)])
    found = outcome_of(due_s, exchanges)
    case: Case = {"rate_per_s": run.options.rate_per_s} if run.options.rate_per_s else {"load": "half"}
    counts = {
        "prompt_tokens": PROMPT_TOKENS,
        "answer_tokens": ANSWER_TOKENS,
        "rate_per_s": rate_per_s,
        "requests": count,
        "refused": found.refused,
        "failed": found.failed,
        "client_late_s": found.late_s,
    }
    note = f"{rate_per_s:.3g} a second"
    if found.refused or found.failed:
        note += f"; {found.refused} refused (429), {found.failed} failed"
    for measure, values in (("first token under load", found.first_s), ("answer under load", found.whole_s)):
        run.add(
            Row(
                measure=measure,
                unit="s",
                values=list(values),
                case=case,
                higher_is_better=False,
                tail=True,
                counts=counts,
                note=note,
            )
        )
    if not found.first_s:
        run.problem(f"Under load no request was answered: {found.refused} refused (429), {found.failed} failed.")
    await run.cool_down()


async def _capacity_per_s(run: Run, writer: Writer, model: Model) -> float:
    """Requests of this kind that the server finishes per second when it always has several."""
    several = min(model.slots or 4, 4)

    async def once() -> float:
        began_s = time.perf_counter()
        await ask_together(writer, several, PROMPT_TOKENS, ANSWER_TOKENS)
        return several / (time.perf_counter() - began_s)

    return max(await run.repeat(once, full=3, quick=2, warm_up=False))
