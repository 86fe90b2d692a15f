from __future__ import annotations

import json

import pytest

from agent.bench.http import Exchange
from agent.bench.openloop import outcome_of
from agent.bench.response import Response


def answered(began_s: float, first_s: float, ended_s: float) -> Exchange:
    response = Response()
    response.status = 200
    response.events = [
        (at, json.dumps({"choices": [{"text": "a", "finish_reason": end}]}).encode())
        for at, end in ((first_s, None), (ended_s, "length"))
    ]
    return Exchange(began_s=began_s, sent_s=began_s, ended_s=ended_s, response=response)


def refused(status: int) -> Exchange:
    response = Response()
    response.status = status
    return Exchange(began_s=3.0, sent_s=3.0, ended_s=3.1, response=response)


def test_latency_is_counted_from_when_a_request_was_due() -> None:
    # The second could only be sent 4 s late: for whoever waits, those 4 s are as long as any other.
    found = outcome_of([1.0, 2.0], [answered(1.0, 1.5, 2.0), answered(6.0, 6.5, 7.0)])
    assert found.first_s == pytest.approx((0.5, 4.5))
    assert found.whole_s == pytest.approx((1.0, 5.0))
    assert found.late_s == pytest.approx(4.0)


def test_what_is_refused_or_fails_is_counted_and_has_no_latency() -> None:
    found = outcome_of([1.0, 2.0, 3.0], [refused(429), refused(500), answered(3.0, 3.5, 4.0)])
    assert (found.refused, found.failed, len(found.first_s)) == (1, 1, 1)
