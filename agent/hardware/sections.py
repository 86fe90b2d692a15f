"""The sections of a profile. `docs/profiles.md` says what each key means; the files give the source of each number.

One MB is 2**20 bytes here. A count of 0 where a key allows it means "as many as the board has".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from agent.hardware.schema import DERIVED, Range

MIB = 1024 * 1024

KvType = Literal["f16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
Tokens = Annotated[int, Range(32, 1_048_576)]
Threads = Annotated[int, Range(0, 1024)]
Megabytes = Annotated[int, Range(0, 16_777_216)]
Celsius = Annotated[float, Range(20, 125)]
Watts = Annotated[float, Range(0, 2000)]


@dataclass(frozen=True, kw_only=True)
class MatchRules:
    """How a board is recognised. Lists hold shell patterns, one of which must match; everything given must hold."""

    system: Literal["linux", "darwin"]
    architecture: tuple[str, ...]
    compatible: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    gpu: Literal["any", "cuda", "metal"] = "any"


@dataclass(frozen=True, kw_only=True)
class Build:
    """How llama-cpp-python is compiled. After `Profile.resolve`, `cmake_args` is the whole of CMAKE_ARGS."""

    cpu: Literal["native", "features"]
    cuda: bool = False
    cuda_architectures: str = ""
    metal: bool = False
    cmake_args: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ThreadCounts:
    """Threads of ggml for decoding and for prompts. 0: one per performance core. Never more than usable cores."""

    generation: Threads = 0
    batch: Threads = 0


@dataclass(frozen=True, kw_only=True)
class MemoryShare:
    """What models may take of the memory that is free: `agent.hardware.memory.budget_bytes`."""

    budget_fraction: Annotated[float, Range(0.05, 0.98)]
    reserve_mb: Megabytes

    @property
    def reserve_bytes(self) -> int:
        return self.reserve_mb * MIB


@dataclass(frozen=True, kw_only=True)
class MemoryStep:
    """What a board with at least so much memory (the smaller of RAM and the control group's limit) can afford."""

    at_least_mb: Megabytes
    context_tokens: Tokens
    slots: Annotated[int, Range(1, 256)]
    kv_type: KvType
    prefix_cache_mb: Megabytes


@dataclass(frozen=True, kw_only=True)
class Llama:
    """Defaults for GGUF models. The last four come from the last row of `by_memory` that the board reaches."""

    batch_tokens: Tokens
    micro_batch_tokens: Tokens
    flash_attention: Literal["auto", "on", "off"]
    gpu_layers: Annotated[int, Range(-1, 10_000)]
    mmap: bool
    by_memory: tuple[MemoryStep, ...]
    context_tokens: Tokens = field(default=2048, metadata=DERIVED)
    slots: Annotated[int, Range(1, 256)] = field(default=1, metadata=DERIVED)
    kv_type: KvType = field(default="f16", metadata=DERIVED)
    prefix_cache_mb: Megabytes = field(default=0, metadata=DERIVED)

    @property
    def prefix_cache_bytes(self) -> int:
        return self.prefix_cache_mb * MIB


@dataclass(frozen=True, kw_only=True)
class Onnx:
    """ONNX Runtime sessions. 0 threads: one per performance core. The first of `providers` that is installed counts."""

    threads: Threads = 0
    providers: tuple[Literal["cpu", "cuda"], ...]
    spinning: bool
    arena: bool


@dataclass(frozen=True, kw_only=True)
class Speech:
    """Live transcription: whether partial passes keep up, and how much sound the encoder gets to see."""

    partials: bool
    encoder_window_floor_s: Annotated[float, Range(1, 30)]
    encoder_window_margin_s: Annotated[float, Range(0, 10)]


@dataclass(frozen=True, kw_only=True)
class Thermal:
    """Where the governor starts to trade threads for heat, and where it stops new work."""

    soft_limit_celsius: Celsius
    hard_limit_celsius: Celsius
    hysteresis_celsius: Annotated[float, Range(0.5, 30)]


@dataclass(frozen=True, kw_only=True)
class Power:
    """What measures power on this board, and what it draws; 0 watts: not known, measure it."""

    meter: Literal["none", "pmic", "ina3221", "rapl", "nvml", "powermetrics"]
    idle_watts: Watts
    load_watts: Watts


@dataclass(frozen=True, kw_only=True)
class Recommend:
    """Models that suit the board. `decode_gb_per_s` times 10**9 over the file's bytes is about its tokens per second;
    0: not known."""

    generate: tuple[str, ...]
    embed: tuple[str, ...]
    transcribe: tuple[str, ...]
    decode_gb_per_s: Annotated[float, Range(0, 10_000)]
