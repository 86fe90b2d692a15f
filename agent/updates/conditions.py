"""How things stand for one update: what the policy says of its next step now, and when it is tried again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from agent.updates.parts import Allowance
from agent.updates.policy import Circumstances, Policy, Step, Wait, allowance, decide
from agent.updates.record import Record
from agent.updates.register import Register


class Conditions:
    """`around` is asked how things are, and answers at once; `wall` gives Unix time. A new `policy` counts from the
    next look on."""

    def __init__(
        self,
        register: Register,
        policy: Policy,
        *,
        around: Callable[[], Circumstances],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.policy = policy
        self._register = register
        self._around = around
        self._wall = wall

    def policy_of(self, record: Record) -> Policy:
        return self.policy.under(record.terms)

    def wait(self, step: Step, record: Record) -> Wait | None:
        """What the policy has against `step`."""
        missing_bytes = max(0, record.bytes_missing - record.bytes_fetched)
        return decide(step, self.policy_of(record), self._now, missing_bytes=missing_bytes)

    def allowance(self, record: Record) -> Allowance:
        return allowance(self.policy_of(record), self._now)

    def rest_s(self, record: Record) -> float:
        """Until its next attempt. A clock that was set back does not make it wait for years."""
        if record.retry_at is None:
            return 0.0
        return min(record.retry_at - self._wall(), 2 * self.policy_of(record).retry_cap_s)

    @property
    def today(self) -> str:
        return str(self._around().now.date())

    @property
    def _now(self) -> Circumstances:
        return replace(self._around(), spent_bytes=self._register.spent_bytes)
