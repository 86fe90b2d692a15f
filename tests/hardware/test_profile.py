from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest

from agent.errors import ConfigError
from agent.hardware import profile as profiles
from agent.hardware.profile import choose, load_profile, load_profiles
from tests.hardware import recorded

PROFILES = load_profiles()
FOLDER = profiles.profile_folder()

CHOSEN = {
    # board: profile, why, threads, context, slots, KV type, GPU layers
    "pi-zero-2w": ("pi-zero-2w", "compatible with raspberrypi,model-zero-2-w.", 4, 1024, 1, "q8_0", 0),
    "pi-4": ("pi-4", "compatible with raspberrypi,4-model-b.", 4, 8192, 2, "q8_0", 0),
    "pi-5": ("pi-5", "compatible with raspberrypi,5-model-b.", 4, 16384, 4, "q8_0", 0),
    "pi-5-container": ("pi-5", "the model is Raspberry Pi 5 Model B Rev 1.0.", 2, 4096, 2, "q8_0", 0),
    "jetson-orin-nano": (
        "jetson-orin-nano",
        "compatible with nvidia,p3768-0000+p3767-0005-super.",
        6,
        8192,
        4,
        "q8_0",
        -1,
    ),
    "jetson-orin-agx": ("jetson-orin-agx", "compatible with nvidia,p3737-0000+p3701-0005.", 8, 65536, 8, "f16", -1),
    "rock-5b": ("generic-aarch64", "none for Radxa ROCK 5B in particular", 4, 32768, 8, "f16", 0),
    "aarch64-server": ("generic-aarch64", "any aarch64 machine", 2, 2048, 1, "q8_0", 0),
    "x86-64-amx": ("generic-x86-64", "any x86_64 machine", 2, 32768, 8, "f16", 0),
    "x86-64-avx2": ("generic-x86-64", "any x86_64 machine", 4, 32768, 8, "f16", 0),
    "x86-64-n100": ("generic-x86-64", "any x86_64 machine", 4, 16384, 4, "f16", 0),
    "x86-64-sse": ("generic-x86-64", "any x86_64 machine", 4, 16384, 4, "f16", 0),
    "x86-64-hybrid": ("generic-x86-64", "any x86_64 machine", 4, 32768, 8, "f16", 0),
    "x86-64-cuda": ("cuda-x86-64", "a GPU for CUDA: NVIDIA GeForce RTX 3060.", 8, 8192, 4, "q8_0", -1),
    "mac-m1": ("apple-m", "a GPU for Metal: Apple M1 GPU.", 4, 8192, 4, "q8_0", -1),
    "mac-m2": ("apple-m", "a GPU for Metal: Apple M2 GPU.", 4, 16384, 4, "f16", -1),
    "mac-m4": ("apple-m", "a GPU for Metal: Apple M4 GPU.", 4, 16384, 4, "f16", -1),
}


@pytest.mark.parametrize("name", recorded.NAMES)
def test_board_gets_its_profile(name: str) -> None:
    board = recorded.detect(name)
    match = choose(board, PROFILES)
    resolved = match.profile.resolve(board)
    llama = resolved.llama
    wanted, reason, *numbers = CHOSEN[name]
    assert match.profile.name == wanted
    assert reason in match.reason
    assert [resolved.threads.generation, llama.context_tokens, llama.slots, llama.kv_type, llama.gpu_layers] == numbers


@pytest.mark.parametrize("name", recorded.NAMES)
@pytest.mark.parametrize("wanted", [0, 1, 3, 1000])
def test_never_more_threads_than_cores(name: str, wanted: int) -> None:
    board = recorded.detect(name)
    overrides = {"threads": {"generation": wanted, "batch": wanted}, "onnx": {"threads": wanted}}
    for profile in PROFILES:
        resolved = profile.resolve(board, overrides)
        for threads in (resolved.threads.generation, resolved.threads.batch, resolved.onnx.threads):
            assert 1 <= threads <= board.usable_cores <= board.cores


def test_the_chip_is_enough_for_a_board_without_its_own_entry() -> None:
    board = recorded.detect("pi-5")
    for compatible, expected in (
        (("raspberrypi,500", "brcm,bcm2712"), "pi-5"),
        (("acme,kiosk", "brcm,bcm2712"), "pi-5"),
        (("raspberrypi,4-compute-module", "brcm,bcm2711"), "pi-4"),
        (("raspberrypi,3-model-b-plus", "brcm,bcm2837"), "pi-zero-2w"),
        (("nvidia,p3509-0000+p3767-0000", "nvidia,p3767-0000", "nvidia,tegra234"), "jetson-orin-nano"),
        (("acme,carrier+p3701-0004", "nvidia,p3701-0004", "nvidia,tegra234"), "jetson-orin-agx"),
        (("nvidia,p2972-0000", "nvidia,tegra194"), "generic-aarch64"),
    ):
        other = dataclasses.replace(board, compatible=compatible, model="Acme Kiosk")
        assert choose(other, PROFILES).profile.name == expected


def test_a_profile_can_be_asked_for_by_name() -> None:
    match = choose(recorded.detect("pi-5"), PROFILES, "generic-aarch64")
    assert match.profile.name == "generic-aarch64"
    assert "by name" in match.reason
    with pytest.raises(ConfigError, match="no profile 'pi-6'; expected one of apple-m, cuda-x86-64"):
        choose(recorded.detect("pi-5"), PROFILES, "pi-6")


def test_a_machine_without_a_profile_is_an_error_that_says_what_to_do() -> None:
    board = dataclasses.replace(recorded.detect("pi-5"), compatible=(), model="X", architecture="riscv64")
    with pytest.raises(ConfigError, match="riscv64") as caught:
        choose(board, PROFILES)
    assert "--profile" in caught.value.hint


def test_overrides_change_single_keys() -> None:
    board = recorded.detect("pi-5")
    profile = choose(board, PROFILES).profile
    nested = profile.resolve(board, {"llama": {"context_tokens": 2048, "kv_type": "f16"}, "memory": {"reserve_mb": 7}})
    dotted = profile.resolve(board, {"llama.context_tokens": 2048, "llama.kv_type": "f16", "memory.reserve_mb": 7})
    assert nested == dotted
    assert (nested.llama.context_tokens, nested.llama.kv_type, nested.memory.reserve_mb) == (2048, "f16", 7)
    assert nested.llama.slots == profile.resolve(board).llama.slots


@pytest.mark.parametrize(
    ("overrides", "param", "message"),
    [
        ({"llama": {"contxt_tokens": 1}}, "llama.contxt_tokens", "Did you mean context_tokens?"),
        ({"lama": {"slots": 1}}, "lama", "unknown key lama"),
        ({"match": {"system": "linux"}}, "match", "unknown key match"),
        ({"llama": {"by_memory": []}}, "llama.by_memory", "unknown key llama.by_memory"),
        ({"llama": {"slots": 0}}, "llama.slots", "llama.slots is 0; expected a whole number from 1 to 256."),
        ({"llama": {"kv_type": "q9"}}, "llama.kv_type", "llama.kv_type is 'q9'; expected one of 'f16'"),
        ({"llama": 3}, "llama", "llama is 3; expected a table."),
        ({"threads.generation": -1}, "threads.generation", "expected a whole number from 0 to 1024."),
        ({"llama.micro_batch_tokens": 1024}, "llama.micro_batch_tokens", "expected at most llama.batch_tokens, 512."),
        ({"thermal.soft_limit_celsius": 95.0}, "thermal.soft_limit_celsius", "expected at most thermal.hard"),
    ],
)
def test_a_bad_override_names_key_value_and_expectation(overrides: dict[str, Any], param: str, message: str) -> None:
    board = recorded.detect("pi-5")
    with pytest.raises(ConfigError) as caught:
        choose(board, PROFILES).profile.resolve(board, overrides, source="agent.toml")
    assert caught.value.param == param
    assert message in str(caught.value)
    assert "agent.toml" in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "param"),
    [
        ('cpu = "native"', 'cpu = "nativ"', "build.cpu"),
        ("gpu_layers = 0", 'gpu_layers = "0"', "llama.gpu_layers"),
        ("[thermal]", "[thermals]", "thermals"),
        ("reserve_mb = 192", "reserve_gb = 192", "memory.reserve_gb"),
        ("at_least_mb = 0 ", "at_least_mb = 5 ", "llama.by_memory"),
        ("hard_limit_celsius = 90.0", "hard_limit_celsius = 70.0", "thermal.soft_limit_celsius"),
        ("slots = 2", "slots = 2\nlots = 1", "llama.by_memory[0].lots"),
        ("[build]", 'name = "x"\n[build]', "match.name"),
        ("# Raspberry Pi 5, 500", 'name = "x"  #', "name"),
        ("[threads]", "[[threads]]", "threads"),
    ],
)
def test_a_bad_profile_names_the_key(tmp_path: Path, before: str, after: str, param: str) -> None:
    text = (FOLDER / "pi-5.toml").read_text()
    assert before in text
    path = tmp_path / "mine.toml"
    path.write_text(text.replace(before, after, 1))
    with pytest.raises(ConfigError, match=r"mine\.toml") as caught:
        load_profile(path)
    assert caught.value.param == param


@pytest.mark.parametrize("data", [b"[llama", b"\xff\xfe", b""])
def test_a_file_that_is_no_profile_is_a_clear_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"mine\.toml"):
        load_profile(path)


def test_a_missing_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no profile in"):
        load_profiles(tmp_path / "nowhere")


def test_every_board_of_the_design_has_a_profile() -> None:
    assert [profile.name for profile in PROFILES] == [
        "apple-m",
        "cuda-x86-64",
        "generic-aarch64",
        "generic-x86-64",
        "jetson-orin-agx",
        "jetson-orin-nano",
        "pi-4",
        "pi-5",
        "pi-zero-2w",
    ]


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_quantized_kv_cache_comes_with_flash_attention(profile: profiles.Profile) -> None:
    quantized = any(step.kv_type != "f16" for step in profile.llama.by_memory)
    assert not quantized or profile.llama.flash_attention in ("on", "auto")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_every_number_has_its_source_beside_it(path: Path) -> None:
    """Zeros mean "as many as there are"; the rows of by_memory share one comment above them."""
    section = ""
    bare = []
    for line in path.read_text().splitlines():
        section = line if line.startswith("[") else section
        if re.match(r"\w+ = -?[1-9\d.]*[1-9]", line) and "#" not in line and section != "[[llama.by_memory]]":
            bare.append(line)
    assert bare == ["gpu_layers = -1"] * bare.count("gpu_layers = -1")
    assert "agent/hardware/fit.py has the arithmetic" in path.read_text()
