"""The models by name: which there are, finding the one a request means, and loading, unloading, changing versions."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, ClassVar, Final, Protocol

import msgspec
from aiohttp import web

from agent.api.decode import Body, parse, read_body
from agent.api.parts import CHANGES, DAEMON, RUNTIME, STORE
from agent.errors import EdgeAgentError, ModelNotFoundError, RequestError
from agent.runtime.snapshot import ModelSnapshot
from agent.runtime.spec import DOES, Task

FILE: Final = "file"
"""The version of a model that is served from a file in place of the store (`agent.plan`)."""


class Daemon(Protocol):
    """What the HTTP side needs of the process around it."""

    @property
    def version(self) -> str:
        """The version of edge-agent."""

    @property
    def started_at(self) -> float:
        """Unix time in seconds."""

    def about(self) -> Mapping[str, Any]:
        """Further sections of /status by name (profile, board, ...): plain values or structs, ready for JSON."""

    async def models_changed(self) -> None:
        """The store has another version active than before: tell the runtime."""


class ActivateRequest(Body, kw_only=True):
    """`POST /models/{name}/activate`."""

    IGNORED: ClassVar[frozenset[str]] = frozenset()
    version: str


def find_model(request: web.Request, name: str | None, task: Task) -> str:
    """The real name of the model that a request means by a name or an alias.

    Without a name it is the only model there is for `task`. Raises `ModelNotFoundError`, and `RequestError` if the
    model does something else.
    """
    return choose_model(request.app[RUNTIME].models(), name, task)


def choose_model(models: tuple[ModelSnapshot, ...], name: str | None, task: Task) -> str:
    """`find_model` among `models`."""
    if name is None:
        fitting = [model.name for model in models if model.task == task]
        if not fitting:
            what = "FILE.gguf" if task == "generate" else "FOLDER"
            hint = f"`edge-agent models suggest` lists what fits; for your own: edge-agent models import {what}."
            raise ModelNotFoundError(f"No model here {DOES[task]}.", hint=hint, param="model")
        if len(fitting) > 1:
            raise RequestError("`model` is missing.", hint=_choice(fitting), param="model")
        return fitting[0]
    model = _lookup(models, name)
    if model.task != task:
        fitting = [other.name for other in models if other.task == task]
        raise RequestError(f"{model.name} {DOES[model.task]}.", hint=_choice(fitting), param="model")
    return model.name


def shortens(request: web.Request, name: str) -> bool:
    """Whether the vectors of this model may be cut."""
    return any(model.shortens for model in request.app[RUNTIME].models() if model.name == name)


async def list_models(request: web.Request) -> web.Response:
    """`GET /v1/models`."""
    data = [_described(model) for model in request.app[RUNTIME].models()]
    return _json({"object": "list", "data": data})


async def get_model(request: web.Request) -> web.Response:
    """`GET /v1/models/{id}`."""
    model = _lookup(request.app[RUNTIME].models(), request.match_info["name"])
    return _json(_described(model))


async def load_model(request: web.Request) -> web.Response:
    """`POST /models/{name}/load`: answers when the model is ready."""
    runtime = request.app[RUNTIME]
    name = _known(request)
    await finishing(request, runtime.load(name))
    return _state(request, name)


async def unload_model(request: web.Request) -> web.Response:
    """`POST /models/{name}/unload`: answers when its memory is free."""
    runtime = request.app[RUNTIME]
    name = _known(request)
    await finishing(request, runtime.unload(name))
    return _state(request, name)


async def activate_model(request: web.Request) -> web.Response:
    """`POST /models/{name}/activate` with `{"version": ...}`: answers once the version is active on disk, and has taken
    over from the one that was loaded, if one was. No request fails for it."""
    version = parse(await read_body(request), ActivateRequest).version
    name = stored_name(request)
    await finishing(request, _activate(request, name, version))
    return _json({"model": name, "version": version})


async def rollback_model(request: web.Request) -> web.Response:
    """`POST /models/{name}/rollback`: back to the version that was active before."""
    name = stored_name(request)
    version = await finishing(request, _rollback(request, name))
    return _json({"model": name, "version": version})


async def _activate(request: web.Request, name: str, version: str) -> None:
    store = request.app[STORE]
    await asyncio.to_thread(store.activate, name, version)

    def undo() -> None:
        try:
            store.rollback(name)
        except RequestError:  # none was active before
            store.deactivate(name)

    await _serve_active(request, name, undo)


async def _rollback(request: web.Request, name: str) -> str:
    store = request.app[STORE]
    if any(model.name == name and model.version == FILE for model in request.app[RUNTIME].models()):
        raise RequestError(
            f"{name} is served from a file: it has no versions to go back to.",
            hint=f"models.{name}.path in agent.toml names the file.",
            param="model",
        )
    served = [model.version for model in request.app[RUNTIME].models() if model.name == name]
    stored = await asyncio.to_thread(store.rollback, name)
    await _serve_active(request, name, undo=lambda: [store.activate(name, version) for version in served])
    return stored.version


async def _serve_active(request: web.Request, name: str, undo: Callable[[], object]) -> None:
    """Returns when the version that is active now has taken over from the one that serves, if one does. If it cannot be
    loaded, that one serves on and is made active again, and the reason is raised."""
    await request.app[DAEMON].models_changed()
    try:
        await request.app[RUNTIME].settled(name)
    except EdgeAgentError:
        await asyncio.to_thread(undo)
        await request.app[DAEMON].models_changed()
        raise


async def finishing(request: web.Request, work: Coroutine[Any, Any, Any]) -> Any:
    """Does `work` to its end even if the client leaves meanwhile: half a change helps nobody."""
    task = asyncio.ensure_future(work)
    pending = request.app[CHANGES]
    pending.add(task)
    task.add_done_callback(pending.discard)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return await asyncio.shield(task)


def _lookup(models: tuple[ModelSnapshot, ...], name: str) -> ModelSnapshot:
    for model in models:
        if name == model.name or name in model.aliases:
            return model
    names = [model.name for model in models]
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"Did you mean {near[0]}?" if near else _choice(names)
    raise ModelNotFoundError(f"There is no model called {name[:100]!r}.", hint=hint, param="model")


def _known(request: web.Request) -> str:
    return _lookup(request.app[RUNTIME].models(), request.match_info["name"]).name


def stored_name(request: web.Request) -> str:
    """The store's name for it, also for a model that the runtime does not serve (no version active)."""
    name = request.match_info["name"]
    for model in request.app[RUNTIME].models():
        if name in model.aliases:
            return model.name
    return name


def _choice(names: list[str]) -> str:
    return (
        f"There is {', '.join(names)}." if names else "`edge-agent models suggest` lists what fits and how to get it."
    )


def _described(model: ModelSnapshot) -> dict[str, object]:
    described: dict[str, object] = {
        "id": model.name,
        "object": "model",
        "created": model.created,
        "owned_by": "edge-agent",
        "version": model.version,
        "task": model.task,
        "aliases": model.aliases,
        "state": model.state,
    }
    if model.loaded is not None:
        described["context_tokens"] = model.loaded.context_tokens
        described["embedding_dim"] = model.loaded.embedding_dim or None
    return described


def _state(request: web.Request, name: str) -> web.Response:
    model = _lookup(request.app[RUNTIME].models(), name)
    return _json({"model": name, "version": model.version, "state": model.state, "charged_bytes": model.charged_bytes})


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
