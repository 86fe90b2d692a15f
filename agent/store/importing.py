"""One import: stage out of sight, publish with one rename, then activate.

The order that makes a kill harmless: every file, its folder and the manifest are synced in the staging folder; one
rename puts the whole version where it is looked for. If no version is active, `current` points there beforehand, to
nothing; if another is, `current` is switched afterwards.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from agent.errors import ArtifactError, StoreError
from agent.store import activation, recovery
from agent.store.durable import Filesystem
from agent.store.layout import Layout, StoredModel, is_folder
from agent.store.locks import exclusive, hold_folder
from agent.store.manifest import ArtifactFile, decode_manifest, encode_manifest
from agent.store.names import MANIFEST_NAME, check_name, check_version, folded
from agent.store.plan import Ignored, ImportPlan
from agent.store.staging import Progress, Tally, Transfer, bring, hash_sources


@dataclass(frozen=True, kw_only=True)
class Imported:
    """The version that an import ended with; `created` is False if it was there before."""

    model: StoredModel
    created: bool
    ignored: tuple[Ignored, ...] = ()


def import_plan(
    filesystem: Filesystem,
    layout: Layout,
    plan: ImportPlan,
    *,
    version: str | None,
    transfer: Transfer,
    activate: bool | None,
    progress: Progress | None,
    margin_bytes: int,
    lock_timeout_s: float,
) -> Imported:
    """Carries out `plan`; see `Store.import_gguf` for the arguments. Raises `EdgeAgentError` and `OSError`."""
    name = plan.draft.name
    check_name(name)
    if version is not None:
        check_version(version)
    check_spelling(layout, name, version)
    if transfer == "move":
        _check_movable(layout, plan)
    model = _stored_by_size(layout, plan, version, Tally(progress, plan.total_bytes))
    created = False
    if model is None:
        with _staging_folder(filesystem, layout, lock_timeout_s) as folder:
            tally = Tally(progress, plan.total_bytes)
            files = bring(filesystem, plan, folder, transfer=transfer, margin_bytes=margin_bytes, tally=tally)
            with exclusive(layout.lock, timeout_s=lock_timeout_s):
                model = _stored(layout, plan, version, files)
                if model is None:
                    chosen = version or next_version(layout.versions(name))
                    model = _publish(filesystem, layout, plan, files, folder, chosen, activate)
                    created = True
                _activate(filesystem, layout, model, activate)
    else:
        with exclusive(layout.lock, timeout_s=lock_timeout_s):
            _activate(filesystem, layout, model, activate)
    if transfer == "move":
        _remove_sources(plan)
    return Imported(model=_present(layout, name, model.version), created=created, ignored=plan.ignored)


def next_version(versions: list[str]) -> str:
    """The version for an import that names none: one more than the largest whole number there is, from "1"."""
    return str(max((int(version) for version in versions if version.isdecimal()), default=0) + 1)


@contextmanager
def _staging_folder(filesystem: Filesystem, layout: Layout, lock_timeout_s: float) -> Iterator[Path]:
    # Made and locked while the store's lock is held, so that a sweep never sees it unlocked while we live.
    folder = layout.temporary("import")
    descriptor: int | None = None
    try:
        with exclusive(layout.lock, timeout_s=lock_timeout_s):
            filesystem.make_folder(folder)
            descriptor = hold_folder(folder)
        yield folder
    finally:
        if is_folder(folder):  # not published
            with suppress(OSError):  # the next open sweeps it up
                filesystem.remove_tree(folder)
        if descriptor is not None:
            os.close(descriptor)


def _publish(
    filesystem: Filesystem,
    layout: Layout,
    plan: ImportPlan,
    files: tuple[ArtifactFile, ...],
    folder: Path,
    version: str,
    activate: bool | None,
) -> StoredModel:
    name = plan.draft.name
    check_spelling(layout, name, version)
    if (data := plan.manifest_bytes) is None:
        data = encode_manifest(msgspec.structs.replace(plan.draft, version=version, files=files))
        decode_manifest(data)  # nothing is written that could not be read again
    filesystem.write_new(folder / MANIFEST_NAME, data)
    filesystem.sync_folder(folder)
    try:
        filesystem.make_folder(layout.model(name))
        if activate is not False and layout.active_version(name) is None:
            activation.switch(filesystem, layout, name, version)  # the rename makes it present and active at once
        filesystem.rename(folder, layout.version(name, version))
    except OSError:
        with suppress(OSError):
            recovery.sweep_model(filesystem, layout, name)
        raise
    return _present(layout, name, version)


def _activate(filesystem: Filesystem, layout: Layout, model: StoredModel, wanted: bool | None) -> None:
    if wanted or (wanted is None and layout.active_version(model.name) is None):
        activation.switch(filesystem, layout, model.name, model.version)


def _stored_by_size(layout: Layout, plan: ImportPlan, version: str | None, tally: Tally) -> StoredModel | None:
    """The stored version that is the same, found before anything is copied; the sources are read if sizes agree."""
    if plan.manifest_bytes is not None:
        return _stored(layout, plan, version, plan.draft.files)
    sizes = [(file.path, file.bytes) for file in plan.files]
    for model in _candidates(layout, plan, version):
        if [(file.path, file.bytes) for file in model.manifest.files] == sizes:
            return _stored(layout, plan, version, hash_sources(plan, tally))
        if version is not None:
            raise _taken(model)
    return None


def _stored(
    layout: Layout, plan: ImportPlan, version: str | None, files: tuple[ArtifactFile, ...]
) -> StoredModel | None:
    """The stored version with the same manifest (an author's) or the same files (ours).

    Raises `ArtifactError` if `version` is there and is not the same.
    """
    for model in _candidates(layout, plan, version):
        if (model.manifest == plan.draft) if plan.manifest_bytes is not None else (model.manifest.files == files):
            return model
        if version is not None:
            raise _taken(model)
    return None


def _candidates(layout: Layout, plan: ImportPlan, version: str | None) -> Iterator[StoredModel]:
    name = plan.draft.name
    if version is not None:
        if (model := layout.whole(name, version)) is not None:
            yield model
        return
    for stored in layout.versions(name):
        if isinstance(found := layout.look(name, stored), StoredModel):
            yield found


def _taken(model: StoredModel) -> ArtifactError:
    return ArtifactError(
        f"Version {model.version} of {model.name} is already in the store and is something else.",
        hint="Choose another version for this one (--version, or the version in its manifest).",
        param="version",
    )


def check_spelling(layout: Layout, name: str, version: str | None) -> None:
    """Two names that differ only in case are one folder on some file systems."""
    for wanted, present in ((name, layout.names()), (version, layout.versions(name))):
        for other in present:
            if wanted is not None and wanted != other and folded(wanted) == folded(other):
                raise ArtifactError(f"{wanted} differs only in case from {other}.", hint=f"Use {other}.")
    for path in (layout.model(name), layout.version(name, version) if version is not None else None):
        if path is not None and os.path.lexists(path) and not is_folder(path):
            raise StoreError(f"{path} is not a folder.", hint="Move away what is in the way.")


def _check_movable(layout: Layout, plan: ImportPlan) -> None:
    root = layout.root.resolve()
    for file in plan.files:
        if file.given.is_symlink():
            raise ArtifactError(f"{file.given} is a symbolic link and is not moved.", hint="Import it without --move.")
        if file.source.is_relative_to(root):
            raise ArtifactError(f"{file.given} is in the store already.", hint="Import it without --move.")


def _remove_sources(plan: ImportPlan) -> None:
    manifest = [plan.folder / MANIFEST_NAME] if plan.folder is not None and plan.manifest_bytes is not None else []
    try:
        for path in [*(file.given for file in plan.files), *manifest]:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(
            f"{plan.draft.name} was imported, but {error.filename} could not be removed: {error.strerror}."
        ) from error
    if plan.folder is not None:
        for folder in sorted({file.given.parent for file in plan.files} | {plan.folder}, reverse=True):
            with suppress(OSError):  # files that were not imported are in it
                folder.rmdir()


def _present(layout: Layout, name: str, version: str) -> StoredModel:
    model = layout.whole(name, version)
    if model is None:
        raise StoreError(f"Version {version} of {name} was removed by another process.")
    return model
