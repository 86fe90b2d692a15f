"""`GET /health`, for whoever restarts us, and `GET /status`, for whoever wants to know why."""

from __future__ import annotations

import os
import time

import msgspec
from aiohttp import web

from agent.api.parts import CONNECTIONS, DAEMON, DRAIN, LISTENING, RUNTIME


async def health(request: web.Request) -> web.Response:
    """200 while requests are taken, 503 once the daemon is going down. A model in trouble does not make it sick."""
    if request.app[DRAIN].refusing:
        body = {"status": "shutting_down"}
        return web.Response(status=503, body=msgspec.json.encode(body), content_type="application/json")
    return web.Response(body=b'{"status":"ok"}', content_type="application/json")


async def status(request: web.Request) -> web.Response:
    """Everything: the process, connections, queue, ledger, models, microphone; the daemon's own (profile, board)."""
    app = request.app
    daemon, drain, connections = app[DAEMON], app[DRAIN], app[CONNECTIONS]
    answer = {
        "status": "shutting_down" if drain.refusing else "ok",
        "version": daemon.version,
        "pid": os.getpid(),
        "uptime_s": round(time.time() - daemon.started_at, 1),
        "http": {
            "active_requests": drain.active,
            "connections": connections.open,
            "audio_streams": connections.streams.active,
            "connections_refused": connections.refused,
            "connections_timed_out": connections.timed_out,
        },
        "runtime": app[RUNTIME].snapshot(),
        "microphone": app[LISTENING].state,
        **daemon.about(),
    }
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")
