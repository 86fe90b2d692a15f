"""`edge-agent embed`: texts in, vectors out, as JSON lines or as a file for NumPy."""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import os
import sys
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

from agent.commands.call import Call
from agent.errors import RequestError, StoreError
from agent.terminal import print_json

BATCH_TEXTS: Final = 256
BATCH_CHARACTERS: Final = 500_000
NPY_HEADER_BYTES: Final = 128
LINE_CHARACTERS: Final = 1_000_000


def add_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    parser.add_argument("texts", metavar="TEXT", nargs="+", help="a text, or - for the lines of standard input")
    parser.add_argument("--model", metavar="NAME", help="which model; not needed where there is only one")
    parser.add_argument("--prompt-name", metavar="NAME", help="what kind of text it is, such as query or passage")
    parser.add_argument("--truncate", action="store_true", help="cut texts that are too long, instead of an error")
    parser.add_argument("--dimensions", metavar="N", type=int, help="shorter vectors, from models made for that")
    parser.add_argument("--out", metavar="FILE.npy", type=Path, help="write float32 [texts, dimensions] there")
    parser.add_argument("--json", action="store_true", help="print one JSON object, with the model and the usage")


def run(call: Call) -> int:
    options = call.options
    if options.out is not None and options.json:
        raise RequestError("Give either --out or --json.")
    answers = _answers(call)
    if options.out is not None:
        return _write(options.out.expanduser(), answers)
    if options.json:
        return _print_all(answers)
    for answer in answers:
        for row in _rows(answer):
            sys.stdout.write(json.dumps(row.tolist()) + "\n")
        sys.stdout.flush()
    return 0


def _answers(call: Call) -> Iterator[dict[str, Any]]:
    """The daemon's answers, one after the other; the first shows whether the request is right at all."""
    options = call.options
    body: dict[str, Any] = {"encoding_format": "base64", "truncate": options.truncate}
    for name in ("model", "prompt_name", "dimensions"):
        if (value := getattr(options, name)) is not None:
            body[name] = value
    done = 0
    for texts in batched(_texts(options.texts)):
        yield call.client.post("/v1/embeddings", {**body, "input": texts})
        done += len(texts)
        if (done > BATCH_TEXTS or len(texts) == BATCH_TEXTS) and sys.stderr.isatty():
            sys.stderr.write(f"\r\x1b[K{done:,} texts")
            sys.stderr.flush()
    if done >= BATCH_TEXTS and sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")


def _texts(given: list[str]) -> Iterator[str]:
    """The texts, and the lines of standard input in the place of -. Raises `RequestError` for an empty one."""
    number = 0
    for one in given:
        lines = (line.rstrip("\r\n") for line in sys.stdin) if one == "-" else iter([one])
        for text in lines:
            number += 1
            if not text.strip():
                raise RequestError(f"Text {number} is empty.", hint="Leave empty lines out: grep -v '^$'.")
            if len(text) > LINE_CHARACTERS:
                raise RequestError(f"Text {number} has {len(text):,} characters; {LINE_CHARACTERS:,} are possible.")
            yield text


def batched(texts: Iterator[str]) -> Iterator[list[str]]:
    """The texts in pieces that one request can hold."""
    piece: list[str] = []
    characters = 0
    for text in texts:
        if piece and (len(piece) == BATCH_TEXTS or characters + len(text) > BATCH_CHARACTERS):
            yield piece
            piece, characters = [], 0
        piece.append(text)
        characters += len(text)
    if piece:
        yield piece


def _print_all(answers: Iterator[dict[str, Any]]) -> int:
    vectors: list[list[float]] = []
    truncated: list[int] = []
    model, tokens = None, 0
    for answer in answers:
        truncated += [len(vectors) + index for index in answer.get("truncated", ())]
        vectors += [row.tolist() for row in _rows(answer)]
        model, tokens = answer["model"], tokens + answer["usage"]["prompt_tokens"]
    print_json({"model": model, "prompt_tokens": tokens, "truncated": truncated, "embeddings": vectors})
    return 0


def _rows(answer: dict[str, Any]) -> Iterator[array[float]]:
    for one in answer["data"]:
        row = array("f", base64.b64decode(one["embedding"]))
        if sys.byteorder == "big":
            row.byteswap()
        yield row


def _write(path: Path, answers: Iterator[dict[str, Any]]) -> int:
    """The file is there whole or not at all: it is written beside its place, and renamed."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            count, dim = _write_rows(file, answers)
            file.seek(0)
            file.write(npy_header(count, dim))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
    print(f"Wrote {path}: {count:,} vectors of {dim} dimensions.", file=sys.stderr)
    return 0


def _write_rows(file: BinaryIO, answers: Iterator[dict[str, Any]]) -> tuple[int, int]:
    count = dim = 0
    file.write(bytes(NPY_HEADER_BYTES))  # its place; the number of rows is known at the end
    for answer in answers:
        for one in answer["data"]:
            vector = base64.b64decode(one["embedding"])  # little-endian float32, as the file wants them
            if dim and len(vector) != 4 * dim:
                raise StoreError("The vectors have different dimensions: the model changed meanwhile. Run it again.")
            count, dim = count + 1, len(vector) // 4
            file.write(vector)
    return count, dim


def npy_header(rows: int, dim: int) -> bytes:
    """The 128 bytes before float32 [rows, dim], little-endian (NumPy's NEP 1, version 1.0)."""
    described = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {dim}), }}".encode()
    room = NPY_HEADER_BYTES - 10
    return b"\x93NUMPY\x01\x00" + room.to_bytes(2, "little") + described.ljust(room - 1) + b"\n"
