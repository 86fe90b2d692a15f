"""`edge-agent status`: what the daemon is doing."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import Any

from agent.commands import microphone
from agent.commands.call import Call
from agent.commands.printable import printable
from agent.terminal import duration, print_json, size, table


def add_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def run(call: Call) -> int:
    status = call.client.get("/status")
    if call.options.json:
        print_json(status)
    else:
        print("\n".join(lines(status)))
    return 0


def lines(status: Mapping[str, Any]) -> Iterator[str]:
    """The answer of `GET /status` for a person."""
    runtime, http = status["runtime"], status["http"]
    queue, ledger, counters = runtime["queue"], runtime["ledger"], runtime["counters"]
    board, profile = status["board"], status["profile"]
    up = duration(status["uptime_s"])
    yield f"edge-agent {status['version']} on {status['url']}: {status['status']}, up {up}, pid {status['pid']}"
    yield f"board     {board['model']}, profile {profile['name']}, {profile['threads']} threads"
    yield f"requests  {runtime['running']} running, {queue['waiting']} of {queue['capacity']} waiting; " + ", ".join(
        f"{counters[name]} {name}" for name in ("completed", "failed", "cancelled", "rejected", "expired")
    )
    yield f"tokens    {counters['prompt_tokens']} read ({counters['cached_tokens']} cached), {_speed(counters)}"
    yield f"memory    {size(ledger['charged_bytes'])} of {size(ledger['budget_bytes'])} for models"
    if status.get("energy"):
        yield f"power     {_power(status['energy'])}"
    if status.get("governor"):
        yield f"governor  {status['governor']['mode']}: {printable(status['governor']['reason'])}"
    if (status.get("isolation") or {}).get("shedding"):
        yield f"strain    {printable(status['isolation']['reason'])}"
    yield f"http      {http['connections']} connections"
    if status.get("microphone"):
        yield f"mic       {microphone.line(status['microphone'])}"
    if status.get("mqtt"):
        yield f"mqtt      {_mqtt(status['mqtt'])}"
    for line in (status.get("updates") or {}).get("lines", ()):
        yield f"update    {printable(line)}"
    yield ""
    if not runtime["models"]:
        yield "No models yet. edge-agent models import FILE.gguf adds one."
        return
    rows = [_row(model) for model in runtime["models"]]
    yield table(rows, ("MODEL", "VERSION", "STATE", "MEMORY", "RUNNING", "WAITING", "UNLOADS"), right=(3, 4, 5))
    for model in runtime["models"]:
        if model["reason"] and model["state"] in ("failed", "backoff"):
            yield f"{model['name']}: {model['reason']}"


def _power(energy: Mapping[str, Any]) -> str:
    """What the meter says and covers, or why nothing is measured."""
    if not energy["source"]:
        return f"not measured: {printable(energy['reason'])}"
    if energy["failure"]:
        return f"{printable(energy['source'])} cannot be read: {printable(energy['failure'])}"
    watts = "no reading yet" if energy["watts"] is None else f"{energy['watts']:.1f} W"
    text = f"{watts}, {printable(energy['source'])} ({printable(energy['scope'])})"
    return f"{text}; {energy['request_joules']:.1f} J on requests"


def _mqtt(mqtt: Mapping[str, Any]) -> str:
    """As which device, at which broker, and what waits."""
    if mqtt["connected"]:
        text = (
            f"{mqtt['device']} at {mqtt['broker']} (MQTT {mqtt['protocol']}) for {duration(mqtt['connected_s'] or 0)}"
        )
    else:
        why = f": {mqtt['last_error']}" if mqtt["last_error"] else ""
        again = f"; next attempt in {duration(mqtt['retry_s'])}" if mqtt["retry_s"] is not None else ""
        text = f"{mqtt['device']} is not connected{why}{again}"
    commands, telemetry = mqtt["commands"], mqtt["telemetry"]
    text += f"; {commands['executing']} commands running"
    if telemetry and telemetry["outbox"]["samples"]:
        text += f", {telemetry['outbox']['samples']} samples waiting"
    if telemetry and telemetry["raised"]:
        text += f"; ALARM: {', '.join(telemetry['raised'])}"
    return text


def _row(model: Mapping[str, Any]) -> list[str]:
    return [
        model["name"],
        model["version"],
        model["state"],
        size(model["charged_bytes"]) if model["charged_bytes"] else "-",
        f"{model['running']}/{model['slots']}",
        str(model["waiting"]),
        _unloads(model),
    ]


def _unloads(model: Mapping[str, Any]) -> str:
    if model["state"] != "ready":
        return "-"
    if model["pinned"] or model["keep_alive_s"] is None:
        return "never"
    if model["running"] or model["idle_for_s"] is None:
        return f"{duration(model['keep_alive_s'])} after the last request"
    return f"in {duration(max(0.0, model['keep_alive_s'] - model['idle_for_s']))}"


def _speed(counters: Mapping[str, Any]) -> str:
    text = f"{counters['completion_tokens']} written"
    if counters["decode_s"] > 0:
        text += f" ({counters['completion_tokens'] / counters['decode_s']:.1f} tokens/s per request)"
    return text
