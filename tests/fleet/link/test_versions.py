from __future__ import annotations

import pytest

from agent.fleet.link.address import Address
from agent.fleet.link.failure import Kind
from agent.fleet.link.versions import Versions

BROKER = Address.parse("mqtt://a")


@pytest.mark.parametrize(("kind", "fall_back"), [(kind, kind is Kind.VERSION) for kind in Kind])
def test_only_a_refused_version_is_followed_by_the_older_one_at_once(kind: Kind, fall_back: bool) -> None:
    assert Versions("auto").failed(BROKER, "5", kind) is fall_back


def test_a_broker_that_twice_closes_without_an_answer_may_be_an_old_one() -> None:
    versions = Versions("auto")
    assert [versions.failed(BROKER, "5", Kind.SILENT) for _ in range(3)] == [False, True, True]
    versions.failed(BROKER, "5", Kind.UNREACHABLE)
    assert not versions.failed(BROKER, "5", Kind.SILENT)


def test_what_worked_is_tried_first_until_it_fails() -> None:
    versions = Versions("auto")
    assert versions.order(BROKER) == ("5", "3.1.1")
    versions.worked(BROKER, "3.1.1")
    assert versions.order(BROKER) == ("3.1.1",)
    assert versions.order(Address.parse("mqtt://b")) == ("5", "3.1.1")
    assert not versions.failed(BROKER, "3.1.1", Kind.UNREACHABLE)
    assert versions.order(BROKER) == ("5", "3.1.1")


def test_a_version_that_was_asked_for_is_the_only_one() -> None:
    assert Versions("5").order(BROKER) == ("5",)
    assert Versions("3.1.1").order(BROKER) == ("3.1.1",)
