"""Audio files over HTTP: word error rate beside transformers' in FP32, latency, and memory over hours of audio.

    edge-convert whisper ../shared/models/whisper-commands-hf --recordings ../shared/audio/commands --out COMMANDS
    python -m benchmarks.speech.file_rows COMMANDS ../shared/audio/commands
    python -m benchmarks.speech.file_rows COMMANDS ../shared/audio/commands --torch-python PYTHON \\
        --checkpoint ../shared/models/whisper-commands-hf

PYTHON has torch and transformers; without it the figure is the one measured before. Prints a table, and one JSON line
last.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import struct
import subprocess
import sys
import threading
import time
import wave
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.daemon import Daemon
from benchmarks.process import children, resident_bytes
from benchmarks.report import Row, run_rows
from benchmarks.speech.whisper_rows import REFERENCE_WER_PERCENT, wer_percent

RATE_HZ = 16_000
GAP_S = 8.0
"""Between recordings in the long file, as hours of recorded talk have: each recording becomes a piece."""
EARLY_S = 600.0
"""Of the file: by then everything that stays has been allocated."""
MOST_GROWTH_MB = 10
SAMPLE_S = 0.5
_MB = 1_000_000
_BOUNDARY = "edge-agent-benchmark"


def ask(port: int, sound: Iterator[bytes], length_bytes: int, **fields: str) -> http.client.HTTPResponse:
    """The response to an upload; its body is not read yet. Raises `RuntimeError` for any status but 200."""
    parts = "".join(
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    )
    start = f'{parts}--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'.encode()
    end = f"\r\n--{_BOUNDARY}--\r\n".encode()

    def body() -> Iterator[bytes]:
        yield start
        yield from sound
        yield end

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=3600)
    headers = {
        "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}",
        "Content-Length": str(len(start) + length_bytes + len(end)),
    }
    connection.request("POST", "/v1/audio/transcriptions", body(), headers)
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(f"{response.status}: {response.read().decode()}")
    return response


def accuracy(daemon: Daemon, recordings: Path, reference: list[tuple[str, str]] | None) -> Iterator[Row]:
    said: dict[str, str] = json.loads((recordings / "transcripts.json").read_text())
    pairs, seconds = [], []
    for name, text in said.items():
        sound = (recordings / name).read_bytes()
        started = time.perf_counter()
        heard = json.loads(ask(daemon.port, iter([sound]), len(sound), language="en").read())["text"]
        seconds.append(time.perf_counter() - started)
        pairs.append((text, heard))
    fp32 = REFERENCE_WER_PERCENT if reference is None else wer_percent(reference)
    found = wer_percent(pairs)
    how = "measured before" if reference is None else "measured now"
    yield Row(
        what=f"WER on {len(said)} commands, files over HTTP",
        bar="<= FP32 transformers + 0.5 points",
        measured=f"{found:.2f}%, FP32 transformers {fp32:.2f}% ({how})",
        passed=found <= fp32 + 0.5,
        numbers={"wer_percent": found, "fp32_transformers_wer_percent": fp32},
    )
    p50, p95 = statistics.median(seconds[1:]), statistics.quantiles(seconds[1:], n=20)[18]
    yield Row(
        what="one command, from upload to text",
        bar="faster than it was spoken",
        measured=f"p50 {1e3 * p50:.0f} ms, p95 {1e3 * p95:.0f} ms",
        passed=p95 <= 2.0,
        numbers={"seconds": seconds},
    )


def long_file(daemon: Daemon, recordings: Path, hours: float) -> Iterator[Row]:
    """All recordings with gaps between them, over and over, streamed up and down."""
    clips = [_samples(path) + bytes(2 * round(GAP_S * RATE_HZ)) for path in sorted(recordings.glob("*.wav"))]
    length_s = 3600 * hours
    length_bytes = 2 * round(length_s * RATE_HZ)
    resident = _Resident(daemon.pid)
    started = time.perf_counter()
    early_mb = late_mb = 0.0
    pieces = 0
    with resident:
        response = ask(daemon.port, _wav(clips, length_bytes), 44 + length_bytes, stream="true", language="en")
        while line := response.readline():
            if b"transcript.text.delta" not in line:
                done = line if b"transcript.text.done" in line else b""
                if done:
                    break
                continue
            pieces += 1
            # Each recording is a piece: so far of the file are as many recordings.
            at_s = sum(len(clips[number % len(clips)]) for number in range(pieces)) / 2 / RATE_HZ
            if at_s <= EARLY_S:
                early_mb = resident.most_mb
            late_mb = resident.most_mb
        seconds = time.perf_counter() - started
        response.read()
    yield Row(
        what=f"{hours:g} hours of audio, daemon and decoder",
        bar=f"<= first {EARLY_S / 60:g} minutes + {MOST_GROWTH_MB} MB",
        measured=f"{late_mb:.0f} MB at most, {early_mb:.0f} MB at first; {pieces} pieces, "
        f"real-time factor {seconds / length_s:.4f}",
        passed=0 < late_mb <= early_mb + MOST_GROWTH_MB,
        numbers={"early_mb": early_mb, "late_mb": late_mb, "pieces": pieces, "seconds": seconds},
    )
    time.sleep(1.0)
    left = [pid for pid in children(daemon.pid) if pid not in resident.before]
    yield Row(what="processes left after it", bar="none but the worker", measured=f"{len(left)}", passed=len(left) <= 1)


class _Resident:
    """Watches the daemon and its youngest children but the workers: the most that all of them held at once."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self.before = set(children(pid))
        self.most_mb = 0.0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(SAMPLE_S):
            total = resident_bytes(self._pid)
            for child in children(self._pid):
                try:
                    if b"agent.speech.decoding" in Path(f"/proc/{child}/cmdline").read_bytes():
                        total += resident_bytes(child)
                except FileNotFoundError:
                    continue
            self.most_mb = max(self.most_mb, total / _MB)


def _samples(path: Path) -> bytes:
    with wave.open(str(path)) as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (RATE_HZ, 1, 2):
            raise RuntimeError(f"{path} is not 16-bit mono at 16 kHz")
        samples: bytes = file.readframes(file.getnframes())
        return samples


def _wav(clips: list[bytes], length_bytes: int) -> Iterator[bytes]:
    form = struct.pack("<IHHIIHH", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
    sizes = struct.pack("<I", 36 + length_bytes), struct.pack("<I", length_bytes)
    yield b"RIFF" + sizes[0] + b"WAVEfmt " + form + b"data" + sizes[1]
    while length_bytes:
        for clip in clips:
            yield clip[:length_bytes]
            length_bytes -= min(length_bytes, len(clip))


def _transformers(python: str, checkpoint: Path, recordings: Path) -> list[tuple[str, str]]:
    """What was said and what it heard."""
    program = Path(__file__).with_name("torch_peer.py")
    done = subprocess.run(
        [python, str(program), str(checkpoint), str(recordings)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{program.name}: {done.stderr[-2000:]}")
    heard = json.loads(done.stdout)
    said = json.loads((recordings / "transcripts.json").read_text())
    return [(said[name], heard[name]) for name in said]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifact", type=Path, help="a folder that edge-convert made")
    parser.add_argument("recordings", type=Path, help="16 kHz mono WAVs and transcripts.json")
    parser.add_argument("--hours", type=float, default=3.0, help="length of the long file; 0 leaves it out")
    parser.add_argument("--torch-python", help="a Python with torch and transformers")
    parser.add_argument("--checkpoint", type=Path, help="what the artifact was made of, for --torch-python")
    options = parser.parse_args()
    reference = None
    if options.torch_python is not None:
        if options.checkpoint is None:
            parser.error("--torch-python needs --checkpoint")
        reference = _transformers(options.torch_python, options.checkpoint, options.recordings)
    daemon = Daemon()
    daemon.import_model(options.artifact, json.loads((options.artifact / "manifest.json").read_text())["name"])
    with daemon:
        groups = {"accuracy": partial(accuracy, daemon, options.recordings, reference)}
        if options.hours:
            groups["long file"] = partial(long_file, daemon, options.recordings, options.hours)
        return 0 if run_rows(groups, {"artifact": str(options.artifact), "hours": options.hours}) else 1


if __name__ == "__main__":
    sys.exit(main())
