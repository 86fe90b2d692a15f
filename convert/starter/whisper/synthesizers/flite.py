"""flite, as a program."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
import soundfile

from convert.starter.whisper.synthesizers.sound import Sound, phone_name

PROGRAM: Final = "flite"
RADIO: Final = "radio"
"""The alphabet of flite's and of Festival's English voices (CMU's lexicon)."""
_TIMEOUT_S: Final = 60


def say(text: str, voice: str, stretch: float, pitch_hz: float) -> Sound:
    """Without samples where the text has no word. It prints where each phone ends: `pau:0.136 t:0.239`."""
    with tempfile.TemporaryDirectory(prefix="flite-") as folder:
        path = Path(folder) / "speech.wav"
        settings = (f"duration_stretch={stretch:.2f}", f"int_f0_target_mean={pitch_hz:.0f}")
        options = [part for setting in settings for part in ("--setf", setting)]
        command = [PROGRAM, "-voice", voice, "-psdur", "-t", text, "-o", str(path), *options]
        said = subprocess.run(command, capture_output=True, check=True, timeout=_TIMEOUT_S).stdout.decode()
        try:
            samples, rate_hz = soundfile.read(path, dtype="int16")
        except soundfile.LibsndfileError:  # no text, no file
            return 0, np.empty(0, np.int16), []
    phones, begins_s = [], 0.0
    for name, ends in re.findall(r"(\S+):([\d.]+)", said):
        phones.append((phone_name(RADIO, name), begins_s))
        begins_s = float(ends)
    return int(rate_hz), samples, phones
