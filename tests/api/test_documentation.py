"""docs/http.md says everything that a client may send."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.api.collection_bodies import (
    CreateRequest,
    PassagesRequest,
    ReembedRequest,
    RemovalRequest,
    SearchRequest,
)
from agent.api.decode import Body
from agent.api.index import ROUTES
from agent.api.requests import ChatRequest, CompletionRequest, EmbeddingRequest

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "http.md").read_text()


@pytest.mark.parametrize(
    "kind",
    [
        ChatRequest,
        CompletionRequest,
        EmbeddingRequest,
        CreateRequest,
        PassagesRequest,
        RemovalRequest,
        ReembedRequest,
        SearchRequest,
    ],
)
def test_every_field_is_documented(kind: type[Body]) -> None:
    names = {*kind.__struct_fields__, *kind.IGNORED, *kind.UNSUPPORTED}
    assert sorted(name for name in names if f"`{name}`" not in PAGE) == []


def test_every_route_is_documented() -> None:
    assert [path for _, path, _ in ROUTES if path not in PAGE] == []
