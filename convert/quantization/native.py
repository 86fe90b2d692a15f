"""`llama_model_quantize` in this process: the parameters, and what its log says while it runs."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.engines.llama.library import llama, log
from agent.errors import ModelLoadError
from convert.quantization.ggml import types_by_name
from convert.quantization.imatrix import Imatrix
from convert.quantization.recipe import COPY, Recipe, levels

Log = Callable[[int, str], None]

_LEVEL_WARN: Final = 3
_TENSOR = re.compile(
    r"\[ *(?P<index>\d+)/ *(?P<count>\d+)\] (?P<name>.*?) +- \[(?P<shape>[ \d,]+)\], type = +(?P<type>\w+), *"
)
_RESULT = re.compile(r"size = .*\((?P<type>\w+)\)\s*$")
_KEY_BYTES, _VALUE_BYTES = 128, 127


class PlannedTensor(msgspec.Struct, frozen=True):
    """A tensor of the result. `name` is its own there; `shape` in elements, the length of a row first."""

    name: str
    shape: tuple[int, ...]
    source_type: str
    target_type: str


def rehearse(source: Path, recipe: Recipe, matrix: Imatrix | None) -> tuple[PlannedTensor, ...]:
    """Which type each tensor would become; nothing is read of the weights or written.

    Raises `ModelLoadError` where llama.cpp refuses the file or the recipe.
    """
    planned: list[PlannedTensor] = []
    found: re.Match[str] | None = None

    def listen(_level: int, text: str) -> None:
        nonlocal found
        if starts := _TENSOR.match(text):
            found = starts
        elif found is not None and (ends := _RESULT.match(text) or text.startswith("size = ")):
            shape = tuple(int(size) for size in found["shape"].split(","))
            became = ends["type"] if isinstance(ends, re.Match) else found["type"]
            planned.append(PlannedTensor(found["name"], shape, found["type"].upper(), became.upper()))
            found = None

    with _listening(listen):
        _quantize(source, None, recipe, matrix, buffer_bytes=0)
    return tuple(planned)


def quantize(
    source: Path,
    target: Path,
    recipe: Recipe,
    matrix: Imatrix | None,
    *,
    buffer_bytes: int,
    on_tensor: Callable[[int, int, str], None],
) -> None:
    """Write `target`, with at most `buffer_bytes` of weights in buffers; `on_tensor(number, of, name)` as each begins.

    Raises `ModelLoadError` naming the tensor where llama.cpp fails.
    """
    last = ""

    def listen(_level: int, text: str) -> None:
        nonlocal last
        if starts := _TENSOR.match(text):
            last = starts["name"]
            on_tensor(int(starts["index"]), int(starts["count"]), last)

    with _listening(listen):
        _quantize(source, target, recipe, matrix, buffer_bytes=buffer_bytes, at=lambda: last)


@llama.llama_log_callback  # type: ignore[untyped-decorator]
def errors_only(level: int, raw: bytes | None, _data: Any) -> None:
    """Keeps llama.cpp's log for errors, and says nothing to anyone."""
    if level != _LEVEL_WARN:
        log.write(level, (raw or b"").decode("utf-8", "replace"))


@contextmanager
def _listening(listen: Log) -> Iterator[None]:
    """Hear llama.cpp's log. Its tail is kept for errors; warnings per tensor are left to the summary."""

    @llama.llama_log_callback  # type: ignore[untyped-decorator]
    def on_log(level: int, raw: bytes | None, _data: Any) -> None:
        errors_only(level, raw, None)
        listen(level, (raw or b"").decode("utf-8", "replace").strip("\n"))

    log.clear()
    llama.llama_log_set(on_log, None)
    try:
        yield
    finally:
        llama.llama_log_set(errors_only, None)


def _quantize(
    source: Path,
    target: Path | None,
    recipe: Recipe,
    matrix: Imatrix | None,
    *,
    buffer_bytes: int,
    at: Callable[[], str] = str,
) -> None:
    parameters, kept = _parameters(recipe, matrix)
    parameters.dry_run = target is None
    parameters.max_buf_size = buffer_bytes
    out = b"" if target is None else str(target).encode()
    status = llama.llama_model_quantize(str(source).encode(), out, ctypes.byref(parameters))
    del kept
    if status != 0:
        reason = (log.reason() or f"llama.cpp says {status}").removeprefix("failed to quantize: ").rstrip(".")
        where = f" (at {at()})" if at() else ""
        raise ModelLoadError(f"{source.name} cannot be quantized to {recipe.level}: {reason}{where}.")


def _parameters(recipe: Recipe, matrix: Imatrix | None) -> tuple[Any, list[Any]]:
    """llama.cpp's struct, and what it points to."""
    kept: list[Any] = []
    parameters = llama.llama_model_quantize_default_params()
    parameters.ftype = levels()[recipe.level]
    parameters.only_copy = recipe.level == COPY
    parameters.nthread = recipe.threads
    parameters.pure = recipe.pure
    parameters.allow_requantize = recipe.requantize
    if recipe.output_type is not None:
        parameters.output_tensor_type = types_by_name()[recipe.output_type].number
    if recipe.token_embedding_type is not None:
        parameters.token_embedding_type = types_by_name()[recipe.token_embedding_type].number
    if recipe.overrides:
        overrides = (llama.llama_model_tensor_override * (len(recipe.overrides) + 1))()
        for slot, override in zip(overrides, recipe.overrides, strict=False):
            slot.pattern, slot.type = override.pattern.encode(), types_by_name()[override.type].number
        parameters.tt_overrides = overrides
        kept.append(overrides)
    if recipe.prune:
        layers = (ctypes.c_int32 * (len(recipe.prune) + 1))(*recipe.prune, -1)
        parameters.prune_layers = layers
        kept.append(layers)
    if matrix is not None:
        kept.append(_add_imatrix(parameters, recipe, matrix))
    return parameters, kept


def _add_imatrix(parameters: Any, recipe: Recipe, matrix: Imatrix) -> list[Any]:
    entries = (llama.llama_model_imatrix_data * (len(matrix.entries) + 1))()
    arrays = []
    for slot, (name, entry) in zip(entries, sorted(matrix.entries.items()), strict=False):
        weights = entry.weights()
        slot.name, slot.size = name.encode(), weights.size
        slot.data = weights.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        arrays.append(weights)
    parameters.imatrix = entries
    # The metadata that llama-quantize writes. Names of files without their folders: those are nobody's business.
    facts: list[tuple[str, int | str]] = [("quantize.imatrix.file", Path(recipe.imatrix or "").name)]
    facts += [("quantize.imatrix.dataset", Path(name).name) for name in matrix.datasets[:1]]
    facts.append(("quantize.imatrix.entries_count", len(matrix.entries)))
    facts += [("quantize.imatrix.chunks_count", matrix.chunks)] if matrix.chunks else []
    values = (llama.llama_model_kv_override * (len(facts) + 1))()
    for value, (key, fact) in zip(values, facts, strict=False):
        value.key = key.encode()[: _KEY_BYTES - 1]
        if isinstance(fact, int):
            value.tag, value.value.val_i64 = llama.LLAMA_KV_OVERRIDE_TYPE_INT, fact
        else:
            text = fact.encode()[:_VALUE_BYTES].decode("utf-8", "ignore")
            value.tag, value.value.val_str = llama.LLAMA_KV_OVERRIDE_TYPE_STR, text.encode()
    parameters.kv_overrides = values
    return [entries, arrays, values]
