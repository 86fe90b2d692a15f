"""The other side of blocks, as `edge-convert serve-blocks` is, without a broker: a line that loses and reorders."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from pathlib import Path

from agent.chunks.blocks import BlockRefusal, decode_request, encode_refusal, is_metadata
from agent.updates.fetch.wire import Answer, AskFailed


class ServedLine:
    """Answers out of the repository in `folder`. Time passes only when nothing is there to be taken.

    `loss` and `doubled` are parts of all answers; `reorder` is how far one may be overtaken; `change` may spoil some.
    """

    def __init__(
        self,
        folder: Path,
        *,
        loss: float = 0.0,
        doubled: float = 0.0,
        reorder: int = 0,
        change: Callable[[int, bytes], bytes] = lambda count, data: data,
        seed: int = 0,
    ) -> None:
        self._folder = folder
        self._loss, self._doubled, self._reorder, self._change = loss, doubled, reorder, change
        self._dice = random.Random(seed)
        self._waiting: deque[Answer | AskFailed] = deque()
        self.now_s = 0.0
        self.down = False
        self.asked = 0
        self.answered = 0
        self.sent_bytes = 0

    def clock(self) -> float:
        return self.now_s

    def ask(self, payload: bytes) -> None:
        if self.down:
            self._waiting.append(AskFailed("No MQTT broker is connected."))
            return
        request = decode_request(payload)
        path = self._find(request.file)
        if path is None:
            refusal = encode_refusal(BlockRefusal(code="not_found", reason="there is no such file"))
            self._waiting.append(Answer(f"{request.file}/refused", refusal))
            return
        with path.open("rb") as file:
            for block in request.blocks:
                self.asked += 1
                file.seek(block.offset)
                data = self._change(self.asked, file.read(block.bytes))
                for _ in range(2 if self._dice.random() < self._doubled else 1):
                    if self._dice.random() >= self._loss:
                        place = len(self._waiting) - self._dice.randint(0, min(self._reorder, len(self._waiting)))
                        self._waiting.insert(place, Answer(f"{request.file}/{block.number}", data))

    def next(self, timeout_s: float) -> Answer | AskFailed | None:
        if not self._waiting:
            self.now_s += timeout_s
            return None
        self.now_s += 0.001
        answer = self._waiting.popleft()
        if isinstance(answer, Answer):
            self.answered += 1
            self.sent_bytes += len(answer.payload)
        return answer

    def _find(self, key: str) -> Path | None:
        if is_metadata(key):
            path = self._folder / "metadata" / key
            return path if path.is_file() else None
        return next((self._folder / "targets").rglob(f"{key}.*"), None)
