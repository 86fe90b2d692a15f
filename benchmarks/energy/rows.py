"""Joules of requests, against a board whose power is known: a real daemon, real models, a meter read by a command.

    python -m benchmarks.energy.rows COMMANDS ../shared/audio/commands

COMMANDS is a Whisper in ONNX (`edge-convert whisper`). Once the board draws the same at all times, once 2.1 W at rest
and 6.1 W while a worker computes (`benchmarks.energy.power_plant`). Texts are generated alone and several at once, each
with a beginning and an end of its own; then many vectors, and recordings. What each answer says that it cost is held
against its equal share of the power at each moment from its sending to its end; vectors and recordings, which compute
only for a part of that, against the power while the worker computed. And what requests cost, with what was nobody's,
is held against the whole. Nothing else may compute meanwhile: the meter's board has no other programs.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import time
import wave
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from benchmarks.client import Exchange, exchange_all
from benchmarks.daemon import Daemon
from benchmarks.energy.power_plant import PowerLog, PowerPlant, shares
from benchmarks.models import shapes
from benchmarks.report import Row, run_rows

IDLE_WATTS: Final = 2.1
WORK_WATTS: Final = 4.0
CONSTANT_WATTS: Final = 6.0
BAR: Final = 0.02
TEXT: Final = "small"
EMBED: Final = "starter-embed"
TOGETHER: Final = ((0.0, 900), (1.3, 1500), (2.9, 700), (3.1, 1800))
"""When each begins, in seconds, and its tokens."""
ALONE: Final = (600, 1200)
TEXTS: Final = 2000
SOUNDS: Final = ((40.0, 3), (120.0, 1), (3.0, 10))
"""Seconds of each, and how often it is sent. The truth of one short piece is known to a look of the plant at either
end, which can be 2% of it; that of ten together to 0.7%. They come last, when the meter has been read in such work."""
REST_S: Final = 3.0
PATIENCE_S: Final = 30.0
SETTLE_S: Final = 0.01


@dataclass(frozen=True)
class Bill:
    """What one request was told that it cost, and what it did cost."""

    what: str
    told: float | None
    truth: float

    @property
    def error(self) -> float:
        """As a share of the truth; 1 where nothing was told."""
        return 1.0 if self.told is None else self.told / self.truth - 1


def constant(busy: bool) -> float:
    return CONSTANT_WATTS


def stepping(busy: bool) -> float:
    return IDLE_WATTS + (WORK_WATTS if busy else 0.0)


def bills(whisper: Path, recordings: Path, name: str, watts: Callable[[bool], float]) -> Iterator[Row]:
    speech = json.loads((whisper / "manifest.json").read_text())["name"]
    with TemporaryDirectory() as folder, PowerPlant(Path(folder), watts) as plant:
        stays = {"keep_alive_s": -1}
        daemon = Daemon(
            models={TEXT: {**stays, "context_tokens": 16_384, "slots": 4}, EMBED: stays, speech: stays},
            settings={"starter_models": "always", "power_command": plant.command, "governor_mode": "off"},
        )
        daemon.import_model(shapes.ensure("small", "F16", Path(folder)), TEXT)
        daemon.import_model(whisper, speech)
        with daemon:
            plant.pids = [daemon.wait_until_loaded(one)["pid"] for one in (TEXT, EMBED, speech)]
            began_s, before = _after_a_reading(daemon)
            found = [*_texts(daemon, plant.log), *_others(daemon, plant, speech, recordings)]
            ended_s, after = _after_a_reading(daemon)
            truth = plant.log.joules(began_s, ended_s)
    yield from judge(name, found)
    measured = after["total_joules"] - before["total_joules"]
    yield Row(
        what=f"{name}: the whole",
        bar=f"the meter's joules within {BAR:.0%}",
        measured=f"{measured:.2f} J, in truth {truth:.2f} J ({measured / truth - 1:+.2%})",
        passed=abs(measured / truth - 1) <= BAR and after["missing_s"] == before["missing_s"],
        numbers={"measured": measured, "truth": truth},
    )
    charged = after["request_joules"] - before["request_joules"]
    due, told = sum(bill.truth for bill in found), sum(bill.told or 0.0 for bill in found)
    yield Row(
        what=f"{name}: requests and what is nobody's",
        bar=f"charged within {BAR:.0%} of all that is due",
        measured=f"charged {charged:.2f} J, due {due:.2f} J ({charged / due - 1:+.2%}); nobody's"
        f" {measured - charged:.2f} J; answers told of {told:.2f} J",
        passed=abs(charged / due - 1) <= BAR,
        numbers={"charged": charged, "due": due, "told": told},
    )


def judge(name: str, found: Sequence[Bill]) -> Iterator[Row]:
    for bill in found:
        told = "nothing" if bill.told is None else f"{bill.told:.3f} J"
        yield Row(
            what=f"{name}: {bill.what}",
            bar=f"within {BAR:.0%}",
            measured=f"{told}, in truth {bill.truth:.3f} J ({bill.error:+.2%})",
            passed=abs(bill.error) <= BAR,
            numbers={"told": bill.told, "truth": bill.truth},
        )


def _texts(daemon: Daemon, log: PowerLog) -> Iterator[Bill]:
    for tokens in ALONE:
        (done,) = _asked(daemon, [(0.0, tokens)])
        yield Bill(f"{tokens} tokens alone", _told(done), log.joules(done.sent_at, done.closed_at))
    together = _asked(daemon, TOGETHER)
    spans = [(done.sent_at, done.closed_at) for done in together]
    for (_, tokens), done, truth in zip(TOGETHER, together, shares(log, spans), strict=True):
        yield Bill(f"{tokens} tokens of {len(spans)} at once", _told(done), truth)


def _asked(daemon: Daemon, wanted: Sequence[tuple[float, int]]) -> list[Exchange]:
    time.sleep(REST_S)
    same = {"model": TEXT, "prompt": "Once upon a time", "ignore_eos": True, "seed": 1, "cache_prompt": False}
    sent = [Exchange("/v1/completions", {**same, "max_tokens": tokens}, start_at=at) for at, tokens in wanted]
    done = exchange_all(daemon.port, sent, timeout_s=300)
    for one in done:
        if one.status != 200:
            raise RuntimeError(f"{one.status} {one.body[:200]!r} {one.error}")
    return done


def _told(done: Exchange) -> float | None:
    found: float | None = done.json().get("timings", {}).get("joules")
    return found


def _others(daemon: Daemon, plant: PowerPlant, speech: str, recordings: Path) -> Iterator[Bill]:
    texts = [f"The light of room {number} is on, and number {number + 1} is off. " * 4 for number in range(TEXTS)]
    body = json.dumps({"model": EMBED, "input": texts}).encode()
    yield _bill(f"{TEXTS} texts to vectors", daemon, plant, "/v1/embeddings", "application/json", body)
    for seconds, times in SOUNDS:
        kind, form = _form(speech, _sound(recordings, seconds))
        what = f"{seconds:g} s of sound to text" + (f", {times} times" if times > 1 else "")
        yield _bill(what, daemon, plant, "/v1/audio/transcriptions", kind, form, times=times)


def _form(speech: str, sound: bytes) -> tuple[str, bytes]:
    """Its content type, and itself."""
    mark = "benchmark"
    form = b"".join(
        b'--%b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (mark.encode(), name, more, value)
        for name, more, value in ((b"model", b"", speech.encode()), (b"file", b'; filename="sound.wav"', sound))
    )
    return f"multipart/form-data; boundary={mark}", form + f"--{mark}--\r\n".encode()


def _bill(what: str, daemon: Daemon, plant: PowerPlant, path: str, kind: str, body: bytes, *, times: int = 1) -> Bill:
    """Alone, one after the other: what the board drew while the worker computed."""
    time.sleep(REST_S)
    told: list[float | None] = []
    truth = 0.0
    for _ in range(times):
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=300)
        began = time.monotonic()
        connection.request("POST", path, body, {"Content-Type": kind})
        answer: dict[str, Any] = json.loads(connection.getresponse().read())
        time.sleep(SETTLE_S)  # the board follows the worker a look or two later
        ended = time.monotonic()
        connection.close()
        told.append(answer.get("timings", {}).get("joules"))
        truth += plant.joules_of_work(began, ended)
    return together(what, told, truth)


def together(what: str, told: Sequence[float | None], truth: float) -> Bill:
    """One bill for all: nothing was told where one of them was told nothing."""
    known = [joules for joules in told if joules is not None]
    return Bill(what, sum(known) if len(known) == len(told) else None, truth)


def _after_a_reading(daemon: Daemon) -> tuple[float, dict[str, Any]]:
    """The moment at which the daemon has just read its meter, twice at rest, and what it has counted by then."""
    for _ in range(2):
        first = daemon.status()["energy"]
        limit = time.monotonic() + PATIENCE_S
        while (now := daemon.status()["energy"])["total_joules"] == first["total_joules"]:
            if time.monotonic() > limit:
                raise TimeoutError(f"the meter is not read: {now}")
            time.sleep(0.02)
    return time.monotonic(), now


def _sound(recordings: Path, seconds: float) -> bytes:
    """One file of `seconds`, out of all recordings in turn."""
    frames, files = bytearray(), sorted(recordings.glob("*.wav"))
    with wave.open(str(files[0])) as file:
        shape = file.getparams()
    wanted = int(seconds * shape.framerate) * shape.sampwidth * shape.nchannels
    while len(frames) < wanted:
        for one in files:
            with wave.open(str(one)) as file:
                frames += file.readframes(file.getnframes())
    with TemporaryDirectory() as folder:
        path = Path(folder) / "sound.wav"
        with wave.open(str(path), "wb") as file:
            file.setparams(shape)
            file.writeframes(bytes(frames[:wanted]))
        return path.read_bytes()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("whisper", type=Path, help="a folder with a Whisper in ONNX")
    parser.add_argument("recordings", type=Path, help="a folder of recordings")
    chosen = parser.parse_args(arguments)
    powers: dict[str, Callable[[bool], float]] = {"constant": constant, "stepping": stepping}
    groups = {name: partial(bills, chosen.whisper, chosen.recordings, name, power) for name, power in powers.items()}
    return 0 if run_rows(groups, {"idle_watts": IDLE_WATTS, "work_watts": WORK_WATTS}) else 1


if __name__ == "__main__":
    sys.exit(main())
