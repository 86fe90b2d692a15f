"""The trained model on real recordings: token for token what transformers says (`commands.json`)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from agent.engines.onnx.session import SessionOptions
from agent.engines.onnx.whisper.decode import Hypothesis
from agent.engines.onnx.whisper.greedy import GreedyOptions, decode_greedy
from agent.engines.onnx.whisper.log_mel import WINDOW_FRAMES
from agent.engines.onnx.whisper.model import WhisperModel
from agent.engines.onnx.whisper.segments import Piece
from agent.engines.onnx.whisper.transcriber import WindowPolicy
from agent.engines.onnx.whisper.word_times import Spoken, WordTimer
from convert.quality.recordings import read_audio
from tests.convert.whisper.onnx_whisper import convert

SHARED = Path(__file__).resolve().parents[4] / ".." / "shared"
CHECKPOINT = SHARED / "models" / "whisper-commands-hf"
RECORDINGS = SHARED / "audio" / "commands"
WORDS = SHARED / "audio" / "words"
EXPECTED = json.loads(Path(__file__).with_name("commands.json").read_text())

NEEDS_SHARED = pytest.mark.skipif(
    not CHECKPOINT.is_dir() or not RECORDINGS.is_dir(), reason="needs the checkpoint and the recordings in ../shared"
)


pytestmark = NEEDS_SHARED


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> WhisperModel:
    return WhisperModel(convert(CHECKPOINT, tmp_path_factory.mktemp("commands") / "fp32"), SessionOptions(threads=2))


@pytest.mark.slow
def test_every_recording_is_heard_as_transformers_hears_it(model: WhisperModel) -> None:
    different = {}
    for name, expected in EXPECTED.items():
        cross = model.encode(read_audio(RECORDINGS / name, 30), WINDOW_FRAMES)
        plain = decode_greedy(model.decoder, model.spec, cross, GreedyOptions())
        timed = decode_greedy(model.decoder, model.spec, cross, GreedyOptions(timestamps=True))
        assert plain.language == "en"
        assert plain.complete
        found = {"tokens": list(plain.tokens), "with_timestamps": list(timed.tokens)}
        if found != expected:
            different[name] = found
    assert not different
    assert len(EXPECTED) == 60


def test_silence_is_told_from_speech(model: WhisperModel) -> None:
    silence = model.transcribe(np.zeros(32_000, dtype=np.float32), GreedyOptions(), WINDOW_FRAMES)
    speech = model.transcribe(read_audio(RECORDINGS / "001-slt.wav", 30), GreedyOptions(), WINDOW_FRAMES)
    assert silence.no_speech_probability is not None
    assert silence.no_speech_probability > 0.6  # openai/whisper's threshold
    assert speech.no_speech_probability is not None
    assert speech.no_speech_probability < 0.1
    assert speech.average_logprob > silence.average_logprob


@pytest.mark.skipif(not WORDS.is_dir(), reason="needs the recordings in ../shared/audio/words")
def test_words_are_found_where_they_were_said(model: WhisperModel) -> None:
    """Ten recordings, word by word with gaps of 0.18 s. The model mishears such speech, so the text is given to it:
    what is measured is the alignment alone."""
    timer, policy = WordTimer(model.decoder, model.spec, model.tokenizer), WindowPolicy()
    errors_s: list[float] = []
    for name, facts in json.loads((WORDS / "words.json").read_text()).items():
        audio = read_audio(WORDS / name, 30)
        tokens = tuple(model.tokenizer.encode(facts["text"]))
        heard = Hypothesis(
            tokens=tokens,
            language="en",
            language_probability=None,
            no_speech_probability=None,
            average_logprob=-0.3,
            complete=True,
            logprobs=(-0.3,) * len(tokens),
        )
        cross = model.encode(audio, policy.frames(audio.size, model.spec.max_frames, full=False))
        piece = Piece(0.0, audio.size / 16_000, tokens)
        (found,) = timer.times(Spoken(audio, cross, heard, "transcribe"), [piece])
        assert [word.text.strip() for word in found] == [word["word"] for word in facts["words"]]
        for word, true in zip(found, facts["words"], strict=True):
            errors_s += [abs(word.start_s - true["start"]), abs(word.end_s - true["end"])]
    assert np.median(errors_s) <= 0.080
