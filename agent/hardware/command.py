"""Short subprocesses that report something about the machine, behind a seam that tests and recordings can take."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence

TIMEOUT_S = 5.0
"""nvidia-smi needs 1-2 s to wake a driver without persistence mode; anything slower is broken."""

Runner = Callable[[Sequence[str]], str | None]
"""Takes a command, gives its standard output; None where the command is missing, hangs or cannot be started."""


def run_command(command: Sequence[str], timeout_s: float = TIMEOUT_S) -> str | None:
    """Run `command` in the C locale without input and give its standard output whatever its exit status.

    The exit status is not looked at: `sysctl` fails when one of many names is unknown and still prints the others.
    Returns None when the program is not installed, may not be run, or takes longer than `timeout_s`.
    """
    program = shutil.which(command[0]) or shutil.which(command[0], path="/usr/sbin:/sbin:/usr/bin:/opt/vc/bin")
    if program is None:
        return None
    try:
        process = subprocess.Popen(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "LC_ALL": "C"},
            start_new_session=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    with process:
        try:
            output, _ = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(process)
    return output.decode("utf-8", "replace")


def _end(process: subprocess.Popen[bytes]) -> None:
    """With all that it has started: a script that hangs mostly waits for a child, which would be left behind."""
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def no_command(command: Sequence[str]) -> str | None:
    """The runner of a machine without any command: a recorded tree must not ask the machine it is read on."""
    return None
