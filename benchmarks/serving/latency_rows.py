"""How long clients wait: for the first token, behind a shared prefix, behind somebody else's prompt."""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Iterator

from benchmarks.client import Exchange, exchange_all
from benchmarks.report import Row
from benchmarks.serving.bench import Bench, completion, completion_tokens

_LONG_PROMPT_TOKENS = 1500


def first_token(bench: Bench) -> Iterator[Row]:
    served: list[float] = []
    raw: list[float] = []
    for turn in range(bench.repeats(60, 5)):
        prompt = bench.raw.prompt(16, 50_000 + turn)
        # Who goes first alternates, so that neither always finds the caches warmed by the other; the pause lets the
        # other's threads stop spinning (libgomp: 3 ms after the last step), which would take a core from the next.
        for side in ("raw", "served") if turn % 2 else ("served", "raw"):
            time.sleep(0.05)
            if side == "raw":
                raw.append(bench.raw.run([prompt], 2)[0])
            else:
                served.append(_run(bench, completion(prompt, 2)).first_text_s)
    added_s = statistics.median(served) - statistics.median(raw)
    yield Row(
        what="first-token time added (16-token prompt)",
        bar="<= 5 ms at the median",
        measured=f"{added_s * 1e3:.2f} ms ({statistics.median(served) * 1e3:.1f} of which raw "
        f"{statistics.median(raw) * 1e3:.1f}), {len(served)} requests",
        passed=added_s <= 0.005,
        numbers={"added_s": added_s, "served_s": served, "raw_s": raw},
    )


def shared_prefix(bench: Bench) -> Iterator[Row]:
    long_tokens = 300 if bench.quick else _LONG_PROMPT_TOKENS
    prefix = bench.raw.prompt(long_tokens, 60_000)
    suffixes = [bench.raw.prompt(16, 60_001 + i) for i in range(2)]
    first, second = (_run(bench, completion(prefix + suffix, 8)).first_text_s for suffix in suffixes)
    yield _prefix_row(f"second request sharing {long_tokens} tokens", [first], [second])

    conversations = [bench.raw.prompt(long_tokens, 61_000 + i) for i in range(4)]
    firsts: list[float] = []
    laters: list[float] = []
    for turn in range(3):
        for index, text in enumerate(conversations):
            exchange = _run(bench, completion(text, 8))
            (laters if turn else firsts).append(exchange.first_text_s)
            conversations[index] = text + exchange.text() + bench.raw.prompt(16, 62_000 + 10 * turn + index)
    yield _prefix_row("the same, four conversations in turns", firsts, laters)


def _prefix_row(what: str, firsts: list[float], laters: list[float]) -> Row:
    share = max(laters) / statistics.median(firsts)
    return Row(
        what=what,
        bar="first token in <= 8% of the first",
        measured=f"{share:.1%} (worst {max(laters) * 1e3:.0f} ms of {statistics.median(firsts) * 1e3:.0f} ms)",
        passed=share <= 0.08,
        numbers={"share": share, "first_s": firsts, "later_s": laters},
    )


def prefill_stall(bench: Bench) -> Iterator[Row]:
    # Long enough that a stream's median is that of its undisturbed steps.
    streams, tokens = 3, 60 if bench.quick else 700
    # A token that shows nothing, or half a character, has no event of its own, which is no stall: keep such tokens out.
    bias = {str(token): -100 for token in bench.raw.partial_tokens()}
    exchanges = [completion(bench.raw.prompt(16, 70_000 + i), tokens, logit_bias=bias) for i in range(streams)]
    arrival_s = 1.0 if bench.quick else 3.0
    long_tokens = 300 if bench.quick else _LONG_PROMPT_TOKENS
    exchanges.append(completion(bench.raw.prompt(long_tokens, 71_000), 2, start_at=arrival_s))
    exchange_all(bench.daemon.port, exchanges)
    *running, late = exchanges
    completion_tokens(late)
    ratios, quiet_ratios = [], []
    for exchange in running:
        completion_tokens(exchange)
        times = [at for at, _ in exchange.pieces()]
        gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
        quiet = [b - a for a, b in itertools.pairwise(times) if b < late.sent_at]
        # The others' own prefills at the start belong to the row as well: nothing is cut off.
        ratios.append(max(gaps) / statistics.median(gaps))
        quiet_ratios.append(max(gaps) / statistics.median(quiet or gaps))
    overlapped = min(exchange.pieces()[-1][0] for exchange in running) > late.pieces()[0][0]
    yield Row(
        what=f"{long_tokens}-token prefill beside {streams} streams",
        bar="largest gap <= 4x its median",
        measured=f"{max(ratios):.2f}x; {max(quiet_ratios):.2f}x the median before it arrived; prefill took "
        f"{late.first_text_s:.2f} s" + ("" if overlapped else "; a stream ended before the prefill did"),
        passed=max(ratios) <= 4,
        numbers={
            "ratios": ratios,
            "ratios_to_quiet_median": quiet_ratios,
            "prefill_s": late.first_text_s,
            "streams_outlasted_prefill": overlapped,
        },
    )


def _run(bench: Bench, exchange: Exchange) -> Exchange:
    exchange_all(bench.daemon.port, [exchange])
    completion_tokens(exchange)
    return exchange
