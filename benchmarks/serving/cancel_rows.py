"""How soon a slot is free again after its client has gone, while decoding and in the middle of a prompt."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator

from benchmarks.client import Exchange, exchange_all
from benchmarks.report import Row
from benchmarks.serving.bench import MODEL, Bench, completion

# Asking /status is how the end of a request is seen from outside; an answer takes a few milliseconds.
_POLL_S = 0.002


def cancel(bench: Bench) -> Iterator[Row]:
    decode_s: list[float] = []
    steps_s: list[float] = []
    for turn in range(bench.repeats(12, 2)):
        leaving = completion(bench.raw.prompt(16, 80_000 + turn), 400)
        leaving.close_after = 10
        decode_s.append(_time_to_free(bench, leaving))
        times = [at for at, _ in leaving.events]
        # The longest step that this very stream has seen: others may be using the machine.
        steps_s.append(max(later - earlier for earlier, later in itertools.pairwise(times)))
    yield _row("cancel while decoding", "decode step", decode_s, steps_s)

    micro_batch_tokens = 512
    micro_batch_s = bench.raw.run([bench.raw.prompt(micro_batch_tokens, 81_000)], 2)[0]
    prefill_s: list[float] = []
    for turn in range(bench.repeats(5, 1)):
        leaving = completion(bench.raw.prompt(1500, 82_000 + turn), 4)
        leaving.close_at = 0.4 + 0.15 * turn
        prefill_s.append(_time_to_free(bench, leaving))
        if leaving.events:
            raise RuntimeError("the prompt was read before the client left; use a larger model")
    yield _row(
        "cancel during prefill", f"micro-batch of {micro_batch_tokens}", prefill_s, [micro_batch_s] * len(prefill_s)
    )


def _time_to_free(bench: Bench, leaving: Exchange) -> float:
    """Seconds from the client's close to /status showing its slot free."""
    bench.daemon.wait_until_idle()
    exchange_all(bench.daemon.port, [leaving])
    while bench.daemon.model(MODEL)["slots_used"]:
        time.sleep(_POLL_S)
    return time.perf_counter() - leaving.closed_at


def _row(what: str, unit: str, freed_s: list[float], limits_s: list[float]) -> Row:
    asking_s = 0.01
    late = sum(freed > limit + asking_s for freed, limit in zip(freed_s, limits_s, strict=True))
    return Row(
        what=what,
        bar=f"slot free within one {unit}",
        measured=f"median {statistics.median(freed_s) * 1e3:.1f} ms, worst {max(freed_s) * 1e3:.1f} ms; one {unit} is "
        f"{statistics.median(limits_s) * 1e3:.1f} ms; {late} of {len(freed_s)} later (10 ms allowed for asking)",
        passed=late == 0,
        numbers={"freed_s": freed_s, "limits_s": limits_s, "asking_s": asking_s},
    )
