"""The folder of collections: one database each, so that one's damage, lock or removal is not another's."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from agent.errors import NotFoundError, RequestError
from agent.search.collection import Collection
from agent.search.database import COLLECTION
from agent.search.model_id import ModelId
from agent.search.name import NAME, SUFFIX, check_name

_COMPANIONS: Final = ("-wal", "-shm", "-journal")


class Shelf:
    """Collections by name. The folder is made when the first one is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def names(self) -> list[str]:
        if not self.folder.is_dir():
            return []
        found = (path.name.removesuffix(SUFFIX) for path in self.folder.glob(f"*{SUFFIX}"))
        return sorted(name for name in found if NAME.fullmatch(name))

    def path(self, name: str) -> Path:
        check_name(name)
        return self.folder / f"{name}{SUFFIX}"

    def create(self, name: str, model: ModelId, text_columns: Sequence[str] = ()) -> Collection:
        """A new, empty collection; it is there whole or not at all. Raises `RequestError` where the name is taken."""
        path = self.path(name)
        taken = RequestError(
            f"There is a collection {name} already.", hint="Add to it, or remove it first.", param="collection"
        )
        if path.exists():
            raise taken
        unfinished = self.folder / f".{name}.{os.getpid()}"
        with COLLECTION.translated(path):
            self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            self._clear_unfinished(name)
            try:
                Collection.create(unfinished, model, text_columns).close()
                # A log that a killed removal left would be taken for this database's own.
                _remove_companions(path)
                os.link(unfinished, path)  # unlike a rename, this never replaces what another process made meanwhile
            except FileExistsError:
                raise taken from None
            finally:
                _remove(unfinished)
            _sync_folder(self.folder)
        return Collection(path)

    def open(self, name: str) -> Collection:
        """Raises `NotFoundError` naming the collections there are."""
        path = self.path(name)
        if not path.exists():
            there = ", ".join(self.names()) or "none"
            raise NotFoundError(
                f"There is no collection {name}; there is: {there}.",
                hint="Create it with `edge-agent search create`.",
                param="collection",
            )
        return Collection(path)

    def remove(self, name: str) -> None:
        """Delete a collection's files, even where they are damaged. Raises `NotFoundError`. Close it first."""
        path = self.path(name)
        if not path.exists():
            raise NotFoundError(f"There is no collection {name}.", param="collection")
        with COLLECTION.translated(path):
            gone = self.folder / f".{name}.{os.getpid()}"
            path.rename(gone)  # from here on there is no such collection, whatever happens
            _remove_companions(path)
            _remove(gone)
            _sync_folder(self.folder)

    def _clear_unfinished(self, name: str) -> None:
        for left in self.folder.glob(f".{name}.*"):
            if not _runs(left.name.rpartition(".")[2].partition("-")[0]):
                left.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    _remove_companions(path)
    path.unlink(missing_ok=True)


def _remove_companions(path: Path) -> None:
    for companion in _COMPANIONS:
        path.with_name(path.name + companion).unlink(missing_ok=True)


def _runs(process_id: str) -> bool:
    try:
        os.kill(int(process_id), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return int(process_id) != os.getpid()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
