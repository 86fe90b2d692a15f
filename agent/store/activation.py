"""Which version of a model is active, and which was before it.

`current` is the only thing that says which version is active, and one rename changes it. The way back is recorded
beforehand, under the name of the version about to become active: until the switch nobody reads that record, after it
the record is right. So there is no state between the two that needs repair.
"""

from __future__ import annotations

from typing import Final

import msgspec

from agent.store.durable import Filesystem
from agent.store.layout import Layout

HISTORY_LIMIT: Final = 16


def switch(filesystem: Filesystem, layout: Layout, name: str, version: str) -> None:
    """Makes `version` the active one, and what was active the one to roll back to. Raises `OSError`.

    The version need not be there yet: then it becomes active at the moment it appears, and none is until then.
    """
    active = layout.active_version(name)
    if active == version:
        return
    history = [*layout.history(name, active), active] if active is not None else []
    _point(filesystem, layout, name, version, [old for old in history if old != version])


def switch_back(filesystem: Filesystem, layout: Layout, name: str, earlier: str) -> None:
    """Makes `earlier`, in the history of the active version, active again; the later ones are not gone back to."""
    active = layout.active_version(name)
    history = layout.history(name, active) if active is not None else []
    _point(filesystem, layout, name, earlier, history[: history.index(earlier)])


def _point(filesystem: Filesystem, layout: Layout, name: str, version: str, history: list[str]) -> None:
    folder = layout.history_folder(name)
    filesystem.make_folder(folder)
    filesystem.replace_file(
        folder / version,
        msgspec.json.encode(history[-HISTORY_LIMIT:]) + b"\n",
        temporary=layout.temporary("history"),
    )
    filesystem.replace_link(layout.current(name), version, temporary=layout.temporary("current"))
