from __future__ import annotations

import dataclasses

import pytest

from agent.hardware.fit import SHAPES, fit
from agent.hardware.profile import choose, load_profiles
from tests.hardware import recorded

MIB = 1024**2
BY_NAME = {shape.name: shape for shape in SHAPES}

PUBLISHED_BYTES = {
    # Q4_K_M files of bartowski/<model>-Instruct-GGUF on Hugging Face; about 6 MB of each are the vocabulary
    "SmolLM2-135M": 105_454_432,
    "SmolLM2-360M": 270_590_880,
    "Qwen2.5-0.5B": 397_808_192,
    "Qwen2.5-1.5B": 986_048_768,
    "Qwen2.5-3B": 1_929_903_264,
    "Qwen2.5-7B": 4_683_074_240,
    "Qwen2.5-14B": 8_988_110_976,
}


@pytest.mark.parametrize("name", PUBLISHED_BYTES)
def test_weights_agree_with_published_files(name: str) -> None:
    assert BY_NAME[name].weights_bytes() == pytest.approx(PUBLISHED_BYTES[name], rel=0.02)


@pytest.mark.parametrize(
    ("micro_batch", "context", "slots", "mib"),
    [(128, 2048, 1, 9.38 + 0.58), (256, 8192, 8, 21.76 + 4.64), (512, 32768, 8, 67.51 + 4.64)],
)
def test_compute_buffers_agree_with_llama_cpps_log(micro_batch: int, context: int, slots: int, mib: float) -> None:
    predicted = BY_NAME["Qwen2.5-0.5B"].compute_bytes(micro_batch, context_tokens=context, slots=slots)
    assert predicted / MIB == pytest.approx(mib, rel=0.002)


@pytest.mark.parametrize(
    ("name", "kv_type", "mib"),
    [("Qwen2.5-0.5B", "f16", 384.0), ("Qwen2.5-0.5B", "q8_0", 204.0), ("Qwen2.5-7B", "f16", 1792.0)],
)
def test_kv_cache_agrees_with_llama_cpps_log(name: str, kv_type: str, mib: float) -> None:
    assert BY_NAME[name].kv_bytes(32768, kv_type) / MIB == mib


def test_the_context_shrinks_before_a_model_is_given_up() -> None:
    board = recorded.detect("pi-5")
    llama = choose(board, load_profiles()).profile.resolve(board).llama
    shape = BY_NAME["Qwen2.5-7B"]
    roomy = fit(shape, llama, 16 * 1024 * MIB, 10.0)
    assert (roomy.context_tokens, roomy.fits) == (16384, True)
    assert roomy.tokens_per_s == pytest.approx(2.14, abs=0.01)
    tight = fit(shape, llama, roomy.total_bytes - 1, 10.0)
    assert tight.context_tokens == 8192
    assert tight.total_bytes <= roomy.total_bytes - 1
    odd = fit(shape, dataclasses.replace(llama, context_tokens=3000), roomy.total_bytes, 0.0)
    assert (odd.context_tokens, odd.tokens_per_s) == (3000, None)
    none = fit(shape, llama, 1024 * MIB, 10.0)
    assert (none.context_tokens, none.fits, none.tokens_per_s) == (0, False, None)


def test_the_context_is_never_longer_than_the_models_own() -> None:
    board = recorded.detect("jetson-orin-agx")
    llama = choose(board, load_profiles()).profile.resolve(board).llama
    assert fit(BY_NAME["SmolLM2-135M"], llama, 1 << 40, 0.0).context_tokens == 8192
