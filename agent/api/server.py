"""The application: which handler answers what, behind which middleware."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from aiohttp import web

from agent.api.access import access, add_identity
from agent.api.assist import assist
from agent.api.audio_stream import audio_stream
from agent.api.chat import chat
from agent.api.collections import (
    add_passages,
    create_collection,
    get_collection,
    list_collections,
    reembed_collection,
    remove_collection,
    remove_passages,
)
from agent.api.completions import completions
from agent.api.connection import ConnectionCount
from agent.api.drain import Drain
from agent.api.embeddings import embeddings
from agent.api.gauges import EnergyFigures, FleetFigures, GovernorFigures
from agent.api.health import health, status
from agent.api.keys import ApiKeys
from agent.api.live import list_devices, live_events, start_live, stop_live
from agent.api.metrics import Metrics, metrics
from agent.api.models import (
    Daemon,
    activate_model,
    get_model,
    list_models,
    load_model,
    rollback_model,
    unload_model,
)
from agent.api.parts import (
    CHANGES,
    CONNECTIONS,
    DAEMON,
    DOORKEEPER,
    DRAIN,
    FILE_TURNS,
    LIBRARY,
    LISTENING,
    LIVE_OPTIONS,
    METRICS,
    RUNTIME,
    SETTINGS,
    STORE,
    UPDATES,
    VOICE,
)
from agent.api.search import search
from agent.api.security import Doorkeeper, add_cors_headers, security
from agent.api.settings import ApiSettings
from agent.api.transcriptions import transcriptions, translations
from agent.api.turns import Turns
from agent.api.updates import Updates, cancel_update, get_update, list_updates, update_model
from agent.api.web_page import index, page_part
from agent.speech.live import LiveOptions
from agent.speech.vad import VoiceActivity, silero

if TYPE_CHECKING:
    from agent.runtime.service import Runtime
    from agent.search.library import Library
    from agent.speech.listening import Listening
    from agent.store.store import Store


def make_app(
    runtime: Runtime,
    store: Store,
    settings: ApiSettings,
    *,
    daemon: Daemon,
    library: Library,
    listening: Listening,
    keys: ApiKeys | None = None,
    live_options: LiveOptions | None = None,
    fleet: FleetFigures | None = None,
    energy: EnergyFigures | None = None,
    governor: GovernorFigures | None = None,
    updates: Updates | None = None,
    voice: Callable[[], VoiceActivity] = silero,
) -> web.Application:
    """The whole HTTP side. `Listener` serves it; `keys` may be changed while it runs (`ApiKeys.replace`).
    `live_options` are the pattern of clients' audio streams, `voice` makes a detector for each. Without `updates`
    there are no routes for them.
    """
    app = web.Application(middlewares=[access, security], client_max_size=settings.body_limit_bytes)
    connections = ConnectionCount()
    app[RUNTIME] = runtime
    app[STORE] = store
    app[LIBRARY] = library
    app[LISTENING] = listening
    app[SETTINGS] = settings
    app[DAEMON] = daemon
    app[DOORKEEPER] = Doorkeeper(settings, keys if keys is not None else ApiKeys())
    app[DRAIN] = Drain()
    app[CONNECTIONS] = connections
    app[METRICS] = Metrics(runtime, connections, listening, fleet, energy, governor)
    app[CHANGES] = set()
    app[LIVE_OPTIONS] = live_options if live_options is not None else LiveOptions()
    app[VOICE] = voice
    app[FILE_TURNS] = Turns(at_once=settings.file_limit, capacity=settings.file_capacity)
    app.on_response_prepare.append(add_identity)
    app.on_response_prepare.append(add_cors_headers)
    app.add_routes(
        [
            web.get("/", index),
            web.get("/page/{name}", page_part),
            web.post("/v1/chat/completions", chat),
            web.post("/v1/completions", completions),
            web.post("/v1/embeddings", embeddings),
            web.post("/v1/assist", assist),
            web.get("/v1/audio/stream", audio_stream),
            web.post("/v1/audio/transcriptions", transcriptions),
            web.post("/v1/audio/translations", translations),
            web.get("/v1/audio/live", live_events, allow_head=False),
            web.post("/v1/audio/live/start", start_live),
            web.post("/v1/audio/live/stop", stop_live),
            web.get("/v1/audio/devices", list_devices, allow_head=False),
            web.get("/v1/collections", list_collections),
            web.post("/v1/collections", create_collection),
            web.get("/v1/collections/{name}", get_collection),
            web.delete("/v1/collections/{name}", remove_collection),
            web.post("/v1/collections/{name}/passages", add_passages),
            web.delete("/v1/collections/{name}/passages", remove_passages),
            web.post("/v1/collections/{name}/reembed", reembed_collection),
            web.post("/v1/search", search),
            web.get("/v1/models", list_models),
            web.get("/v1/models/{name:.+}", get_model),
            web.post("/models/{name:.+}/load", load_model),
            web.post("/models/{name:.+}/unload", unload_model),
            web.post("/models/{name:.+}/activate", activate_model),
            web.post("/models/{name:.+}/rollback", rollback_model),
            web.get("/health", health),
            web.get("/status", status),
            web.get("/metrics", metrics),
        ]
    )
    if updates is not None:
        app[UPDATES] = updates
        app.add_routes(
            [
                web.get("/updates", list_updates),
                web.get(r"/updates/{id:\d{1,15}}", get_update),
                web.post("/models/{name:.+}/update", update_model),
                web.delete("/models/{name:.+}/update", cancel_update),
            ]
        )
    return app
