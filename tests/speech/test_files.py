"""Audio files, good and hostile, through the real decoding process."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from agent.errors import QueueFullError, RequestError, TooLargeError, UnavailableError
from agent.runtime.wire.transcription import Segment, Transcribe, Transcribed, Word
from agent.speech.files import AudioFile, TranscribedPiece, transcribe_pieces
from agent.speech.pcm import BYTES_PER_FLOAT, SAMPLE_RATE_HZ
from tests.speech.sounds import wav

np = pytest.importorskip("numpy")
soundfile = pytest.importorskip("soundfile")
pytest.importorskip("soxr")

LIVE = Path(__file__).resolve().parents[2] / ".." / "shared" / "audio" / "live" / "track.flac"
recorded = pytest.mark.skipif(not LIVE.is_file(), reason="no recordings beside the repository")


def noise(seconds: float, rate_hz: int = 16_000, channels: int = 1) -> Any:
    return (np.random.default_rng(1).standard_normal((round(seconds * rate_hz), channels)) * 0.1).astype("float32")


async def echo(request: Transcribe) -> Transcribed:
    """An engine that says how long the sound was."""
    end_s = len(request.audio) / BYTES_PER_FLOAT / SAMPLE_RATE_HZ
    words = (Word(text=" x", start_s=0.0, end_s=end_s, probability=1.0),)
    return Transcribed(
        id=0,
        language=request.language or "de",
        language_probability=0.9,
        audio_s=end_s,
        segments=(Segment(start_s=0.0, end_s=end_s, text=f" {end_s:.1f}", words=words),),
        completion_tokens=1,
        encode_s=0.0,
        decode_s=0.0,
    )


async def pieces_of(source: Any, **options: Any) -> tuple[AudioFile, list[TranscribedPiece]]:
    async with AudioFile(source, **options) as audio:
        return audio, [piece async for piece in transcribe_pieces(audio, Transcribe(audio=b""), echo)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "The audio file is empty"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(5000), "format not recognised"),
        (b"#!/bin/sh\nexit\n", "format not recognised"),
        (wav(0), "its header makes no sense"),
        (wav(1), "sample rate is 1 Hz; 1000 to 768000 Hz are possible"),
        (wav(2**32 - 1), "its header makes no sense"),
        (wav(16_000, channels=0), "channel count is zero"),
        (wav(8_000, channels=65_535), "too many channels"),
        (wav(16_000, data=b""), "holds no sound"),
        (wav(16_000)[:30], "no audio that can be decoded"),
    ],
)
async def test_what_is_no_audio_is_refused_with_the_reason(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "upload.wav"
    path.write_bytes(content)
    with path.open("rb") as file:
        for source in (path, content, file):
            with pytest.raises(RequestError, match=message):
                await pieces_of(source)


async def test_an_open_file_without_a_name_is_read_as_any_other(tmp_path: Path) -> None:
    path = tmp_path / "gone.wav"
    path.write_bytes(wav(16_000, data=(noise(2.0) * 32767).astype("<i2").tobytes()))
    with path.open("rb") as file:
        path.unlink()
        audio, pieces = await pieces_of(file, all_sound=True)
    assert (audio.info.duration_s, len(pieces)) == (2.0, 1)


@pytest.mark.parametrize("name", ["missing.wav", "."])
async def test_what_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(RequestError, match=r"does not exist|is not a file"):
        await pieces_of(tmp_path / name)


@pytest.mark.parametrize(
    ("rate_hz", "channels", "kind"),
    [
        (384_000, 1, "wav"),
        (16_000, 32, "wav"),
        (44_100, 2, "ogg"),
        (44_100, 2, "mp3"),
        (8_000, 1, "flac"),
        (96_000, 6, "flac"),
    ],
)
async def test_any_rate_and_number_of_channels(tmp_path: Path, rate_hz: int, channels: int, kind: str) -> None:
    path = tmp_path / f"noise.{kind}"
    soundfile.write(path, noise(2.0, rate_hz, channels), rate_hz)
    audio, pieces = await pieces_of(path, all_sound=True)
    assert (audio.info.rate_hz, audio.info.channels, audio.info.format.lower()) == (rate_hz, channels, kind)
    assert audio.end is not None
    assert audio.end.samples == pytest.approx(32_000, abs=1600)
    assert [piece.start_s for piece in pieces] == [0.0]
    assert pieces[0].end_s == pytest.approx(2.0, abs=0.14)


async def test_numbers_that_are_none_become_silence_and_are_counted(tmp_path: Path) -> None:
    sound = noise(2.0)
    sound[100:200] = np.nan
    sound[5000] = np.inf
    soundfile.write(tmp_path / "nan.wav", sound, 16_000, subtype="FLOAT")
    heard = b""
    async with AudioFile(tmp_path / "nan.wav", all_sound=True) as audio:
        async for frames in audio.frames():
            heard += frames.samples
        assert audio.end is not None
        assert audio.end.repaired_samples == 101
    assert np.isfinite(np.frombuffer(heard, "<f4")).all()


@pytest.mark.parametrize("kind", ["mp3", "flac"])
async def test_a_file_that_is_cut_short_gives_what_there_is_and_says_so(tmp_path: Path, kind: str) -> None:
    soundfile.write(tmp_path / f"whole.{kind}", noise(60.0), 16_000)
    whole = (tmp_path / f"whole.{kind}").read_bytes()
    audio, pieces = await pieces_of(whole[: len(whole) // 2], all_sound=True)
    assert audio.end is not None
    assert audio.end.damage
    assert 25.0 < pieces[-1].end_s < 35.0


async def test_pieces_are_never_longer_than_the_encoder_s_window_and_lose_nothing() -> None:
    audio, pieces = await pieces_of(wav(16_000, data=(noise(70.0) * 32767).astype("<i2").tobytes()), all_sound=True)
    assert audio.end is not None
    assert len(pieces) >= 3
    assert all(piece.end_s - piece.start_s <= 30.0 for piece in pieces)
    assert [0.0, *[piece.end_s for piece in pieces[:-1]]] == [piece.start_s for piece in pieces]
    assert pieces[-1].end_s == pytest.approx(70.0, abs=0.04)


async def test_times_are_the_file_s() -> None:
    _, pieces = await pieces_of(wav(16_000, data=(noise(70.0) * 32767).astype("<i2").tobytes()), all_sound=True)
    for piece in pieces:
        (segment,) = piece.transcribed.segments
        assert (segment.start_s, segment.end_s) == pytest.approx((piece.start_s, piece.end_s), abs=0.001)
        assert segment.words[0].start_s == pytest.approx(piece.start_s, abs=0.001)


async def test_audio_that_is_longer_than_allowed_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "long.flac", np.zeros(16_000 * 60, "int16"), 16_000)
    with pytest.raises(TooLargeError, match=r"longer than 0\.01 hours"):
        await pieces_of(tmp_path / "long.flac", max_hours=0.01)


@recorded
@pytest.mark.usefixtures("real_silero")
async def test_silence_and_noise_are_skipped_and_every_command_is_in_a_piece() -> None:
    audio, pieces = await pieces_of(LIVE)
    heard_s = sum(piece.end_s - piece.start_s for piece in pieces)
    assert audio.info.duration_s == pytest.approx(117.3, abs=0.1)
    assert 40.0 < heard_s < 80.0
    for start_s, end_s in [(2.766, 4.121), (60.0, 60.8), (112.096, 114.266)]:
        assert any(piece.start_s <= start_s and end_s <= piece.end_s for piece in pieces)
    assert not any(piece.start_s < 24.0 < piece.end_s for piece in pieces)  # noise from 21.6 to 26 s


async def test_the_first_piece_s_language_holds_for_all_and_a_full_engine_is_asked_again() -> None:
    asked: list[str | None] = []

    async def engine(request: Transcribe) -> Transcribed:
        asked.append(request.language)
        if len(asked) == 1:
            raise QueueFullError("full", retry_after_s=0.01)
        return await echo(request)

    sound = wav(16_000, data=(noise(70.0) * 32767).astype("<i2").tobytes())
    async with AudioFile(sound, all_sound=True) as audio:
        pieces = [piece async for piece in transcribe_pieces(audio, Transcribe(audio=b""), engine)]
    assert asked == [None, None, *["de"] * (len(pieces) - 1)]


@pytest.mark.parametrize("full_at", [(1,), (2, 3)])
async def test_a_full_engine_is_an_error_before_any_work_where_that_is_wanted(full_at: tuple[int, ...]) -> None:
    asked = 0

    async def engine(request: Transcribe) -> Transcribed:
        nonlocal asked
        asked += 1
        if asked in full_at:
            raise QueueFullError("full", retry_after_s=0.01)
        return await echo(request)

    sound = wav(16_000, data=(noise(70.0) * 32767).astype("<i2").tobytes())
    async with AudioFile(sound, all_sound=True) as audio:
        source = transcribe_pieces(audio, Transcribe(audio=b""), engine, max_first_refused_s=0.0)
        try:
            pieces = [piece async for piece in source]
        except QueueFullError:
            assert (asked, full_at) == (1, (1,))
        else:
            assert (asked, full_at) == (len(pieces) + 2, (2, 3))


@pytest.mark.parametrize(
    ("program", "error", "message"),
    [
        ("import time; time.sleep(60)", RequestError, "no progress for 0.5 s"),
        ("import os; os.abort()", RequestError, "breaks the audio decoder"),
        ("print('hello, this is no frame')", UnavailableError, "nonsense"),
    ],
)
async def test_a_decoder_that_hangs_or_crashes_costs_this_file_only(
    program: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        async with AudioFile(b"x", stall_s=0.5, command=(sys.executable, "-c", program)):
            pass


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
async def test_a_long_file_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "long.wav", "w", 8000, 1, subtype="PCM_U8") as file:
        for _ in range(60):
            file.write(noise(60.0, 8000))
    early, late = 0, 0

    async def engine(request: Transcribe) -> Transcribed:
        return await echo(request)

    async with AudioFile(tmp_path / "long.wav", all_sound=True) as audio:
        async for piece in transcribe_pieces(audio, Transcribe(audio=b""), engine):
            resident = sum(map(_resident_bytes, (os.getpid(), audio.decoder_pid)))
            if piece.end_s < 300:
                early = max(early, resident)
            late = max(late, resident)
        assert audio.end is not None
        assert audio.end.samples == pytest.approx(3600 * 16_000, rel=0.001)
    assert late < early + 10 * 2**20


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
async def test_leaving_in_mid_file_ends_the_decoder_and_closes_its_pipes() -> None:
    sound = wav(16_000, data=(noise(300.0) * 32767).astype("<i2").tobytes())
    before = len(list(Path("/proc/self/fd").iterdir()))  # noqa: ASYNC240
    async with AudioFile(sound, all_sound=True) as audio:
        async for _ in audio.frames():
            await asyncio.sleep(0.3)  # by now its pipe is full
            break
        pid = audio.decoder_pid
    await asyncio.sleep(0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before  # noqa: ASYNC240
    assert not Path(f"/proc/{pid}").exists()  # noqa: ASYNC240
