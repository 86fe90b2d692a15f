"""How fast speech becomes text: seconds of work for a second of sound."""

from __future__ import annotations

import secrets
import time
from typing import Final

from agent.bench.completion import check
from agent.bench.http import Exchange
from agent.bench.report import Case, Row
from agent.bench.run import Run
from agent.bench.server import Model
from agent.bench.sound import babble, duration_s
from agent.errors import RequestError, UnavailableError

SOUND_S: Final = 20
QUICK_SOUND_S: Final = 6
LARGEST_BYTES: Final = 512 * 1024 * 1024


async def transcriptions(run: Run, model: Model) -> None:
    """The real-time factor of a file, and its energy. Raises `RequestError` for a file that cannot be read."""
    sound, name = _sound(run)
    fields = {"model": model.name, "response_format": "verbose_json"}
    if run.server.ours and run.options.audio is None:
        fields["vad_filter"] = "false"  # what we make up is no speech, and would be left out
    body, kind = multipart(fields, sound, name)
    lengths: list[float] = []

    async def once() -> float:
        exchange = await run.http.upload("/v1/audio/transcriptions", body, kind)
        check(exchange)
        lengths.append(_length_s(exchange, sound))
        return (exchange.ended_s - exchange.sent_s) / lengths[-1]

    factors = await run.repeat(once, full=8, quick=3)
    case: Case = {"sound": name, "seconds": round(lengths[-1], 1)}
    run.add(Row(measure="transcribe", unit="s/s", values=factors, case=case, higher_is_better=False))
    if run.energy.power.source:
        began_s, heard_s = time.monotonic(), 0.0
        await run.energy.begin()
        while time.monotonic() - began_s < run.times(15, 5):
            await once()
            heard_s += lengths[-1]
        joules = await run.energy.end()
        if joules is not None:
            run.add(
                Row(
                    measure="energy of sound",
                    unit="J/s of sound",
                    values=[joules / heard_s],
                    case=case,
                    higher_is_better=False,
                )
            )
    await run.cool_down()


def multipart(fields: dict[str, str], file: bytes, name: str) -> tuple[bytes, str]:
    """A form with one file (RFC 7578), and its content type."""
    boundary = f"edge-agent-{secrets.token_hex(16)}"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{value}\r\n'
        for key, value in fields.items()
    ]
    quoted = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{quoted}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    head = "".join(parts).encode("utf-8", "replace")
    return head + file + f"\r\n--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


def _sound(run: Run) -> tuple[bytes, str]:
    path = run.options.audio
    if path is None:
        return babble(run.times(SOUND_S, QUICK_SOUND_S), run.options.seed), "made-up.wav"
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise RequestError(f"{path} is larger than {LARGEST_BYTES // 2**20} MiB.")
        return path.read_bytes(), path.name
    except OSError as error:
        raise RequestError(f"{path} cannot be read: {error.strerror}.") from None


def _length_s(exchange: Exchange, sound: bytes) -> float:
    """Seconds of the sound, as the server says or the file does."""
    try:
        said = exchange.json()["duration"]
        length_s = float(said)
    except (ValueError, KeyError, TypeError, RecursionError):
        length_s = duration_s(sound) or 0.0
    if not length_s > 0:
        raise UnavailableError("The server does not say how long the sound was.", hint="Give a WAV file.")
    return length_s
