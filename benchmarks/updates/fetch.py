"""How fast a model arrives over HTTP and over a broker, what is fetched again after a kill, and the memory it takes.

    python -m benchmarks.updates.fetch [--megabytes 400] [--kills 30] [--folder DIR]

Everything is on this machine, in processes of their own: a web server, mosquitto, `edge-convert serve-blocks`, and the
children that a daemon would start; this process is the daemon. The repository is made by `edge-convert`. The model is
random bytes: nothing of it is found twice. Ceilings are measured first: what one core hashes, what the disk takes.
Memory is the most that a child ever had resident (VmHWM), its shared libraries included.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from agent.chunks.index import MAX_CHUNKS, ChunkIndex
from agent.updates.fetch.child import Child
from agent.updates.fetch.fetch import Fetch, FetchOptions
from agent.updates.fetch.listing import Listing
from agent.updates.fetch.places import index_path
from agent.updates.fetch.wire import Advanced, Compare, Compared, Download, Signed
from agent.updates.parts import Allowance, BlockPipe, Resolved, Wanted
from benchmarks.mqtt.mosquitto import Mosquitto, find_mosquitto, free_port
from benchmarks.report import Row, run_rows
from benchmarks.updates.block_pipe import LinkPipe
from benchmarks.updates.peaks import MEMORY_BAR_BYTES, Peaks
from benchmarks.updates.published import ROOT, Published
from benchmarks.updates.web import web_server

MQTT_BAR: Final = 20e6
LOSS, JITTER_S = 0.05, 0.02


class Bench:
    """`folder` is empty, and on the disk that is to be measured."""

    def __init__(self, folder: Path, size_bytes: int, kills: int) -> None:
        self._folder = folder
        self._published = Published(folder / "publisher", size_bytes)
        self._kills = kills
        self._peaks = Peaks()
        self._count = 0
        self._size_bytes = size_bytes

    def ceilings(self) -> Iterator[Row]:
        self._published.folder.mkdir()
        self._published.make()
        block = os.urandom(1 << 20)
        began = time.monotonic()
        for _ in range(64):
            hashlib.sha256(block).digest()
        hashing = 64 * len(block) / (time.monotonic() - began)
        path, began = self._folder / "written", time.monotonic()
        with path.open("wb") as file:
            for _ in range(64):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        writing = 64 * len(block) / (time.monotonic() - began)
        path.unlink()
        load = os.getloadavg()[0]
        text = (
            f"SHA-256 {hashing / 1e6:.0f} MB/s, disk {writing / 1e6:.0f} MB/s; load {load:.1f}, {os.cpu_count()} cores"
        )
        yield Row(what="ceilings", bar="none", measured=text, passed=True,
                  numbers={"sha256_bytes_per_s": hashing, "disk_bytes_per_s": writing, "load": load})  # fmt: skip

    def http(self) -> Iterator[Row]:
        yield from asyncio.run(self._http())

    async def _http(self) -> list[Row]:
        with web_server(self._published.repo) as url:
            rows = [await self._timed("HTTP", self._fetch(url), None)]
            fetch, folder = self._fetch(url), self._folder / f"device{self._count}"
            old = await fetch.resolve(Wanted(name="toy", version="1"))
            await _bring(fetch, old, folder / "models" / "toy" / "1")
            async with self._peaks.watched("cutting a file"):
                (folder / "updates" / "held.db").unlink()
                resolved = await fetch.resolve(Wanted(name="toy", version="2"))
            fetched = await _bring(fetch, resolved, folder / "staged")
            share = fetched / resolved.bytes_total
            rows.append(
                Row(
                    what="the beginning of the file changed",
                    bar="<= 2% fetched",
                    passed=share <= 0.02,
                    measured=f"{share:.3%}, {fetched / 1e3:.0f} kB",
                    numbers={"bytes": fetched},
                )
            )
            rows.append(await self._killed(url))
            return rows

    async def _killed(self, url: str) -> Row:
        """Killed again and again, each time when something new had come: what each kill lost."""
        fetch, folder = self._fetch(url), self._folder / f"device{self._count}"
        resolved = await fetch.resolve(Wanted(name="toy", version="1"))
        (signed,) = await fetch._signed(resolved)
        into = folder / "staged"
        into.mkdir(parents=True)
        rate = self._size_bytes / (self._kills * 0.8)
        job = Download(repository=fetch._repository, into=str(into), manifest=resolved.manifest, files=(signed,),
                       limit_bytes=None, bytes_per_s=rate)  # fmt: skip
        dice, worst, done = random.Random(7), 0, 0
        for _ in range(self._kills):
            async with Child(job) as child:
                async for message in child.messages():
                    if isinstance(message, Advanced) and message.bytes_done > done:
                        break
                await asyncio.sleep(dice.uniform(0.0, 0.5))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child.pid, signal.SIGKILL)
            lost, done = await asyncio.to_thread(
                _unknown_bytes, index_path(folder / "updates", signed.sha256), signed, into
            )
            worst = max(worst, lost)
        await _bring(fetch, resolved, into)
        right = _sha256(into / "model.onnx") == signed.sha256
        text = (
            f"{worst / 1e3:.0f} kB at most in {self._kills} kills; {done / self._size_bytes:.0%} was there at the last"
        )
        return Row(what="written, not known after kill -9", bar="<= 128 KiB", measured=text,
                   passed=right and worst <= 128 * 1024 and done > 0,
                   numbers={"worst_bytes": worst, "known_bytes": done})  # fmt: skip

    def broker(self) -> Iterator[Row]:
        yield from asyncio.run(self._broker())

    async def _broker(self) -> list[Row]:
        executable = find_mosquitto()
        if executable is None:
            return [Row(what="MQTT", bar="runs", measured="mosquitto is not installed", passed=False)]
        port = free_port()
        lines = ["persistence false", "allow_anonymous true", f"listener {port} 127.0.0.1"]
        broker, url = Mosquitto(executable, self._folder / "broker", [port], lines), f"mqtt://127.0.0.1:{port}"
        broker.start()
        command = [sys.executable, "-m", "convert.cli", "serve-blocks", "--repo", str(self._published.repo)]
        server = subprocess.Popen([*command, "--mqtt-url", url], cwd=ROOT, stdout=subprocess.PIPE)  # noqa: ASYNC220
        try:
            assert server.stdout is not None
            server.stdout.readline()
            async with LinkPipe.connected_to(url) as pipe:
                rows = [await self._timed("MQTT", self._fetch(None, pipe), MQTT_BAR)]
            async with LinkPipe.connected_to(url, loss=LOSS, jitter_s=JITTER_S) as pipe:
                what = f"MQTT, {LOSS:.0%} lost, {JITTER_S * 1e3:.0f} ms reordered"
                row = await self._timed(what, self._fetch(None, pipe), None)
                twice = pipe.received_bytes / self._size_bytes - 1
                text = f"{row.measured}; {pipe.lost_blocks} blocks lost, {twice:.1%} sent again"
                rows.append(Row(what=row.what, bar=row.bar, measured=text, passed=row.passed, numbers=row.numbers))
            return rows
        finally:
            server.kill()
            server.wait()
            broker.kill()

    def memory(self) -> Iterator[Row]:
        asyncio.run(self._largest_index())
        for what, peak in self._peaks.of.items():
            yield Row(what=f"memory: {what}", bar="<= 40 MB", measured=f"{peak / 1e6:.1f} MB",
                      passed=peak <= MEMORY_BAR_BYTES, numbers={"bytes": peak})  # fmt: skip

    async def _largest_index(self) -> None:
        """The largest file that there can be: nothing of it is held here, and nothing of it comes."""
        folder = self._folder / "largest"
        (folder / "indices").mkdir(parents=True)
        draw = random.Random(3)
        index = ChunkIndex("ab" * 32, array("I", [65_536]) * MAX_CHUNKS, draw.randbytes(32 * MAX_CHUNKS))
        index_path(folder, index.sha256).write_bytes(index.encode())
        file = Signed(path="f.onnx", bytes=index.bytes, sha256=index.sha256, target="models/f/1/f.onnx")
        size = f"{index.bytes / 1e9:.0f} GB"
        del index
        (folder / "models").mkdir()
        async with self._peaks.watched(f"comparing a file of {size}"):
            job = Compare(folder=str(folder), models=str(folder / "models"), files=(file,))
            async with Child(job) as child:
                async for message in child.messages():
                    assert isinstance(message, Compared)
                    assert message.bytes_missing == file.bytes
                    break

    def _fetch(self, url: str | None, pipe: BlockPipe | None = None) -> Fetch:
        """As a new device's."""
        self._count += 1
        folder = self._folder / f"device{self._count}"
        (folder / "models").mkdir(parents=True)
        options = FetchOptions(
            url=url, root_file=self._published.root, folder=folder / "updates", models=folder / "models"
        )
        return Fetch(options, pipe)

    async def _timed(self, what: str, fetch: Fetch, bar: float | None) -> Row:
        """All of version 1, from a repository that is known."""
        async with self._peaks.watched(f"{what.split(',')[0]}, metadata"):
            resolved = await fetch.resolve(Wanted(name="toy", version="1"))
        into = self._folder / f"device{self._count}" / "staged"
        began = time.monotonic()
        async with self._peaks.watched(f"{what.split(',')[0]}, chunks"):
            fetched = await _bring(fetch, resolved, into)
        took_s = time.monotonic() - began
        right = _sha256(into / "model.onnx") == resolved.files[0].sha256
        shutil.rmtree(into)
        rate = resolved.bytes_total / took_s
        return Row(
            what=what,
            bar=f">= {bar / 1e6:.0f} MB/s" if bar else "complete and correct",
            measured=f"{rate / 1e6:.1f} MB/s, {took_s:.1f} s, start, hash and sync included",
            passed=right and (bar is None or rate >= bar),
            numbers={"bytes_per_s": rate, "fetched_bytes": fetched},
        )


async def _bring(fetch: Fetch, resolved: Resolved, into: Path) -> int:
    """Bytes that came over the network."""
    fetched = 0
    async for progress in fetch.fetch(resolved, into, allowance=Allowance):
        fetched = progress.bytes_fetched
    return fetched


def _unknown_bytes(index: Path, signed: Signed, into: Path) -> tuple[int, int]:
    """Chunks that are in the partial file, right, and that the next process does not know of; and those it knows."""
    work = into / ".fetch"
    lost = known = 0
    bits = (work / f"{signed.sha256}.bits").read_bytes()[80:]
    with Listing(index, size_bytes=signed.bytes, sha256=signed.sha256) as listing:
        with (work / f"{signed.sha256}.part").open("rb") as part:
            for chunk in listing:
                if bits[chunk.number >> 3] & 1 << (chunk.number & 7):
                    known += chunk.length
                elif hashlib.sha256(os.pread(part.fileno(), chunk.length, chunk.offset)).digest() == chunk.sha256:
                    lost += chunk.length
    return lost, known


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=400)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--folder", type=Path, help="for the files; a temporary one by default")
    given = parser.parse_args()
    facts: dict[str, Any] = {"benchmark": "update_fetch", "megabytes": given.megabytes, "kills": given.kills}
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        bench = Bench(Path(folder), given.megabytes * 1_000_000, given.kills)
        groups = {"ceilings": bench.ceilings, "HTTP": bench.http, "MQTT": bench.broker, "memory": bench.memory}
        return 0 if run_rows(groups, facts) else 1


if __name__ == "__main__":
    raise SystemExit(main())
