"""The messages between `Fetch` and its child, and how they travel: a 4-byte length, then one msgpack struct.

    -> Resolve    <- Found                  or <- Failed
    -> Compare    <- Compared               or <- Failed
    -> Download   <- Advanced* then Done    or <- Failed;   -> Allow at any time
    <- Ask        -> Answer*, AskFailed     where blocks travel over MQTT

When its input ends, the child ends at once.
"""

from __future__ import annotations

import struct

import msgspec

HEADER = struct.Struct("<I")
MAX_FRAME_BYTES = 4 * 1024 * 1024


class Repository(msgspec.Struct, frozen=True, kw_only=True):
    """`url` None: blocks over MQTT. `folder` is the fetch's own; `root_file` the root of trust that came with the
    device or its configuration."""

    url: str | None
    root_file: str
    folder: str
    device_class: str | None = None


class Signed(msgspec.Struct, frozen=True, kw_only=True):
    """A file of an artifact, with what signed metadata says. `target` is its path in the repository."""

    path: str
    bytes: int
    sha256: str
    target: str


class Resolve(msgspec.Struct, frozen=True, kw_only=True, tag="resolve"):
    repository: Repository
    name: str
    version: str | None


class Compare(msgspec.Struct, frozen=True, kw_only=True, tag="compare"):
    """`models` is the folder of the store."""

    folder: str
    models: str
    files: tuple[Signed, ...]


class Download(msgspec.Struct, frozen=True, kw_only=True, tag="download"):
    """Bring `files` into the folder `into`, and write `manifest` there last."""

    repository: Repository
    into: str
    manifest: bytes
    files: tuple[Signed, ...]
    limit_bytes: int | None
    bytes_per_s: float | None


class Allow(msgspec.Struct, frozen=True, kw_only=True, tag="allow"):
    """`limit_bytes` counts from the beginning of the download: fetch no more than that in all."""

    limit_bytes: int | None
    bytes_per_s: float | None


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """What came on `P/blk/REST`."""

    rest: str
    payload: bytes


class AskFailed(msgspec.Struct, frozen=True, tag="ask_failed"):
    reason: str


class Found(msgspec.Struct, frozen=True, kw_only=True, tag="found"):
    version: str
    manifest: bytes
    files: tuple[Signed, ...]


class Compared(msgspec.Struct, frozen=True, tag="compared"):
    bytes_missing: int


class Advanced(msgspec.Struct, frozen=True, kw_only=True, tag="advanced"):
    bytes_done: int
    bytes_fetched: int


class Done(msgspec.Struct, frozen=True, tag="done"):
    pass


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    payload: bytes


class Failed(msgspec.Struct, frozen=True, kw_only=True, tag="failed"):
    """An `EdgeAgentError`; `code` finds its class again."""

    code: str
    message: str
    hint: str = ""
    param: str | None = None
    retry: bool = False


Job = Resolve | Compare | Download
ToChild = Resolve | Compare | Download | Allow | Answer | AskFailed
FromChild = Found | Compared | Advanced | Done | Ask | Failed

_encoder = msgspec.msgpack.Encoder()
_to_child: msgspec.msgpack.Decoder[ToChild] = msgspec.msgpack.Decoder(ToChild)
_from_child: msgspec.msgpack.Decoder[FromChild] = msgspec.msgpack.Decoder(FromChild)


def encode(message: ToChild | FromChild) -> bytes:
    """One frame."""
    body = _encoder.encode(message)
    return HEADER.pack(len(body)) + body


def decode_to_child(body: bytes) -> ToChild:
    return _to_child.decode(body)


def decode_from_child(body: bytes) -> FromChild:
    """Raises `ValueError` for what is no message (`msgspec.DecodeError` is one)."""
    return _from_child.decode(body)


def body_bytes(header: bytes) -> int:
    """Length of the body that follows. Raises `ValueError` beyond `MAX_FRAME_BYTES`."""
    (size,) = HEADER.unpack(header)
    if size > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {size} bytes; the limit is {MAX_FRAME_BYTES}")
    return int(size)
