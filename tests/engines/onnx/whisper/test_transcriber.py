"""Requests from audio to segments, with a tiny random model, and with the trained one where it is there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from agent.engines.onnx.session import SessionOptions
from agent.engines.onnx.whisper.model import WhisperModel
from agent.engines.onnx.whisper.transcriber import Transcriber, WindowPolicy
from agent.runtime.wire.transcription import Transcribe, Transcribed
from convert.quality.recordings import read_audio
from tests.convert.whisper.onnx_whisper import convert
from tests.engines.onnx.whisper.made_audio import glide
from tests.engines.onnx.whisper.test_commands import CHECKPOINT, NEEDS_SHARED, RECORDINGS
from tests.engines.onnx.whisper.tiny import CAPACITY

MAX_FRAMES = 3_000
POLICY = WindowPolicy(floor_s=0.2, margin_s=0.1)


@pytest.mark.parametrize(
    ("policy", "samples", "full", "frames"),
    [
        (WindowPolicy(), 1, False, 1_000),  # the floor
        (WindowPolicy(), 8 * 16_000, False, 1_000),
        (WindowPolicy(), 8 * 16_000 + 1, False, 1_002),
        (WindowPolicy(), 20 * 16_000, False, 2_200),
        (WindowPolicy(), 29 * 16_000, False, 3_000),
        (WindowPolicy(), 4 * 16_000, True, 3_000),
        (WindowPolicy(fits=False), 4 * 16_000, False, 3_000),
        (WindowPolicy(floor_s=0, margin_s=0), 160, False, 2),
        (WindowPolicy(floor_s=4, margin_s=1), 16_000, False, 400),
        (WindowPolicy(floor_s=60), 16_000, False, 3_000),
    ],
)
def test_the_window_fits_the_audio(policy: WindowPolicy, samples: int, full: bool, frames: int) -> None:
    assert policy.frames(samples, MAX_FRAMES, full=full) == frames


def transcribe(model: WhisperModel, audio: np.ndarray, policy: WindowPolicy = POLICY, **changes: Any) -> Transcribed:
    """Texts of a random model are poor: every temperature is tried unless one is given."""
    options = {"language": "en", "temperatures": (0.0,), "compression_ratio_limit": 100.0, "logprob_limit": -100.0}
    return Transcriber(model, policy, lambda: None).transcribe(Transcribe(audio=b"", **options | changes), audio)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("timestamps", ["none", "segment", "word"])
@pytest.mark.parametrize("beam_size", [1, 3])
def test_segments_lie_in_the_audio_and_in_order(
    models: dict[str, WhisperModel], precision: str, timestamps: str, beam_size: int
) -> None:
    audio = glide(14_000)
    heard = transcribe(models[precision], audio, timestamps=timestamps, beam_size=beam_size)
    assert heard.audio_s == pytest.approx(14_000 / 16_000)
    assert heard.completion_tokens > 0
    edges = [edge for segment in heard.segments for edge in (segment.start_s, segment.end_s)]
    assert edges == sorted(edges)
    assert all(0 <= edge <= heard.audio_s + 0.005 for edge in edges)
    for segment in heard.segments:
        assert segment.text.strip()
        assert segment.avg_logprob < 0
        assert bool(segment.words) == (timestamps == "word")
        if segment.words:
            assert "".join(word.text for word in segment.words) == segment.text
            times = [edge for word in segment.words for edge in (word.start_s, word.end_s)]
            assert times == sorted(times)
            assert all(0 < word.probability <= 1 for word in segment.words)
    again = transcribe(models[precision], audio, timestamps=timestamps, beam_size=beam_size)
    assert again.segments == heard.segments


def test_poor_texts_are_drawn_again_and_the_same_each_time(models: dict[str, WhisperModel]) -> None:
    changes = {"temperatures": (0.0, 0.5, 1.0), "logprob_limit": 0.0, "no_speech_limit": 1.0}
    heard = transcribe(models["fp32"], glide(12_000), **changes)
    once = transcribe(models["fp32"], glide(12_000))
    assert heard.completion_tokens > once.completion_tokens
    assert transcribe(models["fp32"], glide(12_000), **changes).segments == heard.segments


@pytest.mark.parametrize("limit", [1, 3, None])
def test_no_more_tokens_than_were_asked_for(models: dict[str, WhisperModel], limit: int | None) -> None:
    heard = transcribe(models["fp32"], glide(12_000), max_tokens=limit)
    assert 0 < heard.completion_tokens <= (limit or CAPACITY // 2)


def test_the_language_is_told_unless_it_was_given(models: dict[str, WhisperModel]) -> None:
    heard = transcribe(models["fp32"], glide(12_000), language=None)
    assert heard.language in ("en", "de")
    assert 0.5 <= heard.language_probability <= 1
    assert transcribe(models["fp32"], glide(12_000), language="de").language == "de"


@pytest.mark.parametrize("audio", [np.zeros(8_000), np.random.default_rng(0).normal(0, 0.05, 16_000)])
def test_silence_and_noise_run_nothing(models: dict[str, WhisperModel], audio: np.ndarray) -> None:
    runs: list[None] = []
    transcriber = Transcriber(models["fp32"], POLICY, lambda: runs.append(None))
    heard = transcriber.transcribe(Transcribe(audio=b""), audio.astype(np.float32))
    assert heard.segments == ()
    assert (heard.completion_tokens, runs) == (0, [])


def test_speech_that_is_none_after_all_is_left_out(models: dict[str, WhisperModel]) -> None:
    heard = transcribe(models["fp32"], glide(12_000), no_speech_limit=0.0, logprob_limit=0.0)
    assert heard.segments == ()
    assert heard.completion_tokens > 0


def test_what_raises_between_runs_ends_the_request(models: dict[str, WhisperModel]) -> None:
    runs = 0

    def before_run() -> None:
        nonlocal runs
        runs += 1
        if runs == 4:
            raise InterruptedError

    transcriber = Transcriber(models["fp32"], POLICY, before_run)
    with pytest.raises(InterruptedError):
        transcriber.transcribe(Transcribe(audio=b"", language="en"), glide(12_000))
    assert models["fp32"].decoder.length == 0


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> WhisperModel:
    return WhisperModel(
        convert(CHECKPOINT, tmp_path_factory.mktemp("commands") / "int8", "int8"), SessionOptions(threads=2)
    )


@NEEDS_SHARED
@pytest.mark.parametrize("timestamps", ["none", "segment", "word"])
@pytest.mark.parametrize("window", ["fitted", "full"])
@pytest.mark.parametrize("beam_size", [1, 5])
def test_a_real_command(commands: WhisperModel, timestamps: str, window: str, beam_size: int) -> None:
    audio = read_audio(RECORDINGS / "020-en-us_m1.wav", 30)
    heard = transcribe(commands, audio, WindowPolicy(), timestamps=timestamps, window=window, beam_size=beam_size)
    (segment,) = heard.segments
    assert segment.text.strip() == "Switch off the fan in the living room."
    assert segment.no_speech_prob < 0.1
    if timestamps == "word":
        assert "|".join(word.text.strip() for word in segment.words) == "Switch|off|the|fan|in|the|living|room."


@NEEDS_SHARED
def test_two_commands_with_a_pause_are_both_heard(commands: WhisperModel) -> None:
    """The first segment ends with a pair of timestamps or the second is part of it: nothing is lost."""
    names = ("020-en-us_m1.wav", "005-en-gb-scotland_m5.wav")
    pause = np.zeros(16_000, dtype=np.float32)
    audio = np.concatenate([part for name in names for part in (read_audio(RECORDINGS / name, 30), pause)])
    heard = transcribe(commands, audio, WindowPolicy(), timestamps="segment")
    text = " ".join(segment.text.strip() for segment in heard.segments)
    assert "Switch off the fan" in text
    assert "Switch on the" in text
