"""How one device stands towards a version that is rolled out, from what it reports and what is wanted of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from agent.fleet.remote.payload import GarbledError, read_object, text_of
from agent.fleet.remote.wanted import Document
from agent.updates.states import State

REASON_CHARACTERS: Final = 300
FAILED_MODEL: Final = "failed"
"""The state of a model that crashed too often."""


class Standing(StrEnum):
    UNASKED = "not asked"
    ASKED = "asked"
    """it has not begun"""
    WORKING = "under way"
    PROBATION = "on probation"
    """it serves the version already, and comes to its own end"""
    COMMITTED = "committed"
    REJECTED = "rejected"
    FAILED = "failed"
    REVERTED = "reverted"
    OVERRULED = "overruled"
    """somebody wants something else of it, at the device or over the broker"""

    @property
    def bad(self) -> bool:
        return self in BAD

    @property
    def settled(self) -> bool:
        return self is Standing.COMMITTED or self is Standing.OVERRULED or self.bad


BAD: Final = frozenset({Standing.REJECTED, Standing.FAILED, Standing.REVERTED})
_STATES: Final[Mapping[str, Standing]] = {
    State.WANTED: Standing.WORKING,
    State.FETCHING: Standing.WORKING,
    State.STAGED: Standing.WORKING,
    State.TRYING: Standing.WORKING,
    State.PASSED: Standing.WORKING,
    State.SWITCHING: Standing.PROBATION,
    State.PROBATION: Standing.PROBATION,
    State.REVERTING: Standing.REVERTED,
    State.REJECTING: Standing.REJECTED,
    State.REJECTED: Standing.REJECTED,
}
"""What an update of the version says, where nothing else has to be known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a device says of one model on `P/twin/model`, and of the desired state. `version` is the one that is served,
    empty for none; those of `update` are of its latest update."""

    known: bool = False
    """Whether it has spoken of this model at all."""
    rev: str = ""
    error: str = ""
    version: str = ""
    state: str = ""
    reason: str = ""
    update_state: str = ""
    update_target: str = ""
    update_version: str = ""
    update_rev: str = ""
    update_reason: str = ""
    waiting: str = ""
    rejected: Mapping[str, str] = field(default_factory=dict)

    def updates_to(self, version: str) -> bool:
        return version in (self.update_version, self.update_target)


def read_report(payload: bytes, model: str, *, oversized_bytes: int = 0) -> Report:
    """What cannot be read says nothing."""
    if not payload and not oversized_bytes:
        return Report()
    try:
        whole = read_object(payload, oversized_bytes=oversized_bytes)
    except GarbledError as error:
        return Report(error=f"its report is {error}")
    models = whole.get("models")
    found = models.get(model) if isinstance(models, dict) else None
    entry: dict[str, Any] = found if isinstance(found, dict) else {}
    update = entry.get("update") if isinstance(entry.get("update"), dict) else {}
    rejected = entry.get("rejected") if isinstance(entry.get("rejected"), dict) else {}
    assert isinstance(update, dict)
    assert isinstance(rejected, dict)
    return Report(
        known=isinstance(found, dict),
        rev=_text(whole.get("rev")),
        error=_text(whole.get("error")),
        **{name: _text(entry.get(name)) for name in ("version", "state", "reason")},
        **{f"update_{name}": _text(update.get(name)) for name in ("state", "target", "version", "rev", "reason")},
        waiting=_text(update.get("waiting")),
        rejected={_text(version): _text(why) for version, why in rejected.items()},
    )


def stand(report: Report, document: Document, model: str, version: str) -> tuple[Standing, str]:
    """And why, where that is known."""
    asked, mark = document.target(model) == version, document.mark(model)
    if not asked and mark is not None and mark.version == version and mark.outcome in {one.value for one in BAD}:
        return Standing(mark.outcome), mark.reason
    unread = asked and report.rev != document.rev
    if unread and mark is not None and mark.again:
        return Standing.ASKED, report.error  # what it says is of the time before
    if report.updates_to(version) and (found := _STATES.get(report.update_state)) is not None:
        return found, report.waiting if found is Standing.WORKING else report.update_reason
    if report.version == version and report.update_state != State.RETURNING:
        if report.state == FAILED_MODEL:
            return Standing.FAILED, report.reason
        return Standing.COMMITTED, ""
    if version in report.rejected:
        return Standing.REJECTED, report.rejected[version]
    if not asked:
        return Standing.UNASKED, ""
    if unread or not report.updates_to(version):
        return Standing.ASKED, report.error
    return _ended(report, document)


def _ended(report: Report, document: Document) -> tuple[Standing, str]:
    """It has read that the version is wanted, its update to it is over, and it serves another one."""
    ours = report.update_rev in (document.rev, "")
    if report.update_state == State.COMMITTED and ours:
        return Standing.REVERTED, f"it serves {report.version or 'nothing'} again"
    if report.update_state == State.FAILED and ours:
        return Standing.FAILED, report.update_reason
    if report.update_state in (State.CANCELLED, State.CANCELLING, State.RETURNING) and ours:
        return Standing.OVERRULED, report.update_reason
    return Standing.ASKED, report.error


def _text(value: Any) -> str:
    return text_of(value)[:REASON_CHARACTERS]
