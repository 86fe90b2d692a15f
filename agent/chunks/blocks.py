"""How files of a repository travel over MQTT: a device asks for blocks, `edge-convert serve-blocks` answers each.

    P/blk/req                 device -> server   `BlockRequest`, JSON, QoS 1
    P/blk/KEY/NUMBER          server -> device   the bytes of one block, nothing else, QoS 0
    P/blk/KEY/refused         server -> device   `BlockRefusal`, JSON, QoS 1

KEY names what is asked for: a target by the SHA-256 of its content, in lower-case hex (in a repository with consistent
snapshots that is how its file name begins), or a metadata file by its name in the repository, like `timestamp.json` or
`3.root.json`. A block is a stretch of a file, of at most 128 KiB: the largest payload that every broker takes (AWS IoT
Core's limit). The device says where it lies, the server only reads; NUMBER is the device's own, and comes back. An
answer shorter than what was asked for says that the file ends there; that is how files of unknown size are read.

Nothing is promised: blocks may be lost, doubled, or overtake each other. The device asks again, and believes no block
that does not have the hash it was told by signed metadata.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal

import msgspec

from agent.errors import RequestError

BLOCK_BYTES: Final = 128 * 1024
BLOCKS_PER_REQUEST: Final = 256
REQUEST_BYTES: Final = 32 * 1024
"""No request is longer."""
REFUSED: Final = "refused"

_TARGET = re.compile(r"[0-9a-f]{64}")
_METADATA = re.compile(r"(?:[1-9][0-9]{0,9}\.)?[A-Za-z0-9_%-][A-Za-z0-9._%~-]{0,199}\.json")

Count = Annotated[int, msgspec.Meta(ge=0, le=2**50)]
Line = Annotated[str, msgspec.Meta(max_length=512)]


class Block(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`bytes` bytes from `offset` on. `number` becomes the last level of the answer's topic."""

    number: Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
    offset: Count
    bytes: Annotated[int, msgspec.Meta(ge=1, le=BLOCK_BYTES)]


class BlockRequest(msgspec.Struct, frozen=True, kw_only=True):
    """`file` is the KEY. Numbers are distinct within a request; a number asked for again is answered again."""

    file: Annotated[str, msgspec.Meta(max_length=255)]
    blocks: Annotated[tuple[Block, ...], msgspec.Meta(min_length=1, max_length=BLOCKS_PER_REQUEST)]


class BlockRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why no block of a request comes: there is no such file, the request is wrong, or the server cannot now.

    `wait_s` is how long the device should leave it, where code is "busy".
    """

    code: Literal["not_found", "invalid", "busy"]
    reason: Line
    wait_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.0


_request = msgspec.json.Decoder(BlockRequest)
_refusal = msgspec.json.Decoder(BlockRefusal)
_encoder = msgspec.json.Encoder()


def is_target(key: str) -> bool:
    return _TARGET.fullmatch(key) is not None


def is_metadata(key: str) -> bool:
    """Whether it is a plain file name that metadata can have: never a path, never hidden."""
    return _METADATA.fullmatch(key) is not None and ".." not in key


def encode_request(request: BlockRequest) -> bytes:
    return _encoder.encode(request)


def decode_request(payload: bytes) -> BlockRequest:
    """Raises `RequestError` for everything that is no request, or whose KEY names nothing that can be."""
    if len(payload) > REQUEST_BYTES:
        raise RequestError(f"A request for blocks of {len(payload)} bytes; the limit is {REQUEST_BYTES}.")
    try:
        request = _request.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"Not a request for blocks: {error}.") from None
    if not is_target(request.file) and not is_metadata(request.file):
        raise RequestError(f"file = {request.file!a} is neither a SHA-256 nor a metadata file's name.", param="file")
    if len({block.number for block in request.blocks}) != len(request.blocks):
        raise RequestError("A block's number is there twice.", param="blocks")
    return request


def encode_refusal(refusal: BlockRefusal) -> bytes:
    return _encoder.encode(refusal)


def decode_refusal(payload: bytes) -> BlockRefusal:
    """Raises `RequestError` for everything that is none."""
    try:
        return _refusal.decode(payload[:REQUEST_BYTES])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(f"Not a refusal of blocks: {error}.") from None
