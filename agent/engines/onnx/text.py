"""Texts to token ids, as `tokenizer.json` says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from agent.errors import ContextOverflowError, ModelLoadError, RequestError

FILE: Final = "tokenizer.json"
LIMIT_BYTES: Final = 256 * 1024 * 1024
"""That of XLM-R, with 250,000 tokens, is 17 MB."""


@dataclass(frozen=True)
class Tokens:
    """Ids of each text, special tokens included, and the positions of the texts that were cut to fit."""

    ids: list[list[int]]
    truncated: tuple[int, ...]


class TextTokenizer:
    """The tokenizer of `folder`; a text has `max_tokens` at most. Not for two threads at once."""

    def __init__(self, folder: Path, max_tokens: int) -> None:
        """Raises `ModelLoadError` where tokenizer.json is missing or not one."""
        self._tokenizer = open_tokenizer(folder)
        padding = self._tokenizer.padding
        self.padding: int | None = None if padding is None else int(padding["pad_id"])
        """The id that tokenizer.json pads with, where it says so."""
        self._tokenizer.no_padding()
        self.max_tokens = max_tokens
        self.largest_id = max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
        """Of all tokens, added ones included."""
        special = self._tokenizer.num_special_tokens_to_add(False)
        if max_tokens <= special:
            raise ModelLoadError(f"A limit of {max_tokens} tokens leaves no room beside {special} special tokens.")
        self._tokenizer.enable_truncation(max_tokens)

    def encode(self, texts: Sequence[str], *, truncate: bool = True) -> Tokens:
        """Texts longer than `max_tokens` are cut at the end, or `ContextOverflowError` where that is not wanted.

        Raises `RequestError` for a text that is not valid Unicode.
        """
        try:
            encodings = self._tokenizer.encode_batch_fast(list(texts))
        except (TypeError, UnicodeError, ValueError):
            broken = next((i for i, text in enumerate(texts) if not _is_unicode(text)), None)
            if broken is None:
                raise
            raise RequestError(f"Text {broken} has a lone surrogate: it is not valid Unicode.", param="input") from None
        cut = tuple(index for index, encoding in enumerate(encodings) if encoding.overflowing)
        if cut and not truncate:
            raise ContextOverflowError(
                f"Text {cut[0]} has {self._length(texts[cut[0]])} tokens, and the model takes {self.max_tokens}.",
                hint="Split it, or let it be cut.",
                param="input",
            )
        return Tokens([encoding.ids for encoding in encodings], cut)

    def _length(self, text: str) -> int:
        self._tokenizer.no_truncation()
        try:
            return len(self._tokenizer.encode(text).ids)
        finally:
            self._tokenizer.enable_truncation(self.max_tokens)


def open_tokenizer(folder: Path) -> Tokenizer:
    """Raises `ModelLoadError` where tokenizer.json is missing, too large, or not one."""
    path = folder / FILE
    if not path.is_file():
        raise ModelLoadError(
            f"{folder.name} has no {FILE}.",
            hint="transformers' AutoTokenizer.from_pretrained(...).save_pretrained(...) makes it from older files.",
        )
    if path.stat().st_size > LIMIT_BYTES:
        raise ModelLoadError(f"{FILE} is larger than {LIMIT_BYTES} bytes.")
    try:
        return Tokenizer.from_file(str(path))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a panic in Rust arrives as one
        raise ModelLoadError(f"{FILE} cannot be read: {str(error)[:200]}.", hint="Download the model again.") from None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
