"""What chat and completions let a client say alike: sampling, limits, constraints, urgency."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from agent.api.decode import Body, wrong
from agent.errors import RequestError
from agent.runtime.queue import Priority
from agent.runtime.wire.generation import Sampling

STOP_LIMIT = 16
STOP_CHARACTERS = 512
BREAKER_LIMIT = 64
BREAKER_CHARACTERS = 64
TOKEN_LIMIT = 2**31
LOGIT_BIAS_LIMIT = 4096
SEED_MODULUS = 2**32 - 1
"""llama.cpp's seeds have 32 bits, and the largest one means "draw one at random"."""

Temperature = Annotated[float, Meta(ge=0, le=10, description="a number from 0 to 10")]
Share = Annotated[float, Meta(ge=0, le=1, description="a number from 0 to 1")]
Penalty = Annotated[float, Meta(ge=-2, le=2, description="a number from -2 to 2")]
RepeatPenalty = Annotated[float, Meta(gt=0, le=10, description="a number above 0, at most 10")]
Strength = Annotated[float, Meta(ge=0, le=100, description="a number from 0 to 100")]
Sigma = Annotated[float, Meta(ge=-1, le=100, description="a number from -1 (off) to 100")]
TopK = Annotated[int, Meta(ge=-1, le=1_000_000, description="an integer from -1 to 1000000; 0 and -1 keep all tokens")]
LastN = Annotated[int, Meta(ge=-1, le=1_000_000, description="an integer from -1 (the whole context) to 1000000")]
Length = Annotated[int, Meta(ge=0, le=1_000_000, description="an integer from 0 to 1000000")]
MaxTokens = Annotated[int, Meta(ge=-1, le=TOKEN_LIMIT, description="a positive integer, or -1 for no limit")]
Choices = Annotated[int, Meta(ge=1, description="a positive integer")]
Seed = Annotated[int, Meta(description="an integer; -1 draws one at random")]
Bias = Annotated[dict[str, float], Meta(description='an object of token id to a number, like {"50256": -100}')]
Seconds = Annotated[float, Meta(gt=0, le=86_400, description="a number of seconds, above 0 and at most 86400")]
Stop = Annotated[str | list[str], Meta(description=f"a string, or an array of at most {STOP_LIMIT} strings")]

OTHER_NAMES = {
    "n_predict": "max_tokens",
    "num_predict": "max_tokens",
    "max_new_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "repetition_penalty": "repeat_penalty",
    "guided_json": "json_schema",
    "guided_grammar": "grammar",
    "max_time": "deadline_s",
}
_PRIORITIES = {priority.name.lower(): priority for priority in Priority}


class StreamOptions(msgspec.Struct, kw_only=True):
    include_usage: bool = False
    include_obfuscation: bool = False


class GenerationBody(Body, kw_only=True):
    """What chat and completions have in common. None is "not said": the model's default, else `Sampling`'s."""

    MEANT: ClassVar[dict[str, str]] = OTHER_NAMES

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: MaxTokens | None = None
    n: Choices | None = None
    stop: Stop | None = None
    seed: Seed | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    top_k: TopK | None = None
    min_p: Share | None = None
    typical_p: Share | None = None
    top_n_sigma: Sigma | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repeat_penalty: RepeatPenalty | None = None
    repeat_last_n: LastN | None = None
    dry_multiplier: Strength | None = None
    dry_base: Strength | None = None
    dry_allowed_length: Length | None = None
    dry_penalty_last_n: LastN | None = None
    dry_sequence_breakers: list[str] | None = None
    xtc_probability: Share | None = None
    xtc_threshold: Share | None = None
    logit_bias: Bias | None = None
    grammar: str | None = None
    json_schema: dict[str, Any] | None = None
    response_format: dict[str, Any] | None = None
    cache_prompt: bool | None = None
    context_shift: bool | None = None
    ignore_eos: bool | None = None
    priority: str | None = None
    deadline_s: Seconds | None = None
    timeout: Seconds | None = None

    def streaming(self) -> bool:
        """Raises `RequestError` for stream options without a stream."""
        if self.stream_options is not None and not self.stream:
            raise RequestError(
                "`stream_options` needs `stream`.", hint='Set "stream": true, or leave it out.', param="stream_options"
            )
        return bool(self.stream)

    def usage_wanted(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage

    def choices(self, limit: int) -> int:
        n = self.n or 1
        if n > limit:
            raise wrong("n", n, f"at most {limit}")
        return n

    def urgency(self) -> Priority:
        return urgency(self.priority)

    def patience_s(self, default_s: float) -> float:
        """How long the request may wait for its turn."""
        return self.deadline_s or self.timeout or default_s

    def sampling(self, defaults: Mapping[str, float | int]) -> Sampling:
        """`defaults` are the model's own, by field of `Sampling`."""
        said: dict[str, Any] = {name: value for name in _PLAIN_SAMPLING if (value := getattr(self, name)) is not None}
        if said.get("top_k") == -1:
            said["top_k"] = 0
        if self.seed is not None:
            said["seed"] = None if self.seed == -1 else self.seed % SEED_MODULUS
        if self.dry_sequence_breakers is not None:
            breakers = self.dry_sequence_breakers
            if len(breakers) > BREAKER_LIMIT or not all(0 < len(one) <= BREAKER_CHARACTERS for one in breakers):
                expected = f"at most {BREAKER_LIMIT} strings of 1 to {BREAKER_CHARACTERS} characters"
                raise wrong("dry_sequence_breakers", breakers, expected)
            said["dry_sequence_breakers"] = tuple(breakers)
        if self.logit_bias is not None:
            said["logit_bias"] = _logit_bias(self.logit_bias)
        return Sampling(**{**defaults, **said})

    def stops(self) -> tuple[str, ...]:
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        if len(stops) > STOP_LIMIT:
            raise wrong("stop", self.stop, f"at most {STOP_LIMIT} strings")
        if not all(0 < len(stop) <= STOP_CHARACTERS for stop in stops):
            raise wrong("stop", self.stop, f"strings of 1 to {STOP_CHARACTERS} characters")
        return stops

    def schema(self) -> dict[str, Any] | None:
        """The JSON Schema that the answer must follow; `{}` is any object. Raises `RequestError` for two at once."""
        wanted = [part for part in (self.json_schema, _format_schema(self.response_format)) if part is not None]
        if len(wanted) + (self.grammar is not None) > 1:
            raise RequestError(
                "More than one of `response_format`, `json_schema` and `grammar` says how the answer must look.",
                hint="Keep one of them.",
                param="response_format",
            )
        return wanted[0] if wanted else None

    def constraints(self) -> dict[str, Any]:
        """The arguments of `Generate` that chat and completions share."""
        return {
            "stop": self.stops(),
            "grammar": self.grammar,
            "json_schema": self.schema(),
            "cache_prompt": self.cache_prompt is not False,
            "context_shift": bool(self.context_shift),
            "ignore_eos": bool(self.ignore_eos),
        }


_PLAIN_SAMPLING = tuple(
    name for name in Sampling.__struct_fields__ if name not in ("seed", "logit_bias", "dry_sequence_breakers")
)


def urgency(name: str | None) -> Priority:
    """The priority called `name`. Raises `RequestError`."""
    if name is None:
        return Priority.NORMAL
    if (priority := _PRIORITIES.get(name)) is None:
        raise wrong("priority", name, "high, normal or low")
    return priority


def token_limit(value: int | None, *, least: int) -> int | None:
    """-1 is how some clients say that there is no limit."""
    if value is None or value == -1:
        return None
    if value < least:
        raise wrong("max_tokens", value, f"an integer of at least {least}, or -1 for no limit")
    return value


def _logit_bias(biases: Mapping[str, float]) -> tuple[tuple[int, float], ...]:
    if len(biases) > LOGIT_BIAS_LIMIT:
        raise RequestError(f"`logit_bias` has more than {LOGIT_BIAS_LIMIT} entries.", param="logit_bias")
    pairs: list[tuple[int, float]] = []
    for token, bias in biases.items():
        if not (token.isascii() and token.isdigit() and int(token) < TOKEN_LIMIT):
            raise wrong("logit_bias", {token: bias}, 'token ids as keys, like "50256"')
        if not -100 <= bias <= 100:
            raise wrong("logit_bias", {token: bias}, "values from -100 to 100")
        pairs.append((int(token), bias))
    return tuple(pairs)


def _format_schema(response_format: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if response_format is None:
        return None
    kind = response_format.get("type")
    if kind == "text":
        return None
    if kind == "json_object":
        schema = response_format.get("schema", {})
    elif kind == "json_schema":
        outer = response_format.get("json_schema")
        schema = outer.get("schema") if isinstance(outer, dict) else None
    else:
        raise wrong("response_format.type", kind, "text, json_object or json_schema")
    if not isinstance(schema, dict):
        expected = 'a schema, like {"type": "json_schema", "json_schema": {"name": ..., "schema": {...}}}'
        raise wrong("response_format", response_format, expected)
    return schema
