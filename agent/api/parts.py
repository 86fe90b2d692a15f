"""Where an application keeps the parts that its handlers share: typed keys, filled in by `make_app`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from agent.api.connection import ConnectionCount
    from agent.api.drain import Drain
    from agent.api.metrics import Metrics
    from agent.api.models import Daemon
    from agent.api.security import Doorkeeper
    from agent.api.settings import ApiSettings
    from agent.api.turns import Turns
    from agent.api.updates import Updates
    from agent.runtime.service import Runtime
    from agent.search.library import Library
    from agent.speech.listening import Listening
    from agent.speech.live import LiveOptions
    from agent.speech.vad import VoiceActivity
    from agent.store.store import Store

RUNTIME: web.AppKey[Runtime] = web.AppKey("runtime")
STORE: web.AppKey[Store] = web.AppKey("store")
LIBRARY: web.AppKey[Library] = web.AppKey("library")
LISTENING: web.AppKey[Listening] = web.AppKey("listening")
DAEMON: web.AppKey[Daemon] = web.AppKey("daemon")
SETTINGS: web.AppKey[ApiSettings] = web.AppKey("settings")
DOORKEEPER: web.AppKey[Doorkeeper] = web.AppKey("doorkeeper")
DRAIN: web.AppKey[Drain] = web.AppKey("drain")
FILE_TURNS: web.AppKey[Turns] = web.AppKey("file_turns")
"""Audio files that are decoded at once: each takes a process."""
LIVE_OPTIONS: web.AppKey[LiveOptions] = web.AppKey("live_options")
"""The pattern of clients' audio streams: segments, partials, request."""
VOICE: web.AppKey[Callable[[], VoiceActivity]] = web.AppKey("voice")
"""Makes a voice activity detector for one audio stream."""
CONNECTIONS: web.AppKey[ConnectionCount] = web.AppKey("connections")
UPDATES: web.AppKey[Updates] = web.AppKey("updates")
METRICS: web.AppKey[Metrics] = web.AppKey("metrics")
CHANGES: web.AppKey[set[asyncio.Future[Any]]] = web.AppKey("changes")
"""Model changes that go on although their client may be gone."""
