"""The models that ship with edge-agent: small ones, for the first five minutes. They are served from where they lie."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final, Literal

from agent.errors import ArtifactError
from agent.store.layout import StoredModel
from agent.store.manifest import read_manifest
from agent.store.names import MANIFEST_NAME

FOLDER: Final = Path(__file__).resolve().parent / "models"

Choice = Literal["auto", "always", "never"]
"""`auto`: only for tasks that no other model does."""


def bundled(folder: Path = FOLDER) -> list[StoredModel]:
    """Every model in `folder`, each a folder with a manifest and the files that it lists, sorted by name.

    Raises `ArtifactError` for one that is not whole: then the installation is not.
    """
    return [_read(path.parent) for path in sorted(folder.glob(f"*/{MANIFEST_NAME}"))]


def shipped_names(folder: Path = FOLDER) -> frozenset[str]:
    """Those of the models in `folder`, whole or not."""
    return frozenset(path.parent.name for path in folder.glob(f"*/{MANIFEST_NAME}"))


def serving(
    models: Iterable[StoredModel], choice: Choice, *, names: Collection[str], tasks: Collection[str]
) -> list[StoredModel]:
    """Those of `models` to serve beside models called `names`, which do `tasks`. A model of one's own has the name."""
    return [
        model
        for model in models
        if choice != "never" and model.name not in names and (choice == "always" or model.manifest.task not in tasks)
    ]


def _read(folder: Path) -> StoredModel:
    try:
        manifest = read_manifest(folder / MANIFEST_NAME)
        created = int((folder / MANIFEST_NAME).stat().st_mtime)
        fault = next((file.path for file in manifest.files if (folder / file.path).stat().st_size != file.bytes), None)
    except OSError as error:
        raise _broken(folder, f"{error.filename or folder}: {error.strerror}") from None
    except ArtifactError as error:
        raise _broken(folder, error.message) from None
    if fault is not None:
        raise _broken(folder, f"{fault} has another length than its manifest says")
    return StoredModel(
        name=manifest.name, version=manifest.version, path=folder, active=True, created=created, manifest=manifest
    )


def _broken(folder: Path, what: str) -> ArtifactError:
    return ArtifactError(
        f"The model {folder.name} that ships with edge-agent is broken: {what}.", hint="Install edge-agent again."
    )
