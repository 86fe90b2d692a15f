"""What a Whisper artifact lost against another: tiny random models, and the trained one on real recordings."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from agent.engines.onnx.session import SessionOptions
from agent.engines.onnx.whisper.greedy import GreedyOptions
from agent.engines.onnx.whisper.model import WhisperModel
from agent.engines.onnx.whisper.tokenizer import WhisperTokenizer
from agent.errors import ArtifactError, RequestError
from agent.terminal import Progress
from convert.quality.gates import QualityError, check
from convert.quality.recordings import find_recordings, read_audio
from convert.quality.speech import SPEECH_GATES, Transcript, compare, measure_speech, transcribe_all
from tests.convert.whisper.onnx_whisper import convert
from tests.engines.onnx.whisper import test_commands
from tests.engines.onnx.whisper.made_audio import glide
from tests.engines.onnx.whisper.tiny import write_artifact

LENGTHS = {"a.wav": 9_000, "b.flac": 16_000, "c.wav": 4_000}


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("artifacts")
    return {precision: write_artifact(folder, precision) for precision in ("fp32", "int8")}


@pytest.fixture
def recordings(tmp_path: Path, artifacts: dict[str, Path]) -> Path:
    """What was said in them is what the float32 model hears: its error rate is 0."""
    model = WhisperModel(artifacts["fp32"], SessionOptions(threads=1))
    said = {}
    for name, samples in LENGTHS.items():
        soundfile.write(tmp_path / name, glide(samples) * 0.5, 16_000)
        heard = model.transcribe(read_audio(tmp_path / name, 1), GreedyOptions(), model.spec.max_frames)
        said[name] = model.tokenizer.decode(heard.tokens)
    (tmp_path / "transcripts.json").write_text(json.dumps(said))
    return tmp_path


def test_an_artifact_lost_nothing_against_itself(artifacts: dict[str, Path], recordings: Path) -> None:
    measured = measure_speech(artifacts["fp32"], artifacts["fp32"], recordings, threads=1)
    assert measured.pop("words") > 0
    assert measured == {
        "recordings": 3,
        "wer_percent": 0.0,
        "wer_reference_percent": 0.0,
        "wer_increase_points": 0.0,
        "token_agreement": 1.0,
        "identical_transcripts": 1.0,
    }


def test_two_measurements_of_another_precision_are_the_same(artifacts: dict[str, Path], recordings: Path) -> None:
    first, second = (measure_speech(artifacts["fp32"], artifacts["int8"], recordings, threads=1) for _ in range(2))
    assert first == second
    assert first["wer_reference_percent"] == 0.0
    assert first["wer_increase_points"] == first["wer_percent"]
    assert 0 <= first["token_agreement"] <= 1


def test_transcripts_are_compared_by_words_and_by_tokens() -> None:
    said = ["Turn on the light.", "Two words", "fifty percent"]
    reference = [Transcript((1, 2, 3, 4), "turn on the light"), Transcript((5, 6), "two words"), Transcript((7,), "50")]
    candidate = [Transcript((1, 2, 9, 4), "turn on a light"), Transcript((5, 6), "two words"), Transcript((7,), "50")]
    assert compare(said, reference, candidate) == {
        "recordings": 3,
        "words": 8,
        "wer_percent": 37.5,
        "wer_reference_percent": 25.0,
        "wer_increase_points": 12.5,
        "token_agreement": pytest.approx(6 / 7, abs=1e-6),
        "identical_transcripts": pytest.approx(2 / 3, abs=1e-6),
    }


@pytest.mark.parametrize("said", [[""], ["..."]])
def test_recordings_in_which_nothing_is_said_measure_nothing(said: list[str]) -> None:
    with pytest.raises(RequestError, match="no word"):
        compare(said, [Transcript((1,), "a")], [Transcript((1,), "a")])


@pytest.mark.parametrize(
    ("increase", "agreement", "passed"),
    [(0.5, 0.9, True), (-3.0, 1.0, True), (0.51, 1.0, False), (0.0, 0.89, False)],
)
def test_half_a_point_is_what_an_artifact_may_lose(increase: float, agreement: float, passed: bool) -> None:
    measured = {"wer_increase_points": increase, "token_agreement": agreement}
    if passed:
        assert check(measured, SPEECH_GATES, accept=False)["passed"]
    else:
        with pytest.raises(QualityError, match="not good enough"):
            check(measured, SPEECH_GATES, accept=False)


def test_a_recording_longer_than_the_window_is_refused(artifacts: dict[str, Path], recordings: Path) -> None:
    soundfile.write(recordings / "b.flac", glide(16_001), 16_000)
    with pytest.raises(RequestError, match=r"b\.flac is 1\.0 s long, more than the 1 s"):
        measure_speech(artifacts["fp32"], artifacts["int8"], recordings, threads=1)


def test_a_folder_that_is_no_artifact_is_refused(artifacts: dict[str, Path], recordings: Path) -> None:
    with pytest.raises(ArtifactError, match=r"whisper\.json is missing"):
        measure_speech(artifacts["fp32"], recordings, recordings, threads=1)


@pytest.mark.slow
@test_commands.NEEDS_SHARED
def test_the_trained_model_in_int8_loses_less_than_half_a_point(tmp_path: Path) -> None:
    """Against what transformers hears in float32, on all recordings."""
    artifact = convert(test_commands.CHECKPOINT, tmp_path / "int8", "int8")
    found = find_recordings(test_commands.RECORDINGS)
    tokenizer = WhisperTokenizer(artifact, eot=512)
    expected = [
        Transcript(tuple(tokens), tokenizer.decode(tokens).strip())
        for tokens in (test_commands.EXPECTED[recording.path.name]["tokens"] for recording in found)
    ]
    with Progress("transcribing") as progress:
        measured = transcribe_all(artifact, found, threads=2, progress=progress, part=(0, 1))
    compared = compare([recording.text for recording in found], expected, measured)
    assert compared["recordings"] == 60
    assert compared["wer_reference_percent"] == pytest.approx(5.867, abs=1e-3)
    assert check(compared, SPEECH_GATES, accept=False)["passed"]
