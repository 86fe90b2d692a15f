"""A capturing process that plays one scene per start: `python scripted_capture.py STATE_FILE SCENE... [--device=D]`.

The file counts the starts; the last scene repeats. It speaks the real protocol, and misbehaves as drivers do.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from agent.runtime.wire.errors import WireError
from agent.speech.capture_messages import Captured, CaptureFailed, CaptureMessage, Devices, Opened, encode
from agent.speech.devices import InputDevice

DEVICE = InputDevice(index=3, name="Scripted", host="test", channels=1, rate_hz=16_000, default=True)
BLOCK = bytes(1024)


def send(message: CaptureMessage) -> None:
    os.write(1, encode([message]))


def play(scene: str) -> None:
    if scene == "hang":
        time.sleep(60)
    elif scene == "refuse":
        send(CaptureFailed(error=WireError(code="audio_device_unavailable", message="No such device.", hint="Look.")))
        sys.exit(1)
    elif scene == "crash":
        print("driver: assertion failed", file=sys.stderr, flush=True)
        os.abort()
    elif scene == "nonsense":
        os.write(1, b"\x05\x00\x00\x00hello")
        time.sleep(60)
    elif scene == "list":
        send(Devices(devices=(DEVICE,)))
    else:  # "sound", "silent", "gone", "overrun"
        send(Opened(device=DEVICE, rate_hz=16_000, channels=1))
        for number in range(3):
            overrun = 800 if scene == "overrun" and number == 1 else 0
            send(Captured(pcm=BLOCK, heard_at=time.monotonic(), overrun=overrun))
        if scene == "silent":
            time.sleep(60)
        while scene == "sound":
            time.sleep(0.02)
            send(Captured(pcm=BLOCK, heard_at=time.monotonic()))


def main() -> None:
    counter, *scenes = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    starts = len(Path(counter).read_text()) if Path(counter).exists() else 0
    Path(counter).write_text("x" * (starts + 1))
    play(scenes[min(starts, len(scenes) - 1)])


main()
