"""What answers at an address: which models it has, and, where it is an edge-agent, on which board."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from agent.bench.completion import check
from agent.bench.http import Http
from agent.errors import EdgeAgentError, ModelNotFoundError, RequestError, UnauthorizedError, UnavailableError

Task = Literal["generate", "embed", "transcribe"]
DOES: Final[dict[str, str]] = {"generate": "generates text", "embed": "makes vectors", "transcribe": "transcribes"}


@dataclass(frozen=True, kw_only=True)
class Model:
    """`task` and what follows is empty or 0 where the server does not say it: only an edge-agent does."""

    name: str
    task: str = ""
    version: str = ""
    state: str = ""
    description: str = ""
    context_tokens: int = 0
    slots: int = 0
    threads: int = 0
    weights_bytes: int = 0
    gpu_bytes: int = 0
    charged_bytes: int = 0
    resident_bytes: int = 0
    load_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Server:
    """`status` is the answer of an edge-agent's `/status`; empty for any other server."""

    models: tuple[Model, ...]
    status: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ours(self) -> bool:
        return bool(self.status)

    @property
    def version(self) -> str:
        return _text(self.status.get("version"))

    @property
    def board(self) -> Mapping[str, Any]:
        return _mapping(self.status.get("board"))

    @property
    def profile(self) -> Mapping[str, Any]:
        return _mapping(self.status.get("profile"))

    @property
    def busy(self) -> bool:
        """Whether other requests run or wait there; unknown is no."""
        runtime = _mapping(self.status.get("runtime"))
        waiting = _whole(_mapping(runtime.get("queue")).get("waiting"))
        return bool(_whole(runtime.get("running")) or waiting)

    def named(self, name: str) -> Model | None:
        return next((model for model in self.models if model.name == name), None)


async def look(http: Http) -> Server:
    """Raises `GoneError`, `UnauthorizedError`, and `UnavailableError` for what is no OpenAI-compatible server."""
    exchange = await http.get("/v1/models")
    if exchange.response.status in (401, 403):
        raise UnauthorizedError(f"{http.url} wants a key, or another one.", hint="Give it: --api-key, --against-key.")
    try:
        check(exchange)
        listed = exchange.json()["data"]
        entries = [entry for entry in listed if isinstance(entry, dict) and isinstance(entry.get("id"), str)]
    except (EdgeAgentError, ValueError, KeyError, TypeError, RecursionError):
        raise UnavailableError(
            f"What answers at {http.url} is no OpenAI-compatible server: it lists no models at /v1/models.",
            hint="Check the address: the part before /v1.",
        ) from None
    status = await _status(http)
    details = {
        _text(one.get("name")): one for one in _list(_mapping(status.get("runtime")).get("models")) if _mapping(one)
    }
    return Server(models=tuple(_model(entry, details.get(entry["id"], {})) for entry in entries), status=status)


def choose(server: Server, wanted: str | None, task: Task, url: str) -> Model:
    """The model called `wanted`, else the only one for `task`. Raises `ModelNotFoundError`, `RequestError`."""
    fitting = [model for model in server.models if model.task in ("", task)]
    if wanted is not None:
        # ollama lists `qwen2.5:latest` and answers to `qwen2.5`.
        found = server.named(wanted) or server.named(f"{wanted}:latest")
        if found is None:
            names = [model.name for model in server.models]
            near = difflib.get_close_matches(wanted, names, n=1)
            hint = f"Did you mean {near[0]}?" if near else _there_is(names)
            raise ModelNotFoundError(f"There is no model called {wanted[:100]!r} at {url}.", hint=hint, param="model")
        if found.task not in ("", task):
            raise RequestError(f"{found.name} does not do this: it {DOES.get(found.task, found.task)}.", param="model")
        return found
    if not fitting:
        raise ModelNotFoundError(f"No model at {url} {DOES[task]}.", param="model")
    if len(fitting) > 1:
        names = [model.name for model in fitting]
        raise RequestError(f"Which model? {_there_is(names)}", hint="Say it with --model.", param="model")
    return fitting[0]


async def _status(http: Http) -> Mapping[str, Any]:
    """Empty for a server that is not ours."""
    exchange = await http.get("/status")
    try:
        check(exchange)
        status = _mapping(exchange.json())
    except (EdgeAgentError, ValueError, RecursionError):
        return {}
    return status if _mapping(status.get("runtime")) and _mapping(status.get("profile")) else {}


def _model(entry: Mapping[str, Any], detail: Mapping[str, Any]) -> Model:
    loaded, stats = _mapping(detail.get("loaded")), _mapping(detail.get("stats"))
    memory = _mapping(loaded.get("memory")) or _mapping(detail.get("predicted"))
    load_s = loaded.get("load_s")
    return Model(
        name=entry["id"],
        task=_text(entry.get("task")),
        version=_text(entry.get("version")),
        state=_text(entry.get("state")),
        description=_text(loaded.get("description")),
        context_tokens=_whole(loaded.get("context_tokens")),
        slots=_whole(loaded.get("slots")),
        threads=_whole(stats.get("threads")),
        weights_bytes=_whole(memory.get("weights_bytes")),
        gpu_bytes=_whole(memory.get("gpu_bytes")),
        charged_bytes=_whole(detail.get("charged_bytes")),
        resident_bytes=_whole(stats.get("resident_bytes")),
        load_s=float(load_s) if isinstance(load_s, int | float) else 0.0,
    )


def _there_is(names: Sequence[str]) -> str:
    if not names:
        return "It has none."
    shown = ", ".join(names[:8])
    return f"There is {shown}." if len(names) <= 8 else f"There is {shown} and {len(names) - 8} more."


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _whole(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
