"""Private keys: Ed25519, one PEM file each, encrypted where a passphrase is given.

They live in folders that no web server serves. A folder holds some of the keys of a repository: those of the online
roles on the machine that renews the timestamp, one root key on a stick in a safe.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Key, Metadata

from agent.errors import ArtifactError, ConfigError
from agent.store.durable import Filesystem, read_start

SUFFIX: Final = ".pem"
_LIMIT_BYTES: Final = 16 * 1024
_SHOWN_CHARACTERS: Final = 12


class KeyRing(Mapping[str, CryptoSigner]):
    """The private keys at hand, by key id."""

    def __init__(self, signers: Iterable[CryptoSigner] = ()) -> None:
        self._signers = {signer.public_key.keyid: signer for signer in signers}

    def __getitem__(self, keyid: str) -> CryptoSigner:
        return self._signers[keyid]

    def __iter__(self) -> Iterator[str]:
        return iter(self._signers)

    def __len__(self) -> int:
        return len(self._signers)

    def with_keys(self, signers: Iterable[CryptoSigner]) -> KeyRing:
        return KeyRing([*self._signers.values(), *signers])

    def sign(self, metadata: Metadata[Any], keyids: Iterable[str]) -> None:
        """Add the signatures of those of `keyids` that are here."""
        for keyid in dict.fromkeys(keyids):
            if keyid in self._signers:
                metadata.sign(self._signers[keyid], append=True)


def load_keys(folders: Sequence[Path], passphrase: bytes | None = None) -> KeyRing:
    """All keys in files below `folders`.

    Raises `ArtifactError` for a folder that is not there and a file that is no Ed25519 key; `ConfigError` where the
    passphrase is missing or wrong.
    """
    signers = []
    for folder in folders:
        if not folder.is_dir():
            raise ArtifactError(f"{folder} is not a folder of keys.", hint="Make keys with edge-convert keys create.")
        signers += [_load(path, passphrase) for path in sorted(folder.rglob(f"*{SUFFIX}"))]
    return KeyRing(signers)


def new_key() -> CryptoSigner:
    return CryptoSigner.generate_ed25519()


def save_key(signer: CryptoSigner, role: str, folder: Path, passphrase: bytes | None = None) -> Path:
    """Writes `FOLDER/ROLE/KEYID.pem` for its owner's eyes only, and returns its path. Raises `OSError`."""
    disk = Filesystem()
    place = folder / role
    for parent in (folder, place):
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = place / f"{shown(signer.public_key)}{SUFFIX}"
    encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
    private = load_pem_private_key(signer.private_bytes, None)
    data = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        disk.sync_file(path)
    except OSError:
        path.unlink()  # half a key would make the whole folder unreadable
        raise
    disk.sync_folder(place)
    disk.sync_folder(folder)
    return path


def shown(key: Key) -> str:
    """The start of a key id: enough to tell a repository's keys apart."""
    return key.keyid[:_SHOWN_CHARACTERS]


def _load(path: Path, passphrase: bytes | None) -> CryptoSigner:
    data = read_start(path, _LIMIT_BYTES)
    encrypted = b"BEGIN ENCRYPTED PRIVATE KEY" in data
    if encrypted and not passphrase:
        raise ConfigError(f"{path} is encrypted.", hint="Give its passphrase in EDGE_CONVERT_PASSPHRASE.")
    try:
        private = load_pem_private_key(data, passphrase if encrypted else None)
    except (ValueError, TypeError) as error:
        if encrypted:
            raise ConfigError(f"The passphrase does not open {path}.", hint="All keys have the same one.") from error
        raise ArtifactError(f"{path} is no private key in PEM form.") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ArtifactError(f"{path} is no Ed25519 key.", hint="Make keys with edge-convert keys.")
    return CryptoSigner(private)
