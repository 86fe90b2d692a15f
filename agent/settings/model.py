# ruff: noqa: RUF009 - `setting` makes a dataclass field
"""What `[models.NAME]` in agent.toml says about one model. Everything unset comes from the board's profile."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.settings.declaration import setting

PROFILE = "from the board's profile"
ENGINE = "the model's, else the engine's"


@dataclass(frozen=True, kw_only=True)
class LoraSettings:
    """One entry of `lora = [{path = ..., scale = ...}]`."""

    path: Path = setting("A LoRA adapter in GGUF format, made for this very model.")
    scale: float = setting("How strongly it is applied.", default=1.0, minimum=-10, maximum=10)


@dataclass(frozen=True, kw_only=True)
class SamplingSettings:
    """`[models.NAME.sampling]`: what a request that does not say gets. None is what the model's makers wrote into it
    (`general.sampling.*` of a GGUF file), else the engine's own default."""

    temperature: float | None = setting(
        "0 is greedy; higher is more varied.", default=None, minimum=0, maximum=10, default_doc=ENGINE
    )
    top_k: int | None = setting(
        "Keep the k most likely tokens; 0 keeps all.", default=None, minimum=0, maximum=1_000_000, default_doc=ENGINE
    )
    top_p: float | None = setting(
        "Keep the most likely tokens up to this probability together.",
        default=None,
        minimum=0,
        maximum=1,
        default_doc=ENGINE,
    )
    min_p: float | None = setting(
        "Drop tokens less likely than this share of the most likely one.",
        default=None,
        minimum=0,
        maximum=1,
        default_doc=ENGINE,
    )
    typical_p: float | None = setting(
        "Locally typical sampling; 1 is off.", default=None, minimum=0, maximum=1, default_doc=ENGINE
    )
    repeat_penalty: float | None = setting(
        "Divides the logits of tokens seen recently; 1 is off.",
        default=None,
        minimum=0.1,
        maximum=10,
        default_doc=ENGINE,
    )
    repeat_last_n: int | None = setting(
        "How far back the penalties look; -1 is the whole context.",
        default=None,
        unit="tokens",
        minimum=-1,
        maximum=1_000_000,
        default_doc=ENGINE,
    )
    presence_penalty: float | None = setting(
        "Subtracted once from tokens already present.", default=None, minimum=-2, maximum=2, default_doc=ENGINE
    )
    frequency_penalty: float | None = setting(
        "Subtracted from tokens for each time they occurred.", default=None, minimum=-2, maximum=2, default_doc=ENGINE
    )
    dry_multiplier: float | None = setting(
        "Strength of the DRY repetition penalty; 0 is off.", default=None, minimum=0, maximum=10, default_doc=ENGINE
    )
    xtc_probability: float | None = setting(
        "How often XTC drops the top choices; 0 is off.", default=None, minimum=0, maximum=1, default_doc=ENGINE
    )
    xtc_threshold: float | None = setting(
        "XTC considers tokens at least this likely.", default=None, minimum=0, maximum=1, default_doc=ENGINE
    )
    seed: int | None = setting(
        "Fixes the random numbers, so that a request repeats itself.",
        default=None,
        minimum=0,
        maximum=2**32 - 2,
        default_doc="random",
    )

    def chosen(self) -> dict[str, float | int]:
        """Only what was set, by `agent.runtime.wire.generation.Sampling`'s field names."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """One `[models.NAME]` table. None means that the profile (or the artifact itself) decides.

    `keep_alive_s` is always resolved: seconds, or None for a model that is never unloaded for being idle.
    """

    keep_alive_s: float | None
    path: Path | None = setting("A bare GGUF file to serve where it lies, without importing it.", default=None)
    task: Literal["generate", "embed"] | None = setting(
        "What the model is for.", default=None, default_doc="from the file"
    )
    aliases: tuple[str, ...] = setting("Other names that requests may use for it.", default=())
    pinned: bool = setting("Never evict it to make room for another model.", default=False)
    preload: bool = setting("Load it at start instead of at its first request.", default=False)
    context_tokens: int | None = setting(
        "Context that all slots of the model share.",
        default=None,
        unit="tokens",
        minimum=64,
        maximum=4_194_304,
        default_doc=PROFILE,
    )
    slots: int | None = setting(
        "Requests that run at the same time.", default=None, minimum=1, maximum=256, default_doc=PROFILE
    )
    batch_tokens: int | None = setting(
        "Most tokens in one decode step.",
        default=None,
        unit="tokens",
        minimum=1,
        maximum=65_536,
        default_doc=PROFILE,
    )
    micro_batch_tokens: int | None = setting(
        "Most tokens computed at once; sizes the compute buffers.",
        default=None,
        unit="tokens",
        minimum=1,
        maximum=65_536,
        default_doc=PROFILE,
    )
    threads: int | None = setting(
        "Threads for generation; never more than there are cores.",
        default=None,
        minimum=1,
        maximum=1024,
        default_doc=PROFILE,
    )
    threads_batch: int | None = setting(
        "Threads for reading prompts.", default=None, minimum=1, maximum=1024, default_doc=PROFILE
    )
    gpu_layers: int | None = setting(
        "Layers computed on the GPU; -1 is all of them.",
        default=None,
        minimum=-1,
        maximum=10_000,
        default_doc=PROFILE,
    )
    kv_type: Literal["f32", "f16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"] | None = setting(
        "Number format of the KV cache.", default=None, default_doc=PROFILE
    )
    flash_attention: Literal["auto", "on", "off"] | None = setting(
        "Fused attention; a quantized KV cache needs it.", default=None, default_doc=PROFILE
    )
    mmap: bool | None = setting("Map the file instead of reading it.", default=None, default_doc=PROFILE)
    mlock: bool | None = setting("Keep the weights from being swapped out.", default=None, default_doc="false")
    prefix_cache_mb: int | None = setting(
        "Memory that keeps idle conversations ready to go on.",
        default=None,
        unit="MB",
        minimum=0,
        maximum=1_048_576,
        default_doc=PROFILE,
    )
    chat_template: Path | None = setting(
        "A Jinja chat template to use instead of the model's own.", default=None, default_doc="the model's own"
    )
    lora: tuple[LoraSettings, ...] = ()
    sampling: SamplingSettings = SamplingSettings()
