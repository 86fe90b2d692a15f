from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import QueueFullError
from agent.runtime.queue import RETRY_AFTER_MAX_S, RETRY_AFTER_MIN_S, AdmissionQueue, Entry, Priority

HIGH, NORMAL, LOW = Priority


def queue_of(*entries: Entry[str], capacity: int = 100, aging_s: float = 10) -> AdmissionQueue[str]:
    queue: AdmissionQueue[str] = AdmissionQueue(capacity, aging_s=aging_s)
    for each in entries:
        queue.put(each)
    return queue


def entry(id: int, client: str = "a", priority: Priority = NORMAL, arrived: float = 0, **fields: object) -> Entry[str]:
    return Entry(
        **{"id": id, "model": "m", "client": client, "priority": priority, "arrived": arrived, "item": str(id)} | fields  # type: ignore[arg-type]
    )


def order_of(queue: AdmissionQueue[str], model: str = "m") -> list[int]:
    ids = []
    while (popped := queue.pop(model)) is not None:
        ids.append(popped.id)
    return ids


@pytest.mark.parametrize(
    ("entries", "order"),
    [
        pytest.param([entry(1), entry(2), entry(3)], [1, 2, 3], id="one client: in order of arrival"),
        pytest.param(
            [entry(1), entry(2), entry(3), entry(4, "b"), entry(5, "c"), entry(6, "b")],
            [1, 4, 5, 2, 6, 3],
            id="clients take turns",
        ),
        pytest.param([entry(1, priority=LOW), entry(2), entry(3, priority=HIGH)], [3, 2, 1], id="priority first"),
        pytest.param(
            [entry(1, priority=LOW, arrived=0), entry(2, priority=HIGH, arrived=19)], [2, 1], id="not aged enough"
        ),
        pytest.param([entry(1, priority=LOW, arrived=0), entry(2, priority=HIGH, arrived=21)], [1, 2], id="aged"),
        pytest.param([entry(1, priority=LOW), entry(2, arrived=10)], [2, 1], id="a draw goes to the priority"),
        pytest.param([entry(1, cost=9), entry(2)], [1, 2], id="cost does not matter where there is room"),
    ],
)
def test_order(entries: list[Entry[str]], order: list[int]) -> None:
    assert order_of(queue_of(*entries)) == order


def test_while_it_holds_only_high_entries_go_and_the_others_keep_their_places() -> None:
    queue = queue_of(entry(1), entry(2, priority=LOW), entry(3, "b"), entry(4, priority=HIGH))
    queue.holding = True
    assert (queue.due("m"), queue.due("other")) == (1, 0)
    assert order_of(queue) == [4]
    assert (queue.due("m"), queue.waiting("m")) == (0, 3)
    queue.holding = False
    assert order_of(queue) == [1, 3, 2]


def test_models_do_not_mix() -> None:
    queue = queue_of(entry(1, model="x"), entry(2, model="y"), entry(3, model="x"))
    assert order_of(queue, "x") == [1, 3]
    assert queue.waiting("y") == 1
    assert queue.pop("nobody's") is None


def test_a_client_that_was_served_goes_behind_the_others() -> None:
    queue = queue_of(entry(1), entry(2), entry(3, "b"))
    assert queue.pop("m") == entry(1)
    queue.put(entry(4, "c"))
    assert order_of(queue) == [3, 2, 4]


def test_a_costly_request_waits_for_room_and_is_not_overtaken() -> None:
    queue = queue_of(entry(1, cost=3), entry(2, "b"))
    assert queue.pop("m", room=2) is None
    assert queue.pop("m", room=3) == entry(1, cost=3)
    assert queue.pop("m", room=1) == entry(2, "b")


def test_a_full_queue_says_when_to_come_back() -> None:
    queue = queue_of(*[entry(id) for id in range(8)], capacity=8)
    for service_s in (4.0, 6.0):
        queue.served(service_s)
    with pytest.raises(QueueFullError) as refusal:
        queue.put(entry(9), parallel=2)
    assert refusal.value.retry_after_s == pytest.approx(5.0 * 4 / 2)
    assert len(queue) == 8
    queue.pop("m")
    queue.put(entry(9))


@pytest.mark.parametrize(("service_s", "expected"), [(0.001, RETRY_AFTER_MIN_S), (1e6, RETRY_AFTER_MAX_S)])
def test_retry_after_stays_reasonable(service_s: float, expected: float) -> None:
    queue = queue_of()
    queue.served(service_s)
    assert queue.retry_after_s() == expected


def test_expiry_takes_out_what_is_overdue_and_nothing_else() -> None:
    queue = queue_of(entry(1, deadline=5), entry(2, deadline=3), entry(3), entry(4, deadline=9))
    assert queue.next_deadline() == 3
    assert [each.id for each in queue.expire(5)] == [2, 1]
    assert queue.next_deadline() == 9
    assert order_of(queue) == [3, 4]
    assert queue.next_deadline() is None


def test_deadlines_of_entries_that_left_are_forgotten() -> None:
    queue = queue_of()
    for id in range(1000):
        queue.put(entry(id, deadline=1e9 + id))
        queue.remove(id)
    assert len(queue._deadlines) < 200
    assert queue.next_deadline() is None


def test_remove_is_for_waiting_entries_only() -> None:
    queue = queue_of(entry(1), entry(2))
    assert queue.remove(1) == entry(1)
    assert queue.remove(1) is None
    assert order_of(queue) == [2]
    assert queue.remove(2) is None


def test_clear_one_model_or_all() -> None:
    queue = queue_of(entry(1, model="x"), entry(2, model="y"), entry(3, model="x"))
    assert [each.id for each in queue.clear("x")] == [1, 3]
    assert [each.id for each in queue.clear()] == [2]
    assert len(queue) == 0


def test_counts_by_priority() -> None:
    queue = queue_of(entry(1, priority=LOW), entry(2, priority=HIGH), entry(3, priority=LOW, model="other"))
    assert queue.waiting_by_priority() == {HIGH: 1, NORMAL: 0, LOW: 2}


actions = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abc"), st.sampled_from(Priority), st.integers(1, 3)),
        st.tuples(st.just("pop"), st.none() | st.integers(0, 3)),
        st.tuples(st.just("remove"), st.integers(0, 60)),
        st.tuples(st.just("expire")),
    ),
    max_size=60,
)


@settings(max_examples=200, deadline=None)
@given(actions)
def test_nothing_is_lost_or_served_twice_and_capacity_holds(steps: list[tuple[object, ...]]) -> None:
    queue = queue_of(capacity=8)
    waiting: set[int] = set()
    for now, step in enumerate(steps):
        match step:
            case ("put", str(client), Priority() as priority, int(cost)):
                new = entry(now, client, priority, now, cost=cost, deadline=now + 10 * cost)
                if len(waiting) < 8:
                    queue.put(new)
                    waiting.add(now)
                else:
                    with pytest.raises(QueueFullError):
                        queue.put(new)
            case ("pop", room):
                assert room is None or isinstance(room, int)
                popped = queue.pop("m", room=room)
                if popped is not None:
                    assert room is None or popped.cost <= room
                    waiting.remove(popped.id)
                elif room is None:
                    assert not waiting
            case ("remove", int(id)):
                assert (queue.remove(id) is not None) == (id in waiting)
                waiting.discard(id)
            case ("expire",):
                for each in queue.expire(now):
                    assert each.overdue(now)
                    waiting.remove(each.id)
                assert all(not each.overdue(now) for each in queue)
        assert len(queue) == len(waiting) == queue.waiting("m")
        assert {each.id for each in queue} == waiting
    assert set(order_of(queue)) == waiting


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 20), min_size=2))
def test_while_clients_wait_their_shares_differ_by_one_at_most(backlog: dict[str, int]) -> None:
    queue = queue_of(capacity=1000)
    for client, count in backlog.items():
        for index in range(count):
            queue.put(entry(hash((client, index)), client))
    served: Counter[str] = Counter()
    while (popped := queue.pop("m")) is not None:
        served[popped.client] += 1
        behind = [served[client] for client, count in backlog.items() if served[client] < count]
        assert not behind or max(served.values()) <= min(behind) + 1


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5))
def test_low_is_served_however_many_high_ones_keep_coming(flooders: int, per_second: int) -> None:
    queue = queue_of(entry(0, "patient", LOW, arrived=0), capacity=10_000)
    for now in range(1, 200):
        for index in range(per_second + 1):
            queue.put(entry(now * 100 + index, f"flood{index % flooders}", HIGH, arrived=now))
        for _ in range(per_second):
            popped = queue.pop("m")
            assert popped is not None
            if popped.id == 0:
                return
    raise AssertionError("starved")
