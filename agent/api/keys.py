"""API keys: several, named, revocable while the daemon runs."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Final

SUBPROTOCOL: Final = "edge-agent"
"""What a WebSocket to us speaks. A browser can add no header to one, but subprotocols: its key is in another one."""
_KEY_SUBPROTOCOL: Final = f"{SUBPROTOCOL}.key."


def key_in_subprotocols(header: str) -> str | None:
    """The key in a Sec-WebSocket-Protocol header, as `edge-agent.key.` and its base64url; None where there is none.

    What is not base64url is returned as it is: no key looks like that, and so it opens nothing.
    """
    for offered in header.split(","):
        if (offered := offered.strip()).startswith(_KEY_SUBPROTOCOL):
            text = offered.removeprefix(_KEY_SUBPROTOCOL).rstrip("=")
            try:
                key = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
            except (binascii.Error, ValueError):
                return offered
            return key.decode("utf-8", "surrogateescape")
    return None


class ApiKeys:
    """The keys that open the API, kept as SHA-256 digests only.

    An empty set means that no key is needed; `check_binding` allows that on loopback alone.
    """

    def __init__(self, digests: Mapping[str, str] | None = None) -> None:
        self._digests: tuple[tuple[str, bytes], ...] = ()
        self.replace(digests or {})

    @classmethod
    def of(cls, keys: Mapping[str, str]) -> ApiKeys:
        """From the keys themselves, by name."""
        return cls({name: hashlib.sha256(key.encode()).hexdigest() for name, key in keys.items()})

    def replace(self, digests: Mapping[str, str]) -> None:
        """From now on exactly these keys count. `digests` maps a key's name to its SHA-256 in hex."""
        self._digests = tuple((name, bytes.fromhex(digest)) for name, digest in digests.items())

    def __bool__(self) -> bool:
        return bool(self._digests)

    def identify(self, key: str) -> str | None:
        """The name of `key`, or None. Takes the same time whichever key matches, or none."""
        given = hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
        found: str | None = None
        for name, digest in self._digests:
            if hmac.compare_digest(given, digest):
                found = name
        return found
