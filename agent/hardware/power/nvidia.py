"""NVIDIA cards: NVML in this process, which takes microseconds, else `nvidia-smi`, which takes a second.

Jetsons have a libnvidia-ml that answers "not supported": their meter is `ina`.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final

from agent.errors import UnavailableError
from agent.hardware.command import Runner, run_command
from agent.hardware.power.counter import Counter, Speed
from agent.hardware.power.meter import PowerSample, plausible

LIBRARY: Final = "libnvidia-ml.so.1"
SMI: Final = ("nvidia-smi", "--query-gpu=power.draw", "--format=csv,noheader,nounits")

_ERRORS: Final = {2: "invalid argument", 3: "not supported", 4: "no permission", 9: "driver not loaded", 15: "GPU lost"}
"""nvmlReturn_t, as far as a reader can do something about it: NVML API reference, nvmlDeviceEnumvs."""


class Nvml:
    """The five functions of NVML that are needed, on a loaded library."""

    def __init__(self, library: Any) -> None:
        """Raises `UnavailableError` where the driver does not start."""
        self._library = library
        self._check("nvmlInit_v2")
        count = ctypes.c_uint()
        self._check("nvmlDeviceGetCount_v2", ctypes.byref(count))
        self.handles = []
        for index in range(count.value):
            handle = ctypes.c_void_p()
            self._check("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(handle))
            self.handles.append(handle)

    def watts(self, handle: ctypes.c_void_p) -> float:
        """Of the whole card, averaged over a second (from Ampere on; before: at this moment)."""
        milliwatts = ctypes.c_uint()
        self._check("nvmlDeviceGetPowerUsage", handle, ctypes.byref(milliwatts))
        return milliwatts.value / 1000

    def joules(self, handle: ctypes.c_void_p) -> float:
        """Since the driver was loaded. Raises `UnavailableError` before Volta."""
        millijoules = ctypes.c_ulonglong()
        self._check("nvmlDeviceGetTotalEnergyConsumption", handle, ctypes.byref(millijoules))
        return millijoules.value / 1000

    def _check(self, name: str, *arguments: object) -> None:
        try:
            status = int(getattr(self._library, name)(*arguments))
        except AttributeError:
            raise UnavailableError(f"{LIBRARY} has no {name}.") from None
        if status != 0:
            raise UnavailableError(f"{name}: {_ERRORS.get(status, f'error {status}')}.")


class NvmlMeter:
    scope = "the graphics cards, not the rest of the machine"
    quick = True

    def __init__(self, nvml: Nvml) -> None:
        """Raises `UnavailableError` where no card tells its power."""
        self._nvml = nvml
        if not nvml.handles:
            raise UnavailableError("NVML finds no card.")
        for handle in nvml.handles:
            nvml.watts(handle)
        self._counters: list[Counter] | None = [Counter(None) for _ in nvml.handles]
        try:
            for handle in nvml.handles:
                nvml.joules(handle)
        except UnavailableError:
            self._counters = None
        self._speed = Speed()
        cards = f"{len(nvml.handles)} cards" if len(nvml.handles) > 1 else "1 card"
        self.source = f"NVML, {cards}, {'watts' if self._counters is None else 'energy counter'}"

    def read(self, now_s: float) -> PowerSample:
        watts = plausible(sum(map(self._nvml.watts, self._nvml.handles)), self.source)
        if self._counters is None:
            return PowerSample(at_s=now_s, watts=watts)
        joules = sum(
            counter.advance(self._nvml.joules(handle), now_s)
            for handle, counter in zip(self._nvml.handles, self._counters, strict=True)
        )
        return PowerSample(at_s=now_s, watts=watts, joules=joules)


class SmiMeter:
    source = "nvidia-smi"
    scope = NvmlMeter.scope
    quick = False

    def __init__(self, run: Runner = run_command) -> None:
        self._run = run

    def read(self, now_s: float) -> PowerSample:
        text = self._run(SMI)
        if text is None:
            raise UnavailableError("nvidia-smi is not installed or does not answer.")
        return PowerSample(at_s=now_s, watts=plausible(parse_smi(text), self.source))


def parse_smi(text: str) -> float:
    """Watts of all cards. Raises `UnavailableError` where one does not tell: a sum without it would be wrong."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    try:
        watts = [float(line) for line in lines]
    except ValueError:
        raise UnavailableError(f"nvidia-smi gives no power: {text.strip()[:80]}") from None
    if not watts:
        raise UnavailableError("nvidia-smi finds no card.")
    return sum(watts)


def load_nvml() -> Nvml:
    """Raises `UnavailableError` on a machine without NVIDIA's driver."""
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError:
        raise UnavailableError(f"{LIBRARY} is not installed: no NVIDIA driver.") from None
    return Nvml(library)
