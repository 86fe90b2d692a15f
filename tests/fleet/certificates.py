"""An authority and the certificates that it issues, made with the openssl command."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificate:
    file: Path
    key: Path


class Authority:
    """`file` is its own certificate, in PEM form as all files here."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        if shutil.which("openssl") is None:
            pytest.skip("openssl is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._name = name
        self.file, self._key = folder / f"{name}.pem", folder / f"{name}.key"
        subject = ["-subj", f"/CN={name}", "-days", "30"]
        extensions = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        _openssl("req", "-x509", *_NEW_KEY, "-keyout", self._key, "-out", self.file, *subject, *extensions)

    def issue(self, name: str, *, names: Sequence[str] = (), days: int = 30) -> Certificate:
        """For a broker with its host `names`, or for a device. Negative `days` make one that has expired."""
        file, key, request = (self._folder / f"{name}.{suffix}" for suffix in ("pem", "key", "csr"))
        _openssl("req", "-new", *_NEW_KEY, "-keyout", key, "-out", request, "-subj", f"/CN={name}")
        extensions = self._folder / f"{name}.ext"
        alternatives = ",".join(f"DNS:{each}" for each in names)
        extensions.write_text(f"subjectAltName={alternatives}\n" if names else "basicConstraints=CA:FALSE\n")
        issuer = ["-CA", self.file, "-CAkey", self._key, "-CAcreateserial"]
        _openssl("x509", "-req", "-in", request, *issuer, "-out", file, "-days", str(days), "-extfile", extensions)
        return Certificate(file, key)


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def _openssl(*arguments: str | Path) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)
