"""What is said where a model does not fit."""

from __future__ import annotations

import pytest

from agent.errors import DiskFullError, EdgeAgentError, MemoryBudgetError
from agent.hub.catalog import known_models
from agent.hub.fitting import check_room
from agent.hub.room import Room
from agent.hub.selection import select
from agent.hub.source import parse_source
from tests.hub.test_selection import QWEN, no_reading, repository, room

SOURCE = parse_source("hf:Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q8_0")
PULL = "edge-agent models pull hf:"


def check(here: Room, present_mb: int = 0) -> None:
    chosen = select(SOURCE, repository(QWEN), no_reading, machine="", features=(), room=here)
    check_room(SOURCE, chosen, present_mb * 1_000_000, here, known_models())


@pytest.mark.parametrize(
    ("here", "kind", "message", "hint"),
    [
        (
            room(640),
            MemoryBudgetError,
            "it needs 765 MB of memory, and the board has 640 MB for models",
            f"The largest that fits is Q5_K_M (522 MB): {PULL}Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q5_K_M",
        ),
        (
            room(640, disk_mb=450),
            MemoryBudgetError,
            "it needs 765 MB of memory, and the board has 640 MB for models",
            f"The largest that fits is Q4_0 (429 MB): {PULL}Qwen/Qwen2.5-0.5B-Instruct-GGUF:Q4_0",
        ),
        (
            room(5000, disk_mb=300),
            DiskFullError,
            "it needs 676 MB of disk, and 300 MB can be filled",
            f"The largest that fits is SmolLM2-360M-Instruct Q4_K_M (271 MB): {PULL}bartowski/SmolLM2-360M",
        ),
        (room(50), MemoryBudgetError, "the board has 50 MB for models", "Nothing that we know fits"),
    ],
)
def test_the_arithmetic_and_the_largest_that_fits(
    here: Room, kind: type[EdgeAgentError], message: str, hint: str
) -> None:
    with pytest.raises(kind) as caught:
        check(here)
    assert caught.value.message.startswith("qwen2.5-0.5b-instruct-q8_0 does not fit: ")
    assert message in caught.value.message
    assert caught.value.hint.startswith(f"With --force it is pulled all the same. {hint}")


def test_what_is_there_already_needs_no_more_disk() -> None:
    check(room(5000, disk_mb=300), present_mb=400)
    with pytest.raises(DiskFullError, match="it needs 376 MB of disk, and 300 MB can be filled"):
        check(room(5000, disk_mb=300), present_mb=300)
