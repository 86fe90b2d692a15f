"""`edge-agent models pull`: a model of the Hugging Face hub into the store."""

from __future__ import annotations

import argparse
import importlib.util
import sys
import time
from functools import partial

from agent.commands import imported
from agent.commands.board_room import look_around
from agent.commands.call import Call
from agent.errors import (
    ArtifactError,
    DiskFullError,
    EngineError,
    MemoryBudgetError,
    ModelLoadError,
)
from agent.hardware.fit import OVERHEAD_BYTES, SMALLEST_CONTEXT_TOKENS
from agent.hub import client
from agent.hub.artifact import stored_already, write_manifest
from agent.hub.catalog import gigabytes, known_models
from agent.hub.download import Download, folder_for, held, sweep
from agent.hub.fitting import check_room
from agent.hub.repository import Repository
from agent.hub.room import Room
from agent.hub.selection import Selection, select
from agent.hub.source import Source, parse_source
from agent.store.gguf_source import plan_gguf
from agent.store.importing import Imported
from agent.store.names import check_name, check_version
from agent.store.store import FREE_SPACE_MARGIN_BYTES, Store
from agent.terminal import Progress, size

DOWNLOADS = "downloads"
"""Beside the models, on their file system: what is whole is then moved, not copied."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "source", metavar="SOURCE", help="hf:OWNER/NAME, then :QUANTIZATION or :FILE, and @REVISION where wanted"
    )
    parser.add_argument("--name", help="what to call it; by default the file's or the repository's name")
    parser.add_argument("--version", help="which version it is; by default the next whole number")
    parser.add_argument(
        "--activate",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="serve this version; by default only if the model has no other",
    )
    parser.add_argument("--force", action="store_true", help="go on although memory or disk are too small for it")


def run(call: Call) -> int:
    options = call.options
    source = parse_source(options.source)
    for given, check in ((options.name, check_name), (options.version, check_version)):
        if given is not None:
            check(given)
    state_dir = call.state_dir  # before anything is asked of the hub: it may be refused
    repository = client.look(source)
    here = look_around(call)
    chosen = select(
        source,
        repository,
        partial(client.read_small, repository),
        machine=here.board.architecture,
        features=here.board.cpu_features,
        room=here.room,
    )
    name: str = options.name or chosen.name
    store = Store(state_dir / "models")
    downloads = state_dir / DOWNLOADS
    sweep(downloads, time.time())
    folder = folder_for(downloads, repository.name, chosen.wanted)
    about = {"hub": {"repository": repository.name, "revision": repository.revision, "because": chosen.because}}
    with held(folder):
        download = Download(folder, chosen.wanted, margin_bytes=FREE_SPACE_MARGIN_BYTES)
        stored = stored_already(store.models(), name, options.version, chosen.wanted)
        if stored is not None:
            download.discard()
            if options.activate:
                stored = store.activate(name, stored.version)
            imported.report(call, Imported(model=stored, created=False), about)
            return 0
        try:
            _check_version(store, name, options.version)
            _check_loader(chosen)
            _check_room(source, chosen, download.present_bytes, here.room, force=options.force)
            _say(repository, chosen, download.present_bytes)
            need_bytes = _bring(store, repository, chosen, download, name, options.version)
        except BaseException:
            if not download.present_bytes:
                download.discard()
            raise
        if chosen.need.fits and need_bytes > here.room.memory_bytes:
            _warn(
                f"It needs about {gigabytes(need_bytes)} of memory, and the board has "
                f"{gigabytes(here.room.memory_bytes)} for models: it may not load."
            )
        with Progress(f"importing {name}") as progress:
            result = store.import_folder(folder, transfer="move", activate=options.activate, progress=progress)
        download.discard()
    imported.report(call, result, about)
    return 0


def _say(repository: Repository, chosen: Selection, present_bytes: int) -> None:
    """What is about to be brought, before it is."""
    why = f" ({chosen.because})" if chosen.because else ""
    license = f", license {repository.license}" if repository.license else ", no license named"
    print(f"{repository.name}: {chosen.what}{why}, {size(chosen.bytes)}{license}.", file=sys.stderr)
    if present_bytes:
        print(f"Going on: {size(present_bytes)} of it are here already.", file=sys.stderr)


def _check_version(store: Store, name: str, version: str | None) -> None:
    """Raises `ArtifactError` where the import would, but before the download."""
    if version in store.layout.versions(name):
        raise ArtifactError(
            f"Version {version} of {name} is already in the store and is something else.",
            hint="Choose another version for this one (--version), or another name (--name).",
            param="version",
        )


def _check_room(source: Source, chosen: Selection, present_bytes: int, room: Room, *, force: bool) -> None:
    """Raises as `check_room` does, before the first byte; with `force` it is said, and no more."""
    try:
        check_room(source, chosen, present_bytes, room, known_models())
    except (MemoryBudgetError, DiskFullError) as error:
        if not force:
            raise
        _warn(error.message)


def _bring(
    store: Store, repository: Repository, chosen: Selection, download: Download, name: str, version: str | None
) -> int:
    """Downloads, and makes the folder an artifact. Returns the least bytes of memory that it needs."""
    present_bytes = download.present_bytes
    with Progress(name) as progress:
        # Only what is fetched now counts, or the rate would be that of the disk.
        hashes = download.run(
            partial(client.fetch, repository),
            lambda done, total: progress(max(0, done - present_bytes), max(1, total - present_bytes)),
        )
    draft, need_bytes = chosen.draft, chosen.need.least_bytes
    if draft is None:
        from agent.runtime.probe import probe_gguf

        first = download.folder / chosen.wanted[0].path
        try:
            draft = plan_gguf(first, name, version, probe_gguf(first)).draft
        except (ArtifactError, EngineError):
            download.discard()  # what the hub has is no model that can be run here
            raise
        need_bytes = draft.memory_bytes.at(SMALLEST_CONTEXT_TOKENS) + OVERHEAD_BYTES
    write_manifest(
        download.folder,
        draft,
        repository,
        chosen.wanted,
        hashes,
        name=name,
        version=version,
        taken=store.layout.versions(name),
    )
    return need_bytes


def _check_loader(chosen: Selection) -> None:
    """Raises `ModelLoadError` where a GGUF file could not be looked at when it is here."""
    if chosen.draft is None and importlib.util.find_spec("llama_cpp") is None:
        raise ModelLoadError(
            "llama-cpp-python is not installed, without which no GGUF model runs.",
            hint="Run edge-agent doctor: it says how to install it.",
        )


def _warn(text: str) -> None:
    print(f"edge-agent: {text}", file=sys.stderr)
