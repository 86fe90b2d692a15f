"""From the start of a worker to a model that is ready."""

from __future__ import annotations

import msgspec

from agent.runtime.wire.errors import WireError
from agent.runtime.wire.memory import Memory
from agent.runtime.wire.options import Options


class LoadModel(msgspec.Struct, frozen=True, kw_only=True, tag="load"):
    """First message to a worker. `path` is a GGUF file (the first of a split one), or an ONNX artifact's folder."""

    name: str
    path: str
    options: Options


class Proceed(msgspec.Struct, frozen=True, tag="proceed"):
    """The ledger has room for what the worker predicted: load for real."""


class Predicted(msgspec.Struct, frozen=True, tag="predicted"):
    """What loading would take, found without allocating it. The worker waits for `Proceed`."""

    memory: Memory


class Loaded(msgspec.Struct, frozen=True, kw_only=True, tag="loaded"):
    """The model is ready. `embedding_dim` is 0 for a model that only generates."""

    memory: Memory
    context_tokens: int
    train_context_tokens: int
    slots: int
    vocab_tokens: int
    embedding_dim: int
    has_chat_template: bool
    description: str
    load_s: float


class LoadFailed(msgspec.Struct, frozen=True, tag="load_failed"):
    error: WireError
