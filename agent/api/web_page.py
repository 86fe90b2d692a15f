"""`GET /`: the web page, and `GET /page/{name}`: its parts, out of the package's own data. They ask for nothing from
anywhere else and say nothing about this device, so that they need no key."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from types import MappingProxyType

from aiohttp import hdrs, web

from agent.errors import NotFoundError

INDEX = "index.html"
NOT_IMPORTED = frozenset({"app.js", "theme.js", "worklet.js"})
"""Scripts that no module of the page imports: the index names two, the browser's audio thread loads the third."""
TYPES = MappingProxyType({".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"})

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src {connections};"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
"""The last two make a browser refuse every way of turning a string into markup or code."""
_PLAIN_HOST = re.compile(r"[A-Za-z0-9.\-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")


@dataclass(frozen=True)
class Part:
    """One file of the page, ready to be sent. `tag` is the beginning of its SHA-256 in hex."""

    name: str
    content_type: str
    plain: bytes
    packed: bytes
    tag: str


@cache
def parts() -> Mapping[str, Part]:
    """All files by name: some 100 KB, read and compressed at the first request."""
    found = {}
    for file in resources.files("agent.api").joinpath("page").iterdir():
        content_type = TYPES.get("." + file.name.rpartition(".")[2])
        if content_type is not None:
            plain = file.read_bytes()
            packed = gzip.compress(plain, 9, mtime=0)
            found[file.name] = Part(file.name, content_type, plain, packed, hashlib.sha256(plain).hexdigest()[:24])
    return MappingProxyType(found)


@cache
def preloads() -> str:
    """A Link header that names all modules, so that a browser does not learn of them one import after the other."""
    names = sorted(name for name in parts() if name.endswith(".js") and name not in NOT_IMPORTED)
    return ", ".join(f"</page/{name}>; rel=modulepreload" for name in names)


async def index(request: web.Request) -> web.Response:
    response = _answer(request, parts()[INDEX])
    response.headers["Link"] = preloads()
    return response


async def page_part(request: web.Request) -> web.Response:
    """`GET /page/{name}`. Raises `NotFoundError` for anything but a file of the page: no path is ever opened."""
    part = parts().get(request.match_info["name"])
    if part is None:
        raise NotFoundError("The web page has no such part.", hint="Reload the page.")
    return _answer(request, part)


def policy(host: str) -> str:
    """The Content-Security-Policy. Not every browser takes 'self' for a WebSocket, so `host`, ours, is named for it."""
    sockets = f" ws://{host} wss://{host}" if _PLAIN_HOST.fullmatch(host) else ""
    return _POLICY.format(connections=f"'self'{sockets}")


def _answer(request: web.Request, part: Part) -> web.Response:
    packed = _takes_gzip(request.headers.get(hdrs.ACCEPT_ENCODING, ""))
    tag = f'"{part.tag}-gzip"' if packed else f'"{part.tag}"'
    headers = {
        # Asked about each time, answered with 304: after an update nobody sees half of the old page.
        hdrs.CACHE_CONTROL: "no-cache",
        hdrs.ETAG: tag,
        hdrs.VARY: hdrs.ACCEPT_ENCODING,
        "Content-Security-Policy": policy(request.host),
        "Cross-Origin-Resource-Policy": "same-origin",
        "Permissions-Policy": "microphone=(self)",
        "Referrer-Policy": "no-referrer",
    }
    if tag in _tags(request.headers.get(hdrs.IF_NONE_MATCH, "")):
        return web.Response(status=304, headers=headers)
    if packed:
        headers[hdrs.CONTENT_ENCODING] = "gzip"
    body = part.packed if packed else part.plain
    return web.Response(body=body, content_type=part.content_type, charset="utf-8", headers=headers)


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header names gzip, and not as `q=0`."""
    for one in accepted.split(","):
        coding, _, quality = one.partition(";")
        if coding.strip().lower() == "gzip":
            return re.fullmatch(r"\s*q\s*=\s*0(\.0*)?\s*", quality) is None
    return False


def _tags(header: str) -> frozenset[str]:
    """The tags of an If-None-Match header; a weak one counts as its strong one."""
    return frozenset(one.strip().removeprefix("W/") for one in header.split(","))
