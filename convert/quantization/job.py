"""What the parent asks of the child that runs llama.cpp, and what the child answers: one JSON object a line."""

from __future__ import annotations

import msgspec

from agent.store.probe_report import ProbeReport
from convert.quantization.native import PlannedTensor
from convert.quantization.recipe import Recipe


class Rehearse(msgspec.Struct, frozen=True, kw_only=True, tag="rehearse"):
    """Which type each tensor would become, for each of `recipes`."""

    source: str
    recipes: tuple[Recipe, ...]


class Quantize(msgspec.Struct, frozen=True, kw_only=True, tag="quantize"):
    """Write `target`. `files` are the source's, all parts of it; `header_bytes` how much of them is metadata."""

    source: str
    target: str
    recipe: Recipe
    files: tuple[str, ...]
    header_bytes: int


class Collect(msgspec.Struct, frozen=True, kw_only=True, tag="collect"):
    """Write the imatrix of `source` over `text` to `target`. `chunks` 0 is all."""

    source: str
    target: str
    text: str
    chunks: int
    threads: int


class Probe(msgspec.Struct, frozen=True, kw_only=True, tag="probe"):
    """What the runtime will see in `source`."""

    source: str


Job = Rehearse | Quantize | Collect | Probe


class Planned(msgspec.Struct, frozen=True, kw_only=True, tag="planned"):
    """The tensors of one recipe's result, in the order in which they will be written."""

    tensors: tuple[PlannedTensor, ...]


class Probed(msgspec.Struct, frozen=True, kw_only=True, tag="probed"):
    report: ProbeReport


class At(msgspec.Struct, frozen=True, kw_only=True, tag="at"):
    """Work under way: the `done`-th of `total` tensors begins, or so many chunks of text are done."""

    done: int
    total: int
    name: str = ""


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """An `EdgeAgentError`, in parts."""

    code: str
    message: str
    hint: str = ""


class Done(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """All went well. `peak_bytes` is the most memory that the child ever had."""

    peak_bytes: int


Answer = Planned | Probed | At | Failed | Done
