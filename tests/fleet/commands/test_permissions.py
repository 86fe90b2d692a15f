"""So many in an hour, and no more; what is not named is not allowed."""

from __future__ import annotations

from agent.fleet.commands.permissions import HOUR_S, Permission, Permissions
from agent.settings.mqtt_operations import OPERATIONS, operation_settings


def test_an_hour_slides() -> None:
    permissions = Permissions({"a": Permission(allow=True, concurrency=1, per_hour=3)})
    for when in (0.0, 10.0, 20.0):
        assert permissions.wait_s("a", when) == 0
        permissions.grant("a", when)
    assert permissions.wait_s("a", 30.0) == HOUR_S - 30
    assert permissions.wait_s("a", HOUR_S - 1) == 1
    assert permissions.wait_s("a", HOUR_S) == 0
    permissions.grant("a", HOUR_S)
    assert permissions.wait_s("a", HOUR_S + 1) == 9


def test_what_was_granted_before_a_start_counts() -> None:
    permissions = Permissions({"a": Permission(allow=True, concurrency=1, per_hour=2)})
    permissions.remember("a", [50.0, 40.0])
    assert permissions.wait_s("a", 60.0) == HOUR_S - 20


def test_what_did_not_come_about_is_given_back() -> None:
    permissions = Permissions({"a": Permission(allow=True, concurrency=1, per_hour=1)})
    permissions.grant("a", 5.0)
    permissions.take_back("a", 5.0)
    assert permissions.wait_s("a", 6.0) == 0


def test_none_in_an_hour_is_none() -> None:
    permissions = Permissions({"a": Permission(allow=True, concurrency=1, per_hour=0)})
    assert permissions.wait_s("a", 5.0) > 0
    assert not permissions.of("unheard of").allow
    assert permissions.wait_s("unheard of", 5.0) > 0


def test_what_can_take_a_device_out_of_work_is_off() -> None:
    off = {name for name in OPERATIONS if not operation_settings(name, {}).allow}
    assert off == {"restart", "model_load", "model_unload", "model_rollback"}
    chosen = operation_settings("restart", {"allow": True, "per_hour": None})
    assert (chosen.allow, chosen.concurrency, chosen.per_hour) == (True, 1, 4)
