"""What a converted model must reach, and the `quality` block of its manifest.

A gate compares one measured number with one limit. What misses a gate is an error, unless the user accepts it; what was
not measured at all counts as missed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from agent.errors import ArtifactError

ACCEPT_OPTION: Final = "--accept-quality"


class QualityError(ArtifactError):
    """A measured number missed its gate, or nothing was measured."""

    code = "quality_too_low"


@dataclass(frozen=True)
class Gate:
    """`key` names a number of the measured quality; it must be `at` least or `at` most `limit`.

    `what` says in words what the number is, with its unit where it has one: "mean KL divergence in nats".
    """

    key: str
    limit: float
    at: Literal["least", "most"]
    what: str = ""

    def holds(self, value: object) -> bool:
        """Whether `value` is a finite number on the right side of the limit; the limit itself is good enough."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            return False
        return value >= self.limit if self.at == "least" else value <= self.limit

    def complaint(self, value: object) -> str:
        """One clause for a value that does not hold: `mean KL divergence in nats is 0.4, at most 0.2 is expected`."""
        name = self.what or self.key
        wanted = f"at {self.at} {self.limit:g} is expected"
        if isinstance(value, int | float) and not isinstance(value, bool):
            shown = f"{value:.6g}" if math.isfinite(value) else "not a finite number"
            return f"{name} ({self.key}) is {shown}, {wanted}" if self.what else f"{name} is {shown}, {wanted}"
        return f"{name} ({self.key}) was not measured, {wanted}" if self.what else f"{name} was not measured, {wanted}"


# llama.cpp's published scoreboard (tools/perplexity/README.md, Wikitext-2, against F16), mean KL divergence in nats,
# perplexity ratio, same most likely token:
#   Llama 3 8B  Q8_0 0.0014 1.000 97.7%   Q6_K 0.0055 1.003 96.0%   Q4_K_M 0.031 1.028 91.9%
#               Q3_K_M 0.102 1.105        Q3_K_S 0.228 1.262        Q2_K 0.445 1.565 71.1%
#   Llama 2 7B  Q4_K_M 0.013 1.014 94.7%  Q2_K 0.109 1.108 85.6%
# The limits stand between Q3_K_M, which people use, and Q3_K_S and Q2_K, whose damage shows. They leave a small model,
# which loses more at every level, six times the divergence of an 8B at Q4_K_M. A broken one is far beyond them.
TEXT_GATES: Final = (
    Gate("kl_mean", 0.2, "most", "mean KL divergence in nats per token"),
    Gate("perplexity_ratio", 1.2, "most", "perplexity divided by the unquantized model's"),
    Gate("top1_agreement", 0.8, "least", "share of tokens with the same most likely next token"),
)
"""For `convert.quality.text.measure_text`: a GGUF against the unquantized one."""


def add_accept_option(parser: argparse.ArgumentParser) -> None:
    """`--accept-quality`, the same for every command; it is found as `given.accept_quality`."""
    parser.add_argument(
        ACCEPT_OPTION, action="store_true", help="keep the result even where its measured quality misses a gate"
    )


def not_measured(reason: str) -> dict[str, Any]:
    """What to hand to `check` where nothing could be measured; `reason` is one sentence."""
    return {"measured": False, "reason": reason}


def check(quality: Mapping[str, Any], gates: Sequence[Gate], *, accept: bool) -> dict[str, Any]:
    """The manifest's `quality` block: what was measured, then `gates`, `passed` and `accepted`.

    `quality` holds the measured numbers and what else describes the measurement (`against`, `text`, ...). A number that
    is not finite, which a manifest cannot hold, becomes None and counts as missed. `accepted` says that a gate was
    missed and the user wanted the result all the same. Raises `QualityError` naming every missed gate, unless `accept`.
    """
    measured = quality.get("measured", bool(quality)) is not False
    outcomes = {
        gate.key: {f"at_{gate.at}": gate.limit, "passed": measured and gate.holds(quality.get(gate.key))}
        for gate in gates
    }
    passed = measured and all(outcome["passed"] for outcome in outcomes.values())
    if not passed and not accept:
        raise QualityError(_failure(quality, gates, measured=measured), hint=f"{ACCEPT_OPTION} keeps it all the same.")
    block = {key: _finite(value) for key, value in quality.items()}
    return {**block, "measured": measured, "gates": outcomes, "passed": passed, "accepted": not passed}


def _failure(quality: Mapping[str, Any], gates: Sequence[Gate], *, measured: bool) -> str:
    if not measured:
        reason = str(quality.get("reason") or "nothing was measured").rstrip(".")
        return f"The quality of the result is not known: {reason}."
    missed = [gate.complaint(quality.get(gate.key)) for gate in gates if not gate.holds(quality.get(gate.key))]
    return f"The result is not good enough: {'; '.join(missed)}."


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
