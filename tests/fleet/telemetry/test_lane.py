from __future__ import annotations

from dataclasses import replace

import pytest

from agent.fleet.telemetry import lane as lanes
from agent.fleet.telemetry.lane import Lane, begun


def after_sending(*ends: int, acknowledged: bool = True, confirmed: int = 0) -> Lane:
    lane = begun(confirmed)
    for end in ends:
        lane = lanes.taken(lanes.sending(lane, end), now=0, acknowledged=acknowledged, patience_s=30)
    return lane


def test_without_acknowledgements_the_broker_s_word_confirms() -> None:
    lane = after_sending(5, 9, acknowledged=False)
    assert (lane.confirmed, lane.sent, lane.waiting, lane.overdue_at) == (9, 9, (), None)


@pytest.mark.parametrize(
    ("lane", "newest", "now", "may"),
    [
        (begun(0), 0, 0, False),
        (begun(3), 3, 0, False),
        (begun(3), 4, 0, True),
        (lanes.sending(begun(3), 4), 9, 0, False),
        (after_sending(5), 9, 0, True),
        (after_sending(5, 6), 9, 0, False),  # the window of two is full
        (replace(begun(0), not_before=10), 9, 9, False),
        (replace(begun(0), not_before=10), 9, 10, True),
    ],
)
def test_when_a_message_may_go(lane: Lane, newest: int, now: float, may: bool) -> None:
    assert lanes.may_send(lane, newest, now=now, window=2) == may


@pytest.mark.parametrize(
    ("seq", "confirmed", "waiting"),
    [(0, 2, (5, 9)), (1, 2, (5, 9)), (4, 4, (5, 9)), (5, 5, (9,)), (7, 7, (9,)), (9, 9, ()), (10**9, 9, ())],
)
def test_what_a_consumer_acknowledges(seq: int, confirmed: int, waiting: tuple[int, ...]) -> None:
    lane = lanes.acknowledged(after_sending(5, 9, confirmed=2), seq, now=1, patience_s=30)
    assert (lane.confirmed, lane.waiting) == (confirmed, waiting)
    assert lane.overdue_at == ((31 if seq > 2 else 30) if waiting else None)


def test_a_consumer_that_is_faster_than_the_broker_s_word() -> None:
    lane = lanes.acknowledged(lanes.sending(begun(0), 5), 5, now=0, patience_s=30)
    lane = lanes.taken(lane, now=0, acknowledged=True, patience_s=30)
    assert (lane.confirmed, lane.sent, lane.waiting, lane.flying) == (5, 5, (), 0)


def test_a_silent_consumer_gets_it_again_from_the_first_unacknowledged_on_with_more_patience_each_time() -> None:
    lane, patience_s = after_sending(5, 9), []
    for _ in range(8):
        assert lane.overdue_at is not None
        patience_s.append(lane.overdue_at)
        assert lanes.overdue(lane, now=lane.overdue_at - 0.1) is None
        again = lanes.overdue(lane, now=lane.overdue_at)
        assert again is not None
        assert (again.sent, again.told, again.waiting) == (0, 0, ())
        lane = lanes.taken(lanes.sending(again, 5), now=0, acknowledged=True, patience_s=30)
    assert patience_s == [30, 60, 120, 240, 480, 900, 900, 900]


def test_after_a_lost_link_an_acknowledgement_of_before_still_counts() -> None:
    lane = lanes.lost(after_sending(5, 9))
    assert (lane.sent, lane.waiting) == (0, ())
    lane = lanes.acknowledged(lane, 9, now=0, patience_s=30)
    assert (lane.confirmed, lane.sent, lane.told) == (9, 9, 9)


def test_refusals_are_tried_again_later_each_time() -> None:
    lane, pauses_s = begun(0), []
    for _ in range(8):
        lane = lanes.refused(lanes.sending(lane, 5), now=0, temporary=False)
        pauses_s.append(lane.not_before)
        assert lane.sent == 0
    assert pauses_s == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert lanes.taken(lanes.sending(lane, 5), now=0, acknowledged=False, patience_s=1).failures == 0


def test_a_message_that_is_too_large_is_halved_until_it_passes() -> None:
    lane = lanes.too_large(lanes.sending(begun(0), 5), 10_000)
    assert (lane.limit_bytes, lane.sent) == (5_000, 0)
    assert lanes.too_large(lane, 300).limit_bytes == 256
    assert lanes.taken(lanes.sending(lane, 2), now=0, acknowledged=False, patience_s=1).limit_bytes > 10_000


@pytest.mark.parametrize(
    ("lane", "newest", "wait_s"),
    [
        (begun(0), 0, None),
        (begun(0), 1, 0),
        (replace(begun(0), not_before=7), 1, 2),
        (after_sending(5), 5, 25),
        (lanes.sending(begun(0), 5), 9, None),
    ],
)
def test_when_to_look_again(lane: Lane, newest: int, wait_s: float | None) -> None:
    assert lanes.next_s(lane, newest, now=5, window=2) == wait_s
