"""A folder of recordings: what is read, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from agent.errors import RequestError
from convert.quality.recordings import find_recordings, read_audio, total_bytes

RATE_HZ = 16_000


def tone(seconds: float = 0.5, rate_hz: int = RATE_HZ) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(seconds * rate_hz)) / rate_hz)).astype(np.float32)


def write_folder(folder: Path, transcripts: Any, files: tuple[str, ...] = ()) -> Path:
    for name in files:
        soundfile.write(folder / name, tone(), RATE_HZ)
    (folder / "transcripts.json").write_text(transcripts if isinstance(transcripts, str) else json.dumps(transcripts))
    return folder


def test_what_the_transcripts_list_is_found_in_order(tmp_path: Path) -> None:
    write_folder(tmp_path, {"b.wav": "two", "a.flac": "one"}, ("a.flac", "b.wav", "unlisted.wav"))
    found = find_recordings(tmp_path)
    assert [(one.path.name, one.text) for one in found] == [("a.flac", "one"), ("b.wav", "two")]
    assert total_bytes(found) == sum((tmp_path / name).stat().st_size for name in ("a.flac", "b.wav"))


@pytest.mark.parametrize(
    ("transcripts", "message"),
    [
        ({}, "lists no recordings"),
        ("", "not a JSON object"),
        ("{", "not a JSON object"),
        ([], "not a JSON object"),
        ({"a.wav": 1}, "not a JSON object"),
        ("[" * 100_000, "not a JSON object"),
        ({"gone.wav": "x"}, r"lists gone\.wav, not in"),
        ({f"{index}.wav": "x" for index in range(9)}, r"lists 0\.wav, 1\.wav, 2\.wav and 6 more"),
        ({"../a.wav": "x"}, r"'\.\./a\.wav' has the component"),
        ({"/etc/passwd": "x"}, "is absolute"),
        ({"a\x00.wav": "x"}, "control character"),
    ],
)
def test_transcripts_that_make_no_sense_are_refused(tmp_path: Path, transcripts: Any, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        find_recordings(write_folder(tmp_path, transcripts))


def test_a_folder_without_transcripts_and_no_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"has no transcripts\.json"):
        find_recordings(tmp_path)
    with pytest.raises(RequestError, match="is not a folder"):
        find_recordings(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg"])
def test_audio_is_read_as_mono_floats_at_16_khz(tmp_path: Path, name: str) -> None:
    soundfile.write(tmp_path / name, tone(), RATE_HZ)
    audio = read_audio(tmp_path / name, 30)
    assert audio.dtype == np.float32
    assert audio.shape == (RATE_HZ // 2,)
    # Vorbis is lossy.
    assert np.abs(audio - tone()).mean() < (0.02 if name == "a.ogg" else 1e-4)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000, 96_000])
def test_another_rate_is_resampled(tmp_path: Path, rate_hz: int) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1.0, rate_hz), rate_hz)
    audio = read_audio(tmp_path / "a.wav", 30)
    assert abs(len(audio) - RATE_HZ) <= 1
    middle = slice(2_000, 14_000)
    assert np.abs(audio[middle] - tone(1.0)[middle]).max() < 1e-3


def test_channels_are_averaged(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([tone(), np.zeros_like(tone())], axis=1), RATE_HZ, subtype="FLOAT")
    assert np.abs(read_audio(tmp_path / "a.wav", 30) - tone() / 2).max() < 1e-6


def test_a_recording_of_exactly_the_window_fits_at_any_rate(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(1.0, 44_100), 44_100)
    assert len(read_audio(tmp_path / "a.wav", 1.0)) <= RATE_HZ


@pytest.mark.parametrize(
    ("samples", "rate_hz", "message"),
    [
        (tone(1.1), RATE_HZ, r"1\.1 s long, more than the 1 s"),
        (tone(1.0, 500_000), 500_000, "500000 samples a second"),
        (tone(0.1, 100), 100, "100 samples a second"),
        (np.zeros((100, 33), dtype=np.float32), RATE_HZ, "33 channels"),
        (np.zeros(0, dtype=np.float32), RATE_HZ, "no audio"),
        (np.full(100, np.nan, dtype=np.float32), RATE_HZ, "not finite"),
    ],
)
def test_audio_that_cannot_be_used_is_refused(tmp_path: Path, samples: np.ndarray, rate_hz: int, message: str) -> None:
    soundfile.write(tmp_path / "a.wav", samples, rate_hz, subtype="FLOAT")
    with pytest.raises(RequestError, match=message):
        read_audio(tmp_path / "a.wav", 1)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"\xff\xd8\xff\xe0 a picture", b"fLaC" + bytes(100)])
def test_what_is_not_audio_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(RequestError, match=r"a\.wav cannot be read as audio"):
        read_audio(tmp_path / "a.wav", 30)


def test_compressed_audio_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.flac", np.random.default_rng(0).normal(size=RATE_HZ) * 0.1, RATE_HZ)
    data = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(data[: len(data) // 2])
    with pytest.raises(RequestError, match=r"a\.flac"):
        read_audio(tmp_path / "a.flac", 30)
