from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping

import pytest

from agent.api.web_page import TYPES, parts, policy
from agent.cli import COMMANDS
from tests.api.conftest import Serve, Server

MOST_BYTES = 100_000


async def fetched(server: Server, path: str, **headers: str) -> tuple[int, bytes, Mapping[str, str]]:
    """As it is on the wire: nothing is unpacked."""
    async with server.http.get(
        server.url + path, headers={"Accept-Encoding": "identity", **headers}, auto_decompress=False
    ) as response:
        return response.status, await response.read(), response.headers


async def test_every_part_is_served_with_its_type(server: Server) -> None:
    assert {"index.html", "style.css", "app.js", "icon.svg"} <= parts().keys()
    for name, part in parts().items():
        status, body, headers = await fetched(server, f"/page/{name}")
        assert (status, body) == (200, part.plain)
        assert headers["Content-Type"] == f"{TYPES['.' + name.rpartition('.')[2]]}; charset=utf-8"
        assert headers["Cache-Control"] == "no-cache"
        assert headers["X-Content-Type-Options"] == "nosniff"
    assert (await fetched(server, "/"))[1] == parts()["index.html"].plain


async def test_policy_lets_the_page_talk_to_this_device_only(server: Server) -> None:
    _, _, headers = await fetched(server, "/", Host="localhost:1")
    rules = dict(rule.strip().split(" ", 1) for rule in headers["Content-Security-Policy"].split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == rules["style-src"] == rules["img-src"] == "'self'"
    assert rules["connect-src"] == "'self' ws://localhost:1 wss://localhost:1"
    assert rules["frame-ancestors"] == "'none'"
    assert rules["require-trusted-types-for"] == "'script'"
    assert "unsafe" not in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    ("host", "named"),
    [
        ("pi.local:8484", True),
        ("192.168.1.5", True),
        ("[::1]:8484", True),
        ("pi;script-src *", False),
        ("pi, default-src *", False),
        ("pi evil", False),
        ("", False),
    ],
)
def test_host_cannot_add_to_the_policy(host: str, named: bool) -> None:
    assert (f"ws://{host}" in policy(host)) is named
    assert policy(host).count(";") == policy("localhost").count(";")


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip, deflate, br", True),
        ("GZIP;q=0.5", True),
        ("br", False),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("identity", False),
        ("x-gzip", False),
    ],
)
async def test_part_is_compressed_for_who_takes_it(server: Server, accepted: str, packed: bool) -> None:
    _, body, headers = await fetched(server, "/page/style.css", **{"Accept-Encoding": accepted})
    assert headers.get("Content-Encoding") == ("gzip" if packed else None)
    assert headers["Vary"] == "Accept-Encoding"
    assert (gzip.decompress(body) if packed else body) == parts()["style.css"].plain
    assert not packed or len(body) < len(parts()["style.css"].plain) / 2


async def test_part_that_did_not_change_is_not_sent_again(server: Server) -> None:
    _, body, headers = await fetched(server, "/page/app.js")
    tag = headers["ETag"]
    assert hashlib.sha256(body).hexdigest().startswith(tag.strip('"'))
    for given in (tag, f"W/{tag}", f'"old", {tag}'):
        status, body, headers = await fetched(server, "/page/app.js", **{"If-None-Match": given})
        assert (status, body, headers["ETag"]) == (304, b"", tag)
        assert "Content-Security-Policy" in headers
    status, _, headers = await fetched(server, "/page/app.js", **{"If-None-Match": tag, "Accept-Encoding": "gzip"})
    assert status == 200, "the compressed one is another thing"
    assert headers["ETag"] != tag


@pytest.mark.parametrize(
    "path",
    [
        "/page/",
        "/page/nothing.js",
        "/page/..%2fserver.py",
        "/page/%2e%2e%2fserver.py",
        "/page/..%5cserver.py",
        "/page/%2fetc%2fpasswd",
        "/page/app.js%00",
        "/page/app.js/",
        "/page/APP.JS",
    ],
)
async def test_nothing_else_is_served(server: Server, path: str) -> None:
    status, body, _ = await fetched(server, path)
    assert status == 404
    assert b"not_found" in body


async def test_page_needs_no_key_and_what_it_asks_does(serve: Serve) -> None:
    server = await serve(keys={"kitchen": "sk-1"})
    for path in ("/", *(f"/page/{name}" for name in parts())):
        assert (await fetched(server, path))[0] == 200
    for path in ("/status", "/v1/collections", "/metrics", "/page", "/v1/audio/devices"):
        assert (await fetched(server, path))[0] in (401, 404)
    assert (await fetched(server, "/status"))[0] == 401


def test_page_is_small() -> None:
    assert sum(len(part.plain) for part in parts().values()) <= MOST_BYTES


async def test_page_asks_for_its_own_parts_only_and_all_at_once(server: Server) -> None:
    sources = {name: part.plain.decode() for name, part in parts().items()}
    asked = set(re.findall(r'(?:src|href)="([^"#][^"]*)"', sources["index.html"]))
    assert asked <= {f"/page/{name}" for name in sources}
    imported: set[str] = set()
    for name, source in sources.items():
        addresses = set(re.findall(r"https?://[^\s\"'`<)]+", source)) - {"http://www.w3.org/2000/svg"}
        assert not addresses, name
        imported |= set(re.findall(r'from "\./([\w.]+)"', source))
    announced = (await fetched(server, "/"))[2]["Link"]
    assert set(re.findall(r"</page/([\w.]+)>; rel=modulepreload", announced)) == imported


def test_no_string_becomes_markup_or_code() -> None:
    for name, part in parts().items():
        source = part.plain.decode()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|eval\(|Function\(", source
        )
        if name == "index.html":
            assert not re.search(r"<script(?! [^>]*src=)|<style|\sstyle=|\son\w+=", source)


def test_commands_that_the_page_mentions_exist() -> None:
    for part in parts().values():
        assert set(re.findall(r"edge-agent ([a-z]+) [\w.]+", part.plain.decode())) <= COMMANDS.keys()
