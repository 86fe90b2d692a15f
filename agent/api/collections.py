"""Collections of passages: making, filling, looking at and removing them. The daemon alone opens their files."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from agent.api.collection_bodies import CreateRequest, PassagesRequest, ReembedRequest, RemovalRequest
from agent.api.decode import decode, parse, read_body
from agent.api.embedder import identify, served_model
from agent.api.models import find_model, finishing
from agent.api.parts import LIBRARY, RUNTIME, SETTINGS
from agent.errors import EdgeAgentError
from agent.search.background import IndexState
from agent.search.collection import Stats
from agent.search.model_id import ModelChangedError, ModelId
from agent.search.name import check_name


async def list_collections(request: web.Request) -> web.Response:
    """`GET /v1/collections`. One that cannot be opened is listed with the reason."""
    library = request.app[LIBRARY]
    data = []
    for name in await library.names():
        try:
            data.append(_described(request, *await library.stats(name)))
        except EdgeAgentError as error:
            data.append({"name": name, "object": "collection", "state": "broken", "error": _error(error)})
    return _json({"object": "list", "data": data})


async def get_collection(request: web.Request) -> web.Response:
    """`GET /v1/collections/{name}`."""
    return await _shown(request, _name(request))


async def create_collection(request: web.Request) -> web.Response:
    """`POST /v1/collections`: loads the model, to know its dimensions."""
    body = await decode(request, CreateRequest)
    check_name(body.name)
    columns = body.columns()
    library = request.app[LIBRARY]
    model = await _identified(request, find_model(request, body.model, "embed"))
    await finishing(request, library.create(body.name, model, columns))
    return await _shown(request, body.name, status=201)


async def remove_collection(request: web.Request) -> web.Response:
    """`DELETE /v1/collections/{name}`."""
    name = _name(request)
    await finishing(request, request.app[LIBRARY].remove(name))
    return _json({"name": name, "object": "collection", "deleted": True})


async def add_passages(request: web.Request) -> web.Response:
    """`POST /v1/collections/{name}/passages`: takes rows in; their vectors come in the background."""
    name = _name(request)
    body = await decode(request, PassagesRequest)
    body.check()
    piece = await request.app[LIBRARY].take(
        name, body.source, body.source_rows, reading=body.reading, more=body.more, sync=body.sync
    )
    return _json(
        {
            "collection": name,
            "source": body.source,
            "added": piece.taken.added,
            "changed": piece.taken.changed,
            "unchanged": piece.taken.unchanged,
            "blank": piece.taken.blank,
            "removed": piece.removed,
            "waiting": piece.waiting,
            "reading": piece.reading,
        }
    )


async def remove_passages(request: web.Request) -> web.Response:
    """`DELETE /v1/collections/{name}/passages`: those with the given ids, or that a filter finds."""
    name = _name(request)
    body = await decode(request, RemovalRequest)
    body.check()
    ids, wanted = body.ids, body.filter
    removed = await request.app[LIBRARY].write(
        name,
        lambda collection: collection.remove(ids) if ids is not None else collection.remove_where(wanted or {}),
    )
    return _json({"collection": name, "removed": removed})


async def reembed_collection(request: web.Request) -> web.Response:
    """`POST /v1/collections/{name}/reembed`: all vectors again, with the model that is served now or another one."""
    name = _name(request)
    given = await read_body(request)
    body = parse(given, ReembedRequest) if given else ReembedRequest()
    library = request.app[LIBRARY]
    recorded = await library.read(name, lambda collection: collection.model)
    model = await _identified(request, _successor(request, body.model, recorded))
    if model != recorded or body.force:
        await finishing(request, library.replace_model(name, model))
    return await _shown(request, name)


def _successor(request: web.Request, wanted: str | None, recorded: ModelId) -> str:
    """The model to embed with: the one asked for, else the one of the same name, else the only one there is."""
    if wanted is None:
        names = [one.name for one in request.app[RUNTIME].models() if one.task == "embed"]
        wanted = recorded.name if recorded.name in names else None
    return find_model(request, wanted, "embed")


async def _identified(request: web.Request, name: str) -> ModelId:
    return await identify(request, name, deadline_s=request.app[SETTINGS].request_timeout_s)


def _name(request: web.Request) -> str:
    name = request.match_info["name"]
    check_name(name)
    return name


async def _shown(request: web.Request, name: str, *, status: int = 200) -> web.Response:
    stats, state = await request.app[LIBRARY].stats(name)
    return _json(_described(request, stats, state), status=status)


def _described(request: web.Request, stats: Stats, state: IndexState) -> dict[str, Any]:
    changed = _change(request, stats)
    error = state.error or changed
    activity = "idle" if not stats.waiting else state.activity if state.activity != "idle" else "paused"
    return {
        "name": stats.name,
        "object": "collection",
        "model": stats.model.name,
        "version": stats.model.version,
        "dim": stats.model.dim,
        "text_columns": stats.text_columns,
        "sources": stats.sources,
        "passages": stats.passages,
        "waiting": stats.waiting,
        "bytes": stats.bytes,
        "state": "model_changed" if changed is not None else activity,
        "error": None if error is None else _error(error),
        "indexing": {
            "embedded": state.embedded,
            "to_embed": state.to_embed,
            "left_out": state.left_out,
            "passages_per_second": None if state.passages_per_second is None else round(state.passages_per_second, 1),
        },
    }


def _change(request: web.Request, stats: Stats) -> ModelChangedError | None:
    try:
        served_model(request.app[RUNTIME], stats.name, stats.model)
    except ModelChangedError as error:
        return error
    return None


def _error(error: EdgeAgentError) -> dict[str, str]:
    return {"code": error.code, "message": str(error)}


def _json(value: object, *, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")
