"""`edge-agent fleet` with a thousand simulated devices, each with a connection of its own. Needs mosquitto."""

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
from benchmarks.mqtt.responders import made, start_devices
from benchmarks.report import Row

DEVICES = 1_000
TIMEOUT_S = 20.0
SHARE = 10
"""Of each kind that is not plain, per thousand."""
_ROOT = Path(__file__).resolve().parents[2]
_EXPECTED = {
    "plain": "successful",
    "slow": "successful",
    "twice": "successful",
    "belated": "successful",
    "recovering": "successful",
    "hostile": "successful",
    "chunked": "successful",
    "failing": "failed",
    "torn": "failed",
    "silent": "no answer",
    "stuck": "no answer",
    "garbage": "no answer",
}


def fleet(*, quick: bool) -> Iterator[Row]:
    """The broker is as Debian installs it, so that its queue for one client holds 1,000 messages."""
    count = DEVICES // 10 if quick else DEVICES
    behaviors = {behavior: max(1, SHARE * count // DEVICES) for behavior in _EXPECTED if behavior != "plain"}
    executable = find_mosquitto()
    if executable is None:
        raise RuntimeError("mosquitto is not installed")
    with TemporaryDirectory() as folder:
        port = free_port()
        broker = Mosquitto(executable, Path(folder), [port], [f"listener {port} 127.0.0.1", "allow_anonymous true"])
        broker.start()
        try:
            with start_devices(port, count, behaviors):
                yield _listed(port, count)
                yield _sent(port, count, behaviors)
                yield _left(port)
        finally:
            broker.kill()


def _run(port: int, *arguments: str) -> tuple[Any, int, float]:
    """The JSON it prints, its status, and its time."""
    command = [sys.executable, "-m", "agent.cli", "fleet", *arguments, "--mqtt-url", f"mqtt://127.0.0.1:{port}"]
    began = time.monotonic()
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, cwd=_ROOT)
    if not done.stdout:
        raise RuntimeError(done.stderr)
    return json.loads(done.stdout), done.returncode, time.monotonic() - began


def _listed(port: int, count: int) -> Row:
    found, _, took_s = _run(port, "ls")
    up = sum(device["state"] == "up" for device in found)
    whole = sum(bool(device["version"] and device["board"] and device["models"]) for device in found)
    return Row(
        what=f"fleet ls, {count:,} devices",
        bar="all, with what they run",
        measured=f"{len(found):,} listed, {up:,} up, {whole:,} with board and models, in {took_s:.1f} s",
        passed=len(found) == up == whole == count,
        numbers={"took_s": took_s},
    )


def _sent(port: int, count: int, behaviors: Mapping[str, int]) -> Row:
    found, status, took_s = _run(port, "send", "generate", '{"prompt": "Hello"}', "--all", "--timeout", str(TIMEOUT_S))
    answers: dict[str, dict[str, Any]] = found["devices"]
    wanted = {device.device: _EXPECTED[device.behavior] for device in made(count, behaviors)}
    wrong = [name for name, expected in wanted.items() if answers.get(name, {}).get("status") != expected]
    silent = sorted(name for name, expected in wanted.items() if expected == "no answer")
    times = sorted(one["seconds"] for one in answers.values() if one["seconds"] is not None)
    return Row(
        what=f"fleet send --all, {count:,} devices",
        bar="all answers, the missing named",
        measured=f"{len(times):,} answers, {len(silent)} of {len(silent)} missing named, {len(wrong)} wrong; p50"
        f" {times[len(times) // 2]:.2f} s, p99 {times[len(times) * 99 // 100]:.2f} s, all in {took_s:.1f} s"
        f" (timeout {TIMEOUT_S:g} s)",
        passed=not wrong and sorted(found["missing"]) == silent and status == 1 and len(answers) == count,
        numbers={"took_s": took_s, "wrong": wrong, "behaviors": dict(behaviors)},
    )


def _left(port: int) -> Row:
    """Commands that the broker still keeps."""
    retained = _retained(port, ["te/device/+/service/edge-agent/cmd/+/+", "te/device/+/service/edge-agent/cmd/#"])
    return Row(
        what="commands left with the broker",
        bar="none",
        measured=f"{len(retained)}",
        passed=not retained,
        numbers={"topics": retained[:20]},
    )


def _retained(port: int, filters: Sequence[str]) -> list[str]:
    command = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(port), "-W", "3", "--retained-only", "-F", "%t"]
    for filter in filters:
        command += ["-t", filter]
    return sorted(set(subprocess.run(command, capture_output=True, text=True).stdout.split()))
