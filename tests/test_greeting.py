"""What a person is told to type next."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.greeting import own_name, what_next
from agent.runtime.spec import Task


@pytest.mark.parametrize(
    ("tasks", "told"),
    [
        ((), {"models suggest", "models import", "curl", "chat"}),
        (("embed",), {"models suggest", "models import", "curl", "chat"}),
        (("generate",), {"curl", "chat"}),
        (("generate", "embed", "transcribe"), {"curl", "chat", "transcribe --mic"}),
    ],
)
def test_what_is_told_can_be_done(tasks: tuple[Task, ...], told: set[str]) -> None:
    text = what_next("http://x", "edge-agent", tasks, needs_key=False)
    commands = [line.strip() for line in text.splitlines() if line.startswith("  ")]
    found = {command.removeprefix("edge-agent ").removesuffix(" FILE.gguf") for command in commands}
    found = {"curl" if command.startswith("curl http://x/") else command for command in found}
    assert found == told


@pytest.mark.parametrize("needs_key", [True, False])
def test_a_key_is_mentioned_only_where_one_is_needed(needs_key: bool) -> None:
    assert ("Bearer" in what_next("http://x", "edge-agent", ("generate",), needs_key=needs_key)) is needs_key


def test_the_program_is_called_as_the_shell_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / ".venv" / "bin" / "edge-agent"
    program.parent.mkdir(parents=True)
    program.touch(0o755)
    monkeypatch.setenv("PATH", "/usr/bin")
    assert own_name(str(program), tmp_path) == ".venv/bin/edge-agent"
    assert own_name(str(program), tmp_path / "elsewhere") == str(program)
    monkeypatch.setenv("PATH", str(program.parent))
    assert own_name(str(program), tmp_path) == "edge-agent"
