"""The bodies of chat, completions and embeddings, and what they become for the runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from agent.api.collection_bodies import Retrieve
from agent.api.decode import Body, wrong
from agent.api.generation_body import OTHER_NAMES, TOKEN_LIMIT, Choices, GenerationBody, MaxTokens, Seconds, token_limit
from agent.api.messages import ChatTemplateInput
from agent.errors import RequestError
from agent.runtime.wire.embedding import Embed
from agent.runtime.wire.generation import Generate

TopLogprobs = Annotated[int, Meta(ge=0, le=20, description="an integer from 0 to 20")]
Objects = Annotated[list[dict[str, Any]], Meta(description="an array of objects")]
Dimensions = Annotated[int, Meta(ge=1, description="a positive integer")]

_IGNORED = frozenset({"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key"})


class ChatRequest(GenerationBody, kw_only=True):
    """`POST /v1/chat/completions`."""

    IGNORED: ClassVar[frozenset[str]] = _IGNORED | {
        "parallel_tool_calls",
        "prompt_cache_retention",
        "prediction",
        "verbosity",
    }
    UNSUPPORTED: ClassVar[dict[str, str]] = {
        "functions": "Use `tools`.",
        "function_call": "Use `tool_choice`.",
        "audio": "This device answers in text only.",
        "web_search_options": "This device does not search the web.",
    }
    MEANT: ClassVar[dict[str, str]] = OTHER_NAMES | {"prompt": "messages"}

    messages: Annotated[list[dict[str, Any]], Meta(min_length=1, description="an array of at least one message object")]
    max_completion_tokens: MaxTokens | None = None
    logprobs: bool | None = None
    top_logprobs: TopLogprobs | None = None
    modalities: list[str] | None = None
    tools: Objects | None = None
    tool_choice: str | dict[str, Any] | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    retrieve: Retrieve | None = None

    def to_generate(self, *, choice_limit: int, defaults: Mapping[str, float | int]) -> Generate:
        """Raises `RequestError` for what no single field's type could say."""
        template = ChatTemplateInput.of(
            self.messages, self.tools, self.tool_choice, self.chat_template_kwargs, self.reasoning_effort
        )
        if self.modalities is not None and set(self.modalities) != {"text"}:
            raise wrong("modalities", self.modalities, 'only ["text"]')
        if self.top_logprobs is not None and not self.logprobs:
            raise RequestError("`top_logprobs` needs `logprobs`.", hint='Set "logprobs": true.', param="top_logprobs")
        limit = self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens
        return Generate(
            messages=template.messages,
            tools=template.tools,
            template_arguments=template.arguments,
            max_tokens=token_limit(limit, least=1),
            sampling=self.sampling(defaults),
            n=self.choices(choice_limit),
            logprobs=(self.top_logprobs or 0) if self.logprobs else None,
            **self.constraints(),
        )


class CompletionRequest(GenerationBody, kw_only=True):
    """`POST /v1/completions`."""

    IGNORED: ClassVar[frozenset[str]] = _IGNORED
    UNSUPPORTED: ClassVar[dict[str, str]] = {"suffix": "Text cannot be filled in between; send the prompt alone."}
    MEANT: ClassVar[dict[str, str]] = OTHER_NAMES | {"messages": "prompt"}

    prompt: str | list[Any]
    best_of: Choices | None = None
    echo: bool | None = None
    logprobs: TopLogprobs | None = None

    def to_generates(
        self, *, choice_limit: int, prompt_limit: int, defaults: Mapping[str, float | int]
    ) -> tuple[Generate, ...]:
        """One request per prompt. Raises `RequestError` for what no single field's type could say."""
        if self.best_of is not None and self.best_of != (self.n or 1):
            raise wrong("best_of", self.best_of, "the same as `n`", "Candidates are not ranked; ask for more with `n`.")
        shared: dict[str, Any] = {
            "max_tokens": token_limit(self.max_tokens, least=0),
            "sampling": self.sampling(defaults),
            "n": self.choices(choice_limit),
            "logprobs": self.logprobs,
            "echo": bool(self.echo),
            **self.constraints(),
        }
        prompts = texts_or_tokens(self.prompt, "prompt", limit=prompt_limit)
        return tuple(Generate(prompt=prompt, **shared) for prompt in prompts)


class EmbeddingRequest(Body, kw_only=True):
    """`POST /v1/embeddings`."""

    IGNORED: ClassVar[frozenset[str]] = frozenset({"user"})
    MEANT: ClassVar[dict[str, str]] = {"prompt": "input", "content": "input", "inputs": "input"}

    input: str | list[Any]
    model: str | None = None
    encoding_format: str | None = None
    dimensions: Dimensions | None = None
    force_dimensions: bool = False
    prompt_name: str | None = None
    truncate: bool | None = None
    normalize: bool | None = None
    priority: str | None = None
    deadline_s: Seconds | None = None
    timeout: Seconds | None = None

    def to_embed(self, *, limit: int) -> Embed:
        """Raises `RequestError`, also for an input without any text."""
        inputs = texts_or_tokens(self.input, "input", limit=limit)
        if not all(inputs):
            raise wrong("input", self.input, "text that is not empty")
        return Embed(
            inputs=inputs,
            prompt_name=self.prompt_name,
            truncate=bool(self.truncate),
            normalize=self.normalize is not False,
        )

    def as_base64(self) -> bool:
        if self.encoding_format not in (None, "float", "base64"):
            raise wrong("encoding_format", self.encoding_format, "float or base64")
        return self.encoding_format == "base64"


def texts_or_tokens(value: str | Sequence[Any], field: str, *, limit: int) -> tuple[str | tuple[int, ...], ...]:
    """OpenAI's four ways to send text: a string, strings, token ids, arrays of token ids. Raises `RequestError`."""
    if isinstance(value, str):
        return (value,)
    if value and all(type(item) is int for item in value):
        value = [value]
    if not 0 < len(value) <= limit:
        raise wrong(field, value, f"1 to {limit} of them")
    items: list[str | tuple[int, ...]] = []
    for item in value:
        if isinstance(item, str):
            items.append(item)
        elif isinstance(item, list) and all(type(token) is int and 0 <= token < TOKEN_LIMIT for token in item):
            items.append(tuple(item))
        else:
            raise wrong(field, value, "a string, an array of strings, of token ids, or of arrays of token ids")
    if len({type(item) for item in items}) > 1:
        raise wrong(field, value, "either strings or arrays of token ids, not both")
    return tuple(items)
