"""Text: what is asked for, and what comes."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

FinishReason = Literal["stop", "length", "cancelled"]


class Sampling(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Sampler settings; defaults are llama-server's. `temperature` 0 is greedy; `seed` None draws one at random."""

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    top_n_sigma: float = -1.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    logit_bias: tuple[tuple[int, float], ...] = ()
    seed: int | None = None


class Generate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="generate"):
    """One generation request: either `messages` (rendered through the model's chat template) or `prompt`.

    `grammar` (GBNF) and `json_schema` (a JSON Schema; `{}` is any JSON object) exclude each other.
    `logprobs` is the number of alternatives per token to report, or None for no log-probabilities at all.
    `id` is given by the runtime.
    """

    id: int = 0
    messages: tuple[dict[str, Any], ...] | None = None
    tools: tuple[dict[str, Any], ...] | None = None
    template_arguments: dict[str, Any] = msgspec.field(default_factory=dict)
    prompt: str | tuple[int, ...] | None = None
    max_tokens: int | None = None
    sampling: Sampling = Sampling()
    stop: tuple[str, ...] = ()
    n: int = 1
    logprobs: int | None = None
    grammar: str | None = None
    json_schema: dict[str, Any] | None = None
    echo: bool = False
    cache_prompt: bool = True
    context_shift: bool = False
    ignore_eos: bool = False


class TokenLogprob(msgspec.Struct, frozen=True, kw_only=True):
    """`piece` is the token's bytes, which need not be valid UTF-8 alone; `top` holds the alternatives, best first."""

    token: int
    piece: bytes
    logprob: float
    top: tuple[tuple[int, bytes, float], ...] = ()


class Delta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="delta"):
    """New text of one choice. `tokens` counts the sampled tokens it stands for (0 for an echoed prompt)."""

    id: int
    text: str
    choice: int = 0
    tokens: int = 0
    logprobs: tuple[TokenLogprob, ...] | None = None


class Finished(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="finished"):
    """One choice is complete. Times are what the engine spent: from admission to first token, and from there on."""

    id: int
    reason: FinishReason
    choice: int = 0
    stop_sequence: str | None = None
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    prefill_s: float = 0.0
    decode_s: float = 0.0
