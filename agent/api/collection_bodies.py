"""The bodies of the routes of collections and of the search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Final

import msgspec
from msgspec import Meta

from agent.api.decode import Body, wrong
from agent.api.generation_body import Seconds
from agent.errors import RequestError
from agent.search import query as queries
from agent.search.query import K_LIMIT, Query
from agent.search.row import Row
from agent.search.rows import ID_LIMIT, TEXT_LIMIT

ROWS_LIMIT: Final = 1_000
"""Passages that one request may bring: what a transaction of a second or two holds on a slow card."""
IDS_LIMIT: Final = 10_000
COLUMNS_LIMIT: Final = 64
NAME_CHARACTERS: Final = 256
QUERY_CHARACTERS: Final = 32_768

Rank = Annotated[int, Meta(ge=1, le=K_LIMIT, description=f"an integer from 1 to {K_LIMIT}")]
Mode = Annotated[queries.Mode, Meta(description="vector, text or hybrid")]
Filter = Annotated[dict[str, Any], Meta(description="an object of metadata fields")]
Texts = Annotated[list[str], Meta(description="an array of strings")]


class CreateRequest(Body, kw_only=True):
    """`POST /v1/collections`."""

    name: str
    model: str | None = None
    text_columns: Texts = msgspec.field(default_factory=list)

    def columns(self) -> tuple[str, ...]:
        columns = tuple(self.text_columns)
        if len(columns) > COLUMNS_LIMIT or not all(0 < len(one) <= NAME_CHARACTERS for one in columns):
            expected = f"at most {COLUMNS_LIMIT} names of 1 to {NAME_CHARACTERS} characters"
            raise wrong("text_columns", columns, expected)
        return columns


class PassageRow(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One passage. Without an id it is named after its source and its number; `line` is for messages about it."""

    text: str
    id: str | None = None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    line: int | None = None


class PassagesRequest(Body, kw_only=True):
    """`POST /v1/collections/{name}/passages`."""

    MEANT: ClassVar[dict[str, str]] = {"passages": "rows", "documents": "rows"}

    source: str
    rows: Annotated[list[PassageRow], Meta(description="an array of objects with `text` and perhaps `id`, `metadata`")]
    reading: str | None = None
    more: bool = False
    sync: bool = False

    def check(self) -> None:
        """Raises `RequestError` naming the row and the field."""
        if not 0 < len(self.source) <= ID_LIMIT:
            raise wrong("source", self.source, f"a name of 1 to {ID_LIMIT:,} characters")
        if len(self.rows) > ROWS_LIMIT:
            raise RequestError(
                f"`rows` has {len(self.rows):,} of them; at most {ROWS_LIMIT:,} may come at once.",
                hint='Send the others in further requests, with "more": true and the `reading` that is answered.',
                param="rows",
            )
        if self.sync and self.more:
            raise RequestError("`sync` comes with the last rows of a source.", param="sync")
        for index, row in enumerate(self.rows):
            at = f"rows[{index}]"
            if row.id is not None and not (0 < len(row.id) <= ID_LIMIT and row.id.strip() and "\0" not in row.id):
                raise wrong(f"{at}.id", row.id, f"1 to {ID_LIMIT:,} characters")
            if len(row.text) > TEXT_LIMIT:
                raise RequestError(
                    f"`{at}.text` has {len(row.text):,} characters; {TEXT_LIMIT:,} are possible.",
                    hint="Cut it into passages first.",
                    param=f"{at}.text",
                )
            if "\0" in row.text:
                raise wrong(f"{at}.text", row.text, "a text without NUL characters")

    def source_rows(self, before: int) -> Iterator[Row]:
        """The rows; `before` is how many of the source came in earlier requests."""
        for number, row in enumerate(self.rows, start=before + 1):
            id = row.id if row.id is not None else f"{self.source}:{number}"
            yield Row(id=id, text=row.text, metadata=row.metadata, line=number if row.line is None else row.line)


class RemovalRequest(Body, kw_only=True):
    """`DELETE /v1/collections/{name}/passages`."""

    ids: Texts | None = None
    filter: Filter | None = None

    def check(self) -> None:
        if (self.ids is None) == (self.filter is None):
            raise RequestError("Say which passages: either `ids` or `filter`.", param="ids")
        if self.ids is not None and len(self.ids) > IDS_LIMIT:
            raise wrong("ids", self.ids, f"at most {IDS_LIMIT:,} of them")


class ReembedRequest(Body, kw_only=True):
    """`POST /v1/collections/{name}/reembed`."""

    model: str | None = None
    force: bool = False


class SearchRequest(Body, kw_only=True):
    """`POST /v1/search`."""

    MEANT: ClassVar[dict[str, str]] = {"q": "query", "text": "query", "top_k": "k", "limit": "k", "n": "k"}

    collection: str
    query: str
    k: Rank = 10
    filter: Filter | None = None
    mode: Mode = "vector"
    priority: str | None = None
    deadline_s: Seconds | None = None
    timeout: Seconds | None = None

    def to_query(self) -> Query:
        """Without its vector yet. Raises `RequestError` for a query that says nothing, or too much."""
        if not self.query.strip():
            raise wrong("query", self.query, "a text that is not empty")
        if len(self.query) > QUERY_CHARACTERS:
            raise RequestError(
                f"`query` has {len(self.query):,} characters; {QUERY_CHARACTERS:,} are possible.",
                hint="Ask a question, or send the part of the text that matters.",
                param="query",
            )
        return Query(text=self.query, k=self.k, filter=self.filter, mode=self.mode)


class Retrieve(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a chat request says of the passages that its answer shall be grounded on."""

    collection: str
    k: Rank = 4
    filter: Filter | None = None
    mode: Mode = "vector"

    def to_query(self, text: str) -> Query:
        """Without its vector yet; of a long text the beginning counts."""
        return Query(text=text[:QUERY_CHARACTERS], k=self.k, filter=self.filter, mode=self.mode)
