"""A device as the jobs of a fetch see it: its folder, its models, its root of trust; and a repository to look at.

Jobs run in this process here, which is quick; `test_fetch.py` has them in children, as the daemon does.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

from agent.updates.fetch.compare import compare
from agent.updates.fetch.download import Downloading
from agent.updates.fetch.http import HttpTransport, Patience
from agent.updates.fetch.meter import Meter
from agent.updates.fetch.resolve import resolve
from agent.updates.fetch.transport import Transport
from agent.updates.fetch.wire import Advanced, Compare, Download, Found, Repository, Resolve

HURRY = Patience(connect_s=2.0, head_s=0.5, silence_s=0.4, slow_s=0.4, slow_bytes=4_000)


class FetchingDevice:
    """`url` None only with a `transport` given to each job."""

    def __init__(self, folder: Path, root: Path, url: str | None, device_class: str | None = None) -> None:
        self.folder = folder / "updates"
        self.models = folder / "models"
        self.into = folder / "staged"
        for path in (self.folder, self.models):
            path.mkdir(parents=True, exist_ok=True)
        self.meter = Meter()
        self.wall_s = time.time()
        self.reports: list[Advanced] = []
        self.pauses: list[float] = []
        self.repository = Repository(url=url, root_file=str(root), folder=str(self.folder), device_class=device_class)

    def transport(self) -> Transport:
        assert self.repository.url is not None
        return HttpTransport(self.repository.url, self.meter, HURRY)

    def resolve(self, version: str | None = None, *, name: str = "toy", transport: Transport | None = None) -> Found:
        job = Resolve(repository=self.repository, name=name, version=version)
        return resolve(job, transport or self.transport(), wall=lambda: self.wall_s, pause=self.pauses.append)

    def missing_bytes(self, found: Found) -> int:
        return compare(Compare(folder=str(self.folder), models=str(self.models), files=found.files)).bytes_missing

    def download(self, found: Found, *, transport: Transport | None = None) -> Path:
        """The folder with the files. Pauses are noted, not waited for."""
        job = Download(
            repository=self.repository,
            into=str(self.into),
            manifest=found.manifest,
            files=found.files,
            limit_bytes=None,
            bytes_per_s=None,
        )
        self.into.mkdir(exist_ok=True)
        transport = transport or self.transport()
        Downloading(job, transport, self.meter, self.reports.append, pause=self.pauses.append).run()
        return self.into


def contents(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below, by its path."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
