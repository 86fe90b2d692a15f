"""What can be commanded: the seam between the desk and the operations."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import msgspec

from agent.errors import RequestError

Pieces = Callable[[Mapping[str, Any]], Awaitable[None]]
"""Sends a piece of what is being made to whoever listens. It never waits for long, and never raises."""


class Instance(NamedTuple):
    """Which start of the daemon, in which boot of the machine."""

    boot: str
    start: str

    def __str__(self) -> str:
        return f"{self.boot}/{self.start}"

    @classmethod
    def parse(cls, text: str) -> Instance:
        boot, _, start = text.partition("/")
        return cls(boot, start)


class Args(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a command says besides its name. Fields, types and limits are the schema that is published."""

    def check(self) -> None:
        """What types cannot say. Raises `RequestError`."""


class NoArgs(Args, kw_only=True):
    """Nothing to say."""


A = TypeVar("A", bound=Args)


class Operation(ABC, Generic[A]):
    """`repeatable`: carried out twice it does no more than once, so it is begun again after an interruption, and ends
    when its command is cleared. The others are carried out at most once, and always to their end.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    repeatable: ClassVar[bool]
    args: type[A]

    @abstractmethod
    async def run(self, args: A, *, pieces: Pieces) -> Mapping[str, Any]:
        """The result, ready for JSON. Raises `EdgeAgentError`."""

    async def withdraw(self, args: A) -> None:
        """The command was cleared before its end, by its sender: what `run` has begun elsewhere ends, too. Raises
        `EdgeAgentError`."""

    def recognize(self, args: A, then: Instance, now: Instance) -> Mapping[str, Any] | None:
        """For what is not repeatable and was begun in the instance `then`: its result, if `now` proves that it has
        happened."""
        return None


AnyOperation = Operation[Any]


def read_args(operation: AnyOperation, args: Mapping[str, Any]) -> Args:
    """Raises `RequestError` that names the argument."""
    # JSON knows one kind of number: 3.0 is an integer there.
    whole = {
        name: int(value) if isinstance(value, float) and value.is_integer() else value for name, value in args.items()
    }
    try:
        read: Args = msgspec.convert(whole, operation.args, strict=True)
    except msgspec.ValidationError as error:
        text, _, path = str(error).partition(" - at `$")
        where = "args" + path.removesuffix("`")
        raise RequestError(f"{where}: {text[:1].lower()}{text[1:300]}.", param=where) from None
    read.check()
    return read


def schema(operation: AnyOperation) -> dict[str, Any]:
    """The JSON Schema of the arguments: what `read_args` enforces."""
    whole = msgspec.json.schema(operation.args)
    definitions = dict(whole.pop("$defs", {}))
    top = definitions.pop(str(whole["$ref"]).rsplit("/", 1)[-1])
    top.pop("title", None)
    return {**top, **({"$defs": definitions} if definitions else {})}


def capability(operation: AnyOperation) -> dict[str, Any]:
    """What is published, retained, on `P/cmd/NAME`."""
    return {"description": operation.title, "repeatable": operation.repeatable, "args": schema(operation)}
