"""CMAKE_ARGS for llama-cpp-python on a board.

x86-64 never builds natively: on a CPU with AMX such a build crashes on the first real prompt (llama.cpp PR 26954: tile
permission is per thread), so the instruction sets are named one by one and AMX is left out. Names and defaults are
those of ggml's `CMakeLists.txt`: with GGML_NATIVE off, everything up to AVX2 is on, everything after it off.
"""

from __future__ import annotations

from agent.hardware.board import Board
from agent.hardware.sections import Build

ON_BY_DEFAULT = (
    ("GGML_SSE42", {"sse4_2"}),
    ("GGML_AVX", {"avx"}),
    ("GGML_AVX2", {"avx2"}),
    ("GGML_BMI2", {"bmi2"}),
    ("GGML_FMA", {"fma"}),
    ("GGML_F16C", {"f16c"}),
)
"""CMake option, and the names in `/proc/cpuinfo` that it needs."""

OFF_BY_DEFAULT = (
    ("GGML_AVX512", {"avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"}),
    ("GGML_AVX512_VBMI", {"avx512vbmi"}),
    ("GGML_AVX512_VNNI", {"avx512_vnni"}),
    ("GGML_AVX512_BF16", {"avx512_bf16"}),
    ("GGML_AVX_VNNI", {"avx_vnni"}),
)


def cmake_args(build: Build, board: Board) -> tuple[str, ...]:
    """All of CMAKE_ARGS; the profile's own `cmake_args` come last, where they win."""
    args: list[str] = []
    if build.cpu == "features" and board.architecture == "x86_64":
        args += x86_args(board.cpu_features)
    if build.metal:
        args += ["-DGGML_METAL=ON", "-DGGML_METAL_EMBED_LIBRARY=ON"]
    if build.cuda and board.cuda_compiler is not None:
        args += cuda_args(build, board)
    return tuple(dict.fromkeys([*args, *build.cmake_args]))


def x86_args(features: frozenset[str]) -> list[str]:
    """One flag for each instruction set where the CPU differs from ggml's default; plain AVX2 needs none."""
    args = ["-DGGML_NATIVE=OFF"]
    args += [f"-D{option}=OFF" for option, needed in ON_BY_DEFAULT if not needed <= features]
    has_avx512 = OFF_BY_DEFAULT[0][1] <= features
    for option, needed in OFF_BY_DEFAULT:
        if needed <= features and (has_avx512 or not option.startswith("GGML_AVX512")):
            args.append(f"-D{option}=ON")
    return args


def cuda_args(build: Build, board: Board) -> list[str]:
    """CUDA for the profile's architectures, else for the card found, else for all that ggml lists."""
    capability = board.gpu.compute_capability if board.gpu else ""
    architectures = build.cuda_architectures or capability.replace(".", "")
    return ["-DGGML_CUDA=on", *([f"-DCMAKE_CUDA_ARCHITECTURES={architectures}"] if architectures else [])]
