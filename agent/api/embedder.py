"""The vectors of queries and passages, made by exactly the model that a collection was made with."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from aiohttp import web

from agent.api.embeddings import rows_of
from agent.api.generation import submit
from agent.api.parts import RUNTIME
from agent.errors import EngineError
from agent.runtime.queue import Priority
from agent.runtime.snapshot import ModelSnapshot
from agent.runtime.wire.embedding import Embed, Embedded
from agent.search.model_id import ModelChangedError, ModelId, check_same, remedy

if TYPE_CHECKING:
    from agent.runtime.service import Runtime

CLIENT: Final = "collections"
"""Who the indexing is for the queue, which is fair between clients."""
QUERY_PROMPTS: Final = ("query",)
PASSAGE_PROMPTS: Final = ("document", "passage", "corpus")
"""Names under which models bring a prompt for a text to be found; sentence-transformers looks for the same."""


class RuntimeEmbedder:
    """`agent.search.embedder.Embedder` over the runtime's models."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def embed(self, collection: str, model: ModelId, texts: Sequence[str]) -> list[array[float]]:
        served = served_model(self._runtime, collection, model)
        request = Embed(inputs=tuple(texts), prompt_name=_prompt(served, PASSAGE_PROMPTS), truncate=True)
        result: Embedded | None = None
        async with self._runtime.submit(model.name, request, client=CLIENT, priority=Priority.LOW) as stream:
            async for events in stream:
                for event in events:
                    if isinstance(event, Embedded):
                        result = event
        return _rows(self._runtime, collection, model, result, len(texts))


async def embed_query(
    request: web.Request, collection: str, model: ModelId, text: str, *, priority: Priority, deadline_s: float
) -> array[float]:
    """float32 [dim]. Raises `ModelChangedError` where another model is served now, and what `Runtime.submit` does."""
    runtime = request.app[RUNTIME]
    served = served_model(runtime, collection, model)
    embed = Embed(inputs=(text,), prompt_name=_prompt(served, QUERY_PROMPTS), truncate=True)
    result = await _embedded(request, model.name, embed, priority=priority, deadline_s=deadline_s)
    return _rows(runtime, collection, model, result, 1)[0]


async def identify(request: web.Request, name: str, *, deadline_s: float) -> ModelId:
    """The model called `name` as it is served now; loads it to find out what its vectors are like."""
    runtime = request.app[RUNTIME]
    before = _served(runtime, name)
    result = await _embedded(
        request, name, Embed(inputs=("dimensions",), truncate=True), priority=Priority.NORMAL, deadline_s=deadline_s
    )
    after = _served(runtime, name)
    if result is None or before is None or after is None or before.version != after.version:
        raise EngineError(f"Model {name} changed, or gave no vector.", hint="Try again.")
    return ModelId(name, before.version, result.dim)


def served_model(runtime: Runtime, collection: str, model: ModelId) -> ModelSnapshot:
    """The model that made a collection's vectors. Raises `ModelChangedError` unless this very version is served."""
    served = _served(runtime, model.name)
    if served is None or served.task != "embed":
        raise ModelChangedError(
            f"Collection {collection} holds vectors of {model}, which this device does not serve now.",
            hint=remedy(collection, model) + " A search by words (mode text) works without a model.",
            param="model",
        )
    check_same(collection, model, ModelId(model.name, served.version, model.dim))
    return served


async def _embedded(
    request: web.Request, model: str, embed: Embed, *, priority: Priority, deadline_s: float
) -> Embedded | None:
    result: Embedded | None = None
    with submit(request, model, [embed], priority=priority, deadline_s=deadline_s) as generation:
        async for _, events in generation.events():
            for event in events:
                if isinstance(event, Embedded):
                    result = event
    return result


def _rows(runtime: Runtime, collection: str, model: ModelId, result: Embedded | None, count: int) -> list[array[float]]:
    """Looks a second time: the model may have been exchanged while the request waited."""
    served = served_model(runtime, collection, model)
    if result is None:
        raise EngineError("The engine returned no embeddings.", hint="The daemon's log has the details.")
    check_same(collection, model, ModelId(model.name, served.version, result.dim))
    rows = rows_of(result)
    if len(rows) != count:
        raise EngineError(f"The engine returned {len(rows)} embeddings for {count} texts.")
    return rows


def _served(runtime: Runtime, name: str) -> ModelSnapshot | None:
    return next((model for model in runtime.models() if model.name == name), None)


def _prompt(model: ModelSnapshot, names: Sequence[str]) -> str | None:
    return next((name for name in names if name in model.prompts), None)
