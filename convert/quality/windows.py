"""Windows of token ids to score models on: cut from a text file, or sampled from a model itself."""

from __future__ import annotations

import codecs
import hashlib
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from agent.engines.llama.vocabulary import Vocabulary
from agent.errors import RequestError
from convert.quality.logits import Floats, LogitsModel

WINDOW_TOKENS: Final = 512  # llama.cpp's perplexity tool by default
TEXT_WINDOWS: Final = 16
SAMPLED_WINDOWS: Final = 8
SMALLEST_TEXT_TOKENS: Final = 64
SEED: Final = 0
SAMPLED: Final = "sampled from the reference"

_BYTES_PER_TOKEN: Final = 64
"""More than any tokenizer's average by far: enough of a file is read to fill the windows."""


@dataclass(frozen=True, kw_only=True)
class Windows:
    """`rows[i]` is a window of `length` token ids. `text` says where they come from, `sha256` is that of the ids."""

    rows: tuple[array[int], ...]
    text: str

    @property
    def length(self) -> int:
        return len(self.rows[0])

    @property
    def sha256(self) -> str:
        """SHA-256 of the ids as 32-bit little-endian integers, window by window."""
        ids = np.array([token for row in self.rows for token in row], dtype="<i4")
        return hashlib.sha256(ids.tobytes()).hexdigest()

    @property
    def first_scored(self) -> int:
        """The first half of a window is context: predictions count from this position on, as llama.cpp does it."""
        return self.length // 2

    @property
    def scored(self) -> int:
        """Tokens of one window that are predicted from what is before them, and scored."""
        return self.length - 1 - self.first_scored


def read_windows(vocabulary: Vocabulary, file: Path, *, window_tokens: int, most: int) -> Windows:
    """The first windows of a UTF-8 text, at most `most`; a text that is shorter than one gives one shorter window.

    The first token of each becomes the model's beginning-of-text token where the model wants one, as llama.cpp does it.
    Raises `RequestError` for a file that cannot be read, is not UTF-8, or has less than 64 tokens.
    """
    tokens = vocabulary.tokenize(
        _read_text(file, window_tokens * most * _BYTES_PER_TOKEN), add_special=True, parse_special=False
    )
    if len(tokens) < SMALLEST_TEXT_TOKENS:
        raise RequestError(
            f"{file} has {len(tokens)} tokens; at least {SMALLEST_TEXT_TOKENS} are needed, and more say more.",
            hint="Give a text of a few pages, of the kind that the model is for.",
        )
    length = min(window_tokens, len(tokens))
    rows = [tokens[start : start + length] for start in range(0, len(tokens) - length + 1, length)][:most]
    if vocabulary.adds_bos and vocabulary.bos >= 0:
        for row in rows:
            row[0] = vocabulary.bos
    return Windows(rows=tuple(rows), text=file.name)


def sample_windows(
    model: LogitsModel, *, window_tokens: int, windows: int, progress: Callable[[int, int], None] | None = None
) -> Windows:
    """Text that the model writes itself, at temperature 1 from its whole vocabulary, with a fixed seed.

    Averaged over such text, the divergence of another model is the one that a user of this model meets. Control tokens
    and tokens that end a text are never drawn. `model` must have room for `windows` sequences.
    """
    generator = np.random.Generator(np.random.PCG64(SEED))
    vocabulary = model.vocabulary
    barred = np.zeros(vocabulary.size, bool)
    barred[list(vocabulary.hidden_tokens())] = True
    barred[[token for token in range(vocabulary.size) if vocabulary.ends_generation(token)]] = True
    if barred.all():
        barred[:] = False
    rows = [array("i", [_first_token(vocabulary, barred, generator)]) for _ in range(windows)]
    model.clear()
    for position in range(window_tokens - 1):
        logits = model.feed([row[position:] for row in rows], position)
        draws = generator.random(windows)
        for row, values, draw in zip(rows, logits, draws, strict=True):
            row.append(_draw(values, barred, float(draw)))
        if progress is not None:
            progress(windows * (position + 1), windows * (window_tokens - 1))
    return Windows(rows=tuple(rows), text=SAMPLED)


def _first_token(vocabulary: Vocabulary, barred: npt.NDArray[np.bool_], generator: np.random.Generator) -> int:
    """What a text of this model begins with; any token where it has no such token."""
    if vocabulary.bos >= 0:
        return vocabulary.bos
    return int(generator.choice(np.flatnonzero(~barred)))


def _draw(logits: Floats, barred: npt.NDArray[np.bool_], draw: float) -> int:
    """The token at the quantile `draw` of the distribution that `logits` stand for, without the barred ones."""
    open_logits = np.where(barred | ~np.isfinite(logits), -np.inf, logits)
    highest = open_logits.max()
    if not np.isfinite(highest):  # a broken model; scoring it will say so
        return int(np.flatnonzero(~barred)[0])
    reached = np.cumsum(np.exp(open_logits - highest), dtype=np.float64)
    return int(np.searchsorted(reached, draw * reached[-1], side="right"))


def _read_text(file: Path, most_bytes: int) -> str:
    try:
        with file.open("rb") as source:
            data = source.read(most_bytes + 1)
    except OSError as error:
        raise RequestError(f"{file} cannot be read: {error.strerror}.", param="text") from None
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:
        # A file that was cut may end inside a character.
        return decoder.decode(data[:most_bytes], final=len(data) <= most_bytes)
    except UnicodeDecodeError as error:
        raise RequestError(f"{file} is not UTF-8 text: {error.reason} at byte {error.start}.", param="text") from None
