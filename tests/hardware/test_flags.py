from __future__ import annotations

import dataclasses

import pytest

from agent.hardware import flags
from agent.hardware.profile import choose, load_profiles
from tests.hardware import recorded

PROFILES = load_profiles()

AVX512 = "-DGGML_AVX512=ON -DGGML_AVX512_VBMI=ON -DGGML_AVX512_VNNI=ON -DGGML_AVX512_BF16=ON"
NO_AVX = "-DGGML_AVX=OFF -DGGML_AVX2=OFF -DGGML_BMI2=OFF -DGGML_FMA=OFF -DGGML_F16C=OFF"
CUDA_87 = "-DGGML_CUDA=on -DCMAKE_CUDA_ARCHITECTURES=87"

ARGS = {
    "pi-zero-2w": "",
    "pi-4": "",
    "pi-5": "",
    "pi-5-container": "",
    "rock-5b": "",
    "aarch64-server": "",
    "jetson-orin-nano": CUDA_87,
    "jetson-orin-agx": CUDA_87,
    "x86-64-amx": f"-DGGML_NATIVE=OFF {AVX512} -DGGML_AVX_VNNI=ON",
    "x86-64-avx2": "-DGGML_NATIVE=OFF",
    "x86-64-n100": "-DGGML_NATIVE=OFF -DGGML_AVX_VNNI=ON",
    "x86-64-sse": f"-DGGML_NATIVE=OFF {NO_AVX}",
    "x86-64-hybrid": "-DGGML_NATIVE=OFF -DGGML_AVX_VNNI=ON",
    "x86-64-cuda": "-DGGML_NATIVE=OFF -DGGML_CUDA=on -DCMAKE_CUDA_ARCHITECTURES=86",
    "mac-m1": "-DGGML_METAL=ON -DGGML_METAL_EMBED_LIBRARY=ON",
    "mac-m2": "-DGGML_METAL=ON -DGGML_METAL_EMBED_LIBRARY=ON",
    "mac-m4": "-DGGML_METAL=ON -DGGML_METAL_EMBED_LIBRARY=ON",
}


@pytest.mark.parametrize("name", recorded.NAMES)
def test_cmake_args_of_each_board(name: str) -> None:
    board = recorded.detect(name)
    assert " ".join(choose(board, PROFILES).profile.resolve(board).build.cmake_args) == ARGS[name]


@pytest.mark.parametrize("name", [name for name in recorded.NAMES if name.startswith("x86-64")])
def test_amx_is_never_built_on_x86(name: str) -> None:
    board = recorded.detect(name)
    for profile in PROFILES:
        if profile.match.architecture == ("x86_64",):
            args = profile.resolve(board).build.cmake_args
            assert "-DGGML_NATIVE=OFF" in args
            assert not [arg for arg in args if "AMX" in arg]


@pytest.mark.parametrize("name", ["jetson-orin-nano", "x86-64-cuda"])
def test_without_nvcc_the_build_is_for_the_cpu(name: str) -> None:
    board = dataclasses.replace(recorded.detect(name), cuda_compiler=None)
    args = choose(board, PROFILES).profile.resolve(board).build.cmake_args
    assert not [arg for arg in args if "CUDA" in arg]


def test_avx_vnni_is_separate_from_avx512_vnni() -> None:
    zen4 = {"avx", "avx2", "sse4_2", "bmi2", "fma", "f16c", "avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"}
    assert flags.x86_args(frozenset(zen4 | {"avx512_vnni"})) == [
        "-DGGML_NATIVE=OFF",
        "-DGGML_AVX512=ON",
        "-DGGML_AVX512_VNNI=ON",
    ]


def test_half_of_avx512_is_none_of_it() -> None:
    knights_landing = {"avx", "avx2", "sse4_2", "bmi2", "fma", "f16c", "avx512f", "avx512cd", "avx512vbmi"}
    assert flags.x86_args(frozenset(knights_landing)) == ["-DGGML_NATIVE=OFF"]


def test_the_users_own_args_come_last() -> None:
    board = recorded.detect("x86-64-avx2")
    overrides = {"build": {"cmake_args": ["-DGGML_AVX2=OFF"]}}
    args = choose(board, PROFILES).profile.resolve(board, overrides).build.cmake_args
    assert args == ("-DGGML_NATIVE=OFF", "-DGGML_AVX2=OFF")
