"""What to make of a model: the level, and what differs from what llama.cpp would choose for it.

Levels are llama.cpp's file types. Each is a mixture: "Q4_K_M" puts most matrices into Q4_K and the most sensitive ones
into Q6_K. An override puts the tensors whose names a pattern matches into a type of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Final

import msgspec

from agent.engines.llama.library import llama
from agent.errors import RequestError
from convert.quantization.ggml import types_by_name
from convert.quantization.header import Header

COPY: Final = "COPY"
"""The level that changes no type: to prune layers only, or to join a split model."""

DEFAULT_MAX_MEMORY_BYTES: Final = 600_000_000
SMALLEST_MAX_MEMORY_BYTES: Final = 200_000_000
"""Below this nothing is left for weights: the interpreter, llama.cpp and a large vocabulary take more than half."""

_PREFIX: Final = "LLAMA_FTYPE_MOSTLY_"
_ALIASES: Final = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}
_NO_LEVELS: Final = frozenset({"NVFP4"})
"""File types that llama_ftype_get_default_type does not know: such files are made by other tools."""

_NEEDS_IMATRIX: Final = frozenset({"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS"})
"""Types that llama.cpp refuses to write without an imatrix (tensor_requires_imatrix in llama-quant.cpp)."""

_SIZE = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMGT]?i?)B?", re.IGNORECASE)
_UNITS: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY: Final = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


class Override(msgspec.Struct, frozen=True):
    """Tensors whose names hold a match of the regular expression `pattern` become of `type`, such as "Q8_0"."""

    pattern: str
    type: str


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides the bytes of the result, besides the source, and what making it may take.

    `imatrix` is the path of a file. `prune` are layers to leave out, ascending. `threads` 0 is one per core.
    """

    level: str
    imatrix: str | None = None
    overrides: tuple[Override, ...] = ()
    output_type: str | None = None
    token_embedding_type: str | None = None
    prune: tuple[int, ...] = ()
    pure: bool = False
    requantize: bool = False
    threads: int = 0
    max_memory_bytes: int = DEFAULT_MAX_MEMORY_BYTES


@cache
def levels() -> dict[str, int]:
    """File types by name: "Q4_K_M", "IQ3_XXS", "F16", "COPY", ..."""
    names = {name.removeprefix(_PREFIX): getattr(llama, name) for name in dir(llama) if name.startswith(_PREFIX)}
    known = {name: number for name, number in names.items() if name not in _NO_LEVELS}
    return dict(sorted({**known, "F32": llama.LLAMA_FTYPE_ALL_F32, COPY: llama.LLAMA_FTYPE_ALL_F32}.items()))


def read_level(text: str) -> str:
    """A level by its name in any case. Raises `RequestError` listing all."""
    name = _ALIASES.get(text.upper(), text.upper())
    if name not in levels():
        raise RequestError(f"There is no quantization {text!r}.", hint=f"Choose one of {', '.join(levels())}.")
    return name


def read_type(text: str) -> str:
    """A type of tensor by its name in any case. Raises `RequestError` listing all."""
    if text.upper() not in types_by_name():
        raise RequestError(f"There is no tensor type {text!r}.", hint=f"Choose one of {', '.join(types_by_name())}.")
    return text.upper()


def read_override(text: str) -> Override:
    """`PATTERN=TYPE`. Raises `RequestError`."""
    pattern, found, kind = text.rpartition("=")
    if not found or not pattern:
        raise RequestError(f"--tensor {text!r} is not PATTERN=TYPE.", hint="For example --tensor 'ffn_down=Q6_K'.")
    try:
        re.compile(pattern)
    except re.error as error:
        raise RequestError(f"--tensor {text!r}: the pattern is no regular expression: {error}.") from None
    return Override(pattern, read_type(kind))


def read_layers(text: str) -> tuple[int, ...]:
    """`3,5` or `3-7,9`, ascending and each once. Raises `RequestError`."""
    chosen: set[int] = set()
    for part in text.split(","):
        ends = re.fullmatch(r"\s*(\d{1,4})(?:\s*-\s*(\d{1,4}))?\s*", part)
        if ends is None or int(ends[2] or ends[1]) < int(ends[1]):
            raise RequestError(f"{text!r} are not layers.", hint="For example --prune-layers 3,5 or 3-7,9.")
        chosen.update(range(int(ends[1]), int(ends[2] or ends[1]) + 1))
    return tuple(sorted(chosen))


def read_size(text: str) -> int:
    """`600MB`, `2G`, `512MiB`, in bytes. Raises `RequestError`."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise RequestError(f"{text!r} is not a size.", hint="For example 600MB, 2GB or 512MiB.")
    unit = match["unit"].lower()
    if unit == "i":
        raise RequestError(f"{text!r} is not a size.", hint="For example 600MB, 2GB or 512MiB.")
    return int(float(match["number"]) * {**_UNITS, **_BINARY}[unit])


def needs_imatrix(type_name: str, tensor: str, level: str) -> bool:
    """Whether llama.cpp writes this tensor in this type only with an imatrix entry for it."""
    if tensor in ("token_embd.weight", "per_layer_token_embd.weight", "output.weight"):
        return False
    return type_name in _NEEDS_IMATRIX or (type_name == "Q2_K" and level == "Q2_K_S")


def check(recipe: Recipe, header: Header) -> None:
    """What can be said before llama.cpp is asked: that the recipe means something for this model.

    Raises `RequestError` naming the option.
    """
    if recipe.max_memory_bytes < SMALLEST_MAX_MEMORY_BYTES:
        raise RequestError(
            f"--max-memory is {recipe.max_memory_bytes / 1e6:.0f} MB; "
            f"at least {SMALLEST_MAX_MEMORY_BYTES / 1e6:.0f} MB are needed."
        )
    kind = types_by_name().get(_base_type(recipe.level))
    if recipe.overrides and kind is not None and not kind.quantized:
        raise RequestError(f"--tensor has no effect with {recipe.level}: it quantizes nothing.")
    for override in recipe.overrides:
        if not any(re.search(override.pattern, name) for name in header.tensors):
            raise RequestError(
                f"--tensor {override.pattern}={override.type} matches no tensor.",
                hint=f"Names are like {', '.join(_examples(header.tensors))}.",
            )
    # Elsewhere llama.cpp falls back to another type where rows are not whole blocks; these two it takes at their word.
    for option, name, chosen in (
        ("--output-type", "output.weight", recipe.output_type),
        ("--token-embedding-type", "token_embd.weight", recipe.token_embedding_type),
    ):
        tensor, wanted = header.tensors.get(name), types_by_name().get(chosen or "")
        if tensor is not None and wanted is not None and tensor.shape[0] % wanted.block_values:
            raise RequestError(
                f"{option} {chosen} needs rows of a multiple of {wanted.block_values}; {name} has {tensor.shape[0]}."
            )
    _check_pruning(recipe.prune, header)


def _check_pruning(prune: Sequence[int], header: Header) -> None:
    if not prune:
        return
    if header.layers == 0 or prune[-1] >= header.layers:
        raise RequestError(f"--prune-layers: the model has layers 0 to {header.layers - 1}, and no {prune[-1]}.")
    if len(prune) >= header.layers:
        raise RequestError("--prune-layers leaves no layer.")
    for key, value in header.metadata.items():
        if key.startswith(f"{header.architecture}.") and isinstance(value, list) and len(value) == header.layers:
            raise RequestError(
                f"--prune-layers: {key} has one value per layer, and llama.cpp leaves those of pruned layers in it."
            )


def _base_type(level: str) -> str:
    return {"F32": "F32", "F16": "F16", "BF16": "BF16", COPY: "F32"}.get(level, "Q8_0")


def _examples(names: Iterable[str]) -> list[str]:
    return sorted({re.sub(r"^blk\.\d+\.", "blk.0.", name) for name in names})[:4]
