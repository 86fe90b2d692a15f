"""A report as one HTML page that asks nobody for anything: style and plots are in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from agent.bench import plot
from agent.bench.report import Report, Row, encode
from agent.bench.wording import doubt, ending, figure, heading, ratio, turns

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2024; --dim: #60646c; --paper: #fff; --rule: #dfe3e6; --limit: #c2410c;
  --c0: #2563eb; --c1: #b45309; --c2: #047857; --c3: #9333ea; }
@media (prefers-color-scheme: dark) { :root { --ink: #eceef0; --dim: #9ba1a6; --paper: #16181a; --rule: #313538;
  --limit: #fb923c; --c0: #60a5fa; --c1: #fbbf24; --c2: #34d399; --c3: #c084fc; } }
body { margin: 0 auto; padding: 1.5rem; max-width: 70rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0 0 1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: 0 0 1.5rem; }
dt, figcaption, .legend, td.dim { color: var(--dim); }
dd { margin: 0; overflow-wrap: anywhere; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 26rem), 1fr)); gap: 1.5rem; }
figure { margin: 0; }
figcaption { font-weight: 600; }
svg { width: 100%; height: auto; }
svg text { fill: var(--dim); font: 12px system-ui, sans-serif; }
.grid { stroke: var(--rule); fill: none; }
.line { fill: none; stroke-width: 2; }
.whisker { stroke: var(--ink); stroke-width: 2; fill: none; }
.limit { stroke: var(--limit); stroke-width: 2; stroke-dasharray: 6 4; fill: none; }
.c0 { --c: var(--c0); } .c1 { --c: var(--c1); } .c2 { --c: var(--c2); } .c3 { --c: var(--c3); }
.line { stroke: var(--c); } .dot, .bar { fill: var(--c); }
.legend { margin: .2rem 0 0; display: flex; flex-wrap: wrap; gap: .2rem 1rem; }
.legend i { display: inline-block; width: .8rem; height: .2rem; background: var(--c); margin-right: .4rem;
  vertical-align: middle; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 1.5rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--rule); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 12px; }
"""


def page(report: Report) -> str:
    """The whole page."""
    board = str(report.board.get("model") or report.url)
    facts = "".join(f"<dt>{escape(label)}</dt><dd>{escape(text)}</dd>" for label, text in heading(report))
    said = "".join(f"<p>{escape(text)}</p>" for text in (*ending(report), *report.problems))
    title = f"edge-agent bench: {board}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>"
        f"<h1>{escape(title)}</h1><dl>{facts}<dt>When</dt><dd>{escape(report.began)}"
        f"{', a quick run' if report.quick else ''}</dd></dl>"
        f'<div class="plots">{"".join(_plots(report))}</div>{_table(report)}{said}'
        f"<details><summary>The report as JSON</summary><pre>{escape(encode(report).decode())}</pre></details>"
        "</body></html>\n"
    )


def _plots(report: Report) -> Iterator[str]:
    limit = ("ceiling", report.ceiling.tokens_per_s) if report.ceiling and report.ceiling.tokens_per_s else None
    yield plot.bars(
        "Generation, and what the memory allows",
        "tokens of prompt",
        "tokens/s",
        _bars(report.of("generate"), "prompt_tokens"),
        limit=limit,
    )
    yield plot.lines(
        "Reading a prompt, by its length",
        "tokens of prompt",
        "tokens/s",
        _over(report.of("prompt"), "prompt_tokens"),
        doubling=True,
    )
    yield plot.lines(
        "Generation of several requests together",
        "requests at once",
        "tokens/s",
        _over(report.of("generate together"), "requests"),
        doubling=True,
    )
    waits = [row for row in report.rows if row.tail]
    yield plot.lines(
        "Latency: the share of requests that took no longer",
        "milliseconds",
        "%",
        [plot.Line(name=row.measure, points=_distribution(row.values)) for row in waits],
        steps=True,
    )
    points = report.points
    yield plot.lines(
        "Speed over time",
        "minutes",
        "tokens/s",
        [plot.Line(name="tokens/s", points=[(one.at_s / 60, one.tokens_per_s) for one in points])] if points else [],
    )
    heat = [(one.at_s / 60, one.celsius) for one in points if one.celsius is not None]
    yield plot.lines("Temperature over time", "minutes", "°C", [plot.Line(name="°C", points=heat)] if heat else [])
    yield plot.intervals(
        "Ours over theirs: more than 1 is ours ahead",
        [plot.Bar(name=one.measure, value=one.median, low=one.low, high=one.high) for one in report.pairings],
    )


def _table(report: Report) -> str:
    rows = [(row.title, figure(row), "; ".join(text for text in (doubt(row), row.note) if text)) for row in report.rows]
    rows += [
        (
            f"{one.title}, ours over theirs",
            ratio(one),
            turns(one),
        )
        for one in report.pairings
    ]
    cells = "".join(
        f'<tr><td>{escape(what)}</td><td>{escape(value)}</td><td class="dim">{escape(note)}</td></tr>'
        for what, value, note in rows
    )
    heads = "<tr><th>What</th><th>Measured</th><th>How</th></tr>"
    return f'<div class="wide"><table>{heads}{cells}</table></div>' if rows else ""


def _bars(rows: Sequence[Row], key: str) -> list[plot.Bar]:
    return [
        plot.Bar(name=str(row.case.get(key, "")), value=row.median, low=min(row.values), high=max(row.values))
        for row in rows
    ]


def _over(rows: Sequence[Row], key: str) -> list[plot.Line]:
    points = sorted((float(row.case[key]), row.median) for row in rows if isinstance(row.case.get(key), int | float))
    return [plot.Line(name=rows[0].measure, points=points)] if points else []


def _distribution(values: Sequence[float]) -> list[tuple[float, float]]:
    """(milliseconds, percent)"""
    ordered = sorted(values)
    return [(value * 1000, 100 * (number + 1) / len(ordered)) for number, value in enumerate(ordered)]
