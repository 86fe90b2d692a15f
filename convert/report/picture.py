"""The report as a picture: size against loss, and speed. Needs matplotlib, which is optional."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convert.report.level import Level, Subject
from convert.report.report import Report

_INK, _MUTED, _GRID = "#1f2933", "#6b7785", "#e3e7eb"
_POINT, _SPEEDS, _LIMIT = "#1f6fb2", ("#1f6fb2", "#7fb2dc", "#bcd6ec"), "#c0392b"
_DOTS_PER_INCH = 150
_CLOSE = 1.7
"""Points whose losses differ by less than this factor are too close for both names to be above."""


def can_draw() -> bool:
    """Whether matplotlib is installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def draw(report: Report, target: Path) -> None:
    """Write a PNG to `target`: on the left one point per level, on the right a group of bars per level."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    height_inches = max(4.8, 1.6 + 0.24 * len(report.levels) * (len(report.subject.speeds) + 1))
    figure = Figure(figsize=(12, height_inches), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    loss, speed = figure.subplots(1, 2, width_ratios=(1.15, 1))
    figure.suptitle(f"{_plain(report.model)}: size, quality and speed", x=0.01, ha="left", fontsize=14, color=_INK)
    _draw_loss(loss, report)
    _draw_speed(speed, report)
    figure.savefig(target, dpi=_DOTS_PER_INCH, metadata={"Software": None})


def _draw_loss(axes: Any, report: Report) -> None:
    subject = report.subject
    points = [(level, subject.lost(level)) for level in report.levels if subject.lost(level) < float("inf")]
    unit_bytes, unit = (1e9, "GB") if max(level.file_bytes for level in report.levels) >= 1e9 else (1e6, "MB")
    floor = _floor([lost for _, lost in points], subject)
    heights = [max(lost, floor) for _, lost in points]
    axes.set_yscale("log")
    axes.axhline(abs(subject.limit - subject.ideal), color=_LIMIT, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    axes.axhspan(floor / 2, subject.negligible, color="#eef6ee", zorder=0)
    for (level, lost), height in zip(points, heights, strict=True):
        hollow = lost < floor
        axes.plot(
            level.file_bytes / unit_bytes,
            height,
            marker="o",
            markersize=9,
            color=_POINT if level.passed else _LIMIT,
            markerfacecolor="white" if hollow else None,
            linestyle="none",
            zorder=3,
        )
    _label(
        axes,
        [
            (level.file_bytes / unit_bytes, h, _name(level, lost, floor))
            for (level, lost), h in zip(points, heights, strict=True)
        ],
    )
    _frame(axes, f"Size of the file ({unit})", subject.axis, _loss_title(report))
    axes.set_ylim(floor / 2, max([*heights, abs(subject.limit - subject.ideal)]) * 3)
    axes.set_xlim(0, max(level.file_bytes for level in report.levels) / unit_bytes * 1.3)
    right = axes.get_xlim()[1]
    axes.text(
        right, abs(subject.limit - subject.ideal) * 1.08, "gate ", color=_LIMIT, ha="right", va="bottom", fontsize=9
    )
    axes.text(
        right, subject.negligible * 0.92, "too little to notice ", color="#4f8a4f", ha="right", va="top", fontsize=9
    )


def _loss_title(report: Report) -> str:
    failed = any(not level.passed for level in report.levels)
    return "What each level loses (lower is better" + ("; red: missed a gate)" if failed else ")")


def _name(level: Level, lost: float, floor: float) -> str:
    return f"{level.name} (no loss)" if lost < floor else level.name


def _floor(losses: Sequence[float], subject: Subject) -> float:
    """The end of an axis that has no zero: what loses less is drawn there, with a hollow point."""
    visible = [lost for lost in losses if lost >= subject.negligible / 100]
    return min([*visible, subject.negligible]) / 2


def _label(axes: Any, points: Sequence[tuple[float, float, str]]) -> None:
    """Names beside the points: above, or below where the next point above is close."""
    above = float("inf")
    for x, y, text in sorted(points, key=lambda point: (-point[1], point[0])):
        free = above / y > _CLOSE
        above = y
        axes.annotate(
            text,
            (x, y),
            xytext=(7, 6 if free else -6),
            textcoords="offset points",
            va="bottom" if free else "top",
            fontsize=10,
            color=_INK,
        )


def _draw_speed(axes: Any, report: Report) -> None:
    speeds, levels, first = report.subject.speeds, report.levels, report.first
    thickness = 0.8 / len(speeds)
    longest = 0.0
    for number, speed in enumerate(speeds):
        ratios = [level.rates[speed.key].ratio_to(first.rates[speed.key]) for level in levels]
        places = [index + (number - (len(speeds) - 1) / 2) * thickness for index in range(len(levels))]
        axes.barh(places, ratios, thickness * 0.92, color=_SPEEDS[number % len(_SPEEDS)], label=speed.heading, zorder=2)
        longest = max([longest, *ratios])
        for place, ratio, level in zip(places, ratios, levels, strict=True):
            axes.annotate(
                f"{_rate(level.rates[speed.key].median)} {speed.unit}",
                (ratio, place),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
                color=_INK,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
                zorder=3,
            )
    axes.axvline(1, color=_MUTED, linewidth=1, linestyle=(0, (2, 3)), zorder=1)
    axes.set_yticks(range(len(levels)), [level.name for level in levels])
    axes.invert_yaxis()
    axes.set_xlim(0, longest * 1.32)
    _frame(axes, f"Speed (times {first.name})", "", f"Speed here, threads: {report.machine.threads} (higher is better)")
    if len(speeds) > 1:
        axes.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=len(speeds), fontsize=10)


def _frame(axes: Any, x: str, y: str, title: str) -> None:
    axes.set_xlabel(x, color=_INK, fontsize=10)
    axes.set_ylabel(y, color=_INK, fontsize=10)
    axes.set_title(title, loc="left", fontsize=11, color=_MUTED)
    axes.grid(visible=True, color=_GRID, linewidth=0.8, zorder=0)
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=_INK, length=0, labelsize=10)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_GRID)


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _plain(text: str) -> str:
    """A name out of a file, without what matplotlib takes for mathematics."""
    return "".join(c for c in " ".join(text.split()) if c.isprintable()).replace("$", r"\$")[:80]
