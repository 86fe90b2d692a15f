"""Which model serves under which name, and which is made ready to take its place."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from agent.errors import ConfigError, EdgeAgentError, UnavailableError
from agent.runtime.faults import another, stopping
from agent.runtime.model import Model
from agent.runtime.snapshot import Counters, ModelSnapshot
from agent.runtime.spec import Limits, ModelSpec
from agent.runtime.succession import Succession

_log = logging.getLogger(__name__)


class MakeModel(Protocol):
    def __call__(
        self,
        spec: ModelSpec,
        *,
        limits: Limits,
        counters: Counters,
        candidate: bool = False,
        rival: Model | None = None,
    ) -> Model: ...


class Roster:
    """`models` serve, by name; `alive` are all with a task: those, replaced ones that still drain, and those that are
    made ready. `group` is where the tasks run; None before and after."""

    def __init__(self, make: MakeModel, *, limits: Limits, counters: Counters) -> None:
        self.models: dict[str, Model] = {}
        self.alive: set[Model] = set()
        self.group: asyncio.TaskGroup | None = None
        self.stopping = False
        self._make = make
        self._limits = limits
        self._counters = counters
        self._names: dict[str, Model] = {}
        self._kept: Counter[str] = Counter()
        """How often each name is kept."""
        self._successions: dict[str, Succession] = {}
        self._refused: dict[str, EdgeAgentError] = {}
        """Why the version that was chosen last does not serve, by name."""

    def start(self, group: asyncio.TaskGroup) -> None:
        self.group = group
        for model in self.models.values():
            self._launch(model)

    def find(self, name: str) -> Model | None:
        """By its name or an alias."""
        return self._names.get(name)

    def snapshots(self) -> tuple[ModelSnapshot, ...]:
        coming = {name: succession.new.spec.version for name, succession in self._successions.items()}
        return tuple(model.snapshot(coming.get(name)) for name, model in self.models.items())

    def choose(self, specs: Sequence[ModelSpec]) -> list[str]:
        """`Runtime.set_models`; the names of the models that are gone. Raises `ConfigError`."""
        names = [spec.name for spec in specs]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"Two models have the same name: {', '.join(twice)}.")
        before, self.models = self.models, {}
        self._refused.clear()
        for spec in specs:
            self.models[spec.name] = self._chosen(spec, before.get(spec.name))
        self._rename()
        gone = [name for name in before if name not in self.models]
        for name in gone:
            self._give_up(name, UnavailableError(f"Model {name} was removed."))
            before[name].retire(UnavailableError(f"Model {name} was removed while it was loading."))
        for model in self.models.values():
            if model not in self.alive:
                self._launch(model)
        return gone

    async def settled(self, name: str) -> None:
        """`Runtime.settled`."""
        succession = self._successions.get(name)
        if succession is not None and succession.takes_over:
            await succession.ready()
        elif (error := self._refused.get(name)) is not None:
            raise another(error)

    async def introduce(self, spec: ModelSpec, *, load_timeout_s: float) -> Succession:
        """`Runtime.introduce`, up to the point where the candidate is loaded."""
        name = spec.name
        if self.group is None or self.stopping:
            raise stopping()
        if (other := self._successions.get(name)) is not None:
            if other.takes_over:
                raise UnavailableError(f"Another version of {name} is being loaded.", hint="Try again later.")
            await self.dismiss(other, UnavailableError("Another candidate takes its place."))
        succession = self._begin(spec, self.models.get(name), takes_over=False, load_timeout_s=load_timeout_s)
        try:
            await succession.ready()
        except BaseException:
            await self.dismiss(succession, UnavailableError("It is not wanted any more."))
            raise
        return succession

    def worker_pid(self, name: str) -> int | None:
        """`Runtime.worker_pid`."""
        succession = self._successions.get(name)
        model = self.models.get(name) if succession is None else succession.new
        return None if model is None else model.snapshot().pid

    async def dismiss(self, succession: Succession, error: EdgeAgentError) -> None:
        """Give it up, unless that has been done or it has taken over; returns when nothing is left of it."""
        name = succession.new.name
        if self._successions.get(name) is succession and (task := self._give_up(name, error)) is not None:
            await asyncio.shield(task)

    def keep(self, name: str, by: int) -> None:
        """`Runtime.keep`: one more, or one fewer, needs it."""
        self._kept[name] += by
        kept = self._kept[name] > 0
        if not kept:
            del self._kept[name]
        if (model := self.models.get(name)) is not None:
            model.keep(kept)

    def _chosen(self, spec: ModelSpec, old: Model | None) -> Model:
        """Which model serves under that name from now on."""
        name = spec.name
        succession = self._successions.get(name)
        if old is not None and old.spec.same_worker(spec):
            old.update(spec)
            if succession is not None and succession.takes_over:
                self._give_up(name, UnavailableError(f"Version {spec.version} of {name} stays."))
            return old
        if succession is not None and not succession.new.spec.same_worker(spec):
            self._give_up(name, UnavailableError(f"Version {spec.version} of {name} was chosen meanwhile."))
            succession = None
        if succession is None:
            if old is None or not old.in_service or self.group is None or self.stopping:
                return self._replace(old, self._make(spec, limits=self._limits, counters=self._counters))
            succession = self._begin(spec, old, takes_over=True, load_timeout_s=self._limits.load_timeout_s)
        succession.new.update(spec)
        succession.takes_over = True
        if succession.new.in_service or old is None:
            return self._hand_over(succession)
        return old

    def _begin(self, spec: ModelSpec, old: Model | None, *, takes_over: bool, load_timeout_s: float) -> Succession:
        assert self.group is not None
        limits = replace(
            self._limits,
            crash_limit=1,  # the one that serves need not wait for a second try
            load_timeout_s=load_timeout_s,
            start_timeout_s=min(load_timeout_s, self._limits.start_timeout_s),
        )
        new = self._make(spec, limits=limits, counters=Counters(), candidate=True, rival=old)
        succession = self._successions[spec.name] = Succession(new, old, takes_over=takes_over)
        succession.life = self._launch(new)
        self.group.create_task(
            succession.bring_up(lambda error: self._brought_up(succession, error)), name=f"bring up:{spec.name}"
        )
        return succession

    def _brought_up(self, succession: Succession, error: EdgeAgentError | None) -> None:
        name = succession.new.name
        if self._successions.get(name) is not succession or not succession.takes_over:
            return
        if error is None:
            self.models[name] = self._hand_over(succession)
            self._rename()
        elif not self.stopping:
            version = succession.new.spec.version
            _log.error("%s: version %s does not take over, the one before serves on: %s", name, version, error)
            self._refused[name] = error
            self._give_up(name, error)

    def _hand_over(self, succession: Succession) -> Model:
        del self._successions[succession.new.name]
        succession.over = True
        return self._replace(succession.old, succession.new)

    def _replace(self, old: Model | None, new: Model) -> Model:
        """`new` serves from here on; `old` finishes what it runs."""
        name = new.name
        new.take_over(old, limits=self._limits, counters=self._counters)
        if self._kept[name]:
            new.keep(True, load=old is not None)
        if old is not None:
            old.retire(UnavailableError(f"Model {name} was replaced while it was loading."))
        return new

    def _give_up(self, name: str, error: EdgeAgentError) -> asyncio.Task[None] | None:
        """End the succession of that name, if there is one; the task returns when nothing is left of it."""
        succession = self._successions.pop(name, None)
        if succession is None:
            return None
        succession.over = True
        if self.group is None or self.stopping:
            succession.new.retire(error)
            return None
        return self.group.create_task(succession.give_up(error), name=f"give up:{name}")

    def _rename(self) -> None:
        self._names = {alias: model for model in reversed(self.models.values()) for alias in model.spec.aliases}
        self._names |= self.models

    def _launch(self, model: Model) -> asyncio.Task[None] | None:
        if self.group is None or self.stopping:
            return None
        self.alive.add(model)
        task = self.group.create_task(model.run(), name=f"model:{model.name}")
        task.add_done_callback(lambda _: self.alive.discard(model))
        return task
