"""What telemetry measures, as somebody at home wants to see it. A table.

Units and device classes are those that Home Assistant knows (`homeassistant/components/sensor/const.py`,
DEVICE_CLASS_UNITS, release 2025.11).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

MIB: Final = 2**20
GIB: Final = 2**30


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """`field` of the measurement `type`; `group.field` where it lies in a group. It is divided by `divide_by` to be in
    `unit`. What is not `shown` can be switched on."""

    type: str
    field: str
    name: str
    unit: str = ""
    divide_by: int = 1
    device_class: str | None = None
    state_class: Literal["measurement", "total", "total_increasing"] = "measurement"
    precision: int = 0
    platform: Literal["sensor", "binary_sensor"] = "sensor"
    shown: bool = True

    @property
    def key(self) -> str:
        return f"{self.type}_{self.field.replace('.', '_')}"


SENSORS: Final = (
    Sensor(
        type="board",
        field="temperature_celsius",
        name="Temperature",
        unit="°C",
        device_class="temperature",
        precision=1,
    ),
    Sensor(type="board", field="cpu_percent", name="CPU", unit="%"),
    Sensor(
        type="board",
        field="memory_available_bytes",
        name="Memory available",
        unit="MiB",
        divide_by=MIB,
        device_class="data_size",
    ),
    Sensor(type="board", field="memory_pressure_percent", name="Memory pressure", unit="%", precision=1, shown=False),
    Sensor(
        type="board",
        field="disk_free_bytes",
        name="Disk free",
        unit="GiB",
        divide_by=GIB,
        device_class="data_size",
        precision=1,
    ),
    Sensor(type="board", field="power_watts", name="Power", unit="W", device_class="power", precision=1),
    Sensor(
        type="board",
        field="energy_joules",
        name="Energy",
        unit="J",
        device_class="energy",
        state_class="total_increasing",
        shown=False,
    ),
    Sensor(type="board", field="cpu_mhz", name="CPU clock", unit="MHz", device_class="frequency", shown=False),
    Sensor(type="board", field="throttled", name="Throttled", device_class="problem", platform="binary_sensor"),
)

ALARMS: Final = {
    "too_hot": "Too hot",
    "throttled": "Clocks held down",
    "memory_low": "Memory low",
    "disk_low": "Disk low",
    "worker_failing": "Model failing",
}
"""Every alarm of the device, with a title."""
