"""What a device's look at a repository of many models takes: memory, time, bytes.

    python -m benchmarks.updates.metadata [--models 50 465 1000]

Each model has 5 versions of 8 files, each file its chunk index, each version its manifest: 86 entries. They are in
signed metadata made by `convert.publish`, and exist only there, but for the one model that the device asks for. The
device is new: nothing is known from an earlier look. Memory is the most that the child of the fetch ever had resident
(VmHWM), its shared libraries included; the first row is the same child after its imports.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

from agent.updates.fetch.child import Child
from agent.updates.fetch.wire import Found, Repository, Resolve
from benchmarks.report import Row, run_rows
from benchmarks.updates.peaks import MEMORY_BAR_BYTES, peak_bytes
from benchmarks.updates.web import web_server
from convert.publish.catalog import entry
from convert.publish.create import create
from convert.publish.models import add_files
from convert.publish.publish import publish
from convert.publish.session import commit, opened

VERSIONS: Final = 5
FILES: Final = ("model.gguf", "config.json", "tokenizer.json", "vocab.txt", "golden.jsonl", "a.bin", "b.bin", "c.bin")
IMPORTS: Final = (
    "import agent.updates.fetch.__main__, agent.updates.fetch.http; agent.updates.fetch.__main__.leave_out_urllib3();"
    "import agent.updates.fetch.resolve"
)
READ_STATUS: Final = "print(open('/proc/self/status').read())"


def files_of(name: str) -> dict[str, Any]:
    """The entries of one model."""
    base = f"models/{name}"
    paths = [f"{base}/latest.json"]
    for version in range(1, VERSIONS + 1):
        paths.append(f"{base}/1.{version}.0/manifest.json")
        for file in FILES:
            paths += [f"{base}/1.{version}.0/{file}", f"{base}/1.{version}.0/{file}.chunks"]
    return {path: entry(path, 123_456, hashlib.sha256(path.encode()).hexdigest()) for path in paths}


def make(folder: Path, models: int) -> int:
    """A repository in `folder/repo`; returns how many entries it has."""
    ring = create(folder / "repo", folder / "keys").ring
    artifact = folder / "artifact"
    artifact.mkdir()
    (artifact / "model.onnx").write_bytes(b"0" * 100_000)
    manifest = {
        "name": "toy", "version": "1", "task": "embed", "format": "onnx", "context": 128, "quantization": "none",
        "files": [{"path": "model.onnx", "bytes": 100_000, "sha256": hashlib.sha256(b"0" * 100_000).hexdigest()}],
        "memory_bytes": {"weights": 1, "per_1k_context": 0, "compute": 0},
    }  # fmt: skip
    (artifact / "manifest.json").write_text(json.dumps(manifest))
    publish(artifact, folder / "repo", ring)
    now, entries = datetime.now(UTC), 89
    with opened(folder / "repo") as session:
        draft = session.draft()
        for number in range(models):
            name = f"assistant-{number:04}"
            files = files_of(name)
            entries += len(files)
            add_files(draft, "targets", name, files, now)
        own = {path: file for path, file in files_of("toy").items() if "/1." in path}
        add_files(draft, "targets", "toy", own, now)
        commit(session.folder, draft, ring, now)
    return entries


async def look(folder: Path, url: str) -> tuple[int, float]:
    """The most memory of the child, and how long it took."""
    device = folder / "device"
    device.mkdir()
    root = folder / "repo" / "metadata" / "1.root.json"
    job = Resolve(repository=Repository(url=url, root_file=str(root), folder=str(device)), name="toy", version=None)
    began, peak = time.monotonic(), 0
    async with Child(job) as child:

        async def watch() -> None:
            nonlocal peak
            while True:
                peak = max(peak, peak_bytes(child.pid))
                await asyncio.sleep(0.005)

        watching = asyncio.create_task(watch())
        async for message in child.messages():
            assert isinstance(message, Found)
            break
        watching.cancel()
    return peak, time.monotonic() - began


def imports() -> Iterator[Row]:
    environment = {"MALLOC_ARENA_MAX": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    said = subprocess.run(
        [sys.executable, "-c", f"{IMPORTS}; {READ_STATUS}"], env=environment, capture_output=True, text=True, check=True
    ).stdout
    peak = next(int(line.split()[1]) * 1024 for line in said.splitlines() if line.startswith("VmHWM"))
    yield Row(what="after the imports", bar="none", measured=f"{peak / 1e6:.1f} MB", passed=True,
              numbers={"bytes": peak})  # fmt: skip


def models(count: int) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        entries = make(folder, count)
        all_bytes = sum(path.stat().st_size for path in (folder / "repo/metadata").glob("*targets*"))
        with web_server(folder / "repo") as url:
            peak, took_s = asyncio.run(look(folder, url))
        read_bytes = sum(path.stat().st_size for path in (folder / "device" / "metadata").glob("*.json"))
        text = f"{peak / 1e6:.1f} MB, {took_s:.2f} s; {read_bytes / 1e3:.0f} kB read of {all_bytes / 1e3:.0f} kB"
        yield Row(what=f"{count} models, {entries:,} entries", bar="<= 40 MB", measured=text,
                  passed=peak <= MEMORY_BAR_BYTES,
                  numbers={"bytes": peak, "entries": entries, "s": took_s})  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, nargs="+", default=[50, 465, 1000])
    given = parser.parse_args()
    groups = {"imports": imports} | {f"{count} models": partial(models, count) for count in given.models}
    return 0 if run_rows(groups, {"benchmark": "update_metadata"}) else 1


if __name__ == "__main__":
    raise SystemExit(main())
