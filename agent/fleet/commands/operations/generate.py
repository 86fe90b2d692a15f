"""`generate`: text from a prompt or a conversation, piece by piece while it is made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from agent.errors import RequestError
from agent.fleet.commands.operation import Args, Operation, Pieces
from agent.fleet.commands.operations.models import chosen
from agent.runtime.queue import Priority
from agent.runtime.service import Runtime
from agent.runtime.wire.generation import Delta, Finished, Generate, Sampling

_PRIORITIES = {priority.name.lower(): priority for priority in Priority}
_SAMPLING = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repeat_penalty",
    "presence_penalty",
    "frequency_penalty",
    "seed",
)


class Message(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    role: Literal["system", "user", "assistant"]
    content: str


class GenerateArgs(Args, kw_only=True):
    """Text generation. One of `prompt` and `messages`; what is not said is the model's default."""

    prompt: Annotated[str, Meta(description="Continued as it is.")] | None = None
    messages: (
        Annotated[list[Message], Meta(min_length=1, max_length=1000, description="Through the model's chat template.")]
        | None
    ) = None
    model: Annotated[str, Meta(max_length=200)] | None = None
    max_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=10)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    min_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    repeat_penalty: Annotated[float, Meta(gt=0, le=10)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    seed: Annotated[int, Meta(ge=0, le=2**32 - 2)] | None = None
    stop: Annotated[list[Annotated[str, Meta(min_length=1, max_length=512)]], Meta(max_length=16)] = msgspec.field(
        default_factory=list
    )
    json_schema: Annotated[dict[str, Any], Meta(description="The answer follows this JSON Schema.")] | None = None
    grammar: Annotated[str, Meta(max_length=100_000, description="GBNF.")] | None = None
    priority: Literal["high", "normal", "low"] = "normal"
    deadline_s: Annotated[float, Meta(gt=0, le=86_400, description="Longest wait for the model.")] | None = None
    stream: Annotated[bool, Meta(description="Pieces on the topic's /stream, while it is made.")] = True

    def check(self) -> None:
        if (self.prompt is None) == (self.messages is None):
            raise RequestError("args: expected one of prompt and messages.", param="args.prompt")
        if self.json_schema is not None and self.grammar is not None:
            raise RequestError("args: json_schema and grammar exclude each other.", param="args.grammar")

    def to_generate(self, defaults: Mapping[str, float | int]) -> Generate:
        """`defaults` are the model's sampling, by field of `Sampling`."""
        said = {name: value for name in _SAMPLING if (value := getattr(self, name)) is not None}
        messages = None
        if self.messages is not None:
            messages = tuple({"role": message.role, "content": message.content} for message in self.messages)
        return Generate(
            prompt=self.prompt,
            messages=messages,
            max_tokens=self.max_tokens,
            sampling=Sampling(**{**defaults, **said}),
            stop=tuple(self.stop),
            json_schema=self.json_schema,
            grammar=self.grammar,
        )


class GenerateOperation(Operation[GenerateArgs]):
    """`sampling` holds each model's own defaults, by its name. `client` is who the queue is fair to."""

    name = "generate"
    title = "Generates text from a prompt or a conversation."
    repeatable = True
    args = GenerateArgs

    def __init__(
        self, runtime: Runtime, *, sampling: Mapping[str, Mapping[str, float | int]], client: str = "mqtt"
    ) -> None:
        self._runtime = runtime
        self._sampling = sampling
        self._client = client

    async def run(self, args: GenerateArgs, *, pieces: Pieces) -> Mapping[str, Any]:
        model = chosen(self._runtime, args.model, "generate").name
        request = args.to_generate(self._sampling.get(model, {}))
        priority = _PRIORITIES[args.priority]
        stream = self._runtime.submit(
            model, request, client=self._client, priority=priority, deadline_s=args.deadline_s
        )
        text: list[str] = []
        finished: Finished | None = None
        async with stream:
            async for events in stream:
                new = "".join(event.text for event in events if isinstance(event, Delta))
                if new:
                    text.append(new)
                    if args.stream:
                        await pieces({"text": new})
                finished = next((event for event in events if isinstance(event, Finished)), finished)
        answer: dict[str, Any] = {"model": model, "text": "".join(text)}
        if finished is not None:
            answer |= {
                "finish_reason": finished.reason,
                **_counts(finished),
                **_energy(finished, await stream.joules()),
            }
        return answer


def _energy(finished: Finished, joules: float | None) -> dict[str, Any]:
    """Nothing where no meter measured it."""
    if joules is None:
        return {}
    energy = {"joules": round(joules, 3)}
    if finished.completion_tokens:
        energy["joules_per_token"] = round(joules / finished.completion_tokens, 6)
    return energy


def _counts(finished: Finished) -> dict[str, Any]:
    rate = finished.completion_tokens / finished.decode_s if finished.decode_s > 0 else None
    return {
        "prompt_tokens": finished.prompt_tokens,
        "cached_tokens": finished.cached_tokens,
        "completion_tokens": finished.completion_tokens,
        "prefill_s": round(finished.prefill_s, 4),
        "decode_s": round(finished.decode_s, 4),
        "tokens_per_second": None if rate is None else round(rate, 2),
    }
