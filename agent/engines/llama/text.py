"""Token bytes in, text that may be shown out: nothing of a stop string, no half of a character."""

from __future__ import annotations

import codecs
from collections.abc import Sequence


class TextStream:
    """Holds back what could still become a stop string or is an unfinished UTF-8 character.

    `feed` and `flush` return text to show. Once a stop string is complete `stopped` names it, the text from its first
    character on is gone for good, and everything fed later is ignored. Bytes that are not UTF-8 become U+FFFD.
    """

    def __init__(self, stop: Sequence[str] = ()) -> None:
        self.stopped: str | None = None
        self.seen_chars = 0
        self.shown_chars = 0
        self._stop = tuple(s for s in stop if s)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, piece: bytes) -> str:
        return self._advance(self._decoder.decode(piece), final=False)

    def flush(self) -> str:
        """No more bytes will come: what was held back is text after all."""
        return self._advance(self._decoder.decode(b"", final=True), final=True)

    def _advance(self, text: str, *, final: bool) -> str:
        if self.stopped is not None:
            return ""
        self.seen_chars += len(text)
        held = self._held + text
        cut = self._find_stop(held)
        if cut is None:
            cut = len(held) if final else len(held) - self._ambiguous_suffix(held)
        shown, self._held = held[:cut], held[cut:]
        self.shown_chars += cut
        return shown

    def _find_stop(self, text: str) -> int | None:
        """Where the earliest complete stop string begins; of two that begin there, the longer is named."""
        found = [(text.find(s), -len(s), s) for s in self._stop]
        found = [f for f in found if f[0] >= 0]
        if not found:
            return None
        at, _, self.stopped = min(found)
        return at

    def _ambiguous_suffix(self, text: str) -> int:
        """Length of the longest suffix that begins a stop string."""
        longest = 0
        for stop in self._stop:
            for size in range(min(len(stop) - 1, len(text)), longest, -1):
                if text.endswith(stop[:size]):
                    longest = size
                    break
        return longest
