"""The child: `python -m convert.quantization.worker` reads one job from standard input and does it with llama.cpp.

A process of its own, because the file may crash llama.cpp, because a C call cannot be interrupted and a process can,
and so that its memory is its own. It ends when its parent does: standard input is then closed.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import threading
from pathlib import Path

import msgspec

from agent.engines.llama.library import llama, log, start_backend
from agent.engines.llama.probe import probe
from agent.engines.process import resident_bytes
from agent.errors import EdgeAgentError
from convert.quantization import job, native
from convert.quantization.collect import collect
from convert.quantization.imatrix import Imatrix, read_imatrix
from convert.quantization.recipe import Recipe
from convert.quantization.resident import bounded

_HEADER_COPIES = 6
"""How often the metadata is in memory: llama.cpp's own, the result's, and the strings of both."""
_SLACK_BYTES = 48 * 1024 * 1024
"""What a reader gets ahead of the one who lets pages go, stacks of threads, the output's buffers."""
_PARENT_BYTES = 80 * 1024 * 1024
"""What the command itself holds meanwhile, which the user's limit is for too (benchmarks/conversion/quantize.py)."""
_SMALLEST_BUFFER_BYTES = 8 * 1024 * 1024

_output = sys.stdout.buffer
_lock = threading.Lock()


def answer(message: job.Answer) -> None:
    with _lock:
        _output.write(msgspec.json.encode(message) + b"\n")
        _output.flush()


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    asked = msgspec.json.decode(sys.stdin.buffer.readline(), type=job.Job)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    start_backend()
    if not isinstance(asked, job.Probe):  # which reads sizes in the log
        llama.llama_log_set(native.errors_only, None)
    try:
        _run(asked)
        answer(job.Done(peak_bytes=_peak_bytes()))
        return 0
    except EdgeAgentError as error:
        answer(job.Failed(code=error.code, message=error.message, hint=error.hint))
    except MemoryError:
        answer(job.Failed(code="insufficient_memory", message="There is not enough memory.", hint="See --max-memory."))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        answer(job.Failed(code="store_error", message=f"{where}{error.strerror or error}."))
    return 1


def _run(asked: job.Job) -> None:
    log.clear()
    if isinstance(asked, job.Rehearse):
        for recipe in asked.recipes:
            answer(job.Planned(tensors=native.rehearse(Path(asked.source), recipe, _matrix(recipe))))
    elif isinstance(asked, job.Quantize):
        _quantize(asked)
    elif isinstance(asked, job.Probe):
        answer(job.Probed(report=probe(Path(asked.source))))
    else:
        found = collect(
            Path(asked.source),
            Path(asked.text),
            chunks=asked.chunks,
            threads=asked.threads,
            on_chunk=lambda done, total: answer(job.At(done=done, total=total)),
        )
        found.write(Path(asked.target))


def _quantize(asked: job.Quantize) -> None:
    recipe = asked.recipe
    matrix = _matrix(recipe)
    copies = sum(entry.sums.nbytes for entry in matrix.entries.values()) if matrix else 0
    allowed = recipe.max_memory_bytes - _PARENT_BYTES - _SLACK_BYTES
    fixed = resident_bytes() + _HEADER_COPIES * asked.header_bytes + copies
    buffers = max(_SMALLEST_BUFFER_BYTES, (allowed - fixed) // 2)
    with bounded([Path(file) for file in asked.files], allowed):
        native.quantize(
            Path(asked.source),
            Path(asked.target),
            recipe,
            matrix,
            buffer_bytes=buffers,
            on_tensor=lambda number, count, name: answer(job.At(done=number, total=count, name=name)),
        )


def _matrix(recipe: Recipe) -> Imatrix | None:
    return read_imatrix(Path(recipe.imatrix)) if recipe.imatrix is not None else None


def _peak_bytes() -> int:
    """The most that was resident. On Linux `ru_maxrss` of a child begins with what its parent had."""
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024
    except (OSError, IndexError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


if __name__ == "__main__":
    status = main()
    os._exit(status)  # without llama.cpp's destructors: nothing is left for them to do
