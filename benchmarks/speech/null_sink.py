"""A microphone without a sound card: PulseAudio's null sink, whose monitor ALSA offers as the default input."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Self

NEEDED = ("pulseaudio", "paplay", "pactl")
_COMMAND = (
    *("pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"),
    *("-L", "module-native-protocol-unix auth-anonymous=1"),
    *("-L", "module-null-sink sink_name=fakemic rate=48000 channels=2"),
)


def why_not() -> str:
    """Why there can be none here, in one line; empty where there can."""
    if not sys.platform.startswith("linux"):
        return "PulseAudio's null sink is tested on Linux"
    if os.geteuid() != 0:
        return "needs root, as which a sound server of its own is started"
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        return f"needs {', '.join(missing)} (Debian: pulseaudio pulseaudio-utils libasound2-plugins libportaudio2)"
    return "" if find_spec("sounddevice") else "needs sounddevice"


class NullSink:
    """Its files are in `folder`; `environment` is what clients need to find it."""

    def __init__(self, folder: Path) -> None:
        self.environment = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder)}
        (folder / ".asoundrc").write_text("pcm.!default {\n type pulse\n}\nctl.!default {\n type pulse\n}\n")
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def start(self) -> None:
        self._server = subprocess.Popen(
            _COMMAND, env={**os.environ, **self.environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 10
        while not self._answers():
            if time.monotonic() > deadline:
                raise RuntimeError("PulseAudio does not start")
            time.sleep(0.1)

    def kill(self) -> None:
        if self._server is not None:
            self._server.send_signal(signal.SIGKILL)
            self._server.wait()

    def signal(self, signal_number: int) -> None:
        assert self._server is not None
        self._server.send_signal(signal_number)

    def play(self, path: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["paplay", "--device=fakemic", str(path)], env={**os.environ, **self.environment})

    def _answers(self) -> bool:
        asked = subprocess.run(
            ["pactl", "list", "short", "sinks"],
            env={**os.environ, **self.environment},
            capture_output=True,
            check=False,
        )
        return b"fakemic" in asked.stdout
