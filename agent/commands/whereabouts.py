"""Which daemon a command is about, and the folder that this one keeps its models in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agent.commands.client import Client, NoDaemonError
from agent.errors import EdgeAgentError, UnavailableError
from agent.instance import SERVICE_STATE_DIR, Running, find_running

Look = Callable[[Path], Running | None]


@dataclass(frozen=True)
class Whereabouts:
    """`state_dir` is where the models are. `running` is the daemon that serves it, where one does. `trouble`: a daemon
    answers at the address that was asked for, and this machine's files are not the way to it. `unanswered`: nobody
    answers there, and `state_dir` is where the models would be without an address."""

    state_dir: Path
    running: Running | None
    trouble: EdgeAgentError | None = None
    unanswered: bool = False


def by_folder(own: Path, *, given: bool, look: Look = find_running) -> Whereabouts:
    """The user's own folder; unless it was `given`, the machine's service's while that runs and no own daemon does."""
    running = look(own)
    if running is None and not given and (service := look(SERVICE_STATE_DIR)) is not None:
        return Whereabouts(SERVICE_STATE_DIR, service)
    return Whereabouts(own, running)


def by_address(client: Client, own: Path, *, look: Look = find_running) -> Whereabouts:
    """The daemon at the client's address, whichever folder it serves. As `by_folder` where nobody answers there."""
    for folder in (own, SERVICE_STATE_DIR):
        running = look(folder)
        if running is not None and running.url == client.url:
            return Whereabouts(folder, running)
    try:
        return _as_it_says(client, look)
    except NoDaemonError:
        return replace(by_folder(own, given=False, look=look), unanswered=True)
    except EdgeAgentError as error:
        return Whereabouts(own, None, error)


def _as_it_says(client: Client, look: Look) -> Whereabouts:
    """Raises `UnavailableError` where the folder it names is not one of this machine that it holds."""
    status: Any = client.get("/status")
    try:
        folder, pid = Path(status["state_dir"]), int(status["pid"])
    except (KeyError, TypeError, ValueError):
        raise UnavailableError(
            f"What answers at {client.url} does not say where its models are.", hint="Check --host and --port."
        ) from None
    running = look(folder)
    if running is None or running.pid != pid:  # the lock proves that it is this folder, and not one of the same name
        raise UnavailableError(
            f"The daemon at {client.url} keeps its models in {folder}, which cannot be reached from here: it is another"
            " user's, in a container, or on another machine.",
            hint="Run the command there and as that user, or name the folder with --state-dir.",
        )
    return Whereabouts(folder, running)
