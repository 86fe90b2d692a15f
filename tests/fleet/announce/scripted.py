"""A broker that remembers what is retained, and parts of a device to announce."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.errors import EdgeAgentError, NotConnectedError
from agent.fleet.announce.about import About
from agent.fleet.announce.announcer import Announcer
from agent.fleet.announce.record import Record
from agent.fleet.link.messages import Connected, Publication, Received
from agent.fleet.topics import Topics
from agent.runtime.snapshot import ModelSnapshot
from agent.store.layout import BrokenVersion, StoredModel
from agent.store.manifest import ArtifactFile, Manifest, MemoryNeed

TOPICS = Topics("te", "kitchen")
P = TOPICS.service
ABOUT = About(version="1.2", board="Raspberry Pi 5", architecture="aarch64", boot_id="b", pid=7)
BROKER = "mqtt://h:1883"


def served(name: str, version: str = "1", **fields: Any) -> ModelSnapshot:
    values: dict[str, Any] = {
        **dict.fromkeys(("created", "slots", "running", "slots_used", "waiting", "crashes_in_a_row", "crashes"), 0),
        **dict.fromkeys(("keep_alive_s", "pid", "predicted", "loaded", "stats", "loaded_for_s", "idle_for_s")),
        "aliases": (),
        "pinned": False,
        "charged_bytes": 0,
        "retry_in_s": None,
        "task": "generate",
        "state": "unloaded",
        "reason": "",
        **fields,
    }
    return ModelSnapshot(name=name, version=version, **values)


def stored(name: str, version: str, *, active: bool = False, created: int = 0) -> StoredModel:
    manifest = Manifest(
        name=name,
        version=version,
        task="generate",
        format="gguf",
        files=(ArtifactFile(path="m.gguf", bytes=10, sha256="0" * 64),),
        context=512,
        quantization="Q4_K_M",
        memory_bytes=MemoryNeed(weights=1, per_1k_context=1, compute=1),
    )
    path = Path("models") / name / version
    return StoredModel(name=name, version=version, path=path, active=active, created=created, manifest=manifest)


def broken(name: str, version: str, reason: str) -> BrokenVersion:
    return BrokenVersion(name=name, version=version, path=Path("models"), active=False, reason=reason)


@dataclass
class ScriptedBroker:
    """`refusals` by topic are raised instead; `breaks_after` so many messages the connection is lost."""

    retained: dict[str, bytes] = field(default_factory=dict)
    published: list[Publication] = field(default_factory=list)
    refusals: dict[str, EdgeAgentError] = field(default_factory=dict)
    breaks_after: int | None = None

    async def publish(self, publication: Publication) -> None:
        await asyncio.sleep(0)
        if publication.topic in self.refusals:
            raise self.refusals[publication.topic]
        if self.breaks_after is not None and len(self.published) >= self.breaks_after:
            raise NotConnectedError("gone")
        self.published.append(publication)
        assert publication.retain
        assert publication.qos == 1
        if publication.payload:
            self.retained[publication.topic] = publication.payload
        else:
            self.retained.pop(publication.topic, None)

    def take(self) -> list[str]:
        """Topics of what came since the last call; `-` before those that were cleared."""
        found = [one.topic if one.payload else f"-{one.topic}" for one in self.published]
        self.published.clear()
        return found

    def json(self, topic: str) -> Any:
        return json.loads(self.retained[topic])


@dataclass
class ScriptedModels:
    models: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def twin(self) -> Mapping[str, Any]:
        return {"models": self.models}


@dataclass
class ScriptedAlarms:
    """Stands for telemetry and its state at once."""

    raised: Collection[str] = ()

    @property
    def state(self) -> ScriptedAlarms:
        return self


class Announcing:
    """`async with Announcing(folder, broker)`: an announcer that runs, and is not connected yet."""

    def __init__(
        self,
        folder: Path,
        broker: ScriptedBroker,
        *,
        topics: Topics = TOPICS,
        models: ScriptedModels | None = None,
        **fields: Any,
    ) -> None:
        self.broker = broker
        self.models = models or ScriptedModels({"m": {"version": "1", "state": "ready"}})
        self.alarms = ScriptedAlarms()
        self.record = Record(folder / "announced.json")
        self.announcer = Announcer(
            broker,
            topics,
            ABOUT,
            models=self.models,
            record=self.record,
            alarms=self.alarms,
            wall=lambda: 1000.5,
            **{"capabilities": {"generate": {"args": {}}}, "home_assistant": "homeassistant", **fields},
        )

    async def __aenter__(self) -> Announcing:
        self._task = asyncio.create_task(self.announcer.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def connect(self, broker: str = BROKER) -> None:
        self.announcer.connected(Connected(broker=broker, protocol="5", session_present=True))
        await self.settle()

    def see(self, topic: str, payload: bytes) -> None:
        self.announcer.seen(Received(topic=topic, payload=payload, qos=1, retain=True))

    async def settle(self) -> None:
        """Until the announcer has gone through everything, beginning now."""
        self.announcer.look()
        target = self.announcer.begun + 1
        while self.announcer.done < target:
            await asyncio.sleep(0.001)
            if self._task.done():
                self._task.result()
