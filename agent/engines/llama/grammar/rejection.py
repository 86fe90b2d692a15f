"""Why a schema cannot be turned into a grammar, and where in it; and the budget that keeps every schema fast."""

from __future__ import annotations

from agent.errors import RequestError

MAX_SHOWN_CHARACTERS = 200
MAX_STEPS = 75_000
"""Of the order of a microsecond each on a desktop machine."""


def shown(text: str) -> str:
    """`text` as it may stand in an error message: no control characters or lone surrogates, and not too long."""
    clean = "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[: MAX_SHOWN_CHARACTERS + 1]
    )
    return clean if len(clean) <= MAX_SHOWN_CHARACTERS else clean[:MAX_SHOWN_CHARACTERS] + "..."


def reject(message: str, *, hint: str = "") -> RequestError:
    """A `RequestError` on `response_format`, to be raised."""
    return RequestError(f"The JSON Schema cannot be used: {message}", hint=hint, param="response_format")


def reject_at(path: str, keyword: str, message: str, *, hint: str = "") -> RequestError:
    """The same for one keyword of the schema at the JSON pointer `path`."""
    return reject(f'"{shown(keyword)}" at {shown(path)} {message}', hint=hint)


def reject_size() -> RequestError:
    return reject(
        "it is too complex to turn into a grammar.",
        hint="Use fewer alternatives (anyOf, allOf), smaller counts, or a simpler pattern.",
    )


class Budget:
    """Counts the work on one schema, so that a small schema cannot take long, nor make a huge grammar."""

    def __init__(self) -> None:
        self._steps = 0

    def spend(self, steps: int) -> None:
        """Raises `RequestError` once more than `MAX_STEPS` are spent."""
        self._steps += steps
        if self._steps > MAX_STEPS:
            raise reject_size()
