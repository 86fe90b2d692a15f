"""A device with real workers: a store, a runtime that serves its active versions, and what tries and switches them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agent.runtime.service import Runtime
from agent.runtime.spec import Limits, ModelSpec
from agent.runtime.stream import Stream
from agent.runtime.wire.generation import Delta, Generate, Sampling
from agent.runtime.wire.options import LlamaOptions
from agent.store.layout import StoredModel
from agent.store.manifest import ArtifactFile, Manifest, MemoryNeed, encode_manifest
from agent.store.store import Store
from agent.updates.trial.golden import FILE
from agent.updates.trial.switching import Switcher
from agent.updates.trial.trial import Trial
from tests.runtime.scripted import ENVIRONMENT

WORKER = (sys.executable, str(Path(__file__).with_name("faulty_worker.py")))
CORES = 2
PLENTY_BYTES = 4 * 1024**3


class Device:
    """`budget_bytes` is what all models may take; change it to make room scarce."""

    def __init__(self, folder: Path, *, heartbeat_s: float = 0.1, load_timeout_s: float = 600.0) -> None:
        self.folder = folder
        self.budget_bytes = PLENTY_BYTES
        self.store = Store(folder / "models", margin_bytes=0)
        self.runtime = Runtime(
            Limits(heartbeat_s=heartbeat_s, quiet_wait_s=1.0, shutdown_grace_s=1.0, load_timeout_s=load_timeout_s),
            memory=lambda held_bytes: self.budget_bytes,
            worker_command=WORKER,
            environment=ENVIRONMENT,
        )
        self.trial = Trial(self.runtime, self.spec_of, standby_s=5.0, standby_in_place_s=2.0)
        self.switcher = Switcher(self.runtime, self.store, self.changed, cores=CORES)

    def spec_of(self, stored: StoredModel) -> ModelSpec:
        return ModelSpec(
            name=stored.name,
            version=stored.version,
            task="generate",
            path=str(stored.main_path),
            options=LlamaOptions(context_tokens=512, slots=2, batch_tokens=64, micro_batch_tokens=64),
            keep_alive_s=None,
        )

    async def changed(self) -> None:
        self.runtime.set_models([self.spec_of(model) for model in self.store.models() if model.active])

    def add(
        self,
        version: str,
        model: Path,
        *,
        golden: list[dict[str, Any]] | None = None,
        gates: Mapping[str, Any] | None = None,
        fault: str = "",
    ) -> StoredModel:
        """A version of the model "m" in the store; the first one is active."""
        source = self.folder / f"artifact-{version}"
        source.mkdir()
        shutil.copyfile(model, source / "model.gguf")
        if golden is not None:
            (source / FILE).write_text("\n".join(map(json.dumps, golden)))
        files = [
            ArtifactFile(
                path=path.name, bytes=path.stat().st_size, sha256=hashlib.sha256(path.read_bytes()).hexdigest()
            )
            for path in sorted(source.iterdir())
        ]
        manifest = Manifest(
            name="m",
            version=version,
            task="generate",
            format="gguf",
            files=tuple(files),
            context=512,
            quantization="F32",
            memory_bytes=MemoryNeed(weights=1, per_1k_context=1, compute=1),
            gates=({"golden": FILE} if golden is not None else {}) | dict(gates or {}),
        )
        (source / "manifest.json").write_bytes(encode_manifest(manifest))
        self.store.import_folder(source)
        shutil.rmtree(source)
        stored = self.store.get("m", version)
        if fault:
            (stored.path / "fault").write_text(fault)
        return stored

    def ask(self, text: str = "Once upon a time", *, tokens: int = 8) -> Stream:
        return self.runtime.submit("m", greedy(text, tokens), client="test")

    async def answer(self, text: str = "Once upon a time", *, tokens: int = 8) -> str:
        return await text_of(self.ask(text, tokens=tokens))

    @property
    def serving(self) -> tuple[str, str]:
        (shown,) = self.runtime.models()
        return shown.version, shown.state

    @property
    def workers(self) -> int:
        return len(self.runtime.snapshot().ledger.accounts)


@asynccontextmanager
async def running(device: Device) -> AsyncIterator[Device]:
    await device.changed()
    task = asyncio.create_task(device.runtime.run())
    await asyncio.sleep(0)
    try:
        yield device
    finally:
        await device.runtime.stop(grace_s=0)
        await asyncio.wait_for(task, 10)


def greedy(text: str, tokens: int) -> Generate:
    return Generate(prompt=text, max_tokens=tokens, sampling=Sampling(temperature=0), ignore_eos=True)


async def text_of(stream: Stream) -> str:
    parts: list[str] = []
    async for events in stream:
        parts += [event.text for event in events if isinstance(event, Delta)]
    return "".join(parts)
