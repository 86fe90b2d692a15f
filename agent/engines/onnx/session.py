"""Opening an ONNX graph, with the settings that suit a small board, and running it.

ONNX Runtime's own exceptions end here: loading raises `ModelLoadError`, running `EngineError`.
"""

from __future__ import annotations

import platform
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime

from agent.engines.onnx.external import check_external_data
from agent.errors import EngineError, ModelLoadError

CPU: Final = "CPUExecutionProvider"
ERRORS_ONLY: Final = 3
"""ONNX Runtime's severity: warnings are about optimizations that nobody here can act on."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """How to run a graph.

    `threads`: 0 is one per physical core. `spinning`: threads that wait burn a core, for a few microseconds less.
    `arena`: keep freed memory, which makes a run up to a tenth faster and doubles what a small model takes.
    `providers`: where to compute, in ONNX Runtime's names, the first choice first; the CPU takes the rest.
    """

    threads: int = 0
    spinning: bool = False
    arena: bool = False
    providers: tuple[str, ...] = (CPU,)


def open_session(path: Path, options: SessionOptions | None = None) -> onnxruntime.InferenceSession:
    """A session on the graph in `path`, whose external data must lie in the folder of `path`.

    Raises `ModelLoadError`: the file is missing, broken or of an unknown operator, has data elsewhere, or a provider
    that was asked for is not there.
    """
    chosen = options or SessionOptions()
    if not path.is_file():
        raise ModelLoadError(f"{path} is not a file.", hint="Import or convert the model again.")
    _check_providers(chosen.providers)
    check_external_data(path)
    try:
        session = onnxruntime.InferenceSession(str(path), _native(chosen), providers=_with_cpu(chosen.providers))
    except Exception as error:  # onnxruntime's classes share no base of their own
        raise ModelLoadError(f"{path.name} cannot be loaded: {_reason(error)}") from error
    if chosen.providers[0] not in session.get_providers():  # its libraries are missing: ONNX Runtime only logs that
        raise ModelLoadError(
            f"{path.name} cannot run on {chosen.providers[0]}: it did not start.",
            hint="Are its libraries (CUDA, cuDNN) installed, in the version that this onnxruntime needs?",
        )
    return session


def run(session: onnxruntime.InferenceSession, outputs: Sequence[str], feeds: Mapping[str, Array]) -> list[Array]:
    """The named outputs. Raises `EngineError` with ONNX Runtime's reason."""
    with translated("The model"):
        results: list[Array] = session.run(list(outputs), dict(feeds))
    return results


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Around calls of ONNX Runtime: its errors leave as `EngineError`, which begins with `what`."""
    try:
        yield
    except Exception as error:
        raise EngineError(f"{what} failed while it ran: {_reason(error)}") from error


def _native(options: SessionOptions) -> onnxruntime.SessionOptions:
    native = onnxruntime.SessionOptions()
    native.intra_op_num_threads = options.threads
    native.enable_cpu_mem_arena = options.arena
    # A plan of memory is kept for each shape that was ever run, and every text has its own length.
    native.enable_mem_pattern = False
    native.use_deterministic_compute = True
    native.log_severity_level = ERRORS_ONLY
    native.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.spinning else "0")
    if sums_overflow(platform.machine(), _cpu_flags()):
        native.add_session_config_entry("session.x64quantprecision", "1")
    return native


def sums_overflow(machine: str, flags: Collection[str]) -> bool:
    """Whether ONNX Runtime's fast products of uint8 and int8 are wrong on this CPU, and it must take the exact ones.

    x86-64 before VNNI sums pairs of them in 16 bits, which saturate. The exact kernels take 1.4 times as long, so other
    CPUs are spared them. `flags` are those of /proc/cpuinfo; without them (not on Linux) the answer is the safe one.
    """
    return machine.lower() in ("x86_64", "amd64") and not {"avx512_vnni", "avx_vnni"} & set(flags)


def _cpu_flags() -> list[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    return next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), [])


def _check_providers(providers: tuple[str, ...]) -> None:
    if not providers:
        raise ModelLoadError("No provider is given.", hint=f"Give {CPU} at least.")
    available = onnxruntime.get_available_providers()
    for provider in providers:
        if provider not in available:
            raise ModelLoadError(
                f"This onnxruntime has no {ascii(provider)[1:-1][:60]}.",
                hint=f"It has {', '.join(available)}; others come with other builds, such as onnxruntime-gpu.",
            )


def _with_cpu(providers: tuple[str, ...]) -> list[str]:
    return [*providers, *(() if CPU in providers else (CPU,))]


def _reason(error: Exception) -> str:
    """The first line of ONNX Runtime's message, without its code."""
    text = str(error).strip().split("\n")[0]
    if text.startswith("[ONNXRuntimeError]"):
        text = text.rpartition(" : ")[2] if text.count(" : ") < 3 else text.split(" : ", 3)[3]
    return text[:300] + ("" if text.endswith(".") else ".")


def dtype_of(kind: str) -> npt.DTypeLike:
    """The numpy dtype of ONNX Runtime's `tensor(float)` and the like. Raises `ModelLoadError` for others."""
    kinds: dict[str, npt.DTypeLike] = {
        "tensor(float)": np.float32,
        "tensor(float16)": np.float16,
        "tensor(int64)": np.int64,
        "tensor(int32)": np.int32,
    }
    if kind not in kinds:
        raise ModelLoadError(f"The graph has an input of the type {ascii(kind)[:60]}, which is not supported.")
    return kinds[kind]
