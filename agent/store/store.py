"""The store: artifacts on disk, versions side by side, one of each model active.

Killed anywhere, it opens again with the old or the new version active, never half of one. docs/artifacts.md tells what
holds after each step. Reading takes no lock; changing takes one lock per store, held briefly: never while files are
copied, hashed or deleted. Everything here is synchronous and may be called from any thread.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.errors import (
    ArtifactError,
    HashMismatchError,
    ModelNotFoundError,
    RequestError,
    StoreError,
    UnavailableError,
)
from agent.store import activation, recovery
from agent.store.adopting import Incoming
from agent.store.artifact_source import plan_artifact
from agent.store.durable import Filesystem, hash_file
from agent.store.faults import FULL, translated
from agent.store.gguf_source import plan_gguf
from agent.store.importing import Imported, import_plan
from agent.store.layout import BrokenVersion, Layout, StoredModel
from agent.store.locks import exclusive
from agent.store.names import MANIFEST_NAME, is_safe_name, is_safe_version
from agent.store.onnx_source import plan_onnx
from agent.store.plan import ImportPlan, real_path
from agent.store.probe_report import ProbeReport
from agent.store.staging import Progress, Tally, Transfer

FREE_SPACE_MARGIN_BYTES: Final = 64 * 1024 * 1024
LOCK_TIMEOUT_S: Final = 10.0
_READ_ONLY: Final = frozenset({errno.EACCES, errno.EPERM, errno.EROFS}) | FULL


@dataclass(frozen=True, kw_only=True)
class Listing:
    """All that is in the store."""

    models: tuple[StoredModel, ...]
    broken: tuple[BrokenVersion, ...]


class Store:
    """The store in the folder `root` (the `models` folder of the state folder), created if it is not there.

    Opening sweeps up what a killed process left, unless the store is being changed or cannot be written to.
    `shipped` are names of models that lie elsewhere, one version each, and are served while the store has none active
    of that name. `filesystem` is the seam for tests; `margin_bytes` stay free on the disk after an import.
    """

    def __init__(
        self,
        root: Path,
        *,
        shipped: Collection[str] = (),
        filesystem: Filesystem | None = None,
        margin_bytes: int = FREE_SPACE_MARGIN_BYTES,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
    ) -> None:
        self.layout = Layout(root=root)
        self._shipped = frozenset(shipped)
        self._filesystem = filesystem or Filesystem()
        self._margin_bytes = margin_bytes
        self._lock_timeout_s = lock_timeout_s
        self.incoming = Incoming(
            self._filesystem, self.layout, margin_bytes=margin_bytes, lock_timeout_s=lock_timeout_s
        )
        """Folders that are filled in place, and adopted."""
        self._open()

    def scan(self) -> Listing:
        """Every version, whole or broken. Sizes are compared, hashes are not (`verify`). Raises `StoreError`."""
        models: list[StoredModel] = []
        broken: list[BrokenVersion] = []
        with translated("listing the models"):
            for name in self.layout.names():
                for version in self.layout.versions(name):
                    found = self.layout.look(name, version)
                    if isinstance(found, StoredModel):
                        models.append(found)
                    elif found is not None:
                        broken.append(found)
        return Listing(models=tuple(models), broken=tuple(broken))

    def models(self) -> list[StoredModel]:
        """Every version that is whole, sorted by name and version. Raises `StoreError`."""
        return list(self.scan().models)

    def active(self, name: str) -> StoredModel:
        """The active version of a model. Raises `ModelNotFoundError`, `StoreError` when it is broken."""
        self._known(name)
        version = self.layout.active_version(name)
        model = self.layout.whole(name, version) if version is not None else None
        if model is None:
            raise ModelNotFoundError(
                f"No version of {name} is active; there are {', '.join(self.layout.versions(name))}.",
                hint=f"Choose one: edge-agent models activate {name} VERSION.",
                param="model",
            )
        return model

    def get(self, name: str, version: str) -> StoredModel:
        """One version of a model. Raises `ModelNotFoundError`, `StoreError` when it is broken."""
        self._known(name)
        model = self.layout.whole(name, version) if is_safe_version(version) else None
        if model is None:
            raise ModelNotFoundError(
                f"{name} has no version {ascii(version)[1:129]}; there are {', '.join(self.layout.versions(name))}.",
                param="version",
            )
        return model

    def previous_version(self, name: str) -> str | None:
        """The version that `rollback` would activate, if there is one."""
        if not is_safe_name(name):
            return None
        active = self.layout.active_version(name)
        history = self.layout.history(name, active) if active is not None else []
        return history[-1] if history else None

    def import_gguf(
        self,
        path: Path,
        name: str | None,
        version: str | None,
        probe: ProbeReport,
        *,
        transfer: Transfer = "copy",
        activate: bool | None = None,
        progress: Progress | None = None,
    ) -> Imported:
        """Brings in a GGUF file, or all parts of a split one (`path` is any of them).

        `name` defaults to the file's name. Without `version`, a stored version with the same hashes is returned;
        else it is the next whole number, from "1". `activate` None means: if the model has no active version.
        `transfer` "copy" shares blocks where the file system can, "link" makes hard links, "move" removes the source
        after all is safe. Raises `ArtifactError`, `DiskFullError`, `UnavailableError` (store locked), `StoreError`.
        """
        with translated(f"importing {path.name}"):
            plan = plan_gguf(path, name, version, probe)
            return self._import(plan, version, transfer, activate, progress)

    def import_folder(
        self,
        path: Path,
        *,
        name: str | None = None,
        version: str | None = None,
        transfer: Transfer = "copy",
        activate: bool | None = None,
        progress: Progress | None = None,
    ) -> Imported:
        """Brings in an artifact folder (with manifest.json), or an ONNX folder in the layout people download.

        `Imported.ignored` lists the files left outside. Raises as `import_gguf` does, and `HashMismatchError` for a
        file that is not what the manifest says.
        """
        with translated(f"importing {path.name}"):
            folder = real_path(path)
            if not folder.is_dir():
                raise ArtifactError(f"{path} is not a folder.", hint="A .gguf file is imported by itself.")
            if os.path.lexists(folder / MANIFEST_NAME):
                plan = plan_artifact(folder, name=name, version=version)
                version = plan.draft.version
            else:
                plan = plan_onnx(folder, name=name, version=version)
            return self._import(plan, version, transfer, activate, progress)

    def activate(self, name: str, version: str) -> StoredModel:
        """Makes a version the active one; the one before is what `rollback` goes back to.

        Raises `ModelNotFoundError`, `StoreError` when it is broken, `UnavailableError`, `DiskFullError`.
        """
        with translated(f"activating {name}"), self._locked():
            activation.switch(self._filesystem, self.layout, name, self.get(name, version).version)
        return self.get(name, version)

    def rollback(self, name: str) -> StoredModel:
        """Makes the version that was active before the active one active again; repeated, it goes further back.

        Raises `RequestError` when there is none, and as `activate` does.
        """
        with translated(f"rolling back {name}"), self._locked():
            if name in self._shipped and not self.layout.versions(name):
                raise RequestError(
                    f"{name} ships with edge-agent: it has no earlier version to go back to.",
                    hint="An update or an import of that name takes its place, until it is removed.",
                    param="model",
                )
            self._known(name)
            if (earlier := self.previous_version(name)) is None:
                raise RequestError(f"{name} has no earlier version to go back to.", hint=self._alternatives(name))
            activation.switch_back(self._filesystem, self.layout, name, self.get(name, earlier).version)
        return self.get(name, earlier)

    def deactivate(self, name: str) -> None:
        """No version of the model is active from now on; nothing if none was.

        Raises `ModelNotFoundError`, `UnavailableError`, `StoreError`.
        """
        with translated(f"deactivating {name}"), self._locked():
            self._known(name)
            if os.path.lexists(self.layout.current(name)):
                self._filesystem.unlink(self.layout.current(name))

    def remove(self, name: str, version: str | None = None, *, force: bool = False) -> None:
        """Removes a version, or the model with all its versions; never half of one.

        The active version is refused (`RequestError`) unless it is the only one or `force`; then none is active.
        A broken version can be removed. Raises `ModelNotFoundError`, `UnavailableError`, `StoreError`.
        """
        with translated(f"removing {name}"):
            discarded = self.layout.discarded(name)
            with self._locked():
                self._known(name)
                if version is None or self.layout.versions(name) == [version]:
                    self._filesystem.rename(self.layout.model(name), discarded)
                else:
                    self._remove_version(name, version, discarded, force)
            self._filesystem.remove_tree(discarded)

    def verify(self, name: str, version: str, *, progress: Progress | None = None) -> StoredModel:
        """Reads all files of a version and compares their hashes.

        Raises `HashMismatchError` naming the file (`param`), `ModelNotFoundError`, `StoreError` when it is broken.
        """
        with translated(f"verifying {name}"):
            model = self.get(name, version)
            tally = Tally(progress, model.total_bytes)
            for file in model.manifest.files:
                found = hash_file(model.path / file.path, limit_bytes=file.bytes, on_bytes=tally.add)
                if found != (file.bytes, file.sha256):
                    raise HashMismatchError(
                        f"{file.path} of {name} {version} has the SHA-256 {found[1]}; the manifest says {file.sha256}.",
                        hint=f"Remove it (edge-agent models rm {name} --version {version} --force), import it again.",
                        param=file.path,
                    )
        return model

    def _import(
        self,
        plan: ImportPlan,
        version: str | None,
        transfer: Transfer,
        activate: bool | None,
        progress: Progress | None,
    ) -> Imported:
        return import_plan(
            self._filesystem,
            self.layout,
            plan,
            version=version,
            transfer=transfer,
            activate=activate,
            progress=progress,
            margin_bytes=self._margin_bytes,
            lock_timeout_s=self._lock_timeout_s,
        )

    def _open(self) -> None:
        layout = self.layout
        try:
            layout.root.mkdir(mode=0o755, parents=True, exist_ok=True)
            with exclusive(layout.lock, timeout_s=0):
                self._filesystem.make_folder(layout.staging)
                self._filesystem.make_folder(layout.trash)
                recovery.sweep(self._filesystem, layout)
        except UnavailableError:
            return  # whoever changes the store has opened it, and swept
        except OSError as error:
            if error.errno not in _READ_ONLY or not os.access(layout.root, os.R_OK | os.X_OK):
                raise StoreError(f"The model store at {layout.root} cannot be opened: {error.strerror}.") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with exclusive(self.layout.lock, timeout_s=self._lock_timeout_s):
            yield

    def _alternatives(self, name: str) -> str:
        if name in self._shipped:
            return f"edge-agent models rm {name} removes it; then the one that ships with edge-agent is served again."
        return f"There is {', '.join(self.layout.versions(name))}; edge-agent models activate chooses one."

    def _known(self, name: str) -> None:
        if name in self._shipped and not self.layout.versions(name):
            raise ModelNotFoundError(
                f"{name} ships with edge-agent: there is no version of it in the store.",
                hint='starter_models = "never" in agent.toml takes such models out of service.',
                param="model",
            )
        if not is_safe_name(name) or not self.layout.versions(name):
            names = self.layout.names()
            raise ModelNotFoundError(
                f"There is no model {name[:128]!a} in the store.",
                hint=f"There is {', '.join(names)}." if names else "edge-agent models import FILE adds one.",
                param="model",
            )

    def _remove_version(self, name: str, version: str, discarded: Path, force: bool) -> None:
        versions, active = self.layout.versions(name), self.layout.active_version(name)
        if version not in versions:
            raise ModelNotFoundError(
                f"{name} has no version {ascii(version)[1:129]}; there are {', '.join(versions)}.", param="version"
            )
        if version == active and not force:
            raise RequestError(
                f"Version {version} of {name} is active.",
                hint=f"Activate another first (edge-agent models activate {name} VERSION), or use --force.",
                param="version",
            )
        self._filesystem.rename(self.layout.version(name, version), discarded)
        if version == active:
            self._filesystem.unlink(self.layout.current(name))
        record = self.layout.history_folder(name) / version
        if record.exists():
            self._filesystem.unlink(record)
