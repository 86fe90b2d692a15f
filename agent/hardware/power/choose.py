"""Which meter to believe: what the user gave, else what the profile says, else what works here, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from agent.errors import EdgeAgentError, UnavailableError
from agent.hardware.command import Runner, no_command, run_command
from agent.hardware.power.battery import BatteryMeter
from agent.hardware.power.command import CommandMeter
from agent.hardware.power.energy import LONGEST_GAP_S
from agent.hardware.power.ina import InaMeter
from agent.hardware.power.meter import Meter
from agent.hardware.power.nvidia import Nvml, NvmlMeter, SmiMeter, load_nvml
from agent.hardware.power.pmic import PmicMeter
from agent.hardware.power.powermetrics import PowermetricsMeter
from agent.hardware.power.pushed import PushedMeter
from agent.hardware.power.rapl import RaplMeter

MeterName = Literal["none", "pmic", "ina3221", "rapl", "nvml", "powermetrics", "battery"]

FALLBACKS: Final[dict[str, tuple[str, ...]]] = {
    "pmic": ("battery",),
    "ina3221": ("battery",),
    "rapl": ("battery",),
    "nvml": ("rapl", "battery"),
    "powermetrics": (),
}
"""What to try where the profile's meter does not answer. A battery measures the whole machine, but only while it
discharges; RAPL sees the processor of a machine whose card does not tell."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """`meter` is None where nothing measures; `reason` says it in a sentence either way."""

    meter: Meter | None
    reason: str
    longest_gap_s: float = LONGEST_GAP_S
    """As long as two readings of watts may be apart."""


def choose_meter(
    wanted: str,
    root: Path = Path("/"),
    *,
    run: Runner | None = None,
    command: Sequence[str] = (),
    pushed: PushedMeter | None = None,
    nvml: Callable[[], Nvml] = load_nvml,
) -> Choice:
    """`wanted` is the profile's `[power] meter`. Each candidate is read once: takes up to some seconds, blocks."""
    run = run or (run_command if root == Path("/") else no_command)
    if command:
        given = CommandMeter(command, run)
        return Choice(meter=given, reason=_trial(given) or f"{given.source}, as configured.")
    if pushed is not None:
        return Choice(
            meter=pushed, reason=f"{pushed.source}, as configured.", longest_gap_s=max(LONGEST_GAP_S, pushed.stale_s)
        )
    if wanted == "none":
        return Choice(meter=None, reason="The profile says that this board has no meter: energy is not measured.")
    failures: list[str] = []
    for name in (wanted, *FALLBACKS.get(wanted, ())):
        try:
            meter = _open(name, root, run, nvml)
            meter.read(0.0)
        except EdgeAgentError as error:
            failures.append(f"{name}: {error}")
            continue
        because = f" The profile's meter does not work here. {failures[0]}" if failures else ""
        return Choice(meter=meter, reason=f"{meter.source}: {meter.scope}.{because}")
    return Choice(meter=None, reason=f"Nothing measures power here. {' '.join(failures)}")


def _trial(meter: CommandMeter) -> str:
    """What is wrong with a meter that was asked for by name; it is kept, since it may work later."""
    try:
        meter.read(0.0)
    except UnavailableError as error:
        return f"{meter.source}, as configured, but: {error}"
    return ""


def _open(name: str, root: Path, run: Runner, nvml: Callable[[], Nvml]) -> Meter:
    match name:
        case "pmic":
            return PmicMeter(run)
        case "ina3221":
            return InaMeter(root)
        case "rapl":
            return RaplMeter(root)
        case "nvml":
            try:
                return NvmlMeter(nvml())
            except UnavailableError as error:
                smi = SmiMeter(run)
                try:
                    smi.read(0.0)
                except UnavailableError:
                    raise error from None
                return smi
        case "powermetrics":
            return PowermetricsMeter(run)
        case "battery":
            return BatteryMeter(root)
        case _:
            raise UnavailableError(f"There is no meter {name}.")
