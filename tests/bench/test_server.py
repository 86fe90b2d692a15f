from __future__ import annotations

import pytest

from agent.bench.http import Http
from agent.bench.server import Model, Server, choose
from agent.errors import ModelNotFoundError, RequestError

OURS = Server(
    models=(Model(name="chat", task="generate"), Model(name="write", task="generate"), Model(name="e", task="embed"))
)
OLLAMA = Server(models=(Model(name="qwen2.5:latest"),))


@pytest.mark.parametrize(
    ("server", "wanted", "task", "name"),
    [
        (OURS, "chat", "generate", "chat"),
        (OURS, None, "embed", "e"),
        (OLLAMA, None, "generate", "qwen2.5:latest"),
        (OLLAMA, "qwen2.5", "generate", "qwen2.5:latest"),
    ],
)
def test_the_model_that_was_meant(server: Server, wanted: str | None, task: str, name: str) -> None:
    assert choose(server, wanted, task, "u").name == name  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "task", "kind", "message"),
    [
        ("chatt", "generate", ModelNotFoundError, "Did you mean chat?"),
        ("x", "generate", ModelNotFoundError, "There is chat, write, e."),
        (None, "generate", RequestError, "Which model"),
        (None, "transcribe", ModelNotFoundError, "No model at u transcribes"),
        ("e", "generate", RequestError, "makes vectors"),
    ],
)
def test_a_model_that_is_not_there_is_an_error_with_the_choice(
    wanted: str | None, task: str, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as caught:
        choose(OURS, wanted, task, "u")  # type: ignore[arg-type]
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("given", "url", "local"),
    [
        ("http://127.0.0.1:11434/v1/", "http://127.0.0.1:11434", True),
        ("localhost:8080", "http://localhost:8080", True),
        ("https://box.lan/api/v1", "https://box.lan:443/api", False),
        ("http://[::1]:1", "http://[::1]:1", True),
    ],
)
def test_addresses_are_taken_as_people_write_them(given: str, url: str, local: bool) -> None:
    http = Http(given)
    assert (http.url, http.local) == (url, local)


@pytest.mark.parametrize("given", ["ftp://x", "http://", "http://x:99999", ""])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(RequestError):
        Http(given)


def test_a_key_cannot_bring_a_header_of_its_own() -> None:
    with pytest.raises(RequestError):
        Http("http://x", key="a\r\nHost: y")
