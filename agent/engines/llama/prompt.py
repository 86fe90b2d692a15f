"""From a `Generate` request to tokens: template, tokenizer, grammar, and the checks that need the model."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.engines.llama.vocabulary import Vocabulary
from agent.errors import ContextOverflowError, RequestError
from agent.runtime.wire.generation import Generate

if TYPE_CHECKING:
    from agent.engines.llama.template import ChatTemplate, PlainTemplate

_MAX_GRAMMAR_BYTES = 256 * 1024
_MAX_GRAMMAR_DEPTH = 64


@dataclass(frozen=True, kw_only=True)
class Job:
    """A request ready for the engine. `echo_text` is the prompt as the client gave it, when it asked to see it."""

    request: Generate
    tokens: array[int]
    grammar: str | None
    echo_text: str


class PromptMaker:
    """Prepares requests for one model; used by one thread.

    `template_source` is the model's Jinja chat template, or None for a base model.
    """

    def __init__(self, vocabulary: Vocabulary, *, context_tokens: int, template_source: str | None) -> None:
        self._vocabulary = vocabulary
        self._context_tokens = context_tokens
        self._template_source = template_source
        self._template: ChatTemplate | PlainTemplate | None = None

    def job(self, request: Generate) -> Job:
        """Raises `RequestError` for what cannot be run, `ContextOverflowError` for what does not fit."""
        tokens = self._tokens(request)
        vocabulary = self._vocabulary
        if not tokens:
            if vocabulary.bos < 0:
                raise RequestError("The prompt is empty.", param="prompt", hint="Send at least one token of text.")
            tokens = array("i", [vocabulary.bos])
        if len(tokens) >= self._context_tokens:
            raise ContextOverflowError(
                f"The prompt has {len(tokens)} tokens; this model's context is {self._context_tokens} tokens, "
                "and the answer needs room in it too.",
                hint="Shorten the prompt or drop old messages, or load the model with a larger context_tokens.",
                param="messages" if request.messages is not None else "prompt",
            )
        for token, _ in request.sampling.logit_bias:
            if not 0 <= token < vocabulary.size:
                raise RequestError(
                    f"logit_bias names token {token}; ids are 0 to {vocabulary.size - 1}.", param="logit_bias"
                )
        echo = self._echo_text(request, tokens) if request.echo else ""
        return Job(request=request, tokens=tokens, grammar=self._grammar(request), echo_text=echo)

    def _tokens(self, request: Generate) -> array[int]:
        if request.messages is not None:
            if self._template is None:
                self._template = self._compile()
            text = self._template.render(request.messages, tools=request.tools, arguments=request.template_arguments)
            bos = self._vocabulary.name(self._vocabulary.bos) if self._vocabulary.adds_bos else ""
            has_bos = bool(bos) and text.startswith(bos)
            return self._vocabulary.tokenize(text, add_special=not has_bos, parse_special=True)
        if isinstance(request.prompt, str):
            return self._vocabulary.tokenize(request.prompt, add_special=True, parse_special=True)
        size = self._vocabulary.size
        for token in request.prompt or ():
            if not 0 <= token < size:
                raise RequestError(
                    f"The prompt has token {token}; this model's ids are 0 to {size - 1}.", param="prompt"
                )
        return array("i", request.prompt or ())

    def _compile(self) -> ChatTemplate | PlainTemplate:
        from agent.engines.llama.template import ChatTemplate, PlainTemplate  # jinja2 is 7 MB: only for who chats

        if self._template_source is None:
            return PlainTemplate()
        vocabulary = self._vocabulary
        return ChatTemplate(
            self._template_source, bos=vocabulary.name(vocabulary.bos), eos=vocabulary.name(vocabulary.eos)
        )

    def _echo_text(self, request: Generate, tokens: array[int]) -> str:
        if isinstance(request.prompt, str):
            return request.prompt
        return b"".join(self._vocabulary.piece(token) for token in tokens).decode("utf-8", "replace")

    def _grammar(self, request: Generate) -> str | None:
        if request.json_schema is not None or request.grammar is not None:
            self._vocabulary.hidden_tokens()  # looked up here, not by the engine between two steps
        if request.json_schema is not None:
            from agent.engines.llama.json_grammar import grammar_from_schema

            return grammar_from_schema(request.json_schema)
        if request.grammar is not None:
            _check_grammar(request.grammar)
        return request.grammar


def _check_grammar(grammar: str) -> None:
    """llama.cpp's GBNF parser recurses per group: bound what reaches it."""
    if len(grammar.encode("utf-8", "replace")) > _MAX_GRAMMAR_BYTES or "\x00" in grammar:
        raise RequestError(
            f"The grammar is longer than {_MAX_GRAMMAR_BYTES} bytes or has a NUL in it.", param="grammar"
        )
    depth = deepest = 0
    for character in grammar:
        depth += (character == "(") - (character == ")")
        deepest = max(deepest, depth)
    if deepest > _MAX_GRAMMAR_DEPTH:
        raise RequestError(f"The grammar nests groups deeper than {_MAX_GRAMMAR_DEPTH}.", param="grammar")
