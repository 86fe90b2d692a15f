"""`edge-agent microphone`: open and close the daemon's microphone, and see what it does."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from typing import Any

from agent.commands.call import Call
from agent.terminal import print_json, table

SAMPLES_PER_S = 16_000
OPENING_S = 10.0
"""The daemon gives up an opening after 8 s."""
LOOK_S = 0.1


def add_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)

    def add(name: str, help: str) -> argparse.ArgumentParser:
        action = actions.add_parser(name, help=help, description=help, parents=[common], allow_abbrev=False)
        action.add_argument("--json", action="store_true", help="print JSON, for scripts")
        return action

    add_device_arguments(add("start", "open the microphone and keep it open, also while nobody listens"))
    add("stop", "close the microphone, for everyone who listens")
    add("status", "say what the microphone does")
    add("devices", "list the input devices of the daemon's machine")


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """What `transcribe --mic` takes as well."""
    parser.add_argument("--device", metavar="NAME", help="which microphone: its index, its name, or a part of it")
    parser.add_argument("--model", metavar="NAME", help="which model; not needed where there is only one")
    parser.add_argument("--language", metavar="CODE", help="what is spoken, such as en; otherwise the model finds out")
    parser.add_argument("--prompt", metavar="TEXT", help="text that came before: names, spelling, punctuation")


def run(call: Call) -> int:
    match call.options.action:
        case "start":
            return _print(call, _opened(call, call.client.post("/v1/audio/live/start", microphone_body(call.options))))
        case "stop":
            return _print(call, call.client.post("/v1/audio/live/stop"))
        case "status":
            return _print(call, call.client.get("/status")["microphone"])
        case _:
            return _devices(call)


def microphone_body(options: argparse.Namespace) -> dict[str, Any]:
    """What was asked for, out of the flags of `add_device_arguments`."""
    names = ("device", "model", "language", "prompt")
    return {name: value for name in names if (value := getattr(options, name)) is not None}


def line(state: Mapping[str, Any]) -> str:
    """The microphone's state object in one line, for a person."""
    device = f' "{state["device"]}"' if state.get("device") else ""
    if state["state"] == "closed":
        return f"closed; nobody listens{_last(state, device)}"
    parts = [f"{state['state']}{device}"]
    if state.get("reason") and state["state"] in ("lost", "failed"):
        parts[0] += f": {state['reason'].rstrip('.')}"
    listeners = state.get("listeners") or 0
    parts.append(f"{listeners} {'listener' if listeners == 1 else 'listeners'}")
    if state.get("held"):
        parts.append("kept open")
    if state.get("lost_samples"):
        parts.append(f"{state['lost_samples'] / SAMPLES_PER_S:.2f} s lost")
    if state.get("real_time_factor"):
        parts.append(f"real-time factor {state['real_time_factor']:.2f}")
    return ", ".join(parts)


def _last(state: Mapping[str, Any], device: str) -> str:
    return f" (last: {device.strip()})" if device else ""


def _opened(call: Call, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state once it is known whether the device opens; the daemon goes on trying where it does not."""
    give_up = time.monotonic() + OPENING_S
    while state["state"] == "opening" and time.monotonic() < give_up:
        time.sleep(LOOK_S)
        state = call.client.get("/status")["microphone"]
    return state


def _print(call: Call, state: Mapping[str, Any]) -> int:
    trouble = state["state"] in ("lost", "failed")
    if call.options.json:
        print_json(state)
    else:
        print(f"microphone {line(state)}")
        if trouble and state.get("hint"):
            print(f"  {state['hint']}")
    return int(trouble)


def _devices(call: Call) -> int:
    answer = call.client.get("/v1/audio/devices", timeout_s=30.0)
    if call.options.json:
        print_json(answer)
    elif not answer["devices"]:
        print("No input device was found. edge-agent doctor says what may be missing.")
    else:
        rows = [
            [str(one["index"]), one["name"], str(one["channels"]), f"{one['sample_rate_hz']} Hz", _mark(one)]
            for one in answer["devices"]
        ]
        print(table(rows, ("INDEX", "NAME", "CHANNELS", "RATE", ""), right=(0, 2, 3)))
    return 0


def _mark(device: Mapping[str, Any]) -> str:
    return "default" if device.get("default") else ""
