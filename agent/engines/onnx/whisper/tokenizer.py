"""Text and token ids, through the artifact's `tokenizer.json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tokenizers import Tokenizer

from agent.errors import ArtifactError

TOKENIZER_FILE: Final = "tokenizer.json"


class WhisperTokenizer:
    """Byte-level BPE. In every Whisper vocabulary the ids below `eot` are text; the rest are special or timestamps."""

    def __init__(self, folder: Path, eot: int) -> None:
        """Raises `ArtifactError` for a `tokenizer.json` that is missing, unreadable, or belongs to another model."""
        path = folder / TOKENIZER_FILE
        if not path.is_file():
            raise ArtifactError(f"{TOKENIZER_FILE} is missing.", hint="Convert the model with `edge-convert whisper`.")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises no narrower class
            raise ArtifactError(f"{TOKENIZER_FILE} cannot be read: {str(error)[:200]}.") from None
        self._eot = eot
        if self._tokenizer.id_to_token(eot) is None:
            raise ArtifactError(
                f"{TOKENIZER_FILE} has no token {eot}, which whisper.json says ends a text.", param="tokens.eot"
            )

    def encode(self, text: str) -> list[int]:
        """Ids of `text`. One that is spelled like a special token is left out: it would command the decoder."""
        ids = self._tokenizer.encode(text, add_special_tokens=False).ids
        return [token for token in ids if token < self._eot]

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of `tokens` as it is, leading space included; special tokens and timestamps say nothing."""
        text: str = self._tokenizer.decode([token for token in tokens if token < self._eot])
        return text
