"""The models as the daemon keeps them: what the store and the settings say, planned for this board, to the runtime."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from agent.errors import ArtifactError
from agent.hardware.profile import Profile
from agent.plan import plan_models, starters
from agent.runtime.service import Runtime
from agent.runtime.spec import ModelSpec
from agent.settings import ModelSettings, Settings
from agent.store.layout import StoredModel
from agent.store.store import Store
from agent.wiring import chat_templates

_log = logging.getLogger("agent.app")


class Models:
    """`budget_bytes` is fixed at start, so that a reload plans a model as before and needs no new worker for it.
    `sampling` are the models' own defaults, by name."""

    def __init__(
        self, runtime: Runtime, store: Store, settings: Settings, *, profile: Profile, budget_bytes: int, cores: int
    ) -> None:
        self.sampling: dict[str, Mapping[str, float | int]] = {}
        self._runtime = runtime
        self._store = store
        self._settings = settings
        self._profile = profile
        self._budget_bytes = budget_bytes
        self._cores = cores

    def plan(self, settings: Settings) -> list[ModelSpec]:
        """Of all that is active. Reads the store: not for the event loop's thread. Raises `EdgeAgentError`."""
        listing = self._store.scan()
        for broken in listing.broken:
            _log.warning("version %s of model %s cannot be used: %s", broken.version, broken.name, broken.reason)
        specs = self._planned([*listing.models, *self._starters(listing.models, settings)], settings)
        for name in settings.models.keys() - {spec.name for spec in specs}:
            _log.warning("models.%s is configured, but no such model is in the store and it has no path", name)
        return specs

    def serve(self, specs: Sequence[ModelSpec], settings: Settings) -> None:
        """Exactly these, which are planned with `settings`."""
        self._settings = settings
        self._runtime.set_models(specs)
        self.sampling.clear()
        self.sampling.update({spec.name: spec.sampling for spec in specs})

    def spec_of(self, model: StoredModel) -> ModelSpec | None:
        """How a version would run if it were the active one; None where this device cannot."""
        said = {name: one for name, one in self._settings.models.items() if name == model.name}
        specs = self._planned([dataclasses.replace(model, active=True)], self._settings, said)
        return next((spec for spec in specs if spec.version == model.version), None)

    def served_from(self, name: str) -> Path | None:
        """The file that a model is served from in place of the store."""
        said = self._settings.models.get(name)
        return said.path if said is not None else None

    def rollbacks(self) -> dict[str, str]:
        """By model, the version that a rollback would bring back, where there is one."""
        names = [model.name for model in self._runtime.models() if self.served_from(model.name) is None]
        return {name: version for name in names if (version := self._store.previous_version(name)) is not None}

    def _planned(
        self, stored: Sequence[StoredModel], settings: Settings, said: Mapping[str, ModelSettings] | None = None
    ) -> list[ModelSpec]:
        return plan_models(
            stored,
            self._profile,
            settings.models if said is None else said,
            self._budget_bytes,
            cores=self._cores,
            default_keep_alive_s=settings.idle_limit_s,
            chat_templates=chat_templates(settings),
        )

    def _starters(self, stored: Sequence[StoredModel], settings: Settings) -> list[StoredModel]:
        try:
            return starters(stored, settings.starter_models, settings.models)
        except ArtifactError as error:
            _log.warning("%s", error)
            return []
