from __future__ import annotations

import ast
import dataclasses
import os
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import pytest

from agent.errors import ConfigError
from agent.hardware import wheel
from agent.hardware.profile import choose, load_profiles
from agent.hardware.wheel import BuildError, Plan
from tests.hardware import recorded

REPOSITORY = Path(__file__).resolve().parents[2]
PROFILES = load_profiles()

PIP = """
import os, pathlib, sys, time, zipfile
arguments = sys.argv[1:]
folder = pathlib.Path(arguments[arguments.index("--wheel-dir") + 1])
record = pathlib.Path(os.environ["RECORD"])
with record.open("a") as file:
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    file.write(" ".join(arguments) + "|" + os.environ["CMAKE_ARGS"] + "|" + epoch + "\\n")
print("a line of the log")
time.sleep(float(os.environ.get("SLEEP", "0")))
if os.environ.get("FAIL"):
    print("error: something broke")
    sys.exit(3)
name = folder / "llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl"
if os.environ.get("TORN"):
    name.write_bytes(b"half a wheel")
else:
    with zipfile.ZipFile(name, "w") as archive:
        archive.writestr("llama_cpp/__init__.py", "")
"""

INCLUDE_FLAG = f"-DCMAKE_PROJECT_llama_cpp_INCLUDE={wheel.ADDITIONS / 'additions.cmake'}"
KERNELS_FLAG = "-DEDGE_AGENT_KERNELS=ON"


def plan_for(name: str, environment: dict[str, str] | None = None, **changes: object) -> Plan:
    board = dataclasses.replace(recorded.detect(name), **changes)  # type: ignore[arg-type]
    profile = choose(board, PROFILES).profile.resolve(board)
    return wheel.plan(board, profile, "0.3.36", environment=environment or {})


class Builder:
    """Builds with a pip that writes an empty wheel and records how it was called."""

    def __init__(self, folder: Path) -> None:
        self.cache = folder / "cache"
        self.record = folder / "record"
        self.script = folder / "pip.py"
        self.script.write_text(PIP)
        self.lines: list[str] = []
        self.plan = plan_for("x86-64-avx2")

    def build(self, heartbeat_s: float = 30.0, **environment: str) -> Path:
        return wheel.build_wheel(
            self.plan,
            self.cache,
            say=self.lines.append,
            pip=(sys.executable, str(self.script)),
            environment={**os.environ, "RECORD": str(self.record), **environment},
            heartbeat_s=heartbeat_s,
        )

    @property
    def calls(self) -> list[str]:
        return self.record.read_text().splitlines() if self.record.exists() else []

    @property
    def left_behind(self) -> list[str]:
        return sorted(path.name for path in (self.cache / "wheels").iterdir() if path.suffix not in (".lock", ".log"))


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    return Builder(tmp_path)


def test_a_wheel_is_built_once_and_then_found(builder: Builder) -> None:
    first = builder.build()
    assert first.parent == builder.cache / "wheels" / builder.plan.key
    assert zipfile.is_zipfile(first)
    assert builder.build() == first
    assert len(builder.calls) == 1
    assert builder.lines == ["building llama-cpp-python 0.3.36 for generic-x86-64, about 2 minutes on 4 cores"]
    assert builder.left_behind == [builder.plan.key]


def test_pip_is_called_with_the_flags_and_without_its_own_cache(builder: Builder) -> None:
    builder.build(SOURCE_DATE_EPOCH="0")
    arguments, cmake_args, epoch = builder.calls[0].split("|")
    for part in ("wheel", "--no-cache-dir", "--no-deps", "--no-binary llama-cpp-python", "llama-cpp-python==0.3.36"):
        assert part in arguments
    assert cmake_args == f"-DGGML_NATIVE=OFF {INCLUDE_FLAG}"
    assert epoch == ""  # ggml would take it for a cross build and leave AVX2 out


def test_a_long_build_says_that_it_is_alive(builder: Builder) -> None:
    builder.build(heartbeat_s=0.1, SLEEP="0.5")
    assert any(line.startswith("still building, ") for line in builder.lines)


def test_two_builds_at_once_build_once(builder: Builder) -> None:
    results: list[Path] = []
    threads = [threading.Thread(target=lambda: results.append(builder.build(SLEEP="0.3"))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1
    assert len(results) == 3
    assert len(builder.calls) == 1
    assert any("waiting for it" in line for line in builder.lines)


def test_a_failed_build_shows_the_log_and_leaves_nothing(builder: Builder) -> None:
    with pytest.raises(BuildError, match="failed with status 3") as caught:
        builder.build(FAIL="1")
    assert "error: something broke" in "\n".join(builder.lines)
    log = Path(caught.value.hint.removeprefix("The whole log is ").removesuffix("."))
    assert "something broke" in log.read_text()
    assert builder.left_behind == []
    assert builder.build().is_file()


def test_a_torn_wheel_is_not_taken_for_one(builder: Builder) -> None:
    with pytest.raises(BuildError, match="made no wheel"):
        builder.build(TORN="1")
    assert builder.left_behind == []
    whole = builder.build()
    whole.write_bytes(whole.read_bytes()[:20])
    assert zipfile.is_zipfile(builder.build())


def test_what_a_killed_build_left_is_cleared(builder: Builder) -> None:
    scratch = builder.cache / "wheels" / f"{builder.plan.key}.building"
    scratch.mkdir(parents=True)
    (scratch / "llama_cpp_python-0.3.36-py3-none-linux_x86_64.whl").write_bytes(b"half")
    builder.build()
    assert builder.left_behind == [builder.plan.key]


def test_an_interrupted_build_takes_its_compilers_with_it(builder: Builder) -> None:
    """pip starts a child that sleeps; the interrupt arrives with the first heartbeat."""
    child = builder.cache.parent / "child"
    code = "import subprocess; p = subprocess.Popen(['sleep', '60']); open({!r}, 'w').write(str(p.pid)); p.wait()"
    builder.script.write_text(code.format(str(child)))

    def interrupt(line: str) -> None:
        if line.startswith("still building") and child.exists() and child.read_text():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        wheel.build_wheel(
            builder.plan,
            builder.cache,
            say=interrupt,
            pip=(sys.executable, str(builder.script)),
            environment=os.environ,
            heartbeat_s=0.1,
        )
    assert builder.left_behind == []
    deadline = time.monotonic() + 5
    while alive(int(child.read_text())) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(int(child.read_text()))


def alive(pid: int) -> bool:
    """Whether the process runs: neither gone nor a zombie that nobody has waited for."""
    try:
        state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("ps is not installed")
    return bool(state.stdout.strip()) and not state.stdout.strip().startswith("Z")


@pytest.mark.parametrize(
    ("environment", "system", "what_to_do"),
    [
        ({"PATH": "/nonexistent"}, "linux", "sudo apt install build-essential"),
        ({"PATH": "/nonexistent"}, "darwin", "xcode-select --install"),
        ({"PATH": os.environ.get("PATH", ""), "CXX": "no-such-compiler -m64"}, "linux", "build-essential"),
    ],
)
def test_a_missing_compiler_says_what_to_install(environment: dict[str, str], system: str, what_to_do: str) -> None:
    with pytest.raises(BuildError) as caught:
        wheel.require_compiler(environment, system=system)
    assert what_to_do in str(caught.value)


def test_the_key_says_what_the_wheel_depends_on() -> None:
    avx2 = plan_for("x86-64-avx2")
    assert avx2.key.startswith("0.3.36-x86_64-linux-")
    assert avx2.key == plan_for("x86-64-avx2", cpu_name="another of the same kind").key
    assert avx2.key != plan_for("x86-64-n100").key
    assert avx2.key != plan_for("x86-64-avx2", {"CMAKE_ARGS": "-DGGML_BLAS=ON"}).key
    # native builds run on their own CPU only: an SD card may move from a Pi 5 to a Pi 4
    assert plan_for("pi-4").key != plan_for("pi-5").key
    assert plan_for("pi-5").key == plan_for("pi-5-container").key
    assert plan_for("mac-m1").key != plan_for("mac-m2").key
    keys = [plan_for(name).key for name in recorded.NAMES]
    assert all(key.startswith("0.3.36-") for key in keys)


def test_the_users_cmake_args_come_last() -> None:
    assert plan_for("x86-64-avx2", {"CMAKE_ARGS": "-DX=1"}).cmake_args == f"-DGGML_NATIVE=OFF {INCLUDE_FLAG} -DX=1"


@pytest.fixture
def additions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another checkout of what is compiled into llama.cpp."""
    (tmp_path / "additions.cmake").write_text((wheel.ADDITIONS / "additions.cmake").read_text())
    for folder in (wheel.MAPS, wheel.SAMPLING, wheel.KERNELS):
        shutil.copytree(wheel.ADDITIONS / folder, tmp_path / folder)
    monkeypatch.setattr(wheel, "ADDITIONS", tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["additions.cmake", "maps/text_map.h", "sampling/best_tokens.cpp"])
def test_what_is_compiled_in_everywhere_makes_another_wheel(name: str, request: pytest.FixtureRequest) -> None:
    made = {board: plan_for(board) for board in recorded.NAMES}
    assert all(INCLUDE_FLAG in each.cmake_args for each in made.values())
    additions = request.getfixturevalue("additions")
    assert all(plan_for(board).key == each.key for board, each in made.items())
    with (additions / name).open("a") as file:
        file.write("# changed")
    assert not any(plan_for(board).key == each.key for board, each in made.items())


def test_our_kernels_are_built_where_the_processor_has_what_they_need(request: pytest.FixtureRequest) -> None:
    assert [name for name in recorded.NAMES if plan_for(name).kernels] == ["x86-64-amx"]
    made = plan_for("x86-64-amx")
    assert KERNELS_FLAG in made.cmake_args
    assert KERNELS_FLAG not in plan_for("x86-64-avx2").cmake_args
    # not where the user turns off what they need, which the compiler would only say in the middle of the build
    assert not plan_for("x86-64-amx", {"CMAKE_ARGS": "-DGGML_AVX512_VNNI=OFF"}).kernels
    # another checkout of the same kernels makes the same wheel, other kernels do not
    additions = request.getfixturevalue("additions")
    assert plan_for("x86-64-amx").key == made.key
    with (additions / "kernels" / "block_matmul.cpp").open("a") as file:
        file.write("// changed")
    assert plan_for("x86-64-amx").key != made.key


@pytest.mark.parametrize(
    ("name", "jobs"),
    [("pi-zero-2w", 1), ("pi-4", 4), ("pi-5-container", 2), ("jetson-orin-nano", 3), ("x86-64-hybrid", 12)],
)
def test_compiler_jobs_fit_the_memory(name: str, jobs: int) -> None:
    made = plan_for(name)
    assert made.jobs == jobs
    assert wheel.build_environment(made, {})["CMAKE_BUILD_PARALLEL_LEVEL"] == str(jobs)


def test_the_cuda_compiler_outside_path_is_passed_on() -> None:
    assert wheel.build_environment(plan_for("jetson-orin-nano"), {})["CUDACXX"] == "/usr/local/cuda/bin/nvcc"
    assert "CUDACXX" not in wheel.build_environment(plan_for("pi-5"), {})


def test_the_version_is_the_pinned_one(tmp_path: Path) -> None:
    text = (REPOSITORY / "pyproject.toml").read_text()
    assert f'"llama-cpp-python=={wheel.pinned_version()}"' in text
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["llama_cpp_python == 1.2.3 ; x", "numpy"]')
    assert wheel.pinned_version(tmp_path) == "1.2.3"
    (tmp_path / "pyproject.toml").write_text('[project]\ndependencies = ["llama-cpp-python>=1"]')
    with pytest.raises(ConfigError, match="No pinned version"):
        wheel.pinned_version(tmp_path)


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({"EDGE_AGENT_CACHE_DIR": "/a", "XDG_CACHE_HOME": "/b"}, Path("/a")),
        ({"XDG_CACHE_HOME": "/b"}, Path("/b/edge-agent")),
        ({}, Path("~/.cache/edge-agent").expanduser()),
    ],
)
def test_the_cache_folder(environment: dict[str, str], folder: Path) -> None:
    assert wheel.default_cache_folder(environment) == folder


def test_only_the_standard_library_is_needed() -> None:
    """In an isolated interpreter without site-packages, from another folder."""
    code = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); from agent.hardware import wheel; " + (
        "sys.exit(wheel.main(['--print-flags']))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, cwd="/", check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


def test_hardware_imports_only_itself_errors_and_the_standard_library() -> None:
    for path in (REPOSITORY / "agent/hardware").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                top = name.partition(".")[0]
                ours = name.startswith("agent.hardware") or name == "agent.errors"
                assert ours or top in sys.stdlib_module_names, f"{path.name} imports {name}"
