"""Which requests ran when, and what the board did while it was read."""

from __future__ import annotations

import pytest

from agent.hardware.power.seen import State
from agent.hardware.power.timeline import MOST_ENDED, Timeline, Work

ONE, OTHER = ("one",), ("other",)
REST = State(busy=False, running=())
NEITHER = State(busy=None, running=None)


def timeline_of(*works: tuple[tuple[str, ...], float, float | None, float | None]) -> Timeline:
    """Of (payer, came, began, ended); None for what has not happened yet."""
    timeline = Timeline()
    for key, (payer, came_s, begin_s, end_s) in enumerate(works):
        timeline.add(key, Work(payer=payer, weight=1.0, came_s=came_s))
        if begin_s is not None:
            timeline.begin(key, begin_s)
        if end_s is not None:
            timeline.end(key, end_s)
    return timeline


@pytest.mark.parametrize(
    ("timeline", "state"),
    [
        pytest.param(timeline_of(), REST, id="nothing"),
        pytest.param(timeline_of((ONE, 1, 2, 10)), REST, id="over before"),
        pytest.param(timeline_of((ONE, 11, 12, None)), REST, id="came after"),
        pytest.param(timeline_of((ONE, 1, 2, None)), State(busy=True, running=(ONE,)), id="runs throughout"),
        pytest.param(timeline_of((ONE, 1, 2, 11)), State(busy=True, running=(ONE,)), id="until the end"),
        pytest.param(timeline_of((ONE, 1, 10.5, None)), NEITHER, id="begins"),
        pytest.param(timeline_of((ONE, 1, 2, 10.5)), NEITHER, id="ends"),
        pytest.param(timeline_of((ONE, 1, None, None)), NEITHER, id="waits, or has begun and not said so"),
        pytest.param(timeline_of((ONE, 10.5, None, None)), NEITHER, id="comes"),
        pytest.param(timeline_of((ONE, 1, 11, None)), NEITHER, id="begins right after"),
        pytest.param(timeline_of((ONE, 1, None, 10)), REST, id="waited, and was given up before"),
        pytest.param(
            timeline_of((ONE, 1, 2, None), (OTHER, 1, None, None)),
            State(busy=True, running=(ONE,)),
            id="one runs while the other waits for it",
        ),
        pytest.param(
            timeline_of((OTHER, 1, 2, None), (ONE, 1, 2, None)), State(busy=True, running=(ONE, OTHER)), id="both run"
        ),
        pytest.param(
            timeline_of((ONE, 1, 2, None), (OTHER, 1, 10.5, None)),
            State(busy=True, running=None),
            id="one runs, the other begins",
        ),
        pytest.param(timeline_of((ONE, 1, 2, 10.5), (OTHER, 1, 10.5, None)), NEITHER, id="one after the other"),
    ],
)
def test_a_board_that_is_read_from_10_to_11_s(timeline: Timeline, state: State) -> None:
    assert timeline.state(10.0, 11.0) == state


def test_time_is_cut_wherever_a_request_begins_or_ends() -> None:
    timeline = timeline_of((ONE, 0, 2, 5), (OTHER, 1, 4, None), (ONE, 3, None, None), (ONE, 0, 0, 0.5))
    stretches = timeline.stretches(1.0, 8.0)
    assert [(one.begin_s, one.end_s, one.payers) for one in stretches] == [
        (1.0, 2.0, ()),
        (2.0, 4.0, (ONE,)),
        (4.0, 5.0, (ONE, OTHER)),
        (5.0, 8.0, (OTHER,)),
    ]
    works = stretches[2].running
    assert [stretches[2].share(work) for work in works] == [0.5, 0.5]
    assert [stretches[1].share(work) for work in works] == [0.0, 1.0] or works[0].payer == ONE


def test_nothing_ends_before_it_began_or_begins_before_it_came() -> None:
    timeline = timeline_of((ONE, 5, 3, None), (OTHER, 5, None, None))
    assert timeline.running == 1
    ended = [timeline.end(key, 4.0) for key in (0, 1, 2)]
    assert [(work.begin_s, work.end_s) for work in ended if work is not None] == [(5, 5), (5, 5)]
    assert ended[2] is None
    assert timeline.running == 0


def test_a_meter_that_never_answers_costs_no_memory() -> None:
    timeline = timeline_of(*[(ONE, at_s, at_s, at_s + 1) for at_s in range(5 * MOST_ENDED)])
    assert len(list(timeline)) <= MOST_ENDED + 1
    timeline.forget(5 * MOST_ENDED)
    assert not list(timeline)
