"""A candidate on trial: loaded in a worker of its own, asked its golden set, measured beside the version that runs.

    trial = Trial(runtime, spec_of)                                  # `parts.Trying`

It gives way to whoever is served: one thread, behind all others in the scheduler, and its speed is measured only in
quiet moments; without one it is compared on probation, with what the running version makes under load, and the verdict
says so. Where both versions do not fit into memory, the one that runs is unloaded in a quiet moment, requests wait, and
it comes back if the candidate fails or if they cannot wait any longer. One that has passed stands by for a moment, so
that `Switcher.switch` takes it as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any, Final, TypeVar

from agent.errors import (
    EdgeAgentError,
    LoadTimeoutError,
    MemoryBudgetError,
    ModelFailedError,
    ModelLoadError,
    ModelNotFoundError,
    QueueFullError,
    StoreError,
    UnavailableError,
    WorkerCrashedError,
)
from agent.runtime.candidate import Candidate
from agent.runtime.load_watch import LoadWatch
from agent.runtime.queue import Priority
from agent.runtime.service import Runtime
from agent.runtime.spec import ModelSpec
from agent.runtime.stream import Stream
from agent.runtime.wire.messages import Request
from agent.store.layout import StoredModel
from agent.updates.parts import Health, Limits, Verdict
from agent.updates.trial.asking import collect, described, score
from agent.updates.trial.comparison import Comparison, compare
from agent.updates.trial.golden import gates_of, read_golden, request_of
from agent.updates.trial.judge import Answers, Measured, judge, speed_limit
from agent.updates.trial.speed import UNITS, WORK_UNITS, Rate, probe_of, rate
from agent.updates.trial.switching import health_of
from agent.updates.trial.trialled import Trialled, UnfitError

STANDBY_S: Final = 30.0
"""How long one that has passed waits to be chosen."""
STANDBY_IN_PLACE_S: Final = 10.0
"""The same while requests wait for the version that was unloaded for it."""
QUIET_SHARE: Final = 0.15
"""Of the time for the whole trial: what each look for quiet moments may take."""
ROUNDS: Final = 3
"""A speed that is too low is measured again, both versions in turn, before it counts."""
TEST_BYTES: Final = 32 * 1024 * 1024
"""What a worker takes for the tests alone: log-probabilities need numpy (16 MB), a chat template jinja2 (7 MB). It
counts only beyond that, so that a small model is not told to be a large one."""
PONG_WAIT_S: Final = 2.0
PATIENCE_LOOK_S: Final = 0.1

T = TypeVar("T")

_log = logging.getLogger("agent.updates")


class Trial:
    """`spec_of` plans how a stored version would run if it were the active one; None where this device cannot."""

    def __init__(
        self,
        runtime: Runtime,
        spec_of: Callable[[StoredModel], ModelSpec | None],
        *,
        standby_s: float = STANDBY_S,
        standby_in_place_s: float = STANDBY_IN_PLACE_S,
    ) -> None:
        self._runtime = runtime
        self._spec_of = spec_of
        self._standby_s = standby_s
        self._standby_in_place_s = standby_in_place_s

    async def judge(self, candidate: StoredModel, running: StoredModel | None, limits: Limits) -> Verdict:
        """See `parts.Trying`. Ends within `limits.trial_timeout_s`, and what it takes to unload what it has loaded."""
        try:
            gates = gates_of(candidate.manifest)
            golden = await asyncio.to_thread(read_golden, candidate.path, candidate.manifest)
        except StoreError as error:
            return Verdict(passed=False, reasons=(error.message,))
        spec = self._spec_of(candidate)
        if spec is None:
            task, form = candidate.manifest.task, candidate.manifest.format
            return Verdict(passed=False, reasons=(f"This device cannot {task} with a model in {form} format.",))
        case = Trialled(candidate, spec, gates, golden, limits, give_up=time.monotonic() + limits.trial_timeout_s)
        if not golden:
            case.notes.append("It brings no golden set: its answers were not looked at.")
        try:
            case.before = self._health(case.name)
            await self._measure_running(case)
            verdict = await self._try(case)
        except UnfitError as failed:
            verdict = Verdict(passed=False, reasons=(str(failed), *case.notes))
        except (MemoryBudgetError, QueueFullError) as error:
            raise UnavailableError(
                f"{candidate.name} {candidate.version} cannot be tried now: {described(error)}."
            ) from error
        outcome = "passed" if verdict.passed else "failed"
        _log.info("%s %s has %s its trial: %s", case.name, candidate.version, outcome, " ".join(verdict.reasons))
        return verdict

    async def _measure_running(self, case: Trialled) -> None:
        """Speed and memory of the version that runs, which is loaded for that if need be; also of one that ships with
        edge-agent, which the store does not know."""
        shown = next((model for model in self._runtime.models() if model.name == case.name), None)
        if shown is None or shown.task != case.spec.task:
            return
        try:
            async with asyncio.timeout(case.left_s / 2):
                await self._runtime.load(case.name)
                case.running = await self._rate_running(case)
        except TimeoutError:
            raise UnavailableError(f"{case.name} was too busy to be compared with.", hint="Try again later.") from None
        except EdgeAgentError as error:
            if isinstance(error, UnavailableError) and not isinstance(error, ModelFailedError):
                raise
            case.notes.append(f"The version that runs cannot be compared with: {described(error)}.")

    async def _rate_running(self, case: Trialled) -> Measured:
        name, task = case.name, case.spec.task
        quiet_s = case.limits.trial_timeout_s * QUIET_SHARE
        found = await rate(
            self._runtime, lambda r: self._ask_running(name, r), probe_of(task), own=name, timeout_s=quiet_s
        )
        shown = next(model for model in self._runtime.models() if model.name == name)
        if shown.loaded is not None:
            case.learn_return(shown.loaded.load_s)
        return Measured(
            memory_bytes=shown.charged_bytes, rate_per_s=None if found is None else found.best, unit=UNITS[task]
        )

    def _learn_load(self, case: Trialled) -> None:
        """How fast the version that runs has served others during the trial."""
        before, now = case.before, self._health(case.name)
        served = Health(
            worked=now.worked - before.worked, units=now.units - before.units, work_s=now.work_s - before.work_s
        )
        if case.running is not None:
            unit = WORK_UNITS[case.spec.task]
            case.running = replace(case.running, load_rate_per_s=served.rate_per_s, load_unit=unit)

    def _health(self, name: str) -> Health:
        try:
            return health_of(self._runtime.health(name))
        except ModelNotFoundError:
            return Health()

    def _ask_running(self, name: str, request: Request) -> Stream:
        return self._runtime.submit(name, request, client="trial", priority=Priority.LOW)

    async def _try(self, case: Trialled) -> Verdict:
        verdict: Verdict | None = None
        try:
            candidate = await self._introduce(case)
            case.began = candidate.moment()
            if candidate.in_place:  # requests wait for its end: let it hurry
                candidate.set_pace(gives_way=False)
            answers = await self._ask_golden(case, candidate)
            measured = await self._measure(case, candidate)
            self._learn_load(case)
            if (lost := candidate.lost()) is not None:
                raise UnavailableError(f"The candidate for {case.name} was taken away: {lost}.")
            verdict = judge(
                measured, answers, running=case.running, gates=case.gates, limits=case.limits, notes=case.notes
            )
        finally:
            if case.introduced is not None:
                await self._let_go(case.introduced, passed=verdict is not None and verdict.passed)
        return verdict

    async def _let_go(self, candidate: Candidate, *, passed: bool) -> None:
        if passed:
            candidate.stand_by(self._standby_in_place_s if candidate.in_place else self._standby_s)
        else:
            await candidate.dismiss("It has not passed its trial.")

    async def _introduce(self, case: Trialled) -> Candidate:
        async def introduce() -> Candidate:
            found = await self._runtime.introduce(case.spec, load_timeout_s=case.limits.load_timeout_s)
            case.introduced = found  # for whoever is cancelled before it hears of it
            return found

        watch = LoadWatch(lambda: self._runtime.worker_pid(case.name))
        try:
            async with watch:
                return await self._patiently(case, introduce())
        except TimeoutError:
            raise UnavailableError(f"There was no room to try {case.name} {case.candidate.version} in time.") from None
        except (ModelLoadError, ModelFailedError) as error:
            if isinstance(error, LoadTimeoutError) and watch.starved():
                raise UnavailableError(f"Others left too little time to load {case.name}.") from None
            raise UnfitError(f"It cannot be loaded: {described(error)}.") from error

    async def _ask_golden(self, case: Trialled, candidate: Candidate) -> Answers:
        answers = Answers()
        first = probe_of(case.spec.task).request
        await self._answer(case, candidate, collect(candidate.submit(first)), "a first question")
        for number, one in enumerate(case.golden, 1):
            try:
                request = await asyncio.to_thread(request_of, one, case.candidate.path)
            except StoreError as error:
                raise UnfitError(error.message) from error
            what = f"case {number} of its golden set"
            score(one, await self._answer(case, candidate, collect(candidate.submit(request)), what), answers)
        return answers

    async def _measure(self, case: Trialled, candidate: Candidate) -> Measured:
        """Its speed, as it would serve, where there is one to compare it with; its memory, after all that."""
        unknown = case.running is not None and case.running.rate_per_s is None
        found = None if unknown else await self._rate_candidate(case, candidate)
        least = speed_limit(case.gates, case.limits)
        for _ in range(ROUNDS - 1):
            running = case.running
            if found is None or running is None or not running.rate_per_s:
                break
            if compare(found.best, None, before_per_s=running.rate_per_s, least_ratio=least) is Comparison.FAST_ENOUGH:
                break
            if not candidate.in_place:  # both were measured at different times: once more, close together
                with contextlib.suppress(WorkerCrashedError, ModelFailedError):
                    case.running = await self._rate_running(case)
            found |= await self._rate_candidate(case, candidate) or found
        await self._next_pong(candidate)
        memory_bytes, load_s = candidate.charged_bytes - TEST_BYTES, None
        if (loaded := candidate.loaded) is not None:
            memory_bytes = max(memory_bytes, loaded.memory.total_bytes, loaded.memory.resident_bytes)
            load_s = loaded.load_s
        return Measured(
            memory_bytes=memory_bytes,
            rate_per_s=None if found is None else found.best,
            most_rate_per_s=None if found is None else found.most,
            unit=UNITS[case.spec.task],
            load_s=load_s,
        )

    async def _rate_candidate(self, case: Trialled, candidate: Candidate) -> Rate | None:
        quiet_s = min(case.limits.trial_timeout_s * QUIET_SHARE, max(0.0, case.left_s))
        candidate.set_pace(gives_way=False)
        try:
            asking = rate(
                self._runtime,
                candidate.submit,
                probe_of(case.spec.task),
                own=None,
                timeout_s=quiet_s,
                worker=lambda: candidate.pid,
            )
            return await self._answer(case, candidate, asking, "a question for its speed", spare_s=quiet_s)
        finally:
            candidate.set_pace(gives_way=not candidate.in_place)

    async def _answer(
        self, case: Trialled, candidate: Candidate, asking: Coroutine[Any, Any, T], what: str, *, spare_s: float = 0.0
    ) -> T:
        """What comes of `asking` the candidate. Raises `UnfitError` for what is its own doing: no answer in time, a
        crash, an answer that is an error; `UnavailableError` for what is not."""
        hang_s = case.limits.hang_timeout_s
        asked = candidate.moment()
        try:
            return await self._patiently(case, asking, timeout_s=hang_s + spare_s)
        except TimeoutError:
            timeout_s = case.limits.trial_timeout_s
            hung = case.left_s > 0
            late = not hung and time.monotonic() - case.began.at < timeout_s / 2
            if late or candidate.starved_since(asked if hung else case.began):
                raise UnavailableError(f"Others left too little time to try {case.name}.") from None
            if hung:
                raise UnfitError(f"It gave no answer to {what} within {hang_s:g} s.") from None
            raise UnfitError(f"It did not get through its tests within {timeout_s:g} s.") from None
        except EdgeAgentError as error:
            if (fault := candidate.fault()) is not None:
                raise UnfitError(f"It was lost at {what}: {described(fault)}.") from error
            if candidate.lost() is not None or isinstance(error, (QueueFullError, UnavailableError)):
                raise UnavailableError(f"The trial of {case.name} was broken off: {described(error)}.") from error
            raise UnfitError(f"It answers {what} with an error: {described(error)}.") from error

    async def _patiently(self, case: Trialled, work: Coroutine[Any, Any, T], *, timeout_s: float | None = None) -> T:
        """The result of `work`. Raises `TimeoutError` after `timeout_s` or when the time for the trial is over, and
        `UnavailableError` when a request for the version that stands aside cannot wait any longer."""
        give_up = case.give_up if timeout_s is None else min(case.give_up, time.monotonic() + timeout_s)
        task = asyncio.ensure_future(work)
        try:
            while not task.done():
                if time.monotonic() >= give_up:
                    raise TimeoutError
                if self._pressed(case):
                    raise UnavailableError(f"Requests for {case.name} could not wait until the end of the trial.")
                await asyncio.wait([task], timeout=min(PATIENCE_LOOK_S, max(0.0, give_up - time.monotonic())))
            return task.result()
        finally:
            task.cancel()
            await asyncio.wait([task])

    def _pressed(self, case: Trialled) -> bool:
        patience_s = self._runtime.patience_s(case.name)
        if patience_s is None or patience_s > case.return_s:
            return False
        return any(model.name == case.name and model.state != "ready" for model in self._runtime.models())

    async def _next_pong(self, candidate: Candidate) -> None:
        """The worker's next word on its memory."""
        before, give_up = candidate.stats, time.monotonic() + PONG_WAIT_S
        while candidate.stats is before and time.monotonic() < give_up and candidate.fault() is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
