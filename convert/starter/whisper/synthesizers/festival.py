"""Festival, as a program that stays: a start takes longer than a sentence. It has voices that flite has not."""

from __future__ import annotations

import subprocess
import tempfile
import threading
import weakref
from pathlib import Path
from typing import Final

import numpy as np
import soundfile

from agent.errors import UnavailableError
from convert.starter.whisper.synthesizers.flite import RADIO
from convert.starter.whisper.synthesizers.sound import Sound, phone_name

PROGRAM: Final = "festival"
DIPHONE: Final = "ked_diphone"
HTS: Final = "cmu_us_slt_arctic_hts"
PACKAGES: Final = {DIPHONE: "festvox-kdlpc16k", HTS: "festvox-us-slt-hts"}
_DONE: Final = "all done"
_END: Final = "end of answer"


def missing_packages() -> list[str]:
    """Of Debian's: Festival and the voices that it lacks."""
    try:
        listed = subprocess.run(
            [PROGRAM, "-b", "(print (voice.list))"], capture_output=True, text=True, timeout=60, check=False
        ).stdout
    except OSError:
        return [PROGRAM, *PACKAGES.values()]
    return [package for voice, package in PACKAGES.items() if voice not in listed]


class Festival:
    """A process of one voice, for one thread; to choose another voice takes as long as a hundred sentences. Raises
    `UnavailableError` where it, or the voice, is not installed. `close` ends it; the end of the thread does too.
    """

    def __init__(self, voice: str) -> None:
        self._voice = voice
        self._folder = tempfile.TemporaryDirectory(prefix="festival-")
        try:
            self._process = subprocess.Popen(
                [PROGRAM, "--pipe"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                encoding="utf-8",
            )
        except OSError as error:
            raise UnavailableError("Festival cannot be started.", hint=f"sudo apt-get install {PROGRAM}") from error
        self.close = weakref.finalize(self, _end, self._process, self._folder)
        if not self._ask(f"(voice_{voice})"):
            self.close()
            raise UnavailableError(
                f"Festival has no voice {voice}.", hint=f"sudo apt-get install {' '.join(PACKAGES.values())}"
            )

    def say(self, text: str, stretch: float, pitch_hz: float) -> Sound:
        """The pitch of an HTS voice is its own. Without samples where the text has no word. Raises
        `UnavailableError` where it fails.
        """
        if not any(letter.isalnum() for letter in text):
            return 0, np.empty(0, np.int16), []
        sound, labels = (Path(self._folder.name) / name for name in ("speech.wav", "speech.lab"))
        quoted = text.replace("\\", " ").replace('"', " ")
        done = self._ask(
            *_as_asked(self._voice, stretch, pitch_hz),
            f'(set! said (utt.synth (Utterance Text "{quoted}")))',
            f'(utt.save.wave said "{sound}" (quote riff))',
            f'(utt.save.segs said "{labels}")',
        )
        if not done:
            raise UnavailableError("Festival failed to speak.", hint="The same command goes on.")
        samples, rate_hz = soundfile.read(sound, dtype="int16")
        phones, begins_s = [], 0.0
        for line in labels.read_text().splitlines()[1:]:  # `0.2400 100 pau`: where it ends
            ends, _, name = line.split()
            phones.append((phone_name(RADIO, name), begins_s))
            begins_s = float(ends)
        return int(rate_hz), samples, phones

    def _ask(self, *commands: str) -> bool:
        """Whether it did them all."""
        asked, answered = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answered is not None
        wanted = " ".join((*commands, f'(format t "{_DONE}\\n")'))
        try:
            asked.write(f'(begin {wanted})\n(format t "{_END}\\n")\n(fflush nil)\n')
            asked.flush()
        except BrokenPipeError:
            return False
        done = False
        for line in answered:
            done = done or _DONE in line
            if _END in line:
                break
        return done


def _end(process: subprocess.Popen[str], folder: tempfile.TemporaryDirectory[str]) -> None:
    process.kill()
    process.communicate()
    folder.cleanup()


def _as_asked(voice: str, stretch: float, pitch_hz: float) -> list[str]:
    if voice == HTS:
        return [f'(set! hts_engine_params (cons (list "-r" {1 / stretch:.2f}) {HTS}::hts_engine_params))']
    spread = f"(target_f0_std {0.14 * pitch_hz:.0f}) (model_f0_mean 170) (model_f0_std 34)"
    return [
        f"(Parameter.set 'Duration_Stretch {stretch:.2f})",
        f"(set! int_lr_params '((target_f0_mean {pitch_hz:.0f}) {spread}))",
    ]


_of_thread = threading.local()


def say(text: str, voice: str, stretch: float, pitch_hz: float) -> Sound:
    """`Festival.say` of this thread's process for the voice, which ends with this one."""
    speakers: dict[str, Festival] = _of_thread.__dict__.setdefault("speakers", {})
    if voice not in speakers:
        speakers[voice] = Festival(voice)
    return speakers[voice].say(text, stretch, pitch_hz)
