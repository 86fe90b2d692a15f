"""Every message class there is makes the trip and comes back equal."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.runtime import wire
from agent.runtime.wire.control import Ping
from agent.runtime.wire.frames import (
    HEADER,
    MAX_FRAME_BYTES,
    FrameReader,
    decode_from_worker,
    decode_to_worker,
    encode,
)
from agent.runtime.wire.memory import Memory
from agent.runtime.wire.messages import FromWorker, ToWorker
from agent.runtime.wire.options import Options

MODULES = [import_module(f"{wire.__name__}.{found.name}") for found in iter_modules(wire.__path__)]
STRUCTS = [
    each
    for module in MODULES
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, msgspec.Struct) and each.__module__ == module.__name__
]
OPTIONS = set(get_args(Options))
"""Tagged as well, by engine, but no messages."""
MESSAGES = [each for each in STRUCTS if each.__struct_config__.tag is not None and each not in OPTIONS]
TO_WORKER = set(get_args(ToWorker))
FROM_WORKER = set(get_args(FromWorker))


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a type as `msgspec` describes it."""
    info = msgspec.inspect
    match kind:
        case info.StructType():
            required = {f.name: values_of(f.type) for f in kind.fields if f.required}
            optional = {f.name: values_of(f.type) for f in kind.fields if not f.required}
            return st.fixed_dictionaries(required, optional=optional).map(lambda fields: kind.cls(**fields))
        case info.IntType():
            return st.integers(-(2**63), 2**63 - 1)
        case info.FloatType():
            return st.floats(allow_nan=False)
        case info.StrType():
            return st.text(max_size=20)
        case info.BytesType():
            return st.binary(max_size=20)
        case info.BoolType():
            return st.booleans()
        case info.NoneType():
            return st.none()
        case info.AnyType():
            return st.recursive(st.none() | st.integers(-9, 9) | st.text(max_size=5), st.lists, max_leaves=3)
        case info.LiteralType():
            return st.sampled_from(kind.values)
        case info.UnionType():
            return st.one_of([values_of(one) for one in kind.types])
        case info.VarTupleType():
            return st.lists(values_of(kind.item_type), max_size=3).map(tuple)
        case info.TupleType():
            return st.tuples(*[values_of(one) for one in kind.item_types])
        case info.DictType():
            return st.dictionaries(values_of(kind.key_type), values_of(kind.value_type), max_size=3)
    raise AssertionError(f"no values for {kind}")


def messages_of(*classes: type) -> st.SearchStrategy[Any]:
    return st.one_of([values_of(msgspec.inspect.type_info(each)) for each in classes])


def body_of(frame: bytes) -> bytes:
    (body,) = FrameReader().feed(frame)
    return body


def test_every_message_belongs_to_a_direction() -> None:
    assert set(MESSAGES) == TO_WORKER | FROM_WORKER
    assert not TO_WORKER & FROM_WORKER
    tags = [each.__struct_config__.tag for each in MESSAGES]
    assert len(tags) == len(set(tags))


@pytest.mark.parametrize("message_class", MESSAGES, ids=lambda each: each.__name__)
def test_every_message_makes_the_round_trip(message_class: type) -> None:
    decode = decode_to_worker if message_class in TO_WORKER else decode_from_worker

    @settings(max_examples=20, deadline=None)
    @given(messages_of(message_class))
    def round_trip(message: Any) -> None:
        assert decode(body_of(encode([message]))) == [message]

    round_trip()


@settings(max_examples=50, deadline=None)
@given(st.lists(messages_of(*FROM_WORKER), max_size=4), st.integers(1, 50))
def test_frames_survive_any_fragmentation(messages: list[Any], size: int) -> None:
    stream = b"".join(encode([message]) for message in messages) + encode(messages)
    reader = FrameReader()
    received: list[Any] = []
    for start in range(0, len(stream), size):
        for body in reader.feed(stream[start : start + size]):
            received += decode_from_worker(body)
    assert received == messages + messages


def test_an_oversized_frame_is_refused_before_it_is_buffered() -> None:
    with pytest.raises(ValueError, match="limit"):
        list(FrameReader().feed(HEADER.pack(MAX_FRAME_BYTES + 1)))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode({"type": "ping", "seq": 1}),
        msgspec.msgpack.encode([{"type": "nonsense"}]),
        msgspec.msgpack.encode([{"type": "delta", "id": "1", "text": "x"}]),
        encode([Ping(1)])[HEADER.size :],
    ],
    ids=["empty", "not msgpack", "not a list", "unknown tag", "wrong type", "other direction"],
)
def test_what_is_not_a_message_is_refused(body: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_from_worker(body)


def test_memory_adds_up() -> None:
    memory = Memory(weights_bytes=1, kv_bytes=2, compute_bytes=4, overhead_bytes=8, prefix_cache_bytes=16)
    assert memory.total_bytes == 31
