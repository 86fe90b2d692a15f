"""Which model made the vectors of a collection. Vectors of two models are never compared."""

from __future__ import annotations

from dataclasses import dataclass

from agent.errors import RequestError

DIM_LIMIT = 16_384


class ModelChangedError(RequestError):
    """The collection's vectors come from another model, another version of it, or another number of dimensions."""

    status = 409
    code = "embedding_model_changed"


@dataclass(frozen=True)
class ModelId:
    name: str
    version: str
    dim: int

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.dim} dimensions)"


def check_model(model: ModelId) -> None:
    """Raises `RequestError` for a model that no collection can be made with."""
    if not model.name or not model.version:
        raise RequestError("The embedding model needs a name and a version.", param="model")
    if not 1 <= model.dim <= DIM_LIMIT:
        raise RequestError(f"The embedding model has {model.dim} dimensions; 1 to {DIM_LIMIT} are possible.")


def check_same(collection: str, recorded: ModelId, offered: ModelId) -> None:
    """Raises `ModelChangedError` unless both are the same."""
    if recorded != offered:
        raise ModelChangedError(
            f"Collection {collection} holds vectors of {recorded}, and the model now is {offered}; "
            "vectors of two models cannot be compared.",
            hint=remedy(collection, recorded),
            param="model",
        )


def remedy(collection: str, recorded: ModelId) -> str:
    """What to do about a model that changed, as a sentence."""
    return (
        f"Go back to the old one (edge-agent models activate {recorded.name} {recorded.version}), or embed the "
        f"collection again with what is there now: edge-agent search reembed {collection}."
    )
