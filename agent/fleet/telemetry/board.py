"""The board as a source: processor, memory, heat, throttling, power, disk."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from agent.fleet.telemetry.sample import Values
from agent.fleet.telemetry.source import Look, Reading
from agent.hardware.command import Runner
from agent.hardware.memory import MemoryReading, read_memory
from agent.hardware.sensors.cpu_share import CpuTimes, busy_share, read_cpu_times
from agent.hardware.sensors.disk import Disk, read_disk
from agent.hardware.sensors.frequency import read_frequency
from agent.hardware.sensors.power import PowerMeter
from agent.hardware.sensors.pressure import read_pressure
from agent.hardware.sensors.temperature import read_temperature
from agent.hardware.sensors.throttling import read_throttling


class ScopedMeter(PowerMeter, Protocol):
    """What the daemon reads its meter with; asked in a thread."""

    @property
    def scope(self) -> str | None:
        """What the watts cover."""
        ...


@dataclass
class BoardSource:
    """`folder` is where models and telemetry lie. Files are read in a thread: a broken sensor may block."""

    folder: Path
    root: Path = Path("/")
    run: Runner | None = None
    meter: ScopedMeter | None = None
    type: str = field(default="board", init=False)
    _cpu: CpuTimes | None = field(default=None, init=False)
    _throttle_count: int | None = field(default=None, init=False)

    async def read(self) -> Values:
        return await asyncio.to_thread(self._read)

    async def look(self) -> Look:
        return await asyncio.to_thread(self._look)

    def _read(self) -> Values:
        before, self._cpu = self._cpu, read_cpu_times(self.root)
        share = busy_share(before, self._cpu) if before and self._cpu else None
        memory, disk = self._memory(), read_disk(self.folder)
        temperature, frequency = read_temperature(self.root), read_frequency(self.root)
        throttling = read_throttling(self.root, run=self.run)
        pressure = read_pressure("memory", self.root)
        power = self.meter.read() if self.meter else None
        return {
            "cpu_percent": None if share is None else round(share * 100, 1),
            "cpu_mhz": round(frequency.mhz) if frequency else None,
            "temperature_celsius": round(temperature.celsius, 1) if temperature else None,
            "throttled": bool(throttling.now) if throttling and throttling.count is None else None,
            "throttled_count": throttling.count if throttling else None,
            "throttled_by": ", ".join(throttling.now) or None if throttling else None,
            "memory_available_bytes": memory.usable_bytes,
            "memory_total_bytes": memory.ceiling_bytes,
            "memory_pressure_percent": pressure.some_percent if pressure else None,
            "disk_free_bytes": disk.free_bytes if disk else None,
            "disk_total_bytes": disk.total_bytes if disk else None,
            "power_watts": round(power.watts, 2) if power else None,
            "energy_joules": round(power.energy_joules, 1) if power and power.energy_joules is not None else None,
            "power_of": self.meter.scope if self.meter and power else None,
        }

    def _look(self) -> Look:
        memory, disk, temperature = self._memory(), read_disk(self.folder), read_temperature(self.root)
        ceiling = memory.ceiling_bytes
        return Look(
            readings={
                "temperature_celsius": Reading(temperature.celsius if temperature else None),
                "throttled": self._throttled(),
                "memory_available_share": Reading(memory.usable_bytes / ceiling if ceiling else None),
                "disk_free_bytes": _free(disk),
            }
        )

    def _throttled(self) -> Reading:
        found = read_throttling(self.root, run=self.run)
        if found is None:
            return Reading(None)
        if found.count is None:
            return Reading(float(bool(found.now)), ", ".join(found.now))
        before, self._throttle_count = self._throttle_count, found.count
        return Reading(None if before is None else float(found.count > before), "the processor is too hot")

    def _memory(self) -> MemoryReading:
        return read_memory(self.root, run=self.run)


def _free(disk: Disk | None) -> Reading:
    return Reading(float(disk.free_bytes) if disk else None)
