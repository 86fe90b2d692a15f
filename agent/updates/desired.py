"""The desired state: what the fleet says should run, as it lies, retained, on `P/twin/desired`. Pure.

{"rev": 12, "models": {"qwen": {"target": "2.1.0", "policy": {"urgent": true}}}}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from agent.errors import RequestError
from agent.store.names import is_safe_name, is_safe_version
from agent.updates.policy import Terms

PAYLOAD_BYTES: Final = 64 * 1024
MODELS: Final = 64
LATEST: Final = "latest"


class _Model(msgspec.Struct, frozen=True):
    target: Annotated[str, Meta(max_length=128)]
    policy: dict[str, Any] = {}


class _Document(msgspec.Struct, frozen=True):
    """Fields that are not known are other people's."""

    rev: Annotated[int, Meta(ge=0, le=2**53)] | Annotated[str, Meta(max_length=128)]
    models: dict[str, _Model] = {}


@dataclass(frozen=True, kw_only=True)
class Target:
    """`version` None is the latest one."""

    version: str | None
    terms: Terms


@dataclass(frozen=True, kw_only=True)
class Desired:
    """Of which models this device should run which version; those that are not named are nobody's affair."""

    rev: str = ""
    models: Mapping[str, Target] = field(default_factory=dict)


def read_desired(payload: bytes) -> Desired:
    """An empty payload wants nothing. Raises `RequestError` naming what is wrong."""
    if not payload:
        return Desired()
    if len(payload) > PAYLOAD_BYTES:
        raise RequestError(f"The desired state has {len(payload)} bytes; at most {PAYLOAD_BYTES} are read.")
    try:
        found = msgspec.json.decode(payload, type=_Document)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"The desired state cannot be read: {str(error)[:300]}.") from None
    if len(found.models) > MODELS:
        raise RequestError(f"The desired state names {len(found.models)} models; at most {MODELS} are taken.")
    return Desired(rev=str(found.rev), models={name: _target(name, one) for name, one in found.models.items()})


def read_terms(said: Mapping[str, Any], where: str) -> Terms:
    """Raises `RequestError` with `where` as its parameter."""
    try:
        return msgspec.convert(dict(said), Terms)
    except msgspec.ValidationError as error:
        raise RequestError(f"{where}: {str(error)[:300]}.", param=where) from None


def check_wanted(name: str, version: str | None) -> None:
    """Raises `RequestError` for what cannot name a model or a version of one."""
    if not is_safe_name(name):
        raise RequestError(f"{name[:80]!a} cannot name a model.", param="model")
    if version is not None and not is_safe_version(version):
        raise RequestError(f"{version[:80]!a} cannot name a version.", param="version")


def _target(name: str, said: _Model) -> Target:
    version = None if said.target == LATEST else said.target
    check_wanted(name, version)
    return Target(version=version, terms=read_terms(said.policy, f"models.{name}.policy"))
