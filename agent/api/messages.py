"""Chat messages and tools as clients send them, made into what a chat template reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from agent.api.decode import shown, wrong
from agent.errors import RequestError

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_TEXT_PARTS = ("text", "input_text", "output_text", "refusal")


@dataclass(frozen=True, kw_only=True)
class ChatTemplateInput:
    """What the template sees. Contents are plain strings; `developer`, newer OpenAI's name for it, is `system`."""

    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...] | None
    arguments: dict[str, Any]

    @classmethod
    def of(
        cls,
        messages: list[dict[str, Any]],
        tools: list[dict[str, Any]] | None,
        tool_choice: str | dict[str, Any] | None,
        arguments: dict[str, Any] | None,
        reasoning_effort: str | None,
    ) -> ChatTemplateInput:
        """Raises `RequestError`, naming the message and the part at fault."""
        if tool_choice not in (None, "none", "auto"):
            raise wrong("tool_choice", tool_choice, "none or auto", "A call of a tool cannot be forced.")
        extra = {} if reasoning_effort is None else {"reasoning_effort": reasoning_effort}
        return cls(
            messages=tuple(_message(message, f"messages[{index}]") for index, message in enumerate(messages)),
            tools=tuple(tools) if tools and tool_choice != "none" else None,
            arguments={**extra, **(arguments or {})},
        )


def _message(message: dict[str, Any], at: str) -> dict[str, Any]:
    role = message.get("role")
    if role not in ROLES:
        raise wrong(f"{at}.role", role, f"one of {', '.join(ROLES)}")
    content = message.get("content")
    if isinstance(content, list):
        content = "\n".join(_text(part, f"{at}.content[{index}]") for index, part in enumerate(content))
    elif content is None and role == "assistant":
        content = ""
    elif not isinstance(content, str):
        raise wrong(f"{at}.content", content, "a string, or an array of text parts")
    return {**message, "role": "system" if role == "developer" else role, "content": content}


def _text(part: object, at: str) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise wrong(at, part, 'an object like {"type": "text", "text": ...}')
    kind = part.get("type")
    if kind not in _TEXT_PARTS:
        raise RequestError(
            f"`{at}` is of type {shown(kind)}; only text parts are taken.",
            hint="Images, audio and files cannot be sent to this model.",
            param=at,
        )
    text = part.get("refusal" if kind == "refusal" else "text")
    if not isinstance(text, str):
        raise wrong(f"{at}.text", text, "a string")
    return text
