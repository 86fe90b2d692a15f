"""Sweeping up what a killed process left behind. Called with the store's lock held.

Whatever is found is one of: an import that was never published, something already taken out of sight to be deleted, a
`current` link whose version was removed, or a model's folder without versions. Nothing that is in use looks like these.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from agent.store.durable import Filesystem
from agent.store.layout import Layout, is_folder
from agent.store.locks import hold_folder


def sweep(filesystem: Filesystem, layout: Layout) -> None:
    """Removes leftovers; an import that is running in another process is left alone. Raises `OSError`."""
    for entry in _entries(layout.staging):
        _sweep_staged(filesystem, entry)
    for entry in _entries(layout.trash):
        filesystem.remove_tree(entry)
    for name in layout.names():
        sweep_model(filesystem, layout, name)


def sweep_model(filesystem: Filesystem, layout: Layout, name: str) -> None:
    """Removes a link and records of versions that are not there, and the model's folder if nothing is left in it."""
    current, history = layout.current(name), layout.history_folder(name)
    if current.is_symlink() and layout.active_version(name) is None:
        filesystem.unlink(current)
    for record in _entries(history):
        if not is_folder(layout.version(name, record.name)):
            filesystem.remove_tree(record)
    if not layout.versions(name):
        if is_folder(history):
            filesystem.remove_tree(history)
        filesystem.step(f"rmdir {name}")
        with suppress(OSError):  # something that is not ours is in it
            layout.model(name).rmdir()


def _sweep_staged(filesystem: Filesystem, entry: Path) -> None:
    if not is_folder(entry):
        filesystem.remove_tree(entry)  # made and used under the store's lock, which we hold
        return
    try:
        descriptor = hold_folder(entry)
    except FileNotFoundError:  # an import that failed has just removed it
        return
    if descriptor is None:
        return
    try:
        filesystem.remove_tree(entry)
    finally:
        os.close(descriptor)


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if is_folder(folder) else []
