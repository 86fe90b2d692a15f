"""Asking a short-lived child what a GGUF file is. The file may crash it, hang it or make it talk nonsense; never us."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from agent.errors import ArtifactError, EdgeAgentError, ModelLoadError, by_code
from agent.store.gguf_source import split_parts
from agent.store.probe_report import ProbeReport, decode_probe_report, one_line

PROBE_COMMAND = (sys.executable, "-m", "agent.engines.llama.probe")

_SECRETS = frozenset({"EDGE_AGENT_API_KEY", "NOTIFY_SOCKET"})
_HINT = "The file is damaged or is not a model: compare its SHA-256 with the publisher's, and download it again."


def probe_gguf(path: Path, timeout_s: float = 60.0, *, command: Sequence[str] = PROBE_COMMAND) -> ProbeReport:
    """What is in a GGUF file; of a split one, `path` is any part. `command` is the seam for tests.

    Raises `ArtifactError` for a file that cannot be read or a report that makes no sense, and `ModelLoadError` (or
    what else the probe says) for a model that cannot be loaded.
    """
    first = split_parts(_readable(path))[0]
    environment = {name: value for name, value in os.environ.items() if name not in _SECRETS}
    child = subprocess.Popen(
        [*command, str(first.absolute())],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    try:
        output, noise = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise ModelLoadError(f"{path.name} could not be read within {timeout_s:g} s.", hint=_HINT) from None
    finally:
        _kill(child)
    if child.returncode < 0:
        died = _signal_name(-child.returncode)
        raise ModelLoadError(f"{path.name} crashes the model loader ({died}).", hint=_HINT)
    if child.returncode != 0:
        raise _said(path, output) or _unexplained(path, child.returncode, noise)
    return decode_probe_report(output)


def _readable(path: Path) -> Path:
    try:
        if not path.is_file():
            raise ArtifactError(f"{path} is not a file." if path.exists() else f"{path} does not exist.")
        with path.open("rb"):
            return path
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}.") from None


def _kill(child: subprocess.Popen[bytes]) -> None:
    """Ends the child, if it still runs, and collects it."""
    if child.poll() is None:
        child.kill()
        child.communicate()


def _said(path: Path, output: bytes) -> EdgeAgentError | None:
    """The error that the probe printed, as one of ours; None if it printed none."""
    try:
        error = json.loads(output)["error"]
        message, hint = one_line(str(error["message"]), limit=500), one_line(str(error.get("hint", "")), limit=500)
        kind = by_code(str(error["code"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return kind(message or f"{path.name} cannot be loaded.", hint=hint or _HINT)


def _unexplained(path: Path, status: int, noise: bytes) -> EdgeAgentError:
    lines = [one_line(line) for line in noise.decode("utf-8", "replace").splitlines() if line.strip()]
    last = f": {lines[-1].rstrip('.')}" if lines else ""
    if "No module named" in last:
        return ModelLoadError(
            f"The model loader is not installed{last}.", hint="Run edge-agent doctor: it says how to install it."
        )
    return ModelLoadError(f"{path.name} cannot be loaded (the loader ended with status {status}{last}).", hint=_HINT)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
