"""Models that do not fit, or not together. The budget of `runtime_of` is 10,000 bytes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent.errors import DeadlineError, MemoryBudgetError
from agent.runtime.budget import anonymous_bytes
from agent.runtime.service import Runtime
from tests.runtime.scripted import ask, ended, model, runtime_of, state_of, text_of, until

LONG = "tokens=100000 delay_s=0.005"


def states(runtime: Runtime) -> dict[str, str]:
    return {each.name: each.state for each in runtime.snapshot().models}


async def test_a_model_larger_than_the_budget_is_refused_with_the_arithmetic() -> None:
    async with runtime_of(model(path="memory=12000")) as runtime:
        with pytest.raises(MemoryBudgetError) as error:
            await text_of(ask(runtime))
        assert error.value.status == 507
        assert error.value.message == (
            "m needs weights 5.9 KiB + KV cache 5.9 KiB + compute buffers 0 B + overhead 0 B = 12 KiB; "
            "the budget for all models is 9.8 KiB, and no other model holds any of it."
        )
        assert states(runtime) == {"m": "unloaded"}
        with pytest.raises(MemoryBudgetError):
            await runtime.load("m")
        assert runtime.snapshot().ledger.charged_bytes == 0


async def test_the_least_recently_used_idle_model_makes_room() -> None:
    specs = [model(name, "memory=4000") for name in "abc"]
    async with runtime_of(*specs) as runtime:
        for name in "aba":
            await text_of(ask(runtime, "tokens=1", name=name))
        await text_of(ask(runtime, "tokens=1", name="c"))
        assert states(runtime) == {"a": "ready", "b": "unloaded", "c": "ready"}
        assert state_of(runtime, "b").reason == "evicted to make room for c"
        assert runtime.snapshot().counters.evictions == 1
        assert runtime.snapshot().ledger.charged_bytes == 8000


async def test_one_large_model_goes_instead_of_three_small_ones() -> None:
    specs = [model("a", "memory=1000"), model("b", "memory=1000"), model("c", "memory=7000"), model("d", "memory=6000")]
    async with runtime_of(*specs) as runtime:
        for name in "abcd":
            await runtime.load(name)
        assert states(runtime) == {"a": "ready", "b": "ready", "c": "unloaded", "d": "ready"}


async def test_a_pinned_model_stays() -> None:
    async with runtime_of(model("a", "memory=6000", pinned=True, keep_alive_s=0), model("b", "memory=6000")) as runtime:
        await text_of(ask(runtime, "tokens=1", name="a"))
        with pytest.raises(MemoryBudgetError, match=r"held by a 5\.9 KiB \(pinned\)"):
            await text_of(ask(runtime, name="b"))
        await runtime.unload("a")
        assert await text_of(ask(runtime, "tokens=1", name="b")) == "0 "


async def test_a_busy_model_is_waited_for() -> None:
    async with runtime_of(model("a", "memory=6000"), model("b", "memory=6000")) as runtime:
        await runtime.load("a")
        busy = ask(runtime, "tokens=20 delay_s=0.01", name="a")
        other = ask(runtime, "tokens=1", name="b")
        await until(lambda: "waiting for busy models" in state_of(runtime, "b").reason)
        assert await text_of(other) == "0 "
        assert len((await text_of(busy)).split()) == 20
        assert states(runtime) == {"a": "unloaded", "b": "ready"}


async def test_a_deadline_that_passes_meanwhile_tells_why() -> None:
    async with runtime_of(model("a", "memory=6000"), model("b", "memory=6000")) as runtime:
        await runtime.load("a")
        busy = ask(runtime, LONG, name="a")
        with pytest.raises(DeadlineError, match=r"waiting for busy models.*b needs weights .* a 5\.9 KiB \(busy\)"):
            await text_of(ask(runtime, name="b", deadline_s=0.4))
        assert not busy.ended


async def test_busy_models_are_not_waited_for_without_end() -> None:
    async with runtime_of(model("a", "memory=6000"), model("b", "memory=6000"), memory_wait_s=0.3) as runtime:
        await runtime.load("a")
        busy = ask(runtime, LONG, name="a")
        with pytest.raises(MemoryBudgetError, match="did not finish"):
            await text_of(ask(runtime, name="b"))
        assert not busy.ended
        busy.cancel()
        assert await text_of(ask(runtime, "tokens=1", name="a")) == "0 ", "it may start requests again"


async def test_a_model_that_is_never_idle_yields_to_one_that_waits() -> None:
    async with runtime_of(model("a", "memory=6000", slots=1), model("b", "memory=6000")) as runtime:
        await runtime.load("a")
        stopped = False

        async def traffic() -> None:
            while not stopped:
                await text_of(ask(runtime, "tokens=5 delay_s=0.005", name="a"))

        sources = [asyncio.create_task(traffic()) for _ in range(3)]
        try:
            for _ in range(2):
                assert await asyncio.wait_for(text_of(ask(runtime, "tokens=1", name="b")), 20) == "0 "
        finally:
            stopped = True
            await asyncio.wait_for(asyncio.gather(*sources), 20)
        assert runtime.snapshot().counters.failed == 0


async def test_models_that_take_turns_all_get_theirs() -> None:
    specs = [model(name, "memory=6000") for name in "abcd"]
    async with runtime_of(*specs) as runtime:
        streams = [ask(runtime, "tokens=2", name=name) for name in "abcdabcd"]
        answers = await asyncio.wait_for(asyncio.gather(*[text_of(stream) for stream in streams]), 10)
        assert answers == ["0 1 "] * 8
        assert runtime.snapshot().ledger.charged_bytes <= 10_000


async def test_an_evicted_model_that_ignores_shutdown_is_killed_for_it() -> None:
    async with runtime_of(model("a", "memory=6000 deaf=1"), model("b", "memory=6000")) as runtime:
        await runtime.load("a")
        await asyncio.wait_for(runtime.load("b"), 20)
        assert states(runtime) == {"a": "unloaded", "b": "ready"}


async def test_growth_is_charged_and_a_crash_gives_everything_back() -> None:
    async with runtime_of(model(path="memory=3000 resident=4000")) as runtime:
        await runtime.load("m")
        await until(lambda: runtime.snapshot().ledger.charged_bytes == 4000)
        await ended(text_of(ask(runtime, "signal=SIGKILL")))
        await until(lambda: state_of(runtime).state in ("unloaded", "backoff"))
        assert runtime.snapshot().ledger.charged_bytes == 0
        assert runtime.snapshot().ledger.held_bytes == 0


async def test_a_cap_holds_whatever_the_system_has() -> None:
    async with runtime_of(model(path="memory=3000"), memory_cap_bytes=2000) as runtime:
        with pytest.raises(MemoryBudgetError, match=r"budget for all models is 2\.0 KiB"):
            await runtime.load("m")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_mapped_files_do_not_count_as_held(tmp_path: Path) -> None:
    size = 64 * 1024 * 1024
    file = tmp_path / "weights"
    file.write_bytes(os.urandom(1024) * (size // 1024))
    script = f"""
import mmap, sys
f = open({str(file)!r}, 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
sum(m[i] for i in range(0, len(m), 4096)); print('mapped', flush=True); sys.stdin.readline()
b = bytearray(b'x' * {size}); print('held', flush=True); sys.stdin.readline()
"""
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdout.readline()
        mapped = anonymous_bytes(child.pid)
        child.stdin.write(b"\n")
        child.stdin.flush()
        child.stdout.readline()
        held = anonymous_bytes(child.pid)
        child.kill()
    assert mapped is not None
    assert held is not None
    assert mapped < size / 2
    assert held - mapped >= size
    assert anonymous_bytes(child.pid) is None
