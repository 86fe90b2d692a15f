"""Whether a request can be done at all: checked before it waits for its turn."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import numpy.typing as npt

from agent.engines.onnx.whisper.artifact import WhisperSpec
from agent.engines.onnx.whisper.log_mel import FRAMES_PER_SECOND
from agent.engines.onnx.whisper.mel_filters import SAMPLE_RATE_HZ
from agent.engines.onnx.whisper.prompt import check_request
from agent.engines.onnx.whisper.steps import StepDecoder
from agent.engines.onnx.whisper.word_times import check_aligns
from agent.errors import RequestError
from agent.runtime.wire.transcription import Transcribe

MOST_SEQUENCES: Final = 5
"""Decoded side by side, as beams or as draws of which the best is kept: openai/whisper's default for both. The memory
prediction counts on it."""
MOST_TEMPERATURES: Final = 10
HIGHEST_TEMPERATURE: Final = 2.0
LOUDEST: Final = 8.0
"""Filters overshoot full scale by a little; samples that are much larger are integers which someone forgot to scale."""


def checked_audio(data: bytes, max_frames: int) -> npt.NDArray[np.float32]:
    """float32 [samples], little-endian in `data`. Raises `RequestError` (param audio) for anything else."""
    limit_s = max_frames / FRAMES_PER_SECOND
    if len(data) % 4:
        raise _bad(f"The audio has {len(data)} bytes, which are not float32 samples of 4.")
    if not data:
        raise _bad("The audio is empty.")
    if len(data) // 4 > limit_s * SAMPLE_RATE_HZ:
        raise _bad(f"The audio is {len(data) / 4 / SAMPLE_RATE_HZ:.1f} s long; the model hears {limit_s:g} s at once.")
    audio = np.frombuffer(data, dtype="<f4").astype(np.float32)
    if not np.isfinite(audio).all():
        raise _bad("The audio has samples that are not finite numbers.")
    if (loudest := float(np.abs(audio).max())) > LOUDEST:
        raise _bad(f"The audio has samples of up to {loudest:g}; full scale is 1.")
    return audio


def check(request: Transcribe, spec: WhisperSpec, decoder: StepDecoder) -> None:
    """Raises `RequestError` naming the parameter that is out of range, or that the model cannot do."""
    timestamps = request.timestamps != "none"
    check_request(spec, language=request.language, task=request.task, timestamps=timestamps)
    if request.timestamps == "word":
        check_aligns(decoder)
    if spec.tokens.sot_prev is None:
        for name, text in (("prompt", request.prompt), ("hotwords", request.hotwords)):
            if text.strip():
                raise RequestError("This model takes no text besides the audio.", hint=f"Leave {name} out.", param=name)
    if not 1 <= request.beam_size <= MOST_SEQUENCES:
        raise RequestError(f"beam_size is {request.beam_size}, not 1 to {MOST_SEQUENCES}.", param="beam_size")
    if request.max_tokens is not None and request.max_tokens < 1:
        raise RequestError(f"max_tokens is {request.max_tokens}, not 1 or more.", param="max_tokens")
    temperatures = request.temperatures
    if not 1 <= len(temperatures) <= MOST_TEMPERATURES:
        raise RequestError(
            f"{len(temperatures)} temperatures are given, not 1 to {MOST_TEMPERATURES}.", param="temperature"
        )
    if not all(math.isfinite(one) and 0 <= one <= HIGHEST_TEMPERATURE for one in temperatures):
        raise RequestError(f"A temperature is not from 0 to {HIGHEST_TEMPERATURE:g}.", param="temperature")


def _bad(message: str) -> RequestError:
    return RequestError(message, hint="Send 16 kHz mono audio as float32 from -1 to 1.", param="audio")
