"""Collections and the search over HTTP, with a scripted runtime: its text number n has a vector that leans on n."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agent.runtime.queue import Priority
from agent.runtime.wire.embedding import Embed
from tests.api.conftest import Serve, Server, until

ROWS = [
    {"id": "a", "text": "reset the router", "metadata": {"topic": "wifi", "year": 2020}},
    {"id": "b", "text": "water the garden", "metadata": {"topic": "garden", "year": 2021}},
    {"id": "c", "text": "bleed the radiator", "metadata": {"topic": "heating"}},
]


async def request(server: Server, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    async with server.http.request(method, server.url + path, json=body) as response:
        return response.status, await response.json()


async def facts(server: Server, rows: list[dict[str, Any]] | None = None) -> None:
    """A collection `facts` of ROWS, all of which have their vectors."""
    status, made = await request(server, "POST", "/v1/collections", {"name": "facts", "text_columns": ["text"]})
    assert (status, made["model"], made["dim"], made["passages"]) == (201, "vectors", 8, 0)
    status, taken = await request(
        server, "POST", "/v1/collections/facts/passages", {"source": "a.csv", "rows": rows or ROWS}
    )
    assert (status, taken["added"], taken["reading"]) == (200, len(rows or ROWS), None)
    await indexed(server)


async def indexed(server: Server, name: str = "facts") -> dict[str, Any]:
    for _ in range(1_000):
        there: dict[str, Any] = (await request(server, "GET", f"/v1/collections/{name}"))[1]
        if not there["waiting"]:
            return there
        await asyncio.sleep(0.005)
    raise AssertionError(f"passages still wait: {there}")


async def test_a_collection_from_its_making_to_its_removal(server: Server) -> None:
    assert (await request(server, "GET", "/v1/collections"))[1] == {"object": "list", "data": []}
    await facts(server)
    there = await indexed(server)
    assert (there["passages"], there["state"], there["error"]) == (3, "idle", None)
    assert (there["sources"], there["text_columns"]) == (["a.csv"], ["text"])
    assert (await request(server, "GET", "/v1/collections"))[1]["data"] == [there]
    status, again = await request(server, "POST", "/v1/collections", {"name": "facts"})
    assert (status, again["error"]["param"]) == (400, "collection")
    assert (await request(server, "DELETE", "/v1/collections/facts"))[1]["deleted"]
    assert (await request(server, "GET", "/v1/collections/facts"))[0] == 404
    assert (await request(server, "DELETE", "/v1/collections/facts"))[0] == 404


async def test_the_indexing_is_low_and_the_query_is_normal(server: Server) -> None:
    await facts(server)
    await request(server, "POST", "/v1/search", {"collection": "facts", "query": "router"})
    # The first one asked for the dimensions.
    assert [(client, priority) for _, client, priority, _ in server.runtime.submissions][1:] == [
        ("collections", Priority.LOW),
        ("127.0.0.1", Priority.NORMAL),
    ]


async def test_the_model_s_own_prompts_are_used_where_it_has_them(server: Server) -> None:
    await facts(server)
    server.runtime.prompts = ("passage", "query")
    await request(server, "POST", "/v1/search", {"collection": "facts", "query": "router"})
    await request(server, "POST", "/v1/collections/facts/passages", {"source": "b", "rows": [{"text": "new"}]})
    await indexed(server)
    names = [one.prompt_name for one in server.runtime.requests if isinstance(one, Embed)]
    assert names == [None, None, "query", "passage"]


@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
async def test_hits_say_where_they_stood_and_how_long_it_took(server: Server, mode: str) -> None:
    await facts(server)
    wanted = {"collection": "facts", "query": "the router", "mode": mode, "k": 2}
    status, answer = await request(server, "POST", "/v1/search", wanted)
    assert (status, answer["mode"], answer["model"], answer["waiting"]) == (200, mode, "vectors", 0)
    if mode != "vector":
        assert answer["hits"][0]["id"] == "a"
    assert len(answer["hits"]) == 2
    assert answer["hits"][0]["metadata"]
    assert set(answer["hits"][0]["ranks"]) == ({"vector", "text"} if mode == "hybrid" else {mode})
    assert set(answer["timings"]) == {"embedding_ms", "search_ms"}


async def test_filters_come_before_the_ranking(server: Server) -> None:
    await facts(server)
    wanted = {"collection": "facts", "query": "x", "filter": {"year": {"gte": 2021}}}
    assert [hit["id"] for hit in (await request(server, "POST", "/v1/search", wanted))[1]["hits"]] == ["b"]


async def test_passages_are_removed_by_id_and_by_filter(server: Server) -> None:
    await facts(server)
    path = "/v1/collections/facts/passages"
    assert (await request(server, "DELETE", path, {"ids": ["a", "nosuch"]}))[1]["removed"] == 1
    assert (await request(server, "DELETE", path, {"filter": {"topic": "garden"}}))[1]["removed"] == 1
    assert (await request(server, "DELETE", path, {"filter": {}}))[0] == 400
    assert (await request(server, "DELETE", path, {}))[0] == 400
    assert (await request(server, "DELETE", path, {"ids": ["c"], "filter": {"a": 1}}))[0] == 400
    assert (await indexed(server))["passages"] == 1


async def test_rows_without_ids_are_numbered_across_the_pieces_of_a_source(server: Server) -> None:
    await facts(server)
    path = "/v1/collections/facts/passages"
    body = {"source": "b", "rows": [{"text": "one"}, {"text": "two"}], "more": True}
    _, first = await request(server, "POST", path, body)
    body = {"source": "b", "rows": [{"text": "three"}], "reading": first["reading"], "sync": True}
    assert (await request(server, "POST", path, body))[1]["added"] == 3
    wanted = {"collection": "facts", "query": "three", "mode": "text"}
    assert (await request(server, "POST", "/v1/search", wanted))[1]["hits"][0]["id"] == "b:3"
    status, answer = await request(server, "POST", path, body)
    assert (status, answer["error"]["code"]) == (409, "unknown_reading")


async def test_another_version_of_the_model_is_said_and_never_mixed(server: Server) -> None:
    await facts(server)
    server.runtime.version = "2"
    status, answer = await request(server, "POST", "/v1/search", {"collection": "facts", "query": "x"})
    assert (status, answer["error"]["code"]) == (409, "embedding_model_changed")
    for words in ("vectors 1", "vectors 2", "edge-agent search reembed facts", "models activate vectors 1"):
        assert words in answer["error"]["message"]
    assert (await request(server, "GET", "/v1/collections/facts"))[1]["state"] == "model_changed"
    wanted = {"collection": "facts", "query": "router", "mode": "text"}
    assert (await request(server, "POST", "/v1/search", wanted))[0] == 200

    assert (await request(server, "POST", "/v1/collections/facts/reembed"))[1]["version"] == "2"
    there = await indexed(server)
    assert (there["state"], there["version"]) == ("idle", "2")
    assert (await request(server, "POST", "/v1/search", {"collection": "facts", "query": "x"}))[0] == 200


async def test_reembedding_with_the_same_model_does_nothing_unless_forced(server: Server) -> None:
    await facts(server)
    before = len(server.runtime.requests)
    for force in (False, True):
        await request(server, "POST", "/v1/collections/facts/reembed", {"force": force})
        await indexed(server)
        texts = [len(one.inputs) for one in server.runtime.requests[before:] if isinstance(one, Embed)]
        assert texts == ([1] if not force else [1, 1, 3])


async def test_indexing_pauses_while_the_queue_is_full_and_goes_on(server: Server) -> None:
    await facts(server)
    server.runtime.capacity = 0
    await request(server, "POST", "/v1/collections/facts/passages", {"source": "b", "rows": [{"text": "new"}]})
    await asyncio.sleep(0.05)
    there = (await request(server, "GET", "/v1/collections/facts"))[1]
    assert (there["waiting"], there["state"], there["error"]["code"]) == (1, "paused", "queue_full")
    server.runtime.capacity = 10
    await asyncio.wait_for(indexed(server), 5)


@pytest.mark.parametrize(
    ("path", "body", "status", "words"),
    [
        (
            "/v1/search",
            {"collection": "facts", "query": "x", "k": 0},
            400,
            "`k` is 0; expected an integer from 1 to 1000",
        ),
        ("/v1/search", {"collection": "facts", "query": "x", "k": 10**9}, 400, "from 1 to 1000"),
        ("/v1/search", {"collection": "facts", "query": " "}, 400, "not empty"),
        ("/v1/search", {"collection": "facts", "query": "x" * 10**6}, 400, "1,000,000 characters"),
        ("/v1/search", {"collection": "facts", "query": "x", "mode": "psychic"}, 400, "vector, text or hybrid"),
        ("/v1/search", {"collection": "facts", "query": "x", "filter": {"a": {"like": 1}}}, 400, "gt, gte, lt, lte"),
        ("/v1/search", {"collection": "facts", "query": "x", "filter": [1]}, 400, "an object of metadata fields"),
        ("/v1/search", {"collection": "nosuch", "query": "x"}, 404, "there is: facts"),
        ("/v1/search", {"collection": "../../etc/passwd", "query": "x"}, 400, "cannot name a collection"),
        ("/v1/search", {"collection": "facts", "q": "x"}, 400, "Did you mean `query`?"),
        ("/v1/collections", {"name": "a/b"}, 400, "cannot name a collection"),
        ("/v1/collections", {"name": ".hidden"}, 400, "cannot name a collection"),
        ("/v1/collections", {"name": "x" * 65}, 400, "cannot name a collection"),
        ("/v1/collections", {"name": "x", "model": "tiny"}, 400, "generates text"),
        ("/v1/collections", {"name": "x", "model": "nosuch"}, 404, "There is no model called 'nosuch'"),
        ("/v1/collections", {"name": "x", "text_columns": [""]}, 400, "`text_columns`"),
        ("/v1/collections/..%2f..%2fetc/passages", {"source": "a", "rows": []}, 400, "cannot name a collection"),
        ("/v1/collections/nosuch/passages", {"source": "a", "rows": []}, 404, "There is no collection nosuch"),
        ("/v1/collections/nosuch/reembed", {}, 404, "There is no collection nosuch"),
        ("/v1/collections/facts/passages", {"source": "", "rows": []}, 400, "`source`"),
        ("/v1/collections/facts/passages", {"source": "a", "rows": [{}]}, 400, "`rows[0].text` is missing"),
        ("/v1/collections/facts/passages", {"source": "a", "rows": [{"txt": "a"}]}, 400, '"rows[0].txt"'),
        ("/v1/collections/facts/passages", {"source": "a", "rows": [{"text": "a\0"}]}, 400, "NUL"),
        ("/v1/collections/facts/passages", {"source": "a", "rows": [{"text": "a", "id": ""}]}, 400, "rows[0].id"),
        ("/v1/collections/facts/passages", {"source": "a", "rows": [{"text": "a"}] * 1001}, 400, "1,001"),
        ("/v1/collections/facts/passages", {"source": "a", "rows": [{"text": "a" * 1_000_001}]}, 400, "1,000,001"),
        ("/v1/collections/facts/passages", {"source": "a", "rows": [{"text": "a", "id": "1"}] * 2}, 400, "already"),
        ("/v1/collections/facts/passages", {"source": "a", "rows": [], "sync": True, "more": True}, 400, "last"),
        ("/v1/collections/facts/passages", {"source": "a", "path": "/etc/passwd"}, 400, "Unknown field"),
        ("/v1/search", b'{"collection": "facts", "query": "\\ud800"}', 400, "surrogate"),
        ("/v1/search", b'{"collection": "facts", "query": "\\ude00x"}', 400, "surrogate"),
    ],
)
async def test_what_is_wrong_is_said(server: Server, path: str, body: Any, status: int, words: str) -> None:
    await facts(server)
    found, answer, _ = await server.post(path, body)
    assert (found, words in answer["error"]["message"]) == (status, True), answer
    assert set(answer["error"]) == {"message", "type", "param", "code"}
    assert (await indexed(server))["passages"] == 3


@pytest.mark.parametrize("path", ["/v1/collections", "/v1/collections/facts", "/v1/search"])
async def test_keys_count_here_too(serve: Serve, path: str) -> None:
    server = await serve(keys={"me": "secret"})
    assert (await server.get(path))[0] == 401
    assert (await server.get(path, Authorization="Bearer secret"))[0] in (200, 404, 405)


async def test_removing_a_collection_while_it_is_searched(server: Server) -> None:
    await facts(server, [{"text": f"text {n}"} for n in range(1000)])

    async def search() -> tuple[int, Any]:
        return await request(server, "POST", "/v1/search", {"collection": "facts", "query": "text", "mode": "hybrid"})

    searches = [asyncio.create_task(search()) for _ in range(40)]
    await asyncio.sleep(0.02)
    assert (await request(server, "DELETE", "/v1/collections/facts"))[0] == 200
    answers = await asyncio.gather(*searches)
    assert {status for status, _ in answers} <= {200, 404}
    assert all(answer["error"]["code"] == "not_found" for status, answer in answers if status == 404)
    assert (await request(server, "GET", "/v1/collections"))[1]["data"] == []


async def test_a_damaged_collection_is_listed_with_the_reason_and_can_be_removed(server: Server, tmp_path: Any) -> None:
    await facts(server)
    (tmp_path / "collections" / "bad.sqlite3").write_bytes(b"no database at all" * 100)
    listed = (await request(server, "GET", "/v1/collections"))[1]["data"]
    assert [(one["name"], one["state"]) for one in listed] == [("bad", "broken"), ("facts", "idle")]
    assert "damaged" in listed[0]["error"]["message"]
    assert (await request(server, "DELETE", "/v1/collections/bad"))[0] == 200


async def test_a_client_that_leaves_does_not_stop_what_it_began(server: Server) -> None:
    body = json.dumps({"name": "facts"}).encode()
    head = b"POST /v1/collections HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
    _, writer = await server.raw(head + body)
    await until(lambda: bool(server.runtime.requests))
    writer.close()
    names: list[str] = []
    for _ in range(100):
        names = await server.library.names()
        if names or not server.runtime.running:
            break
        await asyncio.sleep(0.01)
    assert names in ([], ["facts"])  # there whole, or not at all
    assert (await request(server, "GET", "/health"))[0] == 200


async def test_the_body_is_bounded(serve: Serve) -> None:
    server = await serve(body_limit_bytes=20_000)
    body = {"source": "a", "rows": [{"text": "x" * 30_000}]}
    status, answer, _ = await server.post("/v1/collections/facts/passages", body)
    assert (status, answer["error"]["code"]) == (413, "request_too_large")
