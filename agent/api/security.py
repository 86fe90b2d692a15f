"""Who may call: the Host header (DNS rebinding), the Origin header (other web pages), and the API key."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler

from agent.api.access import record_of
from agent.api.keys import ApiKeys, key_in_subprotocols
from agent.api.parts import DOORKEEPER
from agent.api.settings import ApiSettings
from agent.api.transcription_answer import DAMAGE_HEADER, REPAIRED_HEADER
from agent.errors import ConfigError, ForbiddenError, UnauthorizedError

OPEN_ROUTES = frozenset({"/health", "/", "/page"})
OPEN_FOLDER = "/page/"
"""The static page, which asks for the key itself."""
EXPOSED_HEADERS = f"X-Request-Id, Retry-After, {DAMAGE_HEADER}, {REPAIRED_HEADER}"
"""What a page of another origin may read of an answer, besides what every browser lets it."""
_CLIENT_HEADER = "X-Client-Id"
_CLIENT_NAME_LIMIT = 64
_PREFLIGHT_AGE_S = 600


def check_binding(host: str, keys: ApiKeys) -> None:
    """Raises `ConfigError` if listening on `host` would let other machines in without a key."""
    if keys or is_loopback(host):
        return
    raise ConfigError(
        f"host = {host!r} lets other machines in, and no API key protects it.",
        hint="Set --api-key (or [[api_keys]] in agent.toml), or keep --host 127.0.0.1.",
        param="host",
    )


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or an address, without a port) is this machine as seen by itself."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def split_host(value: str) -> str:
    """The host of a Host header, lower case, without port and brackets; "" for anything malformed."""
    try:
        parts = urlsplit(f"//{value}")
        _ = parts.port
    except ValueError:
        return ""
    if parts.path or parts.query or parts.fragment or "@" in value:
        return ""
    return (parts.hostname or "").rstrip(".")


class Doorkeeper:
    """Decides on a request's headers; has no state but the settings and the keys."""

    def __init__(self, settings: ApiSettings, keys: ApiKeys) -> None:
        self._hosts = frozenset(host.lower().rstrip(".").strip("[]") for host in settings.hosts)
        self._origins = frozenset(origin.lower().rstrip("/") for origin in settings.origins)
        self._keys = keys

    def check_host(self, host_header: str, local_address: str) -> None:
        """Raises `ForbiddenError` unless the name is ours: a page that rebinds its own name to us carries its own.

        `local_address` is the address this connection came in on; a browser sends it only to who asked for it.
        """
        host = split_host(host_header)
        if host and (is_loopback(host) or host == local_address.lower() or host in self._hosts or "*" in self._hosts):
            return
        raise ForbiddenError(
            f"The Host header {host_header!r} is not a name of this device.",
            hint="Add it to allowed_hosts in agent.toml if it is.",
        )

    def allows_origin(self, origin: str) -> bool:
        """Whether pages of `origin` were listed, so that they may call and read the answers."""
        return "*" in self._origins or origin.lower() in self._origins

    def check_origin(self, origin: str, host_header: str) -> None:
        """Raises `ForbiddenError` for a page of another site that was not listed."""
        if self.allows_origin(origin):
            return
        scheme, _, authority = origin.lower().partition("://")
        if scheme in ("http", "https") and authority and authority == host_header.lower():
            return
        raise ForbiddenError(
            f"Pages of {origin!r} may not call this device.",
            hint="Add the origin to allowed_origins in agent.toml if they should.",
        )

    def client_of(self, authorization: str | None, subprotocols: str | None = None) -> str | None:
        """The name of the key in an Authorization header, or else in the subprotocols that a WebSocket offers; None
        where no keys are configured.

        Raises `UnauthorizedError` if a key is needed and this is none of them.
        """
        if not self._keys:
            return None
        key = _bearer(authorization) if authorization is not None else key_in_subprotocols(subprotocols or "")
        if not key:
            raise UnauthorizedError("This device needs an API key.", hint="Send it as `Authorization: Bearer KEY`.")
        name = self._keys.identify(key)
        if name is None:
            raise UnauthorizedError("The API key is not valid.", hint="It may have been revoked; ask for a new one.")
        return name


@web.middleware
async def security(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refuses what `Doorkeeper` refuses, answers CORS preflights, and notes who the client is."""
    door = request.app[DOORKEEPER]
    host = request.headers.get("Host", "")
    door.check_host(host, _local_address(request))
    origin = request.headers.get("Origin")
    if origin is not None:
        door.check_origin(origin, host)
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return _preflight(request)
    if not _is_open(request):
        name = door.client_of(request.headers.get("Authorization"), _subprotocols(request))
    else:
        name = None
    record_of(request).client = name or _anonymous(request)
    return await handler(request)


async def add_cors_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Lets a page of a listed origin read the response; runs just before headers are sent."""
    origin = request.headers.get("Origin")
    if origin is not None and request.app[DOORKEEPER].allows_origin(origin):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS
        response.headers["Vary"] = "Origin"


def _is_open(request: web.Request) -> bool:
    """Whether it needs no key. The route that was found counts, not the path, which can be written in many ways."""
    resource = request.match_info.route.resource
    if resource is None:
        return False
    return resource.canonical in OPEN_ROUTES or resource.canonical.startswith(OPEN_FOLDER)


def _bearer(authorization: str) -> str:
    scheme, _, key = authorization.partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _subprotocols(request: web.Request) -> str | None:
    """What a WebSocket request offers; None for other requests."""
    if request.headers.get("Upgrade", "").strip().lower() != "websocket":
        return None
    return ",".join(request.headers.getall("Sec-WebSocket-Protocol", ()))


def _preflight(request: web.Request) -> web.Response:
    headers = {
        "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
        "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers", "*"),
        "Access-Control-Max-Age": str(_PREFLIGHT_AGE_S),
    }
    return web.Response(status=204, headers=headers)


def _local_address(request: web.Request) -> str:
    address = request.transport.get_extra_info("sockname") if request.transport is not None else None
    return str(address[0]) if isinstance(address, tuple) else ""


def _anonymous(request: web.Request) -> str:
    """Who to be fair to without keys: the address, and the name a client gives itself (several share loopback)."""
    address = request.remote or "unknown"
    name = request.headers.get(_CLIENT_HEADER, "")[:_CLIENT_NAME_LIMIT]
    return f"{address}/{name}" if name.isprintable() and name else address
