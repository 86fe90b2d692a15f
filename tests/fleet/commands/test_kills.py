"""The whole thing over a real broker, killed with -9 ten times (two hundred times in benchmarks/mqtt/__main__.py)."""

from __future__ import annotations

from pathlib import Path

from benchmarks.mqtt.command_kills import kill_often
from tests.fleet.broker import Broker


async def test_each_command_ends_once_whatever_is_killed(broker: Broker, tmp_path: Path) -> None:
    outcome = await kill_often(broker.url(), tmp_path / "device", runs=10)
    assert outcome.problems == []
    assert outcome.kills == 10
    assert sum(outcome.successful.values()) + sum(outcome.interrupted.values()) == outcome.commands
