"""The process that decodes an audio file: `python -m agent.speech.decoding FILE|- [--all] [--max-hours H]`.

Files are hostile: they are read here, under limits, and not in the daemon. Out come 16 kHz float32 samples with the
probability of speech of each frame (`decode_messages`), as fast as they are taken, in bounded memory. `--all` takes
every frame for speech.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from agent.errors import EdgeAgentError, RequestError, TooLargeError, UnavailableError
from agent.runtime.wire.errors import WireError
from agent.speech.child_start import begin
from agent.speech.decode_messages import AudioEnd, AudioInfo, DecodeFailed, DecodeMessage, Frames, encode
from agent.speech.pcm import FRAME_SAMPLES, SAMPLE_RATE_HZ
from agent.speech.vad import AlwaysVoice, VoiceActivity, silero

if TYPE_CHECKING:
    import numpy as np

MEMORY_LIMIT_BYTES = 1536 * 1024 * 1024
"""Address space; libraries and thread stacks take 500 MB of it, decoding 50."""
CPU_STEP_S = 60
"""Processor time that may pass without any progress."""
BLOCK_SAMPLES = 1 << 14
"""Values decoded at once, over all channels. Where a file breaks off, so much at most is lost before it."""
MESSAGE_FRAMES = 32
LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 768_000
MOST_CHANNELS = 64
SUPPORTED = "Supported are wav, flac, ogg and mp3."


def main(arguments: list[str] | None = None) -> int:
    begin()
    given = _parse(arguments)
    output = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    try:
        with _opened(given.file) as file:
            _limit_memory()
            for message in decode(file, silero() if not given.all else AlwaysVoice(), given.max_hours):
                _more_time()
                _send(output, message)
    except EdgeAgentError as error:
        _send(output, DecodeFailed(error=WireError(code=error.code, message=error.message, hint=error.hint)))
        return 1
    except MemoryError:
        told = WireError(code=TooLargeError.code, message="Decoding this audio takes too much memory.", hint=SUPPORTED)
        _send(output, DecodeFailed(error=told))
        return 1
    except BrokenPipeError:
        return 0
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m agent.speech.decoding", description=__doc__)
    parser.add_argument("file", help="a file, or - for standard input")
    parser.add_argument("--all", action="store_true", help="take every frame for speech")
    parser.add_argument("--max-hours", type=float, default=24.0, help="refuse longer audio")
    return parser.parse_args(arguments)


def _send(output: int, message: DecodeMessage) -> None:
    data = memoryview(encode([message]))
    while data:
        data = data[os.write(output, data) :]


def _opened(name: str) -> IO[bytes]:
    """The file; a standard input that is none is copied to disk: decoders jump about in their input."""
    if name == "-":
        if stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode):
            return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
        copy = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.seek(0)
        return copy
    try:
        path = Path(name)
        if not path.is_file():
            raise RequestError(f"{path} is not a file." if path.exists() else f"{path} does not exist.")
        return path.open("rb")
    except OSError as error:
        raise RequestError(f"{name} cannot be read: {error.strerror}.") from None


def _limit_memory() -> None:
    with contextlib.suppress(OSError, ValueError):  # macOS has no such limit
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT_BYTES, MEMORY_LIMIT_BYTES))


def _more_time() -> None:
    """There was progress: as much processor time again until the next one."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + CPU_STEP_S
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CPU, (limit, hard))


def decode(file: IO[bytes], voice: VoiceActivity, max_hours: float) -> Iterator[DecodeMessage]:
    """`AudioInfo`, then `Frames` in order, then `AudioEnd`. Raises `RequestError`, `TooLargeError`."""
    try:
        import numpy as np
        import soundfile
        import soxr
    except (ImportError, OSError) as error:
        raise UnavailableError(
            f"Audio files cannot be decoded: {error}.", hint="pip install soundfile soxr, then try again."
        ) from None
    if os.fstat(file.fileno()).st_size == 0:
        raise RequestError("The audio file is empty.", hint=SUPPORTED)
    _more_time()
    try:
        sound = soundfile.SoundFile(file.fileno(), closefd=False)
    except (soundfile.LibsndfileError, TypeError, ValueError) as error:
        raise RequestError(f"This is no audio that can be decoded: {_said(error)}.", hint=SUPPORTED) from None
    with sound:
        info = _checked(sound, max_hours)
        yield info
        resampler = soxr.ResampleStream(info.rate_hz, SAMPLE_RATE_HZ, 1, dtype="float32")
        framing = _Framing(voice)
        repaired, damage, longest = 0, "", int(max_hours * 3600 * info.rate_hz)
        count = 0
        rows = max(512, BLOCK_SAMPLES // info.channels)
        while True:
            try:
                block = sound.read(rows, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                damage = f"after {count / info.rate_hz:.1f} s: {_said(error)}"
                break
            if not len(block):
                break
            count += len(block)
            if count > longest:
                raise TooLargeError(f"The audio is longer than {max_hours:g} hours.", hint="Split it.")
            bad = ~np.isfinite(block)
            if bad.any():
                repaired += int(np.count_nonzero(bad))
                block[bad] = 0.0
            mono = np.clip(block, -1.0, 1.0).mean(axis=1, dtype=np.float32)
            yield from framing.feed(resampler.resample_chunk(mono))
        yield from framing.feed(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
        yield from framing.flush()
        if not count:
            raise RequestError(f"The file holds no sound{f' ({damage})' if damage else ''}.", hint=SUPPORTED)
        if not damage and info.duration_s is not None and count < (info.duration_s - 1.0) * info.rate_hz:
            damage = f"after {count / info.rate_hz:.1f} s of {info.duration_s:.1f} s: the file is cut short"
        yield AudioEnd(samples=framing.samples, repaired_samples=repaired, damage=damage)


def _checked(sound: Any, max_hours: float) -> AudioInfo:
    """Raises `RequestError` for a header that makes no sense."""
    rate_hz, channels, frames = int(sound.samplerate), int(sound.channels), int(sound.frames)
    if not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        raise RequestError(
            f"The audio's sample rate is {rate_hz} Hz; {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz are possible.",
            hint="Its header is damaged, or it is no recording.",
        )
    if not 1 <= channels <= MOST_CHANNELS:
        raise RequestError(f"The audio has {channels} channels; 1 to {MOST_CHANNELS} are possible.")
    # Headers of streams hold nonsense for a length that nobody knew: 2**31 frames and more.
    duration_s = frames / rate_hz if 0 < frames <= max_hours * 3600 * rate_hz else None
    return AudioInfo(format=str(sound.format), rate_hz=rate_hz, channels=channels, duration_s=duration_s)


def _said(error: Exception) -> str:
    text = str(getattr(error, "error_string", "") or error).strip().rstrip(".")
    if "SF_INFO" in text:  # libsndfile's own words for a sample rate or a number of channels that cannot be
        return "its header makes no sense (sample rate, channels)"
    return text[:1].lower() + text[1:200]


class _Framing:
    """Samples of any number in, `Frames` messages of at most a second out."""

    def __init__(self, voice: VoiceActivity) -> None:
        self._voice = voice
        self._rest: np.ndarray[Any, Any] | None = None
        self.samples = 0

    def feed(self, samples: np.ndarray[Any, Any]) -> Iterator[Frames]:
        import numpy as np

        self.samples += len(samples)
        data = samples if self._rest is None else np.concatenate([self._rest, samples])
        whole = len(data) - len(data) % FRAME_SAMPLES
        self._rest = data[whole:].copy()
        yield from self._messages(data[:whole])

    def flush(self) -> Iterator[Frames]:
        import numpy as np

        if self._rest is not None and len(self._rest):
            yield from self._messages(np.pad(self._rest, (0, FRAME_SAMPLES - len(self._rest))))
        self._rest = None

    def _messages(self, data: np.ndarray[Any, Any]) -> Iterator[Frames]:
        import numpy as np

        for start in range(0, len(data), MESSAGE_FRAMES * FRAME_SAMPLES):
            part = np.ascontiguousarray(data[start : start + MESSAGE_FRAMES * FRAME_SAMPLES], dtype="<f4")
            frames = part.reshape(-1, FRAME_SAMPLES)
            levels = tuple(np.sqrt(np.mean(np.square(frames, dtype=np.float64), axis=1)).tolist())
            voices = tuple(self._voice(frame.tolist(), level) for frame, level in zip(frames, levels, strict=True))
            yield Frames(samples=part.tobytes(), probabilities=voices, levels=levels)


if __name__ == "__main__":
    sys.exit(main())
