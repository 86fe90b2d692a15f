"""Figures for people."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Final

from agent.bench.ceiling import share_of
from agent.bench.report import Pairing, Report, Row
from agent.bench.spread import relative_spread
from agent.terminal import size

NOISY: Final = 0.1
"""Repeats that differ by more than this say that something else went on."""

BUSY_CORES: Final = 0.2


def amount(value: float, unit: str) -> str:
    """`52.1 tokens/s`, `18.2 ms`, `1.35 s`, `398 MB`."""
    if unit == "bytes":
        return size(value)
    if unit == "s" and value < 1:
        return f"{_digits(value * 1000)} ms"
    return f"{_digits(value)} {unit}"


def figure(row: Row) -> str:
    """The middle of a row; of latencies what a user has to expect."""
    if not row.tail:
        return amount(row.median, row.unit)
    return ", ".join(f"p{share:g} {amount(row.percentile(share / 100), row.unit)}" for share in (50, 95, 99))


def doubt(row: Row) -> str:
    """How often it was measured, and how much that differed."""
    count = len(row.values)
    if row.tail:
        few = ": p99 is the slowest" if count < 100 else ""
        return f"{count} requests{few}"
    if count == 1:
        return "once"
    return f"±{relative_spread(row.values):.0%}, {count} times"


def ratio(pairing: Pairing) -> str:
    """`1.024 (0.998 to 1.050)`."""
    return f"{pairing.median:.3f} ({pairing.low:.3f} to {pairing.high:.3f})"


def turns(pairing: Pairing) -> str:
    """The medians of both sides, and how often they took turns."""
    ours, theirs = (amount(statistics.median(values), pairing.unit) for values in (pairing.ours, pairing.theirs))
    return f"{ours} and {theirs}, {len(pairing.ratios)} turns"


def heading(report: Report) -> Iterator[tuple[str, str]]:
    """Label and text of each line about what was measured, the ceiling last."""
    who = f"edge-agent {report.server_version}" if report.server == "edge-agent" else "an OpenAI-compatible server"
    yield "Server", f"{who} at {report.url}"
    if report.against_url:
        yield "Against", f"{report.against_model} at {report.against_url}"
    if report.board:
        profile = f", profile {report.profile.get('name')}" if report.profile else ""
        yield "Board", f"{report.board.get('model')}, {report.board.get('usable_cores')} cores{profile}"
    for model in report.models:
        said = [
            f"{model.name}{' ' + model.version if model.version else ''}",
            model.quantization,
            f"{size(model.weights_bytes)} of weights" if model.weights_bytes else "",
            _threads(model.threads) if model.threads else "",
        ]
        yield model.task.capitalize(), ", ".join(text for text in said if text)
    if report.others_cores is not None and report.others_cores > BUSY_CORES:
        yield "Warning", f"other programs keep {report.others_cores:.1f} cores busy: speeds are too low by that"
    if report.power is not None:
        yield (
            "Energy",
            f"{report.power.source}: {report.power.scope}"
            if report.power.source
            else (f"no meter. {report.power.reason}"),
        )
    if report.ceiling is not None:
        yield "Ceiling", _ceiling(report)


def ending(report: Report) -> Iterator[str]:
    """What follows from all rows together."""
    share = share_of(report.ceiling, [row.median for row in report.of("generate")])
    if share is not None:
        yield f"Generation reaches {share:.0%} of what the memory allows."
    if report.overhead is not None:
        client = report.overhead
        yield (
            f"Measuring: the client saw {client.client_over_server:.4f} of the speed that the server counts, over "
            f"{client.answers} answers, and took {client.client_cpu_share:.2%} of a core."
        )
    noisy = [row.title for row in report.rows if not row.tail and relative_spread(row.values) > NOISY]
    if noisy:
        yield f"Unsteady, by more than {NOISY:.0%}: {'; '.join(noisy)}."
    if report.problems:
        yield f"Incomplete: {len(report.problems)} problem{'s' if len(report.problems) > 1 else ''}, told above."


def _ceiling(report: Report) -> str:
    ceiling = report.ceiling
    if ceiling is None or not ceiling.tokens_per_s:
        return f"not known: {ceiling.reason if ceiling else ''}."
    return (
        f"{_digits(ceiling.tokens_per_s)} tokens/s = {ceiling.bandwidth_bytes_per_s / 1e9:.1f} GB/s read from memory "
        f"({_threads(ceiling.threads)}, measured now) / {size(ceiling.bytes_per_token)} per token"
    )


def _threads(count: int) -> str:
    return f"{count} thread{'s' if count > 1 else ''}"


def _digits(value: float) -> str:
    """Three significant digits, and no exponent."""
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3g}"
