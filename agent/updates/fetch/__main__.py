"""The child process of an update: does one job for the daemon, and ends."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from pathlib import Path

from agent.errors import EdgeAgentError, UpdateError
from agent.runtime.niceness import step_behind
from agent.updates.fetch.connection import Connection
from agent.updates.fetch.faults import disk_fault
from agent.updates.fetch.lean import leave_out_urllib3
from agent.updates.fetch.meter import Meter
from agent.updates.fetch.transport import Transport
from agent.updates.fetch.wire import Compare, Done, Download, Failed, FromChild, Job, Repository, Resolve

OOM_SCORE = "700"


def main() -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(message)s")
    _step_back()
    meter = Meter()
    connection = Connection(meter)
    connection.send(_outcome(connection.job(), connection, meter))
    os._exit(0)  # threads and libraries have nothing left to say


def _outcome(job: Job, connection: Connection, meter: Meter) -> FromChild:
    try:
        return _do(job, connection, meter)
    except EdgeAgentError as error:
        return _failed(error)
    except OSError as error:
        return _failed(disk_fault(error, f"the step {type(job).__name__.lower()}", Path(_folder(job))))


def _do(job: Job, connection: Connection, meter: Meter) -> FromChild:
    """Each job imports what it needs: memory is what an update is to leave to the models."""
    if isinstance(job, Compare):
        from agent.updates.fetch.compare import compare

        return compare(job)
    with contextlib.closing(_transport(job.repository, connection, meter)) as transport:
        if isinstance(job, Resolve):
            leave_out_urllib3()
            from agent.updates.fetch.resolve import resolve

            return resolve(job, transport)
        from agent.updates.fetch.download import Downloading

        meter.allow(job.limit_bytes, job.bytes_per_s)
        Downloading(job, transport, meter, connection.send).run()
        return Done()


def _transport(repository: Repository, connection: Connection, meter: Meter) -> Transport:
    if repository.url is None:
        from agent.updates.fetch.blocks import BlockTransport

        return BlockTransport(connection, meter)
    from agent.updates.fetch.http import HttpTransport

    return HttpTransport(repository.url, meter)


def _folder(job: Job) -> str:
    return job.into if isinstance(job, Download) else job.folder if isinstance(job, Compare) else job.repository.folder


def _failed(error: EdgeAgentError) -> Failed:
    retry = isinstance(error, UpdateError) and error.retry
    return Failed(code=error.code, message=error.message, hint=error.hint, param=error.param, retry=retry)


def _step_back() -> None:
    """Whoever answers requests goes first, to the processor and to memory."""
    step_behind(os.getpid())
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(OOM_SCORE)


if __name__ == "__main__":
    main()
