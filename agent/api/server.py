"""The application: which handler answers what, behind which middleware."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from agent.api.access import access, add_identity
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
from agent.api.health import health, status
from agent.api.index import index
from agent.api.keys import ApiKeys
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
    LIBRARY,
    METRICS,
    RUNTIME,
    SETTINGS,
    STORE,
)
from agent.api.search import search
from agent.api.security import Doorkeeper, add_cors_headers, security
from agent.api.settings import ApiSettings

if TYPE_CHECKING:
    from agent.runtime.service import Runtime
    from agent.search.library import Library
    from agent.store.store import Store


def make_app(
    runtime: Runtime,
    store: Store,
    settings: ApiSettings,
    *,
    daemon: Daemon,
    library: Library,
    keys: ApiKeys | None = None,
) -> web.Application:
    """The whole HTTP side. `Listener` serves it; `keys` may be changed while it runs (`ApiKeys.replace`)."""
    app = web.Application(middlewares=[access, security], client_max_size=settings.body_limit_bytes)
    connections = ConnectionCount()
    app[RUNTIME] = runtime
    app[STORE] = store
    app[LIBRARY] = library
    app[SETTINGS] = settings
    app[DAEMON] = daemon
    app[DOORKEEPER] = Doorkeeper(settings, keys if keys is not None else ApiKeys())
    app[DRAIN] = Drain()
    app[CONNECTIONS] = connections
    app[METRICS] = Metrics(runtime, connections)
    app[CHANGES] = set()
    app.on_response_prepare.append(add_identity)
    app.on_response_prepare.append(add_cors_headers)
    app.add_routes(
        [
            web.get("/", index),
            web.post("/v1/chat/completions", chat),
            web.post("/v1/completions", completions),
            web.post("/v1/embeddings", embeddings),
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
    return app
