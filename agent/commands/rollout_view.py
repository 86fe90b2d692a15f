"""How a rollout stands: a table that lives on a terminal, plain lines elsewhere, JSON lines for programs."""

from __future__ import annotations

import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

from agent.commands.columns import cut
from agent.commands.printable import json_text, printable
from agent.fleet.remote.rolling import Look
from agent.fleet.remote.rollout import Member, Phase, Plan
from agent.fleet.remote.standing import Standing
from agent.terminal import duration, table

HEADS: Final = ("STAGE", "DEVICES", "COMMITTED", "UNDER WAY", "NOT THERE", "FAILED", "OVERRULED", "NOT ASKED")
NAME_COLUMNS: Final = 40
NAMED: Final = 12
REASONS: Final = 5
REASON_COLUMNS: Final = 160
LINES_S: Final = 10.0
"""Where it is no terminal, counts are said so often."""
CLEAR_BELOW: Final = "\r\x1b[J"


class RolloutView(Protocol):
    def show(self, look: Look) -> None: ...

    def say(self, text: str) -> None:
        """Something besides, for a person."""

    def close(self) -> None:
        """It was broken off."""

    def finish(self, look: Look) -> None: ...


class ScreenView:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._drawn: list[str] = []
        self._columns = 0

    def show(self, look: Look) -> None:
        lines = list(screen(self._plan, look))
        columns = shutil.get_terminal_size().columns
        if lines != self._drawn or columns != self._columns:
            self._wipe()
            for line in lines:
                print(cut(line, max(20, columns - 1)))
            sys.stdout.flush()
            self._drawn, self._columns = lines, columns

    def say(self, text: str) -> None:
        self._wipe()
        print(printable(text), file=sys.stderr, flush=True)

    def close(self) -> None:
        """What was drawn last stays."""

    def finish(self, look: Look) -> None:
        self.show(look)
        print(summary(self._plan, look), file=sys.stderr)

    def _wipe(self) -> None:
        if self._drawn:
            sys.stdout.write(f"\x1b[{len(self._drawn)}A{CLEAR_BELOW}")
            sys.stdout.flush()
        self._drawn = []


class LineView:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._told: dict[str, Standing] = {}
        self._stage = -1
        self._line = ""
        self._said_at = 0.0

    def show(self, look: Look) -> None:
        decision = look.decision
        if decision.stage != self._stage:
            if self._stage < 0:
                stages = ", ".join(map(str, self._plan.stages))
                self._write(f"{self._plan.label}: {_devices(len(look.members))}, stages {stages}")
            self._stage, self._line = decision.stage, ""
            self._write(f"stage {self._plan.stages[decision.stage]}: {_devices(len(decision.inside))}")
        for one in decision.inside:
            if self._told.get(one.name) is not one.standing and (
                one.standing.bad or one.standing is Standing.OVERRULED
            ):
                self._write(f"{printable(one.name, NAME_COLUMNS)}: {_why(one)}")
            self._told[one.name] = one.standing
        line = ", ".join(f"{count:,} {name}" for name, count in counts(decision.inside).items())
        line = "; ".join([line, *waits(decision.inside)])
        now = time.monotonic()
        if line != self._line and (now - self._said_at >= LINES_S or decision.phase.final or not self._line):
            self._line, self._said_at = line, now
            self._write(f"stage {self._plan.stages[decision.stage]}: {line}")

    def say(self, text: str) -> None:
        print(printable(text), file=sys.stderr, flush=True)

    def close(self) -> None:
        pass

    def finish(self, look: Look) -> None:
        self._write(table(list(rows(self._plan, look)), HEADS, right=range(1, len(HEADS))))
        print(summary(self._plan, look), file=sys.stderr)

    def _write(self, text: str) -> None:
        print(text, flush=True)


class JsonView:
    """`{"time", "device", "stage", "standing", "reason"}` for each change, `{"time", "stage", "counts"}` for each
    stage, and at the end `{"time", "phase", ...}`."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._told: dict[str, tuple[Standing, bool]] = {}
        self._stage = -1

    def show(self, look: Look) -> None:
        decision = look.decision
        if decision.stage != self._stage:
            self._stage = decision.stage
            found = counts(decision.inside)
            self._write({"stage": self._share(look), "devices": len(decision.inside), "counts": found})
        for one in look.members:
            news = one.standing, one.away_s is not None
            if self._told.get(one.name, (Standing.UNASKED, False)) != news:
                away = {"away_s": round(one.away_s or 0, 1)} if news[1] else {}
                why = {"reason": one.reason} if one.reason else {}
                self._write({"device": one.name, "standing": one.standing.value, **why, **away})
            self._told[one.name] = news

    def say(self, text: str) -> None:
        print(printable(text), file=sys.stderr, flush=True)

    def close(self) -> None:
        pass

    def finish(self, look: Look) -> None:
        decision = look.decision
        bad = {one.name: one.reason for one in decision.inside if one.standing.bad}
        self._write(
            {
                "phase": "taken over" if look.taken_over else decision.phase.value,
                "model": self._plan.model,
                "version": self._plan.version,
                "stage": self._share(look),
                "devices": len(look.members),
                "counts": counts(look.members),
                "failed": bad,
                "missing": [one.name for one in decision.inside if one.away_s is not None],
                "unwritten": list(look.unwritten),
            }
        )

    def _share(self, look: Look) -> str:
        return str(self._plan.stages[look.decision.stage])

    def _write(self, value: dict[str, Any]) -> None:
        print(json_text({"time": round(time.time(), 3), **value}), flush=True)


def counts(members: Sequence[Member]) -> dict[str, int]:
    """By standing; those that are waited for are `not there`."""
    found = Counter("not there" if one.away_s is not None else one.standing.value for one in members)
    return dict(sorted(found.items()))


def rows(plan: Plan, look: Look) -> Iterator[list[str]]:
    """Of each stage those devices that it adds to the one before."""
    start = 0
    for share in plan.stages:
        end = max(start, share.of(len(look.members)))
        added = look.members[start:end]
        start = end
        yield [str(share), f"{len(added):,}", *(f"{number:,}" for number in _cells(added))]


def screen(plan: Plan, look: Look) -> Iterator[str]:
    decision = look.decision
    stage = "" if decision.phase.final else f" in the stage of {plan.stages[decision.stage]}"
    yield f"{plan.label}, {_devices(len(look.members))}: {decision.phase.value}{stage}"
    yield from table(list(rows(plan, look)), HEADS, right=range(1, len(HEADS))).splitlines()
    away = [one for one in decision.inside if one.away_s is not None]
    if away:
        longest = max(one.away_s or 0 for one in away)
        names = _names([f"{printable(one.name, NAME_COLUMNS)} ({printable(one.reason, 24)})" for one in away])
        # in steps, so that it is not drawn anew all the time
        yield f"not there for {duration(longest // 5 * 5)} of {duration(plan.wait_s)}: {names}"
    yield from waits(decision.inside)
    bad = [one for one in decision.inside if one.standing.bad]
    for one in bad[:REASONS]:
        yield f"{printable(one.name, NAME_COLUMNS)}: {_why(one)}"
    if len(bad) > REASONS:
        yield f"... and {len(bad) - REASONS:,} more"


def waits(members: Sequence[Member]) -> Iterator[str]:
    """What those wait for that are under way, the reason of most first."""
    found: dict[str, list[str]] = {}
    for one in members:
        if one.standing is Standing.WORKING and one.reason and one.away_s is None:
            found.setdefault(one.reason, []).append(printable(one.name, NAME_COLUMNS))
    for reason, names in sorted(found.items(), key=lambda item: -len(item[1]))[:REASONS]:
        yield f"waiting: {printable(reason, REASON_COLUMNS)}: {_names(names)}"


def summary(plan: Plan, look: Look) -> str:
    decision = look.decision
    inside = decision.inside
    done = sum(one.standing is Standing.COMMITTED for one in look.members)
    parts = [f"{plan.label}: {done:,} of {_devices(len(look.members))} run it."]
    bad = [printable(one.name, NAME_COLUMNS) for one in inside if one.standing.bad]
    share = plan.stages[decision.stage]
    if look.taken_over:
        parts.append(f"{printable(look.taken_over)}; this one ends here.")
    elif decision.phase is Phase.STOPPED:
        parts.append(
            f"Stopped in the stage of {share}: {len(bad):,} of {_devices(len(inside))} failed,"
            f" the limit is {plan.limit}. What had not begun was withdrawn, the others run what they ran before."
        )
    elif decision.phase is Phase.CANCELLED:
        parts.append("It was withdrawn where it had not ended.")
    elif decision.phase is Phase.UNPROVEN:
        parts.append(f"Nobody in the stage of {share} has it, so it is not given to more. The same command goes on.")
    if bad:
        parts.append(f"Failed: {_names(bad)}.")
    probation = [one for one in inside if one.standing is Standing.PROBATION and one.away_s is None]
    if probation:
        parts.append(f"On probation: {_names([printable(one.name, NAME_COLUMNS) for one in probation])}.")
    away = [printable(one.name, NAME_COLUMNS) for one in inside if one.away_s is not None]
    if away:
        later = " Who comes back gets it." if decision.phase is Phase.DONE else ""
        parts.append(f"Not there: {_names(away)}.{later}")
    if look.unwritten:
        names = _names([printable(name, NAME_COLUMNS) for name in look.unwritten])
        parts.append(f"Their desired state could not be written: {names}.")
    return " ".join(parts)


def _cells(members: Sequence[Member]) -> list[int]:
    away = sum(one.away_s is not None for one in members)
    found = Counter(one.standing for one in members if one.away_s is None)
    working = found[Standing.ASKED] + found[Standing.WORKING] + found[Standing.PROBATION]
    bad = sum(number for standing, number in found.items() if standing.bad)
    return [found[Standing.COMMITTED], working, away, bad, found[Standing.OVERRULED], found[Standing.UNASKED]]


def _why(member: Member) -> str:
    reason = f": {printable(member.reason, REASON_COLUMNS)}" if member.reason else ""
    return f"{member.standing.value}{reason}"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"


def _devices(number: int) -> str:
    return f"{number:,} {'device' if number == 1 else 'devices'}"
