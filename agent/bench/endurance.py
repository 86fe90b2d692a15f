"""What is left of the speed when the work goes on: tokens per second and heat, minute after minute."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Final

from agent.bench.generation import SHORT_PROMPT_TOKENS
from agent.bench.report import Point, Row, rounded
from agent.bench.run import Run
from agent.bench.writer import Writer
from agent.hardware.sensors.frequency import read_frequency

ANSWER_TOKENS: Final = 128
ENERGY_S: Final = 15.0
QUICK_ENERGY_S: Final = 5.0
_SAY_EVERY_S: Final = 60.0


async def energy_of_generation(run: Run, writer: Writer) -> None:
    """Joules per generated token, one request after the other for some seconds; nothing without a meter."""
    if not run.energy.power.source:
        return
    limit_s = QUICK_ENERGY_S if run.options.quick else ENERGY_S
    began_s, tokens = time.monotonic(), 0
    await run.energy.begin()
    while time.monotonic() - began_s < limit_s:
        answer = await writer.complete(writer.prompt(SHORT_PROMPT_TOKENS), ANSWER_TOKENS)
        tokens += answer.completion_tokens or 0
    _add_energy(run, await run.energy.end(), tokens, "energy of generation")
    await run.cool_down()


async def sustained(run: Run, writer: Writer, minutes: float) -> None:
    """One request after the other for `minutes`. The report keeps the points also where it is cut short."""
    points = run.report.points
    began_s, said_s, tokens = time.monotonic(), 0.0, 0
    await run.energy.begin()
    try:
        while (at_s := time.monotonic() - began_s) < minutes * 60:
            answer = await writer.complete(writer.prompt(SHORT_PROMPT_TOKENS), ANSWER_TOKENS)
            tokens += answer.completion_tokens or 0
            if answer.tokens_per_s is None:
                continue
            frequency = read_frequency(run.root) if run.http.local else None
            celsius = run.celsius()
            points.append(
                Point(
                    at_s=round(at_s, 1),
                    tokens_per_s=rounded(answer.tokens_per_s),
                    celsius=celsius,
                    mhz=frequency.mhz if frequency else None,
                )
            )
            if at_s - said_s >= _SAY_EVERY_S:
                said_s = at_s
                heat = f", {celsius:.0f} °C" if celsius is not None else ""
                run.say(f"minute {at_s / 60:.0f} of {minutes:g}: {answer.tokens_per_s:.1f} tokens/s{heat}")
    finally:
        _summarize(run, points)
    _add_energy(run, await run.energy.end(), tokens, "energy of sustained generation")


def by_minute(points: Sequence[Point]) -> list[float]:
    """The median speed of each minute that has any."""
    minutes: dict[int, list[float]] = {}
    for point in points:
        minutes.setdefault(int(point.at_s // 60), []).append(point.tokens_per_s)
    return [statistics.median(minutes[minute]) for minute in sorted(minutes)]


def _summarize(run: Run, points: Sequence[Point]) -> None:
    speeds = by_minute(points)
    if not speeds:
        return
    heat = [point.celsius for point in points if point.celsius is not None]
    note = f"minute {len(speeds)} has {speeds[-1] / speeds[0]:.0%} of the first" if len(speeds) > 1 else "one minute"
    counts = {"minutes": float(len(speeds)), "last_over_first": speeds[-1] / speeds[0]}
    if heat:
        counts["hottest_celsius"] = max(heat)
        note += f"; {heat[0]:.0f} °C at first, {max(heat):.0f} °C at most"
    else:
        note += "; no thermometer"
    run.add(Row(measure="sustained", unit="tokens/s", values=speeds, counts=counts, note=note))


def _add_energy(run: Run, joules: float | None, tokens: int, measure: str) -> None:
    if not run.energy.power.source:
        return
    if joules is None or not tokens:
        run.problem("The meter could not be read all the time: energy is not known.")
        return
    run.add(Row(measure=measure, unit="J/token", values=[joules / tokens], higher_is_better=False))
