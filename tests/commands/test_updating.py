from __future__ import annotations

from typing import Any

from agent.commands.updating import label, line, lines


def one(**changes: Any) -> dict[str, Any]:
    return {"model": "m", "version": "2", "target": "2", "changed_at": 0.0, "says": "trying", **changes}


def found(**changes: Any) -> dict[str, Any]:
    today = {"fetched_bytes": 0, "limit_bytes": None}
    return {"error": None, "updates": [], "ended": [], "rejected": [], "today": today, **changes}


def test_nothing_yet_says_what_to_type() -> None:
    assert "edge-agent models update NAME" in "\n".join(lines(found()))


def test_a_table_of_what_goes_on_then_what_has_ended() -> None:
    shown = list(lines(found(updates=[one(says="waiting: window opens 02:00")], ended=[one(version="1", says="x")])))
    heads, first, second = "\n".join(shown).splitlines()
    assert heads.split() == ["MODEL", "VERSION", "SINCE", "STATE"]
    assert first.startswith("m")
    assert first.endswith("waiting: window opens 02:00")
    assert second.endswith("x")


def test_rejected_versions_the_day_and_trouble() -> None:
    shown = "\n".join(
        lines(
            found(
                error="no rev",
                rejected=[{"model": "m", "version": "3", "reason": "too slow"}],
                today={"fetched_bytes": 5_000_000, "limit_bytes": 50_000_000},
            )
        )
    )
    assert "Trouble: no rev" in shown
    assert "rejected  m 3: too slow" in shown
    assert "5.0 MB of 50.0 MB fetched" in shown


def test_what_others_wrote_is_shown_and_not_obeyed() -> None:
    assert "\x1b" not in line(one(says="\x1b[2J"))
    assert "\x1b" not in "\n".join(lines(found(error="\x1b[2J", ended=[one(says="\x1b[2J")])))


def test_what_it_is_called_before_the_version_is_known() -> None:
    assert [label(one(version=None)), label(one(version=None, target=None))] == ["m 2", "m (latest)"]
