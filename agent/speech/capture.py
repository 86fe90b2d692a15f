"""The process that owns the sound driver: `python -m agent.speech.capture [--device D] [--rate HZ] | --list`.

PortAudio may hang in opening, in reading and in closing, and prints to standard error; here it harms nobody. Sound
leaves through standard output (`capture_messages`) as 16 kHz, 16 bits, one channel; a closed pipe ends the process.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from array import array
from typing import TYPE_CHECKING, Any

from agent.errors import EdgeAgentError
from agent.runtime.niceness import go_first
from agent.runtime.wire.errors import WireError
from agent.speech.capture_messages import Captured, CaptureFailed, CaptureMessage, Devices, Opened, encode
from agent.speech.child_start import begin
from agent.speech.devices import DeviceError, InputDevice, choose, rates_to_try
from agent.speech.pcm import SAMPLE_RATE_HZ
from agent.speech.ring import Arrived, Ring
from agent.speech.sample_clock import SampleClock

if TYPE_CHECKING:
    import soxr

BLOCK_S = 0.032
LATENCY_S = 0.1
RING_S = 8.0
"""What the daemon may be behind, besides two seconds in the pipe, before sound is lost (and reported)."""
CHECK_S = 0.25
"""How often to look whether the stream still runs while no sound comes."""


def main(arguments: list[str] | None = None) -> int:
    begin()
    given = _parse(arguments)
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever a driver prints shall not mix with the messages
    try:
        if given.list:
            _send(output, [Devices(devices=_devices(_portaudio()))])
        else:
            go_first()
            _capture(output, given.device, given.rate)
    except EdgeAgentError as error:
        _send(output, [CaptureFailed(error=WireError(code=error.code, message=error.message, hint=error.hint))])
        return 1
    except BrokenPipeError:
        return 0
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m agent.speech.capture", description=__doc__)
    parser.add_argument("--device", help="index, name, or a part of the name")
    parser.add_argument("--rate", type=int, help="sample rate in Hz; otherwise the device's own")
    parser.add_argument("--list", action="store_true", help="list the devices and exit")
    return parser.parse_args(arguments)


def _send(output: int, messages: list[CaptureMessage]) -> None:
    data = memoryview(encode(messages))
    while data:
        data = data[os.write(output, data) :]


def _portaudio() -> Any:
    """The `sounddevice` module. Raises `DeviceError` where it or PortAudio is missing."""
    try:
        import sounddevice
    except (ImportError, OSError) as error:
        raise DeviceError(
            f"Sound input is not available: {error}.",
            hint="Install PortAudio (Debian: apt-get install libportaudio2) and pip install sounddevice.",
        ) from None
    return sounddevice


def _devices(portaudio: Any) -> tuple[InputDevice, ...]:
    hosts = portaudio.query_hostapis()
    default = portaudio.default.device[0]
    return tuple(
        InputDevice(
            index=index,
            name=" ".join(str(device["name"]).split()),
            host=str(hosts[device["hostapi"]]["name"]),
            channels=int(device["max_input_channels"]),
            rate_hz=int(device["default_samplerate"]),
            default=index == default,
        )
        for index, device in enumerate(portaudio.query_devices())
        if device["max_input_channels"] > 0
    )


def _capture(output: int, wanted: str | None, asked_hz: int | None) -> None:
    portaudio = _portaudio()
    device = choose(_devices(portaudio), wanted)
    ring = Ring(1)
    stream: Any = None
    errors: list[str] = []
    for rate_hz in rates_to_try(device, asked_hz):
        for channels in dict.fromkeys((1, min(2, device.channels), device.channels)):
            ring = Ring(int(RING_S * rate_hz) * channels * 2)
            try:
                stream = _open(portaudio, device, rate_hz, channels, ring)
            except (portaudio.PortAudioError, ValueError) as error:
                errors.append(f"{rate_hz} Hz: {_reason(error)}")
                continue
            _pump(output, stream, ring, device, rate_hz, channels)
            return
    raise DeviceError(
        f'The microphone "{device.name}" cannot be opened ({"; ".join(dict.fromkeys(errors))}).',
        hint="Another program may hold it; edge-agent doctor lists the devices.",
    )


def _reason(error: Exception) -> str:
    return str(error.args[0] if error.args else error).removeprefix("Error opening RawInputStream: ")


def _open(portaudio: Any, device: InputDevice, rate_hz: int, channels: int, ring: Ring) -> Any:
    def arrived(data: Any, frames: int, times: Any, status: Any) -> None:
        ring.write(bytes(data), frames, time.monotonic(), times.inputBufferAdcTime or None)

    stream = portaudio.RawInputStream(
        samplerate=rate_hz,
        blocksize=round(rate_hz * BLOCK_S),
        device=device.index,
        channels=channels,
        dtype="int16",
        latency=LATENCY_S,
        callback=arrived,
    )
    stream.start()
    return stream


def _pump(output: int, stream: Any, ring: Ring, device: InputDevice, rate_hz: int, channels: int) -> None:
    """Until the stream ends. The process is killed when nobody wants to hear any more."""
    clock = SampleClock(rate_hz)
    convert = Converter(rate_hz, channels)
    opened = False
    while True:
        blocks = ring.take(CHECK_S)
        if not blocks:
            if not stream.active:
                raise DeviceError(
                    f'The microphone "{device.name}" is gone.', hint="Is it unplugged, or was the sound server stopped?"
                )
            continue
        if not opened:
            _send(output, [Opened(device=device, rate_hz=rate_hz, channels=channels)])
            opened = True
        _send(output, [_captured(block, clock, convert, rate_hz, channels) for block in blocks])


def _captured(block: Arrived, clock: SampleClock, convert: Converter, rate_hz: int, channels: int) -> Captured:
    frames = len(block.data) // (2 * channels)
    recorded_at = None if block.recorded_at is None else block.recorded_at - block.lost_frames / rate_hz
    late = clock.feed(frames + block.lost_frames, block.at, recorded_at)
    return Captured(
        pcm=convert(block.data),
        heard_at=block.at,
        overrun=round(block.lost_frames * SAMPLE_RATE_HZ / rate_hz),
        late=round(late * SAMPLE_RATE_HZ / rate_hz),
    )


class Converter:
    """Interleaved 16-bit samples at the device's rate in, one channel at 16 kHz out. Loads numpy only to resample."""

    def __init__(self, rate_hz: int, channels: int) -> None:
        self._channels = channels
        self._resampler: soxr.ResampleStream | None = None
        if rate_hz != SAMPLE_RATE_HZ:
            import soxr

            self._resampler = soxr.ResampleStream(rate_hz, SAMPLE_RATE_HZ, 1, dtype="int16")

    def __call__(self, data: bytes) -> bytes:
        mono = data if self._channels == 1 else _mixed(data, self._channels)
        if self._resampler is None:
            return mono
        import numpy

        return bytes(self._resampler.resample_chunk(numpy.frombuffer(mono, numpy.int16)).data)


def _mixed(data: bytes, channels: int) -> bytes:
    """The mean of the channels."""
    samples = memoryview(data).cast("h")
    columns = (samples[channel::channels].tolist() for channel in range(channels))
    return array("h", [sum(frame) // channels for frame in zip(*columns, strict=True)]).tobytes()


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # not through PortAudio's clean-up, which may hang
