"""What a quantization did, told to people and to scripts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from agent.terminal import size
from convert.quantization.choose import Choice
from convert.quantization.making import Made
from convert.quantization.quantize import Plan

_IN_BLOCKS_OF_256: Final = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ1", "IQ2", "IQ3", "IQ4_XS", "TQ")


def remarks(planned: Plan) -> Iterator[str]:
    """What llama.cpp does without asking, a line each."""
    if planned.imatrix is not None and planned.imatrix.missing:
        missing = planned.imatrix.missing
        yield f"the imatrix has nothing for {len(missing)} tensors, which go without: {', '.join(missing[:3])}, ..."
    odd = sorted({tensor.shape[0] for tensor in planned.changed if tensor.shape[0] % 256})
    if odd and planned.recipe.level.startswith(_IN_BLOCKS_OF_256):
        rows = ", ".join(map(str, odd[:4]))
        yield f"rows of {rows} values are no multiple of 256: they get types of smaller blocks, which take more room"


def report(made: Made, planned: Plan) -> str:
    """Lines for people: what it cost in bytes, which types there are, what was measured."""
    header = planned.header
    bits = 8 * planned.weights_bytes / sum(math.prod(tensor.shape) for tensor in planned.tensors)
    return "\n".join(
        (
            f"{made.target}: {planned.recipe.level}, {size(made.bytes)}, {made.bytes / header.file_bytes:.0%} of "
            f"{header.path.name} ({size(header.file_bytes)}), {bits:.2f} bits per weight",
            f"tensors: {', '.join(f'{count} {kind}' for kind, count in _types(planned))}",
            f"quality: {_quality(made)}",
        )
    )


def value(made: Made, planned: Plan, choice: Choice | None) -> dict[str, Any]:
    """The same for scripts; sizes in bytes."""
    told: dict[str, Any] = {
        "path": str(made.target),
        "quantization": planned.recipe.level,
        "bytes": made.bytes,
        "source_bytes": planned.header.file_bytes,
        "weights_bytes": planned.weights_bytes,
        "peak_memory_bytes": made.peak_bytes,
        "tensors": dict(_types(planned)),
        "quality": made.quality,
    }
    if choice is not None:
        told["fit"] = {
            "profile": choice.board.profile.name,
            "memory_mb": choice.board.memory_mb,
            "context_tokens": choice.context_tokens,
            "kv_type": choice.kv_type,
            "kv_bytes": choice.kv_bytes,
            "compute_bytes": choice.compute_bytes,
            "total_bytes": choice.total_bytes,
            "budget_bytes": choice.board.budget_bytes,
        }
    return told


def _types(planned: Plan) -> list[tuple[str, int]]:
    return Counter(tensor.target_type for tensor in planned.tensors).most_common()


def _quality(made: Made) -> str:
    quality = made.quality
    if quality is None:
        return "not measured; --measure does, and --artifact DIR makes an artifact that says so"
    if not quality["measured"]:
        return f"not measured: {quality['reason'].rstrip('.')}; accepted"
    accepted = "" if quality["passed"] else "; below the gates, and accepted"
    return (
        f"KL divergence {quality['kl_mean']:.4f} nats per token, perplexity x{quality['perplexity_ratio']:.3f}, "
        f"same most likely token {quality['top1_agreement']:.1%}, against {quality['against']}{accepted}"
    )
