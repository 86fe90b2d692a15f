"""The raw loop in a child process that stays loaded and idle while the daemon is measured, and the other way round."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any


class RawChild:
    """`raw_loop.py --lines`. Raises `RuntimeError` where the child ends early."""

    def __init__(self, model: Path, *, sequences: int, context_tokens: int, threads: int) -> None:
        script = Path(__file__).with_name("raw_loop.py")
        self._process = subprocess.Popen(
            [
                sys.executable, str(script), str(model), "--lines", "--batches", str(sequences),
                "--context-tokens", str(context_tokens), "--threads", str(threads),
            ],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._read()

    @property
    def pid(self) -> int:
        return self._process.pid

    def prompt(self, tokens: int, seed: int) -> str:
        """Text of exactly `tokens` tokens."""
        text: str = self._ask(op="prompt", tokens=tokens, seed=seed)["text"]
        return text

    def partial_tokens(self) -> list[int]:
        """Tokens that are not whole characters."""
        found: list[int] = self._ask(op="partial")["tokens"]
        return found

    def run(self, prompts: Sequence[str], tokens: int, sampler: str = "greedy") -> tuple[float, list[float]]:
        """Seconds to the last sequence's first token, and those of each decode step after it."""
        answer = self._ask(op="run", prompts=list(prompts), tokens=tokens, sampler=sampler)
        return answer["first_token_s"], answer["steps_s"]

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the raw loop ended with status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> RawChild:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
