"""`P/twin/model`: which models the device has, and how they are. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agent.runtime.snapshot import ModelSnapshot
from agent.store.layout import BrokenVersion, StoredModel
from agent.store.store import Listing

Twin = Mapping[str, Any]


def models_twin(
    served: Iterable[ModelSnapshot], listing: Listing, updates: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """`{"rev": ..., "models": {NAME: {...}}}`.

    `version` is the one that is served, `newest` the one that came to the device last; they differ when an imported
    version was not activated, or was left by a rollback. `versions` are all that could be activated. `state` is as in
    /status, `reason` why it is in it. A model that is on the disk and not served has no `version`; one that is only
    wanted has the state "absent".

    `updates` is what `agent.updates.report.twin` says: `rev` is that of the desired state that was read last, `error`
    what is wrong with it; a model's `update` is its latest one, `rejected` the versions that were tested and refused.
    """
    by_name: dict[str, dict[str, Any]] = {}
    for model in served:
        entry: dict[str, Any] = {"version": model.version, "task": model.task, "state": model.state}
        if model.reason:
            entry["reason"] = model.reason[:300]
        by_name[model.name] = entry
    for name in sorted({model.name for model in listing.models}):
        stored = [model for model in listing.models if model.name == name]
        by_name.setdefault(name, {"task": stored[0].manifest.task, "state": "inactive"}).update(_stored(stored))
    for name, broken in _broken(listing.broken).items():
        by_name.setdefault(name, {"state": "broken"})["broken"] = broken
    updates = updates or {}
    for name, said in updates.get("models", {}).items():
        by_name.setdefault(name, {"state": "absent"}).update(said)
    whole = {key: updates[key] for key in ("rev", "error") if key in updates}
    return {**whole, "models": dict(sorted(by_name.items()))}


def _stored(versions: list[StoredModel]) -> dict[str, Any]:
    last = max(versions, key=lambda model: model.created)
    active = next((model for model in versions if model.active), last)
    return {
        "newest": active.version if active.created == last.created else last.version,
        "versions": [model.version for model in versions],
        "format": active.manifest.format,
        "quantization": active.manifest.quantization,
        "bytes": active.total_bytes,
    }


def _broken(versions: Iterable[BrokenVersion]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for version in versions:
        found.setdefault(version.name, {})[version.version] = version.reason[:300]
    return found
