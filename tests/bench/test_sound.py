from __future__ import annotations

import array
import io
import wave

from agent.bench.sound import babble, duration_s
from agent.bench.transcribing import multipart


def test_made_up_sound_is_the_same_everywhere_loud_and_with_pauses() -> None:
    wav = babble(3.0, 1)
    assert wav == babble(3.0, 1) != babble(3.0, 2)
    assert duration_s(wav) == 3.0
    with wave.open(io.BytesIO(wav)) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, 16_000)
        samples = array.array("h", file.readframes(file.getnframes()))
    blocks = [max(map(abs, samples[at : at + 800])) for at in range(0, len(samples), 800)]
    assert max(blocks) > 3000
    assert sum(loud == 0 for loud in blocks) >= 3


def test_what_is_no_wav_has_no_length() -> None:
    assert [duration_s(data) for data in (b"", b"OggS" + bytes(100), babble(1.0, 1)[:20])] == [None, None, None]


def test_a_form_has_fields_and_one_file() -> None:
    body, kind = multipart({"model": "m"}, b"\r\n--x", 'a"b.wav')
    boundary = kind.partition("boundary=")[2].encode()
    parts = body.split(b"--" + boundary)
    assert parts[1] == b'\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n'
    assert b'filename="a%22b.wav"' in parts[2]
    assert parts[2].endswith(b"\r\n\r\n\r\n--x\r\n")
    assert parts[3] == b"--\r\n"
