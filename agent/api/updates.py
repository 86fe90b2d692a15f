"""Updates of models over HTTP: which are under way, asking for one, taking it back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Protocol

import msgspec
from aiohttp import web

from agent.api.decode import Body, parse, read_body
from agent.api.models import stored_name
from agent.api.parts import UPDATES
from agent.errors import NotFoundError


class Updates(Protocol):
    """`agent.updates_side.Updates`. What is returned is ready for JSON, see `agent.updates.report`."""

    def state(self) -> Mapping[str, Any]: ...

    async def update(
        self, name: str, version: str | None = None, *, origin: Literal["person"], policy: Mapping[str, Any] | None
    ) -> Mapping[str, Any]:
        """Raises `RequestError`, `UnavailableError`, `StoreError`."""

    async def cancel(self, name: str) -> list[dict[str, Any]]:
        """Raises `RequestError` where nothing can be taken back."""

    async def history(self, id: int) -> Mapping[str, Any] | None:
        """None for an update that is not known."""


class UpdateRequest(Body, kw_only=True):
    """`POST /models/{name}/update`. Without `version` it is the latest one."""

    IGNORED: ClassVar[frozenset[str]] = frozenset()
    version: str | None = None
    policy: dict[str, Any] = msgspec.field(default_factory=dict)


async def list_updates(request: web.Request) -> web.Response:
    """`GET /updates`."""
    return _json(request.app[UPDATES].state())


async def get_update(request: web.Request) -> web.Response:
    """`GET /updates/{id}`: with every move that it has made."""
    found = await request.app[UPDATES].history(int(request.match_info["id"]))
    if found is None:
        raise NotFoundError("There is no such update.", hint="GET /updates lists those that are known.")
    return _json(found)


async def update_model(request: web.Request) -> web.Response:
    """`POST /models/{name}/update`: answers 202 with the update, which goes on by itself."""
    data = await read_body(request)
    asked = parse(data, UpdateRequest) if data.strip() else UpdateRequest()
    name = stored_name(request)
    found = await request.app[UPDATES].update(name, asked.version, origin="person", policy=asked.policy)
    return _json(found, status=202)


async def cancel_update(request: web.Request) -> web.Response:
    """`DELETE /models/{name}/update`: takes back what is under way."""
    return _json({"updates": await request.app[UPDATES].cancel(stored_name(request))})


def _json(value: object, status: int = 200) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")
