"""Where an application keeps the parts that its handlers share: typed keys, filled in by `make_app`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from agent.api.connection import ConnectionCount
    from agent.api.drain import Drain
    from agent.api.metrics import Metrics
    from agent.api.models import Daemon
    from agent.api.security import Doorkeeper
    from agent.api.settings import ApiSettings
    from agent.runtime.service import Runtime
    from agent.search.library import Library
    from agent.store.store import Store

RUNTIME: web.AppKey[Runtime] = web.AppKey("runtime")
STORE: web.AppKey[Store] = web.AppKey("store")
LIBRARY: web.AppKey[Library] = web.AppKey("library")
DAEMON: web.AppKey[Daemon] = web.AppKey("daemon")
SETTINGS: web.AppKey[ApiSettings] = web.AppKey("settings")
DOORKEEPER: web.AppKey[Doorkeeper] = web.AppKey("doorkeeper")
DRAIN: web.AppKey[Drain] = web.AppKey("drain")
CONNECTIONS: web.AppKey[ConnectionCount] = web.AppKey("connections")
METRICS: web.AppKey[Metrics] = web.AppKey("metrics")
CHANGES: web.AppKey[set[asyncio.Future[Any]]] = web.AppKey("changes")
"""Model changes that go on although their client may be gone."""
