"""`edge-agent models`: what is in the store, and which of it is served."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from agent.commands import imported
from agent.commands.call import Call
from agent.commands.printable import printable
from agent.errors import EdgeAgentError
from agent.plan import starters
from agent.starter.bundle import shipped_names
from agent.store.store import Store
from agent.terminal import Progress, print_json, size, table


def add_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    def action(name: str, help: str, does: Callable[[Call], int]) -> argparse.ArgumentParser:
        added = actions.add_parser(name, help=help, description=help, parents=[common], allow_abbrev=False)
        added.set_defaults(does=does)
        added.add_argument("--json", action="store_true", help="print JSON, for scripts")
        return added

    action("list", "what is in the store", _list)
    bring = action("import", "bring a GGUF file or an artifact folder into the store", _import)
    bring.add_argument("path", metavar="FILE_OR_FOLDER", type=Path)
    bring.add_argument("--name", help="what to call it; by default the file's own name")
    bring.add_argument("--version", help="which version it is; by default the next whole number")
    bring.add_argument(
        "--activate",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="serve this version; by default only if the model has no other",
    )
    transfer = bring.add_mutually_exclusive_group()
    transfer.add_argument("--link", action="store_true", help="hard-link the files instead of copying them")
    transfer.add_argument("--move", action="store_true", help="move the files instead of copying them")
    from agent.commands import pull, suggest, updating

    pull.add_arguments(action("pull", "bring a model of the Hugging Face hub into the store", pull.run))
    suggest.add_arguments(action("suggest", "which well-known models fit this board", suggest.run))
    updating.add_arguments(action("update", "get a new version, signed and tested on this device", updating.update))
    action("updates", "which updates are under way, and how others ended", updating.updates)
    activate = action("activate", "serve this version of a model", _activate)
    activate.add_argument("name", metavar="NAME")
    activate.add_argument("version", metavar="VERSION")
    rollback = action("rollback", "serve the version that was active before", _rollback)
    rollback.add_argument("name", metavar="NAME")
    remove = action("rm", "remove a model, or one version of it", _remove)
    remove.add_argument("name", metavar="NAME")
    remove.add_argument("--version", help="only this version")
    remove.add_argument("--force", action="store_true", help="also the active version")
    verify = action("verify", "read the files again and compare their hashes", _verify)
    verify.add_argument("name", metavar="NAME", nargs="?", help="by default all models")
    verify.add_argument("--version", help="by default all versions")
    for name, help in (("load", "load a model now"), ("unload", "unload a model and free its memory")):
        action(name, help, _load_or_unload).add_argument("name", metavar="NAME")


def run(call: Call) -> int:
    does: Callable[[Call], int] = call.options.does
    return does(call)


def _list(call: Call) -> int:
    listing = _store(call).scan()
    shipped = starters(listing.models, call.settings.starter_models, call.settings.models)
    if call.options.json:
        broken = [
            {"name": one.name, "version": one.version, "active": one.active, "broken": one.reason}
            for one in listing.broken
        ]
        values = [imported.as_value(model) for model in (*listing.models, *shipped)]
        print_json([*values, *broken])
        return 0
    if not listing.models and not listing.broken and not shipped:
        print("There is no model yet. edge-agent models import FILE.gguf adds one; models suggest names some.")
        _print_updates(call)
        return 0
    rows = [
        [
            model.name,
            model.version,
            "starter" if model in shipped else "active" if model.active else "",
            model.manifest.task,
            model.manifest.quantization,
            size(model.total_bytes),
            str(model.manifest.context or "-"),
        ]
        for model in (*listing.models, *shipped)
    ]
    rows += [[one.name, one.version, "broken", "", "", "", ""] for one in listing.broken]
    print(table(rows, ("NAME", "VERSION", "STATE", "TASK", "QUANTIZATION", "SIZE", "CONTEXT"), right=(5, 6)))
    _print_updates(call)
    for one in listing.broken:
        print(f"{one.name} {one.version}: {one.reason}", file=sys.stderr)
    return 0


def _print_updates(call: Call) -> None:
    """Those that the daemon works at; none where none runs, or it does not tell."""
    if call.running is None:
        return
    with contextlib.suppress(EdgeAgentError):
        for line in (call.client.get("/status").get("updates") or {}).get("lines", ()):
            print(f"update    {printable(line)}")


def _import(call: Call) -> int:
    options = call.options
    store = _store(call)
    path: Path = options.path.expanduser()
    transfer = "link" if options.link else "move" if options.move else "copy"
    settings: dict[str, Any] = {"transfer": transfer, "activate": options.activate}
    if path.is_dir():
        with Progress(path.name) as progress:
            brought = store.import_folder(
                path, name=options.name, version=options.version, progress=progress, **settings
            )
    else:
        from agent.runtime.probe import probe_gguf

        report = probe_gguf(path)
        with Progress(path.name) as progress:
            brought = store.import_gguf(path, options.name, options.version, report, progress=progress, **settings)
    imported.report(call, brought)
    return 0


def _activate(call: Call) -> int:
    options = call.options
    if call.running is not None or call.elsewhere:
        call.client.post(f"/models/{options.name}/activate", {"version": options.version})
        version = options.version
    else:
        version = _store(call).activate(options.name, options.version).version
    return _switched(call, options.name, version)


def _rollback(call: Call) -> int:
    name = call.options.name
    if call.running is not None or call.elsewhere:
        version = call.client.post(f"/models/{name}/rollback")["version"]
    else:
        version = _store(call).rollback(name).version
    return _switched(call, name, version)


def _switched(call: Call, name: str, version: str) -> int:
    if call.options.json:
        print_json({"model": name, "version": version})
    else:
        print(f"{name} {version} is active.")
    return 0


def _remove(call: Call) -> int:
    options = call.options
    _store(call).remove(options.name, options.version, force=options.force)
    imported.tell_daemon(call)
    if options.json:
        print_json({"model": options.name, "version": options.version, "removed": True})
    else:
        print(f"Removed {options.name}{' ' + options.version if options.version else ''}.")
    return 0


def _verify(call: Call) -> int:
    options = call.options
    store = _store(call)
    chosen = [
        (model.name, model.version)
        for model in store.models()
        if options.name in (None, model.name) and options.version in (None, model.version)
    ]
    if not chosen and options.name is not None:
        chosen = [(options.name, options.version or "")]  # the store says what is wrong with it
    results = []
    for name, version in chosen:
        error = ""
        try:
            with Progress(f"{name} {version}") as progress:
                store.verify(name, version, progress=progress)
        except EdgeAgentError as failure:
            error = str(failure)
        results.append({"name": name, "version": version, "ok": not error, "error": error or None})
        if not options.json:
            print(f"{name} {version}: {error or 'all files are as they were imported.'}")
    if options.json:
        print_json(results)
    return int(any(not result["ok"] for result in results))


def _load_or_unload(call: Call) -> int:
    options = call.options
    answer = call.client.post(f"/models/{options.name}/{options.action}")
    if options.json:
        print_json(answer)
    elif options.action == "load":
        print(f"{answer['model']} {answer['version']} is loaded; it takes {size(answer['charged_bytes'])}.")
    else:
        print(f"{answer['model']} {answer['version']} is unloaded.")
    return 0


def _store(call: Call) -> Store:
    return Store(call.state_dir / "models", shipped=shipped_names())
