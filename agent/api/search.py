"""`POST /v1/search`, and finding passages for whoever needs them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import msgspec
from aiohttp import web

from agent.api.collection_bodies import SearchRequest
from agent.api.decode import decode
from agent.api.embedder import embed_query
from agent.api.generation_body import urgency
from agent.api.parts import LIBRARY, SETTINGS
from agent.runtime.queue import Priority
from agent.search import query as queries
from agent.search.collection import Collection
from agent.search.model_id import ModelId
from agent.search.name import check_name
from agent.search.query import Hit, Query


@dataclass(frozen=True)
class Found:
    """`waiting` passages had no vector yet. The times include waiting for the model, and for other searches."""

    hits: list[Hit]
    model: ModelId
    waiting: int
    embedding_s: float
    search_s: float

    def timings(self) -> dict[str, float]:
        return {
            "embedding_ms": round(self.embedding_s * 1e3, 3),
            "search_ms": round(self.search_s * 1e3, 3),
        }


async def search(request: web.Request) -> web.Response:
    body = await decode(request, SearchRequest)
    found = await find(
        request,
        body.collection,
        body.to_query(),
        priority=urgency(body.priority),
        deadline_s=body.deadline_s or body.timeout or request.app[SETTINGS].request_timeout_s,
    )
    answer = {
        "object": "list",
        "collection": body.collection,
        "model": found.model.name,
        "version": found.model.version,
        "mode": body.mode,
        "hits": found.hits,
        "waiting": found.waiting,
        "timings": found.timings(),
    }
    return web.Response(body=msgspec.json.encode(answer), content_type="application/json")


async def find(
    request: web.Request,
    name: str,
    wanted: Query,
    *,
    priority: Priority,
    deadline_s: float,
) -> Found:
    """The best passages for a query, which gets its vector here where its mode needs one.

    Raises `RequestError`, `NotFoundError`, `ModelChangedError`, and what the runtime raises.
    """
    check_name(name)
    queries.check(wanted)
    library = request.app[LIBRARY]
    model = await library.read(name, lambda collection: collection.model)
    started, complete = time.monotonic(), wanted
    if wanted.mode != "text":
        text = wanted.text or ""
        vector = await embed_query(request, name, model, text, priority=priority, deadline_s=deadline_s)
        complete = replace(wanted, vector=vector)
    embedded = time.monotonic()

    def look(collection: Collection) -> tuple[list[Hit], int]:
        if complete.vector is not None:
            collection.require_model(model)
        return collection.search(complete), collection.count_waiting()

    hits, waiting = await library.read(name, look)
    return Found(hits, model, waiting, embedded - started, time.monotonic() - embedded)
