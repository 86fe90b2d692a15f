"""Why a connection did not come about or ended, in words for a person and as a kind that decides what is done next."""

from __future__ import annotations

import errno
import socket
import ssl
from enum import StrEnum
from typing import Final

from agent.fleet.link.address import Address


class Kind(StrEnum):
    UNREACHABLE = "unreachable"
    """no such host, nobody listens, no answer in time"""
    TLS = "tls"
    """the other side's certificate, ours, or the handshake"""
    REFUSED = "refused"
    """the broker knows us and does not want us: password, client id, rights"""
    VERSION = "version"
    """the broker does not know this MQTT version"""
    SILENT = "silent"
    """closed before it answered, which is how some brokers say the same"""
    PROTOCOL = "protocol"
    """the broker sent what no broker may send"""
    LOST = "lost"
    """was connected, and is not any more"""
    LOCAL = "local"
    """a file of ours cannot be read, a mistake of ours, or we wanted it"""


FUTILE: Final = frozenset({Kind.TLS, Kind.REFUSED, Kind.LOCAL})
"""Nothing changes by trying again soon."""
CREDENTIALS: Final = frozenset({Kind.TLS, Kind.REFUSED, Kind.LOCAL})
"""Another certificate or password may help."""


class LinkFailure(Exception):
    """Raised and handled within the link; others see its reason in `Disconnected` and in the state."""

    def __init__(self, kind: Kind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


_PASSWORD = "check mqtt.username and mqtt.password or mqtt.password_file"
_CODES: dict[int, tuple[Kind, str]] = {
    0x84: (Kind.VERSION, "the broker does not know this version of MQTT"),
    0x85: (Kind.REFUSED, "the broker refuses this client id: check mqtt.client_id"),
    0x86: (Kind.REFUSED, f"the broker refuses user or password: {_PASSWORD}"),
    0x87: (Kind.REFUSED, f"the broker says that this device is not authorized: {_PASSWORD}"),
    0x8A: (Kind.REFUSED, "the broker has banned this device"),
    0x8B: (Kind.LOST, "the broker shuts down"),
    0x8C: (Kind.REFUSED, "the broker refuses this way of authentication"),
    0x8D: (Kind.LOST, "the broker did not hear from this device in time"),
    0x8E: (
        Kind.REFUSED,
        "another client connected with the same client id: is there a second device of this name?",
    ),
    0x95: (Kind.LOST, "the broker says that a packet was too large for it"),
    0x96: (Kind.LOST, "the broker says that this device sends too much"),
    0x97: (Kind.LOST, "the broker says that a quota is used up"),
    0x98: (Kind.LOST, "the broker's administrator closed the connection"),
    0x9A: (Kind.REFUSED, "the broker keeps no retained messages, which the last will needs"),
    0x9B: (Kind.REFUSED, "the broker does not do QoS 1, which the last will needs"),
}
"""MQTT 5.0, 2.4: those that tell a person something; the names of all others are their own words."""
TEMPORARY: Final = frozenset({0x80, 0x83, 0x88, 0x89, 0x91, 0x93, 0x96, 0x97})
"""Reasons for which a broker may take the same message later."""


def would_block(error: OSError) -> bool:
    """Whether a socket only asks for patience; `ssl` has words of its own for it."""
    return isinstance(error, BlockingIOError | ssl.SSLWantReadError | ssl.SSLWantWriteError)


def of_code(code: int, name: str, otherwise: Kind) -> LinkFailure:
    """For a reason code of CONNACK or DISCONNECT."""
    kind, words = _CODES.get(code, (otherwise, f"the broker says: {name}"))
    return LinkFailure(kind, words)


def of_error(error: BaseException, address: Address, *, connected: bool) -> LinkFailure:
    """For what a socket or the TLS library raised."""
    if isinstance(error, LinkFailure):
        return error
    if isinstance(error, ssl.SSLCertVerificationError):
        return LinkFailure(Kind.TLS, _unverified(error, address))
    if isinstance(error, ssl.SSLError):
        return LinkFailure(Kind.TLS, _tls(error))
    return LinkFailure(Kind.LOST if connected else Kind.UNREACHABLE, _system(error, address))


def _unverified(error: ssl.SSLCertVerificationError, address: Address) -> str:
    """By the codes of OpenSSL's x509_vfy.h."""
    code = error.verify_code
    if code in (62, 64):
        return f"the broker's certificate is not for {address.host}"
    if code == 10:
        return "the broker's certificate, or its authority's, has expired (or this device's clock is wrong)"
    if code == 9:
        return "the broker's certificate is not valid yet (or this device's clock is wrong)"
    if code in (2, 18, 19, 20, 21):
        return "the broker's certificate is of an authority that this device does not know: check mqtt.ca_file"
    return f"the broker's certificate was not accepted: {error.verify_message}"


_ALERTS = {
    "CERTIFICATE_REQUIRED": "the broker asks for a certificate of this device: set mqtt.cert_file and mqtt.key_file",
    "UNKNOWN_CA": "the broker does not know the authority of this device's certificate",
    "CERTIFICATE_EXPIRED": "the broker says that this device's certificate has expired",
    "CERTIFICATE_REVOKED": "the broker says that this device's certificate was revoked",
    "BAD_CERTIFICATE": "the broker does not accept this device's certificate",
    "NO_APPLICATION_PROTOCOL": "the broker does not know the protocol of mqtt.alpn",
    "PROTOCOL_VERSION": "the broker does not know this version of TLS",
    "WRONG_VERSION_NUMBER": "the broker does not speak TLS on this port: is it mqtt:// or ws://?",
    "HTTP_REQUEST": "the broker does not speak TLS on this port: is it mqtt:// or ws://?",
}


def _tls(error: ssl.SSLError) -> str:
    found = str(error.reason or "")
    for part, words in _ALERTS.items():
        if part in found:
            return words
    return f"TLS failed: {found.lower().replace('_', ' ') or error}"


def _system(error: BaseException, address: Address) -> str:
    if isinstance(error, socket.gaierror):
        return f"the name {address.host} is not known: {error.strerror}"
    if isinstance(error, TimeoutError):
        return f"no answer from {address.authority} in time"
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ECONNREFUSED:
        return f"nothing listens on {address.authority}"
    if number in (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN):
        return f"there is no way to {address.authority}: {_strerror(error)}"
    if number in (errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED):
        return "the connection was reset"
    if number == errno.ETIMEDOUT:
        return "nothing was heard from the broker"
    return f"the connection failed: {_strerror(error)}"


def _strerror(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) else None
    return text or str(error) or type(error).__name__
