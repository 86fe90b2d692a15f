"""Each test is a threat."""

from __future__ import annotations

import asyncio

import pytest

from agent.api.keys import ApiKeys, key_in_subprotocols
from agent.api.security import check_binding, split_host
from agent.errors import ConfigError
from tests.api.conftest import Serve, Server

BODY = '{"model":"tiny","messages":[{"role":"user","content":"Hi"}]}'


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:9999", 200),
        ("LOCALHOST.", 200),
        ("127.0.0.1", 200),
        ("127.8.8.8:1", 200),
        ("[::1]:8484", 200),
        ("evil.example", 403),
        ("evil.example:8484", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
        ("192.168.1.5", 403),
        ("evil@localhost", 403),
        ("localhost/evil", 403),
        ("", 403),
    ],
)
async def test_dns_rebinding_fails_at_the_host_header(server: Server, host: str, status: int) -> None:
    for path in ("/v1/models", "/health", "/"):
        async with server.http.get(server.url + path, headers={"Host": host}) as response:
            assert response.status in (status, 400), host


async def test_configured_hosts_are_ours(serve: Serve) -> None:
    server = await serve(hosts=("Pi.local",))
    assert (await server.get("/v1/models", Host="pi.LOCAL:8484"))[0] == 200
    assert (await server.get("/v1/models", Host="pi"))[0] == 403


async def test_the_address_a_connection_came_in_on_is_ours() -> None:
    from agent.api.security import Doorkeeper
    from agent.api.settings import ApiSettings

    door = Doorkeeper(ApiSettings(), ApiKeys())
    door.check_host("192.168.1.5:8484", "192.168.1.5")
    with pytest.raises(Exception, match="not a name of this device"):
        door.check_host("192.168.1.6:8484", "192.168.1.5")


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://localhost:8484", "localhost:8484", 200),
        ("https://home.example", "localhost:8484", 200),
        ("http://localhost:3000", "localhost:8484", 403),
        ("http://evil.example", "localhost:8484", 403),
        ("https://home.example.evil.example", "localhost", 403),
        ("null", "localhost", 403),
        ("", "localhost", 403),
        ("file://localhost", "localhost", 403),
    ],
)
async def test_another_site_cannot_post(serve: Serve, origin: str, host: str, status: int) -> None:
    """Also as a form or text/plain, which browsers send without asking first."""
    server = await serve(origins=("https://home.example/",))
    for kind in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
        found, _, headers = await server.post("/v1/chat/completions", BODY, Origin=origin, Host=host, Content_Type=kind)
        assert found == status
        expected = origin if origin == "https://home.example" else None
        assert headers.get("Access-Control-Allow-Origin") == expected
    assert len(server.runtime.requests) == (3 if status == 200 else 0)


async def test_cors_preflight_only_for_listed_origins(serve: Serve) -> None:
    server = await serve(origins=("https://home.example",), keys={"a": "secret"})
    ask = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    for origin, status in (("https://home.example", 204), ("https://evil.example", 403)):
        url = f"{server.url}/v1/chat/completions"
        async with server.http.options(url, headers={"Origin": origin, **ask}) as response:
            assert response.status == status
            allowed = response.headers.get("Access-Control-Allow-Origin")
            assert allowed == (origin if status == 204 else None)
            if status == 204:
                assert response.headers["Access-Control-Allow-Headers"] == "authorization,content-type"


async def test_a_page_of_a_listed_origin_may_read_what_was_wrong_with_a_recording(serve: Serve) -> None:
    server = await serve(origins=("https://home.example",))
    async with server.http.get(f"{server.url}/health", headers={"Origin": "https://home.example"}) as response:
        exposed = response.headers["Access-Control-Expose-Headers"].split(", ")
    assert {"X-Request-Id", "Retry-After", "X-Audio-Damage", "X-Audio-Repaired-Samples"} <= set(exposed)


async def test_curl_without_content_type_is_welcome(server: Server) -> None:
    status, _, _ = await server.post("/v1/chat/completions", BODY)
    assert status == 200


async def test_keys_are_several_named_and_revocable(serve: Serve) -> None:
    server = await serve(keys={"kitchen": "sk-1", "garage": "sk-2"})

    async def status(authorization: str | None, path: str = "/v1/models") -> int:
        headers = {} if authorization is None else {"Authorization": authorization}
        async with server.http.get(server.url + path, headers=headers) as response:
            if response.status == 401:
                assert response.headers["WWW-Authenticate"].startswith("Bearer")
                assert (await response.json())["error"]["code"] == "invalid_api_key"
            return response.status

    assert [await status(given) for given in ("Bearer sk-1", "bearer sk-2", "Bearer  sk-2 ")] == [200, 200, 200]
    assert [await status(given) for given in (None, "", "Bearer", "Bearer sk-3", "Basic sk-1", "sk-1")] == [401] * 6
    assert await status("Bearer sk-\u00f6") == 401
    for path in ("/status", "/metrics", "/nowhere", "/v1/chat/completions"):
        assert await status(None, path) == 401
    assert await status(None, "/health") == 200

    await server.post("/v1/chat/completions", BODY, Authorization="Bearer sk-2", X_Client_Id="someone-else")
    assert server.runtime.submissions[0][1] == "garage"

    server.keys.replace({name: digest for name, digest in {"kitchen": "00" * 32}.items()})
    assert await status("Bearer sk-1") == 401


async def test_the_static_page_needs_no_key_and_opens_nothing_else(serve: Serve) -> None:
    server = await serve(keys={"a": "secret"})
    for path in ("/", "/page/index.html"):
        async with server.http.get(server.url + path) as response:
            assert response.status == 200
    for target in (
        "/page/../status",
        "/page/%2e%2e/status",
        "/page/..%2fstatus",
        "/page//status",
        "//status",
        "/page",
        "/page/a/b",
        "/status?/page/",
        "/health/../status",
    ):
        reader, writer = await server.raw(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head = await asyncio.wait_for(reader.readuntil(b"\r\n"), 20)
        assert head.split()[1] in (b"401", b"404"), target
        writer.close()
    assert (await server.post("/"))[0] == 401


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("", None),
        ("edge-agent", None),
        ("edge-agent.key.", ""),
        ("edge-agent, edge-agent.key.c2VjcmV0", "secret"),
        ("edge-agent.key.c2VjcmV0,edge-agent", "secret"),
        ("edge-agent.key.c2stKy_Dtg", "sk-+/ö"),
        ("edge-agent.key.c2VjcmV0LTE", "secret-1"),
        ("edge-agent.key.c2VjcmV0LTE=", "secret-1"),
        ("edge-agent.key.not base64", "edge-agent.key.not base64"),
        ("edge-agent.key.c", "edge-agent.key.c"),
        ("edge-agent.key.\u00f6", "edge-agent.key.\u00f6"),
    ],
)
def test_key_among_the_subprotocols_of_a_websocket(header: str, key: str | None) -> None:
    assert key_in_subprotocols(header) == key


async def test_a_key_as_a_subprotocol_counts_for_websockets_only(serve: Serve) -> None:
    server = await serve(keys={"a": "secret"})
    protocol = {"Sec-WebSocket-Protocol": "edge-agent, edge-agent.key.c2VjcmV0"}
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade"}

    async def status(**headers: str) -> int:
        async with server.http.get(server.url + "/v1/models", headers=headers) as response:
            return response.status

    assert await status(**protocol) == 401
    assert await status(**protocol, **upgrade) == 200
    assert await status(**protocol, **upgrade, Authorization="Bearer wrong") == 401
    assert await status(**upgrade) == 401


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "", "pi.local", "*"])
def test_other_machines_need_a_key(host: str) -> None:
    with pytest.raises(ConfigError, match="no API key protects it"):
        check_binding(host, ApiKeys())
    check_binding(host, ApiKeys.of({"a": "secret"}))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback_needs_no_key(host: str) -> None:
    check_binding(host, ApiKeys())


@pytest.mark.parametrize(
    ("value", "host"),
    [
        ("a:1", "a"),
        ("[::1]:1", "::1"),
        ("A.", "a"),
        ("a:b", ""),
        ("a:99999", ""),
        ("[::1", ""),
        ("a@b", ""),
        ("a?b", ""),
        ("a#b", ""),
    ],
)
def test_host_without_port(value: str, host: str) -> None:
    assert split_host(value) == host


async def test_no_request_reaches_for_a_url_or_a_path(server: Server) -> None:
    part = {"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}
    body = {"model": "tiny", "messages": [{"role": "user", "content": [part]}]}
    assert (await server.post("/v1/chat/completions", body))[0] == 400
    for name in ("..%2f..%2fetc%2fpasswd", "/etc/passwd", "%00"):
        status, answer, _ = await server.post(f"/models/{name}/load")
        assert (status, answer["error"]["code"]) == (404, "model_not_found")
    assert server.runtime.loads == []
