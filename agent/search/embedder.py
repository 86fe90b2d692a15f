"""What the background needs of a model: the one interface between collections and whatever makes their vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from agent.search.model_id import ModelId
from agent.search.vectors import Floats


class Embedder(Protocol):
    """Makes the vectors of passages, at a low priority."""

    async def embed(self, collection: str, model: ModelId, texts: Sequence[str]) -> Sequence[Floats]:
        """float32 [dim] for each text, made by exactly `model`.

        Raises `ModelChangedError` where another model or version is served now, `QueueFullError`, and other
        `EdgeAgentError`s, of which `RequestError` and `EngineError` itself are about the texts.
        """
