"""What the device shows the broker: user, password, and a TLS context; read from files, again when they change."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.fleet.link.failure import Kind, LinkFailure
from agent.fleet.link.settings import LinkSettings

_PASSWORD_BYTES = 65_535

Fingerprint = tuple[tuple[int, int, int] | None, ...]
"""Of each file: time of change in ns, size, inode; None where it is not there."""


@dataclass(frozen=True)
class Credentials:
    """`context` is None where no broker is reached over TLS."""

    username: str | None
    password: str | None = field(repr=False)
    context: ssl.SSLContext | None = field(repr=False, compare=False)
    fingerprint: Fingerprint = ()


def fingerprint(files: Sequence[Path]) -> Fingerprint:
    return tuple(map(_stamp, files))


def load(settings: LinkSettings) -> Credentials:
    """Raises `LinkFailure` for a file that is missing or is not what it should be."""
    stamp = fingerprint(settings.files)
    password = settings.password
    if settings.password_file:
        password = _first_line(settings.password_file)
    context = make_context(settings) if any(broker.tls for broker in settings.brokers) else None
    return Credentials(settings.username, password, context, stamp)


def make_context(settings: LinkSettings) -> ssl.SSLContext:
    """TLS 1.2 or newer; the broker's name and certificate are always checked. Raises `LinkFailure`."""
    if settings.ca_file:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        _read(settings.ca_file, "ca_file")
        try:
            context.load_verify_locations(cafile=settings.ca_file)
        except (ssl.SSLError, OSError):
            raise _wrong("ca_file", settings.ca_file, "it holds no certificates in PEM form") from None
    else:
        context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if settings.cert_file:
        _read(settings.cert_file, "cert_file")
        if settings.key_file:
            _read(settings.key_file, "key_file")
        try:
            context.load_cert_chain(settings.cert_file, settings.key_file, password=_no_passphrase)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise _wrong("cert_file", settings.cert_file, _about_pair(error, settings)) from None
    if settings.alpn:
        context.set_alpn_protocols(list(settings.alpn))
    return context


class EncryptedKeyError(ValueError):
    """Instead of OpenSSL asking for a passphrase on the terminal."""


def _no_passphrase() -> str:
    raise EncryptedKeyError


def _about_pair(error: Exception, settings: LinkSettings) -> str:
    if isinstance(error, EncryptedKeyError):
        return "the private key is encrypted, and nobody is there to type its passphrase"
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return f"it does not belong to the key in {settings.key_file or 'the same file'}"
    key = settings.key_file or "in the same file"
    return f"it is no certificate in PEM form, or there is no such private key ({key})"


def _first_line(file: Path) -> str:
    line = _read(file, "password_file").split(b"\n", 1)[0].rstrip(b"\r")
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise _wrong("password_file", file, "it is not UTF-8") from None
    if not text or len(line) > _PASSWORD_BYTES:
        raise _wrong("password_file", file, "its first line is no password")
    return text


def _read(file: Path, key: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise _wrong(key, file, f"it cannot be read ({error.strerror})") from None


def _wrong(key: str, file: Path, problem: str) -> LinkFailure:
    return LinkFailure(Kind.LOCAL, f"mqtt.{key} = '{file}': {problem}")


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
