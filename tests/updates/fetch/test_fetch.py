"""`Fetch` with its children, as the updater uses it: over HTTP, closed, killed, held back."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from agent.errors import ModelNotFoundError, UpdateError
from agent.runtime.niceness import BEHIND
from agent.updates.fetch.child import Child
from agent.updates.fetch.fetch import Fetch, FetchOptions
from agent.updates.fetch.listing import Listing
from agent.updates.fetch.part import PartialFile, boot_id
from agent.updates.fetch.places import index_path
from agent.updates.fetch.wire import Advanced, Allow, Download
from agent.updates.parts import Allowance, Progress, Resolved, Wanted
from benchmarks.process import children
from tests.convert.publish.published import Repository
from tests.updates.fetch.device import FetchingDevice, contents
from tests.updates.fetch.web import Web

MODEL = np.random.default_rng(3).bytes(3_000_000)
EVERYTHING = Allowance()


def command_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    return ""


@pytest.fixture
def fetch(repository: Repository, device: FetchingDevice, web: Web) -> Fetch:
    repository.publish("1", files={"model.onnx": MODEL})
    return Fetch(
        FetchOptions(url=web.url, root_file=repository.created.root, folder=device.folder, models=device.models)
    )


async def all_of(
    fetch: Fetch, resolved: Resolved, into: Path, allowance: Callable[[], Allowance] = lambda: EVERYTHING
) -> list[Progress]:
    return [progress async for progress in fetch.fetch(resolved, into, allowance=allowance)]


async def test_resolved_then_fetched(fetch: Fetch, device: FetchingDevice) -> None:
    resolved = await fetch.resolve(Wanted(name="toy"))
    assert (resolved.version, resolved.bytes_total, resolved.bytes_missing) == ("1", len(MODEL), len(MODEL))
    progress = await all_of(fetch, resolved, device.into)
    assert progress[-1].bytes_done == progress[-1].bytes_total == len(MODEL)
    assert progress[-1].bytes_fetched >= len(MODEL)
    assert contents(device.into) == {
        "manifest.json": hashlib.sha256(resolved.manifest).hexdigest(),
        "model.onnx": hashlib.sha256(MODEL).hexdigest(),
    }
    assert (await all_of(fetch, resolved, device.into))[-1].bytes_fetched == 0  # once more, as after a kill


async def test_resolved_in_an_earlier_life(fetch: Fetch, device: FetchingDevice) -> None:
    resolved = await fetch.resolve(Wanted(name="toy", version="1"))
    for path in device.folder.rglob("*.chunks"):
        path.unlink()
    later = Fetch(fetch._options)
    assert (await all_of(later, resolved, device.into))[-1].bytes_done == len(MODEL)


async def test_an_error_of_the_child_is_the_same_here(fetch: Fetch, web: Web) -> None:
    with pytest.raises(ModelNotFoundError, match="no other"):
        await fetch.resolve(Wanted(name="other"))
    web.faults["timestamp.json"] = lambda handler, content: handler.give(403, b"")
    with pytest.raises(UpdateError, match="status 403") as caught:
        await fetch.resolve(Wanted(name="toy"))
    assert caught.value.retry


async def test_closed_it_stops_and_keeps_what_it_has(fetch: Fetch, device: FetchingDevice, web: Web) -> None:
    resolved = await fetch.resolve(Wanted(name="toy"))
    web.sent_bytes = 0
    fetching = fetch.fetch(resolved, device.into, allowance=lambda: Allowance(bytes_per_s=1_000_000.0))
    async for progress in fetching:
        if progress.bytes_done > 300_000:
            break
    began = time.monotonic()
    await fetching.aclose()
    assert time.monotonic() - began < 1.0
    progress = (await all_of(fetch, resolved, device.into))[-1]
    assert progress.bytes_done == len(MODEL)
    assert progress.bytes_fetched < len(MODEL) - 300_000 + 128 * 1024


async def test_at_the_end_of_the_budget_it_holds_until_there_is_more(
    fetch: Fetch, device: FetchingDevice, web: Web
) -> None:
    resolved = await fetch.resolve(Wanted(name="toy"))
    budget = 500_000
    seen: list[Progress] = []

    def allowance() -> Allowance:
        return Allowance(bytes_left=budget - (seen[-1].bytes_fetched if seen else 0))

    async def follow() -> None:
        async for progress in fetch.fetch(resolved, device.into, allowance=allowance):
            seen.append(progress)

    following = asyncio.create_task(follow())
    try:
        async with asyncio.timeout(30):
            while web.sent_bytes < 300_000 or not seen:  # noqa: ASYNC110 - another process is waited for
                await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        assert seen[-1].bytes_fetched <= budget + 128 * 1024
        budget = 10 * len(MODEL)
        async with asyncio.timeout(30):
            await following
    finally:
        following.cancel()
    assert seen[-1].bytes_done == len(MODEL)


async def test_whoever_is_served_goes_before_it(fetch: Fetch, device: FetchingDevice) -> None:
    resolved = await fetch.resolve(Wanted(name="toy"))
    fetching = fetch.fetch(resolved, device.into, allowance=lambda: Allowance(bytes_per_s=200_000.0))
    async for _ in fetching:
        (pid,) = started = [pid for pid in children(os.getpid()) if "agent.updates.fetch" in command_of(pid)]
        assert os.getpriority(os.PRIO_PROCESS, pid) == BEHIND, started
        assert os.sched_getscheduler(pid) == os.SCHED_BATCH
        group = Path(f"/proc/{pid}/autogroup")
        if group.exists():  # noqa: ASYNC240 - /proc
            assert group.read_text().endswith(f"nice {BEHIND}\n")  # noqa: ASYNC240
        break
    await fetching.aclose()


async def test_killed_at_any_moment_a_chunk_at_most_is_fetched_again(
    fetch: Fetch, device: FetchingDevice, repository: Repository
) -> None:
    resolved = await fetch.resolve(Wanted(name="toy"))
    (signed,) = await fetch._signed(resolved)
    job = Download(
        repository=device.repository,
        into=str(device.into),
        manifest=resolved.manifest,
        files=(signed,),
        limit_bytes=None,
        bytes_per_s=1_500_000.0,
    )
    device.into.mkdir()
    index = index_path(device.folder, signed.sha256)
    there: set[int] = set()
    for delay_s in (0.05, 0.21, 0.37):
        async with Child(job) as child:
            async for message in child.messages():
                if isinstance(message, Advanced):
                    break
            await asyncio.sleep(delay_s)
            os.kill(child.pid, signal.SIGKILL)
        with Listing(index, size_bytes=signed.bytes, sha256=signed.sha256) as listing:
            part_path = device.into / ".fetch" / f"{signed.sha256}.part"
            data = part_path.read_bytes()
            written = {
                chunk.number
                for chunk in listing
                if hashlib.sha256(data[chunk.offset : chunk.offset + chunk.length]).digest() == chunk.sha256
            }
            with PartialFile(
                device.into / "model.onnx",
                device.into / ".fetch",
                size_bytes=signed.bytes,
                sha256=signed.sha256,
                count=listing.count,
                boot=boot_id(),
            ) as part:
                assert part.believed
                known = {number for number in range(listing.count) if number in part}
        assert known <= written
        assert len(written - known) <= 1
        assert there <= known
        there = known
    assert (await all_of(fetch, resolved, device.into))[-1].bytes_fetched < len(MODEL)
    assert (device.into / "model.onnx").read_bytes() == MODEL


def test_a_child_ends_with_its_daemon(device: FetchingDevice, tmp_path: Path) -> None:
    program = """
import asyncio, sys
from agent.updates.fetch.child import Child
from agent.updates.fetch.wire import Repository, Resolve
async def main():
    where = Repository(url=sys.argv[1], root_file=sys.argv[2], folder=sys.argv[3])
    async with Child(Resolve(repository=where, name="toy", version=None)) as child:
        print(child.pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    with Web(tmp_path) as slow:
        (tmp_path / "metadata").mkdir()
        (tmp_path / "metadata" / "2.root.json").write_bytes(b"{}")
        slow.faults["root"] = lambda handler, content: time.sleep(5)
        root = device.repository.root_file
        daemon = subprocess.Popen(
            [sys.executable, "-c", program, slow.url, root, str(device.folder)], stdout=subprocess.PIPE, text=True
        )
        assert daemon.stdout is not None
        child = int(daemon.stdout.readline())
        while not slow.requests:
            time.sleep(0.02)
        daemon.kill()
        daemon.wait()
        daemon.stdout.close()
        give_up = time.monotonic() + 5
        while _runs(child):
            assert time.monotonic() < give_up
            time.sleep(0.02)


def _runs(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    return False


async def test_a_child_that_dies_is_an_error_that_says_so(device: FetchingDevice) -> None:
    broken = Child(Allow(limit_bytes=None, bytes_per_s=None), [sys.executable, "-c", "raise SystemExit('no luck')"])  # type: ignore[arg-type]
    async with broken as child:
        with pytest.raises(UpdateError, match="ended with status 1: no luck"):
            async for _ in child.messages():
                pass
