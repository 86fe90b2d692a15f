"""Vectors: what is asked for, and what comes."""

from __future__ import annotations

import msgspec


class Embed(msgspec.Struct, frozen=True, kw_only=True, tag="embed"):
    """Texts or token lists to embed. A too long input is an error unless `truncate`.

    `prompt_name` is the name of a prompt that the artifact brings ("query", "passage"), put before each text.
    """

    id: int = 0
    inputs: tuple[str | tuple[int, ...], ...]
    prompt_name: str | None = None
    truncate: bool = False
    normalize: bool = True


class Embedded(msgspec.Struct, frozen=True, kw_only=True, tag="embedded"):
    """`vectors` is float32, little-endian, row-major: one row of `dim` per input."""

    id: int
    dim: int
    vectors: bytes
    prompt_tokens: int
    truncated: tuple[int, ...] = ()
