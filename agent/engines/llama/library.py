"""The one import of llama.cpp, its log, and the backend's start.

llama.cpp reports why a model does not load only in its log, so the log is kept: `LogTail` holds the last lines, and
warnings and errors go on to stderr, where the daemon picks them up under the model's name.
"""

from __future__ import annotations

import collections
import importlib
import importlib.machinery
import os
import platform
import re
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# A failed GGML_ASSERT otherwise starts gdb, when there is one, and takes seconds to die.
os.environ.setdefault("GGML_NO_BACKTRACE", "1")
if platform.machine() in ("x86_64", "AMD64"):
    # How long libgomp's threads spin at a barrier before they sleep: 300,000 rounds by default, with which one busy
    # program beside two threads costs up to seven times what it does with 20,000 (docs/performance.md), until
    # `Crowding` acts. Fewer rounds cost prompts milliseconds. Not measured on ARM.
    os.environ.setdefault("GOMP_SPINCOUNT", "20000")


def _import_bindings() -> Any:
    """The ctypes bindings without the package around them.

    `llama_cpp/__init__.py` imports its high-level API, and that numpy, jinja2 and diskcache: 22 MB and 0.15 s more for
    each worker, none of it used here. An empty package in its place lets the submodule alone be imported.
    """
    if "llama_cpp" not in sys.modules:
        spec = importlib.machinery.PathFinder.find_spec("llama_cpp")
        if spec is None or spec.submodule_search_locations is None:
            raise ModuleNotFoundError("llama-cpp-python is not installed; `make setup` builds it for this board")
        package = types.ModuleType("llama_cpp")
        package.__path__ = list(spec.submodule_search_locations)
        sys.modules["llama_cpp"] = package
    return importlib.import_module("llama_cpp.llama_cpp")


llama: Any = _import_bindings()

_FUNCTION_NAME = re.compile(r"^[a-z_]+: ")
# A cancelled or a full step is an ordinary event, told by llama_decode's status; llama.cpp calls it an error.
_STATUS_SAYS_IT = ("decode: ", "llama_decode: ", "process_ubatch: ", "graph_compute: ", "find_slot: ", "init_batch: ")
_LEVEL_INFO, _LEVEL_WARN, _LEVEL_ERROR, _LEVEL_CONTINUE = 2, 3, 4, 5


class LogTail:
    """The last lines that llama.cpp logged: `lines` of level info and up, `errors` alone besides."""

    def __init__(self, size: int = 400) -> None:
        self.lines: collections.deque[str] = collections.deque(maxlen=size)
        self.errors: collections.deque[str] = collections.deque(maxlen=20)
        self._level = _LEVEL_INFO

    def write(self, level: int, text: str) -> None:
        if level != _LEVEL_CONTINUE:
            self._level = level
        text = text.strip()
        if not text or self._level < _LEVEL_INFO:
            return
        self.lines.append(text)
        if self._level >= _LEVEL_ERROR:
            self.errors.append(text)
        if self._level >= _LEVEL_WARN and not text.startswith(_STATUS_SAYS_IT):
            sys.stderr.write(text + "\n")

    def clear(self) -> None:
        self.lines.clear()
        self.errors.clear()

    def reason(self) -> str:
        """The most telling error, for a sentence; empty when nothing failed.

        llama.cpp logs the cause first and wraps it in ever more general lines after, each with its function's name.
        """
        if not self.errors:
            return ""
        _, _, cause = self.errors[0].partition("error loading model: ")
        return (cause or _FUNCTION_NAME.sub("", self.errors[0])).strip()


log = LogTail()


@llama.llama_log_callback  # type: ignore[untyped-decorator]
def _on_log(level: int, text: bytes | None, _data: Any) -> None:
    log.write(level, (text or b"").decode("utf-8", "replace"))


@contextmanager
def only_errors_logged() -> Iterator[None]:
    """Silence stderr for a rehearsal (a dry-run load), whose warnings would be said again by the real one."""
    real, sys.stderr = sys.stderr, open(os.devnull, "w")  # noqa: SIM115, PTH123
    try:
        yield
    finally:
        sys.stderr.close()
        sys.stderr = real


def start_backend() -> None:
    """Initialize llama.cpp for this process. Call once, before anything else here."""
    llama.llama_log_set(_on_log, None)
    llama.llama_backend_init()
