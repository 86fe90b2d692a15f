"""The real worker with a real model, and a fault put into it: what is wrong stands in `fault`, beside the model file.

    python faulty_worker.py FD

`fault` holds one word: `crash` (SIGSEGV while it loads), `hang` (while it loads), `mute` (answers no request), `die`
(of a request), `slow` (every step takes 10 ms more), `fat` (holds 100 MiB that it did not predict), `liar` (fails every
request with an error of the engine). Without such a file it is the worker as it is.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from agent.engines import worker
from agent.engines.connection import Connection
from agent.errors import EngineError
from agent.runtime.wire.loading import LoadModel
from agent.runtime.wire.messages import Request

FOREVER_S = 3600.0
_real_load = worker.load
_ballast: list[bytearray] = []


def faulty_load(connection: Connection, order: LoadModel) -> Any:
    file = Path(order.path).with_name("fault")
    fault = file.read_text().strip() if file.exists() else ""
    if fault == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if fault == "hang":
        time.sleep(FOREVER_S)
    if fault == "fat":
        _ballast.append(bytearray(os.urandom(1 << 20) * 100))
    if fault == "slow":
        from agent.engines.llama.runner import StepRunner

        real_run = StepRunner.run

        def slow_run(*arguments: Any, **named: Any) -> int:
            time.sleep(0.01)
            return real_run(*arguments, **named)

        StepRunner.run = slow_run  # type: ignore[method-assign]
    service = _real_load(connection, order)
    if fault in ("mute", "die", "liar"):

        def submit(request: Request, came_s: float) -> None:
            if fault == "die":
                os.kill(os.getpid(), signal.SIGKILL)
            if fault == "liar":
                raise EngineError("The engine could not do it.")

        service.submit = submit  # type: ignore[method-assign]
    return service


if __name__ == "__main__":
    worker.load = faulty_load
    worker.main()
