from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.runtime.ledger import UNUSED_KEEP_ALIVE_S, Evict, Fits, Ledger, Never, Plan, Wait, format_bytes
from agent.runtime.wire.memory import Memory

GIB = 1024**3


def memory(total_bytes: int, resident_bytes: int = 0) -> Memory:
    return Memory(
        weights_bytes=total_bytes, kv_bytes=0, compute_bytes=0, overhead_bytes=0, resident_bytes=resident_bytes
    )


def ledger_of(*accounts: str) -> Ledger:
    """Accounts such as `a:10`, `b:10 pinned`, `c:10 busy`, least recently used first."""
    ledger = Ledger()
    for now, text in enumerate(accounts):
        account, *flags = text.split()
        name, size = account.split(":")
        ledger.reserve(name, name, memory(int(size)), now=now, pinned="pinned" in flags)
        ledger.charge(name, memory(int(size)), now=now)
        ledger.use(name, busy="busy" in flags, now=now)
    return ledger


def kind_and_keys(plan: Plan) -> tuple[type, tuple[str, ...]]:
    return type(plan), plan.keys if isinstance(plan, Evict | Wait) else ()


@pytest.mark.parametrize(
    ("accounts", "request_bytes", "expected"),
    [
        pytest.param([], 100, (Fits, ()), id="exactly"),
        pytest.param([], 101, (Never, ()), id="larger than the budget"),
        pytest.param(["a:40"], 60, (Fits, ()), id="beside another"),
        pytest.param(["a:40"], 61, (Evict, ("a",)), id="instead of an idle one"),
        pytest.param(["a:30", "b:30", "c:30"], 40, (Evict, ("a",)), id="the least recently used"),
        pytest.param(["a:10", "b:10", "c:10", "d:60"], 60, (Evict, ("d",)), id="one large, not three small"),
        pytest.param(["a:10", "b:30", "c:50"], 40, (Evict, ("b",)), id="the oldest that suffices alone"),
        pytest.param(["a:20", "b:30", "c:40"], 70, (Evict, ("a", "c")), id="two, the older pair that suffices"),
        pytest.param(["a:30", "b:30", "c:40"], 60, (Evict, ("a", "b")), id="two, the oldest pair"),
        pytest.param(["a:50 busy", "b:50"], 50, (Evict, ("b",)), id="never a busy one"),
        pytest.param(["a:50 busy", "b:50"], 60, (Wait, ("a",)), id="busy ones could go later"),
        pytest.param(["a:90 busy"], 20, (Wait, ("a",)), id="wait for a busy one"),
        pytest.param(["a:50 pinned", "b:50"], 60, (Never, ()), id="pinned ones never go"),
        pytest.param(["a:50 pinned", "b:50"], 50, (Evict, ("b",)), id="beside a pinned one"),
        pytest.param(["a:50 pinned busy"], 60, (Never, ()), id="pinned and busy"),
    ],
)
def test_plans(accounts: list[str], request_bytes: int, expected: tuple[type, tuple[str, ...]]) -> None:
    plan = ledger_of(*accounts).plan("new", "new", memory(request_bytes), budget_bytes=100)
    assert kind_and_keys(plan) == expected


def test_a_model_does_not_stand_in_its_own_way() -> None:
    assert ledger_of("a:80").plan("a", "a", memory(90), budget_bytes=100) == Fits()


def test_a_loading_model_counts_as_busy() -> None:
    ledger = Ledger()
    ledger.reserve("a", "a", memory(60), now=0)
    assert kind_and_keys(ledger.plan("b", "b", memory(60), budget_bytes=100)) == (Wait, ("a",))
    ledger.charge("a", memory(60), now=1)
    assert kind_and_keys(ledger.plan("b", "b", memory(60), budget_bytes=100)) == (Evict, ("a",))


def test_measured_memory_replaces_the_prediction_and_only_grows_from_there() -> None:
    ledger = Ledger()
    ledger.reserve("a", "a", memory(60), now=0)
    ledger.charge("a", memory(50, resident_bytes=55), now=1)
    assert ledger.charged_bytes == 55
    ledger.grew("a", 54)
    assert ledger.charged_bytes == 55
    ledger.grew("a", 70)
    assert ledger.charged_bytes == 70
    ledger.release("a")
    assert ledger.charged_bytes == 0
    ledger.grew("a", 1)
    ledger.use("a", busy=True, now=2)
    assert "a" not in ledger


def test_the_arithmetic_names_every_term_and_every_holder() -> None:
    ledger = Ledger()
    ledger.reserve("tiny#1", "tiny", memory(GIB // 2), now=0, pinned=True)
    ledger.charge("tiny#1", memory(GIB // 2), now=0)
    ledger.reserve("chat#2", "chat", memory(2 * GIB), now=0)
    big = Memory(
        weights_bytes=4 * GIB,
        kv_bytes=GIB // 2,
        compute_bytes=300 * 1024**2,
        overhead_bytes=60 * 1024**2,
        prefix_cache_bytes=64 * 1024**2,
    )
    plan = ledger.plan("big#3", "big", big, budget_bytes=3 * GIB)
    assert plan == Never(
        "big needs weights 4.00 GiB + KV cache 512 MiB + compute buffers 300 MiB + overhead 60 MiB + "
        "prefix cache 64 MiB = 4.91 GiB; the budget for all models is 3.00 GiB, "
        "of which 2.50 GiB is held by tiny 512 MiB (pinned), chat 2.00 GiB (busy)."
    )


@pytest.mark.parametrize(
    ("keep_alive_s", "used", "pinned", "idle_s", "outlived"),
    [
        (None, True, False, 1e9, False),
        (10.0, True, False, 9, False),
        (10.0, True, False, 10, True),
        (10.0, True, True, 1e9, False),
        (0.0, True, False, 0, True),
        (0.0, False, False, UNUSED_KEEP_ALIVE_S - 1, False),
        (0.0, False, False, UNUSED_KEEP_ALIVE_S, True),
    ],
)
def test_keep_alive(keep_alive_s: float | None, used: bool, pinned: bool, idle_s: float, outlived: bool) -> None:
    ledger = Ledger()
    ledger.reserve("a", "a", memory(1), now=0, keep_alive_s=keep_alive_s, pinned=pinned)
    assert not ledger.outlived("a", 1e12), "it is still loading"
    ledger.charge("a", memory(1), now=0)
    if used:
        ledger.use("a", busy=True, now=0)
        assert not ledger.outlived("a", 1e12), "it is busy"
        ledger.use("a", busy=False, now=5)
    assert ledger.outlived("a", (5 if used else 0) + idle_s) == outlived


def test_new_terms() -> None:
    ledger = ledger_of("a:10 pinned")
    ledger.terms("a", pinned=False, keep_alive_s=1.0)
    assert ledger.outlived("a", 100)
    assert ledger.plan("b", "b", memory(100), budget_bytes=100) == Evict(("a",))


sizes_and_flags = st.lists(st.tuples(st.integers(1, 20), st.booleans(), st.booleans()), max_size=6)


@settings(max_examples=300, deadline=None)
@given(sizes_and_flags, st.integers(1, 60), st.integers(0, 80))
def test_an_eviction_is_as_small_as_can_be_and_frees_enough(
    accounts: list[tuple[int, bool, bool]], request_bytes: int, budget_bytes: int
) -> None:
    texts = [
        f"{index}:{size}{' pinned' * pinned}{' busy' * busy}" for index, (size, pinned, busy) in enumerate(accounts)
    ]
    size_of = {str(index): size for index, (size, _, _) in enumerate(accounts)}
    idle = [str(index) for index, (_, pinned, busy) in enumerate(accounts) if not pinned and not busy]
    movable = sum(size for size, pinned, _ in accounts if not pinned)
    excess = sum(size_of.values()) + request_bytes - budget_bytes
    plan = ledger_of(*texts).plan("new", "new", memory(request_bytes), budget_bytes=budget_bytes)
    match plan:
        case Fits():
            assert excess <= 0
        case Evict(keys):
            assert set(keys) <= set(idle)
            assert excess > 0
            enough = [
                chosen for chosen in combinations(idle, len(keys)) if sum(size_of[each] for each in chosen) >= excess
            ]
            assert keys == enough[0], "of the smallest sets, the least recently used"
            fewer = combinations(idle, len(keys) - 1)
            assert all(sum(size_of[each] for each in chosen) < excess for chosen in fewer)
        case Wait(keys):
            assert keys
            assert sum(size_of[each] for each in idle) < excess <= movable
        case Never():
            assert movable < excess


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1536, "1.5 KiB"),
        (60 * 1024**2, "60 MiB"),
        (int(1.5 * GIB), "1.50 GiB"),
        (64 * GIB, "64.0 GiB"),
    ],
)
def test_sizes_read_well(size: int, text: str) -> None:
    assert format_bytes(size) == text
