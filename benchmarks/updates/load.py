"""What those who are being served feel of a whole update: requests that fail, and the time between two tokens.

    python -m benchmarks.updates.load                       # a generated model of 41 MB; minutes of work
    python -m benchmarks.updates.load --shape qwen2.5-0.5b --quant Q4_K_M --line-mb-s 20 --probation-s 20

A real daemon behind HTTP, clients that stream without a pause, and a web server of a repository that `edge-convert
publish` has made, at the end of a line of 10 MB/s. The update has its default pace: metadata, cutting what is here,
download, hash of the whole, trial with a golden set, switch, probation. Clients without a pause leave the trial no
quiet moment, so the speed of the candidate is not compared: the hardest case for the clients.

What else the machine does moves the gaps by more than an update does. So whatever the daemon has started for the update
(the child that fetches, the worker that is tried) is stopped (SIGSTOP) for every other second, and the gaps of those
seconds are what serving alone takes at that time. The switch cannot be stopped: it is compared with the time before and
after the update.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from agent.updates.states import FINAL, State
from benchmarks.models import shapes
from benchmarks.process import children
from benchmarks.report import Row, run_rows
from benchmarks.updates.clients import CLIENTS, Load
from benchmarks.updates.line import Link
from benchmarks.updates.site import NAME, Device, JournalReader, Publisher, settings

GAP_BAR: Final = 2.0
LEAST_GAPS: Final = 40
TURN_S: Final = 1.0
SETTLE_S: Final = 0.15
"""After each turn: gaps that began before it count for neither side."""
TURNS_S: Final = 90.0
"""So long turns are taken: a trial has its deadline."""
LOOK_S: Final = 0.01
AROUND_SWITCH_S: Final = 2.0
END_S: Final = 600.0
STOPPED: Final = "while it is stopped"
STOPPED_PHASES: Final = ("metadata", "download", "trial")
ALONE, AFTER = "alone", "alone again"
STOPPABLE: Final = frozenset({State.WANTED, State.FETCHING, State.STAGED, State.TRYING})
"""States in which no process that an update has started serves."""
PHASES: Final[dict[str, str]] = {
    "": "metadata", State.WANTED: "metadata", State.FETCHING: "download", State.STAGED: "download",
    State.TRYING: "trial", State.PROBATION: "probation",
}  # fmt: skip
GOLDEN: Final[list[dict[str, Any]]] = [
    {"kind": "exact", "prompt": "Once upon a time", "answers": [""], "max_tokens": 16},
    {"kind": "perplexity", "text": "The harbor was frozen, and the ships lay still. " * 4},
] * 2


class Course:
    """When what was so: intervals of the update's phases, and of the turns in which its processes were stopped."""

    def __init__(self, device: Device, update: int) -> None:
        self._device = device
        self._update = update
        self.phases: list[tuple[str, float, float]] = []
        """(phase, begin, end), without what settles after a turn."""
        self.switched_at: float | None = None
        self.state = ""

    def follow(self, timeout_s: float) -> None:
        """Until the update has ended, with turns taken. Raises `TimeoutError`."""
        give_up, stopped, turn_ends = time.monotonic() + timeout_s, set[int](), time.monotonic() + TURN_S
        began = since = time.monotonic()
        phase = ""
        with JournalReader(self._device) as journal:
            try:
                while self.state not in FINAL:
                    now = time.monotonic()
                    if now > give_up:
                        raise TimeoutError(f"the update is {self.state} after {timeout_s:g} s")
                    last = journal.last()
                    self.state = last[1] if last is not None and last[0] == self._update else ""
                    if self.state == State.SWITCHING and self.switched_at is None:
                        self.switched_at = now
                    stoppable = self.state in STOPPABLE and now - began < TURNS_S
                    going = not stoppable or (not stopped if now < turn_ends else bool(stopped))
                    if now >= turn_ends:
                        turn_ends = now + TURN_S
                    if going == bool(stopped):
                        _signal(stopped, signal.SIGCONT)
                        stopped = set() if going else self._others()
                        _signal(stopped, signal.SIGSTOP)
                    shown = self._phase() + (", stopped" if stopped else "")
                    if shown != phase:
                        self.phases.append((phase, since, now))
                        phase, since = shown, now + SETTLE_S
                    time.sleep(LOOK_S)
                self.phases.append((phase, since, time.monotonic()))
            finally:
                _signal(stopped, signal.SIGCONT)

    def _phase(self) -> str:
        if self.state in (State.WANTED, State.FETCHING, State.STAGED):
            return "metadata" if self.state == State.WANTED else "download"
        return (
            {State.TRYING: "trial", State.PROBATION: "probation"}.get(State(self.state), "switch") if self.state else ""
        )

    def _others(self) -> set[int]:
        """What the daemon has started, but for the worker that serves."""
        models = self._device.ask("GET", "/status").body["runtime"]["models"]
        serving = {model["pid"] for model in models}
        return set(children(self._device.pid)) - serving


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def measure(device: Device, seconds: float) -> tuple[Load, Course, dict[str, Any]]:
    """Alone, the update, alone."""
    with Load(device) as load:
        time.sleep(2.0)
        began = time.monotonic()
        time.sleep(seconds)
        asked = device.ask("POST", f"/models/{NAME}/update", {"version": "2"})
        course = Course(device, asked.body["id"])
        course.phases.append((ALONE, began, time.monotonic()))
        course.follow(END_S)
        ended = time.monotonic()
        time.sleep(seconds)
        course.phases.append((AFTER, ended, time.monotonic()))
        updated = device.ask("GET", f"/updates/{asked.body['id']}").body
    if course.switched_at is not None:
        around = course.switched_at - AROUND_SWITCH_S, course.switched_at + AROUND_SWITCH_S
        course.phases.append((f"{AROUND_SWITCH_S:g} s around the switch", *around))
    return load, course, updated


def gaps_of(load: Load, course: Course) -> dict[str, list[float]]:
    """Seconds, by phase: those that lie in it whole, and for the switch those that touch it."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    for phase, begin, end in course.phases:
        touching = "around" in phase
        for first, last in load.gaps:
            if (last > begin and first < end) if touching else (first >= begin and last <= end):
                found[phase].append(last - first)
    return found


def rows(arguments: argparse.Namespace, folder: Path) -> Iterator[Row]:
    publisher = Publisher(folder / "publisher")
    for version, seed in (("1", 0), ("2", 1)):
        model = shapes.ensure(arguments.shape, arguments.quant, arguments.cache or folder, seed=seed)
        publisher.publish(version, model, GOLDEN, {"least_exact": 0.0})
    with Link(publisher.repo, arguments.line_mb_s * 1e6) as link:
        toml = settings(
            publisher, link, trial_timeout_s=arguments.trial_timeout_s, probation_s=arguments.probation_s,
            probation_requests=1_000_000, retry_first_s=1.0,
        )  # fmt: skip
        device = Device(folder / "device", toml)
        device.start()
        try:
            device.wait_ready()
            device.ask("POST", f"/models/{NAME}/update", {"version": "1"})
            while not (ended := device.ask("GET", "/updates").body["ended"]):
                time.sleep(0.2)
            if ended[0]["state"] != State.COMMITTED:
                raise RuntimeError(f"version 1 was {ended[0]['state']}: {ended[0]['reason']}")
            device.complete()
            load, course, updated = measure(device, arguments.seconds)
        except BaseException:
            print(device.log_tail(), file=sys.stderr)
            raise
        finally:
            device.stop()
    yield from report(load, course, updated)


def report(load: Load, course: Course, updated: dict[str, Any]) -> Iterator[Row]:
    lasted: defaultdict[str, float] = defaultdict(float)
    for phase, begin, end in course.phases:
        lasted[phase] += max(0.0, end - begin)
    gaps = gaps_of(load, course)
    longest = max((end - begin for begin, end in load.waits), default=0.0)
    yield Row(
        what="requests through a whole update",
        bar="none fails, all complete",
        measured=f"{load.answers} answers, {len(load.failures)} failed; {updated['state']}; longest wait for a first"
        f" token {longest:.2f} s",
        passed=not load.failures and updated["state"] == State.COMMITTED and load.answers > 0,
        numbers={"failures": load.failures[:5], "reason": updated["reason"], "figures": updated.get("figures"),
                 "gaps": {name: len(values) for name, values in gaps.items()},
                 "lasted_s": {name: round(value, 1) for name, value in lasted.items()}},
    )  # fmt: skip
    alone = gaps[ALONE] + gaps[AFTER]
    told = [(phase, gaps[phase], gaps[f"{phase}, stopped"], STOPPED) for phase in STOPPED_PHASES]
    told += [(phase, gaps[phase], alone, "alone") for phase in gaps if "around" in phase or phase == "probation"]
    for one in told:
        if min(len(one[1]), len(one[2])) >= LEAST_GAPS:  # else it was too short to tell
            yield _compared(*one)
    going, stopped = ([gap for phase in STOPPED_PHASES for gap in gaps[phase + ending]] for ending in ("", ", stopped"))
    yield _compared("all before the switch", going, stopped, STOPPED)


def _compared(phase: str, going: list[float], alone: list[float], which: str) -> Row:
    """Raises `StatisticsError` where there are no gaps."""
    ours, theirs = _shares(going), _shares(alone)
    ratio = {name: ours[name] / theirs[name] for name in ours}
    text = ", ".join(f"{name} {ours[name] * 1e3:.0f} ms ({ratio[name]:.2f} x)" for name in ours)
    return Row(
        what=f"token gaps: {phase}",
        bar=f"p95 <= {GAP_BAR:g} x that {which}",
        measured=f"{text}; {len(going)} and {len(alone)} gaps",
        passed=ratio["p95"] <= GAP_BAR,
        numbers={"update_s": ours, "alone_s": theirs, "ratio": ratio, "gaps": [len(going), len(alone)]},
    )


def _shares(values: list[float]) -> dict[str, float]:
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98], "longest": max(values)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="small", choices=[name for name in shapes.SHAPES if "bert" not in name])
    parser.add_argument("--quant", default="Q8_0", choices=shapes.QUANTS)
    parser.add_argument("--cache", type=Path, help="a folder to keep the generated models in")
    parser.add_argument("--line-mb-s", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=15.0, help="of serving alone, before and after")
    parser.add_argument("--trial-timeout-s", type=float, default=60.0, help="15%% of it is waited for a quiet moment")
    parser.add_argument("--probation-s", type=float, default=15.0)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # leave no daemon behind
    with tempfile.TemporaryDirectory(prefix="edge-agent-load-") as folder:
        facts = {"machine": platform.machine(), "cores": os.cpu_count(), "shape": arguments.shape,
                 "quant": arguments.quant, "clients": CLIENTS, "load": os.getloadavg()[0]}  # fmt: skip
        return 0 if run_rows({"update": lambda: rows(arguments, Path(folder))}, facts) else 1


if __name__ == "__main__":
    sys.exit(main())
