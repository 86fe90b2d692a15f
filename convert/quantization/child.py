"""Running a job in the child and hearing it out; Ctrl-C, or anything else that is raised here, kills it."""

from __future__ import annotations

import selectors
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import IO, Any, Final

import msgspec

from agent.errors import EdgeAgentError, ModelLoadError, by_code
from agent.store.probe_report import one_line
from convert.quantization import job

COMMAND: Final = (sys.executable, "-m", "convert.quantization.worker")
_TICK_S: Final = 0.1
_NOISE_BYTES: Final = 20_000
_HINT: Final = "The file is damaged, or this llama.cpp has a fault with it."

_answers = msgspec.json.Decoder(job.Answer)


def run(
    asked: job.Job, *, subject: str, on_answer: Callable[[job.Answer], None], on_tick: Callable[[], None] = lambda: None
) -> int:
    """Do `asked` in a child; `on_tick` several times a second. Returns the child's peak memory in bytes.

    Raises what the child raised, and `ModelLoadError` where llama.cpp crashed; `subject` is what errors speak of.
    """
    with tempfile.TemporaryFile() as noise:
        child = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            start_new_session=True,  # Ctrl-C on the terminal reaches the parent alone, which then kills the child
        )
        try:
            peak_bytes = _hear(child, asked, on_answer, on_tick)
            if peak_bytes is None:
                raise _crash(subject, child.wait(), noise)
            return peak_bytes
        finally:
            child.kill()
            child.communicate()


def _hear(
    child: subprocess.Popen[bytes], asked: job.Job, on_answer: Callable[[job.Answer], None], on_tick: Callable[[], None]
) -> int | None:
    """The peak that a child told when it was done; None where it ended without."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(msgspec.json.encode(asked) + b"\n")
    child.stdin.flush()
    with selectors.DefaultSelector() as selector:
        selector.register(child.stdout, selectors.EVENT_READ)
        rest = b""
        while True:
            ready = selector.select(_TICK_S)
            on_tick()
            if not ready:
                continue
            piece = child.stdout.read1(1 << 16)  # type: ignore[attr-defined]
            if not piece:
                return None
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                message = _answers.decode(line)
                if isinstance(message, job.Done):
                    return message.peak_bytes
                if isinstance(message, job.Failed):
                    raise _error(message)
                on_answer(message)


def _error(failed: job.Failed) -> EdgeAgentError:
    return by_code(failed.code)(failed.message, hint=failed.hint)


def _crash(subject: str, status: int, noise: IO[Any]) -> ModelLoadError:
    size = noise.seek(0, 2)
    noise.seek(max(0, size - _NOISE_BYTES))
    lines = [one_line(line) for line in noise.read().decode("utf-8", "replace").splitlines() if line.strip()]
    said = f": {lines[-1]}" if lines else ""
    if status == -signal.SIGKILL:
        return ModelLoadError(
            f"The process that worked on {subject} was killed, by the system when it ran out of memory.",
            hint="Lower --max-memory, or close other programs.",
        )
    died = signal.Signals(-status).name if status < 0 else f"status {status}"
    return ModelLoadError(f"llama.cpp crashed on {subject} ({died}{said}).", hint=_HINT)
