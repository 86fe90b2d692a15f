"""What follows an import, whoever brought the files: the daemon is told, and so is the person or the script."""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import Any

from agent.commands.call import Call
from agent.errors import EdgeAgentError
from agent.store.importing import Imported
from agent.store.layout import StoredModel
from agent.terminal import print_json, size

RELOAD_PATIENCE_S = 5.0


def report(call: Call, imported: Imported, more: dict[str, Any] | None = None) -> None:
    """Tells the daemon, and prints what was imported; `more` goes into the JSON."""
    served = imported.model.active and tell_daemon(call) and _is_served(call, imported.model)
    if call.options.json:
        ignored = [{"path": one.path, "reason": one.reason} for one in imported.ignored]
        print_json({**as_value(imported.model), "created": imported.created, "ignored": ignored, **(more or {})})
        return
    for one in imported.ignored:
        print(f"left out: {one.path} {one.reason}", file=sys.stderr)
    print(_sentence(imported, served))


def tell_daemon(call: Call) -> bool:
    """Makes the daemon of this store look at it again. False where none runs, or it is someone else's."""
    if call.running is None:
        return False
    try:
        os.kill(call.running.pid, signal.SIGHUP)
    except ProcessLookupError:
        return False
    except PermissionError:
        print("The daemon belongs to another user; reload it: sudo systemctl reload edge-agent.", file=sys.stderr)
        return False
    return True


def as_value(model: StoredModel) -> dict[str, Any]:
    """A stored model for scripts."""
    manifest = model.manifest
    return {
        "name": model.name,
        "version": model.version,
        "active": model.active,
        "task": manifest.task,
        "format": manifest.format,
        "quantization": manifest.quantization,
        "bytes": model.total_bytes,
        "context_tokens": manifest.context,
        "created": model.created,
        "path": str(model.path),
    }


def _sentence(imported: Imported, served: bool) -> str:
    model = imported.model
    manifest = model.manifest
    what = f"{model.name} {model.version} ({manifest.quantization or manifest.format}, {size(model.total_bytes)})"
    if not model.active:
        then = f"edge-agent models activate {model.name} {model.version} serves it."
    elif served:
        then = "The daemon serves it."
    else:
        then = "It is active: edge-agent serve serves it."
    return f"{'Imported' if imported.created else 'There already:'} {what}. {then}"


def _is_served(call: Call, model: StoredModel) -> bool:
    """Waits a moment for the daemon to have seen a new version; False if it has not, or does not let us look."""
    give_up = time.monotonic() + RELOAD_PATIENCE_S
    while time.monotonic() < give_up:
        try:
            models = call.client.get("/v1/models")["data"]
        except EdgeAgentError:
            return False
        if any((one["id"], one["version"]) == (model.name, model.version) for one in models):
            return True
        time.sleep(0.05)
    return False
