"""GGUF to GGUF at fewer bits, by llama.cpp: planned, checked, then written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.errors import ArtifactError, DiskFullError, EdgeAgentError, RequestError
from convert.artifact import whole_file
from convert.quantization import child, job
from convert.quantization.ggml import tensor_type
from convert.quantization.header import DEFAULT_ALIGNMENT, Header, read_header
from convert.quantization.imatrix import Match, match, read_imatrix
from convert.quantization.native import PlannedTensor
from convert.quantization.recipe import COPY, Recipe, check, needs_imatrix

OnBytes = Callable[[int, int], None]
"""`on_bytes(done_bytes, total_bytes)`."""

_NOT_MODELS: Final = ("imatrix", "adapter")
_SHOWN: Final = 3


@dataclass(frozen=True)
class Plan:
    """What a recipe makes of a model: the type of each tensor, and whether its imatrix serves them."""

    recipe: Recipe
    header: Header
    tensors: tuple[PlannedTensor, ...]
    imatrix: Match | None

    @property
    def bytes(self) -> int:
        """The size of the file: exact for the tensors, as the source's for the metadata."""
        return self.header.header_bytes + sum(_padded(_bytes(tensor)) for tensor in self.tensors)

    @property
    def weights_bytes(self) -> int:
        return sum(_bytes(tensor) for tensor in self.tensors)

    @property
    def changed(self) -> tuple[PlannedTensor, ...]:
        return tuple(tensor for tensor in self.tensors if tensor.target_type != tensor.source_type)


@dataclass(frozen=True)
class Result:
    """`bytes` is the size of the file, `peak_bytes` the most memory that making it took."""

    plan: Plan
    bytes: int
    peak_bytes: int


def open_source(path: Path) -> Header:
    """The header of a model that can be quantized. Raises `ArtifactError` for anything else."""
    header = read_header(path)
    kind = header.metadata.get("general.type", "model")
    if kind in _NOT_MODELS:
        raise ArtifactError(f"{path.name} is not a model, but GGUF of type {kind}.")
    if not header.architecture:
        raise ArtifactError(f"{path.name} does not say its general.architecture: it is not a model.")
    if not header.tensors:
        raise ArtifactError(f"{path.name} has a vocabulary only, and no weights.", hint="Give the model itself.")
    return header


def plan(source: Path, recipes: Sequence[Recipe]) -> list[Plan]:
    """What each recipe would make of `source`, exactly as llama.cpp decides it; no weights are read.

    Raises `RequestError` for recipes that cannot be, `ArtifactError` for files, `ModelLoadError` from llama.cpp.
    """
    header = open_source(source)
    for recipe in recipes:
        check(recipe, header)
    found: list[tuple[PlannedTensor, ...]] = []

    def on_answer(message: job.Answer) -> None:
        if isinstance(message, job.Planned):
            found.append(message.tensors)

    asked = job.Rehearse(source=_text(header.path), recipes=tuple(recipes))
    child.run(asked, subject=source.name, on_answer=on_answer)
    return [_plan(header, recipe, tensors) for recipe, tensors in zip(recipes, found, strict=True)]


def quantize(source: Path, target: Path, recipe: Recipe, *, on_bytes: OnBytes = lambda done, total: None) -> Result:
    """Write `source` as `recipe` has it to `target`, whole or not at all.

    Raises what `plan` and `check_plan` do, `ArtifactError` where `target` exists, `DiskFullError`.
    """
    (planned,) = plan(source, [recipe])
    check_plan(planned)
    with whole_file(target, planned.bytes) as part:
        peak_bytes = write(planned, part, on_bytes=on_bytes)
        size = part.stat().st_size
    return Result(planned, size, peak_bytes)


def write(planned: Plan, target: Path, *, on_bytes: OnBytes) -> int:
    """Write a plan's result to the new file `target`, and read its header back. Returns the peak memory in bytes.

    On failure a part of `target` may be there.
    """
    header, recipe, at = planned.header, planned.recipe, ""

    def on_answer(message: job.Answer) -> None:
        nonlocal at
        if isinstance(message, job.At):
            at = f"{message.name}, tensor {message.done} of {message.total}"

    def on_tick() -> None:
        on_bytes(min(_size(target), planned.bytes), planned.bytes)

    asked = job.Quantize(
        source=_text(header.path),
        target=_text(target),
        recipe=recipe,
        files=tuple(_text(path) for path in header.paths),
        header_bytes=header.header_bytes,
    )
    try:
        peak_bytes = child.run(asked, subject=header.path.name, on_answer=on_answer, on_tick=on_tick)
        read_header(target)  # llama.cpp does not look whether its last bytes arrived
    except EdgeAgentError as error:
        _check_disk(target, planned.bytes, at, error)
        raise
    on_bytes(planned.bytes, planned.bytes)
    return peak_bytes


def check_plan(planned: Plan) -> None:
    """That llama.cpp will carry a plan out, said before rather than in the middle.

    Raises `RequestError` where the source is quantized already or the level needs an imatrix that is not there.
    """
    recipe = planned.recipe
    check_fresh(planned)
    without = set(planned.imatrix.missing) if planned.imatrix else {t.name for t in planned.changed}
    needy = [t for t in planned.changed if t.name in without and needs_imatrix(t.target_type, t.name, recipe.level)]
    if needy:
        what = f"{recipe.level} puts {_named(needy)} into {needy[0].target_type}, which needs an imatrix"
        has = f", and {Path(recipe.imatrix).name} has none for them" if recipe.imatrix else ""
        raise RequestError(
            f"{what}{has}.", hint="Add --imatrix TEXT.txt to collect one, or choose Q3_K_M, IQ3_S or IQ4_XS."
        )


def check_fresh(planned: Plan) -> None:
    """That there is something to do, and no tensor is quantized a second time, unless the recipe allows it.

    Raises `RequestError`.
    """
    recipe = planned.recipe
    if not planned.changed and recipe.level != COPY and not recipe.prune:
        raise RequestError(
            f"{planned.header.path.name} is {recipe.level} already: no tensor would change.",
            hint="Start from F32, F16 or BF16 for another level; --quant COPY copies.",
        )
    again = [t for t in planned.changed if tensor_type(t.source_type).quantized]
    if again and not recipe.requantize:
        raise RequestError(
            f"{planned.header.path.name} is quantized already: {_named(again)} of type {again[0].source_type}.",
            hint="Start from F32, F16 or BF16, or pass --requantize and lose quality twice.",
        )


def _plan(header: Header, recipe: Recipe, tensors: tuple[PlannedTensor, ...]) -> Plan:
    """With the imatrix held against those tensors that it is for: all that change, but for the tables of tokens."""
    if recipe.imatrix is None:
        return Plan(recipe, header, tensors, None)
    path = Path(recipe.imatrix)
    wanted = [
        (tensor.name, tensor.shape)
        for tensor in tensors
        if tensor.target_type != tensor.source_type
        and tensor_type(tensor.target_type).quantized
        and tensor.name.startswith("blk.")
    ]
    before = _before_pruning(recipe.prune, header.layers)
    matched = match(read_imatrix(path), [(_renamed(name, before), shape) for name, shape in wanted], where=path.name)
    after = {_renamed(name, before): name for name, _ in wanted}
    return Plan(recipe, header, tensors, Match(matched.used, tuple(after[name] for name in matched.missing)))


def _before_pruning(prune: Sequence[int], layers: int) -> dict[str, str]:
    """New number of a layer to its old one: an imatrix is of the model with all its layers."""
    kept = [layer for layer in range(layers) if layer not in prune]
    return {str(new): str(old) for new, old in enumerate(kept)} if prune else {}


def _renamed(name: str, numbers: dict[str, str]) -> str:
    first, number, rest = name.split(".", 2)
    return f"{first}.{numbers.get(number, number)}.{rest}"


def _check_disk(target: Path, needed_bytes: int, at: str, error: EdgeAgentError) -> None:
    """llama.cpp says "iostream error" where it cannot write; the file system knows why."""
    done = _size(target)
    if done >= needed_bytes or ("iostream" not in error.message and "truncated" not in error.message):
        return
    status = os.statvfs(target.parent)
    free = status.f_bavail * status.f_frsize
    where = f" at {at}" if at else ""
    if free < needed_bytes - done:
        raise DiskFullError(
            f"The disk filled up after {done / 1e6:.0f} of {needed_bytes / 1e6:.0f} MB{where}; nothing was left.",
            hint="Make room, or choose another place for the result.",
        ) from error
    raise ArtifactError(
        f"The result could not be written beyond {done / 1e6:.1f} MB{where}.",
        hint="Is there a limit on the size of files, or a quota?",
    ) from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _named(tensors: Sequence[PlannedTensor]) -> str:
    shown = ", ".join(tensor.name for tensor in tensors[:_SHOWN])
    return shown + (f" and {len(tensors) - _SHOWN} more" if len(tensors) > _SHOWN else "")


def _bytes(tensor: PlannedTensor) -> int:
    return tensor_type(tensor.target_type).bytes_of(tensor.shape)


def _padded(count: int) -> int:
    return -(-count // DEFAULT_ALIGNMENT) * DEFAULT_ALIGNMENT


def _text(path: Path) -> str:
    return str(path.absolute())
