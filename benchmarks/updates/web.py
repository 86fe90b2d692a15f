"""A web server for a repository, in a process of its own: `python -m benchmarks.updates.web FOLDER PORT`."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from benchmarks.mqtt.mosquitto import free_port

ROOT: Final = Path(__file__).resolve().parents[2]


@contextlib.contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Its address, while entered."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.updates.web", str(folder), str(port)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert server.stdout is not None
        server.stdout.readline()
        yield f"http://127.0.0.1:{port}/"
    finally:
        server.kill()
        server.wait()


def serve(folder: str, port: int) -> None:
    from aiohttp import web

    app = web.Application()
    app.router.add_static("/", folder)
    web.run_app(app, host="127.0.0.1", port=port, access_log=None)


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]))
