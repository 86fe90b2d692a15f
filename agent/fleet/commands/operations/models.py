"""Which model an operation means."""

from __future__ import annotations

from agent.errors import ModelNotFoundError
from agent.runtime.service import Runtime
from agent.runtime.snapshot import ModelSnapshot
from agent.runtime.spec import DOES, Task


def chosen(runtime: Runtime, name: str | None, task: Task | None = None) -> ModelSnapshot:
    """By name or alias; without a name the first one for `task`. Raises `ModelNotFoundError`."""
    models = runtime.models()
    for model in models:
        if (model.task == task) if name is None else (name == model.name or name in model.aliases):
            return model
    if name is None and task is not None:
        raise ModelNotFoundError(f"No model on this device {DOES[task]}.", param="model")
    known = ", ".join(model.name for model in models) or "none"
    raise ModelNotFoundError(f"There is no model {(name or '')[:100]!r}.", hint=f"Models here: {known}.", param="model")
