"""`edge-agent doctor`: what this board is, what follows from it, what is wrong, what to do."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import socket
import sys
from dataclasses import replace
from pathlib import Path

from agent.commands import sound
from agent.commands.call import Call
from agent.errors import ConfigError, EdgeAgentError
from agent.hardware import board as boards
from agent.hardware import checks, doctor, report, wheel
from agent.hardware.memory import read_memory
from agent.hardware.profile import choose, load_profiles
from agent.settings import Settings
from agent.terminal import print_json


def add_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def run(call: Call) -> int:
    settings = call.settings
    board = boards.detect()
    match = choose(board, load_profiles(), settings.profile)
    source = str(settings.config_file or "the configuration")
    profile = match.profile.resolve(board, settings.profile_overrides, source=source)
    key: str | None = None
    with contextlib.suppress(ConfigError):
        key = wheel.plan(board, profile, wheel.pinned_version()).key
    asked = [model.threads for model in settings.models.values() if model.threads is not None]
    asked += [model.threads_batch for model in settings.models.values() if model.threads_batch is not None]
    findings = doctor.examine(
        board,
        match,
        profile,
        read_memory(),
        checks.gather(call.near_state_dir),
        wheel_key=key,
        requested_threads=asked,
    )
    state, trouble = daemon_state(call)
    heard = sound.examine(call)
    order = ("error", "warning", "note")
    everything = sorted(
        (*findings.findings, *trouble, *heard.findings, *_files(settings)), key=lambda one: order.index(one.severity)
    )
    findings = replace(findings, findings=tuple(everything))
    if call.options.json:
        print_json({**report.as_value(findings), "daemon": state, "sound": heard.value()})
    else:
        width = min(100, shutil.get_terminal_size((88, 24)).columns) if sys.stdout.isatty() else 88
        print(report.as_text(findings, width=width).rstrip() + "\n")
        for label, text in (*heard.rows(), ("Daemon", _daemon_line(state))):
            print("\n".join(report.row(label, text, width)))
    return findings.exit_status


def daemon_state(call: Call) -> tuple[dict[str, object], list[doctor.Finding]]:
    """Whether a daemon runs and answers; where none does, whether one could listen."""
    settings = call.settings
    if call.running is not None:
        state: dict[str, object] = {"running": True, "url": call.url, "pid": call.running.pid, "answers": True}
        try:
            call.client.get("/health", timeout_s=5)
        except EdgeAgentError as error:
            state["answers"] = False
            return state, [_finding("error", "daemon_silent", error.message, "Its log says why; restart it.")]
        return state, []
    state = {"running": False, "url": call.url, "port_free": True}
    if settings.port and (reason := _port_taken(settings.host, settings.port)):
        state["port_free"] = False
        message = f"No daemon runs, and port {settings.port} on {settings.host} cannot be used: {reason}."
        return state, [_finding("warning", "port_taken", message, "Choose another with --port.")]
    return state, []


def _port_taken(host: str, port: int) -> str | None:
    """Why a daemon could not listen there; None if it could."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return (error.strerror or str(error)).rstrip(".")
    return None


def _files(settings: Settings) -> list[doctor.Finding]:
    """Files that the configuration names and that are not there."""
    named: list[tuple[str, Path]] = []
    for name, model in settings.models.items():
        named += [(f"models.{name}.path", model.path)] if model.path else []
        named += [(f"models.{name}.chat_template", model.chat_template)] if model.chat_template else []
        named += [(f"models.{name}.lora[{index}].path", lora.path) for index, lora in enumerate(model.lora)]
    return [
        _finding("error", "file_missing", f"{key} = '{path}' is not a file.", f"Correct it in {settings.config_file}.")
        for key, path in named
        if not path.is_file()
    ]


def _finding(severity: doctor.Severity, code: str, message: str, remedy: str) -> doctor.Finding:
    return doctor.Finding(severity=severity, code=code, message=message, remedy=remedy)


def _daemon_line(state: dict[str, object]) -> str:
    if not state["running"]:
        return "not running; edge-agent serve starts it"
    return f"{'runs' if state['answers'] else 'does not answer'} on {state['url']} (pid {state['pid']})"
