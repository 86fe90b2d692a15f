"""How a model is run on a board: the user's word, the profile's, and what fits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from agent.hardware.board import detect
from agent.hardware.profile import Profile, load_profiles
from agent.plan import MIB, plan_models, plan_options, starters
from agent.runtime.wire.options import OnnxOptions
from agent.settings import LoraSettings, ModelSettings, SamplingSettings
from agent.starter.bundle import bundled
from agent.store.layout import StoredModel
from agent.store.manifest import ArtifactFile, Manifest, MemoryNeed

NEED = MemoryNeed(weights=400 * MIB, per_1k_context=12 * MIB, compute=40 * MIB)
GENEROUS = 100_000 * MIB
NO_WORD = ModelSettings(keep_alive_s=300.0)


def profile(**llama: object) -> Profile:
    chosen = next(p for p in load_profiles() if p.name == "generic-x86-64").resolve(detect())
    values = {"context_tokens": 16384, "slots": 4, "kv_type": "f16", "prefix_cache_mb": 512, **llama}
    return replace(chosen, llama=replace(chosen.llama, **values))  # type: ignore[arg-type]


def options(budget_mb: int, said: ModelSettings | None = None, **llama: object):  # type: ignore[no-untyped-def]
    return plan_options(
        profile(**llama),
        said,
        task="generate",
        train_context_tokens=32768,
        need=NEED,
        budget_bytes=budget_mb * MIB,
        cores=2,
    )


@pytest.mark.parametrize(
    ("budget_mb", "context", "kv_type", "cache_mb"),
    [
        (100_000, 16384, "f16", 512),
        (1000, 16384, "f16", 288),  # the cache of idle conversations goes first
        (650, 16384, "q8_0", 0),  # then half the bits of the KV cache
        (600, 8192, "q8_0", 0),  # then the context, by halves
        (100, 2048, "q8_0", 0),  # down to what still makes sense; the ledger says no where even that does not fit
    ],
)
def test_a_model_is_made_to_fit(budget_mb: int, context: int, kv_type: str, cache_mb: int) -> None:
    chosen = options(budget_mb)
    assert (chosen.context_tokens, chosen.kv_type, chosen.prefix_cache_bytes // MIB) == (context, kv_type, cache_mb)


def test_the_users_word_stands_whatever_fits() -> None:
    said = ModelSettings(keep_alive_s=1.0, context_tokens=9000, kv_type="f32", prefix_cache_mb=100, slots=3)
    chosen = options(100, said)
    assert (chosen.context_tokens, chosen.kv_type, chosen.slots) == (9000, "f32", 3)
    assert chosen.prefix_cache_bytes == 100 * MIB


def test_threads_never_exceed_the_cores() -> None:
    chosen = options(100_000, ModelSettings(keep_alive_s=None, threads=64, threads_batch=64))
    assert (chosen.threads, chosen.threads_batch) == (2, 2)


def test_the_context_is_at_most_what_the_model_was_trained_on() -> None:
    chosen = plan_options(
        profile(), None, task="generate", train_context_tokens=512, need=NEED, budget_bytes=GENEROUS, cores=2
    )
    assert chosen.context_tokens == chosen.batch_tokens == 512


def test_a_small_model_keeps_no_huge_cache() -> None:
    need = MemoryNeed(weights=MIB, per_1k_context=MIB // 2, compute=MIB)
    chosen = plan_options(
        profile(), None, task="generate", train_context_tokens=1024, need=need, budget_bytes=GENEROUS, cores=2
    )
    assert chosen.prefix_cache_bytes <= 2 * MIB


def stored(name: str, *, active: bool = True, task: str = "generate", format: str = "gguf") -> StoredModel:
    suffix = "gguf" if format == "gguf" else "onnx"
    manifest = Manifest(
        name=name,
        version="1",
        task=task,  # type: ignore[arg-type]
        format=format,  # type: ignore[arg-type]
        files=(ArtifactFile(path=f"model.{suffix}", bytes=1, sha256="0" * 64),),
        context=4096,
        quantization="Q4_K_M",
        memory_bytes=NEED,
    )
    return StoredModel(name=name, version="1", path=Path("/models") / name, active=active, created=5, manifest=manifest)


def test_what_is_served() -> None:
    settings = {
        "b": ModelSettings(keep_alive_s=7.0, pinned=True, preload=True, aliases=("bee",)),
        "bare": ModelSettings(
            keep_alive_s=None, path=Path("/elsewhere/x.gguf"), lora=(LoraSettings(path=Path("/l.gguf"), scale=0.5),)
        ),
        "absent": NO_WORD,
    }
    models = [
        stored("b"),
        stored("a", task="embed"),
        stored("old", active=False),
        stored("ears", task="transcribe", format="onnx"),
        stored("vectors", task="embed", format="onnx"),
        stored("other-ears", task="transcribe"),
        stored("other-mouth", format="onnx"),
    ]
    specs = plan_models(models, profile(), settings, GENEROUS, cores=2, default_keep_alive_s=300.0)
    assert [(s.name, s.task, s.keep_alive_s, s.pinned, s.preload) for s in specs] == [
        ("a", "embed", 300.0, False, False),
        ("b", "generate", 7.0, True, True),
        ("bare", "generate", None, False, False),
        ("ears", "transcribe", 300.0, False, False),
        ("vectors", "embed", 300.0, False, False),
    ]
    board = profile()
    assert isinstance(specs[3].options, OnnxOptions)
    assert specs[3].options.transcribe
    assert specs[3].options.window_floor_s == board.speech.encoder_window_floor_s
    assert isinstance(specs[4].options, OnnxOptions)
    assert not specs[4].options.transcribe
    assert (specs[4].path, specs[4].options.threads) == ("/models/vectors", min(2, board.onnx.threads))
    assert specs[0].options.embedding
    assert specs[1].path == "/models/b/model.gguf"
    assert specs[1].aliases == ("bee",)
    assert (specs[2].options.lora[0].path, specs[2].options.lora[0].scale) == ("/l.gguf", 0.5)


@pytest.mark.parametrize(
    ("brought", "said", "expected"),
    [
        ({"temperature": 0.0, "top_k": 20.0}, SamplingSettings(), {"temperature": 0.0, "top_k": 20}),
        ({"temperature": 0.0}, SamplingSettings(temperature=0.9), {"temperature": 0.9}),
        ({"temperature": -1, "top_k": "many", "seed": True, "min_p": 0.1}, SamplingSettings(), {"min_p": 0.1}),
        ("hot", SamplingSettings(top_p=0.5), {"top_p": 0.5}),
    ],
)
def test_a_model_samples_as_the_user_says_else_as_its_makers_say(
    brought: object, said: SamplingSettings, expected: dict[str, float]
) -> None:
    model = stored("a")
    manifest = msgspec.structs.replace(model.manifest, metadata={"sampling": brought})
    settings = {"a": ModelSettings(keep_alive_s=None, sampling=said)}
    (spec,) = plan_models(
        [replace(model, manifest=manifest)], profile(), settings, GENEROUS, cores=2, default_keep_alive_s=None
    )
    assert spec.sampling == expected


def test_a_starter_model_is_served_until_a_version_of_its_name_is_active() -> None:
    shipped = {model.name: model for model in bundled()}
    if "starter-chat" not in shipped:
        pytest.skip("no starter models here")
    own = replace(shipped["starter-chat"], version="9", active=False)
    assert "starter-chat" in [model.name for model in starters([own], "auto", {})], "a candidate does not replace it"
    assert "starter-chat" not in [model.name for model in starters([replace(own, active=True)], "always", {})]
