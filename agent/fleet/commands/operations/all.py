"""Every operation of a device."""

from __future__ import annotations

from collections.abc import Mapping

from agent.fleet.commands.device import Device
from agent.fleet.commands.operation import AnyOperation
from agent.fleet.commands.operations.benchmark import BenchmarkOperation
from agent.fleet.commands.operations.diagnose import DiagnoseOperation
from agent.fleet.commands.operations.embed import EmbedOperation
from agent.fleet.commands.operations.generate import GenerateOperation
from agent.fleet.commands.operations.model_load import ModelLoadOperation
from agent.fleet.commands.operations.model_rollback import ModelRollbackOperation
from agent.fleet.commands.operations.model_unload import ModelUnloadOperation
from agent.fleet.commands.operations.model_update import ModelUpdateOperation
from agent.fleet.commands.operations.restart import RestartOperation
from agent.fleet.commands.operations.transcribe import TranscribeOperation
from agent.runtime.service import Runtime
from agent.store.store import Store


def operations_of(
    runtime: Runtime, store: Store, device: Device, sampling: Mapping[str, Mapping[str, float | int]]
) -> tuple[AnyOperation, ...]:
    """`sampling` holds each model's own defaults, by its name; it may change."""
    return (
        GenerateOperation(runtime, sampling=sampling),
        EmbedOperation(runtime),
        TranscribeOperation(device),
        ModelLoadOperation(runtime),
        ModelUnloadOperation(runtime),
        ModelUpdateOperation(device),
        ModelRollbackOperation(runtime, store, device),
        BenchmarkOperation(runtime),
        DiagnoseOperation(device),
        RestartOperation(device),
    )
