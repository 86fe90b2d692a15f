"""`edge-agent fleet rollout` over 200 simulated devices, 20 of which fail. Needs mosquitto."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.mqtt.mosquitto import Mosquitto, find_mosquitto, free_port
from benchmarks.mqtt.responders import start_devices
from benchmarks.mqtt.rollout_devices import MODEL, NEW, OLD, made
from benchmarks.report import Row

DEVICES = 200
BAD = ("rejecting", "reverting", "failing")
FAILING = 0.1
STAGES = ("--canary", "5%", "--then", "25%", "--then", "100%")
SETTLE_S = 2.0
_ROOT = Path(__file__).resolve().parents[2]


def rollout(*, quick: bool) -> Iterator[Row]:
    """The broker is as Debian installs it."""
    count = DEVICES // 5 if quick else DEVICES
    failing = round(count * FAILING)
    behaviors = {name: len(range(place, failing, len(BAD))) for place, name in enumerate(BAD)}
    executable = find_mosquitto()
    if executable is None:
        raise RuntimeError("mosquitto is not installed")
    for limit, stops in (("2%", True), (str(max(2, failing // 4)), True), ("50%", False)):
        with TemporaryDirectory() as folder:
            port = free_port()
            broker = Mosquitto(executable, Path(folder), [port], [f"listener {port} 127.0.0.1", "allow_anonymous true"])
            broker.start()
            try:
                with start_devices(port, count, behaviors, module="benchmarks.mqtt.rollout_devices"):
                    yield from _rows(port, count, behaviors, limit, stops=stops)
            finally:
                broker.kill()


def _rows(port: int, count: int, behaviors: Mapping[str, int], limit: str, *, stops: bool) -> Iterator[Row]:
    lines, status, took_s = _run(port, "--stop-if-failed", limit)
    end = lines[-1]
    time.sleep(SETTLE_S)  # what is on probation comes to its end
    served = _served(port)
    wanting = _wanting(port, set(end["failed"]))
    bad = {one.device for one in made(count, behaviors) if one.behavior in BAD}
    wrong = sorted(name for name in bad if served.get(name) != OLD)
    new = sum(version == NEW for version in served.values())
    failed = set(end["failed"])
    phase = "stopped" if stops else "done"
    innocent = sorted(failed - bad)
    yield Row(
        what=f"rollout, {count} devices, {len(bad)} fail, limit {limit}",
        bar="stops at the limit" if stops else "all others have it",
        measured=f"{end['phase']} in the stage of {end['stage']} after {len(failed)} failures, in {took_s:.1f} s;"
        f" {new} devices run the new version",
        passed=end["phase"] == phase and status == 1 and not innocent and (stops or new == count - len(bad)),
        numbers={"took_s": took_s, "failed": sorted(failed), "innocent": innocent, "behaviors": dict(behaviors)},
    )
    yield Row(
        what="the failed ones, and those that would have",
        bar="run the old version",
        measured=f"{len(bad) - len(wrong)} of {len(bad)} run {OLD};"
        f" {wanting} of {len(failed)} that failed are still asked for {NEW}",
        passed=not wrong and len(served) == count and not wanting,
        numbers={"wrong": wrong},
    )
    again, _, again_s = _run(port, "--stop-if-failed", limit)
    yield Row(
        what="the same command once more",
        bar="ends at once, as before",
        measured=f"{again[-1]['phase']} after {again_s:.1f} s",
        passed=again[-1]["phase"] == phase and set(again[-1]["failed"]) >= failed,
        numbers={"took_s": again_s},
    )


def _run(port: int, *arguments: str) -> tuple[list[dict[str, Any]], int, float]:
    """The lines it prints, its status, and its time."""
    command = [sys.executable, "-m", "agent.cli", "fleet", "rollout", f"{MODEL}@{NEW}", *STAGES, *arguments]
    began = time.monotonic()
    url = f"mqtt://127.0.0.1:{port}"
    done = subprocess.run([*command, "--mqtt-url", url, "--json"], capture_output=True, text=True, cwd=_ROOT)
    if not done.stdout:
        raise RuntimeError(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()], done.returncode, time.monotonic() - began


def _served(port: int) -> dict[str, str]:
    return {name: found["models"][MODEL]["version"] for name, found in _retained(port, "twin/model").items()}


def _wanting(port: int, names: set[str]) -> int:
    """How many of these the desired state asks for the new version."""
    desired = _retained(port, "twin/desired")
    return sum(desired[name]["models"].get(MODEL, {}).get("target") == NEW for name in names & set(desired))


def _retained(port: int, below: str) -> dict[str, dict[str, Any]]:
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-W", "2", "--retained-only", "-F", "%t %p"]
    topic = f"te/device/+/service/edge-agent/{below}"
    found = subprocess.run([*command, "-t", topic], capture_output=True, text=True).stdout
    pairs: Sequence[list[str]] = [line.split(" ", 1) for line in found.splitlines()]
    return {topic.split("/")[2]: json.loads(payload) for topic, payload in pairs}
