"""What `edge-agent doctor` says about sound: microphones, a second of input, what transcribes it."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from agent.commands.call import Call
from agent.commands.microphone import line
from agent.errors import EdgeAgentError
from agent.hardware.doctor import Finding, Severity
from agent.plan import starters
from agent.speech.devices import DeviceError, InputDevice, choose
from agent.speech.microphone import Measured, Microphone, list_devices, measure
from agent.speech.software import check_software
from agent.store.store import Store

LIST_S = 8.0
MEASURE_S = 12.0
"""Longest time for each: a sound server that does not answer must not keep the report back."""

SILENCE_DBFS = -90.0
"""The smallest step of 16 bits is -90.3: what resampling makes of nothing. The noise of an input stage is louder."""
FAINT_DBFS = -65.0
CLIPPING_DBFS = -0.3
MODULES = ("alsa-lib/libasound_module_pcm_pulse.so", "alsa-lib/libasound_module_pcm_pipewire.so")


@dataclass(frozen=True, kw_only=True)
class Sound:
    """`why_not` says why nothing was measured; `held` is the daemon's state object where it has the microphone.
    `models` are those that transcribe."""

    devices: tuple[InputDevice, ...] = ()
    chosen: InputDevice | None = None
    measured: Measured | None = None
    why_not: str = ""
    held: Mapping[str, Any] | None = None
    models: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = field(default=(), repr=False)

    def value(self) -> dict[str, Any]:
        """For JSON."""
        measured = self.measured
        return {
            "devices": [
                {"index": one.index, "name": one.name, "channels": one.channels, "sample_rate_hz": one.rate_hz}
                | {"default": one.default}
                for one in self.devices
            ],
            "device": self.chosen.name if self.chosen else None,
            "measured": None if measured is None else {**asdict(measured), "verdict": verdict(measured)},
            "not_measured": self.why_not or None,
            "held_by_daemon": self.held,
            "models": list(self.models),
        }

    def rows(self) -> Iterator[tuple[str, str]]:
        """Label and text of each line of the report."""
        if self.why_not:
            yield "Microphone", f"{self.why_not}; not measured"
        elif self.chosen is None:
            yield "Microphone", "none that can be used"
        else:
            yield "Microphone", _described(self.chosen, self.measured)
        others = [one for one in self.devices if one is not self.chosen]
        if others:
            yield "Inputs", ", ".join(f'{one.index} "{one.name}"' for one in others)
        yield "Speech", f"{', '.join(self.models)}" if self.models else "no model that transcribes"


def examine(call: Call) -> Sound:
    """Lists and measures in child processes that can be killed; takes some 25 s at the very worst."""
    models, findings = _models(call)
    if models and find_spec("soundfile") is None:
        message = "The Python package soundfile is not installed: no recording can be read."
        findings.append(_finding("error", "soundfile_missing", message, "Install it: pip install soundfile."))
    why_not, held = _held(call)
    if why_not:
        return Sound(why_not=why_not, held=held, models=models, findings=tuple(findings))
    try:
        check_software()
        return asyncio.run(_listen(call, models, findings))
    except DeviceError as error:
        # A board without a microphone is well; one that shall transcribe is not.
        severity: Severity = "warning" if models or call.settings.microphone else "note"
        findings.append(_finding(severity, "no_microphone", error.message, f"{error.hint} {_why_none()}"))
        return Sound(models=models, findings=tuple(findings))


async def _listen(call: Call, models: tuple[str, ...], findings: list[Finding]) -> Sound:
    devices = await list_devices(LIST_S)
    if not devices:
        raise DeviceError("No microphone was found.", hint="Connect one, if this machine shall listen.")
    chosen = choose(devices, call.settings.microphone)
    measured = None
    try:
        async with asyncio.timeout(MEASURE_S):
            measured = await measure(Microphone(chosen.index))
    except TimeoutError:
        message = f'The microphone "{chosen.name}" gave no second of sound within {MEASURE_S:g} s.'
        findings.append(_finding("warning", "microphone_silent", message, "Does the sound server still answer?"))
    except EdgeAgentError as error:
        findings.append(_finding("warning", "microphone_fails", error.message, error.hint))
    if measured is not None:
        findings += judge(measured)
    return Sound(devices=devices, chosen=chosen, measured=measured, models=models, findings=tuple(findings))


def verdict(measured: Measured) -> str:
    """`silent`, `clipping`, `faint` or `good`."""
    if measured.peak_dbfs <= SILENCE_DBFS:
        return "silent"
    if measured.peak_dbfs >= CLIPPING_DBFS:
        return "clipping"
    return "faint" if measured.peak_dbfs <= FAINT_DBFS else "good"


def judge(measured: Measured) -> Iterator[Finding]:
    """What is wrong with a second of input."""
    name = f'"{measured.device}"'
    match verdict(measured):
        case "silent":
            message = f"The microphone {name} gives digital silence: not even the noise of an input."
            remedy = "Is it muted, or switched off on the device itself? alsamixer and pavucontrol show the switches."
            yield _finding("warning", "microphone_muted", message, remedy)
        case "clipping":
            message = f"The microphone {name} clips: the loudest sound is at {measured.peak_dbfs:.1f} dBFS."
            remedy = "Turn its capture volume down (alsamixer, F4), or speak from farther away."
            yield _finding("warning", "microphone_clips", message, remedy)
        case "faint":
            message = f"The microphone {name} is very quiet: {measured.peak_dbfs:.0f} dBFS at most."
            remedy = "In a silent room that is well. Otherwise turn its capture volume up (alsamixer, F4)."
            yield _finding("note", "microphone_faint", message, remedy)
    if measured.lost_samples:
        message = f"The microphone {name} lost {measured.lost_samples} samples within {measured.seconds:.1f} s."
        remedy = "Another USB port or cable; less load on the machine while it listens."
        yield _finding("warning", "microphone_loses", message, remedy)


def _described(device: InputDevice, measured: Measured | None) -> str:
    channels = "1 channel" if device.channels == 1 else f"{device.channels} channels"
    text = f'{device.index} "{device.name}" ({device.host}, {channels})'
    if measured is None:
        return text
    means = {
        "silent": "digital silence: muted?",
        "clipping": "clipping: too loud",
        "faint": "very quiet",
        "good": "a live input",
    }[verdict(measured)]
    return (
        f"{text}, {measured.rate_hz} Hz; in {measured.seconds:.1f} s: {measured.rms_dbfs:.0f} dBFS, "
        f"peak {measured.peak_dbfs:.0f} dBFS, {means}"
    )


def _held(call: Call) -> tuple[str, Mapping[str, Any] | None]:
    """Why nothing may be measured, if so: a daemon has the microphone open, or may have it; and its state object."""
    if call.running is None:
        return "", None
    try:
        state = call.client.get("/status", timeout_s=5.0).get("microphone")
    except EdgeAgentError as error:
        return f"the daemon does not say whether it has it ({error.message.rstrip('.')})", None
    if not isinstance(state, dict) or state.get("state") == "closed":
        return "", None
    return f"the daemon has it: {line(state)}", state


def _models(call: Call) -> tuple[tuple[str, ...], list[Finding]]:
    """Names and versions of the active models that transcribe, in the store or shipped."""
    try:
        stored = Store(call.state_dir / "models").models()
        stored += starters(stored, call.settings.starter_models, call.settings.models)
    except EdgeAgentError as error:
        return (), [_finding("warning", "store_unreadable", error.message, error.hint)]
    names = [f"{one.name} {one.version}" for one in stored if one.active and one.manifest.task == "transcribe"]
    if names:
        return tuple(names), []
    remedy = "Get one: edge-agent models pull hf:onnx-community/whisper-base. Or make one with edge-convert whisper."
    return (), [_finding("note", "no_transcription_model", "No model here transcribes speech.", remedy)]


def _why_none() -> str:
    """Why ALSA may list no input although there is one: no right to the device, or no way to the sound server."""
    if sys.platform != "linux":
        return ""
    if any(not os.access(path, os.R_OK | os.W_OK) for path in Path("/dev/snd").glob("pcm*c")):
        return "This user may not use the sound devices: sudo usermod -aG audio $USER, then log in again."
    if _sound_server() and not any(_libraries(MODULES)):
        return "A sound server runs, but ALSA cannot reach it: sudo apt install libasound2-plugins."
    return ""


def _sound_server() -> bool:
    folder = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    sockets = (Path(folder) / "pulse" / "native", Path(folder) / "pipewire-0")
    return bool(os.environ.get("PULSE_SERVER")) or any(path.exists() for path in sockets)


def _libraries(names: Sequence[str]) -> Iterator[Path]:
    for folder in ("/usr/lib", "/usr/lib64", "/usr/local/lib"):
        for name in names:
            yield from Path(folder).glob(name)
            yield from Path(folder).glob(f"*/{name}")


def _finding(severity: Severity, code: str, message: str, remedy: str) -> Finding:
    return Finding(severity=severity, code=code, message=message, remedy=remedy.strip())
