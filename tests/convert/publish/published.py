"""A small repository, artifacts for it, and python-tuf's own client, which sees it as a device does."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import TargetFile
from tuf.ngclient import FetcherInterface, Updater

from agent.store.manifest import MemoryNeed
from convert.artifact import new_artifact
from convert.publish.create import Created, create
from convert.publish.publish import Published, publish

FIELDS: dict[str, Any] = {
    "task": "embed",
    "format": "onnx",
    "context": 128,
    "quantization": "int8",
    "memory_bytes": MemoryNeed(weights=1, per_1k_context=0, compute=0),
}
MODEL = np.random.default_rng(0).bytes(200_000)


class Killed(BaseException):
    """The process ends here, as far as the disk is concerned."""


def artifact(
    folder: Path, version: str, *, name: str = "toy", files: Mapping[str, bytes] | None = None, **fields: Any
) -> Path:
    """An artifact in `folder`, which must not be there. Its model is not one that can be loaded."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with new_artifact(folder) as staged:
        for path, data in (files or {"model.onnx": MODEL + version.encode(), "1_Pooling/config.json": b"{}"}).items():
            (staged.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (staged.folder / path).write_bytes(data)
        staged.finish(name=name, version=version, **{**FIELDS, **fields})
    return folder


@dataclass(frozen=True)
class Repository:
    """A repository below `folder`, all of its keys at hand."""

    folder: Path
    created: Created

    @property
    def path(self) -> Path:
        return self.folder / "repo"

    @property
    def keys(self) -> Path:
        return self.folder / "keys"

    def publish(
        self, version: str, *, name: str = "toy", files: Mapping[str, bytes] | None = None, **options: Any
    ) -> Published:
        place = Path(tempfile.mkdtemp(dir=self.folder))
        made = artifact(place / "artifact", version, name=name, files=files)
        return publish(made, self.path, options.pop("ring", self.created.ring), **options)

    def device(self) -> Device:
        return Device(self.path, Path(tempfile.mkdtemp(dir=self.folder)), self.created.root.read_bytes())


def new_repository(folder: Path, *, now: datetime | None = None) -> Repository:
    return Repository(folder, create(folder / "repo", folder / "keys", now=now))


class FolderFetcher(FetcherInterface):
    """Takes files from a folder, as a web server would give them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _fetch(self, url: str) -> Iterator[bytes]:
        path = self._folder / url.removeprefix("http://here/")
        if not path.is_file():
            raise DownloadHTTPError(f"{url} is not there", 404)
        return iter([path.read_bytes()])


class Device:
    """What a device can see. Each time a new look, with what it remembers of the ones before."""

    def __init__(self, repository: Path, folder: Path, root: bytes) -> None:
        self._fetcher = FolderFetcher(repository)
        self._folder = folder
        self._root = root

    def updater(self) -> Updater:
        targets = self._folder / "targets"
        targets.mkdir(exist_ok=True)
        return Updater(
            str(self._folder), "http://here/metadata", str(targets), "http://here/targets", self._fetcher,
            bootstrap=self._root,
        )  # fmt: skip

    def read(self, target: str) -> bytes | None:
        """A target, verified; None where there is none."""
        updater = self.updater()
        found: TargetFile | None = updater.get_targetinfo(target)
        return None if found is None else Path(updater.download_target(found)).read_bytes()

    def latest(self, name: str = "toy", scope: str = "") -> str | None:
        data = self.read(f"{scope}models/{name}/latest.json")
        return None if data is None else str(json.loads(data)["version"])
