"""Options of `quantize`, from text to recipe, and held against a model."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from agent.errors import RequestError
from convert.quantization.header import read_header
from convert.quantization.recipe import (
    Override,
    Recipe,
    check,
    levels,
    needs_imatrix,
    read_layers,
    read_level,
    read_override,
    read_size,
    read_type,
)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [("600MB", 600_000_000), ("2G", 2_000_000_000), ("1.5 gb", 1_500_000_000), ("512MiB", 512 << 20), ("4096", 4096)],
)
def test_sizes(text: str, size_bytes: int) -> None:
    assert read_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "many", "-1MB", "5i", "1e9", "MB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(RequestError, match="not a size"):
        read_size(text)


@pytest.mark.parametrize(("text", "layers"), [("3", (3,)), ("5,3", (3, 5)), ("3-5,4, 9", (3, 4, 5, 9)), ("0,0", (0,))])
def test_layers(text: str, layers: tuple[int, ...]) -> None:
    assert read_layers(text) == layers


@pytest.mark.parametrize("text", ["", "a", "3,", "5-3", "-1", "1;2", "99999"])
def test_what_are_no_layers(text: str) -> None:
    with pytest.raises(RequestError, match="not layers"):
        read_layers(text)


def test_all_levels_of_bits_are_there_and_none_that_llama_cpp_cannot_make() -> None:
    assert {"Q2_K", "Q2_K_S", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K"} <= set(
        levels()
    )
    assert {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "IQ3_S", "IQ3_M"} <= set(
        levels()
    )
    assert {"IQ4_NL", "IQ4_XS", "Q8_0", "F16", "BF16", "F32", "COPY"} <= set(levels())
    assert not {"NVFP4", "GUESSED"} & set(levels())
    assert (read_level("q4_k"), read_level("iq3_xxs")) == ("Q4_K_M", "IQ3_XXS")


@pytest.mark.parametrize(
    ("text", "override"),
    [
        ("ffn_down=Q6_K", Override("ffn_down", "Q6_K")),
        (r"blk\.[0-3]\..*=bf16", Override(r"blk\.[0-3]\..*", "BF16")),
        ("a=b=iq4_nl", Override("a=b", "IQ4_NL")),
    ],
)
def test_overrides(text: str, override: Override) -> None:
    assert read_override(text) == override


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("ffn_down", "not PATTERN=TYPE"),
        ("=Q6_K", "not PATTERN=TYPE"),
        ("(=Q6_K", "no regular expression"),
        ("ffn=Q77", "no tensor type 'Q77'"),
        ("ffn=", "no tensor type ''"),
    ],
)
def test_what_is_no_override(text: str, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        read_override(text)


@pytest.mark.parametrize("name", ["I32", "Q8_1", "Q8_K", "F64"])
def test_types_that_only_hold_intermediate_results_are_refused(name: str) -> None:
    with pytest.raises(RequestError, match="no tensor type"):
        read_type(name)


@pytest.mark.parametrize(
    ("type_name", "tensor", "level", "needed"),
    [
        ("IQ3_XXS", "blk.0.attn_q.weight", "IQ3_XXS", True),
        ("IQ3_XXS", "token_embd.weight", "IQ3_XXS", False),
        ("IQ3_S", "blk.0.attn_q.weight", "IQ3_S", False),
        ("Q2_K", "blk.0.attn_q.weight", "Q2_K", False),
        ("Q2_K", "blk.0.attn_q.weight", "Q2_K_S", True),
        ("Q2_K", "output.weight", "Q2_K_S", False),
    ],
)
def test_who_needs_an_imatrix(type_name: str, tensor: str, level: str, needed: bool) -> None:
    assert needs_imatrix(type_name, tensor, level) is needed


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_memory_bytes": 1000}, "--max-memory is 0 MB; at least 200 MB"),
        ({"overrides": (Override("nothing_like_it", "Q6_K"),)}, "nothing_like_it=Q6_K matches no tensor"),
        ({"overrides": (Override("ffn", "Q6_K"),), "level": "F16"}, "--tensor has no effect with F16"),
        ({"token_embedding_type": "Q4_K"}, "--token-embedding-type Q4_K needs rows of a multiple of 256"),
        ({"prune": (0, 9)}, "the model has layers 0 to 1, and no 9"),
        ({"prune": (0, 1)}, "leaves no layer"),
    ],
)
def test_recipes_that_mean_nothing_for_a_model(tiny_model: Path, options: dict[str, object], says: str) -> None:
    recipe = msgspec.structs.replace(Recipe(level="Q4_K_M"), **options)
    with pytest.raises(RequestError, match=says):
        check(recipe, read_header(tiny_model))
