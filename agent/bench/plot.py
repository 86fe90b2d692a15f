"""Plots as inline SVG. Colors are classes of the page's style, so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

WIDTH: Final = 640
HEIGHT: Final = 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 16, 28, 40
_COLORS: Final = 4


@dataclass(frozen=True, kw_only=True)
class Line:
    """Points from left to right, as (x, y)."""

    name: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Bar:
    """`low` and `high` are drawn as a whisker, where they differ from `value`."""

    name: str
    value: float
    low: float = 0.0
    high: float = 0.0


def lines(title: str, x: str, y: str, drawn: Sequence[Line], *, doubling: bool = False, steps: bool = False) -> str:
    """`doubling`: equal distances for equal factors along x. `steps`: the line goes right, then up, as a distribution
    does. Nothing where there are no points."""
    points = [point for line in drawn for point in line.points]
    if not points:
        return ""
    across = _Axis.over([point[0] for point in points], _LEFT, WIDTH - _RIGHT, doubling=doubling, zero=not doubling)
    up = _Axis.over([point[1] for point in points], HEIGHT - _BOTTOM, _TOP)
    marks = sorted({point[0] for point in points}) if doubling else across.marks()
    body = [_grid(across, up, marks, x, y)]
    for number, line in enumerate(drawn):
        color = number % _COLORS
        at = [(across(one), up(other)) for one, other in line.points]
        path = " ".join(
            f"{'M' if index == 0 else f'H{px:.1f} V' if steps else 'L'}{_pair(px, py, steps and index > 0)}"
            for index, (px, py) in enumerate(at)
        )
        body.append(f'<path class="line c{color}" d="{path}"/>')
        if len(at) <= 40 and not steps:
            body += [f'<circle class="dot c{color}" cx="{px:.1f}" cy="{py:.1f}" r="3.5"/>' for px, py in at]
    return _figure(title, "".join(body), [line.name for line in drawn])


def bars(title: str, x: str, unit: str, drawn: Sequence[Bar], *, limit: tuple[str, float] | None = None) -> str:
    """Standing bars from 0, and `limit` as a line across."""
    if not drawn:
        return ""
    highest = [max(bar.value, bar.high) for bar in drawn] + ([limit[1]] if limit else [])
    up = _Axis.over([0.0, *highest], HEIGHT - _BOTTOM, _TOP)
    body = [_rows(up, unit), _label((_LEFT + WIDTH) / 2, HEIGHT - 6, x, "middle")]
    place = (WIDTH - _LEFT - _RIGHT) / len(drawn)
    for number, bar in enumerate(drawn):
        middle, half = _LEFT + place * (number + 0.5), min(36.0, place * 0.3)
        top = up(bar.value)
        body.append(
            f'<rect class="bar c0" x="{middle - half:.1f}" y="{top:.1f}" width="{2 * half:.1f}" '
            f'height="{HEIGHT - _BOTTOM - top:.1f}"/>'
        )
        if bar.high > bar.low:
            body.append(f'<path class="whisker" d="M{middle:.1f} {up(bar.low):.1f} V{up(bar.high):.1f}"/>')
        body.append(_label(middle, min(top, up(max(bar.high, bar.value))) - 6, _short(bar.value), "middle"))
        body.append(_label(middle, HEIGHT - _BOTTOM + 16, bar.name, "middle"))
    if limit is not None:
        at = up(limit[1])
        body.append(f'<path class="limit" d="M{_LEFT} {at:.1f} H{WIDTH - _RIGHT}"/>')
        body.append(_label(WIDTH - _RIGHT, at - 5, f"{limit[0]} {_short(limit[1])}", "end"))
    return _figure(title, "".join(body), [])


def intervals(title: str, drawn: Sequence[Bar], *, middle: float = 1.0) -> str:
    """Lying whiskers around a line at `middle`, one row each."""
    if not drawn:
        return ""
    edges = [edge for bar in drawn for edge in (bar.low, bar.high, bar.value)]
    reach = max(0.05, *(abs(edge - middle) for edge in edges)) * 1.15
    across = _Axis(middle - reach, middle + reach, 220, WIDTH - 70)
    height = _TOP + 30 * len(drawn) + _BOTTOM
    body = [
        f'<path class="grid" d="M{across(mark):.1f} {_TOP - 8} V{height - _BOTTOM}"/>'
        + _label(across(mark), height - _BOTTOM + 16, f"{mark:.3g}", "middle")
        for mark in across.marks()
    ]
    body.append(f'<path class="limit" d="M{across(middle):.1f} {_TOP - 8} V{height - _BOTTOM}"/>')
    for number, bar in enumerate(drawn):
        at = _TOP + 30 * number + 12
        body.append(_label(8, at + 4, bar.name, "start"))
        body.append(f'<path class="whisker" d="M{across(bar.low):.1f} {at} H{across(bar.high):.1f}"/>')
        body.append(f'<circle class="dot c0" cx="{across(bar.value):.1f}" cy="{at}" r="5"/>')
        body.append(_label(WIDTH - 8, at + 4, f"{bar.value:.3f}", "end"))
    return _figure(title, "".join(body), [], height=height)


@dataclass(frozen=True)
class _Axis:
    """From values between `low` and `high` to pixels between `start` and `end`."""

    low: float
    high: float
    start: float
    end: float
    doubling: bool = False

    @staticmethod
    def over(values: Sequence[float], start: float, end: float, *, doubling: bool = False, zero: bool = True) -> _Axis:
        """Long enough for all values; from 0 on, where `zero`, and values are not far above it."""
        low, high = min(values), max(values)
        if zero and low > 0:
            low = 0.0
        if high <= low:
            high = low + (abs(low) or 1.0)
        return _Axis(low, high if doubling else high * 1.08, start, end, doubling)

    def __call__(self, value: float) -> float:
        if self.doubling and self.low > 0:
            share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + (self.end - self.start) * share

    def marks(self) -> list[float]:
        """Round values, some five of them."""
        step = 10 ** math.floor(math.log10((self.high - self.low) / 4))
        while (self.high - self.low) / step > 8:
            step *= 2 if (self.high - self.low) / step < 16 else 2.5
        first = math.ceil(self.low / step - 1e-9)
        return [number * step for number in range(first, math.floor(self.high / step + 1e-9) + 1)]


def _grid(across: _Axis, up: _Axis, marks: Sequence[float], x: str, y: str) -> str:
    columns = [_label(across(mark), HEIGHT - _BOTTOM + 16, _short(mark), "middle") for mark in marks]
    return _rows(up, y) + "".join(columns) + _label((_LEFT + WIDTH) / 2, HEIGHT - 6, x, "middle")


def _rows(up: _Axis, unit: str) -> str:
    rows = [
        f'<path class="grid" d="M{_LEFT} {up(mark):.1f} H{WIDTH - _RIGHT}"/>'
        + _label(_LEFT - 8, up(mark) + 4, _short(mark), "end")
        for mark in up.marks()
    ]
    return "".join(rows) + _label(8, 14, unit, "start")


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _figure(title: str, body: str, names: Sequence[str], *, height: int = HEIGHT) -> str:
    legend = "".join(
        f'<span><i class="c{number % _COLORS}"></i>{escape(name)}</span>' for number, name in enumerate(names)
    )
    return (
        f"<figure><figcaption>{escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(title)}">{body}</svg>'
        f'<p class="legend">{legend if len(names) > 1 else ""}</p></figure>'
    )


def _pair(x: float, y: float, only_y: bool) -> str:
    return f"{y:.1f}" if only_y else f"{x:.1f} {y:.1f}"


def _short(value: float) -> str:
    if value >= 10_000:
        return f"{value / 1000:.3g}k"
    return f"{value:.4g}" if value >= 100 else f"{value:.3g}"
