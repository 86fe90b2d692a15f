"""Which files of a repository are one GGUF model, and which of them is meant."""

from __future__ import annotations

import pytest

from agent.errors import ArtifactError
from agent.hub.gguf_models import gguf_models, pick, unambiguous
from agent.hub.repository import RemoteFile


def files(*paths: str) -> list[RemoteFile]:
    """Each larger than the one before."""
    return [RemoteFile(path=path, bytes=1000 + at, sha256="0" * 64) for at, path in enumerate(paths)]


@pytest.mark.parametrize(
    ("path", "quantization"),
    [
        ("qwen2.5-0.5b-instruct-q4_k_m.gguf", "Q4_K_M"),
        ("SmolLM2-135M-Instruct-Q8_0.gguf", "Q8_0"),
        ("model.Q2_K.gguf", "Q2_K"),
        ("llama-3.2-1b-instruct-q4_0-00001-of-00001.gguf", "Q4_0"),
        ("Llama-3.2-1B-Instruct-IQ4_XS.gguf", "IQ4_XS"),
        ("gemma-3-1b-it-UD-Q4_K_XL.gguf", "UD-Q4_K_XL"),
        ("ggml-model-f16.gguf", "F16"),
        ("qwen2.5-0.5b-instruct-fp16.gguf", "F16"),
        ("x-BF16.gguf", "BF16"),
        ("x-Q4_0_8_8.gguf", "Q4_0_8_8"),
        ("gpt-oss-20b-MXFP4.gguf", "MXFP4"),
        ("Q5_K_M/model.gguf", "Q5_K_M"),
        ("bitnet-TQ1_0.gguf", "TQ1_0"),
        ("qwen3-model.gguf", ""),
    ],
)
def test_the_name_tells_the_quantization(path: str, quantization: str) -> None:
    (model,) = gguf_models(files(path))
    assert model.quantization == quantization


def test_what_is_no_model_is_left_out() -> None:
    names = ["a-Q4_0.gguf", "mmproj-a-f16.gguf", "a.imatrix.gguf", "ggml-vocab-a.gguf", "README.md", "a.gguf.txt"]
    assert [model.stem for model in gguf_models(files(*names))] == ["a-Q4_0"]


def test_parts_are_one_model_and_keep_their_order() -> None:
    names = [f"x-q4_k_m-0000{number}-of-00003.gguf" for number in (2, 1, 3)]
    (model,) = gguf_models(files(*names))
    assert [file.path for file in model.files] == sorted(names)
    assert model.bytes == 3003
    assert model.local_paths() == tuple(f"model-0000{number}-of-00003.gguf" for number in (1, 2, 3))


REPOSITORY = files(
    "a-Q2_K.gguf",
    "a-Q4_K_M.gguf",
    "a-Q8_0-00001-of-00002.gguf",
    "a-Q8_0-00002-of-00002.gguf",
    "a-F16-00001-of-00002.gguf",
    "b/other.gguf",
)


@pytest.mark.parametrize(
    ("choice", "first"),
    [
        ("Q4_K_M", "a-Q4_K_M.gguf"),
        ("q4_k_m", "a-Q4_K_M.gguf"),
        ("Q8_0", "a-Q8_0-00001-of-00002.gguf"),
        ("a-Q8_0-00002-of-00002.gguf", "a-Q8_0-00001-of-00002.gguf"),
        ("other.gguf", "b/other.gguf"),
        ("b/other.gguf", "b/other.gguf"),
    ],
)
def test_a_choice_is_a_quantization_or_a_file(choice: str, first: str) -> None:
    assert pick(gguf_models(REPOSITORY), choice, "o/r").files[0].path == first


@pytest.mark.parametrize(
    ("names", "choice", "message", "hint"),
    [
        (["a-Q2_K.gguf", "a-Q4_0.gguf"], "Q9", "o/r has no Q9.", "There are: Q2_K, Q4_0."),
        ([], "Q4_0", "o/r has no Q4_0.", "It has no GGUF file at all."),
        (
            ["a-Q4_0.gguf", "b-Q4_0.gguf"],
            "Q4_0",
            "2 models of o/r are Q4_0: a-Q4_0.gguf, b-Q4_0.gguf.",
            "hf:o/r:a-Q4_0",
        ),
        (["a-F16-00001-of-00002.gguf"], "fp16", "a-F16 has 2 parts, and 1 of them are in o/r.", "another"),
    ],
)
def test_a_choice_that_means_nothing_says_what_there_is(names: list[str], choice: str, message: str, hint: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        pick(gguf_models(files(*names)), choice, "o/r")
    assert caught.value.message == message
    assert hint in caught.value.hint


def test_without_a_choice_several_models_are_ambiguous() -> None:
    names = ["a-Q4_0.gguf", "a-Q8_0.gguf", "a-Q4_0_4_4.gguf", "a-F16-00001-of-00002.gguf"]
    assert [model.label for model in unambiguous(gguf_models(files(*names)), "o/r")] == ["Q4_0", "Q8_0"]
    with pytest.raises(ArtifactError, match="2 different models: a, b") as caught:
        unambiguous(gguf_models(files(*names, "b-Q4_0.gguf")), "o/r")
    assert "b-Q4_0.gguf" in caught.value.hint
