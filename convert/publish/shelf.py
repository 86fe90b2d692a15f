"""The files of a repository, by the names that devices ask for blocks with, and stretches of them."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from agent.chunks.blocks import is_metadata, is_target
from agent.errors import NotFoundError
from agent.store.durable import opened
from convert.publish.folder import RepositoryFolder

LOOK_AGAIN_S: Final = 1.0
"""A file that is not known makes it read the folders again, at most so often."""

_HASHED: Final = re.compile(r"([0-9a-f]{64})\..+")


class Shelf:
    """Reads what lies in the repository's folder now: publications need not be told to it.

    It believes the names of files; devices check what they get. `clock` is monotonic.
    """

    def __init__(self, repository: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder = RepositoryFolder(repository)
        self._clock = clock
        self._paths: dict[str, Path] = {}
        self._looked_at: float | None = None

    def read(self, key: str, offset: int, count: int) -> bytes:
        """At most `count` bytes from `offset` on; fewer say that the file ends there.

        Raises `NotFoundError` for a key that names no file, `OSError` where it cannot be read.
        """
        path = self._path(key)
        try:
            with opened(path) as descriptor:
                return os.pread(descriptor, count, offset)
        except FileNotFoundError:
            self._paths.pop(key, None)  # pruned meanwhile
            raise NotFoundError(f"There is no file {key} in the repository.") from None

    def _path(self, key: str) -> Path:
        if is_metadata(key):
            return self._folder.metadata / key
        if is_target(key):
            if key not in self._paths:
                self._look()
            if key in self._paths:
                return self._paths[key]
        raise NotFoundError(f"There is no file {key} in the repository.")

    def _look(self) -> None:
        now = self._clock()
        if self._looked_at is not None and now - self._looked_at < LOOK_AGAIN_S:
            return
        self._looked_at = now
        self._paths = {
            found[1]: Path(folder, name)
            for folder, _, names in os.walk(self._folder.targets)
            for name in names
            if (found := _HASHED.fullmatch(name))
        }
