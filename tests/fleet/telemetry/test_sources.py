from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.fleet.link.state import LinkState
from agent.fleet.telemetry.board import BoardSource
from agent.fleet.telemetry.deadband import flat
from agent.fleet.telemetry.engine import EngineSource, rates
from agent.fleet.telemetry.link import LinkSource
from agent.fleet.telemetry.models import ModelsSource, changes
from agent.fleet.telemetry.sample import Values
from agent.hardware.sensors.power import PowerReading
from agent.runtime.service import Limits, Runtime
from agent.runtime.snapshot import Counters, ModelSnapshot
from tests.hardware import recorded

MODEL = ModelSnapshot(
    name="qwen", version="1", task="generate", created=0, aliases=(), pinned=False, keep_alive_s=None, state="ready",
    reason="", slots=1, running=0, slots_used=0, waiting=0, crashes_in_a_row=0, crashes=0, pid=1, predicted=None,
    charged_bytes=0, loaded=None, stats=None, loaded_for_s=None, idle_for_s=None, retry_in_s=None,
)  # fmt: skip


def model(**changed: Any) -> ModelSnapshot:
    return msgspec.structs.replace(MODEL, **changed)


class Meter:
    scope = "the whole board"

    def read(self) -> PowerReading | None:
        return PowerReading(watts=4.25, energy_joules=100.0)


def known(values: Values) -> dict[str, Any]:
    return flat(values)


async def test_a_raspberry_pi(tmp_path: Path) -> None:
    name = "pi-zero-2w"
    source = BoardSource(tmp_path, root=recorded.root_of(name), run=recorded.runner(name), meter=Meter())
    values = known(await source.read())
    assert values["throttled"] is True
    assert values["throttled_by"] == "under-voltage, throttled"
    assert (values["power_watts"], values["power_of"]) == (4.25, "the whole board")
    assert values["memory_available_bytes"] > 0
    assert values["disk_free_bytes"] > 0
    readings = (await source.look()).readings
    assert (readings["throttled"].value, readings["throttled"].detail) == (1.0, "under-voltage, throttled")
    share = readings["memory_available_share"].value
    assert share is not None
    assert 0 < share < 1


async def test_this_machine(tmp_path: Path) -> None:
    source = BoardSource(tmp_path)
    first, second = known(await source.read()), known(await source.read())
    assert "cpu_percent" not in first  # it takes two looks
    assert 0 <= second.get("cpu_percent", 0) <= 100
    assert second["memory_total_bytes"] > 0


@pytest.mark.parametrize("name", recorded.NAMES)
async def test_no_board_is_a_problem(name: str, tmp_path: Path) -> None:
    source = BoardSource(tmp_path, root=recorded.root_of(name), run=recorded.runner(name))
    assert known(await source.read())["disk_total_bytes"] > 0
    assert set((await source.look()).readings) == {
        "temperature_celsius", "throttled", "memory_available_share", "disk_free_bytes",
    }  # fmt: skip


async def test_the_engine_of_a_runtime_without_models() -> None:
    source = EngineSource(Runtime(Limits(), memory=lambda held_bytes: 10**9))
    values = known(await source.read())
    assert values["requests"] == 0
    assert "tokens_per_second" not in values


def test_rates_are_of_the_time_between_two_readings() -> None:
    before = Counters(completed=1, completion_tokens=100, decode_s=10, queued_s=1, prefill_s=2)
    now = Counters(completed=3, completion_tokens=300, decode_s=15, queued_s=2, prefill_s=4)
    assert rates(before, now) == {"tokens_per_second": 40.0, "first_token_s": 1.5}
    assert rates(now, now) == {"tokens_per_second": None, "first_token_s": None}


@pytest.mark.parametrize(
    ("before", "now", "what"),
    [
        (model(), model(), []),
        (model(state="loading"), model(), ["ready"]),
        (model(), model(crashes=1, state="backoff", reason="killed"), ["crashed"]),
        (model(crashes=1), model(crashes=2, state="failed"), ["crashed", "failed"]),
        (model(), model(version="2"), ["version"]),
        (model(state="failed"), model(state="failed"), []),
    ],
)
def test_what_has_become_of_a_model(before: ModelSnapshot, now: ModelSnapshot, what: list[str]) -> None:
    assert [event.values["what"] for event in changes({"qwen": before}, [now])] == what


def test_models_come_and_go() -> None:
    assert [event.values["what"] for event in changes({}, [model()])] == ["added"]
    assert [event.values["what"] for event in changes({"qwen": model()}, [])] == ["removed"]


class Runs:
    def __init__(self, *models: ModelSnapshot) -> None:
        self.now = models

    def models(self) -> tuple[ModelSnapshot, ...]:
        return self.now


async def test_failing_models_are_named_and_the_first_look_tells_no_events() -> None:
    runs = Runs(model(), model(name="bad", state="failed", reason="no such file"))
    source = ModelsSource(runs)
    look = await source.look()
    assert (look.readings["models_failing"].value, look.readings["models_failing"].detail) == (1, "bad: no such file")
    assert look.events == ()
    runs.now = (model(crashes_in_a_row=2, state="loading"),)
    look = await source.look()
    assert look.readings["models_failing"].value == 1
    assert known(await source.read())["qwen.state"] == "loading"


async def test_the_link() -> None:
    class Has:
        state = LinkState(connected=True, connected_s=3.7, reconnects=2)

    values = known(await LinkSource(Has()).read())
    assert (values["connected"], values["connected_s"], values["reconnects"]) == (True, 4, 2)
