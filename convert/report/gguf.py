"""The levels of a GGUF model: made, measured against the unquantized model, and timed side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from agent.errors import RequestError
from agent.store.manifest import MemoryNeed
from agent.store.probe_report import ProbeReport, one_line
from agent.terminal import size
from convert.quality.gates import TEXT_GATES, check
from convert.quality.text import Reference
from convert.quality.windows import SAMPLED
from convert.quantization.choose import probe_gguf
from convert.quantization.quantize import Plan, check_plan, plan, write
from convert.quantization.recipe import COPY, Recipe, read_level
from convert.report.level import Column, Level, Speed, Subject
from convert.report.speed import PROMPT_TOKENS, ROUNDS, measure_speed

DEFAULT_LEVELS: Final = "F16,Q8_0,Q6_K,Q5_K_M,Q4_K_M,Q3_K_M"
_UNQUANTIZED: Final = ("F32", "F16", "BF16")

Say = Callable[[str], None]

_LIMITS = {gate.key: gate.limit for gate in TEXT_GATES}

GENERATION: Final = Subject(
    task="generate",
    loss=Column("kl_mean", "KL divergence", "{:.4f}"),
    ideal=0.0,
    limit=_LIMITS["kl_mean"],
    axis="KL divergence from unquantized (nats per token)",
    # llama.cpp's scoreboard, Llama 3 8B: Q6_K 0.0055, Q5_K_M 0.0108 (tools/perplexity/README.md).
    negligible=0.01,
    why_negligible=(
        "A KL divergence of up to 0.01 nats per token counts as no loss (for Llama 3 8B llama.cpp publishes 0.0055 at "
        "Q6_K and 0.031 at Q4_K_M). Of levels without a loss the smallest is taken, because decoding is bound by how "
        "fast weights are read; of the others, the best that fits."
    ),
    columns=(
        Column("kl_mean", "KL divergence", "{:.4f}"),
        Column("kl_p99", "99% below", "{:.3f}"),
        Column("perplexity_ratio", "Perplexity", "{:.3f}x"),
        Column("top1_agreement", "Same top token", "{:.1%}"),
    ),
    speeds=(Speed("prefill", "Prompt", "tok/s"), Speed("decode", "Decode", "tok/s")),
    method=(),
    speed_method=f"a prompt of {PROMPT_TOKENS} tokens in one step, then tokens decoded one at a time behind it",
)
"""How generation models are compared; `method` depends on what they were measured on."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What to compare: `levels` of the unquantized `source`, on the text file `text` or one that the model writes.

    `threads` 0 is one per core for quantizing and measuring quality; `speed_threads` is for speed.
    """

    source: Path
    levels: tuple[str, ...]
    text: Path | None
    imatrix: Path | None
    threads: int
    speed_threads: int


@dataclass(frozen=True)
class Planned:
    """An order that can be carried out, and the bytes it takes on the disk meanwhile."""

    order: Order
    facts: ProbeReport
    plans: dict[str, Plan]
    needed_bytes: int


@dataclass(frozen=True)
class Measured:
    """`levels` in the order asked for; `measured_on` is the text, in words."""

    levels: tuple[Level, ...]
    subject: Subject
    measured_on: str
    facts: ProbeReport


def read_levels(text: str) -> tuple[str, ...]:
    """`F16,Q8_0,...`, each once. Raises `RequestError`."""
    levels = tuple(dict.fromkeys(read_level(part.strip()) for part in text.split(",")))
    if COPY in levels:
        raise RequestError(f"--quants: {COPY} is no level.", hint="The source's own type, such as F16, stands for it.")
    return levels


def plan_order(order: Order) -> Planned:
    """All that can be said before anything is made, by which a bad order fails at once.

    Raises `ArtifactError`, `ModelLoadError` for a file that is no model, `RequestError` for one that is quantized
    already, that does not generate text, or for levels that need an imatrix.
    """
    facts = probe_gguf(order.source)
    if facts.task != "generate":
        raise RequestError(
            f"{order.source.name} is an embedding model.", hint="Give its Hugging Face folder to compare fp32 and int8."
        )
    if facts.file_type not in _UNQUANTIZED:
        raise RequestError(
            f"{order.source.name} is quantized already ({one_line(facts.file_type)}): it cannot say what is lost.",
            hint="Give the F32, F16 or BF16 file, or the Hugging Face folder.",
        )
    made = [level for level in order.levels if level != facts.file_type]
    imatrix = str(order.imatrix.absolute()) if order.imatrix else None
    plans = plan(order.source, [Recipe(level=level, imatrix=imatrix, threads=order.threads) for level in made])
    for each in plans:
        check_plan(each)
    scratch_bytes = 2 * facts.vocab_tokens * _SCORED_TOKENS
    return Planned(order, facts, dict(zip(made, plans, strict=True)), sum(each.bytes for each in plans) + scratch_bytes)


_SCORED_TOKENS: Final = 16 * 255
"""At most so many are scored, on a text of the user's: convert.quality.windows."""


def measure(planned: Planned, folder: Path, say: Say) -> Measured:
    """Make every level in `folder`, measure it, and time them all. `say` is told a line per level.

    Raises what the quantization, `Reference` and `measure_speed` do.
    """
    order = planned.order
    files: dict[str, Path] = {}
    levels: list[Level] = []
    say("reading the text" if order.text else "letting the unquantized model write a text to measure on")
    with Reference(order.source, order.text, threads=order.threads, scratch=folder) as reference:
        for level in order.levels:
            files[level] = _make(planned, level, folder)
            quality = check(reference.compare(files[level]), TEXT_GATES, accept=True)
            levels.append(_level(level, files[level], planned, quality))
            say(f"{level}: {size(levels[-1].file_bytes)}, {_quality_line(levels[-1])}")
        windows = reference.windows

    def on_round(number: int, level: str) -> None:
        if level == order.levels[0]:
            say(f"timing all levels in turns, round {number} of {ROUNDS}")

    rates = measure_speed(files, threads=order.speed_threads, on_round=on_round)
    text = "a text that the unquantized model wrote" if windows.text == SAMPLED else windows.text
    method = _method(
        text, len(windows.rows), windows.length, len(windows.rows) * windows.scored, planned.facts.file_type
    )
    return Measured(
        tuple(replace(level, rates=rates[level.name]) for level in levels),
        replace(GENERATION, method=method),
        windows.text,
        planned.facts,
    )


def _make(planned: Planned, level: str, folder: Path) -> Path:
    """The source itself where it is of this level."""
    if level not in planned.plans:
        return planned.order.source
    target = folder / f"{level}.gguf"
    write(planned.plans[level], target, on_bytes=lambda done, total: None)
    return target


def _level(name: str, path: Path, planned: Planned, quality: dict[str, object]) -> Level:
    facts = probe_gguf(path)
    header = planned.plans[name].header if name in planned.plans else None
    parts = header.paths if header is not None and path == planned.order.source else (path,)
    return Level(
        name=name,
        file_bytes=sum(part.stat().st_size for part in parts),
        memory=MemoryNeed(
            weights=facts.size_bytes, per_1k_context=facts.kv_bytes_per_1k_context, compute=facts.compute_bytes
        ),
        quality=quality,
    )


def _quality_line(level: Level) -> str:
    shown = [
        f"{column.heading.lower()} {column.show(level.quality)}" for column in (GENERATION.loss, GENERATION.columns[3])
    ]
    return ", ".join(shown) + ("" if level.passed else ", below its gates")


def _method(text: str, windows: int, length: int, scored: int, kind: str) -> tuple[str, ...]:
    limits = ", ".join(f"{gate.what} at {gate.at} {gate.limit:g}" for gate in TEXT_GATES)
    return (
        f"**Quality**: against the {kind} model, on {text}: {windows} windows of {length} tokens, each scored on its "
        f"second half, {scored:,} tokens in all, as llama.cpp's perplexity tool does it (on the CPU, without flash "
        "attention, with an f32 KV cache).",
        "*KL divergence* is how far the predicted probabilities of the next token are from the unquantized model's, in "
        "nats, 0 being the same; *99% below* is its 99th percentile; *perplexity* is times the unquantized model's; "
        "*same top token* is how often both think the same token the most likely.",
        f"**Gates**: {limits}.",
    )
