"""The loop around a meter: what a request is told, what telemetry reads, what happens when the meter goes away."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import pytest

from agent.errors import UnavailableError
from agent.hardware.power.meter import PowerSample
from agent.hardware.power.sampler import EnergySampler


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class CountingMeter:
    """Draws `watts` from its clock's begin on."""

    source, scope, quick = "counting", "everything", True
    watts, joules, failing = 5.0, 0.0, False
    _then_s = 0.0

    def read(self, now_s: float) -> PowerSample:
        if self.failing:
            raise UnavailableError("The meter is unplugged.")
        self.joules += self.watts * (now_s - self._then_s)
        self._then_s = now_s
        return PowerSample(at_s=now_s, watts=self.watts, joules=self.joules)


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not done():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_a_request_is_measured_to_its_end_and_telemetry_reads_at_once() -> None:
    clock, meter = Clock(), CountingMeter()
    sampler = EnergySampler(meter, clock=clock)
    assert sampler.read() is None
    await sampler.sample()
    sampler.begin("a")
    clock.now_s = 4.0
    energy = await sampler.finish("a")
    assert energy is not None
    assert (energy.joules, energy.estimated_s) == (pytest.approx(20.0), 0.0)
    reading = sampler.read()
    assert reading is not None
    assert (reading.watts, reading.energy_joules) == (5.0, pytest.approx(20.0))
    assert sampler.status().request_joules == pytest.approx(20.0)
    assert await sampler.finish("never begun") is None


@pytest.mark.parametrize("quick", [True, False])
async def test_a_request_that_waits_pays_for_what_its_worker_computed(quick: bool) -> None:
    """The worker's times lie before those at which the daemon hears of them."""
    clock, meter = Clock(), CountingMeter()
    meter.quick = quick
    sampler = EnergySampler(meter, clock=clock)
    await sampler.sample()
    sampler.begin("a", waits=True, payer=("speech",))
    clock.now_s = 3.0
    sampler.compute("a", 2.9)
    sampler.compute("unknown", 2.9)
    clock.now_s = 4.0
    bill = sampler.end("a", 3.9)
    assert bill is not None
    await sampler.sample()
    assert bill.energy().joules == sampler.status().request_joules == pytest.approx(5.0)
    assert sampler.joules_by_payer == {("speech",): pytest.approx(5.0)}
    sampler.begin("b", waits=True)
    clock.now_s = 5.0
    sampler.compute("b", 99.0)  # a worker whose clock is wrong
    clock.now_s = 6.0
    energy = await sampler.finish("b", 99.0)
    assert energy is not None
    assert energy.joules == pytest.approx(5.0)


async def test_a_meter_that_goes_away_is_said_once_and_counted_again_later(caplog: pytest.LogCaptureFixture) -> None:
    clock, meter = Clock(), CountingMeter()
    sampler = EnergySampler(meter, clock=clock)
    with caplog.at_level(logging.INFO):
        await sampler.sample()
        meter.failing = True
        for clock.now_s in (1.0, 2.0, 3.0):
            await sampler.sample()
        assert sampler.read() is None
        assert sampler.status().failure == "The meter is unplugged."
        meter.failing = False
        clock.now_s = 4.0
        await sampler.sample()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert sampler.status().total_joules == pytest.approx(20.0)  # a counter bridges the gap


async def test_without_any_reading_a_request_is_told_nothing() -> None:
    meter = CountingMeter()
    meter.failing = True
    sampler = EnergySampler(meter)
    sampler.begin("a")
    assert await sampler.finish("a") is None
    sampler.begin("b")
    sampler.drop("b")


async def test_the_loop_wakes_for_the_first_request() -> None:
    meter = CountingMeter()
    sampler = EnergySampler(meter, idle_period_s=3600, busy_period_s=0.06)
    task = asyncio.create_task(sampler.run())
    await until(lambda: sampler.read() is not None)
    await asyncio.sleep(0.06)  # older than what counts as fresh
    sampler.begin("a")
    await until(lambda: sampler.status().total_joules > 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_the_loop_wakes_when_a_request_begins_that_waited() -> None:
    meter = CountingMeter()
    sampler = EnergySampler(meter, idle_period_s=3600, busy_period_s=3600)
    task = asyncio.create_task(sampler.run())
    await until(lambda: sampler.read() is not None)
    sampler.begin("a", waits=True)
    await asyncio.sleep(0.15)  # longer than a beginning is left to settle
    assert sampler.status().total_joules == 0
    sampler.compute("a", time.monotonic())
    await until(lambda: sampler.status().total_joules > 0)
    task.cancel()
