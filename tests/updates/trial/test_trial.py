"""Candidates that are good, and all the ways in which they are not: real workers, a real model, faults put into it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.errors import UnavailableError
from agent.hardware.sensors.turns import Turns
from agent.runtime.wire.generation import Generate, Sampling
from agent.updates.parts import Limits
from agent.updates.trial.probation import load_of
from benchmarks.models import shapes
from tests.updates.trial.device import Device, greedy, running, text_of

LIMITS = Limits(
    speed_ratio=0.2,  # two workers on a busy machine: what is expected of a good one must be little
    memory_ratio=1.5,
    load_timeout_s=60,
    trial_timeout_s=120,
    hang_timeout_s=30,
    probation_s=600,
    probation_requests=20,
    probation_crashes=1,
    probation_error_ratio=0.2,
    probation_error_requests=5,
)
TEXT = "Once upon a time"


@pytest.fixture
def device(tmp_path: Path, tiny_model: Path) -> Device:
    made = Device(tmp_path)
    made.add("1", tiny_model)
    return made


@pytest.fixture(scope="session")
def other_model(model_cache: Path) -> Path:
    """Other weights of the same shape: it runs as well, and says something else."""
    return shapes.write("tiny", model_cache / "other.gguf", seed=1)


def limits(**changes: Any) -> Limits:
    return replace(LIMITS, **changes)


async def test_a_good_one_passes_and_serves_without_another_load(device: Device, tiny_model: Path) -> None:
    async with running(device):
        said = await device.answer(tokens=6)
        golden: list[dict[str, Any]] = [
            {"kind": "perplexity", "text": TEXT},
            {"kind": "json", "prompt": TEXT, "schema": {"type": "object"}, "max_tokens": 200},
        ]
        candidate = device.add("2", tiny_model, golden=golden, gates={"most_perplexity": 1e6, "least_json": 0.0})
        asked = device.ask(tokens=300)
        verdict = await device.trial.judge(candidate, device.store.active("m"), LIMITS)
        assert verdict.passed, verdict.reasons
        assert verdict.figures["golden_cases"] == 2
        assert 0.5 < verdict.figures["memory_ratio"] < 1.5
        assert 1 < verdict.figures["perplexity"] < 1e6
        assert device.serving == ("1", "ready")
        loads = device.runtime.snapshot().counters.loads
        await device.switcher.switch("m", "2")
        assert device.serving == ("2", "ready")
        assert device.runtime.snapshot().counters.loads == loads
        assert await device.answer(tokens=6) == said
        assert len(await text_of(asked)) > 0
        assert device.runtime.snapshot().counters.failed == 0


async def test_one_with_other_weights_fails_its_golden_set(device: Device, tiny_model: Path, other_model: Path) -> None:
    async with running(device):
        asked = Generate(prompt=TEXT, max_tokens=6, sampling=Sampling(temperature=0))
        said = await text_of(device.runtime.submit("m", asked, client="test"))
        exact = {"kind": "exact", "prompt": TEXT, "max_tokens": 6, "answers": [said]}
        bad = device.add("2", other_model, golden=[exact])
        verdict = await device.trial.judge(bad, device.store.active("m"), LIMITS)
        assert not verdict.passed
        assert "0 of 1 answers were as expected; 100% are needed. The first that was not: " in verdict.reasons[0]
        assert (device.serving, device.workers) == (("1", "ready"), 1)
        good = device.add("3", tiny_model, golden=[exact])
        assert (await device.trial.judge(good, device.store.active("m"), LIMITS)).figures["exact"] == 1.0


async def test_on_a_device_that_is_never_quiet_probation_compares_the_speeds(
    device: Device, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.updates.trial.trial.QUIET_SHARE", 0.01)
    candidate = device.add("2", tiny_model)
    done = False

    async def chatter(tokens: int) -> None:
        while not done:
            await device.answer(tokens=tokens)

    async with running(device):
        talking = [asyncio.create_task(chatter(tokens)) for tokens in (40, 50, 70, 90)]  # two slots: two wait
        verdict = await device.trial.judge(candidate, device.store.active("m"), LIMITS)
        done = True
        await asyncio.gather(*talking)
    assert verdict.passed, verdict.reasons
    assert any("On probation it is compared with the" in reason for reason in verdict.reasons), verdict.reasons
    load = load_of(verdict.figures)
    assert load is not None
    assert (load.unit, load.least_ratio) == ("tokens", LIMITS.speed_ratio)
    assert load.rate_per_s > 1
    assert "speed_ratio" not in verdict.figures


@pytest.mark.parametrize(
    ("fault", "says", "changes"),
    [
        ("crash", "It cannot be loaded: ", {}),
        ("hang", "did not load within 2 s", {"load_timeout_s": 2}),
        ("mute", "It gave no answer to a first question within 1 s", {"hang_timeout_s": 1}),
        ("die", "It was lost at a first question: ", {}),
        ("liar", "It answers a first question with an error: The engine could not do it.", {}),
        ("slow", "times as many as the version that runs; at least 0.5 times is expected", {"speed_ratio": 0.5}),
        ("fat", "times as much as the version that runs; 1.5 times is allowed", {}),
    ],
)
async def test_one_with_a_fault_fails_and_the_version_that_runs_goes_on(
    device: Device, tiny_model: Path, fault: str, says: str, changes: dict[str, float]
) -> None:
    candidate = device.add("2", tiny_model, fault=fault)
    async with running(device):
        await device.runtime.load("m")
        started = time.monotonic()
        verdict = await device.trial.judge(candidate, device.store.active("m"), limits(**changes))
        assert time.monotonic() - started < 30
        assert not verdict.passed
        assert any(says in reason for reason in verdict.reasons), verdict.reasons
        assert (device.serving, device.workers) == (("1", "ready"), 1)
        assert device.runtime.snapshot().counters.failed == 0


async def test_one_that_got_no_turn_of_the_processors_is_not_to_blame(
    device: Device, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What the kernel counts while others take everything: ready to run all the time, and never run.
    monkeypatch.setattr("agent.runtime.candidate.read_turns", lambda pid: Turns(0.0, 2 * time.monotonic()))
    candidate = device.add("2", tiny_model, fault="mute")
    async with running(device):
        await device.runtime.load("m")
        with pytest.raises(UnavailableError, match="Others left too little time to try m"):
            await device.trial.judge(candidate, device.store.active("m"), limits(hang_timeout_s=1))
        assert device.serving == ("1", "ready")


async def test_one_that_was_slow_because_of_others_is_left_to_probation(
    device: Device, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.runtime.crowding.read_turns", lambda pid: Turns(0.0, 2 * time.monotonic()))
    candidate = device.add("2", tiny_model, fault="slow")
    async with running(device):
        await device.runtime.load("m")
        verdict = await device.trial.judge(candidate, device.store.active("m"), limits(speed_ratio=0.5))
        assert verdict.passed, verdict.reasons
        assert any("others took the processors" in reason for reason in verdict.reasons), verdict.reasons
        assert "speed_ratio" not in verdict.figures


async def test_one_that_was_not_loaded_in_time_because_of_others_is_not_to_blame(
    device: Device, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.runtime.load_watch.read_turns", lambda pid, root: Turns(0.0, 2 * time.monotonic()))
    candidate = device.add("2", tiny_model, fault="hang")
    async with running(device):
        await device.runtime.load("m")
        with pytest.raises(UnavailableError, match="Others left too little time to load m"):
            await device.trial.judge(candidate, device.store.active("m"), limits(load_timeout_s=2))
        assert (device.serving, device.workers) == (("1", "ready"), 1)
        assert device.runtime.snapshot().counters.failed == 0


async def test_a_file_that_is_no_model(device: Device, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.gguf"
    garbage.write_bytes(b"GGUF" + bytes(1000))
    candidate = device.add("2", garbage)
    async with running(device):
        verdict = await device.trial.judge(candidate, None, LIMITS)
        assert not verdict.passed
        assert verdict.reasons[0].startswith("It cannot be loaded: ")


async def test_where_both_do_not_fit_the_one_that_runs_comes_back_from_a_trial_that_failed(
    device: Device, tiny_model: Path
) -> None:
    async with running(device):
        await device.runtime.load("m")
        device.budget_bytes = round(device.runtime.snapshot().ledger.charged_bytes * 1.5)
        candidate = device.add("2", tiny_model, fault="mute")
        judging = asyncio.create_task(device.trial.judge(candidate, device.store.active("m"), limits(hang_timeout_s=1)))
        await until(lambda: device.serving[1] == "unloaded")
        waiting = [device.ask() for _ in range(3)]
        verdict = await judging
        assert not verdict.passed
        assert all([await text_of(stream) for stream in waiting])
        assert device.serving == ("1", "ready")
        assert device.runtime.snapshot().counters.failed == 0


async def test_where_both_do_not_fit_a_good_one_takes_over_what_waits(device: Device, tiny_model: Path) -> None:
    async with running(device):
        await device.runtime.load("m")
        device.budget_bytes = round(device.runtime.snapshot().ledger.charged_bytes * 1.5)
        candidate = device.add("2", tiny_model)
        judging = asyncio.create_task(device.trial.judge(candidate, device.store.active("m"), LIMITS))
        await until(lambda: device.serving[1] == "unloaded")
        waiting = [device.ask() for _ in range(3)]
        assert (await judging).passed
        assert not any(stream.started for stream in waiting)
        await device.switcher.switch("m", "2")
        assert all([await text_of(stream) for stream in waiting])
        assert device.serving == ("2", "ready")
        assert device.runtime.snapshot().counters.failed == 0


async def test_requests_that_cannot_wait_end_a_trial_that_is_in_their_way(device: Device, tiny_model: Path) -> None:
    async with running(device):
        await device.runtime.load("m")
        device.budget_bytes = round(device.runtime.snapshot().ledger.charged_bytes * 1.5)
        candidate = device.add("2", tiny_model, fault="mute")
        judging = asyncio.create_task(device.trial.judge(candidate, device.store.active("m"), LIMITS))
        await until(lambda: device.serving[1] == "unloaded")
        waiting = device.runtime.submit("m", greedy(TEXT, 4), client="test", deadline_s=4.5)
        with pytest.raises(UnavailableError, match="could not wait"):
            await judging
        assert await text_of(waiting)
        assert device.serving == ("1", "ready")


async def test_a_trial_that_is_cancelled_leaves_nothing(device: Device, tiny_model: Path) -> None:
    candidate = device.add("2", tiny_model, fault="mute")
    async with running(device):
        judging = asyncio.create_task(device.trial.judge(candidate, device.store.active("m"), LIMITS))
        await until(lambda: device.workers == 2)
        judging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await judging
        assert (device.serving, device.workers) == (("1", "ready"), 1)


async def test_no_room_for_it_is_not_its_fault(device: Device, tiny_model: Path) -> None:
    candidate = device.add("2", tiny_model)
    async with running(device):
        device.budget_bytes = 1000
        with pytest.raises(UnavailableError, match=r"cannot be tried now: .* needs weights"):
            await device.trial.judge(candidate, None, LIMITS)


async def test_a_golden_set_that_cannot_be_read_fails_before_anything_is_loaded(
    device: Device, tiny_model: Path
) -> None:
    candidate = device.add("2", tiny_model, golden=[{"kind": "cosine"}])
    async with running(device):
        verdict = await device.trial.judge(candidate, device.store.active("m"), LIMITS)
        assert (verdict.passed, device.workers) == (False, 0)
        assert "golden.jsonl, line 1" in verdict.reasons[0]


async def until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
