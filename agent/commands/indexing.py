"""Sending rows to a collection, and watching the daemon embed them."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from agent.commands.client import Client
from agent.errors import EdgeAgentError
from agent.search.row import Row
from agent.terminal import Progress

BATCH_ROWS: Final = 500
BATCH_CHARACTERS: Final = 500_000
LOOK_S: Final = 0.25
HOPELESS: Final = frozenset(
    {"embedding_model_changed", "model_not_found", "model_failed", "model_load_failed", "insufficient_memory"}
)
"""Errors of the indexing that only a person can do something about."""
HOPELESS_LOOKS: Final = 8
"""How often in a row such an error is seen before it is believed."""


def send_rows(
    client: Client,
    name: str,
    source: str,
    rows: Iterator[Row],
    *,
    first: Row | None = None,
    sync: bool = False,
) -> dict[str, Any]:
    """Send all rows, in pieces; the daemon's last word on them. `first` is one that was read from `rows` before.

    What was sent before an error is kept. Raises what reading the rows raises, and the daemon's errors.
    """
    reading: str | None = None
    sent = 0
    answer: dict[str, Any] = {}
    pieces = batched(itertools.chain([first] if first is not None else [], rows))
    following = next(pieces, [])
    more, failure = True, None
    with contextlib.ExitStack() as stack:
        if sys.stderr.isatty():
            stack.callback(_show, "")
        while more:
            piece = following
            try:
                following = next(pieces, [])
            except EdgeAgentError as error:  # what came before it is good
                following, failure = [], error
            more = bool(following)
            body: dict[str, Any] = {"source": source, "rows": [_value(row) for row in piece], "more": more}
            if reading is not None:
                body["reading"] = reading
            if sync and not more and failure is None:
                body["sync"] = True
            answer = client.post(f"/v1/collections/{name}/passages", body)
            reading = answer["reading"]
            sent += len(piece)
            if sys.stderr.isatty():
                _show(f"{sent:,} rows sent")
    if failure is not None:
        raise failure
    return answer


def _show(text: str) -> None:
    sys.stderr.write(f"\r\x1b[K{text}")
    sys.stderr.flush()


def batched(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """The rows in pieces that one request can hold."""
    piece: list[Row] = []
    characters = 0
    for row in rows:
        if piece and (len(piece) == BATCH_ROWS or characters + len(row.text) > BATCH_CHARACTERS):
            yield piece
            piece, characters = [], 0
        piece.append(row)
        characters += len(row.text)
    if piece:
        yield piece


def wait_for_vectors(client: Client, name: str) -> dict[str, Any]:
    """The collection once no passage waits, or none can be embedded. Raises `EdgeAgentError` where nobody but a person
    can make it go on.
    """
    hopeless = 0
    with Progress(name, unit="passages") as progress:
        while True:
            there: dict[str, Any] = client.get(f"/v1/collections/{name}", timeout_s=60.0)
            waiting, total = there["waiting"], there["passages"]
            if not waiting or there["indexing"]["left_out"] >= waiting:
                return there
            progress(total - waiting, total)
            error = there["error"]
            hopeless = hopeless + 1 if error is not None and error["code"] in HOPELESS else 0
            if hopeless == HOPELESS_LOOKS:
                raise EdgeAgentError(
                    f"{waiting:,} passages of {name} wait for their vectors: {error['message']}",
                    hint="The daemon tries again by itself; what was sent is kept.",
                )
            time.sleep(LOOK_S)


def _value(row: Row) -> dict[str, Any]:
    return {"id": row.id, "text": row.text, "metadata": row.metadata, "line": row.line}
