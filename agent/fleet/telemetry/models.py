"""The models as a source: what each is doing, and events when one comes, goes or fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from agent.fleet.telemetry.sample import Values
from agent.fleet.telemetry.source import Event, Look, Reading
from agent.runtime.lifecycle import State
from agent.runtime.snapshot import ModelSnapshot

FAILING_CRASHES: Final = 2
"""One crash may have been the request's fault; after two in a row the model is failing."""


class Models(Protocol):
    """The part of `Runtime` that is needed."""

    def models(self) -> tuple[ModelSnapshot, ...]: ...


@dataclass
class ModelsSource:
    runtime: Models
    type: str = field(default="models", init=False)
    _before: dict[str, ModelSnapshot] | None = field(default=None, init=False)

    async def read(self) -> Values:
        return {
            model.name: {
                "state": model.state,
                "version": model.version,
                "crashes": model.crashes,
                "resident_bytes": model.stats.resident_bytes if model.stats else None,
            }
            for model in self.runtime.models()
        }

    async def look(self) -> Look:
        models = self.runtime.models()
        before, self._before = self._before, {model.name: model for model in models}
        failing = [model for model in models if is_failing(model)]
        detail = "; ".join(f"{model.name}: {model.reason or model.state}" for model in failing)
        return Look(
            readings={"models_failing": Reading(float(len(failing)), detail)},
            events=() if before is None else changes(before, models),
        )


def is_failing(model: ModelSnapshot) -> bool:
    return model.state == State.FAILED or model.crashes_in_a_row >= FAILING_CRASHES


def changes(before: Mapping[str, ModelSnapshot], now: Sequence[ModelSnapshot]) -> list[Event]:
    """What has become of the models between two looks. What began and ended between them is only seen in `crashes`."""
    found = []
    for model in now:
        old = before.get(model.name)
        if old is None:
            found.append(_event(model, "added", f"Model {model.name} {model.version} is here."))
            continue
        if old.version != model.version:
            found.append(_event(model, "version", f"Model {model.name} is now {model.version}, was {old.version}."))
        if model.crashes > old.crashes:
            found.append(_event(model, "crashed", f"The worker of model {model.name} crashed: {model.reason}"))
        if old.state != model.state and model.state == State.FAILED:
            found.append(_event(model, "failed", f"Model {model.name} has failed: {model.reason}"))
        if old.state != model.state == State.READY:
            found.append(_event(model, "ready", f"Model {model.name} is loaded."))
    gone = before.keys() - {model.name for model in now}
    found += [_event(before[name], "removed", f"Model {name} was removed.") for name in sorted(gone)]
    return found


def _event(model: ModelSnapshot, what: str, text: str) -> Event:
    return Event("model", {"text": text, "what": what, "model": model.name, "version": model.version})
