"""Workers are kept apart by the operating system where it can: opened, limited once measured, closed in any case."""

from __future__ import annotations

from typing import Any

import pytest

from agent.errors import EdgeAgentError
from tests.runtime.scripted import ask, model, runtime_of, state_of, text_of, until


class Cells:
    """Records what the runtime asks for; `None` from `open` is a system that cannot."""

    def __init__(self, *, able: bool = True) -> None:
        self.able = able
        self.said: list[Any] = []

    def open(self, name: str, pid: int) -> Cells | None:
        assert pid > 1
        self.said.append(("open", name))
        return self if self.able else None

    def limit(self, charged_bytes: int) -> None:
        self.said.append(("limit", charged_bytes > 0))

    def close(self) -> None:
        self.said.append("close")


async def test_a_worker_gets_a_limit_once_it_is_measured_and_leaves_its_cell() -> None:
    cells = Cells()
    async with runtime_of(model(), cells=cells) as runtime:
        assert await text_of(ask(runtime, "{}"))
        assert cells.said == [("open", "m"), ("limit", True)]
        await runtime.unload("m")
        assert cells.said == [("open", "m"), ("limit", True), "close"]


@pytest.mark.parametrize("path", ["die=3", "fail=model_load_failed"])
async def test_a_worker_that_never_loads_leaves_its_cell_too(path: str) -> None:
    cells = Cells()
    async with runtime_of(model(path=path), cells=cells, crash_limit=1) as runtime:
        with pytest.raises(EdgeAgentError):
            await runtime.load("m")
        await until(lambda: state_of(runtime).state == "failed")
        assert cells.said == [("open", "m"), "close"]


async def test_a_system_that_cannot_costs_nothing() -> None:
    cells = Cells(able=False)
    async with runtime_of(model(), cells=cells) as runtime:
        assert await text_of(ask(runtime, "{}"))
    assert cells.said == [("open", "m")]
