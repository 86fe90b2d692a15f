"""Two reports side by side: ratios of what both measured, and reasons to doubt them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.bench.report import Report, Row
from agent.bench.spread import percentile, relative_spread
from agent.bench.wording import BUSY_CORES, NOISY


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """`gain` is above 1 where the second report is better, whatever the unit; `low` and `high` are its bounds by the
    quartiles of both."""

    title: str
    unit: str
    first: float
    second: float
    gain: float
    low: float
    high: float
    what: str = "median"


def ratios(first: Report, second: Report) -> Iterator[Ratio]:
    """Of every row that both have, in the first one's order; of latencies the median and the 95th percentile."""
    for row in first.rows:
        other = second.row(row.measure, row.case)
        if other is None or other.unit != row.unit or row.median <= 0 or other.median <= 0:
            continue
        yield _ratio(row, other, 0.5, "median")
        if row.tail:
            yield _ratio(row, other, 0.95, "p95")


def warnings(first: Report, second: Report) -> Iterator[str]:
    """Why the two cannot be compared, or only with care."""
    for task in ("generate", "embed", "transcribe"):
        one, other = first.model(task), second.model(task)
        if one is None or other is None:
            if one is not None or other is not None:
                yield f"Only {'the first' if one else 'the second'} has a model that can {task}."
            continue
        if one.name != other.name or one.description != other.description:
            yield f"Not the same model ({task}): {_named(one.name, one.description)}, and " + (
                f"{_named(other.name, other.description)}. Ratios are of both together, board and model."
            )
        elif one.version != other.version:
            yield f"Not the same version of {one.name}: {one.version or '?'}, and {other.version or '?'}."
        if one.quantization and other.quantization and one.quantization != other.quantization:
            yield f"Not the same quantization ({task}): {one.quantization}, and {other.quantization}."
        elif one.weights_bytes and other.weights_bytes and one.weights_bytes != other.weights_bytes:
            yield f"Not the same weights ({task}): {one.weights_bytes:,} bytes, and {other.weights_bytes:,}."
    if first.quick != second.quick:
        yield "One is a --quick run: shorter answers, fewer repeats."
    if first.server != second.server:
        yield f"Not the same kind of server: {first.server}, and {second.server}."
    elif first.server_version != second.server_version:
        yield f"Not the same edge-agent: {first.server_version}, and {second.server_version}."
    for label, report in (("first", first), ("second", second)):
        if report.others_cores is not None and report.others_cores > BUSY_CORES:
            yield f"During the {label}, other programs kept {report.others_cores:.1f} cores busy."
        if not report.complete:
            why = f" {report.problems[0]}" if report.problems else ""
            yield f"The {label} is not complete.{why}"
        noisy = [row.title for row in report.rows if not row.tail and relative_spread(row.values) > NOISY]
        if noisy:
            yield f"The {label} is unsteady in {', '.join(noisy)}."
    missing = [row.title for row in first.rows if second.row(row.measure, row.case) is None]
    missing += [row.title for row in second.rows if first.row(row.measure, row.case) is None]
    if missing:
        yield f"Only one of them has: {'; '.join(missing)}."


def _ratio(row: Row, other: Row, share: float, what: str) -> Ratio:
    first, second = row.percentile(share), other.percentile(share)
    bounds = [(percentile(one.values, 0.25), percentile(one.values, 0.75)) for one in (row, other)]
    gain = second / first if row.higher_is_better else first / second
    (a_low, a_high), (b_low, b_high) = bounds
    low, high = (b_low / a_high, b_high / a_low) if row.higher_is_better else (a_low / b_high, a_high / b_low)
    return Ratio(
        title=row.title,
        unit=row.unit,
        first=first,
        second=second,
        gain=gain,
        low=low if what == "median" else gain,
        high=high if what == "median" else gain,
        what=what,
    )


def _named(name: str, description: str) -> str:
    return f"{name} ({description})" if description else name
