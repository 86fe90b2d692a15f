"""Which version of a model is active, and which was before it.

`current` is the only thing that says which version is active, and one rename changes it. The way back is recorded
beforehand, under the name of the version about to become active: until the switch nobody reads that record, after it
the record is right. So there is no state between the two that needs repair.
"""

from __future__ import annotations

from typing import Final

import msgspec

from agent.store.durable import Filesystem
from agent.store.layout import Layout, StoredModel

HISTORY_LIMIT: Final = 16


def switch(filesystem: Filesystem, layout: Layout, model: StoredModel) -> None:
    """Makes `model` the active version and what was active the one to roll back to. Raises `OSError`."""
    active = layout.active_version(model.name)
    if active == model.version:
        return
    history = [*layout.history(model.name, active), active] if active is not None else []
    _point(filesystem, layout, model, [version for version in history if version != model.version])


def switch_back(filesystem: Filesystem, layout: Layout, active: str, earlier: StoredModel) -> None:
    """Makes `earlier`, one of the versions before `active`, the active one again; a later one is not gone back to."""
    history = layout.history(earlier.name, active)
    _point(filesystem, layout, earlier, history[: history.index(earlier.version)])


def _point(filesystem: Filesystem, layout: Layout, model: StoredModel, history: list[str]) -> None:
    folder = layout.history_folder(model.name)
    filesystem.make_folder(folder)
    filesystem.replace_file(
        folder / model.version,
        msgspec.json.encode(history[-HISTORY_LIMIT:]) + b"\n",
        temporary=layout.temporary("history"),
    )
    filesystem.replace_link(layout.current(model.name), model.version, temporary=layout.temporary("current"))
