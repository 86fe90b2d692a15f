"""How a device stands, from its report and its desired state."""

from __future__ import annotations

import json
from typing import Any

import pytest

from agent.fleet.remote.standing import Report, Standing, read_report, stand
from agent.fleet.remote.wanted import Document, Mark
from agent.updates.parts import Health
from agent.updates.record import Record, Rejected
from agent.updates.report import Snapshot, twin
from agent.updates.states import State

ASKED = Document({"rev": 7, "models": {"qwen": {"target": "2"}}})
NOBODY = Document()


def report(**entry: Any) -> Report:
    rev = entry.pop("rev", "7")
    return read_report(json.dumps({"rev": rev, "models": {"qwen": {"version": "1", **entry}}}).encode(), "qwen")


def update(state: str, *, target: str = "2", rev: str = "7", **more: Any) -> dict[str, Any]:
    return {"update": {"state": state, "target": target, "rev": rev, **more}}


@pytest.mark.parametrize(
    ("document", "entry", "standing", "reason"),
    [
        (NOBODY, {"rev": ""}, Standing.UNASKED, ""),
        (ASKED, {"rev": "6"}, Standing.ASKED, ""),
        (ASKED, {}, Standing.ASKED, ""),
        (ASKED, update("wanted"), Standing.WORKING, ""),
        (ASKED, update("fetching", waiting="window opens 02:00"), Standing.WORKING, "window opens 02:00"),
        (ASKED, update("switching"), Standing.PROBATION, ""),
        (ASKED, {"version": "2", **update("probation")}, Standing.PROBATION, ""),
        (ASKED, {"version": "2", **update("committed")}, Standing.COMMITTED, ""),
        (ASKED, {"version": "2", **update("reverting", reason="slow")}, Standing.REVERTED, "slow"),
        (ASKED, update("rejecting", reason="slow"), Standing.REJECTED, "slow"),
        (ASKED, update("rejected", reason="slow"), Standing.REJECTED, "slow"),
        (ASKED, update("failed", reason="404"), Standing.FAILED, "404"),
        (ASKED, update("cancelled", reason="it was cancelled"), Standing.OVERRULED, "it was cancelled"),
        (ASKED, {"version": "2", **update("returning", reason="no")}, Standing.OVERRULED, "no"),
        # Somebody at the device went back by hand.
        (ASKED, update("committed"), Standing.REVERTED, "it serves 1 again"),
        # It has the version from elsewhere, and never was asked.
        (NOBODY, {"version": "2"}, Standing.COMMITTED, ""),
        (NOBODY, {"version": "2", "state": "failed", "reason": "crashed"}, Standing.FAILED, "crashed"),
        # What was before this wish.
        (ASKED, {"rev": "6", **update("failed", rev="6")}, Standing.ASKED, ""),
        (ASKED, update("failed", rev="6"), Standing.ASKED, ""),
        (NOBODY, update("failed", rev=""), Standing.UNASKED, ""),
        (NOBODY, update("cancelled"), Standing.UNASKED, ""),
        (ASKED, update("committed", target="1"), Standing.ASKED, ""),
        (NOBODY, {"rejected": {"2": "slow"}}, Standing.REJECTED, "slow"),
        # A command of somebody else's brings the same version.
        (NOBODY, update("fetching", rev=""), Standing.WORKING, ""),
    ],
)
def test_how_it_stands(document: Document, entry: dict[str, Any], standing: Standing, reason: str) -> None:
    assert stand(report(**entry), document, "qwen", "2") == (standing, reason)


def test_who_was_set_back_is_known_by_the_mark() -> None:
    mark = Mark(version="2", outcome="failed", reason="404")
    back = ASKED.setting_back("qwen", "1", mark)
    assert stand(report(rev="8", **update("committed", target="1")), back, "qwen", "2") == (Standing.FAILED, "404")
    assert stand(report(rev="8"), back, "qwen", "3") == (Standing.UNASKED, "")


def test_who_is_asked_again_has_not_failed_until_it_answers() -> None:
    again = NOBODY.asking("qwen", Mark(version="2", again=True))
    before = {"rejected": {"2": "slow"}, **update("rejected", reason="slow")}
    assert stand(report(rev="0", **before), again, "qwen", "2")[0] is Standing.ASKED
    assert stand(report(rev="1", rejected={"2": "slow"}, **update("wanted")), again, "qwen", "2")[0] is Standing.WORKING
    assert stand(report(rev="1", **before), again, "qwen", "2")[0] is Standing.REJECTED


@pytest.mark.parametrize("payload", [b"", b"\xff", b"[]", b"null", b'{"models": []}', b'{"models": {"qwen": 7}}'])
def test_a_report_that_says_nothing(payload: bytes) -> None:
    found = read_report(payload, "qwen")
    assert (found.version, found.rev, found.update_state) == ("", "", "")
    assert stand(found, NOBODY, "qwen", "2")[0] is Standing.UNASKED


def test_a_report_of_the_wrong_types_is_read_as_text() -> None:
    entry = {"version": {"a": 1}, "update": [], "rejected": {"2": ["x"]}, "reason": "é" * 10_000}
    found = read_report(json.dumps({"models": {"qwen": entry}}).encode(), "qwen")
    assert found.version == '{"a": 1}'
    assert found.rejected == {"2": '["x"]'}
    assert len(found.reason) == 300


@pytest.mark.parametrize("state", list(State))
def test_every_state_that_a_device_reports_is_understood(state: State) -> None:
    """What devices write and what is read here are one."""
    record = Record(
        id=1,
        name="qwen",
        target="2",
        version="2",
        origin="desired",
        rev="7",
        state=state,
        reason="why",
        health=Health(),
    )
    ended = state.final
    snapshot = Snapshot(
        rev="7",
        error=None,
        records=() if ended else (record,),
        ended=(record,) if ended else (),
        rejected=(Rejected(digest="d", name="qwen", version="2", reason="why", at=0),) if state == "rejected" else (),
        waits={},
        spent_bytes=0,
        bytes_per_day=None,
    )
    whole = twin(snapshot)
    served = "2" if state in (State.PROBATION, State.REVERTING, State.RETURNING, State.COMMITTED) else "1"
    whole["models"]["qwen"]["version"] = served
    standing, reason = stand(read_report(json.dumps(whole).encode(), "qwen"), ASKED, "qwen", "2")
    assert standing not in (Standing.UNASKED, Standing.ASKED)
    assert reason == ("" if standing in (Standing.WORKING, Standing.COMMITTED) else "why")
