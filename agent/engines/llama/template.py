"""Chat templates: Jinja from a model file, which is as hostile as the rest of it, so it runs in a sandbox."""

from __future__ import annotations

import datetime
import importlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from agent.errors import RequestError

MAX_RENDERED_CHARS = 4_000_000


@contextmanager
def _without_openssl() -> Iterator[None]:
    """Let hashlib, where it is not there yet, be imported with Python's own functions.

    Jinja2 wants it for a cache of compiled templates, which is not used here, and OpenSSL with it: 3.5 MB of a worker.
    """
    name = "_hashlib"
    if name in sys.modules or "hashlib" in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        importlib.import_module("hashlib")
        yield
    finally:
        del sys.modules[name]


if TYPE_CHECKING:
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment
else:
    with _without_openssl():
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(form)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **_: Any) -> str:
    # jinja2's own filter escapes for HTML, which templates for models do not want (as in transformers).
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


class ChatTemplate:
    """A compiled chat template.

    Variables and functions are those that templates on Hugging Face are written for: `messages`, `tools`,
    `add_generation_prompt`, `bos_token`, `eos_token`, `raise_exception`, `strftime_now`, `tojson`.

    Raises `RequestError` when the source does not compile.
    """

    def __init__(self, source: str, *, bos: str = "", eos: str = "") -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _tojson
        environment.globals.update(raise_exception=_raise, strftime_now=_strftime_now, bos_token=bos, eos_token=eos)
        try:
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise RequestError(
                f"The model's chat template does not compile: {error}.",
                hint="Set chat_template in the model's configuration, or use /v1/completions.",
            ) from error

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> str:
        """The prompt, ending where the assistant's answer begins.

        Raises `RequestError` when the template refuses the messages or fails on them.
        """
        try:
            stream = self._template.generate(
                **{"add_generation_prompt": True, **(arguments or {})},
                messages=[dict(m) for m in messages],
                tools=[dict(t) for t in tools] if tools else None,
            )
            parts, size = [], 0
            for part in stream:
                parts.append(part)
                size += len(part)
                if size > MAX_RENDERED_CHARS:
                    raise RequestError(f"The rendered chat template is longer than {MAX_RENDERED_CHARS} characters.")
        except RequestError:
            raise
        except Exception as error:  # a template is a program of someone else's: any failure in it is a wrong request
            raise RequestError(
                f"The model's chat template refused these messages: {error}.",
                param="messages",
                hint="Roles usually must alternate user and assistant after one optional system message.",
            ) from error
        return "".join(parts)


class PlainTemplate:
    """For a base model, which has no template: the contents one after the other, and the model goes on from there."""

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> str:
        if tools:
            raise RequestError("This model has no chat template, so it cannot be told about tools.", param="tools")
        return "\n".join(str(message.get("content") or "") for message in messages)
