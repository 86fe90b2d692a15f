"""Log lines, request ids, and the envelope for everything that goes wrong outside the routes' own reasons."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.api.conftest import Server, chat_request, until


def lines(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.__dict__["fields"] for record in caplog.records if record.name == "agent.access"]


async def test_one_line_per_request_with_its_timings(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agent.access")
    _, _, headers = await server.chat()
    (fields,) = lines(caplog)
    assert fields.pop("duration_ms") > 0
    assert fields.pop("ttft_ms") > 0
    assert fields.pop("queue_ms") >= 0
    assert fields == {
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "model": "org/tiny",
        "prompt_tokens": 11,
        "cached": 3,
        "completion_tokens": 5,
        "tokens_per_second": 40.0,
        "client": "127.0.0.1",
        "request_id": headers["X-Request-Id"],
    }
    (record,) = [record for record in caplog.records if record.name == "agent.access"]
    assert record.getMessage().startswith("POST /v1/chat/completions 200 duration_ms=")


async def test_errors_are_logged_with_their_code(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agent.access")
    await server.chat("FAIL")
    await server.chat("CRASH", stream=True)
    await server.chat(temperature=-1)
    await server.get("/nowhere?key=secret")
    found = [(fields["path"], fields["status"], fields["error"]) for fields in lines(caplog)]
    assert found == [
        ("/v1/chat/completions", 500, "engine_error"),
        ("/v1/chat/completions", 200, "worker_crashed"),
        ("/v1/chat/completions", 400, "invalid_request"),
        ("/nowhere", 404, "not_found"),
    ]


async def test_client_that_left_is_logged_as_499(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agent.access")
    for content in ("SILENT", "FOREVER"):
        _, writer = await server.raw(chat_request(content))
        await until(lambda: server.runtime.running == 1)
        writer.transport.abort()
        await until(lambda: server.runtime.running == 0)
    await until(lambda: len(lines(caplog)) == 2)
    assert [(fields["status"], fields["error"]) for fields in lines(caplog)] == [(499, "client_gone")] * 2


async def test_health_checks_do_not_fill_the_log(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "agent.access")
    await server.get("/health")
    assert lines(caplog) == []


async def test_every_response_has_an_id_of_its_own(server: Server) -> None:
    ids = [(await server.get(path))[2]["X-Request-Id"] for path in ("/health", "/nowhere", "/v1/models")]
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/nowhere", 404, "There is nothing at /nowhere. GET / lists the routes."),
        ("GET", "/v1/chat/completions", 405, "/v1/chat/completions does not take GET. Use POST."),
        ("DELETE", "/v1/models", 405, "/v1/models does not take DELETE. Use GET, HEAD."),
        ("OPTIONS", "/v1/models", 405, "/v1/models does not take OPTIONS. Use GET, HEAD."),
    ],
)
async def test_wrong_route_or_method_in_the_same_envelope(
    server: Server, method: str, path: str, status: int, message: str
) -> None:
    async with server.http.request(method, server.url + path) as response:
        assert response.status == status
        assert response.headers["Content-Type"] == "application/json"
        assert (await response.json())["error"]["message"] == message
        if status == 405:
            assert response.headers["Allow"] in message


async def test_a_fault_of_ours_tells_nothing_of_the_inside(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> None:
        raise RuntimeError("secret /path/inside")

    server.runtime.models = broken  # type: ignore[assignment]
    status, answer, _ = await server.get("/v1/models")
    assert status == 500
    assert answer["error"] == {
        "message": "Something went wrong inside the daemon. Its log has the details.",
        "type": "server_error",
        "param": None,
        "code": "internal_error",
    }
    assert "secret /path/inside" in caplog.text
