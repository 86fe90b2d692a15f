"""What a run measured, as it is written to a file and read again: one JSON line, its form versioned."""

from __future__ import annotations

import statistics
from typing import Any, Final, Literal

import msgspec

from agent.bench.spread import percentile
from agent.errors import RequestError

SCHEMA: Final = 1
"""Raised when a reader of the old form would misread the new one."""

TOOL: Final = "edge-agent bench"
LIMIT_BYTES: Final = 64 * 1024 * 1024

Case = dict[str, str | int | float]


class Row(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One thing that was measured, as often as it was: `values` in `unit`, one for each repeat or each request.

    `measure` and `case` say what it was; rows with the same ones are compared. Rows of latencies have `tail`: their
    percentiles matter. `higher_is_better` says which way a ratio is a gain. `counts` is what came beside it (requests
    refused, tokens really sent).
    """

    measure: str
    unit: str
    values: list[float]
    case: Case = {}
    higher_is_better: bool = True
    tail: bool = False
    counts: dict[str, float] = {}
    note: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def percentile(self, share: float) -> float:
        return percentile(self.values, share)

    @property
    def title(self) -> str:
        return title(self.measure, self.case)


class ModelFacts(msgspec.Struct, kw_only=True):
    """The model that did a task. `quantization` is the manifest's; empty where it cannot be known."""

    task: str
    name: str
    version: str = ""
    quantization: str = ""
    description: str = ""
    weights_bytes: int = 0
    context_tokens: int = 0
    slots: int = 0
    threads: int = 0


class Ceiling(msgspec.Struct, kw_only=True):
    """No more tokens a second than the memory can be read times: every token reads all weights once. `reason` says
    why there is none."""

    bandwidth_bytes_per_s: float = 0.0
    threads: int = 0
    bytes_per_token: int = 0
    tokens_per_s: float = 0.0
    reason: str = ""


class Point(msgspec.Struct, kw_only=True):
    """One moment of a long run. None where the board does not tell."""

    at_s: float
    tokens_per_s: float
    celsius: float | None = None
    mhz: float | None = None


class Pairing(msgspec.Struct, kw_only=True):
    """One load on two servers in turn: `ratios` of ours over theirs, so that more than 1 is always ours ahead."""

    measure: str
    unit: str
    ours: list[float]
    theirs: list[float]
    ratios: list[float]
    low: float
    high: float
    case: Case = {}

    @property
    def median(self) -> float:
        return statistics.median(self.ratios)

    @property
    def title(self) -> str:
        return title(self.measure, self.case)


class Overhead(msgspec.Struct, kw_only=True):
    """What measuring costs: the client's figure over the server's own of the same answers, and the share of one core
    that the client took meanwhile."""

    client_over_server: float
    client_cpu_share: float
    answers: int


class Power(msgspec.Struct, kw_only=True):
    """`source` and `scope` of the meter; empty without one, and `reason` says why."""

    source: str = ""
    scope: str = ""
    reason: str = ""


class Report(msgspec.Struct, kw_only=True):
    """A whole run, or what there was of it when it ended: `problems` says what is missing and why."""

    tool: Literal["edge-agent bench"] = TOOL
    schema: int = SCHEMA
    began: str
    quick: bool = False
    seed: int = 0
    client_version: str = ""
    client_platform: str = ""
    server: str = ""
    server_version: str = ""
    url: str = ""
    against_url: str = ""
    against_model: str = ""
    board: dict[str, Any] = {}
    profile: dict[str, Any] = {}
    models: list[ModelFacts] = []
    others_cores: float | None = None
    ceiling: Ceiling | None = None
    power: Power | None = None
    overhead: Overhead | None = None
    rows: list[Row] = []
    points: list[Point] = []
    pairings: list[Pairing] = []
    problems: list[str] = []
    complete: bool = False

    def row(self, measure: str, case: Case | None = None) -> Row | None:
        """The first row of `measure`, in this `case` unless that is None."""
        return next((row for row in self.rows if row.measure == measure and case in (None, row.case)), None)

    def of(self, measure: str) -> list[Row]:
        return [row for row in self.rows if row.measure == measure]

    def model(self, task: str) -> ModelFacts | None:
        return next((model for model in self.models if model.task == task), None)


_SAID: Final = {
    "prompt_tokens": "{} tokens of prompt",
    "answer_tokens": "{} of answer",
    "requests": "{} at once",
    "load": "{} load",
    "rate_per_s": "{} a second",
    "texts": "{} texts",
    "words": "{} words",
    "seconds": "{} s",
}
"""How parts of a case are said; others as their value."""


def title(measure: str, case: Case) -> str:
    """`generate (512 tokens of prompt)`."""
    said = ", ".join(_SAID.get(name, "{}").format(value) for name, value in case.items())
    return f"{measure} ({said})" if said else measure


def rounded(value: float) -> float:
    """Six significant digits: more than any clock here is good for."""
    return float(f"{value:.6g}")


def encode(report: Report) -> bytes:
    """One line of JSON."""
    return msgspec.json.encode(report) + b"\n"


def decode(data: bytes, name: str) -> Report:
    """Raises `RequestError`, naming the file `name`, for what is no report of this form."""
    try:
        head = msgspec.json.decode(data, type=_Head)
        if head.tool == TOOL and head.schema != SCHEMA:
            raise RequestError(
                f"{name} was written by another edge-agent: form {head.schema}, and this one reads {SCHEMA}.",
                hint="Use the newer edge-agent for both.",
            )
        report = msgspec.json.decode(data, type=Report)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(
            f"{name} is no report of edge-agent bench: {error}.", hint="--json FILE writes one."
        ) from None
    if any(not row.values for row in report.rows) or any(not one.ratios for one in report.pairings):
        raise RequestError(f"{name} is no report of edge-agent bench: a row has no values.")
    return report


class _Head(msgspec.Struct):
    tool: str
    schema: int
