"""docs/http.md says everything that a client may send."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from agent.api.assist import AssistRequest
from agent.api.audio_stream import StreamQuery
from agent.api.collection_bodies import (
    CreateRequest,
    PassagesRequest,
    ReembedRequest,
    RemovalRequest,
    SearchRequest,
)
from agent.api.decode import Body
from agent.api.live import LiveQuery, StartRequest
from agent.api.requests import ChatRequest, CompletionRequest, EmbeddingRequest
from agent.api.transcription_form import TranscriptionForm
from tests.api.conftest import Server

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "http.md").read_text()


@pytest.mark.parametrize(
    "kind",
    [
        AssistRequest,
        ChatRequest,
        CompletionRequest,
        EmbeddingRequest,
        LiveQuery,
        StartRequest,
        CreateRequest,
        PassagesRequest,
        RemovalRequest,
        ReembedRequest,
        SearchRequest,
        StreamQuery,
        TranscriptionForm,
    ],
)
def test_every_field_is_documented(kind: type[Body]) -> None:
    names = {*kind.__struct_fields__, *kind.IGNORED, *kind.UNSUPPORTED}
    assert sorted(name for name in names if f"`{name}`" not in PAGE) == []


async def test_every_route_is_documented(server: Server) -> None:
    page = re.sub(r"\{\w+\}", "{}", PAGE)
    routes = {re.sub(r"\{\w+\}", "{}", resource.canonical) for resource in server.app.router.resources()}
    assert len(routes) > 20
    assert sorted(path for path in routes if f" {path}`" not in page and f"`{path}`" not in page) == []
