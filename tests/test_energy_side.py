"""The meter of a daemon: what a request is told that it cost, what /status and telemetry read, and where nothing is."""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.energy_side import Energy
from agent.errors import RequestError, UnavailableError
from agent.fleet.telemetry.board import BoardSource
from agent.hardware.power.choose import Choice, choose_meter
from agent.hardware.power.meter import PowerSample
from agent.hardware.power.pushed import PushedMeter
from tests.daemon_process import DaemonProcess, running_daemon

WATTS = 8.0
NONE = Choice(meter=None, reason="Nothing measures power here.")


@dataclass
class Steady:
    """Draws `WATTS` by a counter, unless it is `broken`."""

    source: str = "test meter"
    scope: str = "the processor"
    quick: bool = True
    broken: bool = False

    def read(self, now_s: float) -> PowerSample:
        if self.broken:
            raise UnavailableError("it is asleep")
        return PowerSample(at_s=now_s, watts=WATTS, joules=WATTS * now_s)


@dataclass
class Choices:
    """The choices, one after the other."""

    left: list[Choice]
    asked: int = field(default=0)

    def __call__(self) -> Choice:
        self.asked += 1
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


async def test_a_request_is_billed_and_its_model_charged() -> None:
    energy = Energy(lambda: Choice(meter=Steady(), reason="test meter: the processor."))
    running = asyncio.create_task(energy.run())
    await until(lambda: energy.read() is not None)
    began = time.monotonic()
    energy.begin(1, "chat", "generate")
    energy.begin(2, "vectors", "embed")
    await asyncio.sleep(0.2)
    energy.drop(2)
    joules = await energy.finish(1)
    most = WATTS * (time.monotonic() - began)
    assert joules is not None
    assert 0 < joules <= most
    await until(lambda: energy.joules_by_payer.keys() == {("chat", "generate"), ("vectors", "embed")})
    assert sum(energy.joules_by_payer.values()) == pytest.approx(energy.status()["request_joules"])
    assert await energy.finish(99) is None  # never begun
    running.cancel()


async def test_what_a_broken_meter_did_not_measure_is_not_told() -> None:
    meter = Steady()
    energy = Energy(lambda: Choice(meter=meter, reason="test meter"))
    running = asyncio.create_task(energy.run())
    await until(lambda: energy.read() is not None)
    meter.broken = True
    energy.begin(1, "chat", "generate")
    await until(lambda: energy.status()["failure"] == "it is asleep")
    assert await energy.finish(1) is None
    assert energy.read() is None
    running.cancel()


async def test_a_request_in_which_a_slow_meter_was_never_read_is_not_told_what_was_drawn_before_it() -> None:
    energy = Energy(lambda: Choice(meter=Steady(quick=False), reason="test meter"))
    running = asyncio.create_task(energy.run())
    await until(lambda: energy.read() is not None)
    energy.begin(1, "chat", "generate")
    assert await energy.finish(1) is None
    energy.begin(2, "chat", "generate")
    await until(lambda: energy.status()["total_joules"] > 0)  # the reading after its beginning
    await asyncio.sleep(0.05)
    energy.begin(3, "chat", "generate")
    assert (await energy.finish(2) or 0) > 0
    running.cancel()


def reads(energy: Energy, watts: float) -> bool:
    reading = energy.read()
    return reading is not None and reading.watts == watts


async def test_a_plug_is_believed_as_soon_as_it_speaks_and_while_it_does() -> None:
    plug = PushedMeter("plug", stale_s=0.3)
    energy = Energy(lambda: choose_meter("none", pushed=plug), pushed=plug)
    running = asyncio.create_task(energy.run())
    await until(lambda: bool(energy.status().get("failure")))
    assert "has not sent any reading yet" in energy.status()["failure"]
    for watts in (5.0, 7.0):
        await asyncio.sleep(0.06)
        energy.push(watts)
        await until(partial(reads, energy, watts))
    assert energy.status()["total_joules"] == pytest.approx(6.0 * 0.06, rel=0.5)
    with pytest.raises(RequestError):
        energy.push(-1.0)
    energy.begin(1, "chat", "generate")
    await until(lambda: bool(energy.status()["failure"]))
    assert await energy.finish(1) is None
    running.cancel()


async def test_where_nothing_measures_it_is_looked_for_again_after_a_while() -> None:
    choices = Choices([NONE, Choice(meter=Steady(), reason="it is there now")])
    energy = Energy(choices, again_s=0.01)
    running = asyncio.create_task(energy.run())
    await until(lambda: energy.read() is not None)
    assert (choices.asked, energy.scope, energy.reason) == (2, "the processor", "it is there now")
    running.cancel()


@pytest.mark.parametrize(
    "choose", [lambda: choose_meter("rapl", Path("/nowhere")), lambda: NONE], ids=["no files", "none"]
)
async def test_a_board_without_a_meter_says_nothing_of_power(tmp_path: Path, choose: Callable[[], Choice]) -> None:
    energy = Energy(choose)
    running = asyncio.create_task(energy.run())
    await energy.chosen.wait()
    energy.begin(1, "chat", "generate")
    assert await energy.finish(1) is None
    assert energy.status() == {"source": None, "reason": energy.reason}
    assert "Nothing measures power here" in energy.reason
    values = await BoardSource(tmp_path, meter=energy).read()
    assert [values[name] for name in ("power_watts", "energy_joules", "power_of")] == [None, None, None]
    running.cancel()


# With the real daemon


def ask(daemon: DaemonProcess, max_tokens: int) -> tuple[dict[str, float], float]:
    """The timings of a request, and how many seconds it took as seen from here."""
    body = {"prompt": "Once", "max_tokens": max_tokens, "ignore_eos": True, "model": "starter-chat"}
    began = time.monotonic()
    status, answer = daemon.request("POST", "/v1/completions", body)
    assert status == 200, answer
    return answer["timings"], time.monotonic() - began


def last_timings(daemon: DaemonProcess, body: dict[str, Any]) -> dict[str, float]:
    """What the last event of a stream carries."""
    request = urllib.request.Request(f"{daemon.url}/v1/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=30) as response:
        events = [line.removeprefix("data: ") for line in response.read().decode().splitlines() if line]
    assert events[-1] == "[DONE]"
    timings: dict[str, float] = json.loads(events[-2])["timings"]
    return timings


def scrape(daemon: DaemonProcess, name: str) -> float:
    with urllib.request.urlopen(f"{daemon.url}/metrics", timeout=10) as response:
        found = re.search(rf"^{re.escape(name)} (\S+)$", response.read().decode(), re.MULTILINE)
    assert found is not None
    return float(found[1])


def test_a_request_costs_power_times_time(tmp_path: Path) -> None:
    meter = tmp_path / "watts"
    meter.write_text(f"#!/bin/sh\necho {WATTS} W\n")
    meter.chmod(0o755)
    extra = {"EDGE_AGENT_STARTER_MODELS": "auto", "EDGE_AGENT_POWER_COMMAND": str(meter)}
    with running_daemon(tmp_path, extra=extra) as daemon:
        ask(daemon, 8)  # loads the model
        for _ in range(30):  # a command is not read during a request of a sixth of a second
            timings, seen_s = ask(daemon, 450)
            if "joules" in timings:
                break
        computed_s = (timings["prompt_ms"] + timings["predicted_ms"]) / 1e3
        assert WATTS * computed_s * 0.98 <= timings["joules"] <= WATTS * seen_s * 1.02
        assert timings["joules_per_token"] == pytest.approx(timings["joules"] / 450, rel=1e-3)
        status = daemon.get("/status")[1]
        assert status["board"]["power_watts"] == WATTS
        assert (status["energy"]["source"], status["energy"]["failure"]) == (f"command {meter}", "")
        assert scrape(daemon, 'llm_joules_total{model="starter-chat",task="generate"}') > 0
        texts = [f"The light of room {number} is on." for number in range(2000)]
        status, answer = daemon.request("POST", "/v1/embeddings", {"model": "starter-embed", "input": texts})
        assert status == 200, answer
        assert answer["timings"]["joules"] > 0
        by_token = answer["timings"]["joules"] / answer["usage"]["prompt_tokens"]
        assert answer["timings"]["joules_per_token"] == pytest.approx(by_token, abs=1e-6)
        assert scrape(daemon, 'llm_joules_total{model="starter-embed",task="embed"}') > 0
        several = {"prompt": ["a", "b"], "max_tokens": 400, "ignore_eos": True, "model": "starter-chat", "stream": True}
        assert last_timings(daemon, {**several, "n": 2})["joules"] > 0
        usage = {"stream_options": {"include_usage": True}}
        assert last_timings(daemon, {**several, **usage})["joules_per_token"] > 0


def test_without_a_meter_an_answer_tells_no_joules(tmp_path: Path) -> None:
    extra = {"EDGE_AGENT_STARTER_MODELS": "auto", "EDGE_AGENT_POWER_COMMAND": "/nowhere/watts"}
    with running_daemon(tmp_path, extra=extra) as daemon:
        assert "joules" not in ask(daemon, 8)[0]
        energy = daemon.get("/status")[1]["energy"]
        assert "/nowhere/watts is not installed" in energy["reason"]
        assert energy["watts"] is None
        assert scrape(daemon, 'llm_joules_total{model="starter-chat",task="generate"}') == 0
