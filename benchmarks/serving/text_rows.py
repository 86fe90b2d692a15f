"""Whether the text is right: batched as alone, within its schema, cut at stop strings, whole characters only."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema

from benchmarks.client import Exchange, exchange_all
from benchmarks.daemon import Daemon
from benchmarks.report import Row
from benchmarks.serving.bench import completion
from benchmarks.serving.random_schema import random_schema

_MODEL = "tiny"
_SLOTS = 8
# What karpathy's stories260K continues "Once upon a time" with, greedily.
_STORY = ", there was a little girl named Lily. She loved to play outside in the park."
_STORY_PROMPTS = (
    "Once upon a time", "The little dog", "Lily and Ben", "One day, a big", "Tom was very", "There was a cat",
    "She said", "In the park,",
)  # fmt: skip
_MULTIBYTE_GRAMMAR = "root ::= ([é-ž] | [一-鿋] | [😀-🙏]){%d}"


def _daemon(path: Path, context_tokens: int) -> Daemon:
    # In another batch the last bits of a result differ. Rounding keys and values to f16, which flash attention does
    # even with an f32 cache, makes up to 0.003 of a logit out of that: enough to change a near tie.
    table = {
        "context_tokens": context_tokens, "slots": _SLOTS, "keep_alive_s": -1,
        "kv_type": "f32", "flash_attention": "off",
    }  # fmt: skip
    daemon = Daemon(models={_MODEL: table})
    daemon.import_model(path, _MODEL)
    return daemon


def batched_greedy(path: Path, *, quick: bool, stories: bool) -> Iterator[Row]:
    """`path` is the stories model where `stories` says so; its known continuation is checked too."""
    tokens = 40 if quick else 150
    with _daemon(path, 4096) as daemon:
        solo = [completion(prompt, tokens, model=_MODEL, ignore_eos=False) for prompt in _STORY_PROMPTS]
        for exchange in solo:
            exchange_all(daemon.port, [exchange])
        together = [completion(prompt, tokens, model=_MODEL, ignore_eos=False) for prompt in _STORY_PROMPTS]
        exchange_all(daemon.port, together)
        leaving = [completion(prompt, tokens, model=_MODEL, ignore_eos=False) for prompt in _STORY_PROMPTS]
        for index, exchange in enumerate(leaving):
            # Half of them leave at different moments; the others must not notice.
            exchange.close_after = 5 + index if index % 2 else None
        exchange_all(daemon.port, leaving)
    texts = [exchange.text() for exchange in solo]
    same = sum(a == b.text() for a, b in zip(texts, together, strict=True))
    kept = sum(texts[i] == leaving[i].text() for i in range(0, len(leaving), 2))
    story = not stories or texts[0].startswith(_STORY)
    yield Row(
        what="greedy text of 8 prompts, batched",
        bar="equals each alone",
        measured=f"{same} of {len(solo)} equal" + (f'; "{_STORY_PROMPTS[0]}{texts[0][:48]}..."' if stories else ""),
        passed=same == len(solo) and all(texts) and story,
        numbers={"texts": texts, "batched": [exchange.text() for exchange in together]},
    )
    remaining = (len(leaving) + 1) // 2
    yield Row(
        what="text of streams whose neighbors cancel",
        bar="equals each alone",
        measured=f"{kept} of {remaining} equal",
        passed=kept == remaining,
    )


def schemas(path: Path, *, quick: bool) -> Iterator[Row]:
    count = 20 if quick else 200
    rng = random.Random(7)
    wanted = [random_schema(rng) for _ in range(count)]
    bad: list[dict[str, Any]] = []
    with _daemon(path, 65_536) as daemon:
        for start in range(0, count, _SLOTS):
            batch = wanted[start : start + _SLOTS]
            exchanges = [
                completion(
                    f"{start + i}:", 4000, model=_MODEL, temperature=1.0, seed=start + i, ignore_eos=False,
                    response_format={"type": "json_schema", "json_schema": {"name": "random", "schema": schema}},
                )
                for i, schema in enumerate(batch)
            ]  # fmt: skip
            exchange_all(daemon.port, exchanges)
            for schema, exchange in zip(batch, exchanges, strict=True):
                if problem := _schema_problem(schema, exchange):
                    bad.append({"schema": schema, "text": exchange.text(), "problem": problem})
    yield Row(
        what=f"{count} random JSON schemas",
        bar=f"{count} parse and validate",
        measured=f"{count - len(bad)} of {count}" + (f"; first: {bad[0]['problem']}" if bad else ""),
        passed=not bad,
        numbers={"bad": bad},
    )


def _schema_problem(schema: dict[str, Any], exchange: Exchange) -> str:
    if not exchange.finished:
        return f"status {exchange.status}: {exchange.failure() or exchange.error}"
    try:
        jsonschema.validate(json.loads(exchange.text()), schema)
    except (ValueError, jsonschema.ValidationError) as error:
        return str(error).splitlines()[0]
    return ""


def stops(path: Path, *, quick: bool) -> Iterator[Row]:
    """Each case: a greedy text without stops, then the same with random ones, which must be its exact beginning."""
    count = 50 if quick else 1000
    rng = random.Random(11)
    bad: list[dict[str, Any]] = []
    multibyte = 0
    done = 0
    with _daemon(path, 8192) as daemon:
        while done < count:
            extra: list[dict[str, Any]] = [
                {"grammar": _MULTIBYTE_GRAMMAR % rng.randint(8, 40)} if rng.random() < 0.4 else {}
                for _ in range(_SLOTS)
            ]
            prompts = [f"case {rng.randrange(10**6)}" for _ in extra]
            full = [
                completion(p, 60, model=_MODEL, ignore_eos=False, **more)
                for p, more in zip(prompts, extra, strict=True)
            ]
            exchange_all(daemon.port, full)
            for _ in range(5):
                cases = [_stop_case(rng, exchange.text()) for exchange in full]
                cut = [
                    completion(p, 60, model=_MODEL, ignore_eos=False, stop=list(stop), **more)
                    for p, more, (stop, _) in zip(prompts, extra, cases, strict=True)
                ]
                exchange_all(daemon.port, cut)
                for (stop, expected), whole, exchange in zip(cases, full, cut, strict=True):
                    done += 1
                    multibyte += not exchange.text().isascii()
                    if problem := _stop_problem(expected, whole, exchange):
                        bad.append({"stop": stop, "expected": expected, "got": exchange.text(), "problem": problem})
    yield Row(
        what="stop strings and split characters",
        bar="never leak, never break",
        measured=f"{done - len(bad)} of {done} right, {multibyte} with multi-byte text"
        + (f"; first: {bad[0]['problem']}" if bad else ""),
        passed=not bad,
        numbers={"bad": bad[:20], "cases": done, "multibyte_cases": multibyte},
    )


def _stop_case(rng: random.Random, text: str) -> tuple[Sequence[str], str]:
    """One to three stop strings, and what must be left of `text`."""
    if not text:
        return ("never",), text
    while True:
        found = []
        for _ in range(rng.randint(1, 3)):
            size = rng.randint(1, 12)
            start = rng.randrange(max(1, len(text) - size))
            piece = text[start : start + size]
            # Some begin like the text and end otherwise: held back, then let go.
            found.append(piece + "\x00" if rng.random() < 0.3 else piece)
        # U+FFFD stands for bytes that are no character: whether a stop string matches those is nobody's promise.
        stops = tuple(stop for stop in found if stop.strip("\x00") and "\ufffd" not in stop)
        if not stops and set(text) <= {"\ufffd"}:
            return ("never",), text
        hits = [(text.index(stop), text.index(stop) + len(stop)) for stop in stops if stop in text]
        # Where one stop starts earlier but another ends earlier, either cut is right: leave such cases out.
        if stops and (not hits or min(hits)[1] == min(end for _, end in hits)):
            return stops, text[: min(hits)[0]] if hits else text


def _stop_problem(expected: str, whole: Exchange, exchange: Exchange) -> str:
    if not exchange.finished or not whole.finished:
        return f"status {exchange.status}: {exchange.failure() or exchange.error or whole.failure()}"
    if exchange.text() != expected:
        return f"{exchange.text()[-40:]!r} instead of {expected[-40:]!r}"
    reasons = [c["finish_reason"] for _, k in exchange.chunks() for c in k.get("choices", ()) if c["finish_reason"]]
    cut = expected != whole.text()
    if len(reasons) != 1 or (cut and reasons != ["stop"]):
        return f"finish reasons {reasons}"
    return ""
