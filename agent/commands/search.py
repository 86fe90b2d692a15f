"""`edge-agent search`: collections of passages. The daemon keeps them; this reads the rows and sends them."""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.commands.call import Call
from agent.commands.indexing import send_rows, wait_for_vectors
from agent.errors import NotFoundError, RequestError
from agent.search.name import check_name
from agent.search.rows import Source, read
from agent.search.splitting import LIMIT, OVERLAP
from agent.terminal import print_json, size, table, write_text

SHOWN_CHARACTERS = 400


def add_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, help: str, does: Callable[[Call], int]) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=help, description=help, parents=[common], allow_abbrev=False)
        added.set_defaults(does=does)
        if name != "list":
            added.add_argument("name", metavar="NAME", help="the collection")
        added.add_argument("--json", action="store_true", help="print JSON, for scripts")
        return added

    create = action("create", "make a collection of a CSV or JSON Lines file, or of text files", _create)
    _add_source(create)
    create.add_argument("--model", help="which embedding model; not needed where there is only one")
    add = action("add", "add a source to a collection, or bring it up to date", _add)
    _add_source(add)
    add.add_argument("--sync", action="store_true", help="also remove what the source had before and has no longer")
    remove = action("rm", "remove a collection, or some of its passages", _remove)
    remove.add_argument("--id", metavar="ID", action="append", help="only the passage with this id; may be repeated")
    _add_filter(remove, "only the passages with this metadata")
    action("list", "the collections, and how far they are", _list)
    query = action("query", "the passages that fit a question best", _query)
    query.add_argument("text", metavar="TEXT", help="the question, or - to read it from standard input")
    query.add_argument("-k", metavar="N", type=int, default=5, help="how many; default: 5")
    query.add_argument("--mode", choices=("vector", "text", "hybrid"), default="vector", help="default: vector")
    _add_filter(query, "only among passages with this metadata")
    again = action("reembed", "make all vectors of a collection again, after its model has changed", _reembed)
    again.add_argument("--model", help="by default the collection's own, in the version that is active now")
    again.add_argument("--force", action="store_true", help="also where the model is the same as before")
    for waits in (create, add, again):
        waits.add_argument("--no-wait", action="store_true", help="do not wait for the vectors; the daemon goes on")


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="FILE_OR_FOLDER", type=Path)
    parser.add_argument("--text", metavar="COLUMN", action="append", help="the column of the text; may be repeated")
    parser.add_argument("--id", metavar="COLUMN", help="the column that tells rows apart; by default the row's number")
    parser.add_argument("--kind", choices=("csv", "jsonl", "text"), help="what it holds; by default as its name says")
    parser.add_argument("--encoding", default="utf-8", help="default: utf-8")
    parser.add_argument(
        "--passage", metavar="N", type=int, default=LIMIT, help=f"longest passage of a text file; default: {LIMIT}"
    )
    parser.add_argument(
        "--overlap", metavar="N", type=int, default=OVERLAP, help=f"what the next one repeats; default: {OVERLAP}"
    )


def _add_filter(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument(
        "--filter",
        metavar="FIELD=VALUE",
        action="append",
        help=f"{help}; may be repeated, or be a JSON object (docs/search.md)",
    )


def run(call: Call) -> int:
    if "name" in call.options:
        check_name(call.options.name)
    does: Callable[[Call], int] = call.options.does
    return does(call)


def _create(call: Call) -> int:
    options = call.options
    source = _source(call, tuple(options.text or ()))
    rows = read(source)
    first = next(rows, None)  # what cannot be read at all makes no collection
    if not _goes_on(call, source):
        body = {"name": options.name, "text_columns": source.text}
        if options.model:
            body["model"] = options.model
        call.client.post("/v1/collections", body)
    counts = send_rows(call.client, options.name, source.name, rows, first=first)
    return _indexed(call, counts)


def _goes_on(call: Call, source: Source) -> bool:
    """Whether the collection is there already because making it from this very source was interrupted."""
    try:
        there = call.client.get(f"/v1/collections/{call.options.name}")
    except NotFoundError:
        return False
    same = tuple(there["text_columns"]) == source.text and set(there["sources"]) <= {source.name}
    if not same or call.options.model not in (None, there["model"]):
        raise RequestError(
            f"There is a collection {call.options.name} already, of {', '.join(there['sources']) or 'nothing yet'}.",
            hint="edge-agent search add adds to it, edge-agent search rm removes it.",
        )
    return True


def _add(call: Call) -> int:
    options = call.options
    there = call.client.get(f"/v1/collections/{options.name}")
    columns = options.text
    if columns is None and options.kind != "text" and _has_columns(options):
        columns = there["text_columns"]
    source = _source(call, tuple(columns or ()))
    return _indexed(call, send_rows(call.client, options.name, source.name, read(source), sync=options.sync))


def _has_columns(options: argparse.Namespace) -> bool:
    return options.kind is not None or options.path.suffix.lower() in (".csv", ".tsv", ".jsonl", ".ndjson")


def _source(call: Call, columns: tuple[str, ...]) -> Source:
    options = call.options
    return Source(
        path=options.path.expanduser(),
        text=columns,
        key=options.id,
        encoding=options.encoding,
        kind=options.kind,
        passage=options.passage,
        overlap=options.overlap,
    )


def _indexed(call: Call, counts: dict[str, Any]) -> int:
    """Waits for the vectors, and says what became of the rows."""
    options = call.options
    there = _waited(call)
    if options.json:
        print_json({"rows": counts, "collection": there})
        return 0
    parts = [f"{counts[name]:,} {name}" for name in ("added", "changed", "unchanged", "removed") if counts[name]]
    if counts["blank"]:
        parts.append(f"{counts['blank']:,} without text left out")
    print(f"{options.name}: {', '.join(parts) or 'no rows'}. {_state(there)}")
    return 0


def _waited(call: Call) -> dict[str, Any]:
    options = call.options
    if options.no_wait:
        there: dict[str, Any] = call.client.get(f"/v1/collections/{options.name}")
        return there
    try:
        return wait_for_vectors(call.client, options.name)
    except KeyboardInterrupt:
        print(
            f"\nThe daemon goes on embedding {options.name}; edge-agent search list shows how far it is.",
            file=sys.stderr,
        )
        raise


def _state(there: dict[str, Any]) -> str:
    if not there["waiting"]:
        return f"All {there['passages']:,} passages have their vectors."
    text = f"{there['passages'] - there['waiting']:,} of {there['passages']:,} passages have their vectors"
    return f"{text}; {there['error']['message']}" if there["error"] else f"{text}; the daemon goes on."


def _remove(call: Call) -> int:
    options = call.options
    if options.id is None and options.filter is None:
        answer = call.client.delete(f"/v1/collections/{options.name}")
        text = f"Removed {options.name}."
    else:
        if options.id is not None and options.filter is not None:
            raise RequestError("Give either --id or --filter.")
        body = {"ids": options.id} if options.id is not None else {"filter": _filter(options.filter)}
        answer = call.client.delete(f"/v1/collections/{options.name}/passages", body)
        text = f"Removed {answer['removed']:,} passages from {options.name}."
    if options.json:
        print_json(answer)
    else:
        print(text)
    return 0


def _list(call: Call) -> int:
    collections = call.client.get("/v1/collections", timeout_s=60.0)["data"]
    if call.options.json:
        print_json(collections)
        return 0
    if not collections:
        print("There is no collection yet. edge-agent search create NAME FILE --text COLUMN makes one.")
        return 0
    rows = [_row(one) for one in collections]
    print(table(rows, ("NAME", "PASSAGES", "WAITING", "STATE", "MODEL", "SIZE"), right=(1, 2, 5)))
    for one in collections:
        if one.get("error"):
            print(f"{one['name']}: {one['error']['message']}", file=sys.stderr)
    return 0


def _row(one: dict[str, Any]) -> list[str]:
    if one["state"] == "broken":
        return [one["name"], "-", "-", "broken", "-", "-"]
    model = f"{one['model']} {one['version']}"
    return [one["name"], f"{one['passages']:,}", f"{one['waiting']:,}", one["state"], model, size(one["bytes"])]


def _query(call: Call) -> int:
    options = call.options
    text = sys.stdin.read() if options.text == "-" else options.text
    body = {"collection": options.name, "query": text, "k": options.k, "mode": options.mode}
    if options.filter is not None:
        body["filter"] = _filter(options.filter)
    answer = call.client.post("/v1/search", body)
    if options.json:
        print_json(answer)
        return 0
    for number, hit in enumerate(answer["hits"], start=1):
        shown = textwrap.shorten(hit["text"], SHOWN_CHARACTERS, placeholder=" …")
        fields = [f"{field}={json.dumps(value, ensure_ascii=False)}" for field, value in hit["metadata"].items()]
        write_text("  ".join([f"{number}. {hit['id']}", f"{hit['score']:.4f}", *fields]) + "\n")
        write_text(textwrap.indent(textwrap.fill(shown, 100), "   ") + "\n")
    if not answer["hits"]:
        print("Nothing was found.", file=sys.stderr)
    if answer["waiting"]:
        print(f"{answer['waiting']:,} passages wait for their vectors and were not considered.", file=sys.stderr)
    return 0


def _reembed(call: Call) -> int:
    options = call.options
    body = {"force": options.force}
    if options.model:
        body["model"] = options.model
    begun = call.client.post(f"/v1/collections/{options.name}/reembed", body)
    there = _waited(call) if begun["waiting"] else begun
    if options.json:
        print_json(there)
    else:
        print(f"{options.name} is of {there['model']} {there['version']}. {_state(there)}")
    return 0


def _filter(given: list[str]) -> dict[str, Any]:
    """Raises `RequestError` for what is neither FIELD=VALUE nor a JSON object."""
    wanted: dict[str, Any] = {}
    for one in given:
        if one.lstrip().startswith("{"):
            try:
                wanted.update(json.loads(one))
            except ValueError as error:
                raise RequestError(f"--filter {one[:80]}: not a JSON object: {error}.") from None
            continue
        name, found, value = one.partition("=")
        if not found or not name:
            raise RequestError(f"--filter {one[:80]}: expected FIELD=VALUE, or a JSON object.")
        wanted[name] = value
    return wanted
