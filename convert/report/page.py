"""The report as Markdown: what to take, then the levels, then how it was measured."""

from __future__ import annotations

from collections.abc import Sequence

from agent.terminal import size, table
from convert.report.level import Level, Rate, Speed
from convert.report.report import Report, Row, rows_of

PICTURE = "report.png"


def markdown(report: Report, *, picture: bool) -> str:
    """The page. `picture`: whether report.png is beside it."""
    parts = [
        f"# {_text(report.model)}: which level?",
        _summary(report),
        "## Recommendation",
        _recommendations(report),
        _explanation(report),
        "## The levels",
        *([f"![Size against loss, and speed, of each level]({PICTURE})"] if picture else []),
        _levels(report),
        _notes(report),
        "## How it was measured",
        *report.subject.method,
        _machine(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(report: Report) -> str:
    """The levels and what to take, for a terminal."""
    subject = report.subject
    heads = ["LEVEL", "SIZE", *(column.heading.upper() for column in subject.columns)]
    heads += [f"{speed.heading.upper()} {speed.unit}" for speed in subject.speeds]
    rows = [
        [
            level.name,
            size(level.file_bytes),
            *(column.show(level.quality) for column in subject.columns),
            *(_speed(level, report.first, speed) for speed in subject.speeds),
            "yes" if level.passed else "no",
        ]
        for level in report.levels
    ]
    summary = _summary(report).replace("**", "").replace("`", "")
    return f"{table(rows, [*heads, 'GOOD'], right=range(1, len(heads)))}\n\n{summary}"


def _summary(report: Report) -> str:
    """One line per profile: what to take from which memory on; a single line where that is the same for all."""
    taken = {choice.level.name if choice.level else None for choice in report.choices}
    if len(taken) == 1 and (only := report.choices[0].level) is not None:
        return f"Take **{only.name}** ({size(only.file_bytes)}) on every board here."
    lines = []
    for profile in dict.fromkeys(choice.board.profile.name for choice in report.choices):
        rows = [row for row in rows_of(report.choices) if row.choices[0].board.profile.name == profile]
        said = ", ".join(f"{_take(row)} with {row.memory}" for row in _joined(rows))
        lines.append(f"- `{profile}`: {said}")
    return "\n".join(lines)


def _joined(rows: Sequence[Row]) -> list[Row]:
    """Rows of one profile whose level is the same, whatever the reason."""
    joined: list[Row] = []
    for row in rows:
        if joined and _take(joined[-1]) == _take(row):
            joined[-1] = Row((*joined[-1].choices, *row.choices), row.last)
        else:
            joined.append(row)
    return joined


def _take(row: Row) -> str:
    level = row.choices[0].level
    return f"**{level.name}**" if level else "none"


def _recommendations(report: Report) -> str:
    context = report.subject.task == "generate"
    estimated = any(choice.tokens_per_s for choice in report.choices)
    heads = ["Profile", "Memory", "Take", "Needs", "Of"]
    heads += ["Context"] if context else []
    heads += ["Tokens/s, about"] if estimated else []
    rows = []
    for row in rows_of(report.choices):
        first, last = row.choices[0], row.choices[-1]
        cells = [f"`{first.board.profile.name}`", row.memory, _take(row)]
        none = first.level is None
        cells.append("-" if none else _span(size(first.needed_bytes), size(last.needed_bytes)))
        cells.append(_span(size(first.board.budget_bytes), size(last.board.budget_bytes)))
        if context:
            cells.append("-" if none else _span(f"{first.context_tokens:,}", f"{last.context_tokens:,}"))
        if estimated:
            cells.append(_number(first.tokens_per_s) if first.tokens_per_s else "-")
        rows.append([*cells, _text(first.why)])
    return _table([*heads, "Why"], rows, right=range(3, len(heads)))


def _explanation(report: Report) -> str:
    cache = " KV cache," if report.subject.task == "generate" else ""
    sentences = [
        f"*Needs* is weights,{cache} scratch buffers and the worker process; *of* is what the profile leaves to models "
        "on the smallest board of that memory.",
        report.subject.why_negligible,
    ]
    if any(choice.tokens_per_s for choice in report.choices):
        sentences.append("*Tokens/s* is the board's memory bandwidth divided by the weights: an estimate.")
    return "\n".join(f"- {sentence}" for sentence in sentences)


def _levels(report: Report) -> str:
    subject, context = report.subject, report.shown_context_tokens
    heads = ["Level", "Size", f"Of {report.first.name}", "Memory"]
    heads += [column.heading for column in subject.columns]
    heads += [f"{speed.heading}, {speed.unit}" for speed in subject.speeds]
    rows = []
    for level in report.levels:
        cells = [f"**{level.name}**" if _recommended(level, report) else level.name, size(level.file_bytes)]
        cells += [f"{level.file_bytes / report.first.file_bytes:.0%}", size(level.memory.at(context))]
        cells += [column.show(level.quality) for column in subject.columns]
        cells += [_speed(level, report.first, speed) for speed in subject.speeds]
        rows.append([*cells, "yes" if level.passed else "**no**"])
    return _table([*heads, "Gates"], rows, right=range(1, len(heads)))


def _recommended(level: Level, report: Report) -> bool:
    return any(choice.level is not None and choice.level.name == level.name for choice in report.choices)


def _speed(level: Level, first: Level, speed: Speed) -> str:
    rate: Rate = level.rates[speed.key]
    ratio = f" ({rate.ratio_to(first.rates[speed.key]):.2f}x)" if level is not first else ""
    return f"{_number(rate.median)}{ratio}"


def _notes(report: Report) -> str:
    context = report.shown_context_tokens
    cached = report.subject.task == "generate"
    memory = f"with an f16 KV cache of {context:,} tokens" if cached else "weights and scratch buffers"
    sentences = [f"*Memory* is {memory}.", f"*x* is times {report.first.name}."]
    failed = [level.name for level in report.levels if not level.passed]
    if failed:
        sentences.append(f"Below the quality gates, and recommended for no board: {', '.join(failed)}.")
    return " ".join(sentences)


def _machine(report: Report) -> str:
    machine, subject = report.machine, report.subject
    speeds = f" ({' and '.join(speed.heading.lower() for speed in subject.speeds)})" if len(subject.speeds) > 1 else ""
    rounds = len(report.first.rates[subject.speeds[0].key].values)
    return (
        f"**Speed**{speeds}: {subject.speed_method}. Measured on {_text(machine.name)} ({_text(machine.cpu)}) with "
        f"{machine.threads} thread{'s' if machine.threads != 1 else ''}: all levels in turns, {rounds} rounds, and the "
        "median is shown. Other boards are faster or slower; the ratios carry over better than the numbers."
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: range) -> str:
    rule = ["---:" if index in right else "---" for index in range(len(heads))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [heads, rule, *rows])


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}" if value < 10 else f"{value:.1f}"


def _text(text: str) -> str:
    """A name out of a file, harmless in a Markdown table."""
    return "".join(f"\\{c}" if c in "\\`*_[]<>|#" else c for c in " ".join(text.split()) if c.isprintable())
