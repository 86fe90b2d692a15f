"""Work done in a forked child, so that none of its memory stays in this process."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

from agent.engines.process import die_with_parent
from agent.errors import EngineError


def in_child(work: Callable[[], bytes]) -> bytes:
    """What `work` returns, from a copy of this process that ends with it. Call it before there are threads; POSIX only.

    A freed vocabulary of 152k tokens leaves a hole of 25 MB in the heap. What is put into it is written by calloc even
    where nobody ever looks, and what is left of it stays: 2 to 3 MB of a worker.

    Raises `EngineError` where `work` raises or forking fails; where the child is killed, so is this process.
    """
    sys.stderr.flush()
    read_fd, write_fd = os.pipe()
    try:
        child = os.fork()
    except OSError as error:
        os.close(read_fd)
        os.close(write_fd)
        raise EngineError(f"The model cannot be tried out: {error.strerror}.") from error
    if child == 0:
        _work_and_exit(work, read_fd, write_fd)
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as pipe:
        result = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code < 0:
        # A file that crashes llama.cpp here would have crashed it in this process: it ends as if it had.
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    if code != 0:
        raise EngineError("The model cannot be tried out: the reason is in the log.")
    return result


def _work_and_exit(work: Callable[[], bytes], read_fd: int, write_fd: int) -> None:
    """The child: nothing of the parent's is closed or flushed a second time."""
    status = 1
    try:
        os.close(read_fd)
        die_with_parent()
        with os.fdopen(write_fd, "wb") as pipe:
            pipe.write(work())
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    finally:
        os._exit(status)
