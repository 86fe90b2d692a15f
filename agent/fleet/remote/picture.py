"""What the messages of a fleet tell of one rollout, and what is to be written where. Pure: clocks are arguments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Final

from agent.errors import NotFoundError
from agent.fleet.remote.payload import GarbledError, read_object
from agent.fleet.remote.rollout import Member, Plan
from agent.fleet.remote.roster import HEALTH, MODELS
from agent.fleet.remote.standing import Report, Standing, read_report, stand
from agent.fleet.remote.wanted import Document, Finding, Mark, Sheet
from agent.fleet.topics import FleetTopics, is_name

DESIRED: Final = "twin/desired"
BELOW: Final = (DESIRED, MODELS, HEALTH)
DEVICES: Final = 100_000
_ABSENCE: Final = {True: "it does not react", False: "it is down", None: "it never said that it is up"}
ANSWER_S: Final = 5.0
"""A device that is up has begun by then, or it is one that does not."""
WILDCARDS: Final = frozenset("*?[")


class _Device:
    def __init__(self, model: str) -> None:
        self.up: bool | None = None
        self.report = Report()
        self.sheet = Sheet(model)
        self.asked_here = False
        self.away_since: float | None = None
        self.overruled = ""
        """Why it is not asked (again)."""


class Picture:
    """Fed with what `BELOW` brings. `patterns` choose devices by name; without any, it is all that have the model or
    shall have it. `run` names this run in what it writes."""

    def __init__(self, fleet: FleetTopics, plan: Plan, *, patterns: Sequence[str] = (), run: str) -> None:
        self._fleet = fleet
        self._plan = plan
        self._patterns = tuple(patterns)
        self._run = run
        self._devices: dict[str, _Device] = {}
        self._ranked: list[str] = []
        self._settled = False
        self._pardoned: set[str] = set()
        self._other_runs: set[str] = set()
        self.taken_over = ""
        """Why this rollout must not go on."""

    def feed(self, topic: str, payload: bytes, *, oversized_bytes: int = 0) -> str:
        """What somebody should be told; mostly nothing."""
        parsed = self._fleet.parse(topic)
        if parsed is None or parsed[1] not in BELOW:
            return ""
        name, below = parsed[0].device, parsed[1]
        device = self._devices.get(name)
        if device is None:
            if self._settled or len(self._devices) >= DEVICES:
                return ""
            device = self._devices[name] = _Device(self._plan.model)
        if below == HEALTH:
            device.up = _up(payload)
        elif below == MODELS:
            device.report = read_report(payload, self._plan.model, oversized_bytes=oversized_bytes)
        else:
            return self._desired(name, device, payload, oversized_bytes)
        return ""

    def settle(self) -> None:
        """The devices that there are now are those of the rollout. Raises `NotFoundError` where there are none."""
        named = {one for one in self._patterns if not WILDCARDS & set(one) and is_name(one)}
        for name in named - set(self._devices):
            self._devices[name] = _Device(self._plan.model)
        chosen = [name for name, device in self._devices.items() if name in named or self._is_meant(name, device)]
        if not chosen:
            raise NotFoundError(
                f"No device has the model {self._plan.model}, or is to have it.",
                hint="edge-agent fleet ls shows which devices there are; --to names those that shall have it anew.",
            )
        self._devices = {name: self._devices[name] for name in chosen}
        self._ranked = self._plan.ranked(chosen)
        self._settled = True
        if self._plan.again:
            found = {name: self._stand(device)[0] for name, device in self._devices.items()}
            self._pardoned = {name for name, one in found.items() if one.bad or one is Standing.OVERRULED}

    def members(self, now: float) -> list[Member]:
        """In their order. `now` is on a clock that never goes back."""
        return [self._member(name, self._devices[name], now) for name in self._ranked]

    @property
    def names(self) -> list[str]:
        """In their order."""
        return self._ranked

    def pending(self, name: str) -> bool:
        """Whether something is on its way there."""
        return self._devices[name].sheet.pending

    def asking(self, name: str, stage: str, wall: float) -> tuple[Document, bytes]:
        """What to write so that it is asked. Raises `RequestError` where that cannot be. `wall` is Unix time."""
        device, plan = self._devices[name], self._plan
        document, report = device.sheet.document, device.report
        wanted = document.target(plan.model)
        old = document.mark(plan.model)
        before = report.version or (wanted if wanted not in ("latest", plan.version) else "")
        if before == plan.version:
            before = old.before if old is not None and old.version == plan.version else ""
        again = name in self._pardoned
        mark = Mark(version=plan.version, stage=stage, before=before, by=self._run, again=again)
        changed = document.asking(plan.model, mark, urgent=plan.urgent, reported_rev=report.rev, now=wall)
        return changed, changed.encoded()

    def setting_back(self, name: str, wall: float) -> tuple[Document, bytes]:
        """What to write so that it wants what it reports as active. Raises `RequestError`."""
        device, plan = self._devices[name], self._plan
        document, report = device.sheet.document, device.report
        standing, reason = self._stand(device)
        mark = document.mark(plan.model) or Mark(version=plan.version)
        target = report.version if report.version not in ("", plan.version) else mark.before
        left = replace(mark, outcome=standing.value, reason=reason, by=self._run) if standing.bad else None
        changed = document.setting_back(plan.model, target, left, reported_rev=report.rev, now=wall)
        return changed, changed.encoded()

    def sent(self, name: str, document: Document, payload: bytes) -> None:
        """It is on its way to the broker."""
        device = self._devices[name]
        device.sheet.sent(document, payload)
        device.asked_here = document.target(self._plan.model) == self._plan.version
        self._pardoned.discard(name)

    def unsent(self, name: str, why: str) -> None:
        device = self._devices[name]
        device.sheet.drop()
        device.overruled = why

    def repairs(self) -> list[tuple[str, Document]]:
        """What must be written again, since it and somebody else's word have crossed."""
        found = [(name, device.sheet) for name, device in self._devices.items() if device.sheet.torn]
        return [(name, sheet.repaired()) for name, sheet in found]

    def _desired(self, name: str, device: _Device, payload: bytes, oversized_bytes: int) -> str:
        plan = self._plan
        finding = device.sheet.take(payload, oversized_bytes=oversized_bytes)
        if not self._settled or finding in (Finding.NOTHING, Finding.ARRIVED):
            return ""
        if finding is Finding.OVERWRITTEN:
            return f"{name}: somebody else wrote its desired state at the same time; both words are put together"
        if finding is Finding.LOST:
            return f"{name}: somebody else has overwritten its desired state without having read ours; it is said again"
        document = device.sheet.document
        mark, target = document.mark(plan.model), document.target(plan.model)
        if device.sheet.pending or not device.asked_here:
            return ""
        if target == plan.version:
            device.overruled = ""
            by = mark.by if mark is not None else ""
            if by in ("", self._run) or by in self._other_runs:
                return ""
            self._other_runs.add(by)
            return f"this rollout is also run by {by}"
        if mark is not None and mark.version == plan.version and mark.outcome:
            return ""
        device.overruled = f"somebody wants {target or 'nothing'} of it"
        if mark is not None and mark.version not in ("", plan.version):
            self.taken_over = (
                f"A rollout of {plan.model}@{mark.version}, run by {mark.by or 'somebody'}, has taken over"
            )
        return f"{name}: {device.overruled} (rev {document.rev})"

    def _is_meant(self, name: str, device: _Device) -> bool:
        if self._patterns:
            return any(fnmatchcase(name, pattern) for pattern in self._patterns)
        document = device.sheet.document
        return bool(device.report.version or document.target(self._plan.model) or document.mark(self._plan.model))

    def _stand(self, device: _Device) -> tuple[Standing, str]:
        return stand(device.report, device.sheet.document, self._plan.model, self._plan.version)

    def _member(self, name: str, device: _Device, now: float) -> Member:
        plan = self._plan
        standing, reason = self._stand(device)
        if name in self._pardoned and (standing.bad or standing is Standing.OVERRULED):
            standing, reason = Standing.UNASKED, ""
        if standing is Standing.UNASKED:
            why = device.overruled or (f"its desired state is {device.sheet.garbled}" if device.sheet.garbled else "")
            if why:
                standing, reason = Standing.OVERRULED, why
        running = standing in (Standing.WORKING, Standing.PROBATION)
        if standing is Standing.ASKED or (running and not device.up):
            if device.away_since is None:
                device.away_since = now
            reason = reason or _ABSENCE[device.up]
        else:
            device.away_since = None
        away_s = None if device.away_since is None else now - device.away_since
        if away_s is not None and device.up and away_s < min(ANSWER_S, plan.wait_s / 2):
            away_s, reason = None, ""
        mark = device.sheet.document.mark(plan.model)
        return Member(
            name=name,
            standing=standing,
            reason=reason,
            asked=device.sheet.document.target(plan.model) == plan.version,
            stage=mark.stage if mark is not None and mark.version == plan.version else None,
            away_s=away_s,
        )


def _up(payload: bytes) -> bool | None:
    try:
        status = read_object(payload).get("status") if payload else None
    except GarbledError:
        return None
    return True if status == "up" else False if status == "down" else None
