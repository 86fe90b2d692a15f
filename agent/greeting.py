"""What a person at the terminal is told when the daemon is ready."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

from agent.runtime.spec import Task


def what_next(url: str, program: str, tasks: Collection[Task], *, needs_key: bool) -> str:
    """What a person may type now, with models for `tasks`; `program` is how this one is called."""
    key = " -H 'Authorization: Bearer YOUR_KEY'" if needs_key else ""
    body = '{"messages": [{"role": "user", "content": "Hello"}]}'
    ask = f"curl {url}/v1/chat/completions{key} -H 'Content-Type: application/json' -d '{body}'"
    lines = ["", f"edge-agent is ready on {url}. In another terminal:", ""]
    if "generate" not in tasks:
        lines += [f"  {program} models suggest", f"  {program} models import FILE.gguf", "", "and then", ""]
    lines += [f"  {ask}", f"  {program} chat"]
    if "transcribe" in tasks:
        lines.append(f"  {program} transcribe --mic")
    return "\n".join([*lines, "", f"Or open {url}/ in a browser. Ctrl-C stops it.", ""])


def own_name(path: str, folder: Path) -> str:
    """How the program at `path` is called from `folder`: by its bare name where the shell finds it."""
    program = Path(path).absolute()
    found = shutil.which(program.name)
    if found is not None and Path(found).absolute() == program:
        return program.name
    return str(program.relative_to(folder)) if program.is_relative_to(folder) else str(program)
